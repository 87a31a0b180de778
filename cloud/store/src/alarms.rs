//! Alarms: the last word on each, kept in the transaction of the frame that tells it.

use common::alarm::{AlarmState, AlarmView};
use common::api::Page;
use common::{AlarmId, TwinId};

use crate::db::{Result, from_json, from_sql, to_json, to_sql};
use crate::log;
use crate::sql::{Conn, Tx, params};

/// Keeps what a frame at (rank, sequence) tells, unless a later one has told something.
pub(crate) fn put(
    tx: &Tx<'_>,
    tenant: &str,
    alarm: &AlarmView,
    (rank, seq): (u64, u64),
    now: i64,
) -> Result<()> {
    let id = alarm.id.to_string();
    let find = "SELECT rank, seq FROM alarms WHERE id = ?1";
    let last: Option<(i64, i64)> = tx.first(find, params![&id], |r| Ok((r.get(0)?, r.get(1)?)))?;
    if last.is_some_and(|(r, s)| (from_sql(r), from_sql(s)) >= (rank, seq)) {
        return Ok(());
    }
    let open = alarm.state != AlarmState::Normal || alarm.shelved_until_us.is_some();
    // One stamp from the future must not stay on top for ever.
    let sort_us = alarm.at_us.min(now);
    let sql = "INSERT INTO alarms (id, tenant, twin, rank, seq, sort_us, open, view)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (id) DO UPDATE SET rank = ?4, seq = ?5, sort_us = ?6, open = ?7, view = ?8";
    let twin = alarm.twin.to_string();
    let values =
        params![id, tenant, twin, to_sql(rank), to_sql(seq), sort_us, i64::from(open), to_json(alarm)?];
    tx.execute(sql, values)?;
    Ok(())
}

/// A gateway's name is that of this rank again: what another box told of alarms under a later one gives way.
pub(crate) fn give_way(tx: &Tx<'_>, gateway_row: i64, rank: u64) -> Result<()> {
    let sql = "UPDATE alarms SET rank = ?2, seq = 0 WHERE rank > ?2 AND rank IN
               (SELECT rank FROM incarnations WHERE gateway = ?1)";
    tx.execute(sql, params![gateway_row, to_sql(rank)])?;
    Ok(())
}

pub(crate) fn find(conn: &Conn, id: AlarmId) -> Result<Option<AlarmView>> {
    let sql = "SELECT view FROM alarms WHERE id = ?1";
    let view: Option<String> = conn.first(sql, params![id.to_string()], |r| r.get(0))?;
    view.map(|v| from_json("an alarm", &v)).transpose()
}

/// The last changed first.
pub(crate) fn page(
    conn: &Conn,
    twins: Option<&[TwinId]>,
    open: bool,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<AlarmView>> {
    let also = if open { "AND open = 1" } else { "" };
    log::views::<AlarmId, _>(conn, ("alarms", "an alarm", also), twins, cursor, limit)
}
