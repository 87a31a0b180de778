//! Payloads of every format, sound and broken.

use proptest::prelude::*;

use super::*;
use crate::mqtt::config::{DeviceConfig, PointConfig};
use crate::mqtt::time::FUTURE_US;

const NOW: i64 = 1_795_000_000_000_000;

fn point(text: &str) -> Binding {
    let config: PointConfig = toml::from_str(&format!("topic = \"t\"\n{text}")).unwrap();
    config.bind(&DeviceConfig::default(), "d", "p").unwrap()
}

fn all(payload: &[u8], config: &str, t: ValueType) -> (Vec<Decoded>, Option<Fault>) {
    let mut out = Vec::new();
    let fault = Payload::new(payload).decode(&point(config), t, NOW, &mut out);
    (out, fault)
}

/// The one item of a payload: its value, or its quality.
fn decode(payload: &str, config: &str, t: ValueType) -> Result<Option<One>, Quality> {
    let (mut out, fault) = all(payload.as_bytes(), config, t);
    assert!(out.len() <= 1 && fault.is_some() == out.iter().any(|d| d.value.is_none()));
    let Some(Decoded { value, quality, source_us }) = out.pop() else { return Ok(None) };
    Ok(Some(One { value: value.ok_or(quality)?, quality, source_us }))
}

#[derive(Debug, PartialEq)]
struct One {
    value: Value,
    quality: Quality,
    source_us: i64,
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
    assert_eq!(all(&[0xff, 0xfe], "", ValueType::Text).0[0].quality, Quality::BAD_DECODE);
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

#[test]
fn an_array_of_timed_values_gives_all_of_them_in_order_of_time() {
    let ms = NOW / 1000;
    let json = format!(
        r#"{{"data":[{{"t":{},"v":2}},{{"t":{},"v":1}},{{"t":{},"v":null}},{{"v":9}},{{"t":{}}}]}}"#,
        ms - 1000,
        ms - 2000,
        ms - 500,
        ms - 100,
    );
    let config = "items = \"/data\"\npointer = \"/v\"\ntimestamp = \"/t\"";
    let (items, fault) = all(json.as_bytes(), config, ValueType::F64);
    let told: Vec<_> = items.into_iter().map(|d| (d.source_us - NOW, d.value, d.quality)).collect();
    assert_eq!(
        told,
        [
            (-2_000_000, Some(Value::I64(1)), Quality::GOOD),
            (-1_000_000, Some(Value::I64(2)), Quality::GOOD),
            (-500_000, None, Quality::BAD_SOURCE),
            (-100_000, None, Quality::BAD_DECODE),
            (0, Some(Value::I64(9)), Quality::UNCERTAIN_TIME),
        ]
    );
    assert_eq!(fault, Some(SOURCE.1));
    let rows = format!("[[{},1.5],[{},2.5]]", ms - 2, ms - 1);
    let config = "items = \"\"\npointer = \"/1\"\ntimestamp = \"/0\"\nmissing = \"ignore\"";
    let (items, fault) = all(rows.as_bytes(), config, ValueType::F64);
    assert_eq!((items.len(), fault), (2, None));
    assert_eq!(all(b"[[1]]", config, ValueType::F64), (vec![], None));
    assert_eq!(all(b"7", config, ValueType::F64).1, Some("`items` is no array"));
}

#[test]
fn csv_is_read_by_number_or_name_of_the_column() {
    assert_eq!(value("1.5;2.5\r\n", "column = 2\nseparator = \";\"", ValueType::F64), Value::F64(2.5));
    let named =
        "time,temp,state\n2026-11-18T00:00:00Z,21.5,on\n2026-11-18T00:00:01Z,,off\n2026-11-18T00:00:02Z";
    let config = "column = \"temp\"\ntimestamp = \"time\"";
    let (items, fault) = all(named.as_bytes(), config, ValueType::F64);
    let told: Vec<_> = items.iter().map(|d| (d.value.clone(), d.quality)).collect();
    assert_eq!(
        told,
        [(Some(Value::F64(21.5)), Quality::GOOD), (None, Quality::BAD_SOURCE), (None, Quality::BAD_DECODE),]
    );
    assert_eq!(items[1].source_us - items[0].source_us, 1_000_000);
    assert_eq!(fault, Some(SOURCE.1));
    assert_eq!(decode(named, "column = \"pressure\"\nmissing = \"ignore\"", ValueType::F64), Ok(None));
    assert_eq!(decode("a,b", "column = \"a\"", ValueType::F64), Err(Quality::BAD_DECODE));
    assert_eq!(decode("", "column = 1", ValueType::F64), Err(Quality::BAD_DECODE));
    assert_eq!(value("x,on", "column = 2", ValueType::Bool), Value::Bool(true));
    assert_eq!(value("x,on", "column = 2", ValueType::Text), Value::from("on"));
    assert_eq!(all(&[0xff], "column = 1", ValueType::Text).1, Some(NO_TEXT.1));
}

#[test]
fn binary_is_read_at_its_place() {
    let config = "type = \"f32\"\norder = \"dcba\"\noffset = 1";
    let (items, fault) = all(&[9, 0, 0, 0xac, 0x41], config, ValueType::F64);
    assert_eq!((items[0].value.clone(), fault), (Some(Value::F64(21.5)), None));
    let (items, fault) = all(&[9], config, ValueType::F64);
    assert_eq!((items[0].quality, fault), (Quality::BAD_DECODE, Some("the payload is too short")));
}

#[test]
fn points_of_one_payload_share_its_reading() {
    let mut payload = Payload::new(b"1,2;3");
    for (config, expected) in [
        ("column = 1", Value::I64(1)),
        ("column = 2\nseparator = \";\"", Value::I64(3)),
        ("column = 1", Value::I64(1)),
    ] {
        let mut out = Vec::new();
        payload.decode(&point(config), ValueType::I64, NOW, &mut out);
        assert_eq!(out[0].value, Some(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_payload_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        text in ".{0,40}",
        json in r#"\{"a":\[?(\{"v":[0-9]{1,3},"t":[0-9]{1,20}\},?){0,3}\]?\}"#,
        rows in "(t,v\n)?([0-9.]{0,9},[a-z0-9.]{0,4}\n){0,3}",
    ) {
        for payload in [bytes.as_slice(), text.as_bytes(), json.as_bytes(), rows.as_bytes()] {
            for config in [
                "",
                "pointer = \"/a\"\ntimestamp = \"/t\"",
                "items = \"/a\"\npointer = \"/v\"\ntimestamp = \"/t\"\ntimestamp_unit = \"s\"",
                "column = 2\ntimestamp = 1",
                "column = \"v\"\ntimestamp = \"t\"\nmissing = \"ignore\"",
                "type = \"f64\"\norder = \"cdab\"\noffset = 3",
                "type = \"string\"\noffset = 3\nlength = 9",
            ] {
                for t in [ValueType::Bool, ValueType::F64, ValueType::Text, ValueType::Bytes] {
                    let (out, fault) = all(payload, config, t);
                    prop_assert!(out.is_sorted_by_key(|d| d.source_us));
                    prop_assert_eq!(fault.is_some(), out.iter().any(|d| d.value.is_none()));
                    prop_assert!(out.iter().all(|d| d.source_us <= NOW + FUTURE_US));
                }
            }
        }
    }
}
