//! MQTT over WebSocket [6]: binary messages are the stream, their borders mean nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use crate::codec::Fault;

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// A WebSocket as a stream of bytes.
pub(super) struct Ws<S> {
    socket: WebSocketStream<S>,
    read: Bytes,
}

/// The server's side of the handshake. The client must speak the subprotocol `mqtt`.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    limit: usize,
) -> Result<Ws<S>, Fault> {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(limit.max(64 * 1024));
    config.max_frame_size = Some(limit.max(64 * 1024));
    config.max_write_buffer_size = usize::MAX;
    // What is written goes out at once: the wire gathers packets itself.
    config.write_buffer_size = 0;
    let socket = accept_hdr_async_with_config(stream, choose, Some(config)).await;
    let socket = socket.map_err(|e| Fault::WebSocket { detail: e.to_string() })?;
    Ok(Ws { socket, read: Bytes::new() })
}

#[allow(clippy::result_large_err)] // the handshake's own type
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    if offered.flat_map(|v| v.split(',')).any(|p| p.trim() == "mqtt") {
        response.headers_mut().insert(PROTOCOL, HeaderValue::from_static("mqtt"));
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("expected the subprotocol mqtt".to_owned()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> io::Error {
    io::Error::other(error.to_string())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Ws<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.read.is_empty() {
                let n = self.read.len().min(to.remaining());
                to.put_slice(self.read.get(..n).unwrap_or_default());
                self.read.advance(n);
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.read = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::other("text on a websocket of mqtt")));
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Poll::Ready(Err(broken(e))),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Ws<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Bounded: one chunk in the socket's own buffer at a time.
        ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(broken)?;
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
        let chunk = bytes.get(..bytes.len().min(16 * 1024)).unwrap_or_default();
        let message = Message::Binary(Bytes::copy_from_slice(chunk));
        Pin::new(&mut self.socket).start_send(message).map_err(broken)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(broken)
    }
}
