//! What is kept for how long: shares of the quota by class, age, what a reached quota does, orders to drop; and that the
//! room is given back to the file system.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::sync::Arc;
use std::time::Duration;

use common::wire::{Body, Frame, GapCause, Known};
use common::{Clock, CommandId, CommandState, IntervalSet};
use gateway_core::{FrameId, FrameLog, LogError};
use gateway_store::{DropError, Options, Overflow, Store};
use rig::*;

fn small(dir: &std::path::Path) -> Options {
    Options {
        segment_bytes: 16 << 10,
        quota_bytes: 256 << 10,
        sync_interval: Duration::from_millis(2),
        ..options(dir)
    }
}

async fn put(store: &Store, body: Body) -> FrameId {
    let id = store.append(body).unwrap();
    store.durable(id).await.unwrap();
    id
}

fn seqs(store: &Store) -> IntervalSet {
    read_all(store, store.incarnation()).iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into()
}

fn lost(store: &Store) -> IntervalSet {
    gaps(store).iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into()
}

fn audits(store: &Store) -> Vec<String> {
    let target = |b: &Vec<u8>| match Frame::decode(b).unwrap().body {
        Body::Audit(e) => Some(e.target),
        _ => None,
    };
    read_all(store, store.incarnation()).iter().filter_map(|(_, b)| target(b)).collect()
}

/// Bytes that the file system has for the log, in blocks of 4 KiB, and for how many files.
fn on_disk(dir: &std::path::Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let files = std::fs::read_dir(dir.join("log")).unwrap().filter_map(|e| e.unwrap().metadata().ok());
    files.fold((0, 0), |(bytes, files), m| (bytes + m.blocks() * 512, files + 1))
}

#[tokio::test]
async fn samples_go_before_records_and_the_file_system_has_the_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(small(dir.path()));
    for n in 0..300 {
        put(&store, if n % 10 == 0 { audit(&n.to_string()) } else { samples(400, n) }).await;
    }
    // And a segment that is being filled, and what the last block of each file has over.
    let fits = || {
        let (bytes, files) = on_disk(dir.path());
        bytes <= (256 << 10) + (24 << 10) + files * 4096
    };
    eventually("within the quota", fits).await;
    assert_eq!(audits(&store).len(), 30, "all records are there");
    let (there, lost) = (seqs(&store), lost(&store));
    assert!(!lost.is_empty());
    let last = store.watermark().borrow().head;
    assert!((1..=last).all(|s| there.contains(s) != lost.contains(s)), "{there:?} {lost:?}");
    assert!(gaps(&store).iter().all(|g| g.cause == GapCause::Quota));
    // What is left of many segments is few files.
    let kept = std::fs::read_dir(dir.path().join("log"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains('-'))
        .count();
    assert!(kept <= 4, "{kept} files for 30 records");
    let incarnation = store.incarnation();
    let before = read_all(&store, incarnation);
    drop(store);
    let store = open(small(dir.path()));
    assert!(read_all(&store, incarnation)[..before.len()] == before[..]);
    synced(&store).await;
    assert_eq!(gaps(&store), vec![]);
}

/// A flood of events has a share, and cannot expel all samples.
#[tokio::test]
async fn records_have_a_share_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { records_bytes: Some(32 << 10), ..small(dir.path()) });
    let long = "x".repeat(2000);
    for n in 0..40 {
        put(&store, samples(400, n)).await;
    }
    for n in 0..400u32 {
        // Not compressible, so that they take room.
        let noise: String =
            (0..400).map(|i| format!("{:x}", (n * 31 + i).wrapping_mul(2_654_435_761))).collect();
        put(&store, audit(&format!("{n} {noise}{}", &long[..10]))).await;
    }
    put(&store, samples(400, 99)).await;
    let there = read_all(&store, store.incarnation());
    let frames = there.iter().filter(|(_, b)| matches!(Frame::decode(b).unwrap().body, Body::Samples(_)));
    assert!(frames.count() > 10, "samples are still there");
    assert!(audits(&store).last().unwrap().starts_with("399 "), "the newest records are there");
    let accounted = || {
        let (there, lost) = (seqs(&store), lost(&store));
        let last = store.watermark().borrow().durable;
        (1..=last).all(|s| there.contains(s) || lost.contains(s))
    };
    eventually("all is there or told", accounted).await;
}

