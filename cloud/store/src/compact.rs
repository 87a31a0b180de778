//! From the tail into column chunks. A batch of frames becomes one small chunk a series; sixteen small ones
//! become one larger, and one large enough is sealed: from then on its roll-ups are stored beside it. So a
//! series never has more than a few small chunks, and roll-ups are written once. The heavy work is done beside
//! the writer, which only stores the outcome.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use cloud_core::{GatewayKey, Position};

use crate::bucket::{self, Bucket, Buckets, LEVELS};
use crate::bucket_codec;
use crate::codec::{self, Row};
use crate::db::{Result, damaged, from_sql, to_sql};
use crate::frames::load_ranks;
use crate::marks::FRAMES;
use crate::sql::{Cell, Conn, Kind, Table, Tx, params};
use crate::sqlite::Checkpointer;
use crate::tail::{Batch, FrameKey, SeriesId};
use crate::writer::Writer;
use crate::{Shared, accounts, commands, retention, times};

/// When chunks grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Samples (or buckets) that make a chunk large enough to be sealed, and half the most in one.
    pub(crate) seal: usize,
    /// Small chunks of one class that are merged into one; at least 2.
    pub(crate) merge: usize,
}

/// The class of sealed chunks.
pub(crate) const SEALED: i64 = 9;
/// The class of sealed chunks whose samples were removed.
pub(crate) const REMOVED: i64 = 10;
/// A level is stored if it has at most one bucket for so many samples; the coarsest always is.
const WORTH: usize = 4;
/// Merges in one transaction.
const MERGES_AT_ONCE: usize = 128;
const MAINTAIN_EVERY_US: u64 = 600_000_000;
const CHECKPOINT_EVERY_US: u64 = 5_000_000;

/// What a compaction also looks after. Locked by the one that runs; times by `Clock::mono_us`.
pub(crate) struct Upkeep {
    pub(crate) maintained: Option<u64>,
    pub(crate) checkpointed: Option<u64>,
    /// PostgreSQL does this by itself.
    pub(crate) checkpointer: Option<Checkpointer>,
}

/// A chunk on its way into the database.
pub(crate) struct NewChunk {
    series: SeriesId,
    level: usize,
    class: i64,
    t_min: i64,
    t_max: i64,
    n: usize,
    rolled: usize,
    first: Position,
    blob: Vec<u8>,
}

/// What one transaction stores.
struct Prepared {
    frames: Vec<FrameKey>,
    chunks: Vec<NewChunk>,
    /// Last values, as a chunk of one row.
    last: Vec<(SeriesId, Position, Vec<u8>)>,
}

/// Compacts at most `limit` frames; how many it did.
pub(crate) fn compact(shared: &Shared, limit: usize) -> Result<usize> {
    let mut upkeep = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
    let n = compact_frames(shared, limit)?;
    let now = shared.clock.mono_us();
    let is_due = |last: Option<u64>, every: u64| last.is_none_or(|last| now.saturating_sub(last) >= every);
    if is_due(upkeep.maintained, MAINTAIN_EVERY_US) {
        maintain(shared)?;
        upkeep.maintained = Some(now);
    }
    if let Some(checkpointer) = &upkeep.checkpointer
        && is_due(upkeep.checkpointed, CHECKPOINT_EVERY_US)
    {
        checkpointer.run()?;
        shared.writer.run(Writer::checkpoint)?;
        upkeep.checkpointed = Some(now);
    }
    Ok(n)
}

/// The same without what else is looked after; the caller holds `upkeep`.
pub(crate) fn compact_frames(shared: &Shared, limit: usize) -> Result<usize> {
    let batch = shared.tail.write().unwrap_or_else(PoisonError::into_inner).take(limit);
    let n = batch.0.len();
    if n > 0 {
        let stored = shared.readers.with(|conn| prepare(conn, &batch, shared.limits)).and_then(|prepared| {
            let touched = span(prepared.chunks.iter().map(|c| c.series));
            let store = move |w: &mut Writer| {
                w.change_with_tail(|tx| store(tx, &prepared), |tail| tail.drop_moving())
            };
            shared.writer.run(store).map(|()| touched)
        });
        match stored {
            Ok(touched) => merge_small(shared, touched)?,
            Err(e) => {
                // Nothing to put back if the commit was done: then nothing is on its way.
                shared.tail.write().unwrap_or_else(PoisonError::into_inner).put_back();
                return Err(e);
            }
        }
    }
    Ok(n)
}

