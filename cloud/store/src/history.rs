//! A point's history: every sample where they fit, roll-ups where they do not. Chunks are read as of one
//! moment together with the tail, so that each sample is in exactly one of the two.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::sync::{PoisonError, RwLock};

use cloud_core::StoreError;
use cloud_core::storage::History;
use common::api::{GapReason, HistoryGap, HistoryPoint, Resolution};
use common::clock::format_us;
use common::gaps::{merge, of_rows};
use common::{Quality, TwinId};

use crate::bucket::{self, Bucket, Buckets, LEVELS};
use crate::bucket_codec;
use crate::codec::{self, Row};
use crate::compact::{REMOVED, SEALED};
use crate::damage::{Damage, Found};
use crate::db::{Result, damaged};
use crate::gaps;
use crate::sql::{self, Conn, params};
use crate::tail::{SeriesId, Tail};

/// Beyond so many samples, widths that only raw samples can make up are not offered.
const MAX_RAW: u64 = 1_000_000;

/// Bytes of texts in an answer, and in what is made into one: with more a range is rolled up, and at last refused.
const MOST_TEXT: usize = 16 << 20;

/// With more gaps, those are told as one that are close to each other.
const MAX_GAPS: usize = 1_000;

/// A chunk of samples without its samples: what the index `chunks_by_time` has, so that no row is read for it.
pub(crate) struct Chunk {
    pub(crate) id: i64,
    pub(crate) t_min: i64,
    pub(crate) t_max: i64,
    pub(crate) n: u64,
    pub(crate) class: i64,
    pub(crate) rolled: usize,
}

/// Those that may have samples in a range, from the index alone; so are the next two.
const CHUNKS: &str = "SELECT id, t_min, t_max, n, class, rolled FROM chunks
                      WHERE series = ?1 AND level = 0 AND t_min < ?3 AND t_max >= ?2 ORDER BY t_min";
/// The one that began last before a time, and all that began before it, if they reach to another.
const NEWEST: &str = "SELECT id, t_min, t_max, n, class, rolled FROM chunks
                      WHERE series = ?1 AND level = 0 AND t_min < ?2 AND t_max >= ?3 ORDER BY t_min DESC LIMIT 1";
const OTHERS: &str = "SELECT id, t_min, t_max, n, class, rolled FROM chunks
                      WHERE series = ?1 AND level = 0 AND t_min < ?2 AND t_max >= ?3";
/// Samples of a chunk.
const SAMPLES: &str =
    "SELECT c.blob, s.blob FROM chunks c LEFT JOIN stamps s ON s.id = c.stamps WHERE c.id = ?1";
/// What a chunk holds.
const BLOB: &str = "SELECT blob FROM chunks WHERE id = ?1";
/// Chunks of buckets that may have some in a range; those that have none beyond it; those that may have.
const BUCKETS: &str = "series = ?1 AND level = ?2 AND t_min < ?4 AND t_max >= ?3";
const BUCKETS_IN: &str = "series = ?1 AND level = ?2 AND t_min >= ?3 AND t_min < ?4 AND t_max < ?4";
const BUCKETS_CUT: &str =
    "series = ?1 AND level = ?2 AND t_min < ?4 AND t_max >= ?3 AND (t_min < ?3 OR t_max >= ?4)";

impl Chunk {
    fn read(r: &sql::Row<'_>) -> Result<Self> {
        Ok(Self {
            id: r.get(0)?,
            t_min: r.get(1)?,
            t_max: r.get(2)?,
            n: u64::try_from(r.get::<i64>(3)?).unwrap_or(0),
            class: r.get(4)?,
            rolled: usize::try_from(r.get::<i64>(5)?).unwrap_or(0),
        })
    }

    /// Whether its samples are in the buckets of a level.
    pub(crate) fn is_rolled(&self, level: usize) -> bool {
        self.class >= SEALED && level > 0 && self.rolled <= level
    }
}

