//! What storage does with the boxes behind gateways' names, and with frames of theirs that could not be taken.

use std::sync::Arc;

use async_trait::async_trait;
use common::api::{Page, SetAsideView};
use common::command::LogEntry;
use common::wire::Known;

use crate::boxes::Boxes;
use crate::storage::{GatewayKey, StoreError};

/// A frame that could not be read or stored.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// From whom.
    pub gateway: Arc<GatewayKey>,
    /// Its rank and sequence; none if they cannot be read.
    pub name: Option<(u64, u64)>,
    /// What was at fault, in one word.
    pub cause: &'static str,
    /// The same for people.
    pub detail: String,
    /// As received.
    pub bytes: Arc<[u8]>,
    /// When, UTC us.
    pub at_us: i64,
}

/// Frames that were set aside and had to go, because too many were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AsideRemoved {
    /// How many.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of frames that were to be set aside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptAside {
    /// For each, whether it was new.
    pub new: Vec<bool>,
    /// What had to go for them.
    pub removed: AsideRemoved,
}

/// The boxes behind gateways' names, and what they sent that could not be taken.
#[async_trait]
pub trait BoxStorage: Send + Sync {
    /// What is known of a gateway's boxes; the default if nothing is.
    async fn boxes(&self, gateway: &GatewayKey) -> Result<Boxes, StoreError>;

    /// Keeps it, with entries for the audit.
    async fn keep_boxes(
        &self,
        gateway: &GatewayKey,
        boxes: &Boxes,
        audit: &[LogEntry],
    ) -> Result<(), StoreError>;

    /// Keeps frames aside with the marks of those that have a name: they count as stored, and history has a gap in their
    /// place. One without a name is known by its bytes. Of each gateway at most 1,000 frames and 16 MiB are kept, the
    /// newest; what had to go is counted. A rank that `hello` did not give to the gateway: `NotFound`, nothing stored.
    async fn set_aside(&self, frames: &[SetAside], audit: &[LogEntry]) -> Result<KeptAside, StoreError>;

    /// What was removed of a gateway's frames so far.
    async fn set_aside_removed(&self, gateway: &GatewayKey) -> Result<AsideRemoved, StoreError>;

    /// A frame of the gateway as it was received, by its `SetAsideView::id`; none if it is not there.
    async fn set_aside_bytes(&self, gateway: &GatewayKey, id: i64) -> Result<Option<Vec<u8>>, StoreError>;

    /// Frames of a gateway that are kept aside, newest first.
    async fn set_aside_page(
        &self,
        gateway: &GatewayKey,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<SetAsideView>, StoreError>;

    /// The names of those that have one.
    async fn set_aside_names(&self, gateway: &GatewayKey) -> Result<Vec<Known>, StoreError>;
}
