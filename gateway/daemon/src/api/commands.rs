//! Commands at the box: given to control, which decides.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use common::CommandId;
use common::api::{CommandRequest, CommandView, Page, Problem};
use common::command::{Origin, Requester};
use common::names::Code;
use gateway_core::Orders;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::auth::Caller;
use super::twins::twin;
use super::{Api, invalid, json, limit, query};

const LONGEST_WAIT_MS: u64 = 30_000;

pub(super) async fn submit(
    State(api): State<Api>,
    Path(name): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let twin = twin(&api.points.now(), &name)?.twin;
    let key = headers.get("idempotency-key").map(|v| v.to_str().unwrap_or_default().to_owned());
    let Some(key) = key else {
        let detail = "expected an Idempotency-Key: the same key again gives the same command";
        return Err(Problem::new(Code::PreconditionRequired, detail));
    };
    let request: CommandRequest = json(&headers, &body)?;
    let requester = Requester { name: caller.name, origin: Origin::Local };
    let update = api.vitals.control.submit(twin, request, requester, key).await;
    let update = update.map_err(|(code, detail)| Problem::new(code, detail))?;
    let view = api.command(update.id)?;
    let location = format!("/api/v1/commands/{}", view.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Page<CommandView>>, Problem> {
    let q: ListQuery = query(&uri)?;
    let limit = limit(q.limit)?;
    let after = q.cursor.map(|c| c.parse::<CommandId>()).transpose();
    let after = after.map_err(|_| invalid("cursor is not one of this list"))?;
    let mut items = api.vitals.control.views(after, limit + 1);
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|v| v.id.to_string());
    Ok(Json(Page { items, next_cursor }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneQuery {
    wait_ms: Option<u64>,
}

pub(super) async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<CommandView>, Problem> {
    let q: OneQuery = query(&uri)?;
    let wait_ms = q.wait_ms.unwrap_or(0);
    if wait_ms > LONGEST_WAIT_MS {
        return Err(invalid(format!("wait_ms = {wait_ms} is not within 0 to {LONGEST_WAIT_MS}")));
    }
    let id = id.parse().map_err(|_| Problem::new(Code::NotFound, format!("there is no command `{id}`")))?;
    // Listened to before the look, so that no step falls between the two.
    let mut updates = api.vitals.control.updates();
    let until = Instant::now() + Duration::from_millis(wait_ms);
    loop {
        let view = api.command(id)?;
        if view.state.is_final() || wait_ms == 0 {
            return Ok(Json(view));
        }
        loop {
            let update = tokio::select! {
                update = timeout_at(until, updates.recv()) => update,
                // Who waits must not keep the gateway from stopping.
                () = api.drain.started() => return Ok(Json(api.command(id)?)),
            };
            match update {
                Ok(Ok(update)) if update.id == id => break,
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(_))) => break,
                Ok(Err(RecvError::Closed)) | Err(_) => return Ok(Json(api.command(id)?)),
            }
        }
    }
}

impl Api {
    fn command(&self, id: CommandId) -> Result<CommandView, Problem> {
        let view = self.vitals.control.view(id);
        view.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no command `{id}`")))
    }
}
