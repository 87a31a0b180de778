//! The loop of one device: one connection, one request at a time, writes first, reads at their periods
//! without drift. A read that comes due while others run is done late once, never queued.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::names::Code;
use common::supervise::Backoff;
use common::{Access, Drain, Quality, Sample, Value};
use gateway_core::{Reading, WriteError};
use tokio::sync::{MutexGuard, mpsc};
use tokio::time::Instant;

use super::adapter::{Shared, Spec};
use super::jobs::Job;
use super::plan::{Block, plan};
use super::point::PointConfig;
use super::session::{self, CallError, Data, Session};
use crate::context::Reporter;

type Opening = Pin<Box<dyn Future<Output = Result<tokio_modbus::client::Context, String>> + Send>>;

/// What is done about the connection.
enum Link {
    /// open, as far as is known
    Open,
    /// wait until then, then try
    Pause(Instant),
    /// being opened
    Opening(Opening),
}

struct Scheduled {
    block: Block,
    due: Instant,
}

pub(super) struct Runner<'a> {
    shared: &'a Shared,
    jobs: MutexGuard<'a, mpsc::Receiver<Job>>,
    session: Session,
    link: Link,
    /// Attempts to connect since the last answer.
    attempt: u32,
    backoff: Backoff,
    /// Why there is no connection.
    fault: String,
    schedule: Vec<Scheduled>,
    reporter: Reporter,
}

impl<'a> Runner<'a> {
    pub(super) fn new(shared: &'a Shared, jobs: MutexGuard<'a, mpsc::Receiver<Job>>) -> Self {
        let backoff =
            Backoff { longest: Duration::from_millis(shared.config.reconnect_max_ms), ..Backoff::default() };
        // Nothing is due before the first attempt to connect has ended.
        let first = Instant::now() + Duration::from_millis(shared.config.connect_timeout_ms) * 2;
        let mut runner = Self {
            shared,
            jobs,
            session: Session::new(&shared.config),
            link: Link::Pause(Instant::now()),
            attempt: 0,
            backoff,
            fault: "not connected yet".to_owned(),
            schedule: Vec::new(),
            reporter: Reporter::new(shared.context.clone(), shared.device),
        };
        runner.reschedule(first);
        runner
    }

