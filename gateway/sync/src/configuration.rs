//! Configuration documents in a session: what became of them goes up when it changes, their parts come down.

use std::sync::Arc;

use common::api::ConfigurationReport;
use common::wire::{ConfigurationPart, ConfigurationParts, FEATURE_CONFIGURATION, HelloAck, Up};
use gateway_core::Configurations;
use tokio::sync::watch;

use crate::link::Link;
use crate::uplink::Uplink;

/// One session's share in it.
pub(crate) struct Configuring {
    to: Arc<dyn Configurations>,
    report: watch::Receiver<ConfigurationReport>,
    parts: ConfigurationParts,
    /// There is something that the cloud was not told.
    owes: bool,
}

impl Configuring {
    /// None with a cloud that knows no documents, or where nobody takes them.
    pub(crate) fn new(uplink: &Uplink, ack: &HelloAck) -> Option<Self> {
        let to = uplink.configurations.clone()?;
        ack.features.iter().any(|f| f == FEATURE_CONFIGURATION).then(|| {
            let report = to.report();
            Self { to, report, parts: ConfigurationParts::default(), owes: true }
        })
    }

    /// Waits until there is something new to tell.
    pub(crate) async fn changed(of: &mut Option<Self>) {
        let Some(this) = of else { return std::future::pending().await };
        if this.report.changed().await.is_err() {
            // Nobody is left who would say more.
            return std::future::pending().await;
        }
        this.owes = true;
    }

    /// Tells the cloud what it was not told. What the client does not take now is told with the next life sign.
    pub(crate) fn tell(&mut self, link: &Link) {
        if self.owes {
            let report = self.report.borrow_and_update().clone();
            self.owes = !link.publish(Up::Configuration(Box::new(report)).encode());
        }
    }

    /// Takes a part of a document.
    pub(crate) fn take(&mut self, part: &ConfigurationPart) {
        match self.parts.put(part) {
            Ok(Some(document)) => self.to.wanted(document),
            Ok(None) => {}
            // It comes again with the next session.
            Err(error) => tracing::warn!(error, "configuration document is not taken"),
        }
    }
}
