//! Keys of an OPC UA device. Each default stands beside its key.

use std::path::PathBuf;
use std::time::Duration;

use gateway_opcua::NodeRef;
use serde::Deserialize;

/// Key, and what is wrong and expected.
pub(super) type Wrong = (&'static str, String);

/// How messages are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// the highest that the server offers, and never none
    #[default]
    Auto,
    /// not at all: who is on the network can read and forge
    None,
    /// `Basic256Sha256`
    Basic256sha256,
    /// `Aes128_Sha256_RsaOaep`
    Aes128Sha256RsaOaep,
    /// `Aes256_Sha256_RsaPss`
    Aes256Sha256RsaPss,
}

/// Whether messages are encrypted besides being signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// encrypted where the server offers it
    #[default]
    Auto,
    /// signed only
    Sign,
    /// signed and encrypted
    SignAndEncrypt,
}

/// What of a server's certificate may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// it has expired, or is not valid yet
    Expired,
    /// it is for another host
    Host,
    /// it is for another application
    Application,
    /// not the certificate, but the password: it may go over the network in plain text
    PlainPassword,
}

/// What a server is known to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Profile {
    /// told by what the server says of itself
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// nothing is known
    #[serde(rename = "generic")]
    Generic,
    /// Siemens S7-1200: slow beyond 200 items a call
    #[serde(rename = "s7-1200")]
    S71200,
    /// Siemens S7-1500
    #[serde(rename = "s7-1500")]
    S71500,
}

/// `[device.opcua]`: one OPC UA server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Where the server listens, such as `opc.tcp://10.0.0.5:4840`. No default.
    pub url: String,
    /// `auto`, `none`, `basic256sha256`, `aes128_sha256_rsa_oaep` or `aes256_sha256_rsa_pss`. Default `auto`: the
    /// highest that the server offers, and never none.
    #[serde(default)]
    pub security: Security,
    /// `auto`, `sign` or `sign_and_encrypt`. Default `auto`: encrypted where the server offers it.
    #[serde(default)]
    pub mode: Mode,
    /// Name to sign in with. Default: none, anonymous.
    #[serde(default)]
    pub user: Option<String>,
    /// File that holds the password of `user`, readable by its owner alone.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificate (DER or PEM) to sign in with, instead of a name. Default: none.
    #[serde(default)]
    pub user_certificate: Option<PathBuf>,
    /// Private key (PEM) of `user_certificate`, readable by its owner alone.
    #[serde(default)]
    pub user_key: Option<PathBuf>,
    /// Fingerprint (SHA-256) of the server's certificate, which is then trusted. Default: what `twinway opcua trust`
    /// trusts.
    #[serde(default)]
    pub certificate: Option<String>,
    /// What of the server's certificate may be wrong: `expired`, `host`, `application`; and `plain_password`, where a
    /// server wants it so. Each connection that needs one of them is on record. Default: nothing.
    #[serde(default)]
    pub accept: Vec<Accept>,
    /// `auto`, `generic`, `s7-1200` or `s7-1500`: how much the server bears at once. Default `auto`.
    #[serde(default)]
    pub profile: Profile,
    /// Most items of one call. Default: as the profile and the server say.
    #[serde(default)]
    pub max_items_per_call: Option<u32>,
    /// Most items of one subscription. Default: as the server says, at most 10000.
    #[serde(default)]
    pub max_items_per_subscription: Option<u32>,
    /// Nodes whose events and alarms go to the gateway's log: `["i=2253"]` for all of the server's. Default: none.
    #[serde(default)]
    pub events: Vec<NodeRef>,
    /// How often the server sends what has changed, ms. Default 500.
    #[serde(default = "default_publishing_ms")]
    pub publishing_ms: u64,
    /// How often the server looks at a point that says nothing else, ms; 0: as fast as it can. Default: `publishing_ms`.
    #[serde(default)]
    pub sampling_ms: Option<u64>,
    /// A subscription that is silent for so long is taken for dead, ms. Default 10000.
    #[serde(default = "default_silence_ms")]
    pub silence_ms: u64,
    /// How long the answer to a request is waited for, ms. Default 5000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Longest pause between attempts to connect, ms. Default 3000.
    #[serde(default = "default_reconnect_max_ms")]
    pub reconnect_max_ms: u64,
    /// Pause after a refused password or certificate, ms: more attempts might lock the account. Default 60000.
    #[serde(default = "default_refused_pause_ms")]
    pub refused_pause_ms: u64,
    /// How long the server keeps a session without its client, ms. Default 60000.
    #[serde(default = "default_session_ms")]
    pub session_ms: u64,
}

fn default_publishing_ms() -> u64 {
    500
}
fn default_silence_ms() -> u64 {
    10_000
}
fn default_timeout_ms() -> u64 {
    5_000
}
fn default_reconnect_max_ms() -> u64 {
    3_000
}
fn default_refused_pause_ms() -> u64 {
    60_000
}
fn default_session_ms() -> u64 {
    60_000
}

/// Longest period that makes sense.
pub(super) const DAY_MS: u64 = 86_400_000;
/// Most nodes whose events are asked for.
const MOST_NOTIFIERS: usize = 100;

