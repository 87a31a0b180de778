//! What the buffer is to the rest of the gateway: an append-only log of frames with durable watermarks,
//! read by cursors, freed only by end-to-end acks. `gateway-store` is the one implementation; the trait
//! stands here because siblings do not know each other.

use std::sync::Arc;

use async_trait::async_trait;
use common::api::BufferHealth;
use common::command::CommandUpdate;
use common::wire::{Body, Known, Snapshot, StreamRange};
use common::{Classes, Incarnation, IntervalSet, SchemaHash};
use tokio::sync::watch;

use crate::registry::Registry;

/// A frame's name for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// Incarnation.
    pub incarnation: Incarnation,
    /// Sequence, from 1.
    pub seq: u64,
}

/// Up to where the log is written and durable, in the current incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermark {
    /// Last sequence appended; 0 if none.
    pub head: u64,
    /// Last sequence on disk: it and all before it survive a power cut.
    pub durable: u64,
}

/// Why the log did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk refuses. The log goes on trying; what it cannot keep is counted and told as a gap.
    #[error("buffer cannot write: {detail}")]
    Write {
        /// What the system said.
        detail: String,
    },
    /// The frames are no longer there, or never were.
    #[error("no frame {seq} of {incarnation}")]
    Gone {
        /// Incarnation.
        incarnation: Incarnation,
        /// Sequence.
        seq: u64,
    },
    /// Stored bytes are damaged.
    #[error("damaged record: {detail}")]
    Damaged {
        /// Where and how.
        detail: String,
    },
    /// The log has gone over to another schema.
    #[error("the configuration changed meanwhile")]
    Renewed,
    /// The log is closed.
    #[error("buffer is closed")]
    Closed,
}

/// Frames that the cloud had acknowledged and lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Those that are still here, and are sent again.
    pub again: u64,
    /// Those that are not: told as gaps.
    pub gone: u64,
    /// Those that may be in files that cannot be read now: sent again once a start has read them, else told then.
    pub unread: u64,
}

/// The buffer.
#[async_trait]
pub trait FrameLog: Send + Sync {
    /// The incarnation of this boot.
    fn incarnation(&self) -> Incarnation;

    /// Appends a frame and returns its name at once. It is durable within the log's sync interval.
    /// Samples update the table behind `snapshot` in the same step.
    ///
    /// # Errors
    /// When the log cannot take it.
    fn append(&self, body: Body) -> Result<FrameId, LogError>;

    /// Appends a frame whose points' numbers are of this schema.
    ///
    /// # Errors
    /// `Renewed` when the log has gone over to another one; else as `append`.
    fn append_of(&self, _schema: SchemaHash, body: Body) -> Result<FrameId, LogError> {
        self.append(body)
    }

    /// Goes over to a later generation of the registry: frames appended after this are of its schema.
    fn renew(&self, _registry: &Arc<Registry>) {}

    /// Waits until a frame of this boot is on disk, asking for an fdatasync now.
    ///
    /// # Errors
    /// When it cannot be brought to disk; the caller must act as if it is not there.
    async fn durable(&self, frame: FrameId) -> Result<(), LogError>;

    /// Watches head and durable watermark of this boot.
    fn watermark(&self) -> watch::Receiver<Watermark>;

    /// Current values as of the head, split to fit a message; empty if there are none.
    fn snapshot(&self) -> Vec<Snapshot>;

    /// What the log holds, oldest incarnation first, the current one last.
    fn ranges(&self) -> Vec<StreamRange>;

    /// Hashes of the schemas that the frames in the log refer to, the current one last.
    fn schemas(&self) -> Vec<SchemaHash>;

    /// Classes of the points of a schema that it holds frames of, or of the current one.
    fn classes(&self, _schema: SchemaHash) -> Classes {
        Classes::default()
    }

    /// Canonical JSON of a schema.
    fn schema_json(&self, hash: SchemaHash) -> Option<Vec<u8>>;

    /// Reads encoded frames of an incarnation from `from` on, in order, at most `max_bytes` (but at least
    /// one frame). Empty if there is none at or after `from`. Reads files: call it off the runtime's
    /// hot path (it is fast for what was appended last).
    ///
    /// # Errors
    /// When records are damaged.
    fn read(
        &self,
        incarnation: Incarnation,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, LogError>;

    /// Takes note that the cloud has these frames for ever; frees what may be freed.
    ///
    /// # Errors
    /// When the note cannot be kept; it will be asked for again.
    fn ack(&self, known: &[Known]) -> Result<(), LogError>;

    /// Takes back acknowledgements of frames that the cloud lacks now, as far as it says what it has of their
    /// incarnation. What is no longer here is told as a gap.
    fn lacks(&self, _known: &[Known]) -> Lacking {
        Lacking::default()
    }

    /// All acknowledgements that are remembered, also of incarnations that are no longer here, those first.
    fn acks(&self) -> Vec<Known> {
        Vec::new()
    }

    /// A reader beside the cloud still wants the frames from `from` on: they are kept when there is room, up to
    /// `lag_bytes` of the newest. It never makes the log drop what the cloud lacks.
    fn hold(&self, _reader: &str, _from: FrameId, _lag_bytes: u64) {}

    /// What the cloud has acknowledged of an incarnation.
    fn acked(&self, incarnation: Incarnation) -> IntervalSet;

    /// The last update of every command that the log still knows, oldest first: for dedup after a
    /// restart, and to find intents without a result.
    fn commands(&self) -> Vec<CommandUpdate>;

    /// A small durable note, such as the switch's position; rebuilt or absent if the state was lost.
    fn note(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps a small durable note.
    ///
    /// # Errors
    /// When it cannot be brought to disk.
    fn set_note(&self, key: &str, value: &[u8]) -> Result<(), LogError>;

    /// How the buffer fares.
    fn health(&self) -> BufferHealth;
}
