//! The buffer's outside: opens the folder, runs the writer thread, and is the gateway's `FrameLog`.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use common::api::BufferHealth;
use common::command::CommandUpdate;
use common::supervise::PartError;
use common::wire::{Body, Known, Snapshot, StreamRange};
use common::{Classes, Clock, Drain, Incarnation, IntervalSet, SchemaHash};
use gateway_core::{FrameId, FrameLog, Lacking, LogError, Points, Registry, Watermark};
use tokio::sync::watch;

use crate::acks::told;
use crate::commands::Commands;
use crate::disk::{Disk, Kind, SystemDisk, make_dirs};
use crate::encrypt::{self, EncryptedDisk};
use crate::gone::Gone;
use crate::inner::{Appender, Hold, Inner, Progress, Shared, lock};
use crate::kept::KeptCommands;
use crate::notes::Notes;
use crate::options::{OpenError, Options};
use crate::quarantine::Quarantine;
use crate::recover::{recover, replay_commands};
use crate::segment::Segment;
use crate::stamps::{Cut, Stamps};
use crate::state::{Sets, State};
use crate::table::Table;
use crate::writer::Writer;

/// How often the state beside the log is kept.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Schemas whose points' classes are remembered.
const CLASSES_KEPT: usize = 8;
/// A disk that does not answer for so long refuses.
const DURABLE_LIMIT: Duration = Duration::from_secs(5);

/// The buffer. Dropping it brings what is in memory to disk.
#[derive(Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    state: Mutex<State>,
    notes: Mutex<Notes>,
    pub(crate) quarantine: Arc<Quarantine>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Of the points of schemas that somebody asked for, the last first.
    classes: Mutex<Vec<(SchemaHash, Classes)>>,
    /// Held as long as the store lives.
    _lock: File,
}

