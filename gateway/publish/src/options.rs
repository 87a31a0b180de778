//! What a publisher can be told, and why a session of it ends.

use std::path::PathBuf;
use std::sync::Arc;

use common::supervise::Backoff;
use common::{GatewayId, TenantId};
use gateway_core::{Messages, Publish};

use crate::template::Template;

/// Where another broker is.
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
        let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(expected()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| expected())?),
            _ => (rest, if tls { 8883 } else { 1883 }),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty()
            || port == 0
            || host.contains(['/', '@', ' '])
            || (host.contains(':') && !bracketed)
        {
            return Err(expected());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

/// Another broker, and how to sign in.
#[derive(Clone, PartialEq, Eq)]
pub struct External {
    /// Where it is.
    pub url: Url,
    /// Authorities (PEM) that its certificate may be signed by; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// Client id.
    pub client_id: String,
    /// User and password, if any.
    pub login: Option<(String, String)>,
}

/// Which broker.
#[derive(Clone)]
pub enum Target {
    /// the gateway's own
    Embedded {
        /// Where messages go.
        publish: Arc<dyn Publish>,
        /// Where a host's commands come from.
        messages: Arc<dyn Messages>,
    },
    /// another
    External(External),
}

/// What one JSON message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// one sample of one point
    Point,
    /// the samples of a device that came together
    Device,
}

/// JSON under topics of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json {
    /// The topic.
    pub topic: Template,
    /// What a message holds.
    pub per: Per,
    /// Whether the broker keeps the last message of each topic.
    pub retain: bool,
    /// 0 or 1.
    pub qos: u8,
}

/// A Sparkplug B edge node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparkplug {
    /// Its group.
    pub group: String,
    /// Its id.
    pub node: String,
    /// Births wait until this host application is online; when it goes offline, frames wait in the buffer.
    pub primary_host: Option<String>,
    /// Whether a host's writes are taken, to control and all its rules.
    pub commands: bool,
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// JSON
    Json(Json),
    /// Sparkplug B
    Sparkplug(Sparkplug),
}

/// How a publisher is set up.
#[derive(Clone)]
pub struct Options {
    /// Its name: of its part, its notes and its cursor.
    pub name: String,
    /// Which broker.
    pub target: Target,
    /// What is published.
    pub format: Format,
    /// Names of the devices that are published; none: all.
    pub devices: Option<Vec<String>>,
    /// Tenant of the gateway.
    pub tenant: TenantId,
    /// The gateway.
    pub gateway: GatewayId,
    /// Most bytes of the buffer that are kept for this publisher alone.
    pub lag_bytes: u64,
    /// Pauses between sessions.
    pub backoff: Backoff,
}

impl Options {
    /// Whether a device is published.
    pub(crate) fn takes(&self, device: &str) -> bool {
        self.devices.as_ref().is_none_or(|wanted| wanted.iter().any(|d| d == device))
    }
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
    /// The buffer does not do what it must.
    #[error("buffer")]
    Log(#[from] gateway_core::LogError),
    /// The primary host went offline.
    #[error("host `{host}` is offline")]
    HostOffline {
        /// Which.
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let is = |host: &str, port, tls| Ok(Url { host: host.to_owned(), port, tls });
        assert_eq!("mqtt://a".parse::<Url>(), is("a", 1883, false));
        assert_eq!("mqtts://a.b:99/".parse::<Url>(), is("a.b", 99, true));
        assert_eq!("mqtts://[::1]".parse::<Url>(), is("[::1]", 8883, true));
        for bad in ["a", "http://a", "mqtt://", "mqtt://a:x", "mqtt://a:0", "mqtt://u@a", "mqtt://::1:5"] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }
}
