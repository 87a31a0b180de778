//! A disk that is full, fails, or writes half: the log stays up, says so, counts, tells what it cost, and goes on by itself.
//! A failed sync is never taken for success afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::sync::Arc;
use std::time::Duration;

use common::wire::{Body, Frame, GapCause, Known};
use common::{Clock, CommandId, CommandState, IntervalSet};
use gateway_core::{FrameId, FrameLog, LogError};
use gateway_store::disk::Disk;
use gateway_store::{DropError, Options, Store};
use rig::disk::{Call, Fault, ModelDisk, Random};
use rig::*;

fn options_on(disk: &ModelDisk, dir: &tempfile::TempDir) -> Options {
    Options {
        segment_bytes: 16 << 10,
        quota_bytes: 1 << 20,
        sync_interval: Duration::from_millis(2),
        disk: Arc::new(disk.clone()),
        ..options(dir.path())
    }
}

fn store_on(disk: &ModelDisk, dir: &tempfile::TempDir) -> Arc<Store> {
    Store::open(options_on(disk, dir), Clock::system(), registry(50, "Cel")).unwrap()
}

fn head(store: &Store) -> FrameId {
    FrameId { incarnation: store.incarnation(), seq: store.watermark().borrow().head }
}

/// Everything on disk, asked for until the disk takes it.
async fn through(store: &Store) {
    let mut said = None;
    for _ in 0..50 {
        match store.durable(head(store)).await {
            Ok(()) => return,
            Err(error) => said = Some(error),
        }
    }
    panic!("the disk takes writes again and the log does not: {said:?}");
}

/// What the log tells of itself.
fn events(store: &Store) -> Vec<String> {
    let event = |b: &Vec<u8>| match Frame::decode(b).unwrap().body {
        Body::Event(e) => Some(e.action),
        _ => None,
    };
    read_all(store, store.incarnation()).iter().filter_map(|(_, b)| event(b)).collect()
}

fn durable_frames(store: &Store) -> Vec<(u64, Vec<u8>)> {
    let durable = store.watermark().borrow().durable;
    read_all(store, store.incarnation()).into_iter().filter(|(seq, _)| *seq <= durable).collect()
}

/// What was read before is there as it was.
fn begins_with(now: &[(u64, Vec<u8>)], before: &[(u64, Vec<u8>)]) -> bool {
    now.len() >= before.len() && now.iter().zip(before).all(|(a, b)| a == b)
}

/// Each call that a write makes, refused in each way: nothing is lost, the fault is told and so is its end.
#[tokio::test]
async fn any_refusal_is_got_over_without_loss() {
    for call in [Call::Write, Call::Sync, Call::Create, Call::SyncDir] {
        for fault in [Fault::Full, Fault::Broken] {
            let dir = memory_dir();
            let disk = ModelDisk::new(dir.path());
            let store = store_on(&disk, &dir);
            for n in 0..10 {
                store.append(samples(300, n)).unwrap();
            }
            through(&store).await;
            let before = store.watermark().borrow().durable;
            disk.fail(call, fault, u64::MAX);
            for n in 10..40 {
                store.append(samples(300, n)).unwrap();
            }
            let told = store.durable(head(&store)).await;
            assert!(matches!(told, Err(LogError::Write { .. })), "{call:?} {fault:?} was not met");
            if call == Call::Write || call == Call::Sync {
                assert_eq!(store.watermark().borrow().durable, before, "what was refused is not durable");
            }
            disk.fail(call, fault, 0);
            through(&store).await;
            eventually("the fault is over", || store.health().fault.is_none()).await;
            eventually("told", || events(&store).contains(&"buffer.recovered".to_owned())).await;
            assert!(events(&store).contains(&"buffer.fault".to_owned()));
            through(&store).await;
            let incarnation = store.incarnation();
            let written = durable_frames(&store);
            // A full disk may cost the oldest, and tells so.
            let lost: IntervalSet = gaps(&store).iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
            assert!(fault == Fault::Full || lost.is_empty());
            let seqs: IntervalSet = written.iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
            let last = written.last().unwrap().0;
            assert!((1..=last).all(|s| seqs.contains(s) != lost.contains(s)), "{seqs:?} {lost:?}");
            // And all of it survives a loss of power, though the failed calls left half of it somewhere else.
            for seed in 0..5 {
                disk.cut();
                let left = disk.image(&mut Random::new(seed));
                let other = memory_dir();
                let moved = left.moved(dir.path(), other.path());
                let again = store_on(&moved, &other);
                assert!(begins_with(&read_all(&again, incarnation), &written), "{call:?} {fault:?} {seed}");
                assert!(gaps(&again).is_empty() || fault == Fault::Full, "{:?}", gaps(&again));
            }
        }
    }
}

