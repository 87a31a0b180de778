//! From a configured server to a session: its endpoints, which of them is taken, whether its certificate is, and with
//! what the gateway signs in. What a server offers is asked anew for each connection, so that a renewed certificate or
//! another endpoint is seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use common::{Clock, PointId};
use gateway_opcua::pki::{Application, Certificate, Doubt, Expected, Own, Pki, PkiError};
use opcua::client::transport::TcpConnector;
use opcua::client::{Client, ClientBuilder, IdentityToken, Password, Session, SessionEventLoop};
use opcua::types::{EndpointDescription, MessageSecurityMode, UserTokenType};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::address;
use super::config::{Accept, DeviceConfig, Mode, Security};
use super::error::ConnectError;

/// First pause between attempts within a session.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Most bytes of a message: 100,000 values that change at once are some 5 MB.
const MOST_BYTES: usize = 64 * 1024 * 1024;
const MOST_ELEMENTS: usize = 1_000_000;
const CHUNK_BYTES: usize = 64 * 1024;

/// Name of the connections that only ask what a server offers; no device is called so.
const DISCOVERY: &str = "(discovery)";
const POLICY: &str = "http://opcfoundation.org/UA/SecurityPolicy#";

/// What all devices of a gateway share: its certificate, whom it trusts, and the clock. Cheap to clone.
#[derive(Clone)]
pub struct Kit(Arc<Shared>);

struct Shared {
    root: PathBuf,
    application: Application,
    clock: Clock,
    /// Made with the first connection: a gateway without OPC UA has no certificate.
    own: OnceCell<(Pki, Own)>,
    /// Drivers that run, by name.
    devices: Mutex<BTreeMap<String, Weak<super::adapter::Shared>>>,
}

/// A session that is not yet driven, and what it was made with.
pub(super) struct Opened {
    pub(super) session: Arc<Session>,
    pub(super) events: SessionEventLoop<TcpConnector>,
    pub(super) endpoint: EndpointDescription,
    /// Doubts about the certificate that the configuration accepts, for the record.
    pub(super) accepted: Vec<String>,
    /// Fingerprint of the server's certificate, where one was looked at.
    pub(super) certificate: Option<String>,
}

