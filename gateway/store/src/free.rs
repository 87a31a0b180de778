//! How segments go: removed, or written anew with what stays of them and of the one before. What they lose is noted
//! before (`retain`).

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use common::IntervalSet;
use common::wire::GapCause;
use tokio::time::Instant;

use crate::contents::{Contents, FrameRef};
use crate::disk::Disk;
use crate::inner::lock;
use crate::retain::{Losses, tell};
use crate::segment::{Active, Segment, rewritten};
use crate::writer::{WRITE_BYTES, Writer};

/// After so many refusals a segment counts as staying; at once if the disk is full.
const STUCK_AFTER: u32 = 3;
/// Pause before a segment is written anew once more; doubled each time.
const RETRY_LEAST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(60);

impl Writer {
    /// Removes segments. Their numbers are gone first, and what they tell of commands is kept: else they stay for now.
    pub(crate) fn remove(&mut self, segments: &[Segment]) {
        let kept = self.keep_commands(segments.iter()).is_ok();
        let may_go = |s: &&Segment| kept || s.contents.commands.is_empty();
        let segments: Vec<&Segment> = segments.iter().filter(may_go).collect();
        if segments.is_empty() {
            return;
        }
        {
            let mut shared = lock(&self.inner.shared);
            for segment in &segments {
                shared.free(segment.incarnation, &segment.contents.present);
            }
        }
        if let Err(error) = self.keep_gone() {
            // The worst: a start after a power cut tells as missing what the cloud has.
            tracing::warn!(%error, "what the cloud has is freed without a note");
        }
        let mut shared = lock(&self.inner.shared);
        shared.segments.retain(|s| !segments.iter().any(|g| g.ordinal == s.ordinal));
        for segment in &segments {
            if segment.incarnation != self.inner.incarnation && !shared.may_hold(segment.incarnation) {
                shared.outlived(segment.incarnation);
            }
        }
        drop(shared);
        let disk = &*self.inner.options.disk;
        for segment in &segments {
            if let Err(error) = disk.remove(&segment.path) {
                tracing::warn!(path = %segment.path.display(), %error, "segment not removed");
            }
        }
        if let Err(error) = disk.sync_dir(&self.dir) {
            tracing::warn!(%error, "removal of segments may not survive a power cut");
        }
    }

