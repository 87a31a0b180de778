//! Readers inside of the gateway: they get messages straight from the core, without a packet in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use gateway_core::Message as Plain;
use gateway_core::messages::matches;
use tokio::sync::mpsc;

use super::tree::{Entry, Target};
use super::{Core, Message, count};

/// Messages below this are bounded by their number alone.
const LARGE: usize = 1024;
/// Bytes of larger messages that may wait for a reader.
const MOST_HELD: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Tap {
    filters: Vec<String>,
    to: mpsc::Sender<Plain>,
    /// Bytes of large messages that it was given and has not let go.
    held: Arc<AtomicUsize>,
}

/// A payload whose bytes count as long as somebody has it.
struct Counted {
    payload: Bytes,
    size: usize,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.size, Ordering::Relaxed);
    }
}

impl Core {
    /// Gives a reader every message from now on that matches one of `filters`, retained ones first.
    pub(crate) fn tap(&mut self, filters: Vec<String>, to: mpsc::Sender<Plain>, now_us: i64) {
        self.drop_closed_taps();
        let number = self.taps.iter().position(Option::is_none).unwrap_or_else(|| {
            self.taps.push(None);
            self.taps.len() - 1
        });
        let mut given = HashSet::new();
        for filter in &filters {
            let target = Target::Tap(number);
            let entry = Entry { target, qos: 2, no_local: false, as_published: false, id: None };
            self.tree.insert(filter, entry);
        }
        // One walk for all filters: a device may have thousands of topics.
        let exact: HashSet<&str> = filters.iter().map(String::as_str).collect();
        let wild: Vec<&String> = filters.iter().filter(|f| f.contains(['+', '#'])).collect();
        let mut old: Vec<Arc<Message>> = Vec::new();
        for message in self.retained.all().filter(|m| !m.expired(now_us)) {
            let topic = &*message.topic;
            if (exact.contains(topic) || wild.iter().any(|f| matches(topic, f))) && given.insert(topic) {
                old.push(message.clone());
            }
        }
        let tap = Tap { filters, to, held: Arc::default() };
        for message in old {
            tap.give(&message, true, &self.losses.inbox_full);
        }
        if let Some(slot) = self.taps.get_mut(number) {
            *slot = Some(tap);
        }
    }

    pub(super) fn give(&mut self, number: usize, message: &Message) {
        if let Some(Some(tap)) = self.taps.get(number) {
            tap.give(message, false, &self.losses.inbox_full);
        }
    }

    pub(super) fn drop_closed_taps(&mut self) {
        for (number, slot) in self.taps.iter_mut().enumerate() {
            if let Some(tap) = slot.take_if(|t| t.to.is_closed()) {
                for filter in &tap.filters {
                    self.tree.remove(filter, Target::Tap(number));
                }
            }
        }
    }
}

impl Tap {
    fn give(&self, message: &Message, retained: bool, full: &std::sync::atomic::AtomicU64) {
        let size = message.size();
        let payload = if retained || size < LARGE {
            // What is retained is there anyway.
            message.payload.clone()
        } else if self.held.load(Ordering::Relaxed) + size > MOST_HELD {
            return count(full);
        } else {
            self.held.fetch_add(size, Ordering::Relaxed);
            let held = self.held.clone();
            Bytes::from_owner(Counted { payload: message.payload.clone(), size, held })
        };
        let plain = Plain { topic: message.topic.as_ref().to_owned(), payload, retained };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.to.try_send(plain) {
            count(full);
        }
    }
}
