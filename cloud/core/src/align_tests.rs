//! Tests of alignment.

use common::api::GapReason;

use super::*;

fn knot(t_us: i64, x: f64) -> Knot {
    Knot { t_us, quality: Quality::GOOD, value: Some(Value::F64(x)) }
}

fn cells(column: &Column) -> Vec<(Option<f64>, Quality)> {
    let value = |v: &Option<Value>| v.as_ref().and_then(Value::as_f64);
    column.values.iter().map(value).zip(column.quality.iter().copied()).collect()
}

const GRID: Grid = Grid { from_us: 0, step_us: 10, rows: 6 };
const GOOD: Quality = Quality::GOOD;
const NONE: (Option<f64>, Quality) = (None, Quality::BAD_NO_DATA);

#[test]
fn rows_stand_at_multiples_of_the_step_within_the_range() {
    assert_eq!(Grid::within(1, 31, 10), Grid { from_us: 10, step_us: 10, rows: 3 });
    assert_eq!(Grid::within(-15, 10, 10), Grid { from_us: -10, step_us: 10, rows: 2 });
    assert_eq!(Grid::within(1, 9, 10).rows, 0);
    assert_eq!(Grid::within(i64::MIN, i64::MAX, 1).step_us, 1);
}

#[test]
fn a_value_holds_until_the_next_and_a_line_needs_both_ends() {
    let knots = [knot(5, 1.0), knot(20, 4.0), knot(45, 9.0)];
    let held = align(&knots, &[], GRID, Interpolation::Previous);
    assert_eq!(
        cells(&held),
        [NONE, (Some(1.0), GOOD), (Some(4.0), GOOD), (Some(4.0), GOOD), (Some(4.0), GOOD), (Some(9.0), GOOD)]
    );
    let line = align(&knots, &[], GRID, Interpolation::Linear);
    assert_eq!(
        cells(&line),
        [NONE, (Some(2.0), GOOD), (Some(4.0), GOOD), (Some(6.0), GOOD), (Some(8.0), GOOD), NONE]
    );
}

#[test]
fn of_several_at_one_time_the_last_counts_on_both_sides_of_a_line() {
    let knots = [knot(0, 5.0), knot(0, 0.0), knot(20, 9.0), knot(20, 2.0)];
    let line = align(&knots, &[], GRID, Interpolation::Linear);
    assert_eq!(cells(&line)[..3], [(Some(0.0), GOOD), (Some(1.0), GOOD), (Some(2.0), GOOD)]);
}

#[test]
fn nothing_is_made_up_over_a_gap() {
    let knots = [knot(0, 1.0), knot(35, 2.0)];
    let gaps = [HistoryGap::new(12, 18, GapReason::GatewayDown)];
    let held = align(&knots, &gaps, GRID, Interpolation::Previous);
    assert_eq!(
        cells(&held),
        [(Some(1.0), GOOD), (Some(1.0), GOOD), NONE, NONE, (Some(2.0), GOOD), (Some(2.0), GOOD)],
        "after the gap it is unknown until the next sample"
    );
    let line = align(&knots, &gaps, GRID, Interpolation::Linear);
    assert_eq!(cells(&line)[1..4], [NONE, NONE, NONE]);
}

#[test]
fn what_is_bad_is_not_used_and_what_is_uncertain_stays_so() {
    let bad = Knot { t_us: 12, quality: Quality::BAD_TIMEOUT, value: Some(Value::F64(7.0)) };
    let odd = Knot { quality: Quality::UNCERTAIN_RANGE, ..knot(30, 5.0) };
    let knots = [knot(0, 1.0), bad, odd, knot(50, 9.0)];
    let told = (None, Quality::BAD_TIMEOUT);
    let held =
        align(&knots, &[HistoryGap::new(12, 30, GapReason::BadQuality)], GRID, Interpolation::Previous);
    let odd = Quality::UNCERTAIN_RANGE;
    let expected =
        [(Some(1.0), GOOD), (Some(1.0), GOOD), told, (Some(5.0), odd), (Some(5.0), odd), (Some(9.0), GOOD)];
    assert_eq!(cells(&held), expected);
    let line = align(&knots, &[], GRID, Interpolation::Linear);
    assert_eq!(cells(&line)[1..5], [NONE, told, (Some(5.0), odd), (Some(7.0), odd)]);
}

#[test]
fn what_is_no_number_has_no_line() {
    let text = |t_us, x: &str| Knot { t_us, quality: GOOD, value: Some(x.into()) };
    let knots = [text(0, "a"), text(25, "b")];
    let line = align(&knots, &[], GRID, Interpolation::Linear);
    assert_eq!(line.values[1..4], [Some("a".into()), Some("a".into()), Some("b".into())]);
    let on = [Knot { t_us: 0, quality: GOOD, value: Some(Value::Bool(true)) }];
    assert_eq!(align(&on, &[], GRID, Interpolation::Linear).values[3], Some(Value::Bool(true)));
}
