//! A point's history.

use axum::Json;
use axum::extract::{Path, State};
use common::api::HistoryResponse;
use common::clock::parse_us;
use common::names::Code;
use serde::Deserialize;

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::TwinRef;
use crate::request::Params;

/// Rows if none are asked for.
const DEFAULT_POINTS: usize = 1_000;
/// Most rows.
pub(crate) const MOST_POINTS: usize = 10_000;

#[derive(Deserialize)]
pub(crate) struct Range {
    from: Option<String>,
    to: Option<String>,
    max_points: Option<usize>,
}

pub(crate) async fn get(
    State(api): State<Api>,
    twin: TwinRef,
    Path((_, point)): Path<(String, String)>,
    Params(range): Params<Range>,
) -> Result<Json<HistoryResponse>, ApiError> {
    let now_us = api.clock.now_us();
    let time = |name: &str, text: Option<&str>, default: &str| {
        parse_us(text.unwrap_or(default), now_us).map_err(|e| ApiError::invalid(format!("`{name}`: {e}")))
    };
    let from_us = time("from", range.from.as_deref(), "-1h")?;
    let to_us = time("to", range.to.as_deref(), "now")?;
    if from_us >= to_us {
        return Err(ApiError::invalid("`from` must lie before `to`"));
    }
    let max_points = range.max_points.unwrap_or(DEFAULT_POINTS);
    if !(1..=MOST_POINTS).contains(&max_points) {
        return Err(ApiError::invalid(format!("`max_points` is 1 to {MOST_POINTS}")));
    }
    let unit = {
        let state = api.world.read();
        let schema = state.twins.get(&twin.id).and_then(|t| t.point(&point)).map(|p| &p.schema);
        schema.map(|s| s.unit.clone()).ok_or_else(|| {
            ApiError::new(Code::UnknownPoint, format!("the twin {} has no such point", twin.asset))
        })?
    };
    let history = api.storage.history(twin.id, &point, from_us, to_us, max_points).await?;
    Ok(Json(HistoryResponse {
        twin: twin.asset,
        point,
        unit,
        from_us,
        to_us,
        resolution: history.resolution,
        points: history.points,
    }))
}
