//! Writes, in the order in which control asked for each device, and their read-back. Neighbours that wait together go
//! in one request. A write is never tried again: what is not known for sure is told as such.

use common::names::Code;
use common::{Access, Value};
use gateway_core::{Reading, WriteError};
use gateway_modbus::client::CallError;
use gateway_modbus::pdu::{Answer, Exception, Request};
use gateway_modbus::plan::{Merged, Write, WriteLimits, merge_writes};
use tokio::time::Instant;

use super::engine::Engine;
use super::jobs::Job;
use super::poll::sample;

/// Most jobs that are looked at together.
const MOST_TOGETHER: usize = 64;

impl Engine<'_> {
    /// Does the first job that may be done now, with those that go along. Whether there was one.
    pub(super) async fn serve_next(&mut self, now: Instant) -> bool {
        let quiet = |unit: usize| self.units.get(unit).is_some_and(|u| u.state.quiet_until() > now);
        // A unit whose late answer may still come is not asked, but its jobs' time runs out all the same.
        let Some(at) = self.queue.iter().position(|job| !quiet(job.unit) || job.deadline <= now) else {
            return false;
        };
        let Some(unit) = self.queue.get(at).map(|j| j.unit) else { return false };
        let together = self.together(at, unit);
        let mut jobs = Vec::with_capacity(together.len());
        for (taken, at) in together.into_iter().enumerate() {
            jobs.extend(self.queue.remove(at - taken));
        }
        let fault = self.client.is_none().then(|| self.fault.clone());
        let mut begun = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job.admit(fault.as_deref()) {
                Ok(()) => begun.push(job),
                Err(Some(error)) => answer(job, Err(error)),
                Err(None) => {}
            }
        }
        self.execute(unit, begun).await;
        true
    }

    /// The jobs that go into one request: the one at `at`, and those of its unit behind it that continue it.
    fn together(&self, at: usize, unit: usize) -> Vec<usize> {
        let own = self.queue.iter().enumerate().skip(at).filter(|(_, j)| j.unit == unit).take(MOST_TOGETHER);
        let writes: Vec<_> = own.map_while(|(i, j)| Some((i, j.change.clone()?))).collect();
        let indices: Vec<_> = writes.iter().map(|(i, _)| *i).collect();
        let merged = merge_writes(writes.into_iter().map(|(_, w)| w), self.write_limits(unit));
        let of = |i: usize| indices.get(i).copied();
        merged.first().map_or_else(|| vec![at], |m| m.from.iter().filter_map(|i| of(*i)).collect())
    }

    fn write_limits(&self, unit: usize) -> WriteLimits {
        self.shared.devices.get(unit).map_or_else(WriteLimits::default, |d| WriteLimits {
            words: d.config.max_write_registers,
            bits: d.config.max_write_bits,
        })
    }

    async fn execute(&mut self, unit: usize, jobs: Vec<Job>) {
        let writes: Vec<_> = jobs.iter().filter_map(|j| j.change.clone()).collect();
        let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
        if writes.is_empty() {
            for job in jobs.into_iter().flatten() {
                let read = self.read_back(&job, false).await;
                answer(job, read);
            }
            return;
        }
        // One that was withdrawn may have left a gap.
        for (turn, Merged { write, from }) in
            merge_writes(writes, self.write_limits(unit)).into_iter().enumerate()
        {
            let mut members: Vec<Job> = from.iter().filter_map(|i| jobs.get_mut(*i)?.take()).collect();
            if turn > 0 {
                // Time has passed since they were admitted.
                members = members.into_iter().filter_map(still_permitted).collect();
                if members.len() < from.len() {
                    for job in members {
                        if let Some(own) = job.change.clone() {
                            self.send(unit, &own, vec![job]).await;
                        }
                    }
                    continue;
                }
            }
            self.send(unit, &write, members).await;
        }
    }

    /// Sends one request for its jobs, and reads each back.
    async fn send(&mut self, unit: usize, write: &Write, jobs: Vec<Job>) {
        let mask = if let Write::Mask { address, .. } = write { Some(*address) } else { None };
        if let Some(address) = mask.filter(|_| self.writes_whole(unit)) {
            return self.modify(unit, address, jobs).await;
        }
        match (self.write(unit, write).await, mask) {
            (Ok(()), _) => {
                for job in jobs {
                    let read = self.read_back(&job, true).await;
                    answer(job, read);
                }
            }
            (Err(CallError::Refused(e)), Some(address)) if self.goes_without_mask(unit, e) => {
                let jobs = jobs.into_iter().filter_map(still_permitted).collect();
                self.modify(unit, address, jobs).await;
            }
            // The device took none of it: perhaps it minds one of them, or so many at once.
            (Err(CallError::Refused(e)), _)
                if jobs.len() > 1 && (e.is_range() || e == Exception::ILLEGAL_FUNCTION) =>
            {
                for job in jobs.into_iter().filter_map(still_permitted) {
                    let Some(own) = job.change.clone() else { continue };
                    let result = match self.write(unit, &own).await {
                        Ok(()) => self.read_back(&job, true).await,
                        Err(e) => Err(write_error(&e)),
                    };
                    answer(job, result);
                }
            }
            (Err(e), _) => {
                for job in jobs {
                    answer(job, Err(write_error(&e)));
                }
            }
        }
    }

    pub(super) async fn write(&mut self, unit: usize, write: &Write) -> Result<(), CallError> {
        let Some(device) = self.shared.devices.get(unit) else { return Err(CallError::Closed) };
        let (single, limit) = (device.config.single_writes, device.timeout());
        let mut data = Vec::new();
        let request = match write {
            Write::Coils { address, bits } => match bits.as_slice() {
                [value] if single => Request::WriteCoil { address: *address, value: *value },
                bits => {
                    data = vec![0; bits.len().div_ceil(8)];
                    for (n, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
                        if let Some(byte) = data.get_mut(n / 8) {
                            *byte |= 1 << (n % 8);
                        }
                    }
                    let count = u16::try_from(bits.len()).unwrap_or(u16::MAX);
                    Request::WriteCoils { address: *address, count, bits: &data }
                }
            },
            Write::Registers { address, words } => match words.as_slice() {
                [value] if single => Request::WriteRegister { address: *address, value: *value },
                words => {
                    data.extend(words.iter().flat_map(|w| w.to_be_bytes()));
                    Request::WriteRegisters { address: *address, data: &data }
                }
            },
            Write::Mask { address, and, or } => Request::MaskWrite { address: *address, and: *and, or: *or },
        };
        self.ask(unit, &request, limit, |_: Answer<'_>| ()).await
    }

    /// Reads a point now, alone.
    pub(super) async fn read_back(&mut self, job: &Job, written: bool) -> Result<Reading, WriteError> {
        let shared = self.shared;
        let Some((device, spec)) =
            shared.devices.get(job.unit).and_then(|d| Some((d, d.points.get(job.point)?)))
        else {
            return Ok(Reading { raw: None });
        };
        if written && spec.access == Access::Write {
            return Ok(Reading { raw: None });
        }
        let request = Request::Read { table: spec.table, address: spec.address, count: spec.count };
        let value = |answer: Answer<'_>| match answer {
            Answer::Read { data, .. } => spec.own_value(data),
            _ => None,
        };
        let read: Result<Option<Value>, _> = self.ask(job.unit, &request, device.timeout(), value).await;
        let unsure = |detail: String| WriteError::Unsure { detail };
        match read {
            Ok(Some(value)) => {
                // Fresh from the device: everyone may see it now and not at the next period.
                let now_us = shared.context.clock.now_us();
                shared.context.raw.send(vec![sample(spec, Some(value.clone()), now_us)]);
                Ok(Reading { raw: Some(value) })
            }
            Ok(None) => Err(unsure("what was read back is no value of the point's type".to_owned())),
            Err(e) if written => Err(unsure(format!("written, but the read-back failed: {e}"))),
            Err(e) => Err(write_error(&e)),
        }
    }
}

