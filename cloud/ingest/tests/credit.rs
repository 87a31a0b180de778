//! Backlog beside live frames: what goes first, how much of it gateways are told to send, and what is taken while storage
//! has yet to catch up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)]

mod rig;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::wire::{Batch, Down, FEATURE_CREDIT, FEATURE_SELDOM, Frame, Up};
use rig::*;
use rumqttc::mqttbytes::v4::Packet;

fn batch(gateway: &str, incarnation: u128, seqs: std::ops::RangeInclusive<u64>) -> Up {
    let mut batch = Batch::default();
    for seq in seqs {
        batch.push(Frame::decode(&frame(gateway, incarnation, seq)).unwrap()).unwrap();
    }
    Up::Batch(batch.encode().unwrap())
}

/// Signed in and agreed, as a gateway that knows credit.
async fn knowing(rig: &Rig, gateway: &str, incarnation: u128) -> Client {
    // Its schema first.
    drop(rig.agreed(gateway, incarnation).await);
    let mut client = rig.sign_in(gateway).await;
    let mut said = hello(gateway, incarnation);
    said.features = vec![FEATURE_CREDIT.to_owned()];
    client.say(&Up::Hello(Box::new(said))).await;
    let Down::HelloAck(ack) = client.down().await else { panic!("no hello ack") };
    assert!(ack.want_schemas.is_empty());
    client
}

async fn credit(client: &mut Client) -> u64 {
    loop {
        if let Down::Credit(credit) = client.down().await {
            return credit.backlog_bytes;
        }
    }
}

#[tokio::test]
async fn live_frames_are_stored_before_backlog_and_packets_acknowledged_in_their_order() {
    let rig = Rig::new().await;
    let mut c = rig.agreed("g1", 1).await;
    rig.store.open.send_replace(false);
    let first = c.say(&Up::Frame(frame("g1", 1, 1))).await;
    c.say(&batch("g1", 1, 10..=500)).await;
    c.say(&batch("g1", 1, 501..=900)).await;
    let last = c.say(&Up::Frame(frame("g1", 1, 2))).await;
    rig.store.open.send_replace(true);
    let mut packets = Vec::new();
    while packets.len() < 4 {
        match c.recv().await.expect("a packet") {
            Packet::PubAck(ack) => packets.push(ack.pkid),
            Packet::Publish(p) => {
                assert!(matches!(Down::decode(&p.payload), Ok(Down::Ack(_))), "no credit for it")
            }
            _ => {}
        }
    }
    assert_eq!(packets, (first..=last).collect::<Vec<_>>());
    until("all stored", || rig.notes.frames.lock().unwrap().len() == 893).await;
    let stored: Vec<u64> = rig.notes.frames.lock().unwrap().iter().map(|n| n.frame.header.seq).collect();
    let at = |seq| stored.iter().position(|s| *s == seq).unwrap();
    assert!(at(2) < at(10), "a live frame waited for backlog: {:?}", &stored[..5]);
    assert!(stored.contains(&900));
}

#[tokio::test]
async fn while_storage_has_yet_to_catch_up_backlog_waits_without_credit_and_live_goes_on() {
    let rig = Rig::with(|o| o.waiting_samples = 1000).await;
    let mut c = knowing(&rig, "g1", 1).await;
    assert!(credit(&mut c).await > 0);
    rig.store.waiting.store(1000, Ordering::SeqCst);
    assert_eq!(credit(&mut c).await, 0);
    c.say(&batch("g1", 1, 10..=300)).await;
    for seq in 1..=5 {
        c.say(&Up::Frame(frame("g1", 1, seq))).await;
    }
    until("live frames", || rig.notes.frames.lock().unwrap().len() >= 5).await;
    let backlog = || rig.notes.frames.lock().unwrap().iter().filter(|n| n.frame.header.seq >= 10).count();
    assert_eq!(backlog(), 0);
    // Twice as much: nothing is taken, for memory has an end.
    rig.store.waiting.store(2000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    c.say(&Up::Frame(frame("g1", 1, 6))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.notes.frames.lock().unwrap().len(), 5);
    rig.store.waiting.store(0, Ordering::SeqCst);
    assert!(credit(&mut c).await > 0);
    until("all stored", || rig.notes.frames.lock().unwrap().len() == 6 + 291).await;
}

#[tokio::test]
async fn the_credit_of_a_hundred_gateways_is_one_credit_shared() {
    let rig = Rig::new().await;
    let mut clients = Vec::new();
    for n in 0..100u8 {
        clients.push(knowing(&rig, &format!("many{n}"), u128::from(n) + 1).await);
    }
    // Whoever has no backlog is told what it would have, and knows nothing of the others.
    assert!(credit(&mut clients[0]).await >= 100_000);
    for (n, c) in clients.iter_mut().enumerate() {
        c.say(&batch(&format!("many{n}"), n as u128 + 1, 1..=50)).await;
    }
    for c in &mut clients {
        while credit(c).await > (16 << 20) / 100 {}
    }
    until("all stored", || rig.notes.frames.lock().unwrap().len() == 5000).await;
}

#[tokio::test]
async fn a_gateway_may_say_how_seldom_it_gives_signs_of_life() {
    let rig = Rig::with(|o| o.silence = Duration::from_millis(200)).await;
    drop(rig.agreed("g1", 1).await);
    let mut c = rig.sign_in("g1").await;
    let mut said = hello("g1", 1);
    said.heartbeat_ms = Some(400);
    c.say(&Up::Hello(Box::new(said))).await;
    let Down::HelloAck(ack) = c.down().await else { panic!("no hello ack") };
    assert!(ack.features.iter().any(|f| f == FEATURE_SELDOM));
    c.puback().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    c.send(Packet::PingReq).await;
    assert_eq!(c.recv().await, Some(Packet::PingResp));
    assert_eq!(c.end().await, None, "and is lost after three of its pauses");
}
