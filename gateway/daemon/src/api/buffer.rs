//! The buffer in detail: what is there, whether it is sound, its samples for others, and dropping some on order.

use std::io::Write as _;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use common::api::{BufferDropRequest, BufferDropped, BufferStatus, BufferVerify, Problem};
use common::clock::{format_us, parse_us};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::text::csv_field;
use common::wire::Body as FrameBody;
use gateway_core::{FrameLog, LogError};
use gateway_store::{DropError, Dropped, Exported, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::auth::Caller;
use super::{Api, invalid, json, query};

/// Bytes of lines that are sent at once.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for a slow reader; the buffer is read no faster.
const WAITING: usize = 4;

pub(super) async fn status(State(api): State<Api>) -> Result<Json<BufferStatus>, Problem> {
    let log = api.vitals.log.clone();
    blocking(move || log.store().status()).await.map(Json)
}

/// Reads the whole log: may take seconds, while the log goes on.
pub(super) async fn verify(State(api): State<Api>) -> Result<Json<BufferVerify>, Problem> {
    let log = api.vitals.log.clone();
    blocking(move || log.store().verify()).await.map(Json)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Problem::new(Code::Internal, e.to_string()))
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Csv,
    Jsonl,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    format: Format,
    device: Option<String>,
    point: Option<String>,
}

/// Samples by source time, in the order in which they were taken, as they are read.
pub(super) async fn export(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let q: ExportQuery = query(&uri)?;
    let now_us = api.vitals.clock.now_us();
    let from_us = parse_us(q.from.as_deref().unwrap_or("-1h"), now_us).map_err(invalid)?;
    let to_us = parse_us(q.to.as_deref().unwrap_or("now"), now_us).map_err(invalid)?;
    if from_us > to_us {
        return Err(invalid("from is later than to"));
    }
    let (send, receive) = mpsc::channel::<Bytes>(WAITING);
    let log = api.vitals.log.clone();
    let kind = match q.format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Jsonl => "application/x-ndjson",
    };
    tokio::task::spawn_blocking(move || write_lines(log.store(), (from_us, to_us), &q, &send));
    let lines = futures_util::stream::unfold(receive, |mut receive| async move {
        let chunk = receive.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), receive))
    });
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response())
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    received: String,
    device: &'a str,
    point: &'a str,
    value: Option<&'a common::Value>,
    unit: &'a str,
    quality: common::Quality,
}

fn write_lines(store: &Store, times: (i64, i64), q: &ExportQuery, send: &mpsc::Sender<Bytes>) {
    let mut out = Vec::with_capacity(CHUNK + 4096);
    if matches!(q.format, Format::Csv) {
        out.extend(b"time,received,device,point,value,unit,quality\n");
    }
    let mut alive = true;
    store.export(times.0, times.1, |e| {
        let wanted = |name: &Option<String>, is: &str| name.as_ref().is_none_or(|n| n == is);
        if wanted(&q.device, e.device) && wanted(&q.point, e.point) {
            line(&mut out, q.format, e);
        }
        if out.len() >= CHUNK {
            alive = send.blocking_send(std::mem::take(&mut out).into()).is_ok();
        }
        alive
    });
    if alive && !out.is_empty() {
        let _ = send.blocking_send(out.into());
    }
}

fn line(out: &mut Vec<u8>, format: Format, e: &Exported<'_>) {
    let s = e.sample;
    let (time, received) = (format_us(s.source_us), format_us(s.received_us));
    match format {
        Format::Jsonl => {
            let line = Line {
                time,
                received,
                device: e.device,
                point: e.point,
                value: s.value.as_ref(),
                unit: e.unit,
                quality: s.quality,
            };
            // Plain fields: this cannot fail.
            out.extend(serde_json::to_vec(&line).unwrap_or_default());
        }
        Format::Csv => {
            let value = match &s.value {
                Some(common::Value::Text(text)) => csv_field(text),
                Some(number) => number.to_string(),
                None => String::new(),
            };
            let [device, point, unit] = [e.device, e.point, e.unit].map(csv_field);
            // Writing to memory cannot fail.
            let _ = write!(out, "{time},{received},{device},{point},{value},{unit},{}", s.quality);
        }
    }
    out.push(b'\n');
}

