//! Two boxes with one gateway's identity, and frames that cannot be taken, on real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

mod rig;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cloud_core::Downlink;
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::{Body, Down, Frame, Hello, Known, StreamRange, Up};
use common::{Incarnation, SchemaHash};
use rig::*;
use rumqttc::mqttbytes::v4::Packet;

async fn says(rig: &Rig, hello: Hello) -> (Client, Result<Box<common::wire::HelloAck>, Code>) {
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Hello(Box::new(hello))).await;
    let answer = match c.down().await {
        Down::HelloAck(ack) => Ok(Box::new(ack)),
        Down::Refusal(refusal) => Err(refusal.code),
        other => panic!("{other:?}"),
    };
    (c, answer)
}

fn actions(rig: &Rig) -> Vec<String> {
    rig.store.audit.lock().unwrap().iter().map(|e| e.action.clone()).collect()
}

fn by_admin() -> LogEntry {
    LogEntry {
        at_us: 1,
        actor: "admin".into(),
        action: action::GATEWAY_ACCEPTED.into(),
        target: "g1".into(),
        twin: None,
        severity: Severity::Warning,
        code: None,
        detail: "the box was replaced".into(),
    }
}

#[tokio::test]
async fn a_second_box_is_held_back_and_the_first_goes_on_until_the_second_is_accepted() {
    let rig = Rig::new().await;
    let mut first = rig.sign_in("g1").await;
    let ack = first.agree_on(hello_of("g1", 7, &[], 1, 0)).await;
    assert_eq!((ack.seen, ack.store), (None, Some(uuid::Uuid::nil())));
    for attempt in 0..5 {
        let (mut second, answer) = says(&rig, hello_of("g1", 8, &[], 2, attempt)).await;
        assert_eq!(answer.unwrap_err(), Code::IdentityConflict);
        assert_eq!(second.end().await, None, "it is closed");
    }
    assert_eq!(actions(&rig), [action::GATEWAY_DUPLICATE], "told once");
    let view = &rig.handle.gateways()[0];
    assert!(view.connected && view.held.len() == 1);
    assert_eq!(view.held[0].incarnation, Incarnation(2));
    assert!(view.held[0].reason.contains("twinway gateway accept g1"), "{}", view.held[0].reason);
    first.say(&Up::Frame(frame("g1", 1, 1))).await;
    assert!(matches!(first.down().await, Down::Ack(_)), "the first has its session still");

    rig.handle.accept_box(&key("g1"), Some(Incarnation(3)), by_admin()).await.unwrap_err();
    let accepted = rig.handle.accept_box(&key("g1"), None, by_admin()).await.unwrap();
    assert_eq!(accepted.incarnation, Incarnation(2));
    assert_eq!(first.end().await, Some(Code::Conflict));
    assert_eq!(actions(&rig), [action::GATEWAY_DUPLICATE, action::GATEWAY_ACCEPTED]);
    assert!(rig.store.audit.lock().unwrap()[1].detail.contains("the box was replaced"));
    let (_second, answer) = says(&rig, hello_of("g1", 8, &[], 2, 5)).await;
    assert!(answer.is_ok());
    let (_, answer) = says(&rig, hello_of("g1", 7, &[], 1, 1)).await;
    assert_eq!(answer.unwrap_err(), Code::IdentityConflict, "now the first is held");
}

#[tokio::test]
async fn who_has_the_new_credential_is_let_in() {
    let rig = Rig::new().await;
    let (mut first, _) = says(&rig, hello_of("g1", 7, &[], 1, 0)).await;
    // Signed in with the old credential, and silent so far.
    let mut waiting = rig.sign_in("g1").await;
    rig.handle.credential_changed(&key("g1")).await.unwrap();
    assert_eq!(first.end().await, Some(Code::Unauthenticated));
    assert_eq!(waiting.end().await, Some(Code::Unauthenticated));
    let (_c, answer) = says(&rig, hello_of("g1", 8, &[], 2, 0)).await;
    assert_eq!(answer.unwrap().seen, Some(Incarnation(1)));
    assert_eq!(actions(&rig), [action::GATEWAY_REPLACED]);
}

