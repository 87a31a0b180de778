//! The log by its trait: numbers, durability, reopening, acks, commands, snapshot, history, refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::sync::Arc;
use std::time::Duration;

use common::wire::{Body, GapCause, Known};
use common::{Clock, CommandId, CommandState, Drain, IntervalSet, PointId, Value};
use gateway_core::{Bus, DropCounts, FrameId, FrameLog, LogError, Policy};
use gateway_store::{FeedOptions, OpenError, Store, feed};
use rig::*;

fn known(id: FrameId, seqs: Vec<(u64, u64)>) -> Known {
    Known { incarnation: id.incarnation, seqs: seqs.into() }
}

#[tokio::test]
async fn frames_are_read_at_once_and_again_after_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let first = store.incarnation();
    let mut written = Vec::new();
    for n in 0..20 {
        let id = store.append(samples(100, n)).unwrap();
        assert_eq!(id, FrameId { incarnation: first, seq: n + 1 });
        let read = store.read(first, id.seq, 1).unwrap();
        assert_eq!(read.len(), 1);
        written.extend(read);
    }
    store.durable(FrameId { incarnation: first, seq: 20 }).await.unwrap();
    assert_eq!(store.watermark().borrow().durable, 20);
    assert_eq!(store.health().unacked_frames, 20);
    drop(store);

    let store = open(options(dir.path()));
    assert_ne!(store.incarnation(), first);
    let ranges = store.ranges();
    assert_eq!((ranges[0].incarnation, ranges[0].first, ranges[0].last), (first, 1, 20));
    assert_eq!(read_all(&store, first), written);
    assert_eq!(store.append(samples(1, 1)).unwrap().seq, 1);
    store.ack(&[Known { incarnation: first, seqs: vec![(1, 10), (15, 20)].into() }]).unwrap();
    assert_eq!(store.health().unacked_frames, 5);
    // Also acknowledged ones stay in the ring.
    assert_eq!(read_all(&store, first).len(), 20);
    drop(store);

    let store = open(options(dir.path()));
    assert_eq!(store.acked(first), vec![(1, 10), (15, 20)].into());
    assert_eq!(store.health().unacked_frames, 5);
    assert!(gaps(&store).is_empty());
}

#[tokio::test]
async fn the_watermark_moves_within_the_interval_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.append(samples(10, 1)).unwrap();
    assert_eq!(store.watermark().borrow().head, 1);
    synced(&store).await;
}

#[tokio::test]
async fn an_ack_of_what_was_never_given_out_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let id = store.append(samples(1, 1)).unwrap();
    store.ack(&[known(id, vec![(1, 1000)])]).unwrap();
    assert_eq!(store.acked(id.incarnation), vec![(1, 1)].into());
    store.append(samples(1, 2)).unwrap();
    assert_eq!(store.health().unacked_frames, 1);
}

#[tokio::test]
async fn without_a_ring_acknowledged_segments_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    (o.segment_bytes, o.ring) = (16 << 10, false);
    let store = open(o);
    let mut id = store.append(samples(1000, 0)).unwrap();
    for n in 1..40 {
        id = store.append(samples(1000, n)).unwrap();
        store.durable(id).await.unwrap();
    }
    let before = store.health().disk_bytes;
    store.ack(&[known(id, vec![(1, 40)])]).unwrap();
    eventually("segments freed", || store.health().disk_bytes < before / 4).await;
    assert!(gaps(&store).is_empty());
}

