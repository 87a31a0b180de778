//! From the tail into column chunks. A batch of frames becomes one small chunk a series; small ones become
//! one larger in turns (`small`, `merge`), and one large enough is sealed: from then on its roll-ups are stored beside it. So a
//! series never has more than a few small chunks, and roll-ups are written once. The heavy work is done beside
//! the writer, which only stores the outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, PoisonError};
use std::time::Duration;

use cloud_core::Position;
use common::Value;

use crate::bucket::{self, Bucket, Buckets, LEVELS};
use crate::bucket_codec;
use crate::codec::{self, Row, text_of};
use crate::db::{Result, damaged, to_sql};
use crate::feeds::{self, Feeds};
use crate::gather::{self, Group};
use crate::marks::FRAMES;
use crate::merge::merge_small;
use crate::small::Small;
use crate::sql::{Cell, Conn, Kind, Table, Tx};
use crate::sqlite::Checkpointer;
use crate::stamps::{self, Cells, STAMPS, Stamps};
use crate::tail::{Batch, FrameKey, SeriesId, Tail};
use crate::writer::Writer;
use crate::{Shared, accounts, clocks, commands, damage, retention, times};

/// When chunks grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Samples (or buckets) that make a chunk large enough to be sealed, and half the most in one.
    pub(crate) seal: usize,
    /// Small chunks of one class that are merged into one; at least 2.
    pub(crate) merge: usize,
    /// Samples, and what takes as much room, that are merged in one transaction.
    pub(crate) at_once: usize,
}

/// The class of sealed chunks.
pub(crate) const SEALED: i64 = 9;
/// The class of sealed chunks whose samples were removed.
pub(crate) const REMOVED: i64 = 10;
/// A level is stored if it has at most one bucket for so many samples; the coarsest always is.
const WORTH: usize = 4;
/// Bytes of texts from which on a chunk is complete however few its rows are: a reader has all of it in memory.
const MOST_TEXT: usize = 4 << 20;
/// A thread is started for so many samples at least.
const SAMPLES_A_THREAD: usize = 16_384;
/// Threads that encode, at most.
static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(4)));
/// Old history goes a tenth of the series at a time, each of them every ten minutes: what is used of the disk stays level, and no
/// single moment removes much.
const PARTS: u64 = 10;
const PART_EVERY_US: u64 = 60_000_000;
const CHECKPOINT_EVERY_US: u64 = 5_000_000;

/// What is looked after beside compaction. Locked by who changes chunks; times by `Clock::mono_us`.
pub(crate) struct Upkeep {
    pub(crate) small: Small,
    /// The last minute whose part was looked after.
    pub(crate) maintained: Option<u64>,
    pub(crate) checkpointed: Option<u64>,
    /// PostgreSQL does this by itself.
    pub(crate) checkpointer: Option<Checkpointer>,
}

/// Which series are looked after now: those of each minute since the last time, all of them at first.
struct Parts(std::ops::RangeInclusive<u64>);

impl Parts {
    /// `minute` is at least `PARTS`.
    fn due(last: Option<u64>, minute: u64) -> Self {
        let all = minute.saturating_sub(PARTS - 1);
        Self(last.map_or(all, |last| all.max(last + 1))..=minute)
    }

    fn has(&self, series: SeriesId) -> bool {
        self.0.clone().any(|minute| minute % PARTS == series.unsigned_abs() % PARTS)
    }
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
    /// Its stamps' place among those that come with it.
    stamps: Option<usize>,
    blob: Vec<u8>,
}

/// Chunks on their way, and the stamps that some of them share.
#[derive(Default)]
pub(crate) struct New {
    chunks: Vec<NewChunk>,
    stamps: Vec<Vec<u8>>,
}

/// What one transaction stores.
struct Prepared {
    frames: Vec<FrameKey>,
    new: New,
    /// Last values, as a chunk of one row.
    last: Vec<(SeriesId, Position, Vec<u8>)>,
}

/// Compacts at most `limit` frames; how many it did.
pub(crate) fn compact(shared: &Shared, limit: usize) -> Result<usize> {
    let mut upkeep = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
    clocks::settle(shared)?;
    compact_frames(shared, &mut upkeep.small, limit)
}

