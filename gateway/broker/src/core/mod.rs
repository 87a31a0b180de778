//! The broker without sockets: sessions, the tree of filters, retained messages, what waits for whom, and what of it
//! must survive. Everything here is a plain function of the state and the time; one lock holds it all.

mod attach;
mod flow;
mod freeze;
mod message;
mod renew;
mod retained;
mod route;
mod session;
mod subscribe;
mod tap;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_core::DropCounts;
use tokio::sync::Notify;

pub(crate) use attach::{Attach, Attached, Leave};
pub(crate) use freeze::Frozen;
pub(crate) use message::Message;
use session::{Queued, Session, Subscription};
use tap::Tap;
use tree::{Entry, Tree};

use self::retained::Retained;
use crate::codec::{Fault, Publish};
use crate::journal::Journal;
use crate::options::Limits;

/// What was lost, and why: each is a line in the gateway's list of drops.
#[derive(Debug)]
pub(crate) struct Losses {
    /// A connected client that was too slow for its queue.
    pub(crate) slow_client: Arc<AtomicU64>,
    /// An absent client whose queue was full.
    pub(crate) session_full: Arc<AtomicU64>,
    /// Messages that waited for a session which ended.
    pub(crate) session_ended: Arc<AtomicU64>,
    /// Messages whose own time ran out while they waited.
    pub(crate) expired: Arc<AtomicU64>,
    /// Messages larger than their client takes.
    pub(crate) too_large: Arc<AtomicU64>,
    /// Retained messages without a place.
    pub(crate) retained_full: Arc<AtomicU64>,
    /// Messages whose sender had no right to their topic.
    pub(crate) not_authorized: Arc<AtomicU64>,
    /// A reader inside of the gateway that was too slow.
    pub(crate) inbox_full: Arc<AtomicU64>,
    /// Acknowledged changes that the disk did not take.
    pub(crate) not_durable: Arc<AtomicU64>,
    /// Records of the journal that could not be read at the start.
    pub(crate) damaged: Arc<AtomicU64>,
}

impl Losses {
    pub(crate) fn new(drops: &DropCounts) -> Self {
        let of = |cause| drops.counter("broker", cause);
        Self {
            slow_client: of("slow_client"),
            session_full: of("session_full"),
            session_ended: of("session_ended"),
            expired: of("expired"),
            too_large: of("too_large"),
            retained_full: of("retained_full"),
            not_authorized: of("not_authorized"),
            inbox_full: of("inbox_full"),
            not_durable: of("not_durable"),
            damaged: of("damaged"),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The state of the broker.
#[derive(Debug)]
pub(crate) struct Core {
    limits: Limits,
    sessions: Vec<Option<Box<Session>>>,
    free: Vec<usize>,
    by_client: HashMap<Box<str>, usize>,
    tree: Tree,
    retained: Retained,
    taps: Vec<Option<Tap>>,
    pub(crate) journal: Option<Journal>,
    pub(crate) losses: Losses,
    /// Connections to be woken when the lock is given up.
    wakes: Vec<Arc<Notify>>,
    epoch: u64,
    connected: usize,
    /// Bytes in all queues.
    queued_bytes: usize,
    /// Room for the subscriptions of one message, kept for the next.
    found: Vec<Entry>,
}

/// A session and the connection that speaks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) key: usize,
    pub(crate) epoch: u64,
}

impl Core {
    pub(crate) fn new(limits: Limits, losses: Losses) -> Self {
        Self {
            retained: Retained::new(limits.retained),
            limits,
            sessions: Vec::new(),
            free: Vec::new(),
            by_client: HashMap::new(),
            tree: Tree::default(),
            taps: Vec::new(),
            journal: None,
            losses,
            wakes: Vec::new(),
            epoch: 0,
            connected: 0,
            queued_bytes: 0,
            found: Vec::new(),
        }
    }

    /// Connections that have something to do; call them when the lock is given up.
    pub(crate) fn take_wakes(&mut self) -> Vec<Arc<Notify>> {
        std::mem::take(&mut self.wakes)
    }

    pub(crate) fn connected(&self) -> usize {
        self.connected
    }

    fn session(&mut self, key: usize) -> Option<&mut Session> {
        self.sessions.get_mut(key)?.as_deref_mut()
    }

    /// The session that a connection speaks for, unless another has taken it.
    fn seated(&mut self, seat: Seat) -> Result<&mut Session, Fault> {
        let session = self.sessions.get_mut(seat.key).and_then(|s| s.as_deref_mut());
        match session {
            Some(s) if s.conn.as_ref().is_some_and(|c| c.epoch == seat.epoch) => Ok(s),
            _ => Err(Fault::Replaced),
        }
    }

    /// Whether somebody waits for the disk, and whether nothing waits for it.
    pub(crate) fn journal_waits(&self) -> (bool, bool) {
        self.journal.as_ref().map_or((false, true), |j| (j.is_urgent(), j.is_empty()))
    }

    pub(crate) fn journal_take(&mut self) -> (Vec<u8>, u64) {
        self.journal.as_mut().map_or_else(Default::default, Journal::take)
    }

    /// What time alone brings: wills that are due, sessions and retained messages whose time is over.
    pub(crate) fn tick(&mut self, now_us: i64) {
        for key in 0..self.sessions.len() {
            let Some(session) = self.session(key) else { continue };
            let will = session.will.as_ref().is_some_and(|w| w.due.is_some_and(|at| at <= now_us));
            let over = session.conn.is_none() && session.ends.is_some_and(|at| at <= now_us);
            if over {
                self.end(key, now_us);
            } else if will {
                self.execute_will(key, now_us);
            }
        }
        for message in self.retained.expire(now_us) {
            if !message.volatile
                && let Some(journal) = &mut self.journal
            {
                journal.retain(&message.topic, None);
            }
        }
        self.drop_closed_taps();
    }

    /// How far the disk must be before a change of a session is told; 0: it does not survive anyway.
    pub(crate) fn session_seq(&mut self, seat: Seat) -> Result<u64, Fault> {
        let sid = self.seated(seat)?.sid;
        Ok(self.journal.as_ref().filter(|_| sid != 0).map_or(0, Journal::seq))
    }

    /// Whether a message to be retained has a place.
    pub(crate) fn may_retain(&self, topic: &str, p: &Publish<'_>) -> bool {
        p.payload.is_empty() || self.retained.has_room(topic, message::size_of(topic, p.payload.len()))
    }

    /// Retained messages and their bytes.
    pub(crate) fn retained_size(&self) -> (usize, usize) {
        (self.retained.len(), self.retained.bytes())
    }

    /// Every session, for the operator.
    pub(crate) fn each_session(&self, mut tell: impl FnMut(&Session)) {
        self.sessions.iter().flatten().for_each(|s| tell(s));
    }

    /// Every connection is to end.
    pub(crate) fn stop_all(&mut self) {
        let Self { sessions, wakes, .. } = self;
        for session in sessions.iter_mut().flatten() {
            if let Some(conn) = &mut session.conn {
                conn.fault.get_or_insert(Fault::Stopping);
            }
            session.wake(wakes);
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
