//! One message's way: kept if it is to be retained, then into the queue of everyone who wants it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::tree::{Entry, Group, Target};
use super::{Core, Message, Queued, Session, count};
use crate::codec::Reason;
use crate::journal::Record;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) reason: Reason,
    /// How far the disk must be before this is acknowledged; 0: at once.
    pub(crate) after: u64,
}

impl Core {
    /// Gives a message to everyone who wants it. `from` is the session that it came from.
    pub(crate) fn publish(&mut self, from: Option<usize>, message: Message, now_us: i64) -> Outcome {
        let message = Arc::new(message);
        let mut outcome = Outcome { reason: Reason::Success, after: 0 };
        if message.retain {
            match self.retain(&message) {
                Ok(after) => outcome.after = after,
                Err(()) => {
                    count(&self.losses.retained_full);
                    outcome.reason = Reason::QuotaExceeded;
                }
            }
        }
        let mut found = std::mem::take(&mut self.found);
        let mut shared: Vec<(Entry, Arc<str>)> = Vec::new();
        let Self { tree, sessions, .. } = self;
        tree.find(&message.topic, &mut found, |group| {
            shared.extend(pick(group, sessions, None, message.qos).map(|e| (e, group.filter.clone())));
        });
        if found.len() > 1 {
            found.sort_unstable_by_key(|e| e.target);
        }
        for of_one in found.chunk_by(|a, b| a.target == b.target) {
            outcome.after = outcome.after.max(self.deliver(from, of_one, &message, now_us));
        }
        found.clear();
        self.found = found;
        for (entry, filter) in shared {
            if let Target::Session(key) = entry.target {
                let queued = Queued {
                    message: message.clone(),
                    qos: entry.qos.min(message.qos),
                    retain: entry.as_published && message.retain,
                    ids: entry.id.map(|id| Box::from([id])),
                    shared: Some(filter),
                    kept: false,
                };
                outcome.after = outcome.after.max(self.enqueue(key, queued));
            }
        }
        outcome
    }

    /// Whether a client that is connected now takes messages of a topic.
    pub(crate) fn is_heard(&mut self, topic: &str) -> bool {
        let mut found = std::mem::take(&mut self.found);
        let Self { tree, sessions, .. } = self;
        let is_here = |entry: &Entry| match entry.target {
            Target::Session(key) => {
                sessions.get(key).and_then(|s| s.as_deref()).is_some_and(|s| s.conn.is_some())
            }
            Target::Tap(_) => false,
        };
        let mut heard = false;
        tree.find(topic, &mut found, |group| heard |= group.members.iter().any(is_here));
        heard |= found.iter().any(is_here);
        found.clear();
        self.found = found;
        heard
    }

    /// Delivers a message once to somebody with one or more subscriptions that match it: with the highest QoS of
    /// them, never above the message's own.
    fn deliver(&mut self, from: Option<usize>, of_one: &[Entry], message: &Arc<Message>, now_us: i64) -> u64 {
        let key = match of_one.first().map(|e| e.target) {
            None => return 0,
            Some(Target::Tap(number)) => {
                if !message.expired(now_us) {
                    self.give(number, message);
                }
                return 0;
            }
            Some(Target::Session(key)) => key,
        };
        let wanted = |e: &&Entry| !(e.no_local && from == Some(key));
        let mut qos = None;
        let (mut as_published, mut ids) = (false, Vec::new());
        for entry in of_one.iter().filter(wanted) {
            qos = qos.max(Some(entry.qos));
            as_published |= entry.as_published;
            ids.extend(entry.id);
        }
        let Some(qos) = qos else { return 0 };
        let queued = Queued {
            message: message.clone(),
            qos: qos.min(message.qos),
            retain: as_published && message.retain,
            ids: (!ids.is_empty()).then(|| ids.into_boxed_slice()),
            shared: None,
            kept: false,
        };
        self.enqueue(key, queued)
    }

    /// Keeps a retained message; the number that the disk must reach for it.
    fn retain(&mut self, message: &Arc<Message>) -> Result<u64, ()> {
        let (kept, old) = self.retained.set(message);
        let mut after = 0;
        if let Some(journal) = &mut self.journal {
            let was_there = old.is_some_and(|o| !o.volatile);
            let gone = message.payload.is_empty() || !kept;
            if !message.volatile && !gone {
                after = journal.retain(&message.topic, Some(message.clone()));
            } else if was_there {
                after = journal.retain(&message.topic, None);
            }
        }
        if kept { Ok(after) } else { Err(()) }
    }

