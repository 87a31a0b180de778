//! The bus. Adapters push raw batches into one bounded queue; the pipeline publishes processed batches to
//! independent readers, each with its own queue of a bounded number of samples, which drops its oldest batch when full. Nobody
//! blocks the bus: there is no back-pressure to the field. Every drop is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::Sample;
use common::wire::Waveform;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::registry::Registry;

/// Samples that belong together, shared by all readers.
pub type Batch = Arc<[Sample]>;

/// What a reader finds on the bus, in order.
#[derive(Debug, Clone)]
pub enum Item {
    /// Samples of the registry that came last, or of the first one.
    Batch(Batch),
    /// From here on samples are of this generation. Never dropped.
    Registry(Arc<Registry>),
}

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

/// A block of a waveform on its way to the log. It goes past pipeline and bus: what it is was said where it was read.
#[derive(Debug)]
pub struct Block {
    /// Device and point, so that a reload in between does not give it to another.
    pub path: String,
    /// From which generation of the registry on the point has its number: the log may not have come to it yet.
    pub generation: u64,
    /// The whole block.
    pub wave: Waveform,
    /// Its values' part of what may wait; given back with it.
    _room: OwnedSemaphorePermit,
}

/// Where adapters put what they read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RawSender {
    to: mpsc::Sender<Vec<Sample>>,
    dropped: Arc<AtomicU64>,
    blocks: Option<(mpsc::Sender<Block>, Arc<Semaphore>)>,
    blocks_dropped: Arc<AtomicU64>,
}

impl RawSender {
    /// A queue of `capacity` batches; drops are counted under `raw:full`.
    pub fn new(capacity: usize, drops: &DropCounts) -> (Self, mpsc::Receiver<Vec<Sample>>) {
        let (to, from) = mpsc::channel(capacity);
        let (dropped, blocks_dropped) = (drops.counter("raw", "full"), drops.counter("waveforms", "full"));
        (Self { to, dropped, blocks: None, blocks_dropped }, from)
    }

    /// The same with a queue of `capacity` blocks of waveforms, of at most `values` values in all, with that in hand; drops are
    /// counted, in values, under `waveforms:full`.
    pub fn with_blocks(self, capacity: usize, values: usize) -> (Self, mpsc::Receiver<Block>) {
        let (blocks, from) = mpsc::channel(capacity);
        (Self { blocks: Some((blocks, Arc::new(Semaphore::new(values)))), ..self }, from)
    }

    /// Puts a block of a waveform of a point, which has its number from that generation on; drops and counts it when the queue
    /// is full, or there is none.
    pub fn send_block(&self, path: String, generation: u64, wave: Waveform) {
        let values = wave.values.len() as u64;
        let put = |(to, room): &(mpsc::Sender<Block>, Arc<Semaphore>)| {
            let room = Arc::clone(room).try_acquire_many_owned(u32::try_from(values).ok()?).ok()?;
            to.try_send(Block { path, generation, wave, _room: room }).ok()
        };
        if self.blocks.as_ref().and_then(put).is_none() {
            self.blocks_dropped.fetch_add(values, Ordering::Relaxed);
        }
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
    /// Drop the oldest batches, count their samples.
    DropOldest,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    capacity: usize,
    ready: Notify,
    dropped: Arc<AtomicU64>,
    closed: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    samples: usize,
}

impl Queue {
    fn put(&self, waiting: &mut Waiting, batch: &Batch) {
        while waiting.samples + batch.len() > self.capacity
            && let Some(oldest) = waiting.drop_oldest()
        {
            self.dropped.fetch_add(oldest.len() as u64, Ordering::Relaxed);
        }
        waiting.items.push_back(Item::Batch(batch.clone()));
        waiting.samples += batch.len();
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if let Item::Batch(batch) = &item {
            self.samples -= batch.len();
        }
        Some(item)
    }

