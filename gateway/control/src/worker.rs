//! One worker for each device: orders in turn, the write itself, and settling what is unknown by reading
//! back.

use std::sync::Arc;
use std::time::Duration;

use common::command::Severity;
use common::names::{Code, action};
use common::wire::Body;
use common::{CommandState, Drain, Value};
use gateway_core::{DeviceWriter, LogError, Permit, Point, Reading, WriteError};
use tokio::time::{Instant, timeout, timeout_at};

use crate::journal::About;
use crate::lanes::{Lane, RECONFIGURED};
use crate::shared::{Job, Outcome, Shared, Subject, Unsettled};
use crate::value::{expected, same};

/// No deadline is further away than this; keeps arithmetic on times from overflowing.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// Works on the orders of one device until drained.
pub(crate) async fn run(shared: Arc<Shared>, device: usize, lane: Lane, drain: Drain) {
    let writer = lane.writer.clone();
    let mut queue = lane.waiting.lock().await;
    loop {
        let settle_at = shared.settle_at(device);
        tokio::select! {
            biased;
            () = drain.started() => break,
            () = lane.drain.started() => break,
            job = queue.recv() => {
                let Some(job) = job else { break };
                shared.take_in_hand(device, &job);
                // What an earlier write to the point did can be seen until this one.
                if let Some(unsettled) = shared.unsettled_at(device, job.point) {
                    settle(&shared, device, &*writer, unsettled).await;
                }
                one(&shared, device, &*writer, job).await;
                shared.lay_down(device);
            }
            () = tokio::time::sleep_until(settle_at.unwrap_or_else(far)), if settle_at.is_some() => {
                if let Some(unsettled) = shared.next_unsettled(device) {
                    settle(&shared, device, &*writer, unsettled).await;
                }
            }
        }
    }
    if lane.drain.is_started() {
        queue.close();
    }
    while let Ok(job) = queue.try_recv() {
        let why = if drain.is_started() { "the gateway is stopping" } else { RECONFIGURED };
        shared.finish(&job, Outcome::rejected(Code::Interrupted, why));
    }
}

fn far() -> Instant {
    Instant::now() + FAR
}

async fn one(shared: &Arc<Shared>, device: usize, writer: &dyn DeviceWriter, job: Job) {
    let registry = shared.registry();
    let Some(point) = registry.point(job.point).filter(|p| *p.schema.name == *job.name) else {
        return shared.finish(&job, Outcome::rejected(Code::Interrupted, RECONFIGURED));
    };
    let Some(outcome) = execute(shared, device, writer, point, &job).await else { return };
    let unknown = outcome.state == CommandState::Unknown;
    shared.finish(&job, outcome);
    if unknown {
        let value = expected(point, &job.raw, &job.value);
        shared.unsettle(device, Job { value, ..job });
    }
}

/// None when a newer wish has taken the place of this one: nothing is to be told.
async fn execute(
    shared: &Arc<Shared>,
    device: usize,
    writer: &dyn DeviceWriter,
    point: &Point,
    job: &Job,
) -> Option<Outcome> {
    if shared.is_superseded(job) {
        return None;
    }
    if let Err(refused) = shared.guards(job) {
        return Some(refused);
    }
    let left = Duration::from_micros(job.deadline_us.saturating_sub(shared.clock.mono_us())).min(FAR);
    let deadline = Instant::now() + left;
    match timeout_at(deadline, intent(shared, point, job)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return Some(Outcome::rejected(
                Code::AuditUnavailable,
                format!("the intent is not on disk: {error}"),
            ));
        }
        Err(_) => return Some(Outcome::expired("its time ran out before the intent was on disk")),
    }
    if shared.is_superseded(job) {
        return None;
    }
    if let Err(refused) = shared.guards(job) {
        return Some(refused);
    }
    let origin = job.requester.origin;
    // The device may be busy: what was allowed is looked at again when it is free.
    let permit: Permit = {
        let (shared, job) = (shared.clone(), job.clone());
        Arc::new(move || shared.permits(&job))
    };
    let written =
        timeout(shared.options.device_limit, writer.write(point.id, job.raw.clone(), deadline, permit)).await;
    let written = written.unwrap_or_else(|_| {
        Err(WriteError::Unsure { detail: "the device's adapter gave no answer".to_owned() })
    });
    let outcome = judge(point, job, written);
    if matches!(outcome.state, CommandState::Succeeded | CommandState::Failed | CommandState::Unknown)
        && outcome.code != Some(Code::DeviceRefused)
    {
        shared.give_up_settling(device, point.id);
        let shown = outcome.read_back.clone().or_else(|| Some(expected(point, &job.raw, &job.value)));
        let hold_us = u64::try_from(shared.options.owner_hold.as_micros()).unwrap_or(u64::MAX);
        shared.points.own(point.id, origin, shared.clock.mono_us().saturating_add(hold_us));
        shared.points.wrote(point.id, origin, shown, shared.clock.now_us());
    }
    Some(outcome)
}