/// What a gap told is still told when the frame that told it goes itself.
#[tokio::test]
async fn a_gap_that_is_dropped_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { records_bytes: Some(4 << 10), ..small(dir.path()) });
    for n in 0..600 {
        put(&store, samples(400, n)).await;
    }
    assert!(!seqs(&store).contains(1));
    let accounted = || {
        let (there, lost) = (seqs(&store), lost(&store));
        let last = store.watermark().borrow().durable;
        (1..=last).all(|s| there.contains(s) || lost.contains(s))
    };
    eventually("all is there or told", accounted).await;
    let told: u64 = gaps(&store).iter().map(|g| g.samples).sum();
    let left = read_all(&store, store.incarnation());
    let left: usize = left.iter().map(|(_, b)| Frame::decode(b).unwrap().body.sample_count()).sum();
    assert_eq!(told + left as u64, 600 * 400, "and counted once");
    // What is told of losses does not cause as many losses again.
    let head = store.watermark().borrow().head;
    assert!(head < 1800, "{head} frames for 600");
}

#[tokio::test]
async fn when_the_oldest_are_to_stay_the_newest_are_refused_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { overflow: Overflow::DropNewest, ..small(dir.path()) });
    let mut refused = 0;
    for n in 0..200 {
        match store.append(samples(400, n)) {
            Ok(id) => store.durable(id).await.unwrap(),
            Err(LogError::Write { .. }) => refused += 400,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0);
    assert!(seqs(&store).contains(1));
    // Records are taken, and samples again once the cloud has some.
    put(&store, audit("still")).await;
    store.ack(&[Known { incarnation: store.incarnation(), seqs: vec![(1, 30)].into() }]).unwrap();
    eventually("samples are taken", || store.append(samples(1, 999)).is_ok()).await;
    synced(&store).await;
    eventually("told", || !gaps(&store).is_empty()).await;
    let told = gaps(&store);
    let samples: u64 = told.iter().map(|g| g.samples).sum();
    assert!(samples >= refused && told.iter().all(|g| g.cause == GapCause::Quota), "{told:?} {refused}");
}

/// Also with events that come while samples are refused, the buffer takes no more of the disk than it may.
#[tokio::test]
async fn while_the_newest_are_refused_records_stay_within_the_quota() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let options =
        Options { disk: Arc::new(disk.clone()), overflow: Overflow::DropNewest, ..small(dir.path()) };
    let store = open(options);
    let mut n = 0;
    while let Ok(id) = store.append(samples(400, n)) {
        store.durable(id).await.unwrap();
        n += 1;
    }
    let mut random = disk::Random::new(1);
    for n in 0..60 {
        let noise: String = (0..256).map(|_| format!("{:016x}", random.number())).collect();
        put(&store, audit(&format!("{n} {noise}"))).await;
        // And a segment that is being filled.
        let used = disk.used_under(&dir.path().join("log"));
        assert!(used <= (256 << 10) + (24 << 10), "{used} bytes after {n}");
    }
    assert!(audits(&store).last().unwrap().starts_with("59 "));
    assert!(audits(&store).len() >= 6, "they have a share");
    assert!(seqs(&store).contains(1), "and the oldest samples stay");
    let (there, lost) = (seqs(&store), lost(&store));
    let last = store.watermark().borrow().durable;
    assert!((1..=last).all(|s| there.contains(s) || lost.contains(s)));
}

#[tokio::test]
async fn what_is_too_old_goes_by_class_and_is_told_unless_the_cloud_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let day = 86_400_000_000;
    let start_us = 1_800_000_000_000_000;
    let options = || Options { max_age: Some(Duration::from_secs(86_400)), ..small(dir.path()) };
    let at = |us: i64| Store::open(options(), Clock::simulated(us), registry(50, "Cel")).unwrap();
    let store = at(start_us);
    let first = store.incarnation();
    for n in 0..20 {
        put(&store, if n == 3 { audit("old") } else { samples(400, n) }).await;
    }
    store.ack(&[Known { incarnation: first, seqs: vec![(1, 3)].into() }]).unwrap();
    drop(store);
    // Not yet.
    let store = at(start_us + day - 1_000_000_000);
    put(&store, audit("new")).await;
    assert_eq!(read_all(&store, first).iter().filter(|f| f.0 <= 20).count(), 20);
    drop(store);
    let store = at(start_us + day + 1_000_000_000);
    put(&store, audit("later")).await;
    eventually("old samples went", || read_all(&store, first).len() == 1).await;
    assert_eq!(read_all(&store, first)[0].0, 4, "the record stays");
    eventually("that is told", || !gaps(&store).is_empty()).await;
    synced(&store).await;
    let told = gaps(&store);
    assert!(told.iter().all(|g| g.cause == GapCause::Age && g.incarnation == Some(first)), "{told:?}");
    let lost: IntervalSet = told.iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
    assert_eq!(lost, vec![(5, 20)].into(), "what the cloud has needs no telling");
    drop(store);
    let records = || Options { records_max_age: Some(Duration::from_secs(86_400)), ..options() };
    let store = Store::open(records(), Clock::simulated(start_us + 30 * day), registry(50, "Cel")).unwrap();
    put(&store, audit("last")).await;
    eventually("old records went", || read_all(&store, first).is_empty()).await;
}

