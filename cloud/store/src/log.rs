//! The audit and event list: entries are appended and read, never changed.

use cloud_core::{GatewayKey, StoreError};
use common::api::Page;
use common::command::{LogEntry, Severity};
use common::{TenantId, TwinId};

use crate::db::{Result, from_json, to_json};
use crate::sql::{Conn, params};

pub(crate) const AUDIT: &str = "audit";
pub(crate) const EVENT: &str = "event";
/// More items on a page than any caller needs.
pub(crate) const MAX_PAGE: usize = 10_000;

/// An entry on its way in.
pub(crate) struct Entry<'a> {
    pub(crate) tenant: &'a str,
    /// Row of the gateway that told it.
    pub(crate) gateway: Option<i64>,
    pub(crate) kind: &'static str,
    pub(crate) entry: &'a LogEntry,
    pub(crate) now: i64,
}

fn rank_of(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Alarm => 2,
    }
}

pub(crate) fn append(conn: &Conn, new: &Entry<'_>) -> Result<()> {
    let entry = new.entry;
    // One stamp from the future must not stay on top for ever.
    let sort_us = entry.at_us.min(new.now);
    let sql = "INSERT INTO log (tenant, gateway, kind, sort_us, severity, twin, entry)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let twin = entry.twin.map(|t| t.to_string());
    let json = to_json(entry)?;
    let values = params![new.tenant, new.gateway, new.kind, sort_us, rank_of(entry.severity), twin, json];
    conn.execute(sql, values)?;
    Ok(())
}

/// An entry of the cloud's own: under the tenant of its twin, or the default one.
pub(crate) fn append_own(conn: &Conn, entry: &LogEntry, now: i64) -> Result<()> {
    let tenant = match entry.twin {
        Some(twin) => tenant_of(conn, twin)?,
        None => None,
    };
    let tenant = tenant.unwrap_or_else(|| TenantId::default().to_string());
    append(conn, &Entry { tenant: &tenant, gateway: None, kind: AUDIT, entry, now })
}

/// Tenant of a twin.
pub(crate) fn tenant_of(conn: &Conn, twin: TwinId) -> Result<Option<String>> {
    let sql = "SELECT tenant FROM twins WHERE twin = ?1";
    conn.first(sql, params![twin.to_string()], |r| r.get(0))
}

pub(crate) fn append_refused(
    conn: &Conn,
    gateway: &GatewayKey,
    gateway_row: i64,
    twin: TwinId,
    now: i64,
) -> Result<()> {
    let entry = LogEntry {
        at_us: now,
        actor: "system".into(),
        action: common::names::action::FRAME_REFUSED.into(),
        target: gateway.gateway.to_string(),
        twin: None,
        severity: Severity::Warning,
        code: Some(common::names::Code::Forbidden),
        detail: format!("the gateway spoke of what is not its own: twin {twin}"),
    };
    let tenant = gateway.tenant.as_str();
    append(conn, &Entry { tenant, gateway: Some(gateway_row), kind: EVENT, entry: &entry, now })
}

pub(crate) fn page(
    conn: &Conn,
    twins: Option<&[TwinId]>,
    min_severity: Severity,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<LogEntry>> {
    let (before_us, before_id) = match cursor {
        Some(text) => parse_cursor::<i64>(text)?,
        None => (i64::MAX, i64::MAX),
    };
    let limit = limit.clamp(1, MAX_PAGE);
    let only = only(conn, twins, "?5");
    let sql = format!(
        "SELECT sort_us, id, entry FROM log WHERE (sort_us, id) < (?1, ?2) AND severity >= ?3 {only}
         ORDER BY sort_us DESC, id DESC LIMIT ?4"
    );
    let fetch = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let values = params![before_us, before_id, rank_of(min_severity), fetch, twin_list(twins)?];
    let mut items: Vec<(String, LogEntry)> = Vec::new();
    conn.each(&sql, values, |row| {
        let (us, id): (i64, i64) = (row.get(0)?, row.get(1)?);
        let json: String = row.get(2)?;
        items.push((format!("{us}.{id}"), from_json("a log entry", &json)?));
        Ok(())
    })?;
    Ok(cut(items, limit))
}

/// The condition that only these twins are meant, whose `twin_list` is the parameter.
fn only(conn: &Conn, twins: Option<&[TwinId]>, parameter: &str) -> String {
    match twins {
        Some(_) => format!("AND twin IN ({})", conn.dialect().texts_of(parameter)),
        None => format!("AND CAST({parameter} AS TEXT) IS NULL"),
    }
}

/// Twins as a JSON array, for `Dialect::texts_of`.
pub(crate) fn twin_list(twins: Option<&[TwinId]>) -> Result<Option<String>> {
    twins.map(|t| to_json(&t)).transpose()
}

/// A page of items that were fetched one beyond it, each with the cursor that stands after it.
pub(crate) fn cut<T>(mut items: Vec<(String, T)>, limit: usize) -> Page<T> {
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| has_more).map(|(cursor, _)| cursor.clone());
    Page { items: items.into_iter().map(|(_, item)| item).collect(), next_cursor }
}

/// A page of the views of a table with `sort_us`, `id`, `twin` and `view`, the newest first. `also`: a further condition,
/// of the program's own text.
pub(crate) fn views<Id: std::str::FromStr + ToString, View: serde::de::DeserializeOwned>(
    conn: &Conn,
    (table, what, also): (&str, &str, &str),
    twins: Option<&[TwinId]>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<View>> {
    let (before_us, before_id) = match cursor {
        Some(text) => {
            let (us, id) = parse_cursor::<Id>(text)?;
            (us, id.to_string())
        }
        // After every id in text.
        None => (i64::MAX, "~".to_owned()),
    };
    let limit = limit.clamp(1, MAX_PAGE);
    let only = only(conn, twins, "?4");
    let sql = format!(
        "SELECT sort_us, id, view FROM {table} WHERE (sort_us, id) < (?1, ?2) {also} {only}
         ORDER BY sort_us DESC, id DESC LIMIT ?3"
    );
    let fetch = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut items = Vec::new();
    conn.each(&sql, params![before_us, before_id, fetch, twin_list(twins)?], |row| {
        let us: i64 = row.get(0)?;
        let (id, view): (String, String) = (row.get(1)?, row.get(2)?);
        items.push((format!("{us}.{id}"), from_json(what, &view)?));
        Ok(())
    })?;
    Ok(cut(items, limit))
}

pub(crate) fn parse_cursor<I: std::str::FromStr>(text: &str) -> Result<(i64, I)> {
    let parsed = text.split_once('.').and_then(|(us, id)| Some((us.parse().ok()?, id.parse().ok()?)));
    parsed.ok_or_else(|| StoreError::NotFound { what: "cursor".into() })
}
