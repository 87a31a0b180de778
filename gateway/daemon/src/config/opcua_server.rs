//! `[opcua_server]`: its keys with their defaults, what they must be beyond their types, and the server's options made
//! of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use common::config::Mistake;
#[cfg(feature = "opcua-server")]
use gateway_opcua_server::{Identification, Limits, Options, Policy};
use serde::Deserialize;

use super::Config;
use super::files::Files;
use crate::VERSION;

/// `[opcua_server]`. Without it there is no OPC UA server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpcuaServerSection {
    /// Where it listens. Default `0.0.0.0:4840`.
    pub listen: SocketAddr,
    /// Names and addresses by which clients call the box: in its certificate, and the first in its endpoints. Default:
    /// what the machine itself knows.
    pub hosts: Vec<String>,
    /// Security policies. Default: all three.
    pub security: Vec<SecurityPolicy>,
    /// Whether sessions that are signed and not encrypted are offered as well. Default `true`.
    pub sign_only: bool,
    /// Whether anybody may read, without certificate, encryption or name. Default `false`.
    pub anonymous: bool,
    /// Users and their passwords, a line each, as `twinway-gateway broker passwd` makes it; mode 600. Default: none.
    /// Tokens of the API are users as well: the name is the token's, the password the token.
    pub passwords_file: Option<PathBuf>,
    /// Whether users may sign in with a certificate that `pki/users` trusts; its common name is the user's. Default
    /// `false`.
    pub user_certificates: bool,
    /// Users of `passwords_file` or with a certificate who may write, acknowledge, shelve and command; all others only
    /// read. Default: none.
    pub operators: Vec<String>,
    /// Connections at a time. Default 100.
    pub max_connections: usize,
    /// Sessions at a time. Default 50.
    pub max_sessions: usize,
    /// Subscriptions of one session. Default 20.
    pub max_subscriptions: usize,
    /// Monitored items of one subscription. Default 20000.
    pub max_items: usize,
    /// Monitored items of all. Default 200000.
    pub max_items_total: usize,
    /// Values that wait for one monitored item; the oldest is dropped and the client told. Default 1000.
    pub max_queue: usize,
    /// Largest message, KiB. Default 4096.
    pub max_message_kb: usize,
}

/// `identification = { ... }` of a device: what its nameplate says, shown under the names of DI (part 100). What is left
/// out has no node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentificationSection {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What the maker calls it.
    pub model: Option<String>,
    /// The maker's order number.
    pub product_code: Option<String>,
    /// Revision of its hardware.
    pub hardware_revision: Option<String>,
    /// Revision of its software.
    pub software_revision: Option<String>,
    /// Its own number, of the maker.
    pub serial_number: Option<String>,
    /// Where its manual is: an address.
    pub device_manual: Option<String>,
}

#[cfg(feature = "opcua-server")]
impl From<IdentificationSection> for Identification {
    fn from(section: IdentificationSection) -> Self {
        Self {
            manufacturer: section.manufacturer,
            model: section.model,
            product_code: section.product_code,
            hardware_revision: section.hardware_revision,
            software_revision: section.software_revision,
            serial_number: section.serial_number,
            device_manual: section.device_manual,
        }
    }
}

/// A security policy as the standard names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SecurityPolicy {
    /// RSA-OAEP, AES-256, SHA-256
    Basic256Sha256,
    /// RSA-OAEP, AES-128, SHA-256
    #[serde(rename = "Aes128_Sha256_RsaOaep")]
    Aes128Sha256RsaOaep,
    /// RSA-OAEP with SHA-256, AES-256, PSS
    #[serde(rename = "Aes256_Sha256_RsaPss")]
    Aes256Sha256RsaPss,
}

#[cfg(feature = "opcua-server")]
impl From<SecurityPolicy> for Policy {
    fn from(policy: SecurityPolicy) -> Self {
        match policy {
            SecurityPolicy::Basic256Sha256 => Self::Basic256Sha256,
            SecurityPolicy::Aes128Sha256RsaOaep => Self::Aes128Sha256RsaOaep,
            SecurityPolicy::Aes256Sha256RsaPss => Self::Aes256Sha256RsaPss,
        }
    }
}