/// Looks after what it is time for, and merges small chunks for about so long. Whether more are left to merge.
pub(crate) fn upkeep(shared: &Shared, time: Duration) -> Result<bool> {
    let mut upkeep = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
    let began = shared.clock.mono_us();
    let is_due = |last: Option<u64>, every: u64| last.is_none_or(|last| began.saturating_sub(last) >= every);
    damage::tell(shared)?;
    let minute = PARTS + began / PART_EVERY_US;
    let due = Parts::due(upkeep.maintained, minute);
    if !due.0.is_empty() {
        // Noted before: what cannot be done must not keep all else from being done.
        upkeep.maintained = Some(minute);
        if let Err(error) = maintain(shared, &due) {
            tracing::error!(%error, "not all that is beyond its time could be removed: tried again in ten minutes");
        }
    }
    if let Some(checkpointer) = &upkeep.checkpointer
        && is_due(upkeep.checkpointed, CHECKPOINT_EVERY_US)
    {
        checkpointer.run()?;
        shared.writer.run(Writer::checkpoint)?;
        upkeep.checkpointed = Some(began);
    }
    let began = shared.clock.mono_us();
    let is_over = || u128::from(shared.clock.mono_us().saturating_sub(began)) >= time.as_micros();
    while let Some(span) = upkeep.small.next().filter(|_| !is_over()) {
        if merge_small(shared, span, is_over)? {
            upkeep.small.merged(span);
        }
    }
    Ok(upkeep.small.is_due())
}

/// As `compact`; the caller holds `upkeep`.
pub(crate) fn compact_frames(shared: &Shared, small: &mut Small, limit: usize) -> Result<usize> {
    compact_taken(shared, small, |tail| tail.take(limit))
}

/// The same with frames of the caller's choice.
pub(crate) fn compact_taken(
    shared: &Shared,
    small: &mut Small,
    take: impl FnOnce(&mut Tail) -> Batch,
) -> Result<usize> {
    let batch = take(&mut shared.tail.write().unwrap_or_else(PoisonError::into_inner));
    let n = batch.0.len();
    if n > 0 {
        let stored = shared.readers.with(|conn| prepare(conn, &batch, shared.limits)).and_then(|prepared| {
            let made: Vec<_> = prepared.new.chunks.iter().map(|c| (c.series, c.n)).collect();
            let store = move |w: &mut Writer| {
                w.change_with_tail(|tx| store(tx, &prepared), |tail| tail.drop_moving())
            };
            shared.writer.run(store).map(|()| made)
        });
        match stored {
            Ok(made) => {
                if let Some(span) = small.add(made, shared.limits) {
                    merge_small(shared, span, || false)?;
                    small.merged(span);
                }
            }
            Err(e) => {
                // Nothing to put back if the commit was done: then nothing is on its way.
                shared.tail.write().unwrap_or_else(PoisonError::into_inner).put_back();
                return Err(e);
            }
        }
    }
    Ok(n)
}

fn prepare(conn: &Conn, batch: &Batch, limits: Limits) -> Result<Prepared> {
    let frames = batch.0.iter().map(|(key, _)| *key).collect();
    let mut prepared = Prepared { frames, new: New::default(), last: Vec::new() };
    let feeds = Feeds::load(conn, batch.series())?;
    // A series may be in several groups.
    let mut newest: BTreeMap<SeriesId, Row> = BTreeMap::new();
    gather::each(batch, |rank, groups| {
        for Group { stamps, series, last } in groups {
            for ((id, _), row) in series.iter().zip(last).filter(|((id, _), _)| feeds.applies(*id, rank)) {
                if newest.get(id).is_none_or(|known| known.at < row.at) {
                    newest.insert(*id, row);
                }
            }
            prepared.new.add(&stamps, series, 0, limits, false);
        }
        Ok(())
    })?;
    let one = |(id, row): (SeriesId, Row)| (id, row.at, codec::encode_rows(std::slice::from_ref(&row)));
    prepared.last = newest.into_iter().map(one).collect();
    Ok(prepared)
}

impl New {
    /// Chunks that share nothing.
    pub(crate) fn extend(&mut self, chunks: impl IntoIterator<Item = NewChunk>) {
        self.chunks.extend(chunks);
    }

