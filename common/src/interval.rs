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

    /// The first number at or after `from` that is in the set.
    pub fn first_from(&self, from: u64) -> Option<u64> {
        if self.contains(from) {
            return Some(from);
        }
        self.runs.range(from..).next().map(|(&s, _)| s)
    }

    /// The last number at or before `to` that is in the set.
    pub fn last_to(&self, to: u64) -> Option<u64> {
        self.runs.range(..=to).next_back().map(|(_, &e)| e.min(to))
    }

    /// The intervals that meet `start..=end`, which is not empty, in order and as they are.
    fn meeting(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = self.runs.range(..start).next_back().filter(|(_, e)| **e >= start);
        before.into_iter().chain(self.runs.range(start..=end)).map(|(&s, &e)| (s, e))
    }

    /// What is in this set and not in `other`, as intervals in order.
    pub fn difference<'a>(&'a self, other: &'a IntervalSet) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.iter().flat_map(move |(start, end)| {
            let mut cuts = other.meeting(start, end);
            let mut next = Some(start);
            std::iter::from_fn(move || {
                loop {
                    let from = next.filter(|n| *n <= end)?;
                    let Some((s, e)) = cuts.next() else {
                        next = None;
                        return Some((from, end));
                    };
                    next = e.checked_add(1);
                    if from < s {
                        return Some((from, s - 1));
                    }
                }
            })
        })
    }

    /// What is in this set and not in `other`.
    pub fn minus(&self, other: &IntervalSet) -> IntervalSet {
        Self { runs: self.difference(other).collect() }
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: IntervalSet) -> IntervalSet {
        self.extend(&other);
        self
    }

    /// How many numbers are in this set and not in `other` (saturating).
    pub fn minus_len(&self, other: &IntervalSet) -> u64 {
        count(self.difference(other))
    }

    /// What is in both.
    pub fn intersection(&self, other: &IntervalSet) -> IntervalSet {
        let both = |(start, end): (u64, u64)| {
            other.meeting(start, end).map(move |(s, e)| (s.max(start), e.min(end)))
        };
        Self { runs: self.iter().flat_map(both).collect() }
    }

    /// Whether all of it is in `other`; looks no further than the first interval that is not.
    pub fn is_subset(&self, other: &IntervalSet) -> bool {
        self.iter().all(|(s, e)| other.contains_range(s, e))
    }

    /// Whether nothing is in both.
    pub fn is_disjoint(&self, other: &IntervalSet) -> bool {
        self.iter().all(|(s, e)| other.meeting(s, e).next().is_none())
    }

    /// How many numbers are in the set (saturating).
    pub fn len(&self) -> u64 {
        count(self.iter())
    }

    /// How many intervals there are.
    pub fn runs(&self) -> usize {
        self.runs.len()
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

fn count(runs: impl Iterator<Item = (u64, u64)>) -> u64 {
    runs.fold(0, |n, (s, e)| n.saturating_add((e - s).saturating_add(1)))
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

        #[test]
        fn two_sets_agree_with_two_plain_ones(
            a in prop::collection::vec((0u64..60, 0u64..8), 0..12),
            b in prop::collection::vec((0u64..60, 0u64..8), 0..12),
        ) {
            let ranges = |runs: &[(u64, u64)]| runs.iter().map(|(s, n)| (*s, s + n)).collect::<Vec<_>>();
            let plain = |runs: &[(u64, u64)]| -> BTreeSet<u64> { runs.iter().flat_map(|(s, n)| *s..=s + n).collect() };
            let (one, two) = (IntervalSet::from(ranges(&a)), IntervalSet::from(ranges(&b)));
            let (x, y) = (plain(&a), plain(&b));
            // Equal to a set built one by one: no two intervals touch.
            let of = |set: BTreeSet<u64>| IntervalSet::from(set.into_iter().map(|n| (n, n)).collect::<Vec<_>>());
            let less = of(x.difference(&y).copied().collect());
            prop_assert_eq!(&one.minus(&two), &less);
            prop_assert_eq!(one.minus_len(&two), less.len());
            prop_assert_eq!(one.intersection(&two), of(x.intersection(&y).copied().collect()));
            prop_assert_eq!(one.is_subset(&two), x.is_subset(&y));
            prop_assert_eq!(one.is_disjoint(&two), x.is_disjoint(&y));
            for n in 0..80 {
                prop_assert_eq!(one.first_from(n), x.range(n..).next().copied());
                prop_assert_eq!(one.last_to(n), x.range(..=n).next_back().copied());
            }
        }
    }

    /// What the buffer asks of sets of a million runs while appends wait: by neighbours, not run by run from the start.
    #[test]
    fn differences_of_many_runs_end() {
        let odd: IntervalSet = (0..400_000).map(|n| (2 * n + 1, 2 * n + 1)).collect::<Vec<_>>().into();
        let all: IntervalSet = vec![(1, 800_000)].into();
        assert_eq!(all.minus(&odd).len(), 400_000);
        assert_eq!(odd.minus_len(&all), 0);
        assert_eq!(odd.minus(&odd), IntervalSet::new());
        assert_eq!(all.intersection(&odd), odd);
    }

    #[test]
    fn the_ends_of_the_range_do_not_overflow() {
        let mut set = IntervalSet::new();
        set.insert_range(u64::MAX - 1, u64::MAX);
        set.insert_range(0, u64::MAX - 2);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
        assert_eq!(set.first_missing(5), None);
        assert_eq!(set.minus(&set), IntervalSet::new());
        assert_eq!(set.minus_len(&IntervalSet::new()), u64::MAX);
        let middle: IntervalSet = vec![(3, 7)].into();
        assert_eq!(set.minus(&middle), vec![(0, 2), (8, u64::MAX)].into());
        assert_eq!(set.first_from(u64::MAX), Some(u64::MAX));
        set.insert_range(3, 2);
        assert_eq!(set.iter().count(), 1);
    }
}
