//! A table of samples of many points, in the order in which they came. That order is part of the data, so the first
//! column is the points row by row: each is expected to follow the one that it followed last time, which costs
//! nothing while points come in turns. Then every other column stands by row or by point, as is shorter.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use super::bits::{BitReader, BitWriter};
use super::blocks::{put_blocks, take_blocks};
use super::ints::{put_plain, put_series, take_plain, take_series};
use super::values::{Texts, put_values, take_values};
use crate::bytes::{DecodeError, Reader, put_varint, unzigzag, zigzag};
use crate::quality::Quality;
use crate::sample::{PointId, Sample};
use crate::value::Value;

/// The most bytes of texts in a table, before compression; protects a reader from a bomb.
const MAX_TEXT: usize = 1 << 21;

/// Appends samples. `base_us` is a time near theirs that the reader has too.
pub fn put_table(out: &mut Vec<u8>, rows: &[Sample], base_us: i64) {
    put_varint(out, rows.len() as u64);
    if rows.is_empty() {
        return;
    }
    let mut w = BitWriter::default();
    let mut texts = Texts::default();
    let order = Order::of(rows);
    order.put(&mut w);
    let column = |of: fn(&Sample) -> i64| rows.iter().map(of).collect::<Vec<_>>();
    order.put_column(&mut w, &column(|s| s.source_us), base_us);
    order.put_column(&mut w, &column(|s| s.received_us.wrapping_sub(s.source_us)), 0);
    order.put_column(&mut w, &column(|s| i64::from(s.quality.code())), 0);
    let values: Vec<_> = order.by_point.iter().map(|i| rows[*i as usize].value.as_ref()).collect();
    put_values(&mut w, &mut texts, &values, &order.lengths);
    texts.put(out);
    out.extend(w.finish());
}

/// A table by column, for who needs no rows.
#[derive(Debug, Default)]
pub struct Columns {
    /// Points in the order in which each came first.
    pub points: Vec<PointId>,
    /// Rows of each point.
    pub lengths: Vec<usize>,
    /// Rows by point, in their order within each.
    pub by_point: Vec<u32>,
    /// Source times by row, UTC us.
    pub sources: Vec<i64>,
    /// How much later each was received, by row, us.
    pub delays: Vec<i64>,
    /// Codes of qualities by row, each less than 256.
    pub qualities: Vec<i64>,
    /// Values by point, as `by_point`.
    pub values: Vec<Option<Value>>,
}

impl Columns {
    /// The columns of rows.
    pub fn of(rows: &[Sample]) -> Self {
        let Order { points, lengths, by_point, .. } = Order::of(rows);
        Self {
            points: points.into_iter().map(|p| PointId(p as u32)).collect(),
            lengths,
            values: by_point.iter().map(|i| rows[*i as usize].value.clone()).collect(),
            by_point,
            sources: rows.iter().map(|s| s.source_us).collect(),
            delays: rows.iter().map(|s| s.received_us.wrapping_sub(s.source_us)).collect(),
            qualities: rows.iter().map(|s| i64::from(s.quality.code())).collect(),
        }
    }
}

/// What `put_table` wrote, which must be all that is left.
///
/// # Errors
/// When it is not exactly one table of at most `limit` rows.
pub fn take_table(r: &mut Reader<'_>, base_us: i64, limit: usize) -> Result<Vec<Sample>, DecodeError> {
    let (columns, points) = take(r, base_us, limit)?;
    let mut rows: Vec<Sample> = Vec::with_capacity(points.len());
    let numbers = columns.sources.into_iter().zip(columns.delays).zip(columns.qualities);
    for (point, ((source_us, delay), quality)) in points.into_iter().zip(numbers) {
        rows.push(Sample {
            point,
            value: None,
            quality: Quality::from_code(quality as u8),
            source_us,
            received_us: source_us.wrapping_add(delay),
        });
    }
    for (at, value) in columns.by_point.iter().zip(columns.values) {
        if let Some(row) = rows.get_mut(*at as usize) {
            row.value = value;
        }
    }
    Ok(rows)
}

/// The same by column.
///
/// # Errors
/// As of `take_table`.
pub fn take_columns(r: &mut Reader<'_>, base_us: i64, limit: usize) -> Result<Columns, DecodeError> {
    take(r, base_us, limit).map(|(columns, _)| columns)
}

