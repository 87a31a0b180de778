//! How a simulated point moves: within its engineering range, each at its own pace, the same at every start. Pure: time
//! is given.

use std::f64::consts::TAU;

use common::{Value, ValueType};
use gateway_core::Point;

/// What a point does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Motion {
    /// it stands, until it is written
    Still(Value),
    /// it goes up and down
    Wave { middle: f64, swing: f64, period_s: f64, phase: f64 },
    /// it goes from one value to the next
    Steps { values: Vec<i64>, dwell_s: f64 },
    /// it is on and off in turn
    Toggle { dwell_s: f64 },
    /// it follows its setpoint, which is in the same device, with a ripple
    Follow { setpoint: String, ripple: f64, lag_s: f64 },
}

/// A number from 0 to 1 that is the point's own.
fn own(name: &str, salt: u64) -> f64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ salt, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    // The low bits of a product hardly mix: fold the high ones in.
    let mixed = (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    f64::from(u32::try_from(mixed).unwrap_or_default()) / f64::from(u32::MAX)
}

impl Motion {
    /// The motion that fits a point.
    pub(super) fn of(point: &Point) -> Self {
        let s = &point.schema;
        let (low, high) = range(point);
        let pace = own(&s.name, 1);
        if s.access.is_writable() {
            return Self::Still(match s.value_type {
                ValueType::Bool => Value::Bool(false),
                ValueType::Text | ValueType::Bytes => Value::from(""),
                t => whole(low.midpoint(high), t),
            });
        }
        match s.value_type {
            ValueType::Text | ValueType::Bytes => Self::Still(Value::from(s.name.to_uppercase().as_str())),
            ValueType::Bool => Self::Toggle { dwell_s: 5.0 + 25.0 * pace },
            _ if !s.labels.is_empty() => Self::Steps {
                values: s.labels.iter().map(|l| l.value).collect(),
                dwell_s: 10.0 + 20.0 * pace,
            },
            _ => match &s.setpoint {
                Some(setpoint) => Self::Follow {
                    setpoint: setpoint.clone(),
                    ripple: (high - low) * 0.002,
                    lag_s: 5.0 + 15.0 * pace,
                },
                None => Self::Wave {
                    middle: low.midpoint(high),
                    swing: (high - low) * 0.4,
                    period_s: 30.0 + 90.0 * pace,
                    phase: own(&s.name, 2) * TAU,
                },
            },
        }
    }

    /// The value at a time since the start. A point that follows needs what it was before, how long ago that was,
    /// and where its setpoint stands now; without a setpoint it stays.
    pub(super) fn value(
        &self,
        value_type: ValueType,
        at_s: f64,
        before: Option<(f64, f64)>,
        setpoint: Option<f64>,
    ) -> Value {
        match self {
            Self::Still(value) => value.clone(),
            Self::Wave { middle, swing, period_s, phase } => {
                whole(middle + swing * (at_s / period_s * TAU + phase).sin(), value_type)
            }
            Self::Steps { values, dwell_s } => {
                let step = turn(at_s, *dwell_s, values.len());
                Value::I64(values.get(step).copied().unwrap_or_default())
            }
            Self::Toggle { dwell_s } => Value::Bool(turn(at_s, *dwell_s, 2) == 1),
            Self::Follow { ripple, lag_s, .. } => {
                let target = setpoint.unwrap_or_default();
                let reached = match before {
                    Some((was, ago_s)) => target + (was - target) * (-ago_s / lag_s).exp(),
                    None => target,
                };
                whole(reached + ripple * (at_s * 1.7).sin(), value_type)
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of a small positive number of turns
fn turn(at_s: f64, dwell_s: f64, count: usize) -> usize {
    (at_s / dwell_s) as usize % count.max(1)
}

/// A number in a point's type.
fn whole(x: f64, value_type: ValueType) -> Value {
    if value_type == ValueType::F64 {
        return Value::F64(x);
    }
    Value::F64(x.round()).convert(value_type).unwrap_or(Value::F64(x))
}

/// Where a point's values lie, in engineering units: its range, its limits of writing, or what 0 to 100 in its registers
/// are.
fn range(point: &Point) -> (f64, f64) {
    let s = &point.schema;
    let (a, b) = match (s.range_min, s.range_max, s.write_min, s.write_max) {
        (Some(min), Some(max), ..) | (_, _, Some(min), Some(max)) => (min, max),
        _ => (point.scale.apply(point.raw.min.max(0.0)), point.scale.apply(point.raw.max.min(100.0))),
    };
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(name: &str) -> Motion {
        Motion::Wave { middle: 50.0, swing: 40.0, period_s: 30.0, phase: own(name, 2) * TAU }
    }

    #[test]
    fn a_wave_stays_within_its_range_and_points_differ() {
        for tenth in 0..1000 {
            let at_s = f64::from(tenth) / 10.0;
            let x = wave("a").value(ValueType::F64, at_s, None, None).as_f64().unwrap();
            assert!((10.0..=90.0).contains(&x), "{x}");
        }
        let at = |name| wave(name).value(ValueType::F64, 7.0, None, None);
        assert_ne!(at("zone_1"), at("zone_2"));
        assert!(matches!(wave("a").value(ValueType::U64, 3.0, None, None), Value::U64(_)));
    }

    #[test]
    fn what_follows_comes_to_its_setpoint() {
        let motion = Motion::Follow { setpoint: "sp".to_owned(), ripple: 0.0, lag_s: 10.0 };
        let x = motion.value(ValueType::F64, 1.0, Some((0.0, 10.0)), Some(100.0)).as_f64().unwrap();
        assert!((60.0..70.0).contains(&x), "{x}");
        assert_eq!(motion.value(ValueType::F64, 0.0, None, Some(7.0)), Value::F64(7.0));
    }

    #[test]
    fn steps_and_toggles_take_turns() {
        let steps = Motion::Steps { values: vec![3, 5], dwell_s: 2.0 };
        let seen: Vec<_> = [0.0, 2.1, 4.2].map(|t| steps.value(ValueType::U64, t, None, None)).to_vec();
        assert_eq!(seen, [Value::I64(3), Value::I64(5), Value::I64(3)]);
        let toggle = Motion::Toggle { dwell_s: 1.0 };
        assert_eq!(toggle.value(ValueType::Bool, 1.5, None, None), Value::Bool(true));
    }
}
