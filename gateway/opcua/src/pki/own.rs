//! The certificate that this application shows to others: made when there is none, and then kept, because those who
//! trust it know it by its fingerprint.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{GatewayId, TenantId};
use opcua::crypto::{KeySize, PrivateKey, X509, X509Data};

use super::{Certificate, Pki, PkiError, write_file};

/// In bits; what every policy from `Basic256Sha256` on takes.
const KEY_BITS: u32 = 2048;
/// A box in a plant lives long, and an expired certificate stops it.
const VALID_DAYS: u32 = 20 * 365;

/// Both roles of a process may ask at once; one of them makes it.
static TURN: Mutex<()> = Mutex::new(());

/// Whom the certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// For people.
    pub name: String,
    /// `urn:...`, unique in the world.
    pub uri: String,
    /// Names and addresses by which others call it, besides those that the machine has.
    pub hosts: Vec<String>,
}

impl Application {
    /// The gateway as an application, which it is in both roles: they share one certificate.
    pub fn gateway(tenant: &TenantId, gateway: &GatewayId, hosts: Vec<String>) -> Self {
        let uri = format!("urn:twinway:{tenant}:{gateway}");
        Self { name: format!("Twinway gateway {gateway}"), uri, hosts }
    }
}

/// What `Pki::own` found or made.
#[derive(Debug, Clone)]
pub struct Own {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key.
    pub key: PrivateKey,
    /// Why it was made now; none if it was there.
    pub made: Option<&'static str>,
}

impl Pki {
    /// The application's own certificate. It is made when there is none, and renewed with the same key when it has
    /// expired or names another application. Making a key takes up to seconds: call it from a thread that may block.
    ///
    /// # Errors
    /// When files cannot be read or written, or only one of the two is there: they are never replaced in silence.
    pub fn own(&self, application: &Application, now_us: i64) -> Result<Own, PkiError> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (cert_path, key_path) = (self.own_certificate_path(), self.own_key_path());
        match (cert_path.exists(), key_path.exists()) {
            (true, true) => {}
            (false, false) => {
                let key = PrivateKey::new(KEY_BITS);
                let key = key.map_err(|e| PkiError::Invalid { detail: format!("cannot make a key: {e}") })?;
                write_file(&key_path, &pem(&key)?, 0o600)?;
                return self.issue(application, key, "there was none");
            }
            (_, key_there) => {
                let (has, lacks) = if key_there { (key_path, cert_path) } else { (cert_path, key_path) };
                return Err(PkiError::HalfOwn { has, lacks });
            }
        }
        let key = PrivateKey::read_pem_file(&key_path);
        let key = key.map_err(|_| PkiError::Read { path: key_path, detail: "is no RSA key".to_owned() })?;
        let certificate = read(&cert_path)?;
        if !belongs(&key, &certificate) {
            let detail = "is not of the key beside it".to_owned();
            return Err(PkiError::Read { path: cert_path, detail });
        }
        let (_, until_us) = certificate.validity_us();
        if certificate.application_uri().as_deref() != Some(application.uri.as_str()) {
            return self.issue(application, key, "the application has another name now");
        }
        if until_us <= now_us {
            return self.issue(application, key, "it had expired");
        }
        Ok(Own { certificate, key, made: None })
    }

    fn issue(&self, application: &Application, key: PrivateKey, why: &'static str) -> Result<Own, PkiError> {
        let data = X509Data {
            key_size: KEY_BITS,
            common_name: printable(&application.name),
            organization: "Twinway".to_owned(),
            organizational_unit: String::new(),
            country: String::new(),
            state: String::new(),
            alt_host_names: X509Data::alt_host_names(
                &application.uri,
                Some(hosts(application)),
                true,
                true,
                true,
            ),
            certificate_duration_days: VALID_DAYS,
        };
        let x509 = X509::from_pkey(&key, &data);
        let x509 = x509.map_err(|e| PkiError::Invalid { detail: format!("cannot be signed: {e}") })?;
        let der = x509.to_der().map_err(|e| PkiError::Invalid { detail: e.to_string() })?;
        write_file(&self.own_certificate_path(), &der, 0o644)?;
        Ok(Own { certificate: Certificate::from_der(&der)?, key, made: Some(why) })
    }
}

fn read(path: &Path) -> Result<Certificate, PkiError> {
    let told = |detail: String| PkiError::Read { path: path.to_owned(), detail };
    let bytes = fs::read(path).map_err(|e| told(e.to_string()))?;
    Certificate::from_file_bytes(&bytes).map_err(|e| told(e.to_string()))
}

/// Whether what the key signs is what the certificate confirms.
fn belongs(key: &PrivateKey, certificate: &Certificate) -> bool {
    let probe = b"twinway";
    let mut signature = vec![0; key.size()];
    let Ok(len) = key.sign_sha256(probe, &mut signature) else { return false };
    let Ok(public) = certificate.x509().public_key() else { return false };
    signature.get(..len).is_some_and(|s| public.verify_sha256(probe, s).unwrap_or(false))
}

fn pem(key: &PrivateKey) -> Result<Vec<u8>, PkiError> {
    let der = key.to_der().map_err(|e| PkiError::Invalid { detail: e.to_string() })?;
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let base64 = BASE64.encode(der.as_bytes());
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = left;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    Ok(text.into_bytes())
}

/// What a name in a certificate may hold without being written in another way.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || " ._-".contains(c) { c } else { '_' }).collect()
}

/// The configured ones, and the address that the machine has towards its network.
fn hosts(application: &Application) -> Vec<String> {
    let mut hosts = application.hosts.clone();
    for (from, towards) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        // Nothing is sent: connecting a datagram socket asks the routes alone.
        let local = UdpSocket::bind(from).and_then(|s| s.connect(towards).and_then(|()| s.local_addr()));
        if let Ok(local) = local
            && !local.ip().is_unspecified()
            && !local.ip().is_loopback()
        {
            hosts.push(local.ip().to_string());
        }
    }
    hosts.sort();
    hosts.dedup();
    hosts
}
