//! The configuration on disk: what stands there, and putting a new one in its place. All of it is checked by the gateway's own
//! program in a folder of its own before anything changes, each file appears whole, and what is replaced stays as a copy.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::super::check;
use crate::error::{Error, Result};
use crate::exit::Exit;

/// What others may do with a configuration: read it, the gateway's user among them. It holds no secret.
const MODE: u32 = 0o644;

/// What stands there.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) file: PathBuf,
    is_there: bool,
    /// The main file; empty if there is none.
    pub(super) main: toml::Table,
    /// Names of devices and lines, and places of devices, of all files.
    pub(super) taken: HashSet<String>,
    /// Those of the main file.
    taken_by_main: HashSet<String>,
    pub(super) devices: usize,
}

fn told(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |e| {
        let error = Error::new(Exit::Failed, format!("{}: {e}", path.display()));
        match e.kind() {
            io::ErrorKind::PermissionDenied => error.remedy("run it as root: sudo twinway init"),
            _ => error,
        }
    }
}

impl Standing {
    /// Reads it, and finds out whether a new one can be written there at all.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let file = std::path::absolute(file).map_err(told(file))?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let probe = folder.join(format!(".twinway-init-{}", std::process::id()));
        File::create_new(&probe).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::new(Exit::Failed, format!("there is no folder {}", folder.display()))
                    .remedy("install the gateway's package, or name a configuration with --config")
            }
            _ => told(folder)(e),
        })?;
        fs::remove_file(&probe).map_err(told(&probe))?;
        let mut standing = Self { is_there: file.exists(), file, ..Self::default() };
        if standing.is_there {
            let sources = common::config::read(&standing.file);
            let sources = sources.map_err(|m| Error::new(Exit::Failed, m.to_string()))?;
            for source in sources {
                let table: toml::Table = source.text.parse().map_err(|e: toml::de::Error| {
                    Error::new(Exit::Failed, format!("{} is not TOML: {e}", source.path.display()))
                        .remedy("mend it, or move it away and run init again")
                })?;
                standing.learn(&table);
                if source.path == standing.file {
                    standing.taken_by_main.clone_from(&standing.taken);
                    standing.main = table;
                }
            }
        }
        Ok(standing)
    }

    fn learn(&mut self, table: &toml::Table) {
        for (kind, key) in [("device", "name"), ("device", "asset"), ("line", "name")] {
            let entries = table.get(kind).and_then(toml::Value::as_array).into_iter().flatten();
            for entry in entries {
                self.devices += usize::from(kind == "device" && key == "name");
                self.taken.extend(entry.get(key).and_then(toml::Value::as_str).map(str::to_owned));
            }
        }
    }

    /// A text of the main file.
    pub(super) fn text(&self, section: &str, key: &str) -> Option<&str> {
        self.main.get(section)?.get(key)?.as_str()
    }

    /// A name that begins so, with a number, and that is free.
    pub(super) fn free(&self, begin: &str) -> String {
        let name = (1..).map(|n| format!("{begin}{n}")).find(|name| !self.taken.contains(name));
        name.unwrap_or_else(|| begin.to_owned())
    }

    /// The main file gives way: what its devices are called is free.
    pub(super) fn forget_main(&mut self) {
        let taken = std::mem::take(&mut self.taken_by_main);
        self.taken.retain(|name| !taken.contains(name));
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct New {
    /// The main file's text; none if it stays.
    pub(super) main: Option<String>,
    /// A further file in conf.d and its text.
    pub(super) beside: Option<(String, String)>,
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) files: Vec<PathBuf>,
    /// The copy of the main file before.
    pub(super) before: Option<PathBuf>,
    /// What the gateway's check warns of.
    pub(super) warnings: Vec<String>,
}

/// A folder of its own that goes with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("twinway-init-{}", uuid::Uuid::new_v4()));
        DirBuilder::new().mode(0o700).create(&path).map_err(told(&path))?;
        Ok(Self(path))
    }
}

/// Checks and writes. Nothing waits in between, so that it is not stopped half-way.
pub(super) fn write(standing: &Standing, mut new: New) -> Result<Written> {
    let folder = conf_d(&standing.file);
    if let Some((name, _)) = &mut new.beside {
        *name = free_in(&folder, name);
    }
    let mut written = Written { warnings: checked(standing, &new)?, ..Written::default() };
    if let Some((name, text)) = &new.beside {
        if !folder.is_dir() {
            fs::create_dir(&folder).map_err(told(&folder))?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).map_err(told(&folder))?;
        }
        let path = folder.join(name);
        put(&path, text, None)?;
        written.files.push(path);
    }
    if let Some(text) = &new.main {
        written.before = standing.is_there.then(|| keep(&standing.file)).transpose()?;
        put(&standing.file, text, standing.is_there.then_some(&standing.file))?;
        written.files.push(standing.file.clone());
    }
    Ok(written)
}

/// The name, or one like it that no file has: who gave a device another name may have left its file as it was.
fn free_in(folder: &Path, name: &str) -> String {
    let stem = name.strip_suffix(".toml").unwrap_or(name);
    let others = (2..).map(|n: u32| format!("{stem}-{n}.toml"));
    let is_free = |name: &String| fs::symlink_metadata(folder.join(name)).is_err();
    std::iter::once(name.to_owned()).chain(others).find(is_free).unwrap_or_else(|| name.to_owned())
}

fn conf_d(main: &Path) -> PathBuf {
    main.with_file_name("conf.d")
}

