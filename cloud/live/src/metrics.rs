//! What the live channel counts.

use common::names::metric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The live channel's counters. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Clients connected.
    pub clients: Gauge,
    /// Frames that a slow client did not get, their rows being in a later one.
    pub skipped: Counter,
    /// Events that a slow client did not get, and was told of.
    pub lost: Counter,
}

impl Metrics {
    /// Puts the counters into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let (name, help) = metric::CLOUD_LIVE_CLIENTS;
        registry.register(name, help, self.clients.clone());
        let (name, help) = metric::CLOUD_LIVE_SKIPPED;
        registry.register(name, help, self.skipped.clone());
        let (name, help) = metric::CLOUD_LIVE_LOST;
        registry.register(name, help, self.lost.clone());
    }
}