#[tokio::test]
async fn an_order_to_drop_takes_the_samples_of_a_time_and_is_told_with_its_own_cause() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<Store> = open(small(dir.path()));
    for n in 0..20 {
        put(&store, if n == 3 { audit("stays") } else { samples(100, n) }).await;
    }
    let middle = Clock::system().now_us();
    for n in 20..30 {
        put(&store, samples(100, n)).await;
    }
    store.ack(&[Known { incarnation: store.incarnation(), seqs: vec![(1, 2)].into() }]).unwrap();
    let done = store.drop_cut(0, middle).await.unwrap();
    assert_eq!((done.frames, done.samples, done.acked_frames), (17, 1700, 2));
    synced(&store).await;
    let there = seqs(&store);
    assert!((21..=30).all(|s| there.contains(s)) && there.contains(4));
    assert!([1, 2, 3, 5, 20].iter().all(|s| !there.contains(*s)), "{there:?}");
    let told = gaps(&store);
    assert!(told.iter().all(|g| g.cause == GapCause::Operator));
    let lost: IntervalSet = told.iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
    assert_eq!(lost, vec![(3, 3), (5, 20)].into());
    assert_eq!(store.drop_cut(0, middle).await.unwrap().frames, 0, "once");
    let incarnation = store.incarnation();
    drop(store);
    let store = open(small(dir.path()));
    synced(&store).await;
    assert!(gaps(&store).is_empty());
    assert!(!read_all(&store, incarnation).iter().any(|f| f.0 == 5));
}

/// Records have an age of their own; samples among which they stand keep theirs.
#[tokio::test]
async fn old_records_go_and_samples_stay() {
    let dir = tempfile::tempdir().unwrap();
    let day = 86_400_000_000;
    let start_us = 1_800_000_000_000_000;
    let options = || Options { records_max_age: Some(Duration::from_secs(86_400)), ..small(dir.path()) };
    let at = |us: i64| Store::open(options(), Clock::simulated(us), registry(50, "Cel")).unwrap();
    let store = at(start_us);
    let first = store.incarnation();
    for n in 0..10 {
        put(&store, if n == 3 { audit("old") } else { samples(400, n) }).await;
    }
    drop(store);
    let store = at(start_us + 2 * day);
    put(&store, audit("new")).await;
    let there = || read_all(&store, first).iter().map(|f| f.0).collect::<Vec<_>>();
    eventually("the old record went", || !there().contains(&4)).await;
    assert_eq!(there(), [1, 2, 3, 5, 6, 7, 8, 9, 10]);
    eventually("told", || !gaps(&store).is_empty()).await;
    let told = gaps(&store);
    assert!(told.iter().any(|g| g.seqs == Some((4, 4)) && g.cause == GapCause::Age), "{told:?}");
    let values = store.history(&[common::PointId(5)], 0, i64::MAX, 10_000);
    assert_eq!(values.len(), 9 * 8, "and samples are found by time as before");
}

