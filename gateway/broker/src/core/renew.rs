//! Other users, rights and limits while clients are connected.

use std::sync::Arc;

use super::tree::parts;
use super::{Core, Seat};
use crate::access::{Access, Rule};
use crate::codec::Fault;
use crate::options::Limits;

impl Core {
    /// What a connection may do now.
    ///
    /// # Errors
    /// When it has to end.
    pub(crate) fn access(&mut self, seat: Seat) -> Result<Arc<Access>, Fault> {
        let conn = self.seated(seat)?.conn.as_ref().ok_or(Fault::Replaced)?;
        match &conn.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(conn.access.clone()),
        }
    }

    /// Goes over to other limits and rules. Subscriptions that are no longer allowed end, and so do the connections of
    /// users that are gone.
    pub(crate) fn renew(&mut self, limits: Limits, rules: &[Rule], is_user: impl Fn(&str) -> bool) {
        self.retained.set_limit(limits.retained);
        self.limits = limits;
        for key in 0..self.sessions.len() {
            self.renew_session(key, rules, &is_user);
        }
    }

    fn renew_session(&mut self, key: usize, rules: &[Rule], is_user: &impl Fn(&str) -> bool) {
        let Self { sessions, wakes, .. } = self;
        let Some(session) = sessions.get_mut(key).and_then(|s| s.as_deref_mut()) else { return };
        let user = session.user.as_deref();
        if user.is_some_and(|u| !is_user(u)) {
            // What it left to be said is not said for it any more.
            session.will = None;
            if let Some(conn) = &mut session.conn {
                conn.fault.get_or_insert(Fault::UserGone);
            }
            session.wake(wakes);
            return;
        }
        let access = Access::new(rules, &session.client, user, session.open);
        if session.will.as_ref().is_some_and(|w| !access.may_publish(&w.message.topic)) {
            session.will = None;
        }
        let lost: Vec<Box<str>> =
            session.filters.keys().filter(|f| !access.may_subscribe(parts(f).1)).cloned().collect();
        if let Some(conn) = &mut session.conn {
            conn.access = Arc::new(access);
        }
        for filter in &lost {
            let client = self.session(key).map(|s| s.client.clone()).unwrap_or_default();
            tracing::warn!(%client, %filter, "a subscription that is no longer allowed is removed");
            self.remove_filter(key, filter);
        }
    }
}
