//! Blocks of waveforms: which there are, and one of them, whole or as its extremes.

use std::sync::Arc;

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
use crate::history::known;
use crate::paced;
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
    let unit = known(&api, &twin, &point).await?.unit;
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
    if how.format == Format::Binary && how.max_points.is_some() {
        return Err(ApiError::invalid("`max_points` is for `format=json`: binary has every value"));
    }
    let max_points = how.max_points.unwrap_or(MOST_ROWS);
    if !(1..=MOST_ROWS).contains(&max_points) {
        return Err(ApiError::invalid(format!("`max_points` is 1 to {MOST_ROWS}")));
    }
    let unit = known(&api, &twin, &point).await?.unit;
    let ended = |_| ApiError::new(Code::Unavailable, "the service is stopping");
    let turn = Arc::clone(&api.blocks).acquire_owned().await.map_err(ended)?;
    let parts = api.storage.waveform(twin.id, &point, t0_us).await?;
    if parts.is_empty() {
        let what = format!("{} has no waveform of `{point}` that begins then", twin.asset);
        return Err(ApiError::new(Code::NotFound, what));
    }
    // Millions of values take their time: not on a thread that others wait for.
    let write = move || match how.format {
        Format::Binary => Ok(joined(&parts).into_iter().flat_map(f64::to_le_bytes).collect()),
        Format::Json => serde_json::to_vec(&block((twin.asset, point, unit), &parts, max_points)),
    };
    let interrupted = |_| ApiError::new(Code::Unavailable, "interrupted");
    let bytes: Vec<u8> = tokio::task::spawn_blocking(write)
        .await
        .map_err(interrupted)?
        .map_err(|e| ApiError::new(Code::Internal, e.to_string()))?;
    let kind = match how.format {
        Format::Binary => "application/octet-stream",
        Format::Json => "application/json",
    };
    let headers =
        [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_LENGTH, bytes.len().to_string())];
    // It takes its room until the client has it: others wait so long.
    Ok((headers, paced::whole(bytes, turn)).into_response())
}

/// A block of these parts, of which there is one at least.
fn block(
    (twin, point, unit): (String, String, String),
    parts: &[Waveform],
    max_points: usize,
) -> Option<WaveformBlock> {
    let first = parts.first()?;
    let values = joined(parts);
    let step = values.len().div_ceil(max_points).max(1);
    let (total, stored) = (values.len() as u64, values.iter().filter(|x| !x.is_nan()).count() as u64);
    let there = |x: f64| Some(x).filter(|x| !x.is_nan());
    let extremes = |of: fn(f64, f64) -> f64| -> Vec<Option<f64>> {
        if step == 1 {
            return Vec::new();
        }
        // Either takes the number where the other is none.
        values.chunks(step).map(|row| row.iter().copied().reduce(of).and_then(there)).collect()
    };
    Some(WaveformBlock {
        twin,
        point,
        unit,
        t0_us: first.t0_us,
        received_us: first.received_us,
        rate_hz: rate_hz(first.dt_ps),
        quality: first.quality,
        value_type: first.values.type_name().to_owned(),
        total,
        stored,
        step: step as u64,
        min: extremes(f64::min),
        max: extremes(f64::max),
        values: if step == 1 { values.into_iter().map(there).collect() } else { Vec::new() },
    })
}

#[allow(clippy::cast_precision_loss)] // a rate of six digits and more
fn rate_hz(dt_ps: u64) -> f64 {
    1e12 / dt_ps.max(1) as f64
}

/// Values of a part in engineering units, as samples of the point are scaled; none of what is beyond all numbers.
pub(crate) fn scaled(part: &Waveform) -> impl Iterator<Item = Option<f64>> + '_ {
    part.values.iter().map(|raw| Some(raw.mul_add(part.scale, part.offset)).filter(|x| x.is_finite()))
}

/// Values of a block in engineering units, from the parts that are there; NaN where there is none.
fn joined(parts: &[Waveform]) -> Vec<f64> {
    let total = parts.iter().map(|p| p.total).max().unwrap_or(0);
    let mut all = vec![f64::NAN; total as usize];
    for part in parts {
        let places = all.iter_mut().skip(part.first as usize);
        for (place, value) in places.zip(scaled(part)) {
            *place = value.unwrap_or(f64::NAN);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use common::wire::WaveValues;
    use common::{PointId, Quality};

    use super::*;

    fn part(first: u32, values: &[f64]) -> Waveform {
        Waveform {
            point: PointId(0),
            quality: Quality::GOOD,
            t0_us: 5,
            received_us: 6,
            dt_ps: 1_000_000_000,
            first,
            total: 8,
            scale: 2.0,
            offset: 1.0,
            values: WaveValues::F64(values.to_vec()),
        }
    }

    #[test]
    fn what_is_not_stored_or_no_number_is_none_and_no_extreme() {
        let parts = [part(0, &[1.0, -1.0]), part(5, &[3.0, f64::MAX, 2.0])];
        let of = |max_points| block(Default::default(), &parts, max_points).unwrap();
        let whole = of(8);
        let values = [Some(3.0), Some(-1.0), None, None, None, Some(7.0), None, Some(5.0)];
        assert_eq!((whole.total, whole.stored, whole.step, whole.rate_hz), (8, 4, 1, 1000.0));
        assert_eq!((&whole.values[..], whole.min.len()), (&values[..], 0));
        let rows = of(4);
        assert_eq!((rows.step, rows.values.len()), (2, 0));
        assert_eq!(rows.min, [Some(-1.0), None, Some(7.0), Some(5.0)]);
        assert_eq!(rows.max, [Some(3.0), None, Some(7.0), Some(5.0)]);
    }
}
