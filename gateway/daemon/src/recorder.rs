//! The log as the rest of the daemon sees it: the buffer itself, and beside it what passes into it, kept for the
//! local API: the last audit and event entries, and how far samples are durable. It changes no frame.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use common::api::BufferHealth;
use common::command::{CommandUpdate, LogEntry};
use common::supervise::PartError;
use common::wire::{Body, Frame, Known, Snapshot, StreamRange};
use common::{Classes, Drain, Incarnation, IntervalSet, PointId, SchemaHash};
use gateway_core::{FrameId, FrameLog, Lacking, LogError, Registry, Watermark};
use gateway_store::Store;
use tokio::sync::watch;

/// Entries kept for the list.
const ENTRIES: usize = 2000;
/// Frames of earlier runs looked through for entries.
const OLD_FRAMES: u64 = 20_000;
const OLD_BYTES: usize = 1 << 20;

/// An entry with its place in the list: newer ones have greater numbers.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) entry: LogEntry,
}

/// How far samples are durable, for outside oracles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    pub(crate) step: u64,
    pub(crate) seq: u64,
    pub(crate) samples: u64,
    pub(crate) points: Vec<DurablePoint>,
}

/// What is durable of a point in this incarnation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DurablePoint {
    /// The last step that brought samples of it.
    pub(crate) step: u64,
    pub(crate) samples: u64,
    /// Source times of the first and last sample, UTC us.
    pub(crate) first_us: i64,
    pub(crate) last_us: i64,
}

/// Frames on their way to disk of which more is remembered than how many samples of each point they hold.
const PENDING: usize = 200;

/// A sample frame on its way to disk; or, when there are too many, several.
struct Pending {
    seq: u64,
    samples: Vec<Waiting>,
}

/// Samples of a point that are not known to be durable.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    point: PointId,
    samples: u32,
    first_us: i64,
    last_us: i64,
}

impl Waiting {
    fn one(point: PointId, source_us: i64) -> Self {
        Self { point, samples: 1, first_us: source_us, last_us: source_us }
    }
}

impl Pending {
    /// Takes a later frame in: they count as durable together. So a disk that hangs costs no more memory than
    /// there are points.
    fn merge(&mut self, later: Self) {
        self.seq = later.seq;
        self.samples.extend(later.samples);
        // Stable: the samples of a point stay in their order.
        self.samples.sort_by_key(|w| w.point);
        self.samples.dedup_by(|next, kept| {
            let same = next.point == kept.point;
            if same {
                kept.samples = kept.samples.saturating_add(next.samples);
                kept.last_us = next.last_us;
            }
            same
        });
    }
}

struct Seen {
    registry: Arc<Registry>,
    entries: VecDeque<Entry>,
    next: i64,
    pending: VecDeque<Pending>,
    durable: Durable,
}

