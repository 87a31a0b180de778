//! Whether the other side's certificate is taken, and if not, why and what helps.

use common::clock::format_us;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;

use super::{Certificate, Folder, Pki, PkiError};

/// Certificates between one and the CA that is trusted.
const LONGEST_CHAIN: usize = 5;
const FEWEST_KEY_BITS: usize = 2048;
const MOST_KEY_BITS: usize = 4096;

/// What the certificate must say; what is none is not asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'e> {
    /// Name or address by which the other side was called.
    pub host: Option<&'e str>,
    /// The application that the other side says it is.
    pub uri: Option<&'e str>,
}

/// Why a certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Nobody has said that it may be trusted.
    #[error("certificate {fingerprint} of `{subject}` is not trusted")]
    Untrusted {
        /// SHA-256.
        fingerprint: String,
        /// Whom it names.
        subject: String,
    },
    /// Its CA took it back.
    #[error("certificate of `{subject}` was revoked by its CA")]
    Revoked {
        /// Whom it names.
        subject: String,
    },
    /// Too late.
    #[error("certificate of `{subject}` expired at {until}")]
    Expired {
        /// Whom it names.
        subject: String,
        /// UTC.
        until: String,
    },
    /// Too early, or a clock is wrong.
    #[error("certificate of `{subject}` is valid only from {from} on: check the clocks")]
    NotYetValid {
        /// Whom it names.
        subject: String,
        /// UTC.
        from: String,
    },
    /// It is for another host.
    #[error("certificate is for {}, not for `{host}`", .names.join(", "))]
    OtherHost {
        /// How it was called.
        host: String,
        /// Hosts that it names.
        names: Vec<String>,
    },
    /// It is for another application.
    #[error("certificate is for application `{found}`, not for `{uri}`")]
    OtherApplication {
        /// What was expected.
        uri: String,
        /// What it says.
        found: String,
    },
    /// Too short or too long for any policy, or no RSA key.
    #[error("certificate has no RSA key of 2048 to 4096 bits ({bits})")]
    Key {
        /// Its length; 0 for another kind of key.
        bits: usize,
    },
}

impl Pki {
    /// Whether the other side's certificate, or the CA that signed it, is trusted, and fits. Reads files: some
    /// microseconds to milliseconds.
    ///
    /// # Errors
    /// Every doubt, the gravest first; the certificate is not noted as rejected by this.
    pub fn judge(
        &self,
        certificate: &Certificate,
        expected: Expected<'_>,
        now_us: i64,
    ) -> Result<(), Vec<Doubt>> {
        let mut doubts = Vec::new();
        let subject = || certificate.subject();
        match self.is_trusted(certificate, now_us) {
            Trust::Yes => {}
            Trust::Revoked => doubts.push(Doubt::Revoked { subject: subject() }),
            Trust::No => {
                doubts.push(Doubt::Untrusted { fingerprint: certificate.fingerprint(), subject: subject() });
            }
        }
        let bits = certificate.key_bits().unwrap_or(0);
        if !(FEWEST_KEY_BITS..=MOST_KEY_BITS).contains(&bits) {
            doubts.push(Doubt::Key { bits });
        }
        let (from_us, until_us) = certificate.validity_us();
        if until_us < now_us {
            doubts.push(Doubt::Expired { subject: subject(), until: format_us(until_us) });
        }
        if from_us > now_us {
            doubts.push(Doubt::NotYetValid { subject: subject(), from: format_us(from_us) });
        }
        if let Some(host) = expected.host {
            let names = certificate.hosts();
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            if !names.iter().any(|n| n.eq_ignore_ascii_case(bare)) {
                doubts.push(Doubt::OtherHost { host: bare.to_owned(), names });
            }
        }
        if let Some(uri) = expected.uri {
            let found = certificate.application_uri().unwrap_or_default();
            if found != uri {
                doubts.push(Doubt::OtherApplication { uri: uri.to_owned(), found });
            }
        }
        if doubts.is_empty() { Ok(()) } else { Err(doubts) }
    }

    /// A folder that cannot be read trusts nobody.
    fn is_trusted(&self, certificate: &Certificate, now_us: i64) -> Trust {
        let trusted = self.certificates(Folder::Trusted).unwrap_or_default();
        if trusted.contains(certificate) {
            return Trust::Yes;
        }
        let issuers = self.certificates(Folder::Issuers).unwrap_or_default();
        let lists = self.revocation_lists().unwrap_or_default();
        let valid = |c: &Certificate| {
            let (from_us, until_us) = c.validity_us();
            (from_us..=until_us).contains(&now_us)
        };
        let mut at = certificate.clone();
        for _ in 0..LONGEST_CHAIN {
            let mut found = trusted.iter().chain(&issuers).filter(|ca| valid(ca) && at.is_signed_by(ca));
            let Some(ca) = found.next().cloned() else { return Trust::No };
            if lists.iter().any(|list| at.is_revoked_by(list, &ca)) {
                return Trust::Revoked;
            }
            if trusted.contains(&ca) {
                return Trust::Yes;
            }
            at = ca;
        }
        Trust::No
    }

    fn revocation_lists(&self) -> Result<Vec<CertificateList>, PkiError> {
        let mut lists = Vec::new();
        for folder in [Folder::Trusted, Folder::Issuers] {
            for path in self.files(folder, &["crl"])? {
                let Ok(bytes) = std::fs::read(&path) else { continue };
                match CertificateList::from_der(&bytes) {
                    Ok(list) => lists.push(list),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "is no revocation list (DER)")
                    }
                }
            }
        }
        Ok(lists)
    }
}

enum Trust {
    Yes,
    No,
    Revoked,
}