/// After a failed sync the system takes what was written for clean: a sync that succeeds then says nothing of it.
#[tokio::test]
async fn what_a_failed_sync_left_is_written_again_elsewhere() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    store.append(samples(300, 0)).unwrap();
    through(&store).await;
    let files = disk.files(&dir.path().join("log")).len();
    disk.fail(Call::Sync, Fault::Broken, 1);
    store.append(samples(300, 1)).unwrap();
    eventually("met", || events(&store).contains(&"buffer.fault".to_owned())).await;
    through(&store).await;
    assert!(disk.files(&dir.path().join("log")).len() > files, "the same file was written on");
    let incarnation = store.incarnation();
    let written = durable_frames(&store);
    disk.cut();
    let left = disk.image(&mut Random::new(1)).moved(dir.path(), dir.path());
    drop(store);
    let store = store_on(&left, &dir);
    assert!(begins_with(&read_all(&store, incarnation), &written));
}

/// What the state says of a command is never more than the log does: a start that knew an end which no frame tells would
/// never tell it.
#[tokio::test]
async fn an_end_of_a_command_that_did_not_reach_the_log_is_not_known_after_a_restart() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    let id = CommandId::new();
    store.append(update(id, CommandState::Executing)).unwrap();
    through(&store).await;
    disk.fail(Call::Write, Fault::Broken, u64::MAX);
    store.append(update(id, CommandState::Succeeded)).unwrap();
    assert!(store.durable(head(&store)).await.is_err());
    drop(store);
    disk.fail(Call::Write, Fault::Broken, 0);
    for _ in 0..2 {
        let store = store_on(&disk, &dir);
        let known: Vec<_> = store.commands().into_iter().map(|c| (c.id, c.state)).collect();
        assert_eq!(known, [(id, CommandState::Executing)]);
    }
}

#[tokio::test]
async fn writes_that_the_system_takes_in_bits_are_finished() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    disk.shorten(Some(100));
    let store = store_on(&disk, &dir);
    for n in 0..20 {
        store.append(samples(200, n)).unwrap();
    }
    through(&store).await;
    let incarnation = store.incarnation();
    let written = read_all(&store, incarnation);
    assert_eq!(written.len(), 20);
    assert!(store.health().fault.is_none());
    store.close();
    drop(store);
    let store = store_on(&disk, &dir);
    assert!(begins_with(&read_all(&store, incarnation), &written));
}

/// A full disk costs the oldest samples, told before they go; what is not samples stays.
#[tokio::test]
async fn on_a_full_disk_the_oldest_samples_make_room_and_that_is_told() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    store.append(audit("first")).unwrap();
    for n in 0..40 {
        store.append(samples(500, n)).unwrap();
    }
    through(&store).await;
    disk.leave(Some(0));
    let incarnation = store.incarnation();
    for n in 40..80 {
        store.append(samples(500, n)).unwrap();
        through(&store).await;
    }
    store.append(audit("last")).unwrap();
    through(&store).await;
    let there: IntervalSet =
        read_all(&store, incarnation).iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
    let told = gaps(&store);
    assert!(told.iter().all(|g| g.cause == GapCause::DiskFull), "{told:?}");
    let lost: IntervalSet = told.iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
    assert!(!lost.is_empty());
    let last = head(&store).seq;
    assert!((1..=last).all(|s| there.contains(s) != lost.contains(s)), "{lost:?} {there:?}");
    let audits = read_all(&store, incarnation)
        .iter()
        .filter(|(_, b)| matches!(Frame::decode(b).unwrap().body, Body::Audit(_)))
        .count();
    assert_eq!(audits, 2);
    let lost_samples: u64 = told.iter().map(|g| g.samples).sum();
    let frames = lost.len();
    assert_eq!(lost_samples, 500 * frames, "all that was lost is counted");
    disk.leave(None);
    store.append(samples(500, 99)).unwrap();
    through(&store).await;
    assert!(store.health().fault.is_none());
}