impl DeviceConfig {
    /// A server at a place, everything else at its default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            security: Security::Auto,
            mode: Mode::Auto,
            user: None,
            password_file: None,
            user_certificate: None,
            user_key: None,
            certificate: None,
            accept: Vec::new(),
            profile: Profile::Auto,
            max_items_per_call: None,
            max_items_per_subscription: None,
            events: Vec::new(),
            publishing_ms: default_publishing_ms(),
            sampling_ms: None,
            silence_ms: default_silence_ms(),
            timeout_ms: default_timeout_ms(),
            reconnect_max_ms: default_reconnect_max_ms(),
            refused_pause_ms: default_refused_pause_ms(),
            session_ms: default_session_ms(),
        }
    }

    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), Wrong> {
        super::address::check(&self.url).map_err(|m| ("url", m))?;
        if self.security == Security::None && self.mode != Mode::Auto {
            return Err((
                "mode",
                "`security = \"none\"` signs and encrypts nothing: leave it out".to_owned(),
            ));
        }
        match (&self.user, &self.password_file, &self.user_certificate, &self.user_key) {
            (Some(_), _, Some(_), _) => {
                return Err(("user_certificate", "`user` stands here as well: one of them".to_owned()));
            }
            (None, Some(_), ..) => return Err(("password_file", "missing `user`, whose it is".to_owned())),
            (Some(_), None, ..) => {
                return Err((
                    "password_file",
                    "missing: expected the file that holds the password of `user`".to_owned(),
                ));
            }
            (.., Some(_), None) => {
                return Err(("user_key", "missing: the key of `user_certificate`".to_owned()));
            }
            (.., None, Some(_)) => {
                return Err(("user_key", "missing `user_certificate`, whose it is".to_owned()));
            }
            _ => {}
        }
        let hex = |c: &String| c.chars().filter(|c| *c != ':').all(|c| c.is_ascii_hexdigit());
        if let Some(c) = &self.certificate
            && !(hex(c) && c.chars().filter(|c| *c != ':').count() == 64)
        {
            return Err(("certificate", format!("`{c}` is no SHA-256 fingerprint: expected 64 hex digits")));
        }
        // With a password, its encryption needs the certificate also where messages have none.
        if self.security == Security::None && self.user.is_none() && !self.accept.is_empty() {
            return Err(("accept", "`security = \"none\"` looks at no certificate: leave it out".to_owned()));
        }
        for (key, value, min, max) in [
            ("publishing_ms", self.publishing_ms, 10, DAY_MS),
            ("sampling_ms", self.sampling_ms.unwrap_or(0), 0, DAY_MS),
            ("silence_ms", self.silence_ms, 1000, DAY_MS),
            ("timeout_ms", self.timeout_ms, 100, 600_000),
            ("reconnect_max_ms", self.reconnect_max_ms, 100, DAY_MS),
            ("refused_pause_ms", self.refused_pause_ms, 1000, DAY_MS),
            ("session_ms", self.session_ms, 5000, DAY_MS),
            ("max_items_per_call", self.max_items_per_call.unwrap_or(1).into(), 1, 1_000_000),
            ("max_items_per_subscription", self.max_items_per_subscription.unwrap_or(1).into(), 1, 1_000_000),
        ] {
            if !(min..=max).contains(&value) {
                return Err((key, format!("{value} is not within {min} to {max}")));
            }
        }
        if self.events.len() > MOST_NOTIFIERS {
            return Err((
                "events",
                format!("{} nodes: expected at most {MOST_NOTIFIERS}", self.events.len()),
            ));
        }
        if self.silence_ms < self.publishing_ms.saturating_mul(2) {
            let message =
                format!("{} is below twice publishing_ms = {}", self.silence_ms, self.publishing_ms);
            return Err(("silence_ms", message));
        }
        Ok(())
    }

    pub(super) fn publishing(&self) -> Duration {
        Duration::from_millis(self.publishing_ms)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How many empty publishing intervals pass until the server says that it lives: three in `silence_ms`.
    pub(super) fn keep_alive_count(&self) -> u32 {
        let count = self.silence_ms / self.publishing_ms.saturating_mul(3).max(1);
        u32::try_from(count.clamp(1, 10_000)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(keys: &str) -> Result<(), &'static str> {
        let text = format!("url = \"opc.tcp://h:4840\"\n{keys}");
        toml::from_str::<DeviceConfig>(&text).unwrap().check().map_err(|(key, _)| key)
    }

    #[test]
    fn wrong_keys_of_a_device_are_refused_by_name() {
        for (keys, key) in [
            ("security = \"none\"\nmode = \"sign\"", "mode"),
            ("user = \"a\"", "password_file"),
            ("password_file = \"/p\"", "password_file"),
            ("user_certificate = \"/c\"", "user_key"),
            ("user_key = \"/c\"", "user_key"),
            ("certificate = \"ab\"", "certificate"),
            ("security = \"none\"\naccept = [\"expired\"]", "accept"),
            ("publishing_ms = 1", "publishing_ms"),
            ("publishing_ms = 6000", "silence_ms"),
            ("max_items_per_call = 0", "max_items_per_call"),
        ] {
            assert_eq!(device(keys), Err(key), "{keys}");
        }
        assert_eq!(device(""), Ok(()));
        for url in ["", "http://h", "opc.tcp://", "opc.tcp://h:0", "opc.tcp://h:x", "opc.tcp://a b"] {
            assert_eq!(DeviceConfig::new(url).check().unwrap_err().0, "url", "{url}");
        }
    }
}
