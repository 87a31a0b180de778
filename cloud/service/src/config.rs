//! The configuration: read from a file and its `conf.d`, and refused with every mistake at its place before
//! anything starts. Nothing is started here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cloud_core::enrol::FORGOTTEN_DAYS;
use cloud_store::{Class, Keep, Retention, Server, ServerError};
use common::TenantId;
use common::config::{Mistake, Mistakes, Source, mistake_at, parse, read, read_secret};
use serde::Deserialize;

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The service itself.
    pub cloud: CloudSection,
    /// Page and API.
    pub http: HttpSection,
    /// Where gateways connect to.
    pub ingress: IngressSection,
    /// Where all of it is stored.
    pub store: StoreSection,
    /// History.
    pub history: HistorySection,
    /// Live channel.
    pub live: LiveSection,
}

/// One file: sections may be in several.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The service itself.
    pub cloud: Option<CloudSection>,
    /// Page and API.
    pub http: Option<HttpSection>,
    /// Where gateways connect to.
    pub ingress: Option<IngressSection>,
    /// Where all of it is stored.
    pub store: Option<StoreSection>,
    /// History.
    pub history: Option<HistorySection>,
    /// Live channel.
    pub live: Option<LiveSection>,
}

/// `[cloud]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloudSection {
    /// Folder of the database.
    pub data_dir: PathBuf,
    /// Tenant of all gateways.
    pub tenant: TenantId,
}

impl Default for CloudSection {
    fn default() -> Self {
        Self { data_dir: "/var/lib/twinway-cloud".into(), tenant: TenantId::default() }
    }
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Names of the service beside loopback.
    pub hosts: Vec<String>,
    /// Whether browsers reach it over https.
    pub https: bool,
    /// How long a sign-in lasts.
    pub session_hours: u32,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            hosts: vec![],
            https: false,
            session_hours: 12,
        }
    }
}

/// `[ingress]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngressSection {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Names and addresses under which boxes find it: with them, and without `tls_cert`, it makes a certificate of its own.
    pub names: Vec<String>,
    /// Where boxes find it, `mqtts://host:port`, if not under the first of the names and the port that it listens on.
    pub url: Option<String>,
    /// Authorities (PEM) that sign `tls_cert`, for boxes to hold it against; none: those of their systems.
    pub tls_ca: Option<PathBuf>,
    /// For how long a box's certificate is good, days.
    pub certificate_days: u32,
    /// For how long it may still be renewed after that, by a box that was away, days.
    pub renew_days: u32,
    /// Connections at a time.
    pub max_connections: usize,
    /// When a gateway's box was silent for so many hours, another one takes its place without a person.
    pub replace_after_h: u64,
}

impl Default for IngressSection {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 1884));
        Self {
            listen,
            tls_cert: None,
            tls_key: None,
            names: Vec::new(),
            url: None,
            tls_ca: None,
            certificate_days: 30,
            renew_days: 365,
            max_connections: 4096,
            replace_after_h: 24,
        }
    }
}

/// Half of what the authority's own certificate is good for.
const MOST_CERTIFICATE_DAYS: u32 = 3650;

impl IngressSection {
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => faults.push(("tls_cert", "expected `tls_key` beside it".to_owned())),
            (None, Some(_)) => faults.push(("tls_key", "expected `tls_cert` beside it".to_owned())),
            _ => {}
        }
        if self.tls_ca.is_some() && self.tls_cert.is_none() {
            faults.push(("tls_ca", "expected `tls_cert` beside it".to_owned()));
        }
        if !(1..=MOST_CERTIFICATE_DAYS).contains(&self.certificate_days) {
            faults.push(("certificate_days", format!("expected 1 to {MOST_CERTIFICATE_DAYS}")));
        }
        if i64::from(self.renew_days) > FORGOTTEN_DAYS {
            let message =
                format!("expected 0 to {FORGOTTEN_DAYS}: what expired before is not known any more");
            faults.push(("renew_days", message));
        }
        let is_name = |n: &&String| !n.is_empty() && n.is_ascii() && !n.contains(['/', ' ', '@', '*']);
        for name in self.names.iter().filter(|n| !is_name(n)) {
            faults.push(("names", format!("`{name}` is not a host name or address")));
        }
        if let Some(url) = self.url.as_ref().filter(|u| !u.starts_with("mqtts://") || u.len() < 9) {
            faults.push(("url", format!("`{url}` is not mqtts://host[:port]")));
        }
        if self.url.is_some() && self.tls_cert.is_none() && self.names.is_empty() {
            faults.push((
                "url",
                "expected `names`, or `tls_cert` and `tls_key`: boxes come over TLS".to_owned(),
            ));
        }
        faults
    }
}