/// A disk that takes nothing at all: samples are refused once memory is full, counted, and told when it is over.
#[tokio::test]
async fn while_nothing_can_be_written_what_is_refused_is_counted_and_told_later() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = Store::open(
        Options { tail_bytes: 64 << 10, ..options_on(&disk, &dir) },
        Clock::system(),
        registry(50, ""),
    )
    .unwrap();
    store.append(samples(10, 0)).unwrap();
    through(&store).await;
    disk.fail(Call::Create, Fault::Full, u64::MAX);
    disk.fail(Call::Write, Fault::Full, u64::MAX);
    let (mut refused, mut taken) = (0, 10u64);
    for n in 1..100 {
        match store.append(samples(500, n)) {
            Ok(_) => taken += 500,
            Err(LogError::Write { .. }) => refused += 500,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0);
    assert!(store.durable(head(&store)).await.is_err());
    assert!(store.health().fault.is_some());
    disk.fail(Call::Create, Fault::Full, 0);
    disk.fail(Call::Write, Fault::Full, 0);
    through(&store).await;
    eventually("told", || !gaps(&store).is_empty()).await;
    let told = gaps(&store);
    // What was there before may have made room, and is told as well.
    let lost = told.iter().map(|g| g.samples).sum::<u64>();
    assert!((refused..=refused + 10).contains(&lost), "{lost} of {refused}");
    assert!(told.iter().all(|g| g.cause == GapCause::DiskFull));
    let there: usize = read_all(&store, store.incarnation())
        .iter()
        .map(|(_, b)| Frame::decode(b).unwrap().body.sample_count())
        .sum();
    assert_eq!(there as u64 + lost, taken + refused);
}

/// Acknowledged segments need no telling to be freed, and go first.
#[tokio::test]
async fn on_a_full_disk_what_the_cloud_has_goes_first() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    for n in 0..60 {
        store.append(samples(500, n)).unwrap();
    }
    through(&store).await;
    store.ack(&[Known { incarnation: store.incarnation(), seqs: vec![(1, 40)].into() }]).unwrap();
    disk.leave(Some(0));
    for n in 60..70 {
        store.append(samples(500, n)).unwrap();
        through(&store).await;
    }
    assert_eq!(gaps(&store), vec![]);
    let read: Vec<u64> = read_all(&store, store.incarnation()).into_iter().map(|f| f.0).collect();
    assert!((41..=70).all(|s| read.contains(&s)), "{read:?}");
}

/// What was told as lost is noted by the close at the latest, if the disk refused the note until then: told once.
#[tokio::test]
async fn a_note_of_losses_that_was_refused_is_written_by_the_close() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    for n in 0..20 {
        store.append(samples(500, n)).unwrap();
        through(&store).await;
    }
    store.close();
    drop(store);
    let segments = disk.files(&dir.path().join("log"));
    disk.remove(&segments[1]).unwrap();
    disk.fail(Call::Rename, Fault::Broken, u64::MAX);
    let store = store_on(&disk, &dir);
    through(&store).await;
    assert_eq!(gaps(&store).len(), 1);
    disk.fail(Call::Rename, Fault::Broken, 0);
    store.close();
    drop(store);
    let store = store_on(&disk, &dir);
    through(&store).await;
    assert_eq!(gaps(&store), vec![]);
}

/// What cannot be read for a moment is not taken for damaged: the disk must take a write first and still not read it.
#[tokio::test]
async fn a_disk_that_does_not_read_for_a_moment_costs_no_frame() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    for n in 0..20 {
        store.append(samples(500, n)).unwrap();
        through(&store).await;
    }
    let incarnation = store.incarnation();
    let written = read_all(&store, incarnation);
    store.close();
    drop(store);
    let store = store_on(&disk, &dir);
    // Heads are read first; then all of a segment, and then its blocks.
    disk.fail_readings_after(2, 4);
    assert!(read_all(&store, incarnation).len() < written.len(), "the refusal was not met");
    let unreadable = || events(&store).contains(&"buffer.unreadable".to_owned());
    eventually("said", unreadable).await;
    through(&store).await;
    assert!(read_all(&store, incarnation) == written);
    store.append(samples(10, 99)).unwrap();
    through(&store).await;
    assert_eq!(gaps(&store), vec![]);
    assert_eq!(events(&store).iter().filter(|e| *e == "buffer.unreadable").count(), 1, "once a segment");
}

