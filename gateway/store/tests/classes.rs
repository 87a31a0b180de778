//! Points of classes: which samples a full buffer drops first, what each class may take and how long it stays, and that a
//! frame's class is known again after a crash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::wire::{Body, Frame, Gap, GapCause, Known};
use common::{Class, Clock, Drain, IntervalSet, PointId, Sample};
use gateway_core::{Bus, DropCounts, FrameLog, LogError, Policy};
use gateway_store::{FeedOptions, Options, Overflow, Store, feed};
use proptest::prelude::*;
use rig::*;

const CRITICAL: u32 = 0;
const NORMAL: u32 = 10;
const TREND: u32 = 20;

fn small(dir: &Path) -> Options {
    Options {
        segment_bytes: 16 << 10,
        quota_bytes: 256 << 10,
        sync_interval: Duration::from_millis(2),
        ..options(dir)
    }
}

fn open(options: Options) -> Arc<Store> {
    Store::open(options, Clock::system(), classed()).unwrap()
}

/// A frame of one point, of about 6 bytes a sample.
fn of(point: u32, n: u32, seed: u64) -> Body {
    samples_of(n, seed, |_| point)
}

async fn put(store: &Store, body: Body) -> u64 {
    let id = store.append(body).unwrap();
    store.durable(id).await.unwrap();
    id.seq
}

/// Numbers of the frames of each class that are there, of this boot.
fn there(store: &Store) -> BTreeMap<Class, IntervalSet> {
    let mut all: BTreeMap<Class, IntervalSet> = BTreeMap::new();
    for (seq, bytes) in read_all(store, store.incarnation()) {
        if let Body::Samples(rows) = Frame::decode(&bytes).unwrap().body {
            all.entry(class(rows[0].point.0)).or_default().insert(seq);
        }
    }
    all
}

fn union<'a>(sets: impl IntoIterator<Item = &'a IntervalSet>) -> IntervalSet {
    let mut all = IntervalSet::new();
    sets.into_iter().for_each(|set| all.extend(set));
    all
}

/// Whether each number is there or within a loss that was told.
fn is_accounted(store: &Store) -> bool {
    let there: IntervalSet =
        read_all(store, store.incarnation()).iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
    let told: IntervalSet = gaps(store).iter().filter_map(|g| g.seqs).collect::<Vec<_>>().into();
    let last = store.watermark().borrow().durable;
    (1..=last).all(|seq| there.contains(seq) || told.contains(seq))
}

#[tokio::test]
async fn trends_go_first_then_normal_samples_and_critical_ones_stay_within_their_share() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { critical_bytes: Some(128 << 10), ..small(dir.path()) });
    let mut put_of: BTreeMap<Class, Vec<u64>> = BTreeMap::new();
    let mut round = async |store: &Store, n: u64| {
        for (point, samples) in [(CRITICAL, 10), (NORMAL, 200), (TREND, 200)] {
            put_of.entry(class(point)).or_default().push(put(store, of(point, samples, n)).await);
        }
    };
    // More than the quota, but not without the trends.
    for n in 0..120 {
        round(&store, n).await;
    }
    eventually("accounted for", || is_accounted(&store)).await;
    let first = there(&store);
    assert_eq!(first[&Class::Critical].len(), 120);
    assert_eq!(first[&Class::Normal].len(), 120, "while trends can go");
    assert!(first[&Class::Trend].len() < 80, "{:?}", first[&Class::Trend]);
    assert!(gaps(&store).iter().all(|g| g.class == Some(Class::Trend) && g.cause == GapCause::Quota));
    // And then some.
    for n in 120..250 {
        round(&store, n).await;
    }
    eventually("accounted for", || is_accounted(&store)).await;
    let then = there(&store);
    assert_eq!(then[&Class::Critical].len(), 250, "they have a share");
    assert!(then[&Class::Normal].len() < 240);
    assert!(gaps(&store).iter().any(|g| g.class == Some(Class::Normal)));
    assert!(gaps(&store).iter().all(|g| g.class.is_some_and(|class| class > Class::Critical)));
    let told: u64 = gaps(&store).iter().map(|g| g.samples).sum();
    let kept = union(then.values());
    let lost = |class: Class| put_of[&class].iter().filter(|s| !kept.contains(**s)).count() as u64;
    assert_eq!(told, 200 * (lost(Class::Normal) + lost(Class::Trend)), "each sample is told once");
}

