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
    // Started at NOW, set a second after.
    let set = Set { offset_us: NOW, mono_us: 4_000_000 };
    let got = brought(&frame, set).unwrap();
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
    assert_eq!(brought(&got, set), None, "only once");
    // A time service that begins anew: the clock was right before.
    assert_eq!(brought(&frame, Set { mono_us: 3_000_000, ..set }), None);
}

#[test]
fn the_first_time_that_a_clock_was_synchronised_counts_whichever_is_heard_first_and_1970_never_does() {
    let mut clocks = Clocks::default();
    assert!(clocks.is_news(1, &header(NOW, 0, true)));
    clocks.hear(1, &header(5 * S, 1_000_000, true));
    clocks.hear(1, &header(NOW, 1_000_000, false));
    assert!(clocks.set.is_empty());
    let offset = |clocks: &Clocks| clocks.set.get(&1).map(|set| set.offset_us);
    clocks.hear(1, &header(NOW + 9 * S, 2_000_000, true));
    clocks.hear(1, &header(NOW + 99 * S, 3_000_000, true));
    assert_eq!(offset(&clocks), Some(NOW + 7 * S));
    clocks.hear(1, &header(NOW, 1_000_000, true));
    assert_eq!(offset(&clocks), Some(NOW - S));
    assert!(
        clocks.is_news(1, &header(5, 999_999, false)) && !clocks.is_news(1, &header(5, 1_000_000, false))
    );
}

fn bytes(mono_us: u64, synchronised: bool) -> Vec<u8> {
    Frame { header: header(5, mono_us, synchronised), body: Body::Samples(vec![]) }.encode()
}

#[test]
fn frames_wait_for_their_time_for_ten_minutes_and_those_after_them_no_more() {
    let mut clocks = Clocks::default();
    clocks.added((1, 1), &bytes(0, false), 1);
    clocks.added((1, 2), &bytes(0, true), 1);
    clocks.added((2, 7), &bytes(0, false), 1);
    assert!(clocks.holds(&(1, 1)) && !clocks.holds(&(1, 2)));
    assert!(clocks.due(10).is_empty() && clocks.holds(&(1, 1)));
    clocks.hear(2, &header(NOW, 1, true));
    assert_eq!(clocks.due(11), [(2, 7)]);
    clocks.left(&(2, 7));
    clocks.added((2, 8), &bytes(1, false), 1);
    assert!(!clocks.holds(&(2, 8)), "it is of a clock that was set");
    assert!(clocks.due(HOLD_US + 9).is_empty() && clocks.holds(&(1, 1)));
    clocks.due(HOLD_US + 10);
    assert!(!clocks.holds(&(1, 1)));
    clocks.added((1, 3), &bytes(0, false), 1);
    assert!(!clocks.holds(&(1, 3)), "it would wait in vain");
    clocks.hear(1, &header(NOW, 9, true));
    clocks.added((1, 4), &bytes(0, false), 1);
    assert_eq!(clocks.due(HOLD_US + 11), [(1, 4)]);
    assert_eq!((clocks.bytes, clocks.samples), (bytes(0, false).len(), 1));
}

#[test]
fn no_more_wait_than_compaction_can_do_without() {
    let mut clocks = Clocks::default();
    clocks.added((1, 1), &bytes(0, false), MOST_SAMPLES - 1);
    clocks.due(0);
    assert!(clocks.holds(&(1, 1)));
    clocks.added((2, 1), &bytes(0, false), 1);
    clocks.due(0);
    assert!(!clocks.holds(&(1, 1)) && !clocks.holds(&(2, 1)));
    assert_eq!((clocks.bytes, clocks.samples), (0, 0));
}
