//! Sockets of the API: taken at the start, so that a port in use is told before anything else runs, and served by
//! supervised parts.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use common::supervise::Supervisor;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::auth::Peer;
use super::{Api, router};
use crate::config::sections::ApiSection;
use crate::gateway::StartError;

/// The sockets, taken.
pub(crate) struct Listeners {
    tcp: Tcp,
    addr: SocketAddr,
    unix: Option<Unix>,
}

impl Listeners {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Takes the address and the socket.
pub(crate) async fn bind(section: &ApiSection) -> Result<Listeners, StartError> {
    let error = |at: String| move |source| StartError::Api { at, source };
    let tcp = TcpListener::bind(section.listen).await.map_err(error(section.listen.to_string()))?;
    let addr = tcp.local_addr().map_err(error(section.listen.to_string()))?;
    let unix = match &section.socket {
        Some(path) => Some(bind_unix(path).await.map_err(error(path.display().to_string()))?),
        None => None,
    };
    let unix = unix.map(|u| Unix(Arc::new(u)));
    Ok(Listeners { tcp: Tcp(Arc::new(tcp)), addr, unix })
}

/// A socket that an earlier process left is removed; one that somebody serves is not.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is no socket stands there",
            ));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
        }
        std::fs::remove_file(path)?;
    }
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir)?;
    }
    let listener = UnixListener::bind(path)?;
    // Whoever may reach the folder may ask; what it may do is decided by its user.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Serves the API until drained: a part for TCP, and one for the socket.
pub(crate) fn serve(listeners: Listeners, socket: Option<PathBuf>, api: Api, supervisor: &mut Supervisor) {
    let Listeners { tcp, unix, .. } = listeners;
    let routes = router(api);
    let over_tcp = routes.clone();
    supervisor.spawn("api", move |drain| {
        let service = over_tcp.clone().into_make_service_with_connect_info::<Peer>();
        let serving =
            axum::serve(tcp.clone(), service).with_graceful_shutdown(async move { drain.started().await });
        async move { Ok(serving.await?) }
    });
    if let Some(unix) = unix {
        supervisor.spawn("api:socket", move |drain| {
            let service = routes.clone().into_make_service_with_connect_info::<Peer>();
            let stop = async move { drain.started().await };
            let serving = axum::serve(unix.clone(), service).with_graceful_shutdown(stop);
            let socket = socket.clone();
            async move {
                serving.await?;
                // Nobody is there any more; the next start makes it anew.
                if let Some(path) = socket {
                    let _ = std::fs::remove_file(path);
                }
                Ok(())
            }
        });
    }
}

/// A taken TCP address; stays taken over restarts of its part.
#[derive(Clone)]
struct Tcp(Arc<TcpListener>);

/// The same for the socket.
#[derive(Clone)]
struct Unix(Arc<UnixListener>);

/// After a failed accept (too many open files, most likely).
const PAUSE: Duration = Duration::from_millis(200);

impl Listener for Tcp {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, addr)) => {
                    // Answers are small: without it each may wait for the ack of the one before.
                    let _ = stream.set_nodelay(true);
                    return (stream, addr);
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Listener for Unix {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (UnixStream, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => pause(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "api cannot accept a connection");
    tokio::time::sleep(PAUSE).await;
}

impl Connected<IncomingStream<'_, Tcp>> for Peer {
    fn connect_info(_: IncomingStream<'_, Tcp>) -> Self {
        Peer::Tcp
    }
}

impl Connected<IncomingStream<'_, Unix>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Unix>) -> Self {
        Peer::Unix(stream.io().peer_cred().ok().map(|c| c.uid()))
    }
}
