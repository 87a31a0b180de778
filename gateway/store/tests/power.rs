//! Loss of power at any call to the disk, also while a start is getting through the loss before it: what was flushed is
//! there as it was written, nothing is there that was not written, holes are told, and what is there is not told as
//! missing. sled's files are lost, torn or from before, at each loss.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::wire::{Body, Frame, Known};
use common::{Clock, Incarnation, IntervalSet};
use gateway_core::{FrameId, FrameLog, LogError};
use gateway_store::{Options, Store};
use proptest::prelude::*;
use rig::disk::{Call, Fault, ModelDisk, Random};
use rig::*;
use tokio::time::Instant;

#[derive(Debug, Clone)]
enum Step {
    Samples(u32),
    Audit,
    Sync,
    /// Acks a range of one of the incarnations.
    Ack(prop::sample::Index, u64, u64),
    /// A clean end, and a start.
    Reopen,
    /// The next calls of a kind fail.
    Fail(Call, Fault, u64),
}

fn step(faults: Option<Fault>) -> impl Strategy<Value = Step> {
    let call = prop::sample::select(vec![Call::Write, Call::Sync, Call::Create, Call::SyncDir, Call::Rename]);
    let fault = faults.unwrap_or(Fault::Broken);
    prop_oneof![
        16 => (1u32..600).prop_map(Step::Samples),
        3 => Just(Step::Audit),
        5 => Just(Step::Sync),
        4 => (any::<prop::sample::Index>(), 1u64..30, 0u64..20).prop_map(|(i, a, n)| Step::Ack(i, a, n)),
        1 => Just(Step::Reopen),
        if faults.is_some() { 3 } else { 0 } => (call, 1u64..4).prop_map(move |(c, n)| Step::Fail(c, fault, n)),
    ]
}

/// From a start to a loss of power.
#[derive(Debug, Clone)]
struct Life {
    steps: Vec<Step>,
    /// Calls after which power goes, counted from the start's first one; if there are fewer, at the end.
    cut: u64,
    seed: u64,
}

fn life(faults: Option<Fault>) -> impl Strategy<Value = Life> {
    // Often within the start, which makes few calls.
    let cut = prop_oneof![1 => 1u64..12, 3 => 1u64..150, 1 => Just(u64::MAX / 2)];
    (prop::collection::vec(step(faults), 1..50), cut, any::<u64>()).prop_map(|(steps, cut, seed)| Life {
        steps,
        cut,
        seed,
    })
}

#[derive(Default)]
struct Model {
    /// What was appended, and what the log added, by name.
    frames: BTreeMap<Incarnation, BTreeMap<u64, Vec<u8>>>,
    acked: BTreeMap<Incarnation, IntervalSet>,
    /// What the log said was durable when power went, or at its end.
    durable: BTreeMap<Incarnation, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    quota: u64,
    ring: bool,
    /// Whether what was durable may be dropped, if that is told.
    may_drop: bool,
    encrypted: bool,
}