#[tokio::test]
async fn a_flood_of_critical_samples_cannot_expel_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { critical_bytes: Some(64 << 10), ..small(dir.path()) });
    for n in 0..10 {
        put(&store, of(NORMAL, 200, n)).await;
    }
    for n in 0..300 {
        put(&store, of(CRITICAL, 200, n)).await;
        if n % 10 == 0 {
            put(&store, audit(&n.to_string())).await;
        }
    }
    eventually("accounted for", || is_accounted(&store)).await;
    let there = there(&store);
    assert_eq!(there[&Class::Normal].len(), 10);
    assert!(there[&Class::Critical].len() < 80 && there[&Class::Critical].contains(read_last(&store)));
    let records = read_all(&store, store.incarnation()).into_iter();
    let audits = records.filter(|(_, b)| matches!(Frame::decode(b).unwrap().body, Body::Audit(_)));
    assert_eq!(audits.count(), 30, "records stay where critical samples go");
    assert!(gaps(&store).iter().all(|g| g.class.is_none()), "any class lost samples by it");
}

/// The last frame of samples.
fn read_last(store: &Store) -> u64 {
    union(there(store).values()).last().unwrap()
}

#[tokio::test]
async fn trends_may_have_a_bound_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { trend_bytes: Some(48 << 10), ..small(dir.path()) });
    for n in 0..60 {
        put(&store, of(NORMAL, 100, n)).await;
        put(&store, of(TREND, 200, n)).await;
    }
    eventually("accounted for", || is_accounted(&store)).await;
    let there = there(&store);
    assert_eq!(there[&Class::Normal].len(), 60);
    // A frame is about 1.3 KB; beyond the bound there is the segment that is being filled.
    assert!((25..=50).contains(&there[&Class::Trend].len()), "{:?}", there[&Class::Trend]);
    let status = store.status();
    assert_eq!((status.trends.frames, status.critical.frames), (there[&Class::Trend].len(), 0));
}

#[tokio::test]
async fn trends_that_are_few_are_not_worth_writing_all_else_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(small(dir.path()));
    for n in 0..200 {
        put(&store, of(NORMAL, 390, n)).await;
        put(&store, of(TREND, 5, n)).await;
    }
    eventually("accounted for", || is_accounted(&store)).await;
    let there = there(&store);
    let oldest = |class: Class| there[&class].iter().next().unwrap().0;
    assert!(oldest(Class::Normal).abs_diff(oldest(Class::Trend)) < 30, "they went together: {there:?}");
}

#[tokio::test]
async fn each_class_goes_at_its_own_age() {
    let dir = tempfile::tempdir().unwrap();
    let (day, start_us) = (86_400_000_000, 1_800_000_000_000_000);
    let days = |n: u64| Some(Duration::from_secs(86_400 * n));
    let options =
        || Options { critical_max_age: None, max_age: days(10), trend_max_age: days(1), ..small(dir.path()) };
    let at = |us: i64| Store::open(options(), Clock::simulated(us), classed()).unwrap();
    let store = at(start_us);
    let first = store.incarnation();
    for n in 0..5 {
        for point in [CRITICAL, NORMAL, TREND] {
            put(&store, of(point, 100, n)).await;
        }
    }
    // What the cloud has needs no telling.
    store.ack(&[Known { incarnation: first, seqs: vec![(1, 3)].into() }]).unwrap();
    drop(store);
    let left = |store: &Store| -> Vec<u32> {
        let point = |(_, b): (u64, Vec<u8>)| match Frame::decode(&b).unwrap().body {
            Body::Samples(rows) => Some(rows[0].point.0),
            _ => None,
        };
        read_all(store, first).into_iter().filter_map(point).collect()
    };
    let store = at(start_us + 2 * day);
    put(&store, audit("now")).await;
    eventually("trends went", || !left(&store).contains(&TREND)).await;
    eventually("told", || !gaps(&store).is_empty()).await;
    let told = gaps(&store);
    assert!(told.iter().all(|g| g.class == Some(Class::Trend) && g.cause == GapCause::Age), "{told:?}");
    assert_eq!(told.iter().map(|g| g.samples).sum::<u64>(), 400);
    assert!(left(&store).iter().filter(|p| **p == NORMAL).count() >= 4);
    drop(store);
    let store = at(start_us + 20 * day);
    put(&store, audit("later")).await;
    eventually("normal ones went", || !left(&store).contains(&NORMAL)).await;
    assert!(left(&store).len() >= 4 && left(&store).iter().all(|p| *p == CRITICAL));
}

