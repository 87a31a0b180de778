//! Blocks of waveforms: read back as they were, cut into parts, and no bytes make the decoder panic.

use proptest::prelude::*;

use super::*;
use crate::ids::{Incarnation, SchemaHash};
use crate::wire::{Body, Frame, FrameHeader, FrameKind, GapCause, MAX_MESSAGE_BYTES, Up};

fn block(values: WaveValues) -> Waveform {
    Waveform {
        point: PointId(7),
        quality: Quality::GOOD,
        t0_us: 1_795_046_400_000_000,
        received_us: 1_795_046_401_000_123,
        dt_ps: 39_062_500,
        first: 0,
        total: u32::try_from(values.len()).expect("few"),
        scale: 0.0025,
        offset: -1.5,
        values,
    }
}

fn frame(wave: Waveform) -> Frame {
    let header = FrameHeader {
        schema: SchemaHash([1; 16]),
        incarnation: Incarnation(2),
        seq: 3,
        cut_us: 4,
        cut_mono_us: 5,
        synchronised: true,
    };
    Frame { header, body: Body::Waveform(Box::new(wave)) }
}

/// A machine that turns, with noise.
fn vibration(n: usize) -> Vec<i16> {
    let mut noise = 7u32;
    let value = |k: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let turn = (k as f64 * 0.0123).sin() * 3_000.0 + (k as f64 * 0.31).sin() * 200.0;
        turn as i16 + (noise >> 28) as i16
    };
    (0..n).map(value).collect()
}

fn any_values() -> impl Strategy<Value = WaveValues> {
    let single = any::<f32>().prop_filter("finite", |x| x.is_finite());
    let double = any::<f64>().prop_filter("finite", |x| x.is_finite());
    prop_oneof![
        prop::collection::vec(any::<i16>(), 1..300).prop_map(WaveValues::I16),
        prop::collection::vec(single, 1..300).prop_map(WaveValues::F32),
        prop::collection::vec(double, 1..300).prop_map(WaveValues::F64),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(values in any_values(), t0 in any::<i64>(), dt in 1u64.., first in 0u32..100) {
        let mut wave = block(values);
        (wave.t0_us, wave.dt_ps, wave.first, wave.total) = (t0, dt, first, wave.total + first);
        let frame = frame(wave);
        let bytes = frame.encode();
        prop_assert_eq!(&Frame::decode(&bytes).unwrap(), &frame);
        prop_assert_eq!(Frame::peek_kind(&bytes), Ok(FrameKind::Samples));
        prop_assert_eq!(&frame.encode_first(), &bytes);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Waveform::take(&bytes);
    }

    #[test]
    fn a_damaged_block_is_an_error_or_a_block_but_never_a_panic(
        values in any_values(), at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        block(values).put(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = Waveform::take(&bytes);
        bytes.truncate(at);
        prop_assert!(Waveform::take(&bytes).is_err());
    }
}

#[test]
fn any_values_of_a_frame_fit_a_message() {
    let mut state = 1u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let double = |bits: u64| Some(f64::from_bits(bits)).filter(|x| x.is_finite()).unwrap_or(0.5);
    for values in [
        WaveValues::F64((0..MAX_WAVEFORM_VALUES).map(|_| double(random())).collect()),
        WaveValues::I16(vibration(MAX_WAVEFORM_VALUES)),
    ] {
        let length = Up::encode_frame(&frame(block(values)).encode()).len();
        assert!(length <= MAX_MESSAGE_BYTES, "{length} bytes");
    }
}

#[test]
fn a_converters_values_take_half_of_their_bytes() {
    let mut bytes = Vec::new();
    block(WaveValues::I16(vibration(10_000))).put(&mut bytes);
    assert!(bytes.len() < 10_000, "{} bytes", bytes.len());
}

#[test]
fn a_long_block_goes_in_parts_that_make_it_again() {
    let whole = block(WaveValues::I16(vibration(2 * MAX_WAVEFORM_VALUES + 10)));
    let parts: Vec<_> = whole.parts().collect();
    assert_eq!(
        parts.iter().map(|p| p.values.len()).collect::<Vec<_>>(),
        [MAX_WAVEFORM_VALUES, MAX_WAVEFORM_VALUES, 10]
    );
    assert!(parts.iter().all(|p| p.t0_us == whole.t0_us && p.total == whole.total));
    // A part holds no more than its own.
    let WaveValues::I16(last) = &parts[2].values else { panic!("integers") };
    let WaveValues::I16(first) = &parts[0].values else { panic!("integers") };
    assert_eq!((first.capacity(), last.capacity()), (MAX_WAVEFORM_VALUES, 10));
    let joined: Vec<f64> = parts.iter().flat_map(|p| p.values.iter().collect::<Vec<_>>()).collect();
    assert_eq!(joined, whole.values.iter().collect::<Vec<_>>());
    // 25,600 values a second: the second part begins a second later.
    assert_eq!(parts[1].times_us().0, whole.t0_us + 1_000_000);
}

#[test]
fn what_is_no_block_is_refused() {
    let good = block(WaveValues::F64(vec![1.0, 2.0]));
    let is_refused = |change: fn(&mut Waveform)| {
        let mut bad = good.clone();
        change(&mut bad);
        let mut bytes = Vec::new();
        bad.put(&mut bytes);
        Waveform::take(&bytes).is_err()
    };
    assert!(!is_refused(|_| {}));
    assert!(is_refused(|w| w.dt_ps = 0));
    assert!(is_refused(|w| w.total = 1));
    assert!(is_refused(|w| w.first = 1));
    assert!(is_refused(|w| w.scale = 0.0));
    assert!(is_refused(|w| w.offset = f64::NAN));
    assert!(is_refused(|w| w.values = WaveValues::F64(vec![1.0, f64::NAN])));
    assert!(is_refused(|w| w.values = WaveValues::I16(vec![])));
}

#[test]
fn a_cloud_that_does_not_know_it_is_told_what_it_does_not_get() {
    let wave = frame(block(WaveValues::I16(vibration(512))));
    let told = Frame::decode(&Frame::without_waveform(&wave.encode()).unwrap()).unwrap();
    assert_eq!(told.header, wave.header);
    let Body::Gap(gap) = told.body else { panic!("a gap") };
    assert_eq!((gap.samples, gap.cause, gap.seqs), (512, GapCause::Damaged, None));
    let Body::Waveform(wave) = wave.body else { panic!("a block") };
    assert_eq!(gap.times_us, Some(wave.times_us()));
    assert!(Frame::without_waveform(&told_bytes()).is_none());
}

fn told_bytes() -> Vec<u8> {
    Frame { body: Body::Samples(vec![]), ..frame(block(WaveValues::I16(vec![1]))) }.encode()
}
