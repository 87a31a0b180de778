//! Small durable notes, such as the switch's position, in one file of their own: written beside, synced,
//! renamed, folder synced. (A flush of sled does not survive a power cut, so they are not there.)

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// All notes, and their file.
#[derive(Debug)]
pub(crate) struct Notes {
    path: PathBuf,
    all: BTreeMap<String, Vec<u8>>,
}

impl Notes {
    /// Reads them; a damaged file is set aside and there are none.
    pub(crate) fn open(dir: &Path) -> Self {
        let path = dir.join("notes.json");
        let all = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).unwrap_or_else(|| {
                let aside = set_aside(&path);
                tracing::error!(path = %path.display(), aside = ?aside, "notes are damaged and set aside");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self { path, all }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.all.get(key).cloned()
    }

    /// Keeps a note; on an error the note is as before.
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        let old = self.all.insert(key.to_owned(), value.to_vec());
        let kept = self.write();
        if kept.is_err() {
            match old {
                Some(old) => self.all.insert(key.to_owned(), old),
                None => self.all.remove(key),
            };
        }
        kept
    }

    fn write(&self) -> io::Result<()> {
        let json = serde_json::to_vec(&self.all).map_err(io::Error::other)?;
        let beside = self.path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(format!("{:08x}\n", crc32fast::hash(&json)).as_bytes())?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let (crc, json) = bytes.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc.get(..8)?).ok()?, 16).ok()?;
    if crc32fast::hash(json) != crc {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Renames `path` to `<path>.damaged-<n>` with the first free number.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for n in 1..1000 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other("too many set aside"))
}

/// Makes creations, renames and removals in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_and_damage_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = Notes::open(dir.path());
        notes.set("switch", b"remote").unwrap();
        assert_eq!(Notes::open(dir.path()).get("switch").unwrap(), b"remote");
        let path = dir.path().join("notes.json");
        let mut bytes = fs::read(&path).unwrap();
        bytes[12] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Notes::open(dir.path()).get("switch"), None);
        assert!(dir.path().join("notes.json.damaged-1").exists());
    }
}