#[tokio::test]
async fn where_the_oldest_are_to_stay_critical_samples_are_still_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { overflow: Overflow::DropNewest, ..small(dir.path()) });
    // So that it knows of any.
    put(&store, of(CRITICAL, 1, 0)).await;
    let mut n = 0;
    while let Ok(id) = store.append(of(if n % 2 == 0 { NORMAL } else { TREND }, 400, n)) {
        store.durable(id).await.unwrap();
        n += 1;
    }
    for n in 0..20 {
        put(&store, of(CRITICAL, 50, n)).await;
        assert!(matches!(store.append(of(TREND, 1, n)), Err(LogError::Write { .. })));
    }
    eventually("told", || !gaps(&store).is_empty()).await;
    synced(&store).await;
    assert_eq!(there(&store)[&Class::Critical].len(), 21);
    assert!(there(&store)[&Class::Normal].contains(2), "the oldest stay");
    assert!(gaps(&store).iter().all(|g| g.class == Some(Class::Normal)), "{:?}", gaps(&store));
}

/// A file without a footer: its classes are found by the schema that it begins with.
#[tokio::test]
async fn after_a_crash_frames_are_of_the_class_that_they_were() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(options(dir.path()));
    for n in 0..10 {
        for point in [CRITICAL, NORMAL, TREND, TREND] {
            put(&store, of(point, 20, n)).await;
        }
        put(&store, audit(&n.to_string())).await;
    }
    let told = |status: common::api::BufferStatus| {
        [status.samples, status.critical, status.trends, status.records].map(|class| class.frames)
    };
    let before = told(store.status());
    assert_eq!(before, [40, 10, 20, 10]);
    // As a kill leaves it.
    std::fs::create_dir(copy.path().join("log")).unwrap();
    for file in std::fs::read_dir(dir.path().join("log")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join("log").join(file.file_name())).unwrap();
    }
    // Whatever the points are now.
    let store = Store::open(options(copy.path()), Clock::system(), registry(50, "Cel")).unwrap();
    assert_eq!(told(store.status()), before);
    assert_eq!(store.classes(store.schemas()[0]).of_point(PointId(TREND)), Class::Trend);
    drop(store);
    // And closed, by the footer.
    let store = Store::open(options(copy.path()), Clock::system(), registry(50, "Cel")).unwrap();
    assert_eq!(told(store.status()), before);
}

#[tokio::test]
async fn the_feeder_cuts_frames_of_one_class_and_trends_more_rarely() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let bus = Bus::new(DropCounts::default());
    let reader = bus.subscribe("store", 10_000, Policy::DropOldest);
    // Longer than the test takes.
    let options = FeedOptions { trend_frame: Duration::from_secs(3600), ..FeedOptions::default() };
    let drain = Drain::new();
    let feeding = tokio::spawn(feed(reader, store.clone() as Arc<dyn FrameLog>, options, drain.clone()));
    let batch: Vec<Sample> = (0..50).map(|point| sample(point, 1.0, 1)).collect();
    bus.publish(&batch.clone().into());
    eventually("critical and normal ones", || store.watermark().borrow().head >= 2).await;
    bus.publish(&batch.into());
    eventually("and again", || store.watermark().borrow().head >= 4).await;
    drain.start();
    feeding.await.unwrap().unwrap();
    let mut cut: BTreeMap<Class, Vec<usize>> = BTreeMap::new();
    for (_, bytes) in read_all(&store, store.incarnation()) {
        let Body::Samples(rows) = Frame::decode(&bytes).unwrap().body else { panic!("only samples") };
        assert!(rows.iter().all(|r| class(r.point.0) == class(rows[0].point.0)));
        cut.entry(class(rows[0].point.0)).or_default().push(rows.len());
    }
    assert_eq!(cut[&Class::Critical], [10, 10]);
    assert_eq!(cut[&Class::Normal], [10, 10]);
    assert_eq!(cut[&Class::Trend], [60], "together, at the end");
}

