//! What the ingress counts.

use common::names::metric;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Cause {
    /// Why.
    pub(crate) cause: &'static str,
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// `accepted` or `duplicate`.
    pub(crate) result: &'static str,
}

/// The ingress's counters. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Metrics {
    frames: Family<Outcome, Counter>,
    samples: Counter,
    refused: Family<Cause, Counter>,
    set_aside: Family<Cause, Counter>,
    aside_removed: Counter,
    commit_seconds: Histogram,
    sessions: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            frames: Family::default(),
            samples: Counter::default(),
            refused: Family::default(),
            set_aside: Family::default(),
            aside_removed: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            sessions: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Puts the counters into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let (name, help) = metric::CLOUD_FRAMES;
        registry.register(name, help, self.frames.clone());
        let (name, help) = metric::CLOUD_SAMPLES;
        registry.register(name, help, self.samples.clone());
        let (name, help) = metric::CLOUD_REFUSED;
        registry.register(name, help, self.refused.clone());
        let (name, help) = metric::CLOUD_SET_ASIDE;
        registry.register(name, help, self.set_aside.clone());
        let (name, help) = metric::CLOUD_SET_ASIDE_REMOVED;
        registry.register(name, help, self.aside_removed.clone());
        let (name, help) = metric::CLOUD_COMMIT_SECONDS;
        registry.register(name, help, self.commit_seconds.clone());
        let (name, help) = metric::CLOUD_SESSIONS;
        registry.register(name, help, self.sessions.clone());
    }

    /// How many were refused for a cause.
    pub fn refused(&self, cause: &'static str) -> u64 {
        self.refused.get_or_create(&Cause { cause }).get()
    }

    pub(crate) fn refuse(&self, cause: &'static str) {
        self.refused.get_or_create(&Cause { cause }).inc();
    }

    pub(crate) fn set_aside(&self, cause: &'static str) {
        self.set_aside.get_or_create(&Cause { cause }).inc();
    }

    pub(crate) fn aside_removed(&self, frames: u64) {
        self.aside_removed.inc_by(frames);
    }

    pub(crate) fn committed(&self, accepted: u64, duplicate: u64, samples: u64, seconds: f64) {
        self.frames.get_or_create(&Outcome { result: "accepted" }).inc_by(accepted);
        self.frames.get_or_create(&Outcome { result: "duplicate" }).inc_by(duplicate);
        self.samples.inc_by(samples);
        self.commit_seconds.observe(seconds);
    }

    pub(crate) fn sessions(&self, n: usize) {
        self.sessions.set(i64::try_from(n).unwrap_or(i64::MAX));
    }
}
