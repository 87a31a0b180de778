//! Damage: whatever bytes lie in the segments, opening does not fail, what is sound is read as
//! it was written, and what is missing is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod rig;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::IntervalSet;
use common::wire::GapCause;
use gateway_core::FrameLog;
use proptest::prelude::*;
use rig::*;

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir.join("log")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A folder as a crash leaves it: copied while the store has it open, or after it was closed.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("log")).unwrap();
    for path in segments(from) {
        std::fs::copy(&path, to.join("log").join(path.file_name().unwrap())).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Harm {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Fill(prop::sample::Index, usize),
    Append(Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Harm::Cut),
        (index(), 0u8..8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        (index(), 1usize..5000).prop_map(|(at, n)| Harm::Fill(at, n)),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(Harm::Append),
    ]
}

/// Harms bytes; returns the first place that changed.
fn apply(harm: &Harm, bytes: &mut Vec<u8>) -> usize {
    match harm {
        Harm::Cut(at) => {
            let at = at.index(bytes.len());
            bytes.truncate(at);
            at
        }
        Harm::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            at
        }
        Harm::Fill(at, n) => {
            let at = at.index(bytes.len());
            let end = (at + n).min(bytes.len());
            bytes[at..end].fill(0xee);
            at
        }
        Harm::Append(more) => {
            let at = bytes.len();
            bytes.extend(more);
            at
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_damage_is_got_through_and_what_is_sound_survives(
        harms in prop::collection::vec((any::<prop::sample::Index>(), harm()), 1..4),
        closed in any::<bool>(),
    ) {
        let (origin, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rt = runtime();
        let _in = rt.enter();
        let mut o = options(origin.path());
        o.segment_bytes = 16 << 10;
        let store = open(o);
        let incarnation = store.incarnation();
        for n in 0..30 {
            store.append(if n % 7 == 3 { audit("t") } else { samples(300, n) }).unwrap();
        }
        rt.block_on(synced(&store));
        let written: BTreeMap<u64, Vec<u8>> = read_all(&store, incarnation).into_iter().collect();
        prop_assert_eq!(written.len(), 30);
        if closed {
            store.close();
        }
        copy(origin.path(), dir.path());
        drop(store);

        let files = segments(dir.path());
        let mut first_harm: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (which, harm) in &harms {
            let path = which.get(&files);
            let mut bytes = std::fs::read(path).unwrap();
            if bytes.is_empty() { continue; }
            let at = apply(harm, &mut bytes);
            let first = first_harm.entry(path.clone()).or_insert(at);
            *first = at.min(*first);
            std::fs::write(path, bytes).unwrap();
        }
        // What lies wholly before the first harm of its file must be read.
        let mut safe = IntervalSet::new();
        for path in &files {
            let limit = first_harm.get(path).copied().unwrap_or(usize::MAX);
            let original = std::fs::read(origin.path().join("log").join(path.file_name().unwrap())).unwrap();
            for (seq, frame) in &written {
                if let Some(at) = original.windows(frame.len()).position(|w| w == &frame[..])
                    && at + frame.len() <= limit
                    && limit > 100
                {
                    safe.insert(*seq);
                }
            }
        }

        let mut o = options(dir.path());
        o.segment_bytes = 16 << 10;
        let store = open(o.clone());
        let read: BTreeMap<u64, Vec<u8>> = read_all(&store, incarnation).into_iter().collect();
        for (seq, frame) in &read {
            prop_assert_eq!(Some(frame), written.get(seq), "frame {} is not what was written", seq);
        }
        for (first, last) in safe.iter() {
            for seq in first..=last {
                prop_assert!(read.contains_key(&seq), "frame {} lost, harms {:?}", seq, harms);
            }
        }
        // What is missing between what is there is told, unless a whole file is without its header.
        rt.block_on(synced(&store));
        let told = gaps(&store);
        prop_assert!(told.iter().all(|g| g.cause == GapCause::Damaged));
        let anonymous = told.iter().any(|g| g.incarnation.is_none());
        let mut covered: IntervalSet = told.iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
        read.keys().for_each(|seq| { covered.insert(*seq); });
        let files_cut = harms.iter().any(|(_, h)| matches!(h, Harm::Cut(_)));
        if let (false, false, Some(last)) = (anonymous, files_cut, read.keys().last()) {
            prop_assert!(covered.contains_range(1, *last), "{:?} not told, harms {:?}", covered, harms);
        }
        // Once told it is mended: another start tells nothing.
        drop(store);
        let store = open(o);
        let again: BTreeMap<u64, Vec<u8>> = read_all(&store, incarnation).into_iter().collect();
        prop_assert_eq!(&again, &read);
        rt.block_on(synced(&store));
        prop_assert_eq!(gaps(&store), vec![]);
    }
}

/// Frames before a place where reading starts are sound, whatever stands at that place.
#[tokio::test]
async fn damage_where_reading_starts_costs_no_frame_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let incarnation = store.incarnation();
    for n in 0..100 {
        store.append(samples(300, n)).unwrap();
    }
    synced(&store).await;
    let written = read_all(&store, incarnation);
    drop(store);
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    for (seq, frame) in &written[1..] {
        let at = whole.windows(frame.len()).position(|w| w == &frame[..]).unwrap();
        let mut bytes = whole.clone();
        bytes[at + frame.len() / 2] ^= 1;
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path());
        std::fs::write(segments(other.path()).remove(0), bytes).unwrap();
        let store = open(options(other.path()));
        // As the uplink does that goes on where it was.
        store.read(incarnation, *seq, 1).unwrap();
        let left: Vec<u64> = read_all(&store, incarnation).iter().map(|f| f.0).collect();
        assert_eq!(left, (1..=100).filter(|s| s != seq).collect::<Vec<_>>());
    }
}

/// A log of three segments, and what is in it.
async fn three_segments(dir: &Path) -> (common::Incarnation, Vec<(u64, Vec<u8>)>) {
    let mut o = options(dir);
    o.segment_bytes = 16 << 10;
    let store = open(o);
    for n in 0..12 {
        let id = store.append(samples(500, n)).unwrap();
        store.durable(id).await.unwrap();
    }
    let incarnation = store.incarnation();
    let written = read_all(&store, incarnation);
    store.close();
    drop(store);
    assert!(segments(dir).len() >= 3);
    (incarnation, written)
}

fn quarantined(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir.join("quarantine")).into_iter().flatten();
    let mut names: Vec<String> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A header is 60 bytes of a segment; the frames say of themselves what it said.
#[tokio::test]
async fn a_segment_with_a_spoilt_header_is_read_by_its_frames_and_mended() {
    for closed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (incarnation, written) = three_segments(dir.path()).await;
        let paths = segments(dir.path());
        let path = &paths[if closed { 0 } else { paths.len() - 1 }];
        let mut bytes = std::fs::read(path).unwrap();
        bytes[20] ^= 0x40;
        if !closed {
            // Without its end as well, so that it is scanned.
            bytes.truncate(bytes.len() - 5);
        }
        std::fs::write(path, &bytes).unwrap();
        for _ in 0..2 {
            let store = open(options(dir.path()));
            assert!(read_all(&store, incarnation) == written);
            synced(&store).await;
            assert!(quarantined(dir.path()).is_empty());
            assert!(gaps(&store).iter().all(|g| g.seqs == Some((13, 13))), "{:?}", gaps(&store));
            store.append(audit("x")).unwrap();
        }
        let mended = std::fs::read(path).unwrap();
        assert_eq!(&mended[..6], b"TWSEG\n");
        assert_ne!(mended[20], bytes[20]);
    }
}

