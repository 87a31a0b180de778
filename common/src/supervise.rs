//! The recipe for long-lived parts: a part has Options, `run(drain)`, a cheap Handle and an Error. The
//! supervisor here restarts a part that failed or panicked, with jittered backoff, and reports it.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// Tells parts to finish what they hold and end. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// A new one, not yet started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every holder to finish.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether it has been started.
    pub fn is_started(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is started.
    pub async fn started(&self) {
        self.0.cancelled().await;
    }

    /// One that starts with this one, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

/// Why a part ended early.
pub type PartError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a part runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// running
    Running,
    /// failed; it is started again after a pause
    Restarting,
    /// ended because it was asked to
    Stopped,
}

/// A part and how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartStatus {
    /// Name, such as `modbus:plc1`.
    pub name: String,
    /// Whether it runs.
    pub state: PartState,
    /// How often it was started again.
    pub restarts: u64,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Since when it is in this state, UTC us.
    pub since_us: i64,
}

/// How long to wait before the next start.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// First pause.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// A part that ran this long counts as healthy: the next pause is the first again.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            healthy_after: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause before attempt `n` (from 0): doubled each time, then 50 % to 100 % of it by chance, so
    /// that many that failed together do not come back together.
    pub fn pause(&self, n: u32) -> Duration {
        let full = self.first.saturating_mul(2u32.saturating_pow(n)).min(self.longest);
        let mut byte = [0; 1];
        // Without a random source there is no jitter, which is safe.
        let jitter = getrandom::fill(&mut byte).map_or(255, |()| u32::from(byte[0]));
        full / 2 + full / 2 * jitter / 255
    }
}

/// The list of parts and how they fare. Cheap to clone.
#[derive(Clone, Default)]
pub struct Parts(Arc<Mutex<Vec<PartStatus>>>);

impl Parts {
    /// All parts in the order of their start.
    pub fn list(&self) -> Vec<PartStatus> {
        self.0.lock().map(|l| l.clone()).unwrap_or_default()
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut PartStatus)) {
        let Ok(mut list) = self.0.lock() else { return };
        if let Some(part) = list.iter_mut().find(|p| p.name == name) {
            change(part);
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

struct CutOff(tokio::task::AbortHandle);

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts parts, restarts those that fail, and waits for their end.
pub struct Supervisor {
    clock: Clock,
    drain: Drain,
    backoff: Backoff,
    parts: Parts,
    tasks: Vec<Part>,
}

struct Part {
    name: String,
    /// Ends this part alone.
    drain: Drain,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// One whose parts end when `drain` starts.
    pub fn new(clock: Clock, drain: Drain, backoff: Backoff) -> Self {
        Self { clock, drain, backoff, parts: Parts::default(), tasks: Vec::new() }
    }

    /// How the parts fare.
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Starts a part. `start` is called for each attempt; a part that returns `Ok` while no drain was
    /// asked for has ended of itself and is not started again.
    pub fn spawn<F, Fut>(&mut self, name: impl Into<String>, start: F)
    where
        F: FnMut(Drain) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), PartError>> + Send + 'static,
    {
        self.spawn_on(&Handle::current(), name, start);
    }

    /// The same on another runtime: the part itself runs there, the watch over it here.
    pub fn spawn_on<F, Fut>(&mut self, runtime: &Handle, name: impl Into<String>, mut start: F)
    where
        F: FnMut(Drain) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), PartError>> + Send + 'static,
    {
        let runtime = runtime.clone();
        let name = name.into();
        let (parts, clock, drain, backoff) =
            (self.parts.clone(), self.clock.clone(), self.drain.child(), self.backoff);
        let own_drain = drain.clone();
        if let Ok(mut list) = parts.0.lock() {
            list.push(PartStatus {
                name: name.clone(),
                state: PartState::Running,
                restarts: 0,
                last_error: None,
                since_us: clock.now_us(),
            });
        }
        let part = name.clone();
        let task = tokio::spawn(async move {
            let mut attempt = 0;
            loop {
                let began = Instant::now();
                // A task of its own, so that a panic is an error here and not the end of the process.
                let running = runtime.spawn(start(drain.clone()));
                // Who cuts this task off cuts the part off, and not only the watch over it.
                let _cut = CutOff(running.abort_handle());
                let ended = running.await;
                let error = match ended {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => error.to_string(),
                    Err(join) if join.is_panic() => format!("panicked: {}", panic_text(join.into_panic())),
                    Err(_) => break,
                };
                if drain.is_started() {
                    tracing::warn!(part, error, "part failed while draining");
                    break;
                }
                if began.elapsed() >= backoff.healthy_after {
                    attempt = 0;
                }
                let pause = backoff.pause(attempt);
                attempt = attempt.saturating_add(1);
                tracing::error!(part, error, pause_ms = pause.as_millis(), "part failed, restarting");
                parts.update(&part, |p| {
                    p.state = PartState::Restarting;
                    p.last_error = Some(error);
                    p.since_us = clock.now_us();
                });
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = drain.started() => break,
                }
                parts.update(&part, |p| {
                    p.state = PartState::Running;
                    p.restarts += 1;
                    p.since_us = clock.now_us();
                });
            }
            parts.update(&part, |p| {
                p.state = PartState::Stopped;
                p.since_us = clock.now_us();
            });
        });
        self.tasks.push(Part { name, drain: own_drain, task });
    }

    /// Drains some parts alone, waits for their end, at most `limit` in all, and forgets them. Returns the names of
    /// those that had not ended and were cut off.
    pub async fn stop(&mut self, names: &[String], limit: Duration) -> Vec<String> {
        let end = Instant::now() + limit;
        let is_meant = |part: &Part| names.contains(&part.name);
        self.tasks.iter().filter(|p| is_meant(p)).for_each(|p| p.drain.start());
        let mut late = Vec::new();
        for part in self.tasks.iter_mut().filter(|p| is_meant(p)) {
            if tokio::time::timeout_at(end, &mut part.task).await.is_err() {
                part.task.abort();
                late.push(part.name.clone());
            }
        }
        self.tasks.retain(|p| !is_meant(p));
        if let Ok(mut list) = self.parts.0.lock() {
            list.retain(|p| !names.contains(&p.name));
        }
        late
    }

    /// Waits until every part has ended, at most `limit` in all; returns the names of those that had
    /// not and were cut off.
    pub async fn finish(self, limit: Duration) -> Vec<String> {
        let end = Instant::now() + limit;
        let mut late = Vec::new();
        for Part { name, task, .. } in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout_at(end, task).await.is_err() {
                abort.abort();
                late.push(name);
            }
        }
        late
    }
}

