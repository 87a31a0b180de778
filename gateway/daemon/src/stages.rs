//! The groups of parts in the order in which they are drained: what lets in, what takes in, what processes, what delivers, what
//! keeps. So nothing that was taken in is lost at a good end.

use std::time::Duration;

use common::supervise::{Backoff, Parts, Supervisor};
use common::{Clock, Drain};
use tokio::runtime::Handle;

use crate::field_thread::FieldThread;

/// How long each group may take to end; all together under two seconds.
const LIMITS: [Duration; 5] = [
    Duration::from_millis(550),
    Duration::from_millis(800),
    Duration::from_millis(150),
    Duration::from_millis(150),
    Duration::from_millis(300),
];

/// A group of parts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    /// The broker: no more is acknowledged to who publishes.
    Doors,
    /// Drivers, control, API, uplink: no more comes in.
    Field,
    /// The pipeline and events: what came in is processed.
    Process,
    /// Readers of the bus.
    Deliver,
    /// The buffer.
    Keep,
}

pub(crate) struct Stages {
    field: Option<FieldThread>,
    supervisors: [Supervisor; 5],
    drains: [Drain; 5],
}

impl Stages {
    pub(crate) fn new(clock: &Clock) -> Self {
        let drains: [Drain; 5] = std::array::from_fn(|_| Drain::new());
        let supervisor = |d: &Drain| Supervisor::new(clock.clone(), d.clone(), Backoff::default());
        Self { field: FieldThread::start(), supervisors: drains.each_ref().map(supervisor), drains }
    }

    pub(crate) fn supervisor(&mut self, stage: Stage) -> &mut Supervisor {
        &mut self.supervisors[stage as usize]
    }

    /// Where parts run that no other may hold up.
    pub(crate) fn field(&self) -> Handle {
        self.field.as_ref().map_or_else(Handle::current, |f| f.handle().clone())
    }

    pub(crate) fn drain(&self, stage: Stage) -> Drain {
        self.drains[stage as usize].clone()
    }

    /// How the parts of all groups fare.
    pub(crate) fn parts(&self) -> Vec<Parts> {
        self.supervisors.iter().map(Supervisor::parts).collect()
    }

    /// Drains one group after the other; the names of parts that had to be cut off.
    pub(crate) async fn finish(self) -> Vec<String> {
        let mut late = Vec::new();
        for ((supervisor, drain), limit) in self.supervisors.into_iter().zip(self.drains).zip(LIMITS) {
            drain.start();
            late.extend(supervisor.finish(limit).await);
        }
        late
    }
}
