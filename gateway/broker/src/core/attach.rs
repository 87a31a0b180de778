//! Connections come and go: sessions begin, are taken up again, taken over, left and ended; wills.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::session::{Conn, Queued, Session, Testament};
use super::tree::{Entry, Target, parts};
use super::{Core, Message, Seat};
use crate::access::Access;
use crate::codec::{Connect, Fault, Reason, Version};
use crate::journal::Record;

const SECOND_US: i64 = 1_000_000;

/// What a connection brings.
pub(crate) struct Attach<'a> {
    pub(crate) connect: &'a Connect<'a>,
    /// Its client id, or the one that it was given.
    pub(crate) client: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) access: Arc<Access>,
    /// Whether its listener lets a client do everything that no rule names.
    pub(crate) open: bool,
    pub(crate) peer: String,
    pub(crate) listener: Arc<str>,
}

/// A connection's place.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) seat: Seat,
    pub(crate) notify: Arc<Notify>,
    /// Whether the session was there before.
    pub(crate) present: bool,
    /// Seconds that it will outlive the connection.
    pub(crate) expiry: u32,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The client said goodbye; MQTT 5 may change the session's expiry with it.
    Polite { expiry: Option<u32> },
    /// It is gone, or was shown the door: its will is to be published.
    Failed,
}

impl Core {
    /// Gives a connection its session.
    ///
    /// # Errors
    /// Why not, as CONNACK of MQTT 5 says it.
    pub(crate) fn attach(&mut self, attach: &Attach<'_>, now_us: i64) -> Result<Attached, Reason> {
        let connect = attach.connect;
        let expiry = self.expiry_of(connect);
        let mut known = self.by_client.get(attach.client).copied();
        if let Some(key) = known {
            let Some(session) = self.session(key) else { return Err(Reason::ServerUnavailable) };
            // What waits for one user is not for another who knows the client id.
            if session.user.as_deref() != attach.user {
                return Err(Reason::ClientIdNotValid);
            }
            let ends = connect.clean || session.expiry == 0;
            self.throw_out(key, now_us);
            if ends {
                self.end(key, now_us);
            }
            known = self.by_client.get(attach.client).copied();
        }
        if self.connected >= self.limits.connections {
            return Err(Reason::QuotaExceeded);
        }
        let present = known.is_some();
        let key = match known {
            Some(key) => key,
            None => self.begin(attach, expiry)?,
        };
        self.epoch += 1;
        let epoch = self.epoch;
        let notify = Arc::new(Notify::new());
        let window = usize::from(connect.receive_maximum).min(self.limits.in_flight);
        let Some(session) = self.session(key) else { return Err(Reason::ServerUnavailable) };
        session.version = connect.version;
        session.open = attach.open;
        session.ends = None;
        session.will = connect.will.as_ref().map(testament);
        session.conn = Some(Conn {
            epoch,
            notify: notify.clone(),
            // It looks by itself when it begins.
            awake: true,
            window,
            max_packet: connect.max_packet as usize,
            fault: None,
            access: attach.access.clone(),
            peer: attach.peer.clone().into(),
            listener: attach.listener.clone(),
            since_us: now_us,
            resent: session.in_flight.len(),
            resend: 0,
        });
        self.connected += 1;
        self.set_expiry(key, expiry);
        // Rights may be others than when it subscribed.
        let session = self.session(key);
        let lost: Vec<Box<str>> = session.map_or_else(Vec::new, |s| {
            s.filters.keys().filter(|f| !attach.access.may_subscribe(parts(f).1)).cloned().collect()
        });
        for filter in &lost {
            tracing::warn!(client = attach.client, %filter, "a subscription that is no longer allowed is removed");
            self.remove_filter(key, filter);
        }
        Ok(Attached { seat: Seat { key, epoch }, notify, present, expiry })
    }

    fn expiry_of(&self, connect: &Connect<'_>) -> u32 {
        match connect.version {
            Version::V3 if connect.clean => 0,
            Version::V3 => self.limits.session_expiry_s,
            Version::V5 => connect.session_expiry.min(self.limits.session_expiry_s),
        }
    }

