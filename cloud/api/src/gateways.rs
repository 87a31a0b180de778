//! Gateways: how they fare, and what they sign in with.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use cloud_core::{BoxError, GatewayKey};
use common::api::{
    AcceptRequest, GatewayCredential, GatewayRequest, GatewayView, HeldBox, Page, SetAsideList,
};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};

use crate::auth::token;
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;
use crate::request::{Body, Paging, Params, check_reason, cursor, cursor_error};

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<GatewayView>>, ApiError> {
    let (rows, after) = (paging.rows()?, paging.after()?);
    let mut gateways: Vec<_> =
        api.downlink.gateways().into_iter().filter_map(|g| as_seen(&api, &caller, g)).collect();
    gateways.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    gateways.retain(|g| after.as_ref().is_none_or(|after| g.id.as_str() > after.as_str()));
    let more = gateways.len() > rows;
    gateways.truncate(rows);
    let next_cursor = gateways.last().filter(|_| more).map(|g| cursor(g.id.as_str()));
    Ok(Json(Page { items: gateways, next_cursor }))
}

/// A gateway is seen by who sees a twin of it. How it fares names all its devices, so that is for those
/// who see all its twins.
fn as_seen(api: &Api, caller: &Caller, mut gateway: GatewayView) -> Option<GatewayView> {
    if caller.sees_all() {
        return Some(gateway);
    }
    let state = api.world.read();
    let bound = state.twins.values().filter(|t| t.binding.as_ref().is_some_and(|(g, _)| *g == gateway.id));
    let (seen, hidden): (Vec<_>, Vec<_>) = bound.partition(|t| caller.sees(&t.asset));
    if seen.is_empty() {
        return None;
    }
    gateway.twins = u32::try_from(seen.len()).unwrap_or(u32::MAX);
    if !hidden.is_empty() {
        gateway.health = None;
    }
    // Who may not let them in is not told where they come from.
    gateway.held.iter_mut().for_each(|held| held.peer.clear());
    Some(gateway)
}

pub(crate) async fn enrol(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<GatewayRequest>,
) -> Result<(StatusCode, Json<GatewayCredential>), ApiError> {
    let key = api.gateway_key(request.id);
    let (secret, hash) = token::random("")?;
    let _change = api.accounts.lock().await;
    let again = api.storage.gateway_secret(&key).await?.is_some()
        || api.storage.certificates(&key).await?.iter().any(|c| c.revoked_us.is_none());
    let detail = if again { "a new secret, in place of what was good before" } else { "its first secret" };
    api.audit(
        &caller.access.name,
        action::GATEWAY_CREDENTIAL,
        key.gateway.to_string(),
        Severity::Warning,
        detail.to_owned(),
    )
    .await?;
    api.storage.set_gateway_secret(&key, &hash, api.clock.now_us()).await?;
    api.downlink.credential_changed(&key).await?;
    Ok((StatusCode::CREATED, Json(GatewayCredential { gateway: key.gateway, secret })))
}

/// A gateway that was ever seen.
pub(crate) fn known(api: &Api, id: &str) -> Result<GatewayKey, ApiError> {
    let found = api.downlink.gateways().into_iter().find(|g| g.id.as_str() == id);
    Ok(api.gateway_key(found.ok_or_else(|| ApiError::not_found("gateway"))?.id))
}

/// Lets a box in that is held back under a gateway's name.
pub(crate) async fn accept(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<AcceptRequest>,
) -> Result<Json<HeldBox>, ApiError> {
    check_reason(&request.reason)?;
    if request.reason.trim().is_empty() {
        return Err(ApiError::invalid("give a reason: why this box takes the other one's place"));
    }
    let key = known(&api, &id)?;
    let entry = LogEntry {
        at_us: api.clock.now_us(),
        actor: caller.access.name.clone(),
        action: action::GATEWAY_ACCEPTED.into(),
        target: key.gateway.to_string(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: request.reason,
    };
    match api.downlink.accept_box(&key, request.incarnation, entry).await {
        Ok(held) => Ok(Json(held)),
        Err(BoxError::Storage(error)) => Err(error.into()),
        Err(BoxError::Which { held }) => {
            let all: Vec<_> = held.iter().map(|h| format!("{} from {}", h.incarnation, h.peer)).collect();
            let detail = match &all[..] {
                [] => "no box is held back under this name".to_owned(),
                all => format!(
                    "no such box, or more than one: name the incarnation of one of {}",
                    all.join(", ")
                ),
            };
            Err(ApiError::new(Code::Conflict, detail))
        }
    }
}

/// Frames of a gateway that could not be taken.
pub(crate) async fn set_aside(
    State(api): State<Api>,
    _caller: Caller,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<SetAsideList>, ApiError> {
    let key = known(&api, &id)?;
    let page = api.storage.set_aside_page(&key, paging.cursor.as_deref(), paging.rows()?).await;
    let Page { items, next_cursor } = page.map_err(cursor_error)?;
    let removed = api.storage.set_aside_removed(&key).await?;
    let (removed_frames, removed_bytes) = (removed.frames, removed.bytes);
    Ok(Json(SetAsideList { items, next_cursor, removed_frames, removed_bytes }))
}

/// One of them, as it was received.
pub(crate) async fn set_aside_frame(
    State(api): State<Api>,
    _caller: Caller,
    Path((id, frame)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let number = frame.parse().map_err(|_| {
        ApiError::invalid(format!("`{frame}` is no id of a frame: the list of frames set aside has them"))
    })?;
    let key = known(&api, &id)?;
    let bytes = api.storage.set_aside_bytes(&key, number).await?;
    let bytes = bytes.ok_or_else(|| ApiError::not_found("frame set aside"))?;
    let name = format!("attachment; filename=\"{}-{number}.frame\"", key.gateway);
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, bytes).into_response())
}