#[tokio::test]
async fn what_another_reader_wants_stays_up_to_its_lag_and_not_longer() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    (o.segment_bytes, o.ring) = (16 << 10, false);
    let store = open(o);
    let mut id = store.append(samples(1000, 0)).unwrap();
    let first = id;
    store.hold("host", first, u64::MAX);
    for n in 1..40 {
        id = store.append(samples(1000, n)).unwrap();
        store.durable(id).await.unwrap();
    }
    let before = store.health().disk_bytes;
    store.ack(&[known(id, vec![(1, 40)])]).unwrap();
    // Another append has the writer look at what may go.
    let next = store.append(samples(1, 40)).unwrap();
    store.durable(next).await.unwrap();
    assert_eq!(read_all(&store, first.incarnation)[0].0, 1, "the reader still wants it");
    store.hold("host", first, before / 2);
    eventually("what is beyond the lag is freed", || store.health().disk_bytes < before * 2 / 3).await;
    assert!(store.health().disk_bytes > before / 4, "what is within it stays");
    store.hold("host", next, u64::MAX);
    eventually("the rest is freed", || store.health().disk_bytes < before / 4).await;
    assert!(gaps(&store).is_empty());
    assert_eq!(store.status().readers.len(), 2);
    // A reader that is gone is no reader.
    store.hold("host", FrameId { seq: u64::MAX, ..next }, 0);
    assert_eq!(store.status().readers.len(), 1);
}

#[tokio::test]
async fn a_second_store_on_the_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(options(dir.path()));
    let second = Store::open(options(dir.path()), Clock::system(), registry(1, ""));
    assert!(matches!(second, Err(OpenError::Locked { .. })));
}

#[tokio::test]
async fn a_snapshot_holds_the_last_values_as_of_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()), Clock::system(), registry(9000, "")).unwrap();
    assert!(store.snapshot().is_empty());
    for start in [0, 4000, 8000] {
        let rows = (start..(start + 4000).min(9000)).map(|p| sample(p, f64::from(p), 1)).collect();
        store.append(Body::Samples(rows)).unwrap();
    }
    store.append(Body::Samples(vec![sample(7, -1.0, 2)])).unwrap();
    let parts = store.snapshot();
    assert!(parts.len() > 1);
    assert!(parts.iter().all(|p| p.seq == 4 && p.incarnation == store.incarnation()));
    let rows: Vec<_> = parts.iter().flat_map(|p| p.rows.clone()).collect();
    assert_eq!(rows.len(), 9000);
    assert_eq!(rows[7].value, Some(Value::F64(-1.0)));
}

#[tokio::test]
async fn frames_of_an_older_configuration_keep_their_schema() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.append(Body::Samples(vec![sample(3, 1.0, 100)])).unwrap();
    let old = store.schemas()[0];
    let json = store.schema_json(old).unwrap();
    drop(store);
    let store = Store::open(options(dir.path()), Clock::system(), registry(50, "K")).unwrap();
    assert_eq!(store.schemas().len(), 2);
    assert_eq!(store.schemas()[0], old);
    assert_eq!(store.schema_json(old).unwrap(), json);
    store.append(Body::Samples(vec![sample(3, 2.0, 200)])).unwrap();
    // Both lie under the point's name.
    let values: Vec<_> =
        store.history(&[PointId(3)], 0, 1000, 10).into_iter().map(|s| s.value.unwrap()).collect();
    assert_eq!(values, [Value::F64(1.0), Value::F64(2.0)]);
}

#[tokio::test]
async fn history_gives_the_newest_of_a_time_range_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    o.segment_bytes = 16 << 10;
    let store = open(o);
    for n in 0..60 {
        store.append(samples(500, n)).unwrap();
    }
    synced(&store).await;
    store.append(samples(500, 60)).unwrap();
    let (from, to) = (10_000_000, 60_000_100);
    let found = store.history(&[PointId(5)], from, to, 100_000);
    // 10 of 500 a frame; the last frame only up to sample 100.
    assert_eq!(found.len(), 50 * 10 + 2);
    assert!(found.windows(2).all(|w| w[0].source_us < w[1].source_us));
    let newest = store.history(&[PointId(5)], from, to, 7);
    assert_eq!(newest, found[found.len() - 7..]);
    assert!(store.history(&[PointId(5)], 70_000_000, 80_000_000, 10).is_empty());
}

