//! The channel itself: takes changes from everybody, ticks at most 50 times a second while there are any,
//! and wakes the clients. The first change after a pause ticks at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use cloud_core::{Access, Applied, LiveSink, Scope, World};
use common::api::{Role, ServerMessage};
use common::{Clock, Drain};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::area::{Layout, to_text};
use crate::client::Client;
use crate::events::{Mailbox, Subject};
use crate::metrics::Metrics;

/// What may be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Shortest time between two ticks.
    pub tick: Duration,
    /// Frames a second and area for a client that does not say.
    pub default_hz: f64,
    /// Text messages that may wait for one client.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { tick: Duration::from_millis(20), default_hz: 10.0, queue: 256 }
    }
}

/// The live channel. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Live(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    world: World,
    pub(crate) clock: Clock,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    layout: RwLock<Arc<Layout>>,
    /// Area numbers given so far, and the epoch of the newest layout.
    given: Mutex<(HashMap<String, u16>, u32)>,
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
    changed: Notify,
    /// Grows with each tick and each new layout.
    pub(crate) ticks: watch::Sender<u64>,
    pub(crate) tick: AtomicU32,
}

impl Live {
    /// One that shows `world`.
    pub fn new(world: World, clock: Clock, options: Options) -> Self {
        let live = Self(Arc::new(Shared {
            world,
            clock,
            options,
            metrics: Metrics::default(),
            layout: RwLock::default(),
            given: Mutex::default(),
            mailboxes: Mutex::default(),
            changed: Notify::new(),
            ticks: watch::Sender::new(0),
            tick: AtomicU32::new(0),
        }));
        live.0.lay_out();
        live
    }

    /// What it counts.
    pub fn metrics(&self) -> Metrics {
        self.0.metrics.clone()
    }

    /// Ticks until drained.
    pub async fn run(&self, drain: Drain) {
        let mut earliest = Instant::now();
        loop {
            tokio::select! {
                () = drain.started() => return,
                () = self.0.changed.notified() => {}
            }
            tokio::select! {
                () = drain.started() => return,
                () = tokio::time::sleep_until(earliest) => {}
            }
            earliest = Instant::now() + self.0.options.tick;
            self.0.end_tick();
        }
    }

    /// A client with these rights. It gets messages at once, and values from `Client::subscribe` on.
    pub fn connect(&self, access: Access) -> Client {
        let mailbox = Arc::new(Mailbox::new(access, self.0.options.queue));
        let mut mailboxes = self.0.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|m| m.strong_count() > 0);
        mailboxes.push(Arc::downgrade(&mailbox));
        drop(mailboxes);
        Client::new(self.0.clone(), mailbox)
    }
}

impl Shared {
    pub(crate) fn layout(&self) -> Arc<Layout> {
        self.layout.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes areas and rows anew from the state. The write lock is held throughout, so that no sample falls
    /// between the state that was read and the layout that shows it.
    fn lay_out(&self) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut layout = self.layout.write().unwrap_or_else(PoisonError::into_inner);
        given.1 = given.1.wrapping_add(1);
        let (ids, epoch) = &mut *given;
        let new = Layout::of(&self.world.read(), &layout, ids, *epoch);
        *layout = Arc::new(new);
    }

    fn end_tick(&self) {
        let mut any = false;
        for area in &self.layout().areas {
            any |= area.tick();
        }
        if any {
            self.tick.fetch_add(1, Ordering::Relaxed);
            self.ticks.send_modify(|n| *n += 1);
        }
    }
}

impl LiveSink for Live {
    /// Do not hold a guard of the world here: a new layout waits for it.
    fn values(&self, applied: &[Applied]) {
        // Under the read lock, so that no sample goes to a layout that is being replaced.
        let layout = self.0.layout.read().unwrap_or_else(PoisonError::into_inner);
        if layout.put(applied) {
            self.0.changed.notify_one();
        }
    }

    fn message(&self, scope: &Scope, message: ServerMessage) {
        let subject = Subject::of(&message);
        let mut text = None;
        let mailboxes = self.0.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        for mailbox in mailboxes.iter().filter_map(Weak::upgrade) {
            if mailbox.access.allows(Role::Viewer, scope)
                && mailbox.put(subject.as_ref(), text.get_or_insert_with(|| to_text(&message)))
            {
                self.0.metrics.lost.inc();
            }
        }
    }

    fn twins_changed(&self) {
        self.0.lay_out();
        let text = to_text(&ServerMessage::Twins);
        let mailboxes = self.0.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        for mailbox in mailboxes.iter().filter_map(Weak::upgrade) {
            if mailbox.put(Some(&Subject::Twins), &text) {
                self.0.metrics.lost.inc();
            }
        }
        drop(mailboxes);
        self.0.ticks.send_modify(|n| *n += 1);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
