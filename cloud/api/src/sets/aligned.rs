//! Points aligned to a grid.

use axum::Json;
use axum::extract::State;
use cloud_core::align::Grid;
use cloud_core::history::AlignedPoint;
use common::Value;
use common::api::{AlignedColumn, AlignedRequest, AlignedResponse};
use common::names::Code;

use super::{Found, find};
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;
use crate::history::range;
use crate::request::Body;

/// Most cells of an answer.
const MOST_CELLS: usize = 1_000_000;
/// Most bytes of texts in it.
const MOST_TEXT: usize = 16 << 20;

/// Bytes of a cell's text.
fn size(cell: &Option<Value>) -> usize {
    match cell {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        _ => 0,
    }
}

pub(crate) async fn aligned(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<AlignedRequest>,
) -> Result<Json<AlignedResponse>, ApiError> {
    let found = find(&api, &caller, &request.points).await?;
    let now_us = api.clock.now_us();
    let (from_us, to_us) = range(now_us, request.from.as_deref(), request.to.as_deref())?;
    let step_us =
        i64::try_from(request.step_ms).ok().and_then(|ms| ms.checked_mul(1_000)).filter(|us| *us > 0);
    let step_us = step_us.ok_or_else(|| ApiError::invalid("`step_ms` is at least 1"))?;
    let grid = Grid::within(from_us, to_us, step_us);
    if grid.rows.saturating_mul(found.len()) > MOST_CELLS {
        return Err(ApiError::invalid(format!(
            "{} rows of {} points are more than {MOST_CELLS} cells: ask for fewer points, a shorter range or a larger \
             `step_ms`",
            grid.rows,
            found.len()
        )));
    }
    let point = |f: &Found| AlignedPoint { twin: f.twin, point: f.point.clone(), online: f.online };
    let points: Vec<_> = found.iter().map(point).collect();
    let columns = api.storage.aligned(&points, grid, request.method, now_us).await?;
    // A text that holds for a thousand rows is sent a thousand times.
    if columns.iter().flat_map(|c| &c.values).map(size).sum::<usize>() > MOST_TEXT {
        return Err(ApiError::new(
            Code::TooLarge,
            format!(
                "the cells are texts of more than {} MiB: ask for fewer points, a shorter range or a larger `step_ms`",
                MOST_TEXT >> 20
            ),
        ));
    }
    let column = |(f, c): (Found, cloud_core::align::Column)| AlignedColumn {
        twin: f.asset,
        point: f.point,
        unit: f.unit,
        values: c.values,
        quality: c.quality,
    };
    Ok(Json(AlignedResponse {
        from_us: grid.from_us,
        step_us,
        rows: grid.rows,
        columns: found.into_iter().zip(columns).map(column).collect(),
    }))
}
