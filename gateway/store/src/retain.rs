//! Retention: what goes when the quota is reached or the disk is full. First whole segments that the cloud
//! has, oldest first, those that another reader still wants after the others; then unacknowledged samples, oldest first, told as gaps: their segment is rewritten
//! with only its events, audits and commands (so these are kept); and only when nothing else is left,
//! those as well.

use std::fs::{self, File};
use std::io;

use common::wire::{Body, Frame, Gap, GapCause};
use common::{IntervalSet, SchemaHash};

use crate::inner::{lock, source_times, widen};
use crate::notes::sync_dir;
use crate::record::{Item, RecordReader};
use crate::segment::{Active, Segment, kept_name};
use crate::sets::minus;
use crate::tail::TailFrame;
use crate::writer::Writer;

/// Many restarts make many small segments; more than this are not kept.
const MAX_SEGMENTS: usize = 512;
/// Gaps told of one segment; runs beyond are told as one.
const MAX_RUNS: usize = 32;

enum Victim {
    /// The cloud has all of it.
    Acked(Segment),
    /// Has samples that the cloud lacks.
    Samples(Segment),
    /// Only what is dropped last.
    Kept(Segment),
}

impl Writer {
    /// Brings the log under its quota.
    pub(crate) fn retain(&mut self) {
        self.free_unneeded();
        let quota = self.inner.options.quota_bytes;
        self.shrink(quota, GapCause::Quota);
    }

    /// The disk is full: makes room for a segment.
    pub(crate) fn make_space(&mut self) {
        let used: u64 = lock(&self.inner.shared).segments.iter().map(|s| s.bytes).sum();
        self.shrink(used.saturating_sub(self.inner.options.segment_bytes), GapCause::DiskFull);
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
                Some(s.ordinal) != active && (empty || (!wanted && shared.unacked(s) == 0))
            };
            shared.segments.iter().filter(unneeded).cloned().collect()
        };
        for segment in gone {
            self.delete(&segment);
        }
    }

    fn shrink(&mut self, target: u64, cause: GapCause) {
        let mut stuck = Vec::new();
        while let Some(victim) = self.victim(target, &stuck) {
            let (segment, done) = match victim {
                Victim::Acked(segment) => {
                    self.delete(&segment);
                    continue;
                }
                Victim::Samples(segment) => {
                    let done = self.drop_samples(&segment, cause);
                    (segment, done)
                }
                Victim::Kept(segment) => {
                    let done = self.drop_all(&segment, cause);
                    (segment, done)
                }
            };
            if let Err(error) = done {
                tracing::error!(path = %segment.path.display(), %error, "segment not shrunk");
                stuck.push(segment.ordinal);
            }
        }
    }

    fn victim(&self, target: u64, stuck: &[u64]) -> Option<Victim> {
        let shared = lock(&self.inner.shared);
        let bytes: u64 = shared.segments.iter().map(|s| s.bytes).sum();
        if bytes <= target && shared.segments.len() <= MAX_SEGMENTS {
            return None;
        }
        let active = self.active_ordinal();
        let mut candidates = shared
            .segments
            .iter()
            .filter(|s| Some(s.ordinal) != active && !stuck.contains(&s.ordinal))
            .collect::<Vec<_>>();
        // A reader beside the cloud loses before the cloud does: its cursor tells it as a gap.
        let held_from = shared.held_from();
        let acked = |held: bool| {
            candidates.iter().find(|s| shared.unacked(s) == 0 && (s.ordinal >= held_from) == held)
        };
        if let Some(acked) = acked(false).or_else(|| acked(true)) {
            return Some(Victim::Acked((*acked).clone()));
        }
        let only_kept = |s: &&Segment| s.contents.present == s.contents.kept;
        if let Some(samples) = candidates.iter().find(|s| !only_kept(s)) {
            return Some(Victim::Samples((*samples).clone()));
        }
        // Small leftovers do not matter while they fit.
        candidates.retain(only_kept);
        candidates.first().map(|s| Victim::Kept((*s).clone()))
    }

    fn delete(&self, segment: &Segment) {
        let mut shared = lock(&self.inner.shared);
        shared.segments.retain(|s| s.ordinal != segment.ordinal);
        let last = !shared.segments.iter().any(|s| s.incarnation == segment.incarnation);
        if last && segment.incarnation != self.inner.incarnation {
            // Kept as empty so that the state forgets them as well.
            shared.acked.insert(segment.incarnation, IntervalSet::new());
            shared.lost.insert(segment.incarnation, IntervalSet::new());
            shared.sets_dirty = true;
        }
        drop(shared);
        let removed = fs::remove_file(&segment.path).and_then(|()| sync_dir(&self.dir));
        if let Err(error) = removed {
            tracing::warn!(path = %segment.path.display(), %error, "segment not removed");
        }
    }

    /// Rewrites a segment with its unacknowledged events, audits and commands only.
    fn drop_samples(&self, segment: &Segment, cause: GapCause) -> io::Result<()> {
        let acked = self.acked(segment);
        let (kept, loss) = read_losses(segment, &acked)?;
        if kept.is_empty() {
            self.tell(segment, &loss, cause);
            self.delete(segment);
            return Ok(());
        }
        let json = segment.schema_json()?.unwrap_or_default();
        // A name of its own: who still reads the old file must not meet another under its name.
        let beside = segment.path.with_extension("tmp");
        let path = segment.path.with_file_name(kept_name(segment.ordinal));
        let _ = fs::remove_file(&beside);
        let schema: (SchemaHash, &[u8]) = (segment.schema, &json);
        let mut active =
            Active::create(beside.clone(), segment.ordinal, segment.incarnation, segment.first(), schema)?;
        for frame in &kept {
            active.push(frame);
        }
        let rewritten = active.close().and_then(|s| fs::rename(&beside, &path).map(|()| s));
        let mut small = rewritten.inspect_err(|_| drop(fs::remove_file(&beside)))?;
        sync_dir(&self.dir)?;
        small.path.clone_from(&path);
        self.tell(segment, &loss, cause);
        let mut shared = lock(&self.inner.shared);
        if let Some(known) = shared.segments.iter_mut().find(|s| s.ordinal == segment.ordinal) {
            *known = small;
        }
        drop(shared);
        if segment.path != path {
            fs::remove_file(&segment.path)?;
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    fn drop_all(&self, segment: &Segment, cause: GapCause) -> io::Result<()> {
        let acked = self.acked(segment);
        let lost = minus(&segment.contents.present, &acked);
        self.tell(segment, &Losses { seqs: lost, ..Losses::default() }, cause);
        self.delete(segment);
        Ok(())
    }

    fn acked(&self, segment: &Segment) -> IntervalSet {
        lock(&self.inner.shared).acked.get(&segment.incarnation).cloned().unwrap_or_default()
    }

    /// Notes the loss; it is told by `tell_losses`.
    fn tell(&self, segment: &Segment, losses: &Losses, cause: GapCause) {
        let mut shared = lock(&self.inner.shared);
        shared.lose(segment.incarnation, &losses.seqs);
        let runs: Vec<(u64, u64)> = losses.seqs.iter().collect();
        let single = runs.len().min(MAX_RUNS);
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
            });
        }
    }
}

