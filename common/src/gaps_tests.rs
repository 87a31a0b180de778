//! Tests of gaps in rows.

use super::*;
use crate::value::Value;

fn gap(from_us: i64, to_us: i64, cause: GapReason, count: Option<u64>) -> HistoryGap {
    HistoryGap { count, ..HistoryGap::new(from_us, to_us, cause) }
}

fn brief(gaps: &[HistoryGap]) -> Vec<(i64, i64, GapReason, Option<u64>)> {
    gaps.iter().map(|g| (g.from_us, g.to_us, g.cause, g.count)).collect()
}

fn row(t_us: i64, quality: Quality, count: u64, good: u64) -> HistoryPoint {
    let value = (!quality.is_bad()).then_some(Value::F64(1.0));
    HistoryPoint { count, good, ..HistoryPoint::raw(t_us, value, quality) }
}

#[test]
fn bad_samples_hold_until_the_next_one() {
    let bad = |t| row(t, Quality::BAD_TIMEOUT, 1, 0);
    let good = |t| row(t, Quality::GOOD, 1, 1);
    let rows = [good(10), bad(20), bad(30), good(50), row(60, Quality::UNCERTAIN_TIME, 1, 0), bad(70)];
    let gaps = of_rows(&rows, &[], Resolution::Raw, Some(Quality::BAD_NO_DATA), (0, 100));
    assert_eq!(
        brief(&gaps),
        [
            (0, 10, GapReason::BadQuality, None),
            (20, 50, GapReason::BadQuality, Some(2)),
            (60, 70, GapReason::ClockUnsynchronised, Some(1)),
            (70, 100, GapReason::BadQuality, Some(1)),
        ]
    );
    assert_eq!(gaps[1].quality, Some(Quality::BAD_TIMEOUT));
}

#[test]
fn a_bucket_with_something_good_is_missing_in_part() {
    let rows = [
        row(0, Quality::GOOD, 5, 5),
        row(10, Quality::BAD_TIMEOUT, 5, 4),
        row(20, Quality::UNCERTAIN_RANGE, 5, 0),
        row(30, Quality::BAD_DEVICE, 5, 0),
        row(60, Quality::GOOD, 5, 5),
    ];
    let gaps = of_rows(&rows, &[], Resolution::Rollup { bucket_us: 10 }, None, (0, 70));
    assert_eq!(brief(&gaps), [(10, 20, GapReason::BadQuality, None), (30, 60, GapReason::BadQuality, None)]);
    assert_eq!(gaps.iter().map(|g| g.partial).collect::<Vec<_>>(), [true, false]);
}

/// Who reports by exception says once that it is bad, and then nothing until it is good again.
#[test]
fn a_bucket_that_ends_bad_is_missing_until_the_next_one() {
    let (bad, good) = (Quality::BAD_TIMEOUT, Quality::GOOD);
    let usable = Quality::UNCERTAIN_RANGE;
    let rows = [row(10, bad, 5, 4), row(60, good, 1, 1), row(80, bad, 2, 0), row(100, bad, 2, 1)];
    let last = [Some(bad), Some(good), Some(usable), Some(good)];
    let gaps = of_rows(&rows, &last, Resolution::Rollup { bucket_us: 10 }, None, (0, 120));
    let told: Vec<_> = gaps.iter().map(|g| (g.from_us, g.to_us, g.partial)).collect();
    assert_eq!(told, [(10, 20, true), (20, 60, false), (80, 90, true), (100, 110, true)]);
    let still = of_rows(&rows[..1], &last[..1], Resolution::Rollup { bucket_us: 10 }, None, (0, 70));
    assert_eq!(still.iter().map(|g| (g.from_us, g.to_us)).collect::<Vec<_>>(), [(10, 20), (20, 70)]);
}

#[test]
fn gaps_of_one_cause_that_nobody_could_tell_apart_are_one() {
    let gaps = vec![
        gap(0, 10, GapReason::Quota, Some(3)),
        gap(12, 20, GapReason::Quota, Some(4)),
        gap(15, 18, GapReason::Damaged, None),
        gap(40, 900, GapReason::Quota, None),
        gap(90, 99, GapReason::Quota, None),
    ];
    assert_eq!(
        brief(&merge(gaps, 5, 80, 3)),
        [
            (5, 20, GapReason::Quota, Some(7)),
            (15, 18, GapReason::Damaged, None),
            (40, 80, GapReason::Quota, None),
        ]
    );
}