    /// Notes on disk what is condemned, and then frees it, first what needs no room for that. What the disk refuses to
    /// write anew is tried again, ever more rarely unless something gave room.
    ///
    /// # Errors
    /// The first refusal; what it is about stays condemned.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        self.stuck.retain(|ordinal, _| self.condemned.contains(ordinal));
        let now = Instant::now();
        let due = |stuck: &HashMap<u64, Stuck>, o: u64| stuck.get(&o).is_none_or(|s| s.not_before <= now);
        if !self.condemned.iter().any(|o| due(&self.stuck, *o)) {
            return Ok(());
        }
        if let Err(error) = self.keep_gone() {
            tracing::warn!(%error, "what is gone is not on disk; nothing is freed until it is");
            return Err(error);
        }
        let going: Vec<Segment> = {
            let shared = lock(&self.inner.shared);
            shared.segments.iter().filter(|s| self.condemned.contains(&s.ordinal)).cloned().collect()
        };
        let kept = self.keep_commands(going.iter());
        let waits = |s: &Segment| kept.is_err() && !s.contents.commands.is_empty();
        let waiting: Vec<u64> = going.iter().filter(|s| waits(s)).map(|s| s.ordinal).collect();
        let whole: Vec<Segment> = {
            let shared = lock(&self.inner.shared);
            self.condemned.retain(|o| shared.segments.iter().any(|s| s.ordinal == *o));
            let goes = |s: &&Segment| s.contents.present.is_empty() && self.condemned.contains(&s.ordinal);
            shared.segments.iter().filter(goes).cloned().collect()
        };
        self.remove(&whole);
        self.condemned.retain(|o| !whole.iter().any(|s| s.ordinal == *o));
        let mut result = kept;
        for ordinal in self.condemned.clone() {
            if waiting.contains(&ordinal) {
                continue;
            }
            if whole.is_empty() && !due(&self.stuck, ordinal) {
                continue;
            }
            match self.rewrite_with_what_fits(ordinal) {
                Ok(()) => {
                    self.condemned.retain(|o| *o != ordinal);
                    self.stuck.remove(&ordinal);
                }
                Err(error) => {
                    let stuck = self.stuck.entry(ordinal).or_insert(Stuck { tries: 0, not_before: now });
                    stuck.refused(&error);
                    tracing::error!(ordinal, %error, tries = stuck.tries, "segment not shrunk; it is tried again");
                    result = result.and(Err(error));
                }
            }
        }
        result
    }

    fn rewrite_with_what_fits(&mut self, ordinal: u64) -> io::Result<()> {
        match self.rewrite(ordinal, true) {
            Err(error) if is_full(&error) => {
                self.reserve.give();
                self.rewrite(ordinal, false)
            }
            done => done,
        }
    }

    /// Whether a segment is condemned and takes room for longer: it counts as staying.
    pub(crate) fn is_stuck(&self, ordinal: u64) -> bool {
        self.stuck.get(&ordinal).is_some_and(|s| s.tries >= STUCK_AFTER)
    }

    /// Writes a segment anew with what is still present, together with what is left of the one before it if `merge`.
    fn rewrite(&mut self, ordinal: u64, merge: bool) -> io::Result<()> {
        let (segment, before, json) = {
            let shared = lock(&self.inner.shared);
            let Some(at) = shared.segments.iter().position(|s| s.ordinal == ordinal) else { return Ok(()) };
            let segment = shared.segments[at].clone();
            let before = shared.segments[..at].iter().rfind(|s| s.incarnation == segment.incarnation);
            let fits = |s: &&Segment| {
                merge
                    && is_alike(&segment.contents, &s.contents, self.inner.options.segment_bytes / 2)
                    && s.closed
                    && s.schema == segment.schema
                    && s.bytes < self.inner.options.segment_bytes / 2
                    && !self.condemned.contains(&s.ordinal)
            };
            let json = shared.schema_json(segment.schema);
            (segment.clone(), before.filter(fits).cloned(), json)
        };
        if segment.contents.present.is_empty() {
            self.remove(std::slice::from_ref(&segment));
            return Ok(());
        }
        let disk = self.inner.options.disk.clone();
        let parts: Vec<Segment> = before.into_iter().chain([segment.clone()]).collect();
        let json = segment.schema_json(&*disk)?.or(json).unwrap_or_default();
        let path = segment.path.with_file_name(rewritten(&segment.path, ordinal));
        let beside = path.with_extension("tmp");
        let _ = disk.remove(&beside);
        let first = parts.iter().map(Segment::first).find(|n| *n > 0).unwrap_or_default();
        let schema = (segment.schema, &json[..]);
        let mut active = Active::create(&*disk, beside.clone(), ordinal, segment.incarnation, first, schema)?;
        let mut read = IntervalSet::new();
        let filled = parts.iter().try_for_each(|part| copy(&*disk, part, &mut active, &mut read));
        let contents = &mut active.segment.contents;
        if !contents.present.is_subset(&contents.kept) {
            parts.iter().for_each(|p| contents.add_times(p.contents.times));
        }
        contents.times_known = parts.iter().all(|p| p.contents.times_known);
        let written = filled.and_then(|()| active.close());
        let written = written.and_then(|s| disk.rename(&beside, &path).map(|()| s));
        let mut small = written.inspect_err(|_| drop(disk.remove(&beside)))?;
        disk.sync_dir(&self.dir)?;
        small.path = path;
        let mut shared = lock(&self.inner.shared);
        for part in &parts {
            let now = shared.segments.iter().find(|s| s.ordinal == part.ordinal);
            let now = now.map(|s| s.contents.present.clone()).unwrap_or_default();
            // Damage may have been told meanwhile; what else was not read is lost with the old file.
            small.contents.present = small.contents.present.minus(&part.contents.present.minus(&now));
            let seqs = now.minus(&read);
            shared.retell_for(part, &seqs);
            if part.incarnation == self.inner.incarnation {
                shared.tail.forget(&seqs);
            }
            tell(&mut shared, part, &Losses { seqs, ..Losses::default() }, GapCause::Damaged);
        }
        let merged = |s: &Segment| s.ordinal != ordinal && parts.iter().any(|p| p.ordinal == s.ordinal);
        shared.segments.retain(|s| !merged(s));
        if let Some(known) = shared.segments.iter_mut().find(|s| s.ordinal == ordinal) {
            *known = small;
        }
        drop(shared);
        for old in &parts {
            // A start finds both and keeps the new one.
            if let Err(error) = disk.remove(&old.path) {
                tracing::warn!(path = %old.path.display(), %error, "segment that was written anew is not removed");
            }
        }
        if let Err(error) = disk.sync_dir(&self.dir) {
            tracing::warn!(%error, "removal of segments may not survive a power cut");
        }
        Ok(())
    }

    /// Keeps on disk what is known of commands, if some of these segments tell of any. A full disk is no reason to keep segments:
    /// it would stay full.
    ///
    /// # Errors
    /// What the disk refuses; the segments have to stay.
    fn keep_commands<'a>(&mut self, mut going: impl Iterator<Item = &'a Segment>) -> io::Result<()> {
        if !going.any(|s| !s.contents.commands.is_empty()) {
            return Ok(());
        }
        let (all, version) = {
            let shared = lock(&self.inner.shared);
            shared.commands.durable(shared.tail.durable)
        };
        if self.kept.has(version) {
            return Ok(());
        }
        match self.kept.keep(&all, version) {
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "what tells of commands is freed without a note");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "commands are not on disk; what tells of them stays until they are");
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Keeps on disk what is gone. Incarnations of which nothing is left are forgotten.
    pub(crate) fn keep_gone(&mut self) -> io::Result<()> {
        let (sets, untold) = {
            let mut shared = lock(&self.inner.shared);
            if !shared.gone_dirty {
                return Ok(());
            }
            let held = |i: &common::Incarnation| *i == self.inner.incarnation || shared.may_hold(*i);
            let sets: crate::gone::Sets =
                shared.gone.iter().filter(|(i, _)| held(i)).map(|(i, s)| (*i, s.clone())).collect();
            shared.gone.clone_from(&sets);
            shared.gone_dirty = false;
            (sets, shared.untold())
        };
        self.gone.keep(&sets, untold).inspect_err(|_| lock(&self.inner.shared).gone_dirty = true)
    }
}

