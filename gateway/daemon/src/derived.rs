//! What is derived from samples on their way to the bus: virtual points and alarms. Thin: the engine is in `gateway-pipeline`;
//! here is when it runs, and that its counters are kept over a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use common::supervise::PartError;
use common::{Clock, Drain, PointId, Sample};
use gateway_core::expr::Counter;
use gateway_core::{Adapter, DeviceWriter, FrameLog, Health, Registry};
use gateway_pipeline::{AlarmDefinition, Definition, Now, Virtual};
use tokio::time::{Duration, Instant};

use crate::alarms::Desk;
use crate::gateway::StartError;

/// The note that holds counters.
const COUNTERS: &str = "virtual.counters";
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Where notes are kept, once the buffer is open.
pub(crate) type Notes = Arc<OnceLock<Arc<dyn FrameLog>>>;

/// By point and text: a counter of another formula is another counter.
type Kept = BTreeMap<String, Vec<Counter>>;

/// The virtual points of the gateway.
pub(crate) struct Derived {
    engine: Virtual,
    alarms: Arc<Desk>,
    registry: Arc<Registry>,
    clock: Clock,
    notes: Notes,
    counters: Counters,
}

enum Counters {
    None,
    /// Not read from their note yet.
    Waiting,
    Kept {
        next: Instant,
    },
}

impl Derived {
    pub(crate) fn new(
        definitions: Vec<Definition>,
        alarms: Arc<Desk>,
        registry: Arc<Registry>,
        clock: Clock,
        notes: Notes,
    ) -> Result<Self, StartError> {
        let stale_ms = |p: PointId| registry.point(p).map_or(0, |p| p.schema.stale_ms);
        let engine = Virtual::new(definitions, &stale_ms)
            .map_err(|e| StartError::Device { device: "virtual".to_owned(), detail: e.to_string() })?;
        let counters = if engine.counters().next().is_some() { Counters::Waiting } else { Counters::None };
        Ok(Self { engine, alarms, registry, clock, notes, counters })
    }

    /// Goes over to a later generation: formulas that are as they were go on with what they remember.
    pub(crate) fn renew(
        &mut self,
        definitions: Vec<Definition>,
        alarms: Vec<AlarmDefinition>,
        registry: &Arc<Registry>,
    ) {
        self.alarms.renew(alarms);
        let stale_ms = |p: PointId| registry.point(p).map_or(0, |p| p.schema.stale_ms);
        let changes = registry.changes_since(&self.registry);
        if let Err(error) = self.engine.succeed(definitions, &stale_ms, &changes) {
            // The configuration was checked for this.
            tracing::error!(%error, "virtual points keep their old formulas");
            return;
        }
        self.registry = registry.clone();
        if matches!(self.counters, Counters::None) && self.engine.counters().next().is_some() {
            self.counters = Counters::Waiting;
        }
    }

    /// Whether there is anything to do at all.
    pub(crate) fn is_active(&self) -> bool {
        !self.engine.is_empty() || !self.alarms.is_empty()
    }

    pub(crate) fn now(&self) -> Now {
        Now { utc_us: self.clock.now_us(), mono_us: self.clock.mono_us() }
    }

    /// A judged sample, before a deadband holds it back.
    pub(crate) fn feed(&mut self, sample: &Sample, now: Now) {
        self.engine.feed(sample, now);
        self.alarms.feed(sample, now);
    }

    /// Evaluates what is due.
    pub(crate) fn run(&mut self, now: Now, judge: &mut dyn FnMut(Sample) -> Option<Sample>) {
        self.keep_counters();
        let alarms = &self.alarms;
        self.engine.run(now, &mut |raw| judge(raw).inspect(|sample| alarms.feed(sample, now)));
    }

    /// How long until `run` is due again.
    pub(crate) fn next(&self) -> Option<Duration> {
        let due_us = self.engine.next_due_us()?;
        Some(Duration::from_micros(due_us.saturating_sub(self.clock.mono_us())))
    }

    fn keep_counters(&mut self) {
        let Some(log) = self.notes.get() else { return };
        match self.counters {
            Counters::None => {}
            Counters::Waiting => {
                let kept = log.note(COUNTERS).and_then(|n| serde_json::from_slice::<Kept>(&n).ok());
                self.restore(&kept.unwrap_or_default());
                self.counters = Counters::Kept { next: Instant::now() + KEEP_EVERY };
            }
            Counters::Kept { next } if Instant::now() < next => {}
            Counters::Kept { .. } => {
                self.counters = Counters::Kept { next: Instant::now() + KEEP_EVERY };
                let (log, note) = (log.clone(), self.note());
                // Writing waits for the disk.
                tokio::task::spawn_blocking(move || write(log.as_ref(), &note));
            }
        }
    }

    fn restore(&mut self, kept: &Kept) {
        let own: Vec<(PointId, String)> =
            self.engine.counters().map(|(p, text, _)| (p, key(&self.registry, p, text))).collect();
        for (point, key) in own {
            if let Some(counters) = kept.get(&key) {
                self.engine.restore(point, counters);
            }
        }
    }

    fn note(&self) -> Kept {
        self.engine.counters().map(|(p, text, c)| (key(&self.registry, p, text), c)).collect()
    }

    /// Keeps the counters as they are at the end.
    pub(crate) fn finish(&self) {
        if let (Some(log), Counters::Kept { .. }) = (self.notes.get(), &self.counters) {
            write(log.as_ref(), &self.note());
        }
    }
}

fn key(registry: &Registry, point: PointId, text: &str) -> String {
    format!("{} = {text}", registry.path(point))
}

fn write(log: &dyn FrameLog, kept: &Kept) {
    let written = serde_json::to_vec(kept).map_err(|e| e.to_string());
    let written = written.and_then(|json| log.set_note(COUNTERS, &json).map_err(|e| e.to_string()));
    if let Err(error) = written {
        tracing::warn!(error, "cannot keep the counters of virtual points");
    }
}

/// A virtual device as the table of devices sees it: there, and reading nothing.
#[derive(Debug)]
pub(crate) struct Calculated {
    pub(crate) device: usize,
    pub(crate) health: Health,
}

#[async_trait]
impl Adapter for Calculated {
    async fn run(&self, drain: Drain) -> Result<(), PartError> {
        self.health.good(self.device);
        drain.started().await;
        Ok(())
    }

    fn writer(&self) -> Option<Arc<dyn DeviceWriter>> {
        None
    }
}
