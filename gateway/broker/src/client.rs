//! One client's connection: reads, writes, times out. What packets mean is in `session`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use common::Drain;
use futures_util::FutureExt;
use rumqttd::protocol::{
    ConnAck, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, LastWill, Packet,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::hub::{Hub, Seat};
use crate::packets::{self, Fault, Said};
use crate::router::Link;
use crate::session::{Next, Session};

/// Room made for each read from a socket.
const READ_BYTES: usize = 16 * 1024;
/// Notifications of the router handled before the client is written to.
const NOTIFICATIONS: usize = 256;
/// Longest client id, bytes.
const MAX_CLIENT_ID: usize = 256;

struct Socket {
    stream: TcpStream,
    buffer: BytesMut,
    write_timeout: Duration,
}

impl Socket {
    async fn read(&mut self) -> Result<(), Fault> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Fault::Closed),
            Ok(_) => Ok(()),
            Err(e) => Err(Fault::Io { detail: e.to_string() }),
        }
    }

    async fn write(&mut self, out: &mut BytesMut) -> Result<(), Fault> {
        if out.is_empty() {
            return Ok(());
        }
        match timeout(self.write_timeout, self.stream.write_all(out)).await {
            Err(_) => Err(Fault::SlowReader),
            Ok(Err(e)) => Err(Fault::Io { detail: e.to_string() }),
            Ok(Ok(())) => {
                out.clear();
                Ok(())
            }
        }
    }
}

/// Serves a client until it leaves. Nothing that it does reaches further than its own connection.
pub(crate) async fn serve(hub: Arc<Hub>, stream: TcpStream, drain: Drain) {
    let peer = stream.peer_addr().map(|a| a.to_string()).unwrap_or_default();
    let write_timeout = hub.options.write_timeout;
    // Without it small messages wait for the acknowledgement of those before.
    let nodelay = stream.set_nodelay(true);
    let mut socket = Socket { stream, buffer: BytesMut::with_capacity(READ_BYTES), write_timeout };
    let ended = match nodelay {
        Err(e) => Err(Fault::Io { detail: e.to_string() }),
        Ok(()) => connect(&hub, &mut socket, &drain).await,
    };
    match ended {
        Ok(()) | Err(Fault::Closed) => tracing::debug!(peer, "mqtt client left"),
        Err(fault) => {
            hub.refused.fetch_add(1, Ordering::Relaxed);
            tracing::info!(peer, %fault, "mqtt client closed");
        }
    }
}

/// The packet that a connection has to begin with.
async fn first_packet(hub: &Hub, socket: &mut Socket) -> Result<(Connect, Option<LastWill>), Fault> {
    let end = Instant::now() + hub.options.connect_timeout;
    loop {
        match packets::decode(&mut socket.buffer, hub.options.max_payload)? {
            Some(Said::Other(packet)) => match *packet {
                Packet::Connect(connect, _, will, ..) => return Ok((connect, will)),
                _ => return Err(Fault::NotConnect),
            },
            Some(Said::Publish(_)) => return Err(Fault::NotConnect),
            None => timeout_at(end, socket.read()).await.map_err(|_| Fault::Silent)??,
        }
    }
}

