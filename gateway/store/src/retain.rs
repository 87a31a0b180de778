//! Retention: what goes when the quota is reached, the disk is full, or something is too old. First whole segments
//! that the cloud has, oldest first, those that another reader still wants after the others; then unacknowledged
//! trends, oldest first, as far as dropping them gives room that is worth the writing; then normal samples. Critical ones, and
//! records (events, alarms, audit, commands), have a share of their own each, within which they stay when other samples of their
//! segment go.
//!
//! In this order, so that a power cut at any moment costs nothing untold: that the numbers are gone and the gap is to be
//! told is noted on disk (`gone`), the segment is removed or written anew with what stays, the gap is told in the log, the
//! note that it is not goes. A frame keeps name and bytes.

use std::time::Duration;

use common::wire::{Body, Frame, FrameKind, Gap, GapCause};
use common::{Class, IntervalSet};
use tokio::time::Instant;

use crate::contents::{FrameRef, Kinds};
use crate::inner::{MOST_LOST, Shared, is_measured, lock, source_times, widen};
use crate::options::Overflow;
use crate::order::Dropped;
use crate::segment::Segment;
use crate::writer::Writer;

/// Many restarts make many small segments; more than this are not kept.
const MAX_SEGMENTS: usize = 512;
/// From so many segments that the disk refuses to write anew, one goes as a whole.
const MAX_STUCK: usize = 3;
/// Pause after a full disk gave no room; doubled each time.
pub(crate) const SPACE_PAUSE_LEAST: Duration = Duration::from_millis(500);
const SPACE_PAUSE_MOST: Duration = Duration::from_secs(60);
/// Gaps told of one segment; runs beyond are told as one.
const MAX_RUNS: usize = 32;
/// How often age is looked at while nothing is written.
const LOOK_LEAST: Duration = Duration::from_millis(100);
const LOOK_MOST: Duration = Duration::from_secs(60);

/// Which frames of a segment go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    /// Those of some kinds, and what the cloud has.
    Kinds(Kinds),
    /// Those of some kinds alone: what the cloud has of others stays.
    Only(Kinds),
    /// Samples that a synchronised clock cut within these times.
    Cut(i64, i64),
}

enum Victim {
    /// The cloud has all of it.
    Acked(Segment),
    /// Loses what the cloud lacks.
    Lossy(Segment, Which),
}

impl Writer {
    /// Brings the log under its quota and its age.
    pub(crate) fn retain(&mut self) {
        self.free_unneeded();
        self.expire();
        self.shrink(self.quota() - self.share_of_kept(), GapCause::Quota);
        // What the disk refuses is said there and tried again.
        let _ = self.commit();
    }

    fn quota(&self) -> u64 {
        let options = &self.inner.options;
        // Files that wait for another start take their room, but not all of it.
        let unread: u64 = lock(&self.inner.shared).unread.iter().map(|u| u.bytes).sum();
        options.quota_bytes - options.reserve_bytes() - unread.min(options.quota_bytes / 2)
    }

    /// The disk is full: makes room for a segment, if there is anything to make it of; what freed nothing is tried ever
    /// more rarely.
    pub(crate) fn make_space(&mut self) {
        if self.quarantine.empty() {
            return;
        }
        let inner = self.inner.clone();
        let used = || lock(&inner.shared).segments.iter().map(|s| s.bytes).sum::<u64>();
        let before = used();
        let target = before.saturating_sub(inner.options.segment_bytes);
        let may = self.space_at.is_none_or(|at| Instant::now() >= at);
        if !may || (self.condemned.is_empty() && self.victim(target, &[], GapCause::DiskFull).is_none()) {
            return;
        }
        self.reserve.give();
        for _ in 0..=MAX_STUCK {
            // What waits for its note comes first.
            if self.condemned.iter().all(|o| self.is_stuck(*o)) {
                self.shrink(target, GapCause::DiskFull);
            }
            if self.commit().is_ok() || used() < before || !self.condemned.iter().all(|o| self.is_stuck(*o)) {
                break;
            }
        }
        // Before the log fills what is free now: the next time needs it again.
        self.reserve.take_now();
        self.space_pause = if used() < before { SPACE_PAUSE_LEAST } else { self.space_pause * 2 };
        self.space_pause = self.space_pause.min(SPACE_PAUSE_MOST);
        self.space_at = (used() >= before).then(|| Instant::now() + self.space_pause);
    }

