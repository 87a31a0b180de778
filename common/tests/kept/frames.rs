//! What kept frames of samples and waveforms hold.

use common::wire::{Body, Frame, FrameHeader, WaveValues, Waveform};
use common::{Incarnation, PointId, Quality, Sample, SchemaHash, Value};

/// Where their times begin.
pub(crate) const T0: i64 = 1_795_046_400_000_000;

/// Theirs, with numbers of their own.
#[allow(dead_code)] // not all that include this ask for it
pub(crate) fn header(seq: u64) -> FrameHeader {
    FrameHeader {
        schema: SchemaHash([0xab; 16]),
        incarnation: Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        seq,
        cut_us: T0 + 250_000,
        cut_mono_us: 77_000_000,
        synchronised: true,
    }
}

/// Every type, quality and oddity once.
pub(crate) fn odd() -> Frame {
    let values = [
        Some(Value::Bool(true)),
        Some(Value::I64(i64::MIN)),
        Some(Value::U64(u64::MAX)),
        Some(Value::F64(f64::from_bits(0x7ff8_0000_dead_beef))),
        Some(Value::F64(-0.0)),
        Some(Value::Text("läuft".into())),
        Some(Value::Bytes([0u8, 255, 7][..].into())),
        None,
    ];
    let row = |(n, value): (u32, Option<Value>)| Sample {
        point: PointId(n * n),
        quality: if value.is_none() { Quality::BAD_TIMEOUT } else { Quality::UNCERTAIN_TIME },
        value,
        source_us: T0 - i64::from(n) * 1_000_003,
        received_us: T0 + i64::from(n),
    };
    Frame { header: header(41), body: Body::Samples((0..).zip(values).map(row).collect()) }
}

/// Five points in turns for eight cycles: decimals, a factor, a counter, a state, a text.
pub(crate) fn regular() -> Frame {
    let row = |n: u32| {
        let (point, cycle) = (n % 5, n / 5);
        let noise = i64::from(n * 7919 % 13);
        let value = match point {
            0 => Value::F64((2_000 + noise) as f64 / 100.0),
            1 => Value::F64((9_000 + noise) as f64 * 0.0125),
            2 => Value::U64(u64::from(cycle) * 3),
            3 => Value::Bool(cycle > 4),
            _ => Value::Text(if cycle < 6 { "run" } else { "stop" }.into()),
        };
        let t = T0 + i64::from(cycle) * 100_000 + i64::from(cycle * 37 % 5);
        let quality = if n == 22 { Quality::BAD_DEVICE } else { Quality::GOOD };
        Sample { point: PointId(100 + point), value: Some(value), quality, source_us: t, received_us: t + 40 }
    };
    Frame { header: header(42), body: Body::Samples((0..40).map(row).collect()) }
}

/// A part of a block in each type, by the name of its vector.
pub(crate) fn waves() -> [(&'static str, Waveform); 3] {
    [
        ("frame-1-waveform-i16.hex", WaveValues::I16((0..300i16).map(|n| n * 37 % 251 - n * 9).collect())),
        ("frame-1-waveform-f32.hex", WaveValues::F32((0..40u8).map(|n| f32::from(n) * 0.1 - 1.0).collect())),
        ("frame-1-waveform-f64.hex", WaveValues::F64(vec![0.1, -0.0, 1e300, f64::MIN_POSITIVE, 12.5])),
    ]
    .map(|(name, values)| {
        let wave = Waveform {
            point: PointId(300),
            quality: Quality::UNCERTAIN_TIME,
            t0_us: T0,
            received_us: T0 + 1_000_123,
            dt_ps: 39_062_500,
            first: 25_600,
            total: 30_000,
            scale: 0.0025,
            offset: -1.5,
            values,
        };
        (name, wave)
    })
}
