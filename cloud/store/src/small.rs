//! Which series have small chunks to merge, known without a look into the database. Points of a plant begin together and
//! have the same rates, so theirs become many, and complete, at the same time: they are merged in turns, as time permits.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use crate::compact::Limits;
use crate::tail::SeriesId;

/// Numbers of series from the first to the last that are merged in one turn.
const SPAN: SeriesId = 512;
/// So many times what makes a series due makes it overdue.
const OVERDUE: usize = 2;

/// From the first to the last. Those of a gateway are made together, so there is little else between them.
pub(crate) type Span = (SeriesId, SeriesId);

#[derive(Debug, Default)]
pub(crate) struct Small {
    counts: HashMap<SeriesId, Count>,
    due: BTreeSet<SeriesId>,
    /// The last that had its turn.
    merged: SeriesId,
}

/// What a series got since its small chunks were merged.
#[derive(Debug, Default)]
struct Count {
    chunks: usize,
    samples: usize,
}

impl Small {
    /// Notes new chunks and the samples in each. A series is due when it has many, or enough for a complete one, and at its first
    /// chunk, when nothing is known of it yet. Those that are overdue are returned: they no longer wait for their turn.
    pub(crate) fn add(
        &mut self,
        made: impl IntoIterator<Item = (SeriesId, usize)>,
        limits: Limits,
    ) -> Option<Span> {
        let mut overdue: Option<Span> = None;
        for (series, samples) in made {
            let is_new = !self.counts.contains_key(&series);
            let count = self.counts.entry(series).or_default();
            count.chunks += 1;
            count.samples += samples;
            let is_many = |times: usize| {
                count.chunks >= limits.merge.saturating_mul(times)
                    || count.samples >= limits.seal.saturating_mul(times)
            };
            if is_new || is_many(1) {
                self.due.insert(series);
            }
            if is_many(OVERDUE) {
                let (first, last) = overdue.unwrap_or((series, series));
                overdue = Some((first.min(series), last.max(series)));
            }
        }
        overdue
    }

    /// Those whose turn it is.
    pub(crate) fn next(&self) -> Option<Span> {
        let after = (Bound::Excluded(self.merged), Bound::Unbounded);
        let first = *self.due.range(after).next().or_else(|| self.due.first())?;
        let last = self.due.range(first..first.saturating_add(SPAN)).next_back()?;
        Some((first, *last))
    }

    /// These were merged.
    pub(crate) fn merged(&mut self, (first, last): Span) {
        let of_them: Vec<SeriesId> = self.due.range(first..=last).copied().collect();
        for series in of_them {
            self.due.remove(&series);
            self.counts.insert(series, Count::default());
        }
        self.merged = last;
    }

    /// Whether any is due.
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { seal: 100, merge: 4, at_once: 1 << 19 };

    /// A series of which something is known.
    fn known(series: impl IntoIterator<Item = SeriesId>) -> Small {
        let mut small = Small::default();
        assert_eq!(small.add(series.into_iter().map(|s| (s, 1)), LIMITS), None);
        while let Some(span) = small.next() {
            small.merged(span);
        }
        small
    }

    #[test]
    fn a_series_is_due_by_chunks_or_by_samples_and_at_its_first_chunk() {
        let mut small = Small::default();
        small.add([(7, 1)], LIMITS);
        assert_eq!(small.next(), Some((7, 7)), "nothing is known of it");
        let mut small = known([7, 8, 9]);
        assert!(!small.is_due());
        small.add([(7, 1), (7, 1), (7, 1)], LIMITS);
        small.add([(8, 99)], LIMITS);
        assert!(!small.is_due());
        small.add([(7, 1)], LIMITS);
        assert_eq!(small.next(), Some((7, 7)), "by chunks");
        small.merged((7, 7));
        small.add([(8, 1)], LIMITS);
        assert_eq!(small.next(), Some((8, 8)), "by samples");
    }

    #[test]
    fn all_have_their_turn_though_the_first_are_due_again() {
        let mut small = known(1..=3 * SPAN);
        let all = || (1..=3 * SPAN).map(|s| (s, 100));
        small.add(all(), LIMITS);
        let mut turns = Vec::new();
        for _ in 0..4 {
            let span = small.next().unwrap_or_default();
            turns.push(span);
            small.merged(span);
            small.add((1..=SPAN).map(|s| (s, 100)), LIMITS);
        }
        assert_eq!(turns, [(1, SPAN), (SPAN + 1, 2 * SPAN), (2 * SPAN + 1, 3 * SPAN), (1, SPAN)]);
    }

    #[test]
    fn who_waited_too_long_is_overdue() {
        let mut small = known([5, 6, 7, 8]);
        assert_eq!(small.add([(5, 199), (6, 150), (7, 10)], LIMITS), None);
        assert_eq!(small.add([(5, 1), (6, 50), (7, 10), (8, 10)], LIMITS), Some((5, 6)));
        small.merged((5, 6));
        assert_eq!(small.add([(5, 1), (6, 50), (7, 10)], LIMITS), None);
        assert!(!small.is_due());
    }
}