impl Default for OpcuaServerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4840)),
            hosts: Vec::new(),
            security: vec![
                SecurityPolicy::Aes128Sha256RsaOaep,
                SecurityPolicy::Basic256Sha256,
                SecurityPolicy::Aes256Sha256RsaPss,
            ],
            sign_only: true,
            anonymous: false,
            passwords_file: None,
            user_certificates: false,
            operators: Vec::new(),
            max_connections: 100,
            max_sessions: 50,
            max_subscriptions: 20,
            max_items: 20_000,
            max_items_total: 200_000,
            max_queue: 1000,
            max_message_kb: 4096,
        }
    }
}

pub(super) fn check(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    let f = &files.merged;
    let Some(s) = &f.opcua_server else { return };
    let mut no = |key: &str, message: String| mistakes.push(files.mistake("opcua_server", key, message));
    for (key, value, min, max) in [
        ("max_connections", s.max_connections, 1, 10_000),
        ("max_sessions", s.max_sessions, 1, 10_000),
        ("max_subscriptions", s.max_subscriptions, 1, 1000),
        ("max_items", s.max_items, 1, 1_000_000),
        ("max_items_total", s.max_items_total, 1, 10_000_000),
        ("max_queue", s.max_queue, 1, 100_000),
        ("max_message_kb", s.max_message_kb, 64, 1 << 16),
    ] {
        if !(min..=max).contains(&value) {
            no(key, format!("{value} is not within {min} to {max}"));
        }
    }
    for (n, host) in s.hosts.iter().enumerate() {
        if host.is_empty() || host.contains(['/', ' ', '@']) {
            no(&format!("hosts[{n}]"), format!("`{host}` is no host name or address"));
        }
    }
    if s.security.is_empty() && !s.anonymous {
        no("security", "nobody could come in: expected a policy, or `anonymous = true`".to_owned());
    }
    if s.listen.port() != 0 && (s.listen == f.api.listen || f.broker.enabled && s.listen == f.broker.listen) {
        no("listen", format!("{} is the address of the API or the broker as well", s.listen));
    }
    let has_users = s.passwords_file.is_some() || s.user_certificates;
    if !has_users && !s.operators.is_empty() {
        let message = "are users of `passwords_file`, which is missing, and `user_certificates` is off";
        no("operators", message.to_owned());
    }
    if !has_users && f.api.tokens_file.is_none() && !s.anonymous {
        let message = "nobody could sign in: set `passwords_file` or `user_certificates` here, `tokens_file` in [api], \
                       or `anonymous = true`";
        no("listen", message.to_owned());
    }
}

/// The server's options; none without it.
#[cfg(feature = "opcua-server")]
pub(crate) fn options(config: &Config) -> Option<Options> {
    let s = config.opcua_server.as_ref()?;
    Some(Options {
        listen: s.listen,
        hosts: s.hosts.clone(),
        gateway: config.id.clone(),
        tenant: config.tenant.clone(),
        pki: config.data_dir.join("pki"),
        policies: s.security.iter().map(|p| Policy::from(*p)).collect(),
        sign_only: s.sign_only,
        anonymous: s.anonymous,
        user_certificates: s.user_certificates,
        limits: limits(s),
        version: VERSION.to_owned(),
    })
}

#[cfg(feature = "opcua-server")]
fn limits(s: &OpcuaServerSection) -> Limits {
    Limits {
        connections: s.max_connections,
        sessions: s.max_sessions,
        subscriptions: s.max_subscriptions,
        items: s.max_items,
        items_total: s.max_items_total,
        queue: s.max_queue,
        message: s.max_message_kb << 10,
    }
}

#[cfg(all(test, feature = "opcua-server"))]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_server() {
        assert_eq!(limits(&OpcuaServerSection::default()), Limits::default());
    }
}
