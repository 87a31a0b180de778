//! The configuration: read from a file and its `conf.d`, checked as a whole, and either refused with every
//! mistake at its place or turned into a registry. Nothing is started here.

mod alarms;
mod arrays;
mod assemble;
pub(crate) mod broker;
mod check;
mod derived;
mod doubts;
mod exchange;
mod files;
mod lacking;
mod left_out;
mod opcua;
pub mod opcua_server;
mod points;
pub mod publish;
mod secrets;
pub mod sections;
mod table;
mod template;
mod values;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::config::{Mistake, Mistakes, Source, read_all};
use common::{GatewayId, TenantId};
use gateway_core::Registry;
use gateway_pipeline::{AlarmDefinition, Definition};

use crate::pushed::Pushes;
use crate::updates::Takes;

pub use alarms::AlarmSection;
pub(crate) use derived::definitions_in;
pub use derived::{VirtualDevice, VirtualPoint};
pub use exchange::{Change, Difference, ExchangeError, Import, Imported, export, import};
use files::{Files, Input};
pub use secrets::Token;
pub use sections::Overflow;
use sections::{ApiSection, BrokerSection, BufferSection, ControlSection, DeviceSection, File};
pub use values::Publish;

/// A configuration without mistakes.
#[derive(Debug, Clone)]
pub struct Config {
    /// The main file; empty if it was read from none.
    pub file: PathBuf,
    /// SHA-256 of all files, as hex; empty like `file`.
    pub digest: String,
    /// Name of this gateway.
    pub id: GatewayId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Folder of the buffer and its state.
    pub data_dir: PathBuf,
    /// When it counts as good.
    pub proven_after: Duration,
    /// Its files as they were read. Let go once it runs and a copy is written.
    pub sources: Arc<[Source]>,
    /// Mistakes of the files that this one runs instead of; empty if it is what the files say.
    pub instead_of: Vec<String>,
    /// What documents of the cloud may do.
    pub pushes: Pushes,
    /// What becomes of bundles that the cloud offers.
    pub updates: Takes,
    /// The cloud, if any.
    pub uplink: Option<Uplink>,
    /// The local HTTP API.
    pub api: ApiSection,
    /// Who may sign in to it over TCP.
    pub tokens: Vec<Token>,
    /// The embedded broker.
    pub broker: BrokerSection,
    /// Who may sign in to the broker.
    pub broker_users: gateway_broker::Users,
    /// The OPC UA server, if any.
    pub opcua_server: Option<opcua_server::OpcuaServerSection>,
    /// Who may sign in to it, besides the tokens of the API.
    pub opcua_users: gateway_broker::Users,
    /// The buffer.
    pub buffer: BufferSection,
    /// What it is encrypted with.
    pub buffer_keys: gateway_store::Keys,
    /// The command path.
    pub control: ControlSection,
    /// Modbus lines that devices name.
    pub lines: Vec<gateway_adapters::modbus::LineConfig>,
    /// Processed points for programs of others.
    pub publish: Vec<publish::Publish>,
    /// Devices in the order of the registry. Let go once it runs: see `standing`.
    pub devices: Vec<DeviceSection>,
    /// All points.
    pub registry: Arc<Registry>,
    /// Those that are calculated from others.
    pub virtual_points: Vec<Definition>,
    /// All alarms.
    pub alarms: Vec<AlarmDefinition>,
}

/// Where the cloud is and how to sign in.
#[derive(Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Host, port, and whether TLS is used.
    pub url: gateway_sync::Url,
    /// Certificates that the cloud's may be signed by; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// User name.
    pub username: String,
    /// Password; never shown.
    pub password: String,
    /// What it is enrolled with, if it does not sign in with a password.
    pub enrolment: Option<gateway_sync::Enrolment>,
    /// The address is the one that it was enrolled with.
    pub follows: bool,
    /// Most bytes on their way without an ack.
    pub window_bytes: usize,
    /// File that tells the machine from others.
    pub machine_id_file: PathBuf,
    /// How long samples may wait to go together; none: the link is not paid by the byte.
    pub max_delay: Option<std::time::Duration>,
    /// What the link may carry.
    pub plan: gateway_sync::Plan,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.url.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}@{}:{}", self.username, self.url.host, self.url.port)
    }
}

impl Config {
    /// Reads and checks a file and the `conf.d/*.toml` and `conf.d/*.csv` beside it, what the cloud gave where they take it,
    /// and the secrets that they name.
    ///
    /// # Errors
    /// Every mistake that could be found, each with file, line, key and what was expected.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        Self::read_from(path, &read_with_pushed(path)?)
    }

    /// The same of files already read, of which `path` is the main one.
    ///
    /// # Errors
    /// As `load`.
    pub fn read_from(path: &Path, sources: &[Source]) -> Result<Self, Mistakes> {
        let mut config = Report::of(sources, true).into_result()?;
        path.clone_into(&mut config.file);
        config.digest = digest(sources);
        config.sources = sources.into();
        Ok(config)
    }

    /// Checks files already read, and no others: secrets are left empty.
    ///
    /// # Errors
    /// As `load`.
    pub fn from_sources(sources: Vec<Source>) -> Result<Self, Mistakes> {
        Report::of(&sources, false).into_result()
    }
}

/// Reads a file and, beside it, `conf.d/*.toml` and the tables of points `conf.d/*.csv`.
///
/// # Errors
/// When a file cannot be read.
pub fn read_sources(path: &Path) -> Result<Vec<Source>, Mistakes> {
    read_all(path, &["toml", "csv"])
}

