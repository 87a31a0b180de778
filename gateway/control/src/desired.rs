//! Desired values: written once each, only while nothing speaks against it; after that the wish waits for a
//! person, who sets a new version. What became of the last one of each point is kept as a note, so that a
//! restart or a reconnect never writes it again.

use common::command::{DesiredOrder, DesiredState, DesiredUpdate, Origin, Requester, Severity};
use common::names::{Code, action};
use common::{CommandState, Sample};
use gateway_core::{LogError, Point, Registry};
use tokio::sync::mpsc::error::TrySendError;

use crate::journal::{About, desired_action, told};
use crate::points::Wish;
use crate::shared::{Job, Outcome, Shared, Subject};
use crate::value::{check, expected};

/// What to do with an order, seen beside what is known of its point.
enum Step {
    Write,
    Nothing,
    Again(DesiredUpdate),
    Withdrawn,
}

impl Shared {
    /// Takes over the wishes that a process before this one knew. One that was being written then is not
    /// written again.
    /// Nothing is taken over of a point that is known already.
    pub(crate) fn load_wishes(&self, registry: &Registry) {
        for point in registry.points().filter(|p| p.schema.access.is_writable()) {
            if self.points.is_known(point.id) {
                continue;
            }
            let Some(bytes) = self.journal.log.note(&note_key(&registry.path(point.id))) else { continue };
            let Ok(mut wish) = serde_json::from_slice::<Wish>(&bytes) else {
                tracing::warn!(point = registry.path(point.id), "unreadable note of a desired value");
                continue;
            };
            if let Some(outcome) = &mut wish.outcome
                && outcome.state == DesiredState::Pending
            {
                outcome.state = DesiredState::Diverged;
                outcome.code = Some(Code::Interrupted);
                "the gateway stopped between intent and result".clone_into(&mut outcome.detail);
            }
            self.points.with(point.id, |s| s.wish = Some(wish));
        }
    }

    pub(crate) fn take_desired(&self, order: DesiredOrder) {
        let requester = Requester { origin: Origin::Desired, ..order.requester.clone() };
        let registry = self.registry();
        let Some(point) = registry.find_in_twin(order.twin, &order.point) else {
            let detail = "this gateway has no such point";
            return self.journal.desired(self.desired_update(
                &order,
                DesiredState::Diverged,
                Code::UnknownPoint,
                detail,
            ));
        };
        match self.points.with(point.id, |s| next_step(&mut s.wish, &order)) {
            Step::Nothing => return,
            Step::Again(update) => return self.journal.desired(update),
            Step::Withdrawn => {
                let about = About {
                    actor: &requester.name,
                    target: registry.place(point.id),
                    twin: Some(order.twin),
                };
                let _ =
                    self.journal.audit(action::DESIRED_WITHDRAWN, about, Severity::Info, None, order.reason);
                return;
            }
            Step::Write => {}
        }
        let Some(value) = &order.value else { return };
        let mut job = Job {
            subject: Subject::Desired { version: order.version, set_us: order.set_us },
            twin: order.twin,
            point: point.id,
            name: point.schema.name.to_string(),
            path: registry.path(point.id),
            place: registry.place(point.id),
            generation: registry.generation(),
            value: value.clone(),
            raw: value.clone(),
            requester,
            reason: order.reason,
            deadline_us: order.deadline_session_us,
        };
        match check(point, value) {
            Ok((value, raw)) => (job.value, job.raw) = (value, raw),
            Err((code, detail)) => return self.finish(&job, Outcome::rejected(code, detail)),
        }
        let Some(queue) = self.queue(point) else {
            return self.finish(&job, Outcome::rejected(Code::NotWritable, "the device cannot be written"));
        };
        if let Err(TrySendError::Full(job) | TrySendError::Closed(job)) = queue.try_send(job) {
            self.finish(&job, Outcome::rejected(Code::QueueFull, "too many orders wait for the device"));
        }
    }

    fn desired_update(
        &self,
        o: &DesiredOrder,
        state: DesiredState,
        code: Code,
        detail: &str,
    ) -> DesiredUpdate {
        DesiredUpdate {
            twin: o.twin,
            version: o.version,
            point: o.point.clone(),
            state,
            code: Some(code),
            detail: detail.to_owned(),
            at_us: self.clock.now_us(),
        }
    }

    /// Whether a newer wish for the point has come since.
    pub(crate) fn is_superseded(&self, job: &Job) -> bool {
        let Subject::Desired { version, set_us } = job.subject else { return false };
        self.points
            .with(job.point, |s| s.wish.as_ref().is_some_and(|w| (w.version, w.set_us) != (version, set_us)))
    }

