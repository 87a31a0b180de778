//! Times in payloads: numbers with a unit, and RFC 3339. Pure and total.

use common::clock::{NEVER_SET_BEFORE_US, parse_us};
use serde_json::Value as Json;

use super::config::TimestampUnit;

/// A stamp further in the future than this is not believed.
pub(super) const FUTURE_US: i64 = 3_600_000_000;
/// 2000-01-01: a stamp before this comes from a clock that was never set.
const NEVER_SET_US: i64 = 946_684_800_000_000;

/// A time that can be true at `now_us`. Where our own clock was never set, it says nothing against the source's.
pub(crate) fn believed(stamp: Option<i64>, now_us: i64) -> Option<i64> {
    let last = if now_us < NEVER_SET_BEFORE_US { i64::MAX } else { now_us.saturating_add(FUTURE_US) };
    stamp.filter(|us| (NEVER_SET_US..=last).contains(us))
}

/// UTC in microseconds from a JSON timestamp.
pub(super) fn of_json(stamp: &Json, unit: TimestampUnit) -> Option<i64> {
    match stamp {
        Json::String(text) => of_text(text, unit),
        Json::Number(n) => match n.as_i64() {
            Some(n) => of_integer(n, unit),
            None => of_float(n.as_f64()?, unit),
        },
        _ => None,
    }
}

/// UTC in microseconds from a timestamp as text: RFC 3339, or a number as text.
pub(super) fn of_text(text: &str, unit: TimestampUnit) -> Option<i64> {
    let text = text.trim();
    if let Ok(n) = text.parse::<i64>() {
        return of_integer(n, unit);
    }
    rfc3339(text).or_else(|| of_float(text.parse().ok()?, unit))
}

fn of_integer(n: i64, unit: TimestampUnit) -> Option<i64> {
    match unit {
        TimestampUnit::S => n.checked_mul(1_000_000),
        TimestampUnit::Ms => n.checked_mul(1000),
        TimestampUnit::Us => Some(n),
        TimestampUnit::Ns => Some(n.div_euclid(1000)),
    }
}

#[allow(clippy::cast_possible_truncation)] // bounded before
fn of_float(n: f64, unit: TimestampUnit) -> Option<i64> {
    let factor = match unit {
        TimestampUnit::S => 1e6,
        TimestampUnit::Ms => 1e3,
        TimestampUnit::Us => 1.0,
        TimestampUnit::Ns => 1e-3,
    };
    let us = n * factor;
    (us.abs() < 9e18).then_some(us.round() as i64)
}

/// RFC 3339 with any offset. Without one it is UTC.
fn rfc3339(text: &str) -> Option<i64> {
    // Shorter or other text would be read as another kind of time.
    let (date, clock) = text.split_at_checked(10)?;
    let (clock, offset_s) = match clock.rfind(['+', '-']) {
        None => (clock.strip_suffix(['Z', 'z']).unwrap_or(clock), 0),
        Some(at) => {
            let (clock, offset) = clock.split_at(at);
            let (hours, minutes) =
                offset.get(1..)?.split_once(':').or_else(|| offset.get(1..)?.split_at_checked(2))?;
            let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
            if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            (clock, if offset.starts_with('-') { -seconds } else { seconds })
        }
    };
    let clock = clock.strip_prefix(['T', 't', ' '])?;
    let local = parse_us(&format!("{date}T{clock}Z"), 0).ok()?;
    local.checked_sub(offset_s * 1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stamp_is_held_against_our_clock_only_if_that_was_ever_set() {
        let now = 1_800_000_000_000_000;
        assert_eq!(believed(Some(now + FUTURE_US), now), Some(now + FUTURE_US));
        assert_eq!(believed(Some(now + FUTURE_US + 1), now), None);
        assert_eq!(believed(Some(now), 5_000_000), Some(now));
        assert_eq!(believed(Some(5_000_000), 5_000_000), None);
        assert_eq!(believed(None, now), None);
    }

    #[test]
    fn numbers_have_the_unit_of_the_configuration() {
        let us = 1_795_000_000_123_456i64;
        assert_eq!(of_text(&(us * 1000 + 999).to_string(), TimestampUnit::Ns), Some(us));
        assert_eq!(of_text("1795000000.5", TimestampUnit::S), Some(1_795_000_000_500_000));
        assert_eq!(of_text("1795000000123", TimestampUnit::Ms), Some(1_795_000_000_123_000));
        assert_eq!(of_text("9223372036854775807", TimestampUnit::S), None);
        assert_eq!(of_text("soon", TimestampUnit::S), None);
        assert_eq!(of_text("NaN", TimestampUnit::S), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", n in any::<i64>(), x in any::<f64>()) {
            for unit in [TimestampUnit::S, TimestampUnit::Ms, TimestampUnit::Us, TimestampUnit::Ns] {
                let _ = (of_text(&text, unit), of_integer(n, unit), of_float(x, unit));
            }
            let _ = rfc3339(&text);
        }
    }
}
