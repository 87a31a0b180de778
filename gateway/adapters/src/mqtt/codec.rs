//! Payloads to values and times. Pure and total: any bytes give a value or a reason, never a panic.

use std::sync::Arc;

use common::clock::parse_us;
use common::{Quality, Value, ValueType};
use serde_json::Value as Json;

use super::config::{Missing, PointConfig, TimestampUnit};

/// A stamp further in the future than this is not believed.
const FUTURE_US: i64 = 3_600_000_000;
/// 2000-01-01: a stamp before this comes from a clock that was never set.
const NEVER_SET_US: i64 = 946_684_800_000_000;

/// A payload, read as JSON at most once.
pub(super) struct Payload<'a> {
    bytes: &'a [u8],
    json: Option<Option<Json>>,
}

/// What a payload says of a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    pub(super) value: Value,
    pub(super) quality: Quality,
    pub(super) source_us: i64,
}

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, json: None }
    }

    fn json(&mut self) -> Option<&Json> {
        let bytes = self.bytes;
        self.json.get_or_insert_with(|| serde_json::from_slice(bytes).ok()).as_ref()
    }

    /// The value and time of a point of type `value_type` in a message received at `now_us`; none if the
    /// message does not speak of it.
    ///
    /// # Errors
    /// The quality of the sample that has no value.
    pub(super) fn decode(
        &mut self,
        point: &PointConfig,
        value_type: ValueType,
        now_us: i64,
    ) -> Result<Option<Decoded>, Quality> {
        let Some(pointer) = &point.pointer else {
            let value = plain(self.bytes, value_type).ok_or(Quality::BAD_DECODE)?;
            return Ok(Some(Decoded { value, quality: Quality::GOOD, source_us: now_us }));
        };
        let json = self.json().ok_or(Quality::BAD_DECODE)?;
        let value = match json.pointer(pointer) {
            None if point.missing == Missing::Ignore => return Ok(None),
            None => return Err(Quality::BAD_DECODE),
            // The source itself says that it has none.
            Some(Json::Null) => return Err(Quality::BAD_SOURCE),
            Some(found) => from_json(found, value_type).ok_or(Quality::BAD_DECODE)?,
        };
        let (quality, source_us) = match &point.timestamp {
            None => (Quality::GOOD, now_us),
            Some(at) => json
                .pointer(at)
                .and_then(|stamp| time(stamp, point.timestamp_unit))
                .filter(|us| (NEVER_SET_US..=now_us.saturating_add(FUTURE_US)).contains(us))
                .map_or((Quality::UNCERTAIN_TIME, now_us), |us| (Quality::GOOD, us)),
        };
        Ok(Some(Decoded { value, quality, source_us }))
    }
}

/// A payload that is nothing but the value.
fn plain(bytes: &[u8], value_type: ValueType) -> Option<Value> {
    if value_type == ValueType::Bytes {
        return Some(Value::Bytes(bytes.into()));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if value_type == ValueType::Text { Some(text.into()) } else { scalar(text.trim(), value_type) }
}

/// A number or truth from text.
fn scalar(text: &str, value_type: ValueType) -> Option<Value> {
    if value_type == ValueType::Bool {
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => return Some(Value::Bool(true)),
            "false" | "off" | "0" => return Some(Value::Bool(false)),
            _ => {}
        }
    }
    if let Ok(n) = text.parse::<i64>() {
        return Some(Value::I64(n));
    }
    if let Ok(n) = text.parse::<u64>() {
        return Some(Value::U64(n));
    }
    text.parse::<f64>().ok().map(Value::F64)
}

