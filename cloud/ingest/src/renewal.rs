//! A box renews the certificate that its session began with: the same key, a later end.

use cloud_core::enrol::IssueError;
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Down;

use crate::outbox::End;
use crate::talk::{Talk, refuse};

impl Talk {
    /// Issues a certificate for a signing request, and answers with it once it is kept.
    pub(crate) async fn renew(&mut self, request: &[u8]) -> Result<(), End> {
        let parts = &self.shared.parts;
        let (Some(peer), Some(authority)) = (&self.certificate, &parts.authority) else {
            return refuse("renewal", Code::Conflict, "the session did not begin with a certificate");
        };
        if self.silence().is_none() {
            return refuse("not_ready", Code::Conflict, "a signing request came before the hello");
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
            // Revoked meanwhile: its sessions are about to end.
            Err(error) => tracing::warn!(gateway = %self.key, %error, "certificate not renewed"),
        }
        Ok(())
    }
}
