//! Goes on with the rollout: who is offered what, and when the next group has its turn. What is decided is `cloud_core::rollout`'s;
//! here it is looked at, kept and done. All that counts is in storage, so a start of the cloud goes on where it was.

use std::sync::Arc;
use std::time::Duration;

use cloud_core::rollout::{boxes, offer, step};
use cloud_core::update::UpdateBox;
use cloud_core::{Downlink, GatewayKey, Storage, StoreError};
use cloud_ingest::Sink;
use common::api::{GatewayView, Rollout, RolloutState};
use common::command::LogEntry;
use common::{Clock, Drain, TenantId};
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While none runs, boxes that come with half a bundle are told so seldom that nothing is offered.
const WITHDRAW_EVERY: Duration = Duration::from_secs(30);

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
        let mut withdrawn = None;
        loop {
            self.look(&mut withdrawn).await?;
            tokio::select! {
                () = drain.started() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// `withdrawn`: of which rollout and when offers were withdrawn last.
    async fn look(&self, withdrawn: &mut Option<(u64, u64, Instant)>) -> Result<(), StoreError> {
        let Some(rollout) = self.storage.rollout(&self.tenant).await? else { return Ok(()) };
        let connected = || self.downlink.gateways().into_iter().filter(|g| g.connected);
        if rollout.state == RolloutState::Running {
            let connected: Vec<_> = connected().collect();
            return self.go_on(rollout, &connected).await;
        }
        let (id, revision) = (rollout.id, rollout.revision);
        let is_new =
            withdrawn.is_none_or(|(i, r, at)| (i, r) != (id, revision) || at.elapsed() >= WITHDRAW_EVERY);
        if is_new {
            // A session hears of it once.
            connected().for_each(|view| self.downlink.offer(&self.key(view), None));
            *withdrawn = Some((id, revision, Instant::now()));
        }
        Ok(())
    }

    fn key(&self, view: GatewayView) -> GatewayKey {
        GatewayKey { tenant: self.tenant.clone(), gateway: view.id }
    }

    async fn go_on(&self, rollout: Rollout, connected: &[GatewayView]) -> Result<(), StoreError> {
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
            return Ok(());
        }
        for one in all.iter().filter(|b| since(b).is_some()) {
            let standing = seen.iter().find(|s| s.gateway == one.key.gateway);
            let offered = standing.and_then(|s| offer(&rollout, &releases, one, s));
            self.downlink.offer(&one.key, offered);
        }
        Ok(())
    }
}
