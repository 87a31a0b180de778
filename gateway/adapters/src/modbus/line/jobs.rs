//! Writes on their way from control to the line.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::names::Code;
use common::{Access, PointId, Value};
use gateway_core::{DeviceWriter, Permit, Reading, WriteError};
use gateway_modbus::plan::Write;
use tokio::time::Instant;

use super::Shared;
use crate::waiting::{Claim, Reply, not_sent, submit};

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
    pub(super) reply: Reply,
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
        let (change, permit) = change.unzip();
        let (unit, jobs) = (self.unit, &self.line.jobs);
        let job = |claim, reply| Job { unit, point, change, permit, deadline, claim, reply };
        submit(jobs, deadline, job).await
    }
}
