//! What the uplink does with the box's identities: which it shows, and what becomes of a renewed one on disk.

use std::sync::{MutexGuard, PoisonError};

use common::api::Enrolled;
use common::names::action;

use crate::enrolment::{EnrolError, Enrolment, EnrolmentFolder};
use crate::identity::entry;
use crate::options::Error;
use crate::renewal::{Identities, TRIES, Verdict};
use crate::uplink::Uplink;

impl Uplink {
    fn identities(&self) -> MutexGuard<'_, Option<Identities>> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next attempt shows of the box; none: it signs in with its secret.
    pub(crate) fn shown(&self) -> Option<Enrolment> {
        self.identities().as_ref().map(|i| i.shown().clone())
    }

    /// Whether a new certificate may be asked for by now.
    pub(crate) fn may_renew(&self) -> bool {
        self.identities().as_ref().is_some_and(Identities::may_ask)
    }

    /// What needs a new certificate, if it is time. `is_told`: the cloud says so.
    pub(crate) fn due(&self, is_told: bool) -> Option<Enrolment> {
        let now_us = self.clock.now_us();
        self.identities().as_ref().and_then(|i| i.due(is_told, now_us).cloned())
    }

    /// A new certificate was asked for.
    pub(crate) fn asked(&self) {
        if let Some(identities) = self.identities().as_mut() {
            identities.asked();
        }
    }

    /// Keeps a renewed identity beside the one that there is. Whether it can be tried.
    pub(crate) async fn renewed(&self, enrolled: Enrolled) -> bool {
        let url = enrolled.url.clone();
        let Some(kept) = self.in_folder(move |folder| folder.keep_renewed(enrolled)).await else {
            return false;
        };
        match kept {
            Ok(renewed) => {
                tracing::info!(url, "the box's identity is renewed; it is tried in the next session");
                if let Some(identities) = self.identities().as_mut() {
                    identities.renew(renewed);
                }
                true
            }
            Err(error) => {
                let detail = format!(
                    "the cloud renewed this box's identity to what is of no use here: {error}. The box goes on with the one \
                     that it has"
                );
                self.tell(entry(action::GATEWAY_RENEWAL_FAILED, detail));
                false
            }
        }
    }

    /// An attempt to begin a session failed.
    pub(crate) fn failed(&self, error: &Error) {
        let turn = self.identities().as_mut().and_then(|i| i.failed(error).then(|| i.is_trial()));
        match turn {
            Some(true) => tracing::warn!(%error, "the renewed identity is tried again"),
            Some(false) => {
                tracing::warn!(%error, "the renewed identity does not connect: the one before is tried");
            }
            None => {}
        }
    }

    /// A session has begun: what it proves of a renewed identity is made final.
    pub(crate) async fn began(&self) {
        let verdict = self.identities().as_mut().map(Identities::began);
        match verdict {
            None | Some(Verdict::None) => {}
            Some(Verdict::Proven(renewed)) => {
                let until =
                    renewed.view().map(|v| common::clock::format_us(v.not_after_us)).unwrap_or_default();
                match self.in_folder(move |folder| folder.prove(&renewed)).await {
                    None | Some(Ok(())) => tracing::info!(until, "the renewed identity is proven"),
                    // Both are there still, and it is tried first at the next start.
                    Some(Err(error)) => {
                        tracing::warn!(%error, "the renewed identity is proven and cannot be kept")
                    }
                }
            }
            Some(Verdict::Refuted(renewed, why)) => {
                let detail = format!(
                    "the cloud renewed this box's identity and told it to come to {}, which failed {TRIES} times ({why}), \
                     while the identity of before is let in: the box goes on with that, and asks again in some hours. Look at \
                     `[ingress] url`, `names` and `tls_ca` in the cloud's configuration",
                    renewed.enrolled.url
                );
                self.tell(entry(action::GATEWAY_RENEWAL_FAILED, detail));
                if let Some(Err(error)) = self.in_folder(|folder| folder.forget_renewed()).await {
                    tracing::warn!(%error, "the renewed identity is still there, and is tried once more at the next start");
                }
            }
        }
    }

    /// Does something in the folder of the enrolment, if there is one.
    async fn in_folder<T: Send + 'static>(
        &self,
        act: impl FnOnce(EnrolmentFolder) -> Result<T, EnrolError> + Send + 'static,
    ) -> Option<Result<T, EnrolError>> {
        let (folder, _) = self.options.enrolment.clone()?;
        let done = tokio::task::spawn_blocking(move || act(folder)).await;
        Some(done.unwrap_or_else(|e| Err(EnrolError::Wrong(e.to_string()))))
    }
}
