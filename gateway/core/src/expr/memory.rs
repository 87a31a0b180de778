//! What a formula remembers of its points between evaluations: windows, last values and counters. All of it is
//! bounded, and empty after a start; counters can be given back what they were.

use common::{PointId, Sample};
use serde::{Deserialize, Serialize};

use super::formula::Formula;
use super::window::{Stats, Window};

/// What is remembered of one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Memory {
    /// Its last `span_us`.
    Window {
        /// Length, us.
        span_us: u64,
    },
    /// Its last two good values.
    Last,
    /// How far it has counted.
    Counter {
        /// Where it starts again at 0; none: it never does.
        modulus: Option<f64>,
    },
}

/// One memory of a formula.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    /// Of which point.
    pub point: PointId,
    /// What.
    pub memory: Memory,
}

/// A counter that was unrolled. What it was last and how far it has counted belong together: whoever keeps both
/// over a restart loses no count, however old they are, as long as it has gone round less than once.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Counter {
    /// The last reading.
    pub last: Option<f64>,
    /// All increases together.
    pub total: f64,
    /// The last increase; none before the second reading.
    pub delta: Option<f64>,
    /// Whether the last step was a reset: the count before it is lost.
    pub reset: bool,
}

impl Counter {
    /// A reading. A smaller one than before has rolled over if the way round is at most half of the modulus;
    /// else somebody has reset it, and it has counted from 0.
    pub fn feed(&mut self, x: f64, modulus: Option<f64>) {
        self.reset = false;
        if let Some(last) = self.last {
            let step = x - last;
            let delta = if step >= 0.0 {
                step
            } else {
                let round =
                    modulus.map(|m| step + m).filter(|r| *r >= 0.0 && Some(*r) <= modulus.map(|m| m / 2.0));
                self.reset = round.is_none();
                round.unwrap_or(x.max(0.0))
            };
            self.total += delta;
            self.delta = Some(delta);
        }
        self.last = Some(x);
    }
}

#[derive(Debug, Clone)]
pub(super) enum Held {
    Window(Window),
    /// The one before, and the last one.
    Last(Option<f64>, Option<f64>),
    Counter(Counter),
}

/// The memory of one formula.
#[derive(Debug, Clone)]
pub struct State(Vec<Held>);

impl State {
    /// Empty. `hold_us` says for how long a point's value counts as current.
    pub fn new(formula: &Formula, hold_us: &dyn Fn(PointId) -> u64) -> Self {
        let made = |slot: &Slot| match slot.memory {
            Memory::Window { span_us } => Held::Window(Window::new(span_us, hold_us(slot.point))),
            Memory::Last => Held::Last(None, None),
            Memory::Counter { .. } => Held::Counter(Counter::default()),
        };
        Self(formula.slots().iter().map(made).collect())
    }

    /// A sample of a point, that came at `mono_us`. One that is not good ends what a window holds and is else
    /// passed over.
    pub fn feed(&mut self, formula: &Formula, sample: &Sample, mono_us: u64) {
        let good = sample.value.as_ref().filter(|_| sample.quality.is_good());
        let value = good.and_then(common::Value::as_f64).filter(|x| x.is_finite());
        for (slot, held) in formula.slots().iter().zip(&mut self.0).filter(|(s, _)| s.point == sample.point) {
            match held {
                Held::Window(window) => window.feed(value, sample.source_us, mono_us),
                Held::Last(before, last) => {
                    if value.is_some() {
                        (*before, *last) = (*last, value);
                    }
                }
                Held::Counter(counter) => {
                    if let (Some(x), Memory::Counter { modulus }) = (value, slot.memory) {
                        counter.feed(x, modulus);
                    }
                }
            }
        }
    }

    /// The counters, in the order of the slots that count.
    pub fn counters(&self) -> Vec<Counter> {
        self.0.iter().filter_map(|h| if let Held::Counter(c) = h { Some(*c) } else { None }).collect()
    }

    /// Gives counters back what they were.
    pub fn restore(&mut self, counters: &[Counter]) {
        let own = self.0.iter_mut().filter_map(|h| if let Held::Counter(c) = h { Some(c) } else { None });
        for (own, kept) in own.zip(counters).filter(|(_, k)| k.total.is_finite()) {
            *own = *kept;
        }
    }

    pub(super) fn held(&self, slot: usize) -> Option<&Held> {
        self.0.get(slot)
    }

    pub(super) fn stats(&self, slot: usize, mono_us: u64) -> Option<Stats> {
        match self.0.get(slot)? {
            Held::Window(window) => window.stats(mono_us),
            _ => None,
        }
    }
}
