//! How segments go: removed, or written anew with what stays of them and of the one before. What they lose is noted
//! before (`retain`).

use std::io;

use common::IntervalSet;
use common::wire::{Frame, FrameKind, GapCause};

use crate::disk::Disk;
use crate::inner::lock;
use crate::record::{Item, RecordReader};
use crate::retain::{Losses, tell};
use crate::segment::{Active, Segment, rewritten};
use crate::sets::minus;
use crate::tail::TailFrame;
use crate::writer::Writer;

impl Writer {
    /// Removes segments. Their numbers are gone first.
    pub(crate) fn remove(&mut self, segments: &[Segment]) {
        if segments.is_empty() {
            return;
        }
        {
            let mut shared = lock(&self.inner.shared);
            for segment in segments {
                shared.free(segment.incarnation, &segment.contents.present);
            }
        }
        if let Err(error) = self.keep_gone() {
            // The worst: a start after a power cut tells as missing what the cloud has.
            tracing::warn!(%error, "what the cloud has is freed without a note");
        }
        let mut shared = lock(&self.inner.shared);
        shared.segments.retain(|s| !segments.iter().any(|g| g.ordinal == s.ordinal));
        for segment in segments {
            if segment.incarnation != self.inner.incarnation && !shared.holds(segment.incarnation) {
                shared.outlived(segment.incarnation);
            }
        }
        drop(shared);
        let disk = &*self.inner.options.disk;
        for segment in segments {
            if let Err(error) = disk.remove(&segment.path) {
                tracing::warn!(path = %segment.path.display(), %error, "segment not removed");
            }
        }
        if let Err(error) = disk.sync_dir(&self.dir) {
            tracing::warn!(%error, "removal of segments may not survive a power cut");
        }
    }

    /// Writes a segment anew with what is still present, together with what is left of the one before it.
    pub(crate) fn rewrite(&mut self, ordinal: u64) -> io::Result<()> {
        let (segment, before) = {
            let shared = lock(&self.inner.shared);
            let Some(at) = shared.segments.iter().position(|s| s.ordinal == ordinal) else { return Ok(()) };
            let segment = shared.segments[at].clone();
            let before = shared.segments[..at].iter().rfind(|s| s.incarnation == segment.incarnation);
            let fits = |s: &&Segment| {
                segment.only_records()
                    && s.only_records()
                    && s.closed
                    && s.schema == segment.schema
                    && s.bytes < self.inner.options.segment_bytes / 2
                    && !self.condemned.contains(&s.ordinal)
            };
            (segment.clone(), before.filter(fits).cloned())
        };
        if segment.contents.present.is_empty() {
            self.remove(std::slice::from_ref(&segment));
            return Ok(());
        }
        let disk = self.inner.options.disk.clone();
        let mut kept = Vec::new();
        for part in before.iter().chain([&segment]) {
            read_frames(&*disk, part, |frame| kept.push(frame))?;
        }
        let mut read = IntervalSet::new();
        kept.iter().for_each(|f| read.insert_range(f.seq, f.seq));
        let known = || lock(&self.inner.shared).schema_json(segment.schema);
        let json = segment.schema_json(&*disk)?.or_else(known).unwrap_or_default();
        let path = segment.path.with_file_name(rewritten(&segment.path, ordinal));
        let beside = path.with_extension("tmp");
        let _ = disk.remove(&beside);
        let first = kept.first().map_or(segment.first(), |f| f.seq);
        let mut active = Active::create(
            &*disk,
            beside.clone(),
            ordinal,
            segment.incarnation,
            first,
            (segment.schema, &json),
        )?;
        kept.iter().for_each(|f| active.push(f));
        let mut parts = before.iter().chain([&segment]);
        active.segment.contents.times_known = parts.all(|p| p.contents.times_known);
        let written = active.close().and_then(|s| disk.rename(&beside, &path).map(|()| s));
        let mut small = written.inspect_err(|_| drop(disk.remove(&beside)))?;
        disk.sync_dir(&self.dir)?;
        small.path = path;
        let mut shared = lock(&self.inner.shared);
        for part in before.iter().chain([&segment]) {
            let now = shared.segments.iter().find(|s| s.ordinal == part.ordinal);
            let now = now.map(|s| s.contents.present.clone()).unwrap_or_default();
            // Damage may have been told meanwhile; what else was not read is lost with the old file.
            small.contents.present = minus(&small.contents.present, &minus(&part.contents.present, &now));
            let seqs = minus(&now, &read);
            tell(&mut shared, part, &Losses { seqs, ..Losses::default() }, GapCause::Damaged);
        }
        shared.segments.retain(|s| before.as_ref().is_none_or(|b| b.ordinal != s.ordinal));
        if let Some(known) = shared.segments.iter_mut().find(|s| s.ordinal == ordinal) {
            *known = small;
        }
        drop(shared);
        for old in before.iter().chain([&segment]) {
            disk.remove(&old.path)?;
        }
        disk.sync_dir(&self.dir)
    }

    /// Keeps on disk what is gone. Incarnations of which nothing is left are forgotten.
    pub(crate) fn keep_gone(&mut self) -> io::Result<()> {
        let (sets, untold) = {
            let mut shared = lock(&self.inner.shared);
            if !shared.gone_dirty {
                return Ok(());
            }
            let held = |i: &common::Incarnation| *i == self.inner.incarnation || shared.holds(*i);
            let sets: crate::gone::Sets =
                shared.gone.iter().filter(|(i, _)| held(i)).map(|(i, s)| (*i, s.clone())).collect();
            shared.gone.clone_from(&sets);
            shared.gone_dirty = false;
            (sets, shared.untold())
        };
        self.gone.keep(&sets, untold).inspect_err(|_| lock(&self.inner.shared).gone_dirty = true)
    }
}

/// Hands over the frames of a segment that are present and sound.
pub(crate) fn read_frames(
    disk: &dyn Disk,
    segment: &Segment,
    mut take: impl FnMut(TailFrame),
) -> io::Result<()> {
    let file = disk.open(&segment.path, false)?;
    let mut reader = RecordReader::new(&*file, segment.incarnation, segment.start, segment.contents.end);
    let mut last = 0;
    while let Some(item) = reader.next()? {
        let Item::Frame { seq, bytes, .. } = item else { continue };
        if seq <= last || !segment.contents.present.contains(seq) {
            continue;
        }
        last = seq;
        let kind = Frame::peek_kind(&bytes).unwrap_or(FrameKind::Other);
        let (cut_us, synchronised) = Frame::peek(&bytes).map_or((0, false), |h| (h.cut_us, h.synchronised));
        let times = (kind == FrameKind::Samples).then_some(segment.contents.times).flatten();
        let (at, schema) = (tokio::time::Instant::now(), segment.schema);
        take(TailFrame { seq, bytes: bytes.into(), schema, kind, times, cut_us, synchronised, at });
    }
    Ok(())
}
