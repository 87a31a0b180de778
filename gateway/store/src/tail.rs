//! The tail: the newest frames in memory. Those that are not on disk must stay; some that are stay for
//! fast reading by the uplink.

use std::collections::VecDeque;
use std::sync::Arc;

use common::wire::FrameKind;
use common::{Class, IntervalSet, SchemaHash};
use tokio::time::Instant;

/// Bytes of frames that stay after they are on disk.
const RECENT_BYTES: usize = 256 << 10;

/// One frame in memory.
#[derive(Debug, Clone)]
pub(crate) struct TailFrame {
    pub(crate) seq: u64,
    pub(crate) bytes: Arc<[u8]>,
    /// Schema that its points refer to.
    pub(crate) schema: SchemaHash,
    pub(crate) kind: FrameKind,
    /// Of its samples.
    pub(crate) class: Class,
    /// Least and greatest source time of its samples.
    pub(crate) times: Option<(i64, i64)>,
    pub(crate) cut_us: i64,
    /// Whether the clock was synchronised then.
    pub(crate) synchronised: bool,
    /// When it came.
    pub(crate) at: Instant,
}

/// The newest frames, in order of their sequence.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    frames: VecDeque<TailFrame>,
    /// All up to this are on disk.
    pub(crate) durable: u64,
    bytes: usize,
    unsynced_bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, frame: TailFrame) {
        self.bytes += frame.bytes.len();
        self.unsynced_bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }

    /// Bytes that are not on disk.
    pub(crate) fn unsynced_bytes(&self) -> usize {
        self.unsynced_bytes
    }

    /// When the oldest frame that is not on disk came; none if all are.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.after(self.durable).next().map(|f| f.at)
    }

    /// The frames after `seq`.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &TailFrame> {
        let from = self.frames.partition_point(|f| f.seq <= seq);
        self.frames.range(from..)
    }

    /// Whether a frame in memory is of a schema.
    pub(crate) fn names(&self, schema: SchemaHash) -> bool {
        self.frames.iter().any(|f| f.schema == schema)
    }

    /// The first sequence in memory.
    pub(crate) fn first(&self) -> Option<u64> {
        self.frames.front().map(|f| f.seq)
    }

    /// All up to `seq` are on disk.
    pub(crate) fn set_durable(&mut self, seq: u64) {
        let synced: usize =
            self.after(self.durable).take_while(|f| f.seq <= seq).map(|f| f.bytes.len()).sum();
        self.unsynced_bytes -= synced;
        self.durable = self.durable.max(seq);
        while self.bytes > RECENT_BYTES && self.first().is_some_and(|s| s <= self.durable) {
            self.pop_front();
        }
    }

    /// Forgets frames that are on disk and are lost there, so that nobody is given what is told as missing.
    pub(crate) fn forget(&mut self, seqs: &IntervalSet) {
        let durable = self.durable;
        let gone = |f: &TailFrame| f.seq <= durable && seqs.contains(f.seq);
        self.bytes -= self.frames.iter().filter(|f| gone(f)).map(|f| f.bytes.len()).sum::<usize>();
        self.frames.retain(|f| !gone(f));
    }

    /// Frees frames that the cloud has, on disk or not: for when the disk refuses. Which of them are not.
    pub(crate) fn free_acked(&mut self, acked: &IntervalSet) -> IntervalSet {
        let mut freed = IntervalSet::new();
        while let Some(seq) = self.first().filter(|s| acked.contains(*s)) {
            if seq > self.durable {
                freed.insert(seq);
            }
            self.pop_front();
        }
        freed
    }

    fn pop_front(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.bytes.len();
            if frame.seq > self.durable {
                self.unsynced_bytes -= frame.bytes.len();
            }
        }
    }
}
