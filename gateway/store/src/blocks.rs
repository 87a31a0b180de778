//! Blocks of waveforms into the log, in parts that fit a frame, no faster than the disk takes them: what waits for the disk
//! has one bound for all, and a large block may not cost the samples beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::Drain;
use common::supervise::PartError;
use common::wire::{Body, Waveform};
use gateway_core::{Block, FrameId, FrameLog, LogError, Points};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

/// The log comes to a reload's points within this, or not at all.
const OVER_LIMIT: Duration = Duration::from_secs(10);
/// Looks at a part's point: one for each reload that comes amid them.
const TRIES: usize = 4;
/// Values that may wait for the disk, 1 MiB at most: an eighth of what may wait in all.
const AHEAD: usize = 1 << 17;

/// Until drained; then what was sent before still goes. `points` are those that the log has come to; blocks of points that a
/// reload took away are counted in `gone`. A log that refuses does not stop it: the log counts what it refused.
///
/// # Errors
/// When the log is closed.
pub async fn feed_blocks(
    blocks: Arc<Mutex<mpsc::Receiver<Block>>>,
    points: Points,
    log: Arc<dyn FrameLog>,
    gone: Arc<AtomicU64>,
    drain: Drain,
) -> Result<(), PartError> {
    let mut blocks = blocks.lock().await;
    let mut feeder = Feeder { points, log, gone, ahead: 0 };
    loop {
        tokio::select! {
            () = drain.started() => break,
            block = blocks.recv() => match block {
                Some(block) => feeder.put(&block).await?,
                None => return Ok(()),
            },
        }
    }
    while let Ok(block) = blocks.try_recv() {
        feeder.put(&block).await?;
    }
    Ok(())
}

struct Feeder {
    points: Points,
    log: Arc<dyn FrameLog>,
    gone: Arc<AtomicU64>,
    /// Values since the disk was last waited for.
    ahead: usize,
}

impl Feeder {
    async fn put(&mut self, Block { path, generation, wave, .. }: &Block) -> Result<(), LogError> {
        // A reload's drivers read before the log has come to its points: of the schema of before they mean nothing. Where it
        // does not come to them the names differ.
        let _ = timeout(OVER_LIMIT, self.points.reached(*generation)).await;
        for part in wave.parts() {
            let values = part.values.len();
            let frame = match self.append(path, part) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.gone.fetch_add(values as u64, Ordering::Relaxed);
                    continue;
                }
                Err(LogError::Closed) => return Err(LogError::Closed),
                // The log counts it and tells it as a gap when it can.
                Err(_) => continue,
            };
            self.ahead += values;
            if self.ahead >= AHEAD {
                self.ahead = 0;
                // A disk that does not answer is for the log to tell.
                let _ = self.log.durable(frame).await;
            }
        }
        Ok(())
    }

    /// Appends a part, unless a reload has given its number to another point: also one that comes between the look and the
    /// log.
    fn append(&self, path: &str, part: Waveform) -> Result<Option<FrameId>, LogError> {
        let body = Body::Waveform(Box::new(part));
        let Body::Waveform(part) = &body else { return Ok(None) };
        for _ in 0..TRIES {
            let registry = self.points.now();
            if registry.path(part.point) != path {
                return Ok(None);
            }
            match self.log.append_of(registry.hash(), body.clone()) {
                Err(LogError::Renewed) => {}
                done => return done.map(Some),
            }
        }
        Ok(None)
    }
}