pub(crate) fn history(
    conn: &Conn,
    tail: &RwLock<Tail>,
    twin: TwinId,
    point: &str,
    (from, to): (i64, i64),
    max_points: usize,
    damage: &Damage,
) -> Result<History> {
    // The first read of the transaction fixes what it sees; a compaction's commit waits for the lock.
    let guard = tail.read().unwrap_or_else(PoisonError::into_inner);
    let tx = conn.read()?;
    let series = find(&tx, twin, point)?;
    let tail = guard.of(series.as_slice());
    drop(guard);
    let mut history = History { resolution: Resolution::Raw, points: vec![], gaps: vec![], heard_us: None };
    if from >= to {
        return Ok(history);
    }
    let streams = gaps::of_twin(&tx, twin, (from, to))?;
    let mut missing = streams.gaps(point);
    if let Some(series) = series {
        let source = Source::new(&tx, series, tail.rows()?.pop().unwrap_or_default()).leaving_out(damage);
        let chunks = source.chunks(from, to)?;
        let last;
        (history.resolution, history.points, last) = match source.raw(&chunks, from, to, max_points)? {
            Some(points) => (Resolution::Raw, points, Vec::new()),
            None => source.rolled(&chunks, from, to, max_points.max(1))?,
        };
        missing.extend(gaps::removed(&tx, series)?);
        let before = source.before(from)?.map(|row| row.quality);
        missing.extend(of_rows(&history.points, &last, history.resolution, before, (from, to)));
        missing.extend(source.damaged());
    }
    // What is closer than a row of the answer could not be told apart.
    let within = match history.resolution {
        Resolution::Rollup { bucket_us } => bucket_us,
        Resolution::Raw => 0,
    };
    history.gaps = merge(missing, from, to, within);
    if history.gaps.len() > MAX_GAPS {
        let within = to.saturating_sub(from) / i64::try_from(MAX_GAPS).unwrap_or(i64::MAX);
        history.gaps = merge(history.gaps, from, to, within);
    }
    history.heard_us = streams.heard;
    Ok(history)
}

/// Series of a twin's point; none if it never had a sample.
pub(crate) fn find(conn: &Conn, twin: TwinId, point: &str) -> Result<Option<SeriesId>> {
    let twin = twin.to_string();
    let tenant: Option<String> =
        conn.first("SELECT tenant FROM twins WHERE twin = ?1", params![&twin], |r| r.get(0))?;
    let Some(tenant) = tenant else {
        return Err(StoreError::NotFound { what: format!("twin {twin}") });
    };
    let sql = "SELECT id FROM series WHERE tenant = ?1 AND twin = ?2 AND point = ?3";
    conn.first(sql, params![tenant, twin, point], |r| r.get(0))
}

