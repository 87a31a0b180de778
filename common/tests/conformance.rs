//! Conformance vectors of the protocol: kept frames of every version and kind, a batch, and messages of every kind, each
//! with what it holds. They are never changed and always read. What can be written in one way only is also written so;
//! where finding a short form is the writer's own affair (columns, LZ4), what it writes must hold the same and be no longer.
#![allow(clippy::expect_used, clippy::panic)] // a failed helper fails its test

mod kept;
#[path = "kept/written.rs"]
mod written;

use common::alarm::{AlarmAct, AlarmChange, AlarmId, AlarmKind, AlarmOrder, AlarmState, AlarmView, Priority};
use common::api::{
    Accepts, BufferHealth, ConfigurationReport, DeviceHealth, DocumentRef, DocumentState, Enrolled,
    GatewayHealth, SwitchPosition, UpdateOffer, UpdateReport, UpdateState,
};
use common::command::{
    CommandId, CommandOrder, CommandState, CommandUpdate, DesiredOrder, DesiredState, DesiredUpdate,
    LogEntry, Origin, Requester, Severity,
};
use common::names::Code;
use common::supervise::{PartState, PartStatus};
use common::wire::{
    Ack, Batch, Body, ConfigurationPart, Credit, Down, Frame, FrameHeader, Gap, GapCause, Heartbeat, Hello,
    HelloAck, Identity, Known, Piece, PieceRequest, Refusal, SchemaPart, SetAside, Snapshot, StreamRange, Up,
};
use common::{BoxId, Incarnation, Quality, Sample, SchemaHash, TenantId, TwinId, Value};
use kept::frames::{T0, header, odd, regular, waves};
use kept::kept;
use uuid::Uuid;
use written::is_kept;

