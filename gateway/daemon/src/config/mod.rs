//! The configuration: read from a file and its `conf.d`, checked as a whole, and either refused with every
//! mistake at its place or turned into a registry. Nothing is started here.

mod check;
mod points;
mod secrets;
pub mod sections;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::config::{Mistake, Mistakes, Source, mistake_at, parse, read};
use common::{GatewayId, TenantId};
use gateway_core::Registry;

pub use secrets::Token;
use sections::{ApiSection, BrokerSection, BufferSection, ControlSection, DeviceSection, File};

/// A configuration without mistakes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this gateway.
    pub id: GatewayId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Folder of the buffer and its state.
    pub data_dir: PathBuf,
    /// The cloud, if any.
    pub uplink: Option<Uplink>,
    /// The local HTTP API.
    pub api: ApiSection,
    /// Who may sign in to it over TCP.
    pub tokens: Vec<Token>,
    /// The embedded broker.
    pub broker: BrokerSection,
    /// The buffer.
    pub buffer: BufferSection,
    /// The command path.
    pub control: ControlSection,
    /// Devices in the order of the registry.
    pub devices: Vec<DeviceSection>,
    /// All points.
    pub registry: Arc<Registry>,
}

/// Where the cloud is and how to sign in.
#[derive(Clone)]
pub struct Uplink {
    /// Host, port, and whether TLS is used.
    pub url: gateway_sync::Url,
    /// Certificates that the cloud's may be signed by; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// User name.
    pub username: String,
    /// Password; never shown.
    pub password: String,
    /// Most bytes on their way without an ack.
    pub window_bytes: usize,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.url.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}@{}:{}", self.username, self.url.host, self.url.port)
    }
}

impl Config {
    /// Reads and checks a file and the `conf.d/*.toml` beside it, and the secrets that it names.
    ///
    /// # Errors
    /// Every mistake that could be found, each with file, line, key and what was expected.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let files = Files::new(read(path)?)?;
        let (mut config, mut mistakes) = files.build();
        secrets::load(&files, &mut config, &mut mistakes);
        finish(config, mistakes)
    }

    /// Checks files already read, and no others: secrets are left empty.
    ///
    /// # Errors
    /// As `load`.
    pub fn from_sources(sources: Vec<Source>) -> Result<Self, Mistakes> {
        let (config, mistakes) = Files::new(sources)?.build();
        finish(config, mistakes)
    }
}

fn finish(config: Option<Config>, mut mistakes: Vec<Mistake>) -> Result<Config, Mistakes> {
    mistakes.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
    mistakes.dedup();
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => Err(Mistakes(mistakes)),
    }
}

/// A device and where it stands: source and index there.
struct Located {
    source: usize,
    index: usize,
    device: DeviceSection,
}

/// All files, parsed, with their sections merged: a key of a later file stands above one of an earlier.
struct Files {
    sources: Vec<Source>,
    tables: Vec<toml::Table>,
    merged: File,
    devices: Vec<Located>,
}

impl Files {
    fn new(sources: Vec<Source>) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut tables = Vec::new();
        let mut devices = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            match parse::<File>(source) {
                Ok(file) => {
                    let located = |(index, device)| Located { source: at, index, device };
                    devices.extend(file.device.into_iter().enumerate().map(located));
                    tables.push(source.text.parse::<toml::Table>().unwrap_or_default());
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let mut merged = toml::Table::new();
        for table in &tables {
            for (section, keys) in table.iter().filter(|(name, _)| *name != "device") {
                let Some(keys) = keys.as_table() else { continue };
                let slot = merged.entry(section.clone()).or_insert_with(|| toml::Table::new().into());
                if let Some(slot) = slot.as_table_mut() {
                    slot.extend(keys.clone());
                }
            }
        }
        let merged = merged.try_into().map_err(|e: toml::de::Error| {
            let file = sources.first().map(|s| s.path.clone()).unwrap_or_default();
            Mistakes(vec![Mistake { file, at: None, key: String::new(), message: e.message().to_owned() }])
        })?;
        Ok(Self { sources, tables, merged, devices })
    }

    /// A mistake at `section.key`: in the last file that has the key, else the last that has the section, else
    /// the main file.
    fn mistake(&self, section: &str, key: &str, message: impl Into<String>) -> Mistake {
        let has = |with_key: bool| {
            self.tables.iter().rposition(|t| {
                t.get(section).is_some_and(|s| !with_key || s.as_table().is_some_and(|s| s.contains_key(key)))
            })
        };
        let at = has(true).or_else(|| has(false)).unwrap_or(0);
        let name = if key.is_empty() { section.to_owned() } else { format!("{section}.{key}") };
        match self.sources.get(at) {
            Some(source) => mistake_at(source, &name, message),
            None => Mistake { file: PathBuf::new(), at: None, key: name, message: message.into() },
        }
    }

    /// A mistake at a key of a device or of one of its points.
    fn device_mistake(&self, located: &Located, key: &str, message: impl Into<String>) -> Mistake {
        let name = format!("device[{}]{}{key}", located.index, if key.is_empty() { "" } else { "." });
        match self.sources.get(located.source) {
            Some(source) => mistake_at(source, &name, message),
            None => Mistake { file: PathBuf::new(), at: None, key: name, message: message.into() },
        }
    }

    fn build(&self) -> (Option<Config>, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        check::sections(self, &mut mistakes);
        let uplink = check::uplink(self, &mut mistakes);
        let registry = points::registry(self, &mut mistakes);
        let (Some(id), Some(registry)) = (self.merged.gateway.id.clone(), registry) else {
            return (None, mistakes);
        };
        let File { gateway, api, broker, buffer, control, .. } = self.merged.clone();
        let config = Config {
            id,
            tenant: gateway.tenant,
            data_dir: gateway.data_dir,
            uplink,
            api,
            tokens: Vec::new(),
            broker,
            buffer,
            control,
            devices: self.devices.iter().map(|l| l.device.clone()).collect(),
            registry: Arc::new(registry),
        };
        (Some(config), mistakes)
    }
}

#[cfg(test)]
mod tests;
