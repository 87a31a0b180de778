//! The part: one session after another, with jittered pauses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::api::{GatewayHealth, LinkHold};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::supervise::PartError;
use common::wire::{Body, Known, Refusal};
use common::{Clock, Drain};
use gateway_core::{AlarmOrders, Configurations, FrameLog, Orders, Updates};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::identity::{Book, entry};
use crate::meter::{self, Held, Meter};
use crate::options::{Error, Options, UplinkStatus};
use crate::pace::Pace;
use crate::renewal::Identities;
use crate::session;

/// Where heartbeats get the box's health from.
pub type HealthSource = Arc<dyn Fn() -> GatewayHealth + Send + Sync>;

/// The uplink.
pub struct Uplink {
    pub(crate) options: Options,
    pub(crate) log: Arc<dyn FrameLog>,
    pub(crate) orders: Arc<dyn Orders>,
    pub(crate) alarms: Option<Arc<dyn AlarmOrders>>,
    pub(crate) configurations: Option<Arc<dyn Configurations>>,
    pub(crate) updates: Option<Arc<dyn Updates>>,
    pub(crate) clock: Clock,
    pub(crate) health: HealthSource,
    pub(crate) book: Arc<Book>,
    /// Bytes that are not in the meter yet.
    pub(crate) carried: Arc<AtomicU64>,
    /// What it is enrolled with; renewed as sessions go.
    pub(crate) identities: Mutex<Option<Identities>>,
    meter: Mutex<Meter>,
    /// Of the session before: what it learned of the link.
    pub(crate) pace: Mutex<Option<Pace>>,
    status: watch::Sender<UplinkStatus>,
}

impl Uplink {
    /// One that is not yet connected.
    pub fn new(
        options: Options,
        log: Arc<dyn FrameLog>,
        orders: Arc<dyn Orders>,
        clock: Clock,
        health: HealthSource,
    ) -> Self {
        let status = UplinkStatus { since_us: clock.now_us(), ..UplinkStatus::default() };
        let meter = Meter::new(options.plan.clone(), log.note(meter::NOTE).as_deref());
        let identities = options
            .enrolment
            .as_ref()
            .map(|(folder, proven)| Identities::new(proven.clone(), folder.renewed(proven)));
        Self {
            options,
            log,
            orders,
            alarms: None,
            configurations: None,
            updates: None,
            clock,
            health,
            book: Arc::default(),
            carried: Arc::default(),
            identities: Mutex::new(identities),
            meter: Mutex::new(meter),
            pace: Mutex::default(),
            status: watch::Sender::new(status),
        }
    }

    /// Takes orders about alarms as well, and says so to the cloud.
    #[must_use]
    pub fn with_alarms(mut self, alarms: Arc<dyn AlarmOrders>) -> Self {
        self.alarms = Some(alarms);
        self
    }

    /// Takes configuration documents as well, and tells the cloud what became of them.
    #[must_use]
    pub fn with_configurations(mut self, configurations: Arc<dyn Configurations>) -> Self {
        self.configurations = Some(configurations);
        self
    }

    /// Takes bundles of updates as well, and tells the cloud what became of them.
    #[must_use]
    pub fn with_updates(mut self, updates: Arc<dyn Updates>) -> Self {
        self.updates = Some(updates);
        self
    }

    /// How it fares.
    pub fn status(&self) -> watch::Receiver<UplinkStatus> {
        self.status.subscribe()
    }