/// What sled may be after a loss of power.
fn harm_state(dir: &Path, backup: &Path, random: &mut Random) {
    let state = dir.join("state");
    match random.below(5) {
        0 => {}
        1 => drop(std::fs::remove_dir_all(&state)),
        2 => {
            // As it was some time ago.
            let _ = std::fs::remove_dir_all(&state);
            copy_dir(backup, &state);
        }
        _ => {
            let mut files = Vec::new();
            list(&state, &mut files);
            for path in files {
                let mut bytes = std::fs::read(&path).unwrap();
                if bytes.is_empty() || random.below(2) == 0 {
                    continue;
                }
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                if random.below(2) == 0 {
                    bytes.truncate(at);
                } else {
                    let end = (at + 512).min(bytes.len());
                    bytes[at..end].fill(0);
                }
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
    let _ = std::fs::remove_dir_all(backup);
    copy_dir(&state, backup);
}

fn list(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            p if p.is_dir() => list(&p, out),
            p => out.push(p),
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    if !from.is_dir() {
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_dir(&path, &to);
        } else {
            std::fs::copy(path, to).unwrap();
        }
    }
}

fn gap_of(bytes: &[u8]) -> Option<(Incarnation, u64, u64)> {
    match Frame::decode(bytes).expect("sound").body {
        Body::Gap(gap) => gap.seqs.and_then(|(first, last)| Some((gap.incarnation?, first, last))),
        _ => None,
    }
}

impl Model {
    /// Takes in what the log holds, and looks whether it is what was written.
    fn learn(&mut self, store: &Store) {
        for range in store.ranges() {
            let frames = self.frames.entry(range.incarnation).or_default();
            for (seq, bytes) in read_all(store, range.incarnation) {
                let frame = Frame::decode(&bytes).expect("sound");
                assert_eq!((frame.header.incarnation, frame.header.seq), (range.incarnation, seq));
                if let Some(known) = frames.get(&seq) {
                    assert_eq!(*known, bytes, "frame {seq} of {} changed", range.incarnation);
                    continue;
                }
                match frame.body {
                    Body::Gap(_) => {}
                    Body::Event(entry) => assert_eq!(entry.target, "buffer"),
                    other => panic!("nobody wrote {seq} of {}: {other:?}", range.incarnation),
                }
                frames.insert(seq, bytes);
            }
        }
    }

    /// What must hold after a start, once what it had to tell is on disk; or what does not.
    fn check(&self, store: &Store, rules: Rules) -> Result<(), String> {
        let none = IntervalSet::new();
        // Told: by what the log holds, or by what the cloud has of it.
        let mut told: BTreeMap<Incarnation, IntervalSet> = BTreeMap::new();
        for (incarnation, frames) in &self.frames {
            let acked = self.acked.get(incarnation).unwrap_or(&none);
            let there: IntervalSet =
                read_all(store, *incarnation).iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
            for (seq, bytes) in
                frames.iter().filter(|(seq, _)| acked.contains(**seq) || there.contains(**seq))
            {
                if let Some((of, first, last)) = gap_of(bytes) {
                    assert!(of != *incarnation || last < *seq, "a gap tells of what comes later");
                    told.entry(of).or_default().insert_range(first, last);
                }
            }
        }
        for incarnation in self.frames.keys().filter(|i| **i != store.incarnation()) {
            let there: IntervalSet =
                read_all(store, *incarnation).iter().map(|(s, _)| (*s, *s)).collect::<Vec<_>>().into();
            let durable = self.durable.get(incarnation).copied().unwrap_or(0);
            let acked = self.acked.get(incarnation).unwrap_or(&none);
            let told = told.get(incarnation).unwrap_or(&none);
            for seq in 1..=durable.max(there.last().unwrap_or(0)) {
                let fine = there.contains(seq) || acked.contains(seq) || told.contains(seq);
                if !fine {
                    let what = "is neither there nor told";
                    return Err(format!("frame {seq} of {incarnation} {what}; {durable} was durable"));
                }
                if rules.may_drop || seq > durable {
                    continue;
                }
                if told.contains(seq) {
                    return Err(format!("frame {seq} of {incarnation} was durable and is told as lost"));
                }
                let freed = acked.contains(seq) && !rules.ring;
                if !freed && !there.contains(seq) {
                    return Err(format!("frame {seq} of {incarnation} was durable"));
                }
            }
        }
        Ok(())
    }
}

struct Site {
    rt: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    disk: ModelDisk,
    model: Model,
    rules: Rules,
    /// What runs, for the look in the moment that power goes.
    running: Arc<Mutex<Option<Arc<Store>>>>,
}

impl Site {
    fn new(rules: Rules) -> Self {
        let dir = memory_dir();
        Self {
            rt: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            disk: ModelDisk::new(dir.path()),
            dir,
            model: Model::default(),
            rules,
            running: Arc::default(),
        }
    }

    fn start(&self) -> Option<Arc<Store>> {
        let options = Options {
            segment_bytes: 16 << 10,
            quota_bytes: self.rules.quota,
            ring: self.rules.ring,
            sync_interval: Duration::from_millis(2),
            keys: keys(self.rules.encrypted),
            disk: Arc::new(self.disk.clone()),
            ..options(self.dir.path())
        };
        let store = Store::open(options, Clock::system(), classed()).ok()?;
        *self.running.lock().unwrap() = Some(store.clone());
        Some(store)
    }

    /// Ends it, and takes down what it said.
    fn end(&mut self, store: Arc<Store>) {
        store.close();
        self.model.learn(&store);
        let durable = store.watermark().borrow().durable;
        self.model.durable.entry(store.incarnation()).or_insert(durable);
        let running = self.running.lock().unwrap().take();
        drop(running);
    }

    /// Everything on disk, if there is power.
    fn sync(&self, store: &Store) -> bool {
        for _ in 0..20 {
            let head = FrameId { incarnation: store.incarnation(), seq: store.watermark().borrow().head };
            if head.seq == 0 || self.rt.block_on(store.durable(head)).is_ok() {
                return true;
            }
            if self.disk.is_off() {
                return false;
            }
        }
        panic!("the disk works again and the log does not");
    }

    fn look(&mut self, store: &Store) {
        if !self.sync(store) || !self.disk.hold(true) {
            return;
        }
        // The writer may be making room just now, and tell what that cost in a moment. What is wrong stays wrong.
        let limit = Instant::now() + Duration::from_secs(5);
        loop {
            self.model.learn(store);
            match self.model.check(store, self.rules) {
                Ok(()) => break,
                Err(wrong) => assert!(Instant::now() < limit && self.sync(store), "{wrong}"),
            }
            std::thread::yield_now();
        }
        self.disk.hold(false);
    }

    fn live(&mut self, life: &Life) {
        let promised: Arc<Mutex<Option<(Incarnation, u64)>>> = Arc::default();
        let (running, note) = (self.running.clone(), promised.clone());
        self.disk.cut_after(life.cut, move || {
            // Not there while a start goes on, which promises nothing.
            if let Some(store) = running.try_lock().ok().and_then(|s| s.clone()) {
                *note.lock().unwrap() = Some((store.incarnation(), store.watermark().borrow().durable));
            }
        });
        let mut store = self.start();
        if let Some(store) = &store {
            self.look(store);
        }
        for (n, step) in life.steps.iter().enumerate() {
            let Some(now) = store.clone().filter(|_| !self.disk.is_off()) else { break };
            match step {
                Step::Samples(_) | Step::Audit => {
                    let body = match step {
                        // Of one class after another.
                        Step::Samples(count) => samples_of(*count, n as u64, |_| [10, 0, 10, 20][n % 4]),
                        _ => audit(&n.to_string()),
                    };
                    match now.append(body) {
                        Ok(id) => {
                            let frame = now.read(id.incarnation, id.seq, 1).unwrap().remove(0);
                            assert_eq!(frame.0, id.seq);
                            self.model.frames.entry(id.incarnation).or_default().insert(id.seq, frame.1);
                        }
                        Err(error) => assert!(matches!(error, LogError::Write { .. }), "{error}"),
                    }
                }
                Step::Sync => drop(self.sync(&now)),
                Step::Ack(which, first, more) => {
                    // The cloud acks what it was given, gaps included.
                    self.model.learn(&now);
                    let all: Vec<Incarnation> = self.model.frames.keys().copied().collect();
                    if all.is_empty() {
                        continue;
                    }
                    let incarnation = *which.get(&all);
                    let read: Vec<u64> = read_all(&now, incarnation).into_iter().map(|f| f.0).collect();
                    // Not what the log told since: nobody was given it.
                    let known = &self.model.frames[&incarnation];
                    let given = |s: &&u64| (*first..=first + more).contains(*s) && known.contains_key(*s);
                    let seqs: IntervalSet =
                        read.iter().filter(given).map(|s| (*s, *s)).collect::<Vec<_>>().into();
                    self.model.acked.entry(incarnation).or_default().extend(&seqs);
                    now.ack(&[Known { incarnation, seqs }]).unwrap();
                }
                Step::Reopen => {
                    store = None;
                    self.end(now);
                    if !self.disk.is_off() {
                        store = self.start();
                    }
                }
                Step::Fail(call, fault, times) => self.disk.fail(*call, *fault, *times),
            }
        }
        // Power goes now if it has not.
        self.disk.cut();
        if let Some((incarnation, durable)) = *promised.lock().unwrap() {
            self.model.durable.insert(incarnation, durable);
        }
        if let Some(store) = store {
            store.close();
            drop(self.running.lock().unwrap().take());
        }
        drop(self.running.lock().unwrap().take());
    }
}

fn run(lives: &[Life], rules: Rules) {
    let backup = memory_dir();
    let mut site = Site::new(rules);
    for life in lives {
        site.live(life);
        let mut random = Random::new(life.seed);
        harm_state(site.dir.path(), &backup.path().join("state"), &mut random);
        site.disk = site.disk.image(&mut random);
    }
    let store = site.start().expect("it opens whatever is there");
    site.look(&store);
    // Nothing but power was lost: what is replaced as a whole is as it was or as it was to be, also on a full disk.
    let aside = site.disk.files(&site.dir.path().join("quarantine"));
    let torn: Vec<_> = aside.iter().filter(|p| p.to_string_lossy().contains(".json")).collect();
    assert!(torn.is_empty(), "{torn:?}");
    site.end(store);
    // Once told it is mended: another start tells nothing.
    let store = site.start().unwrap();
    site.look(&store);
    assert!(rules.may_drop || gaps(&store).is_empty(), "{:?}", gaps(&store));
}

fn lives(faults: Option<Fault>) -> impl Strategy<Value = Vec<Life>> {
    prop::collection::vec(life(faults), 1..6)
}

const ROOM: u64 = 1 << 30;

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_flushed_survives_a_loss_of_power(
        lives in lives(None), ring in any::<bool>(), encrypted in any::<bool>(),
    ) {
        run(&lives, Rules { quota: ROOM, ring, may_drop: false, encrypted });
    }

    #[test]
    fn a_disk_that_fails_before_costs_nothing_that_was_said_to_be_flushed(
        lives in lives(Some(Fault::Broken)), encrypted in any::<bool>(),
    ) {
        run(&lives, Rules { quota: ROOM, ring: true, may_drop: false, encrypted });
    }

    #[test]
    fn what_goes_for_the_quota_or_for_a_full_disk_is_told_whenever_power_goes(
        lives in lives(Some(Fault::Full)), ring in any::<bool>(), encrypted in any::<bool>(),
    ) {
        // About 16 segments.
        run(&lives, Rules { quota: 256 << 10, ring, may_drop: true, encrypted });
    }
}