/// `[store]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// URL of a PostgreSQL database, without its password; none: SQLite, in the data folder.
    pub postgres: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that sign the server's: it is spoken to over TLS only.
    pub ca_file: Option<PathBuf>,
}

impl StoreSection {
    /// The PostgreSQL server, if there is one, with what stands in files.
    ///
    /// # Errors
    /// The key that is wrong, and what is wrong with it.
    pub fn server(&self) -> Result<Option<Server>, (&'static str, String)> {
        let Some(url) = &self.postgres else { return Ok(None) };
        let password = self.password_file.as_ref().map(|path| read_secret(path)).transpose();
        let password = password.map_err(|e| ("password_file", e))?;
        let server = Server::new(url, password.as_deref().map(str::trim), self.ca_file.as_deref());
        server.map(Some).map_err(|e| {
            let key = if matches!(e, ServerError::Authorities { .. }) { "ca_file" } else { "postgres" };
            (key, e.to_string())
        })
    }

    /// What can be seen without reading its files.
    fn fault(&self) -> Option<(&'static str, String)> {
        let Some(url) = &self.postgres else {
            let beside = [("password_file", &self.password_file), ("ca_file", &self.ca_file)];
            let (key, _) = beside.into_iter().find(|(_, path)| path.is_some())?;
            return Some((key, "expected `postgres` beside it".to_owned()));
        };
        match Server::new(url, None, None) {
            Err(ServerError::NoAuthorities) if self.ca_file.is_some() => None,
            Err(e) => Some(("postgres", e.to_string())),
            Ok(_) => None,
        }
    }
}

/// `[history]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySection {
    /// Pause between two compactions, ms.
    pub compact_ms: u64,
    /// Most frames in one.
    pub compact_frames: usize,
    /// Samples of a point that make a chunk complete: from then on it has roll-ups.
    pub chunk_samples: usize,
    /// Samples older than so many days are removed; none: all are kept.
    pub raw_days: Option<u32>,
    /// Roll-ups older than so many days are removed; none: all are kept.
    pub rollup_days: Option<u32>,
    /// Points with times of their own; the first that fits counts.
    pub classes: Vec<ClassSection>,
}

/// `[[history.classes]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSection {
    /// Patterns of `<place of the twin>/<point>`.
    pub points: Vec<String>,
    /// As for all points.
    pub raw_days: Option<u32>,
    /// As for all points.
    pub rollup_days: Option<u32>,
}

impl HistorySection {
    /// As storage takes it.
    pub fn retention(&self) -> Retention {
        let keep = |raw_days, rollup_days| Keep { raw_days, rollup_days };
        let class =
            |c: &ClassSection| Class { points: c.points.clone(), keep: keep(c.raw_days, c.rollup_days) };
        Retention {
            classes: self.classes.iter().map(class).collect(),
            others: keep(self.raw_days, self.rollup_days),
        }
    }

    /// What is wrong with the times that history is kept.
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let all = (self.raw_days, self.rollup_days);
        let classes = self.classes.iter().map(|c| (c.raw_days, c.rollup_days));
        for (key, (raw, rollup)) in
            std::iter::once(("rollup_days", all)).chain(classes.map(|k| ("classes", k)))
        {
            if key == "classes" && (raw == Some(0) || rollup == Some(0)) {
                faults.push((key, "expected at least 1 day".to_owned()));
            }
            // Without roll-ups nothing would answer for samples that are there.
            if rollup.is_some_and(|rollup| raw.is_none_or(|raw| raw > rollup)) {
                let message =
                    "roll-ups are kept at least as long as samples: expected `raw_days` up to `rollup_days`";
                faults.push((key, message.to_owned()));
            }
        }
        if self.classes.iter().any(|c| c.points.is_empty()) {
            faults.push(("classes", "expected `points`, such as [\"plant/**/vibration_*\"]".to_owned()));
        }
        faults
    }
}

impl Default for HistorySection {
    fn default() -> Self {
        Self {
            compact_ms: 2000,
            compact_frames: 2000,
            chunk_samples: 4096,
            raw_days: None,
            rollup_days: None,
            classes: vec![],
        }
    }
}

/// `[live]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveSection {
    /// Clients at a time.
    pub max_clients: usize,
    /// Frames a second for a client that does not say.
    pub default_hz: f64,
    /// Events that may wait for one client.
    pub max_events: usize,
}

