//! A bucket of a roll-up: what is known of a point's samples in a span of time. Buckets merge in any order,
//! so that late samples, chunks and the tail can be added up. Also the widths there are.

use std::collections::BTreeMap;

use common::api::HistoryPoint;
use common::bytes::{Reader, put_varint};
use common::{Quality, QualityClass};

use crate::codec::{BlobError, Row};
use crate::codec::{put_deltas, put_floats, put_rows, seal, take_deltas, take_floats, take_rows};

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
    /// Earliest good sample.
    pub(crate) first: Option<Row>,
    /// Latest good sample.
    pub(crate) last: Option<Row>,
}

/// Order of qualities: the class, then the reason's number.
fn badness(q: Quality) -> (QualityClass, u8) {
    (q.class(), q.code())
}

impl Bucket {
    /// A bucket of one sample.
    pub(crate) fn of(start: i64, row: &Row) -> Self {
        let good = row.quality.is_good();
        let number = row.value.as_ref().filter(|_| good).and_then(|v| v.as_f64()).filter(|x| x.is_finite());
        let x = number.unwrap_or(0.0);
        let mark = good.then(|| row.clone());
        Self {
            start,
            count: 1,
            good: u64::from(good),
            numbers: u64::from(number.is_some()),
            min: x,
            max: x,
            sum: x,
            worst: row.quality,
            first: mark.clone(),
            last: mark,
        }
    }

    /// Adds one sample without making a bucket of it.
    pub(crate) fn add(&mut self, row: &Row) {
        self.count += 1;
        if badness(row.quality) > badness(self.worst) {
            self.worst = row.quality;
        }
        if !row.quality.is_good() {
            return;
        }
        self.good += 1;
        if let Some(x) = row.value.as_ref().and_then(|v| v.as_f64()).filter(|x| x.is_finite()) {
            self.add_numbers(1, x, x, x);
        }
        if self.first.as_ref().is_none_or(|f| row.key() < f.key()) {
            self.first = Some(row.clone());
        }
        if self.last.as_ref().is_none_or(|l| row.key() > l.key()) {
            self.last = Some(row.clone());
        }
    }

    /// Adds another bucket.
    pub(crate) fn merge(&mut self, other: &Bucket) {
        self.count += other.count;
        self.good += other.good;
        self.add_numbers(other.numbers, other.min, other.max, other.sum);
        if badness(other.worst) > badness(self.worst) {
            self.worst = other.worst;
        }
        if let Some(row) = &other.first
            && self.first.as_ref().is_none_or(|f| row.key() < f.key())
        {
            self.first = Some(row.clone());
        }
        if let Some(row) = &other.last
            && self.last.as_ref().is_none_or(|l| row.key() > l.key())
        {
            self.last = Some(row.clone());
        }
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
            t_us: self.start,
            value: self.last.and_then(|row| row.value),
            quality: self.worst,
            min: has.then_some(self.min),
            max: has.then_some(self.max),
            // A sum of large values may overflow; the mean of the extremes then stands within them.
            mean: has.then(|| {
                let mean = self.sum / self.numbers as f64;
                if mean.is_finite() { mean } else { self.min / 2.0 + self.max / 2.0 }
            }),
            count: self.count,
            good: self.good,
        }
    }
}

/// Buckets of one width by start, or a single one.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// None: all in one.
    width: Option<i64>,
    single: i64,
    by_start: BTreeMap<i64, Bucket>,
}

impl Buckets {
    pub(crate) fn new(width: i64) -> Self {
        Self { width: Some(width), single: 0, by_start: BTreeMap::new() }
    }

    /// Everything in one bucket that starts at `start`.
    pub(crate) fn one(start: i64) -> Self {
        Self { width: None, single: start, by_start: BTreeMap::new() }
    }

    fn start_of(&self, t: i64) -> i64 {
        self.width.map_or(self.single, |width| start(t, width))
    }

    pub(crate) fn add(&mut self, row: &Row) {
        let start = self.start_of(row.t);
        self.by_start.entry(start).and_modify(|b| b.add(row)).or_insert_with(|| Bucket::of(start, row));
    }

    /// Adds a bucket of this width or one that divides it.
    pub(crate) fn merge(&mut self, bucket: &Bucket) {
        let start = self.start_of(bucket.start);
        self.by_start
            .entry(start)
            .and_modify(|b| b.merge(bucket))
            .or_insert_with(|| Bucket { start, ..bucket.clone() });
    }

    pub(crate) fn into_vec(self) -> Vec<Bucket> {
        self.by_start.into_values().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_start.len()
    }
}

/// A chunk of buckets by column.
pub(crate) fn encode(buckets: &[Bucket]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + buckets.len() * 48);
    put_varint(&mut out, buckets.len() as u64);
    put_deltas(&mut out, buckets.iter().map(|b| b.start));
    buckets.iter().for_each(|b| put_varint(&mut out, b.count));
    buckets.iter().for_each(|b| put_varint(&mut out, b.good));
    buckets.iter().for_each(|b| put_varint(&mut out, b.numbers));
    for column in [|b: &Bucket| b.min, |b: &Bucket| b.max, |b: &Bucket| b.sum] {
        put_floats(&mut out, &buckets.iter().map(column).collect::<Vec<_>>());
    }
    out.extend(buckets.iter().map(|b| b.worst.code()));
    let marks =
        |of: fn(&Bucket) -> &Option<Row>| buckets.iter().filter_map(|b| of(b).clone()).collect::<Vec<_>>();
    put_rows(&mut out, &marks(|b| &b.first));
    put_rows(&mut out, &marks(|b| &b.last));
    seal(&out)
}

/// What `encode` wrote.
pub(crate) fn decode(blob: &[u8]) -> Result<Vec<Bucket>, BlobError> {
    let body = crate::codec::open(blob)?;
    let mut r = Reader::new(&body);
    let n = usize::try_from(r.varint()?).map_err(|_| BlobError::Length)?;
    if n > r.left() {
        return Err(BlobError::Length);
    }
    let starts = take_deltas(&mut r, n)?;
    let mut counts = || (0..n).map(|_| r.varint()).collect::<Result<Vec<_>, _>>();
    let (count, good, numbers) = (counts()?, counts()?, counts()?);
    let (min, max, sum) = (take_floats(&mut r, n)?, take_floats(&mut r, n)?, take_floats(&mut r, n)?);
    let worst = r.take(n)?;
    let mut firsts = take_rows(&mut r)?.into_iter();
    let mut lasts = take_rows(&mut r)?.into_iter();
    r.end()?;
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let has = good[i] > 0;
        let mark = |rows: &mut std::vec::IntoIter<Row>| {
            if has { rows.next().ok_or(BlobError::Invalid("marks")).map(Some) } else { Ok(None) }
        };
        out.push(Bucket {
            start: starts[i],
            count: count[i],
            good: good[i],
            numbers: numbers[i],
            min: min[i],
            max: max[i],
            sum: sum[i],
            worst: Quality::from_code(worst[i]),
            first: mark(&mut firsts)?,
            last: mark(&mut lasts)?,
        });
    }
    Ok(out)
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