/// Whatever stands in the folder: it opens, the rest is used, and what cannot be is moved aside and not lost.
#[tokio::test]
async fn what_cannot_be_used_is_moved_aside_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (incarnation, written) = three_segments(dir.path()).await;
    let log = dir.path().join("log");
    let paths = segments(dir.path());
    // The second is overwritten wholly; others stand where none should.
    std::fs::write(&paths[1], vec![0xa5; 9000]).unwrap();
    std::fs::write(log.join("00000000000000f0.seg"), b"").unwrap();
    std::fs::write(log.join("00000000000000f1.seg"), vec![0; 5000]).unwrap();
    std::fs::create_dir(log.join("00000000000000f2.seg")).unwrap();
    std::fs::write(log.join("holiday.seg"), vec![7; 3000]).unwrap();
    std::fs::write(log.join("readme.txt"), b"not ours").unwrap();
    std::fs::create_dir(dir.path().join("notes.json")).unwrap();
    let mut other = std::fs::read(&paths[0]).unwrap();
    other[6] = 9;
    let crc = crc32fast::hash(&other[..56]).to_le_bytes();
    other[56..60].copy_from_slice(&crc);
    std::fs::write(log.join("00000000000000f3.seg"), &other).unwrap();

    let store = open(options(dir.path()));
    synced(&store).await;
    let read = read_all(&store, incarnation);
    assert!(read.iter().all(|f| written.contains(f)) && read.len() < written.len());
    let aside = quarantined(dir.path());
    let is_there = |name: &str| aside.iter().any(|n| n.starts_with(name));
    let expected = ["00000000000000f2.seg", "holiday.seg", "notes.json"];
    assert!(expected.iter().all(|n| is_there(n)), "{aside:?}");
    assert_eq!(aside.len(), 4, "{aside:?}");
    assert!(log.join("00000000000000f3.seg").exists(), "what another version wrote waits for it");
    assert!(log.join("readme.txt").exists(), "what has no name of ours is left alone");
    // Which frames are gone is known by the holes.
    let told: IntervalSet = gaps(&store).iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
    let there: Vec<u64> = read.iter().map(|f| f.0).collect();
    assert!((1..=12).all(|s| told.contains(s) != there.contains(&s)), "{told:?} {there:?}");
    let status = store.status();
    assert_eq!(status.quarantine.files, 4);
    assert!(status.lost["damaged"].frames > 0);
    drop(store);
    let store = open(options(dir.path()));
    synced(&store).await;
    assert_eq!(gaps(&store), vec![], "told once");
}