fn gap() -> Frame {
    let gap = Gap { times_us: Some((T0, T0 + 5)), samples: 12, ..Gap::new(GapCause::DiskFull) };
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

fn twin() -> TwinId {
    TwinId("0191f7a0-1111-7222-8333-444455556666".parse().expect("a uuid"))
}

fn command_id() -> CommandId {
    "0191f7a0-aaaa-7bbb-8ccc-ddddeeee0001".parse().expect("a uuid")
}

fn requester() -> Requester {
    Requester { name: "key:ci".into(), origin: Origin::Cloud }
}

fn alarm() -> Frame {
    let alarm = AlarmView {
        id: AlarmId::derived(twin(), "temp", "hot"),
        twin: twin(),
        asset: "plant/hall/oven".into(),
        point: "temp".into(),
        name: "hot".into(),
        kind: AlarmKind::HiHi,
        priority: Priority::Urgent,
        text: "too hot".into(),
        group: "ovens".into(),
        state: AlarmState::Acknowledged,
        change: AlarmChange::Acknowledged,
        raised_us: Some(T0),
        at_us: T0 + 9,
        shelved_until_us: Some(T0 + 1_000_000),
        shelved_once: true,
        value: Some(Value::F64(812.5)),
        quality: Quality::GOOD,
        limit: Some(800.0),
        unit: "°C".into(),
        actor: "mia".into(),
        comment: "on it".into(),
    };
    Frame { header: header(45), body: Body::Alarm(Box::new(alarm)) }
}

fn command() -> Frame {
    let update = CommandUpdate {
        id: command_id(),
        twin: twin(),
        point: "setpoint".into(),
        value: Value::F64(-0.5),
        requester: requester(),
        reason: "batch 7".into(),
        state: CommandState::Failed,
        code: Some(Code::OutOfLimits),
        detail: "no answer".into(),
        read_back: Some(Value::Bool(false)),
        at_us: T0,
    };
    Frame { header: header(46), body: Body::Command(update) }
}

fn audit() -> Frame {
    let Body::Event(entry) = event().body else { unreachable!() };
    let twin = Some(twin());
    let code = Some(Code::Forbidden);
    Frame { header: header(47), body: Body::Audit(LogEntry { twin, code, detail: "no".into(), ..entry }) }
}

fn desired() -> Frame {
    let update = DesiredUpdate {
        twin: twin(),
        version: 12,
        point: "setpoint".into(),
        state: DesiredState::Diverged,
        code: Some(Code::Conflict),
        detail: "changed at the device".into(),
        at_us: T0,
    };
    Frame { header: header(48), body: Body::Desired(update) }
}

#[test]
fn frames_of_version_1_are_read_and_written_as_ever() {
    for (name, frame) in [
        ("frame-1-gap.hex", gap()),
        ("frame-1-command.hex", command()),
        ("frame-1-audit.hex", audit()),
        ("frame-1-desired.hex", desired()),
        ("frame-1-alarm.hex", alarm()),
        ("frame-1-event-lz4.hex", event()),
        ("frame-1-samples-odd.hex", odd()),
        ("frame-1-samples-regular.hex", regular()),
    ] {
        // Flags: LZ4, which may pack in more than one way.
        let (kept_bytes, bytes) = (kept(name), frame.encode_first());
        if kept_bytes[2] & 2 == 0 {
            is_kept(name, &bytes);
        }
        assert_eq!(Frame::decode(&kept_bytes).expect(name), frame, "{name}");
        assert_eq!(Frame::decode(&bytes).expect(name), frame, "{name}");
        assert!(bytes.len() <= kept_bytes.len(), "{name}: {} > {}", bytes.len(), kept_bytes.len());
    }
}

#[test]
fn waveforms_are_read_and_what_is_written_holds_the_same() {
    for (name, wave) in waves() {
        let frame = Frame { header: header(48), body: Body::Waveform(Box::new(wave)) };
        let (kept, bytes) = (kept(name), frame.encode());
        assert_eq!(Frame::decode(&kept).expect(name), frame, "{name}");
        assert_eq!(Frame::decode(&bytes).expect(name), frame, "{name}");
        assert!(bytes.len() <= kept.len(), "{name}: {} > {}", bytes.len(), kept.len());
    }
}

#[test]
fn frames_of_version_2_are_read_and_what_is_written_holds_the_same() {
    for (name, frame) in [("frame-2-samples-odd.hex", odd()), ("frame-2-samples-regular.hex", regular())] {
        let (kept, bytes) = (kept(name), frame.encode());
        assert_eq!(Frame::decode(&kept).expect(name), frame, "{name}");
        assert_eq!(Frame::decode(&bytes).expect(name), frame, "{name}");
        assert!(bytes.len() <= kept.len(), "{name}: {} > {}", bytes.len(), kept.len());
        let first = Frame::as_first(&kept).expect(name);
        assert_eq!((first[0], Frame::decode(&first).expect(name)), (1, frame), "{name}");
    }
}

#[test]
fn batches_are_read_and_what_is_written_holds_the_same() {
    let frames = batch();
    let mut batch = Batch::default();
    frames.iter().for_each(|f| batch.push(f.clone()).expect("room"));
    let message = Up::Batch(batch.encode().expect("bytes")).encode();
    let kept = kept("up-7-batch.hex");
    assert!(message.len() <= kept.len(), "{} > {}", message.len(), kept.len());
    for bytes in [kept, message] {
        let Up::Batch(bytes) = Up::decode(&bytes).expect("a message") else { panic!("a batch") };
        assert_eq!(Batch::decode(&bytes).expect("a batch"), frames);
    }
}

fn health() -> GatewayHealth {
    GatewayHealth {
        version: "0.1.0".into(),
        uptime_ms: 86_400_000,
        clock_synchronised: true,
        switch: SwitchPosition::Remote,
        uplink: true,
        link: None,
        buffer: BufferHealth {
            unacked_frames: 3,
            oldest_unacked_ms: 40,
            disk_bytes: 1 << 20,
            quota_bytes: 1 << 30,
            last_seq: 44,
            durable_seq: 43,
            incarnation: header(1).incarnation.to_string(),
            fault: Some("disk full".into()),
        },
        dropped: [("bus:overrun".to_owned(), 2)].into(),
        devices: vec![DeviceHealth {
            name: "plc".into(),
            protocol: "modbus".into(),
            connected: false,
            since_us: T0,
            good: 100,
            bad: 1,
            last_error: Some("timeout".into()),
            poll: None,
        }],
        parts: vec![PartStatus {
            name: "modbus:plc".into(),
            state: PartState::Restarting,
            restarts: 1,
            last_error: Some("timeout".into()),
            since_us: T0,
        }],
        left_out: 4,
        uplink_error: None,
    }
}

fn known() -> Vec<Known> {
    vec![Known { incarnation: header(1).incarnation, seqs: vec![(1, 40), (43, 43)].into() }]
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
            let gap = Gap { incarnation, seqs: Some((3, 9)), ..Gap::new(cause) };
            Frame { header: header(45), body: Body::Gap(gap) }
        };
        is_kept(name, &with(cause).encode());
        assert_eq!(Frame::decode(&kept(name)).expect(name), with(cause), "{name}");
        let older = Frame::with_first_cause(&kept(name));
        assert_eq!(older, (cause != first).then(|| with(first).encode()), "{name}");
    }
    assert!(Frame::with_first_cause(&kept("frame-1-event-lz4.hex")).is_none());
}