#[derive(Default)]
struct Losses {
    seqs: IntervalSet,
    samples: u64,
    times: Option<(i64, i64)>,
}

/// Splits a segment's unacknowledged frames into what is kept and what goes.
fn read_losses(segment: &Segment, acked: &IntervalSet) -> io::Result<(Vec<TailFrame>, Losses)> {
    let file = File::open(&segment.path)?;
    let mut reader = RecordReader::new(&file, segment.incarnation, segment.start, segment.contents.end);
    let (mut kept, mut losses) = (Vec::new(), Losses::default());
    while let Some(item) = reader.next()? {
        let Item::Frame { seq, bytes, .. } = item else { continue };
        if acked.contains(seq) || !segment.contents.present.contains(seq) {
            continue;
        }
        if segment.contents.kept.contains(seq) {
            let kind = Frame::peek_kind(&bytes).unwrap_or(common::wire::FrameKind::Other);
            let cut_us = Frame::peek(&bytes).map_or(0, |h| h.cut_us);
            let at = tokio::time::Instant::now();
            let schema = segment.schema;
            kept.push(TailFrame { seq, bytes: bytes.into(), schema, kind, times: None, cut_us, at });
            continue;
        }
        losses.seqs.insert(seq);
        if let Ok(Frame { body: body @ Body::Samples(_), .. }) = Frame::decode(&bytes) {
            losses.samples += body.sample_count() as u64;
            losses.times = widen(losses.times, source_times(&body));
        }
    }
    Ok((kept, losses))
}
