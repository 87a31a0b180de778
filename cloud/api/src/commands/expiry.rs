//! Lets commands and desired values expire in the cloud's view. The gateway's own deadline is what keeps
//! the plant safe; a result that comes later is kept.

use std::time::Duration;

use cloud_core::StoreError;
use common::api::CommandView;
use common::command::{DesiredState, DesiredUpdate, LogEntry, Requester, Severity};
use common::names::{Code, action};
use common::{CommandState, Drain};

use super::{Commands, entry, step_of};

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);
/// How long after its end a command's own result may take to arrive.
const GRACE_US: i64 = 2_000_000;
/// How long after its end a command that is being executed counts as running.
const RESULT_US: i64 = 60_000_000;

impl Commands {
    /// Runs until drained.
    pub async fn run(self, drain: Drain) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = drain.started() => return,
                _ = tick.tick() => {}
            }
            match self.expire().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(%error, "commands cannot be let expire");
                }
                Err(_) => {}
            }
        }
    }

    /// Lets everything expire whose time has run out.
    ///
    /// # Errors
    /// When storage refuses; the next call tries again.
    pub async fn expire(&self) -> Result<(), StoreError> {
        self.expire_commands().await?;
        self.expire_desired().await
    }

    async fn expire_commands(&self) -> Result<(), StoreError> {
        let open = [CommandState::Accepted, CommandState::Sent, CommandState::Executing];
        let found = self.storage.open_commands(&open).await?;
        let with_lives = |c: CommandView| (c.id, (c.created_us, c.expires_us), c);
        let all = found.into_iter().map(with_lives).collect();
        let now_us = self.clock.now_us();
        for (over_us, _, command) in self.0.command_lives.of_all(&self.clock, all) {
            let mut update = match command.state {
                CommandState::Executing if over_us > RESULT_US => {
                    let mut update = step_of(&command, CommandState::Unknown, now_us);
                    update.code = Some(Code::Interrupted);
                    "the gateway began to write and did not tell the result".clone_into(&mut update.detail);
                    update
                }
                CommandState::Accepted | CommandState::Sent if over_us > GRACE_US => {
                    let mut update = step_of(&command, CommandState::Expired, now_us);
                    update.code = Some(Code::Expired);
                    "the gateway told no result before its end".clone_into(&mut update.detail);
                    update
                }
                _ => continue,
            };
            update.detail.push_str("; a late result is kept");
            let view = self.step(&update).await?;
            if view.state == update.state {
                self.storage.append_audit(&audit_of(&view, now_us)).await?;
            }
        }
        Ok(())
    }

    async fn expire_desired(&self) -> Result<(), StoreError> {
        let now_us = self.clock.now_us();
        let pending: Vec<_> = {
            let state = self.world.read();
            let points = state.twins.values().flat_map(|t| t.points.iter().map(move |p| (t, p)));
            points
                .filter_map(|(twin, point)| Some((twin, point, point.desired.as_ref()?)))
                .filter(|(_, _, d)| d.state == DesiredState::Pending)
                .map(|(twin, point, d)| {
                    let key = (twin.id, point.schema.name.to_string(), d.version);
                    (key, (d.set_us, d.expires_us), twin.asset.clone())
                })
                .collect()
        };
        let found = self.0.desired_lives.of_all(&self.clock, pending).into_iter();
        for (_, (twin, point, version), asset) in found.filter(|(over_us, ..)| *over_us > GRACE_US) {
            let update = DesiredUpdate {
                twin,
                version,
                point,
                state: DesiredState::Expired,
                code: Some(Code::Expired),
                detail: "its time ran out before it was written".to_owned(),
                at_us: now_us,
            };
            let system = Requester { name: "system".to_owned(), origin: common::command::Origin::Cloud };
            let mut audit = entry(&system, action::DESIRED_EXPIRED, (twin, &asset, &update.point), now_us);
            audit.severity = Severity::Warning;
            audit.code = Some(Code::Expired);
            audit.detail.clone_from(&update.detail);
            self.end_desired(&update, &audit).await?;
        }
        Ok(())
    }
}

fn audit_of(view: &CommandView, now_us: i64) -> LogEntry {
    let action = match view.state {
        CommandState::Unknown => action::COMMAND_UNKNOWN,
        _ => action::COMMAND_EXPIRED,
    };
    let system = Requester { name: "system".to_owned(), origin: view.requester.origin };
    let mut audit = entry(&system, action, (view.twin, &view.asset, &view.point), now_us);
    audit.severity = Severity::Warning;
    audit.code = view.code;
    audit.detail.clone_from(&view.detail);
    audit
}