#[tokio::test]
async fn a_whole_segment_that_is_missing_is_told_and_a_file_in_place_of_a_folder_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (incarnation, written) = three_segments(dir.path()).await;
    std::fs::remove_file(&segments(dir.path())[1]).unwrap();
    let store = open(options(dir.path()));
    synced(&store).await;
    let there: Vec<u64> = read_all(&store, incarnation).iter().map(|f| f.0).collect();
    let told: IntervalSet = gaps(&store).iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
    assert!((1..=written.len() as u64).all(|s| told.contains(s) != there.contains(&s)));
    assert!(!told.is_empty());
    drop(store);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log"), b"?").unwrap();
    std::fs::write(dir.path().join("state"), b"?").unwrap();
    std::fs::write(dir.path().join("gone.json"), b"?").unwrap();
    let store = open(options(dir.path()));
    let id = store.append(samples(1, 1)).unwrap();
    store.durable(id).await.unwrap();
    assert_eq!(quarantined(dir.path()), ["gone.json-2", "log-1"]);
}

/// What cannot be read now may be read later: rights, too many open files, a disk that is not itself. It stops no start,
/// nothing of it is told as lost, and a start that can read it has all.
#[tokio::test]
async fn a_segment_that_cannot_be_opened_waits_for_a_start_that_can() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let options = || gateway_store::Options {
        disk: std::sync::Arc::new(disk.clone()),
        segment_bytes: 16 << 10,
        ..options(dir.path())
    };
    let store = open(options());
    for n in 0..24 {
        let id = store.append(samples(500, n)).unwrap();
        store.durable(id).await.unwrap();
    }
    let incarnation = store.incarnation();
    let written = read_all(&store, incarnation);
    drop(store);
    let files = disk.files(&dir.path().join("log"));
    assert!(files.len() > 5);
    // Another one is not there at all: that is a loss, and told.
    let held = |path: &PathBuf| -> Vec<u64> {
        let bytes = disk.content(path);
        let there = |f: &&(u64, Vec<u8>)| bytes.windows(f.1.len()).any(|w| w == &f.1[..]);
        written.iter().filter(there).map(|f| f.0).collect()
    };
    let (waits, missing) = (held(&files[1]), held(&files[3]));
    assert!(!waits.is_empty() && !missing.is_empty());
    gateway_store::disk::Disk::remove(&disk, &files[3]).unwrap();
    disk.forbid(&files[1]);
    for round in 0..2 {
        let store = open(options());
        synced(&store).await;
        let there: Vec<u64> = read_all(&store, incarnation).iter().map(|f| f.0).collect();
        let fine = |s: &u64| !waits.contains(s) && !missing.contains(s);
        assert_eq!(there, (1..=24).filter(fine).collect::<Vec<_>>());
        let told: IntervalSet = gaps(&store).iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
        let lost = if round == 0 { missing.clone() } else { vec![] };
        assert_eq!(told, lost.iter().map(|s| (*s, *s)).collect::<Vec<_>>().into());
        assert_eq!(store.status().quarantine.since_start, 0);
        let report = store.verify();
        assert!(report.damage.len() == 1 && report.damage[0].seqs.is_none(), "{report:?}");
        // What the cloud says of it is not forgotten.
        let seqs = vec![(1, 24)].into();
        store.ack(&[common::wire::Known { incarnation, seqs }]).unwrap();
        drop(store);
    }
    disk.permit();
    let store = open(options());
    synced(&store).await;
    let there: Vec<u64> = read_all(&store, incarnation).iter().map(|f| f.0).collect();
    assert_eq!(there, (1..=24).filter(|s| !missing.contains(s)).collect::<Vec<_>>());
    assert_eq!(gaps(&store), vec![]);
    assert_eq!(store.acked(incarnation), vec![(1, 24)].into());
}

