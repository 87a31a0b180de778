//! The state that a journal describes, put together record by record. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::record::Record;
use crate::core::Message;

/// Everything that survives a restart.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) sessions: BTreeMap<u64, SessionImage>,
    pub(crate) retained: BTreeMap<Box<str>, Arc<Message>>,
    messages: HashMap<u64, Arc<Message>>,
    /// Largest number of a session or message so far.
    pub(crate) highest: u64,
}

/// A persistent session.
#[derive(Debug, Default)]
pub(crate) struct SessionImage {
    pub(crate) client: Box<str>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) v5: bool,
    pub(crate) expiry: u32,
    /// Filters with options and identifier.
    pub(crate) filters: BTreeMap<Box<str>, (u8, u32)>,
    pub(crate) queue: VecDeque<QueuedImage>,
    /// QoS 2, released: waiting for PUBCOMP.
    pub(crate) released: Vec<u16>,
    pub(crate) received: BTreeSet<u16>,
}

/// A message that waits.
#[derive(Debug)]
pub(crate) struct QueuedImage {
    mid: u64,
    pub(crate) message: Arc<Message>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) shared: Option<Box<str>>,
    pub(crate) ids: Vec<u32>,
    /// QoS 2, sent under this identifier.
    pub(crate) pkid: Option<u16>,
}

impl Image {
    /// Applies a record. One that speaks of what is not there is left out: its first half was damaged.
    pub(crate) fn apply(&mut self, record: Record<'_>) {
        match record {
            Record::Session { sid, client, user, v5, expiry } => {
                self.highest = self.highest.max(sid);
                let session = self.sessions.entry(sid).or_default();
                session.client = client.into();
                session.user = user.map(Into::into);
                (session.v5, session.expiry) = (v5, expiry);
            }
            Record::SessionEnd { sid } => _ = self.sessions.remove(&sid),
            Record::Message { mid, message } => {
                self.highest = self.highest.max(mid);
                let message = message.to_message();
                message.set_stored(mid, 0);
                self.messages.insert(mid, Arc::new(message));
            }
            Record::Retained { message } => {
                let message = Arc::new(message.to_message());
                self.retained.insert(message.topic.clone(), message);
            }
            Record::RetainedEnd { topic } => _ = self.retained.remove(topic),
            Record::End => {}
            of_session => self.apply_to_session(of_session),
        }
    }

    fn apply_to_session(&mut self, record: Record<'_>) {
        let sid = match &record {
            Record::Subscribed { sid, .. }
            | Record::Unsubscribed { sid, .. }
            | Record::Queued { sid, .. }
            | Record::Done { sid, .. }
            | Record::Sent { sid, .. }
            | Record::Released { sid, .. }
            | Record::Completed { sid, .. }
            | Record::Received { sid, .. }
            | Record::ReceivedEnd { sid, .. } => *sid,
            _ => return,
        };
        let Some(session) = self.sessions.get_mut(&sid) else { return };
        match record {
            Record::Subscribed { filter, options, id, .. } => {
                session.filters.insert(filter.into(), (options, id));
            }
            Record::Unsubscribed { filter, .. } => _ = session.filters.remove(filter),
            Record::Queued { mid, qos, retain, shared, ids, .. } => {
                let Some(message) = self.messages.get(&mid).cloned() else { return };
                let shared = shared.map(Into::into);
                session.queue.push_back(QueuedImage { mid, message, qos, retain, shared, ids, pkid: None });
            }
            Record::Done { mid, qos, .. } => session.take(mid, qos),
            Record::Sent { mid, pkid, .. } => {
                if let Some(queued) =
                    session.queue.iter_mut().find(|q| q.mid == mid && q.qos == 2 && q.pkid.is_none())
                {
                    queued.pkid = Some(pkid);
                }
            }
            Record::Released { pkid, mid, .. } => {
                session.take(mid, 2);
                session.released.push(pkid);
            }
            Record::Completed { pkid, .. } => session.released.retain(|p| *p != pkid),
            Record::Received { pkid, .. } => _ = session.received.insert(pkid),
            Record::ReceivedEnd { pkid, .. } => _ = session.received.remove(&pkid),
            _ => {}
        }
    }

    /// Forgets messages that nobody waits for any more, so that reading a long log stays small.
    pub(crate) fn sweep(&mut self) {
        self.messages.retain(|_, m| Arc::strong_count(m) > 1);
    }
}

impl SessionImage {
    /// A message can wait twice, by a shared subscription as well.
    fn take(&mut self, mid: u64, qos: u8) {
        if let Some(at) = self.queue.iter().position(|q| q.mid == mid && q.qos == qos) {
            self.queue.remove(at);
        }
    }
}
