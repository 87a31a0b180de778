//! A bucket of a roll-up: what is known of a point's samples in a span of time. Buckets merge in any order,
//! so that late samples, chunks and the tail can be added up; how their time divides is only known where they follow on
//! each other. Also the widths there are. As bytes they are in `bucket_codec`.

use std::collections::BTreeMap;

use cloud_core::Position;
use common::api::HistoryPoint;
use common::{Quality, QualityClass};

use crate::codec::{Row, text_of};
use crate::times::{MOST_STATES, Times, state_of};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Widths of the stored levels, from level 1 on. Each divides the next.
pub(crate) const LEVELS: [i64; 6] = [SECOND, 10 * SECOND, 60 * SECOND, 600 * SECOND, 3600 * SECOND, DAY];

/// Width of a stored level; level 0 is raw.
pub(crate) fn level_width(level: usize) -> i64 {
    level.checked_sub(1).and_then(|i| LEVELS.get(i)).copied().unwrap_or(1)
}

/// The coarsest stored level whose buckets make up one of this width; 0 if only raw samples do.
pub(crate) fn level_for(width: i64) -> usize {
    LEVELS.iter().rposition(|w| width % w == 0).map_or(0, |i| i + 1)
}

/// The widths that an answer may have, finest first: 1, 2, 5 steps below a second, what a clock's face has
/// above, and 1, 2, 5 steps of days.
pub(crate) fn widths() -> impl Iterator<Item = i64> {
    let below = (0..6).flat_map(|e| [1, 2, 5].map(|m| m * 10i64.pow(e)));
    let clock = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200];
    let days = (0..7).flat_map(|e| [1, 2, 5].map(|m| m * 10i64.pow(e) * DAY));
    below.chain(clock.into_iter().map(|s| s * SECOND)).chain(days)
}

/// Start of the bucket that a time falls in.
pub(crate) fn start(t: i64, width: i64) -> i64 {
    t.saturating_sub(t.rem_euclid(width))
}

/// One bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bucket {
    /// Start, UTC us.
    pub(crate) start: i64,
    /// Samples.
    pub(crate) count: u64,
    /// Good ones among them.
    pub(crate) good: u64,
    /// Good ones that are finite numbers: those that `min`, `max` and `sum` are of.
    pub(crate) numbers: u64,
    /// Smallest; 0 if `numbers` is.
    pub(crate) min: f64,
    /// Largest; 0 if `numbers` is.
    pub(crate) max: f64,
    /// Sum.
    pub(crate) sum: f64,
    /// Worst quality.
    pub(crate) worst: Quality,
    /// Earliest sample of any quality; of several at one time the one that counts. None where an older program made the
    /// bucket and not all of it is good; so is `last`.
    pub(crate) first: Option<Row>,
    /// Latest sample.
    pub(crate) last: Option<Row>,
    /// Earliest and latest good sample, where they are not those two.
    pub(crate) good_ends: Option<Box<(Row, Row)>>,
    /// How the time from the first to the last sample divides. None where only the samples tell: those of two chunks are
    /// mixed, or an older program made it.
    pub(crate) times: Option<Times>,
}

/// Order of qualities: the class, then the reason's number.
fn badness(q: Quality) -> (QualityClass, u8) {
    (q.class(), q.code())
}

/// Whether a sample is the first one of two.
fn is_before(a: &Row, b: &Row) -> bool {
    if a.t == b.t { a.at > b.at } else { a.t < b.t }
}

fn earlier(a: Row, b: &Row) -> Row {
    if is_before(b, &a) { b.clone() } else { a }
}

fn later(a: Row, b: &Row) -> Row {
    if b.key() > a.key() { b.clone() } else { a }
}

impl Bucket {
    /// A bucket of one sample.
    pub(crate) fn of(start: i64, row: &Row) -> Self {
        let good = row.quality.has_good_value();
        let number = row.value.as_ref().filter(|_| good).and_then(|v| v.as_f64()).filter(|x| x.is_finite());
        let x = number.unwrap_or(0.0);
        Self {
            start,
            count: 1,
            good: u64::from(good),
            numbers: u64::from(number.is_some()),
            min: x,
            max: x,
            sum: x,
            worst: row.quality,
            first: Some(row.clone()),
            last: Some(row.clone()),
            good_ends: None,
            times: Some(Times::default()),
        }
    }

