//! Exports: samples are read in pages, encoded and sent as they come, so that memory does not grow with the range. An
//! export that fails on the way is cut off; it never looks whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as Stream, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cloud_core::Storage;
use cloud_core::history::ExportRow;
use common::api::{ExportFormat, ExportRequest};
use common::names::Code;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

use super::csv::Csv;
use super::parquet::Parquet;
use super::{Found, find};
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;
use crate::history::range;
use crate::request::Body;

/// Samples read at a time.
const PAGE: usize = 50_000;
/// Encoded pages that may wait for the client.
const QUEUE: usize = 2;
/// A client that takes nothing for so long has stopped.
const STALLED: Duration = Duration::from_secs(60);

/// Makes bytes of samples.
pub(super) trait Encode: Send + Sized + 'static {
    /// Media type and ending of the file's name.
    const KIND: (&'static str, &'static str);

    /// Begins.
    fn new() -> io::Result<Self>;

    /// Encodes samples of a point; what can be sent of it.
    fn rows(&mut self, asset: &str, point: &str, rows: &[ExportRow]) -> io::Result<Vec<u8>>;

    /// Ends; what is left to be sent.
    fn end(self) -> io::Result<Vec<u8>>;
}

pub(crate) async fn export(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<ExportRequest>,
) -> Result<Response, ApiError> {
    let found = find(&api, &caller, &request.points)?;
    let range = range(api.clock.now_us(), request.from.as_deref(), request.to.as_deref())?;
    let permit = Arc::clone(&api.exports).try_acquire_owned().map_err(|_| {
        ApiError::new(Code::Unavailable, "as many exports run as may at a time: try again when one has ended")
    })?;
    let (to_client, chunks) = mpsc::channel(QUEUE);
    let storage = Arc::clone(&api.storage);
    let work = async move {
        let _permit = permit;
        let done = match request.format {
            ExportFormat::Csv => run::<Csv>(&storage, &found, range, &to_client).await,
            ExportFormat::Parquet => run::<Parquet>(&storage, &found, range, &to_client).await,
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
    let body = unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) });
    let headers = [
        (header::CONTENT_TYPE, media.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"history.{ending}\"")),
    ];
    Ok((headers, Stream::from_stream(body)).into_response())
}

type ToClient = mpsc::Sender<io::Result<Bytes>>;

async fn run<E: Encode>(
    storage: &Arc<dyn Storage>,
    points: &[Found],
    (from_us, to_us): (i64, i64),
    to_client: &ToClient,
) -> io::Result<()> {
    let mut encoder = E::new()?;
    for found in points {
        let mut next = Some(from_us);
        while let Some(at) = next {
            let page =
                storage.samples(found.twin, &found.point, at, to_us, PAGE).await.map_err(io::Error::other)?;
            next = page.next_us;
            if page.rows.is_empty() {
                continue;
            }
            let (asset, point) = (found.asset.clone(), found.point.clone());
            // It takes its time: not on a thread that others wait for.
            let (back, bytes) = tokio::task::spawn_blocking(move || {
                let bytes = encoder.rows(&asset, &point, &page.rows);
                (encoder, bytes)
            })
            .await
            .map_err(io::Error::other)?;
            encoder = back;
            let bytes = bytes?;
            if !bytes.is_empty() {
                give(to_client, Ok(bytes.into())).await?;
            }
        }
    }
    give(to_client, Ok(encoder.end()?.into())).await
}

/// One that does not read is given up: few exports may run at a time.
async fn give(to_client: &ToClient, chunk: io::Result<Bytes>) -> io::Result<()> {
    match tokio::time::timeout(STALLED, to_client.send(chunk)).await {
        Ok(sent) => sent.map_err(|_| io::Error::other("the client has gone")),
        Err(_) => Err(io::Error::other("the client does not read")),
    }
}
