//! What the uplink can be told, what it tells, and why a session ends.

use std::path::PathBuf;
use std::time::Duration;

use common::api::LinkUse;
use common::names::Code;
use common::supervise::Backoff;
use common::{GatewayId, TenantId};

use crate::enrolment::{Enrolment, EnrolmentFolder};
use crate::meter::Plan;

/// How the cloud's certificate is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities to trust; none: the system's bundle.
    pub ca_file: Option<PathBuf>,
}

/// Where the cloud is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host name or address.
    pub host: String,
    /// Port; by default 1883, with TLS 8883.
    pub port: u16,
    /// Whether `mqtts`.
    pub tls: bool,
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not mqtt://host[:port] or mqtts://host[:port]");
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(expected()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let default = if tls { 8883 } else { 1883 };
        let (host, port) = match rest.rsplit_once(':') {
            // An IPv6 address ends with its bracket.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| expected())?),
            _ => (rest, default),
        };
        let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || !bare || host.contains(['/', '@', ' ', '?', '#']) {
            return Err(expected());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

/// How the uplink is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Host of the cloud's ingress.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS; none: plain MQTT.
    pub tls: Option<Tls>,
    /// Name of this gateway's credential, by default `<tenant>/<gateway>`.
    pub username: String,
    /// Its secret; not looked at where it is enrolled.
    pub password: String,
    /// What it is enrolled with, and where that is kept; none: it signs in with its secret.
    pub enrolment: Option<(EnrolmentFolder, Enrolment)>,
    /// Host and port are those that the cloud named: a renewed identity may bring others.
    pub follows: bool,
    /// Tenant.
    pub tenant: TenantId,
    /// This gateway.
    pub gateway: GatewayId,
    /// Version of the program, for `Hello`.
    pub version: String,
    /// Most live frames without an ack. Default 128.
    pub live_window: usize,
    /// Most backlog frames without an ack. Default 32.
    pub backlog_window: usize,
    /// Most bytes without an ack in each of the two. Default 1 MiB. Backlog gets less where the link or the cloud asks
    /// for it.
    pub window_bytes: usize,
    /// For a link that is paid by the byte: samples wait for so long at most, to go together, and signs of life are
    /// few. Default: none, they go at once.
    pub max_delay: Option<Duration>,
    /// What the link may carry. Default: all.
    pub plan: Plan,
    /// How long to wait for `HelloAck`. Default 4 s.
    pub hello_timeout: Duration,
    /// A link without any word for so long is dead. Default 5 s.
    pub silence: Duration,
    /// A frame without an ack for so long is sent again. Default 10 s.
    pub resend_after: Duration,
    /// Hash of what the machine calls itself, see `machine_hash`; none if it does not.
    pub machine: Option<String>,
    /// Pause before a box that the cloud holds back asks again. Default 10 s.
    pub held_retry: Duration,
    /// Pauses between sessions. Default 100 ms to 1 s: a twin is current again within about a second of the
    /// cloud's return, and one refused connection a second costs neither side anything.
    pub backoff: Backoff,
}

impl Options {
    /// The defaults for a cloud and a gateway.
    pub fn new(url: Url, tenant: TenantId, gateway: GatewayId) -> Self {
        Self {
            host: url.host,
            port: url.port,
            tls: url.tls.then(Tls::default),
            username: format!("{tenant}/{gateway}"),
            password: String::new(),
            enrolment: None,
            follows: false,
            tenant,
            gateway,
            version: String::new(),
            live_window: 128,
            backlog_window: 32,
            window_bytes: 1 << 20,
            max_delay: None,
            plan: Plan::default(),
            hello_timeout: Duration::from_secs(4),
            silence: Duration::from_secs(5),
            resend_after: Duration::from_secs(10),
            machine: None,
            held_retry: Duration::from_secs(10),
            backoff: Backoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(1),
                healthy_after: Duration::from_secs(1),
            },
        }
    }
}

/// How the uplink fares. Counts are since the start of the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UplinkStatus {
    /// Whether the cloud has answered `Hello` in a session that lives.
    pub connected: bool,
    /// Since when it is so, UTC us.
    pub since_us: i64,
    /// Why the last session ended or could not begin.
    pub last_error: Option<String>,
    /// Frames sent as they were appended.
    pub sent_live: u64,
    /// Frames sent later than that, and again.
    pub sent_backlog: u64,
    /// Frames sent and acknowledged.
    pub acked: u64,
    /// Frames that the cloud could not take and set aside.
    pub set_aside: u64,
    /// What the link carries.
    pub link: LinkUse,
}

/// Why a session could not begin or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The trusted authorities cannot be used.
    #[error("tls: {detail}")]
    Tls {
        /// Why.
        detail: String,
    },
    /// No connection, or it broke.
    #[error("link: {detail}")]
    Link {
        /// Why.
        detail: String,
    },
    /// No answer in time.
    #[error("no {what} for {limit_ms} ms")]
    Silence {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit_ms: u128,
    },
    /// A renewed identity is to be tried.
    #[error("the next session is to begin with the renewed identity")]
    Renewed,
    /// The cloud will not talk to this gateway.
    #[error("refused by the cloud: {code}: {detail}")]
    Refused {
        /// Why.
        code: Code,
        /// The same for people.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let url = |s: &str| s.parse::<Url>();
        let is = |host: &str, port, tls| Ok(Url { host: host.to_owned(), port, tls });
        assert_eq!(url("mqtt://cloud"), is("cloud", 1883, false));
        assert_eq!(url("mqtts://cloud.example:99/"), is("cloud.example", 99, true));
        assert_eq!(url("mqtts://[::1]"), is("[::1]", 8883, true));
        assert_eq!(url("mqtts://[::1]:7"), is("[::1]", 7, true));
        for bad in
            ["cloud", "http://x", "mqtt://", "mqtt://a:b", "mqtt://u:p@h:1", "mqtt://a/b", "mqtt://::1:5"]
        {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
