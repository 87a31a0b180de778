//! How much may be on its way, and whether frames of live samples go alone: told by how long acknowledgements take.
//! Time beyond the shortest that was seen is time in a queue, ours, the link's or the cloud's, and live frames stand in it as
//! well. So backlog gets what a queue of `TARGET` leaves it (as LEDBAT does it, RFC 6817), and no more than the cloud's credit.
//! On a link where live frames alone make a queue of `THIN`, they go together, one message after another: each takes what
//! came while the one before was on its way. Pure: time is given.

use std::time::Duration;

use tokio::time::Instant;

/// Queue that backlog may make: at least so long, and this part of the shortest time of an ack, since times on long links vary
/// more.
const TARGET: Duration = Duration::from_millis(8);
const TARGET_PART: u32 = 8;
/// Time that backlog may take beyond that of an ack.
const BEHIND: Duration = Duration::from_millis(400);
/// Queue that makes a link thin, and below which it is none.
const THIN: Duration = Duration::from_millis(300);
const NOT_THIN: Duration = Duration::from_millis(100);
/// Acks in a row that must say so.
const IN_A_ROW: u32 = 3;
/// A link stays thin for so long, and doubly so each time it proves so again soon.
const HOLD: Duration = Duration::from_secs(10);
const MOST_HOLD: Duration = Duration::from_secs(300);
/// The shortest time of an ack is that of the last one or two of these: routes change.
const BASE_FOR: Duration = Duration::from_secs(300);
/// Window at the start, and the least of a link that is not thin.
const FIRST: usize = 64 << 10;
const LEAST: usize = 32 << 10;
const LEAST_THIN: usize = 2 << 10;
/// What is read from the log for one message; it becomes a fraction of it on the wire.
pub const READ_BYTES: usize = 128 << 10;
const LEAST_READ: usize = 4 << 10;
/// Of a log's bytes to those of a batch, about.
const SHRINKS: f64 = 3.0;
/// Seconds that one message may take on a thin link.
const MESSAGE: f64 = 0.3;

/// What an ack said of what was on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Frames.
    pub(crate) frames: u64,
    /// Their bytes, as they were sent.
    pub(crate) bytes: usize,
    /// The shortest time that one of them took; of live frames, if there are any.
    pub(crate) took: Option<Duration>,
    /// The same of backlog.
    pub(crate) backlog_took: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Thin {
    until: Instant,
    hold: Duration,
}

/// How a session's link is used.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    most: usize,
    credit: usize,
    window: usize,
    /// Whether the window doubles with each round: at the start, until there is a queue.
    opening: bool,
    cut_at: Option<Instant>,
    base: [Duration; 2],
    base_since: Instant,
    /// Bytes a second.
    rate: f64,
    acked_at: Option<Instant>,
    /// Of the last ack.
    took: Duration,
    slow: u32,
    thin: Option<Thin>,
    was_thin: Option<Thin>,
}

impl Pace {
    /// Of a link that took `round` for hello and its answer, with at most `most` bytes of backlog on their way.
    pub(crate) fn new(most: usize, round: Duration, now: Instant) -> Self {
        Self {
            most,
            credit: usize::MAX,
            window: FIRST.min(most),
            opening: true,
            cut_at: None,
            base: [round; 2],
            base_since: now,
            rate: 0.0,
            acked_at: None,
            took: Duration::ZERO,
            slow: 0,
            thin: None,
            was_thin: None,
        }
    }

    /// With what the session before learned: a link that was thin still is.
    #[must_use]
    pub(crate) fn after(mut self, before: Option<Self>) -> Self {
        if let Some(before) = before.filter(Self::is_thin) {
            (self.thin, self.was_thin, self.rate) = (before.thin, before.was_thin, before.rate);
            self.opening = false;
            self.window = self.least().min(self.most);
        }
        self
    }

