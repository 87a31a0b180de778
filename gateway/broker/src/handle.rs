//! The rest of the gateway's way to the broker: publish, read, and see who is there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use common::Clock;
use gateway_core::Messages;
use gateway_core::messages::check_topic;
use serde::Serialize;
use tokio::sync::{Notify, mpsc, watch};

use crate::auth::Auth;
use crate::codec::Version;
use crate::core::{Core, Message};
use crate::listeners::{self, Place, Prepared};
use crate::lock;
use crate::net::Newcomers;
use crate::options::{Error, Options};

/// Subscriptions shown of one client: the list is made under the lock.
const SHOWN: usize = 20;
/// Connections that have not said CONNECT yet, beside the clients.
const NEWCOMERS: usize = 64;

/// What all connections share.
pub(crate) struct Hub {
    options: RwLock<Arc<Options>>,
    /// Of the options: looked at for each message.
    rate: AtomicU32,
    clock: Clock,
    inbox: usize,
    pub(crate) places: watch::Sender<Vec<Arc<Place>>>,
    pub(crate) core: Arc<Mutex<Core>>,
    pub(crate) auth: Auth,
    pub(crate) newcomers: Newcomers,
    /// How far the disk has come.
    pub(crate) durable: watch::Receiver<u64>,
    /// Connections refused or closed for what they did.
    pub(crate) refused: AtomicU64,
    /// Wall time when `clock` was made: from here on time does not jump.
    base_us: i64,
}

impl Hub {
    pub(crate) fn new(
        options: Options,
        places: Vec<Arc<Place>>,
        core: Arc<Mutex<Core>>,
        durable: watch::Receiver<u64>,
        base_us: i64,
    ) -> Self {
        Self {
            rate: options.limits.rate.into(),
            clock: options.clock.clone(),
            inbox: options.inbox,
            places: watch::Sender::new(places),
            core,
            auth: Auth::new(options.users.clone()),
            newcomers: Newcomers::new(NEWCOMERS),
            durable,
            refused: AtomicU64::new(0),
            base_us,
            options: RwLock::new(Arc::new(options)),
        }
    }

    /// The options of now.
    pub(crate) fn options(&self) -> Arc<Options> {
        self.options.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Messages a second that a client may publish; 0: any.
    pub(crate) fn rate(&self) -> u32 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Wall time that never jumps while the program runs.
    pub(crate) fn now_us(&self) -> i64 {
        self.base_us.saturating_add_unsigned(self.clock.mono_us())
    }

    /// Does something with the core, and then wakes the connections that have something to do.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let (done, wakes) = {
            let mut core = lock(&self.core);
            let done = work(&mut core);
            (done, core.take_wakes())
        };
        // Not under the lock: waking can mean a system call.
        wakes.iter().for_each(|n: &Arc<Notify>| n.notify_one());
        done
    }

    pub(crate) fn base(clock: &Clock) -> i64 {
        clock.now_us().saturating_sub_unsigned(clock.mono_us())
    }
}

/// Other options with everything that they need.
pub struct Renewal {
    options: Options,
    prepared: Prepared,
}

/// The rest of the gateway's way to the broker. Cheap to clone; it stays valid over restarts of the broker.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Hub>);

/// How the broker fares.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Where clients connect.
    pub listeners: Vec<SocketAddr>,
    /// Clients connected.
    pub connected: usize,
    /// Connections refused or closed for what they did.
    pub refused: u64,
    /// Retained messages.
    pub retained: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
    /// Every session, connected or not.
    pub clients: Vec<ClientStatus>,
}

/// One client and its session.
#[derive(Debug, Clone, Serialize)]
pub struct ClientStatus {
    /// Client id.
    pub client: String,
    /// The user that it signed in as.
    pub user: Option<String>,
    /// `3.1.1` or `5`.
    pub version: &'static str,
    /// Its address; none: it is away and its session waits.
    pub peer: Option<String>,
    /// The listener that it came by.
    pub listener: Option<String>,
    /// Since when it is connected, UTC us.
    pub since_us: Option<i64>,
    /// Seconds that its session outlives a connection.
    pub session_expiry_s: u32,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// The first of them.
    pub filters: Vec<String>,
    /// Messages that wait for it.
    pub queued: usize,
    /// Bytes that wait for it or are on their way.
    pub queued_bytes: usize,
    /// Messages on their way without acknowledgement.
    pub in_flight: usize,
    /// Messages that it published.
    pub received: u64,
    /// Bytes of them.
    pub received_bytes: u64,
    /// Messages that it was sent.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Messages that did not fit into its queue.
    pub dropped: u64,
    /// Messages that it had no right to publish.
    pub denied: u64,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.addrs()).finish()
    }
}

