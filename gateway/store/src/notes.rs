//! Small durable notes, such as the switch's position, in one file of their own: written beside, synced,
//! renamed, folder synced. (A flush of sled does not survive a power cut, so they are not there.)

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, Kind, read_small, replace, sealed, unseal};
use crate::quarantine::Quarantine;

const MAX_BYTES: usize = 64 << 20;

/// All notes, and their file.
#[derive(Debug)]
pub(crate) struct Notes {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    all: BTreeMap<String, Vec<u8>>,
}

impl Notes {
    /// Reads them; what cannot be read is moved aside and there are none.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, quarantine: &Quarantine) -> Self {
        let path = dir.join("notes.json");
        let all = match (disk.kind(&path), read_small(&*disk, &path, MAX_BYTES)) {
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            (Ok(Kind::File(_)), Ok(bytes)) => parse(&bytes).unwrap_or_else(|| {
                quarantine.take(&path, "notes that are damaged");
                BTreeMap::new()
            }),
            (_, read) => {
                let why = read.err().map_or_else(|| "not a file".to_owned(), |e| e.to_string());
                quarantine.take(&path, &format!("notes that cannot be read: {why}"));
                BTreeMap::new()
            }
        };
        Self { disk, path, all }
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
        replace(&*self.disk, &self.path, &sealed(&json))
    }
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    serde_json::from_slice(unseal(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn notes_survive_and_damage_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let quarantine = Quarantine::open(Arc::new(SystemDisk), dir.path(), 1 << 20);
            Notes::open(Arc::new(SystemDisk), dir.path(), &quarantine)
        };
        open().set("switch", b"remote").unwrap();
        assert_eq!(open().get("switch").unwrap(), b"remote");
        let path = dir.path().join("notes.json");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[12] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(open().get("switch"), None);
        assert!(dir.path().join("quarantine/notes.json-1").exists());
        // A folder in its place stands in nobody's way.
        std::fs::create_dir(&path).unwrap();
        open().set("switch", b"local").unwrap();
        assert_eq!(open().get("switch").unwrap(), b"local");
    }
}
