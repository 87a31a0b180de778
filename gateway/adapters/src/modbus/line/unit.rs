//! How one unit of a line fares: when it may be asked again, whether it is parked and when it is probed, and how much
//! of the line's time it takes. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// Of the line's time, probes of parked units may take this part when others want it: 4 %.
const PROBE_SHARE: u32 = 25;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Before a unit ever answered, its first probes wait so long.
const FIRST_PROBE: Duration = Duration::from_millis(100);
const SHORTEST_PROBE: Duration = Duration::from_millis(20);
/// Time that a unit may have saved up.
const MOST_CREDIT_S: f64 = 1.0;

/// A unit that does not answer.
#[derive(Debug, Clone, Copy)]
struct Parked {
    tries: u32,
    /// When the next probe may go if nobody else wants the line.
    free_at: Instant,
    /// When it may go in any case.
    paid_at: Instant,
}

/// How a unit fares.
#[derive(Debug)]
pub(super) struct Unit {
    timeout: Duration,
    park_after: u32,
    longest_pause: Duration,
    misses: u32,
    parked: Option<Parked>,
    quiet_until: Instant,
    /// Slowest answer of late; it fades.
    slowest: Option<Duration>,
    round_trip: Option<Duration>,
    credit_s: f64,
    credited: Instant,
}

impl Unit {
    pub(super) fn new(timeout: Duration, park_after: u32, longest_pause: Duration, now: Instant) -> Self {
        Self {
            timeout,
            park_after,
            longest_pause,
            misses: 0,
            parked: None,
            quiet_until: now,
            slowest: None,
            round_trip: None,
            credit_s: 0.0,
            credited: now,
        }
    }

    pub(super) fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Mean time of a request.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// When it may be asked again: after a timeout, its late answer is let pass.
    pub(super) fn quiet_until(&self) -> Instant {
        self.quiet_until
    }

    /// It answered after `took`. True if it was parked and is not any more.
    pub(super) fn answered(&mut self, took: Duration) -> bool {
        self.misses = 0;
        self.round_trip = Some(self.round_trip.map_or(took, |mean| (mean * 7 + took) / 8));
        // A single slow answer is remembered for some hundred.
        self.slowest = Some(self.slowest.map_or(took, |s| took.max(s - s / 256)));
        self.parked.take().is_some()
    }

    /// It did not. `quiet` is how long its late answer is waited for, `others` how many units are parked besides.
    /// True if it is parked by that.
    pub(super) fn missed(&mut self, now: Instant, cost: Duration, quiet: Duration, others: u32) -> bool {
        self.misses = self.misses.saturating_add(1);
        self.quiet_until = now + quiet;
        if self.misses < self.park_after {
            return false;
        }
        let fresh = self.parked.is_none();
        let tries = self.parked.map_or(0, |p| p.tries.saturating_add(1));
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(self.longest_pause);
        // Dead units share what probes may take.
        let paid = cost.saturating_mul(PROBE_SHARE.saturating_mul(others.saturating_add(1)));
        self.parked = Some(Parked { tries, free_at: now + pause, paid_at: now + pause.max(paid) });
        fresh
    }

    /// When the line is opened anew, or its device was asked to be written: it may be another now.
    pub(super) fn probe_now(&mut self, now: Instant) {
        if let Some(parked) = &mut self.parked {
            (parked.free_at, parked.paid_at) = (now, now);
        }
    }

    /// How long the next probe waits: short at first, and up to the whole timeout for a unit that came back slow.
    pub(super) fn probe_limit(&self) -> Duration {
        let tries = self.parked.map_or(0, |p| p.tries);
        let first = self.slowest.map_or(FIRST_PROBE, |s| s * 3).max(SHORTEST_PROBE);
        first.saturating_mul(1 << (tries % 6)).min(self.timeout)
    }

    /// When a probe is to go, if the line is free until `free_until` from now on.
    pub(super) fn probe_at(&self, now: Instant, free_until: Option<Instant>) -> Option<Instant> {
        let parked = self.parked?;
        let room = free_until.is_none_or(|until| until.saturating_duration_since(now) > self.probe_limit());
        Some(if room { parked.free_at } else { parked.paid_at })
    }

    /// It took time of the line.
    pub(super) fn charge(&mut self, now: Instant, took: Duration, units: usize) {
        #[allow(clippy::cast_precision_loss)] // at most 256 units
        let share = 1.0 / units.max(1) as f64;
        let earned = now.saturating_duration_since(self.credited).as_secs_f64() * share;
        self.credited = now;
        self.credit_s = (self.credit_s + earned).min(MOST_CREDIT_S) - took.as_secs_f64();
        // What is owed is forgotten after some seconds of being last.
        self.credit_s = self.credit_s.max(-10.0 * MOST_CREDIT_S);
    }

    /// Whether it took more than its share of late.
    pub(super) fn is_greedy(&self, now: Instant, units: usize) -> bool {
        #[allow(clippy::cast_precision_loss)] // at most 256 units
        let share = 1.0 / units.max(1) as f64;
        self.credit_s + now.saturating_duration_since(self.credited).as_secs_f64() * share < 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_unit_is_parked_after_its_misses_and_probed_ever_more_rarely() {
        let mut now = Instant::now();
        let mut unit = Unit::new(ms(1000), 2, ms(30_000), now);
        unit.answered(ms(10));
        assert!(!unit.missed(now, ms(1000), ms(0), 0) && !unit.is_parked());
        assert!(unit.missed(now, ms(1000), ms(0), 0) && unit.is_parked());
        let (mut probes, mut cost, start) = (0, ms(0), now);
        while now < start + ms(600_000) {
            // Others want the line all the time.
            now = unit.probe_at(now, Some(now)).unwrap();
            let limit = unit.probe_limit();
            assert!(limit >= ms(30) && limit <= ms(1000));
            now += limit;
            (probes, cost) = (probes + 1, cost + limit);
            assert!(!unit.missed(now, limit, ms(0), 0), "parked once");
        }
        assert!(probes > 15, "{probes}");
        assert!(cost < ms(600_000) / 25, "{cost:?} of the others' time");
        assert!(unit.answered(ms(10)) && !unit.is_parked());
        assert!(!unit.answered(ms(10)), "once");
    }

    #[test]
    fn a_free_line_is_used_for_probes_and_many_dead_units_share_theirs() {
        let now = Instant::now();
        let mut unit = Unit::new(ms(1000), 1, ms(30_000), now);
        unit.missed(now, ms(1000), ms(0), 0);
        assert_eq!(unit.probe_at(now, None), Some(now + ms(500)));
        assert_eq!(unit.probe_at(now, Some(now + ms(50))), Some(now + ms(25_000)));
        unit.missed(now, ms(1000), ms(0), 3);
        assert_eq!(unit.probe_at(now, Some(now)), Some(now + ms(100_000)));
        unit.probe_now(now);
        assert_eq!(unit.probe_at(now, Some(now)), Some(now));
    }

    #[test]
    fn a_unit_that_takes_more_than_its_share_is_greedy_until_it_has_paid() {
        let now = Instant::now();
        let mut unit = Unit::new(ms(1000), 1, ms(30_000), now);
        unit.charge(now + ms(1000), ms(50), 10);
        assert!(!unit.is_greedy(now + ms(1000), 10));
        unit.charge(now + ms(1500), ms(500), 10);
        assert!(unit.is_greedy(now + ms(1500), 10));
        assert!(unit.is_greedy(now + ms(4000), 10));
        assert!(!unit.is_greedy(now + ms(6000), 10));
    }
}
