//! What all clients and the rest of the gateway share: retained messages, readers inside of the gateway,
//! who is connected, and the router of the moment. It outlives the router.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use gateway_core::messages::{check_topic, has_wildcard, matches};
use gateway_core::{DropCounts, Message, Messages};
use rumqttd::protocol::Packet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::options::Options;
use crate::packets;
use crate::retained::Retained;
use crate::router::Router;
use crate::session::Kept;

/// A reader inside of the gateway. It does not go through the router, which would lose messages of a burst
/// without a word.
struct Tap {
    exact: HashSet<String>,
    patterns: Vec<String>,
    to: mpsc::Sender<Message>,
}

pub(crate) struct Hub {
    pub(crate) options: Options,
    pub(crate) addr: SocketAddr,
    router: Mutex<Option<Router>>,
    retained: Mutex<Retained>,
    taps: RwLock<Vec<Tap>>,
    clients: Mutex<Clients>,
    filters: Mutex<HashSet<String>>,
    outbox: mpsc::Sender<Packet>,
    pub(crate) outgoing: tokio::sync::Mutex<mpsc::Receiver<Packet>>,
    /// Messages that a slow client lost in the router.
    pub(crate) lost_slow: Arc<AtomicU64>,
    /// Clients shown the door.
    pub(crate) refused: AtomicU64,
    lost_inbox: Arc<AtomicU64>,
    lost_outbox: Arc<AtomicU64>,
    lost_retained: Arc<AtomicU64>,
}

#[derive(Default)]
struct Clients {
    connected: HashMap<String, Connected>,
    sessions: HashMap<String, (usize, Kept)>,
    /// Numbers of links in use, of clean and of persistent sessions.
    links: [HashSet<usize>; 2],
    generation: u64,
}

struct Connected {
    generation: u64,
    replaced: CancellationToken,
    gone: CancellationToken,
}

/// A connected client's place. Given up when dropped.
pub(crate) struct Seat {
    hub: Arc<Hub>,
    client: String,
    generation: u64,
    persistent: bool,
    number: usize,
    /// The session's state from before, if it had one.
    pub(crate) kept: Option<Kept>,
    /// Set when another connection takes the client id.
    pub(crate) replaced: CancellationToken,
    gone: CancellationToken,
}

/// Whether the router may get a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// yes, and its queue begins now, at position 0
    New,
    /// yes, it has it already
    Known,
    /// there are too many
    No,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("too many clients")]
    Clients,
    #[error("too many persistent sessions")]
    Sessions,
}

impl Hub {
    pub(crate) fn new(options: Options, addr: SocketAddr, drops: &DropCounts) -> Self {
        let (outbox, outgoing) = mpsc::channel(options.outbox.max(1));
        Self {
            addr,
            router: Mutex::default(),
            retained: Mutex::new(Retained::new(options.max_retained)),
            taps: RwLock::default(),
            clients: Mutex::default(),
            filters: Mutex::default(),
            outbox,
            outgoing: tokio::sync::Mutex::new(outgoing),
            lost_slow: drops.counter("broker", "slow_client"),
            refused: AtomicU64::new(0),
            lost_inbox: drops.counter("broker", "inbox_full"),
            lost_outbox: drops.counter("broker", "outbox_full"),
            lost_retained: drops.counter("broker", "retained_full"),
            options,
        }
    }

    pub(crate) fn set_router(&self, router: Option<Router>) {
        if router.is_some() {
            // A new router knows no filter.
            lock(&self.filters).clear();
        }
        *lock(&self.router) = router;
    }

    pub(crate) fn router(&self) -> Option<Router> {
        lock(&self.router).clone()
    }

    /// Keeps a retained message, gives it to the readers inside of the gateway, and makes the packet for the
    /// router.
    pub(crate) fn deliver(&self, topic: &str, payload: &Bytes, retain: bool) -> Packet {
        let packet = packets::for_router(topic, payload);
        let Packet::Publish(own, _) = &packet else { return packet };
        if retain && !lock(&self.retained).set(topic, &own.payload) {
            self.lost_retained.fetch_add(1, Ordering::Relaxed);
        }
        let mut closed = false;
        for tap in self.taps.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if tap.exact.contains(topic) || tap.patterns.iter().any(|f| matches(topic, f)) {
                closed |= self.give(tap, topic, &own.payload, false);
            }
        }
        if closed {
            self.taps.write().unwrap_or_else(PoisonError::into_inner).retain(|t| !t.to.is_closed());
        }
        packet
    }

    /// Whether the reader is gone.
    fn give(&self, tap: &Tap, topic: &str, payload: &Bytes, retained: bool) -> bool {
        let message = Message { topic: topic.to_owned(), payload: payload.clone(), retained };
        match tap.to.try_send(message) {
            Ok(()) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lost_inbox.fetch_add(1, Ordering::Relaxed);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => true,
        }
    }

    /// Retained messages that match a filter.
    pub(crate) fn retained(&self, filter: &str) -> Vec<(String, Bytes)> {
        lock(&self.retained).matching(filter)
    }

    /// Whether the router may get this filter: it keeps a queue for each that it ever saw.
    pub(crate) fn admit_filter(&self, filter: &str) -> Admitted {
        let mut filters = lock(&self.filters);
        if filters.contains(filter) {
            return Admitted::Known;
        }
        if filters.len() >= self.options.max_filters_total {
            return Admitted::No;
        }
        filters.insert(filter.to_owned());
        Admitted::New
    }

    /// A place for a client. One that is connected under the same id has to leave first.
    pub(crate) async fn seat(self: &Arc<Self>, client: String, clean: bool) -> Result<Seat, Full> {
        loop {
            let gone = {
                let mut clients = lock(&self.clients);
                match clients.connected.get(&client) {
                    None => return clients.take(self, client, clean),
                    Some(other) => {
                        other.replaced.cancel();
                        other.gone.clone()
                    }
                }
            };
            gone.cancelled().await;
        }
    }

    /// How many clients are connected.
    pub(crate) fn count(&self) -> usize {
        lock(&self.clients).connected.len()
    }
}

