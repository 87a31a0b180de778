//! Points aligned to a grid. The first and the last sample of each step say all that the rows beside it need, and roll-ups
//! have them; only for buckets of older programs in which not all is good the samples are read. What cells are made of it is
//! in `cloud_core::align`.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use cloud_core::StoreError;
use cloud_core::align::{Column, Grid, Knot, align};
use cloud_core::history::AlignedPoint;
use common::api::{HistoryGap, Interpolation};
use common::gaps::merge;
use common::{Class, TwinId};

use crate::bucket::{self, Bucket, Buckets};
use crate::codec::{Row, text_of};
use crate::compact::REMOVED;
use crate::damage::Damage;
use crate::db::Result;
use crate::gaps::{self, Streams};
use crate::history::{Chunk, Source, find, too_large};
use crate::sql::Conn;
use crate::tail::Tail;

/// Samples that are read for one answer.
const MOST_READ: u64 = 50_000_000;
/// Bytes of the texts in an answer.
const MOST_TEXT: usize = 16 << 20;
/// Rows whose buckets are in memory at once.
const ROWS: usize = 1 << 16;

/// What may still be read for an answer.
struct Left {
    samples: u64,
    text: usize,
}

/// What is known of the streams that fed a twin.
struct Fed {
    since: i64,
    streams: Streams,
    /// What is made of them for points of a class.
    gaps: HashMap<Class, Vec<HistoryGap>>,
}

pub(crate) fn aligned(
    conn: &Conn,
    tail: &RwLock<Tail>,
    points: &[AlignedPoint],
    grid: Grid,
    method: Interpolation,
    now: i64,
    damage: &Damage,
) -> Result<Vec<Column>> {
    // As for a history: the tail and the chunks of all points are of one moment.
    let guard = tail.read().unwrap_or_else(PoisonError::into_inner);
    let tx = conn.read()?;
    let series = points.iter().map(|p| find(&tx, p.twin, &p.point)).collect::<Result<Vec<_>>>()?;
    let waiting = guard.of(&series.iter().flatten().copied().collect::<Vec<_>>());
    drop(guard);
    let mut tails = waiting.rows()?.into_iter();
    let mut source = |series| Source::new(&tx, series, tails.next().unwrap_or_default()).leaving_out(damage);
    let sources: Vec<_> = series.into_iter().map(|s| s.map(&mut source)).collect();
    let end = grid.time(grid.rows).saturating_add(grid.step_us);
    let mut all: HashMap<TwinId, Fed> = HashMap::new();
    let mut columns = Vec::with_capacity(points.len());
    let mut left = Left { samples: MOST_READ, text: MOST_TEXT };
    for (point, source) in points.iter().zip(sources) {
        let (knots, before) = match &source {
            Some(source) => knots(source, grid, &mut left)?,
            None => (Vec::new(), None),
        };
        let from = before.unwrap_or(grid.from_us).min(grid.from_us);
        let mut fed = match all.remove(&point.twin).filter(|fed| fed.since <= from) {
            Some(fed) => fed,
            None => Fed {
                since: from,
                streams: gaps::of_twin(&tx, point.twin, (from, end))?,
                gaps: HashMap::new(),
            },
        };
        let class = fed.streams.class_of(&point.point);
        let mut missing = fed.gaps.entry(class).or_insert_with(|| fed.streams.gaps_of(class)).clone();
        missing.extend(gaps::away(fed.streams.heard, point.online, now));
        all.insert(point.twin, fed);
        if let Some(source) = &source {
            missing.extend(gaps::removed(&tx, source.series)?);
            missing.extend(source.damaged());
        }
        columns.push(align(&knots, &merge(missing, from, end, 0), grid, method));
    }
    Ok(columns)
}

/// What is known around the rows, by time; and the time of the last sample before them.
fn knots(source: &Source<'_>, grid: Grid, left: &mut Left) -> Result<(Vec<Knot>, Option<i64>)> {
    if grid.rows == 0 {
        return Ok((Vec::new(), None));
    }
    let before = source.before(grid.from_us)?;
    let before_us = before.as_ref().map(|row| row.t);
    let mut knots: Vec<Knot> = before.map(knot).into_iter().collect();
    // One step beyond the last row, for a line.
    let rows = grid.rows.saturating_add(1);
    for first in (0..rows).step_by(ROWS) {
        some_knots(source, grid, (first, first.saturating_add(ROWS).min(rows)), left, &mut knots)?;
    }
    Ok((knots, before_us))
}

