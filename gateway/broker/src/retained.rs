//! Retained messages. The router's own are not used: it gives a new subscriber at most 200 of them, and takes
//! any empty message as a deletion; and these survive its restart.

use std::collections::BTreeMap;

use bytes::Bytes;
use gateway_core::messages::matches;

/// Retained messages by topic, bounded in number and bytes.
#[derive(Debug)]
pub(crate) struct Retained {
    messages: BTreeMap<String, Bytes>,
    bytes: usize,
    limit: (usize, usize),
}

impl Retained {
    pub(crate) fn new(limit: (usize, usize)) -> Self {
        Self { messages: BTreeMap::new(), bytes: 0, limit }
    }

    /// Keeps a message, or deletes the one of its topic if it is empty. False if there is no room: then the
    /// old one is gone as well, because it is no longer true.
    #[must_use]
    pub(crate) fn set(&mut self, topic: &str, payload: &Bytes) -> bool {
        if let Some(old) = self.messages.get_mut(topic)
            && !payload.is_empty()
            && self.bytes - old.len() + payload.len() <= self.limit.1
        {
            self.bytes = self.bytes - old.len() + payload.len();
            *old = payload.clone();
            return true;
        }
        if let Some(old) = self.messages.remove(topic) {
            self.bytes -= old.len() + topic.len();
        }
        if payload.is_empty() {
            return true;
        }
        let size = payload.len() + topic.len();
        if self.messages.len() >= self.limit.0 || self.bytes + size > self.limit.1 {
            return false;
        }
        self.bytes += size;
        self.messages.insert(topic.to_owned(), payload.clone());
        true
    }

    /// The messages that match a filter, by topic.
    pub(crate) fn matching(&self, filter: &str) -> Vec<(String, Bytes)> {
        let pair = |(t, p): (&String, &Bytes)| (t.clone(), p.clone());
        if let Some(payload) = self.messages.get(filter) {
            return vec![(filter.to_owned(), payload.clone())];
        }
        self.messages.iter().filter(|(t, _)| matches(t, filter)).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_of_a_topic_is_kept_and_an_empty_one_deletes_it() {
        let mut r = Retained::new((10, 1000));
        assert!(r.set("a/b", &"1".into()));
        assert!(r.set("a/b", &"22".into()));
        assert!(r.set("a/c", &"3".into()));
        assert_eq!(r.matching("a/+"), [("a/b".into(), "22".into()), ("a/c".into(), "3".into())]);
        assert!(r.set("a/b", &Bytes::new()));
        assert_eq!(r.matching("#"), [("a/c".into(), "3".into())]);
        assert_eq!(r.bytes, 4);
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let mut r = Retained::new((2, 20));
        assert!(r.set("a", &"1".into()) && r.set("b", &"1".into()));
        assert!(!r.set("c", &"1".into()));
        assert!(!r.set("a", &Bytes::from(vec![0; 30])));
        assert_eq!(r.matching("#"), [("b".into(), "1".into())]);
        assert_eq!(r.bytes, 2);
    }
}
