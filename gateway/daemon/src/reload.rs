//! The running gateway: takes a new configuration without a stop, and ends all parts when it is asked to. Only what
//! changed is started anew. Order: drivers are made (if that fails, nothing has changed), devices that change are
//! taken out of control and their drivers end, the pipeline processes what they read and goes over to the new
//! generation, then new drivers start. So every sample is judged, framed and told by the generation that it was
//! read by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::api::{ConfigView, Problem, ReloadAttempt, ReloadReport};
use common::command::{LogEntry, Severity};
use common::config::Mistake;
use common::names::{Code, action};
use common::supervise::PartState;
use common::wire::Body;
use common::{Clock, Drain};

use gateway_core::{FrameLog, Registry};
use gateway_pipeline::{AlarmDefinition, Definition};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::api::{Admission, Endpoints};
use crate::changes::{self, Changes};
use crate::config::{Config, definitions_in, read_sources};
use crate::drivers::Drivers;
use crate::gateway::{Done, UPLINK, end, start_uplink};
use crate::last_good;
use crate::opcua::OpcuaServer;
use crate::parts::Switch;
use crate::stages::Stage;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// Attempts that may wait.
const WAITING: usize = 4;
/// How long a write at hand may take before its device is taken out all the same.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long drivers may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// How long the buffer may take to go over.
const BUFFER_LIMIT: Duration = Duration::from_secs(10);
/// Least pause between two looks at whether a configuration has proven itself.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a new configuration was not taken: the one before goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The files have mistakes.
    #[error("the configuration is refused, the one before goes on: {}", .mistakes.join("; "))]
    Refused {
        /// Every mistake.
        mistakes: Vec<String>,
    },
    /// A part cannot be made.
    #[error("the configuration cannot be taken, the one before goes on: {detail}")]
    Failed {
        /// Why.
        detail: String,
    },
    /// Others wait already.
    #[error("too many reloads wait")]
    Busy,
    /// The gateway ends.
    #[error("the gateway is stopping")]
    Stopping,
}

impl ReloadError {
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Refused { mistakes } => {
                let detail =
                    format!("the configuration is refused, the one before goes on:\n{}", mistakes.join("\n"));
                Problem::new(Code::InvalidRequest, detail)
            }
            Self::Failed { .. } => Problem::new(Code::Conflict, self.to_string()),
            Self::Busy => Problem::new(Code::RateLimited, self.to_string()),
            Self::Stopping => Problem::new(Code::Unavailable, self.to_string()),
        }
    }
}

pub(crate) struct Request {
    by: String,
    reply: oneshot::Sender<Result<ReloadReport, ReloadError>>,
}

pub(crate) type Requests = mpsc::Receiver<Request>;

/// The way to ask for a reload, and what runs. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Reload {
    to: mpsc::Sender<Request>,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("by", &self.by).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    view: ConfigView,
    taken: u64,
    refused: u64,
}

impl Reload {
    pub(crate) fn new(config: &Config, clock: &Clock) -> (Self, Requests) {
        let (to, requests) = mpsc::channel(WAITING);
        let mut view = shown(config, &config.registry, clock);
        if !config.instead_of.is_empty() {
            view.is_last_good = true;
            view.last_reload = Some(ReloadAttempt {
                at_us: view.taken_us,
                by: "start".to_owned(),
                taken: false,
                mistakes: config.instead_of.clone(),
            });
        }
        let state = Arc::new(Mutex::new(State { view, ..State::default() }));
        (Self { to, state }, requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> ConfigView {
        self.state().view.clone()
    }

    /// How often a new configuration was taken and refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.taken, state.refused)
    }

    pub(crate) async fn ask(&self, by: &str) -> Result<ReloadReport, ReloadError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.to.try_send(Request { by: by.to_owned(), reply });
        asked.map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ReloadError::Busy,
            mpsc::error::TrySendError::Closed(_) => ReloadError::Stopping,
        })?;
        answer.await.unwrap_or(Err(ReloadError::Stopping))
    }
}

fn shown(config: &Config, registry: &Registry, clock: &Clock) -> ConfigView {
    ConfigView {
        file: config.file.display().to_string(),
        digest: config.digest.clone(),
        taken_us: clock.now_us(),
        generation: registry.generation(),
        devices: registry.device_count() as u64,
        points: registry.count() as u64,
        ..ConfigView::default()
    }
}

