//! Conformance vectors of the protocol: kept frames, batches and messages of every version, each with what it holds.
//! They are never changed; a version that is written differently is a new version, and a new file beside these.
#![allow(clippy::expect_used, clippy::panic)] // a failed helper fails its test

use std::path::PathBuf;

use common::command::{LogEntry, Severity};
use common::wire::{
    Batch, Body, Down, Frame, FrameHeader, Gap, GapCause, Hello, HelloAck, Identity, Known, SetAside,
    StreamRange, Up,
};
use common::{BoxId, Incarnation, PointId, Quality, Sample, SchemaHash, Value};
use uuid::Uuid;

const T0: i64 = 1_795_046_400_000_000;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name)
}

/// The bytes of a vector: hexadecimal in lines, `#` begins a comment.
fn kept(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let digits: String =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// What a vector's file would hold, for those who add one.
fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(48) {
        out.extend(line.iter().map(|b| format!("{b:02x}")));
        out.push('\n');
    }
    out
}

fn is_kept(name: &str, bytes: &[u8]) {
    let is = path(name).exists() && kept(name) == bytes;
    assert!(is, "{name} is not what this program writes, which is\n{}", text(bytes));
}

fn header(seq: u64) -> FrameHeader {
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
fn odd() -> Frame {
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
fn regular() -> Frame {
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

fn gap() -> Frame {
    let gap = Gap {
        incarnation: None,
        seqs: None,
        times_us: Some((T0, T0 + 5)),
        samples: 12,
        cause: GapCause::DiskFull,
    };
    Frame { header: header(43), body: Body::Gap(gap) }
}

fn event() -> Frame {
    let entry = LogEntry {
        at_us: T0,
        actor: "system".into(),
        action: "device.offline".into(),
        target: "plc".into(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: "connection refused ".repeat(9),
    };
    Frame { header: header(44), body: Body::Event(entry) }
}

fn batch() -> Vec<Frame> {
    let Body::Samples(rows) = regular().body else { unreachable!() };
    let frame = |(n, rows): (u64, &[Sample])| {
        let cut_us = T0 + n as i64 * 100_000 + 10_000;
        let header = FrameHeader { cut_us, cut_mono_us: n * 100_000, synchronised: n > 1, ..header(50 + n) };
        Frame { header, body: Body::Samples(rows.to_vec()) }
    };
    (0..).zip(rows.chunks(5)).map(frame).collect()
}

#[test]
fn frames_of_version_1_are_read_and_written_as_ever() {
    for (name, frame) in [
        ("frame-1-samples-odd.hex", odd()),
        ("frame-1-samples-regular.hex", regular()),
        ("frame-1-gap.hex", gap()),
        ("frame-1-event-lz4.hex", event()),
    ] {
        is_kept(name, &frame.encode_first());
        assert_eq!(Frame::decode(&kept(name)).expect(name), frame, "{name}");
    }
}

#[test]
fn frames_of_version_2_are_read_and_written_as_ever() {
    for (name, frame, first) in [
        ("frame-2-samples-odd.hex", odd(), "frame-1-samples-odd.hex"),
        ("frame-2-samples-regular.hex", regular(), "frame-1-samples-regular.hex"),
    ] {
        is_kept(name, &frame.encode());
        assert_eq!(Frame::decode(&kept(name)).expect(name), frame, "{name}");
        assert_eq!(Frame::as_first(&kept(name)).expect(name), kept(first), "{name}");
    }
}

#[test]
fn batches_are_read_and_written_as_ever() {
    let frames = batch();
    let mut batch = Batch::default();
    frames.iter().for_each(|f| batch.push(f.clone()).expect("room"));
    let message = Up::Batch(batch.encode().expect("bytes"));
    is_kept("up-7-batch.hex", &message.encode());
    let Up::Batch(bytes) = Up::decode(&kept("up-7-batch.hex")).expect("a message") else { panic!("a batch") };
    assert_eq!(Batch::decode(&bytes).expect("a batch"), frames);
}

/// The causes of gaps in the order in which they came; the first four alone are read by every cloud.
#[test]
fn gaps_are_read_and_written_with_every_cause() {
    for (name, cause, first) in [
        ("frame-1-gap-quota.hex", GapCause::Quota, GapCause::Quota),
        ("frame-1-gap-overrun.hex", GapCause::Overrun, GapCause::Overrun),
        ("frame-1-gap-damaged.hex", GapCause::Damaged, GapCause::Damaged),
        ("frame-1-gap-age.hex", GapCause::Age, GapCause::Quota),
        ("frame-1-gap-operator.hex", GapCause::Operator, GapCause::Quota),
        ("frame-1-gap-cloud-lost.hex", GapCause::CloudLost, GapCause::Damaged),
    ] {
        let with = |cause| {
            let incarnation = Some(Incarnation(7));
            let gap = Gap { incarnation, seqs: Some((3, 9)), times_us: None, samples: 0, cause };
            Frame { header: header(45), body: Body::Gap(gap) }
        };
        is_kept(name, &with(cause).encode());
        assert_eq!(Frame::decode(&kept(name)).expect(name), with(cause), "{name}");
        let older = Frame::with_first_cause(&kept(name));
        assert_eq!(older, (cause != first).then(|| with(first).encode()), "{name}");
    }
    assert!(Frame::with_first_cause(&kept("frame-1-event-lz4.hex")).is_none());
}

/// A hello before gateways told which box they are, and one that does.
#[test]
fn the_gateway_s_hello_is_read_with_and_without_an_identity() {
    let hello = |identity: Option<Identity>| {
        Up::Hello(Box::new(Hello {
            tenant: "default".parse().expect("a name"),
            gateway: "line1".parse().expect("a name"),
            version: "0.1.0".into(),
            incarnation: Incarnation(3),
            streams: vec![StreamRange { incarnation: Incarnation(2), first: 5, last: 9 }],
            schema: SchemaHash([0xab; 16]),
            schemas: vec![SchemaHash([0xab; 16])],
            session_us: 1_000,
            remote: false,
            features: vec!["alarms".into(), "set_aside".into()],
            identity: identity.map(Box::new),
        }))
    };
    let identity = Identity {
        box_id: BoxId(Uuid::from_u128(0x9a1c_7f40_58f1_4d5e_8a8e_0d6f_3c1b_2a10)),
        machine: Some("5e".repeat(16)),
        line: vec![Incarnation(1), Incarnation(2)],
        answered: Some(Incarnation(2)),
        store: Some(Uuid::from_u128(0x0192_d5a0_7d3e_4c11_8f43_6a1c_3a0f_9b01)),
        attempt: 4,
        acked: vec![Known { incarnation: Incarnation(2), seqs: vec![(1, 7)].into() }],
    };
    for (name, hello) in [("up-1-hello.hex", hello(None)), ("up-1-hello-identity.hex", hello(Some(identity)))]
    {
        is_kept(name, &hello.encode());
        assert_eq!(Up::decode(&kept(name)).expect(name), hello, "{name}");
    }
}

#[test]
fn what_the_cloud_sets_aside_is_read_and_written_as_ever() {
    let known = Known { incarnation: Incarnation(2), seqs: vec![(8, 8)].into() };
    let ack = HelloAck {
        session: 9,
        store: Some(Uuid::from_u128(0x0192_d5a0_7d3e_4c11_8f43_6a1c_3a0f_9b01)),
        seen: Some(Incarnation(2)),
        set_aside: vec![known.clone()],
        ..HelloAck::default()
    };
    let set = |frames, apart| Down::SetAside(SetAside { frames, detail: "no table".into(), apart });
    for (name, message) in [
        ("down-1-hello-ack-store.hex", Down::HelloAck(ack)),
        ("down-7-set-aside.hex", set(vec![known], false)),
        ("down-7-set-aside-apart.hex", set(vec![], true)),
    ] {
        is_kept(name, &message.encode());
        assert_eq!(Down::decode(&kept(name)).expect(name), message, "{name}");
    }
}

/// The hello of a cloud before it had features, and of one that has.
#[test]
fn the_cloud_s_hello_is_read_with_and_without_features() {
    let ack = |features: &[&str]| {
        let features = features.iter().map(|f| (*f).to_owned()).collect();
        Down::HelloAck(HelloAck { session: 9, features, ..HelloAck::default() })
    };
    for (name, ack) in
        [("down-1-hello-ack.hex", ack(&[])), ("down-1-hello-ack-features.hex", ack(&["columns", "batch"]))]
    {
        is_kept(name, &ack.encode());
        assert_eq!(Down::decode(&kept(name)).expect(name), ack, "{name}");
    }
}
