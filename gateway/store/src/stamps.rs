//! Times that are the box's own, while its clock is not synchronised. Control, interlocks and alarms see samples as they
//! are: a plant without a time service goes on. What leaves the box says that its time is not to be trusted. Pure.

use common::clock::NEVER_SET_BEFORE_US;
use common::wire::Body;
use common::{Clock, Quality, Sample};

/// A clock that moved so far against the monotonic one was set.
const SET_US: i64 = 500_000;
/// Rows that were stamped before wait for their frame at most so long: those that a deadband holds back are told by then.
const WAIT_US: u64 = 5_000_000;

/// When a frame is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) utc_us: i64,
    pub(crate) mono_us: u64,
    pub(crate) synchronised: bool,
}

impl Cut {
    pub(crate) fn now(clock: &Clock) -> Self {
        // First: a clock that is set in between is not taken for one that was.
        let synchronised = clock.is_synchronised();
        let (utc_us, mono_us) = clock.reading();
        Self { utc_us, mono_us, synchronised }
    }

    /// What the monotonic clock lacks.
    fn offset_us(self) -> i64 {
        self.utc_us.saturating_sub_unsigned(self.mono_us)
    }
}

/// What the clock was when a frame was cut last.
#[derive(Debug)]
pub(crate) struct Stamps {
    offset_us: i64,
    synchronised: bool,
    /// The offset while the clock had never been set.
    never_set_us: Option<i64>,
    /// By how much it was set, and until when rows may come that were stamped before.
    set: Option<(i64, u64)>,
}

impl Stamps {
    pub(crate) fn new(cut: Cut) -> Self {
        let mut stamps = Self { offset_us: 0, synchronised: true, never_set_us: None, set: None };
        stamps.note(cut);
        stamps
    }

    fn note(&mut self, cut: Cut) {
        (self.offset_us, self.synchronised) = (cut.offset_us(), cut.synchronised);
        if cut.utc_us < NEVER_SET_BEFORE_US {
            self.never_set_us = Some(self.offset_us);
        }
    }

    /// Marks what a clock stamped that is not synchronised. What waited for its frame while such a clock was set is
    /// brought to the time that this frame is of: its header then says the same of all that is in it.
    pub(crate) fn judge(&mut self, body: &mut Body, cut: Cut) {
        self.note_set(cut);
        match body {
            Body::Samples(rows) => {
                let set = self.set.map(|(by, _)| by);
                for row in rows.iter_mut().filter(|row| row.is_stamped_on_receipt()) {
                    self.bring(row, set, cut);
                    mark(&mut row.quality, cut.synchronised && row.source_us >= NEVER_SET_BEFORE_US);
                }
            }
            Body::Waveform(wave) if wave.is_stamped_on_receipt() => {
                // A block's parts belong together by their times, and may be cut before and after.
                mark(&mut wave.quality, cut.synchronised && wave.received_us >= NEVER_SET_BEFORE_US);
            }
            _ => {}
        }
        self.note(cut);
    }

    /// Notes by how much a clock that was not synchronised has been set since the last frame.
    fn note_set(&mut self, cut: Cut) {
        let by = cut.offset_us().saturating_sub(self.offset_us);
        if !self.synchronised && by.unsigned_abs() >= SET_US.unsigned_abs() {
            self.set = Some((by, cut.mono_us.saturating_add(WAIT_US)));
        } else if self.set.is_some_and(|(_, until)| cut.mono_us >= until) {
            self.set = None;
        }
    }

    fn bring(&self, row: &mut Sample, set: Option<i64>, cut: Cut) {
        let off = |us: i64| us.saturating_sub(cut.utc_us).unsigned_abs();
        let now = row.source_us;
        let by = match set {
            // Stamped before it was set: then it fits the time of the cut better.
            Some(by) if off(now.saturating_add(by)) < off(now) => by,
            // A swinging door may hold a sample back for longer.
            _ if now < NEVER_SET_BEFORE_US && cut.utc_us >= NEVER_SET_BEFORE_US => {
                let Some(was) = self.never_set_us else { return };
                cut.offset_us().saturating_sub(was)
            }
            _ => return,
        };
        row.source_us = now.saturating_add(by);
        row.received_us = row.source_us;
    }
}

/// A value that is good stays so: of its time nobody knows.
fn mark(quality: &mut Quality, is_believed: bool) {
    if !is_believed && *quality == Quality::GOOD {
        *quality = Quality::UNCERTAIN_TIME;
    }
}

#[cfg(test)]
#[path = "stamps_tests.rs"]
mod tests;