/// The same with the document of the cloud that runs beside them, where they allow it.
pub(crate) fn read_with_pushed(path: &Path) -> Result<Vec<Source>, Mistakes> {
    let mut sources = read_sources(path)?;
    sources.extend(crate::pushed::source(&sources)?);
    Ok(sources)
}

/// SHA-256 of names and texts of files.
pub(crate) fn digest(sources: &[Source]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for source in sources {
        for part in [source.path.as_os_str().as_encoded_bytes(), source.text.as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    common::text::hex(&hash.finalize())
}

/// What was found in a configuration.
#[derive(Debug)]
pub struct Report {
    /// The configuration; none if the mistakes leave no sensible one.
    pub config: Option<Config>,
    /// What must be mended, in the order of files and lines.
    pub mistakes: Vec<Mistake>,
    /// What can be meant so, but hardly is.
    pub warnings: Vec<Mistake>,
}

impl Report {
    /// Reads and checks a file, what is in `conf.d` beside it, and the secrets that it names.
    pub fn load(path: &Path) -> Self {
        match read_with_pushed(path) {
            Ok(sources) => Self::of(&sources, true),
            Err(Mistakes(mistakes)) => Self { config: None, mistakes, warnings: Vec::new() },
        }
    }

    /// Looks at files already read; `secrets`: and at the files of secrets that they name.
    pub fn of(sources: &[Source], secrets: bool) -> Self {
        let files = Files::new(sources.iter().map(Input::of).collect());
        Self::of_files(files, secrets)
    }

    fn of_files(mut files: Files<'_>, secrets: bool) -> Self {
        if secrets {
            secrets::enrolment(&mut files);
        }
        let (mut config, mut mistakes) = build(&mut files);
        if secrets {
            secrets::load(&files, &mut config, &mut mistakes);
        }
        // A section's key that could not be read stands on its default: what that leads to was told.
        let told: HashSet<_> = files.mistakes.iter().map(|m| (m.file.clone(), m.key.clone())).collect();
        mistakes.retain(|m| m.key.is_empty() || !told.contains(&(m.file.clone(), m.key.clone())));
        mistakes.append(&mut files.mistakes);
        // What syntax errors left of a line is not judged.
        let unread: HashSet<_> = mistakes
            .iter()
            .filter(|m| m.key.is_empty())
            .filter_map(|m| Some((m.file.clone(), m.at?.0)))
            .collect();
        mistakes
            .retain(|m| m.key.is_empty() || m.at.is_none_or(|at| !unread.contains(&(m.file.clone(), at.0))));
        Self { config, mistakes: in_order(mistakes), warnings: in_order(files.warnings) }
    }

    fn into_result(self) -> Result<Config, Mistakes> {
        match self.config {
            Some(config) if self.mistakes.is_empty() => Ok(config),
            _ => Err(Mistakes(self.mistakes)),
        }
    }
}

/// In the order of files and lines; one that several devices share by their template is told once.
fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by(|a, b| (&a.file, a.at, &a.key, &a.message).cmp(&(&b.file, b.at, &b.key, &b.message)));
    let mut all: Vec<Mistake> = Vec::with_capacity(mistakes.len());
    for mut mistake in mistakes {
        match all.last_mut() {
            Some(last)
                if (&last.file, last.at, &last.key, &last.message)
                    == (&mistake.file, mistake.at, &mistake.key, &mistake.message) =>
            {
                mistake.devices.retain(|d| !last.devices.contains(d));
                last.devices.append(&mut mistake.devices);
            }
            _ => all.push(mistake),
        }
    }
    all
}

fn build(files: &mut Files<'_>) -> (Option<Config>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    check::sections(files, &mut mistakes);
    check::lines(files, &mut mistakes);
    broker::check(files, &mut mistakes);
    opcua_server::check(files, &mut mistakes);
    let uplink = check::uplink(files, &mut mistakes);
    let registry = points::registry(files, &mut mistakes);
    let doubts = doubts::all(files);
    files.warnings.extend(doubts);
    let publish = publish::publishers(files, registry.as_ref(), &mut mistakes);
    let virtual_points =
        registry.as_ref().map(|r| derived::definitions(files, r, &mut mistakes)).unwrap_or_default();
    let alarms = registry.as_ref().map(|r| alarms::definitions(files, r, &mut mistakes)).unwrap_or_default();
    let File { gateway, api, broker, opcua_server, buffer, control, line: lines, .. } = files.merged.clone();
    let (Some(id), Some(registry)) = (gateway.id, registry) else {
        return (None, mistakes);
    };
    let config = Config {
        file: PathBuf::new(),
        digest: String::new(),
        id,
        tenant: gateway.tenant,
        data_dir: gateway.data_dir,
        proven_after: Duration::from_secs(gateway.proven_after_s),
        sources: Arc::default(),
        instead_of: Vec::new(),
        pushes: check::pushes(files),
        updates: check::updates(files),
        uplink,
        api,
        tokens: Vec::new(),
        broker,
        broker_users: gateway_broker::Users::default(),
        opcua_server,
        opcua_users: gateway_broker::Users::default(),
        buffer,
        buffer_keys: gateway_store::Keys::default(),
        control,
        lines,
        publish,
        devices: std::mem::take(&mut files.devices).into_iter().map(|l| l.device).collect(),
        registry: Arc::new(registry),
        virtual_points,
        alarms,
    };
    (Some(config), mistakes)
}

#[cfg(test)]
mod lacking_tests;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod uplink_tests;