async fn connect(hub: &Arc<Hub>, socket: &mut Socket, drain: &Drain) -> Result<(), Fault> {
    let (mut connect, will) = match first_packet(hub, socket).await {
        Err(fault @ Fault::Version { .. }) => {
            acknowledge(socket, ConnectReturnCode::RefusedProtocolVersion, false).await?;
            return Err(fault);
        }
        other => other?,
    };
    let refuse = |detail: String| Fault::Refused { detail };
    if let Some(will) = &will {
        packets::topic_of(&will.topic)?;
    }
    let bad_id = connect.client_id.len() > MAX_CLIENT_ID || connect.client_id.contains('\0');
    if bad_id || (connect.client_id.is_empty() && !connect.clean_session) {
        acknowledge(socket, ConnectReturnCode::ClientIdentifierNotValid, false).await?;
        return Err(refuse("client id".to_owned()));
    }
    if connect.client_id.is_empty() {
        // NUL keeps it apart from ids that clients can give themselves.
        let peer = socket.stream.peer_addr().map_err(|e| Fault::Io { detail: e.to_string() })?;
        connect.client_id = format!("\0{peer}");
    }
    let seat = match hub.seat(connect.client_id.clone(), connect.clean_session).await {
        Ok(seat) => seat,
        Err(full) => {
            acknowledge(socket, ConnectReturnCode::ServiceUnavailable, false).await?;
            return Err(refuse(full.to_string()));
        }
    };
    let link = match hub.router() {
        Some(router) => router.link(seat.link_id(), connect.clean_session).await,
        None => Err(crate::options::Error::Router),
    };
    let mut link = match link {
        Ok(link) => link,
        Err(e) => {
            acknowledge(socket, ConnectReturnCode::ServiceUnavailable, false).await?;
            return Err(refuse(e.to_string()));
        }
    };
    let mut session = Session::new(hub.clone(), seat.kept.clone().unwrap_or_default(), link.session_present);
    let talked = AssertUnwindSafe(talk(hub, socket, &mut session, &mut link, &seat, &connect, drain));
    let ended = talked
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Fault::Malformed { detail: "a packet could not be handled".to_owned() }));
    if !connect.clean_session {
        seat.keep(&session.kept);
    }
    // The router must hear of the end before the place is free again.
    let mut last = std::mem::take(&mut session.up);
    // A will is for clients that failed, not for a broker that did.
    let ours = matches!(ended, Ok(()) | Err(Fault::Router)) || drain.is_started();
    if let (Some(will), false) = (&will, ours) {
        last.push(hub.deliver(packets::topic_of(&will.topic)?, &will.message, will.retain));
    }
    let reason_code = DisconnectReasonCode::NormalDisconnection;
    last.push(Packet::Disconnect(Disconnect { reason_code }, None));
    if link.send(&mut last).await.is_err() {
        tracing::debug!("a client left after the router");
    }
    ended
}

async fn acknowledge(
    socket: &mut Socket,
    code: ConnectReturnCode,
    session_present: bool,
) -> Result<(), Fault> {
    let mut out = BytesMut::new();
    packets::encode(Packet::ConnAck(ConnAck { session_present, code }, None), &mut out)?;
    socket.write(&mut out).await
}

/// The conversation after CONNECT.
async fn talk(
    hub: &Hub,
    socket: &mut Socket,
    session: &mut Session,
    link: &mut Link,
    seat: &Seat,
    connect: &Connect,
    drain: &Drain,
) -> Result<(), Fault> {
    link.send(&mut session.up).await.map_err(|_| Fault::Router)?;
    acknowledge(socket, ConnectReturnCode::Success, seat.kept.is_some()).await?;
    let patience = Duration::from_millis(u64::from(connect.keep_alive) * 1500);
    let mut heard = Instant::now();
    loop {
        let mut next = Next::GoOn;
        while next == Next::GoOn
            && let Some(said) = packets::decode(&mut socket.buffer, hub.options.max_payload)?
        {
            next = session.said(said)?;
        }
        // First to the router, then the acknowledgement.
        link.send(&mut session.up).await.map_err(|_| Fault::Router)?;
        if next == Next::Leave {
            return Ok(());
        }
        socket.write(&mut session.out).await?;
        tokio::select! {
            () = drain.started() => return Ok(()),
            () = seat.replaced.cancelled() => return Err(Fault::Replaced),
            () = sleep_until(heard + patience), if connect.keep_alive > 0 => {
                return Err(Fault::KeepAlive { seconds: connect.keep_alive });
            }
            read = socket.read() => {
                read?;
                heard = Instant::now();
            }
            first = link.rx.next() => {
                let mut notification = first.map_err(|_| Fault::Router)?;
                let mut paused = false;
                for _ in 0..NOTIFICATIONS {
                    let Some(n) = notification.take() else { break };
                    paused |= !session.notified(n)?;
                    notification = match link.rx.next().now_or_never() {
                        Some(more) => more.map_err(|_| Fault::Router)?,
                        None => None,
                    };
                }
                // The last one taken must not be lost.
                if let Some(n) = notification {
                    paused |= !session.notified(n)?;
                }
                socket.write(&mut session.out).await?;
                if paused {
                    link.rx.wake().await.map_err(|_| Fault::Router)?;
                }
            }
        }
    }
}
