//! Twins and the tree that they stand in, as far as the caller's grants reach.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cloud_core::{TwinState, assets};
use common::TwinId;
use common::api::{AssetNode, Page, TwinView};
use common::command::DesiredState;
use serde::Deserialize;

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::{Caller, TwinRef};
use crate::request::{Paging, Params, cursor};

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
    filter: Option<String>,
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<TwinView>>, ApiError> {
    let paging = Paging { cursor: query.cursor, limit: query.limit };
    let (rows, after) = (paging.rows()?, paging.after()?);
    let filter = query.filter.unwrap_or_default().to_lowercase();
    let now_us = api.clock.now_us();
    let state = api.world.read();
    // A twin's name is the last part of its path: one search finds both. Paths are not unique by law,
    // so the id decides among equals.
    let place = |asset: &str, id: TwinId| format!("{asset}\n{id}");
    let mut twins: Vec<_> = state
        .twins
        .values()
        .filter(|t| caller.sees(&t.asset))
        .filter(|t| filter.is_empty() || t.asset.to_lowercase().contains(&filter))
        .map(|t| (place(&t.asset, t.id), t))
        .filter(|(place, _)| after.as_ref().is_none_or(|after| place > after))
        .collect();
    twins.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let next_cursor = twins.get(rows).and_then(|_| twins.get(rows - 1)).map(|(place, _)| cursor(place));
    let items = twins.iter().take(rows).map(|(_, twin)| shown(twin, now_us)).collect();
    Ok(Json(Page { items, next_cursor }))
}

pub(crate) async fn get(State(api): State<Api>, twin: TwinRef) -> Result<Response, ApiError> {
    tagged(&api, twin.id)
}

/// A twin with the version of its desired values as ETag.
pub(crate) fn tagged(api: &Api, id: TwinId) -> Result<Response, ApiError> {
    let now_us = api.clock.now_us();
    let view = api.world.read().twins.get(&id).map(|twin| shown(twin, now_us));
    let view = view.ok_or_else(|| ApiError::not_found("twin"))?;
    let etag = [(header::ETAG, format!("\"{}\"", view.desired_version))];
    Ok((etag, Json(view)).into_response())
}

/// A twin as it is now: a wish whose time is up is expired, whatever became of it before.
fn shown(twin: &TwinState, now_us: i64) -> TwinView {
    let mut view = twin.view();
    for desired in view.points.iter_mut().filter_map(|p| p.desired.as_mut()) {
        if desired.expires_us <= now_us {
            desired.state = DesiredState::Expired;
        }
    }
    view
}

pub(crate) async fn tree(State(api): State<Api>, caller: Caller) -> Json<Page<AssetNode>> {
    let state = api.world.read();
    let seen = state.twins.values().filter(|t| caller.sees(&t.asset));
    let items = assets::tree(seen.map(|t| (t.id, t.asset.as_str())));
    Json(Page { items, next_cursor: None })
}
