//! A new command: checked, stored, handed to the gateway's live session, or refused. The deadline is made
//! from the session's own time at the moment of handing over, so a session that changed meanwhile can
//! never give a command more time than was asked for.

use cloud_core::storage::Created;
use cloud_core::{DownlinkError, GatewayKey};
use common::api::{CommandRequest, CommandStep, CommandView, Problem};
use common::command::{CommandOrder, Requester, Severity};
use common::names::{Code, action};
use common::{CommandState, TwinId, Value};
use sha2::{Digest, Sha256};

use super::{Commands, add_ms, check_write, entry, new_id, step_of};
use crate::error::ApiError;

/// Longest life of a command, ms.
pub(crate) const LONGEST_TTL_MS: u64 = 600_000;

/// What somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct NewCommand {
    pub(crate) twin: TwinId,
    pub(crate) request: CommandRequest,
    pub(crate) key: String,
    pub(crate) requester: Requester,
}

impl NewCommand {
    /// Tells the same request from another.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.twin.0.as_bytes());
        // A struct of ours with string keys: this cannot fail.
        hash.update(serde_json::to_vec(&self.request).unwrap_or_default());
        hash.finalize().into()
    }
}

/// What a command is checked against.
struct Target {
    asset: String,
    gateway: GatewayKey,
    /// As the point's type.
    value: Value,
    session_us: u64,
}

impl Commands {
    /// Takes a command. The same key with the same request gives the same command, whatever is the case
    /// by then; it is asked first.
    pub(crate) async fn create(&self, new: NewCommand) -> Result<CommandView, ApiError> {
        let hash = new.hash();
        if let Some((view, stored)) = self.storage.command_by_key(&new.requester.name, &new.key).await? {
            return if stored == hash { Ok(self.shown(view)) } else { Err(key_used()) };
        }
        let now_us = self.clock.now_us();
        let began_us = self.clock.mono_us();
        let target = match self.target(&new) {
            Ok(target) => target,
            Err((asset, problem)) => {
                self.record_refusal(&new, &asset, &problem, now_us).await?;
                return Err(problem.into());
            }
        };
        let view = CommandView {
            id: new_id(),
            twin: new.twin,
            asset: target.asset.clone(),
            point: new.request.point.clone(),
            value: target.value.clone(),
            requester: new.requester.clone(),
            reason: new.request.reason.clone(),
            state: CommandState::Accepted,
            code: None,
            detail: String::new(),
            read_back: None,
            created_us: now_us,
            expires_us: add_ms(now_us, new.request.ttl_ms),
            steps: vec![CommandStep { state: CommandState::Accepted, at_us: now_us }],
        };
        let mut audit = entry(
            &new.requester,
            action::COMMAND_ACCEPTED,
            (new.twin, &target.asset, &new.request.point),
            now_us,
        );
        audit.detail = detail_of(&new.request);
        match self.storage.create_command(&view, &new.key, &hash, &audit).await? {
            Created::New => {}
            Created::Same(view) => return Ok(self.shown(*view)),
            Created::Different => return Err(key_used()),
        }
        self.publish(&view);
        let end_us = began_us.saturating_add(new.request.ttl_ms.saturating_mul(1_000));
        Ok(self.hand_over(view, &target, end_us).await)
    }

