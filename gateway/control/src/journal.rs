//! What control tells: every step of a command and every desired value's fate as a frame, refusals, writes
//! and switch changes in the audit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use common::command::{CommandUpdate, DesiredState, DesiredUpdate, LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Body;
use common::{Clock, CommandState, TwinId};
use gateway_core::{FrameId, FrameLog, LogError};
use tokio::sync::broadcast;

use crate::book::Book;

/// Listeners of updates that are slower than this many are told that they missed some.
const UPDATES: usize = 256;

/// How many commands ended in a state, for a reason.
pub(crate) type Counts = BTreeMap<(&'static str, &'static str), u64>;

pub(crate) struct Journal {
    pub(crate) log: Arc<dyn FrameLog>,
    pub(crate) clock: Clock,
    pub(crate) book: Mutex<Book>,
    pub(crate) updates: broadcast::Sender<CommandUpdate>,
    counts: Mutex<Counts>,
}

/// Who, on what.
pub(crate) struct About<'a> {
    pub(crate) actor: &'a str,
    pub(crate) target: String,
    pub(crate) twin: Option<TwinId>,
}

impl Journal {
    pub(crate) fn new(log: Arc<dyn FrameLog>, clock: Clock, remembered: usize) -> Self {
        let book = Mutex::new(Book::new(remembered, log.commands()));
        Self { log, clock, book, updates: broadcast::channel(UPDATES).0, counts: Mutex::default() }
    }

    /// One step on: to the log, to the book, to listeners. The step is remembered and told also when the
    /// log does not take it: whoever waits must learn it.
    pub(crate) fn step(&self, update: &CommandUpdate) -> Result<FrameId, LogError> {
        let appended = self.append(Body::Command(update.clone()));
        self.remember(update);
        appended
    }

    /// To the book and to listeners alone.
    pub(crate) fn remember(&self, update: &CommandUpdate) {
        let taken = self.book.lock().unwrap_or_else(PoisonError::into_inner).step(update);
        if taken {
            self.tell(update);
        }
    }

    /// To listeners and into the counts.
    pub(crate) fn tell(&self, update: &CommandUpdate) {
        if update.state.is_final() {
            let key = (state_name(update.state), update.code.map_or("", Code::as_str));
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        }
        // An error means that nobody listens.
        let _ = self.updates.send(update.clone());
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn desired(&self, update: DesiredUpdate) {
        // Already warned about; the update is kept as a note and told again when asked again.
        let _ = self.append(Body::Desired(update));
    }

    pub(crate) fn audit(
        &self,
        action: &str,
        about: About<'_>,
        severity: Severity,
        code: Option<Code>,
        detail: impl Into<String>,
    ) -> Result<FrameId, LogError> {
        self.append(Body::Audit(LogEntry {
            at_us: self.clock.now_us(),
            actor: about.actor.to_owned(),
            action: action.to_owned(),
            target: about.target,
            twin: about.twin,
            severity,
            code,
            detail: detail.into(),
        }))
    }

    pub(crate) fn append(&self, body: Body) -> Result<FrameId, LogError> {
        self.log.append(body).inspect_err(|error| tracing::warn!(%error, "cannot log a step of control"))
    }
}

pub(crate) fn state_name(state: CommandState) -> &'static str {
    match state {
        CommandState::Accepted => "accepted",
        CommandState::Sent => "sent",
        CommandState::Executing => "executing",
        CommandState::Succeeded => "succeeded",
        CommandState::Rejected => "rejected",
        CommandState::Failed => "failed",
        CommandState::Expired => "expired",
        CommandState::Unknown => "unknown",
    }
}

/// Action and severity of a command's step in the audit.
pub(crate) fn command_action(state: CommandState) -> (&'static str, Severity) {
    match state {
        CommandState::Accepted | CommandState::Sent => (action::COMMAND_ACCEPTED, Severity::Info),
        CommandState::Executing => (action::COMMAND_EXECUTING, Severity::Info),
        CommandState::Succeeded => (action::COMMAND_SUCCEEDED, Severity::Info),
        CommandState::Rejected => (action::COMMAND_REJECTED, Severity::Warning),
        CommandState::Expired => (action::COMMAND_EXPIRED, Severity::Warning),
        CommandState::Failed => (action::COMMAND_FAILED, Severity::Warning),
        CommandState::Unknown => (action::COMMAND_UNKNOWN, Severity::Alarm),
    }
}

/// Action and severity of a desired value's fate in the audit.
pub(crate) fn desired_action(state: DesiredState) -> (&'static str, Severity) {
    match state {
        DesiredState::Pending => (action::DESIRED_EXECUTING, Severity::Info),
        DesiredState::Applied => (action::DESIRED_APPLIED, Severity::Info),
        DesiredState::Diverged => (action::DESIRED_DIVERGED, Severity::Warning),
        DesiredState::Expired => (action::DESIRED_EXPIRED, Severity::Info),
    }
}

/// What was asked for, why, and what became of it; without the parts that are empty.
pub(crate) fn told(value: &common::Value, reason: &str, detail: &str) -> String {
    let mut text = value.to_string();
    if !reason.is_empty() {
        text.push_str(", because: ");
        text.push_str(reason);
    }
    if !detail.is_empty() {
        text.push_str("; ");
        text.push_str(detail);
    }
    text
}