    /// Rows in order, of series that have the same stamps, as one chunk of a class each, or as sealed ones with their
    /// roll-ups.
    pub(crate) fn add(
        &mut self,
        stamps: &Stamps,
        series: Vec<(SeriesId, Cells)>,
        class: i64,
        limits: Limits,
        must_seal: bool,
    ) {
        let n = stamps.len();
        if n == 0 {
            return;
        }
        let texts = texts(&series, n);
        let is_sealed = n >= limits.seal || must_seal || texts.iter().sum::<usize>() > MOST_TEXT;
        let parts = if is_sealed { (n / limits.seal).max(1) } else { 1 };
        for (from, to) in parted(n, n.div_ceil(parts), |i| texts.get(i).copied().unwrap_or(0)) {
            let stamps = &stamps.slice(from, to);
            let place = (series.len() > 1).then(|| {
                self.stamps.push(codec::encode_stamps(stamps));
                self.stamps.len() - 1
            });
            let one = |(id, cells): &(SeriesId, Cells)| {
                let cells = cells.part(from, to);
                let levels = if is_sealed { rolled_up(&cells.rows(stamps)) } else { Vec::new() };
                let finest = levels.first().map_or(LEVELS.len(), |(level, _)| *level);
                let samples = NewChunk {
                    series: *id,
                    level: 0,
                    class: if is_sealed { SEALED } else { class },
                    t_min: stamps.t.first().copied().unwrap_or(0),
                    t_max: stamps.t.last().copied().unwrap_or(0),
                    n: to - from,
                    rolled: if is_sealed { finest } else { 0 },
                    first: stamps.first(),
                    stamps: place,
                    blob: match place {
                        Some(_) => codec::encode_cells(stamps, cells),
                        None => codec::encode_columns(stamps, cells),
                    },
                };
                let rolled = levels.into_iter().map(|(level, b)| bucket_chunks(*id, level, &b, 0, limits));
                std::iter::once(samples).chain(rolled.flatten()).collect::<Vec<_>>()
            };
            self.chunks.extend(on_all_cores(&series, to - from, one));
        }
    }
}

/// Bytes of text of each row, of the series that has most of it there. None where no series has any.
fn texts(series: &[(SeriesId, Cells)], n: usize) -> Vec<usize> {
    let mut most = Vec::new();
    let is_text = |v: &Option<Value>| matches!(v, Some(Value::Text(_) | Value::Bytes(_)));
    for (_, cells) in series.iter().filter(|(_, cells)| cells.value.iter().any(is_text)) {
        most.resize(n, 0);
        for (most, value) in most.iter_mut().zip(&cells.value) {
            *most = (*most).max(text_of(value.as_ref()));
        }
    }
    most
}

/// From where to where parts of `n` go: of at most `each`, and of not much more text than a chunk may have.
fn parted(n: usize, each: usize, text: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
    let (mut parts, mut from, mut sum) = (Vec::new(), 0, 0);
    for i in 0..n {
        sum += text(i);
        if i + 1 == n || i + 1 - from >= each || sum >= MOST_TEXT {
            parts.push((from, i + 1));
            (from, sum) = (i + 1, 0);
        }
    }
    parts
}

/// What `one` makes of each, in their order. `weight`: the samples of each.
fn on_all_cores<T: Sync, R: Send>(all: &[T], weight: usize, one: impl Fn(&T) -> Vec<R> + Sync) -> Vec<R> {
    let some = &|some: &[T]| some.iter().flat_map(&one).collect::<Vec<_>>();
    let threads = (all.len() * weight / SAMPLES_A_THREAD).min(*CORES);
    if threads < 2 {
        return some(all);
    }
    std::thread::scope(|scope| {
        let started: Vec<_> =
            all.chunks(all.len().div_ceil(threads)).map(|part| scope.spawn(move || some(part))).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Vec<R>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        started.into_iter().flat_map(ended).collect()
    })
}