/// Whether what is left of a segment goes with what is left of the one before: of one rank, so that it is dropped together as
/// well. `small`: more than that of ordinary samples stays by itself.
fn is_alike(own: &Contents, before: &Contents, small: u64) -> bool {
    let rank = |c: &Contents| (c.only_records(), c.only_kept(), c.trends() == 0);
    let (_, is_kept, is_without_trends) = rank(own);
    rank(own) == rank(before)
        && (is_kept || (is_without_trends && own.end.saturating_sub(own.trend_bytes) < small))
}

/// Writes what is present of a segment into another, not all of it in memory at once.
fn copy(disk: &dyn Disk, from: &Segment, to: &mut Active, read: &mut IntervalSet) -> io::Result<()> {
    let mut written = Ok(());
    from.frames(disk, |seq, bytes| {
        to.push(FrameRef::of(seq, &bytes, from.contents.class_of(seq)), None);
        read.insert(seq);
        if to.pending() >= WRITE_BYTES {
            written = to.write();
        }
        written.is_ok()
    })?;
    written
}

/// Whether the disk has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A condemned segment that the disk refused to write anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stuck {
    tries: u32,
    not_before: Instant,
}

impl Stuck {
    /// A full disk does not get emptier by waiting.
    fn refused(&mut self, error: &io::Error) {
        self.tries = if is_full(error) { self.tries.max(STUCK_AFTER) } else { self.tries + 1 };
        let pause = RETRY_LEAST * 2u32.saturating_pow(self.tries.min(16));
        self.not_before = Instant::now() + pause.min(RETRY_MOST);
    }
}
