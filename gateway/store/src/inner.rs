//! What appenders, readers and the writer thread share, and the order of its two locks: `appender`
//! (numbers and the table of last values), then `shared` (tail, index, acks). The writer thread takes
//! neither while it touches a file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use common::wire::{Body, Frame, FrameHeader, FrameKind, Gap, GapCause, Known};
use common::{Class, Classes, Clock, Incarnation, IntervalSet, Sample, SchemaHash};
use gateway_core::{FrameId, LogError, Points, Registry, Watermark};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::commands::Commands;
use crate::gone::Sets;
use crate::options::Options;
use crate::order::DropOrder;
use crate::recover::Unread;
use crate::segment::Segment;
use crate::stamps::{Cut, Stamps};
use crate::table::Table;
use crate::tail::{Tail, TailFrame};
use crate::tell::name_of;
use crate::walk::Suspect;

/// Unsynced bytes from which the writer does not wait for the interval to pass.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// From so many gaps that wait to be told, one more is told with another of the same kind, with what lies between.
const MAX_GAPS: usize = 256;

/// Runs of numbers that one gap names, at most.
pub(crate) const MOST_LOST: usize = 8_000;

/// Stands for the number of a frame that is not there yet.
const UNTOLD: u64 = u64::MAX;

/// A lock that a panicking holder does not take with it: no change under these locks is left half made.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives out numbers.
#[derive(Debug)]
pub(crate) struct Appender {
    /// Last number given out.
    pub(crate) head: u64,
    pub(crate) table: Table,
    /// The generation that frames are of now.
    pub(crate) registry: Arc<Registry>,
    pub(crate) stamps: Stamps,
    /// Of the generation's points.
    pub(crate) classes: Classes,
}

/// How far the writer came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) durable: u64,
    /// How many attempts failed.
    pub(crate) failures: u64,
    /// Why the last one did.
    pub(crate) fault: Option<String>,
    pub(crate) closed: bool,
}

/// What `append` refused and nobody was told of.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    pub(crate) samples: u64,
    pub(crate) frames: u64,
    pub(crate) times: Option<(i64, i64)>,
}

impl Loss {
    fn add(&mut self, body: &Body, times: Option<(i64, i64)>) {
        self.samples += body.sample_count() as u64;
        self.frames += 1;
        self.times = widen(self.times, times);
    }
}

/// What was lost since the start, by cause.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dropped {
    pub(crate) samples: u64,
    pub(crate) frames: u64,
}

/// What a reader beside the cloud still wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) from: FrameId,
    /// Of the newest bytes.
    pub(crate) lag_bytes: u64,
}

/// Everything under the second lock.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) tail: Tail,
    /// Oldest first; the last may be the one being written.
    pub(crate) segments: Vec<Segment>,
    pub(crate) acked: HashMap<Incarnation, IntervalSet>,
    /// Whether `acked` changed since the state was kept.
    pub(crate) acked_dirty: bool,
    /// The same of incarnations that are no longer here, oldest first.
    pub(crate) past: Vec<(Incarnation, IntervalSet)>,
    pub(crate) past_dirty: bool,
    /// Numbers that are missing on purpose; see `gone`.
    pub(crate) gone: Sets,
    pub(crate) gone_dirty: bool,
    /// Gaps on their way to disk, with the numbers of the frames that tell them; `UNTOLD` before they have one.
    pub(crate) telling: Vec<(u64, Gap)>,
    pub(crate) commands: Commands,
    /// Generations that frames in the tail may be of, the current one last.
    pub(crate) generations: Vec<Arc<Registry>>,
    /// Refused because the disk refuses.
    pub(crate) loss: Loss,
    /// Refused because the quota is reached and the oldest are to stay.
    pub(crate) over: Loss,
    /// Samples are refused: see `Overflow::DropNewest`.
    pub(crate) refusing: bool,
    /// Told as lost since the start.
    pub(crate) dropped: BTreeMap<&'static str, Dropped>,
    /// What readers beside the cloud still want, by their names.
    pub(crate) holds: HashMap<String, Hold>,
    /// Found and not told yet; and whether people are told as well.
    pub(crate) gaps: Vec<(Gap, bool)>,
    /// Found where the disk could not read, and not judged yet.
    pub(crate) suspects: Vec<Suspect>,
    /// Files that the start did not read.
    pub(crate) unread: Vec<Unread>,
    /// Ordinals of segments of which it was said that they cannot be read.
    pub(crate) unread_told: HashSet<u64>,
    /// Somebody waits in `durable`.
    pub(crate) sync_wanted: bool,
    /// Acks came that may free something.
    pub(crate) retain_wanted: bool,
    /// Somebody asks for samples to be dropped.
    pub(crate) drop_wanted: Option<DropOrder>,
    /// Until that is done.
    pub(crate) dropping: bool,
    pub(crate) closing: bool,
}

