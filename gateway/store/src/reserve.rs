//! Some room of the disk that is taken beforehand and given back when the disk is full: what is dropped then must be
//! told first, and to tell it takes a few bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::disk::{Disk, Kind, write_all};

/// Pause after a refusal of the disk before the room is taken again.
const PAUSE: Duration = Duration::from_secs(10);

/// The file that takes it.
#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: usize,
    held: bool,
    not_before: Option<Instant>,
}

impl Reserve {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> Self {
        let path = dir.join("reserve");
        let held = matches!(disk.kind(&path), Ok(Kind::File(size)) if size == bytes);
        Self { disk, path, bytes: usize::try_from(bytes).unwrap_or(0), held, not_before: None }
    }

    /// Takes the room if it is not taken; if the disk has none, later.
    pub(crate) fn take(&mut self) {
        if self.not_before.is_none_or(|at| Instant::now() >= at) {
            self.take_now();
        }
    }

    /// The same also just after a refusal: for when something was freed.
    pub(crate) fn take_now(&mut self) {
        if self.held {
            return;
        }
        let _ = self.disk.remove(&self.path);
        // Bytes that no file system can make smaller.
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let noise = (0..self.bytes).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        });
        let noise: Vec<u8> = noise.collect();
        let taken = self.disk.create(&self.path).and_then(|file| {
            write_all(&*file, &noise, 0)?;
            file.sync()
        });
        match taken {
            Ok(()) => self.held = true,
            Err(error) => {
                tracing::debug!(%error, "no room to keep in reserve");
                let _ = self.disk.remove(&self.path);
                self.not_before = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// Gives the room back.
    pub(crate) fn give(&mut self) {
        if std::mem::take(&mut self.held) {
            let _ = self.disk.remove(&self.path);
        }
    }
}