/// An audit entry of about 4 KiB that does not compress.
fn long_audit(n: u64) -> Body {
    let mut random = Random::new(n);
    let noise: String = (0..256).map(|_| format!("{:016x}", random.number())).collect();
    audit(&format!("{n} {noise}"))
}

/// What stays of a segment may be more than the reserve: then others give room, and at last it goes as a whole.
#[tokio::test]
async fn records_that_the_reserve_has_no_room_for_do_not_stop_a_full_disk() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let options =
        Options { segment_bytes: 64 << 10, records_bytes: Some(1 << 20), ..options_on(&disk, &dir) };
    let store = Store::open(options, Clock::system(), registry(50, "Cel")).unwrap();
    let body = |n: u64| if n.is_multiple_of(2) { long_audit(n) } else { samples(500, n) };
    for n in 0..160 {
        store.append(body(n)).unwrap();
        through(&store).await;
    }
    disk.leave(Some(0));
    for n in 160..260 {
        store.append(body(n)).unwrap();
        through(&store).await;
    }
    assert!(store.health().fault.is_none());
    let frames = read_all(&store, store.incarnation());
    let there: IntervalSet = frames.iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
    let told = gaps(&store);
    let lost: IntervalSet = told.iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
    assert!(told.iter().all(|g| g.cause == GapCause::DiskFull), "{told:?}");
    assert!((1..=head(&store).seq).all(|s| there.contains(s) != lost.contains(s)), "{lost:?} {there:?}");
    let audits = |(_, b): &&(u64, Vec<u8>)| matches!(Frame::decode(b).unwrap().body, Body::Audit(_));
    // 8 lie in a segment, and as a whole it gives the room to keep those of two others.
    let audits = frames.iter().filter(audits).count();
    assert!((90..130).contains(&audits), "{audits} of 130: the others stay");
}

/// A full disk that nothing can be freed on is not written to for nothing.
#[tokio::test]
async fn where_nothing_can_be_freed_the_reserve_is_left_alone() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    let reserve = dir.path().join("reserve");
    let held = || disk.files(dir.path()).contains(&reserve);
    eventually("room in reserve", held).await;
    disk.fail(Call::Create, Fault::Full, u64::MAX);
    store.append(samples(300, 1)).unwrap();
    for _ in 0..5 {
        assert!(store.durable(head(&store)).await.is_err());
        assert!(held(), "given without anything to give it for");
    }
    disk.fail(Call::Create, Fault::Full, 0);
    through(&store).await;
    assert_eq!(gaps(&store), vec![]);
}

/// The calls that a write does not make, refused in each way while segments go: writing goes on, what goes is told.
#[tokio::test]
async fn a_refusal_beside_the_writing_stops_no_write_and_hides_no_loss() {
    for call in [Call::Rename, Call::Remove, Call::Open, Call::Read] {
        for fault in [Fault::Full, Fault::Broken] {
            let dir = memory_dir();
            let disk = ModelDisk::new(dir.path());
            let options = || Options { quota_bytes: 256 << 10, ..options_on(&disk, &dir) };
            let store = Store::open(options(), Clock::system(), registry(50, "Cel")).unwrap();
            let put = async |n: u64| {
                let body = if n.is_multiple_of(10) { audit("stays") } else { samples(500, n) };
                let id = store.append(body).unwrap();
                store.durable(id).await.unwrap();
            };
            for n in 0..100 {
                put(n).await;
            }
            disk.fail(call, fault, u64::MAX);
            for n in 100..140 {
                put(n).await;
            }
            disk.fail(call, fault, 0);
            for n in 140..180 {
                put(n).await;
            }
            let incarnation = store.incarnation();
            store.close();
            let frames = read_all(&store, incarnation);
            let there: IntervalSet = frames.iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
            let lost: IntervalSet = gaps(&store).iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
            let last = head(&store).seq;
            // What records told that cannot be read any more is told again, at worst with what lies between.
            let both = call == Call::Read && fault == Fault::Broken;
            let fits = |there: bool, lost: bool| if both { there || lost } else { there != lost };
            let told = (1..=last).all(|s| fits(there.contains(s), lost.contains(s)));
            assert!(told, "{call:?} {fault:?}: {lost:?} {there:?}");
            drop(store);
            let store = Store::open(options(), Clock::system(), registry(50, "Cel")).unwrap();
            let again: IntervalSet =
                read_all(&store, incarnation).iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
            assert_eq!(again, there, "{call:?} {fault:?}");
            through(&store).await;
            assert_eq!(gaps(&store), vec![], "{call:?} {fault:?}");
            let fits = || disk.used_under(&dir.path().join("log")) < (256 << 10) + (48 << 10);
            eventually("what is gone is off the disk", fits).await;
        }
    }
}

