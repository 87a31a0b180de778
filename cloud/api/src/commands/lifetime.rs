//! How long what is open has lived. The wall clock may be set back, by months where it stood wrong: by it alone, what was
//! given two seconds would then be open for months, and a desired value still be written after them. So time also counts by the
//! monotonic clock, from when this process first saw it, and the one that says more is right.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use common::Clock;

/// When each was first seen, by `Clock::mono_us`.
#[derive(Debug)]
pub(super) struct Lifetimes<K>(Mutex<HashMap<K, u64>>);

impl<K> Default for Lifetimes<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> Lifetimes<K> {
    /// How long each is past its end, us; below 0: how long until then. Each with its begin and end, UTC us, and what goes with it.
    /// Those that are not among them are forgotten.
    pub(super) fn of_all<T>(&self, clock: &Clock, all: Vec<(K, (i64, i64), T)>) -> Vec<(i64, K, T)> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *seen);
        let now = clock.reading();
        let one = |(key, span, of): (K, (i64, i64), T)| {
            let first = before.get(&key).copied().unwrap_or(now.1);
            seen.insert(key.clone(), first);
            (over_us(now, span, first), key, of)
        };
        all.into_iter().map(one).collect()
    }

    /// The same of one.
    pub(super) fn of(&self, clock: &Clock, key: K, span: (i64, i64)) -> i64 {
        let now = clock.reading();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        over_us(now, span, *seen.entry(key).or_insert(now.1))
    }
}

fn over_us((wall_us, mono_us): (i64, u64), (from_us, end_us): (i64, i64), first_us: u64) -> i64 {
    let lived = i64::try_from(mono_us.saturating_sub(first_us)).unwrap_or(i64::MAX);
    let given = end_us.saturating_sub(from_us);
    wall_us.saturating_sub(end_us).max(lived.saturating_sub(given))
}