/// A point's samples and roll-ups as of one moment.
pub(crate) struct Source<'a> {
    pub(crate) conn: &'a Conn,
    pub(crate) series: SeriesId,
    pub(crate) tail: Vec<Row>,
    /// Where what cannot be read is noted; without it that is an error.
    damage: Option<&'a Damage>,
    /// Spans that were left out.
    skipped: RefCell<BTreeSet<(i64, i64)>>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(conn: &'a Conn, series: SeriesId, mut tail: Vec<Row>) -> Self {
        tail.sort_unstable_by_key(Row::key);
        Self { conn, series, tail, damage: None, skipped: RefCell::default() }
    }

    /// What cannot be read is left out and noted; `damaged` tells it.
    pub(crate) fn leaving_out(mut self, damage: &'a Damage) -> Self {
        self.damage = Some(damage);
        self
    }

    /// Spans of what was left out.
    pub(crate) fn damaged(&self) -> Vec<HistoryGap> {
        let gap =
            |(from, to): &(i64, i64)| HistoryGap::new(*from, to.saturating_add(1), GapReason::CloudDamaged);
        self.skipped.borrow().iter().map(gap).collect()
    }

    /// What was read of a chunk from one time to another; nothing of one that is damaged.
    fn sound<T: Default>(&self, chunk: i64, span: (i64, i64), read: Result<T>) -> Result<T> {
        match (read, self.damage) {
            (Err(StoreError::Damaged { what }), Some(damage)) => {
                damage.note(Found { chunk, series: Some(self.series), span, why: what });
                self.skipped.borrow_mut().insert(span);
                Ok(T::default())
            }
            (Err(StoreError::Damaged { what }), None) => {
                let (from, to) = (format_us(span.0), format_us(span.1.saturating_add(1)));
                let what = format!("{what}: delete all from {from} to {to}");
                Err(StoreError::Conflict { what })
            }
            (read, _) => read,
        }
    }

    /// Chunks of samples that may have some in `from..to`.
    pub(crate) fn chunks(&self, from: i64, to: i64) -> Result<Vec<Chunk>> {
        self.conn.all(CHUNKS, params![self.series, from, to], Chunk::read)
    }

    pub(crate) fn samples(&self, chunk: &Chunk) -> Result<Vec<Row>> {
        let blobs: Result<(Vec<u8>, Option<Vec<u8>>)> =
            self.conn.one(SAMPLES, params![chunk.id], |r| Ok((r.get(0)?, r.get(1)?)));
        let rows = blobs.and_then(|(blob, stamps)| {
            let rows = codec::decode_rows(&blob, stamps.as_deref());
            rows.map_err(|e| damaged(format_args!("chunk {}", chunk.id), e))
        });
        self.sound(chunk.id, (chunk.t_min, chunk.t_max), rows)
    }

    /// Samples in `from..to`, by time. None if their texts are too large.
    pub(crate) fn rows(&self, from: i64, to: i64) -> Result<Option<Vec<Row>>> {
        let is_within = |r: &Row| (from..to).contains(&r.t);
        let mut rows: Vec<Row> = self.tail.iter().filter(|r| is_within(r)).cloned().collect();
        let mut text = text(&rows);
        for chunk in self.chunks(from, to)?.iter().filter(|c| c.class != REMOVED) {
            let before = rows.len();
            rows.extend(self.samples(chunk)?.into_iter().filter(is_within));
            text += self::text(rows.get(before..).unwrap_or_default());
            if text > MOST_TEXT {
                return Ok(None);
            }
        }
        rows.sort_unstable_by_key(Row::key);
        Ok(Some(rows))
    }

    /// All that begins in `from..to` as buckets: those of a level, and the samples that are in none of them. `chunks`: those
    /// that may have some. None if their texts are too large.
    pub(crate) fn rolled_up(
        &self,
        into: &Buckets,
        level: usize,
        (from, to): (i64, i64),
        chunks: &[Chunk],
    ) -> Result<Option<Vec<Bucket>>> {
        let mut gathered = Gathered { into, all: Vec::new(), text: 0 };
        let mut fits = true;
        if level > 0 {
            self.each_bucket_chunk(BUCKETS, level, (from, to), |_, mut some| {
                some.retain(|b| from <= b.start && b.start < to);
                fits = fits && gathered.take(some);
            })?;
        }
        for chunk in chunks.iter().filter(|c| !c.is_rolled(level) && c.class != REMOVED) {
            if !fits {
                break;
            }
            fits = gathered.take(into.of_rows(within(&self.samples(chunk)?, from, to)));
        }
        fits = fits && gathered.take(into.of_rows(within(&self.tail, from, to)));
        Ok(fits.then(|| into.of_all(gathered.all)))
    }

    /// Every sample, if there are at most `max` and none was removed.
    fn raw(&self, chunks: &[Chunk], from: i64, to: i64, max: usize) -> Result<Option<Vec<HistoryPoint>>> {
        if chunks.iter().any(|c| c.class == REMOVED) {
            return Ok(None);
        }
        let is_within = |r: &&Row| (from..to).contains(&r.t);
        let mut rows: Vec<Row> = self.tail.iter().filter(is_within).cloned().collect();
        let (whole, cut): (Vec<_>, Vec<_>) = chunks.iter().partition(|c| from <= c.t_min && c.t_max < to);
        let mut n = rows.len() as u64 + whole.iter().map(|c| c.n).sum::<u64>();
        let mut text = text(&rows);
        // Those first of which it is not known how many are within.
        for (chunk, is_cut) in cut.into_iter().map(|c| (c, true)).chain(whole.into_iter().map(|c| (c, false)))
        {
            if n > max as u64 || text > MOST_TEXT {
                return Ok(None);
            }
            let before = rows.len();
            rows.extend(self.samples(chunk)?.into_iter().filter(|r| is_within(&r)));
            let new = rows.get(before..).unwrap_or_default();
            text += self::text(new);
            n += if is_cut { new.len() as u64 } else { 0 };
        }
        if n > max as u64 || text > MOST_TEXT {
            return Ok(None);
        }
        rows.sort_unstable_by_key(Row::key);
        Ok(Some(rows.into_iter().map(raw_point).collect()))
    }

    /// Buckets of the finest width that gives at most `max`, fewer where their texts are large; and the quality that each
    /// ends with.
    fn rolled(&self, chunks: &[Chunk], from: i64, to: i64, mut max: usize) -> Result<Rolled> {
        loop {
            match self.rolled_to(chunks, from, to, max)? {
                Some(rolled) => return Ok(rolled),
                None if max > 1 => max = (max / 4).max(1),
                None => return Err(too_large()),
            }
        }
    }

    fn rolled_to(&self, chunks: &[Chunk], from: i64, to: i64, max: usize) -> Result<Option<Rolled>> {
        // Only where there is something: an open range would ask for the coarsest of all.
        let starts = chunks.iter().map(|c| c.t_min).chain(self.tail.iter().map(|r| r.t));
        let ends = chunks.iter().map(|c| c.t_max).chain(self.tail.iter().map(|r| r.t));
        let first = starts.filter(|t| *t < to).min().unwrap_or(from).max(from);
        let last = ends.filter(|t| *t >= from).max().unwrap_or(from).min(to - 1);
        let samples = chunks.iter().map(|c| c.n).sum::<u64>() + self.tail.len() as u64;
        // What was removed is left in roll-ups from some level on.
        let removed = chunks.iter().filter(|c| c.class == REMOVED).map(|c| c.rolled).max().unwrap_or(0);
        let fits = |width: &i64| {
            let slots = i128::from(last).div_euclid(i128::from(*width))
                - i128::from(first).div_euclid(i128::from(*width))
                + 1;
            let is_offered = bucket::level_for(*width) > 0 || samples <= MAX_RAW;
            slots <= max as i128 && is_offered && bucket::level_for(*width) >= removed
        };
        // Beyond the widest (a range of centuries, or one that a boundary cuts in two): all of it in one.
        let (buckets, level, start, end, bucket_us) = match bucket::widths().find(fits) {
            Some(width) => {
                let end = bucket::start(last, width).saturating_add(width);
                let level = bucket::level_for(width);
                (Buckets::new(width), level, bucket::start(first, width), end, width)
            }
            None => {
                let day = bucket::level_width(LEVELS.len());
                let (start, end) = (bucket::start(first, day), bucket::start(last, day).saturating_add(day));
                (Buckets::one(first), LEVELS.len(), start, end, to.saturating_sub(from))
            }
        };
        let chunks = self.chunks(start, end)?;
        let Some(buckets) = self.rolled_up(&buckets, level, (start, end), &chunks)? else { return Ok(None) };
        let last = buckets.iter().map(|b| b.last.as_ref().map(|row| row.quality)).collect();
        let points = buckets.into_iter().map(Bucket::view).collect();
        Ok(Some((Resolution::Rollup { bucket_us }, points, last)))
    }

    /// The last sample before a time, of any quality; of what was removed, the last one that roll-ups hold, if possible.
    pub(crate) fn before(&self, t: i64) -> Result<Option<Row>> {
        let mut best = self.tail.iter().filter(|r| r.t < t).max_by_key(|r| r.key()).cloned();
        // The one that began last mostly has it; then those that reach beyond what it gave.
        let mut seen = None;
        for sql in [NEWEST, OTHERS] {
            let since = best.as_ref().map_or(i64::MIN, |row| row.t);
            let chunks = self.conn.all(sql, params![self.series, t, since], Chunk::read)?;
            for chunk in chunks.iter().filter(|c| seen != Some(c.id)) {
                best = best.into_iter().chain(self.last_before(chunk, t)?).max_by_key(Row::key);
            }
            seen = chunks.first().map(|c| c.id);
        }
        Ok(best)
    }

    fn last_before(&self, chunk: &Chunk, t: i64) -> Result<Option<Row>> {
        let rows = if chunk.class == REMOVED {
            let buckets = self.buckets(chunk.rolled, chunk.t_min, chunk.t_max.saturating_add(1))?;
            let ends = |b: Bucket| [b.last.clone().or_else(|| b.last_good().cloned()), b.first];
            buckets.into_iter().flat_map(ends).flatten().collect()
        } else {
            self.samples(chunk)?
        };
        Ok(rows.into_iter().filter(|r| r.t < t).max_by_key(Row::key))
    }

    /// Stored buckets of a level that may be in `from..to`.
    fn buckets(&self, level: usize, from: i64, to: i64) -> Result<Vec<Bucket>> {
        let mut out = Vec::new();
        self.each_bucket_chunk(BUCKETS, level, (from, to), |_, some| out.extend(some))?;
        Ok(out)
    }

    /// Chunks of a level whose buckets all are in `from..to`, without them.
    pub(crate) fn bucket_chunks_in(&self, level: usize, from: i64, to: i64) -> Result<Vec<i64>> {
        let sql = format!("SELECT id FROM chunks WHERE {BUCKETS_IN}");
        self.conn.all(&sql, params![self.series, number(level), from, to], |r| r.get(0))
    }

    /// Those that have buckets in `from..to` and beyond.
    pub(crate) fn bucket_chunks_cut(
        &self,
        level: usize,
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, Vec<Bucket>)>> {
        let mut out = Vec::new();
        self.each_bucket_chunk(BUCKETS_CUT, level, (from, to), |id, some| out.push((id, some)))?;
        Ok(out)
    }

    /// Those that a condition finds.
    fn each_bucket_chunk(
        &self,
        which: &str,
        level: usize,
        (from, to): (i64, i64),
        mut take: impl FnMut(i64, Vec<Bucket>),
    ) -> Result<()> {
        let decoded = |id: i64, blob: &[u8]| {
            bucket_codec::decode(blob).map_err(|e| damaged(format_args!("chunk {id}"), e))
        };
        let (range, mut seen) = (params![self.series, number(level), from, to], HashSet::new());
        let sql = format!("SELECT id, t_min, t_max, blob FROM chunks WHERE {which}");
        let read = self.conn.each(&sql, range, |row| {
            let (id, span, blob): (i64, _, Vec<u8>) = (row.get(0)?, (row.get(1)?, row.get(2)?), row.get(3)?);
            seen.insert(id);
            take(id, self.sound(id, span, decoded(id, &blob))?);
            Ok(())
        });
        if !matches!(read, Err(StoreError::Damaged { .. })) {
            return read;
        }
        // A page of the database is: those that do not lie on it are read one by one.
        let sql = format!("SELECT id, t_min, t_max FROM chunks WHERE {which}");
        let mut ids: Vec<(i64, (i64, i64))> =
            self.conn.all(&sql, range, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?))))?;
        ids.retain(|(id, _)| !seen.contains(id));
        for (id, span) in ids {
            let blob = self.conn.one(BLOB, params![id], |r| r.get::<Vec<u8>>(0));
            take(id, self.sound(id, span, blob.and_then(|blob| decoded(id, &blob)))?);
        }
        Ok(())
    }
}

