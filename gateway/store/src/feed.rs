//! From the bus into the log: cuts frames of samples within a bounded time.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::supervise::PartError;
use common::wire::{Body, Gap, GapCause};
use common::{Drain, Sample};
use gateway_core::{FrameLog, Item, LogError, Reader};
use tokio::time::Instant;

use crate::table::{MAX_ROWS_BYTES, encoded_bytes};

/// Batches taken at once: few, so that a frame is cut in time.
const TOGETHER: usize = 64;

/// How frames are cut.
#[derive(Debug, Clone)]
pub struct FeedOptions {
    /// A frame is cut at most this long after its first sample. Default 10 ms.
    pub frame: Duration,
    /// And at so many samples. Default 4000, at most 4096.
    pub max_samples: usize,
    /// The bus's count of what this reader was too slow for; told in the log as gaps.
    pub overruns: Option<Arc<AtomicU64>>,
    /// Counts samples that fit no frame (a text or bytes of more than 200 KiB).
    pub too_large: Option<Arc<AtomicU64>>,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self { frame: Duration::from_millis(10), max_samples: 4000, overruns: None, too_large: None }
    }
}

/// Feeds the log from a reader of the bus until the bus ends or `drain` starts; then takes what is left in
/// the reader's queue. A log that refuses does not stop it: the log counts what it refused.
///
/// # Errors
/// When the log is closed.
pub async fn feed(
    mut reader: Reader,
    log: Arc<dyn FrameLog>,
    options: FeedOptions,
    drain: Drain,
) -> Result<(), PartError> {
    let mut cutter = Cutter { rows: Vec::new(), bytes: 0, since: None, told: 0, log, options };
    let mut stop = pin!(drain.started());
    // Set anew once a frame and not once a batch: each earlier time wakes the timers' thread.
    let mut due = pin!(tokio::time::sleep(Duration::ZERO));
    let mut due_of = None;
    loop {
        if due_of != cutter.since {
            due_of = cutter.since;
            due_of.into_iter().for_each(|since| due.as_mut().reset(since + cutter.options.frame));
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = &mut due, if due_of.is_some() => cutter.cut()?,
            item = reader.next() => match item {
                Some(item) => cutter.item(&item)?,
                None => break,
            },
        }
        // What waits besides: without a turn of its own for each.
        for _ in 0..TOGETHER {
            let Some(item) = reader.try_next() else { break };
            cutter.item(&item)?;
        }
    }
    while let Some(item) = reader.try_next() {
        cutter.item(&item)?;
    }
    cutter.cut()?;
    Ok(())
}

struct Cutter {
    rows: Vec<Sample>,
    bytes: usize,
    since: Option<Instant>,
    /// Overruns that were told.
    told: u64,
    log: Arc<dyn FrameLog>,
    options: FeedOptions,
}

impl Cutter {
    fn item(&mut self, item: &Item) -> Result<(), LogError> {
        match item {
            Item::Batch(batch) => self.take(batch),
            // A frame is of one schema: what came before is cut first.
            Item::Registry(registry) => {
                self.cut()?;
                self.log.renew(registry);
                Ok(())
            }
        }
    }

    fn take(&mut self, batch: &[Sample]) -> Result<(), LogError> {
        self.tell_overruns()?;
        for sample in batch {
            let size = encoded_bytes(sample);
            if size > MAX_ROWS_BYTES {
                if let Some(counter) = &self.options.too_large {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            }
            if self.bytes + size > MAX_ROWS_BYTES {
                self.cut()?;
            }
            self.since.get_or_insert_with(Instant::now);
            self.bytes += size;
            self.rows.push(sample.clone());
            if self.rows.len() >= self.options.max_samples.clamp(1, common::wire::MAX_SAMPLES_PER_FRAME) {
                self.cut()?;
            }
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<(), LogError> {
        self.since = None;
        self.bytes = 0;
        if self.rows.is_empty() {
            return Ok(());
        }
        // The next frame will be about as large.
        let next = Vec::with_capacity(self.rows.len());
        let rows = std::mem::replace(&mut self.rows, next);
        self.append(Body::Samples(rows))
    }

    fn append(&self, body: Body) -> Result<(), LogError> {
        match self.log.append(body) {
            Err(LogError::Closed) => Err(LogError::Closed),
            // The log counts it and tells it as a gap when it can.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What the bus dropped before this is missing from here on.
    fn tell_overruns(&mut self) -> Result<(), LogError> {
        let Some(overruns) = &self.options.overruns else { return Ok(()) };
        let count = overruns.load(Ordering::Relaxed);
        let samples = count.saturating_sub(self.told);
        self.told = count;
        if samples == 0 {
            return Ok(());
        }
        tracing::warn!(samples, "buffer was too slow for the bus");
        let cause = GapCause::Overrun;
        self.append(Body::Gap(Gap { incarnation: None, seqs: None, times_us: None, samples, cause }))
    }
}