#[tokio::test]
async fn a_box_that_is_silent_for_long_is_replaced() {
    let rig = Rig::with(|o| o.replace_after = Duration::from_millis(300)).await;
    let (first, _) = says(&rig, hello_of("g1", 7, &[], 1, 0)).await;
    let (_, answer) = says(&rig, hello_of("g1", 8, &[], 2, 0)).await;
    assert_eq!(answer.unwrap_err(), Code::IdentityConflict);
    drop(first);
    tokio::time::sleep(Duration::from_millis(310)).await;
    let (_c, answer) = says(&rig, hello_of("g1", 8, &[], 2, 1)).await;
    assert!(answer.is_ok());
    assert_eq!(actions(&rig), [action::GATEWAY_DUPLICATE, action::GATEWAY_REPLACED]);
    assert_eq!(rig.handle.gateways()[0].held.len(), 1, "the first, should it come back");
}

#[tokio::test]
async fn a_restored_box_is_told_what_was_seen_since_and_a_copy_of_a_living_one_does_not_flap() {
    let rig = Rig::new().await;
    let (first, _) = says(&rig, hello_of("g1", 7, &[], 1, 0)).await;
    drop(first);
    let (second, _) = says(&rig, hello_of("g1", 7, &[1], 2, 0)).await;
    drop(second);
    until("gone", || !rig.handle.gateways()[0].connected).await;
    // Its state is of the first start.
    let (mut restored, answer) = says(&rig, hello_of("g1", 7, &[1], 3, 0)).await;
    assert_eq!(answer.unwrap().seen, Some(Incarnation(2)));
    assert_eq!(actions(&rig), [action::GATEWAY_RESTORED]);
    // The one that it was taken for lives after all.
    let (_, answer) = says(&rig, hello_of("g1", 7, &[1], 2, 1)).await;
    assert_eq!(answer.unwrap_err(), Code::Conflict, "that may be a late word");
    let (_original, answer) = says(&rig, hello_of("g1", 7, &[1], 2, 2)).await;
    assert!(answer.is_ok());
    assert_eq!(restored.end().await, Some(Code::Conflict));
    for attempt in 1..4 {
        let (_, answer) = says(&rig, hello_of("g1", 7, &[1], 3, attempt)).await;
        assert_eq!(answer.unwrap_err(), Code::IdentityConflict);
    }
    assert_eq!(actions(&rig), [action::GATEWAY_RESTORED, action::GATEWAY_DUPLICATE]);
    assert!(rig.handle.gateways()[0].connected);
}

#[tokio::test]
async fn a_store_that_lacks_what_it_acknowledged_says_so() {
    let rig = Rig::new().await;
    let mut hello = hello_of("g1", 7, &[1], 2, 0);
    {
        let identity = hello.identity.as_mut().unwrap();
        let acked =
            |incarnation, last| Known { incarnation: Incarnation(incarnation), seqs: vec![(1, last)].into() };
        identity.acked = vec![acked(1, 500), acked(2, 30)];
        identity.answered = Some(Incarnation(1));
        identity.store = Some(uuid::Uuid::from_u128(9));
    }
    hello.streams = vec![StreamRange { incarnation: Incarnation(2), first: 1, last: 40 }];
    let (_c, answer) = says(&rig, hello).await;
    let known = answer.unwrap().known;
    assert_eq!(
        known.iter().map(|k| k.incarnation.0).collect::<Vec<_>>(),
        [1, 2],
        "also of what the box holds no more"
    );
    assert_eq!(actions(&rig), [action::CLOUD_RESTORED]);
    let detail = rig.store.audit.lock().unwrap()[0].detail.clone();
    assert!(detail.contains("530 frames") && detail.contains("another one (the gateway"), "{detail}");
}