/// What a roll-up is, its rows, and the quality that each ends with.
type Rolled = (Resolution, Vec<HistoryPoint>, Vec<Option<Quality>>);

/// Buckets on their way into others, of which memory has room for so much text.
struct Gathered<'a> {
    into: &'a Buckets,
    all: Vec<Bucket>,
    text: usize,
}

impl Gathered<'_> {
    /// Takes some; false if their texts are too large, also when all are added up.
    fn take(&mut self, some: Vec<Bucket>) -> bool {
        let text = |all: &[Bucket]| all.iter().map(Bucket::text).sum::<usize>();
        self.text += text(&some);
        self.all.extend(some);
        if self.text > MOST_TEXT {
            self.all = self.into.of_all(std::mem::take(&mut self.all));
            self.text = text(&self.all);
        }
        self.text <= MOST_TEXT
    }
}

pub(crate) fn too_large() -> StoreError {
    let what =
        format!("texts of more than {} MiB: ask for a shorter range, or for fewer rows", MOST_TEXT >> 20);
    StoreError::TooLarge { what }
}

/// Bytes of the texts of rows.
fn text(rows: &[Row]) -> usize {
    rows.iter().map(Row::text).sum()
}

fn number(level: usize) -> i64 {
    i64::try_from(level).unwrap_or(0)
}

/// Those of rows in order of time that are in `from..to`.
pub(crate) fn within(rows: &[Row], from: i64, to: i64) -> &[Row] {
    let (start, end) = (rows.partition_point(|r| r.t < from), rows.partition_point(|r| r.t < to));
    rows.get(start..end).unwrap_or_default()
}

fn raw_point(row: Row) -> HistoryPoint {
    HistoryPoint::raw(row.t, row.value, row.quality)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