/// The roll-ups of a sealed chunk, by level: those that are worth it.
fn rolled_up(rows: &[Row]) -> Vec<(usize, Vec<Bucket>)> {
    let is_worth =
        |level: usize, buckets: &[Bucket]| level == LEVELS.len() || buckets.len() * WORTH <= rows.len();
    levels_of(rows, times::listed(rows), is_worth)
}

/// Roll-ups of rows in order of time, that list so many states: those levels that are wanted.
pub(crate) fn levels_of(
    rows: &[Row],
    states: usize,
    is_wanted: impl Fn(usize, &[Bucket]) -> bool,
) -> Vec<(usize, Vec<Bucket>)> {
    let mut levels: Vec<(usize, Vec<Bucket>)> = Vec::new();
    for (level, width) in (1..).zip(LEVELS) {
        let like = Buckets::new(width).listing(states);
        let buckets = match levels.last() {
            Some((_, finer)) => like.of_all(finer.clone()),
            None => like.of_rows(rows),
        };
        if is_wanted(level, &buckets) {
            levels.push((level, buckets));
        }
    }
    levels
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
        stamps: None,
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
    let text = |b: &Bucket| b.text();
    let is_complete = buckets.len() >= limits.seal || buckets.iter().map(text).sum::<usize>() > MOST_TEXT;
    let class = if is_complete { SEALED } else { class };
    let each = buckets.len().div_ceil((buckets.len() / limits.seal).max(1)).max(1);
    let one = |part: &[Bucket]| NewChunk {
        series,
        level,
        class,
        t_min: part.first().map_or(0, |b| b.start),
        t_max: part.last().map_or(0, |b| b.start.saturating_add(width - 1)),
        n: part.len(),
        rolled: 0,
        first: Position::default(),
        stamps: None,
        blob: bucket_codec::encode(part),
    };
    let parts = parted(buckets.len(), each, |i| buckets.get(i).map_or(0, text));
    parts.into_iter().filter_map(|(from, to)| buckets.get(from..to)).map(one).collect()
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
        ("stamps", Kind::Int),
    ],
    on_conflict: "",
};
/// `CHUNKS` by their numbers.
const CHUNK_IDS: Table<'static> = Table { name: "chunks", columns: &[("id", Kind::Int)], on_conflict: "" };

fn store(tx: &Tx<'_>, prepared: &Prepared) -> Result<()> {
    insert(tx, &prepared.new)?;
    // Another box may have the name since they were read.
    let ranks: BTreeSet<u64> = prepared.last.iter().map(|(_, at, _)| at.rank).collect();
    let silent = feeds::silent(tx, ranks)?;
    let last = prepared.last.iter().filter(|(_, at, _)| !silent.contains(&at.rank));
    let last = last.map(|(series, at, blob)| {
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

pub(crate) fn insert(tx: &Tx<'_>, new: &New) -> Result<()> {
    let first = if new.stamps.is_empty() { 0 } else { stamps::next(tx)? };
    let shared = (first..).zip(&new.stamps).map(|(id, blob)| [Cell::Int(id), Cell::Blob(blob)]);
    tx.insert_all(&STAMPS, shared)?;
    let row = |c: &'_ NewChunk| {
        let (rank, seq) = (to_sql(c.first.rank), to_sql(c.first.seq));
        let (level, n, rolled) = (small(c.level), small(c.n), small(c.rolled));
        [c.series, level, c.class, c.t_min, c.t_max, n, rolled, rank, seq]
    };
    tx.insert_all(
        &CHUNKS,
        new.chunks.iter().map(|c| {
            let [a, b, d, e, f, g, h, i, j] = row(c).map(Cell::Int);
            let stamps = c.stamps.map_or(Cell::Null, |place| Cell::Int(first + small(place)));
            [a, b, d, e, f, g, h, i, j, Cell::Blob(&c.blob), stamps]
        }),
    )
}

fn small(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// What is done now and then: what has ended is forgotten, and raw samples beyond their time are removed.
fn maintain(shared: &Shared, due: &Parts) -> Result<()> {
    let now = shared.clock.now_us();
    let purged = shared.writer.run(move |w| {
        w.change(|tx| {
            accounts::purge_sessions(tx, now)?;
            commands::purge_keys(tx, now)
        })
    });
    retention::apply(shared, now, |series| due.has(series)).and(purged)
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
