//! Alarms: the list, and acknowledging and shelving. Boxes judge alarms; what somebody wants done goes to the live
//! session of the box, which tells what became of it. Nothing is changed here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::alarm::{AlarmAct, AlarmOrder, AlarmView, LONGEST_SHELF_MS};
use common::api::{AcknowledgeRequest, Page, ShelveRequest, UnshelveRequest};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use serde::Deserialize;

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::{AlarmRef, Caller};
use crate::request::{Body, Paging, Params, check_reason, cursor_error};

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    all: bool,
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<AlarmView>>, ApiError> {
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let rows = paging.rows()?;
    let twins = caller.twins(&api);
    let page = api.storage.alarms(twins.as_deref(), !query.all, paging.cursor.as_deref(), rows).await;
    let mut page = page.map_err(cursor_error)?;
    let state = api.world.read();
    for alarm in &mut page.items {
        // Where the twin stands now.
        if let Some(twin) = state.twins.get(&alarm.twin) {
            alarm.asset.clone_from(&twin.asset);
        }
    }
    Ok(Json(page))
}

pub(crate) async fn acknowledge(
    State(api): State<Api>,
    caller: Caller,
    alarm: AlarmRef,
    Body(request): Body<AcknowledgeRequest>,
) -> Result<Response, ApiError> {
    let act = AlarmAct::Acknowledge { raised_us: request.raised_us };
    ask(api, caller, alarm, act, request.comment).await
}

pub(crate) async fn shelve(
    State(api): State<Api>,
    caller: Caller,
    alarm: AlarmRef,
    Body(request): Body<ShelveRequest>,
) -> Result<Response, ApiError> {
    if !(1..=LONGEST_SHELF_MS).contains(&request.duration_ms) {
        return Err(ApiError::invalid(format!("`duration_ms` is 1 to {LONGEST_SHELF_MS} (7 days)")));
    }
    let act = AlarmAct::Shelve { duration_ms: request.duration_ms };
    ask(api, caller, alarm, act, request.comment).await
}

pub(crate) async fn unshelve(
    State(api): State<Api>,
    caller: Caller,
    alarm: AlarmRef,
    Body(request): Body<UnshelveRequest>,
) -> Result<Response, ApiError> {
    ask(api, caller, alarm, AlarmAct::Unshelve, request.comment).await
}

/// Puts it on record and hands it to the live session. The answer is the alarm as it was; the change comes over the
/// live channel.
async fn ask(
    api: Api,
    caller: Caller,
    AlarmRef(alarm): AlarmRef,
    act: AlarmAct,
    comment: String,
) -> Result<Response, ApiError> {
    check_reason(&comment)?;
    let gateway = {
        let state = api.world.read();
        let twin = state.twins.get(&alarm.twin);
        twin.and_then(|t| t.binding.as_ref()).map(|(gateway, _)| gateway.clone())
    };
    let Some(gateway) = gateway else {
        return Err(ApiError::new(Code::Conflict, "the alarm's twin has no device now"));
    };
    let key = api.gateway_key(gateway);
    if api.downlink.session_us(&key).is_none() {
        let detail = format!("gateway {key} has no live session: nobody there would hear it");
        return Err(ApiError::new(Code::GatewayOffline, detail));
    }
    let what = match act {
        AlarmAct::Acknowledge { .. } => "acknowledge".to_owned(),
        AlarmAct::Comment => "comment".to_owned(),
        AlarmAct::Shelve { duration_ms } => format!("shelve for {} s", duration_ms / 1000),
        AlarmAct::ShelveOnce => "shelve until it clears".to_owned(),
        AlarmAct::Unshelve => "unshelve".to_owned(),
    };
    let because = if comment.is_empty() { String::new() } else { format!(": {comment}") };
    let entry = LogEntry {
        at_us: api.clock.now_us(),
        actor: caller.access.name.clone(),
        action: action::ALARM_ASKED.to_owned(),
        target: format!("{}/{}", alarm.asset, alarm.point),
        twin: Some(alarm.twin),
        severity: Severity::Info,
        code: None,
        detail: format!("{what} {}{because}", alarm.name),
    };
    let order = AlarmOrder { id: alarm.id, twin: alarm.twin, act, requester: caller.requester(), comment };
    // In a task of its own: a client that goes away must not leave it on record and undone.
    let asked = tokio::spawn(async move {
        api.storage.append_audit(&entry).await?;
        let sent = api.downlink.alarm(&key, order).await;
        sent.map_err(|e| ApiError::new(crate::commands::code_of(&e), e.to_string()))
    });
    asked.await.map_err(|_| ApiError::new(Code::Internal, "it was not asked"))??;
    Ok((StatusCode::ACCEPTED, Json(alarm)).into_response())
}
