//! Marks and times of samples that a clock stamped which was not synchronised, or was set meanwhile.

#![allow(clippy::unwrap_used)] // tests may

use common::wire::{WaveValues, Waveform};
use common::{PointId, Value};

use super::*;

const NOW: i64 = 1_795_000_000_000_000;
const S: i64 = 1_000_000;

fn cut(utc_us: i64, mono_us: u64, synchronised: bool) -> Cut {
    Cut { utc_us, mono_us, synchronised }
}

fn own(at: i64) -> Sample {
    let (point, value) = (PointId(0), Some(Value::I64(1)));
    Sample { point, value, quality: Quality::GOOD, source_us: at, received_us: at }
}

fn judged(stamps: &mut Stamps, rows: Vec<Sample>, at: Cut) -> Vec<(i64, i64, Quality)> {
    let mut body = Body::Samples(rows);
    stamps.judge(&mut body, at);
    let Body::Samples(rows) = body else { panic!("{body:?}") };
    rows.into_iter().map(|r| (r.source_us, r.received_us, r.quality)).collect()
}

#[test]
fn only_good_samples_with_the_boxs_own_time_are_marked() {
    let mut stamps = Stamps::new(cut(5 * S, 0, false));
    let device = Sample { source_us: NOW, received_us: 6 * S, ..own(0) };
    let bad = Sample::bad(PointId(0), Quality::BAD_TIMEOUT, 6 * S);
    let range = Sample { quality: Quality::UNCERTAIN_RANGE, ..own(6 * S) };
    let got = judged(&mut stamps, vec![own(6 * S), device, bad, range], cut(6 * S, 1_000_000, false));
    let expected = [
        (6 * S, 6 * S, Quality::UNCERTAIN_TIME),
        (NOW, 6 * S, Quality::GOOD),
        (6 * S, 6 * S, Quality::BAD_TIMEOUT),
        (6 * S, 6 * S, Quality::UNCERTAIN_RANGE),
    ];
    assert_eq!(got, expected);
    // A year that is right is not enough where a time service has yet to say so.
    let mut stamps = Stamps::new(cut(NOW, 0, false));
    let got = judged(&mut stamps, vec![own(NOW)], cut(NOW, 0, false));
    assert_eq!(got, [(NOW, NOW, Quality::UNCERTAIN_TIME)]);
    let got = judged(&mut stamps, vec![own(NOW)], cut(NOW, 0, true));
    assert_eq!(got, [(NOW, NOW, Quality::GOOD)]);
}

#[test]
fn what_waited_while_the_clock_was_set_is_of_the_new_time() {
    // From 1970, and by two hours from the time of the last shutdown.
    for start in [5 * S, NOW - 7200 * S] {
        let mut stamps = Stamps::new(cut(start, 0, false));
        judged(&mut stamps, vec![own(start)], cut(start, 0, false));
        let rows = vec![own(start + S - 3000), own(NOW - 1000)];
        let got = judged(&mut stamps, rows, cut(NOW, 1_000_000, true));
        let good = |at| (at, at, Quality::GOOD);
        assert_eq!(got, [good(NOW - 3000), good(NOW - 1000)], "{start}");
        // What a deadband held back comes a moment later, whatever frames were cut in between.
        judged(&mut stamps, vec![], cut(NOW + S, 2_000_000, true));
        let got = judged(&mut stamps, vec![own(start + S - 5000)], cut(NOW + 2 * S, 3_000_000, true));
        assert_eq!(got, [good(NOW - 5000)], "{start}");
        // What comes later still with an old time has it from elsewhere.
        if start > NEVER_SET_BEFORE_US {
            let got = judged(&mut stamps, vec![own(start)], cut(NOW + 6 * S, 7_000_000, true));
            assert_eq!(got, [good(start)]);
        }
    }
}

#[test]
fn a_sample_that_a_swinging_door_held_back_finds_its_time_later() {
    let mut stamps = Stamps::new(cut(5 * S, 0, false));
    judged(&mut stamps, vec![own(NOW)], cut(NOW, 60_000_000, true));
    let got = judged(&mut stamps, vec![own(15 * S)], cut(NOW + 10 * S, 70_000_000, true));
    let at = NOW - 50 * S;
    assert_eq!(got, [(at, at, Quality::GOOD)]);
    // Where nobody knows what the clock was then, its time stays, and is not to be trusted.
    let mut stamps = Stamps::new(cut(NOW, 0, true));
    let got = judged(&mut stamps, vec![own(15 * S)], cut(NOW, 0, true));
    assert_eq!(got, [(15 * S, 15 * S, Quality::UNCERTAIN_TIME)]);
}

#[test]
fn a_clock_that_was_synchronised_and_jumps_moves_nothing() {
    let mut stamps = Stamps::new(cut(NOW, 0, true));
    let got = judged(&mut stamps, vec![own(NOW)], cut(NOW + 3600 * S, 0, true));
    assert_eq!(got, [(NOW, NOW, Quality::GOOD)]);
    // Set back to 1970 it is not believed.
    let got = judged(&mut stamps, vec![own(5 * S)], cut(5 * S, 1_000_000, false));
    assert_eq!(got, [(5 * S, 5 * S, Quality::UNCERTAIN_TIME)]);
}

#[test]
fn a_block_without_a_time_of_its_own_is_marked_in_all_its_parts() {
    let wave = Waveform {
        point: PointId(0),
        quality: Quality::GOOD,
        t0_us: 5 * S,
        received_us: 5 * S + 9,
        dt_ps: 1_000_000,
        first: 0,
        total: 10,
        scale: 1.0,
        offset: 0.0,
        values: WaveValues::I16((0..10).collect()),
    };
    let quality = |wave: &Waveform, synchronised| {
        let mut stamps = Stamps::new(cut(6 * S, 0, synchronised));
        let mut body = Body::Waveform(Box::new(wave.clone()));
        stamps.judge(&mut body, cut(6 * S, 0, synchronised));
        let Body::Waveform(wave) = body else { panic!("{body:?}") };
        (wave.quality, wave.t0_us)
    };
    assert_eq!(quality(&wave, false), (Quality::UNCERTAIN_TIME, 5 * S));
    let part = Waveform { first: 4, values: WaveValues::I16((4..8).collect()), ..wave.clone() };
    assert_eq!(quality(&part, false), (Quality::UNCERTAIN_TIME, 5 * S));
    // Cut after the clock was set.
    assert_eq!(quality(&part, true), (Quality::UNCERTAIN_TIME, 5 * S));
    let device = Waveform { t0_us: NOW, ..wave };
    assert_eq!(quality(&device, false), (Quality::GOOD, NOW));
}
