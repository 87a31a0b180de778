//! The log against a model: appends, acks and restarts in any order, with room for everything and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::collections::{BTreeMap, BTreeSet};

use common::wire::{Body, Frame, Known};
use common::{Incarnation, IntervalSet};
use gateway_core::FrameLog;
use proptest::prelude::*;
use rig::*;

#[derive(Debug, Clone)]
enum Step {
    Samples(u32),
    Audit,
    Sync,
    /// Acks a range of one of the incarnations.
    Ack(prop::sample::Index, u64, u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u32..600).prop_map(Step::Samples),
        2 => Just(Step::Audit),
        2 => Just(Step::Sync),
        2 => (any::<prop::sample::Index>(), 1u64..30, 0u64..20).prop_map(|(i, a, n)| Step::Ack(i, a, n)),
        1 => Just(Step::Reopen),
    ]
}

struct Model {
    /// By incarnation in order: all frames, and what was acked.
    frames: Vec<(Incarnation, BTreeMap<u64, Vec<u8>>)>,
    acked: BTreeMap<Incarnation, IntervalSet>,
}

fn run(steps: &[Step], quota: u64) -> (Model, std::sync::Arc<gateway_store::Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut o = options(dir.path());
    (o.segment_bytes, o.quota_bytes, o.keys) = (16 << 10, quota, keys(steps.len() % 2 == 1));
    let mut store = open(o.clone());
    let mut model = Model { frames: vec![(store.incarnation(), BTreeMap::new())], acked: BTreeMap::new() };
    // The log adds gaps and events of its own: the model learns them by reading.
    let learn = |model: &mut Model, store: &gateway_store::Store| {
        for (incarnation, frames) in &mut model.frames {
            for (seq, frame) in read_all(store, *incarnation) {
                let known = frames.entry(seq).or_insert_with(|| frame.clone());
                assert_eq!(*known, frame, "frame {seq} changed");
            }
        }
    };
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Samples(_) | Step::Audit => {
                let body = match step {
                    Step::Samples(count) => samples(*count, n as u64),
                    _ => audit(&n.to_string()),
                };
                let id = store.append(body).unwrap();
                let frame = store.read(id.incarnation, id.seq, 1).unwrap().remove(0);
                assert_eq!(frame.0, id.seq);
                model.frames.last_mut().unwrap().1.insert(id.seq, frame.1);
            }
            Step::Sync => rt.block_on(synced(&store)),
            Step::Ack(which, first, more) => {
                // The cloud acks what it was given, gaps included.
                learn(&mut model, &store);
                let (incarnation, frames) = which.get(&model.frames);
                let last = frames.keys().last().copied().unwrap_or(0).min(first + more);
                let mut seqs = IntervalSet::new();
                seqs.insert_range(*first, last);
                model.acked.entry(*incarnation).or_default().extend(&seqs);
                store.ack(&[Known { incarnation: *incarnation, seqs }]).unwrap();
            }
            Step::Reopen => {
                drop(store);
                store = open(o.clone());
                learn(&mut model, &store);
                model.frames.push((store.incarnation(), BTreeMap::new()));
            }
        }
    }
    // What the writer has just dropped is told when this returns.
    store.close();
    learn(&mut model, &store);
    (model, store, dir)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_room_everything_is_kept(steps in prop::collection::vec(step(), 1..60)) {
        let (model, store, _dir) = run(&steps, 1 << 30);
        for (incarnation, frames) in &model.frames {
            let read: BTreeMap<u64, Vec<u8>> = read_all(&store, *incarnation).into_iter().collect();
            prop_assert_eq!(&read, frames);
        }
        let ranges: Vec<_> = store.ranges().into_iter().map(|r| (r.incarnation, r.first, r.last)).collect();
        let want: Vec<_> = model.frames.iter().filter(|(_, f)| !f.is_empty())
            .map(|(i, f)| (*i, *f.keys().next().unwrap(), *f.keys().last().unwrap())).collect();
        prop_assert_eq!(ranges, want);
        let unacked: usize = model.frames.iter().map(|(i, frames)| {
            let acked = model.acked.get(i).cloned().unwrap_or_default();
            frames.keys().filter(|s| !acked.contains(**s)).count()
        }).sum();
        prop_assert_eq!(store.health().unacked_frames, unacked as u64);
    }

    #[test]
    fn without_room_what_goes_is_acked_or_told_and_audits_stay(
        steps in prop::collection::vec(step(), 150..260),
    ) {
        // The quota holds about 16 segments of 16 KiB; the steps write up to three times as much.
        let (model, store, _dir) = run(&steps, 256 << 10);
        prop_assert!(store.health().disk_bytes <= (256 << 10) + (32 << 10), "{}", store.health().disk_bytes);
        let mut told: BTreeMap<Incarnation, IntervalSet> = BTreeMap::new();
        for frame in model.frames.iter().flat_map(|(_, f)| f.values()) {
            if let Body::Gap(gap) = Frame::decode(frame).unwrap().body
                && let (Some(incarnation), Some((first, last))) = (gap.incarnation, gap.seqs)
            {
                told.entry(incarnation).or_default().insert_range(first, last);
            }
        }
        for (incarnation, frames) in &model.frames {
            let read: BTreeSet<u64> = read_all(&store, *incarnation).into_iter().map(|(s, _)| s).collect();
            let acked = model.acked.get(incarnation).cloned().unwrap_or_default();
            let told = told.get(incarnation).cloned().unwrap_or_default();
            for (seq, frame) in frames {
                let there = read.contains(seq) || acked.contains(*seq);
                prop_assert!(there || told.contains(*seq), "frame {seq} of {incarnation} gone untold");
                let body = Frame::decode(frame).unwrap().body;
                prop_assert!(there || matches!(body, Body::Samples(_)), "{body:?} gone");
            }
        }
    }
}
