//! The daemon's own small parts: raw batches through the pipeline onto the bus, and events of devices into the
//! log.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use common::command::LogEntry;
use common::supervise::PartError;
use common::wire::Body;
use common::{Clock, Drain, QualityClass, Sample};
use gateway_core::{Batch, Bus, Current, FrameLog, Pulse, Registry};
use gateway_pipeline::{AlarmDefinition, Definition, Pipeline};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep_until};

use crate::derived::Derived;

/// How often swinging doors are looked at for what they have held back long enough.
const DOORS_EVERY: Duration = Duration::from_millis(250);

/// The pipeline turns at least so often, to show that it does.
const TURN_EVERY: Duration = Duration::from_secs(2);

/// Batches taken from the queue at once.
const TOGETHER: usize = 64;

/// Samples received, by device and quality class.
#[derive(Debug, Default)]
pub(crate) struct SampleCounts(RwLock<Vec<[AtomicU64; 3]>>);

impl SampleCounts {
    pub(crate) fn new(devices: usize) -> Arc<Self> {
        Arc::new(Self(RwLock::new((0..devices).map(|_| Default::default()).collect())))
    }

    fn count(&self, device: usize, class: QualityClass, samples: u64) {
        if let Some(counts) = self.all().get(device) {
            counts[class as usize].fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// Locked once for a batch.
    fn all(&self) -> RwLockReadGuard<'_, Vec<[AtomicU64; 3]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes over to another generation: an index that another device has now counts from 0.
    fn renew(&self, old: &Registry, new: &Registry) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let slots = new.device_slots().max(all.len());
        all.resize_with(slots, Default::default);
        for (index, counts) in all.iter_mut().enumerate() {
            if old.device(index).map(|d| &d.name) != new.device(index).map(|d| &d.name) {
                *counts = Default::default();
            }
        }
    }

    /// Good, uncertain and bad of a device.
    pub(crate) fn of(&self, device: usize) -> [u64; 3] {
        self.all().get(device).map_or([0; 3], |c| [0, 1, 2].map(|i| c[i].load(Ordering::Relaxed)))
    }
}

/// What the pipeline's part works with. It stays over restarts of the part.
pub(crate) struct Processing {
    pub(crate) raw: Mutex<mpsc::Receiver<Vec<Sample>>>,
    pub(crate) pipeline: Mutex<Pipeline>,
    pub(crate) derived: Mutex<Derived>,
    /// Later generations of the registry.
    pub(crate) generations: Mutex<mpsc::Receiver<Switch>>,
    pub(crate) current: Current,
    pub(crate) bus: Bus,
    pub(crate) counts: Arc<SampleCounts>,
    pub(crate) pulse: Pulse,
    pub(crate) clock: Clock,
}

/// Asks for a later generation. What was read before this is still of the one before.
pub(crate) struct Switch {
    pub(crate) registry: Arc<Registry>,
    /// Its virtual points.
    pub(crate) definitions: Vec<Definition>,
    /// Its alarms.
    pub(crate) alarms: Vec<AlarmDefinition>,
    pub(crate) done: oneshot::Sender<()>,
}

impl Processing {
    /// Until drained; then what adapters have sent before is still processed.
    pub(crate) async fn run(self: Arc<Self>, drain: Drain) -> Result<(), PartError> {
        let mut raw = self.raw.lock().await;
        let mut pipeline = self.pipeline.lock().await;
        let mut derived = self.derived.lock().await;
        let mut doors = pipeline.has_doors().then(|| Instant::now() + DOORS_EVERY);
        let mut generations = self.generations.lock().await;
        let mut batches = Vec::with_capacity(TOGETHER);
        let mut ready = Vec::with_capacity(TOGETHER);
        let mut stop = pin!(drain.started());
        let beat = self.pulse.join("pipeline");
        let mut synchronised = self.clock.is_synchronised();
        let mut turn = interval(TURN_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.turns(TURN_EVERY);
            // Without virtual points and doors there is no such time.
            let due = derived.next().map(|wait| Instant::now() + wait);
            let due = due.into_iter().chain(doors).min();
            tokio::select! {
                biased;
                Some(switch) = generations.recv() => {
                    for _ in 0..raw.len() {
                        let Ok(batch) = raw.try_recv() else { break };
                        self.publish(&mut pipeline, &mut derived, batch);
                    }
                    self.switch(&mut pipeline, &mut derived, switch);
                    doors = pipeline.has_doors().then(|| Instant::now() + DOORS_EVERY);
                }
                () = until(due) => {
                    if doors.is_some_and(|at| at <= Instant::now()) {
                        pipeline.flush_doors(derived.now().utc_us, false);
                        doors = Some(Instant::now() + DOORS_EVERY);
                    }
                    self.publish(&mut pipeline, &mut derived, vec![]);
                }
                came = raw.recv_many(&mut batches, TOGETHER) => {
                    if came == 0 {
                        break;
                    }
                    let process = |batch| self.process(&mut pipeline, &mut derived, batch);
                    ready.extend(batches.drain(..).filter_map(process));
                    self.bus.publish_all(&ready);
                    ready.clear();
                }
                () = &mut stop => break,
                _ = turn.tick() => {
                    let before = std::mem::replace(&mut synchronised, self.clock.is_synchronised());
                    if synchronised && !before {
                        // Of what a deadband holds back nobody knew the time: it is told again.
                        pipeline.begin_again();
                        self.publish(&mut pipeline, &mut derived, vec![]);
                    }
                }
            }
        }
        while let Ok(batch) = raw.try_recv() {
            self.publish(&mut pipeline, &mut derived, batch);
        }
        pipeline.flush_doors(0, true);
        self.publish(&mut pipeline, &mut derived, vec![]);
        derived.finish();
        Ok(())
    }