/// The first and the last of some series. Those of a gateway are made together, so there is little else between them.
fn span(series: impl Iterator<Item = SeriesId>) -> (SeriesId, SeriesId) {
    series.fold((SeriesId::MAX, SeriesId::MIN), |(first, last), id| (first.min(id), last.max(id)))
}

fn prepare(conn: &Conn, batch: &Batch, limits: Limits) -> Result<Prepared> {
    let frames = batch.0.iter().map(|(key, _)| *key).collect();
    let mut prepared = Prepared { frames, chunks: Vec::new(), last: Vec::new() };
    let by_series = batch.rows()?;
    let feeds = Feeds::load(conn, span(by_series.keys().copied()))?;
    for (series, mut rows) in by_series {
        let live = rows.iter().filter(|r| feeds.applies(series, r.at.rank)).max_by_key(|r| r.at);
        let one = |row: &Row| (series, row.at, codec::encode_rows(std::slice::from_ref(row)));
        prepared.last.extend(live.map(one));
        rows.sort_unstable_by_key(Row::key);
        prepared.chunks.extend(chunk(series, &rows, 0, limits, false));
    }
    Ok(prepared)
}

/// Rows in order as one chunk of a class, or as sealed ones with their roll-ups.
fn chunk(series: SeriesId, rows: &[Row], class: i64, limits: Limits, must_seal: bool) -> Vec<NewChunk> {
    let mut out = Vec::new();
    if rows.is_empty() {
        return out;
    }
    if rows.len() < limits.seal && !must_seal {
        out.push(raw_chunk(series, rows, class, 0));
        return out;
    }
    let parts = (rows.len() / limits.seal).max(1);
    for part in rows.chunks(rows.len().div_ceil(parts)) {
        let mut levels: Vec<(usize, Vec<Bucket>)> = Vec::new();
        let states = times::listed(part);
        for (level, width) in (1..).zip(LEVELS) {
            let like = Buckets::new(width).listing(states);
            let buckets = match levels.last() {
                Some((_, finer)) => like.of_all(finer.clone()),
                None => like.of_rows(part),
            };
            if level == LEVELS.len() || buckets.len() * WORTH <= part.len() {
                levels.push((level, buckets));
            }
        }
        let finest = levels.first().map_or(LEVELS.len(), |(level, _)| *level);
        out.push(raw_chunk(series, part, SEALED, finest));
        for (level, buckets) in levels {
            out.extend(bucket_chunks(series, level, &buckets, 0, limits));
        }
    }
    out
}

pub(crate) fn raw_chunk(series: SeriesId, rows: &[Row], class: i64, rolled: usize) -> NewChunk {
    NewChunk {
        series,
        level: 0,
        class,
        t_min: rows.first().map_or(0, |r| r.t),
        t_max: rows.last().map_or(0, |r| r.t),
        n: rows.len(),
        rolled,
        first: rows.iter().map(|r| r.at).min().unwrap_or_default(),
        blob: codec::encode_rows(rows),
    }
}

pub(crate) fn bucket_chunks(
    series: SeriesId,
    level: usize,
    buckets: &[Bucket],
    class: i64,
    limits: Limits,
) -> Vec<NewChunk> {
    let width = bucket::level_width(level);
    let class = if buckets.len() >= limits.seal { SEALED } else { class };
    let parts = (buckets.len() / limits.seal).max(1);
    let one = |part: &[Bucket]| NewChunk {
        series,
        level,
        class,
        t_min: part.first().map_or(0, |b| b.start),
        t_max: part.last().map_or(0, |b| b.start.saturating_add(width - 1)),
        n: part.len(),
        rolled: 0,
        first: Position::default(),
        blob: bucket_codec::encode(part),
    };
    buckets.chunks(buckets.len().div_ceil(parts).max(1)).map(one).collect()
}

