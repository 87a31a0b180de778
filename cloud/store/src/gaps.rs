//! What gateways lost: their word is stored with the frame that brings it, and read with the marks of their streams when
//! a history is asked for. What is made of it is in `cloud_core::gaps`.

use std::collections::BTreeMap;

use cloud_core::NewFrame;
use cloud_core::gaps::{Run, Told, of_streams};
use common::TwinId;
use common::api::{GapReason, HistoryGap};
use common::wire::{FrameHeader, Gap};
use rusqlite::{Connection, Transaction, params};

use crate::db::{Result, db, from_json, from_sql, to_json, to_sql};
use crate::delete;
use crate::tail::SeriesId;
use crate::writer::Cache;

/// When a frame was cut, as far as its gateway knew; else when it came.
pub(crate) fn cut_us(header: &FrameHeader, received_us: i64) -> i64 {
    if header.synchronised { header.cut_us } else { received_us }
}

/// Stores a gateway's word on a loss. `before_us`: when the frame before it was cut.
pub(crate) fn put(
    tx: &Transaction<'_>,
    cache: &Cache,
    new: &NewFrame,
    gateway_row: i64,
    gap: &Gap,
    before_us: Option<i64>,
) -> Result<()> {
    let header = &new.frame.header;
    let of =
        |incarnation| cache.ranks.iter().find(|(_, r)| r.incarnation == incarnation).map(|(rank, _)| *rank);
    let rank = gap.incarnation.map_or(Some(new.rank), of);
    // An incarnation that never said hello has no rank: only the times say where it was.
    let (rank, seqs) = rank.map_or((new.rank, None), |rank| (rank, gap.seqs));
    let told = Told::new(gap, rank, cut_us(header, new.received_us), before_us);
    let sql = "INSERT INTO gaps (gateway, rank, told_rank, told_seq, told_us, since_us, first, last, from_us, to_us,
               samples, cause) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let values = params![
        gateway_row,
        to_sql(rank),
        to_sql(new.rank),
        to_sql(header.seq),
        told.told_us,
        told.since_us,
        seqs.map(|(first, _)| to_sql(first)),
        seqs.map(|(_, last)| to_sql(last)),
        gap.times_us.map(|(from, _)| from),
        gap.times_us.map(|(_, to)| to),
        to_sql(gap.samples),
        to_json(&told.cause)?,
    ];
    tx.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(db)?;
    Ok(())
}

/// When the last frame of the run that ends with `seq` was cut.
pub(crate) fn run_end_us(tx: &Connection, rank: u64, seq: u64) -> Result<Option<i64>> {
    let sql = "SELECT last_us FROM marks WHERE rank = ?1 AND last = ?2";
    let mut statement = tx.prepare_cached(sql).map_err(db)?;
    let mut rows = statement.query([to_sql(rank), to_sql(seq)]).map_err(db)?;
    rows.next().map_err(db)?.map_or(Ok(None), |row| row.get(0).map_err(db))
}

/// Gaps in what fed a twin, and when the last frame of it was cut.
pub(crate) fn of_twin(conn: &Connection, twin: TwinId) -> Result<(Vec<HistoryGap>, Option<i64>)> {
    let spans = spans(conn, twin)?;
    let mut runs: BTreeMap<(u64, u64), Run> = BTreeMap::new();
    let mut told = Vec::new();
    let mut heard = None;
    for span in &spans {
        for run in runs_of(conn, span)? {
            heard = heard.max(run.last_us);
            runs.insert((run.rank, run.first), run);
        }
        told.extend(told_by(conn, span)?);
    }
    let runs: Vec<Run> = runs.into_values().collect();
    Ok((of_streams(&runs, &told), heard))
}

/// What was deleted of a series.
pub(crate) fn deleted(conn: &Connection, series: SeriesId) -> Result<Vec<HistoryGap>> {
    let gap = |(from_us, to_us, samples): (i64, i64, i64)| HistoryGap {
        from_us,
        to_us,
        cause: GapReason::Deleted,
        quality: None,
        count: Some(from_sql(samples)),
        partial: false,
    };
    Ok(delete::spans(conn, series)?.into_iter().map(gap).collect())
}

/// A gateway that fed a twin, and from and until which rank.
struct Span {
    gateway: i64,
    from: i64,
    to: Option<i64>,
}

fn spans(conn: &Connection, twin: TwinId) -> Result<Vec<Span>> {
    let sql = "SELECT gateway, from_rank, to_rank FROM bindings WHERE twin = ?1";
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let one = |r: &rusqlite::Row<'_>| Ok(Span { gateway: r.get(0)?, from: r.get(1)?, to: r.get(2)? });
    let rows = statement.query_map([twin.to_string()], one).map_err(db)?;
    rows.collect::<rusqlite::Result<_>>().map_err(db)
}

fn runs_of(conn: &Connection, span: &Span) -> Result<Vec<Run>> {
    let sql = "SELECT m.rank, m.first, m.last, m.first_us, m.last_us FROM marks m
               JOIN incarnations i ON i.rank = m.rank
               WHERE i.gateway = ?1 AND m.rank >= ?2 AND m.rank < ?3";
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let one = |r: &rusqlite::Row<'_>| {
        Ok(Run {
            rank: from_sql(r.get(0)?),
            first: from_sql(r.get(1)?),
            last: from_sql(r.get(2)?),
            first_us: r.get(3)?,
            last_us: r.get(4)?,
        })
    };
    let bounds = params![span.gateway, span.from, span.to.unwrap_or(i64::MAX)];
    let rows = statement.query_map(bounds, one).map_err(db)?;
    rows.collect::<rusqlite::Result<_>>().map_err(db)
}

fn told_by(conn: &Connection, span: &Span) -> Result<Vec<Told>> {
    let sql = "SELECT rank, first, last, from_us, to_us, samples, cause, told_us, since_us FROM gaps
               WHERE gateway = ?1 AND rank >= ?2 AND rank < ?3";
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let bounds = params![span.gateway, span.from, span.to.unwrap_or(i64::MAX)];
    let mut rows = statement.query(bounds).map_err(db)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(db)? {
        let n = |i: usize| row.get::<_, Option<i64>>(i).map_err(db);
        let cause: String = row.get(6).map_err(db)?;
        out.push(Told {
            rank: from_sql(row.get(0).map_err(db)?),
            seqs: n(1)?.zip(n(2)?).map(|(first, last)| (from_sql(first), from_sql(last))),
            times_us: n(3)?.zip(n(4)?),
            samples: from_sql(row.get(5).map_err(db)?),
            cause: from_json("a gap's cause", &cause)?,
            told_us: row.get(7).map_err(db)?,
            since_us: n(8)?,
        });
    }
    Ok(out)
}
