//! The running gateway: takes a new configuration without a stop, and ends all parts when it is asked to. Only what
//! changed is started anew. Order: drivers are made (if that fails, nothing has changed), devices that change are
//! taken out of control and their drivers end, the pipeline processes what they read and goes over to the new
//! generation, then new drivers start. So every sample is judged, framed and told by the generation that it was
//! read by.

mod handle;

#[cfg(feature = "mqtt")]
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::Drain;
use common::api::{ReloadAttempt, ReloadReport};
use common::command::{LogEntry, Severity};
use common::config::Mistake;
use common::names::action;
use common::supervise::PartState;
use common::text::at_most;
use common::wire::Body;

use gateway_core::{FrameLog, Registry};
use gateway_pipeline::{AlarmDefinition, Definition};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::api::{Admission, Endpoints};
use crate::broker::{Handle as BrokerHandle, Renewal};
use crate::changes::{self, Changes};
use crate::config::{Config, definitions_in, read_with_pushed};
use crate::drivers::Drivers;
use crate::gateway::{Done, UPLINK, end, start_uplink};
use crate::last_good;
use crate::opcua::{self, OpcuaServer};
use crate::parts::Switch;
#[cfg(feature = "publish")]
use crate::publishing;
use crate::stages::Stage;
use crate::standing::Standing;
use crate::starts;
use crate::vitals::Vitals;
use crate::wiring::Wiring;
pub use handle::ReloadError;
use handle::shown;
pub(crate) use handle::{Reload, Requests};

/// How long a write at hand may take before its device is taken out all the same.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long drivers may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// How long the buffer may take to go over.
const BUFFER_LIMIT: Duration = Duration::from_secs(10);
/// By then the cloud has been told of all points, which takes a multiple of their memory for a moment.
const SETTLED: Duration = Duration::from_secs(10);
/// Least pause between two looks at whether a configuration has proven itself.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Of an event: what stands in a file may be in it, and no message to the cloud may be too long.
pub(crate) const DETAIL_CHARS: usize = 4_000;

/// What the start made and a reload needs.
pub(crate) struct Made {
    pub(crate) drivers: Drivers,
    pub(crate) switch: mpsc::Sender<Switch>,
    pub(crate) broker: Option<BrokerHandle>,
    pub(crate) api_addr: SocketAddr,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) admission: Admission,
    pub(crate) endpoints: Endpoints,
    pub(crate) opcua: OpcuaServer,
    pub(crate) reload: Reload,
    pub(crate) requests: Requests,
}

/// The gateway while it runs.
pub(crate) struct Running {
    wiring: Wiring,
    made: Made,
    /// The devices that run; none if that is not known, which no reload could go on from.
    standing: Option<Arc<Standing>>,
    /// When the configuration that runs counts as good; none if a copy of it is kept already.
    proven_at: Option<Instant>,
    /// When memory is given back once more.
    settled_at: Option<Instant>,
}

/// A new configuration, read and compared.
struct Candidate {
    config: Config,
    standing: Standing,
    registry: Arc<Registry>,
    definitions: Vec<Definition>,
    alarms: Vec<AlarmDefinition>,
    changes: Changes,
}

impl Running {
    pub(crate) fn new(wiring: Wiring, made: Made) -> Self {
        let running = Self { wiring, made, standing: None, proven_at: None, settled_at: None };
        if let Some(first) = running.wiring.config.instead_of.first() {
            let more = running.wiring.config.instead_of.len() - 1;
            let more = if more > 0 { format!(", and {more} more mistakes") } else { String::new() };
            let detail = format!("the files are not used: {first}{more}");
            running.event(action::CONFIG_LAST_GOOD, "system", Severity::Alarm, detail);
        }
        running
    }

    /// Until the drain starts; then everything is ended.
    pub(crate) async fn run(mut self, drain: Drain, done: Done) {
        self.let_go(None).await;
        loop {
            let (proven_at, settled_at) = (self.proven_at, self.settled_at);
            tokio::select! {
                biased;
                () = drain.started() => break,
                Some(request) = self.made.requests.recv() => {
                    let result = tokio::select! {
                        biased;
                        () = drain.started() => break,
                        result = self.reload(&request.by) => result,
                    };
                    // Who asked may be gone.
                    let _ = request.reply.send(result);
                }
                () = tokio::time::sleep_until(proven_at.unwrap_or_else(Instant::now)), if proven_at.is_some() => {
                    self.keep_proven().await;
                }
                () = tokio::time::sleep_until(settled_at.unwrap_or_else(Instant::now)), if settled_at.is_some() => {
                    self.settled_at = None;
                    tokio::task::spawn_blocking(heap::give_back);
                }
            }
        }
        let log = self.made.vitals.log.clone();
        let Wiring { stages, clock, .. } = self.wiring;
        end(stages, log, clock, done).await;
    }

