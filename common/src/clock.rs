//! Time as a dependency: the only place that reads the system's clock. Timers use tokio's time.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// 2024-01-01, UTC us: a clock of ours before this was never set.
pub const NEVER_SET_BEFORE_US: i64 = 1_704_067_200_000_000;
/// Where systemd-timesyncd says that it has synchronised the clock since boot.
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";

/// Wall and monotonic time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    started: Instant,
    /// For a simulated clock, the wall time at `started`.
    simulated_us: Option<AtomicI64>,
    /// When `synchronised` was found out, us since `started`, and what it was: each frame asks, and the answer stands
    /// in the file system.
    looked_us: AtomicU64,
    synchronised: AtomicBool,
    /// When a time service was there last, us since `started`.
    service_us: AtomicU64,
}

/// A time service that is away for less is being started anew.
const ANEW_US: u64 = 10_000_000;

/// Whether the clock is synchronised is found out anew after so long.
const LOOK_AGAIN_US: u64 = 200_000;
/// Two clocks that are read within so long are read at once.
const APART_US: u64 = 20;

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::new(None)
    }

    /// A clock that stood at `wall_us` when made and moves with tokio's time, so that it stands still
    /// on paused time.
    pub fn simulated(wall_us: i64) -> Self {
        Self::new(Some(wall_us))
    }

    fn new(simulated_us: Option<i64>) -> Self {
        let (looked_us, synchronised) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
        let service_us = AtomicU64::new(u64::MAX);
        let simulated_us = simulated_us.map(AtomicI64::new);
        Self(Arc::new(Inner { started: Instant::now(), simulated_us, looked_us, synchronised, service_us }))
    }

    /// UTC in microseconds since 1970. May jump.
    #[allow(clippy::disallowed_methods)] // this is the place
    pub fn now_us(&self) -> i64 {
        match &self.0.simulated_us {
            Some(base) => base.load(Ordering::Relaxed).saturating_add_unsigned(self.mono_us()),
            None => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
            },
        }
    }

    /// Sets the wall time of a simulated clock forward or back by `us`. The system's clock stays as it is.
    pub fn jump(&self, us: i64) {
        if let Some(base) = &self.0.simulated_us {
            base.fetch_add(us, Ordering::Relaxed);
        }
    }

    /// Microseconds since this clock was made. Never jumps.
    pub fn mono_us(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Wall time and `mono_us` of one moment: 20 us apart at most, where the processor is not taken away three times
    /// in a row.
    pub fn reading(&self) -> (i64, u64) {
        let mut before = self.mono_us();
        for _ in 0..2 {
            let (wall, after) = (self.now_us(), self.mono_us());
            if after.saturating_sub(before) <= APART_US {
                return (wall, after);
            }
            before = after;
        }
        (self.now_us(), self.mono_us())
    }

    /// Whether wall time can be believed: the year is one in which this program existed, and a time service says so
    /// where one reports. What that says is up to 0.2 s old.
    pub fn is_synchronised(&self) -> bool {
        if self.0.simulated_us.is_some() {
            return true;
        }
        let (now_us, looked_us) = (self.mono_us(), self.0.looked_us.load(Ordering::Acquire));
        if looked_us == u64::MAX || now_us.saturating_sub(looked_us) >= LOOK_AGAIN_US {
            self.0.synchronised.store(self.look(), Ordering::Relaxed);
            self.0.looked_us.store(now_us, Ordering::Release);
        }
        // A clock that was set back is not believed from then on.
        self.0.synchronised.load(Ordering::Relaxed) && self.now_us() > NEVER_SET_BEFORE_US
    }

    fn look(&self) -> bool {
        let now_us = self.mono_us();
        let (says_so, is_there) =
            (Path::new(TIMESYNC_MARK).exists(), Path::new("/run/systemd/timesync").exists());
        if is_there {
            self.0.service_us.store(now_us, Ordering::Relaxed);
        }
        let seen_us = Some(self.0.service_us.load(Ordering::Relaxed)).filter(|us| *us != u64::MAX);
        let before = self.0.synchronised.load(Ordering::Relaxed);
        let is_believed = match seen_us {
            _ if is_there => says_so,
            Some(seen_us) if now_us.saturating_sub(seen_us) < ANEW_US => before,
            _ => true,
        };
        self.now_us() > NEVER_SET_BEFORE_US && is_believed
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.simulated_us.is_some() { "Clock(simulated)" } else { "Clock(system)" })
    }
}

/// A UTC time in microseconds as RFC 3339 text with microseconds. Times before 1970 are shown as 1970.
pub fn format_us(us: i64) -> String {
    let since = Duration::from_micros(u64::try_from(us).unwrap_or(0));
    match UNIX_EPOCH.checked_add(since) {
        // humantime formats years up to 9999 and refuses later ones
        Some(t) if us < 253_402_300_800_000_000 => humantime::format_rfc3339_micros(t).to_string(),
        _ => format!("{us}us"),
    }
}

/// A UTC time from text: RFC 3339, integer microseconds since 1970, `now`, or a time before `now_us`
/// such as `-15m`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_us(text: &str, now_us: i64) -> Result<i64, String> {
    let expected = || {
        format!(
            "`{text}` is not a time: use RFC 3339 (2026-11-22T08:00:00Z), microseconds since 1970, `now`, or a time ago such as `-15m`"
        )
    };
    if text == "now" {
        return Ok(now_us);
    }
    if let Some(ago) = text.strip_prefix('-')
        && let Ok(d) = humantime::parse_duration(ago)
    {
        return Ok(now_us.saturating_sub(i64::try_from(d.as_micros()).map_err(|_| expected())?));
    }
    if let Ok(us) = text.parse::<i64>() {
        return Ok(us);
    }
    let t = humantime::parse_rfc3339_weak(text).map_err(|_| expected())?;
    let since = t.duration_since(UNIX_EPOCH).map_err(|_| expected())?;
    i64::try_from(since.as_micros()).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_moves_with_paused_time_only() {
        let clock = Clock::simulated(1_000);
        assert_eq!(clock.now_us(), 1_000);
        tokio::time::advance(Duration::from_micros(500)).await;
        assert_eq!(clock.now_us(), 1_500);
        assert_eq!(clock.mono_us(), 500);
    }

    #[test]
    fn times_are_read_back() {
        let us = 1_795_000_000_123_456;
        assert_eq!(parse_us(&format_us(us), 0), Ok(us));
        assert_eq!(parse_us("-15m", 1_000_000_000), Ok(100_000_000));
        assert_eq!(parse_us("42", 0), Ok(42));
        assert_eq!(parse_us("now", 7), Ok(7));
        assert!(parse_us("yesterday", 0).is_err());
    }
}
