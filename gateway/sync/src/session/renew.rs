//! The box asks for a new certificate, in the session, when it is time for one.

use common::wire::Up;
use tokio::time::Instant;

use super::{LOOK_AGAIN, Session};

impl Session<'_> {
    /// Asks if it is time, and the cloud gives any.
    pub(super) fn renew(&mut self) {
        let is_early = self.looked_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN);
        if !self.renews || is_early || !self.uplink.may_renew() {
            return;
        }
        let Some(enrolment) = self.uplink.due(self.due) else {
            // Looked at as seldom as it is asked for.
            self.looked_at = Some(Instant::now());
            return;
        };
        match enrolment.renewal() {
            Ok(request) => {
                if self.link.publish(Up::Renewal(request.into_bytes()).encode()) {
                    self.looked_at = Some(Instant::now());
                    self.uplink.asked();
                }
            }
            Err(error) => {
                tracing::warn!(error, "no request for a new certificate");
                self.looked_at = Some(Instant::now());
            }
        }
    }
}
