//! Commands: stored once for each idempotency key, and put on by steps that only go forwards.

use cloud_core::StoreError;
use cloud_core::storage::Created;
use common::api::{CommandStep, CommandView, Page};
use common::command::{CommandUpdate, LogEntry};
use common::{CommandId, CommandState, TwinId};

use crate::db::{Result, from_json, to_json};
use crate::log;
use crate::sql::{Conn, Tx, params};

/// How long an idempotency key is kept, at least.
const KEY_US: i64 = 48 * 3600 * 1_000_000;

fn state_text(state: CommandState) -> &'static str {
    match state {
        CommandState::Accepted => "accepted",
        CommandState::Sent => "sent",
        CommandState::Executing => "executing",
        CommandState::Succeeded => "succeeded",
        CommandState::Rejected => "rejected",
        CommandState::Failed => "failed",
        CommandState::Expired => "expired",
        CommandState::Unknown => "unknown",
    }
}

pub(crate) fn create(
    tx: &Tx<'_>,
    command: &CommandView,
    key: &str,
    request: &[u8],
    audit: &LogEntry,
    now: i64,
) -> Result<Created> {
    if let Some((known, hash)) = by_key(tx, &command.requester.name, key)? {
        return Ok(if hash == request { Created::Same(Box::new(known)) } else { Created::Different });
    }
    insert(tx, command, now)?;
    let tenant = log::tenant_of(tx, command.twin)?.unwrap_or_default();
    let sql = "INSERT INTO idempotency (tenant, requester, key, request, command, stored_us)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![tenant, command.requester.name, key, request, command.id.to_string(), now];
    tx.execute(sql, values)?;
    log::append_own(tx, audit, now)?;
    Ok(Created::New)
}

fn insert(tx: &Tx<'_>, command: &CommandView, now: i64) -> Result<()> {
    let id = command.id.to_string();
    let Some(tenant) = log::tenant_of(tx, command.twin)? else {
        return Err(StoreError::NotFound { what: format!("twin {}", command.twin) });
    };
    if find(tx, command.id)?.is_some() {
        return Err(StoreError::Conflict { what: format!("command {id} exists already") });
    }
    let sql = "INSERT INTO commands (id, tenant, twin, state, sort_us, view) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let sort_us = command.created_us.min(now);
    let state = state_text(command.state);
    let values = params![id, tenant, command.twin.to_string(), state, sort_us, to_json(command)?];
    tx.execute(sql, values)?;
    Ok(())
}

pub(crate) fn by_key(conn: &Conn, requester: &str, key: &str) -> Result<Option<(CommandView, Vec<u8>)>> {
    let sql = "SELECT c.view, i.request FROM idempotency i JOIN commands c ON c.id = i.command
               WHERE i.requester = ?1 AND i.key = ?2";
    let found: Option<(String, Vec<u8>)> =
        conn.first(sql, params![requester, key], |r| Ok((r.get(0)?, r.get(1)?)))?;
    found.map(|(view, hash)| Ok((from_json("a command", &view)?, hash))).transpose()
}

/// One step on, if the state allows it; the command as it is then.
pub(crate) fn update(tx: &Tx<'_>, update: &CommandUpdate, now: i64) -> Result<CommandView> {
    let Some(mut view) = find(tx, update.id)? else {
        let view = given_at_gateway(tx, update)?;
        insert(tx, &view, now)?;
        return Ok(view);
    };
    if view.twin != update.twin || view.point != update.point {
        let what = format!("command {} is for another point", update.id);
        return Err(StoreError::Conflict { what });
    }
    if !view.state.may_become(update.state) {
        return Ok(view);
    }
    view.state = update.state;
    view.code = update.code;
    view.detail.clone_from(&update.detail);
    if update.read_back.is_some() {
        view.read_back.clone_from(&update.read_back);
    }
    view.steps.push(CommandStep { state: update.state, at_us: update.at_us });
    let sql = "UPDATE commands SET state = ?2, view = ?3 WHERE id = ?1";
    let values = params![update.id.to_string(), state_text(view.state), to_json(&view)?];
    tx.execute(sql, values)?;
    Ok(view)
}

fn given_at_gateway(tx: &Tx<'_>, update: &CommandUpdate) -> Result<CommandView> {
    let sql = "SELECT asset FROM twins WHERE twin = ?1";
    let asset: Option<String> = tx.first(sql, params![update.twin.to_string()], |r| r.get(0))?;
    let unknown = || StoreError::NotFound { what: format!("twin {}", update.twin) };
    Ok(CommandView {
        id: update.id,
        twin: update.twin,
        asset: asset.ok_or_else(unknown)?,
        point: update.point.clone(),
        value: update.value.clone(),
        requester: update.requester.clone(),
        reason: update.reason.clone(),
        state: update.state,
        code: update.code,
        detail: update.detail.clone(),
        read_back: update.read_back.clone(),
        created_us: update.at_us,
        expires_us: update.at_us,
        steps: vec![CommandStep { state: update.state, at_us: update.at_us }],
    })
}

pub(crate) fn find(conn: &Conn, id: CommandId) -> Result<Option<CommandView>> {
    let sql = "SELECT view FROM commands WHERE id = ?1";
    let view: Option<String> = conn.first(sql, params![id.to_string()], |r| r.get(0))?;
    view.map(|v| from_json("a command", &v)).transpose()
}

pub(crate) fn page(
    conn: &Conn,
    twins: Option<&[TwinId]>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<CommandView>> {
    log::views::<CommandId, _>(conn, ("commands", "a command", ""), twins, cursor, limit)
}

/// Oldest first.
pub(crate) fn in_states(conn: &Conn, states: &[CommandState]) -> Result<Vec<CommandView>> {
    let sql = "SELECT view FROM commands WHERE state = ?1 ORDER BY sort_us, id";
    let mut out: Vec<CommandView> = Vec::new();
    for state in states {
        conn.each(sql, params![state_text(*state)], |row| {
            let view: String = row.get(0)?;
            out.push(from_json("a command", &view)?);
            Ok(())
        })?;
    }
    out.sort_by_key(|c| (c.created_us, c.id));
    out.dedup_by_key(|c| c.id);
    Ok(out)
}

/// Forgets idempotency keys that are old enough.
pub(crate) fn purge_keys(tx: &Tx<'_>, now: i64) -> Result<()> {
    let sql = "DELETE FROM idempotency WHERE stored_us < ?1";
    tx.execute(sql, params![now.saturating_sub(KEY_US)])?;
    Ok(())
}
