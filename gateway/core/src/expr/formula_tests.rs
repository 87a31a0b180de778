//! The language of formulas: tables of results, qualities and mistakes, and that nothing panics.

use common::Sample;
use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000;

/// a=1 b=2 z=0 (numbers), t=true, bad (bad_timeout), u (uncertain 5), never, text.
fn resolve(device: Option<&str>, name: &str) -> Result<(PointId, ValueType), String> {
    let names = ["a", "b", "z", "t", "bad", "u", "never", "text"];
    let at = names.iter().position(|n| *n == name && device.is_none_or(|d| d == "d"));
    let at = at.ok_or_else(|| format!("no point `{name}`"))?;
    let t = match name {
        "t" => ValueType::Bool,
        "text" => ValueType::Text,
        _ => ValueType::F64,
    };
    Ok((PointId(u32::try_from(at).unwrap()), t))
}

fn input(point: PointId) -> Input {
    let good = |x| Input { value: Some(Value::F64(x)), quality: Quality::GOOD, age_us: Some(1_500_000) };
    match point.0 {
        0 => good(1.0),
        1 => good(2.0),
        2 => good(0.0),
        3 => Input { value: Some(Value::Bool(true)), ..good(0.0) },
        4 => Input { value: None, quality: Quality::BAD_TIMEOUT, age_us: Some(0) },
        5 => Input { quality: Quality::UNCERTAIN_RANGE, ..good(5.0) },
        7 => Input { value: Some(Value::Text("x".into())), ..good(0.0) },
        _ => Input { value: None, quality: Quality::BAD_NO_DATA, age_us: None },
    }
}

fn parse(text: &str) -> Formula {
    Formula::parse(text, &resolve).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn says(text: &str) -> Outcome {
    let f = parse(text);
    f.evaluate(&State::new(&f, &|_| 10 * S), 0, &input)
}

fn number(text: &str) -> f64 {
    match says(text) {
        Outcome { value: Some(Value::F64(x)), quality } if quality.is_good() => x,
        other => panic!("{text}: {other:?}"),
    }
}

fn sample(point: u32, x: Option<f64>, at: u64) -> Sample {
    let quality = if x.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT };
    let at = i64::try_from(at).unwrap();
    Sample { point: PointId(point), value: x.map(Value::F64), quality, source_us: at, received_us: at }
}

#[test]
#[allow(clippy::float_cmp)]
fn functions_have_their_usual_results() {
    for (text, x) in [
        ("a + b * 3", 7.0),
        ("if(a < b, 10, 20)", 10.0),
        ("if(t and a > b, 10, if(t, 30, 40))", 30.0),
        ("round(2.5)", 3.0),
        ("floor(-0.5)", -1.0),
        ("ceil(0.2)", 1.0),
        ("sqrt(b * 8)", 4.0),
        ("pow(b, 10)", 1024.0),
        ("clamp(a, 3, 5)", 3.0),
        ("clamp(9, 3, 5)", 5.0),
        ("min(a, b, -1)", -1.0),
        ("abs(a - b)", 1.0),
        ("age(a)", 1.5),
        ("if(good(bad), bad, b)", 2.0),
        ("d/a + b", 3.0),
    ] {
        assert_eq!(number(text), x, "{text}");
    }
    assert_eq!(says("a < b and t").value, Some(Value::Bool(true)));
    assert_eq!(says("not good(bad)").value, Some(Value::Bool(true)));
}

#[test]
fn quality_is_the_worst_of_what_the_result_came_from() {
    for (text, quality) in [
        ("a + b", Quality::GOOD),
        ("a + u", Quality::UNCERTAIN_RANGE),
        ("u + bad", Quality::BAD_TIMEOUT),
        ("t or bad > 1", Quality::BAD_TIMEOUT),
        ("if(t, a, bad)", Quality::GOOD),
        ("if(u > 1, a, b)", Quality::UNCERTAIN_RANGE),
        ("if(bad > 1, a, b)", Quality::BAD_TIMEOUT),
        ("a / z", Quality::BAD_EXPRESSION),
        ("sqrt(-1)", Quality::BAD_EXPRESSION),
        ("pow(10, 400)", Quality::BAD_EXPRESSION),
        ("clamp(a, 5, 3)", Quality::BAD_EXPRESSION),
        ("not (a / z > 1)", Quality::BAD_EXPRESSION),
        ("age(never)", Quality::BAD_NO_DATA),
        ("never", Quality::BAD_NO_DATA),
        ("avg(a, 10s)", Quality::BAD_NO_DATA),
        ("prev(a)", Quality::BAD_NO_DATA),
        ("counter(a)", Quality::BAD_NO_DATA),
    ] {
        let got = says(text);
        assert_eq!(got.quality, quality, "{text}");
        assert_eq!(got.value.is_none(), quality.is_bad(), "{text}");
    }
}

#[test]
#[allow(clippy::float_cmp)]
fn windows_are_uncertain_until_they_are_filled() {
    let f = parse("avg(a, 10s) + rate(a, 10s)");
    assert_eq!((f.slots().len(), f.direct().len(), f.inputs()), (1, 0, &[PointId(0)][..]));
    let mut state = State::new(&f, &|_| 100 * S);
    for t in 0..=20u64 {
        state.feed(&f, &sample(0, Some(t as f64), t * S), t * S);
        let got = f.evaluate(&state, t * S, &input);
        let expected = match t {
            0 => Quality::BAD_NO_DATA, // no rate yet
            1..9 => Quality::UNCERTAIN_WINDOW,
            _ => Quality::GOOD,
        };
        assert_eq!(got.quality, expected, "{t}");
    }
    let got = f.evaluate(&state, 20 * S, &input);
    // 10..=19 held for a second each, and one a second.
    assert_eq!(got.value, Some(Value::F64(14.5 + 1.0)));
    // A second later without a sample: the last value holds, and a bad one ends it.
    state.feed(&f, &sample(0, None, 21 * S), 21 * S);
    assert_eq!(f.evaluate(&state, 23 * S, &input).quality, Quality::UNCERTAIN_WINDOW);
}