    fn switch(&self, pipeline: &mut Pipeline, derived: &mut Derived, switch: Switch) {
        let Switch { registry, definitions, alarms, done } = switch;
        let old = pipeline.registry().clone();
        // What a swinging door holds back is a value of before.
        pipeline.release_doors(&registry);
        self.publish(pipeline, derived, vec![]);
        self.counts.renew(&old, &registry);
        self.current.renew(&registry.changes_since(&old), registry.slots());
        pipeline.renew(registry.clone());
        derived.renew(definitions, alarms, &registry);
        self.bus.renew(&registry);
        // Who asked may be gone.
        let _ = done.send(());
    }

    fn publish(&self, pipeline: &mut Pipeline, derived: &mut Derived, batch: Vec<Sample>) {
        self.bus.publish_all(self.process(pipeline, derived, batch).as_slice());
    }

    /// What of a batch goes on to the bus, and what follows from it.
    fn process(
        &self,
        pipeline: &mut Pipeline,
        derived: &mut Derived,
        mut batch: Vec<Sample>,
    ) -> Option<Batch> {
        let now = derived.is_active().then(|| derived.now());
        self.count(pipeline.registry(), &batch);
        pipeline.judge_all(&mut batch);
        // Also what the deadband holds back: an interlock must see the value as it is.
        self.current.update(&batch);
        if let Some(now) = now {
            batch.iter().for_each(|sample| derived.feed(sample, now));
        }
        batch.retain(|sample| pipeline.passes(sample));
        if let Some(now) = now {
            derived.run(now, &mut |raw| {
                let sample = pipeline.judge(raw)?;
                self.current.update(std::slice::from_ref(&sample));
                if pipeline.passes(&sample) {
                    batch.push(sample.clone());
                }
                Some(sample)
            });
        }
        pipeline.take_corners(&mut batch);
        (!batch.is_empty()).then(|| batch.into())
    }

    fn count(&self, registry: &Registry, batch: &[Sample]) {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let found =
                registry.point(first.point).and_then(|p| Some((p.device, registry.device(p.device)?)));
            let Some((index, device)) = found else {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            // The points of a device follow each other.
            let is_like = |s: &&Sample| s.quality == first.quality && device.points.contains(&s.point.0);
            let like = rest.iter().take_while(is_like).count().max(1);
            self.counts.count(index, first.quality.class(), like as u64);
            rest = rest.get(like..).unwrap_or_default();
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Brings events of devices into the log until drained.
pub(crate) async fn log_events(
    events: Arc<Mutex<mpsc::Receiver<LogEntry>>>,
    log: Arc<dyn FrameLog>,
    drain: Drain,
) -> Result<(), PartError> {
    let mut events = events.lock().await;
    let append = |entry: LogEntry| {
        if let Err(error) = log.append(Body::Event(entry)) {
            tracing::warn!(%error, "cannot log an event");
        }
    };
    loop {
        tokio::select! {
            entry = events.recv() => match entry {
                Some(entry) => append(entry),
                None => return Ok(()),
            },
            () = drain.started() => break,
        }
    }
    while let Ok(entry) = events.try_recv() {
        append(entry);
    }
    Ok(())
}
