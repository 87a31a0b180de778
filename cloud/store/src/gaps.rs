//! What gateways lost: their word is stored with the frame that brings it, and read with the marks of their streams when
//! a history is asked for. What is made of it is in `cloud_core::gaps`. Of the streams only the part is read that the range
//! lies in: a box that goes on and off for years has many runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cloud_core::NewFrame;
use cloud_core::gaps::{Run, Told, of_streams};
use common::api::{GapReason, HistoryGap};
use common::wire::{Body, Frame, FrameHeader, FrameKind, Gap};
use common::{Class, IntervalSet, PointSchema, TwinId};

use crate::db::{Result, from_json, from_sql, to_json, to_sql};
use crate::sql::{Conn, Row, Tx, params};
use crate::tail::SeriesId;
use crate::writer::Cache;
use crate::{delete, points, retention};

/// A sample's time so long before the cut of its frame, or after it, says nothing of when it was taken.
const LONG_BEFORE_US: i64 = 31 * 86_400_000_000;
pub(crate) const LONG_AFTER_US: i64 = 86_400_000_000;

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
               samples, cause, class, lost) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
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
        told.class.map(|class| to_json(&class)).transpose()?,
        told.lost.filter(|_| seqs.is_some()).map(|lost| to_json(&lost)).transpose()?,
    ];
    tx.execute(sql, values)?;
    Ok(())
}

/// Stores that the samples of a frame are in no history because it could not be taken. Where it can be read, its samples tell
/// when; else it is the time since the frame before it.
pub(crate) fn put_aside(
    tx: &Tx<'_>,
    gateway_row: i64,
    (rank, seq): (u64, u64),
    bytes: &[u8],
    cut_us: i64,
    before_us: Option<i64>,
) -> Result<()> {
    let (times_us, samples) = match Frame::decode(bytes).map(|f| f.body) {
        Ok(Body::Samples(rows)) => {
            // One odd time is no gap of decades.
            let near = cut_us.saturating_sub(LONG_BEFORE_US)..cut_us.saturating_add(LONG_AFTER_US);
            let times = || rows.iter().map(|s| s.source_us).filter(|us| near.contains(us));
            (times().min().zip(times().max()), rows.len())
        }
        Ok(Body::Waveform(w)) => (Some(w.times_us()), w.values.len()),
        Ok(_) => return Ok(()),
        Err(_) => match Frame::peek_kind(bytes) {
            Ok(FrameKind::Samples) | Err(_) => (None, 0),
            Ok(_) => return Ok(()),
        },
    };
    let lost = Lost { since_us: before_us, cut_us, times_us, samples: samples as u64 };
    put_lost(tx, gateway_row, (rank, seq), &lost, GapReason::SetAside)
}

/// Stores that a frame cannot be read any more: its samples are from the time since the one before it.
pub(crate) fn put_unreadable(
    tx: &Tx<'_>,
    gateway_row: i64,
    name: (u64, u64),
    (since_us, cut_us): (Option<i64>, i64),
    cause: GapReason,
) -> Result<()> {
    put_lost(tx, gateway_row, name, &Lost { since_us, cut_us, times_us: None, samples: 0 }, cause)
}

/// What is known of the samples of a frame.
struct Lost {
    since_us: Option<i64>,
    cut_us: i64,
    times_us: Option<(i64, i64)>,
    samples: u64,
}

fn put_lost(
    tx: &Tx<'_>,
    gateway_row: i64,
    (rank, seq): (u64, u64),
    lost: &Lost,
    cause: GapReason,
) -> Result<()> {
    let sql = "INSERT INTO gaps (gateway, rank, told_rank, told_seq, told_us, since_us, from_us, to_us, samples, cause)
               VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (told_rank, told_seq) DO NOTHING";
    let Lost { since_us, cut_us, times_us, samples } = lost;
    let (from_us, to_us) = times_us.unzip();
    let (rank, seq, samples) = (to_sql(rank), to_sql(seq), to_sql(*samples));
    let values = params![gateway_row, rank, seq, cut_us, since_us, from_us, to_us, samples, to_json(&cause)?];
    tx.execute(sql, values)?;
    Ok(())
}

/// Frames of an incarnation that its gateway said one by one are lost: they come no more.
pub(crate) fn lost_of(tx: &Conn, rank: u64) -> Result<IntervalSet> {
    let sql = "SELECT lost FROM gaps WHERE rank = ?1 AND lost IS NOT NULL";
    let told: Vec<String> = tx.all(sql, params![to_sql(rank)], |r| r.get(0))?;
    let mut all = IntervalSet::new();
    for lost in &told {
        all.extend(&from_json("a gap's frames", lost)?);
    }
    Ok(all)
}

/// When the last frame of the run that ends with `seq` was cut.
pub(crate) fn run_end_us(tx: &Conn, rank: u64, seq: u64) -> Result<Option<i64>> {
    let sql = "SELECT last_us FROM marks WHERE rank = ?1 AND last = ?2";
    let found: Option<Option<i64>> = tx.first(sql, params![to_sql(rank), to_sql(seq)], |r| r.get(0))?;
    Ok(found.flatten())
}

