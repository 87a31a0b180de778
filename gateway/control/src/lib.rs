//! The command path: the only part of the gateway that writes to devices. Every order goes through the same
//! checks in the same order, its intent is on disk before the write, and every step is in the log. Not here:
//! how a device is spoken to (adapters), and who may ask (the local API and the cloud check roles).
//!
//! dedup -> point -> writable -> type -> finite -> limits in both units -> switch -> owner -> interlock ->
//! deadline -> intent on disk -> switch, owner, interlock and deadline again -> write -> read-back -> result.

mod book;
mod desired;
mod handle;
mod journal;
mod lanes;
mod points;
mod shared;
mod value;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::supervise::{Backoff, PartError};
use common::{Clock, Drain};
use gateway_core::expr as interlock;
use gateway_core::{Current, DeviceWriter, FrameLog, Registry};

pub use handle::Handle;
use shared::Shared;

/// How control behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an owner keeps a point after its last write. Default 60 s.
    pub owner_hold: Duration,
    /// Orders that may wait for one device. Default 64.
    pub queue: usize,
    /// Commands remembered for dedup and for lists. Default 10,000.
    pub remembered: usize,
    /// Pauses between attempts to settle an unknown outcome by reading back.
    pub settle: Backoff,
    /// Longest time for one request to a device, whatever its adapter says. Default 30 s.
    pub device_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            owner_hold: Duration::from_secs(60),
            queue: 64,
            remembered: 10_000,
            settle: Backoff {
                first: Duration::from_millis(200),
                longest: Duration::from_secs(30),
                healthy_after: Duration::from_secs(60),
            },
            device_limit: Duration::from_secs(30),
        }
    }
}

/// Why control cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An interlock cannot be read.
    #[error("interlock of `{point}`: {error}")]
    Interlock {
        /// `device/point`.
        point: String,
        /// Where and why.
        error: interlock::ParseError,
    },
}

/// The part that runs: one worker for each device that can be written, in order for each device.
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Control over the devices of `writers` (device index to writer). The switch stands on local. What the
    /// log still knows of commands is taken over: an intent without a result becomes unknown when it runs.
    ///
    /// # Errors
    /// When an interlock of the registry cannot be read.
    pub fn new(
        options: Options,
        registry: Arc<Registry>,
        writers: HashMap<usize, Arc<dyn DeviceWriter>>,
        log: Arc<dyn FrameLog>,
        current: Current,
        clock: Clock,
    ) -> Result<(Self, Arc<Handle>), Error> {
        let shared = Arc::new(Shared::new(options, registry, writers, log, current, clock)?);
        let handle = Arc::new(Handle::new(shared.clone()));
        Ok((Self { shared }, handle))
    }

    /// Works until drained. What waits then is refused; a write under way is finished.
    ///
    /// # Errors
    /// When a worker failed; run it again. What that worker held becomes unknown or refused.
    pub async fn run(&self, drain: Drain) -> Result<(), PartError> {
        self.shared.recover();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(points::observe(self.shared.clone(), drain.clone()));
        let mut changed = self.shared.lanes.changes();
        // By lane, not by device: one that was closed and opened again has a new worker.
        let mut served = std::collections::HashSet::new();
        loop {
            let open = self.shared.lanes.all();
            served.retain(|number| open.iter().any(|(_, lane)| lane.number == *number));
            for (device, lane) in open {
                if served.insert(lane.number) {
                    tasks.spawn(worker::run(self.shared.clone(), device, lane, drain.clone()));
                }
            }
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(ended) => ended?,
                    None => return Ok(()),
                },
                _ = changed.changed(), if !drain.is_started() => {}
            }
        }
    }
}

/// Reads an interlock against a registry, as it stands at a point of `device`.
///
/// # Errors
/// The column and what was expected there.
pub fn parse_interlock(
    registry: &Registry,
    device: usize,
    text: &str,
) -> Result<interlock::Expr, interlock::ParseError> {
    let own = registry.device(device).map_or("", |d| d.name.as_str());
    interlock::Expr::parse(text, &|other, name| {
        let device = other.unwrap_or(own);
        let point = registry
            .find(device, name)
            .ok_or_else(|| format!("expected a point, there is no `{device}/{name}`"))?;
        Ok((point.id, point.schema.value_type))
    })
}

#[cfg(test)]
mod tests;
