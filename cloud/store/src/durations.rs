//! How a point's time divides: by quality, and of a state by value. Roll-ups know how the time between the first and the
//! last sample of a bucket divides; what lies between buckets is added here. Where that is not enough (a gap within a bucket,
//! the end of the range, samples of two chunks mixed, a bucket of an older program) the finer level is asked, in the end the
//! samples.

use std::sync::{PoisonError, RwLock};

use cloud_core::align::Knot;
use cloud_core::history::{Durations, RowTimes, Spans};
use common::TwinId;
use common::api::HistoryGap;

use crate::bucket::{self, Bucket, Buckets, LEVELS};
use crate::codec::Row;
use crate::compact::REMOVED;
use crate::damage::Damage;
use crate::db::Result;
use crate::gaps;
use crate::history::{Chunk, Source, find};
use crate::sql::Conn;
use crate::tail::Tail;
use crate::times::{Times, shown};

/// Samples and buckets that are read for one answer; what would need more is not settled.
const MOST_READ: u64 = 2_000_000;

pub(crate) fn durations(
    conn: &Conn,
    tail: &RwLock<Tail>,
    twin: TwinId,
    point: &str,
    spans: &Spans,
    damage: &Damage,
) -> Result<Durations> {
    let guard = tail.read().unwrap_or_else(PoisonError::into_inner);
    let tx = conn.read()?;
    let series = find(&tx, twin, point)?;
    let tail = guard.of(series.as_slice());
    drop(guard);
    let (from, to) = (spans.from_us, spans.to_us.min(spans.now_us));
    let mut walk = Walk::new(spans, (from, to));
    if let Some(series) = series.filter(|_| from < to) {
        let source = Source::new(&tx, series, tail.rows()?.pop().unwrap_or_default()).leaving_out(damage);
        let before = source.before(from)?;
        let since = before.as_ref().map_or(from, |row| row.t.min(from));
        let streams = gaps::of_twin(&tx, twin, (since, to))?;
        let mut missing = streams.gaps(point);
        missing.extend(gaps::removed(&tx, series)?);
        missing.extend(gaps::away(streams.heard, spans.online, spans.now_us));
        let mut damaged = source.damaged();
        loop {
            let all: Vec<_> = missing.iter().chain(&damaged).cloned().collect();
            walk.unknown = unknown(&all);
            walk.held = before.clone().map_or(Held::Nothing, Held::Row);
            walk.level(&source, level(spans), from, to)?;
            walk.until(to);
            // What turned out to be damaged on the way is a gap from the beginning.
            let found = source.damaged();
            if found.len() == damaged.len() {
                break;
            }
            (damaged, walk) = (found, Walk::new(spans, (from, to)));
        }
    }
    Ok(walk.end())
}

/// Spans in which nothing is known, by time and apart from each other.
fn unknown(gaps: &[HistoryGap]) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> =
        gaps.iter().filter(|g| g.cause.is_unknown()).map(|g| (g.from_us, g.to_us)).collect();
    spans.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::with_capacity(spans.len());
    for (from, to) in spans {
        match out.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

/// The coarsest level whose buckets lie each in one row.
fn level(spans: &Spans) -> usize {
    let is_one = spans.starts_us.len() == 1 && spans.width_us >= spans.to_us.saturating_sub(spans.from_us);
    if is_one || spans.starts_us.is_empty() { LEVELS.len() } else { bucket::level_for(spans.width_us) }
}

/// What holds.
enum Held {
    Nothing,
    Row(Row),
    /// Samples that are not known, since then.
    Unsettled(i64),
}

/// Time of a span.
#[derive(Default)]
struct Sum {
    times: Times,
    unsettled: i64,
    first: Option<Row>,
    last: Option<Row>,
}

struct Walk<'a> {
    spans: &'a Spans,
    range: (i64, i64),
    unknown: Vec<(i64, i64)>,
    held: Held,
    left: u64,
    total: Sum,
    rows: Vec<Sum>,
}

impl<'a> Walk<'a> {
    fn new(spans: &'a Spans, range: (i64, i64)) -> Self {
        let rows = spans.starts_us.iter().map(|_| Sum::default()).collect();
        let (unknown, held, total) = (Vec::new(), Held::Nothing, Sum::default());
        Self { spans, range, unknown, held, left: MOST_READ, total, rows }
    }

    /// All samples in `start..end`, by the buckets of a level.
    fn level(&mut self, source: &Source<'_>, level: usize, start: i64, end: i64) -> Result<()> {
        if level == 0 {
            let Some(rows) = source.rows(start, end)? else {
                self.until(start);
                self.held = Held::Unsettled(start);
                return Ok(());
            };
            for row in rows {
                self.until(row.t);
                self.saw(&row, &row);
                self.held = Held::Row(row);
            }
            return Ok(());
        }
        let width = bucket::level_width(level);
        let whole =
            (bucket::start(start, width), bucket::start(end.saturating_sub(1), width).saturating_add(width));
        let chunks = source.chunks(whole.0, whole.1)?;
        let Some(buckets) = source.rolled_up(&Buckets::new(width), level, whole, &chunks)? else {
            self.until(start);
            self.held = Held::Unsettled(start);
            return Ok(());
        };
        self.left = self.left.saturating_sub(buckets.len() as u64);
        for bucket in buckets {
            let (from, to) = (bucket.start.max(start), bucket.start.saturating_add(width).min(end));
            if from >= to {
                continue;
            }
            if !self.take(&bucket) {
                if self.may_read(level - 1, (from, to), &chunks) {
                    self.level(source, level - 1, from, to)?;
                } else {
                    self.unsettled(&bucket, (from, to));
                }
            }
        }
        Ok(())
    }

