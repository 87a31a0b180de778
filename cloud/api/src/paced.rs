//! Answers that go as the client takes them. What they are made with is held as long, so a client that stops reading is
//! given up.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use tokio::sync::mpsc;

/// Pieces that may wait for the client.
const QUEUE: usize = 2;
/// A client that takes nothing for so long has stopped.
const STALLED: Duration = Duration::from_secs(60);
/// Bytes of a piece of what is there as a whole.
const PIECE: usize = 256 << 10;

/// The way to the client. An error cuts the answer off.
pub(crate) type ToClient = mpsc::Sender<io::Result<Bytes>>;

/// A body of pieces that are sent.
pub(crate) fn body() -> (ToClient, Body) {
    let (to_client, pieces) = mpsc::channel(QUEUE);
    let body = unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) });
    (to_client, Body::from_stream(body))
}

/// Sends a piece, once there is room for it.
pub(crate) async fn give(to_client: &ToClient, piece: io::Result<Bytes>) -> io::Result<()> {
    match tokio::time::timeout(STALLED, to_client.send(piece)).await {
        Ok(sent) => sent.map_err(|_| io::Error::other("the client has gone")),
        Err(_) => Err(io::Error::other("the client does not read")),
    }
}

/// A body of these bytes. `held` is let go when the client has taken them, or is given up.
pub(crate) fn whole<T: Send + 'static>(bytes: Vec<u8>, held: T) -> Body {
    let (to_client, body) = body();
    let mut rest = Bytes::from(bytes);
    let send = async move {
        let _held = held;
        while !rest.is_empty() {
            let piece = rest.split_to(PIECE.min(rest.len()));
            if let Err(error) = give(&to_client, Ok(piece)).await {
                tracing::warn!(%error, left = rest.len(), "answer ended early");
                return;
            }
        }
    };
    tokio::spawn(send);
    body
}
