//! The loop of a line: one request at a time, writes first, then what is due, then probes of what was lost. Reads are
//! in `poll`, writes in `write`, what devices refuse in `holes`.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use common::supervise::Backoff;
use common::{Drain, Quality};
use gateway_core::Beat;
use gateway_modbus::client::{CallError, Client, Counts, Options};
use gateway_modbus::pdu::{Answer, Request};
use gateway_modbus::plan::{Block, Book, Hole, Search};
use gateway_modbus::{Table, frame::Framing};
use tokio::sync::{MutexGuard, mpsc};
use tokio::time::Instant;

use super::jobs::Job;
use super::link::Link;
use super::report::Tally;
use super::schedule::{Id, Schedule};
use super::unit::Unit;
use super::{Device, Shared};
use crate::context::Reporter;
use crate::modbus::transport::{BoxStream, Opened};

/// The connection's own events are looked at so often, however busy the line is.
const LOOK_UP: Duration = Duration::from_millis(100);
/// After a missed period, units that take more than their share come last for so long.
const SHORT_OF_TIME: Duration = Duration::from_secs(10);

/// What an entry of the schedule does.
pub(super) enum Work {
    /// a request; while it is refused, the search for what of it
    Block {
        block: Block,
        search: Option<Search>,
        /// exception of the refusal that began the search
        reason: u8,
        tries: u8,
        reads: u32,
    },
    /// points that the device is known to refuse: they are bad, and nothing is asked
    Unreadable(Vec<usize>),
}

/// One device, running.
pub(super) struct Running {
    pub(super) state: Unit,
    pub(super) reporter: Reporter,
    pub(super) tally: Tally,
    /// The smallest thing to ask it.
    pub(super) probe: Option<(Table, u16, u16)>,
    /// Holes to look at soon: the device may be another now.
    pub(super) recheck: VecDeque<Hole>,
    /// It has points and none of them can be read: then it is looked at more often.
    pub(super) all_refused: bool,
    /// It said that it has no mask write.
    pub(super) no_mask: bool,
}

pub(super) struct Engine<'a> {
    pub(super) shared: &'a Shared,
    jobs: MutexGuard<'a, mpsc::Receiver<Job>>,
    pub(super) queue: VecDeque<Job>,
    pub(super) client: Option<Client<BoxStream>>,
    transaction: u16,
    link: Link,
    /// Attempts to connect since the last answer.
    attempt: u32,
    /// Whether the next connection is one that was lost, and not one that was closed for one unit's sake.
    lost: bool,
    backoff: Backoff,
    /// Whether the next attempt goes to the backup, or the connection is there.
    backup: bool,
    /// Why there is no connection.
    pub(super) fault: String,
    /// Nothing is done before, so that the first reads do not come before the first connection.
    held_until: Option<Instant>,
    pub(super) schedule: Schedule<Work>,
    pub(super) units: Vec<Running>,
    /// How many of them are parked.
    pub(super) parked: u32,
    pub(super) book: Book,
    pub(super) next_hole: Instant,
    short_until: Instant,
    pub(super) epoch: Instant,
    pub(super) counts: Counts,
    pub(super) told: Option<Instant>,
    looked_up: Instant,
    beat: Beat,
}

impl<'a> Engine<'a> {
    pub(super) fn new(shared: &'a Shared, jobs: MutexGuard<'a, mpsc::Receiver<Job>>) -> Self {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let unit = |d: &Device| Running {
            state: Unit::new(d.timeout(), d.config.park_after, ms(d.config.probe_max_ms), now),
            reporter: Reporter::new(shared.context.clone(), d.index),
            tally: Tally::default(),
            probe: None,
            recheck: VecDeque::new(),
            all_refused: false,
            no_mask: false,
        };
        let mut engine = Self {
            units: shared.devices.iter().map(unit).collect(),
            parked: 0,
            backoff: Backoff { longest: ms(shared.config.reconnect_max_ms), ..Backoff::default() },
            held_until: Some(now + ms(shared.config.connect_timeout_ms) * 2),
            shared,
            jobs,
            queue: VecDeque::new(),
            client: None,
            transaction: 1,
            link: Link::Pause(now),
            attempt: 0,
            lost: true,
            backup: false,
            fault: "not connected yet".to_owned(),
            schedule: Schedule::new(),
            book: Book::default(),
            next_hole: now,
            short_until: now,
            epoch: super::schedule::epoch(now, shared.context.clock.mono_us()),
            counts: Counts::default(),
            told: None,
            looked_up: now,
            beat: shared.context.pulse.join(format!("modbus:{}", shared.config.name)),
        };
        engine.load_holes();
        for unit in 0..engine.units.len() {
            engine.plan(unit, now);
        }
        engine
    }

