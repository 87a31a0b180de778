//! The ingress on real sockets: who may come in, what they may say, and when they are acknowledged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

mod rig;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cloud_core::Downlink;
use common::command::{CommandOrder, DesiredOrder, Origin, Requester};
use common::names::Code;
use common::wire::{
    Ack, Batch, Body, Down, FEATURE_BATCH, FEATURE_COLUMNS, Frame, Heartbeat, Known, Snapshot, StreamRange,
    Up, split_schema,
};
use common::{CommandId, Incarnation, IntervalSet, TwinId};
use proptest::prelude::*;
use rig::*;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, LastWill, Packet, Publish, SubscribeReasonCode};

fn seqs(ack: &Ack) -> Vec<u64> {
    ack.acked.iter().flat_map(|k| k.seqs.iter()).flat_map(|(a, b)| a..=b).collect()
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_gateway_and_no_name_are_refused_with_the_standards_codes() {
    let rig = Rig::new().await;
    let try_with = async |gateway: &str, secret: &str| {
        Client::open(rig.addr).await.connect(gateway, secret, |_| {}).await
    };
    assert_eq!(try_with("g1", "wrong").await, ConnectReturnCode::NotAuthorized);
    assert_eq!(try_with("g9", SECRET).await, ConnectReturnCode::NotAuthorized);
    assert_eq!(try_with("#", SECRET).await, ConnectReturnCode::BadUserNamePassword);
    let mut c = Client::open(rig.addr).await;
    assert_eq!(c.connect("g1", SECRET, |c| c.login = None).await, ConnectReturnCode::BadUserNamePassword);
    assert_eq!(c.recv().await, None, "closed after it");
    assert_eq!(rig.metrics.refused("credentials"), 4);
    assert_eq!(try_with("g1", SECRET).await, ConnectReturnCode::Success);
}

#[tokio::test]
async fn a_will_and_another_version_are_refused_at_the_door() {
    let rig = Rig::new().await;
    let mut c = Client::open(rig.addr).await;
    let will = |c: &mut rumqttc::mqttbytes::v4::Connect| {
        c.last_will = Some(LastWill::new("twinway/v1/default/g2/down", "x", QoS::AtLeastOnce, true));
    };
    assert_eq!(c.connect("g1", SECRET, will).await, ConnectReturnCode::NotAuthorized);
    assert_eq!(c.recv().await, None);
    let mut c = Client::open(rig.addr).await;
    // CONNECT of MQTT 3.1.1 but for its level, 3.
    c.bytes(b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x0a\x00\x01c").await;
    let Some(Packet::ConnAck(ack)) = c.recv().await else { panic!() };
    assert_eq!(ack.code, ConnectReturnCode::RefusedProtocolVersion);
    assert_eq!(c.recv().await, None);
}

#[tokio::test]
async fn a_session_hears_its_own_topic_only() {
    let rig = Rig::new().await;
    let mut c = rig.sign_in("g1").await;
    for foreign in
        ["#", "+/v1/default/g1/down", "twinway/v1/default/g2/down", "twinway/v1/default/g1/up", "$SYS/#"]
    {
        assert_eq!(c.subscribe(foreign).await, SubscribeReasonCode::Failure, "{foreign}");
    }
    assert_eq!(rig.metrics.refused("subscribe"), 5);
    let own = c.subscribe("twinway/v1/default/g1/down").await;
    assert_eq!(own, SubscribeReasonCode::Success(QoS::AtMostOnce), "the session lives on");
}

#[tokio::test]
async fn publishing_elsewhere_or_as_it_must_not_be_ends_the_session() {
    let rig = Rig::new().await;
    for topic in ["twinway/v1/default/g2/up", "twinway/v1/default/g1/down", "x"] {
        let mut c = rig.sign_in("g1").await;
        c.publish(topic, vec![1]).await;
        assert_eq!(c.end().await, Some(Code::Forbidden), "{topic}");
    }
    assert_eq!(rig.metrics.refused("topic"), 3);
    for (cause, qos, retain) in [("qos2", QoS::ExactlyOnce, false), ("retain", QoS::AtLeastOnce, true)] {
        let mut c = rig.sign_in("g1").await;
        let mut publish = Publish::new("twinway/v1/default/g1/up", qos, vec![1]);
        (publish.pkid, publish.retain) = (1, retain);
        c.send(Packet::Publish(publish)).await;
        assert_eq!(c.end().await, Some(Code::Forbidden), "{cause}");
        assert_eq!(rig.metrics.refused(cause), 1);
    }
}

#[tokio::test]
async fn nothing_is_taken_before_the_hello() {
    let rig = Rig::new().await;
    let beat = Up::Heartbeat(Box::new(Heartbeat { session_us: 1, health: health() }));
    let part = split_schema(schema("g1").hash(), &schema("g1").to_json()).remove(0);
    for (i, early) in [Up::Frame(frame("g1", 1, 1)), beat, Up::Schema(part)].into_iter().enumerate() {
        let mut c = rig.sign_in("g1").await;
        c.say(&early).await;
        assert_eq!(c.end().await, Some(Code::Conflict), "{early:?}");
        assert_eq!(rig.metrics.refused("not_ready"), i as u64 + 1);
    }
    assert_eq!(rig.store.commits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_hello_for_somebody_else_is_refused() {
    let rig = Rig::new().await;
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Hello(Box::new(hello("g2", 1)))).await;
    assert_eq!(c.end().await, Some(Code::Forbidden));
    assert_eq!(rig.metrics.refused("hello"), 1);
}

#[tokio::test]
async fn schemas_that_are_unknown_are_asked_for_and_known_ones_are_not() {
    let rig = Rig::new().await;
    let mut c = rig.sign_in("g1").await;
    let ack = c.agree("g1", 1).await;
    assert_eq!(ack.want_schemas, [schema("g1").hash()]);
    assert_eq!(*rig.notes.schemas.lock().unwrap(), [(schema("g1").hash(), 1, true)]);
    assert_eq!(rig.notes.started.load(Ordering::SeqCst), 1);
    let mut c = rig.sign_in("g1").await;
    let ack2 = c.agree("g1", 2).await;
    assert!(ack2.want_schemas.is_empty() && ack2.session > ack.session);
    assert_eq!(
        rig.store.schemas.lock().unwrap().last(),
        Some(&(schema("g1").hash(), 2)),
        "bound by the new rank"
    );
    until("started", || rig.notes.started.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn an_older_schema_is_taken_as_such_and_ranks_below_all() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    let mut old = schema("g1");
    old.devices[0].points[0].unit = "K".into();
    let mut again = hello("g1", 2);
    again.streams = vec![StreamRange { incarnation: Incarnation(1), first: 1, last: 9 }];
    again.schemas.push(old.hash());
    c.say(&Up::Hello(Box::new(again))).await;
    let Down::HelloAck(ack) = c.down().await else { panic!() };
    assert_eq!(ack.want_schemas, [old.hash()]);
    for part in split_schema(old.hash(), &old.to_json()) {
        c.say(&Up::Schema(part)).await;
        c.puback().await;
    }
    let notes = rig.notes.schemas.lock().unwrap().clone();
    let new = schema("g1").hash();
    assert_eq!(notes[1..], [(new, 2, true), (old.hash(), 0, false)]);
}

#[tokio::test]
async fn a_schema_that_is_not_what_its_hash_says_is_refused() {
    let rig = Rig::new().await;
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Hello(Box::new(hello("g1", 1)))).await;
    c.down().await;
    c.say(&Up::Schema(split_schema(schema("g1").hash(), b"{}").remove(0))).await;
    assert_eq!(c.end().await, Some(Code::InvalidRequest));
    assert!(rig.store.schemas.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_frame_is_acknowledged_only_when_it_is_durable() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    rig.store.open.send_replace(false);
    let pkid = c.say(&Up::Frame(frame("g1", 1, 1))).await;
    // Its answer comes after the frame's would have.
    c.send(Packet::PingReq).await;
    assert_eq!(c.recv().await, Some(Packet::PingResp));
    assert!(rig.notes.frames.lock().unwrap().is_empty(), "nor do twins see it before");
    rig.store.open.send_replace(true);
    assert_eq!(c.puback().await, pkid);
    let Down::Ack(ack) = c.down().await else { panic!() };
    let seqs = IntervalSet::from(vec![(1, 1)]);
    assert_eq!(ack.acked, [Known { incarnation: Incarnation(1), seqs }]);
    assert_eq!(rig.notes.frames.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn frames_of_a_batch_are_stored_and_acknowledged_each_by_its_name() {
    let rig = Rig::new().await;
    let mut c = rig.sign_in("g1").await;
    let features = c.agree("g1", 1).await.features;
    assert!(features.contains(&FEATURE_BATCH.to_owned()) && features.contains(&FEATURE_COLUMNS.to_owned()));
    let frames: Vec<_> = (3..=40).map(|seq| Frame::decode(&frame("g1", 1, seq)).unwrap()).collect();
    let mut batch = Batch::default();
    frames.iter().for_each(|f| batch.push(f.clone()).unwrap());
    let message = Up::Batch(batch.encode().unwrap());
    // One of them is there already, and all of them come twice.
    c.say(&Up::Frame(frame("g1", 1, 5))).await;
    assert!(matches!(c.down().await, Down::Ack(_)));
    for _ in 0..2 {
        let pkid = c.say(&message).await;
        let mut got = Vec::new();
        let mut answered = false;
        while got.len() < frames.len() || !answered {
            match c.recv().await.expect("a packet") {
                Packet::PubAck(ack) => answered |= ack.pkid == pkid,
                Packet::Publish(p) => {
                    let Ok(Down::Ack(ack)) = Down::decode(&p.payload) else { panic!("an ack") };
                    got.extend(seqs(&ack));
                }
                _ => {}
            }
        }
        assert_eq!(got, (3..=40).collect::<Vec<_>>());
    }
    let mut stored: Vec<_> = rig.notes.frames.lock().unwrap().iter().map(|n| (*n.frame).clone()).collect();
    stored.sort_by_key(|f| f.header.seq);
    assert_eq!(stored, frames);
    let bytes: Vec<_> = rig.notes.frames.lock().unwrap().iter().map(|n| n.bytes.to_vec()).collect();
    assert!(bytes.contains(&frame("g1", 1, 40)), "each has the bytes that it has by itself");
}

#[tokio::test]
async fn frames_that_wait_go_in_one_commit_and_one_ack() {
    let rig = Rig::new().await;
    let (mut a, mut b) = (rig.agreed("g1", 1).await, rig.agreed("g2", 2).await);
    rig.store.open.send_replace(false);
    for seq in 1..=50 {
        a.say(&Up::Frame(frame("g1", 1, seq))).await;
        b.say(&Up::Frame(frame("g2", 2, seq))).await;
    }
    for c in [&mut a, &mut b] {
        c.send(Packet::PingReq).await;
        assert_eq!(c.recv().await, Some(Packet::PingResp));
    }
    rig.store.open.send_replace(true);
    for c in [&mut a, &mut b] {
        let mut got = Vec::new();
        while got.len() < 50 {
            let Down::Ack(ack) = c.down().await else { panic!() };
            got.extend(seqs(&ack));
        }
        assert_eq!(got, (1..=50).collect::<Vec<_>>());
    }
    assert!(rig.store.commits.load(Ordering::SeqCst) <= 3, "{:?}", rig.store.commits);
}

#[tokio::test]
async fn a_frame_sent_twice_is_acknowledged_twice_and_seen_once() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    for _ in 0..2 {
        c.say(&Up::Frame(frame("g1", 1, 7))).await;
        let Down::Ack(ack) = c.down().await else { panic!() };
        assert_eq!(seqs(&ack), [7]);
    }
    drop(c);
    let mut c = rig.sign_in("g1").await;
    let known = c.agree("g1", 1).await.known;
    assert!(known[0].seqs.contains(7), "the next hello says so as well");
    c.say(&Up::Frame(frame("g1", 1, 7))).await;
    c.down().await;
    assert_eq!(rig.notes.frames.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn one_failed_commit_is_tried_again_and_a_second_failure_ends_the_session_without_an_ack() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    rig.store.failing.store(1, Ordering::SeqCst);
    c.say(&Up::Frame(frame("g1", 1, 1))).await;
    assert!(matches!(c.down().await, Down::Ack(_)));
    rig.store.failing.store(2, Ordering::SeqCst);
    let pkid = c.say(&Up::Frame(frame("g1", 1, 2))).await;
    let mut code = None;
    while let Some(packet) = c.recv().await {
        match packet {
            Packet::PubAck(ack) => assert_ne!(ack.pkid, pkid),
            Packet::Publish(p) => match Down::decode(&p.payload).unwrap() {
                Down::Refusal(refusal) => code = Some(refusal.code),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(code, Some(Code::Unavailable));
    assert_eq!(rig.metrics.refused("storage"), 1);
    let mut c = rig.sign_in("g1").await;
    assert!(!c.agree("g1", 1).await.known[0].seqs.contains(2));
}

#[tokio::test]
async fn what_the_session_did_not_agree_on_is_refused() {
    let rig = Rig::new().await;
    let mut wrong = Frame::decode(&frame("g1", 1, 1)).unwrap();
    wrong.header.schema = common::SchemaHash([3; 16]);
    let snapshot =
        Snapshot { schema: wrong.header.schema, incarnation: Incarnation(1), seq: 1, rows: vec![] };
    let cases = [
        ("incarnation", Up::Frame(frame("g1", 2, 1))),
        ("schema", Up::Frame(wrong.encode())),
        // Of a program that does not know how to send them apart.
        ("frame", Up::Batch(vec![1, 2, 3])),
        ("frame", Up::Batch(vec![])),
        ("schema", Up::Snapshot(snapshot)),
    ];
    for (cause, message) in cases {
        let before = rig.metrics.refused(cause);
        let mut c = rig.agreed("g1", 1).await;
        c.say(&message).await;
        assert_eq!(c.end().await, Some(Code::InvalidRequest), "{message:?}");
        assert_eq!(rig.metrics.refused(cause), before + 1, "{message:?}");
    }
    let mut c = rig.agreed("g1", 1).await;
    c.publish("twinway/v1/default/g1/up", vec![1, 77, 3]).await;
    assert_eq!(c.end().await, Some(Code::InvalidRequest));
    assert_eq!(rig.metrics.refused("message"), 1);
    assert_eq!(rig.store.commits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_snapshot_goes_to_the_twins_with_its_rank() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    let schema = schema("g1").hash();
    let snapshot = Snapshot { schema, incarnation: Incarnation(1), seq: 3, rows: vec![row(1.0)] };
    c.say(&Up::Snapshot(snapshot.clone())).await;
    c.puback().await;
    assert_eq!(*rig.notes.snapshots.lock().unwrap(), [(key("g1"), 1, snapshot)]);
}

#[tokio::test]
async fn the_same_gateway_again_takes_over_and_the_audit_says_so() {
    let rig = Rig::new().await;
    let mut first = rig.agreed("g1", 1).await;
    let mut second = rig.agreed("g1", 2).await;
    assert_eq!(first.end().await, Some(Code::Conflict));
    assert_eq!(rig.store.audit.lock().unwrap()[0].action, "gateway.taken_over");
    assert_eq!(rig.notes.events.lock().unwrap().len(), 1);
    second.say(&Up::Frame(frame("g1", 2, 1))).await;
    assert!(matches!(second.down().await, Down::Ack(_)));
    let views = rig.handle.gateways();
    assert!(views.len() == 1 && views[0].connected, "the first one's end does not disconnect the second");
}

#[tokio::test]
async fn gateways_come_tell_how_they_fare_and_go() {
    let rig = Rig::new().await;
    assert_eq!(rig.handle.session_us(&key("g1")), None);
    let mut c = rig.agreed("g1", 1).await;
    assert!(rig.handle.session_us(&key("g1")).unwrap() >= 5_000_000);
    c.say(&Up::Heartbeat(Box::new(Heartbeat { session_us: 9_000_000, health: health() }))).await;
    c.puback().await;
    let view = rig.handle.gateways().remove(0);
    assert_eq!((view.connected, view.health), (true, Some(health())));
    let told = rig.handle.session_us(&key("g1")).unwrap();
    assert!((9_000_000..9_900_000).contains(&told), "{told}");
    c.send(Packet::Disconnect).await;
    c.end().await;
    until("gone", || !rig.handle.gateways()[0].connected).await;
    assert!(!rig.notes.views.lock().unwrap().last().unwrap().connected);
    assert_eq!(rig.handle.session_us(&key("g1")), None);
}

#[tokio::test]
async fn orders_go_to_a_live_session_or_nowhere() {
    let rig = Rig::new().await;
    let requester = Requester { name: "admin".into(), origin: Origin::Cloud };
    let twin = TwinId::derived(&key("g1").tenant, &key("g1").gateway, "oven");
    let order = CommandOrder {
        id: CommandId::new(),
        twin,
        point: "t".into(),
        value: 1.0.into(),
        requester: requester.clone(),
        reason: String::new(),
        deadline_session_us: 6_000_000,
    };
    assert!(rig.handle.command(&key("g1"), order.clone()).await.is_err());
    let mut c = rig.sign_in("g1").await;
    assert!(rig.handle.command(&key("g1"), order.clone()).await.is_err(), "not before the hello");
    c.agree("g1", 1).await;
    rig.handle.command(&key("g1"), order.clone()).await.unwrap();
    assert_eq!(c.down().await, Down::Command(Box::new(order)));
    let wish = |i: u64| DesiredOrder {
        twin,
        version: i,
        point: "t".into(),
        value: None,
        requester: requester.clone(),
        reason: "r".repeat(1000),
        set_us: 0,
        deadline_session_us: 1,
    };
    rig.handle.desired(&key("g1"), (0..1000).map(wish).collect()).await.unwrap();
    let mut got = 0;
    while got < 1000 {
        let Down::Desired(some) = c.down().await else { panic!() };
        got += some.len();
    }
}

#[tokio::test]
async fn a_session_ends_when_its_credential_no_longer_holds() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    rig.handle.credential_changed(&key("g2")).await.unwrap();
    rig.handle.credential_changed(&key("g1")).await.unwrap();
    assert_eq!(c.end().await, Some(Code::Unauthenticated));
    assert_eq!(rig.metrics.refused("credentials"), 1);
}

#[tokio::test]
async fn silence_is_a_lost_link_and_heartbeats_keep_it() {
    let rig = Rig::with(|o| o.silence = Duration::from_millis(300)).await;
    let mut c = rig.agreed("g1", 1).await;
    for i in 0..8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        c.say(&Up::Heartbeat(Box::new(Heartbeat { session_us: i, health: health() }))).await;
        c.puback().await;
    }
    // The client's own pings are no word of the gateway.
    let began = tokio::time::Instant::now();
    loop {
        c.send(Packet::PingReq).await;
        match c.recv().await {
            Some(Packet::PingResp) => tokio::time::sleep(Duration::from_millis(20)).await,
            Some(other) => panic!("{other:?}"),
            None => break,
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(250));
    until("gone", || !rig.handle.gateways()[0].connected).await;
}

#[tokio::test]
async fn a_connection_that_does_not_sign_in_or_say_hello_is_closed() {
    let rig = Rig::with(|o| o.connect_timeout = Duration::from_millis(200)).await;
    assert_eq!(Client::open(rig.addr).await.recv().await, None);
    let mut c = rig.sign_in("g1").await;
    assert_eq!(c.recv().await, None);
}

#[tokio::test]
async fn too_many_connections_are_turned_away_and_counted() {
    let rig = Rig::with(|o| o.max_connections = 1).await;
    let mut first = rig.sign_in("g1").await;
    assert_eq!(Client::open(rig.addr).await.recv().await, None);
    assert_eq!(rig.metrics.refused("connections"), 1);
    first.agree("g1", 1).await;
}

#[tokio::test]
async fn a_packet_that_is_too_large_is_refused_before_it_is_read() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    c.bytes(&[0x32, 0xff, 0xff, 0xff, 0x7f]).await;
    assert_eq!(c.end().await, Some(Code::TooLarge));
    let mut c = Client::open(rig.addr).await;
    c.bytes(&[0x10, 0xff, 0xff, 0x7f]).await;
    assert_eq!(c.recv().await, None, "before sign-in a CONNECT is all there is room for");
}

#[tokio::test]
async fn draining_commits_and_acknowledges_what_was_received() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    rig.store.open.send_replace(false);
    for seq in 1..=20 {
        c.say(&Up::Frame(frame("g1", 1, seq))).await;
    }
    c.send(Packet::PingReq).await;
    assert_eq!(c.recv().await, Some(Packet::PingResp));
    rig.drain.start();
    rig.store.open.send_replace(true);
    let mut got = Vec::new();
    let mut told = None;
    while let Some(packet) = c.recv().await {
        let Packet::Publish(p) = packet else { continue };
        match Down::decode(&p.payload).unwrap() {
            Down::Ack(ack) => got.extend(seqs(&ack)),
            Down::Refusal(refusal) => told = Some(refusal.code),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, (1..=20).collect::<Vec<_>>());
    assert_eq!(told, Some(Code::Unavailable));
    rig.running.await.unwrap();
}

#[tokio::test]
async fn rumqttc_talks_to_it() {
    let rig = Rig::new().await;
    let mut options = rumqttc::MqttOptions::new("any", "127.0.0.1", rig.addr.port());
    options.set_credentials("default/g1", SECRET).set_max_packet_size(300_000, 300_000);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 16);
    client.subscribe("twinway/v1/default/g1/down", rumqttc::QoS::AtLeastOnce).await.unwrap();
    let up = "twinway/v1/default/g1/up";
    let hello = Up::Hello(Box::new(hello("g1", 1))).encode();
    client.publish(up, rumqttc::QoS::AtLeastOnce, false, hello).await.unwrap();
    let (mut acked, mut next) = (0, 1);
    let talk = async {
        while acked < 200 {
            let event = events.poll().await.unwrap();
            let rumqttc::Event::Incoming(rumqttc::Packet::Publish(p)) = event else { continue };
            match Down::decode(&p.payload).unwrap() {
                Down::HelloAck(ack) => {
                    assert_eq!(ack.want_schemas.len(), 1);
                    let s = schema("g1");
                    let part = split_schema(s.hash(), &s.to_json()).remove(0);
                    let part = Up::Schema(part).encode();
                    client.publish(up, rumqttc::QoS::AtLeastOnce, false, part).await.unwrap();
                }
                Down::Ack(ack) => acked += seqs(&ack).len(),
                other => panic!("{other:?}"),
            }
            while next <= 200 && next <= acked as u64 + 8 {
                let frame = Up::Frame(frame("g1", 1, next)).encode();
                client.publish(up, rumqttc::QoS::AtLeastOnce, false, frame).await.unwrap();
                next += 1;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), talk).await.unwrap();
    let frames = rig.notes.frames.lock().unwrap();
    assert_eq!(frames.len(), 200);
    assert!(frames.iter().all(|f| matches!(f.frame.body, Body::Samples(_)) && f.rank == 1));
}

#[tokio::test]
async fn over_tls_it_talks_to_who_trusts_it_and_a_silent_peer_holds_nobody_up() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file =
        |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(name);
    let tls = cloud_ingest::Tls { cert: file("server.crt"), key: file("server.key") };
    let rig = Rig::with(|o| o.tls = Some(tls)).await;
    let _silent = Client::open(rig.addr).await;
    let mut options = rumqttc::MqttOptions::new("any", "localhost", rig.addr.port());
    let ca = std::fs::read(file("server.crt")).unwrap();
    options.set_credentials("default/g1", SECRET).set_transport(rumqttc::Transport::tls(ca, None, None));
    let (client, mut events) = rumqttc::AsyncClient::new(options, 16);
    client.subscribe("twinway/v1/default/g1/down", rumqttc::QoS::AtLeastOnce).await.unwrap();
    let hello = Up::Hello(Box::new(hello("g1", 1))).encode();
    client.publish("twinway/v1/default/g1/up", rumqttc::QoS::AtLeastOnce, false, hello).await.unwrap();
    let answer = async {
        loop {
            if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(p)) = events.poll().await.unwrap() {
                return Down::decode(&p.payload).unwrap();
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap();
    assert!(matches!(answer, Down::HelloAck(_)));
    let mut plain = Client::open(rig.addr).await;
    plain.bytes(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01c").await;
    until("plain text refused", || rig.metrics.refused("tls") == 1).await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_told_before_anything_listens() {
    let tls = cloud_ingest::Tls { cert: "/nonexistent.crt".into(), key: "/nonexistent.key".into() };
    let mut options = cloud_ingest::Options::new("127.0.0.1:0".parse().unwrap());
    options.tls = Some(tls);
    let error = Rig::refused(options).await;
    assert!(error.to_string().contains("/nonexistent.crt"), "{error}");
}

/// Runs one of Mosquitto's clients; its exit code and what it said.
async fn mosquitto(program: &str, rig: &Rig, user: &str, secret: &str, more: &[&str]) -> (i32, String) {
    let port = rig.addr.port().to_string();
    let base = ["-h", "127.0.0.1", "-p", &port, "-V", "311", "-u", user, "-P", secret];
    let args: Vec<String> = base.iter().chain(more).map(|s| (*s).to_owned()).collect();
    let program = program.to_owned();
    let run = tokio::task::spawn_blocking(move || std::process::Command::new(program).args(args).output());
    let output = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    (output.status.code().unwrap_or(-1), said)
}

#[tokio::test]
async fn mosquittos_clients_are_held_to_their_own_topics() {
    let rig = Rig::new().await;
    let publish = ["-q", "1", "-m", "x", "-t"];
    let to = |topic| [&publish[..], &[topic]].concat();
    let own = to("twinway/v1/default/g1/up");
    let (code, said) = mosquitto("mosquitto_pub", &rig, "default/g1", "wrong", &own).await;
    assert!(code != 0 && said.to_lowercase().contains("not authori"), "{code} {said}");
    let (code, said) =
        mosquitto("mosquitto_pub", &rig, "default/g1", SECRET, &to("twinway/v1/default/g2/up")).await;
    assert!(code != 0 || rig.metrics.refused("topic") > 0, "{code} {said}");
    until("counted", || rig.metrics.refused("topic") > 0).await;
    let (_, said) = mosquitto("mosquitto_sub", &rig, "default/g1", SECRET, &["-t", "#", "-W", "2"]).await;
    assert!(said.contains("rejected") || said.contains("denied"), "{said}");
    let (code, said) = mosquitto(
        "mosquitto_sub",
        &rig,
        "default/g1",
        SECRET,
        &["-t", "twinway/v1/default/g1/down", "-W", "1"],
    )
    .await;
    assert!(code == 27 && !said.contains("rejected"), "timed out waiting, as it should: {code} {said}");
    assert_eq!(rig.store.commits.load(Ordering::SeqCst), 0);
}

#[test]
fn no_bytes_from_anybody_stop_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let rig = runtime.block_on(Rig::with(|o| o.connect_timeout = Duration::from_millis(500)));
    // `TWINWAY_FUZZ_CASES` makes a long run.
    let cases = std::env::var("TWINWAY_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(cases));
    let chunk = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        // Something that begins like a packet.
        (0..16u8, 0..16u8, prop::collection::vec(any::<u8>(), 0..120)).prop_map(|(kind, flags, body)| {
            let mut packet = vec![kind << 4 | flags, body.len() as u8];
            packet.extend(body);
            packet
        }),
        // Our own message of any kind, known or not, with any content, to the right topic.
        (0..16u8, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, body)| {
            let payload = [vec![1, kind], body].concat();
            let mut out = bytes::BytesMut::new();
            Publish::new("twinway/v1/default/g2/up", QoS::AtMostOnce, payload).write(&mut out).unwrap();
            out.to_vec()
        }),
    ];
    let sessions = (0..3u8, prop::collection::vec(chunk, 1..6));
    runner
        .run(&sessions, |(how_far, chunks)| {
            runtime.block_on(async {
                let mut c = match how_far {
                    0 => Client::open(rig.addr).await,
                    1 => rig.sign_in("g2").await,
                    _ => rig.agreed("g2", 2).await,
                };
                for chunk in chunks {
                    c.bytes(&chunk).await;
                }
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        let mut c = rig.agreed("g1", 1).await;
        c.say(&Up::Frame(frame("g1", 1, 1))).await;
        assert!(matches!(c.down().await, Down::Ack(_)));
        assert!(!rig.running.is_finished());
    });
}