const LAST_VALUES: Table<'static> = Table {
    name: "last_values",
    columns: &[
        ("series", Kind::Int),
        ("rank", Kind::Int),
        ("seq", Kind::Int),
        ("idx", Kind::Int),
        ("blob", Kind::Blob),
    ],
    on_conflict: "ON CONFLICT (series) DO UPDATE
                  SET rank = excluded.rank, seq = excluded.seq, idx = excluded.idx, blob = excluded.blob
                  WHERE (excluded.rank, excluded.seq, excluded.idx)
                      > (last_values.rank, last_values.seq, last_values.idx)",
};
const CHUNKS: Table<'static> = Table {
    name: "chunks",
    columns: &[
        ("series", Kind::Int),
        ("level", Kind::Int),
        ("class", Kind::Int),
        ("t_min", Kind::Int),
        ("t_max", Kind::Int),
        ("n", Kind::Int),
        ("rolled", Kind::Int),
        ("first_rank", Kind::Int),
        ("first_seq", Kind::Int),
        ("blob", Kind::Blob),
    ],
    on_conflict: "",
};
/// `CHUNKS` by their numbers.
const CHUNK_IDS: Table<'static> = Table { name: "chunks", columns: &[("id", Kind::Int)], on_conflict: "" };

fn store(tx: &Tx<'_>, prepared: &Prepared) -> Result<()> {
    insert(tx, &prepared.chunks)?;
    let last = prepared.last.iter().map(|(series, at, blob)| {
        let [series, rank, seq, idx] =
            [*series, to_sql(at.rank), to_sql(at.seq), i64::from(at.index)].map(Cell::Int);
        [series, rank, seq, idx, Cell::Blob(blob)]
    });
    tx.insert_all(&LAST_VALUES, last)?;
    let keys = prepared.frames.iter().map(|(rank, seq)| [to_sql(*rank), to_sql(*seq)]);
    if tx.delete_all(&FRAMES, keys)? != prepared.frames.len() as u64 {
        let (first, last) = (prepared.frames.first(), prepared.frames.last());
        return Err(damaged(
            format_args!("the table of frames ({first:?} to {last:?})"),
            "some were compacted twice or are gone",
        ));
    }
    Ok(())
}

/// Removes chunks, all of which must be there.
pub(crate) fn remove(tx: &Tx<'_>, ids: &[i64]) -> Result<()> {
    if tx.delete_all(&CHUNK_IDS, ids.iter().map(|id| [*id]))? != ids.len() as u64 {
        return Err(damaged("the table of chunks", "some that were to be replaced are gone"));
    }
    Ok(())
}

pub(crate) fn insert(tx: &Tx<'_>, chunks: &[NewChunk]) -> Result<()> {
    let row = |c: &'_ NewChunk| {
        let (rank, seq) = (to_sql(c.first.rank), to_sql(c.first.seq));
        let (level, n, rolled) = (small(c.level), small(c.n), small(c.rolled));
        [c.series, level, c.class, c.t_min, c.t_max, n, rolled, rank, seq]
    };
    tx.insert_all(
        &CHUNKS,
        chunks.iter().map(|c| {
            let [a, b, d, e, f, g, h, i, j] = row(c).map(Cell::Int);
            [a, b, d, e, f, g, h, i, j, Cell::Blob(&c.blob)]
        }),
    )
}

fn small(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Ids that go, chunks that come in their place.
pub(crate) type Merge = (Vec<i64>, Vec<NewChunk>);

/// A series' small chunks of a level and class.
type Group = (SeriesId, i64, i64);

/// Merges until no series from the first to the last has many small chunks of one class. One that cannot be read stays as it is and does
/// not keep the others.
fn merge_small(shared: &Shared, (first, last): (SeriesId, SeriesId)) -> Result<()> {
    let mut unreadable: HashSet<Group> = HashSet::new();
    loop {
        let mut groups = shared.readers.with(|conn| {
            let sql = "SELECT series, level, class FROM chunks
                       WHERE class < 9 AND series >= ?2 AND series <= ?3
                       GROUP BY series, level, class HAVING count(*) >= ?1";
            let least = small(shared.limits.merge.max(2));
            conn.all(sql, params![least, first, last], |r| -> Result<Group> {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?))
            })
        })?;
        groups.retain(|g| !unreadable.contains(g));
        if groups.is_empty() {
            return Ok(());
        }
        for some in groups.chunks(MERGES_AT_ONCE) {
            let merges = shared.readers.with(|conn| {
                let mut merges = Vec::with_capacity(some.len());
                for group in some {
                    match merge(conn, *group, shared.limits) {
                        Ok(merge) => merges.push(merge),
                        Err(error) => {
                            let (series, level, class) = group;
                            tracing::error!(series, level, class, %error, "chunks cannot be merged");
                            unreadable.insert(*group);
                        }
                    }
                }
                Ok(merges)
            })?;
            replace(shared, merges)?;
        }
    }
}

