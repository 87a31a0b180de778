//! One client's connection from accept to close: handshakes, reading, writing, timeouts. What packets mean is in
//! `talk`.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Buf;
use common::Drain;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::door::Door;
use super::hello::{Welcome, hello};
use super::talk::Next;
use super::wire::Wire;
use super::ws;
use crate::codec::{self, Fault};
use crate::core::Leave;
use crate::handle::Hub;
use crate::journal::Journal;

/// Packets handled under one lock.
const BATCH: usize = 64;
/// Bytes that wait to be written before no more are made.
const ENOUGH: usize = 64 * 1024;
/// Bytes of answers that wait to be written before no more packets are read.
const TOO_MUCH: usize = 256 * 1024;
/// What a client gets to read the last word in.
const LAST_WORD: Duration = Duration::from_millis(200);
/// How long to wait when the disk does not keep up.
const DISK_PAUSE: Duration = Duration::from_millis(20);

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// Serves a client until it leaves. Nothing that it does reaches further than its own connection.
pub(crate) async fn serve(hub: Arc<Hub>, stream: TcpStream, door: Door, drain: Drain) {
    let peer = stream.peer_addr().map(|a| a.to_string()).unwrap_or_default();
    match connection(&hub, stream, &door, &drain, &peer).await {
        Ok(()) | Err(Fault::Closed | Fault::Stopping) => tracing::debug!(peer, "mqtt client left"),
        Err(fault) => {
            hub.refused.fetch_add(1, Ordering::Relaxed);
            tracing::info!(peer, listener = &*door.name, %fault, "mqtt client closed");
        }
    }
}

async fn connection(
    hub: &Arc<Hub>,
    stream: TcpStream,
    door: &Door,
    drain: &Drain,
    peer: &str,
) -> Result<(), Fault> {
    let waiting = hub.newcomers.enter();
    let options = hub.options();
    let end = Instant::now() + options.connect_timeout;
    // Without it small messages wait for the acknowledgement of those before.
    stream.set_nodelay(true).map_err(|e| Fault::Io { detail: e.to_string() })?;
    let crowded = waiting.crowded.clone();
    let enter = async {
        let both: Box<dyn Both> = match &door.tls {
            None => Box::new(stream),
            Some(tls) => {
                let shaken = tls.accept(stream).await;
                Box::new(shaken.map_err(|e| Fault::Tls { detail: e.to_string() })?)
            }
        };
        let both: Box<dyn Both> = match door.websocket {
            false => both,
            true => Box::new(ws::accept(both, options.limits.packet).await?),
        };
        let mut wire = Wire::new(both);
        let welcome = hello(hub, &mut wire, door, peer).await?;
        Ok::<_, Fault>((wire, welcome))
    };
    let entered = tokio::select! {
        entered = timeout_at(end, Box::pin(enter)) => entered.map_err(|_| Fault::Silent)?,
        () = crowded.cancelled() => return Err(Fault::Crowded),
        () = drain.started() => return Err(Fault::Stopping),
    };
    let (mut wire, welcome) = entered?;
    drop(waiting);
    let (seat, version) = (welcome.attached.seat, welcome.talk.version);
    tracing::debug!(peer, client = welcome.client, "mqtt client connected");
    let ended = AssertUnwindSafe(converse(hub, &mut wire, welcome, drain)).catch_unwind().await;
    let (how, result) = match ended {
        Ok(Ok(how)) => (how, Ok(())),
        Ok(Err(fault)) => (Leave::Failed, Err(fault)),
        Err(_) => (Leave::Failed, Err(Fault::Protocol { detail: "a fault of the broker's own" })),
    };
    hub.with(|core| core.detach(seat, how, hub.now_us()));
    if let Err(fault) = &result {
        if let Some(reason) = fault.reason() {
            codec::disconnect(version, reason, &mut wire.out);
        }
        let _ = timeout(LAST_WORD, wire.drain()).await;
    }
    result
}

/// When to look without being woken.
struct Alarm<'a> {
    sleep: Pin<&'a mut Sleep>,
    at: Instant,
}

