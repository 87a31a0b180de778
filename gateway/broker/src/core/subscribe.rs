//! Subscriptions: what may be subscribed to, and what a new one is given.

use gateway_core::messages::check_filter;

use super::session::{Replay, Subscription};
use super::tree::{MAX_LEVELS, Target, parts};
use super::{Core, Seat};
use crate::access::Access;
use crate::codec::{Fault, Filter, Reason, RetainHandling};
use crate::journal::Record;

impl Core {
    /// Subscribes to a filter: its code in SUBACK of MQTT 5; of 3.1.1 as well if it is below 0x80.
    pub(crate) fn subscribe(
        &mut self,
        seat: Seat,
        filter: &Filter<'_>,
        id: Option<u32>,
        access: &Access,
    ) -> Result<u8, Fault> {
        let (most, most_bytes) = (self.limits.filters, self.limits.filter_bytes);
        let session = self.seated(seat)?;
        let text = filter.filter;
        let known = session.filters.contains_key(text);
        if let Err(reason) = check(filter, access) {
            return match reason {
                Reason::ProtocolError => {
                    Err(Fault::Protocol { detail: "a shared subscription with no-local" })
                }
                reason => Ok(reason as u8),
            };
        }
        if !known && (session.filters.len() >= most || session.filter_bytes + text.len() > most_bytes) {
            return Ok(Reason::QuotaExceeded as u8);
        }
        let subscription = Subscription::of(filter, id);
        let before = session.filters.insert(text.into(), subscription);
        if before.is_none() {
            session.filter_bytes += text.len();
        }
        let wants = match filter.retain {
            RetainHandling::Always => true,
            RetainHandling::IfNew => before.is_none(),
            RetainHandling::Never => false,
        };
        if wants && parts(text).0.is_none() {
            // The same filter again begins again.
            session.replay.retain(|r| &*r.filter != text);
            session.replay.push_back(Replay { filter: text.into(), qos: filter.qos, id, last: None });
        }
        let sid = session.sid;
        self.tree.insert(text, Self::entry(seat.key, subscription));
        if sid != 0
            && before != Some(subscription)
            && let Some(journal) = &mut self.journal
        {
            let (options, id) = (subscription.options(), id.unwrap_or(0));
            journal.append(&Record::Subscribed { sid, filter: text, options, id });
        }
        Ok(filter.qos)
    }

    /// Takes a subscription back: its code in UNSUBACK of MQTT 5.
    pub(crate) fn unsubscribe(&mut self, seat: Seat, filter: &str) -> Result<u8, Fault> {
        self.seated(seat)?;
        let reason = match self.remove_filter(seat.key, filter) {
            true => Reason::Success,
            false => Reason::NoSubscriptionExisted,
        };
        Ok(reason as u8)
    }

    pub(super) fn remove_filter(&mut self, key: usize, filter: &str) -> bool {
        let Some(session) = self.session(key) else { return false };
        if session.filters.remove(filter).is_none() {
            return false;
        }
        session.filter_bytes -= filter.len();
        session.replay.retain(|r| &*r.filter != filter);
        let sid = session.sid;
        self.tree.remove(filter, Target::Session(key));
        if sid != 0
            && let Some(journal) = &mut self.journal
        {
            journal.append(&Record::Unsubscribed { sid, filter });
        }
        true
    }
}

fn check(filter: &Filter<'_>, access: &Access) -> Result<(), Reason> {
    let text = filter.filter;
    let (group, path) = parts(text);
    if text.starts_with("$share/") {
        let name = group.unwrap_or_default();
        if name.is_empty() || name.contains(['+', '#']) || path.is_empty() {
            return Err(Reason::TopicFilterInvalid);
        }
        if filter.no_local {
            return Err(Reason::ProtocolError);
        }
    }
    if check_filter(path).is_err() || path.split('/').count() > MAX_LEVELS {
        return Err(Reason::TopicFilterInvalid);
    }
    if !access.may_subscribe(path) {
        return Err(Reason::NotAuthorized);
    }
    Ok(())
}
