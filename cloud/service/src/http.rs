//! The HTTP listener around the API's router: connections with a limit of their number, and of the time in which a
//! client must have said what it wants. What is asked and answered is the API's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use common::Drain;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::Service as _;

/// Time for the head of a request, from the first moment in which one may come. A connection that is kept
/// without asking anything ends with it as well.
const HEAD: Duration = Duration::from_secs(20);
/// Time for answers that are on their way when the service stops.
const LAST: Duration = Duration::from_millis(1_200);
/// Pause when the system has no more sockets for us.
const PAUSE: Duration = Duration::from_millis(50);

/// Listens, so that a busy port is told before anything starts.
pub(crate) fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until drained and every request is answered. Beyond `most` connections, further ones are closed.
pub(crate) async fn run(listener: TcpListener, router: Router, most: usize, drain: Drain) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(most));
    let mut open = JoinSet::new();
    let mut is_full = false;
    loop {
        let accepted = tokio::select! {
            () = drain.started() => break,
            Some(ended) = open.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            if !is_full {
                tracing::warn!(limit = most, "too many connections, further ones are closed");
            }
            is_full = true;
            continue;
        };
        is_full = false;
        let (router, drain) = (router.clone(), drain.clone());
        open.spawn(async move {
            serve(tcp, peer, router, &drain).await;
            drop(permit);
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
    Ok(())
}

async fn serve(tcp: TcpStream, peer: SocketAddr, router: Router, drain: &Drain) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "no delay cannot be set");
    }
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = pin!(http.serve_connection(TokioIo::new(tcp), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            // Half a request, or a client that does not read its answer, does not keep the service.
            match tokio::time::timeout(LAST, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