impl Store {
    /// Opens the buffer, gets through what an earlier run left, and begins a new incarnation. Blocks for
    /// the time of reading all footers, and the segments that a crash left open.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be made or read. Damaged content is no error.
    pub fn open(options: Options, clock: Clock, registry: Arc<Registry>) -> Result<Arc<Self>, OpenError> {
        let mut options = options.bounded();
        let dir = options.dir.clone();
        let log_dir = dir.join("log");
        make_dirs(&SystemDisk, &dir).map_err(at(&dir))?;
        // Some part that began earlier may have made a folder above, and left it to chance whether its name is durable.
        dir.ancestors().skip(1).for_each(|above| _ = SystemDisk.sync_dir(above));
        let lock_file = take_lock(&dir)?;
        // Before anything takes what it cannot read for damaged.
        if let Some((path, detail)) =
            [&log_dir, &dir].iter().find_map(|d| encrypt::without_key(&*options.disk, d, &options.keys))
        {
            return Err(OpenError::Key { path, detail });
        }
        let disk: Arc<dyn Disk> = Arc::new(EncryptedDisk::over(options.disk, options.keys.clone()));
        options.disk = disk.clone();
        let quarantine = Arc::new(Quarantine::open(disk.clone(), &dir, options.quarantine_bytes()));
        if matches!(disk.kind(&log_dir), Ok(Kind::File(_) | Kind::Other)) {
            quarantine.take(&log_dir, "no folder where the log should be");
        }
        make_dirs(&*disk, &log_dir).map_err(at(&log_dir))?;
        let incarnation = Incarnation::random().map_err(|e| OpenError::Random { detail: e.to_string() })?;
        let mut state = State::open(&dir.join("state"), options.keys.clone());
        let (acks, past) = (state.acks(), state.past());
        options.opening.step();
        let (gone_file, gone, untold) = Gone::open(disk.clone(), &dir, &quarantine);
        let found = recover(&*disk, &log_dir, &gone, &quarantine, &options.opening).map_err(at(&log_dir))?;
        let (kept_file, kept) = KeptCommands::open(disk.clone(), &dir, &quarantine);
        let mut commands = Commands::default();
        state.commands().into_iter().chain(kept).for_each(|known| commands.restore(known));
        replay_commands(&*disk, &found.segments, &mut commands, &options.opening);
        let (segments, unread) = (found.segments, found.unread);
        let mut shared = Shared { segments, unread, commands, gone, ..Shared::default() };
        shared.generations.push(registry.clone());
        shared.adopt(acks, past);
        untold.into_iter().for_each(|gap| shared.retell(gap, true));
        for gap in found.gaps {
            let told = told(&gap, &shared);
            if let (Some(incarnation), Some((first, last))) = (gap.incarnation, gap.seqs) {
                shared.lose(incarnation, &vec![(first, last)].into());
            }
            if !told {
                shared.gap(gap);
            }
        }
        let table = Table::new(registry.slots());
        let (stamps, classes) = (Stamps::new(Cut::now(&clock)), Classes::of(registry.schema()));
        let inner = Arc::new(Inner {
            options,
            clock,
            points: registry.clone().into(),
            incarnation,
            appender: Mutex::new(Appender { head: 0, table, registry, stamps, classes }),
            shared: Mutex::new(shared),
            work: Condvar::new(),
            watermark: watch::Sender::new(Watermark::default()),
            progress: watch::Sender::new(Progress::default()),
        });
        // Told before anyone can ask.
        inner.tell_losses();
        inner.tell_unread();
        let files = (gone_file, kept_file);
        let mut writer = Writer::new(inner.clone(), log_dir.clone(), files, quarantine.clone());
        (writer.condemned, writer.next_ordinal) = (found.to_shrink, found.next_ordinal);
        let thread = std::thread::Builder::new()
            .name("buffer-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(at(&log_dir))?;
        tracing::info!(dir = %dir.display(), %incarnation, "buffer open");
        Ok(Arc::new(Self {
            inner,
            state: Mutex::new(state),
            notes: Mutex::new(Notes::open(disk, &dir, &quarantine)),
            quarantine,
            writer: Mutex::new(Some(thread)),
            classes: Mutex::default(),
            _lock: lock_file,
        }))
    }

    /// The generation of the registry that frames are of now.
    pub fn points(&self) -> Points {
        self.inner.points.clone()
    }

    /// Keeps the state beside the log until drained, then brings everything to disk. The log goes on
    /// taking frames after that, until it is closed or dropped.
    ///
    /// # Errors
    /// None so far; the disk's refusals are told by `health`.
    pub async fn run(self: Arc<Self>, drain: Drain) -> Result<(), PartError> {
        let mut every = tokio::time::interval(KEEP_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = drain.started() => break,
            }
            let store = self.clone();
            tokio::task::spawn_blocking(move || store.keep(false)).await?;
        }
        let head = self.inner.watermark.borrow().head;
        let frame = FrameId { incarnation: self.inner.incarnation, seq: head };
        if let Err(error) = self.durable(frame).await {
            tracing::error!(%error, "buffer is not on disk at the end");
        }
        tokio::task::spawn_blocking(move || self.keep(true)).await?;
        Ok(())
    }

    /// Brings everything to disk, closes the last segment and takes nothing more. Blocks.
    pub fn close(&self) {
        lock(&self.inner.shared).closing = true;
        self.inner.work.notify_all();
        if let Some(thread) = lock(&self.writer).take()
            && thread.join().is_err()
        {
            tracing::error!("writer of the buffer panicked");
        }
        self.keep(true);
    }

    fn keep(&self, flush: bool) {
        let durable = self.inner.watermark.borrow().durable;
        let (acks, past, commands) = {
            let mut shared = lock(&self.inner.shared);
            let past = std::mem::take(&mut shared.past_dirty).then(|| shared.past.clone());
            let commands = shared.commands.take_dirty(durable);
            let mut acks = Sets::new();
            if std::mem::take(&mut shared.acked_dirty) {
                acks = shared.acked.iter().map(|(i, s)| (*i, s.clone())).collect();
                // Empty ones stood there so that the state forgets them.
                shared.acked.retain(|_, set| !set.is_empty());
            }
            (acks, past, commands)
        };
        let mut state = lock(&self.state);
        if let Some(past) = past {
            state.keep_past(&past);
        }
        if !(acks.is_empty() && commands.is_empty()) {
            state.keep(&acks, &commands);
        }
        if flush {
            state.flush();
        }
    }
}

#[async_trait]
impl FrameLog for Store {
    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    fn append(&self, body: Body) -> Result<FrameId, LogError> {
        self.inner.append(body)
    }

    fn append_of(&self, schema: SchemaHash, body: Body) -> Result<FrameId, LogError> {
        self.inner.append_of(schema, body)
    }