    /// Puts a message at the end of a session's queue. What does not fit drops the oldest, which is counted.
    pub(super) fn enqueue(&mut self, key: usize, mut queued: Queued) -> u64 {
        let (limits, sessions) = (&self.limits, self.by_client.len().max(1));
        let Some(session) = self.sessions.get_mut(key).and_then(|s| s.as_deref_mut()) else { return 0 };
        if session.conn.is_none() && queued.qos == 0 {
            return 0;
        }
        let size = queued.message.size();
        let mut after = 0;
        queued.kept = false;
        if session.sid != 0
            && queued.qos > 0
            && let Some(journal) = &mut self.journal
        {
            // Clients wait for the disk, the gateway itself does not: what it says then waits in memory alone.
            queued.kept = !(queued.message.volatile && journal.is_full());
            if queued.kept {
                let mid = journal.store(&queued.message);
                after = journal.append(&queued_record(session.sid, mid, &queued));
            } else {
                count(&self.losses.not_durable);
            }
        }
        session.queue.push_back(queued);
        session.bytes += size;
        self.queued_bytes += size;
        // All queues together are bounded as well: whoever holds more than its share gives way.
        let share = limits.queued_total / sessions;
        loop {
            let over = session.queue.len() > limits.queued
                || session.bytes > limits.queued_bytes
                || self.queued_bytes > limits.queued_total && session.bytes > share;
            if !over {
                break;
            }
            let Some(oldest) = session.queue.pop_front() else { break };
            let size = oldest.message.size();
            session.bytes -= size;
            self.queued_bytes -= size;
            session.traffic.dropped += 1;
            let losses = &self.losses;
            count(if session.conn.is_some() { &losses.slow_client } else { &losses.session_full });
            if session.traffic.dropped.is_power_of_two() {
                let (client, dropped) = (&*session.client, session.traffic.dropped);
                tracing::warn!(client, dropped, "messages dropped: the client's queue is full");
            }
            if oldest.kept
                && let Some(journal) = &mut self.journal
            {
                let mid = oldest.message.stored();
                journal.append(&Record::Done { sid: session.sid, mid, qos: oldest.qos });
            }
        }
        session.wake(&mut self.wakes);
        after
    }

    /// Gives what a member of a shared subscription leaves behind to another one. What nobody else can take comes
    /// back.
    pub(super) fn redeliver(&mut self, key: usize, queued: Queued) -> Option<Queued> {
        let filter = queued.shared.clone()?;
        let Self { tree, sessions, .. } = self;
        let next = tree.group(&filter).and_then(|g| pick(g, sessions, Some(key), queued.message.qos));
        match next.map(|e| (e.target, e)) {
            Some((Target::Session(other), entry)) => {
                let qos = entry.qos.min(queued.message.qos);
                let ids = entry.id.map(|id| Box::from([id]));
                self.enqueue(other, Queued { qos, ids, ..queued });
                None
            }
            _ => Some(queued),
        }
    }

    /// Counts what is lost with a session.
    pub(super) fn lose(&self, n: usize) {
        self.losses.session_ended.fetch_add(n as u64, Ordering::Relaxed);
    }
}

pub(super) fn queued_record(sid: u64, mid: u64, queued: &Queued) -> Record<'_> {
    Record::Queued {
        sid,
        mid,
        qos: queued.qos,
        retain: queued.retain,
        shared: queued.shared.as_deref(),
        ids: queued.ids.as_deref().unwrap_or_default().to_vec(),
    }
}

/// The member that gets the next message: in turn, connected ones with nothing waiting first, then connected ones,
/// then absent ones, who take nothing of QoS 0.
fn pick(group: &mut Group, sessions: &[Option<Box<Session>>], but: Option<usize>, qos: u8) -> Option<Entry> {
    let count = group.members.len();
    let mut best: Option<(u8, usize, Entry)> = None;
    for step in 0..count {
        let at = (group.next + step) % count;
        let Some(entry) = group.members.get(at) else { continue };
        let Target::Session(key) = entry.target else { continue };
        if but == Some(key) {
            continue;
        }
        let Some(session) = sessions.get(key).and_then(|s| s.as_deref()) else { continue };
        let rank = match (&session.conn, session.queue.len()) {
            (Some(_), 0..IDLE) => 0,
            (Some(_), _) => 1,
            (None, _) if entry.qos.min(qos) > 0 => 2,
            (None, _) => continue,
        };
        if best.is_none_or(|(r, ..)| rank < r) {
            best = Some((rank, at, *entry));
        }
        if rank == 0 {
            break;
        }
    }
    let (_, at, entry) = best?;
    group.next = (at + 1) % count;
    Some(entry)
}

/// Messages that may wait for a member that still counts as keeping up.
const IDLE: usize = 64;