impl Handle {
    /// Where clients connect: the first listener.
    pub fn local_addr(&self) -> SocketAddr {
        let first = self.0.places.borrow().first().map(|p| p.addr);
        first.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Where clients connect, in the order of the options.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.0.places.borrow().iter().map(|p| p.addr).collect()
    }

    /// Takes what other options need, and changes nothing yet. `dir`, `sync_interval`, `inbox` and `clock` are those of
    /// the start.
    ///
    /// # Errors
    /// As of `Broker::start`.
    pub async fn prepare(&self, options: Options) -> Result<Renewal, Error> {
        let running = self.0.places.borrow().clone();
        let prepared = listeners::prepare(&options, &running).await?;
        Ok(Renewal { options, prepared })
    }

    /// Goes over to other options. Users, rights and the limits of queues hold from the next packet of each client on;
    /// what a client was promised when it connected, from its next connection on. A client whose user is gone is
    /// closed, and so are those of a listener that is gone or another one now.
    pub fn renew(&self, renewal: Renewal) {
        let Renewal { options, prepared } = renewal;
        let hub = &self.0;
        hub.with(|core| {
            hub.auth.renew(options.users.clone());
            hub.rate.store(options.limits.rate, Ordering::Relaxed);
            core.renew(options.limits.clone(), &options.rights, |user| hub.auth.has(user));
            *hub.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
        });
        let places = prepared.open();
        let before = hub.places.send_replace(places.clone());
        for place in before.iter().filter(|b| !places.iter().any(|p| Arc::ptr_eq(b, p))) {
            place.closing.start();
        }
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        lock(&self.0.core).connected()
    }

    /// How many connections were refused or closed for what they did.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Publishes a message, to clients and to readers inside of the gateway, each at the QoS that it asked for. It
    /// never waits, and the payload is shared, not copied. What it retains is not written to disk: the gateway says
    /// it anew at each start. False if the topic is none.
    pub fn publish(&self, topic: &str, payload: impl Into<Bytes>, retain: bool) -> bool {
        if check_topic(topic).is_err() {
            return false;
        }
        let (message, now_us) = (Message::own(topic, payload.into(), retain), self.0.now_us());
        self.0.with(|core| core.publish(None, message, now_us));
        true
    }

    /// The same for several messages of topics that are some, in their order: whoever wants them is woken once.
    pub(crate) fn publish_all(&self, messages: &mut Vec<Message>) {
        let now_us = self.0.now_us();
        self.0.with(|core| {
            for message in messages.drain(..) {
                core.publish(None, message, now_us);
            }
        });
    }

    /// Who is there, and how it goes.
    pub fn status(&self) -> Status {
        let core = lock(&self.0.core);
        let mut clients = Vec::new();
        core.each_session(|s| {
            let conn = s.conn.as_ref();
            clients.push(ClientStatus {
                client: s.client.to_string(),
                user: s.user.as_deref().map(str::to_owned),
                version: if s.version == Version::V5 { "5" } else { "3.1.1" },
                peer: conn.map(|c| c.peer.to_string()),
                listener: conn.map(|c| c.listener.to_string()),
                since_us: conn.map(|c| c.since_us),
                session_expiry_s: s.expiry,
                subscriptions: s.filters.len(),
                filters: s.filters.keys().take(SHOWN).map(ToString::to_string).collect(),
                queued: s.queue.len(),
                queued_bytes: s.bytes,
                in_flight: s.in_flight.len(),
                received: s.traffic.received,
                received_bytes: s.traffic.received_bytes,
                sent: s.traffic.sent,
                sent_bytes: s.traffic.sent_bytes,
                dropped: s.traffic.dropped,
                denied: s.traffic.denied,
            });
        });
        let ((retained, retained_bytes), connected) = (core.retained_size(), core.connected());
        drop(core);
        clients.sort_by(|a, b| a.client.cmp(&b.client));
        let listeners = self.addrs();
        Status { listeners, connected, refused: self.refused(), retained, retained_bytes, clients }
    }
}

impl gateway_core::Publish for Handle {
    fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        Handle::publish(self, topic, payload, retain)
    }

    fn publish_now(&self, topic: &str, payload: Bytes, within: Duration) -> bool {
        if check_topic(topic).is_err() {
            return false;
        }
        let now_us = self.0.now_us();
        // QoS 0 waits for nobody who is away.
        let mut message = Message::new(topic, payload, 0, false);
        let within_us = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
        message.expires = Some(now_us.saturating_add(within_us));
        self.0.with(|core| {
            let heard = core.is_heard(topic);
            if heard {
                core.publish(None, message, now_us);
            }
            heard
        })
    }
}

impl Messages for Handle {
    fn subscribe(&self, filters: Vec<String>) -> mpsc::Receiver<gateway_core::Message> {
        let (to, from) = mpsc::channel(self.0.inbox.max(1));
        let now_us = self.0.now_us();
        self.0.with(|core| core.tap(filters, to, now_us));
        from
    }
}
