//! A box renews the certificate that its session began with: the same key, a later end.

use cloud_core::StoreError;
use cloud_core::enrol::{IssueError, lets_in};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Down;

use crate::boxes::storage_failed;
use crate::outbox::End;
use crate::talk::{Talk, refuse};

/// Most certificates of one session: each is a row and an entry of the audit.
const MOST: u32 = 10;

impl Talk {
    /// Looks once more whether the certificate is good. From the sign-in on, whoever revokes it ends the session; before it,
    /// nobody knew of it.
    pub(crate) async fn is_good(&self) -> Result<(), End> {
        let Some(peer) = &self.certificate else { return Ok(()) };
        match self.shared.parts.storage.certificates(&self.key).await {
            Ok(kept) if lets_in(peer, &kept) => Ok(()),
            Ok(_) => revoked(),
            Err(e) => Err(storage_failed(&self.key, &e)),
        }
    }

    /// Whether it is time to renew it.
    pub(crate) fn is_due(&self) -> bool {
        let now_us = self.shared.parts.clock.now_us();
        self.certificate.as_ref().is_some_and(|peer| peer.is_due(now_us))
    }

    /// Issues a certificate for a signing request, and answers with it once it is kept.
    pub(crate) async fn renew(&mut self, request: &[u8]) -> Result<(), End> {
        let parts = &self.shared.parts;
        let (Some(peer), Some(authority)) = (&self.certificate, &parts.authority) else {
            return refuse("renewal", Code::Conflict, "the session did not begin with a certificate");
        };
        if self.silence().is_none() {
            return refuse("not_ready", Code::Conflict, "a signing request came before the hello");
        }
        self.renewals += 1;
        if self.renewals > MOST {
            return refuse("renewal", Code::RateLimited, "too many in one session");
        }
        let Ok(request) = std::str::from_utf8(request) else {
            return refuse("renewal", Code::InvalidRequest, "the signing request is no text");
        };
        let issued = match authority.issue(&self.key, request, parts.clock.now_us()) {
            Ok(issued) => issued,
            Err(IssueError::Request(detail)) => return refuse("renewal", Code::InvalidRequest, detail),
            // The certificate that there is goes on, and the box asks again.
            Err(error) => {
                tracing::error!(gateway = %self.key, %error, "certificate not renewed");
                return Ok(());
            }
        };
        if issued.certificate.key != peer.key {
            return refuse("renewal", Code::Forbidden, "the signing request is of another key");
        }
        let entry = LogEntry {
            at_us: issued.certificate.issued_us,
            actor: format!("gateway:{}", self.key.gateway),
            action: action::GATEWAY_CERTIFICATE.into(),
            target: self.key.gateway.to_string(),
            twin: None,
            severity: Severity::Info,
            code: None,
            detail: format!(
                "certificate {} renewed, good until {}",
                issued.certificate.serial,
                common::clock::format_us(issued.certificate.not_after_us)
            ),
        };
        match parts.storage.renew(&issued.certificate, &entry).await {
            Ok(()) => {
                if !self.answer(&Down::Certificate(Box::new(issued.enrolled))) {
                    tracing::debug!(gateway = %self.key, "no room for the new certificate: the box asks again");
                }
            }
            Err(StoreError::Conflict { .. }) => return revoked(),
            Err(error) => tracing::warn!(gateway = %self.key, %error, "certificate not renewed"),
        }
        Ok(())
    }
}

fn revoked<T>() -> Result<T, End> {
    refuse("credentials", Code::Forbidden, "the certificate is revoked")
}
