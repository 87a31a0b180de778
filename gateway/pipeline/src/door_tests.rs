//! The swinging door: straight lines between what passes meet everything that does not.

use common::{PointId, Quality};
use proptest::prelude::*;

use super::*;

fn sample(x: Option<f64>, quality: Quality, at: i64) -> Sample {
    let value = x.map(Value::F64);
    Sample { point: PointId(0), value, quality, source_us: at, received_us: at }
}

fn good(x: f64, at: i64) -> Sample {
    sample(Some(x), Quality::GOOD, at)
}

fn through(door: &mut Door, series: &[Sample]) -> Vec<Sample> {
    let mut out = Vec::new();
    for s in series {
        door.offer(s, &mut out);
    }
    door.flush(&mut out);
    out
}

#[test]
fn of_a_straight_line_only_its_ends_pass_and_of_a_bend_its_corner() {
    let mut series: Vec<_> = (0..100).map(|t| good(f64::from(t), i64::from(t) * 1000)).collect();
    series.extend((100..200).map(|t| good(99.0, i64::from(t) * 1000)));
    let out = through(&mut Door::new(0.1, 0, 0), &series);
    let times: Vec<_> = out.iter().map(|s| s.source_us).collect();
    assert_eq!(times, [0, 99_000, 199_000]);
}

#[test]
fn a_change_of_quality_passes_at_once_with_the_last_value_before_it() {
    let series = [
        good(1.0, 0),
        good(1.0, 1),
        sample(None, Quality::BAD_TIMEOUT, 2),
        sample(None, Quality::BAD_TIMEOUT, 3),
        good(1.0, 4),
        sample(Some(1.0), Quality::UNCERTAIN_RANGE, 5),
    ];
    let out = through(&mut Door::new(5.0, 0, 0), &series);
    assert_eq!(out.iter().map(|s| s.source_us).collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
}

#[test]
fn a_steady_value_passes_at_least_every_max_interval_also_in_silence() {
    let mut door = Door::new(5.0, 0, 10);
    let series: Vec<_> = (0..35).map(|ms| good(1.0, ms * 1000)).collect();
    let mut out = Vec::new();
    for s in &series {
        door.offer(s, &mut out);
    }
    assert_eq!(out.iter().map(|s| s.source_us / 1000).collect::<Vec<_>>(), [0, 10, 20, 30]);
    out.clear();
    door.flush_due(39_999, &mut out);
    assert!(out.is_empty());
    door.flush_due(40_000, &mut out);
    assert_eq!(out[0].source_us, 34_000);
}

#[test]
fn nothing_passes_sooner_than_min_interval_but_a_change_of_quality() {
    let mut door = Door::new(0.1, 100, 0);
    let series: Vec<_> = (0..200).map(|ms| good(if ms % 2 == 0 { 0.0 } else { 9.0 }, ms * 1000)).collect();
    let out = through(&mut door, &series);
    assert!(out.len() <= 4, "{}", out.len());
    assert_eq!(through(&mut door, &[sample(None, Quality::BAD, 200_000)]).last().unwrap().source_us, 200_000);
}

#[test]
fn a_door_that_begins_again_passes_what_it_holds_and_the_next_sample() {
    let mut door = Door::new(1.0, 0, 0);
    let series: Vec<Sample> = (0..5).map(|n| good(7.0, n)).collect();
    let mut out = Vec::new();
    series[..3].iter().for_each(|s| door.offer(s, &mut out));
    assert_eq!(out, series[..1]);
    door.begin_again(&mut out);
    series[3..].iter().for_each(|s| door.offer(s, &mut out));
    assert_eq!(out, [series[0].clone(), series[2].clone(), series[3].clone()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn lines_between_what_passes_meet_every_sample_to_within_the_deviation(
        steps in prop::collection::vec(
            (
                prop_oneof![8 => 1i64..100_000, 1 => Just(0i64), 1 => -50_000i64..0],
                prop_oneof![
                    8 => (-10f64..10.0).prop_map(Some),
                    1 => (-1e9f64..1e9).prop_map(Some),
                    1 => Just(None),
                    1 => Just(Some(f64::NAN)),
                ],
                prop_oneof![9 => Just(Quality::GOOD), 1 => Just(Quality::UNCERTAIN)],
            ),
            1..300,
        ),
        deviation in 0f64..5.0,
        walk in any::<bool>(),
    ) {
        let (mut at, mut x) = (0i64, 0f64);
        let series: Vec<Sample> = steps
            .into_iter()
            .map(|(step, value, quality)| {
                at += step;
                // What the pipeline makes of a NaN.
                let Some(v) = value.filter(|v| v.is_finite()) else {
                    return sample(None, Quality::BAD_RANGE, at);
                };
                x = if walk { x + v / 10.0 } else { v };
                sample(Some(x), quality, at)
            })
            .collect();
        let out = through(&mut Door::new(deviation, 0, 0), &series);
        // Both in order of arrival: what passes is a part of the series, in its order.
        let mut next = 0;
        let mut places = Vec::new();
        for s in &out {
            let place = series[next..].iter().position(|t| t == s).map(|p| p + next);
            prop_assert!(place.is_some(), "{s:?} is not of the series");
            places.push(place.unwrap());
            next = place.unwrap() + 1;
        }
        prop_assert_eq!(places.first(), Some(&0));
        for pair in places.windows(2) {
            let (a, b) = (&series[pair[0]], &series[pair[1]]);
            for s in &series[pair[0] + 1..pair[1]] {
                match (number(a), number(b), number(s)) {
                    (Some(y0), Some(y1), Some(y)) => {
                        prop_assert_eq!(s.quality, a.quality);
                        if s.source_us == a.source_us {
                            prop_assert_eq!(y, y0);
                            continue;
                        }
                        if s.source_us == b.source_us {
                            prop_assert_eq!(y, y1);
                            continue;
                        }
                        let part = (s.source_us - a.source_us) as f64 / (b.source_us - a.source_us) as f64;
                        let line = y0 + (y1 - y0) * part;
                        let rounding = (y0.abs() + y1.abs() + y.abs()) * 1e-12 + deviation * 1e-9;
                        prop_assert!((line - y).abs() <= deviation + rounding, "{a:?} {s:?} {b:?}");
                    }
                    (None, _, None) => prop_assert_eq!((&s.value, s.quality), (&a.value, a.quality)),
                    _ => prop_assert!(false, "{:?} was held back between {:?} and {:?}", s, a, b),
                }
            }
        }
        prop_assert_eq!(places.last().map(|p| (&series[*p].value, series[*p].quality)),
            series.last().map(|s| (&s.value, s.quality)));
    }
}
