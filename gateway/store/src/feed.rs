//! From the bus into the log: cuts frames of samples within a bounded time, each of points of one class.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::supervise::PartError;
use common::wire::{Body, Gap, GapCause};
use common::{Class, Classes, Drain, Sample};
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
    /// The same for trends: few frames of many samples, since each is a hole between the others once it is dropped. Default 1 s, at least `frame`.
    pub trend_frame: Duration,
    /// And at so many samples. Default 4000, at most 4096.
    pub max_samples: usize,
    /// The bus's count of what this reader was too slow for; told in the log as gaps.
    pub overruns: Option<Arc<AtomicU64>>,
    /// Counts samples that fit no frame (a text or bytes of more than 200 KiB).
    pub too_large: Option<Arc<AtomicU64>>,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            frame: Duration::from_millis(10),
            trend_frame: Duration::from_secs(1),
            max_samples: 4000,
            overruns: None,
            too_large: None,
        }
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
    let mut cutter = Cutter::new(log, options);
    let mut stop = pin!(drain.started());
    // Set anew once a frame and not once a batch: each earlier time wakes the timers' thread.
    let mut due = pin!(tokio::time::sleep(Duration::ZERO));
    let mut due_of = None;
    loop {
        if due_of != cutter.due() {
            due_of = cutter.due();
            due_of.into_iter().for_each(|at| due.as_mut().reset(at));
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = &mut due, if due_of.is_some() => cutter.cut_due()?,
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
    cutter.cut_all()?;
    Ok(())
}

/// Samples of one class on their way into a frame.
#[derive(Default)]
struct Lot {
    rows: Vec<Sample>,
    bytes: usize,
    /// When it is to be cut; none: it is empty.
    due: Option<Instant>,
}

struct Cutter {
    /// In the order of classes.
    lots: [Lot; 3],
    classes: Classes,
    /// Overruns that were told.
    told: u64,
    log: Arc<dyn FrameLog>,
    options: FeedOptions,
}

impl Cutter {
    fn new(log: Arc<dyn FrameLog>, options: FeedOptions) -> Self {
        let mut cutter =
            Self { lots: Default::default(), classes: Classes::default(), told: 0, log, options };
        cutter.look_up_classes();
        cutter
    }

    fn look_up_classes(&mut self) {
        self.classes = self.log.schemas().last().map(|hash| self.log.classes(*hash)).unwrap_or_default();
    }

    /// When the next frame is to be cut.
    fn due(&self) -> Option<Instant> {
        self.lots.iter().filter_map(|lot| lot.due).min()
    }

    fn cut_due(&mut self) -> Result<(), LogError> {
        let now = Instant::now();
        for at in 0..self.lots.len() {
            if self.lots[at].due.is_some_and(|due| due <= now) {
                self.cut(at)?;
            }
        }
        Ok(())
    }

    fn cut_all(&mut self) -> Result<(), LogError> {
        (0..self.lots.len()).try_for_each(|at| self.cut(at))
    }

    fn item(&mut self, item: &Item) -> Result<(), LogError> {
        match item {
            Item::Batch(batch) => self.take(batch),
            // A frame is of one schema: what came before is cut first.
            Item::Registry(registry) => {
                self.cut_all()?;
                self.log.renew(registry);
                self.look_up_classes();
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
            let class = self.classes.of_point(sample.point);
            if self.lots[class as usize].bytes + size > MAX_ROWS_BYTES {
                self.cut(class as usize)?;
            }
            let FeedOptions { frame, trend_frame, .. } = self.options;
            let within = if class == Class::Trend { trend_frame.max(frame) } else { frame };
            let lot = &mut self.lots[class as usize];
            lot.due.get_or_insert_with(|| Instant::now() + within);
            lot.bytes += size;
            lot.rows.push(sample.clone());
            if lot.rows.len() >= self.options.max_samples.clamp(1, common::wire::MAX_SAMPLES_PER_FRAME) {
                self.cut(class as usize)?;
            }
        }
        Ok(())
    }

    fn cut(&mut self, at: usize) -> Result<(), LogError> {
        let lot = &mut self.lots[at];
        lot.due = None;
        lot.bytes = 0;
        if lot.rows.is_empty() {
            return Ok(());
        }
        // The next frame will be about as large.
        let next = Vec::with_capacity(lot.rows.len());
        let rows = std::mem::replace(&mut lot.rows, next);
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
        self.append(Body::Gap(Gap { samples, ..Gap::new(cause) }))
    }
}
