//! Property tests of the frame codec: what is written is read back, and no bytes make it panic.

use proptest::prelude::*;

use super::*;
use crate::command::Severity;
use crate::quality::Quality;
use crate::sample::PointId;
use crate::value::Value;

fn any_value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        any::<bool>().prop_map(|b| Some(Value::Bool(b))),
        any::<i64>().prop_map(|n| Some(Value::I64(n))),
        any::<u64>().prop_map(|n| Some(Value::U64(n))),
        any::<u64>().prop_map(|b| Some(Value::F64(f64::from_bits(b)))),
        ".{0,20}".prop_map(|s| Some(Value::Text(s.into()))),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|b| Some(Value::Bytes(b.into()))),
    ]
}

fn any_row() -> impl Strategy<Value = SampleRow> {
    (any::<u32>(), any_value(), any::<u8>(), any::<i64>(), any::<i64>()).prop_map(
        |(p, value, q, source_us, received_us)| Sample {
            point: PointId(p),
            value,
            quality: Quality::from_code(q),
            source_us,
            received_us,
        },
    )
}

fn header() -> impl Strategy<Value = FrameHeader> {
    (any::<[u8; 16]>(), any::<u128>(), any::<u64>(), any::<i64>(), any::<u64>(), any::<bool>()).prop_map(
        |(schema, inc, seq, cut_us, cut_mono_us, synchronised)| FrameHeader {
            schema: SchemaHash(schema),
            incarnation: Incarnation(inc),
            seq,
            cut_us,
            cut_mono_us,
            synchronised,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(h in header(), rows in prop::collection::vec(any_row(), 0..200)) {
        let frame = Frame { header: h, body: Body::Samples(rows) };
        let bytes = frame.encode();
        prop_assert_eq!(Frame::peek(&bytes).unwrap(), h);
        prop_assert_eq!(&Frame::decode(&bytes).unwrap(), &frame);
        let first = Frame::as_first(&bytes).unwrap();
        prop_assert_eq!((first[0], &first), (VERSION, &frame.encode_first()));
        prop_assert_eq!(Frame::peek(&first).unwrap(), h);
        prop_assert_eq!(&Frame::decode(&first).unwrap(), &frame);
        prop_assert!(Frame::as_first(&first).is_none());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Frame::decode(&bytes);
        let _ = Frame::as_first(&bytes);
        let _ = decode_samples(&bytes);
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_a_frame_but_never_a_panic(
        h in header(),
        rows in prop::collection::vec(any_row(), 0..50),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Frame { header: h, body: Body::Samples(rows) }.encode();
        let i = at.index(bytes.len());
        bytes[i] ^= 1 << bit;
        let _ = Frame::decode(&bytes);
        let n = cut.index(bytes.len());
        prop_assert!(Frame::decode(&bytes[..n]).is_err());
    }
}

#[test]
fn the_other_kinds_are_read_back() {
    let header = FrameHeader {
        schema: SchemaHash([1; 16]),
        incarnation: Incarnation(2),
        seq: 3,
        cut_us: 4,
        cut_mono_us: 5,
        synchronised: true,
    };
    let entry = LogEntry {
        at_us: 1,
        actor: "system".into(),
        action: "device.offline".into(),
        target: "plc".into(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: "connection refused".into(),
    };
    let gap = Gap {
        incarnation: Some(Incarnation(9)),
        seqs: Some((1, 5)),
        samples: 7,
        ..Gap::new(GapCause::Quota)
    };
    for body in [Body::Event(entry.clone()), Body::Audit(entry), Body::Gap(gap)] {
        let frame = Frame { header, body };
        assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
    }
}

#[test]
fn a_version_or_kind_from_the_future_is_refused() {
    let frame = Frame {
        header: FrameHeader {
            schema: SchemaHash([0; 16]),
            incarnation: Incarnation(0),
            seq: 1,
            cut_us: 0,
            cut_mono_us: 0,
            synchronised: false,
        },
        body: Body::Samples(vec![]),
    };
    let mut bytes = frame.encode();
    bytes[0] = 3;
    assert_eq!(Frame::decode(&bytes), Err(DecodeError::Version { version: 3 }));
    bytes[0] = 1;
    bytes[1] = 99;
    assert_eq!(Frame::decode(&bytes), Err(DecodeError::Kind { what: "frame", kind: 99 }));
}

#[test]
fn a_claimed_size_never_makes_a_large_allocation() {
    // count = 2^63: refused before anything is reserved
    let mut bytes = vec![];
    crate::bytes::put_varint(&mut bytes, 1 << 63);
    assert!(matches!(decode_samples(&bytes), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn an_alarm_is_an_event_to_those_who_do_not_know_alarms() {
    use crate::alarm::*;
    let twin = crate::TwinId(uuid::Uuid::from_u128(7));
    let alarm = AlarmView {
        id: AlarmId::derived(twin, "level", "hi"),
        twin,
        asset: "p/tank".into(),
        point: "level".into(),
        name: "hi".into(),
        kind: AlarmKind::Hi,
        priority: Priority::High,
        text: "tank full".into(),
        group: String::new(),
        state: AlarmState::Active,
        change: AlarmChange::Raised,
        raised_us: Some(5),
        at_us: 5,
        shelved_until_us: None,
        shelved_once: false,
        value: Some(Value::F64(91.5)),
        quality: Quality::GOOD,
        limit: Some(90.0),
        unit: "%".into(),
        actor: "system".into(),
        comment: String::new(),
    };
    let header = FrameHeader {
        schema: SchemaHash([1; 16]),
        incarnation: Incarnation(2),
        seq: 3,
        cut_us: 4,
        cut_mono_us: 5,
        synchronised: true,
    };
    let frame = Frame { header, body: Body::Alarm(Box::new(alarm.clone())) };
    assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
    // What a program without alarms reads from the same content.
    let json = json(&EventJson { entry: alarm.entry(), alarm: Some(Box::new(alarm)) });
    let entry: LogEntry = serde_json::from_slice(&json).unwrap();
    assert_eq!((entry.action.as_str(), entry.severity), ("alarm.raised", Severity::Alarm));
    assert_eq!((entry.target.as_str(), entry.detail.as_str()), ("p/tank/level", "tank full: 91.5 %"));
    let event = Frame { header, body: Body::Event(entry) };
    assert_eq!(Frame::decode(&event.encode()).unwrap(), event);
}