    /// The session ended with something on its way for so long: perhaps because there was too much of it.
    pub(crate) fn end(&mut self, oldest: Duration, now: Instant) {
        if oldest >= THIN * 3 {
            self.slow = IN_A_ROW;
            self.weigh(oldest, now);
        }
    }

    /// How long to wait for an ack before a frame is sent again, at least.
    pub(crate) fn patience(&self) -> Duration {
        self.took * 4
    }

    /// The cloud takes so many bytes of backlog.
    pub(crate) fn credit(&mut self, bytes: u64) {
        self.credit = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// Most bytes of backlog on their way.
    pub(crate) fn window(&self) -> usize {
        self.window.min(self.credit)
    }

    /// Whether frames of live samples go together.
    pub(crate) fn is_thin(&self) -> bool {
        self.thin.is_some()
    }

    /// How much to read from the log for one message.
    pub(crate) fn read_bytes(&self) -> usize {
        if self.thin.is_none() {
            return READ_BYTES.min(self.window().max(LEAST_READ).saturating_mul(2));
        }
        whole(self.rate * MESSAGE * SHRINKS).clamp(LEAST_READ, READ_BYTES)
    }

    /// An ack came.
    pub(crate) fn acked(&mut self, acked: Acked, now: Instant) {
        let Some(took) = acked.took else { return };
        self.measure(acked.bytes, took, now);
        if now.saturating_duration_since(self.base_since) >= BASE_FOR {
            self.base = [self.base[1], took];
            self.base_since = now;
        }
        self.base[1] = self.base[1].min(took);
        let base = self.base[0].min(self.base[1]);
        let queue = took.saturating_sub(base);
        self.weigh(queue, now);
        self.took = took;
        // Live frames pass the backlog in the cloud: there it makes a queue of its own.
        let behind = acked.backlog_took.unwrap_or_default();
        if queue <= TARGET.max(base / TARGET_PART) && behind <= base + BEHIND {
            let more = if self.opening { acked.bytes } else { acked.bytes / 8 };
            self.window = self.window.saturating_add(more);
        } else if self.cut_at.is_none_or(|at| now.saturating_duration_since(at) >= took) {
            // Once in a round: what is acknowledged now was sent before the cut.
            self.opening = false;
            self.cut_at = Some(now);
            self.window = self.window / 4 * 3;
        }
        self.window = self.window.clamp(self.least().min(self.most), self.most);
    }

    fn least(&self) -> usize {
        match self.thin {
            Some(_) => whole(self.rate * MESSAGE).clamp(LEAST_THIN, LEAST),
            None => LEAST,
        }
    }

    /// The rate of an ack is that of what came between it and the one before, or since it was sent if that was later.
    fn measure(&mut self, bytes: usize, took: Duration, now: Instant) {
        let since = self.acked_at.replace(now).map_or(took, |at| now.saturating_duration_since(at).min(took));
        #[allow(clippy::cast_precision_loss)] // a rate
        let rate = bytes as f64 / since.as_secs_f64().max(0.001);
        self.rate = if self.rate == 0.0 { rate } else { self.rate * 0.8 + rate * 0.2 };
    }

    fn weigh(&mut self, queue: Duration, now: Instant) {
        match self.thin {
            None if queue >= THIN => {
                self.slow += 1;
                if self.slow >= IN_A_ROW {
                    let again = self
                        .was_thin
                        .filter(|was| now.saturating_duration_since(was.until) < was.hold.saturating_mul(2));
                    let hold = again.map_or(HOLD, |was| was.hold.saturating_mul(2).min(MOST_HOLD));
                    self.thin = Some(Thin { until: now + hold, hold });
                }
            }
            None => self.slow = 0,
            Some(thin) if queue >= NOT_THIN => {
                self.thin = Some(Thin { until: thin.until.max(now + HOLD), ..thin });
            }
            Some(thin) if now >= thin.until => {
                (self.was_thin, self.thin, self.slow) = (Some(thin), None, 0);
            }
            Some(_) => {}
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is about
fn whole(x: f64) -> usize {
    x as usize
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