/// Knots of some rows.
fn some_knots(
    source: &Source<'_>,
    grid: Grid,
    (first, end): (usize, usize),
    left: &mut Left,
    knots: &mut Vec<Knot>,
) -> Result<()> {
    let (start, end) = (grid.time(first), grid.time(end));
    let chunks = source.chunks(start, end)?;
    let level = bucket::level_for(grid.step_us);
    let read = chunks.iter().filter(|c| !c.is_rolled(level) && c.class != REMOVED).map(|c| c.n).sum();
    left.samples = left.samples.checked_sub(read).ok_or_else(too_many)?;
    let into = Buckets::new(grid.step_us).listing(0);
    let buckets = source.rolled_up(&into, level, (start, end), &chunks)?;
    let mut buckets = buckets.ok_or_else(too_large)?;
    look_up(source, &mut buckets, &chunks, grid.step_us)?;
    let before = knots.len();
    buckets.into_iter().for_each(|bucket| put(bucket, knots));
    let text = knots.iter().skip(before).map(|k| text_of(k.value.as_ref())).sum();
    left.text = left.text.checked_sub(text).ok_or_else(too_large)?;
    Ok(())
}

fn too_many() -> StoreError {
    let what = format!(
        "more than {MOST_READ} samples would have to be read: ask for fewer points, a shorter range, or a step of whole seconds or minutes, which roll-ups have"
    );
    StoreError::TooLarge { what }
}

fn knot(row: Row) -> Knot {
    Knot { t_us: row.t, quality: row.quality, value: row.value }
}

/// A step's knots, by time.
fn put(bucket: Bucket, knots: &mut Vec<Knot>) {
    match (bucket.first, bucket.last) {
        (Some(first), last) => {
            let last = last.filter(|last| first.t < last.t);
            knots.extend([first].into_iter().chain(last).map(knot));
        }
        _ => {
            // Its samples were removed: only that some were not good is known, not when.
            let value = bucket.good_ends.and_then(|ends| ends.1.value).filter(|_| !bucket.worst.is_bad());
            knots.push(Knot { t_us: bucket.start, quality: bucket.worst, value });
        }
    }
}

/// Makes buckets that do not know their ends anew of their samples, chunk by chunk, where these are all there.
fn look_up(source: &Source<'_>, buckets: &mut [Bucket], chunks: &[Chunk], step: i64) -> Result<()> {
    let places = buckets.iter().enumerate().filter(|(_, b)| b.first.is_none()).map(|(n, b)| (b.start, n));
    let places: HashMap<i64, usize> = places.collect();
    let (Some(first), Some(last)) = (places.keys().min(), places.keys().max()) else { return Ok(()) };
    let mut exact = Buckets::new(step).listing(0);
    let mut take = |rows: &[Row]| {
        rows.iter().filter(|r| places.contains_key(&bucket::start(r.t, step))).for_each(|r| exact.add(r));
    };
    let end = last.saturating_add(step);
    for chunk in chunks.iter().filter(|c| c.class != REMOVED && c.t_min < end && c.t_max >= *first) {
        if wants(&places, step, (chunk.t_min, chunk.t_max)) {
            take(&source.samples(chunk)?);
        }
    }
    take(&source.tail);
    for found in exact.into_vec() {
        let there = places.get(&found.start).and_then(|n| buckets.get_mut(*n));
        if let Some(bucket) = there.filter(|b| b.count == found.count) {
            *bucket = found;
        }
    }
    Ok(())
}

/// Whether a chunk may hold samples of some steps.
fn wants(places: &HashMap<i64, usize>, step: i64, (from, to): (i64, i64)) -> bool {
    let mut start = bucket::start(from, step);
    let steps = i128::from(to).saturating_sub(i128::from(start)) / i128::from(step);
    if steps > places.len() as i128 {
        return places.keys().any(|start| *start <= to && start.saturating_add(step) > from);
    }
    while start <= to {
        if places.contains_key(&start) {
            return true;
        }
        start = start.saturating_add(step);
    }
    false
}
