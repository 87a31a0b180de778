//! What passes, what is held back, and that nothing bad ever looks good.

use common::{DeviceSchema, PointSchema, Schema, TwinId, ValueType};
use gateway_core::{Deadband, Device, PointDefinition, RawRange, Scale};
use proptest::prelude::*;

use super::*;

fn point(value_type: ValueType) -> PointDefinition {
    let raw = RawRange { value_type: ValueType::F64, min: f64::MIN, max: f64::MAX };
    PointDefinition::new(PointSchema::new("p", value_type), raw)
}

fn ranged(p: &mut PointDefinition, min: f64, max: f64) {
    let schema = &mut p.schema;
    (schema.range_min, schema.range_max) = (Some(min), Some(max));
}

fn pipeline(point: PointDefinition) -> Pipeline {
    let schema = Schema {
        tenant: "t".parse().unwrap(),
        gateway: "g".parse().unwrap(),
        devices: vec![DeviceSchema {
            name: "d".into(),
            twin: "7e57ab1e-0000-4000-8000-000000000001".parse::<TwinId>().unwrap(),
            asset: "site/d".into(),
            description: String::new(),
            first_point: 0,
            points: vec![],
        }],
    };
    let device = Device { name: "d".into(), protocol: "modbus", points: 0..1 };
    Pipeline::new(Arc::new(Registry::new(schema, vec![device], vec![point.at(PointId(0), 0)]).unwrap()))
}

fn raw(value: impl Into<Value>, at_us: i64) -> Sample {
    Sample {
        point: PointId(0),
        value: Some(value.into()),
        quality: Quality::GOOD,
        source_us: at_us,
        received_us: at_us,
    }
}

#[test]
fn raw_values_are_scaled_and_rounded_to_the_points_type() {
    let mut p = point(ValueType::F64);
    p.scale = Scale { factor: 0.1, offset: -40.0 };
    let out = pipeline(p).process(raw(723u64, 0)).unwrap();
    assert!((out.value.unwrap().as_f64().unwrap() - 32.3).abs() < 1e-12);

    let mut p = point(ValueType::I64);
    p.scale = Scale { factor: 0.1, offset: 0.0 };
    assert_eq!(pipeline(p).process(raw(127u64, 0)).unwrap().value, Some(Value::I64(13)));
}

#[test]
fn what_the_type_cannot_hold_is_bad_and_has_no_value() {
    for (t, v) in [
        (ValueType::I64, Value::F64(3.5)),
        (ValueType::U64, Value::I64(-1)),
        (ValueType::Bool, Value::I64(2)),
        (ValueType::F64, Value::from("12")),
        (ValueType::F64, Value::F64(f64::NAN)),
        (ValueType::F64, Value::F64(f64::INFINITY)),
        (ValueType::F64, Value::U64(u64::MAX)),
    ] {
        let out = pipeline(point(t)).process(Sample { value: Some(v.clone()), ..raw(0.0, 7) }).unwrap();
        assert_eq!((out.quality, out.value, out.source_us), (Quality::BAD_RANGE, None, 7), "{t:?} {v:?}");
    }
    let mut p = point(ValueType::F64);
    p.scale = Scale { factor: 1e300, offset: 0.0 };
    assert_eq!(pipeline(p).process(raw(1e300, 0)).unwrap().quality, Quality::BAD_RANGE);
}

#[test]
fn beyond_the_engineering_range_is_uncertain_and_keeps_its_value() {
    let mut p = point(ValueType::F64);
    ranged(&mut p, 0.0, 100.0);
    let mut pipe = pipeline(p);
    assert_eq!(pipe.process(raw(100.0, 0)).unwrap().quality, Quality::GOOD);
    let out = pipe.process(raw(100.1, 1)).unwrap();
    assert_eq!((out.quality, out.value), (Quality::UNCERTAIN_RANGE, Some(Value::F64(100.1))));
    let uncertain = Sample { quality: Quality::UNCERTAIN_TIME, ..raw(-1.0, 2) };
    assert_eq!(pipe.process(uncertain).unwrap().quality, Quality::UNCERTAIN_TIME);
}

#[test]
fn the_deadband_is_measured_from_the_last_value_that_passed() {
    let mut p = point(ValueType::F64);
    p.deadband = Some(Deadband::Absolute(1.0));
    let mut pipe = pipeline(p);
    // Each step is within the band of the one before; a creep must still come through.
    let passed: Vec<_> = (0..40)
        .filter_map(|n| pipe.process(raw(f64::from(n) * 0.25, n.into())))
        .map(|s| s.source_us)
        .collect();
    assert_eq!(passed, [0, 5, 10, 15, 20, 25, 30, 35]);
}

#[test]
fn what_is_held_back_is_still_what_the_point_is_now() {
    let mut p = point(ValueType::F64);
    p.deadband = Some(Deadband::Absolute(1.0));
    let mut pipe = pipeline(p);
    assert!(pipe.process(raw(99.8, 0)).is_some());
    let now = pipe.judge(raw(100.2, 1)).unwrap();
    assert!(!pipe.passes(&now));
    assert_eq!((now.value, now.source_us), (Some(Value::F64(100.2)), 1));
}