    /// Removes empty segments and, without a ring, acknowledged ones.
    fn free_unneeded(&mut self) {
        let ring = self.inner.options.ring;
        let active = self.active_ordinal();
        let gone: Vec<Segment> = {
            let shared = lock(&self.inner.shared);
            let held_from = shared.held_from();
            let unneeded = |s: &&Segment| {
                let empty = s.contents.present.is_empty();
                let wanted = ring || s.ordinal >= held_from;
                let free = !self.condemned.contains(&s.ordinal) && Some(s.ordinal) != active;
                free && (empty || (!wanted && shared.unacked(s) == 0))
            };
            shared.segments.iter().filter(unneeded).cloned().collect()
        };
        self.remove(&gone);
    }

    /// What is too old goes.
    fn expire(&mut self) {
        let ages = self.inner.options.ages();
        let Some(least) = ages.least() else {
            self.look_at = None;
            return;
        };
        self.look_at = Some(Instant::now() + (least / 4).clamp(LOOK_LEAST, LOOK_MOST));
        if !self.inner.clock.is_synchronised() {
            return;
        }
        let now_us = self.inner.clock.now_us();
        let before =
            |age: Duration| now_us.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        // So that a trickle of frames does not keep a segment open for longer than they are to stay.
        let oldest = self.active.as_ref().and_then(|a| a.segment.cut_us(0));
        if let Some(oldest) = oldest
            && oldest < before(least / 4)
            && let Err(error) = self.roll()
        {
            self.failed(&error);
            return;
        }
        let active = self.active_ordinal();
        let old: Vec<(Segment, Which)> = {
            let shared = lock(&self.inner.shared);
            let which = |s: &Segment| {
                if Some(s.ordinal) == active || self.condemned.contains(&s.ordinal) {
                    return None;
                }
                let newest_us = s.contents.newest_us?;
                let old = ages.map(|age| age.is_some_and(|age| newest_us < before(age)));
                // What is little stays until all of the segment is old: it is not worth writing the rest anew.
                let is_worth = old != Kinds::TRENDS || s.contents.is_worth_its_trends();
                if old == Kinds::default() || !is_worth || s.contents.of_kinds(old).is_empty() {
                    return None;
                }
                // What the cloud has goes with samples, and stays when only records go.
                let samples = old.critical || old.normal || old.trend;
                Some(if samples { Which::Kinds(old) } else { Which::Only(old) })
            };
            shared.segments.iter().filter_map(|s| which(s).map(|which| (s.clone(), which))).collect()
        };
        for (segment, which) in old {
            self.condemn(&segment, which, GapCause::Age);
            if is_costly(&segment, which) {
                self.look_at = Some(Instant::now());
                break;
            }
        }
    }

    fn shrink(&mut self, target: u64, cause: GapCause) {
        let mut acked = Vec::new();
        while let Some(victim) = self.victim(target, &acked, cause) {
            match victim {
                Victim::Acked(segment) => acked.push(segment),
                Victim::Lossy(segment, which) => {
                    self.condemn(&segment, which, cause);
                    // Unless there is far too much.
                    let is_near = || {
                        let bytes = self.left(&lock(&self.inner.shared), &acked).1;
                        bytes <= target.saturating_add(self.inner.options.segment_bytes)
                    };
                    if is_costly(&segment, which) && cause == GapCause::Quota && is_near() {
                        break;
                    }
                }
            }
        }
        self.remove(&acked);
        if self.inner.options.overflow == Overflow::DropNewest && cause == GapCause::Quota {
            let mut shared = lock(&self.inner.shared);
            shared.refusing = self.left(&shared, &[]).1 > target;
        }
    }

    /// What records and critical samples still may take is theirs where other samples are refused: they are taken then.
    fn share_of_kept(&self) -> u64 {
        let options = &self.inner.options;
        if options.overflow != Overflow::DropNewest {
            return 0;
        }
        let quota = self.quota();
        let shared = lock(&self.inner.shared);
        let records = shared.segments.iter().filter(|s| s.only_records()).map(|s| s.bytes).sum();
        let left = options.records_quota().min(quota / 2).saturating_sub(records);
        if shared.segments.iter().all(|s| s.contents.critical.is_empty()) {
            return left;
        }
        let critical = shared.segments.iter().filter(|s| s.only_critical()).map(|s| s.bytes).sum();
        left + options.critical_quota().min(quota / 4).saturating_sub(critical)
    }

    /// How many segments stay, and their bytes. What the disk refuses to write anew takes its room.
    fn left(&self, shared: &Shared, going: &[Segment]) -> (usize, u64) {
        let stays = |s: &&Segment| {
            let condemned = self.condemned.contains(&s.ordinal) && !self.is_stuck(s.ordinal);
            !condemned && !going.iter().any(|g| g.ordinal == s.ordinal)
        };
        shared.segments.iter().filter(stays).fold((0, 0), |(n, bytes), s| (n + 1, bytes + s.bytes))
    }