pub(crate) fn replace(shared: &Shared, merges: Vec<Merge>) -> Result<()> {
    shared.writer.run(move |w| {
        w.change(|tx| {
            let ids: Vec<_> = merges.iter().flat_map(|(ids, _)| ids).copied().collect();
            remove(tx, &ids)?;
            merges.iter().try_for_each(|(_, chunks)| insert(tx, chunks))
        })
    })
}

fn merge(conn: &Conn, (series, level, class): Group, limits: Limits) -> Result<Merge> {
    let sql = "SELECT id, blob FROM chunks WHERE series = ?1 AND level = ?2 AND class = ?3 AND class < 9";
    let blobs = read_blobs(conn, sql, [series, level, class])?;
    let level = usize::try_from(level).unwrap_or(0);
    merged(series, level, (class + 1).min(SEALED - 1), blobs, limits, false)
}

pub(crate) fn read_blobs(conn: &Conn, sql: &str, values: [i64; 3]) -> Result<Vec<(i64, Vec<u8>)>> {
    let [series, level, last] = values;
    conn.all(sql, params![series, level, last], |r| Ok((r.get(0)?, r.get(1)?)))
}

pub(crate) fn merged(
    series: SeriesId,
    level: usize,
    class: i64,
    blobs: Vec<(i64, Vec<u8>)>,
    limits: Limits,
    must_seal: bool,
) -> Result<Merge> {
    let ids = blobs.iter().map(|(id, _)| *id).collect();
    if level == 0 {
        let mut rows = Vec::new();
        for (id, blob) in &blobs {
            rows.extend(codec::decode_rows(blob).map_err(|e| damaged(format_args!("chunk {id}"), e))?);
        }
        rows.sort_unstable_by_key(Row::key);
        return Ok((ids, chunk(series, &rows, class, limits, must_seal)));
    }
    let mut all = Vec::new();
    for (id, blob) in &blobs {
        all.extend(bucket_codec::decode(blob).map_err(|e| damaged(format_args!("chunk {id}"), e))?);
    }
    let buckets = Buckets::new(bucket::level_width(level)).of_all(all);
    Ok((ids, bucket_chunks(series, level, &buckets, class, limits)))
}

/// What is done now and then: what has ended is forgotten, and raw samples beyond their time are removed.
fn maintain(shared: &Shared) -> Result<()> {
    let now = shared.clock.now_us();
    shared.writer.run(move |w| {
        w.change(|tx| {
            accounts::purge_sessions(tx, now)?;
            commands::purge_keys(tx, now)
        })
    })?;
    retention::apply(shared, now)
}

/// Which ranks apply to which series' last value: those of the gateway that the twin was bound to then.
struct Feeds {
    gateways: HashMap<u64, Arc<GatewayKey>>,
    /// By series: gateway, from, to.
    spans: HashMap<SeriesId, Vec<(GatewayKey, u64, Option<u64>)>>,
}

impl Feeds {
    /// For series from the first to the last.
    fn load(conn: &Conn, (first, last): (SeriesId, SeriesId)) -> Result<Self> {
        let gateways = load_ranks(conn)?.into_iter().map(|(rank, _, key, _)| (rank, key)).collect();
        let sql = "SELECT s.id, g.tenant, g.gateway, b.from_rank, b.to_rank FROM series s
                   JOIN bindings b ON b.twin = s.twin AND b.tenant = s.tenant
                   JOIN gateways g ON g.id = b.gateway WHERE s.id >= ?1 AND s.id <= ?2";
        let mut spans: HashMap<SeriesId, Vec<_>> = HashMap::new();
        conn.each(sql, params![first, last], |row| {
            let key = crate::frames::gateway_key(row.get(1)?, row.get(2)?)?;
            let from = from_sql(row.get(3)?);
            let to: Option<i64> = row.get(4)?;
            spans.entry(row.get(0)?).or_default().push((key, from, to.map(from_sql)));
            Ok(())
        })?;
        Ok(Self { gateways, spans })
    }

    fn applies(&self, series: SeriesId, rank: u64) -> bool {
        let Some(gateway) = self.gateways.get(&rank) else { return false };
        self.spans.get(&series).is_some_and(|spans| {
            spans
                .iter()
                .any(|(key, from, to)| *key == **gateway && *from <= rank && to.is_none_or(|to| rank < to))
        })
    }
}