#[tokio::test]
async fn commands_are_known_after_a_restart_also_when_the_state_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (CommandId::new(), CommandId::new());
    let store = open(options(dir.path()));
    store.append(update(a, CommandState::Executing)).unwrap();
    store.append(update(b, CommandState::Executing)).unwrap();
    let last = store.append(update(a, CommandState::Succeeded)).unwrap();
    store.durable(last).await.unwrap();
    store.set_note("switch", b"remote").unwrap();
    drop(store);
    for round in 0..2 {
        let store = open(options(dir.path()));
        let states: Vec<_> = store.commands().into_iter().map(|c| (c.id, c.state)).collect();
        assert_eq!(states, [(b, CommandState::Executing), (a, CommandState::Succeeded)], "round {round}");
        assert_eq!(store.note("switch").unwrap(), b"remote");
        drop(store);
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_state_is_set_aside_and_the_log_goes_on() {
    let mut set_aside = 0;
    for round in 0..8usize {
        let dir = tempfile::tempdir().unwrap();
        let store = open(options(dir.path()));
        let first = store.append(samples(1, 1)).unwrap();
        for _ in 0..300 {
            store.append(update(CommandId::new(), CommandState::Succeeded)).unwrap();
        }
        store.ack(&[known(first, vec![(1, 1)])]).unwrap();
        drop(store);
        let path = dir.path().join("state/db");
        let mut db = std::fs::read(&path).unwrap();
        let used = db.iter().rposition(|b| *b != 0).unwrap();
        let at = used * (round + 1) / 9;
        match round % 4 {
            0 => db[at..(at + 4096).min(used)].fill(0),
            1 => db.truncate(at),
            2 => db[at] ^= 0x10,
            // Its own description of itself.
            _ => std::fs::write(dir.path().join("state/conf"), b"nonsense, and not a little").unwrap(),
        }
        std::fs::write(&path, db).unwrap();
        let store = open(options(dir.path()));
        set_aside += usize::from(dir.path().join("state.damaged").exists());
        assert_eq!(store.commands().len(), 300);
        assert_eq!(read_all(&store, first.incarnation).len(), 301);
        // The cloud tells again what it has, also should the state refuse to keep it.
        store.ack(&[known(first, vec![(1, 301)])]).unwrap();
        assert_eq!(store.health().unacked_frames, 0);
        drop(store);
        let store = open(options(dir.path()));
        assert_eq!(read_all(&store, first.incarnation).len(), 301, "round {round}");
        assert_eq!(store.commands().len(), 300, "round {round}");
    }
    assert!(set_aside > 0);
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_and_nothing_in_memory_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let log = dir.path().join("log");
    std::fs::remove_dir_all(&log).unwrap();
    let id = store.append(samples(10, 1)).unwrap();
    assert!(matches!(store.durable(id).await, Err(LogError::Write { .. })));
    assert!(store.health().fault.is_some());
    assert_eq!(store.read(id.incarnation, 1, 1).unwrap().len(), 1);
    std::fs::create_dir(&log).unwrap();
    synced(&store).await;
    assert!(store.health().fault.is_none());
    drop(store);
    let store = open(options(dir.path()));
    assert_eq!(read_all(&store, id.incarnation)[0].0, 1);
}

#[tokio::test]
async fn a_full_tail_refuses_counts_and_tells_what_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    o.tail_bytes = 64 << 10;
    let store = open(o);
    let log = dir.path().join("log");
    std::fs::remove_dir_all(&log).unwrap();
    let mut refused = 0;
    for n in 0..100 {
        match store.append(samples(1000, n)) {
            Ok(_) => {}
            Err(LogError::Write { .. }) => refused += 1000,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0);
    // What is not samples has some room beyond, so that intents are not refused for samples' sake.
    store.append(audit("x")).unwrap();
    // What the cloud has needs no disk.
    let head = store.watermark().borrow().head;
    // A part of the loss is told already where the writer's thread began late; then that is acknowledged, and may go.
    let known: u64 = gap_frames(&store).iter().filter(|(seq, _)| *seq <= head).map(|(_, g)| g.samples).sum();
    store.ack(&[Known { incarnation: store.incarnation(), seqs: vec![(1, head)].into() }]).unwrap();
    store.append(samples(1000, 200)).unwrap();
    std::fs::create_dir(&log).unwrap();
    // In one gap or in several: the disk is back at any moment.
    let told = || {
        let new = gap_frames(&store).into_iter().filter(|(seq, _)| *seq > head);
        known + new.map(|(_, g)| g.samples).sum::<u64>()
    };
    eventually("loss told", || told() >= refused).await;
    assert_eq!(told(), refused);
    assert!(gaps(&store).iter().all(|g| g.cause == GapCause::DiskFull));
}

#[tokio::test]
async fn a_closed_log_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.append(samples(10, 1)).unwrap();
    store.close();
    assert_eq!(store.watermark().borrow().durable, 1);
    assert_eq!(store.append(samples(1, 1)), Err(LogError::Closed));
}

