//! A sensor whose samples are numbered, at a gateway that makes them durable, and the oracle that takes down which are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Drain;
use tokio::task::JoinHandle;

use crate::field::{SensorCounts, numbered_sensor};
use crate::oracle::{Oracle, Verdict};
use crate::{Api, Gateway, until};

const LIMIT: Duration = Duration::from_secs(90);

/// The load of `field::numbered_device`.
#[derive(Debug)]
pub struct Load {
    /// What is known to be durable.
    pub oracle: Oracle,
    counts: Arc<SensorCounts>,
    value: fn(u64) -> f64,
    drain: Drain,
    sensor: JoinHandle<()>,
    watch: JoinHandle<()>,
}

/// The value of a sample is its number.
#[allow(clippy::cast_precision_loss)]
pub fn number(k: u64) -> f64 {
    k as f64
}

/// Doubles of which no codec can make less than they are.
pub fn incompressible(k: u64) -> f64 {
    let mixed = k.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (k << 17).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    f64::from_bits((0x3ff << 52) | (mixed >> 12))
}

impl Load {
    /// Starts it: `rate` samples a second, over all points. The value of number `k` is what `value(k)` gives.
    pub fn start(gateway: &Gateway, points: u64, rate: u64, value: fn(u64) -> f64) -> Self {
        let base_us = common::Clock::system().now_us() - 60_000_000;
        let oracle = Oracle::new(points, base_us);
        let (counts, drain) = (Arc::new(SensorCounts::default()), Drain::new());
        let sensor =
            numbered_sensor(gateway.broker, points, rate, base_us, value, counts.clone(), drain.clone());
        let (sensor, watch) = (tokio::spawn(sensor), oracle.follow(gateway));
        Self { oracle, counts, value, drain, sensor, watch }
    }

    /// Samples that were sent.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::SeqCst)
    }

    /// Waits until so many samples are durable.
    pub async fn reach(&self, samples: u64) {
        until("durable samples", LIMIT, || async { (self.oracle.durable() >= samples).then_some(()) }).await;
    }

    /// Waits until so many more are.
    pub async fn more(&self, samples: u64) {
        self.reach(self.oracle.durable() + samples).await;
    }

    /// Goes on with the gateway's next process, after all that the ended one said is known.
    pub async fn follow(&mut self, gateway: &Gateway) {
        let next = self.oracle.follow(gateway);
        std::mem::replace(&mut self.watch, next).await.expect("the watermark ended with the gateway");
    }

    /// Ends the sensor; returns how many it sent.
    pub async fn end(&mut self) -> u64 {
        self.drain.start();
        (&mut self.sensor).await.expect("the sensor ends");
        self.sent()
    }

    /// Compares what is durable with what the cloud has.
    pub async fn compare(&self, cloud: &Api) -> Verdict {
        self.oracle.compare(cloud, "hall/load", self.value).await
    }

    /// Waits until the watermark has ended, with its gateway.
    pub async fn ended(self) {
        self.watch.await.expect("the watermark ended with the gateway");
    }
}
