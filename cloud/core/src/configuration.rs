//! Configuration documents of gateways: each is kept under a version of its own and never changed.

use async_trait::async_trait;
use common::api::{ConfigurationDocument, ConfigurationEntry, ConfigurationReport, Page};
use common::command::LogEntry;
use common::wire::WantedConfiguration;

use crate::storage::{GatewayKey, StoreError};

/// Documents kept of each gateway: of more the oldest are removed. Their numbers are not given again.
pub const MOST_DOCUMENTS: u64 = 200;

/// Documents, and what boxes told of them.
#[async_trait]
pub trait ConfigurationStorage: Send + Sync {
    /// Keeps a document, with an entry for the audit. Its version must be the one after the newest that there is (from 1);
    /// else `Conflict`: somebody else put one meanwhile. Of each gateway the newest `MOST_DOCUMENTS` stay.
    async fn put_configuration(
        &self,
        gateway: &GatewayKey,
        document: &ConfigurationDocument,
        audit: &LogEntry,
    ) -> Result<(), StoreError>;

    /// A gateway's documents without their texts, newest first.
    async fn configurations(
        &self,
        gateway: &GatewayKey,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<ConfigurationEntry>, StoreError>;

    /// A document of a version, or the newest one.
    async fn configuration(
        &self,
        gateway: &GatewayKey,
        version: Option<u64>,
    ) -> Result<Option<ConfigurationDocument>, StoreError>;

    /// What the box told last.
    async fn configuration_report(
        &self,
        gateway: &GatewayKey,
    ) -> Result<Option<ConfigurationReport>, StoreError>;

    /// Keeps what the box told, in place of what it told before, with entries for the audit.
    async fn keep_configuration_report(
        &self,
        gateway: &GatewayKey,
        report: &ConfigurationReport,
        audit: &[LogEntry],
    ) -> Result<(), StoreError>;
}

/// A document as it goes to its gateway.
pub fn wanted(document: ConfigurationDocument) -> WantedConfiguration {
    let ConfigurationDocument { entry, document } = document;
    let ConfigurationEntry { version, hash, base, force, author, .. } = entry;
    WantedConfiguration { version, hash, document, base, force, author }
}
