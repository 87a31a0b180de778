//! Where configuration documents of the cloud go.

use common::api::ConfigurationReport;
use common::wire::WantedConfiguration;
use tokio::sync::watch;

/// Takes configuration documents, and tells what became of them.
pub trait Configurations: Send + Sync {
    /// What became of the last one, as it changes.
    fn report(&self) -> watch::Receiver<ConfigurationReport>;

    /// The cloud wants this one. A newer one takes its place; the same one again changes nothing. Does not block.
    fn wanted(&self, document: WantedConfiguration);
}
