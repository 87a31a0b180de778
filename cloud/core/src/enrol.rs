//! How boxes get their certificates: codes that are good once, what was issued, and the authority that issues.

use async_trait::async_trait;
use common::api::Enrolled;
use common::command::LogEntry;
use common::enrol::Key;

use crate::storage::{GatewayKey, StoreError};

/// Proofs that fail before a code is void: it is either mistyped, which its last character tells, or guessed at.
pub const MAX_FAILURES: u32 = 10;

/// Certificates that expired so many days ago are forgotten: for longer none can be renewed.
pub const FORGOTTEN_DAYS: i64 = 400;

/// A code as it is kept: not the code itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCode {
    /// What it is looked up by.
    pub id: String,
    /// What proofs are made with.
    pub key: Key,
    /// Whom the box will be.
    pub gateway: GatewayKey,
    /// Until when it is good, UTC us.
    pub expires_us: i64,
    /// Proofs that failed.
    pub failures: u32,
    /// SHA-256 of the public key that was enrolled with it. The same key may ask again: the answer may have been lost.
    pub used_by: Option<[u8; 32]>,
}

/// A certificate that was issued to a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// To whom.
    pub gateway: GatewayKey,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of its public key.
    pub key: [u8; 32],
    /// When it was issued, UTC us.
    pub issued_us: i64,
    /// Until when it is good, UTC us.
    pub not_after_us: i64,
    /// When it was revoked, UTC us.
    pub revoked_us: Option<i64>,
}

/// Whether who showed a certificate of the authority is let in, by what is kept of the gateway's. A renewal after the backup that
/// this storage was restored from is not known here: its key is, and would be given another one.
pub fn lets_in(peer: &Peer, kept: &[Certificate]) -> bool {
    let own = kept.iter().find(|c| c.serial == peer.serial);
    own.is_none_or(|c| c.revoked_us.is_none() && c.key == peer.key)
        && kept.iter().any(|c| c.revoked_us.is_none() && c.key == peer.key)
}

/// Codes and certificates.
#[async_trait]
pub trait CertificateStorage: Send + Sync {
    /// Keeps a code, with an entry for the audit; codes that have expired are removed. `Conflict` if one of this id is
    /// there.
    async fn create_code(&self, code: &KeptCode, now_us: i64, audit: &LogEntry) -> Result<(), StoreError>;

    /// A code, whatever its state.
    async fn code(&self, id: &str) -> Result<Option<KeptCode>, StoreError>;

    /// Counts a proof that failed.
    async fn code_failed(&self, id: &str) -> Result<(), StoreError>;

    /// Uses a code up: keeps the certificate, revokes all others of the gateway, and takes its secret away, with an entry
    /// for the audit, in one transaction. The key that used it gets another certificate, and nothing else changes:
    /// whoever heard the request may say it again. `Conflict` if the code is gone, another key has used it, or what its
    /// key got was revoked since.
    async fn enrol(&self, code: &str, certificate: &Certificate, audit: &LogEntry) -> Result<(), StoreError>;

    /// Keeps a renewed certificate, in place of the gateway's own that expired long ago; those of others stay, since a clock
    /// that is wrong must not lock them out. `Conflict` if the gateway has none of this key that is not revoked.
    async fn renew(&self, certificate: &Certificate, audit: &LogEntry) -> Result<(), StoreError>;

    /// A gateway's certificates, the last issued first. Those that expired long ago are not kept.
    async fn certificates(&self, gateway: &GatewayKey) -> Result<Vec<Certificate>, StoreError>;

    /// Revokes all of a gateway's certificates, with its secret and its codes. How many certificates. `NotFound` if
    /// neither a code nor anything else was ever of it.
    async fn revoke(&self, gateway: &GatewayKey, now_us: i64, audit: &LogEntry) -> Result<usize, StoreError>;
}

/// What was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// For storage.
    pub certificate: Certificate,
    /// For the box.
    pub enrolled: Enrolled,
}

