//! Exports: samples are read in pages, encoded and sent as they come, so that memory does not grow with the range. An
//! export that fails on the way is cut off; it never looks whole.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cloud_core::Storage;
use cloud_core::history::ExportRow;
use common::Value;
use common::api::{ExportFormat, ExportRequest};
use common::names::Code;
use common::wire::Waveform;

use super::csv::Csv;
use super::parquet::Parquet;
use super::{Found, find};
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;
use crate::history::range;
use crate::paced::{self, ToClient, give};
use crate::request::Body;
use crate::waveforms::scaled;

/// Samples read at a time.
const PAGE: usize = 50_000;
/// Blocks of waveforms that are looked up at a time.
const BLOCKS: usize = 100;

/// Makes bytes of samples.
pub(super) trait Encode: Send + Sized + 'static {
    /// Media type and ending of the file's name.
    const KIND: (&'static str, &'static str);

    /// Begins.
    fn new() -> io::Result<Self>;

    /// Encodes samples of a point; what can be sent so far.
    fn rows(&mut self, asset: &str, point: &str, rows: &[ExportRow]) -> io::Result<Vec<u8>>;

    /// Ends; what is left to be sent.
    fn end(self) -> io::Result<Vec<u8>>;
}

pub(crate) async fn export(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<ExportRequest>,
) -> Result<Response, ApiError> {
    let found = find(&api, &caller, &request.points).await?;
    let range = range(api.clock.now_us(), request.from.as_deref(), request.to.as_deref())?;
    let permit = Arc::clone(&api.exports).try_acquire_owned().map_err(|_| {
        ApiError::new(Code::Unavailable, "as many exports run as may at a time: try again when one has ended")
    })?;
    let (to_client, body) = paced::body();
    let storage = Arc::clone(&api.storage);
    let work = async move {
        let _permit = permit;
        let of = Of { storage, points: found, range, waveforms: request.waveforms };
        let done = match request.format {
            ExportFormat::Csv => run::<Csv>(&of, &to_client).await,
            ExportFormat::Parquet => run::<Parquet>(&of, &to_client).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "export ended early");
            let _ = give(&to_client, Err(error)).await;
        }
    };
    tokio::spawn(work);
    let (media, ending) = match request.format {
        ExportFormat::Csv => Csv::KIND,
        ExportFormat::Parquet => Parquet::KIND,
    };
    let headers = [
        (header::CONTENT_TYPE, media.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"history.{ending}\"")),
    ];
    Ok((headers, body).into_response())
}

/// What is exported.
struct Of {
    storage: Arc<dyn Storage>,
    points: Vec<Found>,
    range: (i64, i64),
    /// Not the samples, but the values of waveforms.
    waveforms: bool,
}

async fn run<E: Encode>(of: &Of, to_client: &ToClient) -> io::Result<()> {
    let mut encoder = E::new()?;
    for found in &of.points {
        encoder = if of.waveforms {
            blocks(encoder, of, found, to_client).await?
        } else {
            samples(encoder, of, found, to_client).await?
        };
    }
    give(to_client, Ok(encoder.end()?.into())).await
}

async fn samples<E: Encode>(mut encoder: E, of: &Of, found: &Found, to_client: &ToClient) -> io::Result<E> {
    let mut next = Some(of.range.0);
    while let Some(at) = next {
        let page = of.storage.samples(found.twin, &found.point, at, of.range.1, PAGE).await;
        let page = page.map_err(io::Error::other)?;
        next = page.next_us;
        if !page.rows.is_empty() {
            encoder = some(encoder, found, page.rows, to_client).await?;
        }
    }
    Ok(encoder)
}

async fn blocks<E: Encode>(mut encoder: E, of: &Of, found: &Found, to_client: &ToClient) -> io::Result<E> {
    let mut next = Some(of.range.0);
    while let Some(at) = next {
        let list = of.storage.waveforms(found.twin, &found.point, at, of.range.1, BLOCKS).await;
        let list = list.map_err(io::Error::other)?;
        next = list.last().filter(|_| list.len() == BLOCKS).map(|last| last.t0_us.saturating_add(1));
        for block in list {
            let parts = of.storage.waveform(found.twin, &found.point, block.t0_us).await;
            for part in parts.map_err(io::Error::other)? {
                encoder = some(encoder, found, values(&part), to_client).await?;
            }
        }
    }
    Ok(encoder)
}

/// Encodes and sends some rows. It takes its time: not on a thread that others wait for.
async fn some<E: Encode>(
    mut encoder: E,
    found: &Found,
    rows: Vec<ExportRow>,
    to_client: &ToClient,
) -> io::Result<E> {
    let (asset, point) = (found.asset.clone(), found.point.clone());
    let encode = move || encoder.rows(&asset, &point, &rows).map(|bytes| (encoder, bytes));
    let (encoder, bytes) = tokio::task::spawn_blocking(encode).await.map_err(io::Error::other)??;
    if !bytes.is_empty() {
        give(to_client, Ok(bytes.into())).await?;
    }
    Ok(encoder)
}

/// The values of a part of a block, each at its time.
fn values(part: &Waveform) -> Vec<ExportRow> {
    let row = |(n, value): (u32, Option<f64>)| ExportRow {
        t_us: part.time_us(n),
        received_us: part.received_us,
        quality: part.quality,
        value: value.map(Value::F64),
    };
    (part.first..).zip(scaled(part)).map(row).collect()
}