#[test]
#[allow(clippy::float_cmp)]
fn counters_go_on_over_their_end_and_tell_a_reset() {
    let f = parse("counter(a, 65536)");
    let mut state = State::new(&f, &|_| S);
    let total = |x: f64, state: &mut State| {
        state.feed(&f, &sample(0, Some(x), 0), 0);
        f.evaluate(state, 0, &input)
    };
    assert_eq!(total(65_000.0, &mut state).value, Some(Value::F64(0.0)));
    assert_eq!(total(65_530.0, &mut state).value, Some(Value::F64(530.0)));
    assert_eq!(total(4.0, &mut state).value, Some(Value::F64(540.0)));
    let reset = {
        total(60_000.0, &mut state);
        total(10.0, &mut state)
    };
    assert_eq!(reset.value, Some(Value::F64(540.0 + 59_996.0 + 5_546.0)), "the way round is short enough");
    let reset = {
        total(30_000.0, &mut state);
        total(20_000.0, &mut state)
    };
    assert_eq!((reset.quality, reset.value.is_some()), (Quality::UNCERTAIN, true));
    // Kept over a restart, however old: what came since is counted.
    let kept = state.counters();
    let mut state = State::new(&f, &|_| S);
    state.restore(&kept);
    let before = kept[0].total;
    assert_eq!(total(20_005.0, &mut state).value, Some(Value::F64(before + 5.0)));
    let d = parse("delta(a)");
    let mut state = State::new(&d, &|_| S);
    for x in [5.0, 8.0] {
        state.feed(&d, &sample(0, Some(x), 0), 0);
    }
    assert_eq!(d.evaluate(&state, 0, &input).value, Some(Value::F64(3.0)));
}

#[test]
fn the_value_before_is_remembered() {
    let f = parse("a - prev(a)");
    let mut state = State::new(&f, &|_| S);
    for x in [Some(-4.0), None, Some(1.0)] {
        state.feed(&f, &sample(0, x, 0), 0);
    }
    assert_eq!(f.evaluate(&state, 0, &input).value, Some(Value::F64(5.0)));
}

#[test]
fn mistakes_are_told_with_their_column() {
    for (text, at, expected) in [
        ("", 1, "expected a point"),
        ("a b", 3, "an operator or the end"),
        ("avrg(a, 10s)", 1, "did you mean `avg`"),
        ("xyzzyplugh(a)", 1, "expected one of abs age"),
        ("if(a, 1, 2)", 4, "expected true or false"),
        ("if(t, 1, t)", 10, "expected a number"),
        ("if(t, 1)", 8, "another argument of if"),
        ("avg(a)", 6, "another argument of avg"),
        ("avg(a, 10)", 10, "a time such as"),
        ("avg(a, 10 parsec)", 11, "a time such as"),
        ("avg(a, 1ms)", 8, "10ms to 24h"),
        ("avg(a, 25h)", 8, "10ms to 24h"),
        ("avg(a + b, 10s)", 7, "make a virtual point"),
        ("avg(1, 10s)", 5, "expected a point"),
        ("good(1)", 6, "expected a point"),
        ("prev(text)", 6, "neither"),
        ("counter(t)", 9, "counts no bool"),
        ("counter(a, 0)", 12, "starts again"),
        ("pow(a)", 1, "two arguments"),
        ("clamp(a, 1)", 1, "three arguments"),
        ("nope", 1, "no point"),
    ] {
        let e = Formula::parse(text, &resolve).expect_err(text);
        assert!(e.expected.contains(expected), "{text}: {e}");
        assert_eq!(e.at, at, "{text}: {e}");
    }
    let many: Vec<_> = (0..20).map(|n| format!("avg(a, {}s)", n + 1)).collect();
    assert!(Formula::parse(&many.join("+"), &resolve).unwrap_err().expected.contains("at most 16"));
    assert!(Formula::parse(&format!("{}a{}", "abs(".repeat(40), ")".repeat(40)), &resolve).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_text_makes_it_panic(text in "[abtz0-9 ()+*/<>=!&|,.`smh-]{0,80}|.{0,40}") {
        if let Ok(f) = Formula::parse(&text, &resolve) {
            let _ = f.evaluate(&State::new(&f, &|_| S), 0, &input);
        }
    }

    #[test]
    fn words_in_any_order_never_panic_and_what_parses_is_finite_or_bad(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "z", "t", "u", "bad", "not", "and", "or", "(", ")", "<", "==", "+", "-", "/", "*", "1", "0",
            "abs(", "min(", ",", "true", "if(", "avg(a, 1s)", "rate(b, 500ms)", "counter(z, 16)", "prev(a)",
            "good(bad)", "age(a)", "pow(", "clamp(", "sqrt(", "round(", "delta(a)", "max_over(t, 2m)",
        ]), 0..24),
        fed in prop::collection::vec((0u32..4, prop::option::of(-1e300f64..1e300), 0u64..3_000_000), 0..20),
    ) {
        if let Ok(f) = Formula::parse(&words.join(" "), &resolve) {
            let mut state = State::new(&f, &|_| S);
            for (point, x, at) in fed {
                state.feed(&f, &sample(point, x, at), at);
            }
            let got = f.evaluate(&state, 4 * S, &input);
            prop_assert_eq!(got.value.is_none(), got.quality.is_bad());
            if let Some(Value::F64(x)) = got.value {
                prop_assert!(x.is_finite());
            }
        }
    }
}