impl Alarm<'_> {
    /// Rings at `at` or before.
    fn by(&mut self, at: Instant) {
        if at < self.at || self.sleep.is_elapsed() {
            self.at = at;
            self.sleep.as_mut().reset(at);
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    hub: &Arc<Hub>,
    wire: &mut Wire<S>,
    welcome: Welcome,
    drain: &Drain,
) -> Result<Leave, Fault> {
    let Welcome { mut talk, attached, .. } = welcome;
    let mut durable = hub.durable.clone();
    let seconds = talk.keep_alive;
    let keep_alive = (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 1500));
    let stall = Some(hub.options().stall_timeout).filter(|d| !d.is_zero());
    let far = Instant::now() + Duration::from_secs(86_400);
    let mut sleep = pin!(sleep_until(far));
    let mut alarm = Alarm { sleep: sleep.as_mut(), at: far };
    let (mut heard, mut taken) = (Instant::now(), Instant::now());
    let (mut unread, mut more) = (!wire.input.is_empty(), true);
    let mut stop = pin!(drain.started());
    loop {
        if talk.waits() {
            let so_far = *durable.borrow_and_update();
            talk.answer(so_far, &mut wire.out);
        }
        let mut paused = wire.out.len() >= TOO_MUCH || talk.is_full();
        if unread && !paused {
            match read(hub, wire, &mut talk)? {
                Read::Left(how) => {
                    talk.answer(*durable.borrow(), &mut wire.out);
                    let _ = timeout(LAST_WORD, wire.drain()).await;
                    return Ok(how);
                }
                Read::More => unread = true,
                Read::Nothing => unread = false,
                Read::Disk => {
                    paused = true;
                    alarm.by(Instant::now() + DISK_PAUSE);
                }
            }
            // Acknowledgements make room.
            more = true;
        }
        if talk.waits() {
            let so_far = *durable.borrow_and_update();
            talk.answer(so_far, &mut wire.out);
        }
        if more && wire.out.len() < ENOUGH {
            let now_us = hub.now_us();
            more = hub.with(|core| core.take(attached.seat, &mut wire.out, now_us))?;
        }
        let now = Instant::now();
        if wire.out.is_empty() {
            taken = now;
        } else if let Some(stall) = stall {
            if now >= taken + stall {
                return Err(Fault::SlowReader);
            }
            alarm.by(taken + stall);
        }
        if let Some(keep_alive) = keep_alive {
            // While nothing is read, nothing can be heard.
            if paused || unread {
                heard = now;
            } else if now >= heard + keep_alive {
                return Err(Fault::KeepAlive { seconds });
            }
            alarm.by(heard + keep_alive);
        }
        if unread && !paused && !talk.is_full() {
            // More packets are here: others get their turn first.
            tokio::task::yield_now().await;
        }
        let busy = (unread && !paused) || (more && wire.out.is_empty());
        tokio::select! {
            biased;
            () = &mut stop => return Err(Fault::Stopping),
            moved = wire.step(!unread && !paused) => {
                let moved = moved?;
                if moved.read {
                    (heard, unread) = (Instant::now(), true);
                }
                if moved.written {
                    taken = Instant::now();
                }
            }
            () = attached.notify.notified() => more = true,
            _ = durable.changed(), if talk.waits() => {}
            () = &mut alarm.sleep => alarm.at = far,
            () = std::future::ready(()), if busy => {}
        }
    }
}

enum Read {
    Left(Leave),
    /// There are more packets to handle.
    More,
    /// The rest is no whole packet.
    Nothing,
    /// Not now: the disk does not keep up.
    Disk,
}

/// Handles the packets that have come, up to a number that holds nobody up.
fn read<S: AsyncRead + AsyncWrite + Unpin>(
    hub: &Hub,
    wire: &mut Wire<S>,
    talk: &mut super::talk::Talk,
) -> Result<Read, Fault> {
    let (limit, now_us) = (talk.packet, hub.now_us());
    let mut used = 0;
    let (input, out) = (&wire.input, &mut wire.out);
    let done = hub.with(|core| {
        if core.journal.as_ref().is_some_and(Journal::is_full) {
            return Ok(Read::Disk);
        }
        for _ in 0..BATCH {
            if talk.is_full() {
                return Ok(Read::More);
            }
            let rest = input.get(used..).unwrap_or_default();
            let Some((packet, bytes)) = codec::decode(rest, talk.version, limit)? else {
                return Ok(Read::Nothing);
            };
            used += bytes;
            if let Next::Leave(how) = talk.said(core, packet, bytes, out, now_us)? {
                return Ok(Read::Left(how));
            }
        }
        Ok(Read::More)
    });
    wire.input.advance(used);
    done
}
