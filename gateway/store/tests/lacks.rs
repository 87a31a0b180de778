//! A cloud that lacks what it had acknowledged: what is here is unacknowledged again, what is gone is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::time::Duration;

use common::wire::{GapCause, Known};
use common::{Incarnation, IntervalSet};
use gateway_core::{FrameLog as _, Lacking};
use gateway_store::Options;
use rig::*;

fn known(incarnation: Incarnation, runs: &[(u64, u64)]) -> Vec<Known> {
    vec![Known { incarnation, seqs: runs.to_vec().into() }]
}

#[tokio::test]
async fn acks_are_taken_back_and_what_is_gone_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let small = || Options {
        segment_bytes: 16 << 10,
        quota_bytes: 256 << 10,
        sync_interval: Duration::from_millis(2),
        ..options(dir.path())
    };
    let store = open(small());
    let first = store.incarnation();
    let mut last = 0;
    // The quota expels the oldest of what is acknowledged.
    for n in 0..600 {
        last = store.append(samples(400, n)).unwrap().seq;
        store.durable(gateway_core::FrameId { incarnation: first, seq: last }).await.unwrap();
        store.ack(&known(first, &[(1, last)])).unwrap();
    }
    let here: IntervalSet = read_all(&store, first).iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
    let oldest = here.iter().next().unwrap().0;
    assert!(oldest > 100, "{oldest}");
    assert_eq!(store.health().unacked_frames, 0);
    assert_eq!(store.lacks(&known(first, &[(1, last)])), Lacking::default());

    let lacking = store.lacks(&known(first, &[(1, 50)]));
    assert_eq!(lacking, Lacking { again: here.len(), gone: oldest - 1 - 50 });
    assert!(store.health().unacked_frames >= here.len());
    assert_eq!(store.acked(first).iter().collect::<Vec<_>>(), [(1, 50)]);
    let lost: Vec<_> = gaps(&store).into_iter().filter(|g| g.cause == GapCause::CloudLost).collect();
    assert_eq!(
        lost.iter().map(|g| (g.incarnation, g.seqs)).collect::<Vec<_>>(),
        [(Some(first), Some((51, oldest - 1)))]
    );
    assert_eq!(store.lacks(&known(first, &[(1, 50)])), Lacking::default(), "told once");
    // Again.
    let head = store.watermark().borrow().head;
    store.ack(&known(first, &[(1, head)])).unwrap();
    assert_eq!(store.health().unacked_frames, 0);
    drop(store);

    // An incarnation of which nothing is left is remembered all the same.
    let store = open(small());
    for n in 0..600 {
        let id = store.append(samples(400, n)).unwrap();
        store.durable(id).await.unwrap();
        store.ack(&known(first, &[(1, head)])).unwrap();
        store.ack(&known(id.incarnation, &[(1, id.seq)])).unwrap();
    }
    assert!(read_all(&store, first).is_empty(), "expelled");
    let acks = store.acks();
    assert_eq!((acks[0].incarnation, acks[0].seqs.last()), (first, Some(head)));
    assert_eq!(acks.last().unwrap().incarnation, store.incarnation());
    drop(store);
    let store = open(small());
    assert_eq!(store.acks()[0].incarnation, first);
    assert_eq!(store.lacks(&known(first, &[(1, 60)])), Lacking { again: 0, gone: head - 60 });
    assert_eq!(store.acks()[0].seqs.iter().collect::<Vec<_>>(), [(1, 60)]);
    let told = gaps(&store).into_iter().any(|g| g.incarnation == Some(first) && g.seqs == Some((61, head)));
    assert!(told, "{:?}", gaps(&store));
}