    /// Holds a session with the cloud until drained.
    ///
    /// # Errors
    /// None so far: whatever ends a session, the next is tried.
    pub async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let backoff = self.options.backoff;
        let mut attempt = 0;
        let mut is_held = false;
        self.look(false);
        while !drain.is_started() {
            let began = Instant::now();
            // Boxed: a session holds much, and the supervisor's tasks should be small.
            let ended = Box::pin(session::run(self, &drain)).await;
            self.look(ended.is_ok());
            let was_connected = self.status.borrow().connected;
            let error = match ended {
                Ok(()) => {
                    self.disconnected(None);
                    return Ok(());
                }
                Err(Error::Renewed) => {
                    self.disconnected(None);
                    attempt = 0;
                    continue;
                }
                Err(error) => error,
            };
            self.disconnected(Some(&error));
            if !was_connected {
                self.failed(&error);
            }
            if was_connected && began.elapsed() >= backoff.healthy_after {
                attempt = 0;
            }
            let held = matches!(error, Error::Refused { code: Code::IdentityConflict, .. });
            if held && !is_held {
                self.tell(entry(action::GATEWAY_HELD, error.to_string()));
            }
            is_held = held || (is_held && !was_connected);
            let pause = if held { self.options.held_retry } else { backoff.pause(attempt) };
            // The first failure and every tenth are worth a line at this level.
            if attempt % 10 == 0 {
                tracing::warn!(%error, attempt, pause_ms = pause.as_millis(), "uplink down");
            } else {
                tracing::debug!(%error, attempt, pause_ms = pause.as_millis(), "uplink down");
            }
            attempt += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = drain.started() => {}
            }
        }
        Ok(())
    }

    /// Logs an entry: it is seen at the box, and goes to the cloud with the rest.
    pub(crate) fn tell(&self, entry: LogEntry) {
        let entry = LogEntry { at_us: self.clock.now_us(), ..entry };
        match entry.severity {
            Severity::Alarm => tracing::error!(action = entry.action, "{}", entry.detail),
            Severity::Warning => tracing::warn!(action = entry.action, "{}", entry.detail),
            Severity::Info => tracing::info!(action = entry.action, "{}", entry.detail),
        }
        if let Err(error) = self.log.append(Body::Event(entry)) {
            tracing::warn!(%error, "event of the uplink is lost");
        }
    }

    /// The cloud set frames aside: told once.
    pub(crate) async fn set_aside(&self, frames: Vec<Known>, why: &str) {
        if frames.is_empty() {
            return;
        }
        let (book, log) = (self.book.clone(), self.log.clone());
        let new =
            tokio::task::spawn_blocking(move || book.set_aside(&*log, &frames)).await.unwrap_or_default();
        for Known { incarnation, seqs } in new {
            self.count(|s| s.set_aside += seqs.len());
            let names: Vec<_> = seqs
                .iter()
                .take(16)
                .map(|(a, b)| if a == b { a.to_string() } else { format!("{a} to {b}") })
                .collect();
            let detail = format!(
                "the cloud could not take {} frames ({} of incarnation {incarnation}) and set them aside: {why}. They are not \
                 in its history; its administrator finds them with `twinway gateway set-aside {}`",
                seqs.len(),
                names.join(", "),
                self.options.gateway,
            );
            self.tell(entry(action::FRAME_SET_ASIDE, detail));
        }
    }

    /// Counts what the link carried and looks whether samples may go on. `last`: the count is kept to
    /// the byte.
    pub(crate) fn look(&self, last: bool) -> Held {
        let now = self.clock.now_us();
        let (note, status, changed) = {
            let mut meter = self.meter();
            meter.add(self.carried.swap(0, Ordering::Relaxed));
            let changed = meter.look(now, self.clock.is_synchronised());
            (meter.note(now, last), meter.status(), changed)
        };
        self.status.send_modify(|s| {
            let (held_frames, together, backlog_window) =
                (s.link.held_frames, s.link.together, s.link.backlog_window);
            s.link = common::api::LinkUse { held_frames, together, backlog_window, ..status };
        });
        if let Some(note) = note {
            let log = self.log.clone();
            let keep = move || {
                if let Err(error) = log.set_note(meter::NOTE, &note) {
                    tracing::warn!(%error, "count of the link's bytes not kept");
                }
            };
            // At the end there may be nobody left to wait for it.
            if last { keep() } else { drop(tokio::task::spawn_blocking(keep)) }
        }
        if changed {
            self.tell_hold(status.held);
        }
        Held { samples: status.held, trends: status.trends_held }
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether bytes are counted against a budget.
    pub(crate) fn has_budget(&self) -> bool {
        self.options.plan.day_bytes.is_some() || self.options.plan.month_bytes.is_some()
    }

    fn tell_hold(&self, hold: Option<LinkHold>) {
        let (action, severity, detail) = match hold {
            None => (action::UPLINK_RELEASED, Severity::Info, "samples go to the cloud again"),
            Some(LinkHold::Quiet) => {
                (action::UPLINK_HELD, Severity::Info, "quiet hours: samples wait in the buffer")
            }
            Some(LinkHold::Day) => (
                action::UPLINK_HELD,
                Severity::Warning,
                "the day's bytes are used up: samples wait in the buffer; alarms, events, commands and audit go on",
            ),
            Some(LinkHold::Month) => (
                action::UPLINK_HELD,
                Severity::Warning,
                "the month's bytes are used up: samples wait in the buffer; alarms, events, commands and audit go on",
            ),
        };
        self.tell(LogEntry { severity, ..entry(action, detail.to_owned()) });
    }

    pub(crate) fn connected(&self) {
        let now = self.clock.now_us();
        self.status.send_modify(|s| {
            s.connected = true;
            s.since_us = now;
        });
    }

    fn disconnected(&self, error: Option<&Error>) {
        let now = self.clock.now_us();
        self.status.send_modify(|s| {
            if s.connected {
                s.connected = false;
                s.since_us = now;
            }
            s.last_error = error.map(ToString::to_string).or(s.last_error.take());
        });
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let text = format!("refused by the cloud: {}: {}", refusal.code, refusal.detail);
        self.status.send_modify(|s| s.last_error = Some(text));
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut UplinkStatus)) {
        self.status.send_modify(change);
    }
}
