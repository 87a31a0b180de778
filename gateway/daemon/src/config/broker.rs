//! `[broker]`: its keys with their defaults, what they must be beyond their types, and the broker's options made of
//! them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::Clock;
use common::config::Mistake;
use gateway_broker::{Limits, Listener, Options, Rule, Tls};
use serde::Deserialize;

use super::Config;
use super::files::Files;
use super::values::Publish;

/// `[broker]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerSection {
    /// Whether the broker runs. MQTT devices need it. Default `true`, where it is built in.
    pub enabled: bool,
    /// Where it listens for programs of the box; loopback only. Default `127.0.0.1:1883`.
    pub listen: SocketAddr,
    /// How processed values are published: `"point"` (or `true`), `"device"` or `false`. Default `"point"`.
    pub publish: Publish,
    /// Users and their passwords, a line each, as `twinway-gateway broker passwd` makes it; mode 600. Default: none.
    pub passwords_file: Option<PathBuf>,
    /// Largest packet of a client, bytes. Default 262144.
    pub max_packet_bytes: usize,
    /// Clients at a time. Default 256.
    pub max_clients: usize,
    /// Sessions that outlive their connection. Default 256.
    pub max_sessions: usize,
    /// How long such a session waits for its client, s. Default 604800, a week.
    pub session_expiry_s: u32,
    /// Subscriptions of one client. Default 1000.
    pub max_subscriptions: usize,
    /// Messages on their way to or from one client without acknowledgement. Default 256.
    pub max_in_flight: usize,
    /// Messages that a client may publish a second; one that sends more is closed. 0: any. Default 0.
    pub max_messages_per_s: u32,
    /// Messages that wait for one client; the oldest is dropped and counted. Default 10000.
    pub max_queued: usize,
    /// The same in KiB. Default 8192.
    pub max_queued_kb: usize,
    /// All that wait for all clients, MiB. Default 64.
    pub max_queued_total_mb: usize,
    /// Retained messages. Default 100000.
    pub max_retained: usize,
    /// The same in MiB. Default 64.
    pub max_retained_mb: usize,
    /// Longest keep-alive that a client of MQTT 5 is given, s; 0: any. Default 0.
    pub max_keep_alive_s: u16,
    /// A client that takes nothing for so long is closed, s; 0: never. Default 60.
    pub stall_s: u64,
    /// Pause between two groups that are brought to disk, ms; at most 100. Default 20.
    pub sync_ms: u64,
    /// More places where clients connect. Default: none.
    pub listener: Vec<ListenerSection>,
    /// Who may publish and subscribe to what. Default: none, the listener decides.
    pub rights: Vec<RightsSection>,
}

impl Default for BrokerSection {
    fn default() -> Self {
        Self {
            enabled: cfg!(feature = "mqtt"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            publish: Publish::Point,
            passwords_file: None,
            max_packet_bytes: 256 * 1024,
            max_clients: 256,
            max_sessions: 256,
            session_expiry_s: 7 * 24 * 3600,
            max_subscriptions: 1000,
            max_in_flight: 256,
            max_messages_per_s: 0,
            max_queued: 10_000,
            max_queued_kb: 8192,
            max_queued_total_mb: 64,
            max_retained: 100_000,
            max_retained_mb: 64,
            max_keep_alive_s: 0,
            stall_s: 60,
            sync_ms: 20,
            listener: Vec::new(),
            rights: Vec::new(),
        }
    }
}

/// `[[broker.listener]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSection {
    /// Address and port. No default.
    pub listen: SocketAddr,
    /// Certificate chain (PEM); with it the listener speaks TLS. Default: none.
    #[serde(default)]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM), mode 600. Default: none.
    #[serde(default)]
    pub tls_key: Option<PathBuf>,
    /// MQTT over WebSocket. Default `false`.
    #[serde(default)]
    pub websocket: bool,
    /// Whether clients may connect without user and password. Default `true` on loopback, else `false`.
    #[serde(default)]
    pub allow_anonymous: Option<bool>,
    /// Whether a client that no `[[broker.rights]]` names may do everything; else it may do nothing. Default `true`
    /// on loopback, else `false`.
    #[serde(default)]
    pub open: Option<bool>,
}

/// `[[broker.rights]]`. All that name a client add up.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightsSection {
    /// Users. Default: whoever.
    #[serde(default)]
    pub users: Vec<String>,
    /// Client ids, with `*` at the end for any that begin so. Default: any.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Topics that may be published to: filters, in which `%c` is the client id and `%u` the user. Default: none.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Topics that may be subscribed to, likewise. Default: none.
    #[serde(default)]
    pub subscribe: Vec<String>,
}