    /// Keeps, before the write, that it is about to happen.
    pub(crate) async fn note_intent(
        &self,
        point: &Point,
        job: &Job,
        version: u64,
        set_us: i64,
    ) -> Result<(), LogError> {
        let pending = DesiredUpdate {
            twin: job.twin,
            version,
            point: point.schema.name.to_string(),
            state: DesiredState::Pending,
            code: None,
            detail: String::new(),
            at_us: self.clock.now_us(),
        };
        let wish = Wish { version, set_us, value: None, outcome: Some(pending) };
        let (log, key) = (self.journal.log.clone(), note_key(&job.path));
        let bytes = serde_json::to_vec(&wish).unwrap_or_default();
        tokio::task::spawn_blocking(move || log.set_note(&key, &bytes))
            .await
            .unwrap_or_else(|e| Err(LogError::Write { detail: e.to_string() }))
    }

    pub(crate) fn finish_desired(&self, job: &Job, version: u64, set_us: i64, outcome: Outcome) {
        let state = match outcome.state {
            CommandState::Succeeded => DesiredState::Applied,
            CommandState::Expired => DesiredState::Expired,
            _ => DesiredState::Diverged,
        };
        let point = job.name.clone();
        let at_us = self.clock.now_us();
        let (code, detail) = (outcome.code, outcome.detail);
        let (action, severity) = desired_action(state);
        let about = About { actor: &job.requester.name, target: job.place.clone(), twin: Some(job.twin) };
        let _ = self.journal.audit(action, about, severity, code, told(&job.value, &job.reason, &detail));
        let update = DesiredUpdate { twin: job.twin, version, point, state, code, detail, at_us };
        self.journal.desired(update.clone());
        let value = self.registry().point(job.point).map(|p| expected(p, &job.raw, &job.value));
        let value = value.filter(|_| state == DesiredState::Applied);
        let wish = Wish { version, set_us, value, outcome: Some(update) };
        let ours = self.points.with(job.point, |s| {
            let ours = s.wish.as_ref().is_none_or(|w| w.version == version && w.set_us == set_us);
            if ours {
                s.wish = Some(wish.clone());
            }
            ours
        });
        if !ours {
            return;
        }
        self.keep_wish(&job.path, &wish);
    }

    fn keep_wish(&self, path: &str, wish: &Wish) {
        let (key, bytes) = (note_key(path), serde_json::to_vec(wish).unwrap_or_default());
        if let Err(error) = apart(|| self.journal.log.set_note(&key, &bytes)) {
            tracing::warn!(%error, "cannot keep what became of a desired value");
        }
    }

    /// An applied wish whose point now shows something else: somebody changed it. It is told, and not written
    /// again.
    pub(crate) fn wish_left(&self, point: &Point, wish: Wish, sample: &Sample) {
        let (Some(applied), Some(shown)) = (&wish.outcome, &sample.value) else { return };
        let detail = match &wish.value {
            Some(wanted) => format!("somebody changed it: {wanted} was applied, {shown} is shown"),
            None => format!("somebody changed it: {shown} is shown"),
        };
        let (action, severity) = desired_action(DesiredState::Diverged);
        let registry = self.registry();
        let (code, target) = (Some(Code::ChangedSince), registry.place(point.id));
        let about = About { actor: "system", target, twin: Some(applied.twin) };
        let (state, at_us) = (DesiredState::Diverged, self.clock.now_us());
        let update = DesiredUpdate { state, code, detail: detail.clone(), at_us, ..applied.clone() };
        let wish = Wish { outcome: Some(update.clone()), ..wish };
        let ours = self.points.with(point.id, |s| {
            let ours = s.wish.as_ref().is_some_and(|w| (w.version, w.set_us) == (wish.version, wish.set_us));
            if ours {
                s.wish = Some(wish.clone());
            }
            ours
        });
        if ours {
            let _ = self.journal.audit(action, about, severity, code, detail);
            self.journal.desired(update);
            self.keep_wish(&registry.path(point.id), &wish);
        }
    }
}

/// Runs what waits for the disk without keeping other tasks of this thread waiting, where the runtime can do so.
fn apart<T>(wait: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(wait)
        }
        _ => wait(),
    }
}

fn note_key(path: &str) -> String {
    format!("control/desired/{path}")
}

fn next_step(known: &mut Option<Wish>, order: &DesiredOrder) -> Step {
    if let Some(wish) = known {
        if wish.version == order.version && wish.set_us == order.set_us {
            return match &wish.outcome {
                Some(outcome) => Step::Again(outcome.clone()),
                None => Step::Nothing,
            };
        }
        // A cloud restored from a backup counts versions again: then the time of the wish tells.
        if order.version < wish.version && order.set_us <= wish.set_us {
            return Step::Nothing;
        }
    }
    *known = Some(Wish { version: order.version, set_us: order.set_us, value: None, outcome: None });
    if order.value.is_none() { Step::Withdrawn } else { Step::Write }
}
