//! The cloud's own certificate authority. It is made at the first start and never by itself again, in a folder of its own beside the database, and
//! issues what boxes sign in with; and the ingress's own certificate, where nobody else issues one. Its key is what a
//! whole installation hangs on: it never leaves the folder, and is not in the database's backups.

mod files;
mod request;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cloud_core::GatewayKey;
use cloud_core::enrol::{Authority as Issues, Certificate, IssueError, Issued, Peer};
use common::api::Enrolled;
use common::enrol::renew_from_us;
use common::text::counted;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_cert::der::{Decode as _, Encode as _};

use crate::request::PublicKey;

const DAY_US: i64 = 86_400_000_000;
/// The authority's own certificate, days.
const ROOT_DAYS: u32 = 20 * 365;
/// The ingress's, days; made anew when a third is left.
const SERVER_DAYS: u32 = 90;
/// Clocks differ: what is issued is good from a little before.
const BEFORE_US: i64 = DAY_US;

/// What may be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of its files.
    pub folder: PathBuf,
    /// What boxes hold the ingress's certificate against; none: the authorities of their system.
    pub trust: Trust,
    /// For how long a box's certificate is good, days.
    pub days: u32,
    /// For how long it may still be renewed after that, days.
    pub grace_days: u32,
}

/// Who signs the ingress's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// an authority that every system knows
    System,
    /// this authority
    Own,
    /// those of this PEM file
    File(PathBuf),
}

/// Why there is no authority, or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be had.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {detail}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// There is none, where gateways have certificates of one.
    #[error(
        "{}: the authority that signed the certificates of {} is not there, and no box would be let in by a new \
         one. Bring the folder back from its backup; without one, `twinway-cloud new-authority` makes another, and every box \
         has to be enrolled again", folder.display(), counted(*enrolled, "gateway")
    )]
    Gone {
        /// Where it was.
        folder: PathBuf,
        /// How many gateways.
        enrolled: usize,
    },
    /// There is one, or a part of it, where another was to be made.
    #[error("{} is there: no other authority is made beside it. Move the folder away first, if every box is to be enrolled again", path.display())]
    There {
        /// What is there.
        path: PathBuf,
    },
    /// It could not be made.
    #[error("certificate: {0}")]
    Made(String),
}

/// The authority.
pub struct Authority {
    options: Options,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    /// What boxes are given.
    trust: Option<String>,
    /// Where boxes find the ingress.
    url: OnceLock<String>,
}

impl Authority {
    /// Reads it from its folder, or makes it if there is none and no gateway is `enrolled`.
    ///
    /// # Errors
    /// When the folder cannot be used, or all or a part of what was in it is missing or damaged: a new authority would lock
    /// every box out, so it is not made in place of an old one.
    pub fn open(options: Options, enrolled: usize, now_us: i64) -> Result<Self, Error> {
        let folder = &options.folder;
        let [key_path, root_path] = paths(folder);
        let (issuer, root_pem) = match (read(&key_path)?, read(&root_path)?) {
            (None, None) if enrolled > 0 => return Err(Error::Gone { folder: folder.clone(), enrolled }),
            (None, None) => make(folder, now_us)?,
            // Its certificate was not written any more: nothing was issued.
            (Some(key), None) => certify(key_of(&key_path, &key)?, &root_path, now_us)?,
            (None, Some(_)) => {
                return Err(Error::Damaged {
                    path: key_path,
                    detail: format!(
                        "missing, while {} is there: bring it back from a backup, or move both away, make another authority with \
                         `twinway-cloud new-authority` and enrol every box again",
                        root_path.display()
                    ),
                });
            }
            (Some(key), Some(pem)) => {
                let key = key_of(&key_path, &key)?;
                (Issuer::new(root_params(&key, now_us), key), pem)
            }
        };
        let damaged = |detail: String| Error::Damaged { path: root_path.clone(), detail };
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(|e| damaged(e.to_string()))?;
        let of = read_certificate(&root).ok_or_else(|| damaged("no certificate".into()))?;
        if of.key != Sha256::digest(issuer.key().subject_public_key_info())[..] {
            return Err(damaged(format!("is not of {}", key_path.display())));
        }
        let trust = match &options.trust {
            Trust::System => None,
            Trust::Own => Some(root_pem),
            Trust::File(path) => {
                let text = read(path)?.ok_or_else(|| Error::File {
                    path: path.clone(),
                    source: io::ErrorKind::NotFound.into(),
                })?;
                CertificateDer::from_pem_slice(text.as_bytes())
                    .map_err(|e| Error::Damaged { path: path.clone(), detail: e.to_string() })?;
                Some(text)
            }
        };
        Ok(Self { options, issuer, root, trust, url: OnceLock::new() })
    }