/// Nothing is dropped whose order is not on record first.
pub(super) async fn drop_samples(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<BufferDropped>, Problem> {
    let request: BufferDropRequest = json(&headers, &body)?;
    if request.reason.trim().is_empty() || request.reason.len() > 1000 {
        return Err(invalid("expected a reason of 1 to 1000 bytes, for the audit"));
    }
    if request.from_us > request.to_us {
        return Err(invalid("from_us is later than to_us"));
    }
    let (from, to) = (format_us(request.from_us), format_us(request.to_us));
    let log = &api.vitals.log;
    let audit = |action: &str, code: Option<Code>, detail: String| {
        log.append(FrameBody::Audit(LogEntry {
            at_us: api.vitals.clock.now_us(),
            actor: caller.name.clone(),
            action: action.to_owned(),
            target: "buffer".to_owned(),
            twin: None,
            severity: Severity::Warning,
            code,
            detail,
        }))
    };
    let refused = |e: LogError| Problem::new(Code::AuditUnavailable, e.to_string());
    let asked = format!("samples cut from {from} to {to}: {}", request.reason);
    let frame = audit(action::BUFFER_DROP_ASKED, None, asked.clone()).map_err(refused)?;
    log.durable(frame).await.map_err(refused)?;
    let done = log.store().drop_cut(request.from_us, request.to_us).await;
    let told = match &done {
        Ok(d) => {
            let Dropped { frames, samples, acked_frames } = d;
            let detail = format!(
                "{frames} frames with {samples} samples that the cloud lacked, {acked_frames} that it has; {asked}"
            );
            audit(action::BUFFER_DROPPED, None, detail)
        }
        Err(e) => audit(action::BUFFER_DROP_REFUSED, Some(code_of(e)), format!("{e}; {asked}")),
    };
    // The order is on record, and the gap tells what it cost.
    if let Err(error) = told {
        tracing::error!(%error, asked, ?done, "end of an order to drop is not on record");
    }
    let done = done.map_err(|e| Problem::new(code_of(&e), e.to_string()))?;
    Ok(Json(BufferDropped { frames: done.frames, samples: done.samples, acked_frames: done.acked_frames }))
}

fn code_of(error: &DropError) -> Code {
    match error {
        DropError::Busy => Code::Conflict,
        DropError::Closed => Code::Unavailable,
        DropError::Disk { .. } => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use common::{PointId, Quality, Sample, Value};

    use super::*;

    #[test]
    fn lines_are_csv_or_json_whatever_names_and_values_hold() {
        let sample = Sample {
            point: PointId(0),
            value: Some(Value::Text("a \"b\",\nc".into())),
            quality: Quality::GOOD,
            source_us: 1_000_001,
            received_us: 2_000_000,
        };
        let exported = Exported { device: "oven, left", point: "t", unit: "Cel", sample: &sample };
        let mut out = Vec::new();
        line(&mut out, Format::Csv, &exported);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "1970-01-01T00:00:01.000001Z,1970-01-01T00:00:02.000000Z,\"oven, left\",t,\"a \"\"b\"\",\nc\",Cel,good\n"
        );
        let sample = Sample { value: Some(Value::F64(-1.5)), ..sample.clone() };
        let formula = Exported { device: "=1+1", point: "-t", unit: "Cel", sample: &sample };
        let mut out = Vec::new();
        line(&mut out, Format::Csv, &formula);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(",'=1+1,'-t,-1.5,Cel,good\n"), "{text}");
        let mut out = Vec::new();
        line(&mut out, Format::Jsonl, &exported);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["value"], "a \"b\",\nc");
        assert_eq!((&read["device"], &read["quality"]), (&"oven, left".into(), &"good".into()));
    }
}
