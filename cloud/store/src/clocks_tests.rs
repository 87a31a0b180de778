//! Frames of clocks that were not synchronised.

#![allow(clippy::unwrap_used)] // tests may

use common::{Incarnation, PointId, Sample, SchemaHash, Value};

use super::*;

const NOW: i64 = 1_795_000_000_000_000;
const S: i64 = 1_000_000;

fn header(cut_us: i64, cut_mono_us: u64, synchronised: bool) -> FrameHeader {
    FrameHeader {
        schema: SchemaHash([0; 16]),
        incarnation: Incarnation(1),
        seq: 1,
        cut_us,
        cut_mono_us,
        synchronised,
    }
}

fn sample(source_us: i64, received_us: i64, quality: Quality) -> Sample {
    Sample { point: PointId(0), value: Some(Value::I64(1)), quality, source_us, received_us }
}

#[test]
fn what_the_clock_of_the_box_gave_is_moved_and_what_a_device_gave_is_not() {
    let rows = vec![
        sample(5 * S - 7, 5 * S - 7, Quality::UNCERTAIN_TIME),
        sample(5 * S - 5, 5 * S - 5, Quality::BAD_TIMEOUT),
        sample(5 * S - 3, 5 * S - 3, Quality::UNCERTAIN_RANGE),
        sample(NOW + 1, 5 * S - 2, Quality::GOOD),
        sample(NOW + 2, 5 * S - 1, Quality::UNCERTAIN_TIME),
    ];
    let frame = Frame { header: header(5 * S, 3_000_000, false), body: Body::Samples(rows) };
    // Started at NOW.
    let got = brought(&frame, NOW).unwrap();
    let cut = NOW + 3 * S;
    assert_eq!(got.header, header(cut, 3_000_000, true));
    let expected = vec![
        sample(cut - 7, cut - 7, Quality::GOOD),
        sample(cut - 5, cut - 5, Quality::BAD_TIMEOUT),
        sample(cut - 3, cut - 3, Quality::UNCERTAIN_RANGE),
        sample(NOW + 1, cut - 2, Quality::GOOD),
        sample(NOW + 2, cut - 1, Quality::UNCERTAIN_TIME),
    ];
    assert_eq!(got.body, Body::Samples(expected));
    assert_eq!(brought(&got, NOW - 5), None, "only once");
}

#[test]
fn the_first_word_of_a_synchronised_clock_counts_and_one_of_1970_never_does() {
    let mut clocks = Clocks::default();
    assert!(clocks.is_news(1, &header(NOW, 0, true)));
    clocks.hear(1, &header(5 * S, 1_000_000, true));
    clocks.hear(1, &header(NOW, 1_000_000, false));
    assert!(clocks.offsets.is_empty());
    clocks.hear(1, &header(NOW, 1_000_000, true));
    clocks.hear(1, &header(NOW + 9 * S, 2_000_000, true));
    assert_eq!(clocks.offsets, [(1, NOW - S)].into());
    assert!(!clocks.is_news(1, &header(NOW, 0, true)) && clocks.is_news(1, &header(5, 0, false)));
}

#[test]
fn frames_wait_for_their_time_for_ten_minutes_and_not_while_much_waits() {
    let mut clocks = Clocks::default();
    let bytes =
        |synchronised| Frame { header: header(5, 0, synchronised), body: Body::Samples(vec![]) }.encode();
    clocks.added((1, 1), &bytes(false));
    clocks.added((1, 2), &bytes(true));
    clocks.added((2, 7), &bytes(false));
    assert!(clocks.holds(&(1, 1)) && !clocks.holds(&(1, 2)));
    assert!(clocks.due(10, false).is_empty() && clocks.holds(&(1, 1)));
    clocks.hear(2, &header(NOW, 0, true));
    assert_eq!(clocks.due(11, false), [(2, 7)]);
    clocks.left(&(2, 7));
    assert!(clocks.due(HOLD_US + 9, false).is_empty() && clocks.holds(&(1, 1)));
    clocks.due(HOLD_US + 10, false);
    assert!(!clocks.holds(&(1, 1)));
    clocks.added((1, 3), &bytes(false));
    clocks.due(0, true);
    assert!(!clocks.holds(&(1, 3)));
}