    fn renew(&self, registry: &Arc<Registry>) {
        self.inner.renew(registry);
    }

    async fn durable(&self, frame: FrameId) -> Result<(), LogError> {
        let mut progress = self.inner.progress.subscribe();
        let gone = LogError::Gone { incarnation: frame.incarnation, seq: frame.seq };
        if frame.incarnation != self.inner.incarnation || frame.seq > self.inner.watermark.borrow().head {
            return Err(gone);
        }
        let failures = progress.borrow_and_update().failures;
        if progress.borrow().durable >= frame.seq {
            return Ok(());
        }
        lock(&self.inner.shared).sync_wanted = true;
        self.inner.work.notify_all();
        let reached = progress.wait_for(|p| p.durable >= frame.seq || p.failures > failures || p.closed);
        match tokio::time::timeout(DURABLE_LIMIT, reached).await {
            Ok(Ok(p)) if p.durable >= frame.seq => Ok(()),
            Ok(Ok(p)) => {
                let detail = p.fault.clone().unwrap_or_else(|| "closed".to_owned());
                Err(LogError::Write { detail })
            }
            Ok(Err(_)) => Err(LogError::Closed),
            Err(_) => Err(LogError::Write { detail: "the disk does not answer".to_owned() }),
        }
    }

    fn watermark(&self) -> watch::Receiver<Watermark> {
        self.inner.watermark.subscribe()
    }

    fn snapshot(&self) -> Vec<Snapshot> {
        let appender = lock(&self.inner.appender);
        appender.table.snapshot(appender.registry.hash(), self.inner.incarnation, appender.head)
    }

    fn ranges(&self) -> Vec<StreamRange> {
        let current = self.inner.incarnation;
        let shared = lock(&self.inner.shared);
        let mut out: Vec<StreamRange> = Vec::new();
        for segment in shared.segments.iter().filter(|s| !s.contents.present.is_empty()) {
            let (first, last) = (segment.first(), segment.last());
            match out.iter_mut().find(|r| r.incarnation == segment.incarnation) {
                Some(range) => {
                    range.first = range.first.min(first);
                    range.last = range.last.max(last);
                }
                None => out.push(StreamRange { incarnation: segment.incarnation, first, last }),
            }
        }
        let head = self.inner.watermark.borrow().head;
        if let Some(range) = out.iter_mut().find(|r| r.incarnation == current) {
            range.last = head;
        } else if let Some(first) = shared.tail.first() {
            out.push(StreamRange { incarnation: current, first, last: head });
        }
        out
    }

    fn schemas(&self) -> Vec<SchemaHash> {
        let shared = lock(&self.inner.shared);
        let mut out: Vec<SchemaHash> = Vec::new();
        let in_tail = shared.generations.iter().map(|g| g.hash());
        for hash in shared.segments.iter().map(|s| s.schema).chain(in_tail) {
            if out.last() != Some(&hash) {
                out.retain(|h| *h != hash);
                out.push(hash);
            }
        }
        out
    }

    fn classes(&self, hash: SchemaHash) -> Classes {
        let mut known = lock(&self.classes);
        if let Some((_, classes)) = known.iter().find(|(h, _)| *h == hash) {
            return classes.clone();
        }
        let Some(json) = self.schema_json(hash) else { return Classes::default() };
        let classes = Classes::of_json(&json);
        known.truncate(CLASSES_KEPT - 1);
        known.insert(0, (hash, classes.clone()));
        classes
    }

    fn schema_json(&self, hash: SchemaHash) -> Option<Vec<u8>> {
        let generation = lock(&self.inner.shared).generations.iter().rfind(|g| g.hash() == hash).cloned();
        if let Some(generation) = generation {
            return Some(generation.schema().to_json());
        }
        let segments: Vec<Segment> =
            lock(&self.inner.shared).segments.iter().filter(|s| s.schema == hash).cloned().collect();
        segments.iter().find_map(|s| s.schema_json(&*self.inner.options.disk).ok().flatten())
    }

