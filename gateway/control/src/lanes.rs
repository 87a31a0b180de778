//! The ways to devices, one for each that can be written, and what a new configuration does to them: a device
//! that is taken out ends its write at hand, refuses what waits, and what is known of points goes over to the next
//! generation. Devices that stay are not touched.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use common::command::Severity;
use common::names::{Code, action};
use common::{Drain, PointId};
use gateway_core::{DeviceWriter, Registry};
use tokio::sync::{Mutex, mpsc, watch};

use crate::interlock::Expr;
use crate::journal::About;
use crate::shared::{Job, Outcome, Shared, Unsettled, lock};
use crate::{Error, parse_interlock};

pub(crate) const RECONFIGURED: &str = "the device's configuration was changed before the write";

/// A registry, and what its interlocks say.
pub(crate) struct View {
    pub(crate) registry: Arc<Registry>,
    pub(crate) interlocks: HashMap<PointId, Expr>,
}

impl View {
    pub(crate) fn new(registry: Arc<Registry>) -> Result<Self, Error> {
        let mut interlocks = HashMap::new();
        for point in registry.points() {
            let Some(text) = &point.interlock else { continue };
            let parsed = parse_interlock(&registry, point.device, text)
                .map_err(|error| Error::Interlock { point: registry.path(point.id), error })?;
            interlocks.insert(point.id, parsed);
        }
        Ok(Self { registry, interlocks })
    }
}

/// The way to one device.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) number: u64,
    pub(crate) writer: Arc<dyn DeviceWriter>,
    queue: mpsc::Sender<Job>,
    /// Held by the worker as long as it works.
    pub(crate) waiting: Arc<Mutex<mpsc::Receiver<Job>>>,
    /// Ends this lane alone.
    pub(crate) drain: Drain,
}

/// All of them, by device.
#[derive(Default)]
pub(crate) struct Lanes {
    open: RwLock<HashMap<usize, Lane>>,
    /// How many were opened so far.
    opened: watch::Sender<u64>,
}

impl Lanes {
    pub(crate) fn open(&self, device: usize, writer: Arc<dyn DeviceWriter>, capacity: usize) {
        let (queue, waiting) = mpsc::channel(capacity.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        let number = *self.opened.borrow() + 1;
        let lane = Lane { number, writer, queue, waiting, drain: Drain::new() };
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(device, lane);
        self.opened.send_replace(number);
    }

    fn close(&self, device: usize) -> Option<Lane> {
        let lane = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&device)?;
        lane.drain.start();
        Some(lane)
    }

    pub(crate) fn all(&self) -> Vec<(usize, Lane)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|(device, lane)| (*device, lane.clone())).collect()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    pub(crate) fn queue(&self, device: usize) -> Option<mpsc::Sender<Job>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&device).map(|l| l.queue.clone())
    }
}

impl Shared {
    /// Takes devices out: nothing new is taken for them, what waits is refused, and a write at hand is waited for,
    /// at most `limit` in all.
    pub(crate) async fn release(&self, devices: &[usize], limit: Duration) {
        let closed: Vec<Lane> = devices.iter().filter_map(|d| self.lanes.close(*d)).collect();
        let until = tokio::time::Instant::now() + limit;
        for lane in closed {
            let Ok(mut queue) = tokio::time::timeout_at(until, lane.waiting.lock()).await else { continue };
            // The worker has done this, unless none was running.
            queue.close();
            while let Ok(job) = queue.try_recv() {
                self.finish(&job, Outcome::rejected(Code::Interrupted, RECONFIGURED));
            }
        }
    }

    /// Goes over to a later generation; `writers` are those of devices that were taken out or are new.
    pub(crate) fn renew(&self, view: View, writers: Vec<(usize, Arc<dyn DeviceWriter>)>) {
        let (old, new) = (self.registry(), view.registry.clone());
        self.points.renew(&old, &new, self.clock.now_us());
        self.renumber_unsettled(&old, &new);
        self.set_view(view);
        self.load_wishes(&new);
        for (device, writer) in writers {
            self.lanes.open(device, writer, self.options.queue);
        }
    }

    /// An outcome that is not known can still be settled where the point is as it was.
    fn renumber_unsettled(&self, old: &Registry, new: &Registry) {
        let changes = new.changes_since(old);
        let moved: HashMap<PointId, PointId> = changes.moved.iter().copied().collect();
        let mut lost: Vec<Unsettled> = Vec::new();
        for own in lock(&self.unsettled).values_mut() {
            for mut unsettled in std::mem::take(own) {
                let job = &mut unsettled.job;
                if let Some(to) = moved.get(&job.point) {
                    job.point = *to;
                } else if changes.voids(job.point) {
                    lost.push(unsettled);
                    continue;
                }
                own.push(unsettled);
            }
        }
        for Unsettled { job, .. } in lost {
            let about = About { actor: &job.requester.name, target: job.place, twin: Some(job.twin) };
            let detail = "the outcome stays unknown: the point's configuration was changed";
            let _ = self.journal.audit(
                action::COMMAND_UNKNOWN,
                about,
                Severity::Warning,
                Some(Code::ChangedSince),
                detail,
            );
        }
    }
}