    async fn reload(&mut self, by: &str) -> Result<ReloadReport, ReloadError> {
        let began = Instant::now();
        tracing::info!(by, "reload of the configuration");
        match self.take(by, began).await {
            Ok(report) => {
                tracing::info!(
                    by,
                    took_ms = report.took_ms,
                    changes = report.summary(),
                    "configuration taken"
                );
                self.event(action::CONFIG_TAKEN, by, Severity::Info, report.summary());
                Ok(report)
            }
            Err(error) => {
                let mistakes = match &error {
                    ReloadError::Refused { mistakes } => mistakes.clone(),
                    other => vec![other.to_string()],
                };
                for mistake in &mistakes {
                    tracing::error!(by, mistake, "new configuration is refused, the one before goes on");
                }
                let first = mistakes.first().cloned().unwrap_or_default();
                let detail = format!("{} mistakes, the first: {first}", mistakes.len());
                self.event(action::CONFIG_REFUSED, by, Severity::Warning, detail);
                let mut state = self.made.reload.state();
                state.refused += 1;
                let at_us = self.wiring.clock.now_us();
                state.view.last_reload =
                    Some(ReloadAttempt { at_us, by: by.to_owned(), taken: false, mistakes });
                drop(state);
                Err(error)
            }
        }
    }

    async fn take(&mut self, by: &str, began: Instant) -> Result<ReloadReport, ReloadError> {
        let Candidate { config, standing, registry, definitions, alarms, mut changes } =
            self.candidate().await?;
        let renewal = self.broker(&config).await?;
        let served = self.made.opcua.change(&config).await;
        let served = served.map_err(|e| ReloadError::Failed { detail: format!("opc ua server: {e}") })?;
        let was = self.wiring.points.now();
        let renewed = registry.generation() != was.generation();
        // Drivers look their points up while they are made.
        self.wiring.points.set(registry.clone());
        let mut new = Vec::with_capacity(changes.start.len());
        for planned in std::mem::take(&mut changes.start) {
            match self.made.drivers.make(&config, &registry, planned) {
                Ok(made) => new.push(made),
                Err(error) => {
                    self.wiring.points.set(was);
                    return Err(ReloadError::Failed { detail: error.to_string() });
                }
            }
        }
        let devices: Vec<usize> = changes.stop.iter().flat_map(|u| u.devices.clone()).collect();
        let parts: Vec<String> = changes.stop.iter().map(|u| u.name.clone()).collect();
        let control = self.made.vitals.control.clone();
        control.release(&devices, WRITE_LIMIT).await;
        let late = self.wiring.stages.supervisor(Stage::Field).stop(&parts, STOP_LIMIT).await;
        if !late.is_empty() {
            tracing::warn!(parts = ?late, "parts were cut off");
        }
        self.made.opcua.prepare(&config);
        if renewed {
            let (done, switched) = oneshot::channel();
            let switch = Switch { registry: registry.clone(), definitions, alarms, done };
            // The part may be between two starts; then it does this first.
            if self.made.switch.send(switch).await.is_err() || switched.await.is_err() {
                tracing::error!("pipeline did not go over to the new configuration");
            }
        }
        self.wiring.health.renew(&registry);
        let writers = new.iter().flat_map(|m| m.writers.clone()).collect();
        if let Err(error) = control.renew(registry.clone(), writers) {
            // It was read before, against the same points.
            tracing::error!(%error, "control keeps its old configuration");
        }
        Drivers::start(new, &mut self.wiring.stages);
        let reached = self.made.vitals.log.store().points();
        if timeout(BUFFER_LIMIT, reached.reached(registry.generation())).await.is_err() {
            tracing::error!("buffer did not go over to the new configuration in time");
        }
        self.apply(config, registry, &changes, (renewal, served)).await;
        self.let_go(Some(standing)).await;
        let report = self.report(by, began, changes);
        self.wiring.pushed.set(&self.wiring.config);
        self.wiring.updates.set(&self.wiring.config);
        Ok(report)
    }

