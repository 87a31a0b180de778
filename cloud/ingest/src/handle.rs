//! Live sessions and how gateways fare, for the rest of the cloud.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cloud_core::{BoxError, Downlink, DownlinkError, GatewayKey, StoreError};
use common::Incarnation;
use common::alarm::AlarmOrder;
use common::api::{GatewayHealth, GatewayView, HeldBox, UpdateOffer};
use common::command::{CommandOrder, DesiredOrder, LogEntry, Severity};
use common::names::{Code, action};
use common::wire::{self, Body, Down, FEATURE_ALARMS, FEATURE_CREDIT, Frame, WantedConfiguration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::aside::Told;
use crate::boxes::Book;
use crate::credit::{ACTIVE, Credit};
use crate::options::{Options, Parts};
use crate::outbox::{End, Outbox};

/// Desired values in one message: well below the limit of a message.
const DESIRED_PER_MESSAGE: usize = 64;

/// The ways to gateways. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) parts: Parts,
    /// Bytes of memory for live frames that may still wait for a commit.
    pub(crate) budget: Arc<Semaphore>,
    /// The same for frames of the backlog.
    pub(crate) backlog: Arc<Semaphore>,
    /// Bytes of batches that may still wait to be unpacked, and how many may be at a time.
    pub(crate) packed: Arc<Semaphore>,
    pub(crate) unpackers: Semaphore,
    pub(crate) credit: Credit,
    /// Who speaks under which name.
    pub(crate) book: Book,
    pub(crate) told: Told,
    table: Mutex<Table>,
    next_session: AtomicU64,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<GatewayKey, Session>,
    /// Signed in, and not let in yet.
    waiting: Vec<(GatewayKey, Arc<Outbox>)>,
    seen: BTreeMap<GatewayKey, Seen>,
}

struct Session {
    outbox: Arc<Outbox>,
    /// The gateway's session time and when it came; none before the `HelloAck`.
    time: Option<(u64, Instant)>,
    /// What its program understands.
    features: Vec<String>,
    /// When a batch of backlog came last.
    backlog_at: Option<Instant>,
    /// Credit that it was told.
    credit: Option<u64>,
    /// Whether it takes configuration documents, and the version of the last that it was handed.
    configures: bool,
    configured: Option<u64>,
    /// Whether it takes bundles of updates, and the last word that it had on which.
    updates: bool,
    offered: Option<Option<UpdateOffer>>,
}

impl Session {
    fn knows(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }
}

struct Seen {
    connected: bool,
    since_us: i64,
    last_seen_us: i64,
    health: Option<GatewayHealth>,
    /// Boxes that are held back.
    held: Vec<HeldBox>,
}

impl Seen {
    fn new(at_us: i64) -> Self {
        Self { connected: false, since_us: at_us, last_seen_us: at_us, health: None, held: Vec::new() }
    }
}

