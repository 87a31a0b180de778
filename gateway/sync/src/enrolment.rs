//! How the box is enrolled: its key, its certificate, and what the cloud told of itself, in a folder of their own. The key
//! is made here and goes nowhere.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use common::GatewayId;
use common::api::{Enrolled, IdentityView};
use common::enrol::renew_from_us;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_cert::der::{Decode as _, Encode as _};

use crate::options::Url;

/// What is enrolled.
const KEPT: &str = "identity.json";
/// A key that waits for its certificate.
const WAITING: &str = "request.key";

/// Why a box cannot be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A file cannot be had.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{}: {detail}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// What was issued is not for this box.
    #[error("{0}")]
    Wrong(String),
}

/// What makes this box a gateway of a cloud.
#[derive(Clone, Serialize, Deserialize)]
pub struct Enrolment {
    key: String,
    /// What the cloud issued.
    pub enrolled: Enrolled,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} at {}", self.enrolled.tenant, self.enrolled.gateway, self.enrolled.url)
    }
}

/// A renewed certificate is the same enrolment.
impl PartialEq for Enrolment {
    fn eq(&self, other: &Self) -> bool {
        let of = |e: &Self| Enrolled { certificate: String::new(), ..e.enrolled.clone() };
        self.key == other.key && of(self) == of(other)
    }
}

impl Eq for Enrolment {}

/// What a certificate says.
struct Read {
    serial: String,
    public_key: Vec<u8>,
    not_before_us: i64,
    not_after_us: i64,
}

impl Enrolment {
    /// The key, PEM.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Where the cloud is.
    ///
    /// # Errors
    /// When it told something else.
    pub fn url(&self) -> Result<Url, String> {
        self.enrolled.url.parse()
    }

    /// As it is shown.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn view(&self) -> Result<IdentityView, String> {
        let read = read(&self.enrolled.certificate)?;
        Ok(IdentityView {
            tenant: self.enrolled.tenant.clone(),
            gateway: self.enrolled.gateway.clone(),
            url: self.enrolled.url.clone(),
            serial: read.serial,
            not_before_us: read.not_before_us,
            not_after_us: read.not_after_us,
        })
    }

    /// Whether it is time for a new certificate: a third of its life is left.
    pub(crate) fn is_due(&self, now_us: i64) -> bool {
        read(&self.enrolled.certificate)
            .is_ok_and(|c| renew_from_us(c.not_before_us, c.not_after_us) <= now_us)
    }

    /// A signing request for the same key, PEM.
    pub(crate) fn renewal(&self) -> Result<String, String> {
        let key = KeyPair::from_pem(&self.key).map_err(|e| e.to_string())?;
        request(&key, &self.enrolled.gateway)
    }
}

/// The folder of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentFolder(PathBuf);