pub(crate) struct Recorder {
    store: Arc<Store>,
    seen: Mutex<Seen>,
    step: watch::Sender<u64>,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    pub(crate) fn new(store: Arc<Store>, registry: Arc<Registry>) -> Arc<Self> {
        let seen = Mutex::new(Seen::new(registry));
        Arc::new(Self { store, seen, step: watch::Sender::new(0) })
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Entries, newest first, older than `before`.
    pub(crate) fn entries(&self, before: Option<i64>) -> Vec<Entry> {
        let seen = lock(&self.seen);
        seen.entries.iter().rev().filter(|e| before.is_none_or(|b| e.number < b)).cloned().collect()
    }

    /// Changes whenever `durable` does.
    pub(crate) fn steps(&self) -> watch::Receiver<u64> {
        self.step.subscribe()
    }

    /// How far samples are durable now.
    pub(crate) fn durable_samples(&self) -> Durable {
        lock(&self.seen).durable.clone()
    }

    /// Follows the durable watermark until drained.
    pub(crate) async fn run(self: Arc<Self>, drain: Drain) -> Result<(), PartError> {
        let mut watermark = self.store.watermark();
        loop {
            let durable = watermark.borrow_and_update().durable;
            self.advance(durable);
            tokio::select! {
                changed = watermark.changed() => changed?,
                () = drain.started() => break,
            }
        }
        let durable = watermark.borrow().durable;
        self.advance(durable);
        Ok(())
    }

    fn advance(&self, to: u64) {
        let mut seen = lock(&self.seen);
        let Seen { pending, durable, .. } = &mut *seen;
        if to <= durable.seq {
            return;
        }
        durable.step += 1;
        durable.seq = to;
        while pending.front().is_some_and(|p| p.seq <= to) {
            let Some(frame) = pending.pop_front() else { break };
            for waiting in frame.samples {
                let samples = u64::from(waiting.samples);
                durable.samples += samples;
                let Some(slot) = durable.points.get_mut(waiting.point.index()) else { continue };
                if slot.samples == 0 {
                    slot.first_us = waiting.first_us;
                }
                slot.samples += samples;
                (slot.step, slot.last_us) = (durable.step, waiting.last_us);
            }
        }
        let step = durable.step;
        drop(seen);
        self.step.send_replace(step);
    }

    /// Looks through the frames of earlier runs for entries, newest runs first. Reads files: may block.
    pub(crate) fn load_old_entries(&self) {
        let current = self.store.incarnation();
        let mut left = OLD_FRAMES;
        for range in self.store.ranges().iter().rev().filter(|r| r.incarnation != current) {
            let first = range.first.max(range.last.saturating_sub(left.saturating_sub(1)));
            left = left.saturating_sub(range.last - first + 1);
            let found = self.entries_of(range.incarnation, first, range.last);
            let mut seen = lock(&self.seen);
            for entry in found.into_iter().rev() {
                let number = seen.entries.front().map_or(-1, |e| e.number.min(0) - 1);
                if seen.entries.len() < ENTRIES {
                    seen.entries.push_front(Entry { number, entry });
                }
            }
            if left == 0 || seen.entries.len() >= ENTRIES {
                break;
            }
        }
    }

    fn entries_of(&self, incarnation: Incarnation, first: u64, last: u64) -> Vec<LogEntry> {
        let mut found = Vec::new();
        let mut from = first;
        while from <= last {
            let Ok(frames) = self.store.read(incarnation, from, OLD_BYTES) else { break };
            let Some((end, _)) = frames.last() else { break };
            from = end + 1;
            for (_, bytes) in &frames {
                match Frame::decode(bytes) {
                    Ok(Frame { body: Body::Audit(e) | Body::Event(e), .. }) => found.push(e),
                    Ok(Frame { body: Body::Alarm(alarm), .. }) => found.push(alarm.entry()),
                    _ => {}
                }
            }
        }
        found
    }
}

impl Seen {
    fn new(registry: Arc<Registry>) -> Self {
        let durable =
            Durable { points: vec![DurablePoint::default(); registry.slots()], ..Durable::default() };
        Self { registry, entries: VecDeque::new(), next: 0, pending: VecDeque::new(), durable }
    }

    /// Goes over to a later generation. Counts stay with the name of a point, whatever its values mean: who counts
    /// outside of the process knows no numbers.
    fn renew(&mut self, registry: &Arc<Registry>) {
        let old = std::mem::replace(&mut self.registry, registry.clone());
        let to = |id: PointId| {
            let was = old.point(id)?;
            if let Some(now) = registry.point(id).filter(|now| now.schema.name == was.schema.name)
                && registry.device(now.device).map(|d| &d.name) == old.device(was.device).map(|d| &d.name)
            {
                return Some(now.id);
            }
            Some(registry.find(&old.device(was.device)?.name, &was.schema.name)?.id)
        };
        let before = std::mem::take(&mut self.durable.points);
        self.durable.points = vec![DurablePoint::default(); registry.slots()];
        for (n, state) in (0..).zip(before) {
            let slot = to(PointId(n)).and_then(|id| self.durable.points.get_mut(id.index()));
            if let Some(slot) = slot {
                *slot = state;
            }
        }
        for pending in &mut self.pending {
            for waiting in &mut pending.samples {
                // Of a point that is gone: counted in the sum alone.
                waiting.point = to(waiting.point).unwrap_or(PointId(u32::MAX));
            }
        }
    }

    fn note(&mut self, frame: FrameId, entry: Option<LogEntry>, samples: Option<Vec<Waiting>>) {
        if let Some(entry) = entry {
            if self.entries.len() >= ENTRIES {
                self.entries.pop_front();
            }
            self.entries.push_back(Entry { number: self.next, entry });
            self.next += 1;
        }
        if let Some(samples) = samples {
            let new = Pending { seq: frame.seq, samples };
            let full = self.pending.len() >= PENDING;
            match self.pending.back_mut().filter(|_| full) {
                Some(last) => last.merge(new),
                None => self.pending.push_back(new),
            }
        }
    }
}

#[async_trait]
impl FrameLog for Recorder {
    fn incarnation(&self) -> Incarnation {
        self.store.incarnation()
    }

