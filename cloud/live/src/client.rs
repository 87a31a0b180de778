//! One live client: what it has, and what it is to get next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cloud_core::Scope;
use common::api::{Role, ServerMessage};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::area::{Area, Layout, to_text};
use crate::events::Mailbox;
use crate::ticker::Shared;

const SLOWEST_HZ: f64 = 0.1;
const FASTEST_HZ: f64 = 50.0;

/// What goes into one WebSocket message.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientItem {
    /// JSON of a `ServerMessage`.
    Text(Arc<str>),
    /// A `LiveFrame`.
    Binary(Bytes),
}

/// A client of the live channel. Dropping it disconnects it.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    ticks: watch::Receiver<u64>,
    /// Shortest time between two passes over the areas; none while not subscribed.
    interval: Option<Duration>,
    layout: Arc<Layout>,
    /// What the client has of each area: epoch, version.
    has: HashMap<u16, (u32, u64)>,
    /// The areas that this pass has still to look at.
    pass: VecDeque<Arc<Area>>,
    /// When the next pass is due. It may begin half a tick before: ticks come on a grid, and a client
    /// would miss every other one by a hair.
    due: Instant,
    /// Of one area, what is ready to be sent.
    ready: VecDeque<ClientItem>,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>) -> Self {
        shared.metrics.clients.inc();
        Self {
            ticks: shared.ticks.subscribe(),
            layout: shared.layout(),
            shared,
            mailbox,
            interval: None,
            has: HashMap::new(),
            pass: VecDeque::new(),
            due: Instant::now(),
            ready: VecDeque::new(),
        }
    }

    /// Starts values, or starts them anew: of every area that may be seen the schema and all rows, then what
    /// changes, at most `max_hz` frames a second and area (0.1 to 50; none for the default).
    pub fn subscribe(&mut self, max_hz: Option<f64>) {
        let hz = max_hz.filter(|hz| hz.is_finite()).unwrap_or(self.shared.options.default_hz);
        let interval = Duration::from_secs_f64(1.0 / hz.clamp(SLOWEST_HZ, FASTEST_HZ));
        self.interval = Some(interval);
        self.layout = self.shared.layout();
        self.has.clear();
        self.ready.clear();
        self.due = Instant::now();
        self.pass = self.visible();
    }

    /// As `subscribe` with this rate.
    pub fn set_rate(&mut self, max_hz: f64) {
        self.subscribe(Some(max_hz));
    }

    /// What to send next. Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&mut self) -> ClientItem {
        loop {
            if let Some(item) = self.poll_now() {
                return item;
            }
            let is_behind = self.is_behind();
            // A message since `poll_now` has left its permit here.
            let arrived = self.mailbox.arrived.notified();
            match self.interval {
                None => arrived.await,
                Some(_) if is_behind => tokio::select! {
                    () = arrived => {}
                    () = tokio::time::sleep_until(self.earliest()) => {}
                },
                Some(_) => tokio::select! {
                    () = arrived => {}
                    // The sender lives as long as `shared`.
                    _ = self.ticks.changed() => {}
                },
            }
        }
    }

    fn poll_now(&mut self) -> Option<ClientItem> {
        if let Some(item) = self.ready.pop_front() {
            return Some(item);
        }
        match self.mailbox.take_lost() {
            0 => {}
            count => return Some(ClientItem::Text(to_text(&ServerMessage::Lost { count }))),
        }
        if let Some(text) = self.mailbox.next() {
            return Some(ClientItem::Text(text));
        }
        let interval = self.interval?;
        if self.pass.is_empty() && Instant::now() >= self.earliest() && self.is_behind() {
            self.due = self.due.max(Instant::now()) + interval;
            self.pass = self.visible();
        }
        while let Some(area) = self.pass.pop_front() {
            self.prepare(&area, interval);
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
        }
        None
    }

    /// Puts what the client lacks of an area into `ready`.
    fn prepare(&mut self, area: &Area, interval: Duration) {
        let has = self.has.get(&area.id).filter(|(epoch, _)| *epoch == area.epoch).map(|(_, v)| *v);
        if has == Some(area.version()) {
            return;
        }
        if has.is_none() {
            self.ready.push_back(ClientItem::Text(area.schema.clone()));
        }
        let since = has.unwrap_or(0);
        let tick = self.shared.tick.load(Ordering::Relaxed);
        let (version, encoded) = area.since(since, tick, self.shared.clock.now_us());
        self.has.insert(area.id, (area.epoch, version));
        self.ready.extend(encoded.frame.map(ClientItem::Binary));
        self.ready.extend(encoded.texts.map(ClientItem::Text));
        if since > 0 {
            // What the client's own rate leaves out was not for its slowness.
            let by_rate = interval.as_micros() / self.shared.options.tick.as_micros().max(1) + 1;
            let skipped = (version - since).saturating_sub(u64::try_from(by_rate).unwrap_or(u64::MAX));
            self.shared.metrics.skipped.inc_by(skipped);
        }
    }

    fn earliest(&self) -> Instant {
        let grace = self.shared.options.tick / 2;
        self.due.checked_sub(grace).unwrap_or(self.due)
    }

    /// Whether any area has what the client has not.
    fn is_behind(&mut self) -> bool {
        self.ticks.mark_unchanged();
        let layout = self.shared.layout();
        if !Arc::ptr_eq(&layout, &self.layout) {
            self.layout = layout;
            let areas = &self.layout.areas;
            // A number that came to other rows is sent anew; one that is gone is forgotten.
            self.has.retain(|id, _| areas.iter().any(|a| a.id == *id));
        }
        let lacks = |a: &Arc<Area>| self.has.get(&a.id) != Some(&(a.epoch, a.version()));
        self.layout.areas.iter().filter(|a| self.may_see(a)).any(lacks)
    }

    fn visible(&self) -> VecDeque<Arc<Area>> {
        self.layout.areas.iter().filter(|a| self.may_see(a)).cloned().collect()
    }

    fn may_see(&self, area: &Area) -> bool {
        self.mailbox.access.allows(Role::Viewer, &Scope::Asset(area.path.clone()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.metrics.clients.dec();
    }
}
