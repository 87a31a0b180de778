//! How far a publisher has come in the buffer: what its broker has taken, by incarnation, as sets, because live frames
//! may overtake older ones. Kept as a note; what was taken after the last note comes again after a crash.

use std::collections::BTreeMap;

use common::wire::StreamRange;
use common::{Incarnation, IntervalSet};
use gateway_core::{FrameId, FrameLog};

/// Key of a publisher's note, and its name as a reader of the buffer.
pub(crate) fn key(name: &str) -> String {
    format!("publish/{name}/cursor")
}

/// A publisher is gone: the buffer keeps nothing for it any more. Its note stays, for when it comes back.
pub fn release(name: &str, log: &dyn FrameLog) {
    log.hold(&key(name), FrameId { incarnation: log.incarnation(), seq: u64::MAX }, 0);
}

/// The cursor.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    key: String,
    taken: BTreeMap<Incarnation, IntervalSet>,
    /// Sent in this session and not known to be taken.
    sent: BTreeMap<Incarnation, IntervalSet>,
    dirty: bool,
}

/// A run of frames of one incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) incarnation: Incarnation,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Run {
    /// What is missing of it where only `present` is there, in order, up to the last of them; all if there is none.
    pub(crate) fn without(self, present: impl Iterator<Item = u64>) -> Vec<Run> {
        let (mut missing, mut next) = (Vec::new(), self.first);
        for seq in present {
            if seq > next {
                missing.push(Run { first: next, last: seq - 1, ..self });
            }
            next = seq + 1;
        }
        if next == self.first {
            missing.push(self);
        }
        missing
    }
}

impl Cursor {
    /// As the note says; without one everything that is there now counts as taken: a new publisher begins now.
    pub(crate) fn load(name: &str, log: &dyn FrameLog) -> Self {
        let key = key(name);
        let noted = log.note(&key).and_then(|note| serde_json::from_slice(&note).ok());
        let taken = noted.unwrap_or_else(|| {
            let all = log.ranges().into_iter();
            all.map(|r| (r.incarnation, IntervalSet::from(vec![(1, r.last)]))).collect()
        });
        Self { key, taken, sent: BTreeMap::new(), dirty: true }
    }

    /// A new session: what was sent and not taken is to be sent again.
    pub(crate) fn restart(&mut self) {
        self.sent.clear();
    }

    /// The oldest run that was neither taken nor sent, before `end` of the current incarnation.
    pub(crate) fn next(&self, ranges: &[StreamRange], end: FrameId) -> Option<Run> {
        ranges.iter().find_map(|r| {
            let last = if r.incarnation == end.incarnation { r.last.min(end.seq) } else { r.last };
            self.missing(r.incarnation, 1, last)
        })
    }

    /// The first run from `from` to `last` that was neither taken nor sent.
    pub(crate) fn missing(&self, incarnation: Incarnation, from: u64, last: u64) -> Option<Run> {
        let empty = IntervalSet::new();
        let taken = self.taken.get(&incarnation).unwrap_or(&empty);
        let sent = self.sent.get(&incarnation).unwrap_or(&empty);
        let mut first = from.max(1);
        loop {
            let next = sent.first_missing(taken.first_missing(first)?)?;
            if next == first {
                break;
            }
            first = next;
        }
        if first > last {
            return None;
        }
        let begins = [taken, sent].into_iter().filter_map(|set| set.first_from(first));
        let end = begins.min().map_or(last, |s| last.min(s - 1));
        Some(Run { incarnation, first, last: end })
    }

    pub(crate) fn sent(&mut self, run: Run) {
        self.sent.entry(run.incarnation).or_default().insert_range(run.first, run.last);
    }

    pub(crate) fn taken(&mut self, run: Run) {
        self.taken.entry(run.incarnation).or_default().insert_range(run.first, run.last);
        self.dirty = true;
    }

    /// Key of its note.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Tells the buffer what it is to hold, and gives the note if it changed since the last.
    pub(crate) fn keep(&mut self, log: &dyn FrameLog, lag_bytes: u64) -> Option<Vec<u8>> {
        let current = log.incarnation();
        let ranges = log.ranges();
        let head = log.watermark().borrow().head;
        let held = |i: &Incarnation| *i == current || ranges.iter().any(|r| r.incarnation == *i);
        self.taken.retain(|i, _| held(i));
        self.sent.retain(|i, _| held(i));
        let first_missing = |i: Incarnation| {
            let taken = self.taken.get(&i);
            taken.map_or(Some(1), |t| t.first_missing(1)).unwrap_or(u64::MAX)
        };
        let oldest = ranges.iter().find(|r| first_missing(r.incarnation) <= r.last);
        let from = oldest.map_or(FrameId { incarnation: current, seq: head + 1 }, |r| FrameId {
            incarnation: r.incarnation,
            seq: first_missing(r.incarnation),
        });
        log.hold(&self.key, from, lag_bytes);
        std::mem::take(&mut self.dirty).then(|| serde_json::to_vec(&self.taken).unwrap_or_default())
    }

    /// The note could not be kept: it is due again.
    pub(crate) fn not_kept(&mut self) {
        self.dirty = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const I: Incarnation = Incarnation(1);

    #[test]
    fn what_is_neither_taken_nor_sent_comes_oldest_first() {
        let mut cursor = Cursor::default();
        let run = |first, last| Run { incarnation: I, first, last };
        let ranges = [StreamRange { incarnation: I, first: 1, last: 20 }];
        let end = FrameId { incarnation: I, seq: 15 };
        assert_eq!(cursor.next(&ranges, end), Some(run(1, 15)));
        cursor.taken(run(1, 3));
        cursor.sent(run(4, 5));
        cursor.taken(run(8, 9));
        assert_eq!(cursor.next(&ranges, end), Some(run(6, 7)));
        cursor.sent(run(6, 7));
        assert_eq!(cursor.next(&ranges, end), Some(run(10, 15)));
        cursor.restart();
        assert_eq!(cursor.next(&ranges, end), Some(run(4, 7)));
        assert_eq!(cursor.next(&ranges, FrameId { incarnation: I, seq: 3 }), None);
        let old = StreamRange { incarnation: Incarnation(0), first: 5, last: 6 };
        assert_eq!(cursor.next(&[old, ranges[0].clone()], end).map(|r| r.incarnation), Some(Incarnation(0)));
    }

    #[test]
    fn what_the_buffer_let_go_is_missing_also_between_what_it_kept() {
        let run = |first, last| Run { incarnation: I, first, last };
        assert_eq!(run(3, 9).without([3, 4, 5].into_iter()), [], "more may come after the last");
        assert_eq!(run(3, 9).without([5, 6, 9].into_iter()), [run(3, 4), run(7, 8)]);
        assert_eq!(run(3, 9).without([].into_iter()), [run(3, 9)]);
    }

    proptest! {
        #[test]
        fn following_the_cursor_visits_every_frame_once(
            taken in prop::collection::vec((1u64..40, 0u64..6), 0..6),
            size in 1u64..9,
        ) {
            let mut cursor = Cursor::default();
            let mut expected: std::collections::BTreeSet<u64> = (1..=50).collect();
            for (first, n) in taken {
                cursor.taken(Run { incarnation: I, first, last: first + n });
                expected.retain(|s| !(first..=first + n).contains(s));
            }
            let mut seen = Vec::new();
            while let Some(run) = cursor.missing(I, 1, 50) {
                let last = run.last.min(run.first + size);
                seen.extend(run.first..=last);
                cursor.sent(Run { last, ..run });
            }
            prop_assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
