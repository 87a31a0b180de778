//! A point's history: every sample where they fit, roll-ups where they do not. Chunks are read as of one
//! moment together with the tail, so that each sample is in exactly one of the two.

use std::sync::{PoisonError, RwLock};

use cloud_core::StoreError;
use cloud_core::storage::History;
use common::TwinId;
use common::api::{HistoryPoint, Resolution};
use common::gaps::{merge, of_rows};

use crate::bucket::{self, Bucket, Buckets, LEVELS};
use crate::bucket_codec;
use crate::codec::{self, Row};
use crate::compact::{REMOVED, SEALED};
use crate::db::{Result, damaged};
use crate::gaps;
use crate::sql::{self, Conn, params};
use crate::tail::{SeriesId, Tail};

/// Beyond so many samples, widths that only raw samples can make up are not offered.
const MAX_RAW: u64 = 1_000_000;

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
    let (mut missing, heard_us) = gaps::of_twin(&tx, twin, (from, to))?;
    if let Some(series) = series {
        let source = Source::new(&tx, series, tail.rows()?.pop().unwrap_or_default());
        let chunks = source.chunks(from, to)?;
        (history.resolution, history.points) = match source.raw(&chunks, from, to, max_points)? {
            Some(points) => (Resolution::Raw, points),
            None => source.rolled(&chunks, from, to, max_points.max(1))?,
        };
        missing.extend(gaps::removed(&tx, series)?);
        let before = source.before(from)?.map(|row| row.quality);
        missing.extend(of_rows(&history.points, history.resolution, before, (from, to)));
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
    history.heard_us = heard_us;
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
}

impl<'a> Source<'a> {
    pub(crate) fn new(conn: &'a Conn, series: SeriesId, mut tail: Vec<Row>) -> Self {
        tail.sort_unstable_by_key(Row::key);
        Self { conn, series, tail }
    }

    /// Chunks of samples that may have some in `from..to`.
    pub(crate) fn chunks(&self, from: i64, to: i64) -> Result<Vec<Chunk>> {
        let sql = "SELECT id, t_min, t_max, n, class, rolled FROM chunks
                   WHERE series = ?1 AND level = 0 AND t_min < ?3 AND t_max >= ?2 ORDER BY t_min";
        self.conn.all(sql, params![self.series, from, to], Chunk::read)
    }

    pub(crate) fn samples(&self, chunk: &Chunk) -> Result<Vec<Row>> {
        let sql = "SELECT c.blob, s.blob FROM chunks c LEFT JOIN stamps s ON s.id = c.stamps WHERE c.id = ?1";
        let (blob, stamps): (Vec<u8>, Option<Vec<u8>>) =
            self.conn.one(sql, params![chunk.id], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let rows = codec::decode_rows(&blob, stamps.as_deref());
        rows.map_err(|e| damaged(format_args!("chunk {}", chunk.id), e))
    }

    /// Samples in `from..to`, by time.
    pub(crate) fn rows(&self, from: i64, to: i64) -> Result<Vec<Row>> {
        let is_within = |r: &Row| (from..to).contains(&r.t);
        let mut rows: Vec<Row> = self.tail.iter().filter(|r| is_within(r)).cloned().collect();
        for chunk in self.chunks(from, to)?.iter().filter(|c| c.class != REMOVED) {
            rows.extend(self.samples(chunk)?.into_iter().filter(is_within));
        }
        rows.sort_unstable_by_key(Row::key);
        Ok(rows)
    }

    /// All that begins in `from..to` as buckets: those of a level, and the samples that are in none of them. `chunks`: those
    /// that may have some.
    pub(crate) fn rolled_up(
        &self,
        into: &Buckets,
        level: usize,
        (from, to): (i64, i64),
        chunks: &[Chunk],
    ) -> Result<Vec<Bucket>> {
        let mut all = if level > 0 { self.buckets(level, from, to)? } else { Vec::new() };
        all.retain(|b| from <= b.start && b.start < to);
        for chunk in chunks.iter().filter(|c| !c.is_rolled(level) && c.class != REMOVED) {
            all.extend(into.of_rows(within(&self.samples(chunk)?, from, to)));
        }
        all.extend(into.of_rows(within(&self.tail, from, to)));
        Ok(into.of_all(all))
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
        for chunk in cut {
            if n > max as u64 {
                return Ok(None);
            }
            let before = rows.len();
            rows.extend(self.samples(chunk)?.into_iter().filter(|r| is_within(&r)));
            n += (rows.len() - before) as u64;
        }
        if n > max as u64 {
            return Ok(None);
        }
        for chunk in whole {
            rows.extend(self.samples(chunk)?);
        }
        rows.sort_unstable_by_key(Row::key);
        Ok(Some(rows.into_iter().map(raw_point).collect()))
    }

    /// Buckets of the finest width that gives at most `max`.
    fn rolled(
        &self,
        chunks: &[Chunk],
        from: i64,
        to: i64,
        max: usize,
    ) -> Result<(Resolution, Vec<HistoryPoint>)> {
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
        let buckets = self.rolled_up(&buckets, level, (start, end), &self.chunks(start, end)?)?;
        let points = buckets.into_iter().map(Bucket::view).collect();
        Ok((Resolution::Rollup { bucket_us }, points))
    }

    /// The last sample before a time, of any quality; of what was removed, the last one that roll-ups hold, if possible.
    pub(crate) fn before(&self, t: i64) -> Result<Option<Row>> {
        let mut best = self.tail.iter().filter(|r| r.t < t).max_by_key(|r| r.key()).cloned();
        let newest = "SELECT id, t_min, t_max, n, class, rolled FROM chunks
                      WHERE series = ?1 AND level = 0 AND t_min < ?2 AND t_max >= ?3 ORDER BY t_min DESC LIMIT 1";
        let others = "SELECT id, t_min, t_max, n, class, rolled FROM chunks
                      WHERE series = ?1 AND level = 0 AND t_min < ?2 AND t_max >= ?3";
        // The one that began last mostly has it; then those that reach beyond what it gave.
        let mut seen = None;
        for sql in [newest, others] {
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
    pub(crate) fn buckets(&self, level: usize, from: i64, to: i64) -> Result<Vec<Bucket>> {
        let chunks = self.bucket_chunks(level, from, to)?;
        Ok(chunks.into_iter().flat_map(|(_, buckets)| buckets).collect())
    }

    /// The same by the chunk that they are in.
    pub(crate) fn bucket_chunks(&self, level: usize, from: i64, to: i64) -> Result<Vec<(i64, Vec<Bucket>)>> {
        let sql = "SELECT id, blob FROM chunks
                   WHERE series = ?1 AND level = ?2 AND t_min < ?4 AND t_max >= ?3";
        let level = i64::try_from(level).unwrap_or(0);
        let mut out = Vec::new();
        self.conn.each(sql, params![self.series, level, from, to], |row| {
            let id: i64 = row.get(0)?;
            let blob: Vec<u8> = row.get(1)?;
            out.push((id, bucket_codec::decode(&blob).map_err(|e| damaged(format_args!("chunk {id}"), e))?));
            Ok(())
        })?;
        Ok(out)
    }
}

/// Those of rows in order of time that are in `from..to`.
fn within(rows: &[Row], from: i64, to: i64) -> &[Row] {
    let (start, end) = (rows.partition_point(|r| r.t < from), rows.partition_point(|r| r.t < to));
    rows.get(start..end).unwrap_or_default()
}

fn raw_point(row: Row) -> HistoryPoint {
    HistoryPoint::raw(row.t, row.value, row.quality)
}
