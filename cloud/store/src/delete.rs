//! Deletion of a part of a point's history. Samples go from their chunks; roll-ups that they are in are made again from
//! what is left of the days concerned, since a bucket does not say what is in it.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use cloud_core::StoreError;
use common::TwinId;
use common::command::LogEntry;

use crate::bucket::{self, Bucket, Buckets, LEVELS};
use crate::codec::Row;
use crate::compact::{self, New, REMOVED, SEALED, bucket_chunks, compact_taken, levels_of, raw_chunk};
use crate::db::{Result, to_json, to_sql};
use crate::history::{Chunk, Source, find, within};
use crate::sql::{Conn, Tx, params};
use crate::tail::FrameKey;
use crate::{Shared, log, stamps, times, waveforms};

/// Chunks that go, those that come in their place, and samples that are gone.
#[derive(Default)]
struct Outcome {
    ids: Vec<i64>,
    new: New,
    samples: u64,
}

pub(crate) fn delete(
    shared: &Shared,
    twin: TwinId,
    point: &str,
    range: (i64, i64),
    audit: LogEntry,
) -> Result<u64> {
    // Chunks change only under this lock. What waits in the tail now becomes chunks first; what comes meanwhile is not deleted, so
    // a point that never stops sending does not keep this from its end.
    let mut upkeep = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(series) = shared.readers.with(|conn| find(conn, twin, point))? else { return Ok(0) };
    let waiting = shared.tail.read().unwrap_or_else(PoisonError::into_inner).of(&[series]);
    let concerned = waiting.rows()?.into_iter().flatten().filter(|row| range.0 <= row.t && row.t < range.1);
    let frames: BTreeSet<FrameKey> = concerned.map(|row| (row.at.rank, row.at.seq)).collect();
    while compact_taken(shared, &mut upkeep.small, |tail| tail.take_of(&frames))? > 0 {}
    let outcome = shared.readers.with(|conn| {
        let tx = conn.read()?;
        let source = Source::new(&tx, series, Vec::new());
        Deletion::new(&source, range, shared.limits).run()
    })?;
    shared.writer.run(move |w| {
        let now = w.clock.now_us();
        w.change(|tx| {
            store(tx, &outcome)?;
            let samples = outcome.samples + waveforms::remove(tx, series, range)?;
            let audit = LogEntry { detail: format!("{}, {samples} samples", audit.detail), ..audit.clone() };
            let sql =
                "INSERT INTO deletions (series, from_us, to_us, samples, at_us) VALUES (?1, ?2, ?3, ?4, ?5)";
            let values = params![series, range.0, range.1, to_sql(samples), now];
            tx.execute(sql, values)?;
            log::append_own(tx, &audit, now)?;
            Ok(samples)
        })
    })
}

fn store(tx: &Tx<'_>, outcome: &Outcome) -> Result<()> {
    // Only here: the index that histories are read by does not have them.
    let which = tx.dialect().integers_of("?1");
    let sql = format!("SELECT DISTINCT stamps FROM chunks WHERE stamps IS NOT NULL AND id IN ({which})");
    let referred = tx.all(&sql, params![to_json(&outcome.ids)?], |r| r.get::<i64>(0))?;
    compact::remove(tx, &outcome.ids)?;
    stamps::collect(tx, referred)?;
    compact::insert(tx, &outcome.new)
}

struct Deletion<'a> {
    source: &'a Source<'a>,
    from: i64,
    to: i64,
    /// The days (UTC) that the range touches: all buckets lie in one day.
    days: (i64, i64),
    limits: compact::Limits,
    outcome: Outcome,
}

impl<'a> Deletion<'a> {
    fn new(source: &'a Source<'a>, (from, to): (i64, i64), limits: compact::Limits) -> Self {
        let day = bucket::level_width(LEVELS.len());
        let end = bucket::start(to.saturating_sub(1), day).saturating_add(day);
        Self { source, from, to, days: (bucket::start(from, day), end), limits, outcome: Outcome::default() }
    }