    /// What goes next; none if what stays is within its bounds.
    fn victim(&self, target: u64, going: &[Segment], cause: GapCause) -> Option<Victim> {
        let quota = self.quota();
        let shared = lock(&self.inner.shared);
        let active = self.active_ordinal();
        let free = |s: &&Segment| {
            !self.condemned.contains(&s.ordinal)
                && !going.iter().any(|g| g.ordinal == s.ordinal)
                && Some(s.ordinal) != active
        };
        let candidates: Vec<&Segment> = shared.segments.iter().filter(free).collect();
        let sum = |of: &dyn Fn(&Segment) -> u64| candidates.iter().map(|s| of(s)).sum::<u64>();
        let oldest = |of: &dyn Fn(&Segment) -> bool| candidates.iter().find(|s| of(s)).map(|s| (*s).clone());
        let lossy = |kinds| move |s: Segment| Victim::Lossy(s, Which::Kinds(kinds));
        let options = &self.inner.options;
        let oldest_records = || oldest(&Segment::only_records).map(lossy(Kinds::ALL));
        let oldest_critical = || oldest(&Segment::only_critical).map(lossy(Kinds::SAMPLES));
        let oldest_trends = || oldest(&|s| s.contents.is_worth_its_trends()).map(lossy(Kinds::TRENDS));
        if sum(&|s| if s.only_records() { s.bytes } else { 0 }) > options.records_quota() {
            return oldest_records();
        }
        if sum(&|s| if s.only_critical() { s.bytes } else { 0 }) > options.critical_quota() {
            return oldest_critical();
        }
        if let Some(quota) = options.trend_quota()
            && sum(&|s| if shared.unacked(s) > 0 { s.contents.trends() } else { 0 }) > quota
            && let Some(segment) = oldest(&|s| s.contents.is_worth_its_trends() && shared.unacked(s) > 0)
        {
            // There is room for all else.
            return Some(Victim::Lossy(segment, Which::Only(Kinds::TRENDS)));
        }
        let (count, bytes) = self.left(&shared, going);
        if bytes <= target && count <= MAX_SEGMENTS {
            return None;
        }
        // A reader beside the cloud loses before the cloud does: its cursor tells it as a gap.
        let held_from = shared.held_from();
        let acked = |held: bool| {
            candidates.iter().find(|s| shared.unacked(s) == 0 && (s.ordinal >= held_from) == held)
        };
        if let Some(acked) = acked(false).or_else(|| acked(true)) {
            return Some(Victim::Acked((*acked).clone()));
        }
        if self.inner.options.overflow == Overflow::DropNewest {
            // Samples are refused already; a full disk is no reason to give records for them.
            return oldest_records().filter(|_| cause == GapCause::Quota && bytes > quota);
        }
        // Too large to be written anew, by a disk that is full: as a whole, it gives the room that the others need.
        let mut stuck = shared.segments.iter().filter(|s| self.is_stuck(s.ordinal));
        let first_stuck = stuck.next().cloned().map(lossy(Kinds::ALL));
        if stuck.count() + 1 >= MAX_STUCK && first_stuck.is_some() {
            return first_stuck;
        }
        let ordinary = || oldest(&|s| s.contents.is_worth_its_ordinary()).map(lossy(Kinds::ORDINARY));
        let samples = || oldest(&|s| !s.only_records()).map(lossy(Kinds::SAMPLES));
        // What stays of a segment without its trends is more than a full disk has room for.
        let trends = oldest_trends().filter(|_| cause != GapCause::DiskFull);
        trends.or_else(ordinary).or_else(samples).or_else(oldest_records).or(first_stuck)
    }

