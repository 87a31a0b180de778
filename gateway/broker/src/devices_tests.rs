//! Messages by device: what stands in one, and when another begins.

use common::{DeviceSchema, PointId, PointKind, Quality, Schema, Value, ValueType};
use gateway_core::{Device, PointDefinition, RawRange};

use super::*;

/// Two devices, `oven` and `press`, each with the points `a`, `b` and `"c"`.
fn registry() -> Arc<Registry> {
    let point = |n: u32| {
        let schema = PointKind { unit: "Cel".into(), stale_ms: 1000, ..PointKind::new(ValueType::F64) }
            .named(["a", "b", "\"c\""][(n % 3) as usize]);
        let raw = RawRange { value_type: ValueType::F64, min: 0.0, max: 1.0 };
        PointDefinition::new(schema, raw).at(PointId(n), (n / 3) as usize)
    };
    let told = |name: &str, n: u8| DeviceSchema {
        name: name.into(),
        twin: format!("7e57ab1e-0000-4000-8000-00000000000{n}").parse().unwrap(),
        asset: format!("site/{name}"),
        description: String::new(),
        first_point: 0,
        points: vec![],
    };
    let schema = Schema {
        tenant: "t".parse().unwrap(),
        gateway: "g".parse().unwrap(),
        devices: vec![told("oven", 1), told("press", 2)],
    };
    let device = |name: &str, points| Device { name: name.into(), protocol: "modbus", points };
    let devices = vec![device("oven", 0..3), device("press", 3..6)];
    Arc::new(Registry::new(schema, devices, (0..6).map(point).collect()).unwrap())
}

fn good(point: u32, value: impl Into<Value>, source_us: i64) -> Sample {
    let (value, quality) = (Some(value.into()), Quality::GOOD);
    Sample { point: PointId(point), value, quality, source_us, received_us: source_us + 1 }
}

fn messages(batches: Vec<Vec<Sample>>) -> Vec<(String, String)> {
    let mut writer = Writer::new(registry());
    let mut out = Vec::new();
    for batch in batches {
        writer.take(&Item::Batch(batch.into()), &mut |topic: &str, json: &[u8]| {
            serde_json::from_slice::<serde_json::Value>(json).unwrap();
            out.push((topic.to_owned(), String::from_utf8(json.to_vec()).unwrap()));
        });
    }
    out
}

fn oven(json: &str) -> (String, String) {
    ("twinway/devices/oven".to_owned(), json.to_owned())
}

#[test]
fn what_was_read_together_is_one_message() {
    let batch = vec![good(0, 1.5, 7), good(1, 3i64, 7), good(2, "x\"y", 7)];
    assert_eq!(messages(vec![batch]), [oven(r#"{"ts":7,"values":{"a":1.5,"b":3,"\"c\"":"x\"y"}}"#)]);
}

#[test]
fn only_what_is_not_good_has_its_quality() {
    let mut doubtful = good(2, 9u64, 7);
    doubtful.quality = Quality::UNCERTAIN_RANGE;
    let batch = vec![good(0, true, 7), Sample::bad(PointId(1), Quality::BAD_TIMEOUT, 7), doubtful];
    let json = r#"{"ts":7,"values":{"a":true,"b":null,"\"c\"":9},"quality":{"b":"bad_timeout","\"c\"":"uncertain_range"}}"#;
    assert_eq!(messages(vec![batch]), [oven(json)]);
}

#[test]
fn another_device_another_time_and_the_same_point_again_begin_a_message() {
    let batch = vec![good(0, 1.0, 7), good(3, 2.0, 7), good(0, 3.0, 8), good(1, 4.0, 8), good(0, 5.0, 8)];
    let press = ("twinway/devices/press".to_owned(), r#"{"ts":7,"values":{"a":2.0}}"#.to_owned());
    let expected = [
        oven(r#"{"ts":7,"values":{"a":1.0}}"#),
        press,
        oven(r#"{"ts":8,"values":{"a":3.0,"b":4.0}}"#),
        oven(r#"{"ts":8,"values":{"a":5.0}}"#),
    ];
    assert_eq!(messages(vec![batch]), expected);
}

#[test]
fn a_point_that_nobody_knows_is_left_out() {
    assert_eq!(messages(vec![vec![good(99, 1.0, 7)]]), []);
    assert_eq!(
        messages(vec![vec![good(0, 1.0, 7), good(99, 1.0, 7)]]),
        [oven(r#"{"ts":7,"values":{"a":1.0}}"#)]
    );
}
