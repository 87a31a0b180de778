//! Writes to metrics of a node or device (NCMD, DCMD). What is read back is what the device says afterwards of the
//! metric in its data or a new birth: no answer, and the outcome is not known. A command goes at most once, to who is
//! connected now, and to nobody after its deadline. It is never sent again.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::names::Code;
use common::{PointId, Value, ValueType};
use gateway_core::{DeviceWriter, Permit, Point, Publish, Reading, WriteError};
use gateway_sparkplug::{Host, Kind, Topic, Unreachable, write_request};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::config::DeviceConfig;
use super::nodes;
use crate::Context;
use crate::waiting::{Claim, Reply, not_sent, submit};

/// One write with its read-back, or one read.
pub(super) struct Job {
    point: PointId,
    /// What to write, and the permit; none to read only.
    change: Option<(Value, Permit)>,
    deadline: Instant,
    claim: Claim,
    reply: Reply,
}

impl Job {
    /// Whose value it is about.
    pub(super) fn point(&self) -> PointId {
        self.point
    }
}

/// The way to write to the points of a node or device.
pub(super) struct Writer {
    /// Names of the metrics that may be written.
    pub(super) writable: HashMap<PointId, String>,
    pub(super) context: Context,
    pub(super) jobs: mpsc::Sender<Job>,
    /// How long a device may take to answer.
    pub(super) answer: Duration,
}

#[async_trait]
impl DeviceWriter for Writer {
    async fn write(
        &self,
        point: PointId,
        raw: Value,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Reading, WriteError> {
        if !self.writable.contains_key(&point) {
            let path = self.context.registry.path(point);
            return Err(not_sent(Code::NotWritable, format!("{path} is read only")));
        }
        self.submit(point, Some((raw, permit)), deadline).await
    }

    async fn read(&self, point: PointId) -> Result<Reading, WriteError> {
        // The node tells all values in new births, which it is asked for only so often.
        self.submit(point, None, Instant::now() + nodes::EVERY + self.answer).await
    }
}

impl Writer {
    async fn submit(
        &self,
        point: PointId,
        change: Option<(Value, Permit)>,
        deadline: Instant,
    ) -> Result<Reading, WriteError> {
        let job = |claim, reply| Job { point, change, deadline, claim, reply };
        submit(&self.jobs, deadline, job).await
    }
}

/// A write that was sent, or a read, and waits for what the device says.
struct Pending {
    point: PointId,
    /// What was sent, as the device would tell it; none for a read.
    wanted: Option<Value>,
    /// The last value before the write.
    before: Option<Value>,
    /// The last value since that is neither of them.
    other: Option<Value>,
    until: Instant,
    reply: Reply,
}

/// Writes and reads that wait for the device.
#[derive(Default)]
pub(super) struct Pendings(Vec<Pending>);

/// What a job needs of the driver.
pub(super) struct Surroundings<'a> {
    pub(super) config: &'a DeviceConfig,
    pub(super) host: &'a Host,
    /// Name of the point's metric.
    pub(super) metric: Option<&'a str>,
    /// The last live value of the point.
    pub(super) before: Option<Value>,
    pub(super) publish: &'a dyn Publish,
    pub(super) now_ms: u64,
}

impl Pendings {
    /// Begins a job: sends its command, or waits for the next value. True if new births are to be asked for.
    pub(super) fn begin(&mut self, job: Job, around: Surroundings<'_>) -> bool {
        let Job { point, change, deadline, claim, reply } = job;
        let (until, before) = (deadline.min(Instant::now() + around.config.answer()), around.before.clone());
        let sent = match change {
            None if claim.begin() => {
                self.0.push(Pending { point, wanted: None, before, other: None, until: deadline, reply });
                return true;
            }
            None => return false,
            Some((raw, permit)) => send(&raw, &permit, deadline, &claim, around),
        };
        match sent {
            Ok(wanted) => {
                self.0.push(Pending { point, wanted: Some(wanted), before, other: None, until, reply });
            }
            Err(Some(error)) => _ = reply.send(Err(error)),
            // The caller has given up.
            Err(None) => {}
        }
        false
    }