impl Shared {
    /// Frames of a segment that the cloud does not have.
    pub(crate) fn unacked(&self, segment: &Segment) -> u64 {
        match self.acked.get(&segment.incarnation) {
            Some(acked) => segment.contents.present.minus_len(acked),
            None => segment.contents.present.len(),
        }
    }

    /// The segments with frames from a reader's cursor on, whatever its lag.
    pub(crate) fn wanted_by(&self, hold: &Hold) -> &[Segment] {
        let of_cursor = |s: &Segment| s.incarnation == hold.from.incarnation;
        let first = self.segments.iter().position(|s| of_cursor(s) && s.last() >= hold.from.seq);
        // Without segments of its incarnation the reader has all of them, or lost them.
        let later = || self.segments.iter().rposition(of_cursor).map_or(0, |at| at + 1);
        self.segments.get(first.unwrap_or_else(later)..).unwrap_or(&[])
    }

    /// Ordinal from which some reader beside the cloud wants all segments: those with frames after its cursor,
    /// as far as they are within its lag.
    pub(crate) fn held_from(&self) -> u64 {
        let of = |hold: &Hold| {
            let wanted = self.wanted_by(hold).first().map_or(u64::MAX, |s| s.ordinal);
            let mut bytes = 0u64;
            let within = self.segments.iter().rev().take_while(|s| {
                bytes = bytes.saturating_add(s.bytes);
                bytes <= hold.lag_bytes
            });
            wanted.max(within.last().map_or(u64::MAX, |s| s.ordinal))
        };
        self.holds.values().map(of).min().unwrap_or(u64::MAX)
    }

    /// Takes frames for lost; `gap` tells it later.
    pub(crate) fn lose(&mut self, incarnation: Incarnation, seqs: &IntervalSet) {
        for segment in self.segments.iter_mut().filter(|s| s.incarnation == incarnation) {
            segment.contents.present = segment.contents.present.minus(seqs);
        }
        self.free(incarnation, seqs);
    }

    /// Frames are missing on purpose from here on.
    pub(crate) fn free(&mut self, incarnation: Incarnation, seqs: &IntervalSet) {
        if !seqs.is_empty() {
            self.gone.entry(incarnation).or_default().extend(seqs);
            self.gone_dirty = true;
        }
    }

    /// Records of a segment are lost that nobody can read: gaps that they may have told are told again, since there is
    /// nothing else that knows them.
    pub(crate) fn retell_for(&mut self, segment: &Segment, lost: &IntervalSet) {
        let acked = self.acked.get(&segment.incarnation).cloned().unwrap_or_default();
        if lost.intersection(&segment.contents.kept).is_subset(&acked) {
            return;
        }
        let mut untold = Vec::new();
        for (incarnation, gone) in &self.gone {
            let acked = self.acked.get(incarnation).cloned().unwrap_or_default();
            untold.extend(gone.difference(&acked).map(|run| (*incarnation, run)));
        }
        for (incarnation, run) in untold {
            let (incarnation, seqs) = (Some(incarnation), Some(run));
            let gap = Gap { incarnation, seqs, ..Gap::new(GapCause::Damaged) };
            self.retell(gap, false);
        }
    }

    /// Frames up to `durable` are on disk, and what they tell is told.
    pub(crate) fn told(&mut self, durable: u64) {
        let before = self.telling.len();
        self.telling.retain(|(seq, _)| *seq > durable);
        self.gone_dirty |= self.telling.len() < before;
    }

    pub(crate) fn next_to_tell(&mut self) -> Option<(Gap, bool)> {
        let next = (!self.gaps.is_empty()).then(|| self.gaps.remove(0))?;
        self.telling.push((UNTOLD, next.0.clone()));
        Some(next)
    }

    /// What a start would have to tell if the power went now.
    pub(crate) fn untold(&self) -> Vec<Gap> {
        self.telling.iter().map(|(_, gap)| gap).chain(self.gaps.iter().map(|(gap, _)| gap)).cloned().collect()
    }

    /// Whether frames of an incarnation are in segments.
    pub(crate) fn holds(&self, incarnation: Incarnation) -> bool {
        self.segments.iter().any(|s| s.incarnation == incarnation)
    }

    /// The same, or what was not read may hold some.
    pub(crate) fn may_hold(&self, incarnation: Incarnation) -> bool {
        !self.unread.is_empty() || self.holds(incarnation)
    }