    pub(super) async fn run(mut self, drain: Drain) {
        while !drain.is_started() {
            self.serve_jobs().await;
            let next = self.schedule.iter().enumerate().min_by_key(|(_, s)| s.due).map(|(i, s)| (i, s.due));
            if let Some((i, due)) = next
                && due <= Instant::now()
            {
                self.poll(i, &drain).await;
                continue;
            }
            let due = async {
                match next {
                    Some((_, due)) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = drain.started() => {}
                job = self.jobs.recv() => if let Some(job) = job { self.serve(job).await },
                opened = advance(&mut self.link, &self.shared.config) => self.opened(opened),
                () = due => {}
            }
        }
        // Nobody takes orders any more: control is told at once, and does not wait.
        self.jobs.close();
        while self.jobs.try_recv().is_ok() {}
    }

    /// Plans every block anew, all due at `first`.
    fn reschedule(&mut self, first: Instant) {
        let readable = self.shared.points.iter().enumerate().filter(|(_, p)| p.access != Access::Write);
        let blocks = plan(readable.map(|(i, p)| (i, &p.config)));
        self.schedule = blocks.into_iter().map(|block| Scheduled { block, due: first }).collect();
    }

    fn opened(&mut self, opened: Result<tokio_modbus::client::Context, String>) {
        let first = self.attempt == 0;
        self.attempt = self.attempt.saturating_add(1);
        match opened {
            Ok(context) => {
                self.session.open(context);
                self.link = Link::Open;
                // What was bad is read at once, and what was learnt of the device may have changed.
                self.reschedule(Instant::now());
            }
            Err(fault) => {
                self.reporter.bad(false, &fault);
                self.fault = fault;
                self.pause();
                if first {
                    let now = Instant::now();
                    for s in &mut self.schedule {
                        s.due = s.due.min(now);
                    }
                }
            }
        }
    }

    fn pause(&mut self) {
        let pause = self.backoff.pause(self.attempt.saturating_sub(1));
        self.link = Link::Pause(Instant::now() + pause);
    }

    /// Takes note of how a request ended.
    fn note<T>(&mut self, result: &Result<T, CallError>) {
        match result {
            Ok(_) => {
                self.attempt = 0;
                self.reporter.good();
            }
            Err(CallError::NotConnected) => {}
            Err(e) => {
                let text = e.to_string();
                self.reporter.bad(e.is_connected(), &text);
                if e.is_connected() {
                    self.attempt = 0;
                } else {
                    self.fault = text;
                }
            }
        }
        if !self.session.is_open() && matches!(self.link, Link::Open) {
            self.attempt = self.attempt.saturating_add(1);
            self.pause();
        }
    }

    /// Reads the block that is due, and sets its next time.
    async fn poll(&mut self, at: usize, drain: &Drain) {
        let Some(scheduled) = self.schedule.get(at) else { return };
        let block = scheduled.block.clone();
        let result = if self.session.is_open() {
            // A device that does not answer must not hold up the end.
            let result = tokio::select! {
                biased;
                result = self.session.read(block.table, block.address, block.count) => result,
                () = drain.started() => return,
            };
            self.note(&result);
            result
        } else {
            Err(CallError::NotConnected)
        };
        self.set_next(at);
        match result {
            Ok(data) => self.send_block(&block, &data),
            Err(e) if e.is_address() && block.points.len() > 1 => self.isolate(at, &block, drain).await,
            Err(e) => self.send_bad(&block.points, e.quality()),
        }
    }

    fn set_next(&mut self, at: usize) {
        let Some(Scheduled { block, due }) = self.schedule.get_mut(at) else { return };
        *due += block.period;
        let late = Instant::now().saturating_duration_since(*due);
        let missed = u32::try_from(late.as_micros() / block.period.as_micros().max(1)).unwrap_or(u32::MAX);
        if missed > 0 {
            *due += block.period.saturating_mul(missed);
            if self.session.is_open() {
                self.shared.overruns.fetch_add(missed.into(), Ordering::Relaxed);
            }
        }
    }

    /// The device refused addresses of a merged block: reads its points one by one, so that a bad address
    /// does not spoil the others, and from now on reads the good ones together and each bad one alone.
    async fn isolate(&mut self, at: usize, block: &Block, drain: &Drain) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (done, &index) in block.points.iter().enumerate() {
            self.serve_jobs().await;
            if drain.is_started() {
                return;
            }
            match self.read_point(index).await {
                Ok(value) => {
                    self.send_value(index, value);
                    good.push(index);
                }
                Err(e) if e.is_connected() => {
                    self.send_bad(&[index], e.quality());
                    bad.push(index);
                }
                Err(e) => {
                    // The connection is gone and with it this plan.
                    self.send_bad(&block.points[done..], e.quality());
                    return;
                }
            }
        }
        if bad.is_empty() || at >= self.schedule.len() {
            return;
        }
        let old = self.schedule.swap_remove(at);
        let config = |i: &usize| self.shared.points.get(*i).map(|p| (*i, &p.config));
        let alone = bad.iter().filter_map(config).flat_map(|p| plan([p]));
        let blocks: Vec<_> = plan(good.iter().filter_map(config)).into_iter().chain(alone).collect();
        self.schedule.extend(blocks.into_iter().map(|block| Scheduled { block, due: old.due }));
    }

    /// Reads one point; an undecodable one has no value.
    async fn read_point(&mut self, index: usize) -> Result<Option<Value>, CallError> {
        let Some(Spec { config, .. }) = self.shared.points.get(index) else {
            return Err(CallError::NotConnected);
        };
        let result = self.session.read(config.table, config.address, config.count()).await;
        self.note(&result);
        Ok(value_of(config, config.address, &result?))
    }

    fn send_block(&self, block: &Block, data: &Data) {
        let values = block.points.iter().filter_map(|i| {
            let spec = self.shared.points.get(*i)?;
            Some(self.sample(spec, value_of(&spec.config, block.address, data)))
        });
        self.shared.context.raw.send(values.collect());
    }

    fn send_value(&self, index: usize, value: Option<Value>) {
        if let Some(spec) = self.shared.points.get(index) {
            self.shared.context.raw.send(vec![self.sample(spec, value)]);
        }
    }

