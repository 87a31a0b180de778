//! A point's history from the buffer: raw samples where they fit, buckets where they do not.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use common::api::{HistoryPoint, HistoryResponse, Problem, Resolution};
use common::clock::parse_us;
use common::gaps::of_rows;
use common::names::Code;
use common::{Quality, Sample};
use serde::Deserialize;

use super::twins::twin;
use super::{Api, invalid, query};

const DEFAULT_POINTS: usize = 1000;
const MOST_POINTS: usize = 10_000;
/// Samples read for one answer; of more, the newest.
const MOST_SAMPLES: usize = 200_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    from: Option<String>,
    to: Option<String>,
    max_points: Option<usize>,
}

pub(super) async fn history(
    State(api): State<Api>,
    Path((name, point)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<HistoryResponse>, Problem> {
    let q: HistoryQuery = query(&uri)?;
    let now_us = api.vitals.clock.now_us();
    let from_us = parse_us(q.from.as_deref().unwrap_or("-1h"), now_us).map_err(invalid)?;
    let to_us = parse_us(q.to.as_deref().unwrap_or("now"), now_us).map_err(invalid)?;
    let max_points = q.max_points.unwrap_or(DEFAULT_POINTS);
    if !(1..=MOST_POINTS).contains(&max_points) {
        return Err(invalid(format!("max_points = {max_points} is not within 1 to {MOST_POINTS}")));
    }
    if from_us > to_us {
        return Err(invalid("from is later than to"));
    }
    let registry = api.points.now();
    let device = twin(&registry, &name)?;
    let known = registry.find_in_twin(device.twin, &point).ok_or_else(|| {
        Problem::new(Code::UnknownPoint, format!("{} has no point `{point}`", device.asset))
    })?;
    let (log, id) = (api.vitals.log.clone(), known.id);
    let read = tokio::task::spawn_blocking(move || log.store().history(&[id], from_us, to_us, MOST_SAMPLES));
    let samples = read.await.map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
    let (resolution, points, last) = rows(&samples, from_us, to_us, max_points);
    let gaps = of_rows(&points, &last, resolution, None, (from_us, to_us.min(now_us)));
    let (twin, unit) = (device.asset.clone(), known.schema.unit.clone());
    Ok(Json(HistoryResponse { twin, point, unit, from_us, to_us, resolution, points, gaps, times: None }))
}

/// Every sample, or one row for each bucket that holds samples; and of those the quality that each ends with. `samples` are
/// in order of time.
fn rows(
    samples: &[Sample],
    from_us: i64,
    to_us: i64,
    max: usize,
) -> (Resolution, Vec<HistoryPoint>, Vec<Option<Quality>>) {
    if samples.len() <= max {
        return (Resolution::Raw, samples.iter().map(raw).collect(), Vec::new());
    }
    let span = to_us.saturating_sub(from_us).saturating_add(1).max(1);
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let bucket_us = (span / max + i64::from(span % max != 0)).max(1);
    let bucket = |s: &Sample| s.source_us.saturating_sub(from_us) / bucket_us;
    let rows = samples.chunk_by(|a, b| bucket(a) == bucket(b));
    let start = |s: &Sample| from_us.saturating_add(bucket(s).saturating_mul(bucket_us));
    let one = |b: &[Sample]| Some((rolled(b, start(b.first()?)), b.last().map(|s| s.quality)));
    let (points, last) = rows.filter_map(one).unzip();
    (Resolution::Rollup { bucket_us }, points, last)
}

fn raw(s: &Sample) -> HistoryPoint {
    HistoryPoint::raw(s.source_us, s.value.clone().filter(|_| !s.quality.is_bad()), s.quality)
}

#[allow(clippy::cast_precision_loss)] // counts are far below 2^53
fn rolled(bucket: &[Sample], t_us: i64) -> HistoryPoint {
    let good: Vec<&Sample> = bucket.iter().filter(|s| s.quality.has_good_value()).collect();
    let numbers: Vec<f64> = good.iter().filter_map(|s| s.value.as_ref()?.as_f64()).collect();
    let worst = bucket.iter().map(|s| s.quality).max_by_key(|q| q.class()).unwrap_or(Quality::BAD_NO_DATA);
    HistoryPoint {
        first: good.first().and_then(|s| s.value.clone()),
        min: numbers.iter().copied().reduce(f64::min),
        max: numbers.iter().copied().reduce(f64::max),
        mean: (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64),
        count: bucket.len() as u64,
        good: good.len() as u64,
        ..HistoryPoint::raw(t_us, good.last().and_then(|s| s.value.clone()), worst)
    }
}

#[cfg(test)]
mod tests {
    use common::{PointId, Value};

    use super::*;

    fn samples(n: i64) -> Vec<Sample> {
        let one = |t: i64| Sample {
            point: PointId(0),
            value: Some(Value::I64(t)),
            quality: if t % 10 == 9 { Quality::BAD_TIMEOUT } else { Quality::GOOD },
            source_us: t,
            received_us: t,
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn few_samples_are_given_as_they_are_and_many_in_buckets_that_lose_none() {
        let (kind, rows_raw, _) = rows(&samples(100), 0, 99, 100);
        assert_eq!((kind, rows_raw.len()), (Resolution::Raw, 100));
        assert_eq!(rows_raw[9].value, None);
        let (kind, buckets, last) = rows(&samples(100), 0, 99, 7);
        assert!(buckets.len() <= 7);
        assert_eq!(kind, Resolution::Rollup { bucket_us: 15 });
        assert_eq!(buckets.iter().map(|b| b.count).sum::<u64>(), 100);
        assert_eq!(buckets.iter().map(|b| b.good).sum::<u64>(), 90);
        assert_eq!(last[..2], [Some(Quality::GOOD), Some(Quality::BAD_TIMEOUT)]);
        let b = &buckets[0];
        assert_eq!((b.t_us, b.min, b.max, b.quality), (0, Some(0.0), Some(14.0), Quality::BAD_TIMEOUT));
        assert_eq!(b.value, Some(Value::I64(14)));
    }

    #[test]
    fn the_widest_range_does_not_overflow() {
        let (_, points, _) = rows(&samples(10), i64::MIN, i64::MAX, 3);
        assert_eq!(points.iter().map(|b| b.count).sum::<u64>(), 10);
    }
}
