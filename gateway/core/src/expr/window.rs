//! The last seconds of one point, in bounded memory. Only good samples count. A value holds until the next sample
//! and at most as long as the point lets it count as current, so averages weigh by time. Times are the samples'
//! own; a time that goes back starts the window anew, because a clock was set.
//!
//! A window is cut into at most `MAX_SEGMENTS` pieces: with fewer samples than that it is exact, with more its old
//! end is blurred by 1/256 of its length.

use std::collections::VecDeque;

/// Pieces at most: 88 bytes each.
pub const MAX_SEGMENTS: usize = 258;
/// The longest window: a day.
pub const LONGEST_WINDOW_US: u64 = 24 * 3_600 * 1_000_000;
/// The shortest one.
pub(super) const SHORTEST_WINDOW_US: u64 = 10_000;
const PIECES: i64 = 256;

/// A piece: one sample, or several that are close to each other.
#[derive(Debug, Clone, Copy)]
struct Segment {
    from: i64,
    /// Up to where its last value held.
    to: i64,
    /// Values times us.
    integral: f64,
    covered: i64,
    min: f64,
    max: f64,
    sum: f64,
    count: u64,
    first: (i64, f64),
    last: (i64, f64),
}

/// What a window says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stats {
    /// How much of the window good values cover, 0 to 1.
    pub covered: f64,
    /// Mean weighed by time; of a bool the part of the time in which it was true.
    pub average: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Sum of the good samples.
    pub sum: f64,
    /// How many good samples.
    pub count: u64,
    /// Change a second from the oldest sample to the newest; none with fewer than two.
    pub rate: Option<f64>,
}

/// The last `span_us` of a point.
#[derive(Debug, Clone)]
pub struct Window {
    span: i64,
    hold: i64,
    segments: VecDeque<Segment>,
    /// Whether the last segment's value still holds.
    open: bool,
    /// Source time of the newest sample, and when it came.
    newest: Option<(i64, u64)>,
}

impl Window {
    /// An empty window in which a value holds for at most `hold_us`.
    pub fn new(span_us: u64, hold_us: u64) -> Self {
        let us = |n: u64| i64::try_from(n.min(LONGEST_WINDOW_US)).unwrap_or(i64::MAX);
        Self {
            span: us(span_us).max(1),
            hold: us(hold_us).max(1),
            segments: VecDeque::new(),
            open: false,
            newest: None,
        }
    }

    /// A sample: its value if it is good and finite, its own time, and when it came in monotonic us.
    pub fn feed(&mut self, value: Option<f64>, at: i64, mono_us: u64) {
        if self.newest.is_some_and(|(newest, _)| at < newest) {
            self.segments.clear();
            self.open = false;
        }
        self.newest = Some((at, mono_us));
        self.extend(at);
        self.open = value.is_some();
        if let Some(x) = value {
            self.put(x, at);
        }
        let start = at.saturating_sub(self.span);
        // The oldest stays while its value holds into the window.
        while self.segments.front().is_some_and(|s| s.to <= start && s.last.0 < start) {
            self.segments.pop_front();
        }
    }

    /// The last value has held until `at`, or as long as it may.
    fn extend(&mut self, at: i64) {
        let Some(last) = self.segments.back_mut().filter(|_| self.open) else { return };
        let to = at.min(last.last.0.saturating_add(self.hold));
        let more = to.saturating_sub(last.to);
        if more > 0 {
            last.to = to;
            last.covered += more;
            last.integral += last.last.1 * us_f64(more);
        }
    }

    fn put(&mut self, x: f64, at: i64) {
        let piece = self.span / PIECES;
        match self.segments.back_mut().filter(|s| at.saturating_sub(s.from) < piece) {
            Some(s) => {
                s.to = s.to.max(at);
                s.min = s.min.min(x);
                s.max = s.max.max(x);
                s.sum += x;
                s.count += 1;
                s.last = (at, x);
            }
            None => self.segments.push_back(Segment {
                from: at,
                to: at,
                integral: 0.0,
                covered: 0,
                min: x,
                max: x,
                sum: x,
                count: 1,
                first: (at, x),
                last: (at, x),
            }),
        }
    }

    /// What the window says at `mono_us`; none if no good value reaches into it.
    pub fn stats(&self, mono_us: u64) -> Option<Stats> {
        let (newest, came) = self.newest?;
        let now = newest.saturating_add_unsigned(mono_us.saturating_sub(came));
        let start = now.saturating_sub(self.span);
        let mut held = self.segments.back().filter(|_| self.open).copied();
        if let Some(last) = &mut held {
            let to = now.min(last.last.0.saturating_add(self.hold));
            let more = to.saturating_sub(last.to).max(0);
            last.to += more;
            last.covered += more;
            last.integral += last.last.1 * us_f64(more);
        }
        let closed = self.segments.len() - usize::from(held.is_some());
        let mut all = Sums::default();
        for s in self.segments.iter().take(closed).chain(&held) {
            all.add(s, start);
        }
        let (min, max) = all.extremes?;
        let span = us_f64(self.span);
        let average = if all.covered > 0.0 { all.integral / all.covered } else { all.last?.1 };
        Some(Stats {
            covered: (all.covered / span).min(1.0),
            // What rounding may do must not leave the values' own range.
            average: average.max(min).min(max),
            min,
            max,
            sum: all.sum,
            count: all.count,
            rate: all.rate(),
        })
    }

    /// Pieces in use.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }
}

#[derive(Default)]
struct Sums {
    integral: f64,
    covered: f64,
    sum: f64,
    count: u64,
    extremes: Option<(f64, f64)>,
    first: Option<(i64, f64)>,
    last: Option<(i64, f64)>,
}

impl Sums {
    fn add(&mut self, s: &Segment, start: i64) {
        let inside = s.last.0 >= start;
        if s.to <= start && !inside {
            return;
        }
        let (lo, hi) = self.extremes.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        if s.from >= start {
            self.integral += s.integral;
            self.covered += us_f64(s.covered);
        } else {
            // Only the part within the window; of one sample that is exact.
            let part = us_f64(s.to - start) / us_f64((s.to - s.from).max(1));
            self.integral += s.integral * part.clamp(0.0, 1.0);
            self.covered += us_f64(s.covered) * part.clamp(0.0, 1.0);
        }
        self.extremes = Some((lo.min(s.min), hi.max(s.max)));
        if inside {
            self.sum += s.sum;
            self.count += s.count;
            let first = if s.first.0 >= start { s.first } else { s.last };
            self.first = self.first.or(Some(first));
            self.last = Some(s.last);
        } else {
            self.last = self.last.or(Some(s.last));
        }
    }

    fn rate(&self) -> Option<f64> {
        let ((t0, v0), (t1, v1)) = (self.first?, self.last?);
        (t1 > t0).then(|| (v1 - v0) / (us_f64(t1 - t0) / 1e6))
    }
}

#[allow(clippy::cast_precision_loss)] // spans of at most some days in us are exact
fn us_f64(us: i64) -> f64 {
    us as f64
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