    /// A bucket of samples in order of time, as if each was added. None of none.
    fn of_run(start: i64, rows: &[Row], most: usize) -> Option<Self> {
        let (first, last) = (rows.first()?, rows.last()?);
        let mut bucket = Self::of(start, last);
        (bucket.count, bucket.good, bucket.numbers) = (rows.len() as u64, 0, 0);
        for row in rows {
            if badness(row.quality) > badness(bucket.worst) {
                bucket.worst = row.quality;
            }
            if row.quality.has_good_value() {
                bucket.good += 1;
                if let Some(x) = row.value.as_ref().and_then(|v| v.as_f64()).filter(|x| x.is_finite()) {
                    bucket.add_numbers(1, x, x, x);
                }
            }
        }
        if bucket.numbers == 0 {
            (bucket.min, bucket.max, bucket.sum) = (0.0, 0.0, 0.0);
        }
        if let Some(times) = &mut bucket.times {
            for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
                times.hold(row, next.t.saturating_sub(row.t), most);
            }
        }
        bucket.first = rows.iter().take_while(|row| row.t == first.t).last().cloned();
        if bucket.good < bucket.count {
            let good = || rows.iter().filter(|row| row.quality.has_good_value());
            let earliest = good().next().and_then(|first| good().take_while(|row| row.t == first.t).last());
            bucket.set_good_ends(earliest.cloned().zip(good().next_back().cloned()));
        }
        Some(bucket)
    }

    /// What versions before the third knew: the first and last good sample.
    pub(crate) fn older(mut self, good_ends: Option<(Row, Row)>) -> Self {
        let Some((first, last)) = good_ends else { return self };
        if self.good < self.count {
            self.good_ends = Some(Box::new((first, last)));
            return self;
        }
        let us = last.t.saturating_sub(first.t);
        let mut times = Times { good: us, ..Times::default() };
        // Of a state it is known if it stayed the same; larger integers are not told apart.
        let is_one =
            self.numbers == self.count && self.min.to_bits() == self.max.to_bits() && self.min.abs() < 9e15;
        let is_known = match state_of(&first) {
            Some(value) if us > 0 && is_one => {
                times.states.push((value.clone(), us));
                true
            }
            Some(_) => us == 0,
            None => true,
        };
        self.times = is_known.then_some(times);
        self.first = Some(if first.t == last.t { last.clone() } else { first });
        self.last = Some(last);
        self
    }

    /// Earliest good sample.
    pub(crate) fn first_good(&self) -> Option<&Row> {
        match &self.good_ends {
            Some(ends) => Some(&ends.0),
            None => self.first.as_ref().filter(|_| self.good > 0),
        }
    }

    /// Latest good sample.
    pub(crate) fn last_good(&self) -> Option<&Row> {
        match &self.good_ends {
            Some(ends) => Some(&ends.1),
            None => self.last.as_ref().filter(|_| self.good > 0),
        }
    }

    /// Bytes of the texts that it holds.
    pub(crate) fn text(&self) -> usize {
        let row = |row: Option<&Row>| row.map_or(0, Row::text);
        let states = self.times.iter().flat_map(|t| &t.states).map(|(value, _)| text_of(Some(value)));
        let good = self.good_ends.as_ref().map_or(0, |ends| ends.0.text() + ends.1.text());
        row(self.first.as_ref()) + row(self.last.as_ref()) + good + states.sum::<usize>()
    }

    fn is_all_good(&self) -> bool {
        self.good == self.count && self.good_ends.is_none()
    }

    fn own_good_ends(&self) -> Option<(Row, Row)> {
        self.first_good().cloned().zip(self.last_good().cloned())
    }

    /// Keeps them where they are not the ends.
    fn set_good_ends(&mut self, ends: Option<(Row, Row)>) {
        let is_good = |end: &Option<Row>| end.as_ref().is_some_and(|row| row.quality.has_good_value());
        let is_same = is_good(&self.first) && is_good(&self.last);
        self.good_ends = ends.filter(|_| !is_same).map(Box::new);
    }

    /// Adds one sample without making a bucket of it. `most`: states that are listed.
    pub(crate) fn add(&mut self, row: &Row, most: usize) {
        let is_good = row.quality.has_good_value();
        let ends = (!(is_good && self.is_all_good())).then(|| self.own_good_ends());
        self.count += 1;
        if badness(row.quality) > badness(self.worst) {
            self.worst = row.quality;
        }
        self.place(row, most);
        if is_good {
            self.good += 1;
            if let Some(x) = row.value.as_ref().and_then(|v| v.as_f64()).filter(|x| x.is_finite()) {
                self.add_numbers(1, x, x, x);
            }
        }
        if let Some(ends) = ends {
            self.set_good_ends(match ends {
                Some((first, last)) if is_good => Some((earlier(first, row), later(last, row))),
                None if is_good => Some((row.clone(), row.clone())),
                ends => ends,
            });
        }
    }

    /// Puts a sample between the ends, or makes it one.
    fn place(&mut self, row: &Row, most: usize) {
        let (Some(first), Some(last)) = (&mut self.first, &mut self.last) else { return };
        if row.key() < last.key() {
            self.times = None;
            if is_before(row, first) {
                first.clone_from(row);
            }
            return;
        }
        if let Some(times) = &mut self.times {
            times.hold(last, row.t.saturating_sub(last.t), most);
        }
        if row.t == first.t {
            first.clone_from(row);
        }
        last.clone_from(row);
    }

    /// Adds another bucket.
    pub(crate) fn merge(&mut self, other: &Bucket, most: usize) {
        let is_simple = self.is_all_good() && other.is_all_good();
        let ends = (!is_simple).then(|| match (self.own_good_ends(), other.own_good_ends()) {
            (Some((first, last)), Some((f, l))) => Some((earlier(first, &f), later(last, &l))),
            (ends, None) | (None, ends) => ends,
        });
        self.join(other, most);
        self.count += other.count;
        self.good += other.good;
        self.add_numbers(other.numbers, other.min, other.max, other.sum);
        if badness(other.worst) > badness(self.worst) {
            self.worst = other.worst;
        }
        if let Some(ends) = ends {
            self.set_good_ends(ends);
        }
    }

    /// Ends and times of both.
    fn join(&mut self, other: &Bucket, most: usize) {
        let (Some(first), Some(last), Some(f), Some(l)) =
            (self.first.take(), self.last.take(), &other.first, &other.last)
        else {
            (self.first, self.last, self.times) = (None, None, None);
            return;
        };
        let between = if last.key() < f.key() {
            Some((&last, f))
        } else if l.key() < first.key() {
            Some((l, &first))
        } else {
            None
        };
        self.times = match (self.times.take(), &other.times, between) {
            (Some(mut times), Some(others), Some((a, b))) => {
                // Of a number that is no state, what lies between is none either.
                let most = if times.is_of_no_state() || others.is_of_no_state() { 0 } else { most };
                times.hold(a, b.t.saturating_sub(a.t), most);
                times.add(others, MOST_STATES);
                Some(times)
            }
            _ => None,
        };
        self.first = Some(earlier(first, f));
        self.last = Some(later(last, l));
    }

    fn add_numbers(&mut self, n: u64, min: f64, max: f64, sum: f64) {
        if n == 0 {
            return;
        }
        if self.numbers == 0 {
            (self.min, self.max, self.sum) = (min, max, sum);
        } else {
            self.min = self.min.min(min);
            self.max = self.max.max(max);
            self.sum += sum;
        }
        self.numbers += n;
    }

    /// As the API shows it.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn view(self) -> HistoryPoint {
        let has = self.numbers > 0;
        HistoryPoint {
            first: self.first_good().and_then(|row| row.value.clone()),
            min: has.then_some(self.min),
            max: has.then_some(self.max),
            // A sum of large values may overflow; the mean of the extremes then stands within them.
            mean: has.then(|| {
                let mean = self.sum / self.numbers as f64;
                if mean.is_finite() { mean } else { self.min / 2.0 + self.max / 2.0 }
            }),
            count: self.count,
            good: self.good,
            ..HistoryPoint::raw(self.start, self.last_good().and_then(|row| row.value.clone()), self.worst)
        }
    }
}

