//! Swinging door: of a series only the corners are passed on, such that straight lines between them meet every sample
//! that was left out to within the deviation. A corner is known only once the line has bent, so what is passed on is
//! the sample before the bend, with its own time. Pure.
//!
//! Source: E. H. Bristol, "Swinging door trending: adaptive trend recording?", ISA 1990. Beside the door's two lines
//! the slope to the newest sample itself is checked, which makes the bound hold exactly.

use common::{Sample, Value};

/// The state of one point.
#[derive(Debug)]
pub(crate) struct Door {
    deviation: f64,
    min_us: i64,
    max_us: i64,
    /// What was passed on last.
    corner: Option<Sample>,
    /// The newest sample, if it was not passed on.
    held: Option<Sample>,
    /// Slopes that meet all samples since the corner.
    low: f64,
    high: f64,
}

impl Door {
    /// Deviation in engineering units. A sample nearer than `min_ms` to the last corner is left out whatever it is;
    /// a corner comes at least every `max_ms` (0: no such limit).
    pub(crate) fn new(deviation: f64, min_ms: u64, max_ms: u64) -> Self {
        let us = |ms: u64| i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX);
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        Self { deviation, min_us: us(min_ms), max_us: us(max_ms), corner: None, held: None, low, high }
    }

    /// The newest sample; what is passed on goes to `out`.
    pub(crate) fn offer(&mut self, sample: &Sample, out: &mut Vec<Sample>) {
        let Some(corner) = &self.corner else { return self.emit(sample.clone(), out) };
        let newest = self.held.as_ref().unwrap_or(corner);
        let (Some(x), Some(_)) = (number(sample), number(newest)) else {
            let same = newest.quality == sample.quality && newest.value == sample.value;
            if !same || self.is_due(sample.received_us) {
                self.flush(out);
                self.emit(sample.clone(), out);
            }
            return;
        };
        if newest.quality != sample.quality || sample.source_us < newest.source_us {
            self.flush(out);
            return self.emit(sample.clone(), out);
        }
        if sample.source_us == newest.source_us {
            if sample.value != newest.value {
                self.flush(out);
                self.emit(sample.clone(), out);
            }
            return;
        }
        if sample.source_us.saturating_sub(corner.source_us) < self.min_us {
            return;
        }
        if !self.swing(x, sample) {
            self.flush(out);
            // From the new corner every line meets its first sample.
            self.swing(x, sample);
        }
        if self.is_due(sample.received_us) {
            self.flush(out);
        }
    }

    /// Takes the sample if a line from the corner to it meets all others.
    fn swing(&mut self, x: f64, sample: &Sample) -> bool {
        let Some((corner, y)) = self.corner.as_ref().and_then(|c| Some((c, number(c)?))) else {
            return false;
        };
        let seconds = seconds(sample.source_us.saturating_sub(corner.source_us));
        let slope = |x: f64| (x - y) / seconds;
        if self.held.is_some() && !(self.low..=self.high).contains(&slope(x)) {
            return false;
        }
        self.low = self.low.max(slope(x - self.deviation));
        self.high = self.high.min(slope(x + self.deviation));
        self.held = Some(sample.clone());
        true
    }

    fn emit(&mut self, sample: Sample, out: &mut Vec<Sample>) {
        out.push(sample.clone());
        self.corner = Some(sample);
        self.held = None;
        (self.low, self.high) = (f64::NEG_INFINITY, f64::INFINITY);
    }

    /// Passes on what is held back.
    pub(crate) fn flush(&mut self, out: &mut Vec<Sample>) {
        if let Some(held) = self.held.take() {
            self.emit(held, out);
        }
    }

    /// The same, if the last corner is old enough.
    pub(crate) fn flush_due(&mut self, now_us: i64, out: &mut Vec<Sample>) {
        if self.is_due(now_us) {
            self.flush(out);
        }
    }

    /// Passes on what is held back, and the next sample whatever it is.
    pub(crate) fn begin_again(&mut self, out: &mut Vec<Sample>) {
        self.flush(out);
        self.corner = None;
    }

    /// A clock that was set back must not silence a point, so a negative age counts as well.
    fn is_due(&self, received_us: i64) -> bool {
        let Some(corner) = &self.corner else { return false };
        let age = received_us.saturating_sub(corner.received_us);
        self.max_us > 0 && !(0..self.max_us).contains(&age)
    }
}

/// The value of a sample that a line can go through.
fn number(sample: &Sample) -> Option<f64> {
    match sample.value.as_ref()? {
        Value::Bool(_) => None,
        value => value.as_f64().filter(|x| x.is_finite() && !sample.quality.is_bad()),
    }
}

#[allow(clippy::cast_precision_loss)] // spans of some years in us are exact
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