    /// Takes the oldest batch out; generations stay.
    fn drop_oldest(&mut self) -> Option<Batch> {
        let at = self.items.iter().position(|i| matches!(i, Item::Batch(_)))?;
        let Some(Item::Batch(batch)) = self.items.remove(at) else { return None };
        self.samples -= batch.len();
        // Of two that now follow each other only the later one means something.
        let is_registry = |i: Option<&Item>| matches!(i, Some(Item::Registry(_)));
        if at > 0 && is_registry(self.items.get(at - 1)) && is_registry(self.items.get(at)) {
            self.items.remove(at - 1);
        }
        Some(batch)
    }

    fn renew(&mut self, registry: Arc<Registry>) {
        if matches!(self.items.back(), Some(Item::Registry(_))) {
            self.items.pop_back();
        }
        self.items.push_back(Item::Registry(registry));
    }
}

/// One reader's end of the bus.
#[derive(Debug)]
pub struct Reader(Arc<Queue>);

impl Reader {
    /// The next item; none when the bus is gone and everything is read.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            // Registered before the look, so that a batch put between the two wakes it.
            let ready = self.0.ready.notified();
            // Looked at before the queue: what was put before the bus closed is still read.
            let closed = self.0.closed.load(Ordering::Acquire);
            let item = lock(&self.0.waiting).pop();
            if item.is_some() || closed {
                return item;
            }
            ready.await;
        }
    }

    /// The next item if one is there.
    pub fn try_next(&mut self) -> Option<Item> {
        lock(&self.0.waiting).pop()
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
    /// The generation that was put last, for readers that come later.
    registry: Mutex<Option<Arc<Registry>>>,
    drops: DropCounts,
}

impl Bus {
    /// A bus that counts drops in `drops`.
    pub fn new(drops: DropCounts) -> Self {
        Self(Arc::new(Readers { queues: Mutex::default(), registry: Mutex::default(), drops }))
    }

    /// A new reader with its own queue of `capacity` samples; one batch always fits. Drops are counted under
    /// `<name>:slow`.
    pub fn subscribe(&self, name: &str, capacity: usize, policy: Policy) -> Reader {
        let Policy::DropOldest = policy;
        let mut queues = lock(&self.0.queues);
        let registry = lock(&self.0.registry).clone().map(Item::Registry);
        let queue = Arc::new(Queue {
            waiting: Mutex::new(Waiting { items: registry.into_iter().collect(), samples: 0 }),
            capacity: capacity.max(1),
            ready: Notify::new(),
            dropped: self.0.drops.counter(name, "slow"),
            closed: false.into(),
        });
        queues.push(queue.clone());
        drop(queues);
        Reader(queue)
    }

    /// Tells every reader that what follows is of another generation.
    pub fn renew(&self, registry: &Arc<Registry>) {
        let queues = lock(&self.0.queues);
        *lock(&self.0.registry) = Some(registry.clone());
        for queue in queues.iter() {
            lock(&queue.waiting).renew(registry.clone());
            queue.ready.notify_one();
        }
    }

    /// Gives a batch to every reader.
    pub fn publish(&self, batch: &Batch) {
        self.publish_all(std::slice::from_ref(batch));
    }

