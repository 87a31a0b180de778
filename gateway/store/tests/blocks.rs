//! Blocks of waveforms on their way into the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::wire::{Body, Frame, MAX_WAVEFORM_VALUES, WaveValues, Waveform};
use common::{Drain, PointId, Quality};
use gateway_core::{DropCounts, FrameLog, RawSender};
use gateway_store::feed_blocks;
use rig::*;
use tokio::sync::Mutex;

const PARTS: usize = 40;
/// Parts that may wait for the disk: 1 MiB of doubles.
const AHEAD: u64 = 6;

#[tokio::test]
async fn a_large_block_is_no_further_ahead_of_the_disk_than_it_may_be_and_all_of_it_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let drops = DropCounts::default();
    let (raw, blocks) = RawSender::new(1, &drops).0.with_blocks(4, 2 * PARTS * MAX_WAVEFORM_VALUES);
    let values: Vec<i16> = (0..PARTS * MAX_WAVEFORM_VALUES).map(|n| (n % 7) as i16).collect();
    let wave = Waveform {
        point: PointId(3),
        quality: Quality::GOOD,
        t0_us: 1_000_000,
        received_us: 2_000_000,
        dt_ps: 1_000_000,
        first: 0,
        total: u32::try_from(values.len()).unwrap(),
        scale: 1.0,
        offset: 0.0,
        values: WaveValues::I16(values.clone()),
    };
    // Of a point that is another one by now.
    raw.send_block("oven/other".into(), Waveform { values: WaveValues::I16(vec![1; 9]), ..wave.clone() });
    raw.send_block("oven/p3".into(), wave);
    drop(raw);
    let (gone, points) = (Arc::new(AtomicU64::new(0)), registry(50, "Cel").into());
    let log: Arc<dyn FrameLog> = store.clone();
    let feeding = feed_blocks(Arc::new(Mutex::new(blocks)), points, log, gone.clone(), Drain::new());
    // On this thread alone: what is seen here is what stands where it waits.
    let feeding = tokio::spawn(feeding);
    while !feeding.is_finished() {
        tokio::task::yield_now().await;
        let at = *store.watermark().borrow();
        assert!(at.head - at.durable <= AHEAD, "{at:?}");
    }
    feeding.await.unwrap().unwrap();
    assert_eq!(gone.load(Ordering::Relaxed), 9);
    synced(&store).await;
    let mut there = Vec::new();
    for (_, bytes) in read_all(&store, store.incarnation()) {
        let Body::Waveform(part) = Frame::decode(&bytes).unwrap().body else { panic!("a part") };
        let WaveValues::I16(own) = part.values else { panic!("integers") };
        there.extend(own);
    }
    assert!(there == values && gaps(&store).is_empty());
}