    /// Reads the files and compares. Away from the runtime: it takes a while for many points.
    async fn candidate(&self) -> Result<Candidate, ReloadError> {
        let old = self.wiring.config.clone();
        let was = self.wiring.points.now();
        if old.file.as_os_str().is_empty() {
            return Err(ReloadError::Failed { detail: "it was not read from a file".to_owned() });
        }
        let unknown =
            || ReloadError::Failed { detail: "what runs is not known: restart the process".to_owned() };
        let before = self.standing.clone().ok_or_else(unknown)?;
        let found = tokio::task::spawn_blocking(move || {
            let sources = read_with_pushed(&old.file).map_err(|m| m.0)?;
            let config = Config::read_from(&old.file, &sources).map_err(|m| m.0)?;
            is_same_gateway(&old, &config)?;
            let next = was.succeed(&config.registry);
            let wanted = Standing::of(&config, &next);
            let same = next.is_like(&was) && before.devices == wanted.devices;
            let registry = if same { was.clone() } else { Arc::new(next) };
            let mut changes = changes::between(&before, &was, &wanted, &registry);
            changes::settings(&old, &config, &mut changes);
            let definitions = definitions_in(&config.devices, &registry);
            let alarms = renumbered(&config, &registry);
            let config = changes::in_effect(&old, config);
            Ok(Candidate { config, standing: wanted, registry, definitions, alarms, changes })
        });
        let found = found.await.map_err(|e| ReloadError::Failed { detail: e.to_string() })?;
        found.map_err(|mistakes: Vec<Mistake>| ReloadError::Refused {
            mistakes: mistakes.iter().map(ToString::to_string).collect(),
        })
    }

    #[cfg(not(feature = "mqtt"))]
    #[allow(clippy::unused_self, clippy::unused_async)] // as below
    async fn broker(&self, _: &Config) -> Result<Option<Renewal>, ReloadError> {
        Ok(None)
    }

    /// What the broker needs for a configuration. Also where its section is the same: a certificate may be a new one.
    #[cfg(feature = "mqtt")]
    async fn broker(&self, config: &Config) -> Result<Option<Renewal>, ReloadError> {
        let Some(broker) = &self.made.broker else { return Ok(None) };
        let options = crate::config::broker::options(config, self.wiring.clock.clone());
        let prepared = broker.prepare(options).await.map_err(|error| {
            let source = error.source().map(|s| format!(": {s}")).unwrap_or_default();
            ReloadError::Failed { detail: format!("broker: {error}{source}") }
        });
        prepared.map(Some)
    }

