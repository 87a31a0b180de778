//! What the buffer can be told, and why it cannot be opened.

use std::path::PathBuf;
use std::time::Duration;

/// How the buffer is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made if absent. One process at a time.
    pub dir: PathBuf,
    /// Most bytes of segments on disk. Default 1 GiB, at least 256 KiB.
    pub quota_bytes: u64,
    /// A frame is on disk at most this long after its append. Default and most: 100 ms.
    pub sync_interval: Duration,
    /// A segment is closed at this size. Default 16 MiB, at most a quarter of the quota.
    pub segment_bytes: u64,
    /// Whether acknowledged segments stay while there is room, for local history and for a cloud that
    /// lost its own. Default true.
    pub ring: bool,
    /// Most bytes of frames in memory that are not on disk. Beyond it `append` refuses. Default 8 MiB.
    pub tail_bytes: usize,
}

impl Options {
    /// The defaults for a folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            quota_bytes: 1 << 30,
            sync_interval: Duration::from_millis(100),
            segment_bytes: 16 << 20,
            ring: true,
            tail_bytes: 8 << 20,
        }
    }

    /// The same within their limits.
    pub(crate) fn bounded(mut self) -> Self {
        self.quota_bytes = self.quota_bytes.max(256 << 10);
        self.segment_bytes = self.segment_bytes.clamp(16 << 10, self.quota_bytes / 4);
        self.sync_interval = self.sync_interval.min(Duration::from_millis(100));
        self.tail_bytes = self.tail_bytes.max(64 << 10);
        self
    }
}

/// Why the buffer cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("buffer in {} is in use by another process", dir.display())]
    Locked {
        /// Its folder.
        dir: PathBuf,
    },
    /// The folder cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No random numbers for a new incarnation.
    #[error("no random source: {detail}")]
    Random {
        /// What the system said.
        detail: String,
    },
}
