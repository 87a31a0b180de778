//! One certificate, read: what it says of itself, and whether another one signed it. Pure; any bytes are taken.

use common::text::hex;
use opcua::crypto::{CertificateStore, X509};
use sha2::{Digest, Sha256};
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};
use x509_cert::time::Time;

use super::PkiError;

/// Longest certificate that is looked at, bytes.
pub const MOST_BYTES: usize = 16 * 1024;
const COMMON_NAME: &str = "2.5.4.3";
const RSA_SHA256: &str = "1.2.840.113549.1.1.11";

/// A certificate (X.509, DER).
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    read: x509_cert::Certificate,
    x509: X509,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({}, {})", self.subject(), self.fingerprint())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Certificate {
    /// Reads DER. Of a chain, which OPC UA lets follow (part 6, 6.2.3), the first.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_der(bytes: &[u8]) -> Result<Self, PkiError> {
        let invalid = |detail: &str| PkiError::Invalid { detail: detail.to_owned() };
        let own = first_of(bytes).ok_or_else(|| invalid("is no DER"))?;
        if own.len() > MOST_BYTES {
            return Err(invalid("is longer than 16 KiB"));
        }
        let read = x509_cert::Certificate::from_der(own).map_err(|e| invalid(&e.to_string()))?;
        let x509 = X509::from_der(own).map_err(|_| invalid("is no certificate"))?;
        Ok(Self { der: own.to_vec(), read, x509 })
    }

    /// Reads DER or PEM.
    ///
    /// # Errors
    /// When it is neither.
    pub fn from_file_bytes(bytes: &[u8]) -> Result<Self, PkiError> {
        if !bytes.starts_with(b"-----") {
            return Self::from_der(bytes);
        }
        let invalid = || PkiError::Invalid { detail: "is no certificate (PEM)".to_owned() };
        let x509 = X509::from_pem(bytes).map_err(|_| invalid())?;
        Self::from_der(&x509.to_der().map_err(|_| invalid())?)
    }

    /// As DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// For calls of the OPC UA crates.
    pub fn x509(&self) -> &X509 {
        &self.x509
    }

    /// SHA-256 as 64 hex digits: what it is trusted by.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.der))
    }

    /// SHA-1 as 40 hex digits: what OPC UA programs show.
    pub fn thumbprint(&self) -> String {
        self.x509.thumbprint().as_hex_string()
    }

    /// Name of its file, as `async-opcua` looks for it: common name and thumbprint.
    pub(super) fn file_name(&self) -> String {
        let name = self.admitted_name();
        let usual = |c: char| c.is_ascii_alphanumeric() || " [].,=_-".contains(c);
        // The crate takes out slashes alone; what else is unusual is not ours to keep in a name.
        if name.chars().all(usual) && !name.starts_with('.') && name.len() < 200 {
            name
        } else {
            format!("{}.der", self.thumbprint())
        }
    }

    /// Name of the file in which `async-opcua` itself looks for it.
    pub fn admitted_name(&self) -> String {
        CertificateStore::cert_file_name(&self.x509)
    }

    /// Whom it names, such as `CN=UaExpert,O=Plant`.
    pub fn subject(&self) -> String {
        self.read.tbs_certificate.subject.to_string()
    }

    /// The last common name of its subject, such as `UaExpert`; none if it has none.
    pub fn common_name(&self) -> Option<String> {
        let names = self.read.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
        let common = names.rev().find(|a| a.oid.to_string() == COMMON_NAME)?;
        // The kinds of text that a name may be of (RFC 5280, 4.1.2.4) and that are UTF-8.
        let text = matches!(common.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
        String::from_utf8(common.value.value().to_vec()).ok().filter(|_| text)
    }

    /// Who signed it.
    pub fn issuer(&self) -> String {
        self.read.tbs_certificate.issuer.to_string()
    }

    /// The application that it is for (`urn:...`), if it says so.
    pub fn application_uri(&self) -> Option<String> {
        self.names().into_iter().find_map(|n| match n {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        })
    }

    /// Names and addresses of the hosts that it is for.
    pub fn hosts(&self) -> Vec<String> {
        let host = |n| match n {
            GeneralName::DnsName(name) => Some(name.to_string()),
            GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
            _ => None,
        };
        self.names().into_iter().filter_map(host).collect()
    }

    fn names(&self) -> Vec<GeneralName> {
        match self.read.tbs_certificate.get::<SubjectAltName>() {
            Ok(Some((_, SubjectAltName(names)))) => names,
            _ => Vec::new(),
        }
    }

    /// From when and until when it is valid, UTC us.
    pub fn validity_us(&self) -> (i64, i64) {
        let us = |t: &Time| i64::try_from(t.to_unix_duration().as_micros()).unwrap_or(i64::MAX);
        let validity = &self.read.tbs_certificate.validity;
        (us(&validity.not_before), us(&validity.not_after))
    }

    /// Length of its RSA key; none if it has another kind of key.
    pub fn key_bits(&self) -> Option<usize> {
        self.x509.key_length().ok()
    }

    /// Whether it may sign others.
    pub fn is_ca(&self) -> bool {
        let tbs = &self.read.tbs_certificate;
        let ca = matches!(tbs.get::<BasicConstraints>(), Ok(Some((_, c))) if c.ca);
        let signs = match tbs.get::<KeyUsage>() {
            Ok(Some((_, usage))) => usage.key_cert_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        ca && signs
    }

    /// Whether it names itself as its issuer.
    pub fn is_self_issued(&self) -> bool {
        self.read.tbs_certificate.issuer == self.read.tbs_certificate.subject
    }

    /// Whether `ca` signed it. RSA with SHA-256, which every policy from `Basic256Sha256` on demands.
    pub fn is_signed_by(&self, ca: &Self) -> bool {
        let named = self.read.tbs_certificate.issuer == ca.read.tbs_certificate.subject;
        let signed = self.read.tbs_certificate.to_der();
        let known = self.read.signature_algorithm.oid.to_string() == RSA_SHA256
            && self.read.signature_algorithm == self.read.tbs_certificate.signature;
        match (named && known && ca.is_ca(), signed, self.read.signature.as_bytes()) {
            (true, Ok(signed), Some(signature)) => ca.has_signed(&signed, signature),
            _ => false,
        }
    }

    fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        self.x509.public_key().is_ok_and(|key| key.verify_sha256(bytes, signature).unwrap_or(false))
    }

    /// Whether `list` is of its issuer `ca` and names it as revoked.
    pub(super) fn is_revoked_by(&self, list: &CertificateList, ca: &Self) -> bool {
        let tbs = &list.tbs_cert_list;
        let of_issuer = tbs.issuer == ca.read.tbs_certificate.subject
            && tbs.issuer == self.read.tbs_certificate.issuer
            && list.signature_algorithm.oid.to_string() == RSA_SHA256;
        let serial = &self.read.tbs_certificate.serial_number;
        let named = tbs.revoked_certificates.iter().flatten().any(|r| r.serial_number == *serial);
        match (of_issuer && named, tbs.to_der(), list.signature.as_bytes()) {
            (true, Ok(signed), Some(signature)) => ca.has_signed(&signed, signature),
            _ => false,
        }
    }
}

/// The first DER element: a chain is one certificate after the other.
fn first_of(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = x509_cert::der::SliceReader::new(bytes).ok()?;
    let any = x509_cert::der::asn1::AnyRef::decode(&mut reader).ok()?;
    if any.tag() != Tag::Sequence {
        return None;
    }
    let len = usize::try_from(x509_cert::der::Reader::position(&reader)).ok()?;
    bytes.get(..len)
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}
