//! What the service manager is told (sd_notify(3)): ready, stopping, and, only while the cloud's own listener answers, that
//! it is alive. Without a service manager nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Tells that the cloud is ready, and that it is alive, until it is dropped. `http` is where it listens.
pub async fn report(http: SocketAddr) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    tell(&[NotifyState::Ready]);
    let Some(watchdog) = watchdog_enabled() else { return std::future::pending().await };
    // Three times in its time, so that one answer that is late does no harm.
    let every = watchdog / 3;
    let mut was_silent = false;
    loop {
        let answer = timeout(every, is_alive(http)).await;
        match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {
                was_silent = false;
                tell(&[NotifyState::Watchdog, NotifyState::Status("answers")]);
            }
            Err(error) => {
                if !std::mem::replace(&mut was_silent, true) {
                    tracing::error!(%error, "own listener does not answer: the watchdog is not fed");
                }
                tell(&[NotifyState::Status("own listener does not answer")]);
            }
        }
        sleep(every).await;
    }
}

/// The cloud ends now.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Asks as a client does.
async fn is_alive(http: SocketAddr) -> io::Result<()> {
    let ip = match http.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect(SocketAddr::new(ip, http.port())).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    // Also a refusal was made by what must be alive.
    if start.starts_with(b"HTTP/1.1 ") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::debug!(%error, "service manager cannot be told");
    }
}