impl Shared {
    pub(crate) fn new(options: Options, mut parts: Parts) -> Self {
        let seen = |(key, at): (GatewayKey, i64)| (key, Seen::new(at));
        let seen = std::mem::take(&mut parts.gateways).into_iter().map(seen).collect();
        let bytes = || Arc::new(Semaphore::new(options.waiting_bytes.min(Semaphore::MAX_PERMITS)));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            budget: bytes(),
            backlog: bytes(),
            packed: bytes(),
            unpackers: Semaphore::new(processors),
            credit: Credit::default(),
            // Numbers of sessions grow over restarts as well.
            next_session: AtomicU64::new(u64::try_from(parts.clock.now_us()).unwrap_or(1)),
            book: Book::new(parts.clock.now_us()),
            told: Told::default(),
            options,
            parts,
            table: Mutex::new(Table { seen, ..Table::default() }),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a frame may wait for a commit: its share of the memory for that.
    pub(crate) async fn room(
        &self,
        of: &Arc<Semaphore>,
        frame: &Frame,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, End> {
        let rows = match &frame.body {
            Body::Samples(rows) => size_of_val(&rows[..]),
            Body::Waveform(wave) => wave.values.len() * size_of::<f64>(),
            _ => 0,
        };
        let size = u32::try_from((bytes + rows).min(self.options.waiting_bytes)).unwrap_or(u32::MAX);
        of.clone().acquire_many_owned(size).await.map_err(|_| End::Draining)
    }

    /// Whether `times` as many samples wait for compaction as may.
    pub(crate) fn is_full(&self, times: usize) -> bool {
        self.parts.storage.waiting_samples() >= self.options.waiting_samples.saturating_mul(times)
    }

    /// Notes that a session sends backlog.
    pub(crate) fn has_backlog(&self, key: &GatewayKey, session: u64) {
        if let Some(live) = self.table().sessions.get_mut(key).filter(|s| s.outbox.session == session) {
            live.backlog_at = Some(Instant::now());
        }
    }

    /// Tells every gateway that knows the word how much backlog it may have on its way, where that has changed by much.
    pub(crate) fn give_credit(&self, share: impl Fn(usize) -> u64) {
        let mut table = self.table();
        let is_active = |s: &Session| s.backlog_at.is_some_and(|at| at.elapsed() < ACTIVE);
        let active = table.sessions.values().filter(|s| is_active(s)).count();
        for session in table.sessions.values_mut() {
            if session.time.is_none() || !session.knows(FEATURE_CREDIT) {
                continue;
            }
            // Who begins has its share among the others.
            let new = share(active + usize::from(!is_active(session)));
            let told = session.credit;
            let same = told
                .is_some_and(|told| new == told || (new > 0 && told > 0 && new.abs_diff(told) < told / 4));
            if !same && session.outbox.message(&Down::Credit(wire::Credit { backlog_bytes: new })) {
                session.credit = Some(new);
            }
        }
    }

    pub(crate) fn session_number(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// A session has signed in, and its gateway says hello next.
    pub(crate) fn wait(&self, key: &GatewayKey, outbox: Arc<Outbox>) {
        self.table().waiting.push((key.clone(), outbox));
    }

    /// Enters a session that is let in. An older one of the same gateway is ended, and people are told if nobody has yet.
    pub(crate) async fn enter(&self, key: &GatewayKey, outbox: &Arc<Outbox>, is_told: bool) {
        let session = || Session {
            outbox: outbox.clone(),
            time: None,
            features: Vec::new(),
            backlog_at: None,
            credit: None,
            configures: false,
            configured: None,
            updates: false,
            offered: None,
        };
        let older = {
            let mut table = self.table();
            if table.sessions.get(key).is_some_and(|s| s.outbox.session == outbox.session) {
                return;
            }
            let older = table.sessions.insert(key.clone(), session());
            self.parts.metrics.sessions(table.sessions.len());
            older
        };
        let Some(older) = older else { return };
        older.outbox.end(End::TakenOver);
        if is_told {
            return;
        }
        let entry = LogEntry {
            at_us: self.parts.clock.now_us(),
            actor: "system".into(),
            action: action::GATEWAY_TAKEN_OVER.into(),
            target: key.gateway.to_string(),
            twin: None,
            severity: Severity::Warning,
            code: Some(Code::Conflict),
            detail:
                "said hello while an older session lived, which was closed: a link that broke without a word"
                    .into(),
        };
        if let Err(error) = self.parts.storage.append_audit(&entry).await {
            tracing::error!(%error, gateway = %key, "audit entry not stored");
        }
        self.parts.sink.event(&entry);
    }

    /// Whether another session of the gateway lives, and when its last word came, UTC us.
    pub(crate) fn standing(&self, key: &GatewayKey, session: u64) -> (bool, Option<i64>) {
        let table = self.table();
        let live = table.sessions.get(key).is_some_and(|s| {
            // A session that says nothing for as long as was agreed with it ends itself.
            s.outbox.session != session && s.time.is_some() && !s.outbox.ended.is_cancelled()
        });
        (live, table.seen.get(key).map(|s| s.last_seen_us))
    }

    /// Boxes of a gateway that are held back, for those who look.
    pub(crate) fn show_held(&self, key: &GatewayKey, held: Vec<HeldBox>) {
        let now = self.parts.clock.now_us();
        let mut table = self.table();
        if held.is_empty() && !table.seen.contains_key(key) {
            return;
        }
        let seen = table.seen.entry(key.clone()).or_insert_with(|| Seen::new(now));
        let changed = seen.held != held;
        seen.held = held;
        drop(table);
        if changed {
            self.tell(key);
        }
    }

    /// Ends all sessions of a gateway, also those that have not said hello.
    pub(crate) fn end_sessions(&self, key: &GatewayKey, why: &End) {
        let table = self.table();
        let waiting = table.waiting.iter().filter(|(k, _)| k == key).map(|(_, o)| o);
        let entered = table.sessions.get(key).map(|s| &s.outbox);
        let all: Vec<_> = waiting.chain(entered).cloned().collect();
        drop(table);
        all.iter().for_each(|outbox| outbox.end(why.clone()));
    }

    /// Whether a session's gateway named a feature.
    pub(crate) fn knows(&self, key: &GatewayKey, session: u64, feature: &str) -> bool {
        let table = self.table();
        let live = table.sessions.get(key).filter(|s| s.outbox.session == session);
        live.is_some_and(|s| s.knows(feature))
    }

    /// Takes a session out, if it is still the gateway's.
    pub(crate) fn leave(&self, key: &GatewayKey, session: u64) {
        let mut table = self.table();
        table.waiting.retain(|(_, outbox)| outbox.session != session);
        if table.sessions.get(key).is_none_or(|s| s.outbox.session != session) {
            return;
        }
        table.sessions.remove(key);
        self.parts.metrics.sessions(table.sessions.len());
        let now = self.parts.clock.now_us();
        let was_connected = table.seen.get_mut(key).is_some_and(|seen| {
            let was = std::mem::replace(&mut seen.connected, false);
            if was {
                seen.since_us = now;
            }
            was
        });
        drop(table);
        if was_connected {
            self.tell(key);
        }
    }

    /// Notes that a session talks: its gateway is connected from now on, and takes orders.
    pub(crate) fn connected(&self, key: &GatewayKey, session: u64, session_us: u64, features: Vec<String>) {
        if let Some(live) = self.table().sessions.get_mut(key).filter(|s| s.outbox.session == session) {
            live.features = features;
        }
        self.word(key, session, session_us, |seen, now| {
            if !seen.connected {
                seen.since_us = now;
            }
            seen.connected = true;
        });
    }

    /// Notes whether a session's gateway takes configuration documents.
    pub(crate) fn configures(&self, key: &GatewayKey, session: u64, takes: bool) {
        if let Some(live) = self.table().sessions.get_mut(key).filter(|s| s.outbox.session == session) {
            live.configures = takes;
        }
    }

    /// The way to a gateway that takes documents and was not handed this one in its session; it counts as handed.
    pub(crate) fn to_configure(&self, key: &GatewayKey, version: u64) -> Option<Arc<Outbox>> {
        let mut table = self.table();
        let live = table.sessions.get_mut(key).filter(|s| s.configures && s.configured != Some(version))?;
        live.configured = Some(version);
        Some(live.outbox.clone())
    }

    /// Notes whether a session's gateway takes bundles of updates.
    pub(crate) fn updates(&self, key: &GatewayKey, session: u64, takes: bool) {
        if let Some(live) = self.table().sessions.get_mut(key).filter(|s| s.outbox.session == session) {
            live.updates = takes;
            // Who takes none forgets what was offered.
            live.offered.take_if(|_| !takes);
        }
    }

    /// The way to a gateway that takes bundles and has not heard of this offer in its session.
    pub(crate) fn to_offer(&self, key: &GatewayKey, offer: Option<&UpdateOffer>) -> Option<Arc<Outbox>> {
        let table = self.table();
        let live = table.sessions.get(key).filter(|s| s.updates)?;
        let has = live.offered.as_ref().map(Option::as_ref);
        (has != Some(offer)).then(|| live.outbox.clone())
    }

    /// Notes what a session was offered.
    pub(crate) fn has_offer(&self, key: &GatewayKey, session: u64, offer: Option<UpdateOffer>) {
        if let Some(live) = self.table().sessions.get_mut(key).filter(|s| s.outbox.session == session) {
            live.offered = Some(offer);
        }
    }

    /// What a session was offered.
    pub(crate) fn offered(&self, key: &GatewayKey, session: u64) -> Option<UpdateOffer> {
        let table = self.table();
        table.sessions.get(key).filter(|s| s.outbox.session == session)?.offered.clone().flatten()
    }

    pub(crate) fn heartbeat(&self, key: &GatewayKey, session: u64, session_us: u64, health: GatewayHealth) {
        self.word(key, session, session_us, |seen, _| seen.health = Some(health));
    }

    fn word(&self, key: &GatewayKey, session: u64, session_us: u64, note: impl FnOnce(&mut Seen, i64)) {
        let now = self.parts.clock.now_us();
        let mut table = self.table();
        let Some(live) = table.sessions.get_mut(key).filter(|s| s.outbox.session == session) else { return };
        live.time = Some((session_us, Instant::now()));
        let seen = table.seen.entry(key.clone()).or_insert_with(|| Seen::new(now));
        seen.last_seen_us = now;
        note(seen, now);
        drop(table);
        self.tell(key);
    }

    /// Tells the sink how a gateway fares.
    pub(crate) fn tell(&self, key: &GatewayKey) {
        let twins = self.twins_of(key);
        let view = self.table().seen.get(key).map(|seen| seen.view(key, twins));
        if let Some(view) = view {
            self.parts.sink.gateway(key, view);
        }
    }

    fn twins_of(&self, key: &GatewayKey) -> u32 {
        let state = self.parts.world.read();
        let bound =
            state.twins.values().filter(|t| t.binding.as_ref().is_some_and(|(g, _)| *g == key.gateway));
        u32::try_from(bound.count()).unwrap_or(u32::MAX)
    }

    fn live(&self, gateway: &GatewayKey) -> Result<Arc<Outbox>, DownlinkError> {
        let table = self.table();
        let live = table.sessions.get(gateway).filter(|s| s.time.is_some());
        let live = live.filter(|s| !s.outbox.ended.is_cancelled());
        live.map(|s| s.outbox.clone()).ok_or_else(|| DownlinkError::Offline { gateway: gateway.to_string() })
    }
}

impl Seen {
    fn view(&self, key: &GatewayKey, twins: u32) -> GatewayView {
        GatewayView {
            id: key.gateway.clone(),
            connected: self.connected,
            since_us: self.since_us,
            last_seen_us: self.last_seen_us,
            twins,
            health: self.health.clone(),
            held: self.held.clone(),
        }
    }
}

#[async_trait]
impl Downlink for Handle {
    fn session_us(&self, gateway: &GatewayKey) -> Option<u64> {
        let table = self.0.table();
        let (told, at) = table.sessions.get(gateway)?.time?;
        // What was told was true when it was sent, before it came here. A thousandth off for our clock running
        // faster than the gateway's.
        let since = u64::try_from(at.elapsed().as_micros()).unwrap_or(0);
        Some(told.saturating_add(since - since / 1000))
    }

    async fn command(&self, gateway: &GatewayKey, order: CommandOrder) -> Result<(), DownlinkError> {
        let full = || DownlinkError::Full { gateway: gateway.to_string() };
        let live = self.0.live(gateway)?;
        if live.message(&Down::Command(Box::new(order))) { Ok(()) } else { Err(full()) }
    }

    async fn desired(&self, gateway: &GatewayKey, orders: Vec<DesiredOrder>) -> Result<(), DownlinkError> {
        let live = self.0.live(gateway)?;
        for some in orders.chunks(DESIRED_PER_MESSAGE) {
            if !live.message(&Down::Desired(some.to_vec())) {
                return Err(DownlinkError::Full { gateway: gateway.to_string() });
            }
        }
        Ok(())
    }

    async fn alarm(&self, gateway: &GatewayKey, order: AlarmOrder) -> Result<(), DownlinkError> {
        let live = self.0.live(gateway)?;
        if !self.0.table().sessions.get(gateway).is_some_and(|s| s.knows(FEATURE_ALARMS)) {
            return Err(DownlinkError::Unsupported { gateway: gateway.to_string() });
        }
        let full = || DownlinkError::Full { gateway: gateway.to_string() };
        if live.message(&Down::Alarm(Box::new(order))) { Ok(()) } else { Err(full()) }
    }

    async fn configuration(&self, gateway: &GatewayKey, wanted: WantedConfiguration) {
        self.0.hand_over(gateway, &wanted);
    }

    fn offer(&self, gateway: &GatewayKey, offer: Option<UpdateOffer>) {
        self.0.hand_offer(gateway, offer);
    }

    async fn credential_changed(&self, gateway: &GatewayKey) -> Result<(), StoreError> {
        self.open(gateway).await
    }

    async fn accept_box(
        &self,
        gateway: &GatewayKey,
        incarnation: Option<Incarnation>,
        audit: LogEntry,
    ) -> Result<HeldBox, BoxError> {
        self.accept(gateway, incarnation, audit).await
    }

    fn gateways(&self) -> Vec<GatewayView> {
        let mut counts: HashMap<_, u32> = HashMap::new();
        for twin in self.0.parts.world.read().twins.values() {
            if let Some((gateway, _)) = &twin.binding {
                *counts.entry(gateway.clone()).or_default() += 1;
            }
        }
        let count = |key: &GatewayKey| counts.get(&key.gateway).copied().unwrap_or(0);
        self.0.table().seen.iter().map(|(key, seen)| seen.view(key, count(key))).collect()
    }
}