#[tokio::test]
async fn run_brings_everything_to_disk_when_drained() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let drain = Drain::new();
    let running = tokio::spawn(store.clone().run(drain.clone()));
    store.append(samples(10, 1)).unwrap();
    drain.start();
    running.await.unwrap().unwrap();
    assert_eq!(store.watermark().borrow().durable, 1);
}

#[tokio::test]
async fn the_feeder_cuts_by_count_and_by_time_and_tells_overruns() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let drops = DropCounts::default();
    let bus = Bus::new(drops.clone());
    let reader = bus.subscribe("store", 4 * 700, Policy::DropOldest);
    let overruns = Some(drops.counter("store", "slow"));
    for n in 0..6 {
        bus.publish(&vec![sample(n, 0.0, 1); 700].into());
    }
    let options = FeedOptions { overruns, max_samples: 1000, ..FeedOptions::default() };
    let drain = Drain::new();
    let feeding = tokio::spawn(feed(reader, store.clone() as Arc<dyn FrameLog>, options, drain.clone()));
    // 4 x 700 samples: two full frames, and the rest when its time is over.
    eventually("frames cut", || store.watermark().borrow().head >= 4).await;
    let told = gaps(&store);
    assert_eq!((told[0].samples, told[0].cause), (1400, GapCause::Overrun));
    let frames = read_all(&store, store.incarnation());
    let count = |b: &[u8]| common::wire::Frame::decode(b).unwrap().body.sample_count();
    let counts: Vec<usize> = frames.iter().map(|(_, b)| count(b)).collect();
    assert_eq!(counts, [0, 1000, 1000, 800]);
    bus.publish(&vec![sample(1, 9.0, 1)].into());
    drain.start();
    tokio::time::timeout(Duration::from_secs(5), feeding).await.unwrap().unwrap().unwrap();
    assert_eq!(store.watermark().borrow().head, 5);
    let none: IntervalSet = vec![].into();
    assert_eq!(store.acked(store.incarnation()), none);
}

#[tokio::test]
async fn samples_are_exported_with_their_names_from_disk_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    o.segment_bytes = 16 << 10;
    let store = open(o);
    for n in 0..20 {
        store.append(samples(500, n)).unwrap();
    }
    synced(&store).await;
    store.append(samples(500, 20)).unwrap();
    let exported = |from: i64, to: i64| {
        let mut out = Vec::new();
        store.export(from, to, |e| {
            assert_eq!((e.device, e.unit), ("oven", "Cel"));
            out.push((e.point.to_owned(), e.sample.clone()));
            out.len() < 100_000
        });
        out
    };
    let all = exported(0, i64::MAX);
    assert_eq!(all.len(), 21 * 500);
    assert!(all.iter().all(|(name, s)| *name == format!("p{}", s.point.0)));
    assert!(all.windows(2).all(|w| w[0].1.source_us < w[1].1.source_us), "in the order of taking");
    assert_eq!(exported(5_000_000, 6_000_010).len(), 500 + 11);
    let mut taken = 0;
    store.export(0, i64::MAX, |_| {
        taken += 1;
        taken < 7
    });
    assert_eq!(taken, 7, "no further than it is wanted");
}