    /// A live value of a point came.
    pub(super) fn seen(&mut self, id: PointId, point: Option<&Point>, value: &Value) {
        if self.0.is_empty() {
            return;
        }
        for mut pending in std::mem::take(&mut self.0) {
            if pending.point != id {
                self.0.push(pending);
                continue;
            }
            // A value that was on its way when the command was sent is no answer.
            match &pending.wanted {
                Some(wanted) if !same(point, wanted, value) => {
                    if pending.before.as_ref() != Some(value) {
                        pending.other = Some(value.clone());
                    }
                    self.0.push(pending);
                }
                _ => _ = pending.reply.send(Ok(Reading { raw: Some(value.clone()) })),
            }
        }
    }

    /// The node or the device said that it ends: no answer comes to what was sent.
    pub(super) fn died(&mut self, why: &str) {
        let (sent, reads): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|p| p.wanted.is_some());
        for pending in sent {
            let detail = format!("the command was sent, and no answer came: {why}");
            let _ = pending.reply.send(Err(WriteError::Unsure { detail }));
        }
        self.0 = reads;
    }

    /// When the next one has waited long enough.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|p| p.until).min()
    }

    /// Answers what has waited long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        let (over, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|p| p.until <= now);
        self.0 = waiting;
        for pending in over {
            let result = match (pending.other, pending.wanted) {
                // It made something else of it.
                (Some(other), Some(_)) => Ok(Reading { raw: Some(other) }),
                (_, Some(_)) => {
                    Err("the command was sent, and the device told no new value of the metric in time")
                }
                (_, None) => Err("the node told no value of the metric in time"),
            };
            let result = result.map_err(|detail| WriteError::Unsure { detail: detail.to_owned() });
            let _ = pending.reply.send(result);
        }
    }
}

/// Sends the command. What the device tells if it did as asked.
fn send(
    raw: &Value,
    permit: &Permit,
    deadline: Instant,
    claim: &Claim,
    around: Surroundings<'_>,
) -> Result<Value, Option<WriteError>> {
    let refuse = |code, detail: String| Err(Some(not_sent(code, detail)));
    let DeviceConfig { group, node, device, .. } = around.config;
    let Some(metric) = around.metric else {
        return refuse(Code::UnknownPoint, "the point has no metric".to_owned());
    };
    let address = match around.host.address(device.as_deref(), metric) {
        Ok(address) => address,
        Err(why) => {
            let code = match why {
                Unreachable::NodeUnborn | Unreachable::DeviceUnborn => Code::NotConnected,
                Unreachable::Missing => Code::UnknownPoint,
                Unreachable::Type { .. } | Unreachable::Ambiguous { .. } => Code::NotWritable,
            };
            return refuse(code, format!("metric `{metric}`: {why}"));
        }
    };
    let misfit =
        || Some(not_sent(Code::OutOfRawLimits, format!("{raw} does not fit {:?}", address.datatype)));
    let payload = write_request(around.now_ms, metric, address, raw).ok_or_else(misfit)?;
    let sent = payload.metrics.first().and_then(|m| m.read(None).ok().flatten());
    let wanted = sent.ok_or_else(misfit)?;
    let kind = if device.is_some() { Kind::DCmd } else { Kind::NCmd };
    let topic = Topic { group, kind, node, device: device.as_deref() }.to_string();
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return refuse(Code::Expired, "the deadline passed before the command was sent".to_owned());
    }
    if !claim.begin() {
        return Err(None);
    }
    if let Err((code, detail)) = permit() {
        return refuse(code, detail);
    }
    if !around.publish.publish_now(&topic, Bytes::from(payload.encode()), left) {
        return refuse(Code::NotConnected, format!("nobody is connected who takes `{topic}`"));
    }
    Ok(wanted)
}

/// Whether a value is the one that was sent, as near as the point asks for. A device may hold a float in 32 bits.
fn same(point: Option<&Point>, wanted: &Value, value: &Value) -> bool {
    if wanted == value {
        return true;
    }
    let (Some(a), Some(b), Some(point)) = (wanted.as_f64(), value.as_f64(), point) else { return false };
    let is_float = wanted.value_type() == ValueType::F64;
    let single = if is_float { a.abs().max(b.abs()) * f64::from(f32::EPSILON) } else { 0.0 };
    (a - b).abs() <= point.read_back_tolerance / point.scale.factor.abs() + single
}