/// A hello of a gateway that tells which box it is.
#[test]
fn the_gateway_s_hello_is_read_with_an_identity() {
    let identity = Identity {
        box_id: BoxId(Uuid::from_u128(0x9a1c_7f40_58f1_4d5e_8a8e_0d6f_3c1b_2a10)),
        machine: Some("5e".repeat(16)),
        line: vec![Incarnation(1), Incarnation(2)],
        answered: Some(Incarnation(2)),
        store: Some(Uuid::from_u128(0x0192_d5a0_7d3e_4c11_8f43_6a1c_3a0f_9b01)),
        attempt: 4,
        acked: vec![Known { incarnation: Incarnation(2), seqs: vec![(1, 7)].into() }],
    };
    let hello = Up::Hello(Box::new(Hello {
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
        heartbeat_ms: None,
        identity: Some(Box::new(identity)),
    }));
    is_kept("up-1-hello-identity.hex", &hello.encode());
    assert_eq!(Up::decode(&kept("up-1-hello-identity.hex")).expect("a message"), hello);
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
        ("down-8-set-aside.hex", set(vec![known], false)),
        ("down-8-set-aside-apart.hex", set(vec![], true)),
    ] {
        is_kept(name, &message.encode());
        assert_eq!(Down::decode(&kept(name)).expect(name), message, "{name}");
    }
}

#[test]
fn configuration_documents_are_read_and_written_as_ever() {
    let document = |version| Some(DocumentRef { version, hash: "5e".repeat(32) });
    let refused = ConfigurationReport {
        accepts: Accepts::Read,
        judged: document(8),
        state: DocumentState::Refused,
        reason: "document.toml:3:1: device: läuft nicht".into(),
        running: document(7),
        local: "ab".repeat(32),
        settled: Some("cd".repeat(32)),
        changed: true,
        at_us: T0,
    };
    let off = ConfigurationReport { local: "ab".repeat(32), at_us: T0, ..ConfigurationReport::default() };
    for (name, report) in [("up-11-configuration.hex", refused), ("up-11-configuration-off.hex", off)] {
        let message = Up::Configuration(Box::new(report));
        is_kept(name, &message.encode());
        assert_eq!(Up::decode(&kept(name)).expect(name), message, "{name}");
    }
    let bytes = b"{\"version\":8}".to_vec();
    let part = Down::Configuration(ConfigurationPart { version: 8, index: 1, count: 2, bytes });
    is_kept("down-11-configuration.hex", &part.encode());
    assert_eq!(Down::decode(&kept("down-11-configuration.hex")).expect("a message"), part);
}

#[test]
fn updates_are_read_and_written_as_ever() {
    let offer = UpdateOffer {
        rollout: 3,
        version: "1.4.0".into(),
        arch: "arm64".into(),
        bytes: 7_900_000,
        sha256: "5e".repeat(32),
    };
    let gave_way = UpdateReport {
        accepts: true,
        why: String::new(),
        version: "1.3.0".into(),
        arch: "arm64".into(),
        offer: Some(offer.clone()),
        state: UpdateState::GaveWay,
        received: 0,
        reason: "it was not ready within 180 s: läuft nicht".into(),
        at_us: T0,
    };
    let off = UpdateReport {
        why: "off".into(),
        version: "1.3.0".into(),
        arch: "armhf".into(),
        ..UpdateReport::default()
    };
    let piece = PieceRequest { sha256: [0x5e; 32], offset: 1 << 20, bytes: 65_536 };
    for (name, message) in [
        ("up-12-update.hex", Up::Update(Box::new(gave_way))),
        ("up-12-update-off.hex", Up::Update(Box::new(off))),
        ("up-13-piece.hex", Up::Piece(piece)),
    ] {
        is_kept(name, &message.encode());
        assert_eq!(Up::decode(&kept(name)).expect(name), message, "{name}");
    }
    for (name, message) in [
        ("down-12-offer.hex", Down::Offer(Some(offer))),
        ("down-12-offer-none.hex", Down::Offer(None)),
        (
            "down-13-piece.hex",
            Down::Piece(Piece { sha256: [0x5e; 32], offset: 1 << 20, bytes: b"bytes".to_vec() }),
        ),
    ] {
        is_kept(name, &message.encode());
        assert_eq!(Down::decode(&kept(name)).expect(name), message, "{name}");
    }
}

