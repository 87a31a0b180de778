//! What the service manager is told (sd_notify(3)): that a long start goes on, ready, stopping, and, only while the cloud's own listener answers, that
//! it is alive. Without a service manager nothing.

use std::convert::Infallible;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use common::Opening;
use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often a start is looked at. One that is over by then asks for nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What is asked for with each step forward: more than a step takes on a slow disk.
const MORE_TIME: Duration = Duration::from_secs(300);

/// Asks for more time as long as the database's opening goes on, until it is dropped.
pub async fn starting(opening: &Opening) -> Infallible {
    opening
        .watch(LOOK_EVERY, |steps| {
            let more_us = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
            let status = format!("starts: opens the database, step {steps}");
            tell(&[NotifyState::ExtendTimeoutUsec(more_us), NotifyState::Status(&status)]);
        })
        .await
}

/// Tells that the cloud is ready, and that it is alive, until it is dropped. `http` is where it listens.
pub async fn report(http: SocketAddr) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    tell(&[NotifyState::Ready]);
    let Some(watchdog) = watchdog_enabled() else { return std::future::pending().await };
    // Four times in its time, so that an answer or two that are late do no harm.
    let every = watchdog / 4;
    let mut look = interval(every);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_silent = false;
    loop {
        look.tick().await;
        let answer = timeout(every, is_alive(http)).await;
        match answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
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
    let mut start = [0; 12];
    let asked = async {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        stream.read_exact(&mut start).await
    };
    match asked.await {
        // Also a refusal was made by what must be alive.
        Ok(_) if start.starts_with(b"HTTP/1.1 ") => Ok(()),
        Ok(_) => Err(ErrorKind::InvalidData.into()),
        // And so was the end of a connection that is one too many: who fills the listener must not end the ingress with it.
        Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => Ok(()),
        Err(error) => Err(error),
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::debug!(%error, "service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn who_answers_or_closes_is_alive_and_who_does_neither_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        // The system takes the connection, and nobody else does.
        assert!(timeout(SHORT, is_alive(address)).await.is_err());
        let answering = tokio::spawn(async move {
            for answer in [&b""[..], b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-other\r\n"] {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                if !answer.is_empty() {
                    assert!(stream.read(&mut [0; 256]).await.expect("what is asked") > 0);
                    stream.write_all(answer).await.expect("an answer");
                }
            }
        });
        // The first of them is of the one that was given up.
        is_alive(address).await.expect("a connection too many");
        is_alive(address).await.expect("an answer");
        assert_eq!(is_alive(address).await.expect_err("no answer").kind(), ErrorKind::InvalidData);
        answering.await.expect("all of them");
        assert!(is_alive(address).await.is_err(), "nobody listens");
    }
}
