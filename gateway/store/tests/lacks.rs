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
    assert_eq!(lacking, Lacking { again: here.len(), gone: oldest - 1 - 50, unread: 0 });
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
    assert_eq!(store.lacks(&known(first, &[(1, 60)])), Lacking { gone: head - 60, ..Lacking::default() });
    assert_eq!(store.acks()[0].seqs.iter().collect::<Vec<_>>(), [(1, 60)]);
    let told = gaps(&store).into_iter().any(|g| g.incarnation == Some(first) && g.seqs == Some((61, head)));
    assert!(told, "{:?}", gaps(&store));
}

/// A file that cannot be read now may hold them: they are no gap, and are sent once it is read.
#[tokio::test]
async fn what_may_be_in_an_unread_file_is_not_told_as_lost_by_the_cloud() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let log = dir.path().join("log");
    let options = || Options {
        disk: std::sync::Arc::new(disk.clone()),
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_millis(2),
        ..options(dir.path())
    };
    let store = open(options());
    for n in 0..24 {
        let id = store.append(samples(500, n)).unwrap();
        store.durable(id).await.unwrap();
    }
    let incarnation = store.incarnation();
    let written = read_all(&store, incarnation);
    store.ack(&known(incarnation, &[(1, 24)])).unwrap();
    drop(store);
    let second = disk.files(&log).remove(1);
    let bytes = disk.content(&second);
    let there = |f: &&(u64, Vec<u8>)| bytes.windows(f.1.len()).any(|w| w == &f.1[..]);
    let waits: IntervalSet = written.iter().filter(there).map(|f| (f.0, f.0)).collect::<Vec<_>>().into();
    assert!((1..20).contains(&waits.len()), "{waits:?}");

    disk.forbid(&second);
    let store = open(options());
    let lacking = store.lacks(&known(incarnation, &[]));
    assert_eq!(lacking, Lacking { again: 24 - waits.len(), gone: 0, unread: waits.len() });
    synced(&store).await;
    assert_eq!(gaps(&store), vec![]);
    assert_eq!(store.lacks(&known(incarnation, &[])), Lacking::default(), "told once");
    drop(store);

    disk.permit();
    let store = open(options());
    synced(&store).await;
    assert_eq!(read_all(&store, incarnation), written);
    assert_eq!(gaps(&store), vec![]);
    // As before the acknowledgement: all of it is to be sent.
    assert!(store.acked(incarnation).is_empty() && store.health().unacked_frames >= 24);
}