    /// Makes another one, whoever is enrolled: their boxes have to be enrolled again.
    ///
    /// # Errors
    /// When there is one, or a part of it, or it cannot be made.
    pub fn make_another(folder: &Path, now_us: i64) -> Result<(), Error> {
        if let Some(path) = paths(folder).into_iter().find(|path| path.exists()) {
            return Err(Error::There { path });
        }
        make(folder, now_us).map(drop)
    }

    /// From here on boxes are told to come there, as `mqtts://host:port`. Before it nothing is issued.
    pub fn serve_at(&self, url: String) {
        let _ = self.url.set(url);
    }

    /// Where `server` puts certificate and key: one file, so that they are always of each other.
    pub fn server_file(folder: &Path) -> PathBuf {
        folder.join("ingress.pem")
    }

    /// Certificate and key of the ingress under these names, as a file: what is there while it is of this authority and these
    /// names, and good now and for a while yet, else new ones. True if they are new.
    ///
    /// # Errors
    /// When a name is none, or the file cannot be written.
    pub fn server(&self, names: &[String], now_us: i64) -> Result<bool, Error> {
        let folder = &self.options.folder;
        let (path, of) = (Self::server_file(folder), folder.join("ingress.names"));
        let wanted = names.join("\n");
        let has_key = |pem: &String| PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok();
        let there = read(&path)?.filter(has_key);
        let there = there.and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
        // A clock that was ahead leaves one that is not good yet; another authority one that no box believes.
        let is_good = |c: &ReadCertificate| {
            let left_us = c.not_after_us.saturating_sub(now_us);
            c.not_before_us <= now_us && left_us > i64::from(SERVER_DAYS) * DAY_US / 3
        };
        if read(&of)?.as_deref() == Some(&wanted)
            && there.is_some_and(|der| {
                read_certificate(&der).is_some_and(|c| is_good(&c)) && is_signed_by(&der, self.issuer.key())
            })
        {
            return Ok(false);
        }
        let made = |e: rcgen::Error| Error::Made(e.to_string());
        let key = KeyPair::generate().map_err(made)?;
        let mut params = CertificateParams::new(names).map_err(made)?;
        set_time(&mut params, now_us, SERVER_DAYS);
        let name = names.first().map_or("twinway", String::as_str);
        params.distinguished_name = named(name);
        params.serial_number = Some(serial().map_err(Error::Made)?);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(made)?;
        put(&path, &(certificate.pem() + &key.serialize_pem()))?;
        // The names last: after a cut in between it is made anew.
        put(&of, &wanted)?;
        Ok(true)
    }
}

impl Issues for Authority {
    fn issues(&self) -> bool {
        self.url.get().is_some()
    }

    fn issue(&self, gateway: &GatewayKey, request: &str, now_us: i64) -> Result<Issued, IssueError> {
        let url = self.url.get().cloned().ok_or(IssueError::NoTls)?;
        let failed = |e: rcgen::Error| IssueError::Authority(e.to_string());
        let key = PublicKey::of(request).map_err(IssueError::Request)?;
        let mut params = CertificateParams::default();
        set_time(&mut params, now_us, self.options.days);
        params.distinguished_name = named(&gateway.to_string());
        let serial = serial().map_err(IssueError::Authority)?;
        params.serial_number = Some(serial.clone());
        params.subject_alt_names = vec![SanType::URI(urn(gateway).try_into().map_err(failed)?)];
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let peer =
            read_certificate(made.der()).ok_or_else(|| failed(rcgen::Error::CouldNotParseCertificate))?;
        let certificate = Certificate {
            gateway: gateway.clone(),
            serial: peer.serial,
            key: peer.key,
            issued_us: now_us,
            not_after_us: peer.not_after_us,
            revoked_us: None,
        };
        let enrolled = Enrolled {
            tenant: gateway.tenant.clone(),
            gateway: gateway.gateway.clone(),
            url,
            certificate: made.pem(),
            trust: self.trust.clone(),
        };
        Ok(Issued { certificate, enrolled })
    }