    /// Lets go what was only needed to get here: sections of devices, and the texts of files, of which a copy is on
    /// disk from now on, to be the last good one when the configuration has proven itself. `standing`, if it is
    /// known already.
    async fn let_go(&mut self, standing: Option<Standing>) {
        let devices = std::mem::take(&mut self.wiring.config.devices);
        let sources = std::mem::take(&mut self.wiring.config.sources);
        let config = Config { devices, ..self.wiring.config.clone() };
        let registry = self.wiring.points.now();
        let (data_dir, proves) =
            (config.data_dir.clone(), config.instead_of.is_empty() && !sources.is_empty());
        let letting_go = tokio::task::spawn_blocking(move || {
            let standing = standing.unwrap_or_else(|| Standing::of(&config, &registry));
            let staged = if proves { last_good::stage(&data_dir, &sources) } else { Ok(false) };
            drop((config, sources));
            heap::give_back();
            (standing, staged)
        });
        self.proven_at = None;
        self.settled_at = Some(Instant::now() + SETTLED);
        match letting_go.await {
            Ok((standing, staged)) => {
                self.standing = Some(Arc::new(standing));
                match staged {
                    Ok(true) => self.proven_at = Some(Instant::now() + self.wiring.config.proven_after),
                    Ok(false) if proves => self.is_kept(),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "configuration cannot be kept as the last good one"),
                }
            }
            Err(error) => {
                self.standing = None;
                tracing::error!(%error, "what runs is not known: a reload is refused");
            }
        }
    }

    /// Settings that hold at once.
    async fn apply(
        &mut self,
        config: Config,
        registry: Arc<Registry>,
        changes: &Changes,
        (renewal, served): (Option<Renewal>, opcua::Change),
    ) {
        #[cfg(feature = "publish")]
        let publishers = std::mem::take(&mut self.wiring.config.publish);
        self.wiring.config = Config { registry, ..config };
        if let Some((broker, renewal)) = self.made.broker.as_ref().zip(renewal) {
            broker.renew(renewal);
        }
        #[cfg(feature = "publish")]
        {
            let broker = self.made.broker.clone();
            publishing::follow(&mut self.wiring, &self.made.vitals, broker.as_ref(), &publishers, STOP_LIMIT)
                .await;
        }
        self.made.admission.set(&self.wiring.config);
        self.made.endpoints.set(&self.wiring.config);
        let supervisor = self.wiring.stages.supervisor(Stage::Field);
        self.made.opcua.follow(&self.wiring.config, served, supervisor).await;
        let (api, opcua) = (self.made.api_addr, self.made.opcua.addr());
        let broker = self.made.broker.as_ref().map(BrokerHandle::local_addr);
        self.wiring.write_addresses(api, broker, opcua);
        crate::unknown::follow(&self.made.vitals, &self.wiring.config);
        if changes.settings.iter().any(|s| s == "uplink") {
            self.wiring.stages.supervisor(Stage::Field).stop(&[UPLINK.to_owned()], STOP_LIMIT).await;
            start_uplink(&mut self.wiring, &self.made.vitals);
        }
    }

    fn report(&self, by: &str, began: Instant, changes: Changes) -> ReloadReport {
        let mut view = shown(&self.wiring.config, &self.wiring.config.registry, &self.wiring.clock);
        view.restart_needed.clone_from(&changes.restart_needed);
        view.last_reload = Some(ReloadAttempt {
            at_us: view.taken_us,
            by: by.to_owned(),
            taken: true,
            mistakes: Vec::new(),
        });
        let report = ReloadReport {
            added: changes.added,
            removed: changes.removed,
            restarted: changes.restarted,
            updated: changes.updated,
            settings: changes.settings,
            restart_needed: changes.restart_needed,
            generation: view.generation,
            devices: view.devices,
            points: view.points,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let mut state = self.made.reload.state();
        if state.view.digest == view.digest {
            view.kept_us = state.view.kept_us;
        }
        state.taken += 1;
        state.view = view;
        report
    }

    /// Keeps a copy of the configuration that runs, if it does well.
    async fn keep_proven(&mut self) {
        let vitals = &self.made.vitals;
        let parts = || vitals.parts.iter().flat_map(common::supervise::Parts::list);
        // What the cloud gave may yet cut the box off.
        let does_well = !self.wiring.pushed.is_on_trial()
            && vitals.log.health().fault.is_none()
            && parts().all(|p| p.state != PartState::Restarting);
        if !does_well {
            self.proven_at = Some(Instant::now() + self.wiring.config.proven_after.max(LOOK_AGAIN));
            return;
        }
        self.proven_at = None;
        let data_dir = self.wiring.config.data_dir.clone();
        let kept = tokio::task::spawn_blocking(move || last_good::keep(&data_dir)).await;
        match kept.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(()) => {
                tracing::info!("configuration is kept as the last good one");
                self.is_kept();
            }
            Err(error) => tracing::warn!(%error, "configuration cannot be kept as the last good one"),
        }
    }

    fn is_kept(&self) {
        starts::forget(&self.wiring.config.data_dir);
        self.made.reload.state().view.kept_us = Some(self.wiring.clock.now_us());
    }

    fn event(&self, action: &str, by: &str, severity: Severity, detail: String) {
        let entry = LogEntry {
            at_us: self.wiring.clock.now_us(),
            actor: by.to_owned(),
            action: action.to_owned(),
            target: "config".to_owned(),
            twin: None,
            severity,
            code: None,
            detail: at_most(detail, DETAIL_CHARS),
        };
        if let Err(error) = self.made.vitals.log.append(Body::Event(entry)) {
            tracing::warn!(%error, "cannot log an event");
        }
    }
}

/// The alarms of a configuration, for another numbering of its points.
fn renumbered(config: &Config, registry: &Registry) -> Vec<AlarmDefinition> {
    let fresh = &config.registry;
    let one = |alarm: &AlarmDefinition| {
        let point = fresh.point(alarm.point)?;
        let now = registry.find(&fresh.device(point.device)?.name, &point.schema.name)?;
        Some(AlarmDefinition { point: now.id, ..alarm.clone() })
    };
    config.alarms.iter().filter_map(one).collect()
}

/// Another name makes other twins of all devices, in a session of another gateway.
fn is_same_gateway(old: &Config, new: &Config) -> Result<(), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    for (key, was, is) in [
        ("gateway.id", old.id.to_string(), new.id.to_string()),
        ("gateway.tenant", old.tenant.to_string(), new.tenant.to_string()),
    ] {
        if was != is {
            let message = format!("`{is}` instead of `{was}` makes another gateway: restart the process");
            let file = new.file.clone();
            mistakes.push(Mistake { file, at: None, key: key.to_owned(), message, devices: Vec::new() });
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}