/// What is known of the streams that fed a twin.
#[derive(Debug)]
pub(crate) struct Streams {
    runs: Vec<Run>,
    told: Vec<Told>,
    /// Of the twin's points, where they do not all lack the same.
    classes: HashMap<Arc<str>, Class>,
    /// When the last frame was cut.
    pub(crate) heard: Option<i64>,
}

impl Streams {
    /// The class that a point of the twin has now, as far as it matters here: where all points lack the same, it is that of any.
    pub(crate) fn class_of(&self, point: &str) -> Class {
        // Of one that is there no more nobody knows: it lacks what any may.
        self.classes.get(point).copied().unwrap_or(Class::Trend)
    }

    /// Gaps of points of a class.
    pub(crate) fn gaps_of(&self, class: Class) -> Vec<HistoryGap> {
        of_streams(&self.runs, &self.told, class)
    }

    /// Gaps of a point of the twin.
    pub(crate) fn gaps(&self, point: &str) -> Vec<HistoryGap> {
        self.gaps_of(self.class_of(point))
    }
}

/// What fed a twin in a range.
pub(crate) fn of_twin(conn: &Conn, twin: TwinId, range: (i64, i64)) -> Result<Streams> {
    let mut runs: BTreeMap<(u64, u64), Run> = BTreeMap::new();
    let mut told = Vec::new();
    let mut heard = None;
    for span in spans(conn, twin)? {
        heard = heard.max(heard_us(conn, &span)?);
        let Some(ranks) = window(conn, &span, range)? else { continue };
        let of_span = runs_of(conn, &span, &ranks, range)?;
        runs.extend(of_span.into_iter().map(|run| ((run.rank, run.first), run)));
        told.extend(told_by(conn, &span, &ranks, range)?);
    }
    let is_classed = told.iter().any(|told| told.class.is_some());
    let classes = if is_classed { classes(conn, twin)? } else { HashMap::new() };
    Ok(Streams { runs: runs.into_values().collect(), told, classes, heard })
}

/// The classes of a twin's points.
fn classes(conn: &Conn, twin: TwinId) -> Result<HashMap<Arc<str>, Class>> {
    let sql = "SELECT points FROM twins WHERE twin = ?1";
    let points: Option<String> = conn.first(sql, params![twin.to_string()], |r| r.get(0))?;
    let points: Vec<PointSchema> = from_json("a twin's points", points.as_deref().unwrap_or("[]"))?;
    Ok(points.into_iter().map(|p| (p.name.clone(), p.class)).collect())
}

/// Nothing is known after the last word of a gateway that is not connected, nor of what is yet to come.
pub(crate) fn away(heard: Option<i64>, online: bool, now: i64) -> Option<HistoryGap> {
    let from = heard.filter(|_| !online).unwrap_or(now.saturating_add(1));
    (from < i64::MAX).then(|| HistoryGap::new(from, i64::MAX, GapReason::GatewayOffline))
}

/// What was deleted of a series, what retention removed altogether, and what comes after its point was removed.
pub(crate) fn removed(conn: &Conn, series: SeriesId) -> Result<Vec<HistoryGap>> {
    let deleted = |(from_us, to_us, samples): (i64, i64, i64)| HistoryGap {
        count: Some(from_sql(samples)),
        ..HistoryGap::new(from_us, to_us, GapReason::Deleted)
    };
    let mut gaps: Vec<HistoryGap> = delete::spans(conn, series)?.into_iter().map(deleted).collect();
    let expired = retention::removed(conn, series)?;
    gaps.extend(expired.map(|(from, to)| HistoryGap::new(from, to, GapReason::Retention)));
    gaps.extend(points::gone(conn, series)?);
    Ok(gaps)
}

/// A gateway that fed a twin, and from and until which rank.
struct Span {
    gateway: i64,
    from: i64,
    to: i64,
}

fn spans(conn: &Conn, twin: TwinId) -> Result<Vec<Span>> {
    let sql = "SELECT gateway, from_rank, to_rank FROM bindings WHERE twin = ?1";
    let one = |r: &Row<'_>| {
        Ok(Span { gateway: r.get(0)?, from: r.get(1)?, to: r.get::<Option<i64>>(2)?.unwrap_or(i64::MAX) })
    };
    conn.all(sql, params![twin.to_string()], one)
}

/// When the last frame of a stream was cut.
fn heard_us(conn: &Conn, span: &Span) -> Result<Option<i64>> {
    let sql = "SELECT m.last_us FROM incarnations i JOIN marks m ON m.rank = i.rank
               WHERE i.gateway = ?1 AND i.rank >= ?2 AND i.rank < ?3 AND m.last_us IS NOT NULL
               ORDER BY i.rank DESC, m.first DESC LIMIT 1";
    conn.first(sql, params![span.gateway, span.from, span.to], |r| r.get(0))
}

