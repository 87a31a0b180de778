//! The buffer: an append-only segment log of frames, durable within a bounded time. What the cloud has acknowledged end to
//! end goes first; what goes without that, for the quota, a full disk, age, damage or an order, is told as a gap. sled beside it
//! keeps what can be rebuilt (acks, last commands).
//!
//! Way of a frame: `append` numbers and encodes it into the tail in memory; one writer thread brings the
//! tail to disk in groups and moves the durable watermark; `read` serves it from the tail or the segments.
//! The writer thread is the only one that touches segment files other than to read them.
//!
//! Every call to the file system goes through `disk`, so that tests can have it lose, refuse and damage.
//!
//! Not here: no network, and no knowledge of who reads.

mod acks;
mod blocks;
mod commands;
mod contents;
pub mod disk;
mod encrypt;
mod feed;
mod free;
mod gone;
mod history;
mod inner;
mod inspect;
mod kept;
mod notes;
mod options;
mod order;
mod quarantine;
mod record;
mod recover;
mod reserve;
mod retain;
mod segment;
mod stamps;
mod state;
mod store;
mod table;
mod tail;
mod tell;
mod walk;
mod writer;

pub use blocks::feed_blocks;
pub use encrypt::{Key, Keys};
pub use feed::{FeedOptions, feed};
pub use inspect::Exported;
pub use options::{OpenError, Options, Overflow};
pub use order::{DropError, Dropped};
pub use state::sled_statics;
pub use store::Store;

/// Of all that the buffer keeps: log, notes and state. Raised when a program of before can no longer read what this one writes: an update
/// across formats is taken only if a person says so, since there is no clean way back.
pub const FORMAT: u32 = 1;
