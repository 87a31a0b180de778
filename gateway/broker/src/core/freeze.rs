//! The part of the state that survives a restart: taken out for a snapshot, and put back at the start.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::session::{InFlight, Queued, Session, Subscription};
use super::{Core, Message};
use crate::codec::Version;
use crate::journal::{Body, Image, Journal, Record};

/// What a snapshot holds. Messages are shared with the core, not copied.
pub(crate) struct Frozen {
    sessions: Vec<FrozenSession>,
    retained: Vec<Arc<Message>>,
    messages: Vec<Arc<Message>>,
}

struct FrozenSession {
    sid: u64,
    client: Box<str>,
    user: Option<Box<str>>,
    v5: bool,
    expiry: u32,
    filters: Vec<(Box<str>, Subscription)>,
    queue: Vec<(Queued, Option<u16>)>,
    released: Vec<u16>,
    received: Vec<u16>,
}

impl Frozen {
    /// The records of the snapshot: messages before who waits for them.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let messages =
            self.messages.iter().map(|m| Record::Message { mid: m.stored(), message: Body::of(m) });
        let retained = self.retained.iter().map(|m| Record::Retained { message: Body::of(m) });
        messages.chain(retained).chain(self.sessions.iter().flat_map(FrozenSession::records))
    }
}

impl FrozenSession {
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let sid = self.sid;
        let (client, user, v5, expiry) = (&*self.client, self.user.as_deref(), self.v5, self.expiry);
        let filters = self.filters.iter().map(move |(filter, s)| {
            let (options, id) = (s.options(), s.id.unwrap_or(0));
            Record::Subscribed { sid, filter, options, id }
        });
        let queue = self.queue.iter().flat_map(move |(queued, pkid)| {
            let mid = queued.message.stored();
            let sent = pkid.map(|pkid| Record::Sent { sid, mid, pkid });
            [super::route::queued_record(sid, mid, queued)].into_iter().chain(sent)
        });
        let released = self.released.iter().map(move |pkid| Record::Released { sid, pkid: *pkid, mid: 0 });
        let received = self.received.iter().map(move |pkid| Record::Received { sid, pkid: *pkid });
        [Record::Session { sid, client, user, v5, expiry }]
            .into_iter()
            .chain(filters)
            .chain(queue)
            .chain(released)
            .chain(received)
    }
}

impl Core {
    /// Everything that must survive, with the number of the last change in it. What waited for the disk is in it.
    pub(crate) fn freeze(&mut self) -> (Frozen, u64) {
        let seq = self.journal_take().1;
        let mut sessions = Vec::new();
        let mut messages: Vec<Arc<Message>> = Vec::new();
        for session in self.sessions.iter().flatten().filter(|s| s.sid != 0) {
            let flying = session.in_flight.iter().filter_map(|f| {
                let queued = f.queued.clone()?;
                let pkid = (queued.qos == 2).then_some(f.pkid);
                Some((queued, pkid))
            });
            let waiting = session.queue.iter().filter(|q| q.qos > 0).map(|q| (q.clone(), None));
            // A retained message that was sent for a new subscription is not in the journal.
            let queue: Vec<_> = flying.chain(waiting).filter(|(q, _)| q.kept).collect();
            messages.extend(queue.iter().map(|(q, _)| q.message.clone()));
            sessions.push(FrozenSession {
                sid: session.sid,
                client: session.client.clone(),
                user: session.user.clone(),
                v5: session.version == Version::V5,
                expiry: session.expiry,
                filters: session.filters.iter().map(|(f, s)| (f.clone(), *s)).collect(),
                queue,
                released: session.in_flight.iter().filter(|f| f.queued.is_none()).map(|f| f.pkid).collect(),
                received: session.received.iter().copied().collect(),
            });
        }
        messages.sort_unstable_by_key(|m| m.stored());
        messages.dedup_by_key(|m| m.stored());
        let generation = self.journal.as_mut().map_or(0, Journal::renew);
        messages.iter().for_each(|m| m.set_stored(m.stored(), generation));
        let retained = self.retained.all().filter(|m| !m.volatile).cloned().collect();
        (Frozen { sessions, retained, messages }, seq)
    }

    /// Puts back what a journal told. Sessions have their whole time again: nobody knows how long the box was off.
    pub(crate) fn restore(&mut self, image: Image, journal: Journal, now_us: i64) {
        self.journal = Some(journal);
        for message in image.retained.into_values().filter(|m| !m.expired(now_us)) {
            self.retained.set(&message);
        }
        for (sid, old) in image.sessions {
            let version = if old.v5 { Version::V5 } else { Version::V3 };
            let mut session = Session::new(&old.client, old.user.as_deref(), version);
            (session.sid, session.expiry, session.received) = (sid, old.expiry, old.received);
            session.ends = Some(match old.expiry {
                u32::MAX => i64::MAX,
                seconds => now_us.saturating_add(i64::from(seconds) * 1_000_000),
            });
            for (filter, (options, id)) in old.filters {
                session.filter_bytes += filter.len();
                session.filters.insert(filter, Subscription::from_options(options, id));
            }
            let released = old.released.into_iter().map(|pkid| InFlight { pkid, queued: None });
            session.in_flight.extend(released);
            // What was sent before a message that is sent again is sent again as well: the order stays.
            let again = old.queue.iter().rposition(|q| q.pkid.is_some()).map_or(0, |at| at + 1);
            let mut used: BTreeSet<u16> = session.in_flight.iter().map(|f| f.pkid).collect();
            used.extend(old.queue.iter().filter_map(|q| q.pkid));
            for (at, waiting) in old.queue.into_iter().enumerate() {
                session.bytes += waiting.message.size();
                let queued = Queued {
                    message: waiting.message,
                    qos: waiting.qos,
                    retain: waiting.retain,
                    ids: (!waiting.ids.is_empty()).then(|| waiting.ids.into_boxed_slice()),
                    shared: waiting.shared.map(Into::into),
                    kept: true,
                };
                let free = || (1..=u16::MAX).find(|p| !used.contains(p));
                match waiting.pkid.or_else(|| (at < again).then(free).flatten()) {
                    Some(pkid) => {
                        used.insert(pkid);
                        session.in_flight.push_back(InFlight { pkid, queued: Some(queued) });
                    }
                    None => session.queue.push_back(queued),
                }
            }
            session.last_pkid = session.in_flight.back().map_or(0, |f| f.pkid);
            self.queued_bytes += session.bytes;
            let filters: Vec<_> = session.filters.iter().map(|(f, s)| (f.clone(), *s)).collect();
            let key = self.put(session);
            for (filter, subscription) in filters {
                self.tree.insert(&filter, Self::entry(key, subscription));
            }
        }
    }
}
