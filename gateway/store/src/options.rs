//! What the buffer can be told, and why it cannot be opened.

use common::Opening;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::contents::Kinds;
use crate::disk::{Disk, SystemDisk};
use crate::encrypt::Keys;

/// What goes when the quota is reached and the cloud lacks all that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest samples, in whole segments.
    #[default]
    DropOldest,
    /// The newest: samples are refused until there is room. What is not samples is taken.
    DropNewest,
}

/// How the buffer is set up. Frames are samples, each of one class of points, or records (events, alarms, audit, steps of
/// commands, gaps).
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made if absent. One process at a time.
    pub dir: PathBuf,
    /// Most bytes of segments on disk. Default 1 GiB, at least 256 KiB.
    pub quota_bytes: u64,
    /// Most bytes of them for segments that hold only records, so that a flood of events cannot expel all samples.
    /// Default a quarter of the quota, at least a segment, at most all of the quota.
    pub records_bytes: Option<u64>,
    /// Samples of normal points go at this age, whether the cloud has them or not. Default: never. Age is that of the clock at the
    /// frame's cut: what was cut by a clock that was not synchronised has none, and while it is not now, nothing has.
    pub max_age: Option<Duration>,
    /// The same for records. Default: never.
    pub records_max_age: Option<Duration>,
    /// Most bytes of segments that hold critical samples and no lesser ones. Default a quarter of the quota, at least a segment; at
    /// most all of the quota, or a quarter where the newest are refused.
    pub critical_bytes: Option<u64>,
    /// Most bytes of trends. Default: what the others leave.
    pub trend_bytes: Option<u64>,
    /// As `max_age`, of critical samples. Default: never.
    pub critical_max_age: Option<Duration>,
    /// As `max_age`, of trends. Default: never.
    pub trend_max_age: Option<Duration>,
    /// What goes when the quota is reached. Default: the oldest samples.
    pub overflow: Overflow,
    /// A frame is on disk at most this long after its append. Default and most: 100 ms.
    pub sync_interval: Duration,
    /// A segment is closed at this size. Default 16 MiB, at most a quarter of the quota.
    pub segment_bytes: u64,
    /// Whether acknowledged segments stay while there is room, for local history and for a cloud that
    /// lost its own. Default true.
    pub ring: bool,
    /// Most bytes of frames in memory that are not on disk. Beyond it `append` refuses. Default 8 MiB.
    pub tail_bytes: usize,
    /// Keys with which files are encrypted: the first for what is written from now on, the others for what was written
    /// with them. Default: none; what was written without a key is read in any case.
    pub keys: Keys,
    /// The file system of the log. Default: the system's.
    pub disk: Arc<dyn Disk>,
    /// Where it is told how far the opening is. Default: to nobody.
    pub opening: Opening,
}

impl Options {
    /// The defaults for a folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            quota_bytes: 1 << 30,
            records_bytes: None,
            max_age: None,
            records_max_age: None,
            critical_bytes: None,
            trend_bytes: None,
            critical_max_age: None,
            trend_max_age: None,
            overflow: Overflow::DropOldest,
            sync_interval: Duration::from_millis(100),
            segment_bytes: 16 << 20,
            ring: true,
            tail_bytes: 8 << 20,
            keys: Keys::default(),
            disk: Arc::new(SystemDisk),
            opening: Opening::default(),
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

    /// Most bytes of segments that hold only records.
    pub(crate) fn records_quota(&self) -> u64 {
        self.records_bytes.unwrap_or(self.quota_bytes / 4).clamp(self.segment_bytes, self.quota_bytes)
    }

    /// Most bytes of segments that hold nothing less than critical samples.
    pub(crate) fn critical_quota(&self) -> u64 {
        // Where others are refused they may not take what those have.
        let most =
            if self.overflow == Overflow::DropNewest { self.quota_bytes / 4 } else { self.quota_bytes };
        self.critical_bytes.unwrap_or(self.quota_bytes / 4).min(most).max(self.segment_bytes)
    }

    /// Most bytes of trends, if they have a bound of their own.
    pub(crate) fn trend_quota(&self) -> Option<u64> {
        self.trend_bytes.filter(|bytes| *bytes < self.quota_bytes)
    }

    /// At which age each kind goes.
    pub(crate) fn ages(&self) -> Ages {
        Ages {
            records: self.records_max_age,
            critical: self.critical_max_age,
            normal: self.max_age,
            trend: self.trend_max_age,
        }
    }

    /// What is kept in reserve for telling what a full disk costs.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        (self.quota_bytes / 64).min(1 << 20)
    }

    /// Most bytes of damaged files that are kept.
    pub(crate) fn quarantine_bytes(&self) -> u64 {
        (self.quota_bytes / 16).max(2 * self.segment_bytes)
    }
}

/// At which age frames go, by kind; none: never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ages {
    records: Option<Duration>,
    critical: Option<Duration>,
    normal: Option<Duration>,
    trend: Option<Duration>,
}

impl Ages {
    /// The least.
    pub(crate) fn least(self) -> Option<Duration> {
        [self.records, self.critical, self.normal, self.trend].into_iter().flatten().min()
    }

    /// Of which kinds something is so.
    pub(crate) fn map(self, is: impl Fn(Option<Duration>) -> bool) -> Kinds {
        let Self { records, critical, normal, trend } = self;
        Kinds { records: is(records), critical: is(critical), normal: is(normal), trend: is(trend) }
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
    /// It is encrypted, and not with a key that was given.
    #[error("{} is {detail}; give the key that it was written with, or move the buffer's folder away and lose what is in it", path.display())]
    Key {
        /// A file of it.
        path: PathBuf,
        /// Which key it wants.
        detail: String,
    },
    /// No random numbers for a new incarnation.
    #[error("no random source: {detail}")]
    Random {
        /// What the system said.
        detail: String,
    },
}
