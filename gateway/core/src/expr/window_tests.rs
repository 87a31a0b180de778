//! Windows: exact with few samples, bounded with many, honest about what they do not cover.

use proptest::prelude::*;

use super::*;

const S: i64 = 1_000_000;

fn mono(us: i64) -> u64 {
    u64::try_from(us).unwrap()
}

#[test]
fn averages_weigh_by_time_and_a_window_that_just_began_is_not_covered() {
    let mut w = Window::new(mono(10 * S), mono(100 * S));
    assert_eq!(w.stats(0), None);
    w.feed(Some(1.0), 0, 0);
    assert_eq!(w.stats(0).unwrap().covered, 0.0);
    w.feed(Some(4.0), 9 * S, mono(9 * S));
    let s = w.stats(mono(12 * S)).unwrap();
    // From 2 s to 9 s it was 1, then 4 for 3 s.
    assert!((s.average - (7.0 + 12.0) / 10.0).abs() < 1e-9, "{s:?}");
    assert!((s.covered - 1.0).abs() < 1e-9);
    assert_eq!((s.min, s.max, s.sum, s.count), (1.0, 4.0, 4.0, 1));
}

#[test]
fn bad_samples_and_silence_are_not_covered() {
    let mut w = Window::new(mono(10 * S), mono(2 * S));
    w.feed(Some(5.0), 0, 0);
    w.feed(None, S, mono(S));
    w.feed(Some(7.0), 6 * S, mono(6 * S));
    let s = w.stats(mono(10 * S)).unwrap();
    // 5 for 1 s, 7 for the 2 s that a value may hold.
    assert!((s.covered - 0.3).abs() < 1e-9, "{s:?}");
    assert!((s.average - (5.0 + 14.0) / 3.0).abs() < 1e-9);
    assert_eq!(w.stats(mono(100 * S)), None, "nothing of it is left");
}

#[test]
fn a_rate_is_the_change_a_second() {
    let mut w = Window::new(mono(10 * S), mono(100 * S));
    w.feed(Some(0.0), 0, 0);
    assert_eq!(w.stats(0).unwrap().rate, None);
    for t in 1..=30 {
        w.feed(Some(2.5 * t as f64), t * S, mono(t * S));
    }
    assert!((w.stats(mono(30 * S)).unwrap().rate.unwrap() - 2.5).abs() < 1e-9);
}

#[test]
fn a_clock_that_is_set_back_starts_the_window_anew() {
    let mut w = Window::new(mono(10 * S), mono(100 * S));
    for t in 0..20 {
        w.feed(Some(1.0), 3_600 * S + t * S, mono(t * S));
    }
    w.feed(Some(9.0), 0, mono(20 * S));
    let s = w.stats(mono(20 * S)).unwrap();
    assert_eq!((s.min, s.max, s.count, s.covered), (9.0, 9.0, 1, 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn memory_is_bounded_and_what_it_says_is_within_its_values(
        steps in prop::collection::vec((-50_000i64..200_000, prop::option::of(-1e6f64..1e6), 0u64..3), 1..700),
        span in 10_000u64..5_000_000,
        hold in 1u64..1_000_000,
    ) {
        let mut w = Window::new(span, hold);
        let (mut at, mut mono) = (0i64, 0u64);
        for (step, value, late) in steps {
            at += step;
            mono += late * 50_000;
            w.feed(value, at, mono);
            prop_assert!(w.segments() <= MAX_SEGMENTS);
            if let Some(s) = w.stats(mono + late) {
                prop_assert!(s.min <= s.average && s.average <= s.max, "{s:?}");
                prop_assert!((0.0..=1.0).contains(&s.covered), "{s:?}");
            }
        }
    }

    #[test]
    fn with_few_samples_it_is_exact(
        steps in prop::collection::vec((10_000i64..500_000, prop::option::weighted(0.8, -100f64..100.0)), 1..60),
        later in 0i64..1_000_000,
    ) {
        // Steps are longer than a piece of the window, so every sample has its own.
        let (span, hold) = (2_000_000i64, 300_000i64);
        let mut w = Window::new(mono(span), mono(hold));
        let mut all = Vec::new();
        let mut at = 0;
        for (step, value) in steps {
            at += step;
            w.feed(value, at, mono(at));
            all.push((at, value));
        }
        let now = at + later;
        let (mut integral, mut covered, mut count) = (0.0, 0i64, 0u64);
        for (i, (t, value)) in all.iter().enumerate() {
            let Some(x) = value else { continue };
            let end = all.get(i + 1).map_or(now, |n| n.0).min(t + hold);
            let part = (end - (*t).max(now - span)).max(0);
            integral += x * part as f64;
            covered += part;
            count += u64::from(*t >= now - span);
        }
        match w.stats(mono(now)) {
            None => prop_assert_eq!((covered, count), (0, 0)),
            Some(s) => {
                prop_assert!((s.covered - covered as f64 / span as f64).abs() < 1e-9);
                prop_assert_eq!(s.count, count);
                if covered > 0 {
                    prop_assert!((s.average - integral / covered as f64).abs() < 1e-6, "{:?}", s);
                }
            }
        }
    }
}