/// Sectors that the disk cannot read cost their frames, which is told, and nothing else; nor does the segment stay for ever.
#[tokio::test]
async fn bad_sectors_cost_their_frames_and_are_told_once() {
    let dir = memory_dir();
    let disk = disk::ModelDisk::new(dir.path());
    let log = dir.path().join("log");
    let options = || gateway_store::Options {
        disk: std::sync::Arc::new(disk.clone()),
        segment_bytes: 16 << 10,
        quota_bytes: 256 << 10,
        sync_interval: std::time::Duration::from_millis(2),
        ..options(dir.path())
    };
    let store = open(options());
    for n in 0..20 {
        let id = store.append(if n % 5 == 2 { audit("stays") } else { samples(500, n) }).unwrap();
        store.durable(id).await.unwrap();
    }
    let incarnation = store.incarnation();
    let written = read_all(&store, incarnation);
    store.close();
    drop(store);
    let second = disk.files(&log).remove(1);
    let middle = disk.content(&second).len() / 2;
    disk.spoil(&second, middle..middle + 1);
    let store = open(options());
    let read = read_all(&store, incarnation);
    assert!(read.iter().all(|f| written.contains(f)));
    let lost = || -> IntervalSet {
        let of = |g: &common::wire::Gap| g.incarnation == Some(incarnation);
        gaps(&store).iter().filter(|g| of(g)).filter_map(|g| g.seqs).collect::<Vec<_>>().into()
    };
    eventually("told", || !lost().is_empty()).await;
    let there: Vec<u64> = read.iter().map(|f| f.0).collect();
    assert!((1..=20).all(|s| lost().contains(s) != there.contains(&s)), "{:?} {there:?}", lost());
    assert!((1..=3).contains(&lost().len()), "{:?}", lost());
    assert!(gaps(&store).iter().all(|g| g.cause == GapCause::Damaged));
    assert_eq!(store.verify().damage, vec![], "what is told is no longer expected");
    // The quota takes it as any other, and what is sound of its records stays.
    for n in 20..120 {
        let id = store.append(samples(500, n)).unwrap();
        store.durable(id).await.unwrap();
    }
    assert!(!disk.files(&log).contains(&second), "it is still there");
    assert!(disk.used_under(&log) < (256 << 10) + (24 << 10), "{}", disk.used_under(&log));
    let left: Vec<u64> = read_all(&store, incarnation).iter().map(|f| f.0).collect();
    let audits = [3, 8, 13, 18].into_iter().filter(|s| there.contains(s));
    assert!(audits.clone().count() >= 3 && audits.clone().all(|s| left.contains(&s)), "{left:?}");
}

/// Where a file is empty and nothing sound is left in the next, its header still says which numbers went before it.
#[tokio::test]
async fn what_an_emptied_file_held_is_told_at_once_by_the_header_of_the_next() {
    for behind in [0, 18] {
        let dir = tempfile::tempdir().unwrap();
        let (incarnation, _) = three_segments(dir.path()).await;
        let paths = segments(dir.path());
        let [.., emptied, last] = &paths[..] else { panic!("{paths:?}") };
        std::fs::write(emptied, b"").unwrap();
        let header = std::fs::read(last).unwrap();
        std::fs::write(last, &header[..60 + behind]).unwrap();
        let store = open(options(dir.path()));
        let left = read_all(&store, incarnation).last().unwrap().0;
        synced(&store).await;
        let began = u64::from_le_bytes(header[32..40].try_into().unwrap());
        // Bytes behind the header are of one frame at least.
        let lost = (left + 1, if behind == 0 { began - 1 } else { began });
        assert_eq!(gaps(&store).iter().map(|g| g.seqs).collect::<Vec<_>>(), [Some(lost)]);
        drop(store);
        let store = open(options(dir.path()));
        synced(&store).await;
        assert_eq!(gaps(&store), []);
    }
}
