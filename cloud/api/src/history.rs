//! A point's history.

use axum::Json;
use axum::extract::{Path, State};
use common::api::{GapReason, HistoryGap, HistoryResponse};
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
    let (unit, online) = {
        let state = api.world.read();
        let of = state.twins.get(&twin.id);
        let schema = of.and_then(|t| t.point(&point)).map(|p| &p.schema);
        let unit = schema.map(|s| s.unit.clone()).ok_or_else(|| {
            ApiError::new(Code::UnknownPoint, format!("the twin {} has no such point", twin.asset))
        })?;
        (unit, of.is_some_and(|t| t.online))
    };
    let mut history = api.storage.history(twin.id, &point, from_us, to_us, max_points).await?;
    until_now(&mut history.gaps, history.heard_us.filter(|_| !online), (from_us, to_us), now_us);
    Ok(Json(HistoryResponse {
        twin: twin.asset,
        point,
        unit,
        from_us,
        to_us,
        resolution: history.resolution,
        points: history.points,
        gaps: history.gaps,
    }))
}

/// Gaps end now, and a gateway that is away has told nothing since its last word: `heard_us`, if it is away.
fn until_now(gaps: &mut Vec<HistoryGap>, heard_us: Option<i64>, (from_us, to_us): (i64, i64), now_us: i64) {
    let end = to_us.min(now_us);
    gaps.retain(|g| g.from_us < end);
    gaps.iter_mut().for_each(|g| g.to_us = g.to_us.min(end));
    if let Some(heard) = heard_us.map(|t| t.max(from_us)).filter(|t| *t < end) {
        let cause = GapReason::GatewayOffline;
        gaps.push(HistoryGap {
            from_us: heard,
            to_us: end,
            cause,
            quality: None,
            count: None,
            partial: false,
        });
        gaps.sort_by_key(|g| (g.from_us, g.to_us));
    }
}
