//! A bucket of a roll-up: what is known of a point's samples in a span of time. Buckets merge in any order,
//! so that late samples, chunks and the tail can be added up. Also the widths there are.

use std::collections::BTreeMap;

use common::api::HistoryPoint;
use common::bytes::{Reader, put_varint};
use common::columns::{
    BitReader, BitWriter, Texts, put_floats, put_plain, put_series, take_floats, take_plain, take_series,
};
use common::{Quality, QualityClass};

use crate::codec::{BlobError, MAX_ROWS, Opened, Row, put_rows, seal, take_rows, take_texts};

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
            first: self.first.and_then(|row| row.value),
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

/// A chunk of buckets by column. What a roll-up of a counter or of a state repeats is not written twice: its least is
/// its first and its greatest its last.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn encode(buckets: &[Bucket]) -> Vec<u8> {
    let (mut w, mut texts) = (BitWriter::default(), Texts::default());
    let all = [buckets.len()];
    let column = |of: fn(&Bucket) -> i64| buckets.iter().map(of).collect::<Vec<_>>();
    put_series(&mut w, &column(|b| b.start), &all, 0);
    put_series(&mut w, &column(|b| b.count as i64), &all, 0);
    put_series(&mut w, &column(|b| b.count.wrapping_sub(b.good) as i64), &all, 0);
    put_series(&mut w, &column(|b| b.good.wrapping_sub(b.numbers) as i64), &all, 0);
    put_plain(&mut w, &column(|b| i64::from(b.worst.code())), 0, 0);
    for (_, of) in EXTREMES {
        let marks: Vec<Row> = buckets.iter().filter_map(|b| of(b).clone()).collect();
        put_rows(&mut w, &mut texts, &marks);
    }
    let mut floats = Vec::with_capacity(buckets.len() * 3);
    let mut lengths = Vec::with_capacity(3);
    for (of, mark) in EXTREMES {
        let is_marked = buckets.iter().all(|b| of(b).to_bits() == marked(mark(b)).to_bits());
        w.put_flag(is_marked);
        if !is_marked {
            floats.extend(buckets.iter().map(of));
            lengths.push(buckets.len());
        }
    }
    floats.extend(buckets.iter().map(|b| b.sum));
    lengths.push(buckets.len());
    put_floats(&mut w, &floats, &lengths);
    let mut out = Vec::new();
    put_varint(&mut out, buckets.len() as u64);
    texts.put(&mut out);
    out.extend(w.finish());
    seal(&out)
}

type Extreme = (fn(&Bucket) -> f64, fn(&Bucket) -> &Option<Row>);
/// The extremes, and the samples that they may be of.
const EXTREMES: [Extreme; 2] = [(|b| b.min, |b| &b.first), (|b| b.max, |b| &b.last)];

/// The number of a bucket's first or last sample; 0 if it has none.
fn marked(row: &Option<Row>) -> f64 {
    row.as_ref().and_then(|r| r.value.as_ref()).and_then(|v| v.as_f64()).unwrap_or(0.0)
}

/// What `encode` wrote, of any version.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn decode(blob: &[u8]) -> Result<Vec<Bucket>, BlobError> {
    let body = match crate::codec::open(blob)? {
        Opened::Columns(body) => body,
        Opened::First(body) => return crate::first::take_buckets(&body),
    };
    let mut r = Reader::new(body);
    let n = r.count("buckets", MAX_ROWS)?;
    // A first and a last sample each.
    let texts = take_texts(&mut r, n * 2)?;
    let mut r = BitReader::new(r.rest());
    let all = [n];
    let starts = take_series(&mut r, &all, 0)?;
    let counts = take_series(&mut r, &all, 0)?;
    let others = take_series(&mut r, &all, 0)?;
    let words = take_series(&mut r, &all, 0)?;
    let worst = take_plain(&mut r, n, 0, 0)?;
    let mut out = Vec::with_capacity(n);
    for ((((start, count), others), words), worst) in
        starts.into_iter().zip(counts).zip(others).zip(words).zip(worst)
    {
        let good = (count as u64).wrapping_sub(others as u64);
        let code = u8::try_from(worst).map_err(|_| BlobError::Invalid("quality"))?;
        out.push(Bucket {
            start,
            count: count as u64,
            good,
            numbers: good.wrapping_sub(words as u64),
            min: 0.0,
            max: 0.0,
            sum: 0.0,
            worst: Quality::from_code(code),
            first: None,
            last: None,
        });
    }
    let has = out.iter().filter(|b| b.good > 0).count();
    let firsts = take_rows(&mut r, &texts, has)?;
    let lasts = take_rows(&mut r, &texts, has)?;
    for (bucket, (first, last)) in out.iter_mut().filter(|b| b.good > 0).zip(firsts.into_iter().zip(lasts)) {
        (bucket.first, bucket.last) = (Some(first), Some(last));
    }
    let (least, greatest) = (r.flag(), r.flag());
    let floats = take_floats(&mut r, &vec![n; 3 - usize::from(least) - usize::from(greatest)])?;
    r.end()?;
    let mut floats = floats.into_iter();
    let mut next = || floats.next().unwrap_or(0.0);
    out.iter_mut().for_each(|b| b.min = if least { marked(&b.first) } else { next() });
    out.iter_mut().for_each(|b| b.max = if greatest { marked(&b.last) } else { next() });
    out.iter_mut().for_each(|b| b.sum = next());
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
