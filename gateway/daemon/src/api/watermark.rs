//! `GET /api/v1/watermark`: how far samples are durable on this box, a JSON line at once and one after every
//! advance. For oracles outside of the process: what a line counts survives a power cut, and so must reach the
//! cloud exactly once.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use common::{Incarnation, PointId};
use gateway_core::FrameLog;
use serde::Serialize;

use super::Api;

/// One line.
#[derive(Serialize)]
struct Line {
    /// Incarnation that all of it belongs to.
    incarnation: Incarnation,
    /// Last durable sequence.
    seq: u64,
    /// When it was told, UTC us.
    at_us: i64,
    /// Samples in the frames up to `seq` of this incarnation.
    samples: u64,
    /// By `device/point`, for the points of which more became durable since the line before.
    points: BTreeMap<String, Point>,
}

/// What is durable of a point in this incarnation.
#[derive(Serialize)]
struct Point {
    /// How many samples.
    samples: u64,
    /// Source time of the first, UTC us.
    first_us: i64,
    /// Source time of the last, UTC us.
    last_us: i64,
}

pub(super) async fn stream(State(api): State<Api>) -> Response {
    let lines = futures_util::stream::unfold((api, None), |(api, told)| async move {
        let (line, step) = next(&api, told).await?;
        Some((Ok::<_, std::convert::Infallible>(line), (api, Some(step))))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// The next line and its step; none when the gateway stops. `told` is the step of the line before.
async fn next(api: &Api, told: Option<u64>) -> Option<(Bytes, u64)> {
    let mut steps = api.vitals.log.steps();
    if let Some(told) = told {
        tokio::select! {
            changed = steps.wait_for(|s| *s > told) => { changed.ok()?; }
            () = api.drain.started() => return None,
        }
    }
    let durable = api.vitals.log.durable_samples();
    let advanced = durable.points.iter().enumerate().filter(|(_, p)| p.step > told.unwrap_or(0));
    let registry = api.points.now();
    let named = advanced.filter_map(|(n, p)| {
        let path = registry.path(PointId(u32::try_from(n).ok()?));
        Some((path, Point { samples: p.samples, first_us: p.first_us, last_us: p.last_us }))
    });
    let line = Line {
        incarnation: api.vitals.log.incarnation(),
        seq: durable.seq,
        at_us: api.vitals.clock.now_us(),
        samples: durable.samples,
        points: named.collect(),
    };
    let mut bytes = serde_json::to_vec(&line).ok()?;
    bytes.push(b'\n');
    Some((bytes.into(), durable.step))
}