#[tokio::test]
async fn status_counts_by_class_and_verify_finds_what_is_unsound_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    o.segment_bytes = 16 << 10;
    let store = open(o);
    for n in 0..20 {
        store.append(if n % 5 == 0 { audit("x") } else { samples(500, n) }).unwrap();
    }
    synced(&store).await;
    let id = FrameId { incarnation: store.incarnation(), seq: 1 };
    store.ack(&[known(id, vec![(1, 10)])]).unwrap();
    store.hold("host", FrameId { seq: 15, ..id }, 1 << 20);
    let status = store.status();
    assert_eq!((status.samples.frames, status.samples.unacked_frames), (16, 8));
    assert_eq!((status.records.frames, status.records.unacked_frames), (4, 2));
    let lags: Vec<_> = status.readers.iter().map(|r| (r.name.as_str(), r.lag_frames)).collect();
    assert_eq!(lags, [("cloud", 10), ("host", 6)]);
    assert!(status.oldest_us <= status.newest_us && status.lost.is_empty());
    let report = store.verify();
    assert_eq!((report.frames, report.damage.len()), (20, 0));
    let mut paths: Vec<_> =
        std::fs::read_dir(dir.path().join("log")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let mut bytes = std::fs::read(&paths[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // In place: the log has the file open.
    std::fs::write(&paths[0], &bytes).unwrap();
    let report = store.verify();
    assert_eq!(report.frames, 19);
    let damage = &report.damage[0];
    assert!(damage.file.ends_with(".seg") && damage.seqs.is_some_and(|(a, b)| a == b), "{damage:?}");
    assert!(gaps(&store).is_empty(), "it only looks");
}

/// Damage that is found in the segment that is being written stays told: the next group does not bring the frame back.
#[tokio::test]
async fn damage_in_the_segment_that_is_written_stays_told() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let store = open(gateway_store::Options { disk: Arc::new(disk.clone()), ..options(dir.path()) });
    let mut first = None;
    for n in 0..120 {
        let id = store.append(samples(500, n)).unwrap();
        first.get_or_insert(store.read(id.incarnation, id.seq, 1).unwrap().remove(0));
        store.durable(id).await.unwrap();
    }
    let path = disk.files(&dir.path().join("log")).remove(0);
    let (seq, frame) = first.unwrap();
    disk.edit(&path, |bytes| {
        let at = bytes.windows(frame.len()).position(|w| w == &frame[..]).unwrap();
        bytes[at + frame.len() / 2] ^= 1;
    });
    let incarnation = store.incarnation();
    assert_eq!(store.read(incarnation, seq, 1).unwrap()[0].0, 2);
    for n in 0..3 {
        let id = store.append(samples(10, n)).unwrap();
        store.durable(id).await.unwrap();
        assert_eq!(store.verify().damage, vec![], "it is expected again");
        let oldest = store.ranges().iter().find(|r| r.incarnation == incarnation).unwrap().first;
        assert_eq!(oldest, 2);
    }
    let told = gaps(&store);
    assert!(told.len() == 1 && told[0].seqs == Some((1, 1)), "{told:?}");
}

/// Whoever looks while groups come to disk finds each frame once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_while_it_is_written_has_each_sample_once() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let options = gateway_store::Options {
        disk: Arc::new(disk),
        segment_bytes: 16 << 10,
        sync_interval: Duration::ZERO,
        ..options(dir.path())
    };
    let store = open(options);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looking = std::thread::spawn({
        let (store, done) = (store.clone(), done.clone());
        move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let mut times = Vec::new();
                store.export(0, i64::MAX, |e| {
                    times.push(e.sample.source_us);
                    true
                });
                let taken = times.len();
                times.sort_unstable();
                times.dedup();
                assert_eq!(times.len(), taken, "some are there twice");
            }
        }
    });
    for n in 0..1000 {
        let id = store.append(samples(1, n)).unwrap();
        if n % 10 == 0 {
            store.durable(id).await.unwrap();
        }
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    looking.join().unwrap();
}
