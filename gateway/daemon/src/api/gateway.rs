//! The box itself: health, readiness, its list of entries, and the switch.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use common::api::{GatewayView, GrantView, Page, Problem, SwitchPosition, SwitchRequest, WhoAmI};
use common::command::{LogEntry, Severity};
use common::names::action;
use gateway_core::{FrameLog, Orders};
use serde::Deserialize;

use super::auth::Caller;
use super::twins::twin;
use super::{Api, invalid, json, limit, query};

/// A device that says nothing for so long after the start does not keep the box from being ready.
const PATIENCE_US: u64 = 10_000_000;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(api): State<Api>) -> (StatusCode, String) {
    let mut reasons = Vec::new();
    if let Some(fault) = api.vitals.log.health().fault {
        reasons.push(format!("buffer: {fault}"));
    }
    if api.vitals.clock.mono_us() < PATIENCE_US {
        let waits = api.vitals.health.list().into_iter().filter(|d| d.good == 0);
        reasons.extend(waits.map(|d| format!("device {}: no value yet", d.name)));
    }
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

pub(super) async fn who_am_i(Extension(caller): Extension<Caller>) -> Json<WhoAmI> {
    Json(WhoAmI { user: caller.name, grants: vec![GrantView { path: String::new(), role: caller.role }] })
}

pub(super) async fn list(State(api): State<Api>) -> Json<Page<GatewayView>> {
    let health = api.vitals.health();
    let now_us = api.vitals.clock.now_us();
    let since_us = api.vitals.uplink().map_or(0, |u| u.since_us);
    let view = GatewayView {
        id: api.id.clone(),
        connected: health.uplink,
        since_us,
        last_seen_us: now_us,
        twins: u32::try_from(api.points.now().device_count()).unwrap_or(u32::MAX),
        health: Some(health),
        held: Vec::new(),
    };
    Json(Page { items: vec![view], next_cursor: None })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    cursor: Option<i64>,
    limit: Option<usize>,
    twin: Option<String>,
    min_severity: Option<Severity>,
}

pub(super) async fn audit(State(api): State<Api>, uri: Uri) -> Result<Json<Page<LogEntry>>, Problem> {
    let q: AuditQuery = query(&uri)?;
    let limit = limit(q.limit)?;
    let twin = q.twin.map(|name| Ok(twin(&api.points.now(), &name)?.twin)).transpose()?;
    let least = q.min_severity.unwrap_or(Severity::Info);
    let mut found = api
        .vitals
        .log
        .entries(q.cursor)
        .into_iter()
        .filter(|e| e.entry.severity >= least && (twin.is_none() || e.entry.twin == twin));
    let page: Vec<_> = found.by_ref().take(limit).collect();
    let next_cursor = found.next().and_then(|_| page.last().map(|e| e.number.to_string()));
    Ok(Json(Page { items: page.into_iter().map(|e| e.entry).collect(), next_cursor }))
}

/// The position, and why it stands there as far as the list of entries remembers.
pub(super) async fn switch(State(api): State<Api>) -> Json<SwitchRequest> {
    let position = api.vitals.control.switch();
    let action = match position {
        SwitchPosition::Local => action::SWITCH_LOCAL,
        SwitchPosition::Remote => action::SWITCH_REMOTE,
    };
    let started = |e: &LogEntry| e.action == action::GATEWAY_STARTED;
    let entries = api.vitals.log.entries(None).into_iter().map(|e| e.entry);
    let set = entries.take_while(|e| !started(e)).find(|e| e.action == action);
    let reason = set.map_or_else(|| "it stands on local at every start".to_owned(), |e| e.detail);
    Json(SwitchRequest { position, reason })
}

pub(super) async fn set_switch(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<SwitchRequest>, Problem> {
    let request: SwitchRequest = json(&headers, &body)?;
    if request.reason.trim().is_empty() || request.reason.len() > 1000 {
        return Err(invalid("expected a reason of 1 to 1000 bytes, for the audit"));
    }
    let set = api.vitals.control.set_switch(request.position, &caller.name, &request.reason).await;
    set.map_err(|(code, detail)| Problem::new(code, detail))?;
    Ok(Json(request))
}
