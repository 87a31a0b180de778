//! The language of interlocks: a table of what is true, a table of mistakes, and that nothing panics.

use proptest::prelude::*;

use common::ValueType;

use super::*;

/// a=1 b=2 (numbers), t=true f=false (booleans), text, `oven/temp`=150, `zone-1`=7.
fn resolve(device: Option<&str>, name: &str) -> Result<(PointId, ValueType), String> {
    let n = match (device, name) {
        (None, "a") => 0,
        (None, "b") => 1,
        (None, "t") => 2,
        (None, "f") => 3,
        (None, "text") => 4,
        (Some("oven"), "temp") => 5,
        (None, "zone-1") => 6,
        (Some(d), _) => return Err(format!("no device `{d}`")),
        (None, p) => return Err(format!("no point `{p}`")),
    };
    let t = [
        ValueType::F64,
        ValueType::I64,
        ValueType::Bool,
        ValueType::Bool,
        ValueType::Text,
        ValueType::F64,
        ValueType::U64,
    ];
    Ok((PointId(n), t[n as usize]))
}

fn good(point: PointId) -> Sample {
    let value = match point.0 {
        0 => Value::F64(1.0),
        1 => Value::I64(2),
        2 => Value::Bool(true),
        3 => Value::Bool(false),
        5 => Value::F64(150.0),
        _ => Value::U64(7),
    };
    Sample { point, value: Some(value), quality: Quality::GOOD, source_us: 0, received_us: 0 }
}

fn holds(text: &str) -> bool {
    match Expr::parse(text, &resolve).unwrap().decide(&good) {
        Decision::Allows => true,
        Decision::Forbids { .. } => false,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn expressions_have_the_usual_precedence() {
    for text in [
        "true",
        "t",
        "not f",
        "!f && t",
        "a < b and b <= 2 and oven/temp > 100",
        "f or t and t",
        "not f and t",
        "a + b * 2 == 5",
        "(a + b) * 2 == 6",
        "-a < 0",
        "--a == a",
        "1 - 2 - 3 == -4",
        "8 / 4 / 2 == 1",
        "oven/temp / b == 75",
        "abs(a - b) == 1",
        "min(a, b, 3) == 1 and max(a,b)==2",
        "`zone-1` == 7",
        "`oven/temp` != 1e2",
        "t == true and f != t",
        "(t or f) == t",
        ".5 < 1",
        "t or a > 5",
    ] {
        assert!(holds(text), "{text}");
    }
    for text in ["false", "f", "not t", "a > b", "t and f", "not (t or f)", "a != 1", "t == f"] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_column() {
    for (text, at, expected) in [
        ("", 1, "expected a point"),
        ("a", 1, "expected true or false"),
        ("t and a", 7, "expected true or false"),
        ("a < t", 5, "expected a number"),
        ("t < f", 1, "expected a number"),
        ("a == t", 6, "expected a number"),
        ("a < b < 3", 7, "expected `and`"),
        ("nope > 1", 1, "no point `nope`"),
        ("t and x/y > 1", 7, "no device `x`"),
        ("a/b > 1", 1, "no device `a`"),
        ("(t", 3, "expected `)`"),
        ("t t", 3, "expected `and`"),
        ("t and", 6, "expected a point"),
        ("and t", 1, "expected a point"),
        ("sin(a) > 1", 1, "not a function"),
        ("abs(a, b) > 1", 1, "one argument"),
        ("min(a) > 1", 1, "two or more"),
        ("text == 1", 1, "neither"),
        ("a > 1.2.3", 5, "not a number"),
        ("a > 1e999", 5, "not a number"),
        ("a = 1", 3, "no meaning"),
        ("a > `b", 5, "second `"),
        ("a > ``", 5, "a name"),
        ("-t", 2, "expected a number"),
        ("not a", 5, "expected true or false"),
        ("温度 > 1", 1, "no meaning"),
    ] {
        let e = Expr::parse(text, &resolve).expect_err(text);
        assert_eq!(e.at, at, "{text}: {e}");
        assert!(e.expected.contains(expected), "{text}: {e}");
    }
}

#[test]
fn depth_and_size_are_limited() {
    for text in [
        format!("{}t{}", "(".repeat(1000), ")".repeat(1000)),
        format!("{}t", "not ".repeat(1000)),
        format!("{}a > 0", "-".repeat(1000)),
        format!("a{} > 0", " + a".repeat(500)),
        "t and ".repeat(2000),
    ] {
        assert!(Expr::parse(&text, &resolve).is_err());
    }
}

#[test]
fn an_input_that_is_not_good_blocks_even_when_its_value_would_not_matter() {
    let e = Expr::parse("t or a > 5", &resolve).unwrap();
    assert_eq!(e.inputs(), [PointId(2), PointId(0)]);
    for quality in [Quality::BAD_TIMEOUT, Quality::UNCERTAIN, Quality::BAD_STALE] {
        let d = e.decide(&|p| {
            let s = good(p);
            if p.0 == 0 { Sample { quality, ..s } } else { s }
        });
        assert_eq!(d, Decision::Input { point: PointId(0), quality });
    }
    let d = e.decide(&|p| Sample { value: if p.0 == 0 { None } else { good(p).value }, ..good(p) });
    assert!(matches!(d, Decision::Input { quality: Quality::BAD_NO_DATA, .. }));
}

#[test]
fn a_result_that_is_not_finite_blocks_under_not_as_well() {
    for text in ["not (a / 0 > 1)", "a / 0 > 1", "t or a / (a - a) > 1", "not (1e308 * 10 * b < 1)"] {
        let d = Expr::parse(text, &resolve).unwrap().decide(&good);
        assert!(matches!(d, Decision::NotFinite { .. }), "{text}: {d:?}");
    }
    let nan = |p: PointId| Sample { value: Some(Value::F64(f64::NAN)), ..good(p) };
    let d = Expr::parse("not (a > 1)", &resolve).unwrap().decide(&nan);
    assert!(matches!(d, Decision::NotFinite { .. }));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[abtf0-9 ()+*/<>=!&|,.`-]{0,80}|.{0,40}") {
        if let Ok(e) = Expr::parse(&text, &resolve) {
            let _ = e.decide(&good);
        }
    }

    #[test]
    fn words_in_any_order_never_panic_and_what_parses_decides(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "t", "f", "not", "and", "or", "(", ")", "<", "==", "+", "-", "/", "*", "1", "0",
            "abs(", "min(", ",", "true", "oven/temp",
        ]), 0..24)
    ) {
        if let Ok(e) = Expr::parse(&words.join(" "), &resolve) {
            let d = e.decide(&good);
            prop_assert!(!matches!(d, Decision::Input { .. }), "{d:?}");
        }
    }

    #[test]
    fn arithmetic_is_that_of_f64(x in -1e6f64..1e6, y in -1e6f64..1e6) {
        let text = format!("({x:?}) * ({y:?}) - ({x:?}) < ({y:?})");
        prop_assert_eq!(holds(&text), x * y - x < y);
    }
}
