//! Small chunks into larger ones. Those of points that were read together are merged together: their stamps are put
//! together, sorted and encoded once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cloud_core::StoreError;

use crate::Shared;
use crate::bucket::{self, Bucket, Buckets};
use crate::bucket_codec;
use crate::codec;
use crate::compact::{Limits, New, SEALED, bucket_chunks, insert, remove};
use crate::damage::Found;
use crate::db::{Result, damaged};
use crate::small::Span;
use crate::sql::{Conn, Params, Row, params};
use crate::stamps::{self, Cells, Stamps};
use crate::tail::SeriesId;

/// Series in one transaction.
const AT_ONCE: usize = 512;
/// Small chunks of roll-ups of one class that are merged into one, at most: they come as rarely as chunks of samples are sealed, so
/// more of them would lie about for hours.
const MANY_ROLLED: usize = 8;
/// So many bytes of text take as much room as a sample.
const TEXT_OF_SAMPLE: usize = 64;

/// Chunks that go with the stamps that they refer to, and those that come in their place.
#[derive(Default)]
pub(crate) struct Merge {
    ids: Vec<i64>,
    stamps: Vec<i64>,
    new: New,
    /// Chunks that cannot be read: they stay as they are.
    damaged: Vec<Found>,
}

/// A series' small chunks of a level, from one class to another.
type Group = (SeriesId, i64, i64, i64);

/// Merges until no series from the first to the last has small chunks that make a large one, or many of one class; or until time
/// is over. Whether it came to the end. One that cannot be read stays as it is and does not keep the others.
pub(crate) fn merge_small(shared: &Shared, span: Span, is_over: impl Fn() -> bool) -> Result<bool> {
    let mut unreadable: HashSet<Group> = HashSet::new();
    loop {
        let mut groups = shared.readers.with(|conn| groups(conn, span, shared.limits))?;
        groups.retain(|g| !unreadable.contains(g));
        if groups.is_empty() {
            return Ok(true);
        }
        let mut left = &groups[..];
        while !left.is_empty() {
            let (taken, merge) =
                shared.readers.with(|conn| Ok(some_of(conn, shared.limits, left, &mut unreadable)))?;
            left = left.get(taken..).unwrap_or_default();
            replace(shared, merge)?;
            if is_over() {
                return Ok(false);
            }
        }
    }
}

/// Reads the first groups, no more than memory has room for, and how many these are.
fn some_of(conn: &Conn, limits: Limits, groups: &[Group], unreadable: &mut HashSet<Group>) -> (usize, Merge) {
    let (mut reader, mut taken) = (Reader::new(conn, limits), 0);
    for group in groups.iter().take(AT_ONCE) {
        let (series, level, first, last) = *group;
        let which = "series = ?1 AND level = ?2 AND class >= ?3 AND class <= ?4 AND class < 9";
        let class = (last + 1).min(SEALED - 1);
        match reader.take(which, params![series, level, first, last], (series, level, class)) {
            Ok(true) => {}
            // Those that can be read are merged; with the others left, the group would be looked at for ever.
            Ok(false) => drop(unreadable.insert(*group)),
            Err(error) => {
                tracing::error!(series, level, %error, "chunks cannot be merged");
                unreadable.insert(*group);
            }
        }
        taken += 1;
        if reader.weight >= limits.at_once {
            break;
        }
    }
    (taken, reader.finish(false))
}

fn groups(conn: &Conn, (first, last): Span, limits: Limits) -> Result<Vec<Group>> {
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let large = "SELECT series, level, max(class) FROM chunks
                 WHERE class < 9 AND series >= ?2 AND series <= ?3
                 GROUP BY series, level HAVING CAST(sum(n) AS BIGINT) >= ?1 AND count(*) > 1";
    let mut groups: Vec<Group> = conn.all(large, params![number(limits.seal), first, last], |r| {
        Ok((r.get(0)?, r.get(1)?, 0, r.get(2)?))
    })?;
    let large: HashSet<_> = groups.iter().map(|(series, level, ..)| (*series, *level)).collect();
    let many = "SELECT series, level, class FROM chunks
                WHERE class < 9 AND series >= ?2 AND series <= ?3
                GROUP BY series, level, class
                HAVING count(*) >= CASE level WHEN 0 THEN CAST(?1 AS BIGINT) ELSE CAST(?4 AS BIGINT) END";
    let least = limits.merge.max(2);
    let of = params![number(least), first, last, number(least.min(MANY_ROLLED))];
    let many = conn.all(many, of, |r| -> Result<Group> {
        let class = r.get(2)?;
        Ok((r.get(0)?, r.get(1)?, class, class))
    })?;
    groups.extend(many.into_iter().filter(|(series, level, ..)| !large.contains(&(*series, *level))));
    Ok(groups)
}