/// Why nothing was issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The request is not one.
    #[error("signing request: {0}")]
    Request(String),
    /// The ingress speaks no TLS: a certificate would be of no use.
    #[error("the ingress of this cloud has no TLS")]
    NoTls,
    /// The authority failed.
    #[error("authority: {0}")]
    Authority(String),
}

/// What a certificate that was issued says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// To whom it was issued.
    pub gateway: GatewayKey,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of its public key.
    pub key: [u8; 32],
    /// From when it is good, UTC us.
    pub not_before_us: i64,
    /// From when it should be renewed, UTC us.
    pub renew_from_us: i64,
    /// Until when it is good, UTC us.
    pub not_after_us: i64,
}

impl Peer {
    /// Whether it is time to renew it. One that is not good yet was issued while the cloud's clock was ahead: it would
    /// live until then.
    pub fn is_due(&self, now_us: i64) -> bool {
        self.renew_from_us <= now_us || now_us < self.not_before_us
    }
}

/// Issues certificates to boxes.
pub trait Authority: Send + Sync {
    /// Whether anything is issued: the ingress speaks TLS.
    fn issues(&self) -> bool;

    /// A certificate for the public key of a signing request (PEM), whose own name does not matter. Nothing is kept.
    ///
    /// # Errors
    /// When the request is not signed by its own key or is of a kind that is not issued, or there is no TLS.
    fn issue(&self, gateway: &GatewayKey, request: &str, now_us: i64) -> Result<Issued, IssueError>;

    /// Reads a certificate (DER) of a box. That it is genuine is not looked at here: the TLS session was held by it.
    fn read(&self, der: &[u8]) -> Option<Peer>;

    /// The authority's own certificate, DER: what certificates of boxes are held against.
    fn root(&self) -> Vec<u8>;

    /// For how long a certificate that has expired may still be renewed, us: a box may have been away.
    fn grace_us(&self) -> i64;
}

impl Certificate {
    /// As it is shown.
    pub fn view(&self) -> common::api::CertificateView {
        common::api::CertificateView {
            serial: self.serial.clone(),
            key: common::text::hex(&self.key),
            issued_us: self.issued_us,
            not_after_us: self.not_after_us,
            revoked_us: self.revoked_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_was_renewed_after_the_backup_is_good_as_long_as_its_key_is() {
        let gateway =
            GatewayKey { tenant: "default".parse().unwrap(), gateway: "line1-box".parse().unwrap() };
        let kept = |serial: &str, key: u8, revoked_us: Option<i64>| Certificate {
            gateway: gateway.clone(),
            serial: serial.into(),
            key: [key; 32],
            issued_us: 1,
            not_after_us: 9,
            revoked_us,
        };
        let peer = |serial: &str, key: u8| Peer {
            gateway: gateway.clone(),
            serial: serial.into(),
            key: [key; 32],
            not_before_us: 1,
            renew_from_us: 6,
            not_after_us: 9,
        };
        assert!(lets_in(&peer("1", 1), &[kept("1", 1, None)]));
        assert!(lets_in(&peer("2", 1), &[kept("1", 1, None)]), "renewed after the backup");
        assert!(!lets_in(&peer("2", 2), &[kept("1", 1, None)]), "another key");
        assert!(!lets_in(&peer("1", 1), &[kept("1", 1, Some(5))]));
        assert!(!lets_in(&peer("2", 1), &[kept("1", 1, Some(5))]), "the key was revoked");
        assert!(
            !lets_in(&peer("1", 1), &[kept("1", 1, Some(5)), kept("2", 1, None)]),
            "it was revoked itself"
        );
        assert!(
            !lets_in(&peer("1", 2), &[kept("1", 1, None), kept("2", 2, None)]),
            "the serial is another key's"
        );
        assert!(!lets_in(&peer("1", 1), &[]));
    }
}
