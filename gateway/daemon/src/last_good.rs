//! The last good configuration: a copy of the files of one that has proven itself, kept beside the buffer, for an
//! unattended box whose files were spoilt. It is used only where the command line allows it: a box that runs on
//! what somebody has replaced must be wanted. Secrets are not copied: their files are named, as in the original.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use common::config::{Mistakes, Source, read};

use crate::config::{Config, read_sources};

/// The main file's name in the copy.
const MAIN: &str = "gateway.toml";
/// Where the data are if no file says.
const DATA_DIR: &str = "/var/lib/twinway";

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("last-good")
}

/// Where files wait until their configuration has proven itself.
fn waiting(data_dir: &Path) -> PathBuf {
    data_dir.join("last-good.new")
}

/// Writes the files, the main one first, to where they wait for `keep`. False if they are what is kept already.
pub(crate) fn stage(data_dir: &Path, sources: &[Source]) -> io::Result<bool> {
    let new = waiting(data_dir);
    gone(&new)?;
    if is_kept(&folder(data_dir), sources) {
        return Ok(false);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(new.join("conf.d"))?;
    for (n, source) in sources.iter().enumerate() {
        let Some(path) = place(&new, n, source) else { continue };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(source.text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(new.join("conf.d"))?.sync_all()?;
    File::open(&new)?.sync_all()?;
    Ok(true)
}

/// Puts the files that wait in place of those kept before. At any moment one whole copy is there.
pub(crate) fn keep(data_dir: &Path) -> io::Result<()> {
    make_room(data_dir)?;
    fs::rename(waiting(data_dir), folder(data_dir))?;
    File::open(data_dir)?.sync_all()?;
    gone(&data_dir.join("last-good.old"))
}

/// Moves the copy kept before aside. Where a cut left none but the one aside, that one stays.
fn make_room(data_dir: &Path) -> io::Result<()> {
    let (kept, old) = (folder(data_dir), data_dir.join("last-good.old"));
    if kept.exists() {
        gone(&old)?;
        fs::rename(&kept, &old)?;
    }
    Ok(())
}

/// Where the copy of a file is; none for one without a name.
fn place(dir: &Path, n: usize, source: &Source) -> Option<PathBuf> {
    if n == 0 { Some(dir.join(MAIN)) } else { Some(dir.join("conf.d").join(source.path.file_name()?)) }
}

/// Whether a configuration is the one that is kept.
pub(crate) fn is_kept_now(config: &Config) -> bool {
    is_kept(&folder(&config.data_dir), &config.sources)
}

/// Whether these very files are kept, and no others.
fn is_kept(kept: &Path, sources: &[Source]) -> bool {
    let is_there = |(n, source): (usize, &Source)| {
        place(kept, n, source).is_none_or(|path| fs::read(path).is_ok_and(|b| b == source.text.as_bytes()))
    };
    let more = fs::read_dir(kept.join("conf.d")).map_or(0, Iterator::count);
    more + 1 == sources.len() && sources.iter().enumerate().all(is_there)
}

fn gone(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The last good configuration, for a start with files that are refused for `mistakes`; none if none was kept or it
/// does not hold any more. A later reload reads the files of `path` again.
pub fn load_last_good(path: &Path, mistakes: &Mistakes) -> Option<Config> {
    let data_dir = data_dir(path);
    [folder(&data_dir), data_dir.join("last-good.old")].into_iter().find_map(|dir| {
        // All of it is in the copy, also what the cloud had given.
        let main = dir.join(MAIN);
        let mut config = Config::read_from(&main, &read_sources(&main).ok()?).ok()?;
        path.clone_into(&mut config.file);
        config.instead_of = mistakes.0.iter().map(ToString::to_string).collect();
        Some(config)
    })
}

/// Where the data are, as far as files with mistakes tell it.
fn data_dir(path: &Path) -> PathBuf {
    data_dir_of(&read(path).unwrap_or_default())
}

/// The same of files already read.
pub(crate) fn data_dir_of(sources: &[Source]) -> PathBuf {
    let told = sources.iter().rev().find_map(|source| match source.text.parse::<toml::Table>() {
        Ok(table) => Some(PathBuf::from(table.get("gateway")?.get("data_dir")?.as_str()?)),
        Err(_) => line_of(&source.text),
    });
    told.unwrap_or_else(|| DATA_DIR.into())
}

/// `data_dir` of a file that is no TOML as a whole.
fn line_of(text: &str) -> Option<PathBuf> {
    let line = text.lines().find(|l| l.trim_start().starts_with("data_dir"))?;
    let table = line.parse::<toml::Table>().ok()?;
    Some(PathBuf::from(table.get("data_dir")?.as_str()?))
}

#[cfg(test)]
#[path = "last_good_tests.rs"]
mod tests;
