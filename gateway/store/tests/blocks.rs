//! Blocks of waveforms on their way into the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::wire::{Body, Frame, MAX_BLOCK_VALUES, MAX_WAVEFORM_VALUES, WaveValues, Waveform};
use common::{Clock, Drain, PointId, Quality};
use gateway_core::{DropCounts, FrameLog, LogError, RawSender};
use gateway_store::{Options, Store, feed_blocks};
use rig::disk::ModelDisk;
use rig::*;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

const PARTS: usize = 40;
/// Parts that may wait for the disk: 1 MiB of doubles.
const AHEAD: u64 = 6;

fn wave(point: u32, values: &[i16]) -> Waveform {
    Waveform {
        point: PointId(point),
        quality: Quality::GOOD,
        t0_us: 1_000_000,
        received_us: 2_000_000,
        dt_ps: 1_000_000,
        first: 0,
        total: u32::try_from(values.len()).unwrap(),
        scale: 1.0,
        offset: 0.0,
        values: WaveValues::I16(values.to_vec()),
    }
}

/// What feeds the blocks of `send` into a store, on this thread alone, and the count of what is gone.
fn feeding(store: &Arc<Store>, send: impl FnOnce(RawSender)) -> (JoinHandle<()>, Arc<AtomicU64>) {
    let (raw, blocks) = RawSender::new(1, &DropCounts::default()).0.with_blocks(4, MAX_BLOCK_VALUES);
    send(raw);
    let gone = Arc::new(AtomicU64::new(0));
    let blocks = Arc::new(Mutex::new(blocks));
    let fed = feed_blocks(blocks, store.points(), store.clone(), gone.clone(), Drain::new());
    (tokio::spawn(async { fed.await.unwrap() }), gone)
}

#[tokio::test]
async fn a_large_block_is_no_further_ahead_of_the_disk_than_it_may_be_and_all_of_it_arrives() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = open(Options { disk: Arc::new(disk.clone()), ..options(dir.path()) });
    let first = store.append(samples(10, 0)).unwrap();
    store.durable(first).await.unwrap();
    // The disk stands still.
    let file = disk.files(&dir.path().join("log")).remove(0);
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let (begun, stands) = std::sync::mpsc::channel();
    let still = std::thread::spawn(move || {
        disk.edit(&file, |_| {
            begun.send(()).unwrap();
            let _ = wait.recv();
        });
    });
    stands.recv().unwrap();
    let values: Vec<i16> = (0..PARTS * MAX_WAVEFORM_VALUES).map(|n| (n % 7) as i16).collect();
    let (feeding, gone) = feeding(&store, |raw| raw.send_block("oven/p3".into(), 0, wave(3, &values)));
    let head = || store.watermark().borrow().head - first.seq;
    eventually("as much as may be", || head() >= AHEAD).await;
    assert_eq!(head(), AHEAD);
    drop(go_on);
    still.join().unwrap();
    feeding.await.unwrap();
    assert_eq!((head(), gone.load(Ordering::Relaxed)), (PARTS as u64, 0));
    synced(&store).await;
    let mut there = Vec::new();
    for (_, bytes) in read_all(&store, store.incarnation()).into_iter().skip(1) {
        let Body::Waveform(part) = Frame::decode(&bytes).unwrap().body else { panic!("a part") };
        let WaveValues::I16(own) = part.values else { panic!("integers") };
        there.extend(own);
    }
    assert!(there == values && gaps(&store).is_empty());
}

/// A number means a point by the schema that the frame names, which is the log's.
#[tokio::test]
async fn a_block_of_a_later_generation_waits_for_the_log_and_one_of_a_point_that_is_gone_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let first = registry(50, "Cel");
    let store = Store::open(options(dir.path()), Clock::system(), first.clone()).unwrap();
    let next = Arc::new(first.succeed(&registry(10, "Cel")));
    let number = next.points_of(next.device(0).unwrap()).nth(3).unwrap().id;
    let (feeding, gone) = feeding(&store, |raw| {
        raw.send_block("oven/p4".into(), 0, wave(4, &[1, 2]));
        raw.send_block("oven/p3".into(), 1, wave(number.0, &[1, 2, 3]));
        raw.send_block("oven/p40".into(), 0, wave(40, &[1, 2, 3, 4]));
    });
    eventually("the first one", || store.watermark().borrow().head == 1).await;
    store.renew(&next);
    feeding.await.unwrap();
    assert_eq!(gone.load(Ordering::Relaxed), 4);
    let frames = read_all(&store, store.incarnation());
    let told: Vec<_> = frames.iter().map(|(_, bytes)| Frame::decode(bytes).unwrap()).collect();
    let schemas: Vec<_> = told.iter().map(|f| (f.header.schema, f.body.sample_count())).collect();
    assert_eq!(schemas, [(first.hash(), 2), (next.hash(), 3)]);
}

/// Between the look at a number's point and the log the log may go over to another schema.
#[tokio::test]
async fn a_part_is_not_kept_under_a_schema_that_its_number_is_not_of() {
    let dir = tempfile::tempdir().unwrap();
    let first = registry(50, "Cel");
    let store = Store::open(options(dir.path()), Clock::system(), first.clone()).unwrap();
    let next = Arc::new(first.succeed(&registry(10, "Cel")));
    store.renew(&next);
    // The feeder still looks at what was before.
    let (raw, blocks) = RawSender::new(1, &DropCounts::default()).0.with_blocks(4, MAX_BLOCK_VALUES);
    raw.send_block("oven/p40".into(), 0, wave(40, &[1, 2, 3]));
    drop(raw);
    let (gone, blocks) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(blocks)));
    feed_blocks(blocks, first.clone().into(), store.clone(), gone.clone(), Drain::new()).await.unwrap();
    assert_eq!((store.watermark().borrow().head, gone.load(Ordering::Relaxed)), (0, 3));
    let part = || Body::Waveform(Box::new(wave(3, &[1, 2])));
    assert_eq!(store.append_of(first.hash(), part()), Err(LogError::Renewed));
    assert_eq!(store.append_of(next.hash(), part()).unwrap().seq, 1);
}
