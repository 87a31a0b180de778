//! Writes on their way from control to the session: who may still give up, and who has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use common::names::Code;
use common::{PointId, Value};
use gateway_core::{DeviceWriter, Permit, Reading, WriteError};
use gateway_modbus::value::Words;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::adapter::Shared;
use super::session::Change;

/// Writes that may wait at the same time.
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

    /// The session begins; false if the caller has given up.
    pub(super) fn begin(&self) -> bool {
        self.leave(BEGUN)
    }

    /// The caller gives up; false if the session has begun.
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
    /// Index of the point.
    pub(super) point: usize,
    /// What to write; none to read only.
    pub(super) change: Option<Change>,
    /// None for a read.
    pub(super) permit: Option<Permit>,
    pub(super) deadline: Instant,
    pub(super) claim: Claim,
    pub(super) reply: oneshot::Sender<Result<Reading, WriteError>>,
}

fn not_sent(code: Code, detail: impl Into<String>) -> WriteError {
    WriteError::NotSent { code, detail: detail.into() }
}

#[async_trait]
impl DeviceWriter for Shared {
    async fn write(
        &self,
        point: PointId,
        raw: Value,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Reading, WriteError> {
        let (index, spec) = self.spec(point)?;
        if !spec.access.is_writable() || !spec.config.is_writable() {
            return Err(not_sent(Code::NotWritable, format!("{} is read only", self.path(point))));
        }
        let change = if spec.config.table.is_bits() {
            let Value::Bool(bit) = raw else {
                return Err(not_sent(Code::TypeMismatch, format!("`{raw}` is no bit")));
            };
            Change::Bit(bit)
        } else {
            match spec.config.format.encode(&raw) {
                Ok(Words::Registers(registers)) => Change::Registers(registers),
                Ok(Words::Mask { and, or }) => Change::Mask { and, or },
                Err(e) => return Err(not_sent(Code::OutOfRawLimits, e.to_string())),
            }
        };
        self.submit(index, Some((change, permit)), deadline).await
    }

    async fn read(&self, point: PointId) -> Result<Reading, WriteError> {
        let (index, spec) = self.spec(point)?;
        if spec.access == common::Access::Write {
            return Ok(Reading { raw: None });
        }
        // One request may be under way, and this one comes after it.
        let limit = Duration::from_millis(self.config.timeout_ms.saturating_mul(2));
        self.submit(index, None, Instant::now() + limit).await
    }
}

impl Shared {
    async fn submit(
        &self,
        point: usize,
        change: Option<(Change, Permit)>,
        deadline: Instant,
    ) -> Result<Reading, WriteError> {
        let claim = Claim::default();
        let _waiting = Waiting(claim.clone());
        let (change, permit) = change.unzip();
        let (reply, mut answer) = oneshot::channel();
        let job = Job { point, change, permit, deadline, claim: claim.clone(), reply };
        match tokio::time::timeout_at(deadline, self.jobs.send(job)).await {
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
