//! Routes of commands and desired values.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::api::{CommandRequest, CommandView, DesiredPatch, Page};
use common::names::Code;
use serde::Deserialize;

use super::desired::changed;
use super::order::{LONGEST_TTL_MS, NewCommand};
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::{Caller, CommandRef, TwinRef};
use crate::request::{
    Body, MergePatch, Paging, Params, check_reason, cursor_error, idempotency_key, if_match,
};
use crate::twins::tagged;

/// Longest wait for a command, ms.
pub(crate) const LONGEST_WAIT_MS: u64 = 30_000;

pub(crate) async fn send(
    State(api): State<Api>,
    caller: Caller,
    twin: TwinRef,
    headers: HeaderMap,
    Body(request): Body<CommandRequest>,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?;
    check_reason(&request.reason)?;
    if !(1..=LONGEST_TTL_MS).contains(&request.ttl_ms) {
        return Err(ApiError::invalid(format!("`ttl_ms` is 1 to {LONGEST_TTL_MS}")));
    }
    let new = NewCommand { twin: twin.id, request, key, requester: caller.requester() };
    // In a task of its own: a client that goes away must not leave a command half way.
    let commands = api.commands.clone();
    let task = tokio::spawn(async move { commands.create(new).await });
    let view = task.await.map_err(|_| ApiError::new(Code::Internal, "the command was not taken"))??;
    let location = [(header::LOCATION, format!("/api/v1/commands/{}", view.id))];
    Ok((StatusCode::ACCEPTED, location, Json(view)).into_response())
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<CommandView>>, ApiError> {
    let twins = caller.twins(&api);
    let page = api.storage.commands(twins.as_deref(), paging.cursor.as_deref(), paging.rows()?).await;
    let mut page = page.map_err(cursor_error)?;
    page.items = page.items.into_iter().map(|view| api.commands.shown(view)).collect();
    Ok(Json(page))
}

#[derive(Deserialize)]
pub(crate) struct Wait {
    wait_ms: Option<u64>,
}

pub(crate) async fn get(
    State(api): State<Api>,
    CommandRef(command): CommandRef,
    Params(wait): Params<Wait>,
) -> Result<Json<CommandView>, ApiError> {
    let wait_ms = wait.wait_ms.unwrap_or(0);
    if wait_ms > LONGEST_WAIT_MS {
        return Err(ApiError::invalid(format!("`wait_ms` is 0 to {LONGEST_WAIT_MS}")));
    }
    let command = api.commands.shown(command);
    let now = command.clone();
    tokio::select! {
        view = api.commands.wait(command, Duration::from_millis(wait_ms)) => view.map(Json),
        () = api.drain.started() => Ok(Json(now)),
    }
}

pub(crate) async fn patch_desired(
    State(api): State<Api>,
    caller: Caller,
    twin: TwinRef,
    headers: HeaderMap,
    MergePatch(patch): MergePatch<DesiredPatch>,
) -> Result<Response, ApiError> {
    let version = api.world.read().twins.get(&twin.id).map_or(0, |t| t.desired_version);
    if !if_match(&headers, version)? {
        return Err(changed());
    }
    let commands = api.commands.clone();
    let requester = caller.requester();
    let task = tokio::spawn(async move { commands.patch_desired(twin.id, version, patch, requester).await });
    task.await.map_err(|_| ApiError::new(Code::Internal, "the change was not taken"))??;
    tagged(&api, twin.id)
}