    /// Gives batches to every reader, and wakes each once.
    pub fn publish_all(&self, batches: &[Batch]) {
        if batches.is_empty() {
            return;
        }
        let mut queues = lock(&self.0.queues);
        queues.retain(|q| !q.closed.load(Ordering::Acquire));
        for queue in queues.iter() {
            let mut waiting = lock(&queue.waiting);
            batches.iter().for_each(|batch| queue.put(&mut waiting, batch));
            drop(waiting);
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
    use common::wire::WaveValues;
    use common::{PointId, Quality};

    use super::*;

    fn batch(n: u32) -> Batch {
        vec![Sample::bad(PointId(n), Quality::BAD, 0)].into()
    }

    fn first(item: Option<Item>) -> Option<PointId> {
        match item {
            Some(Item::Batch(batch)) => Some(batch[0].point),
            Some(Item::Registry(_)) => Some(PointId(u32::MAX)),
            None => None,
        }
    }

    fn registry() -> Arc<Registry> {
        let (tenant, gateway) = (common::TenantId::default(), "g1".parse().unwrap());
        Arc::new(Registry::new(common::Schema { tenant, gateway, devices: vec![] }, vec![], vec![]).unwrap())
    }

    #[tokio::test]
    async fn a_generation_keeps_its_place_and_is_never_dropped() {
        let bus = Bus::default();
        let mut reader = bus.subscribe("r", 1, Policy::DropOldest);
        bus.publish(&batch(1));
        bus.renew(&registry());
        bus.publish(&batch(2));
        assert_eq!(first(reader.next().await), Some(PointId(u32::MAX)), "the full queue dropped the batch");
        assert_eq!(first(reader.next().await), Some(PointId(2)));
        let mut late = bus.subscribe("late", 1, Policy::DropOldest);
        assert_eq!(first(late.try_next()), Some(PointId(u32::MAX)));
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
        assert_eq!(first(slow.next().await), Some(PointId(3)));
        assert_eq!(first(slow.next().await), Some(PointId(4)));
        for n in 0..5 {
            assert_eq!(first(fast.next().await), Some(PointId(n)));
        }
        assert_eq!(drops.list(), [("slow:slow".to_owned(), 3), ("fast:slow".to_owned(), 0)]);
        bus.publish(&batch(9));
        drop(bus);
        assert_eq!(first(slow.next().await), Some(PointId(9)));
        assert!(slow.next().await.is_none());
    }

    #[tokio::test]
    async fn a_queue_is_bounded_in_samples_and_takes_a_batch_that_is_larger_alone() {
        let drops = DropCounts::default();
        let bus = Bus::new(drops.clone());
        let mut reader = bus.subscribe("r", 4, Policy::DropOldest);
        let of = |n: u32, len: usize| Batch::from(vec![Sample::bad(PointId(n), Quality::BAD, 0); len]);
        for (n, len) in [(0, 2), (1, 2), (2, 1), (3, 3), (4, 9)] {
            bus.publish(&of(n, len));
        }
        assert_eq!(first(reader.try_next()), Some(PointId(4)));
        assert!(reader.try_next().is_none());
        assert_eq!(drops.list(), [("r:slow".to_owned(), 8)]);
    }

    #[test]
    fn a_full_raw_queue_counts_samples() {
        let drops = DropCounts::default();
        let (raw, _from) = RawSender::new(1, &drops);
        raw.send(batch(1).to_vec());
        raw.send(batch(2).to_vec());
        raw.send(vec![]);
        assert_eq!(drops.list(), [("raw:full".to_owned(), 1), ("waveforms:full".to_owned(), 0)]);
    }

    #[test]
    fn blocks_wait_by_their_values() {
        let drops = DropCounts::default();
        let (raw, mut from) = RawSender::new(1, &drops).0.with_blocks(10, 5);
        let put = |values: usize| {
            let wave = Waveform {
                point: PointId(0),
                quality: Quality::GOOD,
                t0_us: 0,
                received_us: 0,
                dt_ps: 1,
                first: 0,
                total: 1,
                scale: 1.0,
                offset: 0.0,
                values: WaveValues::I16(vec![0; values]),
            };
            raw.send_block("d/p".into(), 0, wave);
        };
        let dropped = || drops.list().into_iter().find(|d| d.0 == "waveforms:full").unwrap().1;
        [2, 4, 3].into_iter().for_each(put);
        assert_eq!(dropped(), 4, "there was room for three");
        // What is in hand still counts.
        let in_hand = from.try_recv().unwrap();
        put(1);
        assert_eq!(dropped(), 5);
        drop(in_hand);
        put(2);
        assert_eq!(dropped(), 5);
        let rest = [from.try_recv().unwrap(), from.try_recv().unwrap()];
        assert_eq!(rest.map(|b| b.wave.values.len()), [3, 2]);
    }
}