/// Asks once more, for a job that waited for others after it had begun.
pub(super) fn still_permitted(job: Job) -> Option<Job> {
    match job.permit.as_ref().map(|may| may()) {
        Some(Err((code, detail))) => {
            answer(job, Err(WriteError::NotSent { code, detail }));
            None
        }
        _ if Instant::now() >= job.deadline => {
            let detail = "the deadline passed before the device was free".to_owned();
            answer(job, Err(WriteError::NotSent { code: Code::Expired, detail }));
            None
        }
        _ => Some(job),
    }
}

pub(super) fn answer(job: Job, result: Result<Reading, WriteError>) {
    // A caller that is gone needs no answer.
    let _ = job.reply.send(result);
}

/// How a failed write is told. Two exceptions do not say that nothing happened: 05, the device has begun
/// and will take long, and 0B, a gateway got no answer from the device behind it.
pub(super) fn write_error(error: &CallError) -> WriteError {
    let detail = error.to_string();
    match error {
        CallError::Closed | CallError::Noise => WriteError::NotSent { code: Code::NotConnected, detail },
        CallError::Request(_) => WriteError::NotSent { code: Code::OutOfRawLimits, detail },
        CallError::Refused(Exception::ACKNOWLEDGE | Exception::GATEWAY_TARGET) => {
            WriteError::Unsure { detail }
        }
        CallError::Refused(_) => WriteError::Refused { detail },
        CallError::Timeout { .. } | CallError::Broken { .. } | CallError::Wrong(_) => {
            WriteError::Unsure { detail }
        }
    }
}
