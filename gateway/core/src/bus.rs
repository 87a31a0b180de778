//! The bus. Adapters push raw batches into one bounded queue; the pipeline publishes processed batches to
//! independent readers, each with its own bounded queue that drops its oldest batch when full. Nobody
//! blocks the bus: there is no back-pressure to the field. Every drop is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::Sample;
use tokio::sync::{Notify, mpsc};

/// Samples that belong together, shared by all readers.
pub type Batch = Arc<[Sample]>;

/// What was dropped, by `<queue>:<cause>`. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct DropCounts(Arc<Mutex<Vec<Named>>>);

type Named = (String, Arc<AtomicU64>);

impl DropCounts {
    /// The counter of a queue and cause, made when first asked for.
    pub fn counter(&self, queue: &str, cause: &str) -> Arc<AtomicU64> {
        let name = format!("{queue}:{cause}");
        let mut all = lock(&self.0);
        if let Some((_, counter)) = all.iter().find(|(n, _)| *n == name) {
            return counter.clone();
        }
        let counter = Arc::new(AtomicU64::new(0));
        all.push((name, counter.clone()));
        counter
    }

    /// All counts, zeros included.
    pub fn list(&self) -> Vec<(String, u64)> {
        lock(&self.0).iter().map(|(n, c)| (n.clone(), c.load(Ordering::Relaxed))).collect()
    }
}

/// Where adapters put what they read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RawSender {
    to: mpsc::Sender<Vec<Sample>>,
    dropped: Arc<AtomicU64>,
}

impl RawSender {
    /// A queue of `capacity` batches; drops are counted under `raw:full`.
    pub fn new(capacity: usize, drops: &DropCounts) -> (Self, mpsc::Receiver<Vec<Sample>>) {
        let (to, from) = mpsc::channel(capacity);
        (Self { to, dropped: drops.counter("raw", "full") }, from)
    }

    /// Puts a batch; drops and counts it when the queue is full.
    pub fn send(&self, batch: Vec<Sample>) {
        if batch.is_empty() {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(batch)) = self.to.try_send(batch) {
            self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
    }
}

/// What a full queue of a reader does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Drop the oldest batch, count its samples.
    DropOldest,
}

#[derive(Debug)]
struct Queue {
    batches: Mutex<VecDeque<Batch>>,
    capacity: usize,
    ready: Notify,
    dropped: Arc<AtomicU64>,
    closed: std::sync::atomic::AtomicBool,
}

/// One reader's end of the bus.
#[derive(Debug)]
pub struct Reader(Arc<Queue>);

impl Reader {
    /// The next batch; none when the bus is gone and everything is read.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            // Registered before the look, so that a batch put between the two wakes it.
            let ready = self.0.ready.notified();
            // Looked at before the queue: what was put before the bus closed is still read.
            let closed = self.0.closed.load(Ordering::Acquire);
            let batch = lock(&self.0.batches).pop_front();
            if batch.is_some() || closed {
                return batch;
            }
            ready.await;
        }
    }

    /// The next batch if one is there.
    pub fn try_next(&mut self) -> Option<Batch> {
        lock(&self.0.batches).pop_front()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

/// The processed side of the bus. Cheap to clone; when the last clone goes, readers end.
#[derive(Debug, Clone, Default)]
pub struct Bus(Arc<Readers>);

#[derive(Debug, Default)]
struct Readers {
    queues: Mutex<Vec<Arc<Queue>>>,
    drops: DropCounts,
}

impl Bus {
    /// A bus that counts drops in `drops`.
    pub fn new(drops: DropCounts) -> Self {
        Self(Arc::new(Readers { queues: Mutex::default(), drops }))
    }

    /// A new reader with its own queue of `capacity` batches. Drops are counted under `<name>:slow`.
    pub fn subscribe(&self, name: &str, capacity: usize, policy: Policy) -> Reader {
        let Policy::DropOldest = policy;
        let queue = Arc::new(Queue {
            batches: Mutex::default(),
            capacity: capacity.max(1),
            ready: Notify::new(),
            dropped: self.0.drops.counter(name, "slow"),
            closed: false.into(),
        });
        lock(&self.0.queues).push(queue.clone());
        Reader(queue)
    }

    /// Gives a batch to every reader.
    pub fn publish(&self, batch: &Batch) {
        let mut queues = lock(&self.0.queues);
        queues.retain(|q| !q.closed.load(Ordering::Acquire));
        for queue in queues.iter() {
            let mut batches = lock(&queue.batches);
            if batches.len() >= queue.capacity
                && let Some(oldest) = batches.pop_front()
            {
                queue.dropped.fetch_add(oldest.len() as u64, Ordering::Relaxed);
            }
            batches.push_back(batch.clone());
            drop(batches);
            queue.ready.notify_one();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for queue in lock(&self.queues).iter() {
            queue.closed.store(true, Ordering::Release);
            queue.ready.notify_one();
        }
    }
}

/// A lock that a panicking holder does not take with it: the data under these locks is never left half
/// changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use common::{PointId, Quality};

    use super::*;

    fn batch(n: u32) -> Batch {
        vec![Sample::bad(PointId(n), Quality::BAD, 0)].into()
    }

    #[tokio::test]
    async fn a_slow_reader_loses_its_oldest_and_nobody_else_does() {
        let drops = DropCounts::default();
        let bus = Bus::new(drops.clone());
        let mut slow = bus.subscribe("slow", 2, Policy::DropOldest);
        let mut fast = bus.subscribe("fast", 100, Policy::DropOldest);
        for n in 0..5 {
            bus.publish(&batch(n));
        }
        assert_eq!(slow.next().await.unwrap()[0].point, PointId(3));
        assert_eq!(slow.next().await.unwrap()[0].point, PointId(4));
        for n in 0..5 {
            assert_eq!(fast.next().await.unwrap()[0].point, PointId(n));
        }
        assert_eq!(drops.list(), [("slow:slow".to_owned(), 3), ("fast:slow".to_owned(), 0)]);
        bus.publish(&batch(9));
        drop(bus);
        assert_eq!(slow.next().await.unwrap()[0].point, PointId(9));
        assert!(slow.next().await.is_none());
    }

    #[test]
    fn a_full_raw_queue_counts_samples() {
        let drops = DropCounts::default();
        let (raw, _from) = RawSender::new(1, &drops);
        raw.send(batch(1).to_vec());
        raw.send(batch(2).to_vec());
        raw.send(vec![]);
        assert_eq!(drops.list(), [("raw:full".to_owned(), 1)]);
    }
}
