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