impl Kit {
    /// A client that is this application and keeps its certificates under `root`.
    pub fn new(root: impl Into<PathBuf>, application: Application, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            root: root.into(),
            application,
            clock,
            own: OnceCell::new(),
            devices: Mutex::default(),
        }))
    }

    /// The folders of certificates.
    ///
    /// # Errors
    /// When they are not there and cannot be made.
    pub fn pki(&self) -> Result<Pki, PkiError> {
        Pki::open(&self.0.root)
    }

    /// The folders and the gateway's own certificate, made when there is none: off the threads that serve others.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub async fn own(&self) -> Result<&(Pki, Own), ConnectError> {
        let make = || async {
            let (root, application) = (self.0.root.clone(), self.0.application.clone());
            let now_us = self.0.clock.now_us();
            let make = move || {
                let pki = Pki::open(root)?;
                let own = pki.own(&application, now_us)?;
                Ok::<_, PkiError>((pki, own))
            };
            let made = tokio::task::spawn_blocking(make).await;
            let stopped = |_| PkiError::Invalid { detail: "cannot be made: the gateway stops".to_owned() };
            made.map_err(stopped)?
        };
        Ok(self.0.own.get_or_try_init(make).await?)
    }

    /// Where the crate keeps its view of the certificates of one connection.
    pub(super) fn seen(&self, name: &str) -> Result<PathBuf, PkiError> {
        Ok(seen(&self.pki()?, name))
    }

    /// A driver runs from now on; the one before of its name does not.
    pub(super) fn enter(&self, driver: &Arc<super::adapter::Shared>) {
        let mut devices = self.0.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.insert(driver.name.clone(), Arc::downgrade(driver));
        devices.retain(|_, d| d.strong_count() > 0);
    }

    /// The settings of a device that runs.
    pub fn device(&self, name: &str) -> Option<DeviceConfig> {
        let devices = self.0.devices.lock().unwrap_or_else(PoisonError::into_inner);
        Some(devices.get(name)?.upgrade()?.config.clone())
    }

    /// Every point of every driver: device, number, node, and last status.
    pub fn points(&self) -> Vec<(String, PointId, String, String)> {
        let devices = self.0.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let all = devices.values().filter_map(Weak::upgrade);
        let of = |d: Arc<super::adapter::Shared>| {
            let one = |(_, s): (_, &super::spec::Spec)| {
                (d.name.clone(), s.id, d.specs.node_ref(s).to_string(), s.status().to_string())
            };
            d.specs.iter().map(one).collect::<Vec<_>>()
        };
        all.flat_map(of).collect()
    }

    /// Why a server's certificate would not be taken as it is called; nothing if it would.
    pub async fn doubts(
        &self,
        certificate: &Certificate,
        url: &str,
        endpoint: &EndpointDescription,
    ) -> Vec<String> {
        let (certificate, now_us, kit) = (certificate.clone(), self.0.clock.now_us(), self.clone());
        let host = address::parse(url).map(|a| a.host.to_owned()).unwrap_or_default();
        let uri = endpoint.server.application_uri.as_ref().to_owned();
        let judged = tokio::task::spawn_blocking(move || {
            let expected = Expected { host: Some(&host), uri: Some(&uri) };
            let judged =
                kit.pki().map(|pki| pki.judge(&certificate, expected, now_us).err().unwrap_or_default());
            judged.map_or_else(|e| vec![e.to_string()], |d| d.iter().map(ToString::to_string).collect())
        });
        judged.await.unwrap_or_default()
    }

    /// What a server offers.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn endpoints(
        &self,
        url: &str,
        limit: Duration,
    ) -> Result<Vec<EndpointDescription>, ConnectError> {
        let (pki, _) = self.own().await?;
        let unreachable = |detail: String| ConnectError::Unreachable { url: url.to_owned(), detail };
        let client = client(pki, &self.0.application, &DeviceConfig::new(url), DISCOVERY, limit)?;
        let asked = timeout(limit, Box::pin(client.get_server_endpoints_from_url(url))).await;
        asked
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(|e| unreachable(e.to_string()))
    }

    /// Prepares a session. `name` is the device's, for folders and the server's list of sessions.
    ///
    /// # Errors
    /// See `ConnectError`.
    pub(super) async fn open(&self, config: &DeviceConfig, name: &str) -> Result<Opened, ConnectError> {
        let (pki, _) = self.own().await?;
        let offered = self.endpoints(&config.url, config.timeout()).await?;
        let token = token_type(config);
        let mut endpoint = choose(config, &offered)?;
        let plain = token == UserTokenType::UserName && is_password_plain(&endpoint);
        let (mut accepted, mut certificate) = (Vec::new(), None);
        if plain && !config.accept.contains(&Accept::PlainPassword) {
            return Err(ConnectError::PlainPassword);
        }
        if plain {
            accepted.push("the password goes over the network in plain text".to_owned());
        }
        let secure = endpoint.security_mode != MessageSecurityMode::None;
        if secure || (token == UserTokenType::UserName && !plain) {
            let (fingerprint, doubts) = self.judge(pki, config, &endpoint).await?;
            certificate = Some(fingerprint);
            accepted.extend(doubts);
        }
        endpoint.endpoint_url = address::called(endpoint.endpoint_url.as_ref(), &config.url).into();
        let token = identity(config).await?;
        let mut client = client(pki, &self.0.application, config, name, config.timeout())?;
        let built = client.connect_to_endpoint_directly(endpoint.clone(), token);
        let (session, events) = built.map_err(|e| ConnectError::Client { detail: e.to_string() })?;
        Ok(Opened { session, events, endpoint, accepted, certificate })
    }

    /// Takes the server's certificate, or notes it as rejected. Returns its fingerprint, and the doubts that the
    /// configuration accepts.
    async fn judge(
        &self,
        pki: &Pki,
        config: &DeviceConfig,
        endpoint: &EndpointDescription,
    ) -> Result<(String, Vec<String>), ConnectError> {
        let none = |e: PkiError| ConnectError::Client { detail: format!("the server's certificate: {e}") };
        let certificate = Certificate::from_der(endpoint.server_certificate.as_ref()).map_err(none)?;
        let (pki, now_us) = (pki.clone(), self.0.clock.now_us());
        let host = address::parse(&config.url).map(|a| a.host.to_owned()).unwrap_or_default();
        let uri = endpoint.server.application_uri.as_ref().to_owned();
        let (pinned, accept) = (config.certificate.clone(), config.accept.clone());
        let judged = tokio::task::spawn_blocking(move || {
            let expected = Expected { host: Some(&host), uri: Some(&uri) };
            let doubts = pki.judge(&certificate, expected, now_us).err().unwrap_or_default();
            let fingerprint = certificate.fingerprint();
            let is_pinned = pinned.is_some_and(|p| p.replace(':', "").eq_ignore_ascii_case(&fingerprint));
            let (accepted, left): (Vec<Doubt>, Vec<Doubt>) = doubts
                .into_iter()
                .filter(|d| !(is_pinned && matches!(d, Doubt::Untrusted { .. })))
                .partition(|d| is_accepted(d, &accept));
            if !left.is_empty() {
                // Kept so that a person can look at it and trust it.
                if let Err(error) = pki.reject(&certificate) {
                    tracing::warn!(%error, "a rejected certificate is not kept");
                }
                return Err(ConnectError::Certificate { doubts: left, before: None });
            }
            Ok((fingerprint, accepted.iter().map(ToString::to_string).collect()))
        });
        judged.await.unwrap_or_else(|_| Err(ConnectError::Client { detail: "the gateway stops".to_owned() }))
    }
}

