//! Blocks of waveforms: which there are, and one of them, whole or as its extremes.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::api::{WaveformBlock, WaveformItem, WaveformList};
use common::clock::parse_us;
use common::names::Code;
use common::wire::Waveform;
use serde::Deserialize;

use crate::context::Api;
use crate::error::ApiError;
use crate::guard::TwinRef;
use crate::request::Params;

/// Blocks if nothing is said.
const DEFAULT_LIMIT: usize = 100;
/// Most blocks of a list.
pub(crate) const MOST_BLOCKS: usize = 1_000;
/// Most rows of a block in JSON.
pub(crate) const MOST_ROWS: usize = 1_000_000;

#[derive(Deserialize)]
pub(crate) struct Range {
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
}

/// How a block is written.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    /// little-endian doubles
    Binary,
}

#[derive(Deserialize)]
pub(crate) struct How {
    max_points: Option<usize>,
    #[serde(default)]
    format: Format,
}

pub(crate) async fn list(
    State(api): State<Api>,
    twin: TwinRef,
    Path((_, point)): Path<(String, String)>,
    Params(range): Params<Range>,
) -> Result<Json<WaveformList>, ApiError> {
    let now_us = api.clock.now_us();
    let time = |name: &str, text: Option<&str>, default: &str| {
        parse_us(text.unwrap_or(default), now_us).map_err(|e| ApiError::invalid(format!("`{name}`: {e}")))
    };
    let from_us = time("from", range.from.as_deref(), "-1h")?;
    let to_us = time("to", range.to.as_deref(), "now")?;
    if from_us >= to_us {
        return Err(ApiError::invalid("`from` must lie before `to`"));
    }
    let limit = range.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MOST_BLOCKS).contains(&limit) {
        return Err(ApiError::invalid(format!("`limit` is 1 to {MOST_BLOCKS}")));
    }
    let unit = unit(&api, &twin, &point)?;
    let mut found = api.storage.waveforms(twin.id, &point, from_us, to_us, limit + 1).await?;
    let next_us = found.get(limit).map(|w| w.t0_us);
    found.truncate(limit);
    let item = |w: cloud_core::history::WaveformEntry| WaveformItem {
        t0_us: w.t0_us,
        rate_hz: rate_hz(w.dt_ps),
        total: w.total,
        stored: w.stored,
        bytes: w.bytes,
    };
    let items = found.into_iter().map(item).collect();
    Ok(Json(WaveformList { twin: twin.asset, point, unit, items, next_us }))
}

pub(crate) async fn get(
    State(api): State<Api>,
    twin: TwinRef,
    Path((_, point, t0)): Path<(String, String, String)>,
    Params(how): Params<How>,
) -> Result<Response, ApiError> {
    let t0_us =
        parse_us(&t0, api.clock.now_us()).map_err(|e| ApiError::invalid(format!("the block's time: {e}")))?;
    let unit = unit(&api, &twin, &point)?;
    let parts = api.storage.waveform(twin.id, &point, t0_us).await?;
    let Some(first) = parts.first() else {
        let what = format!("{} has no waveform of `{point}` that begins then", twin.asset);
        return Err(ApiError::new(Code::NotFound, what));
    };
    let values = joined(&parts);
    if how.format == Format::Binary {
        if how.max_points.is_some() {
            return Err(ApiError::invalid("`max_points` is for `format=json`: binary has every value"));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.unwrap_or(f64::NAN).to_le_bytes()).collect();
        return Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response());
    }
    let max_points = how.max_points.unwrap_or(MOST_ROWS);
    if !(1..=MOST_ROWS).contains(&max_points) {
        return Err(ApiError::invalid(format!("`max_points` is 1 to {MOST_ROWS}")));
    }
    let step = values.len().div_ceil(max_points).max(1);
    let extremes = |of: fn(f64, f64) -> f64| -> Vec<Option<f64>> {
        if step == 1 {
            return Vec::new();
        }
        values.chunks(step).map(|row| row.iter().flatten().copied().reduce(of)).collect()
    };
    let block = WaveformBlock {
        twin: twin.asset,
        point,
        unit,
        t0_us,
        received_us: first.received_us,
        rate_hz: rate_hz(first.dt_ps),
        quality: first.quality,
        value_type: first.values.type_name().to_owned(),
        total: values.len() as u64,
        stored: values.iter().flatten().count() as u64,
        step: step as u64,
        min: extremes(f64::min),
        max: extremes(f64::max),
        values: if step == 1 { values } else { Vec::new() },
    };
    Ok(Json(block).into_response())
}

fn unit(api: &Api, twin: &TwinRef, point: &str) -> Result<String, ApiError> {
    let state = api.world.read();
    let schema = state.twins.get(&twin.id).and_then(|t| t.point(point)).map(|p| &p.schema);
    schema.map(|s| s.unit.clone()).ok_or_else(|| {
        ApiError::new(Code::UnknownPoint, format!("the twin {} has no such point", twin.asset))
    })
}

#[allow(clippy::cast_precision_loss)] // a rate of six digits and more
fn rate_hz(dt_ps: u64) -> f64 {
    1e12 / dt_ps.max(1) as f64
}

/// Values of a block in engineering units, from the parts that are there.
fn joined(parts: &[Waveform]) -> Vec<Option<f64>> {
    let total = parts.iter().map(|p| p.total).max().unwrap_or(0);
    let mut all = vec![None; total as usize];
    for part in parts {
        let places = all.iter_mut().skip(part.first as usize);
        for (place, raw) in places.zip(part.values.iter()) {
            // As samples of the point are scaled.
            *place = Some(raw.mul_add(part.scale, part.offset)).filter(|x| x.is_finite());
        }
    }
    all
}