/// Puts a file in its place, with the owner and mode of `like`.
fn put(path: &Path, text: &str, like: Option<&PathBuf>) -> Result<()> {
    let like = like.and_then(|p| fs::metadata(p).ok());
    let mode = like.as_ref().map_or(MODE, |m| m.mode() & 0o777);
    common::files::replace(path, text.as_bytes(), mode).map_err(told(path))?;
    // Of the mode, the process's mask may have taken something away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(told(path))?;
    match like {
        Some(m) if fs::metadata(path).is_ok_and(|now| (now.uid(), now.gid()) != (m.uid(), m.gid())) => {
            chown(path, Some(m.uid()), Some(m.gid())).map_err(told(path))
        }
        _ => Ok(()),
    }
}

/// Copies a file to a name that is free.
fn keep(file: &Path) -> Result<PathBuf> {
    let named = |n: u32| {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(if n == 0 { ".before".to_owned() } else { format!(".before.{n}") });
        file.with_file_name(name)
    };
    let copy = (0..).map(named).find(|p| !p.exists()).unwrap_or_else(|| named(0));
    fs::copy(file, &copy).map_err(told(&copy))?;
    File::open(&copy).and_then(|f| f.sync_all()).map_err(told(&copy))?;
    Ok(copy)
}

/// What the gateway's own check says of all files as they will be.
fn checked(standing: &Standing, new: &New) -> Result<Vec<String>> {
    let staged = Folder::new()?;
    let name = standing.file.file_name().unwrap_or_default();
    let main = staged.0.join(name);
    let folder = conf_d(&main);
    fs::create_dir(&folder).map_err(told(&folder))?;
    for entry in fs::read_dir(conf_d(&standing.file)).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "toml" || e == "csv") && path.is_file() {
            fs::copy(&path, folder.join(entry.file_name())).map_err(told(&path))?;
        }
    }
    if let Some((name, text)) = &new.beside {
        let path = folder.join(name);
        fs::write(&path, text).map_err(told(&path))?;
    }
    match &new.main {
        Some(text) => fs::write(&main, text).map_err(told(&main))?,
        None => fs::copy(&standing.file, &main).map(drop).map_err(told(&standing.file))?,
    }
    let report = check::report(&main)?;
    let there = standing.file.parent().unwrap_or(Path::new("/"));
    let lines = |key: &str| -> Vec<String> {
        let one = |m: &serde_json::Value| {
            let file = m["file"].as_str().map(Path::new).unwrap_or(Path::new(""));
            let file = file.strip_prefix(&staged.0).map_or(file.to_owned(), |inner| there.join(inner));
            let line = m["line"].as_u64().map(|l| format!(":{l}")).unwrap_or_default();
            format!(
                "{}{line}: {}: {}",
                file.display(),
                m["key"].as_str().unwrap_or(""),
                m["message"].as_str().unwrap_or("")
            )
        };
        report[key].as_array().into_iter().flatten().map(one).collect()
    };
    if report["ok"] != true {
        return Err(Error::new(
            Exit::Failed,
            format!("the gateway's check refuses it:\n  {}", lines("mistakes").join("\n  ")),
        )
        .remedy(
            "nothing was written; mend what stands in conf.d if the mistake is there, and run init again",
        ));
    }
    Ok(lines("warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_is_known_and_names_are_free() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("g.toml");
        let none = Standing::read(&main).unwrap();
        assert!(!none.is_there && none.taken.is_empty());
        fs::write(&main, "[gateway]\nid = \"a\"\n[[device]]\nname = \"modbus1\"\nasset = \"p/modbus2\"\n")
            .unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        fs::write(
            dir.path().join("conf.d/b.toml"),
            "[[line]]\nname = \"serial1\"\n[[device]]\nname = \"x\"\n",
        )
        .unwrap();
        let mut standing = Standing::read(&main).unwrap();
        assert_eq!((standing.devices, standing.text("gateway", "id")), (2, Some("a")));
        assert_eq!([standing.free("modbus"), standing.free("serial")], ["modbus2", "serial2"]);
        standing.forget_main();
        assert_eq!([standing.free("modbus"), standing.free("serial")], ["modbus1", "serial2"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no probe is left");
        fs::write(&main, "[gateway\n").unwrap();
        assert!(Standing::read(&main).unwrap_err().to_string().contains("is not TOML"));
        let nowhere = Standing::read(&dir.path().join("none/g.toml")).unwrap_err();
        assert!(nowhere.to_string().contains("there is no folder"), "{nowhere}");
    }

    #[test]
    fn a_file_beside_the_main_one_takes_the_place_of_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let free = || free_in(dir.path(), "modbus1.toml");
        assert_eq!(free(), "modbus1.toml");
        fs::write(dir.path().join("modbus1.toml"), "").unwrap();
        assert_eq!(free(), "modbus1-2.toml");
        std::os::unix::fs::symlink("nowhere", dir.path().join("modbus1-2.toml")).unwrap();
        assert_eq!(free(), "modbus1-3.toml");
    }

    #[test]
    fn a_replaced_file_stays_as_a_copy_and_the_new_one_is_readable() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("g.toml");
        fs::write(&main, "old").unwrap();
        fs::set_permissions(&main, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(keep(&main).unwrap(), dir.path().join("g.toml.before"));
        assert_eq!(keep(&main).unwrap(), dir.path().join("g.toml.before.1"));
        put(&main, "new", Some(&main)).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o777;
        assert_eq!((fs::read_to_string(&main).unwrap().as_str(), mode(&main)), ("new", 0o640));
        put(&dir.path().join("h.toml"), "new", None).unwrap();
        assert_eq!(mode(&dir.path().join("h.toml")), 0o644);
    }
}
