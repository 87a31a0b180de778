//! The boxes behind gateways' names, and the frames that were set aside.

use cloud_core::boxes::Boxes;
use cloud_core::storage::{AsideRemoved, KeptAside, SetAside};
use cloud_core::{GatewayKey, StoreError};
use common::api::{Page, SetAsideView};
use common::command::LogEntry;
use common::wire::{Frame, Known};
use common::{Incarnation, IntervalSet, Schema};

use crate::db::{Result, from_json, from_sql, to_json, to_sql};
use crate::frames::gateway_row;
use crate::gaps;
use crate::log::{self, MAX_PAGE};
use crate::marks::Pending;
use crate::sql::{Conn, Row, Tx, params};
use crate::writer::Writer;

/// Frames kept aside of one gateway, and their bytes: of more the oldest are removed. Their marks and gaps stay.
const MAX_FRAMES: i64 = 1_000;
const MAX_BYTES: i64 = 16 << 20;

pub(crate) fn row_of(conn: &Conn, gateway: &GatewayKey) -> Result<Option<i64>> {
    let sql = "SELECT id FROM gateways WHERE tenant = ?1 AND gateway = ?2";
    conn.first(sql, params![gateway.tenant.as_str(), gateway.gateway.as_str()], |r| r.get(0))
}

pub(crate) fn boxes(conn: &Conn, gateway: &GatewayKey) -> Result<Boxes> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(Boxes::default()) };
    let sql = "SELECT record FROM boxes WHERE gateway = ?1";
    let found: Option<String> = conn.first(sql, params![row], |r| r.get(0))?;
    found.map_or_else(|| Ok(Boxes::default()), |json| from_json("a gateway's boxes", &json))
}

pub(crate) fn keep(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    boxes: &Boxes,
    audit: &[LogEntry],
    now: i64,
) -> Result<()> {
    let row = gateway_row(tx, gateway)?;
    let sql = "INSERT INTO boxes (gateway, record) VALUES (?1, ?2)
               ON CONFLICT (gateway) DO UPDATE SET record = excluded.record";
    tx.execute(sql, params![row, to_json(boxes)?])?;
    audit.iter().try_for_each(|entry| log::append_own(tx, entry, now))
}

/// Each for which nothing was known is new.
pub(crate) fn set_aside(writer: &mut Writer, frames: &[SetAside], audit: &[LogEntry]) -> Result<KeptAside> {
    let now = writer.clock.now_us();
    writer.change_with_cache(|tx, cache| {
        let mut pending = Pending::default();
        let mut gateways = Vec::new();
        let mut all_new = Vec::with_capacity(frames.len());
        for frame in frames {
            let gateway = gateway_row(tx, &frame.gateway)?;
            let mut new = true;
            if let Some((rank, seq)) = frame.name {
                let known = cache.ranks.get(&rank).is_some_and(|r| *r.gateway == *frame.gateway);
                if !known {
                    return Err(StoreError::NotFound { what: format!("rank {rank} of {}", frame.gateway) });
                }
                let cut_us = Frame::peek(&frame.bytes).map_or(frame.at_us, |h| gaps::cut_us(&h, frame.at_us));
                let seqs = cache.marks.entry(rank).or_default();
                let before_us = pending.run_end_us(tx, seqs, rank, seq.saturating_sub(1))?;
                new = pending.mark(tx, seqs, rank, seq, cut_us)?;
                if new {
                    gaps::put_aside(tx, gateway, (rank, seq), &frame.bytes, cut_us, before_us)?;
                }
            }
            if new {
                let told = (frame.cause, &*frame.detail);
                new = keep_aside(tx, gateway, frame.name, frame.at_us, told, &frame.bytes)?;
                if !gateways.contains(&gateway) {
                    gateways.push(gateway);
                }
            }
            all_new.push(new);
        }
        pending.store(tx)?;
        let mut removed = AsideRemoved::default();
        for gateway in gateways {
            let AsideRemoved { frames, bytes } = trim(tx, gateway)?;
            (removed.frames, removed.bytes) = (removed.frames + frames, removed.bytes + bytes);
        }
        audit.iter().try_for_each(|entry| log::append_own(tx, entry, now))?;
        Ok(KeptAside { new: all_new, removed })
    })
}

/// Keeps a frame aside; false if the same bytes are there.
pub(crate) fn keep_aside(
    tx: &Tx<'_>,
    gateway: i64,
    name: Option<(u64, u64)>,
    at_us: i64,
    (cause, detail): (&str, &str),
    bytes: &[u8],
) -> Result<bool> {
    let sql = "INSERT INTO set_aside (gateway, rank, seq, at_us, cause, detail, hash, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (gateway, hash) DO NOTHING";
    let ((rank, seq), hash) =
        (name.map(|(rank, seq)| (to_sql(rank), to_sql(seq))).unzip(), Schema::hash_of(bytes).0);
    Ok(tx.execute(sql, params![gateway, rank, seq, at_us, cause, text(detail), hash, bytes])? > 0)
}

