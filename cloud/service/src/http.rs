//! The HTTP listener around the API's router.

use std::io;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::serve::ListenerExt as _;
use common::Drain;

/// Listens, so that a busy port is told before anything starts.
pub(crate) fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until drained and every request is answered.
pub(crate) async fn run(listener: TcpListener, router: Router, drain: Drain) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|tcp| {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "no delay cannot be set");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(async move { drain.started().await }).await
}
