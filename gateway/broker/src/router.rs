//! rumqttd's router and the links to it. Its client ids are numbers of ours, used again and again: it keeps
//! some state for each id that it ever saw. Not here: sockets.

use std::sync::Arc;

use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Packet, PingReq};
use rumqttd::{Notification, RouterConfig};
use tokio::time::{Duration, sleep};

use crate::options::{Error, Options};

/// The router's queue of events holds 1000 and a send to a full one blocks its thread. Senders wait while
/// it is longer than this; there are never so many of them that the rest is used up.
const BUSY: usize = 800;

type Connect = dyn Fn(&str, bool) -> Result<(LinkTx, LinkRx, Notification), String> + Send + Sync;

/// A running router. The type of its channel has no public name, so that only closures can hold it.
#[derive(Clone)]
pub(crate) struct Router {
    connect: Arc<Connect>,
    waiting: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// One link: packets in, packets out.
pub(crate) struct Link {
    tx: LinkTx,
    pub(crate) rx: LinkRx,
    router: Router,
    /// Whether the router knows the session from before.
    pub(crate) session_present: bool,
}

impl Router {
    /// Starts a router on a thread of its own. The thread ends only with the process or by a panic.
    pub(crate) fn start(options: &Options) -> Self {
        let config = RouterConfig {
            // The front counts clients; a router that refuses one says nothing.
            max_connections: options.max_connections + options.max_sessions + 16,
            max_outgoing_packet_count: 200,
            max_segment_size: options.segment_bytes.max(1024),
            max_segment_count: options.segment_count.max(1),
            ..RouterConfig::default()
        };
        let events = rumqttd::Router::new(0, config).spawn();
        let queue = events.clone();
        Self {
            connect: Arc::new(move |id, clean| {
                LinkBuilder::new(id, events.clone()).clean_session(clean).build().map_err(|e| e.to_string())
            }),
            waiting: Arc::new(move || queue.len()),
        }
    }

    /// A new link. `id` must not be in use.
    pub(crate) async fn link(&self, id: String, clean: bool) -> Result<Link, Error> {
        let connect = self.connect.clone();
        // It waits for the router's thread.
        let made = tokio::task::spawn_blocking(move || connect(&id, clean)).await;
        let (tx, rx, ack) = made
            .map_err(|e| Error::Link { detail: e.to_string() })?
            .map_err(|detail| Error::Link { detail })?;
        let packet: Option<Packet> = ack.into();
        let session_present = matches!(packet, Some(Packet::ConnAck(ack, _)) if ack.session_present);
        Ok(Link { tx, rx, router: self.clone(), session_present })
    }
}

impl Link {
    /// Gives packets to the router, in order. Waits while the router is busy, and so slows down whoever
    /// sends too much.
    pub(crate) async fn send(&mut self, packets: &mut Vec<Packet>) -> Result<(), Error> {
        let Some(last) = packets.pop() else { return Ok(()) };
        while (self.router.waiting)() > BUSY {
            sleep(Duration::from_millis(1)).await;
        }
        self.tx.buffer().extend(packets.drain(..));
        self.tx.send(last).await.map_err(|_| Error::Router)?;
        Ok(())
    }

    /// Tells whether the router lives, and keeps it going: after the end of a link it may rest although
    /// others have something to do, until the next event.
    pub(crate) async fn nudge(&mut self) -> Result<(), Error> {
        self.send(&mut vec![Packet::PingReq(PingReq)]).await
    }
}
