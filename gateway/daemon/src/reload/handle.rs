//! The way to ask for a reload, and what runs: for the API, signals and whoever started the gateway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::Clock;
use common::api::{ConfigView, Problem, ReloadAttempt, ReloadReport};
use common::names::Code;
use gateway_core::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;

/// Attempts that may wait.
const WAITING: usize = 4;

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
    pub(super) by: String,
    pub(super) reply: oneshot::Sender<Result<ReloadReport, ReloadError>>,
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
pub(super) struct State {
    pub(super) view: ConfigView,
    pub(super) taken: u64,
    pub(super) refused: u64,
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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

pub(super) fn shown(config: &Config, registry: &Registry, clock: &Clock) -> ConfigView {
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
