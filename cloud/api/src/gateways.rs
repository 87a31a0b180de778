//! Gateways: how they fare, and what they sign in with.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use common::api::{GatewayCredential, GatewayRequest, GatewayView, Page};
use common::command::Severity;
use common::names::action;

use crate::auth::token;
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;
use crate::request::{Body, Paging, Params, cursor};

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
    let again = api.storage.gateway_secret(&key).await?.is_some();
    let detail = if again { "a new secret replaces the old one" } else { "its first secret" };
    api.audit(
        &caller.access.name,
        action::GATEWAY_CREDENTIAL,
        key.gateway.to_string(),
        Severity::Warning,
        detail.to_owned(),
    )
    .await?;
    api.storage.set_gateway_secret(&key, &hash, api.clock.now_us()).await?;
    api.downlink.end_session(&key);
    Ok((StatusCode::CREATED, Json(GatewayCredential { gateway: key.gateway, secret })))
}
