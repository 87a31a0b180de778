//! What handle and workers share, and the checks that every write goes through.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use common::command::{CommandUpdate, Origin, Requester};
use common::names::Code;
use common::{Clock, CommandId, CommandState, PointId, Sample, TwinId, Value};
use gateway_core::expr::Decision;
use gateway_core::{Current, DeviceWriter, FrameLog, Point, Registry};
use tokio::sync::mpsc;

use crate::journal::{About, Journal, command_action, told};
use crate::lanes::{Lanes, View};
use crate::points::{Points, door};
use crate::value::{check, expected};
use crate::{Error, Options};

/// A sample received this far in the future shows that the wall clock was set back: its age is not known.
const FUTURE_US: i64 = 1_000_000;

/// What a write is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Subject {
    Command(CommandId),
    Desired { version: u64, set_us: i64 },
}

/// A checked order on its way to a device.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) subject: Subject,
    pub(crate) twin: TwinId,
    pub(crate) point: PointId,
    /// Name of the point, `device/point`, and its place: the number may mean another one when it ends.
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) place: String,
    /// Generation of the registry that it was checked by.
    pub(crate) generation: u64,
    pub(crate) value: Value,
    pub(crate) raw: Value,
    pub(crate) requester: Requester,
    pub(crate) reason: String,
    pub(crate) deadline_us: u64,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) state: CommandState,
    pub(crate) code: Option<Code>,
    pub(crate) detail: String,
    pub(crate) read_back: Option<Value>,
}

impl Outcome {
    pub(crate) fn new(state: CommandState, code: Option<Code>, detail: impl Into<String>) -> Self {
        Self { state, code, detail: detail.into(), read_back: None }
    }

    pub(crate) fn rejected(code: Code, detail: impl Into<String>) -> Self {
        Self::new(CommandState::Rejected, Some(code), detail)
    }

    pub(crate) fn expired(detail: impl Into<String>) -> Self {
        Self::new(CommandState::Expired, Some(Code::Expired), detail)
    }
}