/// Ranks of a stream around a range: from the first run of the first to the first run of the last.
struct Window {
    first: i64,
    /// Its run that the range begins in, or after.
    first_seq: i64,
    last: i64,
}

/// Incarnations follow on each other in time as in rank, but for one whose clock was wrong: where the range begins and ends
/// is searched by halving, and a few more are taken on either side.
const BESIDE: usize = 16;

fn window(conn: &Conn, span: &Span, (from, to): (i64, i64)) -> Result<Option<Window>> {
    let sql = "SELECT i.rank FROM incarnations i WHERE i.gateway = ?1 AND i.rank >= ?2 AND i.rank < ?3
               AND EXISTS (SELECT 1 FROM marks m WHERE m.rank = i.rank) ORDER BY i.rank";
    let ranks: Vec<i64> = conn.all(sql, params![span.gateway, span.from, span.to], |r| r.get(0))?;
    // The first that began after a time.
    let after = |t: i64| -> Result<usize> {
        let (mut low, mut high) = (0, ranks.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let sql = "SELECT first_us FROM marks WHERE rank = ?1 ORDER BY first LIMIT 1";
            let began: Option<Option<i64>> = conn.first(sql, params![ranks[middle]], |r| r.get(0))?;
            if began.flatten().is_some_and(|began| began > t) { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    };
    let (Some(newest), first) = (ranks.last(), after(from)?.saturating_sub(1 + BESIDE)) else {
        return Ok(None);
    };
    let last = ranks.get(after(to)?.saturating_add(BESIDE)).unwrap_or(newest);
    let first = ranks.get(first).unwrap_or(newest);
    let sql = "SELECT first FROM marks WHERE rank = ?1 AND first_us <= ?2 ORDER BY first_us DESC LIMIT 1";
    let first_seq = conn.first(sql, params![first, from], |r| r.get(0))?.unwrap_or(0);
    Ok(Some(Window { first: *first, first_seq, last: *last }))
}

/// Runs that the range lies in or between.
fn runs_of(conn: &Conn, span: &Span, window: &Window, (_, to): (i64, i64)) -> Result<Vec<Run>> {
    let one = |r: &Row<'_>| {
        Ok(Run {
            rank: from_sql(r.get(0)?),
            first: from_sql(r.get(1)?),
            last: from_sql(r.get(2)?),
            first_us: r.get(3)?,
            last_us: r.get(4)?,
        })
    };
    let Window { first, first_seq, last } = window;
    let sql = "SELECT m.rank, m.first, m.last, m.first_us, m.last_us FROM incarnations i
               JOIN marks m ON m.rank = i.rank
               WHERE i.gateway = ?1 AND i.rank >= ?2 AND i.rank <= ?3
                 AND (m.rank > ?2 OR m.first >= ?4) AND (m.first_us IS NULL OR m.first_us <= ?5)";
    let mut runs = conn.all(sql, params![span.gateway, first, last, first_seq, to], one)?;
    // And the one after it.
    let after = "SELECT m.rank, m.first, m.last, m.first_us, m.last_us FROM incarnations i
                 JOIN marks m ON m.rank = i.rank
                 WHERE i.gateway = ?1 AND i.rank >= ?2 AND i.rank <= ?3 AND m.first_us > ?4
                 ORDER BY m.rank, m.first LIMIT 1";
    runs.extend(conn.first(after, params![span.gateway, first, last, to], one)?);
    Ok(runs)
}

/// What was told of these incarnations, or of the time.
fn told_by(conn: &Conn, span: &Span, window: &Window, (from, to): (i64, i64)) -> Result<Vec<Told>> {
    let sql =
        "SELECT rank, first, last, from_us, to_us, samples, cause, told_us, since_us, class, lost FROM gaps
               WHERE gateway = ?1 AND rank >= ?2 AND rank < ?3
                 AND ((rank >= ?4 AND rank <= ?5) OR (from_us < ?7 AND to_us >= ?6))";
    let bounds = params![span.gateway, span.from, span.to, window.first, window.last, from, to];
    conn.all(sql, bounds, |row| {
        let (cause, class): (String, Option<String>) = (row.get(6)?, row.get(9)?);
        let lost: Option<String> = row.get(10)?;
        let both = |a: Option<i64>, b: Option<i64>| a.zip(b);
        Ok(Told {
            rank: from_sql(row.get(0)?),
            seqs: both(row.get(1)?, row.get(2)?).map(|(first, last)| (from_sql(first), from_sql(last))),
            times_us: both(row.get(3)?, row.get(4)?),
            samples: from_sql(row.get(5)?),
            cause: from_json("a gap's cause", &cause)?,
            told_us: row.get(7)?,
            since_us: row.get(8)?,
            class: class.map(|class| from_json("a gap's class", &class)).transpose()?,
            lost: lost.map(|lost| from_json("a gap's frames", &lost)).transpose()?,
        })
    })
}
