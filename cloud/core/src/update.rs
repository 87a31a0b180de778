//! Bundles of updates, groups of gateways, and what boxes told of updates.

use async_trait::async_trait;
use common::TenantId;
use common::api::{Release, Rollout, UpdateReport};
use common::command::LogEntry;
use tokio::sync::watch;
use uuid::Uuid;

use crate::storage::{GatewayKey, StoreError};

/// Bytes of each part of a bundle in storage, but for the last one.
pub const PART_BYTES: usize = 256 * 1024;
/// Most bundles that are kept.
pub const MOST_RELEASES: usize = 200;

/// A gateway, as far as updates go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateBox {
    /// Which.
    pub key: GatewayKey,
    /// Its group.
    pub group: Option<String>,
    /// What its box told last.
    pub report: Option<UpdateReport>,
}

/// Bundles, groups, reports and rollouts.
#[async_trait]
pub trait UpdateStorage: Send + Sync {
    /// Told after each change of bundles, groups, reports and rollouts, once it can be read; several may be told as one.
    fn updates_changed(&self) -> watch::Receiver<()>;

    /// Takes away the parts of uploads that did not become a bundle. One upload at a time is the caller's affair.
    async fn drop_uploads(&self) -> Result<(), StoreError>;

    /// Keeps a part of an upload; parts are numbered from 0 and of `PART_BYTES`, but for the last one.
    async fn put_upload(&self, upload: Uuid, part: u32, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes a bundle of the parts that came, with an entry for the audit. `Conflict` if there is one of this version and
    /// architecture, `TooLarge` if there are `MOST_RELEASES`.
    async fn put_release(
        &self,
        tenant: &TenantId,
        upload: Uuid,
        release: &Release,
        audit: &LogEntry,
    ) -> Result<(), StoreError>;

    /// All bundles, the newest first.
    async fn releases(&self, tenant: &TenantId) -> Result<Vec<Release>, StoreError>;

    /// A part of a bundle; none if there is no such bundle or part.
    async fn release_part(
        &self,
        tenant: &TenantId,
        sha256: &str,
        part: u32,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes the bundles of a version; how many there were.
    async fn remove_release(
        &self,
        tenant: &TenantId,
        version: &str,
        audit: &LogEntry,
    ) -> Result<usize, StoreError>;

    /// Puts a gateway into a group, or into none.
    async fn set_group(
        &self,
        gateway: &GatewayKey,
        group: Option<&str>,
        audit: &LogEntry,
    ) -> Result<(), StoreError>;

    /// Every gateway that has a group or told of updates, by name.
    async fn update_boxes(&self, tenant: &TenantId) -> Result<Vec<UpdateBox>, StoreError>;

    /// Keeps what a box told, in place of what it told before.
    async fn keep_update_report(&self, gateway: &GatewayKey, report: &UpdateReport)
    -> Result<(), StoreError>;

    /// The newest rollout.
    async fn rollout(&self, tenant: &TenantId) -> Result<Option<Rollout>, StoreError>;

    /// Keeps a rollout with entries for the audit: a new one with the next number and revision 1, or the newest one with its next
    /// revision. Else `Conflict`: somebody changed it meanwhile.
    async fn put_rollout(
        &self,
        tenant: &TenantId,
        rollout: &Rollout,
        audit: &[LogEntry],
    ) -> Result<(), StoreError>;
}