    /// Whether the finer level has all of a span, and may be asked.
    fn may_read(&mut self, level: usize, (from, to): (i64, i64), chunks: &[Chunk]) -> bool {
        let mut cost = 100;
        for chunk in chunks.iter().filter(|c| c.t_min < to && c.t_max >= from) {
            if chunk.class == REMOVED && (level == 0 || chunk.rolled > level) {
                return false;
            }
            cost += if chunk.is_rolled(level) { 0 } else { chunk.n };
        }
        let may = cost <= self.left;
        self.left = self.left.saturating_sub(cost);
        may
    }

    /// Takes a bucket as a whole, if it says all that is needed.
    fn take(&mut self, bucket: &Bucket) -> bool {
        let (Some(first), Some(last), Some(times)) = (&bucket.first, &bucket.last, &bucket.times) else {
            return false;
        };
        let is_within = self.range.0 <= first.t && last.t < self.range.1;
        let is_cut = self.gap_after(first.t).is_some_and(|(from, _)| from < last.t);
        if !is_within || is_cut {
            return false;
        }
        self.until(first.t);
        self.saw(first, last);
        self.each(first.t, last.t, |sum, _| sum.times.add(times, shown()));
        self.held = Held::Row(last.clone());
        true
    }

    /// A bucket of which only the samples would tell.
    fn unsettled(&mut self, bucket: &Bucket, (from, to): (i64, i64)) {
        let first = bucket.first.as_ref().map_or(from, |row| row.t).clamp(from, to);
        self.until(first);
        self.held = Held::Unsettled(first);
        if let Some(last) = bucket.last.as_ref().filter(|row| row.t < to) {
            self.until(last.t);
            if let Some(first) = bucket.first.as_ref().filter(|row| row.t >= from) {
                self.saw(first, last);
            }
            self.held = Held::Row(last.clone());
        }
    }

    /// The first gap that ends after a time.
    fn gap_after(&self, t: i64) -> Option<(i64, i64)> {
        let at = self.unknown.partition_point(|(_, to)| *to <= t);
        self.unknown.get(at).copied()
    }

    /// What holds does so until then.
    fn until(&mut self, t: i64) {
        let held = std::mem::replace(&mut self.held, Held::Nothing);
        let since = match &held {
            Held::Nothing => return,
            Held::Row(row) => row.t,
            Held::Unsettled(since) => *since,
        };
        let gap = self.gap_after(since).map_or(i64::MAX, |(from, _)| from);
        let (from, to) = (since.max(self.range.0), t.min(self.range.1).min(gap));
        self.each(from, to, |sum, us| match &held {
            Held::Row(row) => sum.times.hold(row, us, shown()),
            _ => sum.unsettled = sum.unsettled.saturating_add(us),
        });
    }

    /// The sum of all, and those of the rows that a span lies in, each with its part of it.
    fn each(&mut self, from: i64, to: i64, mut add: impl FnMut(&mut Sum, i64)) {
        if from >= to {
            return;
        }
        add(&mut self.total, to.saturating_sub(from));
        let width = self.spans.width_us;
        let starts = &self.spans.starts_us;
        let at = starts.partition_point(|start| start.saturating_add(width) <= from);
        for (start, sum) in starts.iter().zip(&mut self.rows).skip(at).take_while(|(start, _)| **start < to) {
            let part = start.saturating_add(width).min(to).saturating_sub(from.max(*start));
            add(sum, part);
        }
    }

    /// Samples of one row.
    fn saw(&mut self, first: &Row, last: &Row) {
        let at = self.spans.starts_us.partition_point(|start| *start <= first.t).checked_sub(1);
        let Some(sum) = at.and_then(|at| self.rows.get_mut(at)) else { return };
        // Of several at one time the last one counts.
        if sum.first.as_ref().is_none_or(|f| f.t == first.t) {
            sum.first = Some(first.clone());
        }
        sum.last = Some(last.clone());
    }

    fn end(self) -> Durations {
        let (from, to) = self.range;
        // What is yet to come is no part of it.
        let part = |start: i64, end: i64| end.min(to).saturating_sub(start.max(from)).max(0);
        let knot = |row: Row| Knot { t_us: row.t, quality: row.quality, value: row.value };
        let width = self.spans.width_us;
        let row = |(start, sum): (&i64, Sum)| RowTimes {
            times: sum.times.view(part(*start, start.saturating_add(width)), sum.unsettled),
            first: sum.first.map(knot),
            last: sum.last.map(knot),
        };
        Durations {
            total: self.total.times.view(part(from, to), self.total.unsettled),
            rows: self.spans.starts_us.iter().zip(self.rows).map(row).collect(),
        }
    }
}