#[test]
fn messages_up_are_read_and_written_as_ever() {
    let header = header(44);
    let hello = Hello {
        tenant: "acme".parse().expect("a name"),
        gateway: "box1".parse().expect("a name"),
        version: "0.1.0".into(),
        incarnation: header.incarnation,
        streams: vec![StreamRange { incarnation: header.incarnation, first: 41, last: 44 }],
        schema: header.schema,
        schemas: vec![header.schema, SchemaHash([1; 16])],
        session_us: 77_000_000,
        remote: true,
        features: vec!["alarms".into()],
        heartbeat_ms: None,
        identity: None,
    };
    let older = Hello { features: Vec::new(), ..hello.clone() };
    let part = SchemaPart { hash: header.schema, index: 1, count: 3, bytes: b"{\"a\":1}".to_vec() };
    let Body::Samples(rows) = odd().body else { unreachable!() };
    let (schema, incarnation, seq) = (header.schema, header.incarnation, header.seq);
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
    for (name, message) in [
        ("up-1-hello.hex", Up::Hello(Box::new(older))),
        ("up-1-hello-features.hex", Up::Hello(Box::new(hello))),
        ("up-2-schema.hex", Up::Schema(part)),
        ("up-3-snapshot.hex", Up::Snapshot(Snapshot { schema, incarnation, seq, rows })),
        ("up-4-frame.hex", Up::Frame(gap().encode())),
        ("up-5-heartbeat.hex", Up::Heartbeat(Box::new(Heartbeat { session_us: 9, health: health() }))),
        ("up-6-renewed.hex", Up::Renewed(schema)),
        ("up-9-renewal.hex", Up::Renewal(request.as_bytes().to_vec())),
    ] {
        is_kept(name, &message.encode());
        assert_eq!(Up::decode(&kept(name)).expect(name), message, "{name}");
    }
}

#[test]
fn messages_down_are_read_and_written_as_ever() {
    // Of a cloud before it had features, and of one that has.
    let hello = |features: &[&str]| {
        let features = features.iter().map(|f| (*f).to_owned()).collect();
        Down::HelloAck(HelloAck { session: 9, features, ..HelloAck::default() })
    };
    let some = HelloAck {
        session: 10,
        known: known(),
        want_schemas: vec![SchemaHash([1; 16])],
        features: vec!["batch".into()],
        ..HelloAck::default()
    };
    let order = CommandOrder {
        id: command_id(),
        twin: twin(),
        point: "setpoint".into(),
        value: Value::U64(u64::MAX),
        requester: requester(),
        reason: "batch 7".into(),
        deadline_session_us: 78_000_000,
    };
    let desired = |value| DesiredOrder {
        twin: twin(),
        version: 12,
        point: "mode".into(),
        value,
        requester: Requester { name: "mia".into(), origin: Origin::Desired },
        reason: String::new(),
        set_us: T0,
        deadline_session_us: 78_000_000,
    };
    let alarm = |act| {
        let id = AlarmId::derived(twin(), "temp", "hot");
        let order = AlarmOrder { id, twin: twin(), act, requester: requester(), comment: "on it".into() };
        Down::Alarm(Box::new(order))
    };
    let renew =
        HelloAck { session: 9, features: vec!["certificates".into()], renew: true, ..HelloAck::default() };
    let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let enrolled = Enrolled {
        tenant: TenantId::default(),
        gateway: "line1-box".parse().expect("a name"),
        url: "mqtts://cloud.example:8883".into(),
        certificate: certificate.into(),
        trust: Some(certificate.into()),
    };
    let refusal = Refusal { code: Code::Unavailable, detail: "storage is not available now".into() };
    for (name, message) in [
        ("down-1-hello-ack.hex", hello(&[])),
        ("down-1-hello-ack-features.hex", hello(&["columns", "batch"])),
        ("down-1-hello-ack-known.hex", Down::HelloAck(some)),
        ("down-2-refusal.hex", Down::Refusal(refusal)),
        ("down-3-ack.hex", Down::Ack(Ack { acked: known() })),
        ("down-4-command.hex", Down::Command(Box::new(order))),
        (
            "down-5-desired.hex",
            Down::Desired(vec![desired(Some(Value::Text("läuft".into()))), desired(None)]),
        ),
        ("down-1-hello-ack-renew.hex", Down::HelloAck(renew)),
        ("down-10-certificate.hex", Down::Certificate(Box::new(enrolled))),
        ("down-6-alarm.hex", alarm(AlarmAct::Acknowledge { raised_us: T0 })),
        ("down-6-alarm-shelve.hex", alarm(AlarmAct::Shelve { duration_ms: 60_000 })),
    ] {
        is_kept(name, &message.encode());
        assert_eq!(Down::decode(&kept(name)).expect(name), message, "{name}");
    }
}

#[test]
fn the_cloud_s_credit_is_read_and_written_as_ever() {
    for (name, backlog_bytes) in [("down-7-credit.hex", 262_144), ("down-7-credit-none.hex", 0)] {
        let credit = Down::Credit(Credit { backlog_bytes });
        is_kept(name, &credit.encode());
        assert_eq!(Down::decode(&kept(name)).expect(name), credit, "{name}");
    }
}
