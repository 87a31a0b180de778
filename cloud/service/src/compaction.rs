//! Turns received frames into history, step by step, while there are any.

use std::sync::Arc;
use std::time::Duration;

use cloud_core::{Storage, StoreError};
use common::Drain;
use common::names::metric;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::config::HistorySection;

#[derive(Clone)]
pub(crate) struct Compaction {
    storage: Arc<dyn Storage>,
    options: HistorySection,
    /// How many frames wait.
    waiting: Arc<dyn Fn() -> usize + Send + Sync>,
    seconds: Histogram,
    uncompacted: Gauge,
}

impl Compaction {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        options: HistorySection,
        waiting: Arc<dyn Fn() -> usize + Send + Sync>,
    ) -> Self {
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        Self { storage, options, waiting, seconds, uncompacted: Gauge::default() }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let (name, help) = metric::CLOUD_COMPACT_SECONDS;
        registry.register(name, help, self.seconds.clone());
        let (name, help) = metric::CLOUD_UNCOMPACTED;
        registry.register(name, help, self.uncompacted.clone());
    }

    /// Runs until drained. A failure ends it: the supervisor starts it again after a pause.
    pub(crate) async fn run(self, drain: Drain) -> Result<(), StoreError> {
        let pause = Duration::from_millis(self.options.compact_ms);
        loop {
            tokio::select! {
                () = drain.started() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            loop {
                let began = Instant::now();
                self.uncompacted.set(i64::try_from((self.waiting)()).unwrap_or(i64::MAX));
                let done = self.storage.compact(self.options.compact_frames).await?;
                if done > 0 {
                    self.seconds.observe(began.elapsed().as_secs_f64());
                }
                if done < self.options.compact_frames || drain.is_started() {
                    break;
                }
            }
        }
    }
}