impl From<&RightsSection> for Rule {
    fn from(s: &RightsSection) -> Self {
        Self {
            users: s.users.clone(),
            clients: s.clients.clone(),
            publish: s.publish.clone(),
            subscribe: s.subscribe.clone(),
        }
    }
}

pub(super) fn check(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    let b = &files.merged.broker;
    let mut no = |key: &str, message: String| mistakes.push(files.mistake("broker", key, message));
    if !b.listen.ip().is_loopback() {
        let message = format!(
            "{} is not on loopback: expected `127.0.0.1:<port>` or `[::1]:<port>`; for clients of the network add a \
             `[[broker.listener]]`",
            b.listen
        );
        no("listen", message);
    }
    for (key, value, min, max) in [
        ("max_packet_bytes", b.max_packet_bytes, 1024, 16 << 20),
        ("max_clients", b.max_clients, 1, 10_000),
        ("max_sessions", b.max_sessions, 0, 10_000),
        ("max_subscriptions", b.max_subscriptions, 1, 100_000),
        ("max_in_flight", b.max_in_flight, 1, 65_535),
        ("max_queued", b.max_queued, 1, 10_000_000),
        ("max_queued_kb", b.max_queued_kb, 64, 1 << 20),
        ("max_queued_total_mb", b.max_queued_total_mb, 1, 1 << 14),
        ("max_retained", b.max_retained, 0, 10_000_000),
        ("max_retained_mb", b.max_retained_mb, 1, 1 << 14),
        ("stall_s", usize::try_from(b.stall_s).unwrap_or(usize::MAX), 0, 86_400),
        ("sync_ms", usize::try_from(b.sync_ms).unwrap_or(usize::MAX), 0, 100),
    ] {
        if !(min..=max).contains(&value) {
            no(key, format!("{value} is not within {min} to {max}"));
        }
    }
    if b.max_queued_kb << 10 < b.max_packet_bytes {
        no("max_queued_kb", format!("{} KiB do not hold one packet of max_packet_bytes", b.max_queued_kb));
    }
    let mut taken = vec![b.listen];
    for (n, l) in b.listener.iter().enumerate() {
        let key = |key: &str| format!("listener[{n}].{key}");
        if taken.contains(&l.listen) && l.listen.port() != 0 {
            no(&key("listen"), format!("{} stands twice", l.listen));
        }
        taken.push(l.listen);
        match (&l.tls_cert, &l.tls_key) {
            (Some(_), None) => no(&key("tls_key"), "missing: `tls_cert` needs its key".to_owned()),
            (None, Some(_)) => no(&key("tls_cert"), "missing: `tls_key` needs its certificate".to_owned()),
            _ => {}
        }
        let anonymous = l.allow_anonymous.unwrap_or(l.listen.ip().is_loopback());
        if !anonymous && b.passwords_file.is_none() {
            let message =
                "nobody could sign in: set `passwords_file` in [broker], or `allow_anonymous = true`";
            no(&key("listen"), message.to_owned());
        }
    }
    for (n, rights) in b.rights.iter().enumerate() {
        if let Err((key, message)) = Rule::from(rights).check() {
            no(&format!("rights[{n}].{key}"), message);
        }
    }
}

/// The broker's options.
#[cfg(feature = "mqtt")]
pub(crate) fn options(config: &Config, clock: Clock) -> Options {
    let b = &config.broker;
    let mut listeners = vec![Listener::new(b.listen)];
    listeners.extend(b.listener.iter().map(|l| {
        let plain = Listener::new(l.listen);
        let tls = l.tls_cert.clone().zip(l.tls_key.clone()).map(|(cert, key)| Tls { cert, key });
        Listener {
            tls,
            websocket: l.websocket,
            allow_anonymous: l.allow_anonymous.unwrap_or(plain.allow_anonymous),
            open: l.open.unwrap_or(plain.open),
            ..plain
        }
    }));
    Options {
        listeners,
        limits: Limits {
            packet: b.max_packet_bytes,
            rate: b.max_messages_per_s,
            in_flight: b.max_in_flight,
            filters: b.max_subscriptions,
            filter_bytes: b.max_subscriptions * 256,
            queued: b.max_queued,
            queued_bytes: b.max_queued_kb << 10,
            queued_total: b.max_queued_total_mb << 20,
            connections: b.max_clients,
            sessions: b.max_sessions,
            session_expiry_s: b.session_expiry_s,
            retained: (b.max_retained, b.max_retained_mb << 20),
        },
        rights: b.rights.iter().map(Rule::from).collect(),
        users: config.broker_users.clone(),
        dir: Some(config.data_dir.join("broker")),
        sync_interval: Duration::from_millis(b.sync_ms),
        stall_timeout: Duration::from_secs(b.stall_s),
        keep_alive_max: b.max_keep_alive_s,
        clock,
        ..Options::new(b.listen)
    }
}