/// Brings the intent to disk and tells that the write is next.
async fn intent(shared: &Shared, point: &Point, job: &Job) -> Result<(), LogError> {
    match job.subject {
        Subject::Command(id) => {
            let update = shared.update(job, id, Outcome::new(CommandState::Executing, None, ""));
            let frame = shared.journal.append(Body::Command(update.clone()))?;
            shared.journal.log.durable(frame).await?;
            shared.journal.remember(&update);
        }
        Subject::Desired { version, set_us } => {
            shared.note_intent(point, job, version, set_us).await?;
            let about = About { actor: &job.requester.name, target: job.place.clone(), twin: Some(job.twin) };
            let detail = format!("{} of version {version}", job.value);
            let frame =
                shared.journal.audit(action::DESIRED_EXECUTING, about, Severity::Info, None, detail)?;
            shared.journal.log.durable(frame).await?;
        }
    }
    Ok(())
}

fn judge(point: &Point, job: &Job, written: Result<Reading, WriteError>) -> Outcome {
    match written {
        Ok(Reading { raw: None }) => {
            Outcome::new(CommandState::Succeeded, None, "written; the point cannot be read back")
        }
        Ok(Reading { raw: Some(raw) }) => {
            compare(point, &expected(point, &job.raw, &job.value), &raw, String::new())
        }
        Err(WriteError::NotSent { code: Code::Expired, detail }) => Outcome::expired(detail),
        Err(WriteError::NotSent { code, detail }) => Outcome::rejected(code, detail),
        Err(WriteError::Refused { detail }) => {
            Outcome::new(CommandState::Failed, Some(Code::DeviceRefused), detail)
        }
        Err(WriteError::Unsure { detail }) => {
            Outcome::new(CommandState::Unknown, Some(Code::DeviceTimeout), detail)
        }
    }
}

fn compare(point: &Point, wanted: &Value, raw: &Value, on_success: String) -> Outcome {
    let mut outcome = match point.to_engineering(raw) {
        Some(read) if same(point, wanted, &read) => {
            Outcome { read_back: Some(read), ..Outcome::new(CommandState::Succeeded, None, on_success) }
        }
        Some(read) => Outcome {
            read_back: Some(read.clone()),
            ..Outcome::new(
                CommandState::Failed,
                Some(Code::ReadbackMismatch),
                format!("{read} was read back"),
            )
        },
        None => Outcome::new(
            CommandState::Failed,
            Some(Code::ReadbackMismatch),
            format!("raw {raw} was read back, which is no value of the point"),
        ),
    };
    if outcome.state == CommandState::Failed {
        outcome.detail = format!("{wanted} was wanted, {}", outcome.detail);
    }
    outcome
}

/// Reads the point to learn what an earlier write did. Never writes.
async fn settle(shared: &Shared, device: usize, writer: &dyn DeviceWriter, mut unsettled: Unsettled) {
    let registry = shared.registry();
    let Some(point) = registry.point(unsettled.job.point) else { return };
    let read = timeout(shared.options.device_limit, writer.read(point.id)).await;
    match read {
        Ok(Ok(Reading { raw: Some(raw) })) => {
            let outcome = compare(point, &unsettled.job.value, &raw, "settled by read-back".to_owned());
            shared.finish(&unsettled.job, outcome);
        }
        Ok(Ok(Reading { raw: None })) => {
            tracing::warn!(point = unsettled.job.path, "outcome stays unknown: the point cannot be read");
        }
        Ok(Err(_)) | Err(_) => {
            unsettled.next = Instant::now() + shared.options.settle.pause(unsettled.attempt);
            unsettled.attempt = unsettled.attempt.saturating_add(1);
            shared.settle_later(device, unsettled);
        }
    }
}