/// A text that every database takes: what is wrong with a frame may quote it.
fn text(detail: &str) -> String {
    detail.replace('\0', "\u{fffd}")
}

/// Removes what is too much, and counts it.
fn trim(tx: &Tx<'_>, gateway: i64) -> Result<AsideRemoved> {
    let sql = "SELECT coalesce(max(s.id), -1) FROM (
                   SELECT id, row_number() OVER newest AS n, sum(length(bytes)) OVER newest AS b
                   FROM set_aside WHERE gateway = ?1 WINDOW newest AS (ORDER BY id DESC)) AS s
               WHERE s.n > ?2 OR s.b > ?3";
    let last: i64 = tx.one(sql, params![gateway, MAX_FRAMES, MAX_BYTES], |r| r.get(0))?;
    let sql = "SELECT count(*), CAST(coalesce(sum(length(bytes)), 0) AS BIGINT) FROM set_aside
               WHERE gateway = ?1 AND id <= ?2";
    let (frames, bytes): (i64, i64) = tx.one(sql, params![gateway, last], |r| Ok((r.get(0)?, r.get(1)?)))?;
    if frames > 0 {
        tx.execute("DELETE FROM set_aside WHERE gateway = ?1 AND id <= ?2", params![gateway, last])?;
        let sql = "INSERT INTO set_aside_removed (gateway, frames, bytes) VALUES (?1, ?2, ?3)
                   ON CONFLICT (gateway) DO UPDATE SET frames = set_aside_removed.frames + excluded.frames,
                   bytes = set_aside_removed.bytes + excluded.bytes";
        tx.execute(sql, params![gateway, frames, bytes])?;
    }
    Ok(AsideRemoved { frames: from_sql(frames), bytes: from_sql(bytes) })
}

/// What was removed of a gateway so far.
pub(crate) fn aside_removed(conn: &Conn, gateway: &GatewayKey) -> Result<AsideRemoved> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(AsideRemoved::default()) };
    let sql = "SELECT frames, bytes FROM set_aside_removed WHERE gateway = ?1";
    let one = |r: &Row<'_>| Ok(AsideRemoved { frames: from_sql(r.get(0)?), bytes: from_sql(r.get(1)?) });
    Ok(conn.first(sql, params![row], one)?.unwrap_or_default())
}

/// The bytes of a frame that is kept aside.
pub(crate) fn aside_bytes(conn: &Conn, gateway: &GatewayKey, id: i64) -> Result<Option<Vec<u8>>> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(None) };
    let sql = "SELECT bytes FROM set_aside WHERE gateway = ?1 AND id = ?2";
    conn.first(sql, params![row, id], |r| r.get(0))
}

pub(crate) fn set_aside_page(
    conn: &Conn,
    gateway: &GatewayKey,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<SetAsideView>> {
    let before = match cursor {
        Some(text) => text.parse().map_err(|_| StoreError::NotFound { what: "cursor".into() })?,
        None => i64::MAX,
    };
    let limit = limit.clamp(1, MAX_PAGE);
    let Some(row) = row_of(conn, gateway)? else { return Ok(Page { items: Vec::new(), next_cursor: None }) };
    let sql =
        "SELECT s.id, i.incarnation, s.seq, s.at_us, s.cause, s.detail, length(s.bytes) FROM set_aside s
               LEFT JOIN incarnations i ON i.rank = s.rank
               WHERE s.gateway = ?1 AND s.id < ?2 ORDER BY s.id DESC LIMIT ?3";
    let fetch = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let items = conn.all(sql, params![row, before, fetch], |r| {
        let incarnation: Option<[u8; 16]> = r.get(1)?;
        let id = r.get::<i64>(0)?.to_string();
        let view = SetAsideView {
            id: id.clone(),
            incarnation: incarnation.map(|i| Incarnation(u128::from_be_bytes(i))),
            seq: r.get::<Option<i64>>(2)?.map(from_sql),
            at_us: r.get(3)?,
            cause: r.get(4)?,
            detail: r.get(5)?,
            bytes: from_sql(r.get(6)?),
        };
        Ok((id, view))
    })?;
    Ok(log::cut(items, limit))
}

/// Names of frames kept aside, by incarnation.
pub(crate) fn set_aside_names(conn: &Conn, gateway: &GatewayKey) -> Result<Vec<Known>> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(Vec::new()) };
    let sql = "SELECT i.incarnation, s.seq FROM set_aside s JOIN incarnations i ON i.rank = s.rank
               WHERE s.gateway = ?1 AND s.seq IS NOT NULL ORDER BY s.rank, s.seq";
    let mut out: Vec<Known> = Vec::new();
    conn.each(sql, params![row], |r| {
        let incarnation = Incarnation(u128::from_be_bytes(r.get(0)?));
        let seq = from_sql(r.get(1)?);
        match out.last_mut().filter(|k| k.incarnation == incarnation) {
            Some(known) => {
                known.seqs.insert(seq);
            }
            None => {
                let mut seqs = IntervalSet::new();
                seqs.insert(seq);
                out.push(Known { incarnation, seqs });
            }
        }
        Ok(())
    })?;
    Ok(out)
}
