//! The last good configuration: a copy of the files of one that has proven itself, kept beside the buffer, for an
//! unattended box whose files were spoilt. It is used only where the command line allows it: a box that runs on
//! what somebody has replaced must be wanted. Secrets are not copied: their files are named, as in the original.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use common::config::{Mistakes, Source, read};

use crate::config::Config;

/// The main file's name in the copy.
const MAIN: &str = "gateway.toml";
/// Where the data are if no file says.
const DATA_DIR: &str = "/var/lib/twinway";

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("last-good")
}

/// Keeps the files, the main one first, in place of those kept before. At any moment one whole copy is there.
pub(crate) fn keep(data_dir: &Path, sources: &[Source]) -> io::Result<()> {
    let (kept, new, old) = (folder(data_dir), data_dir.join("last-good.new"), data_dir.join("last-good.old"));
    let gone = |dir: &Path| match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    gone(&new)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(new.join("conf.d"))?;
    for (n, source) in sources.iter().enumerate() {
        let path = match source.path.file_name() {
            _ if n == 0 => new.join(MAIN),
            Some(name) => new.join("conf.d").join(name),
            None => continue,
        };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(source.text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(new.join("conf.d"))?.sync_all()?;
    File::open(&new)?.sync_all()?;
    gone(&old)?;
    if kept.exists() {
        fs::rename(&kept, &old)?;
    }
    fs::rename(&new, &kept)?;
    File::open(data_dir)?.sync_all()?;
    gone(&old)
}

/// The last good configuration, for a start with files that are refused for `mistakes`; none if none was kept or it
/// does not hold any more. A later reload reads the files of `path` again.
pub fn load_last_good(path: &Path, mistakes: &Mistakes) -> Option<Config> {
    let data_dir = data_dir(path);
    [folder(&data_dir), data_dir.join("last-good.old")].into_iter().find_map(|dir| {
        let mut config = Config::load(&dir.join(MAIN)).ok()?;
        path.clone_into(&mut config.file);
        config.instead_of = mistakes.0.iter().map(ToString::to_string).collect();
        Some(config)
    })
}

/// Where the data are, as far as files with mistakes tell it.
fn data_dir(path: &Path) -> PathBuf {
    let sources = read(path).unwrap_or_default();
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
