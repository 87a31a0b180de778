//! The boxes behind gateways' names, and the frames that were set aside.

use cloud_core::boxes::Boxes;
use cloud_core::storage::SetAside;
use cloud_core::{GatewayKey, StoreError};
use common::api::{Page, SetAsideView};
use common::command::LogEntry;
use common::wire::Known;
use common::{Incarnation, IntervalSet, Schema};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::db::{Result, db, from_json, from_sql, to_json, to_sql};
use crate::frames::{gateway_row, mark};
use crate::log::{self, MAX_PAGE};
use crate::writer::Writer;

/// Frames kept aside of one gateway, and their bytes: of more the oldest are removed. Their marks stay.
const MAX_FRAMES: i64 = 1_000;
const MAX_BYTES: i64 = 16 << 20;

fn row_of(conn: &Connection, gateway: &GatewayKey) -> Result<Option<i64>> {
    let sql = "SELECT id FROM gateways WHERE tenant = ?1 AND gateway = ?2";
    let key = params![gateway.tenant.as_str(), gateway.gateway.as_str()];
    conn.prepare_cached(sql).and_then(|mut s| s.query_row(key, |r| r.get(0)).optional()).map_err(db)
}

pub(crate) fn boxes(conn: &Connection, gateway: &GatewayKey) -> Result<Boxes> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(Boxes::default()) };
    let sql = "SELECT record FROM boxes WHERE gateway = ?1";
    let found: Option<String> =
        conn.prepare_cached(sql).and_then(|mut s| s.query_row([row], |r| r.get(0)).optional()).map_err(db)?;
    found.map_or_else(|| Ok(Boxes::default()), |json| from_json("a gateway's boxes", &json))
}

pub(crate) fn keep(
    tx: &Transaction<'_>,
    gateway: &GatewayKey,
    boxes: &Boxes,
    audit: &[LogEntry],
    now: i64,
) -> Result<()> {
    let row = gateway_row(tx, gateway)?;
    let sql = "INSERT INTO boxes (gateway, record) VALUES (?1, ?2)
               ON CONFLICT (gateway) DO UPDATE SET record = ?2";
    let json = to_json(boxes)?;
    tx.prepare_cached(sql).and_then(|mut s| s.execute(params![row, json])).map_err(db)?;
    audit.iter().try_for_each(|entry| log::append_own(tx, entry, now))
}

/// Each for which nothing was known is new.
pub(crate) fn set_aside(writer: &mut Writer, frames: &[SetAside], audit: &[LogEntry]) -> Result<Vec<bool>> {
    let now = writer.clock.now_us();
    writer.change_with_cache(|tx, cache| {
        let mut all_new = Vec::with_capacity(frames.len());
        for frame in frames {
            let gateway = gateway_row(tx, &frame.gateway)?;
            let mut new = true;
            if let Some((rank, seq)) = frame.name {
                let known = cache.ranks.get(&rank).is_some_and(|r| *r.gateway == *frame.gateway);
                if !known {
                    return Err(StoreError::NotFound { what: format!("rank {rank} of {}", frame.gateway) });
                }
                new = mark(tx, cache.marks.entry(rank).or_default(), rank, seq)?;
            }
            if new {
                let (rank, seq) = (frame.name.map(|n| to_sql(n.0)), frame.name.map(|n| to_sql(n.1)));
                let hash = Schema::hash_of(&frame.bytes).0;
                let sql = "INSERT INTO set_aside (gateway, rank, seq, at_us, cause, detail, hash, bytes)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (gateway, hash) DO NOTHING";
                let (cause, bytes) = (frame.cause, &frame.bytes[..]);
                let values = params![gateway, rank, seq, frame.at_us, cause, frame.detail, hash, bytes];
                new = tx.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(db)? > 0;
                trim(tx, gateway)?;
            }
            all_new.push(new);
        }
        audit.iter().try_for_each(|entry| log::append_own(tx, entry, now))?;
        Ok(all_new)
    })
}

fn trim(tx: &Transaction<'_>, gateway: i64) -> Result<()> {
    let sql = "DELETE FROM set_aside WHERE gateway = ?1 AND id <= coalesce((
                   SELECT max(id) FROM (
                       SELECT id, row_number() OVER newest AS n, sum(length(bytes)) OVER newest AS b
                       FROM set_aside WHERE gateway = ?1 WINDOW newest AS (ORDER BY id DESC))
                   WHERE n > ?2 OR b > ?3), -1)";
    tx.prepare_cached(sql).and_then(|mut s| s.execute([gateway, MAX_FRAMES, MAX_BYTES])).map_err(db)?;
    Ok(())
}

pub(crate) fn set_aside_page(
    conn: &Connection,
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
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let rows = statement
        .query_map(params![row, before, fetch], |r| {
            let incarnation: Option<[u8; 16]> = r.get(1)?;
            let view = SetAsideView {
                incarnation: incarnation.map(|i| Incarnation(u128::from_be_bytes(i))),
                seq: r.get::<_, Option<i64>>(2)?.map(from_sql),
                at_us: r.get(3)?,
                cause: r.get(4)?,
                detail: r.get(5)?,
                bytes: from_sql(r.get(6)?),
            };
            Ok((r.get::<_, i64>(0)?.to_string(), view))
        })
        .map_err(db)?;
    let items = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(db)?;
    Ok(log::cut(items, limit))
}

/// Names of frames kept aside, by incarnation.
pub(crate) fn set_aside_names(conn: &Connection, gateway: &GatewayKey) -> Result<Vec<Known>> {
    let Some(row) = row_of(conn, gateway)? else { return Ok(Vec::new()) };
    let sql = "SELECT i.incarnation, s.seq FROM set_aside s JOIN incarnations i ON i.rank = s.rank
               WHERE s.gateway = ?1 AND s.seq IS NOT NULL ORDER BY s.rank, s.seq";
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let mut rows = statement.query([row]).map_err(db)?;
    let mut out: Vec<Known> = Vec::new();
    while let Some(row) = rows.next().map_err(db)? {
        let incarnation = Incarnation(u128::from_be_bytes(row.get(0).map_err(db)?));
        let seq = from_sql(row.get(1).map_err(db)?);
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
    }
    Ok(out)
}