/// What the start made and a reload needs.
pub(crate) struct Made {
    pub(crate) drivers: Drivers,
    pub(crate) switch: mpsc::Sender<Switch>,
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
    /// When the configuration that runs counts as good; none if a copy of it is kept already.
    proven_at: Option<Instant>,
}

/// A new configuration, read and compared.
struct Candidate {
    config: Config,
    registry: Arc<Registry>,
    definitions: Vec<Definition>,
    alarms: Vec<AlarmDefinition>,
    changes: Changes,
}

impl Running {
    pub(crate) fn new(wiring: Wiring, made: Made) -> Self {
        let proven_at = to_prove(&wiring.config);
        let running = Self { wiring, made, proven_at };
        if let Some(first) = running.wiring.config.instead_of.first() {
            let count = running.wiring.config.instead_of.len();
            let detail = format!("the files have {count} mistakes, the first: {first}");
            running.event(action::CONFIG_LAST_GOOD, "system", Severity::Alarm, detail);
        }
        running
    }

    /// Until the drain starts; then everything is ended.
    pub(crate) async fn run(mut self, drain: Drain, done: Done) {
        loop {
            let proven_at = self.proven_at;
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
        let Candidate { config, registry, definitions, alarms, mut changes } = self.candidate().await?;
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
        self.apply(config, registry, &changes).await;
        Ok(self.report(by, began, changes))
    }

    /// Reads the files and compares. Away from the runtime: it takes a while for many points.
    async fn candidate(&self) -> Result<Candidate, ReloadError> {
        let old = self.wiring.config.clone();
        let was = self.wiring.points.now();
        if old.file.as_os_str().is_empty() {
            return Err(ReloadError::Failed { detail: "it was not read from a file".to_owned() });
        }
        let found = tokio::task::spawn_blocking(move || {
            let sources = read_sources(&old.file).map_err(|m| m.0)?;
            let config = Config::read_from(&old.file, &sources).map_err(|m| m.0)?;
            is_same_gateway(&old, &config)?;
            let next = was.succeed(&config.registry);
            let same = next.is_like(&was) && old.devices == config.devices;
            let registry = if same { was.clone() } else { Arc::new(next) };
            let changes = changes::between(&old, &was, &config, &registry);
            let definitions = definitions_in(&config.devices, &registry);
            let alarms = renumbered(&config, &registry);
            Ok(Candidate { config: changes::in_effect(&old, config), registry, definitions, alarms, changes })
        });
        let found = found.await.map_err(|e| ReloadError::Failed { detail: e.to_string() })?;
        found.map_err(|mistakes: Vec<Mistake>| ReloadError::Refused {
            mistakes: mistakes.iter().map(ToString::to_string).collect(),
        })
    }

    /// Settings that hold at once.
    async fn apply(&mut self, config: Config, registry: Arc<Registry>, changes: &Changes) {
        self.wiring.config = Config { registry, ..config };
        self.proven_at = to_prove(&self.wiring.config);
        self.made.admission.set(&self.wiring.config);
        self.made.endpoints.set(&self.wiring.config);
        self.made.opcua.set(&self.wiring.config);
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
        let does_well =
            vitals.log.health().fault.is_none() && parts().all(|p| p.state != PartState::Restarting);
        if !does_well {
            self.proven_at = Some(Instant::now() + self.wiring.config.proven_after.max(LOOK_AGAIN));
            return;
        }
        self.proven_at = None;
        let sources = std::mem::take(&mut self.wiring.config.sources);
        let data_dir = self.wiring.config.data_dir.clone();
        let kept = tokio::task::spawn_blocking(move || last_good::keep(&data_dir, &sources)).await;
        match kept.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(()) => {
                tracing::info!("configuration is kept as the last good one");
                self.made.reload.state().view.kept_us = Some(self.wiring.clock.now_us());
            }
            Err(error) => tracing::warn!(%error, "configuration cannot be kept as the last good one"),
        }
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
            detail,
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

/// When a configuration will have proven itself; none if there is nothing to keep.
fn to_prove(config: &Config) -> Option<Instant> {
    (!config.sources.is_empty() && config.instead_of.is_empty()).then(|| Instant::now() + config.proven_after)
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
