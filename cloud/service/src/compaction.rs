//! Turns received frames into history, step by step, while there are any, and puts it in order in between.

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

/// Of the time that a compaction took, so many times as much passes until the next.
const SHARE: u32 = 7;
const LONGEST: Duration = Duration::from_secs(60);
/// So many bytes of frames do not wait longer, nor do half of the samples that may wait.
const MOST_BYTES: usize = 128 << 20;
/// Small chunks are merged for so long until it is looked again at what waits.
const SLICE: Duration = Duration::from_millis(250);
/// Work leaves holes in the heap, and what is free goes back after it: after so many times as much work as that took.
const GIVE_BACK_AFTER: u32 = 20;
/// But not while so many bytes of frames wait: the next piece needs it again, and who allocates waits for hundreds of milliseconds
/// while much is given back.
const GIVE_BACK_BELOW: usize = 4 << 20;
/// It is asked so often what the database takes.
const ROOM_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Compaction {
    storage: Arc<dyn Storage>,
    options: HistorySection,
    /// How many frames wait, and their bytes.
    waiting: Arc<dyn Fn() -> (usize, usize) + Send + Sync>,
    /// Samples that may wait until nothing is taken any more.
    most_samples: usize,
    seconds: Histogram,
    uncompacted: Gauge,
    bytes: Gauge,
    free: Gauge,
    damaged: Gauge,
    unknown: Gauge,
}

impl Compaction {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        options: HistorySection,
        waiting: Arc<dyn Fn() -> (usize, usize) + Send + Sync>,
        most_samples: usize,
    ) -> Self {
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let [uncompacted, bytes, free, damaged, unknown] = Default::default();
        Self { storage, options, waiting, most_samples, seconds, uncompacted, bytes, free, damaged, unknown }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let (name, help) = metric::CLOUD_COMPACT_SECONDS;
        registry.register(name, help, self.seconds.clone());
        let (name, help) = metric::CLOUD_UNCOMPACTED;
        registry.register(name, help, self.uncompacted.clone());
        let (name, help) = metric::CLOUD_STORE_BYTES;
        registry.register(name, help, self.bytes.clone());
        let (name, help) = metric::CLOUD_STORE_FREE;
        registry.register(name, help, self.free.clone());
        let (name, help) = metric::CLOUD_DAMAGED;
        registry.register(name, help, self.damaged.clone());
        let (name, help) = metric::CLOUD_UNKNOWN_POINTS;
        registry.register(name, help, self.unknown.clone());
    }

    /// Runs until drained. A failure ends it: the supervisor starts it again after a pause.
    ///
    /// Chunks of few samples cost as much to store as those of many, so where there is much to do it is done seldom: frames
    /// take an eighth of the time at most, unless too much waits in memory. In between small chunks are merged, slice by slice, as
    /// long as not too much waits: those of all points become many at once, which takes longer than frames may wait.
    pub(crate) async fn run(self, drain: Drain) -> Result<(), StoreError> {
        let pause = Duration::from_millis(self.options.compact_ms);
        let mut next = Instant::now();
        let (mut has_more, mut told) = (false, Instant::now());
        let (mut worked, mut give_back_took) = (Duration::ZERO, Duration::ZERO);
        self.tell_room().await?;
        loop {
            let pause = if has_more || self.is_pressing() { Duration::ZERO } else { pause };
            tokio::select! {
                () = drain.started() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            self.tell();
            if told.elapsed() >= ROOM_EVERY {
                told = Instant::now();
                self.tell_room().await?;
            }
            let began = Instant::now();
            if began < next && !self.is_pressing() {
                has_more = self.storage.upkeep(SLICE).await?;
                if has_more {
                    self.seconds.observe(began.elapsed().as_secs_f64());
                }
            } else {
                self.all_frames(&drain).await?;
                has_more = self.storage.upkeep(Duration::ZERO).await?;
                next = Instant::now() + (began.elapsed() * SHARE).min(LONGEST);
            }
            worked += began.elapsed();
            if worked >= give_back_took * GIVE_BACK_AFTER && (self.waiting)().1 < GIVE_BACK_BELOW {
                let began = Instant::now();
                tokio::task::spawn_blocking(heap::give_back).await.ok();
                (worked, give_back_took) = (Duration::ZERO, began.elapsed());
            }
        }
    }

    /// Compacts the frames that wait now.
    async fn all_frames(&self, drain: &Drain) -> Result<(), StoreError> {
        let (waiting, _) = (self.waiting)();
        let mut compacted = 0;
        while compacted < waiting && !drain.is_started() {
            let one = Instant::now();
            let done = self.storage.compact_frames(self.options.compact_frames).await?;
            if done == 0 {
                break;
            }
            self.seconds.observe(one.elapsed().as_secs_f64());
            self.tell();
            // Only what does not wait for a pause.
            self.storage.upkeep(Duration::ZERO).await?;
            compacted += done;
        }
        Ok(())
    }

    fn is_pressing(&self) -> bool {
        (self.waiting)().1 >= MOST_BYTES || self.storage.waiting_samples() >= self.most_samples / 2
    }

    fn tell(&self) {
        self.uncompacted.set(i64::try_from((self.waiting)().0).unwrap_or(i64::MAX));
        self.damaged.set(i64::try_from(self.storage.damaged()).unwrap_or(i64::MAX));
    }

    async fn tell_room(&self) -> Result<(), StoreError> {
        let room = self.storage.room().await?;
        self.unknown.set(i64::try_from(self.storage.unknown_samples().await?).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(room.bytes).unwrap_or(i64::MAX));
        self.free.set(i64::try_from(room.free).unwrap_or(i64::MAX));
        Ok(())
    }
}