impl EnrolmentFolder {
    /// The folder in a gateway's data folder.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("identity"))
    }

    /// What is enrolled; none if nothing is.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn read(&self) -> Result<Option<Enrolment>, EnrolError> {
        let path = self.0.join(KEPT);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| EnrolError::File { path: path.clone(), source })?,
        };
        let damaged = |detail: String| EnrolError::Damaged { path: path.clone(), detail };
        let kept: Enrolment = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        kept.check().map_err(damaged)?;
        Ok(Some(kept))
    }

    /// A signing request, PEM, for a key that is made for it and kept until its certificate comes. Asked again, the same
    /// key: a code is good once for one key, and its answer may be lost.
    ///
    /// # Errors
    /// When no key can be made or kept.
    pub fn request(&self, gateway: &GatewayId) -> Result<String, EnrolError> {
        let path = self.0.join(WAITING);
        let made = |e: rcgen::Error| EnrolError::Wrong(format!("no key can be made: {e}"));
        // One that was enrolled, and stayed here when the power was cut, is no new key: it may be why somebody enrols anew.
        let enrolled = self.read().ok().flatten().map(|kept| kept.key);
        let waiting = std::fs::read_to_string(&path).ok().filter(|pem| enrolled.as_ref() != Some(pem));
        let key = match waiting.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
            Some(key) => key,
            None => {
                let key = KeyPair::generate().map_err(made)?;
                self.put(WAITING, &key.serialize_pem())?;
                key
            }
        };
        request(&key, gateway).map_err(EnrolError::Wrong)
    }

    /// Keeps what was issued for the key that waits, or anew for the one that is enrolled.
    ///
    /// # Errors
    /// When it is for another key or names what cannot be, or cannot be kept; nothing is changed then.
    pub fn keep(&self, enrolled: Enrolled) -> Result<Enrolment, EnrolError> {
        let waiting = std::fs::read_to_string(self.0.join(WAITING)).ok();
        let before = self.read().ok().flatten().map(|kept| kept.key);
        let is_its =
            |key: &String| Enrolment { key: key.clone(), enrolled: enrolled.clone() }.check().is_ok();
        let key = [waiting.clone(), before].into_iter().flatten().find(is_its);
        let Some(key) = key else {
            return Err(EnrolError::Wrong(
                "the certificate is not of this box's key: make a new request, and enrol with a new code"
                    .into(),
            ));
        };
        let is_new = waiting.as_ref() == Some(&key);
        let kept = Enrolment { key, enrolled };
        let text = serde_json::to_string(&kept).map_err(|e| EnrolError::Wrong(e.to_string()))?;
        self.put(KEPT, &text)?;
        if is_new {
            let path = self.0.join(WAITING);
            std::fs::remove_file(&path).map_err(|source| EnrolError::File { path, source })?;
        }
        Ok(kept)
    }

    /// Puts a file in place of the one before, for its owner's eyes alone.
    fn put(&self, name: &str, text: &str) -> Result<(), EnrolError> {
        let path = self.0.join(name);
        let put = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            File::open(self.0.parent().unwrap_or(&self.0))?.sync_all()?;
            common::files::replace(&path, text.as_bytes(), 0o600)
        };
        put().map_err(|source| EnrolError::File { path: path.clone(), source })
    }
}

impl Enrolment {
    /// Whether key, certificate, address and authorities are what they should be.
    fn check(&self) -> Result<(), String> {
        let key = KeyPair::from_pem(&self.key).map_err(|e| format!("key: {e}"))?;
        let certificate = read(&self.enrolled.certificate)?;
        if certificate.public_key != key.subject_public_key_info() {
            return Err("the certificate is not of the key".into());
        }
        let url = self.url()?;
        if !url.tls || url.port == 0 {
            return Err(format!("`{}` is not mqtts://host[:port]", self.enrolled.url));
        }
        match &self.enrolled.trust {
            Some(pem) if CertificateDer::from_pem_slice(pem.as_bytes()).is_err() => {
                Err("what to hold the cloud's certificate against is no PEM".into())
            }
            _ => Ok(()),
        }
    }
}

fn request(key: &KeyPair, gateway: &GatewayId) -> Result<String, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, gateway.as_str());
    let request = params.serialize_request(key).map_err(|e| e.to_string())?;
    request.pem().map_err(|e| e.to_string())
}

fn read(pem: &str) -> Result<Read, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| format!("certificate: {e}"))?;
    let body =
        x509_cert::Certificate::from_der(&der).map_err(|e| format!("certificate: {e}"))?.tbs_certificate;
    let us = |time: x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_micros()).map_err(|_| "certificate: no time".to_owned())
    };
    Ok(Read {
        serial: common::text::hex(body.serial_number.as_bytes()),
        public_key: body.subject_public_key_info.to_der().map_err(|e| e.to_string())?,
        not_before_us: us(body.validity.not_before)?,
        not_after_us: us(body.validity.not_after)?,
    })
}

/// From when a certificate is good, seconds since 1970.
pub(crate) fn not_before_s(der: &[u8]) -> Option<u64> {
    let validity = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate.validity;
    Some(validity.not_before.to_unix_duration().as_secs())
}

#[cfg(test)]
#[path = "enrolment_tests.rs"]
mod tests;
