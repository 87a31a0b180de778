//! Desired values: one document a twin, changed under its version, and what became of each entry.

use cloud_core::StoreError;
use common::TwinId;
use common::api::{DesiredEntry, DesiredView};
use common::command::{DesiredState, DesiredUpdate, LogEntry, Requester};

use crate::db::{Result, from_json, from_sql, to_json, to_sql};
use crate::log;
use crate::sql::{Conn, Tx, params};

/// Changes of a patch: the point, what it wants then.
pub(crate) type Changes = Vec<(String, Option<DesiredView>)>;

pub(crate) fn patch(
    tx: &Tx<'_>,
    twin: TwinId,
    if_version: u64,
    patch: &[(String, Option<DesiredEntry>)],
    requester: &Requester,
    now_us: i64,
    audit: &LogEntry,
) -> Result<(u64, Changes)> {
    let id = twin.to_string();
    let find = "SELECT tenant, desired_version FROM twins WHERE twin = ?1";
    let found: Option<(String, i64)> = tx.first(find, params![&id], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let Some((tenant, version)) = found else {
        return Err(StoreError::NotFound { what: format!("twin {twin}") });
    };
    let version = from_sql(version);
    if version != if_version {
        let what = format!("desired document of twin {twin} has version {version}, not {if_version}");
        return Err(StoreError::Conflict { what });
    }
    let version = version + 1;
    let set_version = "UPDATE twins SET desired_version = ?2 WHERE twin = ?1";
    tx.execute(set_version, params![id, to_sql(version)])?;
    let mut changes = Vec::with_capacity(patch.len());
    for (point, entry) in patch {
        let Some(entry) = entry else {
            let sql = "DELETE FROM desired WHERE twin = ?1 AND point = ?2";
            let gone = tx.execute(sql, params![id, point])?;
            if gone > 0 {
                changes.push((point.clone(), None));
            }
            continue;
        };
        let ttl_us = i64::try_from(entry.ttl_ms).unwrap_or(i64::MAX).saturating_mul(1000);
        let view = DesiredView {
            value: entry.value.clone(),
            state: DesiredState::Pending,
            version,
            set_us: now_us,
            expires_us: now_us.saturating_add(ttl_us),
            requester: requester.clone(),
            reason: entry.reason.clone(),
            code: None,
            detail: String::new(),
        };
        let sql = "INSERT INTO desired (tenant, twin, point, version, view) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (twin, point) DO UPDATE SET version = ?4, rank = 0, seq = 0, view = ?5";
        let values = params![tenant, id, point, to_sql(version), to_json(&view)?];
        tx.execute(sql, values)?;
        changes.push((point.clone(), Some(view)));
    }
    log::append_own(tx, audit, now_us)?;
    Ok((version, changes))
}

/// What is wanted of a point, if anything.
pub(crate) fn find(conn: &Conn, twin: TwinId, point: &str) -> Result<Option<DesiredView>> {
    let sql = "SELECT view FROM desired WHERE twin = ?1 AND point = ?2";
    let view: Option<String> = conn.first(sql, params![twin.to_string(), point], |r| r.get(0))?;
    view.map(|v| from_json("a desired value", &v)).transpose()
}

/// Takes note of what became of a desired value. `at`: rank and sequence of the frame that tells it, so that
/// an older word that comes later changes nothing. None for the cloud's own word, which counts only while no
/// gateway has told anything.
pub(crate) fn update(
    tx: &Tx<'_>,
    update: &DesiredUpdate,
    at: Option<(u64, u64)>,
) -> Result<Option<DesiredView>> {
    let id = update.twin.to_string();
    let find = "SELECT version, rank, seq, view FROM desired WHERE twin = ?1 AND point = ?2";
    let found: Option<(i64, i64, i64, String)> =
        tx.first(find, params![id, update.point], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let Some((version, rank, seq, view)) = found else { return Ok(None) };
    let mut view: DesiredView = from_json("a desired value", &view)?;
    let is_older = match at {
        Some(at) => at <= (from_sql(rank), from_sql(seq)),
        None => view.state != DesiredState::Pending,
    };
    if from_sql(version) != update.version || is_older {
        return Ok(Some(view));
    }
    view.state = update.state;
    view.code = update.code;
    view.detail.clone_from(&update.detail);
    let (rank, seq) = at.map_or((rank, seq), |(rank, seq)| (to_sql(rank), to_sql(seq)));
    let sql = "UPDATE desired SET rank = ?3, seq = ?4, view = ?5 WHERE twin = ?1 AND point = ?2";
    let values = params![id, update.point, rank, seq, to_json(&view)?];
    tx.execute(sql, values)?;
    Ok(Some(view))
}