/// Announced, and wrong in every way that a frame can be.
#[tokio::test]
async fn frames_that_cannot_be_taken_are_set_aside_and_those_after_them_are_taken() {
    let rig = Rig::new().await;
    let older = SchemaHash([3; 16]);
    let mut hello = hello_of("g1", 7, &[], 1, 0);
    hello.schemas.insert(0, older);
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Hello(Box::new(hello.clone()))).await;
    let Down::HelloAck(ack) = c.down().await else { panic!() };
    assert_eq!(ack.want_schemas, [schema("g1").hash(), older]);
    for part in common::wire::split_schema(schema("g1").hash(), &schema("g1").to_json()) {
        c.say(&Up::Schema(part)).await;
        c.puback().await;
    }
    let mut broken = frame("g1", 1, 2);
    broken.truncate(broken.len() - 3);
    let mut of_older = Frame::decode(&frame("g1", 1, 3)).unwrap();
    of_older.header.schema = older;
    rig.store.refusing.lock().unwrap().push(4);
    let said = [frame("g1", 1, 1), broken, of_older.encode(), frame("g1", 1, 4), frame("g1", 1, 5)];
    for bytes in said {
        c.say(&Up::Frame(bytes)).await;
    }
    let (mut acked, mut aside, mut pubacks) = (Vec::new(), Vec::new(), 0);
    while acked.len() < 5 || pubacks < 5 {
        match c.recv().await.expect("the session goes on") {
            Packet::PubAck(_) => pubacks += 1,
            Packet::Publish(p) => match Down::decode(&p.payload).unwrap() {
                Down::Ack(ack) => {
                    acked.extend(ack.acked.iter().flat_map(|k| k.seqs.iter()).flat_map(|(a, b)| a..=b))
                }
                Down::SetAside(set) => aside.extend(set.frames.iter().flat_map(|k| k.seqs.iter())),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    acked.sort_unstable();
    aside.sort_unstable();
    assert_eq!((acked, aside), (vec![1, 2, 3, 4, 5], vec![(2, 2), (3, 3), (4, 4)]));
    let taken: Vec<u64> = rig.notes.frames.lock().unwrap().iter().map(|f| f.frame.header.seq).collect();
    assert_eq!(taken, [1, 5]);
    let mut causes: Vec<_> = rig.store.aside.lock().unwrap().iter().map(|a| (a.name, a.cause)).collect();
    causes.sort_unstable();
    assert_eq!(causes, [(Some((1, 2)), "frame"), (Some((1, 3)), "schema"), (Some((1, 4)), "storage")]);
    let told = [action::FRAME_SET_ASIDE, action::FRAME_ASIDE_REMOVED];
    assert_eq!(actions(&rig), told, "people are told of each once a minute");
    let detail = rig.store.audit.lock().unwrap()[1].detail.clone();
    assert!(detail.starts_with("1 of the oldest frames that were set aside (9 bytes)"), "{detail}");

    // Without a name it is set aside all the same, once, and not acknowledged.
    for bytes in [vec![1, 2, 3], vec![1, 2, 3], frame("g1", 1, 0), frame("g1", 1, u64::MAX)] {
        c.say(&Up::Frame(bytes)).await;
        c.puback().await;
    }
    assert_eq!(rig.store.aside.lock().unwrap().len(), 6);
    // What came together is asked for one by one.
    c.say(&Up::Batch(vec![1, 2, 3])).await;
    let Down::SetAside(apart) = c.down().await else { panic!() };
    assert!(apart.apart && apart.frames.is_empty());
    drop(c);
    // The next hello's answer tells them again, for a gateway that did not hear it.
    hello.streams = vec![StreamRange { incarnation: Incarnation(1), first: 1, last: 5 }];
    hello.identity.as_mut().unwrap().attempt = 1;
    let (_c, answer) = says(&rig, hello).await;
    let names = answer.unwrap().set_aside;
    assert_eq!(names.iter().map(|k| k.seqs.len()).sum::<u64>(), 3);
    assert_eq!(rig.metrics.refused("frame"), 0);
}

/// The schema of a configuration that another gateway's twins stand against: what is new must still come in.
#[tokio::test]
async fn an_older_schema_that_is_not_taken_keeps_nothing_else_out() {
    let rig = Rig::new().await;
    let mut older = schema("g1");
    older.devices[0].asset = "a//b".into();
    let mut hello = hello_of("g1", 7, &[], 1, 0);
    hello.schemas.insert(0, older.hash());
    let mut c = rig.sign_in("g1").await;
    c.say(&Up::Hello(Box::new(hello))).await;
    c.down().await;
    for schema in [schema("g1"), older.clone()] {
        for part in common::wire::split_schema(schema.hash(), &schema.to_json()) {
            c.say(&Up::Schema(part)).await;
            c.puback().await;
        }
    }
    let mut of_older = Frame::decode(&frame("g1", 1, 1)).unwrap();
    of_older.header.schema = older.hash();
    c.say(&Up::Frame(of_older.encode())).await;
    let Down::SetAside(aside) = c.down().await else { panic!() };
    assert!(aside.detail.contains("asset"), "{}", aside.detail);
    assert!(matches!(c.down().await, Down::Ack(_)));
    c.say(&Up::Frame(frame("g1", 1, 2))).await;
    assert!(matches!(c.down().await, Down::Ack(_)));
    assert_eq!(rig.store.commits.load(Ordering::SeqCst), 1);
    assert!(matches!(rig.notes.frames.lock().unwrap()[0].frame.body, Body::Samples(_)));
}