/// An order reads only what may hold such frames, a segment at a time: what is to be written goes between.
#[tokio::test]
async fn an_order_to_drop_lets_writes_through_and_reads_no_more_than_it_must() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let options = Options { disk: Arc::new(disk.clone()), quota_bytes: 4 << 20, ..small(dir.path()) };
    let store = open(options);
    for n in 0..150 {
        put(&store, samples(400, n)).await;
    }
    let now = Clock::system().now_us();
    let before = disk.reads();
    let nothing = store.drop_cut(0, 1_000_000).await.unwrap();
    assert_eq!((nothing.frames, disk.reads()), (0, before), "by their footers no segment has such frames");
    // A disk so slow that it has read nothing yet.
    disk.let_read(Some(0));
    let order = tokio::spawn({
        let store = store.clone();
        async move { store.drop_cut(0, now).await }
    });
    let busy = async || {
        let second = tokio::time::timeout(Duration::from_millis(20), store.drop_cut(0, now)).await;
        matches!(second, Ok(Err(DropError::Busy)))
    };
    eventually("it reads", || disk.reading_waits()).await;
    let id = store.append(samples(10, 999)).unwrap();
    // Asked for, and not to be had before the reading ends.
    let _ = tokio::time::timeout(Duration::from_millis(20), store.durable(id)).await;
    // Enough for two or three of its many segments.
    disk.let_read(Some(8));
    let written = store.durable(id).await;
    let (finished, is_busy) = (order.is_finished(), busy().await);
    // Before anything is judged: the log cannot end while a reading waits.
    disk.let_read(None);
    assert!(written.is_ok() && !finished && is_busy, "{written:?} {finished} {is_busy}");
    let done = tokio::time::timeout(Duration::from_secs(20), order).await.unwrap().unwrap().unwrap();
    assert_eq!((done.frames, done.samples), (150, 150 * 400));
    synced(&store).await;
    let samples_left = store.status().samples.frames;
    assert_eq!(samples_left, 1);
    assert_eq!(store.drop_cut(0, now).await.unwrap().frames, 0, "and another is taken");
}

/// A clock that was not set says nothing of when a frame was cut.
#[tokio::test]
async fn an_order_to_drop_leaves_what_an_unset_clock_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(small(dir.path()));
    for n in 0..3 {
        put(&store, samples(100, n)).await;
    }
    let incarnation = store.incarnation();
    let written = read_all(&store, incarnation);
    store.close();
    drop(store);
    let path = std::fs::read_dir(dir.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    // The second as it would be from a clock that was not set.
    let old = &written[1].1;
    let mut frame = Frame::decode(old).unwrap();
    frame.header.synchronised = false;
    let new = frame.encode();
    let at = bytes.windows(old.len()).position(|w| w == &old[..]).unwrap();
    assert_eq!(new.len(), old.len());
    bytes[at..at + new.len()].copy_from_slice(&new);
    let crc = crc32fast::hash(&[&bytes[at - 8..at - 4], &new[..]].concat());
    bytes[at - 4..at].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let store = open(small(dir.path()));
    assert_eq!(store.drop_cut(0, i64::MAX).await.unwrap().frames, 2);
    assert_eq!(read_all(&store, incarnation).iter().map(|f| f.0).collect::<Vec<_>>(), [2]);
}

/// Nobody waits for ever for an order that came as the log closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_comes_as_the_log_closes_is_refused() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let options = Options { disk: Arc::new(disk.clone()), ..small(dir.path()) };
    let store = open(options);
    put(&store, samples(10, 1)).await;
    // The writer is in a call to the disk that takes its time.
    let (met, is_met) = std::sync::mpsc::channel();
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    disk.cut_after(1, move || {
        met.send(()).unwrap();
        held.lock().unwrap().recv().unwrap();
    });
    store.append(samples(10, 2)).unwrap();
    is_met.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut order = Box::pin(store.drop_cut(0, i64::MAX));
    let soon = tokio::time::timeout(Duration::from_millis(20), &mut order).await;
    assert!(soon.is_err(), "nobody could carry it out");
    let closing = std::thread::spawn({
        let store = store.clone();
        move || store.close()
    });
    eventually("it closes", || store.append(audit("x")) == Err(LogError::Closed)).await;
    go_on.send(()).unwrap();
    closing.join().unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), order).await.expect("it waits for ever");
    assert!(matches!(told, Err(DropError::Closed)));
}

/// What the cloud has is freed at once here. The state is what a loss of power may take.
#[tokio::test]
async fn commands_are_known_when_their_frames_have_gone_and_the_state_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (CommandId::new(), CommandId::new());
    let options = || Options { ring: false, quota_bytes: 4 << 20, ..small(dir.path()) };
    let store = open(options());
    let first = store.incarnation();
    store.append(update(a, CommandState::Executing)).unwrap();
    store.append(update(a, CommandState::Succeeded)).unwrap();
    store.append(update(b, CommandState::Executing)).unwrap();
    let mut last = 0;
    for n in 0..120 {
        last = put(&store, samples(500, n)).await.seq;
    }
    store.ack(&[Known { incarnation: first, seqs: vec![(1, last)].into() }]).unwrap();
    eventually("their frames have gone", || store.read(first, 1, 1).unwrap()[0].0 > 3).await;
    drop(store);
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let store = open(options());
    let states: Vec<_> = store.commands().into_iter().map(|c| (c.id, c.state)).collect();
    assert_eq!(states, [(a, CommandState::Succeeded), (b, CommandState::Executing)]);
}