    /// Takes frames of a segment out of the index and has it told; `commit` does the rest.
    pub(crate) fn condemn(&mut self, segment: &Segment, which: Which, cause: GapCause) -> Dropped {
        let acked = lock(&self.inner.shared).acked.get(&segment.incarnation).cloned().unwrap_or_default();
        let contents = &segment.contents;
        let mut targets = match which {
            Which::Kinds(kinds) => contents.present.intersection(&acked).union(contents.of_kinds(kinds)),
            Which::Only(kinds) => contents.of_kinds(kinds),
            Which::Cut(..) => IntervalSet::new(),
        };
        let class = match which {
            Which::Kinds(kinds) | Which::Only(kinds) => kinds.class().filter(|_| !contents.are_normal()),
            Which::Cut(..) => None,
        };
        let lossless = targets.is_subset(&acked) && !matches!(which, Which::Cut(..));
        let (mut samples, mut times, mut told_by_them) = (0, None, Vec::new());
        let mut sound = IntervalSet::new();
        // What cannot be read is lost all the same, uncounted.
        let read = if lossless {
            Ok(())
        } else {
            segment.frames(&*self.inner.options.disk, |seq, bytes| {
                let frame = FrameRef::of(seq, &bytes, contents.class_of(seq));
                sound.insert(seq);
                if let Which::Cut(from, to) = which
                    && frame.kind == FrameKind::Samples
                    && frame.synchronised
                    && (from..=to).contains(&frame.cut_us)
                {
                    targets.insert(seq);
                }
                if !targets.contains(seq) || acked.contains(seq) {
                    return true;
                }
                match Frame::decode(frame.bytes).map(|f| f.body) {
                    Ok(body) if is_measured(&body) => {
                        samples += body.sample_count() as u64;
                        times = widen(times, source_times(&body));
                    }
                    // What it tells is still lost.
                    Ok(Body::Gap(gap)) => told_by_them.push(gap),
                    _ => {}
                }
                true
            })
        };
        if let Err(error) = read {
            tracing::error!(path = %segment.path.display(), %error, "segment cannot be read; what it loses is not counted");
        }
        let losses = Losses { seqs: targets.minus(&acked), samples, times, class };
        let freed = targets.minus(&losses.seqs);
        let told = Dropped { frames: losses.seqs.len(), samples, acked_frames: freed.len() };
        let mut shared = lock(&self.inner.shared);
        if !lossless {
            shared.retell_for(segment, &losses.seqs.minus(&sound));
        }
        tell(&mut shared, segment, &losses, cause);
        if segment.incarnation == self.inner.incarnation {
            shared.tail.forget(&targets);
        }
        told_by_them.into_iter().for_each(|gap| shared.retell(gap, false));
        shared.free(segment.incarnation, &freed);
        if let Some(known) = shared.segments.iter_mut().find(|s| s.ordinal == segment.ordinal) {
            known.contents.present = known.contents.present.minus(&freed);
        }
        if told.frames + told.acked_frames == 0 && matches!(which, Which::Cut(..)) {
            return told;
        }
        self.stuck.remove(&segment.ordinal);
        if !self.condemned.contains(&segment.ordinal) {
            self.condemned.push(segment.ordinal);
        }
        told
    }
}

/// Whether most of a segment is written anew when it loses some kinds: what waits for the disk comes before the next.
fn is_costly(segment: &Segment, which: Which) -> bool {
    let keeps_ordinary = matches!(which, Which::Kinds(k) | Which::Only(k) if !(k.normal && k.trend));
    keeps_ordinary && segment.contents.ordinary > 0 && !segment.contents.are_normal()
}

/// Notes a loss; it is told by `tell_losses`.
pub(crate) fn tell(shared: &mut Shared, segment: &Segment, losses: &Losses, cause: GapCause) {
    if losses.seqs.is_empty() {
        return;
    }
    shared.lose(segment.incarnation, &losses.seqs);
    let runs: Vec<(u64, u64)> = losses.seqs.iter().collect();
    // Where points are of classes, samples that go lie between what stays, all over the segment: they are one loss.
    let is_scattered = !segment.contents.are_normal() && losses.times.is_some();
    let most = if is_scattered { 1 } else { MAX_RUNS };
    let single = runs.len().min(most);
    for (n, (first, last)) in runs.iter().take(single).enumerate() {
        let rest = n + 1 == single && runs.len() > single;
        let last = if rest { losses.seqs.last().unwrap_or(*last) } else { *last };
        let first_of_all = n == 0;
        shared.gap(Gap {
            incarnation: Some(segment.incarnation),
            seqs: Some((*first, last)),
            // Counted once a segment: how they spread over its runs does not matter.
            times_us: losses.times.filter(|_| first_of_all),
            samples: if first_of_all { losses.samples } else { 0 },
            cause,
            class: losses.class,
            lost: rest
                .then(|| losses.seqs.intersection(&vec![(*first, last)].into()))
                .filter(|lost| lost.runs() <= MOST_LOST),
        });
    }
}

#[derive(Default)]
pub(crate) struct Losses {
    pub(crate) seqs: IntervalSet,
    pub(crate) samples: u64,
    pub(crate) times: Option<(i64, i64)>,
    /// The most important class that lost samples, where not any did.
    pub(crate) class: Option<Class>,
}
