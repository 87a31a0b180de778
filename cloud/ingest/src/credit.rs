//! How much backlog each gateway may have on its way: what storage takes in a while, shared by those that have any, and
//! nothing while it has yet to catch up. Gateways that do not know the word are held by the queues alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::Drain;
use tokio::time::{Instant, MissedTickBehavior};

use crate::handle::Shared;

/// How often credit is thought over.
pub(crate) const EVERY: Duration = Duration::from_millis(200);
/// Seconds of what storage takes that may be on their way.
const AHEAD: f64 = 0.5;
/// Least and most bytes of it, over all gateways.
const LEAST: u64 = 256 << 10;
const MOST: u64 = 16 << 20;
/// A gateway has backlog for so long after a batch of it.
pub(crate) const ACTIVE: Duration = Duration::from_secs(2);

/// What is counted for it.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    /// Bytes of backlog stored since the last look.
    stored: AtomicU64,
}

impl Credit {
    pub(crate) fn stored(&self, bytes: usize) {
        self.stored.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Bytes of backlog for each of `active` gateways, where storage takes `rate` bytes a second and `waiting` of at most
/// `most` samples wait in it for compaction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // about, and bounded
pub(crate) fn share(rate: f64, waiting: usize, most: usize, active: usize) -> u64 {
    let all = ((rate * AHEAD) as u64).clamp(LEAST, MOST);
    // All of it up to half of what may wait, then less and less.
    let room = most.saturating_sub(waiting).saturating_mul(2).min(most) as f64 / most.max(1) as f64;
    (all as f64 * room) as u64 / active.max(1) as u64
}

/// Thinks it over until drained.
pub(crate) async fn run(shared: &Shared, drain: &Drain) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut rate, mut last) = (0.0, Instant::now());
    loop {
        tokio::select! {
            () = drain.started() => return,
            _ = tick.tick() => {}
        }
        let seconds = last.elapsed().as_secs_f64().max(0.001);
        last = Instant::now();
        #[allow(clippy::cast_precision_loss)] // a rate
        let now = shared.credit.stored.swap(0, Ordering::Relaxed) as f64 / seconds;
        // Up at once, down over a while: a pause of the sender is none of storage.
        rate = if now > rate { now } else { rate * 0.95 + now * 0.05 };
        let (waiting, most) = (shared.parts.storage.waiting_samples(), shared.options.waiting_samples);
        shared.give_credit(|active| share(rate, waiting, most, active));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_stay_within_what_storage_takes_in_a_while() {
        for active in [1, 3, 100, 4000] {
            let each = share(4e6, 0, 1_000_000, active);
            assert!(each * active as u64 <= 2_000_000, "{active}");
            assert!((each + 1) * active as u64 >= 2_000_000, "{active}");
        }
        assert_eq!(share(1e12, 0, 1000, 1), MOST);
        assert_eq!(share(0.0, 0, 1000, 1), LEAST, "a first batch tells more");
    }

    #[test]
    fn nothing_is_given_while_storage_has_yet_to_catch_up() {
        let of = |waiting| share(4e6, waiting, 1_000_000, 1);
        assert_eq!(of(500_000), 2_000_000);
        assert!((1_000_000..1_010_000).contains(&of(749_000)), "{}", of(749_000));
        assert_eq!(of(1_000_000), 0);
        assert_eq!(of(usize::MAX), 0);
        assert_eq!(share(4e6, 0, 0, 0), 0);
    }
}
