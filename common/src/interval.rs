//! A set of sequence numbers as closed intervals: what has been accepted, what has been acknowledged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Sorted, disjoint, non-adjacent closed intervals of `u64`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct IntervalSet {
    /// start -> end
    runs: BTreeMap<u64, u64>,
}

impl IntervalSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `start..=end`; an empty range (`start > end`) adds nothing.
    pub fn insert_range(&mut self, start: u64, end: u64) {
        if start > end {
            return;
        }
        let (mut start, mut end) = (start, end);
        // Every run that touches start-1..=end+1 is swallowed; they lie at or before end+1.
        while let Some((&s, &e)) = self.runs.range(..=end.saturating_add(1)).next_back() {
            if e.saturating_add(1) < start {
                break;
            }
            self.runs.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.runs.insert(start, end);
    }

    /// Adds one number; false if it was there.
    pub fn insert(&mut self, n: u64) -> bool {
        if self.contains(n) {
            return false;
        }
        self.insert_range(n, n);
        true
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &IntervalSet) {
        for (s, e) in other.iter() {
            self.insert_range(s, e);
        }
    }

    /// Whether `n` is in the set.
    pub fn contains(&self, n: u64) -> bool {
        self.runs.range(..=n).next_back().is_some_and(|(_, &e)| n <= e)
    }

    /// The interval that `n` is in.
    pub fn run_of(&self, n: u64) -> Option<(u64, u64)> {
        self.runs.range(..=n).next_back().filter(|(_, e)| n <= **e).map(|(&s, &e)| (s, e))
    }

    /// Whether all of `start..=end` is in the set; an empty range is.
    pub fn contains_range(&self, start: u64, end: u64) -> bool {
        start > end || self.runs.range(..=start).next_back().is_some_and(|(_, &e)| end <= e)
    }

    /// The intervals in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs.iter().map(|(&s, &e)| (s, e))
    }

    /// The first number at or after `from` that is not in the set; none if all to the end are.
    pub fn first_missing(&self, from: u64) -> Option<u64> {
        match self.runs.range(..=from).next_back() {
            Some((_, &e)) if e >= from => e.checked_add(1),
            _ => Some(from),
        }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut out = Self::new();
        for (start, end) in self.iter() {
            let mut at = start;
            while let Some(from) = other.first_missing(at).filter(|n| *n <= end) {
                // The run of the other after `from` ends what is missing there.
                let next = other.runs.range(from..).next().map_or(u64::MAX, |(s, _)| s - 1);
                let to = end.min(next);
                out.insert_range(from, to);
                if to == u64::MAX || to >= end {
                    break;
                }
                at = to + 1;
            }
        }
        out
    }

    /// How many numbers are in the set (saturating).
    pub fn len(&self) -> u64 {
        self.iter().fold(0, |n, (s, e)| n.saturating_add((e - s).saturating_add(1)))
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The largest number.
    pub fn last(&self) -> Option<u64> {
        self.runs.values().next_back().copied()
    }
}

impl From<Vec<(u64, u64)>> for IntervalSet {
    fn from(runs: Vec<(u64, u64)>) -> Self {
        let mut set = Self::new();
        for (s, e) in runs {
            set.insert_range(s, e);
        }
        set
    }
}

impl From<IntervalSet> for Vec<(u64, u64)> {
    fn from(set: IntervalSet) -> Self {
        set.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(ranges in prop::collection::vec((0u64..60, 0u64..8), 0..40)) {
            let mut set = IntervalSet::new();
            let mut plain = BTreeSet::new();
            for (s, n) in ranges {
                set.insert_range(s, s + n);
                plain.extend(s..=s + n);
            }
            for n in 0..80 {
                prop_assert_eq!(set.contains(n), plain.contains(&n));
                prop_assert_eq!(set.run_of(n).is_some_and(|(s, e)| s <= n && n <= e), set.contains(n));
                let missing = (n..).find(|m| !plain.contains(m));
                prop_assert_eq!(set.first_missing(n), missing);
            }
            prop_assert_eq!(set.len(), plain.len() as u64);
            let runs: Vec<_> = set.iter().collect();
            prop_assert!(runs.windows(2).all(|w| w[0].1 + 1 < w[1].0), "{runs:?} touch");
        }
    }

    #[test]
    fn the_ends_of_the_range_do_not_overflow() {
        let mut set = IntervalSet::new();
        set.insert_range(u64::MAX - 1, u64::MAX);
        set.insert_range(0, u64::MAX - 2);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
        assert_eq!(set.first_missing(5), None);
        set.insert_range(3, 2);
        assert_eq!(set.iter().count(), 1);
    }
}
