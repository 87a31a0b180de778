//! Updates in memory, as storage keeps them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use cloud_core::update::{UpdateBox, UpdateStorage};
use cloud_core::{GatewayKey, StoreError};
use common::TenantId;
use common::api::{Release, Rollout, RolloutRequest, UpdateReport};
use common::command::LogEntry;
use tokio::sync::watch;
use uuid::Uuid;

use super::memory::Memory;

type Done<T> = Result<T, StoreError>;

#[derive(Default)]
pub struct Updates {
    pub parts: BTreeMap<(Uuid, u32), Vec<u8>>,
    releases: Vec<(Uuid, Release)>,
    boxes: BTreeMap<GatewayKey, (Option<String>, Option<UpdateReport>)>,
    rollout: Option<Rollout>,
}

/// A rollout as somebody began it.
pub fn rollout() -> Rollout {
    let groups = vec!["canary".into()];
    let request = RolloutRequest { version: "1.0.0".into(), groups, stay_s: 60, note: String::new() };
    cloud_core::rollout::begin(1, request, "anna", 0)
}

impl Memory {
    pub fn updates(&self) -> MutexGuard<'_, Updates> {
        let of: &Mutex<Updates> = &self.1;
        of.lock().unwrap()
    }
}

#[async_trait]
impl UpdateStorage for Memory {
    fn updates_changed(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }
    async fn drop_uploads(&self) -> Done<()> {
        let mut u = self.updates();
        let kept: Vec<_> = u.releases.iter().map(|r| r.0).collect();
        u.parts.retain(|(upload, _), _| kept.contains(upload));
        Ok(())
    }
    async fn put_upload(&self, upload: Uuid, part: u32, bytes: &[u8]) -> Done<()> {
        self.updates().parts.insert((upload, part), bytes.to_vec());
        Ok(())
    }
    async fn put_release(&self, _: &TenantId, upload: Uuid, release: &Release, audit: &LogEntry) -> Done<()> {
        self.note(audit);
        self.updates().releases.insert(0, (upload, release.clone()));
        Ok(())
    }
    async fn releases(&self, _: &TenantId) -> Done<Vec<Release>> {
        Ok(self.updates().releases.iter().map(|r| r.1.clone()).collect())
    }
    async fn release_part(&self, _: &TenantId, sha256: &str, part: u32) -> Done<Option<Vec<u8>>> {
        let u = self.updates();
        let upload = u.releases.iter().find(|r| r.1.sha256 == sha256).map(|r| r.0);
        Ok(upload.and_then(|upload| u.parts.get(&(upload, part)).cloned()))
    }
    async fn remove_release(&self, _: &TenantId, version: &str, audit: &LogEntry) -> Done<usize> {
        let mut u = self.updates();
        let before = u.releases.len();
        u.releases.retain(|r| r.1.version != version);
        let gone = before - u.releases.len();
        drop(u);
        if gone > 0 {
            self.note(audit);
        }
        Ok(gone)
    }
    async fn set_group(&self, gateway: &GatewayKey, group: Option<&str>, audit: &LogEntry) -> Done<()> {
        self.note(audit);
        self.updates().boxes.entry(gateway.clone()).or_default().0 = group.map(str::to_owned);
        Ok(())
    }
    async fn update_boxes(&self, _: &TenantId) -> Done<Vec<UpdateBox>> {
        let u = self.updates();
        let one = |(key, (group, report)): (&GatewayKey, &(Option<String>, Option<UpdateReport>))| {
            UpdateBox { key: key.clone(), group: group.clone(), report: report.clone() }
        };
        Ok(u.boxes.iter().map(one).collect())
    }
    async fn keep_update_report(&self, gateway: &GatewayKey, report: &UpdateReport) -> Done<()> {
        self.updates().boxes.entry(gateway.clone()).or_default().1 = Some(report.clone());
        Ok(())
    }
    async fn rollout(&self, _: &TenantId) -> Done<Option<Rollout>> {
        Ok(self.updates().rollout.clone())
    }
    async fn put_rollout(&self, _: &TenantId, rollout: &Rollout, audit: &[LogEntry]) -> Done<()> {
        let before = self.updates().rollout.as_ref().map_or((0, 0), |r| (r.id, r.revision));
        let next = (rollout.id, rollout.revision);
        if next != (before.0 + 1, 1) && next != (before.0, before.1 + 1) {
            return Err(StoreError::Conflict { what: "rollout".into() });
        }
        audit.iter().for_each(|entry| self.note(entry));
        self.updates().rollout = Some(rollout.clone());
        Ok(())
    }
}