    fn read(
        &self,
        incarnation: Incarnation,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        let mut from = from.max(1);
        let mut gone = None;
        loop {
            let segment = {
                let shared = lock(&self.inner.shared);
                let current = incarnation == self.inner.incarnation;
                if current && shared.tail.first().is_some_and(|first| first <= from) {
                    return Ok(from_tail(&shared, from, max_bytes));
                }
                let holds = |s: &&Segment| s.incarnation == incarnation && s.last() >= from;
                let held = shared.segments.iter().filter(holds).min_by_key(|s| s.ordinal);
                match held {
                    Some(segment) => segment.clone(),
                    None if current => return Ok(from_tail(&shared, from, max_bytes)),
                    None => return Ok(Vec::new()),
                }
            };
            match self.read_segment(&segment, from, max_bytes) {
                Some(frames) if !frames.is_empty() => return Ok(frames),
                // Retention was faster: what it left stands elsewhere, and the index knows.
                None if gone.replace(segment.path.clone()) != Some(segment.path.clone()) => {}
                Some(_) | None => from = segment.last() + 1,
            }
        }
    }

    fn ack(&self, known: &[Known]) -> Result<(), LogError> {
        self.inner.ack(known);
        Ok(())
    }

    fn lacks(&self, known: &[Known]) -> Lacking {
        self.inner.lacks(known)
    }

    fn acks(&self) -> Vec<Known> {
        self.inner.acks()
    }

    fn hold(&self, reader: &str, from: FrameId, lag_bytes: u64) {
        let mut shared = lock(&self.inner.shared);
        if lag_bytes == 0 {
            shared.holds.remove(reader);
        } else {
            shared.holds.insert(reader.to_owned(), Hold { from, lag_bytes });
        }
        let wake = !self.inner.options.ring;
        shared.retain_wanted |= wake;
        drop(shared);
        if wake {
            self.inner.work.notify_all();
        }
    }

    fn acked(&self, incarnation: Incarnation) -> IntervalSet {
        lock(&self.inner.shared).acked.get(&incarnation).cloned().unwrap_or_default()
    }

    fn commands(&self) -> Vec<CommandUpdate> {
        lock(&self.inner.shared).commands.list()
    }

    fn note(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.notes).get(key)
    }

    fn set_note(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        lock(&self.notes).set(key, value).map_err(|e| LogError::Write { detail: e.to_string() })
    }

    fn health(&self) -> BufferHealth {
        let inner = &self.inner;
        let watermark = *inner.watermark.borrow();
        let shared = lock(&inner.shared);
        let none = IntervalSet::new();
        let acked = |i: Incarnation| shared.acked.get(&i).unwrap_or(&none);
        // The tail's frames that no segment has yet.
        let in_segments: u64 = shared.segments.iter().map(|s| shared.unacked(s)).sum();
        let own = acked(inner.incarnation);
        let waiting = || shared.tail.after(shared.tail.durable).filter(|f| !own.contains(f.seq));
        let oldest = shared
            .segments
            .iter()
            .find_map(|s| {
                let (first, _) = s.contents.present.difference(acked(s.incarnation)).next()?;
                let in_tail = (s.incarnation == inner.incarnation)
                    .then(|| shared.tail.after(first - 1).next().filter(|f| f.seq == first))
                    .flatten();
                in_tail.map(|f| f.cut_us).or_else(|| s.cut_us(first))
            })
            .or_else(|| waiting().next().map(|f| f.cut_us));
        let age_us = oldest.map_or(0, |cut| inner.clock.now_us().saturating_sub(cut).max(0));
        BufferHealth {
            unacked_frames: in_segments + waiting().count() as u64,
            oldest_unacked_ms: u64::try_from(age_us / 1000).unwrap_or(0),
            disk_bytes: shared.segments.iter().map(|s| s.bytes).sum(),
            quota_bytes: inner.options.quota_bytes,
            last_seq: watermark.head,
            durable_seq: watermark.durable,
            incarnation: inner.incarnation.to_string(),
            fault: inner.progress.borrow().fault.clone(),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn from_tail(shared: &Shared, from: u64, max_bytes: usize) -> Vec<(u64, Vec<u8>)> {
    let mut bytes = 0;
    let mut out = Vec::new();
    for frame in shared.tail.after(from - 1) {
        if !out.is_empty() && bytes + frame.bytes.len() > max_bytes {
            break;
        }
        bytes += frame.bytes.len();
        out.push((frame.seq, frame.bytes.to_vec()));
    }
    out
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}
