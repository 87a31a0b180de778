//! Whether the loops that must not stop still turn: each says with every turn by when it will be seen again. Who feeds a
//! watchdog looks here. Not here: what to do about one that is late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use common::Clock;

/// How long a loop may be away beyond what it waits for: a slow disk or a crowded processor is no fault of its own.
const GRACE: Duration = Duration::from_secs(10);

/// The loops that must turn. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Pulse {
    clock: Clock,
    loops: Arc<Mutex<Vec<Weak<Mark>>>>,
}

struct Mark {
    name: String,
    /// By when it turns again, us of the clock.
    due_us: AtomicU64,
}

/// One loop's way to say that it turns. It is no longer expected to once this is dropped.
pub struct Beat {
    clock: Clock,
    mark: Arc<Mark>,
}

impl Pulse {
    /// No loop yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, loops: Arc::default() }
    }

    /// A loop begins.
    pub fn join(&self, name: impl Into<String>) -> Beat {
        let mark = Arc::new(Mark { name: name.into(), due_us: AtomicU64::new(0) });
        let beat = Beat { clock: self.clock.clone(), mark };
        beat.turns(Duration::ZERO);
        let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|l| l.strong_count() > 0);
        loops.push(Arc::downgrade(&beat.mark));
        beat
    }

    /// A loop that should have turned by now, and how long ago; of several the one that is longest late.
    pub fn late(&self) -> Option<(String, Duration)> {
        let now_us = self.clock.mono_us();
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let late = loops.iter().filter_map(Weak::upgrade).filter_map(|mark| {
            let late_us = now_us.checked_sub(mark.due_us.load(Ordering::Relaxed))?;
            Some((mark.name.clone(), Duration::from_micros(late_us)))
        });
        late.max_by_key(|(_, by)| *by)
    }
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("late", &self.late()).finish_non_exhaustive()
    }
}

impl Beat {
    /// It turned just now, and waits for at most `wait` before it turns again.
    pub fn turns(&self, wait: Duration) {
        let wait_us = u64::try_from(wait.saturating_add(GRACE).as_micros()).unwrap_or(u64::MAX);
        self.mark.due_us.store(self.clock.mono_us().saturating_add(wait_us), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_is_late_once_its_wait_and_the_grace_are_over() {
        let pulse = Pulse::new(Clock::simulated(0));
        let beat = pulse.join("line");
        let other = pulse.join("pipeline");
        beat.turns(Duration::from_secs(5));
        advance(GRACE).await;
        other.turns(Duration::ZERO);
        assert_eq!(pulse.late(), None);
        advance(Duration::from_secs(6)).await;
        assert_eq!(pulse.late(), Some(("line".to_owned(), Duration::from_secs(1))));
        beat.turns(Duration::ZERO);
        assert_eq!(pulse.late(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_is_named_and_one_that_ended_is_not_expected() {
        let pulse = Pulse::new(Clock::simulated(0));
        let (first, second) = (pulse.join("first"), pulse.join("second"));
        second.turns(Duration::from_secs(1));
        advance(GRACE * 2).await;
        assert_eq!(pulse.late().map(|l| l.0).as_deref(), Some("first"));
        drop(first);
        assert_eq!(pulse.late().map(|l| l.0).as_deref(), Some("second"));
        drop(second);
        assert_eq!(pulse.late(), None);
    }
}