/// An outcome that only reading back can settle.
#[derive(Debug, Clone)]
pub(crate) struct Unsettled {
    pub(crate) job: Job,
    pub(crate) attempt: u32,
    pub(crate) next: tokio::time::Instant,
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    view: RwLock<Arc<View>>,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) points: Points,
    pub(crate) remote: AtomicBool,
    /// Serialises changes of the switch to remote.
    pub(crate) switching: tokio::sync::Mutex<()>,
    /// How often the switch was set to local.
    pub(crate) locals: Mutex<u64>,
    pub(crate) lanes: Lanes,
    current: Current,
    pub(crate) unsettled: Mutex<HashMap<usize, Vec<Unsettled>>>,
    in_hand: Mutex<HashMap<usize, Job>>,
    /// Whether what processes before this one left has been taken over.
    recovered: AtomicBool,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        registry: Arc<Registry>,
        writers: HashMap<usize, Arc<dyn DeviceWriter>>,
        log: Arc<dyn FrameLog>,
        current: Current,
        clock: Clock,
    ) -> Result<Self, Error> {
        let lanes = Lanes::default();
        for (device, writer) in writers {
            lanes.open(device, writer, options.queue);
        }
        let view = View::new(registry)?;
        let journal = Journal::new(log, clock.clone(), options.remembered);
        let shared = Self {
            options,
            view: RwLock::new(Arc::new(view)),
            journal,
            clock,
            points: Points::default(),
            remote: AtomicBool::new(false),
            switching: tokio::sync::Mutex::default(),
            locals: Mutex::default(),
            lanes,
            current,
            unsettled: Mutex::default(),
            in_hand: Mutex::default(),
            recovered: AtomicBool::new(false),
        };
        shared.load_wishes(&shared.registry());
        let registry = shared.registry();
        for record in lock(&shared.journal.book).newest() {
            let u = &record.update;
            if u.state == CommandState::Succeeded
                && let Some(point) = registry.find_in_twin(u.twin, &u.point)
                && shared.points.changed_since(point.id, u.at_us - 1).is_none()
            {
                shared.points.wrote(point.id, u.requester.origin, u.read_back.clone(), u.at_us);
            }
        }
        drop(registry);
        Ok(shared)
    }

    /// The registry of now and what belongs to it.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// The registry of now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.view().registry.clone()
    }

    /// The way to a point's device; none if it cannot be written.
    pub(crate) fn queue(&self, point: &Point) -> Option<mpsc::Sender<Job>> {
        self.lanes.queue(point.device)
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.remote.load(Ordering::Acquire)
    }

    /// Looks at what the point shows now.
    pub(crate) fn observe(&self, point: &Point) {
        if let Some(sample) = self.current.get(point.id) {
            self.points.seen(point, &sample, self.clock.now_us());
            if let Some(wish) = self.points.left(point, &sample) {
                self.wish_left(point, wish, &sample);
            }
        }
    }

    /// Everything that may change between order and write. A command's deadline is looked at last, a desired
    /// value's first: an old wish is expired, whatever else stands in its way.
    pub(crate) fn guards(&self, job: &Job) -> Result<(), Outcome> {
        if let Subject::Desired { set_us, .. } = job.subject {
            self.in_time(job)?;
            self.unchanged_since(job, set_us)?;
        }
        self.still_fits(job)?;
        let origin = job.requester.origin;
        if matches!(origin, Origin::Cloud | Origin::Opcua | Origin::Desired) && !self.is_remote() {
            return Err(Outcome::rejected(Code::LocalMode, "the switch at the box stands on local"));
        }
        if let Some((owner, left_us)) = self.points.stronger(job.point, origin, self.clock.mono_us()) {
            let detail = format!("{} owns the point for {} s more", door(owner), left_us.div_ceil(1_000_000));
            return Err(Outcome::rejected(Code::Owned, detail));
        }
        self.interlock(job.point)?;
        self.in_time(job)
    }

    /// The same at the last moment, for an adapter.
    pub(crate) fn permits(&self, job: &Job) -> Result<(), (Code, String)> {
        if self.is_superseded(job) {
            return Err((Code::ChangedSince, "a newer wish has taken its place".to_owned()));
        }
        self.guards(job).map_err(|o| (o.code.unwrap_or(Code::Internal), o.detail))
    }

    /// A configuration that came since the order was checked may have other limits, or another point there.
    fn still_fits(&self, job: &Job) -> Result<(), Outcome> {
        let registry = self.registry();
        if registry.generation() == job.generation {
            return Ok(());
        }
        let point = registry.point(job.point).filter(|p| *p.schema.name == *job.name);
        let point = point.filter(|p| registry.device_schema(p).twin == job.twin);
        let checked = point.map(|p| check(p, &job.value));
        match checked {
            Some(Ok((_, raw))) if raw == job.raw => Ok(()),
            Some(Err((code, detail))) => Err(Outcome::rejected(code, detail)),
            Some(Ok(_)) | None => Err(Outcome::rejected(
                Code::ChangedSince,
                "the configuration of the point was changed after the order",
            )),
        }
    }

    fn in_time(&self, job: &Job) -> Result<(), Outcome> {
        let now_us = self.clock.mono_us();
        if now_us < job.deadline_us {
            return Ok(());
        }
        let late_ms = (now_us - job.deadline_us) / 1000;
        Err(Outcome::expired(format!("its time ran out {late_ms} ms before the write")))
    }

    fn unchanged_since(&self, job: &Job, set_us: i64) -> Result<(), Outcome> {
        if let Some(point) = self.registry().point(job.point) {
            self.observe(point);
        }
        match self.points.changed_since(job.point, set_us) {
            None => Ok(()),
            Some(at_us) => {
                let at = common::clock::format_us(at_us);
                Err(Outcome::rejected(
                    Code::ChangedSince,
                    format!("the point was changed at {at}, after the wish"),
                ))
            }
        }
    }

    fn interlock(&self, point: PointId) -> Result<(), Outcome> {
        let view = self.view();
        let registry = &view.registry;
        let Some(expr) = view.interlocks.get(&point) else { return Ok(()) };
        let now_us = self.clock.now_us();
        let named = |inputs: &[(PointId, Value)]| {
            let one = |(p, v): &(PointId, Value)| format!("{} = {v}", registry.path(*p));
            inputs.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let text = expr.text();
        Err(match expr.decide(&|p| self.judged(registry, p, now_us)) {
            Decision::Allows => return Ok(()),
            Decision::Forbids { inputs } => Outcome::rejected(
                Code::Interlocked,
                format!("interlock `{text}` is false: {}", named(&inputs)),
            ),
            Decision::Input { point, quality } => Outcome::rejected(
                Code::InterlockInput,
                format!("interlock `{text}` cannot be judged: {} is {quality}", registry.path(point)),
            ),
            Decision::NotFinite { inputs } => Outcome::rejected(
                Code::InterlockInput,
                format!("interlock `{text}` has no finite result: {}", named(&inputs)),
            ),
        })
    }

    fn judged(&self, registry: &Registry, point: PointId, now_us: i64) -> Sample {
        let stale_ms = registry.point(point).map_or(0, |p| p.schema.stale_ms);
        let mut sample = self.current.judged(point, stale_ms, now_us);
        if sample.quality.is_good() && sample.received_us > now_us.saturating_add(FUTURE_US) {
            sample.quality = common::Quality::UNCERTAIN_TIME;
        }
        sample
    }

    /// The end of a job, or its state `unknown`: told, logged, remembered.
    pub(crate) fn finish(&self, job: &Job, outcome: Outcome) {
        match job.subject {
            Subject::Command(id) => self.finish_command(job, id, outcome),
            Subject::Desired { version, set_us } => self.finish_desired(job, version, set_us, outcome),
        }
    }

    fn finish_command(&self, job: &Job, id: CommandId, outcome: Outcome) {
        let (action, severity) = command_action(outcome.state);
        let about = About { actor: &job.requester.name, target: job.place.clone(), twin: Some(job.twin) };
        let told = told(&job.value, &job.reason, &outcome.detail);
        let _ = self.journal.audit(action, about, severity, outcome.code, told);
        let _ = self.journal.step(&self.update(job, id, outcome));
    }

    pub(crate) fn update(&self, job: &Job, id: CommandId, outcome: Outcome) -> CommandUpdate {
        CommandUpdate {
            id,
            twin: job.twin,
            point: job.name.clone(),
            value: job.value.clone(),
            requester: job.requester.clone(),
            reason: job.reason.clone(),
            state: outcome.state,
            code: outcome.code,
            detail: outcome.detail,
            read_back: outcome.read_back,
            at_us: self.clock.now_us(),
        }
    }

    // What a device's worker holds, so that nothing is lost if it fails.

    pub(crate) fn take_in_hand(&self, device: usize, job: &Job) {
        lock(&self.in_hand).insert(device, job.clone());
    }

    pub(crate) fn lay_down(&self, device: usize) {
        lock(&self.in_hand).remove(&device);
    }

    pub(crate) fn unsettle(&self, device: usize, job: Job) {
        let next = tokio::time::Instant::now() + self.options.settle.first;
        lock(&self.unsettled).entry(device).or_default().push(Unsettled { job, attempt: 0, next });
    }

    /// The next one to settle, taken out.
    pub(crate) fn next_unsettled(&self, device: usize) -> Option<Unsettled> {
        let mut all = lock(&self.unsettled);
        let own = all.get_mut(&device)?;
        let (at, _) = own.iter().enumerate().min_by_key(|(_, u)| u.next)?;
        Some(own.swap_remove(at))
    }

    /// That of a point, taken out.
    pub(crate) fn unsettled_at(&self, device: usize, point: PointId) -> Option<Unsettled> {
        let mut all = lock(&self.unsettled);
        let own = all.get_mut(&device)?;
        let at = own.iter().position(|u| u.job.point == point)?;
        Some(own.swap_remove(at))
    }

    pub(crate) fn settle_at(&self, device: usize) -> Option<tokio::time::Instant> {
        lock(&self.unsettled).get(&device)?.iter().map(|u| u.next).min()
    }

    pub(crate) fn settle_later(&self, device: usize, unsettled: Unsettled) {
        lock(&self.unsettled).entry(device).or_default().push(unsettled);
    }

    /// Another write to the point follows: what the one before did can no longer be seen.
    pub(crate) fn give_up_settling(&self, device: usize, point: PointId) {
        if let Some(own) = lock(&self.unsettled).get_mut(&device) {
            own.retain(|u| u.job.point != point);
        }
    }

    /// Before workers start: what a process or worker before left without an end gets one. An intent without
    /// a result is unknown, and settled by reading back unless a later write hid what it did.
    pub(crate) fn recover(&self) {
        for (device, job) in std::mem::take(&mut *lock(&self.in_hand)) {
            let executing = match job.subject {
                Subject::Command(id) => lock(&self.journal.book)
                    .get(id)
                    .is_some_and(|r| r.update.state == CommandState::Executing),
                Subject::Desired { .. } => true,
            };
            if executing {
                self.finish(&job, Outcome::new(CommandState::Unknown, Some(Code::Interrupted), INTERRUPTED));
                self.unsettle(device, job);
            } else {
                self.finish(&job, Outcome::rejected(Code::Interrupted, NOT_BEGUN));
            }
        }
        if self.recovered.swap(true, Ordering::AcqRel) {
            return;
        }
        let left: Vec<_> =
            lock(&self.journal.book).newest().filter(|r| !r.here).map(|r| r.update.clone()).collect();
        let mut written = std::collections::HashSet::new();
        for update in left {
            self.recover_command(&update, &mut written);
        }
    }

    /// Newest first: only the last write to a point can be seen there.
    fn recover_command(
        &self,
        update: &CommandUpdate,
        written: &mut std::collections::HashSet<(TwinId, String)>,
    ) {
        let state = update.state;
        let tried = matches!(
            state,
            CommandState::Executing | CommandState::Unknown | CommandState::Succeeded | CommandState::Failed
        );
        let last = tried && written.insert((update.twin, update.point.clone()));
        let registry = self.registry();
        let point = registry.find_in_twin(update.twin, &update.point);
        let end = |state, code, detail: &str| {
            let at_us = self.clock.now_us();
            let told =
                CommandUpdate { state, code: Some(code), detail: detail.to_owned(), at_us, ..update.clone() };
            let (action, severity) = command_action(state);
            let target = point.map_or_else(|| update.point.clone(), |p| registry.place(p.id));
            let about = About { actor: &update.requester.name, target, twin: Some(update.twin) };
            let _ = self.journal.audit(action, about, severity, Some(code), detail);
            let _ = self.journal.step(&told);
        };
        match state {
            CommandState::Executing => end(CommandState::Unknown, Code::Interrupted, INTERRUPTED),
            CommandState::Accepted | CommandState::Sent => {
                return end(CommandState::Rejected, Code::Interrupted, NOT_BEGUN);
            }
            CommandState::Unknown => {}
            _ => return,
        }
        let Some(point) = point.filter(|p| last && self.lanes.queue(p.device).is_some()) else { return };
        let Some(raw) = point.to_raw(&update.value) else { return };
        self.unsettle(
            point.device,
            Job {
                subject: Subject::Command(update.id),
                twin: update.twin,
                point: point.id,
                name: point.schema.name.to_string(),
                path: registry.path(point.id),
                place: registry.place(point.id),
                generation: registry.generation(),
                value: expected(point, &raw, &update.value),
                raw,
                requester: update.requester.clone(),
                reason: update.reason.clone(),
                deadline_us: 0,
            },
        );
    }
}

const INTERRUPTED: &str = "the gateway stopped between intent and result";
const NOT_BEGUN: &str = "the gateway stopped before the write";
