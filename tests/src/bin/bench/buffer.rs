//! The buffer by itself: durable appends beside the bare disk, what stays on disk and in memory after many rounds of
//! filling and acknowledging, and how long it takes to open again.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::wire::{Body, Known};
use common::{Clock, IntervalSet, PointId, Quality, Sample, Value, ValueType};
use gateway_core::FrameLog;
use gateway_store::{Options, Store};

use crate::figure::{Beside, print, print_beside};
use crate::wire::plant::registry;

const POINTS: u32 = 1000;
/// Samples of the append figure; of the others as their names say.
const APPENDED: u64 = 20_000_000;
const CYCLES: u32 = 100;

/// All figures of the group.
pub async fn buffer() {
    append().await;
    cycles().await;
    reopen().await;
}

/// Levels that drift, with noise of some steps of a 16-bit converter.
struct Plant {
    random: u64,
    levels: Vec<i32>,
    at_us: i64,
}

impl Plant {
    fn new() -> Self {
        Self {
            random: 88_172_645_463_325_252,
            levels: (0..POINTS).map(|n| 20_000 + (n as i32 * 7919) % 20_000).collect(),
            at_us: 1_800_000_000_000_000,
        }
    }

    fn number(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// One second of all points.
    fn batch(&mut self) -> Vec<Sample> {
        self.at_us += 1_000_000;
        let at_us = self.at_us;
        (0..POINTS)
            .map(|n| {
                let random = self.number();
                // About normal, sigma 4.
                let noise: i32 = (0..6).map(|i| ((random >> (8 * i)) & 0xff) as i32 - 128).sum::<i32>() / 45;
                let level = &mut self.levels[n as usize];
                *level += ((random >> 60) as i32 - 7) / 7;
                let value = f64::from(*level + noise) * 100.0 / 65_536.0;
                Sample {
                    point: PointId(n),
                    value: Some(Value::F64(value)),
                    quality: Quality::GOOD,
                    source_us: at_us,
                    received_us: at_us,
                }
            })
            .collect()
    }
}

fn open(dir: &Path, ring: bool) -> Arc<Store> {
    let options = Options { ring, quota_bytes: 8 << 30, ..Options::new(dir) };
    Store::open(options, Clock::system(), registry(&[ValueType::F64; POINTS as usize])).expect("a buffer")
}

/// Appends; waits where the disk is slower.
async fn put(store: &Store, body: Vec<Sample>) {
    let mut body = Some(Body::Samples(body));
    while let Some(now) = body.take() {
        let mut watermark = store.watermark();
        watermark.borrow_and_update();
        if store.append(now.clone()).is_err() {
            watermark.changed().await.expect("the log is open");
            body = Some(now);
        }
    }
}

async fn durable(store: &Store) {
    store.watermark().wait_for(|w| w.durable >= w.head).await.expect("the log is open");
}

fn on_disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("log")).expect("a log").filter_map(|e| e.ok()?.metadata().ok());
    files.map(|m| m.blocks() * 512).sum()
}

fn rss_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("VmRSS")).expect("VmRSS");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib / 1024.0
}

async fn append() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut plant = Plant::new();
    // Made before: what is measured is the buffer.
    let batches: Vec<Vec<Sample>> = (0..200).map(|_| plant.batch()).collect();
    let store = open(dir.path(), true);
    let started = Instant::now();
    for n in 0..APPENDED / u64::from(POINTS) {
        // As the feeder does it: a frame is made of samples that somebody else has as well.
        put(&store, batches[n as usize % batches.len()].clone()).await;
        if n % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    durable(&store).await;
    let took = started.elapsed();
    let bytes = store.health().disk_bytes;
    store.close();
    drop(store);
    let floor = floor(dir.path(), bytes);
    let per_s = |took: Duration| APPENDED as f64 / took.as_secs_f64();
    let beside = [Beside::floor("the same bytes written and fdatasync'ed by 1 MiB", per_s(floor))];
    print_beside("append_samples_per_s", per_s(took), "samples/s", ">= 1000000", &beside);
    let ratio = took.as_secs_f64() / floor.as_secs_f64();
    print("append_over_floor", ratio, "x", "report", None);
    print("append_bytes_per_sample", bytes as f64 / APPENDED as f64, "B", "report", None);
}

