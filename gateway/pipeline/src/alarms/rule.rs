//! When the condition of an alarm holds. No delays and no states here.

use common::{PointId, Quality, Sample, Value};
use gateway_core::expr::Window;

use super::AlarmDefinition;

/// What an alarm watches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The value is above this.
    Above(f64),
    /// The value is below this.
    Below(f64),
    /// The value is further than `limit` from another point's.
    Deviation {
        /// The other point.
        setpoint: PointId,
        /// How far.
        limit: f64,
    },
    /// The value changes faster than `limit` a second, over `span_us`.
    Rate {
        /// How fast.
        limit: f64,
        /// Over how long, us.
        span_us: u64,
    },
    /// The value is this one.
    Equals(f64),
    /// There is no usable value.
    Bad,
    /// No value has come for too long.
    Stale,
    /// The device does not answer.
    Comms,
}

impl Rule {
    /// The points that it looks at.
    pub(super) fn inputs(self, own: PointId) -> impl Iterator<Item = PointId> {
        let other = if let Self::Deviation { setpoint, .. } = self { Some(setpoint) } else { None };
        std::iter::once(own).chain(other.filter(|o| *o != own))
    }
}

/// What an alarm remembers of its point.
pub(super) struct Watch {
    last: Option<(Option<Value>, Quality)>,
    came_us: u64,
    setpoint: Option<f64>,
    window: Option<Window>,
}

impl Watch {
    pub(super) fn new(definition: &AlarmDefinition, now_us: u64) -> Self {
        let hold_us = definition.stale_ms.saturating_mul(1000);
        let window = match definition.rule {
            Rule::Rate { span_us, .. } => Some(Window::new(span_us, hold_us)),
            _ => None,
        };
        Self { last: None, came_us: now_us, setpoint: None, window }
    }

    pub(super) fn feed(&mut self, definition: &AlarmDefinition, sample: &Sample, mono_us: u64) {
        let usable = sample.value.as_ref().filter(|_| !sample.quality.is_bad());
        let number = usable.and_then(Value::as_f64).filter(|x| x.is_finite());
        if sample.point != definition.point {
            self.setpoint = number;
            return;
        }
        self.last = Some((sample.value.clone(), sample.quality));
        self.came_us = mono_us;
        if let Some(window) = &mut self.window {
            window.feed(number.filter(|_| sample.quality.is_good()), sample.source_us, mono_us);
        }
    }

    /// The last value and its quality.
    pub(super) fn last(&self) -> Option<(Option<Value>, Quality)> {
        self.last.clone()
    }

    /// Whether the condition holds; none if that is not known.
    pub(super) fn condition(&self, d: &AlarmDefinition, active: bool, mono_us: u64) -> Option<bool> {
        let stale = mono_us.saturating_sub(self.came_us) > d.stale_ms.saturating_mul(1000);
        let quality = self.last.as_ref().map(|l| l.1);
        match d.rule {
            Rule::Stale => return Some(stale || quality == Some(Quality::BAD_STALE)),
            Rule::Bad if stale => return Some(true),
            Rule::Bad => return quality.map(Quality::is_bad),
            Rule::Comms => {
                let silent = [Quality::BAD_NOT_CONNECTED, Quality::BAD_TIMEOUT, Quality::BAD_STALE];
                return if stale { Some(true) } else { quality.map(|q| silent.contains(&q)) };
            }
            _ if stale => return None,
            _ => {}
        }
        let (value, quality) = self.last.as_ref()?;
        let x = value.as_ref().filter(|_| !quality.is_bad())?.as_f64().filter(|x| x.is_finite())?;
        // While it is active a limit must be left by the hysteresis.
        let slack = if active { d.hysteresis } else { 0.0 };
        Some(match d.rule {
            Rule::Above(limit) => x > limit - slack,
            Rule::Below(limit) => x < limit + slack,
            Rule::Deviation { limit, .. } => (x - self.setpoint?).abs() > limit - slack,
            Rule::Rate { limit, .. } => self.window.as_ref()?.stats(mono_us)?.rate?.abs() > limit - slack,
            #[allow(clippy::float_cmp)] // a state is this number or it is not
            Rule::Equals(state) => x == state,
            Rule::Bad | Rule::Stale | Rule::Comms => return None,
        })
    }

    /// When the value grows stale, monotonic us; none if that changes nothing or is told already.
    pub(super) fn stale_at_us(&self, d: &AlarmDefinition) -> Option<u64> {
        matches!(d.rule, Rule::Bad | Rule::Stale | Rule::Comms)
            .then(|| self.came_us.saturating_add(d.stale_ms.saturating_mul(1000)).saturating_add(1))
    }
}