    /// The schema of a generation that is still at hand.
    pub(crate) fn schema_json(&self, hash: SchemaHash) -> Option<Vec<u8>> {
        Some(self.generations.iter().rfind(|g| g.hash() == hash)?.schema().to_json())
    }

    /// Has a loss told, and counts it.
    pub(crate) fn gap(&mut self, gap: Gap) {
        let dropped = self.dropped.entry(name_of(gap.cause)).or_default();
        dropped.samples += gap.samples;
        dropped.frames += gap.seqs.map_or(0, |(first, last)| last - first + 1);
        self.retell(gap, true);
    }

    /// Has a gap told, also one that was told by a frame that is lost now: then no event is made of it again. What
    /// continues another is told with it.
    pub(crate) fn retell(&mut self, gap: Gap, event: bool) {
        self.gone_dirty = true;
        let full = self.gaps.len() >= MAX_GAPS;
        let continues = |(other, _): &&mut (Gap, bool)| {
            let same = other.incarnation == gap.incarnation && other.cause == gap.cause;
            let runs = |g: &Gap| g.lost.as_ref().map_or(1, IntervalSet::runs);
            let fits = other.class == gap.class && runs(other) + runs(&gap) <= MOST_LOST;
            same && (full || fits)
                && match (other.seqs, gap.seqs) {
                    (Some((a, b)), Some((first, last))) => {
                        full || (first <= b.saturating_add(1) && a <= last.saturating_add(1))
                    }
                    (None, None) => true,
                    _ => false,
                }
        };
        let Some((other, with_event)) = self.gaps.iter_mut().rev().find(continues) else {
            self.gaps.push((gap, event));
            return;
        };
        *with_event |= event;
        other.class = other.class.min(gap.class);
        if other.lost.is_some() || gap.lost.is_some() {
            let all = other.lost_seqs().zip(gap.lost_seqs()).map(|(all, more)| all.union(more));
            other.lost = all.filter(|all| all.runs() <= MOST_LOST);
        }
        other.samples += gap.samples;
        other.times_us = widen(other.times_us, gap.times_us);
        if let (Some((a, b)), Some((first, last))) = (other.seqs, gap.seqs) {
            other.seqs = Some((a.min(first), b.max(last)));
        }
    }
}

/// The log's inside.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    /// The generation that frames are of now, for readers; the appender has its own.
    pub(crate) points: Points,
    pub(crate) incarnation: Incarnation,
    pub(crate) appender: Mutex<Appender>,
    pub(crate) shared: Mutex<Shared>,
    /// Wakes the writer.
    pub(crate) work: Condvar,
    pub(crate) watermark: watch::Sender<Watermark>,
    pub(crate) progress: watch::Sender<Progress>,
}

impl Inner {
    /// Goes over to a later generation.
    pub(crate) fn renew(&self, registry: &Arc<Registry>) {
        let mut appender = lock(&self.appender);
        if registry.generation() <= appender.registry.generation() {
            return;
        }
        let changes = registry.changes_since(&appender.registry);
        appender.table.renew(&changes, registry.slots());
        appender.registry = registry.clone();
        appender.classes = Classes::of(registry.schema());
        let mut shared = lock(&self.shared);
        let Shared { generations, tail, .. } = &mut *shared;
        generations.retain(|g| g.hash() != registry.hash() && tail.names(g.hash()));
        generations.push(registry.clone());
        drop(shared);
        self.points.set(registry.clone());
    }

    /// Appends; see `FrameLog::append`.
    pub(crate) fn append(&self, body: Body) -> Result<FrameId, LogError> {
        if lock(&self.shared).closing {
            return Err(LogError::Closed);
        }
        self.append_own(body)
    }

    /// Appends a frame of this schema, if the log has not gone over to another.
    pub(crate) fn append_of(&self, schema: SchemaHash, body: Body) -> Result<FrameId, LogError> {
        if lock(&self.shared).closing {
            return Err(LogError::Closed);
        }
        let appender = lock(&self.appender);
        if appender.registry.hash() != schema {
            return Err(LogError::Renewed);
        }
        self.append_to(appender, body)
    }

    /// The same for what the buffer itself tells, also while it closes.
    pub(crate) fn append_own(&self, body: Body) -> Result<FrameId, LogError> {
        self.append_to(lock(&self.appender), body)
    }