/// A client of the crate. Its own look at certificates is off: they were judged before, and the endpoint's is the only
/// one that the session takes.
fn client(
    pki: &Pki,
    application: &Application,
    config: &DeviceConfig,
    name: &str,
    limit: Duration,
) -> Result<Client, ConnectError> {
    let ms = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
    // What the crate keeps of certificates that were good once must not count later.
    let seen = seen(pki, name);
    let _ = std::fs::remove_dir_all(&seen);
    let built = ClientBuilder::new()
        .application_name(&application.name)
        .application_uri(&application.uri)
        .product_uri("urn:twinway:gateway")
        .session_name(format!("twinway {name}"))
        .pki_dir(seen)
        .certificate_path(absolute(&pki.own_certificate_path()))
        .private_key_path(absolute(&pki.own_key_path()))
        .create_sample_keypair(false)
        .trust_server_certs(true)
        .verify_server_certs(false)
        .session_retry_limit(if name == DISCOVERY { 0 } else { -1 })
        .session_retry_initial(FIRST_PAUSE)
        .session_retry_max(Duration::from_millis(config.reconnect_max_ms))
        .session_timeout(ms(config.session_ms))
        .keep_alive_interval(Duration::from_millis(config.silence_ms / 2))
        .max_failed_keep_alive_count(0)
        .request_timeout(limit)
        .publish_timeout(limit)
        .recreate_subscriptions(false)
        .max_message_size(MOST_BYTES)
        .max_chunk_count(MOST_BYTES / 8192)
        .max_chunk_size(CHUNK_BYTES)
        .max_incoming_chunk_size(CHUNK_BYTES)
        .max_array_length(MOST_ELEMENTS)
        .max_string_length(MOST_BYTES / 4)
        .max_byte_string_length(MOST_BYTES / 4)
        .client();
    built.map_err(|wrong| ConnectError::Client { detail: wrong.join(", ") })
}