    pub(super) async fn run(mut self, drain: Drain) {
        // One for the whole loop: to begin and end such a wait costs more than a look at it.
        let mut stop = pin!(drain.started());
        while !drain.is_started() {
            self.beat.turns(Duration::ZERO);
            while let Ok(job) = self.jobs.try_recv() {
                self.queue.push_back(job);
            }
            let now = Instant::now();
            if now.saturating_duration_since(self.looked_up) < LOOK_UP {
                let held = self.is_held(now);
                // A connection that is closed between polls is opened for a write.
                if !(held && self.shared.config.close_after_poll) && self.serve_next(now).await {
                    continue;
                }
                if !held {
                    if let Some(id) = self.pick(now) {
                        // A device that does not answer must not hold up the end.
                        tokio::select! {
                            biased;
                            () = self.poll(id) => {}
                            () = &mut stop => break,
                        }
                        continue;
                    }
                    if self.client.is_some() {
                        let spare = tokio::select! {
                            biased;
                            did = self.use_spare_time(now) => did,
                            () = &mut stop => break,
                        };
                        if spare {
                            continue;
                        }
                    }
                }
                self.rest(now);
            }
            self.report(now);
            self.looked_up = now;
            let wake = self.wake(now);
            self.beat.turns(wake.saturating_duration_since(now));
            let opener = &self.shared.opener;
            tokio::select! {
                biased;
                () = &mut stop => break,
                job = self.jobs.recv() => self.queue.extend(job),
                event = self.link.advance(opener, self.backup) => self.linked(event),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        // Nobody takes orders any more: control is told at once, and does not wait.
        self.jobs.close();
        while self.jobs.try_recv().is_ok() {}
    }

    fn is_held(&mut self, now: Instant) -> bool {
        if self.client.is_some() || self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
        }
        self.held_until.is_some() || matches!(self.link, Link::Idle)
    }

    fn pick(&mut self, now: Instant) -> Option<Id> {
        let (units, count) = (&self.units, self.units.len());
        let greedy = |unit: usize| units.get(unit).is_some_and(|u| u.state.is_greedy(now, count));
        self.schedule.pick(now, self.short_until > now && count > 1, greedy)
    }

    /// When there is something to do, apart from jobs and the connection.
    fn wake(&self, now: Instant) -> Instant {
        if let Some(until) = self.held_until {
            return until;
        }
        if self.job_may_go(now) {
            return now;
        }
        let due = self.schedule.next(now);
        let probe = if self.client.is_some() { self.spare_at(now, due) } else { None };
        let quiet =
            self.queue.iter().filter_map(|job| Some(self.units.get(job.unit)?.state.quiet_until())).min();
        let report = self.told.map(|told| told + super::report::EVERY);
        [due, probe, quiet, report].into_iter().flatten().min().unwrap_or(now + Duration::from_secs(1))
    }

    fn job_may_go(&self, now: Instant) -> bool {
        self.queue.iter().any(|j| self.units.get(j.unit).is_some_and(|u| u.state.quiet_until() <= now))
    }

    /// Lets the connection go when all is done, if the device wants that, and gets it back for what is due.
    fn rest(&mut self, now: Instant) {
        if !self.shared.config.close_after_poll {
            return;
        }
        let due = self.schedule.next(now).is_some_and(|at| at <= now) || !self.queue.is_empty();
        if matches!(self.link, Link::Idle) && due {
            self.link = Link::Pause(now);
            self.hold(now);
        } else if self.client.is_some() && !due {
            self.close();
            self.link = Link::Idle;
        }
    }

    fn hold(&mut self, now: Instant) {
        let limit = Duration::from_millis(self.shared.config.connect_timeout_ms);
        self.held_until = Some(now + limit * 2);
    }

    fn close(&mut self) {
        if let Some(client) = self.client.take() {
            self.transaction = client.next_transaction();
            self.take_counts(&client);
        }
        self.counts = Counts::default();
    }

    fn linked(&mut self, event: Result<Opened, String>) {
        let now = Instant::now();
        let first = self.held_until.take().is_some();
        match event {
            Ok(Opened { stream, backup }) => {
                self.close();
                if backup != self.backup || (backup && self.attempt > 0) {
                    tracing::info!(line = self.shared.config.name, backup, "line connected");
                }
                self.backup = backup;
                self.attempt = self.attempt.saturating_add(1);
                self.client = Some(Client::new(stream, self.options()));
                self.link = Link::open(&self.shared.opener, backup);
                self.opened(now);
            }
            Err(fault) => {
                for unit in &mut self.units {
                    unit.reporter.bad(false, &fault);
                }
                self.fault = fault;
                self.retry(now);
                if first {
                    self.schedule.all_due(now, |_| true);
                }
            }
        }
    }

    fn options(&self) -> Options {
        let shared = self.shared;
        let framing = shared.config.framing();
        Options {
            recovery: shared.recovery(),
            gap: shared.gap(),
            any_unit: framing == Framing::Mbap && shared.devices.iter().any(|d| d.config.any_unit),
            echo: shared.config.echo,
            first_transaction: self.transaction,
            ..Options::new(framing)
        }
    }

    /// What was bad is read at once, and what was learnt of the devices may have changed.
    fn opened(&mut self, now: Instant) {
        if !std::mem::take(&mut self.lost) {
            return;
        }
        let units = &self.units;
        self.schedule.all_due(now, |u| units.get(u).is_some_and(|u| !u.state.is_parked()));
        self.recheck_all();
        for unit in &mut self.units {
            unit.state.probe_now(now);
            unit.no_mask = false;
        }
    }

    /// The next attempt to connect, at the other place if there is one.
    fn retry(&mut self, now: Instant) {
        let answered = self.attempt == 0;
        self.attempt = self.attempt.saturating_add(1);
        if self.shared.opener.has_backup() {
            self.backup = !self.backup;
        }
        // A line with several units that was closed for one's sake is opened again for the others at once.
        let at_once = answered && self.units.len() > 1;
        self.lost |= !at_once;
        let pause = if at_once { Duration::ZERO } else { self.backoff.pause(self.attempt.saturating_sub(1)) };
        self.link = Link::Pause(now + pause);
    }

    /// One request to a unit, its time taken into account. `read` turns the answer into what is wanted of it.
    pub(super) async fn ask<T>(
        &mut self,
        unit: usize,
        request: &Request<'_>,
        limit: Duration,
        read: impl FnOnce(Answer<'_>) -> T,
    ) -> Result<T, CallError> {
        let (Some(mut client), Some(device)) = (self.client.take(), self.shared.devices.get(unit)) else {
            return Err(CallError::Closed);
        };
        self.beat.turns(limit);
        let begun = Instant::now();
        let result = client.call(device.config.unit, request, limit).await.map(read);
        let now = Instant::now();
        self.client = Some(client);
        self.note(unit, result.as_ref().err(), now, now.saturating_duration_since(begun), limit);
        result
    }

    /// Takes note of how a request ended.
    fn note(&mut self, at: usize, error: Option<&CallError>, now: Instant, took: Duration, limit: Duration) {
        let count = self.units.len();
        let transactions = self.shared.config.framing().has_transactions();
        let Some(unit) = self.units.get_mut(at) else { return };
        unit.state.charge(now, took, count);
        unit.tally.requests += 1;
        let (mut unparked, mut newly_parked) = (false, false);
        match error {
            None => {
                unit.reporter.good();
                unparked = unit.state.answered(took);
                self.attempt = 0;
            }
            Some(CallError::Refused(exception)) if !exception.is_gateway() => {
                unit.tally.refused += 1;
                unit.reporter.bad(true, &exception.to_string());
                unparked = unit.state.answered(took);
                self.attempt = 0;
            }
            Some(e @ (CallError::Timeout { .. } | CallError::Refused(_))) => {
                unit.tally.timeouts += 1;
                unit.reporter.bad(false, &e.to_string());
                // A gateway's word ends the matter; a direct device's late answer dies with its connection.
                let quiet =
                    if e.is_answer() || (transactions && count == 1) { Duration::ZERO } else { limit };
                newly_parked = unit.state.missed(now, took, quiet, self.parked);
                if newly_parked {
                    tracing::warn!(
                        line = self.shared.config.name,
                        device = unit.tally.name(self.shared, at),
                        "device parked: it is only probed until it answers"
                    );
                }
                if e.is_answer() {
                    self.attempt = 0;
                }
            }
            Some(e) => {
                unit.tally.wrong += u64::from(matches!(e, CallError::Wrong(_)));
                unit.reporter.bad(false, &e.to_string());
            }
        }
        self.parked = (self.parked + u32::from(newly_parked)).saturating_sub(u32::from(unparked));
        if unparked {
            self.schedule.all_due(now, |u| u == at);
        }
        self.check_line(error, now);
    }

    /// Whether the connection can still be used.
    fn check_line(&mut self, error: Option<&CallError>, now: Instant) {
        let silent = matches!(error, Some(CallError::Timeout { .. }))
            && self.units.len() > 1
            && !self.shared.config.is_serial()
            && self.units.iter().all(|u| u.state.is_parked())
            && self.shared.opener.has_backup();
        let noisy = matches!(error, Some(CallError::Noise));
        let Some(client) = self.client.as_mut() else { return };
        if silent || noisy {
            client.close();
        }
        if client.is_open() {
            return;
        }
        self.fault = error.map_or_else(|| "not connected".to_owned(), ToString::to_string);
        self.close();
        self.retry(now);
    }

    /// A period was missed.
    pub(super) fn overrun(&mut self, unit: usize, missed: u64, now: Instant) {
        if missed == 0 || self.client.is_none() {
            return;
        }
        if let Some(device) = self.shared.devices.get(unit) {
            device.overruns.fetch_add(missed, std::sync::atomic::Ordering::Relaxed);
        }
        self.short_until = now + SHORT_OF_TIME;
    }
}

/// The quality of samples that could not be read because of it.
pub(super) fn quality(error: &CallError) -> Quality {
    match error {
        CallError::Closed | CallError::Broken { .. } | CallError::Noise => Quality::BAD_NOT_CONNECTED,
        CallError::Timeout { .. } => Quality::BAD_TIMEOUT,
        CallError::Refused(e) if e.is_gateway() => Quality::BAD_TIMEOUT,
        CallError::Wrong(_) => Quality::BAD_DECODE,
        CallError::Refused(_) => Quality::BAD_DEVICE,
        CallError::Request(_) => Quality::BAD_CONFIG,
    }
}
