//! How the time of a point divides: by quality, and of a state by value. A sample holds until the next one. Pure; what is
//! between two samples is known here, where nothing came is the reader's.

use common::Value;
use common::api::{HistoryTimes, StateTime};

use crate::codec::Row;

/// States that a stored bucket lists.
pub(crate) const MOST_STATES: usize = 8;
/// States that an answer lists.
const MOST_SHOWN: usize = 32;
/// Integers with more values than these in a chunk are no states.
const MOST_OF_CHUNK: usize = 16;
/// Texts that are longer are documents, and no states.
const LONGEST_STATE: usize = 256;

/// Time, us.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Times {
    /// Of good samples.
    pub(crate) good: i64,
    /// Of uncertain ones.
    pub(crate) uncertain: i64,
    /// Of bad ones.
    pub(crate) bad: i64,
    /// Of values that may be used, where they are states: by value, as they came first. What is left of the time of good and
    /// uncertain samples is of others.
    pub(crate) states: Vec<(Value, i64)>,
}

impl Times {
    /// A sample that holds for so long. `most`: states that are listed at most; 0 of what has none.
    pub(crate) fn hold(&mut self, row: &Row, us: i64, most: usize) {
        if us <= 0 {
            return;
        }
        let of = match row.quality {
            quality if quality.has_good_value() => &mut self.good,
            quality if quality.is_bad() => &mut self.bad,
            _ => &mut self.uncertain,
        };
        *of = of.saturating_add(us);
        if let Some(value) = state_of(row) {
            self.state(value, us, most);
        }
    }

    /// Time that comes after or before this.
    pub(crate) fn add(&mut self, other: &Self, most: usize) {
        self.good = self.good.saturating_add(other.good);
        self.uncertain = self.uncertain.saturating_add(other.uncertain);
        self.bad = self.bad.saturating_add(other.bad);
        other.states.iter().for_each(|(value, us)| self.state(value, *us, most));
    }

    fn state(&mut self, value: &Value, us: i64, most: usize) {
        if let Some((_, sum)) = self.states.iter_mut().find(|(v, _)| v == value) {
            *sum = sum.saturating_add(us);
        } else if self.states.len() < most {
            self.states.push((value.clone(), us));
        }
    }

    /// Time in which the value may be used.
    pub(crate) fn usable(&self) -> i64 {
        self.good.saturating_add(self.uncertain)
    }

    /// Time in states that are not listed.
    pub(crate) fn others(&self) -> i64 {
        let listed = self.states.iter().fold(0i64, |sum, (_, us)| sum.saturating_add(*us));
        self.usable().saturating_sub(listed)
    }

    /// Whether it is of a point whose values are not counted as states.
    pub(crate) fn is_of_no_state(&self) -> bool {
        self.states.is_empty() && self.usable() > 0
    }

    /// As the API shows it: of `span`, with what is not settled.
    pub(crate) fn view(mut self, span: i64, unsettled: i64) -> HistoryTimes {
        let known = self.usable().saturating_add(self.bad).saturating_add(unsettled);
        let others = self.others();
        let is_counter = self.states.iter().all(|(v, _)| matches!(v, Value::I64(_) | Value::U64(_)));
        // A number that is mostly something else is no state.
        if is_counter && others > self.usable() / 2 {
            self.states.clear();
        }
        self.states.sort_by_key(|(_, us)| std::cmp::Reverse(*us));
        HistoryTimes {
            good_us: self.good,
            uncertain_us: self.uncertain,
            bad_us: self.bad,
            nothing_us: span.saturating_sub(known).max(0),
            unsettled_us: unsettled,
            other_us: if self.states.is_empty() { 0 } else { others },
            states: self.states.into_iter().map(|(value, us)| StateTime { value, us }).collect(),
        }
    }
}

/// For sums over stored buckets.
pub(crate) fn shown() -> usize {
    MOST_SHOWN
}

/// A sample's value, if it may be used and may be a state.
pub(crate) fn state_of(row: &Row) -> Option<&Value> {
    let is_state = |v: &&Value| !matches!(v, Value::F64(_) | Value::Bytes(_));
    row.value.as_ref().filter(|_| !row.quality.is_bad()).filter(is_state)
}

/// States that buckets of these rows list: none if they take too many values.
pub(crate) fn listed(rows: &[Row]) -> usize {
    let mut seen: Vec<&Value> = Vec::new();
    for value in rows.iter().filter(|r| !r.quality.is_bad()).filter_map(|r| r.value.as_ref()) {
        let is_none = match value {
            Value::F64(_) | Value::Bytes(_) => true,
            Value::Text(text) => text.len() > LONGEST_STATE,
            _ => false,
        };
        if is_none || seen.len() > MOST_OF_CHUNK {
            return 0;
        }
        // Mostly the one before.
        if seen.last() != Some(&value) {
            seen.retain(|v| *v != value);
            seen.push(value);
        }
    }
    if seen.len() > MOST_OF_CHUNK { 0 } else { MOST_STATES }
}