fn seen(pki: &Pki, name: &str) -> PathBuf {
    absolute(pki.root()).join("seen").join(name)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn is_accepted(doubt: &Doubt, accept: &[Accept]) -> bool {
    let as_what = match doubt {
        Doubt::Expired { .. } | Doubt::NotYetValid { .. } => Accept::Expired,
        Doubt::OtherHost { .. } => Accept::Host,
        Doubt::OtherApplication { .. } => Accept::Application,
        Doubt::Untrusted { .. } | Doubt::Revoked { .. } | Doubt::Key { .. } => return false,
    };
    accept.contains(&as_what)
}

fn token_type(config: &DeviceConfig) -> UserTokenType {
    if config.user.is_some() {
        UserTokenType::UserName
    } else if config.user_certificate.is_some() {
        UserTokenType::Certificate
    } else {
        UserTokenType::Anonymous
    }
}

/// Whether the first policy for passwords, which the crate takes, encrypts none.
fn is_password_plain(endpoint: &EndpointDescription) -> bool {
    let mut policies = endpoint.user_identity_tokens.iter().flatten();
    let policy = policies.find(|p| p.token_type == UserTokenType::UserName);
    let own = policy.map(|p| p.security_policy_uri.as_ref().to_owned()).unwrap_or_default();
    let uri = if own.is_empty() { endpoint.security_policy_uri.as_ref().to_owned() } else { own };
    endpoint.security_mode != MessageSecurityMode::SignAndEncrypt && uri.ends_with("#None")
}

/// How high a policy stands; none for one that is not taken.
fn rank(uri: &str) -> Option<u8> {
    match uri.strip_prefix(POLICY)? {
        "Aes256_Sha256_RsaPss" => Some(3),
        "Basic256Sha256" => Some(2),
        "Aes128_Sha256_RsaOaep" => Some(1),
        _ => None,
    }
}

/// The highest of the endpoints that are as configured.
fn choose(
    config: &DeviceConfig,
    offered: &[EndpointDescription],
) -> Result<EndpointDescription, ConnectError> {
    let wanted_policy = match config.security {
        Security::Auto | Security::None => None,
        Security::Basic256sha256 => Some("Basic256Sha256"),
        Security::Aes128Sha256RsaOaep => Some("Aes128_Sha256_RsaOaep"),
        Security::Aes256Sha256RsaPss => Some("Aes256_Sha256_RsaPss"),
    };
    let token = token_type(config);
    let takes = |e: &EndpointDescription| {
        e.user_identity_tokens.iter().flatten().any(|p| p.token_type == token)
            || (token == UserTokenType::Anonymous && e.user_identity_tokens.is_none())
    };
    let score = |e: &EndpointDescription| {
        let uri = e.security_policy_uri.as_ref();
        if config.security == Security::None {
            return (e.security_mode == MessageSecurityMode::None).then_some((false, 0));
        }
        let rank = rank(uri)?;
        let encrypted = match e.security_mode {
            MessageSecurityMode::SignAndEncrypt if config.mode != Mode::Sign => true,
            MessageSecurityMode::Sign if config.mode != Mode::SignAndEncrypt => false,
            _ => return None,
        };
        let fits = wanted_policy.is_none_or(|p| uri.ends_with(p));
        fits.then_some((encrypted, rank))
    };
    let binary = |e: &&EndpointDescription| e.endpoint_url.as_ref().starts_with("opc.tcp://");
    let fitting = offered.iter().filter(binary).filter(|e| takes(e));
    let best = fitting.filter_map(|e| Some((score(e)?, e))).max_by_key(|(score, _)| *score);
    best.map(|(_, e)| e.clone()).ok_or_else(|| no_endpoint(config, offered, token))
}

fn no_endpoint(config: &DeviceConfig, offered: &[EndpointDescription], token: UserTokenType) -> ConnectError {
    let mut names: Vec<String> = offered.iter().map(describe).collect();
    names.sort();
    names.dedup();
    let only_none = offered.iter().all(|e| e.security_mode == MessageSecurityMode::None);
    let remedy = if config.security == Security::Auto && only_none && !offered.is_empty() {
        ": if that is meant, write `security = \"none\"`"
    } else {
        ""
    };
    let security = format!("security {:?}, mode {:?}", config.security, config.mode);
    ConnectError::NoEndpoint {
        wanted: format!("{}, sign-in {token:?}", security.to_lowercase()),
        offered: if names.is_empty() { "none".to_owned() } else { names.join("; ") },
        remedy: remedy.to_owned(),
    }
}

/// An endpoint for people: policy, mode, and how one may sign in.
pub(super) fn describe(endpoint: &EndpointDescription) -> String {
    let uri = endpoint.security_policy_uri.as_ref();
    let policy = uri.rsplit_once('#').map_or(uri, |(_, name)| name);
    let tokens: Vec<String> =
        endpoint.user_identity_tokens.iter().flatten().map(|t| format!("{:?}", t.token_type)).collect();
    format!("{policy} {:?} ({})", endpoint.security_mode, tokens.join(", "))
}

/// What the gateway signs in with. Files are read for each connection, so that a new password needs no restart.
async fn identity(config: &DeviceConfig) -> Result<IdentityToken, ConnectError> {
    let told = |path: &Path, detail: String| ConnectError::File { path: path.display().to_string(), detail };
    if let Some((user, path)) = config.user.as_ref().zip(config.password_file.as_ref()) {
        let text = tokio::fs::read_to_string(path).await.map_err(|e| told(path, e.to_string()))?;
        return Ok(IdentityToken::UserName(user.clone(), Password::new(text.trim_end_matches(['\r', '\n']))));
    }
    if let Some((certificate, key)) = config.user_certificate.clone().zip(config.user_key.clone()) {
        let shown = certificate.clone();
        let read =
            tokio::task::spawn_blocking(move || IdentityToken::new_x509_path(&certificate, &key)).await;
        let read = read.map_err(|e| told(&shown, e.to_string()))?;
        return read.map_err(|e| told(&shown, e.to_string()));
    }
    Ok(IdentityToken::Anonymous)
}

#[cfg(test)]
mod tests {
    use opcua::types::UserTokenPolicy;

    use super::*;

    fn endpoint(policy: &str, mode: MessageSecurityMode, tokens: &[UserTokenType]) -> EndpointDescription {
        let token = |t: &UserTokenType| UserTokenPolicy { token_type: *t, ..UserTokenPolicy::default() };
        EndpointDescription {
            endpoint_url: "opc.tcp://inner:4840/".into(),
            security_policy_uri: format!("{POLICY}{policy}").into(),
            security_mode: mode,
            user_identity_tokens: Some(tokens.iter().map(token).collect()),
            ..EndpointDescription::default()
        }
    }

    fn chosen(keys: &str, offered: &[EndpointDescription]) -> Result<String, String> {
        let config: DeviceConfig = toml::from_str(&format!("url = \"opc.tcp://h\"\n{keys}")).unwrap();
        choose(&config, offered).map(|e| describe(&e)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_highest_that_is_offered_is_taken_and_none_only_by_name() {
        use MessageSecurityMode::{None as Open, Sign, SignAndEncrypt};
        let any = [UserTokenType::Anonymous, UserTokenType::UserName];
        let all = [
            endpoint("None", Open, &any),
            endpoint("Basic256Sha256", Sign, &any),
            endpoint("Aes256_Sha256_RsaPss", Sign, &any),
            endpoint("Basic256Sha256", SignAndEncrypt, &any),
            endpoint("Aes128_Sha256_RsaOaep", SignAndEncrypt, &any),
            endpoint("Basic128Rsa15", SignAndEncrypt, &any),
        ];
        let of = |keys: &str| chosen(keys, &all).unwrap();
        assert!(
            of("").starts_with("Basic256Sha256 SignAndEncrypt"),
            "encrypted goes before the better policy"
        );
        assert!(of("mode = \"sign\"").starts_with("Aes256_Sha256_RsaPss Sign "));
        assert!(of("security = \"aes128_sha256_rsa_oaep\"").starts_with("Aes128"));
        assert!(of("security = \"none\"").starts_with("None None"));
        let told = chosen("", &all[..1]).unwrap_err();
        assert!(told.contains("security = \"none\""), "{told}");
        assert!(chosen("", &all[5..]).is_err(), "a broken policy is not taken");
        let told = chosen("user_certificate = \"/c\"\nuser_key = \"/k\"", &all).unwrap_err();
        assert!(told.contains("sign-in Certificate"), "{told}");
    }

    #[test]
    fn a_password_without_encryption_is_seen() {
        use MessageSecurityMode::{None as Open, Sign, SignAndEncrypt};
        let any = [UserTokenType::UserName];
        assert!(is_password_plain(&endpoint("None", Open, &any)));
        assert!(!is_password_plain(&endpoint("Basic256Sha256", Sign, &any)));
        assert!(!is_password_plain(&endpoint("Basic256Sha256", SignAndEncrypt, &any)));
        let mut mixed = endpoint("Basic256Sha256", Sign, &any);
        if let Some(t) = mixed.user_identity_tokens.as_mut() {
            t[0].security_policy_uri = format!("{POLICY}None").into();
        }
        assert!(is_password_plain(&mixed));
    }
}
