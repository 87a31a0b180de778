//! A point's history.

use axum::Json;
use axum::extract::{Path, State};
use cloud_core::align::Knot;
use cloud_core::history::{Spans, StoredPoint};
use common::PointSchema;
use common::api::{GapReason, HistoryGap, HistoryResponse, HistorySample, Page, PastPoint, Resolution};
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
pub(crate) struct Query {
    from: Option<String>,
    to: Option<String>,
    max_points: Option<usize>,
    #[serde(default)]
    times: bool,
}

pub(crate) async fn get(
    State(api): State<Api>,
    twin: TwinRef,
    Path((_, point)): Path<(String, String)>,
    Params(query): Params<Query>,
) -> Result<Json<HistoryResponse>, ApiError> {
    let now_us = api.clock.now_us();
    let (from_us, to_us) = range(now_us, query.from.as_deref(), query.to.as_deref())?;
    let max_points = query.max_points.unwrap_or(DEFAULT_POINTS);
    if !(1..=MOST_POINTS).contains(&max_points) {
        return Err(ApiError::invalid(format!("`max_points` is 1 to {MOST_POINTS}")));
    }
    let Known { unit, online } = known(&api, &twin, &point).await?;
    let mut history = api.storage.history(twin.id, &point, from_us, to_us, max_points).await?;
    until_now(&mut history.gaps, history.heard_us.filter(|_| !online), (from_us, to_us), now_us);
    let mut times = None;
    if query.times {
        let (starts_us, width_us) = match history.resolution {
            Resolution::Raw => (Vec::new(), 1),
            Resolution::Rollup { bucket_us } => (history.points.iter().map(|p| p.t_us).collect(), bucket_us),
        };
        let spans = Spans { from_us, to_us, starts_us, width_us, now_us, online };
        let found = api.storage.durations(twin.id, &point, spans).await?;
        for (row, of) in history.points.iter_mut().zip(found.rows) {
            row.times = Some(of.times);
            (row.first_sample, row.last_sample) = (of.first.map(sample), of.last.map(sample));
        }
        times = Some(found.total);
    }
    Ok(Json(HistoryResponse {
        twin: twin.asset,
        point,
        unit,
        from_us,
        to_us,
        resolution: history.resolution,
        points: history.points,
        gaps: history.gaps,
        times,
    }))
}

fn sample(knot: Knot) -> HistorySample {
    HistorySample { t_us: knot.t_us, value: knot.value, quality: knot.quality }
}

/// The range of a request.
pub(crate) fn range(now_us: i64, from: Option<&str>, to: Option<&str>) -> Result<(i64, i64), ApiError> {
    let time = |name: &str, text: &str| {
        parse_us(text, now_us).map_err(|e| ApiError::invalid(format!("`{name}`: {e}")))
    };
    let (from_us, to_us) = (time("from", from.unwrap_or("-1h"))?, time("to", to.unwrap_or("now"))?);
    if from_us >= to_us {
        return Err(ApiError::invalid("`from` must lie before `to`"));
    }
    Ok((from_us, to_us))
}

/// What is known of a point beside its history.
pub(crate) struct Known {
    pub(crate) unit: String,
    /// Whether what feeds its twin is connected.
    pub(crate) online: bool,
}

/// A point that the configuration has, or that has a history from when it did.
pub(crate) async fn known(api: &Api, twin: &TwinRef, point: &str) -> Result<Known, ApiError> {
    let current = |online: bool, schema: &PointSchema| Known { unit: schema.unit.clone(), online };
    let (online, known) = {
        let state = api.world.read();
        let of = state.twins.get(&twin.id);
        let online = of.is_some_and(|t| t.online);
        (online, of.and_then(|t| t.point(point)).map(|p| current(online, &p.schema)))
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let stored = api.storage.stored_point(twin.id, point).await?;
    stored.map(|s| Known { unit: s.unit, online }).ok_or_else(|| {
        let detail = format!(
            "the twin {} has no point `{point}`, and had none that is stored: `twinway history past` lists those that it had",
            twin.asset
        );
        ApiError::new(Code::UnknownPoint, detail)
    })
}

/// Points of a twin that have a history and are no longer in its configuration.
pub(crate) async fn past(State(api): State<Api>, twin: TwinRef) -> Result<Json<Page<PastPoint>>, ApiError> {
    let mut stored = api.storage.stored_points(twin.id).await?;
    {
        let state = api.world.read();
        let of = state.twins.get(&twin.id);
        stored.retain(|s| of.and_then(|t| t.point(&s.point)).is_none());
    }
    let view = |s: StoredPoint| PastPoint { point: s.point, unit: s.unit, value_type: s.value_type };
    Ok(Json(Page { items: stored.into_iter().map(view).collect(), next_cursor: None }))
}

/// Gaps end now, and a gateway that is away has told nothing since its last word: `heard_us`, if it is away.
fn until_now(gaps: &mut Vec<HistoryGap>, heard_us: Option<i64>, (from_us, to_us): (i64, i64), now_us: i64) {
    let end = to_us.min(now_us);
    gaps.retain(|g| g.from_us < end);
    gaps.iter_mut().for_each(|g| g.to_us = g.to_us.min(end));
    if let Some(heard) = heard_us.map(|t| t.max(from_us)).filter(|t| *t < end) {
        gaps.push(HistoryGap::new(heard, end, GapReason::GatewayOffline));
        gaps.sort_by_key(|g| (g.from_us, g.to_us));
    }
}
