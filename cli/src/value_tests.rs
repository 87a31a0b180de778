//! Tests of values as people type them.

use common::schema::Label;
use common::{Access, PointKind};

use super::*;

fn point(value_type: ValueType, labels: &[(i64, &str)]) -> PointSchema {
    PointKind {
        access: Access::ReadWrite,
        stale_ms: 1000,
        labels: labels.iter().map(|(value, text)| Label { value: *value, text: (*text).into() }).collect(),
        ..PointKind::new(value_type)
    }
    .named("p")
}

#[test]
fn an_assignment_splits_at_its_first_sign() {
    assert_eq!(split("a=b=c"), Ok(("a", "b=c")));
    assert_eq!(split("a="), Ok(("a", "")));
    assert!(split("=1").is_err());
    assert!(split("a").is_err());
}

#[test]
fn a_value_takes_the_type_of_its_point() {
    let p = |t| point(t, &[]);
    for (text, t, value) in [
        ("true", ValueType::Bool, Value::Bool(true)),
        ("0", ValueType::Bool, Value::Bool(false)),
        ("12", ValueType::F64, Value::F64(12.0)),
        ("-1.5e3", ValueType::F64, Value::F64(-1500.0)),
        ("3.0", ValueType::I64, Value::I64(3)),
        ("-7", ValueType::I64, Value::I64(-7)),
        ("0xff", ValueType::U64, Value::U64(255)),
        ("18446744073709551615", ValueType::U64, Value::U64(u64::MAX)),
        ("true", ValueType::Text, "true".into()),
        ("\"a \\\"b\\\"\"", ValueType::Text, "a \"b\"".into()),
        ("", ValueType::Text, "".into()),
        ("hex:0aFF", ValueType::Bytes, Value::Bytes([10, 255].into())),
    ] {
        assert_eq!(parse(text, &p(t)), Ok(value), "{text}");
    }
    for (text, t) in [
        ("3.5", ValueType::I64),
        ("-1", ValueType::U64),
        ("2", ValueType::Bool),
        ("nan", ValueType::F64),
        ("inf", ValueType::F64),
        ("1e999", ValueType::F64),
        ("", ValueType::F64),
        ("\"1\"", ValueType::F64),
        ("\"open", ValueType::Text),
        ("hex:0", ValueType::Bytes),
        ("18446744073709551616", ValueType::U64),
    ] {
        assert!(parse(text, &p(t)).is_err(), "{text}");
    }
}

#[test]
fn a_label_stands_for_its_value() {
    let p = point(ValueType::U64, &[(0, "stop"), (1, "run"), (2, "Run"), (3, "清洗")]);
    assert_eq!(parse("run", &p), Ok(Value::U64(1)));
    assert_eq!(parse("STOP", &p), Ok(Value::U64(0)));
    assert_eq!(parse("\"清洗\"", &p), Ok(Value::U64(3)));
    assert!(parse("RUN", &p).is_err(), "two labels fit");
    let e = parse("jog", &p).unwrap_err();
    assert!(e.contains("stop, run, Run, 清洗"), "{e}");
    let b = point(ValueType::Bool, &[(0, "closed"), (1, "open")]);
    assert_eq!(parse("open", &b), Ok(Value::Bool(true)));
}

#[test]
fn numbers_are_short_and_true() {
    for (x, text) in [
        (0.0, "0"),
        (180.0, "180"),
        (0.1 + 0.2, "0.3"),
        (-12.345_678_9, "-12.3457"),
        (123_456_789.0, "123456789"),
        (0.000_012_3, "0.0000123"),
        (1e20, "1.00000e20"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(number(x), text);
    }
}

#[test]
fn a_shown_value_has_its_label_and_no_control_characters() {
    let p = point(ValueType::Bool, &[(1, "run\x1b")]);
    assert_eq!(show(Some(&true.into()), Some(&p)), "true (run\\u{1b})");
    assert_eq!(show(Some(&"a\nb".into()), None), "\"a\\nb\"");
    assert_eq!(show(None, None), "-");
}