    /// Hands a stored command to the session. From here on the command is answered for by its state: a
    /// fault of storage is logged and the state follows later.
    async fn hand_over(&self, view: CommandView, target: &Target, end_us: u64) -> CommandView {
        let result = match self.downlink.session_us(&target.gateway) {
            // A session whose time is behind is another one: its gateway has started anew.
            Some(now) if now >= target.session_us => {
                let left_us = end_us.saturating_sub(self.clock.mono_us());
                let order = CommandOrder {
                    id: view.id,
                    twin: view.twin,
                    point: view.point.clone(),
                    value: view.value.clone(),
                    requester: view.requester.clone(),
                    reason: view.reason.clone(),
                    deadline_session_us: now.saturating_add(left_us),
                };
                self.downlink.command(&target.gateway, order).await
            }
            _ => Err(DownlinkError::Offline { gateway: target.gateway.gateway.to_string() }),
        };
        let now_us = self.clock.now_us();
        let update = match result {
            Ok(()) => {
                let update = step_of(&view, CommandState::Sent, now_us);
                return self.sent(view, update);
            }
            Err(error) => {
                let mut update = step_of(&view, CommandState::Rejected, now_us);
                update.code = Some(code_of(&error));
                update.detail = format!("{error}: nothing was written");
                let mut audit = entry(
                    &view.requester,
                    action::COMMAND_REJECTED,
                    (view.twin, &view.asset, &view.point),
                    now_us,
                );
                audit.severity = Severity::Warning;
                audit.code = update.code;
                audit.detail.clone_from(&update.detail);
                if let Err(error) = self.storage.append_audit(&audit).await {
                    tracing::error!(%error, command = %view.id, "a rejected command is not on record");
                }
                update
            }
        };
        match self.step(&update).await {
            Ok(view) => view,
            Err(error) => {
                tracing::error!(%error, command = %view.id, state = ?update.state, "a command's step is not stored");
                view
            }
        }
    }

    fn target(&self, new: &NewCommand) -> Result<Target, (String, Problem)> {
        let state = self.world.read();
        let Some(twin) = state.twins.get(&new.twin) else {
            let problem = Problem::new(Code::UnknownTwin, "no such twin, or none that you may see");
            return Err((new.twin.to_string(), problem));
        };
        let asset = twin.asset.clone();
        let refuse = |code, detail: String| Err((asset.clone(), Problem::new(code, detail)));
        let name = &new.request.point;
        let Some(point) = twin.point(name) else {
            return refuse(Code::UnknownPoint, format!("the twin {asset} has no point {name}"));
        };
        let value = match check_write(&point.schema, &new.request.value) {
            Ok(value) => value,
            Err(problem) => return Err((asset, problem)),
        };
        let Some((gateway, _)) = &twin.binding else {
            return refuse(Code::GatewayOffline, format!("the twin {asset} has no gateway"));
        };
        let gateway = self.gateway_key(gateway);
        drop(state);
        match self.downlink.session_us(&gateway) {
            Some(session_us) => Ok(Target { asset, gateway, value, session_us }),
            None => refuse(
                Code::GatewayOffline,
                format!("the gateway {} has no live session: nothing was sent", gateway.gateway),
            ),
        }
    }

    async fn record_refusal(
        &self,
        new: &NewCommand,
        asset: &str,
        problem: &Problem,
        now_us: i64,
    ) -> Result<(), ApiError> {
        // What was asked for may name a point that is none, of any length.
        let point: String = new.request.point.chars().take(64).collect();
        let about = (new.twin, asset, point.as_str());
        let mut audit = entry(&new.requester, action::COMMAND_REJECTED, about, now_us);
        audit.severity = Severity::Warning;
        audit.code = Some(problem.code);
        audit.detail.clone_from(&problem.detail);
        audit.detail = audit.detail.chars().take(500).collect();
        self.metrics.command(CommandState::Rejected);
        Ok(self.storage.append_audit(&audit).await?)
    }
}

fn key_used() -> ApiError {
    ApiError::new(
        Code::IdempotencyConflict,
        "this Idempotency-Key was used with another request, give a new one",
    )
}

pub(crate) fn code_of(error: &DownlinkError) -> Code {
    match error {
        DownlinkError::Offline { .. } => Code::GatewayOffline,
        DownlinkError::Full { .. } => Code::QueueFull,
        DownlinkError::Unsupported { .. } => Code::NotSupported,
    }
}

fn detail_of(request: &CommandRequest) -> String {
    let value = serde_json::to_string(&request.value).unwrap_or_default();
    let value: String = value.chars().take(200).collect();
    match request.reason.as_str() {
        "" => format!("value {value}"),
        reason => format!("value {value}, because: {reason}"),
    }
}