    fn read(&self, der: &[u8]) -> Option<Peer> {
        let read = read_certificate(der)?;
        let (tenant, gateway) = read.name.split_once('/')?;
        let gateway = GatewayKey { tenant: tenant.parse().ok()?, gateway: gateway.parse().ok()? };
        let renew_from_us = renew_from_us(read.not_before_us, read.not_after_us);
        let ReadCertificate { serial, key, not_before_us, not_after_us, .. } = read;
        Some(Peer { gateway, serial, key, not_before_us, renew_from_us, not_after_us })
    }

    fn root(&self) -> Vec<u8> {
        self.root.to_vec()
    }

    fn grace_us(&self) -> i64 {
        i64::from(self.options.grace_days) * DAY_US
    }
}

fn urn(gateway: &GatewayKey) -> String {
    format!("urn:twinway:{}:{}", gateway.tenant, gateway.gateway)
}

/// Where its key and its own certificate are.
fn paths(folder: &Path) -> [PathBuf; 2] {
    ["authority.key", "authority.pem"].map(|name| folder.join(name))
}

fn make(folder: &Path, now_us: i64) -> Result<(Issuer<'static, KeyPair>, String), Error> {
    files::folder(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
    let [key_path, root_path] = paths(folder);
    let key = KeyPair::generate().map_err(|e| Error::Made(e.to_string()))?;
    put(&key_path, &key.serialize_pem())?;
    certify(key, &root_path, now_us)
}

fn certify(key: KeyPair, root_path: &Path, now_us: i64) -> Result<(Issuer<'static, KeyPair>, String), Error> {
    let params = root_params(&key, now_us);
    let pem = params.self_signed(&key).map_err(|e| Error::Made(e.to_string()))?.pem();
    put(root_path, &pem)?;
    Ok((Issuer::new(params, key), pem))
}

/// The name is made of the key, so that it need not be read from the certificate.
fn root_params(key: &KeyPair, now_us: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_time(&mut params, now_us, ROOT_DAYS);
    let short = common::text::hex(&Sha256::digest(key.subject_public_key_info())[..4]);
    params.distinguished_name = named(&format!("Twinway authority {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn set_time(params: &mut CertificateParams, now_us: i64, days: u32) {
    let at = |us: i64| {
        OffsetDateTime::from_unix_timestamp(us.div_euclid(1_000_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    params.not_before = at(now_us.saturating_sub(BEFORE_US));
    params.not_after = at(now_us.saturating_add(i64::from(days) * DAY_US));
}

/// 127 random bits: positive, and never given twice.
fn serial() -> Result<SerialNumber, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

struct ReadCertificate {
    name: String,
    serial: String,
    key: [u8; 32],
    not_before_us: i64,
    not_after_us: i64,
}

fn read_certificate(der: &[u8]) -> Option<ReadCertificate> {
    let body = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate;
    let name = body.subject.0.iter().flat_map(|rdn| rdn.0.iter()).next()?;
    let name = std::str::from_utf8(name.value.value()).ok()?.to_owned();
    let us = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_micros()).ok();
    Some(ReadCertificate {
        name,
        serial: common::text::hex(body.serial_number.as_bytes()),
        key: Sha256::digest(body.subject_public_key_info.to_der().ok()?).into(),
        not_before_us: us(body.validity.not_before)?,
        not_after_us: us(body.validity.not_after)?,
    })
}

fn is_signed_by(der: &[u8], key: &KeyPair) -> bool {
    let Ok(certificate) = x509_cert::Certificate::from_der(der) else { return false };
    let (Ok(signed), Some(signature)) =
        (certificate.tbs_certificate.to_der(), certificate.signature.as_bytes())
    else {
        return false;
    };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key_raw()).verify(&signed, signature).is_ok()
}

fn key_of(path: &Path, pem: &str) -> Result<KeyPair, Error> {
    KeyPair::from_pem(pem).map_err(|e| Error::Damaged { path: path.to_owned(), detail: e.to_string() })
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    files::get(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn put(path: &Path, text: &str) -> Result<(), Error> {
    files::put(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
