//! Retained messages, bounded in number and bytes. A new subscriber is given them in steps, so that twenty
//! thousand of them hold up nobody.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use gateway_core::messages::{has_wildcard, matches};

use super::message::Message;

/// Messages looked at in one step.
const STEP: usize = 2000;

/// Retained messages by topic.
#[derive(Debug)]
pub(crate) struct Retained {
    messages: BTreeMap<Box<str>, Arc<Message>>,
    bytes: usize,
    /// How many have a time to live.
    mortal: usize,
    limit: (usize, usize),
}

/// What a step found.
pub(crate) enum Step {
    /// The next message.
    Found(Arc<Message>),
    /// Not done, and nothing yet: ask again later.
    Later(Box<str>),
    /// There is no more.
    End,
}

impl Retained {
    pub(crate) fn new(limit: (usize, usize)) -> Self {
        Self { messages: BTreeMap::new(), bytes: 0, mortal: 0, limit }
    }

    /// From now on; what is there stays.
    pub(crate) fn set_limit(&mut self, limit: (usize, usize)) {
        self.limit = limit;
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message of this size has a place.
    pub(crate) fn has_room(&self, topic: &str, size: usize) -> bool {
        match self.messages.get(topic) {
            Some(old) => self.bytes - old.size() + size <= self.limit.1.max(self.bytes),
            None => self.messages.len() < self.limit.0 && self.bytes + size <= self.limit.1,
        }
    }

    /// Keeps a message, or deletes the one of its topic if it is empty. False if there is no room: then the
    /// old one is gone as well, because it is no longer true. Also gives the one that was there.
    pub(crate) fn set(&mut self, message: &Arc<Message>) -> (bool, Option<Arc<Message>>) {
        let (room, size) = (self.has_room(&message.topic, message.size()), message.size());
        if room && !message.payload.is_empty() {
            self.bytes += size;
            self.mortal += usize::from(message.expires.is_some());
            // The key of a known topic stays: most retained messages are updates.
            let old = match self.messages.get_mut(&message.topic) {
                Some(slot) => Some(std::mem::replace(slot, message.clone())),
                None => self.messages.insert(message.topic.clone(), message.clone()),
            };
            self.bytes -= old.as_ref().map_or(0, |o| o.size());
            self.mortal -= usize::from(old.as_ref().is_some_and(|o| o.expires.is_some()));
            return (true, old);
        }
        let old = self.remove(&message.topic);
        (message.payload.is_empty(), old)
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<Arc<Message>> {
        let old = self.messages.remove(topic)?;
        self.bytes -= old.size();
        self.mortal -= usize::from(old.expires.is_some());
        Some(old)
    }

    /// The first message after `last` (by topic) that matches.
    pub(crate) fn next(&self, filter: &str, last: Option<&str>) -> Step {
        if !has_wildcard(filter) {
            return match (last, self.messages.get(filter)) {
                (None, Some(message)) => Step::Found(message.clone()),
                _ => Step::End,
            };
        }
        let prefix = filter.split(['+', '#']).next().unwrap_or_default();
        // `a/#` matches `a` as well, which comes before all of `a/`.
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let from = match last {
            Some(last) => Bound::Excluded(last),
            None => Bound::Included(prefix),
        };
        let mut seen = 0;
        for (topic, message) in self.messages.range::<str, _>((from, Bound::Unbounded)) {
            if !topic.starts_with(prefix) {
                return Step::End;
            }
            if matches(topic, filter) {
                return Step::Found(message.clone());
            }
            seen += 1;
            if seen == STEP {
                return Step::Later(topic.clone());
            }
        }
        Step::End
    }

    /// Every message, for the snapshot and readers inside of the gateway.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.values()
    }

    /// Takes out what has expired.
    pub(crate) fn expire(&mut self, now_us: i64) -> Vec<Arc<Message>> {
        if self.mortal == 0 {
            return Vec::new();
        }
        let gone: Vec<_> = self.messages.values().filter(|m| m.expired(now_us)).cloned().collect();
        for message in &gone {
            self.remove(&message.topic);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, payload: &str) -> Arc<Message> {
        Arc::new(Message::new(topic, payload.to_owned().into(), 0, true))
    }

    fn matching(r: &Retained, filter: &str) -> Vec<String> {
        let (mut last, mut all): (Option<Box<str>>, Vec<String>) = (None, Vec::new());
        loop {
            match r.next(filter, last.as_deref()) {
                Step::End => return all,
                Step::Later(at) => last = Some(at),
                Step::Found(m) => {
                    all.push(format!("{}={}", m.topic, String::from_utf8_lossy(&m.payload)));
                    last = Some(m.topic.clone());
                }
            }
        }
    }

    #[test]
    fn the_last_message_of_a_topic_is_kept_and_an_empty_one_deletes_it() {
        let mut r = Retained::new((10, 10_000));
        for (topic, payload) in [("a/b", "1"), ("a/b", "22"), ("a/c", "3"), ("a", "0"), ("a!", "x")] {
            assert!(r.set(&message(topic, payload)).0);
        }
        assert_eq!(matching(&r, "a/+"), ["a/b=22", "a/c=3"]);
        assert_eq!(matching(&r, "a/#"), ["a=0", "a/b=22", "a/c=3"]);
        assert_eq!(matching(&r, "a/b"), ["a/b=22"]);
        assert!(r.set(&message("a/b", "")).0);
        assert_eq!(matching(&r, "#"), ["a=0", "a!=x", "a/c=3"]);
        assert_eq!(r.bytes, r.all().map(|m| m.size()).sum::<usize>());
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let size = message("a", "1").size();
        let mut r = Retained::new((2, 3 * size));
        assert!(r.set(&message("a", "1")).0 && r.set(&message("b", "1")).0);
        assert!(!r.set(&message("c", "1")).0);
        assert!(!r.set(&message("a", &"x".repeat(3 * size))).0);
        assert_eq!(matching(&r, "#"), ["b=1"]);
        assert_eq!(r.bytes, size);
    }

    #[test]
    fn many_that_do_not_match_are_passed_over_in_steps() {
        let mut r = Retained::new((10_000, 10_000_000));
        for n in 0..5000 {
            r.set(&message(&format!("x/{n:04}/y"), "1"));
        }
        r.set(&message("x/9999/z", "1"));
        assert!(matches!(r.next("+/+/z", None), Step::Later(_)));
        assert_eq!(matching(&r, "+/+/z"), ["x/9999/z=1"]);
    }
}
