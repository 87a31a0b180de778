//! Goes on with the rollout: who is offered what, and when the next group has its turn. What is decided is `cloud_core::rollout`'s;
//! here it is looked at, kept and done. All that counts is in storage, so a start of the cloud goes on where it was. Storage tells when
//! it has something new, and is not asked where nothing is.

use std::sync::Arc;
use std::time::Duration;

use cloud_core::rollout::{boxes, due, offer, step};
use cloud_core::update::UpdateBox;
use cloud_core::{Downlink, GatewayKey, Storage, StoreError};
use cloud_ingest::Sink;
use common::api::{GatewayView, Rollout, RolloutState};
use common::command::LogEntry;
use common::{Clock, Drain, GatewayId, TenantId};
use tokio::sync::watch;

/// Least time between two looks at storage, and between two at who is connected.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so long it is looked though nothing was told: whoever came with half a bundle while no rollout runs is told that nothing
/// is offered, and a clock may have been set back.
const ANYWAY: Duration = Duration::from_secs(30);

/// The part.
#[derive(Clone)]
pub(crate) struct Rollouts {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) downlink: Arc<dyn Downlink>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) clock: Clock,
    pub(crate) tenant: TenantId,
}

impl Rollouts {
    /// Until drained.
    pub(crate) async fn run(self, drain: Drain) -> Result<(), StoreError> {
        let mut changes = self.storage.updates_changed();
        loop {
            changes.mark_unchanged();
            let looked = self.look().await?;
            let news = async {
                // What is told meanwhile is one look.
                tokio::time::sleep(LOOK_EVERY).await;
                looked.news(&mut changes, &self.clock, || here(&self.connected())).await;
            };
            tokio::select! {
                () = drain.started() => return Ok(()),
                () = news => {}
            }
        }
    }

    async fn look(&self) -> Result<Looked, StoreError> {
        let connected = self.connected();
        let mut looked = Looked { running: None };
        let Some(rollout) = self.storage.rollout(&self.tenant).await? else { return Ok(looked) };
        if rollout.state == RolloutState::Running {
            let due_us = self.go_on(rollout, &connected).await?;
            looked.running = Some((here(&connected), due_us));
        } else {
            // A session hears of it once.
            connected.into_iter().for_each(|view| self.downlink.offer(&self.key(view), None));
        }
        Ok(looked)
    }

    fn connected(&self) -> Vec<GatewayView> {
        self.downlink.gateways().into_iter().filter(|g| g.connected).collect()
    }

    fn key(&self, view: GatewayView) -> GatewayKey {
        GatewayKey { tenant: self.tenant.clone(), gateway: view.id }
    }

    /// When time alone may change it, if it does.
    async fn go_on(&self, rollout: Rollout, connected: &[GatewayView]) -> Result<Option<i64>, StoreError> {
        let releases = self.storage.releases(&self.tenant).await?;
        let all = self.storage.update_boxes(&self.tenant).await?;
        let now_us = self.clock.now_us();
        let since = |b: &UpdateBox| connected.iter().find(|v| v.id == b.key.gateway).map(|v| v.since_us);
        let seen = boxes(&rollout, &releases, &all, now_us, since);
        if let Some(next) = step(&rollout, &seen, now_us) {
            let entry = |(action, severity, detail): (&str, _, _)| LogEntry {
                at_us: now_us,
                actor: "system".into(),
                action: action.into(),
                target: rollout.version.clone(),
                twin: None,
                severity,
                code: None,
                detail,
            };
            let told: Vec<_> = next.told.map(entry).into_iter().collect();
            match self.storage.put_rollout(&self.tenant, &next.rollout, &told).await {
                Ok(()) => {
                    for entry in &told {
                        tracing::warn!(action = entry.action, "{}", entry.detail);
                        self.sink.event(entry);
                    }
                }
                // Somebody was faster: the next look sees what they did.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
            // What was kept is a change, and so looked at.
            return Ok(None);
        }
        for one in all.iter().filter(|b| since(b).is_some()) {
            let standing = seen.iter().find(|s| s.gateway == one.key.gateway);
            let offered = standing.and_then(|s| offer(&rollout, &releases, one, s));
            self.downlink.offer(&one.key, offered);
        }
        Ok(due(&rollout, &all, now_us, since))
    }
}

/// Who is connected, since when.
type Here = Vec<(GatewayId, i64)>;

fn here(connected: &[GatewayView]) -> Here {
    let mut here: Here = connected.iter().map(|v| (v.id.clone(), v.since_us)).collect();
    here.sort_unstable();
    here
}

/// What a look has seen, by which it is known whether another one is of use.
struct Looked {
    /// Of a rollout that runs: who was there, and when time alone may change it.
    running: Option<(Here, Option<i64>)>,
}

impl Looked {
    /// Until storage has something else, a box has come or gone, or its time has come. Storage is not asked meanwhile.
    async fn news(&self, changes: &mut watch::Receiver<()>, clock: &Clock, here: impl Fn() -> Here) {
        let moved = async {
            let Some((before, due_us)) = &self.running else { return std::future::pending().await };
            while here() == *before && due_us.is_none_or(|at| clock.now_us() < at) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            // Storage that has gone tells nothing any more.
            Ok(()) = changes.changed() => {}
            () = moved => {}
            () = tokio::time::sleep(ANYWAY) => {}
        }
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
