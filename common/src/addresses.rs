//! Where a program listens, in a file of its data folder: for programs beside it, also when ports were chosen by the system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Pause before a disk that refused the file is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The file `addresses.json`. Clones are the same one.
#[derive(Debug, Clone)]
pub struct AddressFile {
    path: PathBuf,
    /// How often it was written anew. Held while it is written.
    turn: Arc<Mutex<u64>>,
}

impl AddressFile {
    /// That of a data folder.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join("addresses.json"), turn: Arc::default() }
    }

    /// Writes it. If the disk refuses, it is asked again each second until it takes the file, or a later call has other
    /// addresses. To be called in a runtime.
    pub fn write(&self, addresses: &serde_json::Value) {
        let (text, turn) = (format!("{addresses}\n"), self.next_turn());
        let Err(error) = self.attempt(&text, turn) else { return };
        tracing::warn!(path = %self.path.display(), %error, "cannot write the addresses yet");
        let file = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                let (file, text) = (file.clone(), text.clone());
                let written = tokio::task::spawn_blocking(move || file.attempt(&text, turn)).await;
                if !matches!(written, Ok(Err(_))) {
                    return;
                }
            }
        });
    }

    fn next_turn(&self) -> u64 {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *turn += 1;
        *turn
    }

    /// Nothing is done in the turn of another.
    fn attempt(&self, text: &str, of: u64) -> io::Result<()> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if *turn != of {
            return Ok(());
        }
        let new = self.path.with_extension("json.new");
        std::fs::write(&new, text)?;
        std::fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(path: &Path) -> serde_json::Value {
        for _ in 0..2000 {
            if let Ok(text) = std::fs::read_to_string(path) {
                return serde_json::from_str(&text).expect("whole");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never written");
    }

    #[tokio::test]
    async fn what_a_disk_refuses_is_written_once_it_does_not_and_the_last_word_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        // There is no folder yet, so nothing can be written in it.
        let data = dir.path().join("data");
        let file = AddressFile::new(&data);
        file.write(&serde_json::json!({ "api": 1 }));
        file.write(&serde_json::json!({ "api": 2 }));
        std::fs::create_dir(&data).expect("a folder");
        assert_eq!(read(&data.join("addresses.json")).await["api"], 2);
        file.write(&serde_json::json!({ "api": 3 }));
        assert_eq!(read(&data.join("addresses.json")).await["api"], 3);
    }
}
