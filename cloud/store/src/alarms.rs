//! Alarms: the last word on each, kept in the transaction of the frame that tells it.

use common::alarm::{AlarmState, AlarmView};
use common::api::Page;
use common::{AlarmId, TwinId};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::db::{Result, db, from_json, from_sql, to_json, to_sql};
use crate::log;

/// Keeps what a frame at (rank, sequence) tells, unless a later one has told something.
pub(crate) fn put(
    tx: &Transaction<'_>,
    tenant: &str,
    alarm: &AlarmView,
    (rank, seq): (u64, u64),
    now: i64,
) -> Result<()> {
    let id = alarm.id.to_string();
    let find = "SELECT rank, seq FROM alarms WHERE id = ?1";
    let last: Option<(i64, i64)> = tx
        .prepare_cached(find)
        .and_then(|mut s| s.query_row([&id], |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(db)?;
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
    tx.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(db)?;
    Ok(())
}

pub(crate) fn find(conn: &Connection, id: AlarmId) -> Result<Option<AlarmView>> {
    let sql = "SELECT view FROM alarms WHERE id = ?1";
    let view: Option<String> = conn
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([id.to_string()], |r| r.get(0)).optional())
        .map_err(db)?;
    view.map(|v| from_json("an alarm", &v)).transpose()
}

/// The last changed first.
pub(crate) fn page(
    conn: &Connection,
    twins: Option<&[TwinId]>,
    open: bool,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<AlarmView>> {
    let (before_us, before_id) = match cursor {
        Some(text) => {
            let (us, id) = log::parse_cursor::<AlarmId>(text)?;
            (us, id.to_string())
        }
        // After every id in text.
        None => (i64::MAX, "~".to_owned()),
    };
    let limit = limit.clamp(1, log::MAX_PAGE);
    let only =
        if twins.is_some() { "AND twin IN (SELECT value FROM json_each(?4))" } else { "AND ?4 IS NULL" };
    let which = if open { "AND open = 1" } else { "" };
    let sql = format!(
        "SELECT sort_us, id, view FROM alarms WHERE (sort_us, id) < (?1, ?2) {which} {only}
         ORDER BY sort_us DESC, id DESC LIMIT ?3"
    );
    let mut statement = conn.prepare_cached(&sql).map_err(db)?;
    let fetch = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut rows =
        statement.query(params![before_us, before_id, fetch, log::twin_list(twins)?]).map_err(db)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next().map_err(db)? {
        let us: i64 = row.get(0).map_err(db)?;
        let (id, view): (String, String) = (row.get(1).map_err(db)?, row.get(2).map_err(db)?);
        items.push((format!("{us}.{id}"), from_json("an alarm", &view)?));
    }
    Ok(log::cut(items, limit))
}