    fn append(&self, body: Body) -> Result<FrameId, LogError> {
        let entry = match &body {
            Body::Audit(e) | Body::Event(e) => Some(e.clone()),
            Body::Alarm(alarm) => Some(alarm.entry()),
            _ => None,
        };
        let samples = match &body {
            Body::Samples(rows) => Some(rows.iter().map(|s| Waiting::one(s.point, s.source_us)).collect()),
            _ => None,
        };
        // Held over the append, so that frames stand here in the order of their numbers, and before the
        // watermark can pass them.
        let mut seen = lock(&self.seen);
        let frame = self.store.append(body)?;
        seen.note(frame, entry, samples);
        Ok(frame)
    }

    /// Of blocks of waveforms, which nobody waits for here.
    fn append_of(&self, schema: SchemaHash, body: Body) -> Result<FrameId, LogError> {
        let mut seen = lock(&self.seen);
        let frame = self.store.append_of(schema, body)?;
        seen.note(frame, None, None);
        Ok(frame)
    }

    fn renew(&self, registry: &Arc<Registry>) {
        let mut seen = lock(&self.seen);
        if registry.generation() > seen.registry.generation() {
            seen.renew(registry);
        }
        self.store.renew(registry);
    }

    async fn durable(&self, frame: FrameId) -> Result<(), LogError> {
        self.store.durable(frame).await
    }

    fn watermark(&self) -> watch::Receiver<Watermark> {
        self.store.watermark()
    }

    fn snapshot(&self) -> Vec<Snapshot> {
        self.store.snapshot()
    }

    fn ranges(&self) -> Vec<StreamRange> {
        self.store.ranges()
    }

    fn schemas(&self) -> Vec<SchemaHash> {
        self.store.schemas()
    }

    fn classes(&self, schema: SchemaHash) -> Classes {
        self.store.classes(schema)
    }

    fn schema_json(&self, hash: SchemaHash) -> Option<Vec<u8>> {
        self.store.schema_json(hash)
    }

    fn read(&self, incarnation: Incarnation, from: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        self.store.read(incarnation, from, max)
    }

    fn ack(&self, known: &[Known]) -> Result<(), LogError> {
        self.store.ack(known)
    }

    fn lacks(&self, known: &[Known]) -> Lacking {
        self.store.lacks(known)
    }

    fn acks(&self) -> Vec<Known> {
        self.store.acks()
    }

    fn hold(&self, reader: &str, from: FrameId, lag_bytes: u64) {
        self.store.hold(reader, from, lag_bytes);
    }

    fn acked(&self, incarnation: Incarnation) -> IntervalSet {
        self.store.acked(incarnation)
    }

    fn commands(&self) -> Vec<CommandUpdate> {
        self.store.commands()
    }

    fn note(&self, key: &str) -> Option<Vec<u8>> {
        self.store.note(key)
    }

    fn set_note(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        self.store.set_note(key, value)
    }

    fn health(&self) -> BufferHealth {
        self.store.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Arc<Registry> {
        let schema = common::Schema {
            tenant: common::TenantId::default(),
            gateway: "g1".parse().unwrap(),
            devices: vec![],
        };
        Arc::new(Registry::new(schema, vec![], vec![]).unwrap())
    }

    #[test]
    fn a_disk_that_hangs_costs_bounded_memory_and_no_count() {
        let mut seen = Seen::new(empty());
        let frame = |seq| FrameId { incarnation: Incarnation(1), seq };
        for seq in 1..=5000 {
            let at = i64::try_from(seq).unwrap();
            let samples = vec![Waiting::one(PointId(1), at), Waiting::one(PointId(0), at)];
            seen.note(frame(seq), None, Some(samples));
        }
        assert_eq!(seen.pending.len(), PENDING);
        assert!(seen.pending.iter().all(|p| p.samples.len() == 2));
        let total: u64 = seen.pending.iter().flat_map(|p| &p.samples).map(|w| u64::from(w.samples)).sum();
        assert_eq!(total, 10_000);
        let last = seen.pending.back().unwrap();
        assert_eq!((last.seq, last.samples[0].first_us, last.samples[0].last_us), (5000, 200, 5000));
    }
}
