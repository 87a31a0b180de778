//! What must survive a restart: persistent sessions with what waits for them, and retained messages. The core
//! appends records under its lock, which costs a copy; a task of its own brings them to disk in groups and tells
//! who waits how far the disk has come. No routing here.

mod files;
mod image;
mod record;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::core::Message;

pub(crate) use files::recover;
pub(crate) use image::Image;
pub(crate) use record::{Body, Record};
pub(crate) use writer::{Writer, run};

/// Bytes that wait for the disk before clients have to wait as well.
const FULL: usize = 16 * 1024 * 1024;

/// The journal's end in the core.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Records that are not on disk yet.
    pending: Vec<u8>,
    /// Topics whose retained message changed: only the last one is written.
    dirty: HashMap<Box<str>, Option<Arc<Message>>>,
    /// How many changes there were. The disk tells how many of them it has.
    seq: u64,
    highest: u64,
    /// How many snapshots there were.
    generation: u64,
    wake: Arc<Notify>,
    /// Somebody waits for the disk.
    urgent: bool,
}

impl Journal {
    /// A journal that goes on after number `highest`; `wake` tells its writer that there is something.
    pub(crate) fn new(highest: u64, wake: Arc<Notify>) -> Self {
        Self {
            pending: Vec::new(),
            dirty: HashMap::new(),
            seq: 0,
            highest,
            generation: 0,
            wake,
            urgent: false,
        }
    }

    /// A number for a session or a message that was never used before.
    pub(crate) fn number(&mut self) -> u64 {
        self.highest += 1;
        self.highest
    }

    /// Notes a change. The number given is what the disk must have reached for it.
    pub(crate) fn append(&mut self, record: &Record<'_>) -> u64 {
        record::encode(record, &mut self.pending);
        self.changed()
    }

    /// Notes a message once, however many wait for it, and gives its number.
    pub(crate) fn store(&mut self, message: &Message) -> u64 {
        if !message.is_stored(self.generation) {
            let mid = if message.stored() == 0 { self.number() } else { message.stored() };
            message.set_stored(mid, self.generation);
            self.append(&Record::Message { mid, message: Body::of(message) });
        }
        message.stored()
    }

    /// A snapshot is made: what is not in it has to be written anew.
    pub(crate) fn renew(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Notes what a topic retains now.
    pub(crate) fn retain(&mut self, topic: &str, message: Option<Arc<Message>>) -> u64 {
        match self.dirty.get_mut(topic) {
            Some(slot) => *slot = message,
            None => _ = self.dirty.insert(topic.into(), message),
        }
        self.changed()
    }

    fn changed(&mut self) -> u64 {
        if self.pending.is_empty() && self.dirty.is_empty() || self.pending.len() > FULL / 4 {
            self.wake.notify_one();
        }
        self.seq += 1;
        self.seq
    }

    /// Somebody waits until the disk has everything so far.
    pub(crate) fn hurry(&mut self) {
        if !self.urgent {
            self.urgent = true;
            self.wake.notify_one();
        }
    }

    /// Whether clients should wait: the disk does not keep up.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() > FULL
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.dirty.is_empty()
    }

    /// Everything that waits, for the disk, and its last number.
    pub(crate) fn take(&mut self) -> (Vec<u8>, u64) {
        for (topic, message) in self.dirty.drain() {
            match &message {
                Some(m) => record::encode(&Record::Retained { message: Body::of(m) }, &mut self.pending),
                None => record::encode(&Record::RetainedEnd { topic: &topic }, &mut self.pending),
            }
        }
        self.urgent = false;
        (std::mem::take(&mut self.pending), self.seq)
    }
}

/// Applies every record in `bytes`.
#[cfg(test)]
pub(crate) fn replay(mut bytes: &[u8], image: &mut Image) {
    while let record::Found::Record(record, used) = record::decode(bytes) {
        image.apply(record);
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty());
}