    fn is_deleted(&self, row: &Row) -> bool {
        self.from <= row.t && row.t < self.to
    }

    fn run(mut self) -> Result<Outcome> {
        let is_whole = self.days == (self.from, self.to);
        // What is left of the days, by level that roll it up: rows of sealed chunks.
        let mut left: Vec<Vec<Bucket>> = vec![Vec::new(); LEVELS.len()];
        let mut has_rolled = false;
        for chunk in self.source.chunks(self.days.0, self.days.1)? {
            let is_sealed = chunk.class >= SEALED;
            has_rolled |= is_sealed;
            if self.from <= chunk.t_min && chunk.t_max < self.to {
                self.outcome.ids.push(chunk.id);
                self.outcome.samples += if chunk.class == REMOVED { 0 } else { chunk.n };
                continue;
            }
            let is_touched = chunk.t_min < self.to && chunk.t_max >= self.from;
            match chunk.class {
                REMOVED if is_whole => {}
                REMOVED => return Err(needs_days(self.days)),
                _ if is_touched || (is_sealed && !is_whole) => {
                    self.rewrite(&chunk, is_sealed, is_touched, &mut left)?;
                }
                _ => {}
            }
        }
        if has_rolled {
            self.replace_buckets(left)?;
        }
        Ok(self.outcome)
    }

    fn rewrite(
        &mut self,
        chunk: &Chunk,
        is_sealed: bool,
        is_touched: bool,
        left: &mut [Vec<Bucket>],
    ) -> Result<()> {
        let mut rows = self.source.samples(chunk)?;
        let before = rows.len();
        rows.retain(|r| !self.is_deleted(r));
        if is_sealed {
            // As when it was sealed.
            let states = times::listed(&rows);
            let in_days = within(&rows, self.days.0, self.days.1);
            for (level, buckets) in levels_of(in_days, states, |level, _| level >= chunk.rolled) {
                left.get_mut(level - 1).into_iter().for_each(|all| all.extend_from_slice(&buckets));
            }
        }
        if is_touched && rows.len() < before {
            self.outcome.samples += (before - rows.len()) as u64;
            self.outcome.ids.push(chunk.id);
            if !rows.is_empty() {
                self.outcome.new.extend([raw_chunk(self.source.series, &rows, chunk.class, chunk.rolled)]);
            }
        }
        Ok(())
    }

    /// Roll-ups of the days: the stored ones go, those of what is left come.
    fn replace_buckets(&mut self, left: Vec<Vec<Bucket>>) -> Result<()> {
        for (level, fresh) in (1..).zip(left) {
            // Those of these days alone need not be read: of years there are many.
            self.outcome.ids.extend(self.source.bucket_chunks_in(level, self.days.0, self.days.1)?);
            let cut = self.source.bucket_chunks_cut(level, self.days.0, self.days.1)?;
            for (id, buckets) in cut {
                let is_kept = |b: &Bucket| b.start < self.days.0 || b.start >= self.days.1;
                let kept: Vec<Bucket> = buckets.into_iter().filter(is_kept).collect();
                self.outcome.ids.push(id);
                self.put(level, &kept);
            }
            self.put(level, &Buckets::new(bucket::level_width(level)).of_all(fresh));
        }
        Ok(())
    }

    fn put(&mut self, level: usize, buckets: &[Bucket]) {
        if !buckets.is_empty() {
            self.outcome.new.extend(bucket_chunks(self.source.series, level, buckets, 0, self.limits));
        }
    }
}

fn needs_days((from, to): (i64, i64)) -> StoreError {
    let what = format!(
        "samples were removed there by retention, and roll-ups are deleted by whole days (UTC): delete from {} to {}",
        common::clock::format_us(from),
        common::clock::format_us(to)
    );
    StoreError::Conflict { what }
}

/// Spans of a series that were deleted.
pub(crate) fn spans(conn: &Conn, series: i64) -> Result<Vec<(i64, i64, i64)>> {
    let sql = "SELECT from_us, to_us, samples FROM deletions WHERE series = ?1";
    conn.all(sql, params![series], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
}
