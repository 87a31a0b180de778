//! What every driver is given: where samples, health and events go.

use std::sync::Arc;

use common::command::{LogEntry, Severity};
use common::{Clock, TwinId};
use gateway_core::{DropCounts, Health, Notes, Points, Pulse, RawSender};
use tokio::sync::mpsc;

use crate::limit::LogLimit;
use crate::modbus::Modems;

/// Where events of devices go; the daemon brings them into the log.
pub type EventSink = mpsc::Sender<LogEntry>;

/// What a driver is given. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// All points, as they are now.
    pub registry: Points,
    /// Where samples go.
    pub raw: RawSender,
    /// Where the device's state goes.
    pub health: Health,
    /// The clock.
    pub clock: Clock,
    /// Where events go.
    pub events: EventSink,
    /// Where what is lost on the way is counted.
    pub drops: DropCounts,
    /// What drivers remember over restarts, if anything does.
    pub notes: Option<Arc<dyn Notes>>,
    /// Where modems of Modbus lines dial in.
    pub modems: Modems,
    /// Where loops of drivers say that they turn.
    pub pulse: Pulse,
}

/// A device's state as last told: to health at every report, to the log and as an event at every change.
pub(crate) struct Reporter {
    context: Context,
    device: usize,
    name: String,
    twin: Option<TwinId>,
    online: Option<bool>,
    limit: LogLimit,
}

impl Reporter {
    pub(crate) fn new(context: Context, device: usize) -> Self {
        let registry = context.registry.now();
        let name = registry.device(device).map(|d| d.name.clone()).unwrap_or_default();
        let twin = registry.told(device).map(|d| d.twin);
        Self { context, device, name, twin, online: None, limit: LogLimit::default() }
    }

    /// A request or message went well.
    pub(crate) fn good(&mut self) {
        self.context.health.good(self.device);
        if self.online != Some(true) {
            self.online = Some(true);
            self.limit = LogLimit::default();
            tracing::info!(device = self.name, "device online");
            self.event("device.online", Severity::Info, String::new());
        }
    }

    /// A request or message went wrong; the device still answers if `connected`.
    pub(crate) fn bad(&mut self, connected: bool, error: &str) {
        self.context.health.bad(self.device, connected, error);
        if let Some(suppressed) = self.limit.allow() {
            tracing::warn!(device = self.name, error, suppressed, "device request failed");
        }
        if !connected && self.online != Some(false) {
            self.online = Some(false);
            tracing::warn!(device = self.name, error, "device offline");
            self.event("device.offline", Severity::Warning, error.to_owned());
        }
    }

    fn event(&self, action: &str, severity: Severity, detail: String) {
        let entry = LogEntry {
            at_us: self.context.clock.now_us(),
            actor: "system".to_owned(),
            action: action.to_owned(),
            target: self.name.clone(),
            twin: self.twin,
            severity,
            code: None,
            detail,
        };
        if self.context.events.try_send(entry).is_err() {
            tracing::warn!(device = self.name, action, "event dropped: the queue of events is full");
        }
    }
}
