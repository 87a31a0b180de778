//! Points aligned to a grid. Where all samples of a step are good its first and its last say all that the rows beside it
//! need, and roll-ups have them; where not, the samples themselves are read. What cells are made of it is in
//! `cloud_core::align`.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use cloud_core::align::{Column, Grid, Knot, align};
use common::TwinId;
use common::api::{HistoryGap, Interpolation};
use common::gaps::merge;

use crate::bucket::{self, Bucket, Buckets};
use crate::codec::Row;
use crate::compact::{REMOVED, SEALED};
use crate::db::Result;
use crate::gaps;
use crate::history::{Source, find};
use crate::sql::Conn;
use crate::tail::Tail;

pub(crate) fn aligned(
    conn: &Conn,
    tail: &RwLock<Tail>,
    points: &[(TwinId, String)],
    grid: Grid,
    method: Interpolation,
) -> Result<Vec<Column>> {
    // As for a history: the tail and the chunks of all points are of one moment.
    let guard = tail.read().unwrap_or_else(PoisonError::into_inner);
    let tx = conn.read()?;
    let series = points.iter().map(|(twin, point)| find(&tx, *twin, point)).collect::<Result<Vec<_>>>()?;
    let waiting = guard.of(&series.iter().flatten().copied().collect::<Vec<_>>());
    drop(guard);
    let mut tails = waiting.rows()?.into_iter();
    let mut source = |series| Source { conn: &tx, series, tail: tails.next().unwrap_or_default() };
    let sources: Vec<_> = series.into_iter().map(|s| s.map(&mut source)).collect();
    let mut gaps_of: HashMap<TwinId, Vec<HistoryGap>> = HashMap::new();
    let mut columns = Vec::with_capacity(points.len());
    for ((twin, _), source) in points.iter().zip(sources) {
        let (knots, before) = match &source {
            Some(source) => knots(source, grid)?,
            None => (Vec::new(), None),
        };
        if !gaps_of.contains_key(twin) {
            gaps_of.insert(*twin, gaps::of_twin(&tx, *twin)?.0);
        }
        let from = before.unwrap_or(grid.from_us).min(grid.from_us);
        let end = grid.time(grid.rows).saturating_add(grid.step_us);
        let mut missing = gaps_of.get(twin).cloned().unwrap_or_default();
        if let Some(source) = &source {
            missing.extend(gaps::deleted(&tx, source.series)?);
        }
        columns.push(align(&knots, &merge(missing, from, end, 0), grid, method));
    }
    Ok(columns)
}

/// What is known around the rows, by time; and the time of the last sample before them.
fn knots(source: &Source<'_>, grid: Grid) -> Result<(Vec<Knot>, Option<i64>)> {
    if grid.rows == 0 {
        return Ok((Vec::new(), None));
    }
    let (start, end) = (grid.from_us, grid.time(grid.rows).saturating_add(grid.step_us));
    let level = bucket::level_for(grid.step_us);
    let mut buckets = Buckets::new(grid.step_us);
    if level > 0 {
        for bucket in source.buckets(level, start, end)? {
            if start <= bucket.start && bucket.start < end {
                buckets.merge(&bucket);
            }
        }
    }
    let chunks = source.chunks(start, end)?;
    let is_rolled = |c: &crate::history::Chunk| c.class >= SEALED && level > 0 && c.rolled <= level;
    let is_within = |r: &&Row| start <= r.t && r.t < end;
    for chunk in chunks.iter().filter(|c| !is_rolled(c) && c.class != REMOVED) {
        source.samples(chunk)?.iter().filter(is_within).for_each(|r| buckets.add(r));
    }
    source.tail.iter().filter(is_within).for_each(|r| buckets.add(r));
    let buckets = buckets.into_vec();
    let mut exact = Exact::new(&buckets, grid.step_us);
    if exact.wants_any() {
        let wanted = chunks.iter().filter(|c| c.class != REMOVED && exact.wants(c.t_min, c.t_max));
        for chunk in wanted.collect::<Vec<_>>() {
            source.samples(chunk)?.into_iter().for_each(|r| exact.take(r));
        }
        source.tail.iter().for_each(|r| exact.take(r.clone()));
    }
    let before = source.before(start)?;
    let before_us = before.as_ref().map(|row| row.t);
    let mut knots: Vec<Knot> = before.into_iter().map(knot).collect();
    for bucket in buckets {
        exact.put(bucket, &mut knots);
    }
    Ok((knots, before_us))
}

fn knot(row: Row) -> Knot {
    Knot { t_us: row.t, quality: row.quality, value: row.value }
}

/// The samples of those steps in which not all are good.
struct Exact {
    step: i64,
    rows: HashMap<i64, Vec<Row>>,
    first: i64,
    last: i64,
}

impl Exact {
    fn new(buckets: &[Bucket], step: i64) -> Self {
        let odd = || buckets.iter().filter(|b| b.good < b.count).map(|b| b.start);
        let rows = odd().map(|start| (start, Vec::new())).collect();
        let (first, last) = (odd().min().unwrap_or(i64::MAX), odd().max().unwrap_or(i64::MIN));
        Self { step, rows, first, last: last.saturating_add(step) }
    }

    fn wants_any(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Whether a chunk may hold some of them.
    fn wants(&self, t_min: i64, t_max: i64) -> bool {
        if t_max < self.first || t_min >= self.last {
            return false;
        }
        let (from, to) = (bucket::start(t_min, self.step), t_max);
        let steps = i128::from(to).saturating_sub(i128::from(from)) / i128::from(self.step);
        if steps < self.rows.len() as i128 {
            let mut start = from;
            while start <= to {
                if self.rows.contains_key(&start) {
                    return true;
                }
                start = start.saturating_add(self.step);
            }
            return false;
        }
        self.rows.keys().any(|start| *start <= to && start.saturating_add(self.step) > t_min)
    }

    fn take(&mut self, row: Row) {
        if let Some(rows) = self.rows.get_mut(&bucket::start(row.t, self.step)) {
            rows.push(row);
        }
    }

    /// A step's knots, by time.
    fn put(&mut self, bucket: Bucket, knots: &mut Vec<Knot>) {
        let Some(mut rows) = self.rows.remove(&bucket.start) else {
            let last = bucket.last.filter(|l| bucket.first.as_ref().is_none_or(|f| f.key() < l.key()));
            knots.extend(bucket.first.into_iter().chain(last).map(knot));
            return;
        };
        if (rows.len() as u64) < bucket.count {
            // Its samples were removed: only that some were not good is known, not when.
            let value = bucket.last.and_then(|row| row.value).filter(|_| !bucket.worst.is_bad());
            knots.push(Knot { t_us: bucket.start, quality: bucket.worst, value });
            return;
        }
        rows.sort_unstable_by_key(Row::key);
        knots.extend(rows.into_iter().map(knot));
    }
}
