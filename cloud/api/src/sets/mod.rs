//! Histories of several points: aligned to a grid, and exported; and the deletion of a part of one.

mod aligned;
mod csv;
mod export;
mod parquet;

pub(crate) use aligned::aligned;
pub(crate) use export::export;

use axum::Json;
use axum::extract::{Path, State};
use common::TwinId;
use common::api::{HistoryDeleted, PointRef};
use common::clock::format_us;
use common::command::{LogEntry, Severity};
use common::names::action;
use serde::Deserialize;

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::{Caller, TwinRef, find_twin};
use crate::history::{Known, known, range};
use crate::request::{Params, check_reason};

/// Most points of a set.
const MOST_POINTS: usize = 1_000;

/// A point that was found.
struct Found {
    twin: TwinId,
    asset: String,
    point: String,
    unit: String,
    online: bool,
}

/// The points of a request, each seen by the caller.
async fn find(api: &Api, caller: &Caller, points: &[PointRef]) -> Result<Vec<Found>, ApiError> {
    if !(1..=MOST_POINTS).contains(&points.len()) {
        return Err(ApiError::invalid(format!(
            "`points` are 1 to {MOST_POINTS}, these are {}",
            points.len()
        )));
    }
    let mut found = Vec::with_capacity(points.len());
    for p in points {
        let twin = find_twin(api, caller, &p.twin)?;
        let Known { unit, online } = known(api, &twin, &p.point).await?;
        found.push(Found { twin: twin.id, asset: twin.asset, point: p.point.clone(), unit, online });
    }
    Ok(found)
}

#[derive(Deserialize)]
pub(crate) struct DeleteQuery {
    from: String,
    to: String,
    #[serde(default)]
    reason: String,
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    twin: TwinRef,
    Path((_, point)): Path<(String, String)>,
    Params(query): Params<DeleteQuery>,
) -> Result<Json<HistoryDeleted>, ApiError> {
    let now_us = api.clock.now_us();
    let (from_us, to_us) = range(now_us, Some(&query.from), Some(&query.to))?;
    // What is yet to come cannot be deleted: it would be shown as if it had been.
    let to_us = to_us.min(now_us);
    if from_us >= to_us {
        return Err(ApiError::invalid("`from` must lie in the past"));
    }
    check_reason(&query.reason)?;
    known(&api, &twin, &point).await?;
    let because =
        if query.reason.is_empty() { String::new() } else { format!(", because: {}", query.reason) };
    let audit = LogEntry {
        at_us: now_us,
        actor: caller.access.name.clone(),
        action: action::HISTORY_DELETED.into(),
        target: format!("{}/{point}", twin.asset),
        twin: Some(twin.id),
        severity: Severity::Warning,
        code: None,
        detail: format!("from {} to {}{because}", format_us(from_us), format_us(to_us)),
    };
    let samples = api.storage.delete_history(twin.id, &point, from_us, to_us, &audit).await?;
    Ok(Json(HistoryDeleted { samples }))
}