    fn begin(&mut self, attach: &Attach<'_>, expiry: u32) -> Result<usize, Reason> {
        if expiry > 0 {
            let persistent = self.sessions.iter().flatten().filter(|s| s.expiry > 0).count();
            if persistent >= self.limits.sessions {
                return Err(Reason::QuotaExceeded);
            }
        }
        let session = Session::new(attach.client, attach.user, attach.connect.version);
        Ok(self.put(session))
    }

    /// Gives a session its place.
    pub(super) fn put(&mut self, session: Session) -> usize {
        let key = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        self.by_client.insert(session.client.clone(), key);
        if let Some(slot) = self.sessions.get_mut(key) {
            *slot = Some(Box::new(session));
        }
        key
    }

    /// How long a session lives from now on; one that begins to outlive its connection is written to the journal.
    fn set_expiry(&mut self, key: usize, expiry: u32) {
        let Some(session) = self.sessions.get_mut(key).and_then(|s| s.as_deref_mut()) else { return };
        let before = std::mem::replace(&mut session.expiry, expiry);
        let Some(journal) = &mut self.journal else { return };
        if session.sid == 0 && expiry == 0 {
            return;
        }
        let new = session.sid == 0;
        if new {
            session.sid = journal.number();
        }
        let v5 = session.version == Version::V5;
        if new || before != expiry {
            let (sid, client, user) = (session.sid, &*session.client, session.user.as_deref());
            journal.append(&Record::Session { sid, client, user, v5, expiry });
        }
        if new {
            let sid = session.sid;
            for (filter, s) in &session.filters {
                let (options, id) = (s.options(), s.id.unwrap_or(0));
                journal.append(&Record::Subscribed { sid, filter, options, id });
            }
            let flying = session.in_flight.iter_mut().filter_map(|f| Some((f.queued.as_mut()?, f.pkid)));
            let waiting = session.queue.iter_mut().filter(|q| q.qos > 0).map(|q| (q, 0));
            for (queued, pkid) in flying.chain(waiting) {
                queued.kept = true;
                let mid = journal.store(&queued.message);
                journal.append(&super::route::queued_record(sid, mid, queued));
                if queued.qos == 2 && pkid != 0 {
                    journal.append(&Record::Sent { sid, mid, pkid });
                }
            }
        }
    }

    /// Another connection takes a session: the one before is told and leaves.
    fn throw_out(&mut self, key: usize, now_us: i64) {
        let Some(session) = self.session(key) else { return };
        let Some(mut old) = session.conn.take() else { return };
        old.fault = Some(Fault::Replaced);
        let notify = old.notify;
        self.wakes.push(notify);
        self.connected -= 1;
        self.left(key, Leave::Failed, now_us, false);
    }

    /// A connection ends. One whose session was taken over leaves nothing behind.
    pub(crate) fn detach(&mut self, seat: Seat, how: Leave, now_us: i64) {
        let Ok(session) = self.seated(seat) else { return };
        session.conn = None;
        self.connected -= 1;
        if let Leave::Polite { expiry: Some(seconds) } = how {
            let seconds = seconds.min(self.limits.session_expiry_s);
            // From 0 to more is against the protocol, and was refused.
            self.set_expiry(seat.key, seconds);
        }
        self.left(seat.key, how, now_us, true);
    }

    fn left(&mut self, key: usize, how: Leave, now_us: i64, may_end: bool) {
        let Some(session) = self.session(key) else { return };
        session.replay.clear();
        let ends = match session.expiry {
            u32::MAX => i64::MAX,
            seconds => now_us.saturating_add(i64::from(seconds) * SECOND_US),
        };
        session.ends = Some(ends);
        if how == Leave::Failed {
            let due = session.will.as_mut().map(|will| {
                let at = now_us.saturating_add(will.delay_us).min(ends);
                will.due = Some(at);
                at
            });
            // A taken-over session has no time between its connections: only a will without delay is due.
            if due.is_some_and(|at| at <= now_us) {
                self.execute_will(key, now_us);
            }
        } else {
            session.will = None;
        }
        if may_end && ends <= now_us {
            self.end(key, now_us);
        } else {
            self.give_away_shared(key);
        }
    }

    pub(super) fn execute_will(&mut self, key: usize, now_us: i64) {
        let Some(will) = self.session(key).and_then(|s| s.will.take()) else { return };
        let mut message = will.message;
        message.expires = will.expiry_us.map(|us| now_us.saturating_add(us));
        self.publish(Some(key), message, now_us);
    }