impl Default for LiveSection {
    fn default() -> Self {
        Self { max_clients: 1000, default_hz: 10.0, max_events: 256 }
    }
}

impl Config {
    /// Reads and checks a file and its `conf.d`.
    ///
    /// # Errors
    /// All mistakes that can be found.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let sources = read(path)?;
        let config = Self::from_sources(&sources)?;
        match config.store.server() {
            Ok(_) => Ok(config),
            Err((key, message)) => {
                let of = |s: &&Source| parse::<File>(s).is_ok_and(|f| f.has("store"));
                let source = sources.iter().find(of).or(sources.first());
                let at = |s| mistake_at(s, &format!("store.{key}"), message);
                Err(Mistakes(source.map(at).into_iter().collect()))
            }
        }
    }

    /// Checks files that are read already, the main one first.
    ///
    /// # Errors
    /// All mistakes that can be found.
    pub fn from_sources(sources: &[Source]) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut all = File::default();
        for source in sources {
            match parse::<File>(source) {
                Ok(file) => {
                    take(&mut all.cloud, file.cloud, "cloud", source, &mut mistakes);
                    take(&mut all.http, file.http, "http", source, &mut mistakes);
                    take(&mut all.ingress, file.ingress, "ingress", source, &mut mistakes);
                    take(&mut all.store, file.store, "store", source, &mut mistakes);
                    take(&mut all.history, file.history, "history", source, &mut mistakes);
                    take(&mut all.live, file.live, "live", source, &mut mistakes);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let config = Self {
            cloud: all.cloud.unwrap_or_default(),
            http: all.http.unwrap_or_default(),
            ingress: all.ingress.unwrap_or_default(),
            store: all.store.unwrap_or_default(),
            history: all.history.unwrap_or_default(),
            live: all.live.unwrap_or_default(),
        };
        for (section, key, message) in config.faults() {
            let of = |s: &&Source| parse::<File>(s).is_ok_and(|f| f.has(section));
            if let Some(source) = sources.iter().find(of).or(sources.first()) {
                mistakes.push(mistake_at(source, &format!("{section}.{key}"), message));
            }
        }
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// What fits its type and is wrong all the same.
    fn faults(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut faults = Vec::new();
        let mut at_least_one = |section, key, n: u64| {
            if n == 0 {
                faults.push((section, key, "expected at least 1".to_owned()));
            }
        };
        at_least_one("http", "session_hours", self.http.session_hours.into());
        at_least_one("ingress", "max_connections", self.ingress.max_connections as u64);
        at_least_one("ingress", "replace_after_h", self.ingress.replace_after_h);
        at_least_one("history", "compact_ms", self.history.compact_ms);
        at_least_one("history", "compact_frames", self.history.compact_frames as u64);
        at_least_one("history", "raw_days", self.history.raw_days.unwrap_or(1).into());
        at_least_one("history", "rollup_days", self.history.rollup_days.unwrap_or(1).into());
        at_least_one("live", "max_clients", self.live.max_clients as u64);
        at_least_one("live", "max_events", self.live.max_events as u64);
        if !(64..=65_536).contains(&self.history.chunk_samples) {
            faults.push(("history", "chunk_samples", "expected 64 to 65536".to_owned()));
        }
        if !(0.1..=50.0).contains(&self.live.default_hz) {
            faults.push(("live", "default_hz", "expected 0.1 to 50".to_owned()));
        }
        for host in &self.http.hosts {
            if host.is_empty() || host.contains(['/', ' ', '@']) {
                let message = format!("`{host}` is not a host name: expected such as `twin.example.com`");
                faults.push(("http", "hosts", message));
            }
        }
        faults.extend(self.history.faults().into_iter().map(|(key, message)| ("history", key, message)));
        faults.extend(self.store.fault().map(|(key, message)| ("store", key, message)));
        faults.extend(self.ingress.faults().into_iter().map(|(key, message)| ("ingress", key, message)));
        faults
    }
}

impl File {
    fn has(&self, section: &str) -> bool {
        match section {
            "cloud" => self.cloud.is_some(),
            "http" => self.http.is_some(),
            "ingress" => self.ingress.is_some(),
            "store" => self.store.is_some(),
            "history" => self.history.is_some(),
            _ => self.live.is_some(),
        }
    }
}

fn take<T>(all: &mut Option<T>, new: Option<T>, name: &str, source: &Source, mistakes: &mut Vec<Mistake>) {
    if new.is_none() {
        return;
    }
    if all.is_some() {
        mistakes.push(mistake_at(source, name, "this section stands in an earlier file already"));
        return;
    }
    *all = new;
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