/// Where an old file was not removed after it was written anew, the start keeps the new one and not the larger.
#[tokio::test]
async fn a_start_that_finds_a_segment_twice_keeps_what_was_written_last() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let log = dir.path().join("log");
    let options = || Options { quota_bytes: 256 << 10, ..options_on(&disk, &dir) };
    let store = Store::open(options(), Clock::system(), registry(50, "Cel")).unwrap();
    disk.fail(Call::Remove, Fault::Broken, u64::MAX);
    for n in 0..120 {
        store.append(if n % 3 == 0 { audit("stays") } else { samples(500, n) }).unwrap();
        through(&store).await;
    }
    let incarnation = store.incarnation();
    store.close();
    let frames = read_all(&store, incarnation);
    drop(store);
    disk.fail(Call::Remove, Fault::Broken, 0);
    // The last of those that were written anew twice over: its number, and what it is after a dash.
    let name = |p: &std::path::PathBuf| p.file_stem().unwrap().to_str().unwrap().to_owned();
    let names: Vec<String> = disk.files(&log).iter().map(name).collect();
    let twice: Vec<&String> =
        names.iter().filter(|n| n.contains('-') && names.contains(&n[..16].to_owned())).collect();
    assert!(!twice.is_empty(), "{names:?}");
    let store = Store::open(options(), Clock::system(), registry(50, "Cel")).unwrap();
    assert!(begins_with(&read_all(&store, incarnation), &frames));
    store.append(samples(1, 0)).unwrap();
    through(&store).await;
    let left: Vec<String> = disk.files(&log).iter().map(name).collect();
    for n in twice {
        assert!(!left.contains(&n[..16].to_owned()), "{n} went and the old one stayed");
    }
    assert_eq!(gaps(&store), vec![]);
}

/// What is told as lost is not shown, also while the disk refuses to write its segment anew.
#[tokio::test]
async fn history_does_not_show_what_is_told_as_lost() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    let store = store_on(&disk, &dir);
    for n in 0..10 {
        store.append(if n == 5 { audit("stays") } else { samples(500, n) }).unwrap();
        through(&store).await;
    }
    let shown = || store.history(&[common::PointId(5)], 0, i64::MAX, 100_000).len();
    assert_eq!(shown(), 9 * 10);
    disk.fail(Call::Create, Fault::Broken, u64::MAX);
    let refused = store.drop_cut(0, i64::MAX).await;
    assert!(matches!(refused, Err(DropError::Disk { .. })), "{refused:?}");
    assert_eq!(shown(), 0);
    assert_eq!(store.status().lost["operator"].samples, 9 * 500);
    disk.fail(Call::Create, Fault::Broken, 0);
    through(&store).await;
    let written_anew =
        || disk.files(&dir.path().join("log")).iter().any(|p| p.to_string_lossy().contains('-'));
    let mut n = 100;
    eventually("written anew", || {
        n += 1;
        store.append(audit(&n.to_string())).unwrap();
        written_anew()
    })
    .await;
    assert_eq!(shown(), 0);
}

/// What lies in quarantine is of use to nobody but a person who looks: on a full disk it goes before any sample.
#[tokio::test]
async fn on_a_full_disk_the_quarantine_goes_first() {
    let dir = memory_dir();
    let disk = ModelDisk::new(dir.path());
    store_on(&disk, &dir).close();
    let foreign = disk.create(&dir.path().join("log").join("00000000000000f0.seg")).unwrap();
    assert_eq!(foreign.write_at(&vec![0xa5; 60_000], 0).unwrap(), 60_000);
    drop(foreign);
    let store = store_on(&disk, &dir);
    let aside = || disk.used_under(&dir.path().join("quarantine"));
    assert_eq!(aside(), 60_000);
    for n in 0..10 {
        store.append(samples(500, n)).unwrap();
        through(&store).await;
    }
    disk.leave(Some(0));
    for n in 10..20 {
        store.append(samples(500, n)).unwrap();
        through(&store).await;
    }
    assert_eq!(aside(), 0);
    let told = gaps(&store);
    assert!(told.iter().all(|g| g.cause == GapCause::Damaged && g.seqs.is_none()), "{told:?}");
}