/// The text of a panic.
pub fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast::<&str>().map_or_else(|_| "no message".to_owned(), |t| (*t).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn supervisor(drain: &Drain) -> Supervisor {
        Supervisor::new(Clock::simulated(0), drain.clone(), Backoff::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_fails_or_panics_is_started_again_and_reported() {
        let drain = Drain::new();
        let mut s = supervisor(&drain);
        let starts = Arc::new(AtomicU32::new(0));
        let count = starts.clone();
        s.spawn("p", move |drain: Drain| {
            let n = count.fetch_add(1, Ordering::SeqCst);
            async move {
                match n {
                    0 => Err("broken".into()),
                    1 => panic!("on purpose"),
                    _ => {
                        drain.started().await;
                        Ok(())
                    }
                }
            }
        });
        let parts = s.parts();
        while parts.list()[0].restarts < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let part = &parts.list()[0];
        assert_eq!(part.state, PartState::Running);
        assert_eq!(part.last_error.as_deref(), Some("panicked: on purpose"));
        drain.start();
        assert!(s.finish(Duration::from_secs(1)).await.is_empty());
        assert_eq!(parts.list()[0].state, PartState::Stopped);
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_end_is_named() {
        let drain = Drain::new();
        let mut s = supervisor(&drain);
        let held = Arc::new(());
        let holds = held.clone();
        s.spawn("stuck", move |_| {
            let holds = holds.clone();
            async move {
                let _holds = holds;
                std::future::pending().await
            }
        });
        drain.start();
        assert_eq!(s.finish(Duration::from_secs(2)).await, ["stuck"]);
        // It does not go on behind the back of those that are drained after it.
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_part_is_stopped_alone_and_may_come_back_under_its_name() {
        let drain = Drain::new();
        let mut s = supervisor(&drain);
        let until_drained = |drain: Drain| async move {
            drain.started().await;
            Ok(())
        };
        s.spawn("a", until_drained);
        s.spawn("b", until_drained);
        s.spawn("stuck", |_| std::future::pending());
        let names = ["a".to_owned(), "stuck".to_owned()];
        assert_eq!(s.stop(&names, Duration::from_secs(1)).await, ["stuck"]);
        let listed =
            |s: &Supervisor| s.parts().list().into_iter().map(|p| (p.name, p.state)).collect::<Vec<_>>();
        assert_eq!(listed(&s), [("b".to_owned(), PartState::Running)]);
        s.spawn("a", until_drained);
        drain.start();
        assert!(s.finish(Duration::from_secs(1)).await.is_empty());
    }

    #[test]
    fn pauses_grow_to_the_longest_and_are_jittered() {
        let b = Backoff::default();
        for n in 0..40 {
            let full = b.first.saturating_mul(2u32.saturating_pow(n)).min(b.longest);
            let p = b.pause(n);
            assert!(p >= full / 2 && p <= full, "{n}: {p:?}");
        }
    }
}