    fn append_to(&self, mut appender: MutexGuard<'_, Appender>, mut body: Body) -> Result<FrameId, LogError> {
        let cut = Cut::now(&self.clock);
        appender.stamps.judge(&mut body, cut);
        let times = source_times(&body);
        if let Body::Samples(rows) = &body {
            appender.table.update(rows);
        }
        let class = appender.classes.of_body(&body);
        self.make_room(&body, class, times)?;
        let seq = appender.head + 1;
        let cut_us = cut.utc_us;
        let header = FrameHeader {
            schema: appender.registry.hash(),
            incarnation: self.incarnation,
            seq,
            cut_us,
            cut_mono_us: cut.mono_us,
            synchronised: cut.synchronised,
        };
        let kind = match &body {
            body if is_measured(body) => FrameKind::Samples,
            Body::Command(_) => FrameKind::Command,
            _ => FrameKind::Other,
        };
        let frame = Frame { header, body };
        let bytes: Arc<[u8]> = frame.encode().into();
        let mut shared = lock(&self.shared);
        match frame.body {
            Body::Command(update) => shared.commands.put(update, seq),
            Body::Gap(gap) => match shared.telling.iter_mut().find(|(n, g)| *n == UNTOLD && *g == gap) {
                Some((number, _)) => *number = seq,
                None => shared.telling.push((seq, gap)),
            },
            _ => {}
        }
        let before = shared.tail.unsynced_bytes();
        shared.tail.push(TailFrame {
            seq,
            bytes,
            schema: header.schema,
            kind,
            class,
            times,
            cut_us,
            synchronised: header.synchronised,
            at: Instant::now(),
        });
        let after = shared.tail.unsynced_bytes();
        drop(shared);
        appender.head = seq;
        self.watermark.send_modify(|w| w.head = seq);
        // The writer sleeps until there is something, and then until its time or a full batch.
        if before == 0 || (before < BATCH_BYTES && after >= BATCH_BYTES) {
            self.work.notify_all();
        }
        Ok(FrameId { incarnation: self.incarnation, seq })
    }

    /// Whether the tail can take the frame; if not, its loss is counted. What is not samples may use a
    /// quarter more than samples may, and gaps always fit: they are few.
    fn make_room(&self, body: &Body, class: Class, times: Option<(i64, i64)>) -> Result<(), LogError> {
        let limit = self.options.tail_bytes;
        let limit = match body {
            body if is_measured(body) => limit,
            Body::Gap(_) => usize::MAX,
            _ => limit + limit / 4,
        };
        let mut shared = lock(&self.shared);
        if shared.refusing && is_measured(body) && class != Class::Critical {
            shared.over.add(body, times);
            return Err(LogError::Write {
                detail: "the quota is reached and the oldest are to stay".to_owned(),
            });
        }
        if shared.tail.unsynced_bytes() < limit {
            return Ok(());
        }
        let Shared { tail, acked, .. } = &mut *shared;
        let freed = acked.get(&self.incarnation).map(|acked| tail.free_acked(acked));
        if let Some(freed) = freed.filter(|f| !f.is_empty()) {
            shared.free(self.incarnation, &freed);
        }
        if shared.tail.unsynced_bytes() < limit {
            return Ok(());
        }
        shared.loss.add(body, times);
        let detail = self.progress.borrow().fault.clone();
        Err(LogError::Write { detail: detail.unwrap_or_else(|| "the disk is too slow".to_owned()) })
    }

    /// Takes acks. What is said of numbers that were never given out is not believed.
    pub(crate) fn ack(&self, known: &[Known]) {
        let head = lock(&self.appender).head;
        let mut shared = lock(&self.shared);
        for known in known {
            let current = known.incarnation == self.incarnation;
            let held = current || shared.holds(known.incarnation);
            if !held {
                continue;
            }
            let Shared { acked, acked_dirty, retain_wanted, .. } = &mut *shared;
            let acked = acked.entry(known.incarnation).or_default();
            for (first, last) in known.seqs.iter() {
                let last = if current { last.min(head) } else { last };
                if !acked.contains_range(first, last) {
                    acked.insert_range(first, last);
                    *acked_dirty = true;
                    *retain_wanted = true;
                }
            }
        }
        let wake = shared.retain_wanted && (!self.options.ring || shared.refusing);
        drop(shared);
        if wake {
            self.work.notify_all();
        }
    }
}

/// Whether it is what points measured: of the class of samples.
pub(crate) fn is_measured(body: &Body) -> bool {
    matches!(body, Body::Samples(_) | Body::Waveform(_))
}

/// Least and greatest source time of a body's samples, or of a waveform's values.
pub(crate) fn source_times(body: &Body) -> Option<(i64, i64)> {
    let rows = match body {
        Body::Samples(rows) => rows,
        Body::Waveform(wave) => return Some(wave.times_us()),
        _ => return None,
    };
    let time = |s: &Sample| s.source_us;
    Some((rows.iter().map(time).min()?, rows.iter().map(time).max()?))
}

/// The range that covers both.
pub(crate) fn widen(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}