fn from_json(json: &Json, value_type: ValueType) -> Option<Value> {
    match json {
        Json::Bool(b) => Some(Value::Bool(*b)),
        Json::Number(n) => n
            .as_i64()
            .map(Value::I64)
            .or_else(|| n.as_u64().map(Value::U64))
            .or_else(|| n.as_f64().map(Value::F64)),
        Json::String(s) if value_type == ValueType::Text => Some(Value::Text(Arc::from(s.as_str()))),
        Json::String(s) if value_type == ValueType::Bytes => Some(Value::Bytes(s.as_bytes().into())),
        // Many sensors send numbers as text.
        Json::String(s) => scalar(s.trim(), value_type),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// UTC in microseconds from a timestamp.
#[allow(clippy::cast_possible_truncation)] // bounded before
fn time(stamp: &Json, unit: TimestampUnit) -> Option<i64> {
    let factor = match unit {
        TimestampUnit::S => 1_000_000,
        TimestampUnit::Ms => 1000,
        TimestampUnit::Us => 1,
    };
    match stamp {
        Json::String(text) => rfc3339(text.trim()),
        Json::Number(n) => match n.as_i64() {
            Some(n) => n.checked_mul(factor),
            None => {
                let us = n.as_f64()? * factor as f64;
                (us.abs() < 9e18).then_some(us.round() as i64)
            }
        },
        _ => None,
    }
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

    const NOW: i64 = 1_795_000_000_000_000;

    fn point(text: &str) -> PointConfig {
        toml::from_str(&format!("topic = \"t\"\n{text}")).unwrap()
    }

    fn decode(payload: &str, config: &str, t: ValueType) -> Result<Option<Decoded>, Quality> {
        Payload::new(payload.as_bytes()).decode(&point(config), t, NOW)
    }

    fn value(payload: &str, config: &str, t: ValueType) -> Value {
        decode(payload, config, t).unwrap().unwrap().value
    }

    #[test]
    fn plain_payloads_are_read_by_the_points_type() {
        assert_eq!(value(" 21.5\n", "", ValueType::F64), Value::F64(21.5));
        assert_eq!(value("-3", "", ValueType::I64), Value::I64(-3));
        assert_eq!(value("18446744073709551615", "", ValueType::U64), Value::U64(u64::MAX));
        assert_eq!(value("ON", "", ValueType::Bool), Value::Bool(true));
        assert_eq!(value("hot ", "", ValueType::Text), Value::from("hot "));
        assert_eq!(value("ab", "", ValueType::Bytes), Value::Bytes(b"ab".as_slice().into()));
        assert_eq!(decode("hot", "", ValueType::F64), Err(Quality::BAD_DECODE));
        let mut broken = Payload::new(&[0xff, 0xfe]);
        assert_eq!(broken.decode(&point(""), ValueType::Text, NOW), Err(Quality::BAD_DECODE));
    }

    #[test]
    fn json_payloads_are_read_by_pointer() {
        let json = r#"{"v": 1.5, "n": [1, {"x": true}], "s": "12.5", "u": 18446744073709551615, "z": null}"#;
        let at = |p: &str, t| decode(json, &format!("pointer = \"{p}\""), t);
        assert_eq!(at("/v", ValueType::F64).unwrap().unwrap().value, Value::F64(1.5));
        assert_eq!(at("/n/1/x", ValueType::Bool).unwrap().unwrap().value, Value::Bool(true));
        assert_eq!(at("/s", ValueType::F64).unwrap().unwrap().value, Value::F64(12.5));
        assert_eq!(at("/s", ValueType::Text).unwrap().unwrap().value, Value::from("12.5"));
        assert_eq!(at("/u", ValueType::U64).unwrap().unwrap().value, Value::U64(u64::MAX));
        assert_eq!(at("/n", ValueType::F64), Err(Quality::BAD_DECODE));
        assert_eq!(at("/none", ValueType::F64), Err(Quality::BAD_DECODE));
        assert_eq!(at("/z", ValueType::F64), Err(Quality::BAD_SOURCE));
        assert_eq!(decode(json, "pointer = \"/none\"\nmissing = \"ignore\"", ValueType::F64), Ok(None));
        assert_eq!(
            decode("{", "pointer = \"/v\"\nmissing = \"ignore\"", ValueType::F64),
            Err(Quality::BAD_DECODE)
        );
        assert_eq!(value("7", "pointer = \"\"", ValueType::I64), Value::I64(7));
    }

    #[test]
    fn timestamps_of_every_form_are_read() {
        let us = NOW - 5_000_000;
        let at = |stamp: &str, unit: &str| {
            let config = format!("pointer = \"/v\"\ntimestamp = \"/t\"\ntimestamp_unit = \"{unit}\"");
            let d = decode(&format!("{{\"v\":1,\"t\":{stamp}}}"), &config, ValueType::F64).unwrap().unwrap();
            (d.quality, d.source_us)
        };
        assert_eq!(at(&(us / 1000).to_string(), "ms"), (Quality::GOOD, us));
        assert_eq!(at(&us.to_string(), "us"), (Quality::GOOD, us));
        assert_eq!(at("1794999995.25", "s"), (Quality::GOOD, 1_794_999_995_250_000));
        let day = 1_795_000_000_000_000 / 86_400_000_000 * 86_400_000_000;
        let text = common::clock::format_us(day)[..10].to_owned();
        for (clock, expected) in [
            ("T00:00:00Z", day),
            (" 00:00:00.5Z", day + 500_000),
            ("T00:00:00", day),
            ("T08:00:00+08:00", day),
            ("T08:00:00+0800", day),
            ("T00:30:00-00:30", day + 3_600_000_000),
        ] {
            assert_eq!(at(&format!("\"{text}{clock}\""), "ms"), (Quality::GOOD, expected), "{clock}");
        }
    }

    #[test]
    fn a_stamp_that_cannot_be_true_is_replaced_and_told() {
        let config = "pointer = \"/v\"\ntimestamp = \"/t\"\ntimestamp_unit = \"us\"";
        for stamp in [
            (NOW + FUTURE_US + 1).to_string(),
            "0".to_owned(),
            "null".to_owned(),
            "\"soon\"".to_owned(),
            "\"now\"".to_owned(),
            "\"-15m\"".to_owned(),
            "1e300".to_owned(),
            "[]".to_owned(),
        ] {
            let d = decode(&format!("{{\"v\":1,\"t\":{stamp}}}"), config, ValueType::F64).unwrap().unwrap();
            assert_eq!((d.quality, d.source_us), (Quality::UNCERTAIN_TIME, NOW), "{stamp}");
        }
        let d = decode("{\"v\":1}", config, ValueType::F64).unwrap().unwrap();
        assert_eq!(d.quality, Quality::UNCERTAIN_TIME);
        let near = NOW + FUTURE_US;
        let d = decode(&format!("{{\"v\":1,\"t\":{near}}}"), config, ValueType::F64).unwrap().unwrap();
        assert_eq!((d.quality, d.source_us), (Quality::GOOD, near));
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in ".{0,40}") {
            for payload in [bytes.as_slice(), text.as_bytes()] {
                for config in ["", "pointer = \"/a\"\ntimestamp = \"/t\""] {
                    for t in [ValueType::Bool, ValueType::F64, ValueType::Text, ValueType::Bytes] {
                        let _ = Payload::new(payload).decode(&point(config), t, NOW);
                    }
                }
            }
            let _ = rfc3339(&text);
        }
    }
}
