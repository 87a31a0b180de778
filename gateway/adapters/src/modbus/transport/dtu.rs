//! Where modems (DTUs) dial in. Each says first who it is; that names its line, whose stream it then is. A modem that
//! dials in again takes the place of its old connection. Connections are counted, and one that says nothing in
//! time, or nothing known, is closed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use crate::limit::LogLimit;
use crate::modbus::settings::LineConfig;

/// Connections at the same time that have not said who they are.
const MOST_UNKNOWN: usize = 64;
/// A pause after the address could not be had.
const BIND_PAUSE: Duration = Duration::from_secs(2);
/// A pause after the system refused to accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// All places where modems dial in, by their address. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Modems(Arc<Mutex<HashMap<SocketAddr, Weak<Door>>>>);

impl Modems {
    /// The place at an address. It lives as long as a line uses it.
    pub(in crate::modbus) fn at(&self, listen: SocketAddr) -> Arc<Door> {
        let mut all = lock(&self.0);
        all.retain(|_, door| door.strong_count() > 0);
        if let Some(door) = all.get(&listen).and_then(Weak::upgrade) {
            return door;
        }
        let door = Arc::new(Door { listen, ..Door::default() });
        all.insert(listen, Arc::downgrade(&door));
        door
    }

    /// Where the listener for an address is bound, once it is: port 0 has become another.
    pub fn bound(&self, listen: SocketAddr) -> Option<SocketAddr> {
        let door = lock(&self.0).get(&listen)?.upgrade()?;
        *lock(&door.bound)
    }
}

/// The listener of all lines with one address. One of them lets it work, and another when that ends.
#[derive(Debug)]
pub(in crate::modbus) struct Door {
    listen: SocketAddr,
    guests: Mutex<Vec<Weak<Guest>>>,
    bound: Mutex<Option<SocketAddr>>,
    turn: tokio::sync::Mutex<()>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            guests: Mutex::default(),
            bound: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

/// A modem that is expected.
#[derive(Debug)]
struct Guest {
    registration: Vec<u8>,
    limit: Duration,
    arrived: Mutex<Option<TcpStream>>,
    bell: Notify,
}

/// Where one line's modem arrives.
#[derive(Debug)]
pub(in crate::modbus) struct Desk {
    door: Arc<Door>,
    guest: Arc<Guest>,
    heartbeat: Vec<u8>,
}

impl Desk {
    /// For a line, at a door.
    ///
    /// # Errors
    /// When registration or heartbeat are no packets.
    pub(in crate::modbus) fn new(config: &LineConfig, door: Arc<Door>) -> Result<Self, String> {
        let bytes = |text: &Option<String>| match text {
            Some(text) => crate::modbus::settings::packet(text),
            None => Ok(Vec::new()),
        };
        let guest = Arc::new(Guest {
            registration: bytes(&config.registration)?,
            limit: Duration::from_millis(config.registration_ms),
            arrived: Mutex::new(None),
            bell: Notify::new(),
        });
        let mut guests = lock(&door.guests);
        guests.retain(|g| g.strong_count() > 0);
        guests.push(Arc::downgrade(&guest));
        drop(guests);
        Ok(Self { door, guest, heartbeat: bytes(&config.heartbeat)? })
    }

    /// The modem's connection, once it has dialled in; the latest if it did so more than once.
    pub(super) async fn caller(&self) -> Dialled {
        loop {
            let rung = self.guest.bell.notified();
            let arrived = lock(&self.guest.arrived).take();
            if let Some(stream) = arrived {
                let packets = [self.heartbeat.clone(), self.guest.registration.clone()];
                return Dialled { stream, packets };
            }
            rung.await;
        }
    }

    /// Listens, as soon as no other line of this address does.
    pub(super) async fn listen(&self) -> Infallible {
        let _turn = self.door.turn.lock().await;
        let mut told = LogLimit::default();
        loop {
            match TcpListener::bind(self.door.listen).await {
                Ok(listener) => {
                    *lock(&self.door.bound) = listener.local_addr().ok();
                    self.door.accept(&listener).await;
                }
                Err(error) => {
                    if let Some(suppressed) = told.allow() {
                        let listen = self.door.listen;
                        tracing::error!(%listen, %error, suppressed, "cannot listen for modems");
                    }
                    tokio::time::sleep(BIND_PAUSE).await;
                }
            }
        }
    }
}

impl Door {
    async fn accept(&self, listener: &TcpListener) -> Infallible {
        let (slots, mut refused) = (Semaphore::new(MOST_UNKNOWN), LogLimit::default());
        let mut greeting = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match slots.try_acquire() {
                        Ok(slot) => greeting.push(async move {
                            self.greet(stream, peer).await;
                            drop(slot);
                        }),
                        Err(_) => if let Some(suppressed) = refused.allow() {
                            tracing::warn!(%peer, suppressed, "connection closed: too many without a registration");
                        },
                    },
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a modem");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(()) = greeting.next() => {}
            }
        }
    }

    /// Finds out who dials in.
    async fn greet(&self, mut stream: TcpStream, peer: SocketAddr) {
        let guests: Vec<_> = lock(&self.guests).iter().filter_map(Weak::upgrade).collect();
        let limit = guests.iter().map(|g| g.limit).max().unwrap_or_default();
        let mut said = Vec::new();
        let found = tokio::time::timeout(limit, async {
            let mut buf = [0; 256];
            loop {
                match stream.read(&mut buf).await {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => said.extend_from_slice(buf.get(..n).unwrap_or_default()),
                }
                if let Some(guest) = guests.iter().find(|g| said.starts_with(&g.registration)) {
                    return Some(guest);
                }
                // Nothing that is known begins like this.
                if !guests.iter().any(|g| g.registration.starts_with(&said)) {
                    return None;
                }
            }
        });
        match found.await {
            Ok(Some(guest)) if stream.set_nodelay(true).is_ok() => {
                tracing::info!(%peer, "modem dialled in");
                *lock(&guest.arrived) = Some(stream);
                guest.bell.notify_one();
            }
            _ => tracing::debug!(%peer, bytes = said.len(), "connection without a known registration closed"),
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A modem's connection, without the packets that are its own: heartbeats, and its registration said again.
#[derive(Debug)]
pub(super) struct Dialled {
    stream: TcpStream,
    packets: [Vec<u8>; 2],
}

impl AsyncRead for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let came = buf.filled().get(before..).unwrap_or_default();
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let (skipped, to) = (inner(came, &self.packets), before + came.len());
            buf.filled_mut().copy_within(before + skipped..to, before);
            buf.set_filled(to - skipped);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Where what is left begins when packets before it are taken away. Behind it nothing is: the end of an answer
/// is its checksum, which may look like anything.
fn inner(bytes: &[u8], packets: &[Vec<u8>]) -> usize {
    let mut from = 0;
    let rest = |from: usize| bytes.get(from..).unwrap_or_default();
    while let Some(packet) = packets.iter().find(|p| !p.is_empty() && rest(from).starts_with(p)) {
        from += packet.len();
    }
    from
}

impl AsyncWrite for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