/// What is done to the store, in any order.
#[derive(Debug, Clone)]
enum Step {
    Put(u32, u32),
    Record,
    /// The cloud has all up to a part of what there is.
    Ack(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (prop_oneof![Just(CRITICAL), Just(NORMAL), Just(TREND)], 20u32..400).prop_map(|(p, n)| Step::Put(p, n)),
        2 => Just(Step::Record),
        1 => (1u64..100).prop_map(Step::Ack),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() })]
    /// Whatever comes: each frame is there as it was, or acknowledged, or told; what is told with a class spares more
    /// important ones.
    #[test]
    fn nothing_goes_untold_and_no_gap_claims_what_it_spares(steps in prop::collection::vec(step(), 100..300)) {
        runtime().block_on(async {
            let dir = memory_dir();
            let mut store = open(small(dir.path()));
            let mut wrote: BTreeMap<(u128, u64), Option<Class>> = BTreeMap::new();
            let mut acked: BTreeMap<u128, u64> = BTreeMap::new();
            let mut told = Vec::new();
            for (n, step) in (0u64..).zip(steps) {
                let incarnation = store.incarnation().0;
                match step {
                    Step::Put(point, samples) => {
                        let seq = put(&store, of(point, samples, n)).await;
                        wrote.insert((incarnation, seq), Some(class(point)));
                    }
                    Step::Record => {
                        let seq = put(&store, audit(&n.to_string())).await;
                        wrote.insert((incarnation, seq), None);
                    }
                    Step::Ack(percent) => {
                        let last = store.watermark().borrow().head * percent / 100;
                        if last > 0 {
                            // What the cloud was told goes with the frame that told it.
                            let of_cloud = gap_frames(&store).into_iter().filter(|(seq, _)| *seq <= last);
                            told.extend(of_cloud.map(|(_, gap)| gap));
                            let seqs = vec![(1, last)].into();
                            store.ack(&[Known { incarnation: store.incarnation(), seqs }]).unwrap();
                            let known = acked.entry(incarnation).or_default();
                            *known = last.max(*known);
                        }
                    }
                    Step::Reopen => {
                        drop(store);
                        store = open(small(dir.path()));
                    }
                }
            }
            // What goes when it opens is told a little later.
            drop(store);
            let store = open(small(dir.path()));
            let untold = || {
                let mut there = BTreeMap::new();
                for range in store.ranges() {
                    for (seq, bytes) in read_all(&store, range.incarnation) {
                        there.insert((range.incarnation.0, seq), Frame::decode(&bytes).unwrap().body);
                    }
                }
                let is_told = |incarnation: u128, seq: u64, class: Option<Class>| {
                    let tells = |g: &Gap| {
                        let own = g.incarnation.is_some_and(|i| i.0 == incarnation);
                        let claims = g.class.is_none_or(|most| class.is_some_and(|c| c >= most));
                        own && claims && g.lost_seqs().is_some_and(|lost| lost.contains(seq))
                    };
                    let now = there.values().filter_map(|b| if let Body::Gap(g) = b { Some(g) } else { None });
                    now.chain(&told).any(tells)
                };
                let is_acked = |incarnation: u128, seq: u64| acked.get(&incarnation).is_some_and(|last| seq <= *last);
                wrote.iter().find(|((incarnation, seq), class)| {
                    let is_there = there.contains_key(&(*incarnation, *seq));
                    !is_there && !is_acked(*incarnation, *seq) && !is_told(*incarnation, *seq, **class)
                })
            };
            eventually("each frame is there, the cloud's, or told", || untold().is_none()).await;
        });
    }
}