impl Clients {
    fn take(&mut self, hub: &Arc<Hub>, client: String, clean: bool) -> Result<Seat, Full> {
        if self.connected.len() >= hub.options.max_connections {
            return Err(Full::Clients);
        }
        let (number, kept, persistent) = match self.sessions.get(&client).cloned() {
            // A clean session ends the persistent one; under its number the router forgets it.
            Some((number, _)) if clean => {
                self.sessions.remove(&client);
                (number, None, true)
            }
            Some((number, kept)) => (number, Some(kept), true),
            None if clean => (self.number(0), None, false),
            None if self.sessions.len() >= hub.options.max_sessions => return Err(Full::Sessions),
            None => {
                let number = self.number(1);
                self.sessions.insert(client.clone(), (number, Kept::default()));
                (number, None, true)
            }
        };
        self.generation += 1;
        let (generation, replaced, gone) =
            (self.generation, CancellationToken::new(), CancellationToken::new());
        let connected = Connected { generation, replaced: replaced.clone(), gone: gone.clone() };
        self.connected.insert(client.clone(), connected);
        Ok(Seat { hub: hub.clone(), client, generation, persistent, number, kept, replaced, gone })
    }

    /// The lowest number that is free.
    fn number(&mut self, kind: usize) -> usize {
        let used = &mut self.links[kind];
        let number = (0..).find(|n| !used.contains(n)).unwrap_or_default();
        used.insert(number);
        number
    }
}

impl Seat {
    /// What the router calls the client.
    pub(crate) fn link_id(&self) -> String {
        format!("{}{}", if self.persistent { 'p' } else { 'c' }, self.number)
    }

    /// Keeps a persistent session's state for the next connection.
    pub(crate) fn keep(&self, kept: &Kept) {
        if let Some((_, old)) = lock(&self.hub.clients).sessions.get_mut(&self.client) {
            *old = kept.clone();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut clients = lock(&self.hub.clients);
        if clients.connected.get(&self.client).is_some_and(|c| c.generation == self.generation) {
            clients.connected.remove(&self.client);
        }
        if !clients.sessions.contains_key(&self.client) {
            clients.links[usize::from(self.persistent)].remove(&self.number);
        }
        drop(clients);
        self.gone.cancel();
    }
}

/// The rest of the gateway's way to the broker. Cheap to clone; it stays valid over restarts of the broker.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Hub>);

impl Handle {
    /// Where clients connect.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.0.count()
    }

    /// How many connections were refused or closed for what they did.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Publishes a message, to clients and to readers inside of the gateway. It never waits. False if it
    /// was not taken: the topic is none, or too many messages wait (counted).
    pub fn publish(&self, topic: &str, payload: impl Into<Bytes>, retain: bool) -> bool {
        if check_topic(topic).is_err() {
            return false;
        }
        let packet = self.0.deliver(topic, &payload.into(), retain);
        let taken = self.0.outbox.try_send(packet).is_ok();
        if !taken {
            self.0.lost_outbox.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl gateway_core::Publish for Handle {
    fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        Handle::publish(self, topic, payload, retain)
    }
}

impl Messages for Handle {
    fn subscribe(&self, filters: Vec<String>) -> mpsc::Receiver<Message> {
        let (to, from) = mpsc::channel(self.0.options.inbox.max(1));
        let (patterns, exact): (Vec<_>, Vec<_>) = filters.into_iter().partition(|f| has_wildcard(f));
        let tap = Tap { exact: exact.into_iter().collect(), patterns, to };
        // Nothing is delivered while this is held, so that nothing falls between old and new messages.
        let mut taps = self.0.taps.write().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        for filter in tap.exact.iter().chain(&tap.patterns) {
            for (topic, payload) in self.0.retained(filter) {
                if seen.insert(topic.clone()) {
                    self.0.give(&tap, &topic, &payload, true);
                }
            }
        }
        taps.retain(|t| !t.to.is_closed());
        taps.push(tap);
        from
    }
}

/// A lock that a panicking holder does not take with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