/// Buckets of one width by start, or a single one.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// None: all in one.
    width: Option<i64>,
    single: i64,
    /// States that are listed.
    most: usize,
    by_start: BTreeMap<i64, Bucket>,
}

impl Buckets {
    pub(crate) fn new(width: i64) -> Self {
        Self { width: Some(width), single: 0, most: MOST_STATES, by_start: BTreeMap::new() }
    }

    /// Everything in one bucket that starts at `start`.
    pub(crate) fn one(start: i64) -> Self {
        Self { width: None, single: start, ..Self::new(1) }
    }

    /// The same with so many states listed.
    pub(crate) fn listing(self, most: usize) -> Self {
        Self { most, ..self }
    }

    fn start_of(&self, t: i64) -> i64 {
        self.width.map_or(self.single, |width| start(t, width))
    }

    pub(crate) fn add(&mut self, row: &Row) {
        let (start, most) = (self.start_of(row.t), self.most);
        self.by_start.entry(start).and_modify(|b| b.add(row, most)).or_insert_with(|| Bucket::of(start, row));
    }

    /// Buckets like these of others that divide them, by the time of their samples, so that their time adds up.
    pub(crate) fn of_all(&self, mut buckets: Vec<Bucket>) -> Vec<Bucket> {
        buckets.iter_mut().for_each(|b| b.start = self.start_of(b.start));
        buckets.sort_by_key(|b| b.first.as_ref().map_or((b.start, Position::default()), Row::key));
        // So those of one start stand beside each other.
        buckets.dedup_by(|next, bucket| {
            let is_same = next.start == bucket.start;
            if is_same {
                bucket.merge(next, self.most);
            }
            is_same
        });
        buckets
    }

    /// Buckets like these of rows in order of time.
    pub(crate) fn of_rows(&self, rows: &[Row]) -> Vec<Bucket> {
        let same = |a: &Row, b: &Row| match self.width {
            Some(width) => b.t < start(a.t, width).saturating_add(width),
            None => true,
        };
        let runs = rows.chunk_by(same);
        runs.filter_map(|run| Bucket::of_run(self.start_of(run.first()?.t), run, self.most)).collect()
    }

    pub(crate) fn into_vec(self) -> Vec<Bucket> {
        self.by_start.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_divides_the_next_and_every_width_has_a_level_below() {
        assert!(LEVELS.windows(2).all(|w| w[1] % w[0] == 0));
        let all: Vec<_> = widths().collect();
        assert!(all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
        assert!(all.iter().all(|w| *w < SECOND || level_for(*w) >= 1));
        assert_eq!(level_for(30 * SECOND), 2);
        assert_eq!(level_for(20 * DAY), 6);
        assert_eq!(level_for(500), 0);
        assert_eq!(start(-1, 10), -10);
    }
}
