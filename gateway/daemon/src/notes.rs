//! Where drivers keep what they remember: a file for each note, beside the buffer. Not the log's notes, which the
//! command path relies on: these are there before the buffer is open, and can all be lost.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gateway_core::Notes;

/// Notes as files of a folder.
pub(crate) struct NoteFiles {
    dir: PathBuf,
}

/// A longer note is a mistake.
const LONGEST: u64 = 16 * 1024 * 1024;

impl NoteFiles {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("notes") }
    }

    /// A name for any key: what could mean something in a path is written as its code.
    fn path(&self, key: &str) -> PathBuf {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let name =
            key.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") });
        self.dir.join(format!("{}.note", name.collect::<String>()))
    }

    fn write(&self, key: &str, value: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let path = self.path(key);
        let beside = path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    }
}

impl Notes for NoteFiles {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key);
        fs::metadata(&path).ok().filter(|m| m.len() <= LONGEST)?;
        fs::read(path).ok()
    }

    fn set(&self, key: &str, value: &[u8]) {
        if let Err(error) = self.write(key, value) {
            tracing::warn!(key, %error, "note not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_and_no_key_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let notes = NoteFiles::new(dir.path());
        assert_eq!(notes.get("modbus/holes/rs485"), None);
        for key in ["modbus/holes/rs485", "../../etc/passwd", "10.0.0.1:502", ""] {
            notes.set(key, key.as_bytes());
            notes.set(key, b"again");
            assert_eq!(NoteFiles::new(dir.path()).get(key).as_deref(), Some(&b"again"[..]));
        }
        let outside = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(outside, 1);
    }
}
