//! Virtual points: order, circles, staleness, periods, and counters over a restart.

use common::{Value, ValueType};
use proptest::prelude::*;

use super::*;

/// Points are `p0`, `p1`, ...; all numbers.
fn formula(text: &str) -> Formula {
    Formula::parse(text, &|_, name| {
        let n = name.strip_prefix('p').and_then(|n| n.parse().ok()).ok_or("no such point")?;
        Ok((PointId(n), ValueType::F64))
    })
    .unwrap()
}

fn define(point: u32, text: &str) -> Definition {
    Definition { point: PointId(point), formula: formula(text), period_us: None }
}

fn sample(point: u32, x: f64, at: i64) -> Sample {
    let (value, quality) = (Some(Value::F64(x)), Quality::GOOD);
    Sample { point: PointId(point), value, quality, source_us: at, received_us: at }
}

fn now(ms: u64) -> Now {
    Now { utc_us: 1_000_000_000 + i64::try_from(ms).unwrap() * 1000, mono_us: ms * 1000 }
}

fn run(v: &mut Virtual, at: Now) -> Vec<(u32, Option<Value>, Quality, i64)> {
    let mut got = Vec::new();
    v.run(at, &mut |s| {
        got.push((s.point.0, s.value.clone(), s.quality, s.source_us));
        Some(s)
    });
    got
}

#[test]
fn chains_are_evaluated_in_their_order_whatever_order_they_stand_in() {
    let definitions = vec![define(12, "p11 + 1"), define(11, "p10 * 2"), define(10, "p0 + p1")];
    let mut v = Virtual::new(definitions, &|_| 1000).unwrap();
    v.feed(&sample(0, 1.0, 5), now(0));
    v.feed(&sample(1, 2.0, 7), now(0));
    let got = run(&mut v, now(0));
    let values: Vec<_> = got.iter().map(|g| (g.0, g.1.clone().unwrap(), g.3)).collect();
    assert_eq!(values, [(10, Value::F64(3.0), 7), (11, Value::F64(6.0), 7), (12, Value::F64(7.0), 7)]);
    assert!(run(&mut v, now(1)).is_empty(), "nothing changed");
}

#[test]
fn what_is_made_of_a_value_with_the_boxs_own_time_has_that_time_as_well() {
    let mut v = Virtual::new(vec![define(11, "p10 + p1"), define(10, "p0 + p1")], &|_| 1000).unwrap();
    let stamps = |v: &mut Virtual| {
        let mut got = Vec::new();
        v.run(now(1), &mut |s| {
            got.push((s.source_us, s.is_stamped_on_receipt()));
            Some(s)
        });
        got
    };
    v.feed(&sample(0, 1.0, 5), now(0));
    assert_eq!(stamps(&mut v), [(5, true), (5, true)]);
    // Made of a device's, which is newer.
    v.feed(&Sample { received_us: 9, ..sample(1, 2.0, 7) }, now(0));
    assert_eq!(stamps(&mut v), [(7, false), (7, false)]);
}

#[test]
fn a_circle_is_told_with_its_way() {
    let definitions = vec![define(1, "p0"), define(2, "p1 + p4"), define(3, "p2"), define(4, "p3")];
    let Err(Cycle(way)) = order(&definitions) else { panic!("no circle found") };
    let mut numbers: Vec<u32> = way.iter().map(|p| p.0).collect();
    assert_eq!(numbers.first(), numbers.last());
    numbers.pop();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4]);
    assert_eq!(order(&[define(5, "p5 + 1")]), Err(Cycle(vec![PointId(5), PointId(5)])));
}

#[test]
fn an_input_that_grows_stale_is_told_without_a_sample() {
    let mut v =
        Virtual::new(vec![define(1, "p0 + 1"), define(2, "if(good(p0), p0, -1)")], &|_| 1000).unwrap();
    v.feed(&sample(0, 1.0, 5), now(0));
    assert_eq!(run(&mut v, now(0)).len(), 2);
    assert!(run(&mut v, now(900)).is_empty());
    let got = run(&mut v, now(1200));
    assert_eq!((got[0].0, got[0].2), (1, Quality::BAD_STALE));
    assert_eq!(got[1].1, Some(Value::F64(-1.0)));
    assert!(run(&mut v, now(2000)).is_empty(), "told once");
    v.feed(&sample(0, 4.0, 6), now(2100));
    assert_eq!(run(&mut v, now(2100))[0].1, Some(Value::F64(5.0)));
}

#[test]
fn periods_hold_and_missed_ones_are_left_out() {
    let periodic = Definition { period_us: Some(100_000), ..define(1, "p0") };
    let mut v = Virtual::new(vec![periodic], &|_| 10_000).unwrap();
    let mut count = 0;
    for ms in 0..1000 {
        v.feed(&sample(0, 1.0, 5), now(ms));
        count += run(&mut v, now(ms)).len();
    }
    assert_eq!(count, 10);
    assert_eq!(run(&mut v, now(5000)).len(), 1);
    assert_eq!(v.next_due_us(), Some(5_100_000));
}

#[test]
fn windows_see_every_sample_also_between_periods() {
    let periodic = Definition { period_us: Some(1_000_000), ..define(1, "max_over(p0, 1s)") };
    let mut v = Virtual::new(vec![periodic], &|_| 10_000).unwrap();
    run(&mut v, now(0));
    for ms in (0..1000).step_by(10) {
        v.feed(&sample(0, if ms == 500 { 99.0 } else { 0.0 }, i64::try_from(ms).unwrap() * 1000), now(ms));
    }
    assert_eq!(run(&mut v, now(1000))[0].1, Some(Value::F64(99.0)));
}

#[test]
fn counters_are_kept_over_a_restart() {
    let made = || Virtual::new(vec![define(1, "counter(p0, 1000)")], &|_| 1000).unwrap();
    let mut v = made();
    for x in [990.0, 5.0] {
        v.feed(&sample(0, x, 0), now(0));
    }
    let kept: Vec<_> = v.counters().map(|(p, _, c)| (p, c)).collect();
    let mut v = made();
    v.restore(kept[0].0, &kept[0].1);
    v.feed(&sample(0, 25.0, 0), now(0));
    assert_eq!(run(&mut v, now(0))[0].1, Some(Value::F64(35.0)));
}

proptest! {
    #[test]
    fn any_graph_is_ordered_or_a_circle_of_it_is_told(edges in prop::collection::vec((0u32..12, 0u32..12), 0..30)) {
        let definitions: Vec<_> = (0..12)
            .map(|n| {
                let inputs: Vec<_> =
                    edges.iter().filter(|(from, _)| *from == n).map(|(_, to)| format!("p{to}")).collect();
                define(n, &if inputs.is_empty() { "1".to_owned() } else { inputs.join("+") })
            })
            .collect();
        match order(&definitions) {
            Ok(order) => {
                let at = |n: u32| order.iter().position(|i| *i == n as usize).unwrap();
                prop_assert_eq!(order.len(), 12);
                for (from, to) in &edges {
                    prop_assert!(at(*to) < at(*from));
                }
            }
            Err(Cycle(way)) => {
                prop_assert_eq!(way.first(), way.last());
                for step in way.windows(2) {
                    prop_assert!(edges.contains(&(step[0].0, step[1].0)), "{:?}", way);
                }
            }
        }
    }
}
