//! What the buffer's history is to those who show it.

use common::{PointId, Sample};

/// Which samples are given when there are more than were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// those with the latest source times
    Newest,
    /// those with the earliest
    Oldest,
}

/// Samples that the box still has.
pub trait History: Send + Sync {
    /// At most `limit` samples of some points with a source time in `from_us..=to_us`, in order of source time. Reads
    /// files: call it from a thread that may block.
    fn samples(&self, points: &[PointId], from_us: i64, to_us: i64, limit: usize, keep: Keep) -> Vec<Sample>;
}