pub(crate) fn replace(shared: &Shared, mut merge: Merge) -> Result<()> {
    merge.damaged.drain(..).for_each(|found| shared.damage.note(found));
    if merge.ids.is_empty() {
        return Ok(());
    }
    shared.writer.run(move |w| {
        w.change(|tx| {
            remove(tx, &merge.ids)?;
            stamps::collect(tx, merge.stamps.iter().copied())?;
            insert(tx, &merge.new)
        })
    })
}

/// The samples of some series that end before a time as sealed chunks.
pub(crate) fn sealed(conn: &Conn, series: &[SeriesId], before: i64, limits: Limits) -> Merge {
    let mut reader = Reader::new(conn, limits);
    for series in series {
        let which = "series = ?1 AND level = 0 AND class < 9 AND t_max < ?2";
        // Upkeep goes on: what cannot be sealed is not removed.
        if let Err(error) = reader.take(which, params![series, before], (*series, 0, 0)) {
            tracing::error!(series, %error, "chunks cannot be sealed: their samples stay");
        }
    }
    reader.finish(true)
}

/// A chunk with what it refers to.
struct Stored {
    id: i64,
    stamps: Option<i64>,
    span: (i64, i64),
    blob: Vec<u8>,
}

const STORED: &str = "id, stamps, t_min, t_max, blob";

fn stored(r: &Row<'_>) -> Result<Stored> {
    Ok(Stored { id: r.get(0)?, stamps: r.get(1)?, span: (r.get(2)?, r.get(3)?), blob: r.get(4)? })
}

/// The class that chunks will have, and the stamps that they refer to.
type Key = (i64, Vec<i64>);
/// What a series has of each chunk.
type Parts = Vec<Cells>;

/// Reads chunks until there are enough for a transaction.
struct Reader<'a> {
    conn: &'a Conn,
    limits: Limits,
    known: HashMap<i64, Arc<Stamps>>,
    /// Of series whose chunks refer to the same stamps.
    shared: BTreeMap<Key, Vec<(SeriesId, Parts)>>,
    merge: Merge,
    alone: Vec<(i64, Stamps, SeriesId, Cells)>,
    /// Samples and buckets that it holds, and what takes as much room.
    weight: usize,
}

impl<'a> Reader<'a> {
    fn new(conn: &'a Conn, limits: Limits) -> Self {
        let (known, shared) = (HashMap::new(), BTreeMap::new());
        Self { conn, limits, known, shared, merge: Merge::default(), alone: Vec::new(), weight: 0 }
    }

    /// Takes a series' chunks of a level that a condition finds. False: not those that are damaged. After an error nothing
    /// of them is taken.
    fn take(
        &mut self,
        which: &str,
        params: Params<'_>,
        (series, level, class): (SeriesId, i64, i64),
    ) -> Result<bool> {
        let before = self.merge.damaged.len();
        let sql = format!("SELECT {STORED} FROM chunks WHERE {which} ORDER BY class DESC, id");
        let mut chunks = match self.conn.all(&sql, params, stored) {
            Err(StoreError::Damaged { .. }) => self.one_by_one(which, params, series)?,
            chunks => chunks?,
        };
        match self.take_all(series, level, class, &chunks) {
            Err(StoreError::Damaged { .. }) => {
                chunks.retain(|chunk| self.is_sound(series, level, chunk));
                self.take_all(series, level, class, &chunks)?;
            }
            done => done?,
        }
        Ok(self.merge.damaged.len() == before)
    }

    fn damaged(&mut self, series: SeriesId, chunk: i64, span: (i64, i64), error: &StoreError) {
        let found = Found { chunk, series: Some(series), span, why: error.to_string() };
        self.merge.damaged.push(found);
    }