    /// What waits for an absent member of a shared subscription goes to another that is there. QoS 2 that was sent
    /// stays: only the member knows whether it came [5.0, 4.8.2].
    fn give_away_shared(&mut self, key: usize) {
        let Some(session) = self.session(key) else { return };
        let sid = session.sid;
        let (flights, queue) = (std::mem::take(&mut session.in_flight), std::mem::take(&mut session.queue));
        let freed = Cell::new(0);
        let give = |core: &mut Self, queued: Queued| {
            let (message, kept, qos) = (queued.message.clone(), queued.kept, queued.qos);
            let back = core.redeliver(key, queued).filter(|q| q.qos > 0);
            if back.is_none() {
                freed.set(freed.get() + message.size());
                if kept {
                    core.done(sid, &message, qos);
                }
            }
            back
        };
        // Whatever nobody else takes keeps its place.
        let mut still_flying = std::collections::VecDeque::new();
        for mut flight in flights {
            match flight.queued.take() {
                Some(queued) if queued.shared.is_some() && queued.qos == 1 => match give(self, queued) {
                    None => continue,
                    back => flight.queued = back,
                },
                queued => flight.queued = queued,
            }
            still_flying.push_back(flight);
        }
        let mut still_waiting = std::collections::VecDeque::new();
        for queued in queue {
            match queued.shared {
                Some(_) => still_waiting.extend(give(self, queued)),
                // Messages of QoS 0 are for who is there.
                None if queued.qos == 0 => freed.set(freed.get() + queued.message.size()),
                None => still_waiting.push_back(queued),
            }
        }
        let freed = freed.get();
        self.queued_bytes -= freed;
        if let Some(session) = self.session(key) {
            session.bytes -= freed;
            (session.in_flight, session.queue) = (still_flying, still_waiting);
        }
    }

    /// Notes that a session does not wait for a message any more that the journal says it does.
    pub(super) fn done(&mut self, sid: u64, message: &Message, qos: u8) {
        if let Some(journal) = &mut self.journal {
            journal.append(&Record::Done { sid, mid: message.stored(), qos });
        }
    }

    /// Ends a session for good.
    pub(super) fn end(&mut self, key: usize, now_us: i64) {
        self.execute_will(key, now_us);
        let Some(mut session) = self.sessions.get_mut(key).and_then(Option::take) else { return };
        for filter in session.filters.keys() {
            self.tree.remove(filter, Target::Session(key));
        }
        self.by_client.remove(&session.client);
        self.connected -= usize::from(session.conn.take().is_some());
        self.queued_bytes -= session.bytes;
        if session.sid != 0
            && let Some(journal) = &mut self.journal
        {
            journal.append(&Record::SessionEnd { sid: session.sid });
        }
        let flying = session.in_flight.drain(..).filter_map(|f| f.queued).map(|q| (q, true));
        let waiting: Vec<(Queued, bool)> =
            flying.chain(session.queue.drain(..).map(|q| (q, false))).collect();
        let mut lost = 0;
        for (queued, sent) in waiting.into_iter().filter(|(q, _)| q.qos > 0) {
            let again = queued.shared.is_some() && !(sent && queued.qos == 2);
            lost += usize::from(!again || self.redeliver(key, queued).is_some());
        }
        if lost > 0 {
            tracing::info!(
                client = &*session.client,
                messages = lost,
                "session ended before all was delivered"
            );
            self.lose(lost);
        }
        self.free.push(key);
    }

    pub(super) fn entry(key: usize, s: super::Subscription) -> Entry {
        Entry {
            target: Target::Session(key),
            qos: s.qos,
            no_local: s.no_local,
            as_published: s.as_published,
            id: s.id,
        }
    }
}

fn testament(will: &crate::codec::Will) -> Testament {
    let mut message = Message::new(&will.topic, Bytes::from(will.payload.clone()), will.qos, will.retain);
    message.props = Bytes::from(will.props.clone());
    Testament {
        message,
        delay_us: i64::from(will.delay) * SECOND_US,
        expiry_us: will.expiry.map(|s| i64::from(s) * SECOND_US),
        due: None,
    }
}