#[test]
fn a_percent_deadband_refers_to_the_engineering_range() {
    let mut p = point(ValueType::F64);
    p.deadband = Some(Deadband::Percent(1.0));
    ranged(&mut p, -100.0, 100.0);
    let mut pipe = pipeline(p);
    assert!(pipe.process(raw(0.0, 0)).is_some());
    assert!(pipe.process(raw(2.0, 1)).is_none());
    assert!(pipe.process(raw(2.1, 2)).is_some());
}

#[test]
fn changes_of_quality_text_and_truth_always_pass() {
    let mut p = point(ValueType::F64);
    p.deadband = Some(Deadband::Absolute(100.0));
    let mut pipe = pipeline(p);
    assert!(pipe.process(raw(1.0, 0)).is_some());
    assert!(pipe.process(raw(2.0, 1)).is_none());
    assert!(pipe.process(Sample::bad(PointId(0), Quality::BAD_TIMEOUT, 2)).is_some());
    assert!(pipe.process(Sample::bad(PointId(0), Quality::BAD_TIMEOUT, 3)).is_none());
    assert!(pipe.process(Sample::bad(PointId(0), Quality::BAD_NOT_CONNECTED, 4)).is_some());
    assert!(pipe.process(raw(2.0, 5)).is_some());
    for (t, a, b) in
        [(ValueType::Text, Value::from("a"), Value::from("b")), (ValueType::Bool, true.into(), false.into())]
    {
        let mut p = point(t);
        p.deadband = Some(Deadband::Absolute(5.0));
        let mut pipe = pipeline(p);
        assert!(pipe.process(raw(a.clone(), 0)).is_some());
        assert!(pipe.process(raw(a.clone(), 1)).is_none());
        assert!(pipe.process(raw(b, 2)).is_some());
    }
}

#[test]
fn a_held_value_is_told_again_after_the_longest_interval_and_when_the_clock_goes_back() {
    let mut p = point(ValueType::F64);
    p.deadband = Some(Deadband::Absolute(1.0));
    p.max_interval_ms = 10;
    let mut pipe = pipeline(p);
    assert!(pipe.process(raw(1.0, 100_000)).is_some());
    assert!(pipe.process(raw(1.0, 109_999)).is_none());
    assert!(pipe.process(raw(1.0, 110_000)).is_some());
    assert!(pipe.process(raw(1.0, 50_000)).is_some());
    assert!(pipe.process(raw(1.0, 50_001)).is_none());
}

#[test]
fn a_point_that_does_not_exist_is_dropped() {
    let mut pipe = pipeline(point(ValueType::F64));
    assert!(pipe.process(Sample { point: PointId(9), ..raw(1.0, 0) }).is_none());
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<u64>().prop_map(|b| Value::F64(f64::from_bits(b))),
        (-1000i32..1000).prop_map(|n| Value::F64(f64::from(n) / 8.0)),
        ".{0,8}".prop_map(|s| Value::Text(s.into())),
    ]
}

proptest! {
    #[test]
    fn a_processed_sample_has_the_points_type_or_is_bad(
        v in any_value(),
        t in prop::sample::select(vec![
            ValueType::Bool, ValueType::I64, ValueType::U64, ValueType::F64, ValueType::Text,
        ]),
        factor in prop_oneof![Just(1.0), -1e3..1e3],
        quality in any::<u8>(),
    ) {
        let mut p = point(t);
        p.scale = Scale { factor, offset: 0.0 };
        let quality = Quality::from_code(quality);
        let out = pipeline(p).process(Sample { value: Some(v), quality, ..raw(0.0, 0) }).unwrap();
        match out.value {
            Some(v) => {
                prop_assert_eq!(v.value_type(), t);
                prop_assert!(!out.quality.is_bad());
                prop_assert!(is_representable(&v));
            }
            None => prop_assert!(out.quality.is_bad()),
        }
        if quality.is_bad() {
            prop_assert_eq!(out.quality, quality);
        }
    }

    #[test]
    fn what_is_held_back_is_always_within_the_band(
        values in prop::collection::vec(-1e6f64..1e6, 1..50),
        band in 0.0f64..1e5,
    ) {
        let mut p = point(ValueType::F64);
        p.deadband = Some(Deadband::Absolute(band));
        let mut pipe = pipeline(p);
        for (i, v) in values.iter().enumerate() {
            let before = pipe.last(PointId(0)).cloned();
            let passed = pipe.process(raw(*v, i as i64));
            let last = before.and_then(|s| s.value).and_then(|v| v.as_f64());
            match last {
                Some(last) => prop_assert_eq!(passed.is_some(), (v - last).abs() > band),
                None => prop_assert!(passed.is_some()),
            }
        }
    }

    #[test]
    fn without_a_deadband_every_sample_passes(values in prop::collection::vec(any_value(), 1..20)) {
        let mut pipe = pipeline(point(ValueType::F64));
        for v in values {
            let passed = pipe.process(Sample { value: Some(v), ..raw(0.0, 0) });
            prop_assert!(passed.is_some());
        }
    }
}

#[test]
fn what_is_told_again_passes_once_whatever_the_deadband() {
    let mut p = point(ValueType::F64);
    p.deadband = Some(Deadband::Absolute(5.0));
    let mut p = pipeline(p);
    assert!(p.process(raw(1.0, 0)).is_some() && p.process(raw(1.0, 1)).is_none());
    p.begin_again();
    assert!(p.process(raw(1.0, 2)).is_some() && p.process(raw(1.0, 3)).is_none());
}