    /// A page of the database is damaged: those that do not lie on it.
    fn one_by_one(&mut self, which: &str, params: Params<'_>, series: SeriesId) -> Result<Vec<Stored>> {
        let ids = format!("SELECT id, t_min, t_max FROM chunks WHERE {which} ORDER BY class DESC, id");
        let ids: Vec<(i64, (i64, i64))> =
            self.conn.all(&ids, params, |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?))))?;
        let mut chunks = Vec::with_capacity(ids.len());
        for (id, span) in ids {
            let sql = format!("SELECT {STORED} FROM chunks WHERE id = ?1");
            match self.conn.one(&sql, params![id], stored) {
                Err(error @ StoreError::Damaged { .. }) => self.damaged(series, id, span, &error),
                chunk => chunks.push(chunk?),
            }
        }
        Ok(chunks)
    }

    fn is_sound(&mut self, series: SeriesId, level: i64, chunk: &Stored) -> bool {
        let read = if level > 0 { buckets_of(chunk).map(drop) } else { self.columns(chunk).map(drop) };
        read.inspect_err(|e| self.damaged(series, chunk.id, chunk.span, e)).is_ok()
    }

    fn take_all(&mut self, series: SeriesId, level: i64, class: i64, chunks: &[Stored]) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let ids = chunks.iter().map(|c| c.id).collect::<Vec<_>>();
        let refers: Vec<i64> = chunks.iter().filter_map(|c| c.stamps).collect();
        if level > 0 {
            self.buckets(series, usize::try_from(level).unwrap_or(0), class, chunks)?;
        } else if refers.len() == chunks.len() {
            let parts = chunks.iter().map(|c| Ok(self.columns(c)?.1)).collect::<Result<Parts>>()?;
            self.weight += parts.iter().map(weight).sum::<usize>();
            self.shared.entry((class, refers.clone())).or_default().push((series, parts));
        } else {
            let (mut stamps, mut cells) = (Stamps::default(), Cells::default());
            for chunk in chunks {
                let (some, of) = self.columns(chunk)?;
                stamps.append(&some);
                cells.append(of);
            }
            self.weight += weight(&cells);
            self.alone.push((class, stamps, series, cells));
        }
        self.merge.ids.extend(ids);
        self.merge.stamps.extend(refers);
        Ok(())
    }

    fn columns(&mut self, chunk: &Stored) -> Result<(Arc<Stamps>, Cells)> {
        let bad = |e| damaged(format_args!("chunk {}", chunk.id), e);
        let Some(id) = chunk.stamps else {
            let (stamps, cells) = codec::decode_columns(&chunk.blob).map_err(bad)?;
            return Ok((Arc::new(stamps), cells));
        };
        let stamps = self.stamps(id)?;
        let cells = codec::decode_cells(&chunk.blob, &stamps).map_err(bad)?;
        Ok((stamps, cells))
    }

    fn stamps(&mut self, id: i64) -> Result<Arc<Stamps>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(Arc::clone(known));
        }
        let stamps = stamps::read(self.conn, id)?;
        self.known.insert(id, Arc::clone(&stamps));
        Ok(stamps)
    }

    fn buckets(&mut self, series: SeriesId, level: usize, class: i64, chunks: &[Stored]) -> Result<()> {
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend(buckets_of(chunk)?);
        }
        self.weight += all.iter().map(|b| 1 + b.text() / TEXT_OF_SAMPLE).sum::<usize>();
        let buckets = Buckets::new(bucket::level_width(level)).of_all(all);
        self.merge.new.extend(bucket_chunks(series, level, &buckets, class, self.limits));
        Ok(())
    }

    fn finish(mut self, must_seal: bool) -> Merge {
        let new = &mut self.merge.new;
        for ((class, ids), series) in self.shared {
            let mut stamps = Stamps::default();
            ids.iter().filter_map(|id| self.known.get(id)).for_each(|s| stamps.append(s));
            let order = stamps.sort();
            let one = |parts: Parts| {
                let mut cells = Cells::default();
                parts.into_iter().for_each(|part| cells.append(part));
                if let Some(order) = &order {
                    cells.sort(order);
                }
                cells
            };
            let series = series.into_iter().map(|(id, parts)| (id, one(parts))).collect();
            new.add(&stamps, series, class, self.limits, must_seal);
        }
        for (class, mut stamps, series, mut cells) in self.alone {
            if let Some(order) = stamps.sort() {
                cells.sort(&order);
            }
            new.add(&stamps, vec![(series, cells)], class, self.limits, must_seal);
        }
        self.merge
    }
}

fn buckets_of(chunk: &Stored) -> Result<Vec<Bucket>> {
    bucket_codec::decode(&chunk.blob).map_err(|e| damaged(format_args!("chunk {}", chunk.id), e))
}

/// Samples, and what takes as much room.
fn weight(cells: &Cells) -> usize {
    let texts = cells.value.iter().map(|v| codec::text_of(v.as_ref())).sum::<usize>();
    cells.value.len() + texts / TEXT_OF_SAMPLE
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