    fn send_bad(&self, points: &[usize], quality: Quality) {
        let now_us = self.shared.context.clock.now_us();
        let samples = points.iter().filter_map(|i| self.shared.points.get(*i));
        self.shared.context.raw.send(samples.map(|s| Sample::bad(s.id, quality, now_us)).collect());
    }

    fn sample(&self, spec: &Spec, value: Option<Value>) -> Sample {
        let now_us = self.shared.context.clock.now_us();
        match value {
            None => Sample::bad(spec.id, Quality::BAD_DECODE, now_us),
            value => Sample {
                point: spec.id,
                value,
                quality: Quality::GOOD,
                source_us: now_us,
                received_us: now_us,
            },
        }
    }

    async fn serve_jobs(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            self.serve(job).await;
        }
    }

    async fn serve(&mut self, job: Job) {
        let refuse = |code, detail: &str| Err(WriteError::NotSent { code, detail: detail.to_owned() });
        let answer = if Instant::now() >= job.deadline {
            refuse(Code::Expired, "the deadline passed before the device was free")
        } else if !self.session.is_open() {
            refuse(Code::NotConnected, &self.fault)
        } else if !job.claim.begin() {
            return;
        } else if let Some(Err((code, detail))) = job.permit.as_ref().map(|may| may()) {
            refuse(code, &detail)
        } else {
            self.execute(&job).await
        };
        // A caller that is gone needs no answer.
        let _ = job.reply.send(answer);
    }

    async fn execute(&mut self, job: &Job) -> Result<Reading, WriteError> {
        let Some(spec) = self.shared.points.get(job.point) else { return Ok(Reading { raw: None }) };
        if let Some(change) = &job.change {
            let written = self.session.write(spec.config.address, change).await;
            self.note(&written);
            written.map_err(write_error)?;
            if spec.access == Access::Write {
                return Ok(Reading { raw: None });
            }
        }
        let unsure = |detail: String| WriteError::Unsure { detail };
        match self.read_point(job.point).await {
            Ok(Some(value)) => {
                // Fresh from the device: everyone may see it now and not at the next period.
                self.send_value(job.point, Some(value.clone()));
                Ok(Reading { raw: Some(value) })
            }
            Ok(None) => Err(unsure("what was read back is no value of the point's type".to_owned())),
            Err(e) if job.change.is_some() => Err(unsure(format!("written, but the read-back failed: {e}"))),
            Err(e) => Err(write_error(e)),
        }
    }
}

/// Goes on with the connection: waits, then opens. Safe to be dropped and called again.
async fn advance(
    link: &mut Link,
    config: &super::DeviceConfig,
) -> Result<tokio_modbus::client::Context, String> {
    loop {
        match link {
            Link::Open => std::future::pending().await,
            Link::Pause(until) => {
                tokio::time::sleep_until(*until).await;
                *link = Link::Opening(Box::pin(session::connect(config.clone())));
            }
            Link::Opening(opening) => return opening.as_mut().await,
        }
    }
}

/// The value of a point in data that begins at `address`.
fn value_of(point: &PointConfig, address: u16, data: &Data) -> Option<Value> {
    let from = usize::from(point.address.checked_sub(address)?);
    match data {
        Data::Bits(bits) => bits.get(from).map(|b| Value::Bool(*b)),
        Data::Registers(registers) => {
            let own = registers.get(from..from + usize::from(point.count()))?;
            let bytes: Vec<u8> = own.iter().flat_map(|r| r.to_be_bytes()).collect();
            point.format.decoder().decode(&bytes).ok()
        }
    }
}

/// How a failed write is told. Two exceptions do not say that nothing happened: 05, the device has begun
/// and will take long, and 0B, a gateway got no answer from the device behind it.
fn write_error(error: CallError) -> WriteError {
    let detail = error.to_string();
    match error {
        CallError::NotConnected => WriteError::NotSent { code: Code::NotConnected, detail },
        CallError::Exception { code: 0x05 | 0x0b, .. } => WriteError::Unsure { detail },
        CallError::Exception { .. } => WriteError::Refused { detail },
        CallError::Timeout { .. } | CallError::Broken { .. } | CallError::Protocol { .. } => {
            WriteError::Unsure { detail }
        }
    }
}
