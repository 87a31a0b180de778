//! Some room of the disk that is taken beforehand and given back when the disk is full: what is dropped then must be
//! told first, and to tell it takes a few bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::disk::{Disk, Kind, write_all};
use crate::free::is_full;

/// Name of the file.
pub(crate) const NAME: &str = "reserve";
/// Pause after a refusal of the disk before the room is taken again.
const PAUSE: Duration = Duration::from_secs(10);

/// The file that takes it.
#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// What is wanted.
    bytes: u64,
    /// What is held: less where the disk had no more.
    held: u64,
    not_before: Option<Instant>,
}

impl Reserve {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> Self {
        let path = dir.join(NAME);
        let held = match disk.kind(&path) {
            Ok(Kind::File(size)) if size <= bytes => size,
            _ => 0,
        };
        Self { disk, path, bytes, held, not_before: None }
    }

    /// Takes what is lacking of the room; if the disk has it not, later.
    pub(crate) fn take(&mut self) {
        if self.not_before.is_none_or(|at| Instant::now() >= at) {
            self.take_now();
        }
    }

    /// The same also just after a refusal: for when something was freed.
    pub(crate) fn take_now(&mut self) {
        if self.held == self.bytes {
            return;
        }
        match self.fill() {
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(%error, "no room to keep in reserve");
                self.give();
            }
        }
        if self.held < self.bytes {
            self.not_before = Some(Instant::now() + PAUSE);
        }
    }

    /// Fills the file up, on a full disk as far as that goes: what is left of it is better here than in the log, which
    /// without a note could not free anything.
    fn fill(&mut self) -> io::Result<()> {
        let file = if self.held > 0 {
            self.disk.open(&self.path, true)?
        } else {
            let _ = self.disk.remove(&self.path);
            self.disk.create(&self.path)?
        };
        // Bytes that no file system can make smaller.
        let mut state = 0x9E37_79B9_7F4A_7C15u64 ^ self.held;
        let noise = (self.held..self.bytes).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        });
        let noise: Vec<u8> = noise.collect();
        match write_all(&*file, &noise, self.held) {
            Err(e) if !is_full(&e) => return Err(e),
            _ => file.sync()?,
        }
        self.held = file.size()?.min(self.bytes);
        Ok(())
    }

    /// Gives the room back.
    pub(crate) fn give(&mut self) {
        let _ = self.disk.remove(&self.path);
        self.held = 0;
    }
}
