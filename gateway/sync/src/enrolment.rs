//! How the box is enrolled: its key, its certificate, and what the cloud told of itself, in a folder of their own. The key
//! is made here and goes nowhere.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::GatewayId;
use common::api::{Enrolled, IdentityView};
use common::enrol::renew_from_us;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_cert::der::{Decode as _, Encode as _};

use crate::options::Url;

/// What is enrolled, and was proven: it never gives way to anything but a whole file in its place.
const KEPT: &str = "identity.json";
/// What it was renewed to, without the key, which is the same: not proven yet.
const RENEWED: &str = "renewed.json";
/// A key that waits for its certificate.
const WAITING: &str = "request.key";
/// The folder has two writers in this program: who enrols, and the uplink that renews.
static WRITING: Mutex<()> = Mutex::new(());

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
        let _writing = writing();
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

    /// Keeps what was issued for the key that waits, or anew for the one that is enrolled: somebody enrolled the box, and what
    /// it was before is worth nothing from then on.
    ///
    /// # Errors
    /// When it is for another key or names what cannot be, or cannot be kept; nothing is changed then.
    pub fn keep(&self, enrolled: Enrolled) -> Result<Enrolment, EnrolError> {
        let _writing = writing();
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
        self.put(KEPT, &json(&kept)?)?;
        if is_new {
            self.remove(WAITING)?;
        }
        self.remove(RENEWED)?;
        Ok(kept)
    }

    /// Keeps what the cloud renewed an enrolment to beside it, until it is proven.
    ///
    /// # Errors
    /// When it is for another key or gateway or names what cannot be, or cannot be kept; nothing is changed then.
    pub(crate) fn keep_renewed(&self, enrolled: Enrolled) -> Result<Enrolment, EnrolError> {
        let _writing = writing();
        let proven =
            self.read()?.ok_or_else(|| EnrolError::Wrong("this box is not enrolled any more".into()))?;
        let renewed = proven.renewed(enrolled).map_err(EnrolError::Wrong)?;
        self.put(RENEWED, &json(&renewed.enrolled)?)?;
        Ok(renewed)
    }

    /// What an enrolment was renewed to and waits for its proof. What cannot be read, or is of an enrolment of before, is as
    /// if it were not there.
    pub(crate) fn renewed(&self, proven: &Enrolment) -> Option<Enrolment> {
        let path = self.0.join(RENEWED);
        let text = std::fs::read_to_string(&path).ok()?;
        let enrolled = serde_json::from_str(&text).map_err(|e| e.to_string());
        let renewed = enrolled.and_then(|enrolled| proven.renewed(enrolled));
        let renewed = renewed.inspect_err(|why| tracing::warn!(path = %path.display(), why, "not of use"));
        // The same after a cut between the two steps of its proof.
        renewed.ok().filter(|renewed| renewed.enrolled != proven.enrolled)
    }

    /// A renewed enrolment is the one from here on.
    ///
    /// # Errors
    /// When it cannot be kept, or the box was enrolled anew meanwhile; the one before is there still.
    pub(crate) fn prove(&self, renewed: &Enrolment) -> Result<(), EnrolError> {
        let _writing = writing();
        if self.read()?.is_none_or(|kept| kept.key != renewed.key) {
            return Err(EnrolError::Wrong("this box was enrolled anew meanwhile".into()));
        }
        self.put(KEPT, &json(renewed)?)?;
        self.remove(RENEWED)
    }

    /// A renewed enrolment is of no use. Comes it back with a loss of power, it is tried once more.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn forget_renewed(&self) -> Result<(), EnrolError> {
        let _writing = writing();
        self.remove(RENEWED)
    }

    fn remove(&self, name: &str) -> Result<(), EnrolError> {
        let path = self.0.join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| EnrolError::File { path, source }),
        }
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

fn writing() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn json(what: &impl Serialize) -> Result<String, EnrolError> {
    serde_json::to_string(what).map_err(|e| EnrolError::Wrong(e.to_string()))
}

impl Enrolment {
    /// The same box with what it was renewed to.
    fn renewed(&self, enrolled: Enrolled) -> Result<Self, String> {
        let own = &self.enrolled;
        if (&enrolled.tenant, &enrolled.gateway) != (&own.tenant, &own.gateway) {
            let names = format!(
                "{}/{}, and this is {}/{}",
                enrolled.tenant, enrolled.gateway, own.tenant, own.gateway
            );
            return Err(format!("it is of {names}"));
        }
        let renewed = Self { key: self.key.clone(), enrolled };
        renewed.check()?;
        Ok(renewed)
    }

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