/// Columns, and the point of each row.
fn take(r: &mut Reader<'_>, base_us: i64, limit: usize) -> Result<(Columns, Vec<PointId>), DecodeError> {
    let n = r.count("samples", limit)?;
    if n == 0 {
        return r.end().map(|()| Default::default());
    }
    let texts = Texts::take(r, n, MAX_TEXT)?;
    let mut r = BitReader::new(r.rest());
    let (order, ids, rows) = Order::take(&mut r, n)?;
    let sources = order.take_column(&mut r, base_us)?;
    let delays = order.take_column(&mut r, 0)?;
    let qualities = order.take_column(&mut r, 0)?;
    let values = take_values(&mut r, &texts, &order.lengths)?;
    r.end()?;
    if qualities.iter().any(|q| u8::try_from(*q).is_err()) {
        return Err(DecodeError::Invalid { what: "quality" });
    }
    let Order { lengths, by_point, .. } = order;
    Ok((Columns { points: ids, lengths, by_point, sources, delays, qualities, values }, rows))
}

/// Which rows are of which point.
struct Order {
    /// Points in the order in which each came first.
    points: Vec<i64>,
    /// Of each row, zigzag: how far its point's place is from the one expected.
    surprises: Vec<u64>,
    /// Rows of each point.
    lengths: Vec<usize>,
    /// Rows by point, in their order within each.
    by_point: Vec<u32>,
}

/// Which point is expected next, by places in the order in which they came first.
struct Turns {
    /// Of how many points, in all.
    points: usize,
    follows: Vec<Option<u32>>,
    last: Option<u32>,
}

impl Turns {
    fn of(points: usize) -> Self {
        Self { points, follows: Vec::new(), last: None }
    }

    /// The one that followed the last one when that came before.
    fn follower(&self) -> Option<u32> {
        self.follows.get(self.last? as usize).copied().flatten()
    }

    fn expected(&self) -> u32 {
        let seen = self.follows.len();
        self.follower().unwrap_or(if seen < self.points { seen as u32 } else { 0 })
    }

    fn saw(&mut self, place: u32) {
        if let Some(follows) = self.last.and_then(|last| self.follows.get_mut(last as usize)) {
            *follows = Some(place);
        }
        if place as usize == self.follows.len() {
            self.follows.push(None);
        }
        self.last = Some(place);
    }
}

impl Order {
    fn of(rows: &[Sample]) -> Self {
        let mut seen = Seen::new(rows.len());
        let (mut points, mut places) = (Vec::new(), Vec::with_capacity(rows.len()));
        let mut turns = Turns::of(0);
        for row in rows {
            // Mostly the one that followed last time: then nothing needs to be looked up.
            let is_it = |place: &u32| points.get(*place as usize) == Some(&i64::from(row.point.0));
            let place = match turns.follower().filter(is_it) {
                Some(place) => place,
                None => seen.place(row.point.0, &mut points),
            };
            turns.saw(place);
            places.push(place);
        }
        if points.len() == rows.len() {
            // Each once: every one is new, and new ones are expected.
            let (lengths, by_point) = each_once(points.len());
            return Self { surprises: vec![0; points.len()], points, lengths, by_point };
        }
        // Only now it is known how many points there are, which what is expected depends on.
        let mut turns = Turns::of(points.len());
        let surprise = |place: &u32| {
            let expected = turns.expected();
            turns.saw(*place);
            zigzag(i64::from(*place) - i64::from(expected))
        };
        let surprises = places.iter().map(surprise).collect();
        let (lengths, by_point) = group(&places, points.len());
        Self { points, surprises, lengths, by_point }
    }

    fn put(&self, w: &mut BitWriter) {
        w.put_number(self.points.len() as u64);
        put_plain(w, &self.points, 0, 1);
        put_blocks(w, &self.surprises);
    }