/// The same bytes in files of the same size, synced as often.
fn floor(dir: &Path, bytes: u64) -> Duration {
    let mut random = Plant::new();
    let block: Vec<u8> = (0..1 << 17).flat_map(|_| random.number().to_le_bytes()).collect();
    let started = Instant::now();
    let (mut left, mut file, mut name) = (bytes, None::<(File, u64)>, 0);
    while left > 0 {
        if file.as_ref().is_none_or(|(_, written)| *written >= 16 << 20) {
            name += 1;
            file = Some((File::create(dir.join(format!("floor-{name}"))).expect("a file"), 0));
        }
        if let Some((file, written)) = &mut file {
            let take = left.min(block.len() as u64);
            file.write_all(&block[..take as usize]).expect("room on the disk");
            file.sync_data().expect("a disk");
            *written += take;
            left -= take;
        }
    }
    started.elapsed()
}

async fn cycles() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), false);
    let mut plant = Plant::new();
    // Live data is more than one segment, whatever a frame takes.
    let (live, step) = (12_000u64, 1200u64);
    let fill = async |plant: &mut Plant, frames: u64| {
        for _ in 0..frames {
            put(&store, plant.batch()).await;
        }
        durable(&store).await;
    };
    fill(&mut plant, live).await;
    let mut before = 0.0;
    for n in 1..=CYCLES {
        fill(&mut plant, step).await;
        let seqs: IntervalSet = vec![(1, u64::from(n) * step)].into();
        store.ack(&[Known { incarnation: store.incarnation(), seqs }]).expect("an ack");
        if n == 5 {
            before = rss_mb();
        }
    }
    let freed = || on_disk(dir.path()) < store.health().disk_bytes + (2 << 20);
    for _ in 0..200 {
        if freed() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let head = store.watermark().borrow().head;
    let live_bytes = frame_bytes(&store, head - live + 1, head);
    let disk = on_disk(dir.path());
    print("disk_over_live", disk as f64 / live_bytes as f64, "x", "<= 2", None);
    print("cycles_live_mb", live_bytes as f64 / 1e6, "MB", "report", None);
    let grown = rss_mb() - before;
    print_beside(
        "cycles_rss_growth_mb",
        grown,
        "MB of resident memory from cycle 5 to cycle 100",
        "flat",
        &[Beside::floor("resident after cycle 5", before)],
    );
}

fn frame_bytes(store: &Store, first: u64, last: u64) -> u64 {
    let (mut from, mut bytes) = (first, 0);
    while from <= last {
        let frames = store.read(store.incarnation(), from, 1 << 20).expect("frames");
        let Some((end, _)) = frames.last() else { break };
        from = end + 1;
        bytes += frames.iter().map(|(_, b)| b.len() as u64).sum::<u64>();
    }
    bytes
}

async fn reopen() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), true);
    let mut plant = Plant::new();
    for _ in 0..10_000 {
        put(&store, plant.batch()).await;
    }
    durable(&store).await;
    let incarnation = store.incarnation();
    store.close();
    drop(store);
    let open_again = || {
        let started = Instant::now();
        let store = open(dir.path(), true);
        let took = started.elapsed().as_secs_f64();
        let range = store.ranges().into_iter().find(|r| r.incarnation == incarnation);
        assert!(
            range.as_ref().is_some_and(|r| (r.first, r.last) == (1, 10_000)),
            "frames are missing: {range:?}"
        );
        took
    };
    let clean = open_again();
    // As a kill leaves it: the newest segments without their ends.
    let mut paths: Vec<_> =
        fs::read_dir(dir.path().join("log")).expect("a log").filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    paths.sort();
    let size = |p: &Path| fs::metadata(p).map_or(0, |m| m.len());
    let largest = paths.iter().rev().max_by_key(|p| size(p)).expect("a segment");
    let file = File::options().write(true).open(largest).expect("a segment");
    file.set_len(size(largest) - 16).expect("a shorter segment");
    let crashed = open_again();
    print_beside(
        "reopen_10m_s",
        crashed,
        "s, a whole segment to be read as after a kill",
        "<= 1",
        &[Beside::floor("after a clean end", clean)],
    );
}
