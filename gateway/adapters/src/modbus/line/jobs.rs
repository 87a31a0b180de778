//! Writes on their way from control to the line: who may still give up, and who has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::names::Code;
use common::{Access, PointId, Value};
use gateway_core::{DeviceWriter, Permit, Reading, WriteError};
use gateway_modbus::plan::Write;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;

/// Writes that may wait at the same time, a device.
pub(super) const CAPACITY: usize = 16;

/// Whether a job has begun. Exactly one side leaves `QUEUED`.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Claim {
    fn leave(&self, to: u8) -> bool {
        self.0.compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The line begins; false if the caller has given up.
    pub(super) fn begin(&self) -> bool {
        self.leave(BEGUN)
    }

    /// The caller gives up; false if the line has begun.
    fn give_up(&self) -> bool {
        self.leave(GIVEN_UP)
    }
}

/// Gives up for a caller that stops waiting, whatever the reason: what it does not wait for must not begin.
struct Waiting(Claim);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// One write with read-back, or one read.
pub(super) struct Job {
    /// Whose point.
    pub(super) unit: usize,
    /// Which of its points.
    pub(super) point: usize,
    /// What to write; none to read only.
    pub(super) change: Option<Write>,
    /// None for a read.
    pub(super) permit: Option<Permit>,
    pub(super) deadline: Instant,
    pub(super) claim: Claim,
    pub(super) reply: oneshot::Sender<Result<Reading, WriteError>>,
}

impl Job {
    /// Whether it may be sent now, asked right before that. It has begun if so.
    ///
    /// # Errors
    /// The answer for the caller; none if it has given up.
    pub(super) fn admit(&self, fault: Option<&str>) -> Result<(), Option<WriteError>> {
        let refuse = |code, detail: &str| Err(Some(not_sent(code, detail)));
        if Instant::now() >= self.deadline {
            refuse(Code::Expired, "the deadline passed before the device was free")
        } else if let Some(fault) = fault {
            refuse(Code::NotConnected, fault)
        } else if !self.claim.begin() {
            Err(None)
        } else if let Some(Err((code, detail))) = self.permit.as_ref().map(|may| may()) {
            refuse(code, &detail)
        } else {
            Ok(())
        }
    }
}

pub(super) fn not_sent(code: Code, detail: impl Into<String>) -> WriteError {
    WriteError::NotSent { code, detail: detail.into() }
}

/// The way to write to one device of a line.
pub(super) struct UnitWriter {
    pub(super) line: Arc<Shared>,
    pub(super) unit: usize,
}

#[async_trait]
impl DeviceWriter for UnitWriter {
    async fn write(
        &self,
        point: PointId,
        raw: Value,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Reading, WriteError> {
        let (index, spec) = self.line.spec(self.unit, point)?;
        if !spec.is_writable() {
            let path = self.line.context.registry.path(point);
            return Err(not_sent(Code::NotWritable, format!("{path} is read only")));
        }
        let change = spec.encode(&raw).map_err(|(code, detail)| not_sent(code, detail))?;
        self.submit(index, Some((change, permit)), deadline).await
    }

    async fn read(&self, point: PointId) -> Result<Reading, WriteError> {
        let (index, spec) = self.line.spec(self.unit, point)?;
        if spec.access == Access::Write {
            return Ok(Reading { raw: None });
        }
        // One request of anyone may be under way, this unit may be waiting out a late answer, and then comes this.
        let timeout = |unit: &super::Device| unit.config.timeout_ms;
        let longest = self.line.devices.iter().map(timeout).max().unwrap_or_default();
        let own = self.line.devices.get(self.unit).map(timeout).unwrap_or_default();
        let limit = Duration::from_millis(longest.saturating_add(own.saturating_mul(2)));
        self.submit(index, None, Instant::now() + limit).await
    }
}

impl UnitWriter {
    async fn submit(
        &self,
        point: usize,
        change: Option<(Write, Permit)>,
        deadline: Instant,
    ) -> Result<Reading, WriteError> {
        let claim = Claim::default();
        let _waiting = Waiting(claim.clone());
        let (change, permit) = change.unzip();
        let (reply, mut answer) = oneshot::channel();
        let job = Job { unit: self.unit, point, change, permit, deadline, claim: claim.clone(), reply };
        match tokio::time::timeout_at(deadline, self.line.jobs.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(not_sent(Code::NotConnected, "the adapter has ended")),
            Err(_) => return Err(not_sent(Code::QueueFull, "too many writes wait for the device")),
        }
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = tokio::time::sleep_until(deadline) => {
                if claim.give_up() {
                    return Err(not_sent(Code::Expired, "the device was busy until the deadline"));
                }
                answer.await
            }
        };
        answered.unwrap_or_else(|_| {
            if claim.give_up() {
                Err(not_sent(Code::NotConnected, "the adapter stopped"))
            } else {
                Err(WriteError::Unsure { detail: "the adapter stopped during the request".to_owned() })
            }
        })
    }
}
