//! Alarms of the box: the engine of `gateway-pipeline` behind a lock, its changes into the log, its state into a note,
//! and what people want done with it from the local API and the cloud.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use common::alarm::{AlarmAct, AlarmId, AlarmOrder, AlarmView, LONGEST_SHELF_MS, Remark};
use common::names::Code;
use common::supervise::PartError;
use common::wire::Body;
use common::{Clock, Drain, PointId, Sample};
use gateway_core::{AlarmDesk, AlarmOrders, DropCounts, FrameLog};
use gateway_pipeline::{ActError, AlarmDefinition, Alarms, Now};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Duration, Instant};

/// The note that holds what alarms are.
const NOTE: &str = "alarms";
/// Changes that may wait for the log.
const QUEUE: usize = 10_000;
/// Changes that may wait for one who follows them.
const FOLLOWED: usize = 1024;
/// A storm of alarms writes the note this often at most.
const NOTE_EVERY: Duration = Duration::from_millis(250);
/// The log refuses, or nothing is due.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const COMMENT_CHARS: usize = 500;

/// The alarms of the gateway.
pub(crate) struct Desk {
    engine: Mutex<Alarms>,
    /// By point number, beside the lock: most points have no alarm.
    watched: RwLock<Vec<bool>>,
    out: Mutex<VecDeque<AlarmView>>,
    followers: broadcast::Sender<AlarmView>,
    wake: Notify,
    lost: Arc<AtomicU64>,
    clock: Clock,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watched(engine: &Alarms) -> Vec<bool> {
    let mut watched = Vec::new();
    for point in engine.points() {
        if watched.len() <= point.index() {
            watched.resize(point.index() + 1, false);
        }
        watched[point.index()] = true;
    }
    watched
}

impl Desk {
    pub(crate) fn new(definitions: Vec<AlarmDefinition>, clock: Clock, drops: &DropCounts) -> Arc<Self> {
        let engine = Alarms::new(definitions, now(&clock));
        let watched = RwLock::new(watched(&engine));
        Arc::new(Self {
            engine: Mutex::new(engine),
            watched,
            out: Mutex::default(),
            followers: broadcast::Sender::new(FOLLOWED),
            wake: Notify::new(),
            lost: drops.counter("alarms", "full"),
            clock,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.watched.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Goes over to another configuration, as over a restart: what an alarm was, it is.
    pub(crate) fn renew(&self, definitions: Vec<AlarmDefinition>) {
        let at = now(&self.clock);
        self.with(|alarms, out| {
            let (kept, was_ready) = (alarms.kept(), alarms.is_ready());
            *alarms = Alarms::new(definitions, at);
            if was_ready {
                alarms.restore(kept, at, out);
            }
            *self.watched.write().unwrap_or_else(PoisonError::into_inner) = watched(alarms);
        });
    }

    fn watches(&self, point: PointId) -> bool {
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        watched.get(point.index()).copied().unwrap_or(false)
    }

    /// A judged sample, before a deadband holds it back.
    pub(crate) fn feed(&self, sample: &Sample, now: Now) {
        if self.watches(sample.point) {
            self.with(|alarms, out| alarms.feed(sample, now, out));
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Alarms, &mut Vec<AlarmView>) -> T) -> T {
        let mut told = Vec::new();
        let mut engine = lock(&self.engine);
        let result = f(&mut engine, &mut told);
        if !told.is_empty() {
            // Under the engine's lock: changes stand here in their order.
            let mut out = lock(&self.out);
            for view in told {
                // Nobody may follow.
                let _ = self.followers.send(view.clone());
                if out.len() >= QUEUE {
                    out.pop_front();
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                out.push_back(view);
            }
            drop(out);
            self.wake.notify_one();
        }
        result
    }

    /// Does what somebody wants.
    pub(crate) fn act(
        &self,
        id: AlarmId,
        act: AlarmAct,
        who: &str,
        comment: Option<&str>,
    ) -> Result<AlarmView, (Code, String)> {
        if comment.is_some_and(|c| c.chars().count() > COMMENT_CHARS) {
            return Err((Code::InvalidRequest, format!("a comment has at most {COMMENT_CHARS} characters")));
        }
        if let AlarmAct::Shelve { duration_ms } = act
            && !(1..=LONGEST_SHELF_MS).contains(&duration_ms)
        {
            return Err((Code::InvalidRequest, format!("`duration_ms` is 1 to {LONGEST_SHELF_MS} (7 days)")));
        }
        let now = now(&self.clock);
        self.with(|alarms, out| alarms.act(id, act, who, comment, now, out)).map_err(|e| match e {
            ActError::Unknown => (Code::NotFound, format!("there is no alarm `{id}`")),
            ActError::OutOfService => (Code::Conflict, e.to_string()),
        })
    }

    pub(crate) fn get(&self, id: AlarmId) -> Option<AlarmView> {
        lock(&self.engine).get(id).cloned()
    }

    /// All alarms, the most urgent first, later ones first among those.
    pub(crate) fn list(&self) -> Vec<AlarmView> {
        let mut all: Vec<AlarmView> = lock(&self.engine).list().cloned().collect();
        all.sort_by_key(|a| (std::cmp::Reverse(a.priority), std::cmp::Reverse(a.at_us), a.id));
        all
    }

    /// Brings changes into the log until drained.
    pub(crate) async fn run(self: Arc<Self>, log: Arc<dyn FrameLog>, drain: Drain) -> Result<(), PartError> {
        let kept = log.note(NOTE).and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default();
        // Not after a fault of this part alone: then what is here is newer.
        if !lock(&self.engine).is_ready() {
            self.with(|alarms, out| alarms.restore(kept, now(&self.clock), out));
        }
        let (mut dirty, mut noted) = (false, None::<Instant>);
        loop {
            self.with(|alarms, out| alarms.tick(now(&self.clock), out));
            dirty |= self.deliver(log.as_ref());
            let note_at = noted.map(|at| at + NOTE_EVERY).filter(|at| *at > Instant::now());
            if dirty && note_at.is_none() {
                self.keep(&log).await;
                (dirty, noted) = (false, Some(Instant::now()));
            }
            let wait = note_at.filter(|_| dirty).map(|at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.wait().min(wait.unwrap_or(LONGEST_WAIT))) => {}
                () = drain.started() => break,
            }
        }
        self.deliver(log.as_ref());
        self.keep(&log).await;
        Ok(())
    }

    fn wait(&self) -> Duration {
        let at = now(&self.clock);
        let due = lock(&self.engine).next_due_us(at);
        let wait = due.map_or(LONGEST_WAIT, |us| Duration::from_micros(us.saturating_sub(at.mono_us)));
        // What is told already stays due: not more often than people could notice.
        wait.clamp(Duration::from_millis(10), LONGEST_WAIT)
    }

    /// True if something went into the log. What it refuses waits.
    fn deliver(&self, log: &dyn FrameLog) -> bool {
        let mut any = false;
        loop {
            let Some(view) = lock(&self.out).front().cloned() else { return any };
            if let Err(error) = log.append(Body::Alarm(Box::new(view.clone()))) {
                tracing::warn!(%error, "cannot log an alarm, trying again");
                return any;
            }
            tracing::info!(alarm = %view.id, point = %format_args!("{}/{}", view.asset, view.point),
                name = view.name, change = ?view.change, state = ?view.state, actor = view.actor, "alarm");
            any = true;
            let mut out = lock(&self.out);
            // The queue may have dropped it meanwhile.
            if out.front() == Some(&view) {
                out.pop_front();
            }
        }
    }

    async fn keep(&self, log: &Arc<dyn FrameLog>) {
        let kept = lock(&self.engine).kept();
        let log = log.clone();
        let written = tokio::task::spawn_blocking(move || {
            let json = serde_json::to_vec(&kept).map_err(|e| e.to_string())?;
            log.set_note(NOTE, &json).map_err(|e| e.to_string())
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error, "cannot keep the state of alarms"),
            Err(error) => tracing::warn!(%error, "cannot keep the state of alarms"),
        }
    }
}

impl AlarmDesk for Desk {
    fn list(&self) -> Vec<AlarmView> {
        Desk::list(self)
    }

    fn get(&self, id: AlarmId) -> Option<AlarmView> {
        Desk::get(self, id)
    }

    fn said(&self, id: AlarmId) -> Option<Remark> {
        lock(&self.engine).said(id).cloned()
    }

    fn act(
        &self,
        id: AlarmId,
        act: AlarmAct,
        who: &str,
        comment: Option<&str>,
    ) -> Result<AlarmView, (Code, String)> {
        Desk::act(self, id, act, who, comment)
    }

    fn changes(&self) -> broadcast::Receiver<AlarmView> {
        self.followers.subscribe()
    }
}

impl AlarmOrders for Desk {
    fn alarm(&self, order: AlarmOrder) {
        if self.get(order.id).is_none_or(|a| a.twin != order.twin) {
            tracing::warn!(alarm = %order.id, "the cloud spoke of an alarm that is not here");
            return;
        }
        let comment = Some(order.comment.as_str()).filter(|c| !c.is_empty());
        if let Err((code, detail)) = self.act(order.id, order.act, &order.requester.name, comment) {
            tracing::warn!(alarm = %order.id, %code, detail, "an alarm was not changed");
        }
    }
}

fn now(clock: &Clock) -> Now {
    Now { utc_us: clock.now_us(), mono_us: clock.mono_us() }
}
