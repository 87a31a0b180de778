//! What gateways lost: their word is stored with the frame that brings it, and read with the marks of their streams when
//! a history is asked for. What is made of it is in `cloud_core::gaps`.

use std::collections::BTreeMap;

use cloud_core::NewFrame;
use cloud_core::gaps::{Run, Told, of_streams};
use common::TwinId;
use common::api::{GapReason, HistoryGap};
use common::wire::{FrameHeader, Gap};

use crate::db::{Result, from_json, from_sql, to_json, to_sql};
use crate::delete;
use crate::sql::{Conn, Row, Tx, params};
use crate::tail::SeriesId;
use crate::writer::Cache;

/// When a frame was cut, as far as its gateway knew; else when it came.
pub(crate) fn cut_us(header: &FrameHeader, received_us: i64) -> i64 {
    if header.synchronised { header.cut_us } else { received_us }
}

/// Stores a gateway's word on a loss. `before_us`: when the frame before it was cut.
pub(crate) fn put(
    tx: &Tx<'_>,
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
    tx.execute(sql, values)?;
    Ok(())
}

/// When the last frame of the run that ends with `seq` was cut.
pub(crate) fn run_end_us(tx: &Conn, rank: u64, seq: u64) -> Result<Option<i64>> {
    let sql = "SELECT last_us FROM marks WHERE rank = ?1 AND last = ?2";
    let found: Option<Option<i64>> = tx.first(sql, params![to_sql(rank), to_sql(seq)], |r| r.get(0))?;
    Ok(found.flatten())
}

/// Gaps in what fed a twin, and when the last frame of it was cut.
pub(crate) fn of_twin(conn: &Conn, twin: TwinId) -> Result<(Vec<HistoryGap>, Option<i64>)> {
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
pub(crate) fn deleted(conn: &Conn, series: SeriesId) -> Result<Vec<HistoryGap>> {
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

fn spans(conn: &Conn, twin: TwinId) -> Result<Vec<Span>> {
    let sql = "SELECT gateway, from_rank, to_rank FROM bindings WHERE twin = ?1";
    let one = |r: &Row<'_>| Ok(Span { gateway: r.get(0)?, from: r.get(1)?, to: r.get(2)? });
    conn.all(sql, params![twin.to_string()], one)
}

fn runs_of(conn: &Conn, span: &Span) -> Result<Vec<Run>> {
    let sql = "SELECT m.rank, m.first, m.last, m.first_us, m.last_us FROM marks m
               JOIN incarnations i ON i.rank = m.rank
               WHERE i.gateway = ?1 AND m.rank >= ?2 AND m.rank < ?3";
    let one = |r: &Row<'_>| {
        Ok(Run {
            rank: from_sql(r.get(0)?),
            first: from_sql(r.get(1)?),
            last: from_sql(r.get(2)?),
            first_us: r.get(3)?,
            last_us: r.get(4)?,
        })
    };
    let bounds = params![span.gateway, span.from, span.to.unwrap_or(i64::MAX)];
    conn.all(sql, bounds, one)
}

fn told_by(conn: &Conn, span: &Span) -> Result<Vec<Told>> {
    let sql = "SELECT rank, first, last, from_us, to_us, samples, cause, told_us, since_us FROM gaps
               WHERE gateway = ?1 AND rank >= ?2 AND rank < ?3";
    let bounds = params![span.gateway, span.from, span.to.unwrap_or(i64::MAX)];
    conn.all(sql, bounds, |row| {
        let cause: String = row.get(6)?;
        let both = |a: Option<i64>, b: Option<i64>| a.zip(b);
        Ok(Told {
            rank: from_sql(row.get(0)?),
            seqs: both(row.get(1)?, row.get(2)?).map(|(first, last)| (from_sql(first), from_sql(last))),
            times_us: both(row.get(3)?, row.get(4)?),
            samples: from_sql(row.get(5)?),
            cause: from_json("a gap's cause", &cause)?,
            told_us: row.get(7)?,
            since_us: row.get(8)?,
        })
    })
}