    /// The order, the points in it, and the point of each row.
    fn take(r: &mut BitReader<'_>, n: usize) -> Result<(Self, Vec<PointId>, Vec<PointId>), DecodeError> {
        let count = usize::try_from(r.number()?).unwrap_or(usize::MAX);
        if count > n {
            return Err(DecodeError::TooLarge { what: "points", size: count, limit: n });
        }
        let points = take_plain(r, count, 0, 1)?;
        let ids: Option<Vec<PointId>> = points.iter().map(|p| u32::try_from(*p).ok().map(PointId)).collect();
        let ids = ids.ok_or(DecodeError::Invalid { what: "point number" })?;
        // A point that stands twice would have two orders of its rows.
        if !points.is_sorted_by(|a, b| a < b) {
            let mut sorted = points.clone();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(DecodeError::Invalid { what: "order of points" });
            }
        }
        let mut turns = Turns::of(count);
        let mut places = Vec::with_capacity(n);
        let mut rows = Vec::with_capacity(n);
        let mut bad = false;
        take_blocks(r, n, |surprise| {
            let place = i64::from(turns.expected()).wrapping_add(unzigzag(surprise));
            // A new point is the next one, never one beyond.
            let place = u32::try_from(place).ok().filter(|p| *p as usize <= turns.follows.len());
            match place.and_then(|p| Some((p, *ids.get(p as usize)?))) {
                Some((place, id)) => {
                    turns.saw(place);
                    places.push(place);
                    rows.push(id);
                }
                None => bad = true,
            }
        })?;
        if bad || turns.follows.len() != count {
            return Err(DecodeError::Invalid { what: "order of points" });
        }
        // Of as many points as rows each has one, and they came in this order.
        let (lengths, by_point) = if count == n { each_once(n) } else { group(&places, count) };
        Ok((Self { points, surprises: Vec::new(), lengths, by_point }, ids, rows))
    }

    /// Appends a column by row, or by point if that is shorter.
    fn put_column(&self, w: &mut BitWriter, rows: &[i64], base: i64) {
        let changes = rows.windows(2).filter(|w| w[0] != w[1]).count();
        // What seldom changes from row to row is shared by points: nothing is shorter.
        if changes * 16 <= rows.len() || self.lengths.iter().all(|n| *n == 1) {
            w.put_flag(false);
            return put_plain(w, rows, base, 0);
        }
        let sorted: Vec<i64> = self.by_point.iter().map(|i| rows[*i as usize]).collect();
        let (mut by_row, mut by_point) = (BitWriter::default(), BitWriter::default());
        put_plain(&mut by_row, rows, base, 0);
        put_series(&mut by_point, &sorted, &self.lengths, base);
        w.put_shorter(by_row, by_point);
    }

    /// What `put_column` wrote, by row.
    fn take_column(&self, r: &mut BitReader<'_>, base: i64) -> Result<Vec<i64>, DecodeError> {
        if !r.flag() {
            return take_plain(r, self.by_point.len(), base, 0);
        }
        let sorted = take_series(r, &self.lengths, base)?;
        let mut rows = vec![0; sorted.len()];
        for (at, n) in self.by_point.iter().zip(sorted) {
            if let Some(row) = rows.get_mut(*at as usize) {
                *row = n;
            }
        }
        Ok(rows)
    }
}

/// The same as `group` where each place has one row, in order.
fn each_once(count: usize) -> (Vec<usize>, Vec<u32>) {
    (vec![1; count], (0..count as u32).collect())
}

/// How many rows each place has, and the rows by place.
fn group(places: &[u32], count: usize) -> (Vec<usize>, Vec<u32>) {
    let mut lengths = vec![0usize; count];
    for place in places {
        if let Some(n) = lengths.get_mut(*place as usize) {
            *n += 1;
        }
    }
    let mut next = Vec::with_capacity(count);
    let mut sum = 0;
    for n in &lengths {
        next.push(sum);
        sum += n;
    }
    let mut rows = vec![0u32; places.len()];
    for (i, place) in (0u32..).zip(places) {
        if let Some(next) = next.get_mut(*place as usize) {
            if let Some(row) = rows.get_mut(*next) {
                *row = i;
            }
            *next += 1;
        }
    }
    (lengths, rows)
}

/// Odd, and another one in each process: points cannot be chosen so that they get in each other's way (multiply-shift,
/// Dietzfelbinger et al. 1997).
static FACTOR: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0u32) | 1);

/// Places of points by their numbers: a small table with open addressing. With the standard one a frame in which every
/// point stands once took half as long again.
struct Seen {
    slots: Vec<u32>,
    factor: u64,
    shift: u32,
}

impl Seen {
    fn new(rows: usize) -> Self {
        let size = (rows * 2).next_power_of_two().max(2);
        Self { slots: vec![u32::MAX; size], factor: *FACTOR, shift: 64 - size.trailing_zeros() }
    }

    /// Where a point is looked for first.
    fn home(&self, point: u32) -> usize {
        (u64::from(point).wrapping_mul(self.factor) >> self.shift) as usize
    }

    fn place(&mut self, point: u32, points: &mut Vec<i64>) -> u32 {
        let mut at = self.home(point);
        loop {
            let Some(slot) = self.slots.get_mut(at) else { return 0 };
            if *slot == u32::MAX {
                *slot = points.len() as u32;
                points.push(i64::from(point));
                return *slot;
            }
            if points.get(*slot as usize) == Some(&i64::from(point)) {
                return *slot;
            }
            at = (at + 1) % self.slots.len();
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
