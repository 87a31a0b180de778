//! The cloud's side of the command path: takes commands, hands them to a live session, follows what the
//! gateway tells of them, and lets them expire. Not here: HTTP (`routes`), and any write to a device.

mod check;
mod desired;
mod expiry;
mod hub;
mod lifetime;
mod order;
pub(crate) mod routes;
mod sent;

use std::sync::Arc;
use std::time::Duration;

use cloud_core::{Downlink, GatewayKey, LiveSink, Scope, Storage, StoreError, World};
use common::api::{CommandView, ServerMessage};
use common::command::{CommandUpdate, LogEntry, Requester};
use common::names::Code;
use common::{AlarmId, Clock, CommandId, TenantId, TwinId};

use crate::error::ApiError;
use crate::metrics::Metrics;

pub(crate) use check::check_write;
pub(crate) use order::code_of;

/// What the command path speaks to.
pub struct Parts {
    /// Storage.
    pub storage: Arc<dyn Storage>,
    /// Live state of the twins.
    pub world: World,
    /// Way to gateways.
    pub downlink: Arc<dyn Downlink>,
    /// Way to live clients.
    pub live: Arc<dyn LiveSink>,
    /// Time.
    pub clock: Clock,
    /// Tenant of all gateways.
    pub tenant: TenantId,
    /// Metrics.
    pub metrics: Metrics,
}

/// The command path. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Commands(Arc<Inner>);

struct Inner {
    parts: Parts,
    hub: hub::Hub,
    sent: sent::Sent,
    /// Of commands that are open.
    command_lives: lifetime::Lifetimes<CommandId>,
    /// Of desired values that are pending: of a twin's point, by its version.
    desired_lives: lifetime::Lifetimes<(TwinId, String, u64)>,
    /// Held over a change of desired values and what follows from it, so that the live state and the
    /// gateway learn of changes in their order.
    desired: tokio::sync::Mutex<()>,
}

impl std::ops::Deref for Commands {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl Commands {
    /// A command path over these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            hub: hub::Hub::default(),
            sent: sent::Sent::default(),
            command_lives: lifetime::Lifetimes::default(),
            desired_lives: lifetime::Lifetimes::default(),
            desired: tokio::sync::Mutex::default(),
        }))
    }

    /// A gateway told a step of a command, and storage has it: tells live clients and those who wait.
    ///
    /// # Errors
    /// When storage cannot be read; then clients learn of it when they read the lists again.
    pub async fn on_update(&self, update: &CommandUpdate) -> Result<(), StoreError> {
        let view = self.storage.command(update.id).await?;
        if view.state == update.state {
            self.metrics.command(view.state);
        }
        self.publish(&view);
        Ok(())
    }

    /// A gateway told a change of an alarm. Storage has decided with its frame whether it counts; live clients are
    /// told what the alarm is now.
    ///
    /// # Errors
    /// When storage cannot be read; then clients learn of it when they read the list again.
    pub async fn on_alarm(&self, id: AlarmId) -> Result<(), StoreError> {
        let mut alarm = match self.storage.alarm(id).await {
            // The gateway spoke of an alarm that is not its own.
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        let asset = self.world.read().twins.get(&alarm.twin).map(|t| t.asset.clone());
        let Some(asset) = asset else { return Ok(()) };
        alarm.asset.clone_from(&asset);
        self.live.message(&Scope::Asset(asset), ServerMessage::Alarm { alarm: Box::new(alarm) });
        Ok(())
    }

    /// A command as it is when it is final, or as it is when the time is up.
    pub(crate) async fn wait(&self, view: CommandView, time: Duration) -> Result<CommandView, ApiError> {
        if view.state.is_final() || time.is_zero() {
            return Ok(view);
        }
        let mut waiter = self.0.hub.wait(view.id).ok_or_else(|| {
            ApiError::new(Code::RateLimited, "too many wait for commands").after(Duration::from_secs(1))
        })?;
        // It may have gone on between the reading of `view` and the waiting.
        let view = self.shown(self.storage.command(view.id).await?);
        if view.state.is_final() {
            return Ok(view);
        }
        match tokio::time::timeout(time, waiter.finished()).await {
            Ok(Some(view)) => Ok(view),
            Ok(None) | Err(_) => Ok(waiter.last().unwrap_or(view)),
        }
    }

    /// Stores a step that the cloud itself takes, and tells it.
    async fn step(&self, update: &CommandUpdate) -> Result<CommandView, StoreError> {
        let view = self.storage.update_command(update).await?;
        if view.state == update.state {
            self.metrics.command(view.state);
        }
        self.publish(&view);
        Ok(view)
    }

    fn publish(&self, view: &CommandView) {
        let message = ServerMessage::Command { command: Box::new(view.clone()) };
        // Where the twin stands now, as for the routes: other grants may hold where it stood.
        let asset = self.world.read().twins.get(&view.twin).map(|t| t.asset.clone());
        self.live.message(&Scope::Asset(asset.unwrap_or_else(|| view.asset.clone())), message);
        self.0.hub.tell(view);
    }

    fn gateway_key(&self, gateway: &common::GatewayId) -> GatewayKey {
        GatewayKey { tenant: self.tenant.clone(), gateway: gateway.clone() }
    }

    /// Gateway and place of a twin.
    fn gateway_of(&self, twin: TwinId) -> Option<GatewayKey> {
        let state = self.world.read();
        let (gateway, _) = state.twins.get(&twin)?.binding.as_ref()?;
        Some(self.gateway_key(gateway))
    }
}

/// A step of a command that the cloud takes.
fn step_of(view: &CommandView, state: common::CommandState, at_us: i64) -> CommandUpdate {
    CommandUpdate {
        id: view.id,
        twin: view.twin,
        point: view.point.clone(),
        value: view.value.clone(),
        requester: view.requester.clone(),
        reason: view.reason.clone(),
        state,
        code: None,
        detail: String::new(),
        read_back: None,
        at_us,
    }
}

/// Adds milliseconds to a UTC time in us.
fn add_ms(us: i64, ms: u64) -> i64 {
    us.saturating_add_unsigned(ms.saturating_mul(1_000))
}

/// An id for a new command.
fn new_id() -> CommandId {
    CommandId::new()
}

/// An audit entry about a point.
fn entry(
    requester: &Requester,
    action: &str,
    (twin, asset, point): (TwinId, &str, &str),
    at_us: i64,
) -> LogEntry {
    LogEntry {
        at_us,
        actor: requester.name.clone(),
        action: action.to_owned(),
        target: format!("{asset}/{point}"),
        twin: Some(twin),
        severity: common::command::Severity::Info,
        code: None,
        detail: String::new(),
    }
}
