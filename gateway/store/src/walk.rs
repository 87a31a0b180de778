//! Reading frames out of a segment, and what becomes of those that are not sound there: told as lost, once. Where the
//! disk could not read, only after it took a write again and still cannot: a disk that is away for a moment, or for
//! good, costs no frame.

use std::io;

use common::command::Severity;
use common::wire::{Gap, GapCause};
use common::{Incarnation, IntervalSet};

use crate::inner::{Shared, lock};
use crate::record::{Item, RecordReader};
use crate::segment::Segment;
use crate::store::Store;
use crate::writer::Writer;

type Frames = Vec<(u64, Vec<u8>)>;

/// Frames where the disk could not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspect {
    ordinal: u64,
    first: u64,
    last: u64,
}

impl Store {
    /// Frames from a segment, from `from` on; none if the file is no longer there.
    pub(crate) fn read_segment(&self, segment: &Segment, from: u64, max_bytes: usize) -> Option<Frames> {
        let mut out = Vec::new();
        let file = match self.inner.options.disk.open(&segment.path, false) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.unread(segment, &error.to_string());
                return Some(out);
            }
        };
        // What is not sound at a mark says nothing of what stands before it.
        let (begin, start) = segment.place_of(from);
        let mut reader = RecordReader::new(&*file, segment.incarnation, start, segment.contents.end);
        let mut bytes = 0;
        let mut broken = false;
        let mut last = None;
        loop {
            match reader.next() {
                Ok(Some(Item::Frame { seq, bytes: frame, .. })) => {
                    if std::mem::take(&mut broken) {
                        let (first, met) = (last.map_or(begin, |l| l + 1), reader.met_unreadable());
                        self.damaged(segment, (first, seq.saturating_sub(1)), met);
                    }
                    last = Some(seq);
                    if seq < from || !segment.contents.present.contains(seq) {
                        continue;
                    }
                    if !out.is_empty() && bytes + frame.len() > max_bytes {
                        break;
                    }
                    bytes += frame.len();
                    out.push((seq, frame));
                }
                Ok(Some(Item::Damage { .. })) => broken = true,
                Ok(Some(Item::Special(_)) | None) => {
                    if broken {
                        let (first, met) = (last.map_or(begin, |l| l + 1), reader.met_unreadable());
                        self.damaged(segment, (first, segment.last()), met);
                    }
                    break;
                }
                Err(error) => {
                    self.unread(segment, &error.to_string());
                    break;
                }
            }
        }
        Some(out)
    }

    /// Records of these numbers are damaged.
    fn damaged(&self, segment: &Segment, (first, last): (u64, u64), unreadable: bool) {
        if first > last {
            return;
        }
        let mut shared = lock(&self.inner.shared);
        if !unreadable {
            shared.tell_damaged(segment, &vec![(first, last)].into(), self.inner.incarnation);
            drop(shared);
            self.inner.tell_losses();
            return;
        }
        let suspect = Suspect { ordinal: segment.ordinal, first, last };
        let known = shared.segments.iter().find(|s| s.ordinal == segment.ordinal);
        let all: IntervalSet = vec![(first, last)].into();
        if shared.suspects.contains(&suspect) || known.is_none_or(|s| s.contents.present.is_disjoint(&all)) {
            return;
        }
        shared.suspects.push(suspect);
        drop(shared);
        self.unread(segment, "the disk cannot read a part of it");
    }

    /// A segment that cannot be read is said once. What says so has the writer try the disk.
    fn unread(&self, segment: &Segment, error: &str) {
        if lock(&self.inner.shared).unread_told.insert(segment.ordinal) {
            let detail = format!("{}: {error}", segment.path.display());
            tracing::error!(detail, "segment cannot be read");
            self.inner.event("buffer.unreadable", Severity::Alarm, detail);
        }
    }
}

impl Writer {
    /// The disk took a write: what it still cannot read is damaged.
    pub(crate) fn judge_suspects(&mut self) {
        let suspects = std::mem::take(&mut lock(&self.inner.shared).suspects);
        for Suspect { ordinal, first, last } in suspects {
            let known = |shared: &Shared| shared.segments.iter().find(|s| s.ordinal == ordinal).cloned();
            let Some(segment) = known(&lock(&self.inner.shared)) else { continue };
            let mut sound = IntervalSet::new();
            let read = segment.frames(&*self.inner.options.disk, |seq, _| {
                sound.insert(seq);
                seq < last
            });
            // Another time: who reads it finds it again.
            let Ok(()) = read else { continue };
            let lost = IntervalSet::from(vec![(first, last)]).minus(&sound);
            lock(&self.inner.shared).tell_damaged(&segment, &lost, self.inner.incarnation);
        }
    }
}

impl Shared {
    /// Takes what a segment has of `seqs` for damaged; `tell_losses` does the rest.
    fn tell_damaged(&mut self, segment: &Segment, seqs: &IntervalSet, current: Incarnation) {
        let Some(known) = self.segments.iter().find(|s| s.ordinal == segment.ordinal) else { return };
        let lost = seqs.intersection(&known.contents.present);
        let incarnation: Incarnation = segment.incarnation;
        let acked = self.acked.get(&incarnation).cloned().unwrap_or_default();
        self.retell_for(segment, &lost);
        if incarnation == current {
            self.tail.forget(&lost);
        }
        self.lose(incarnation, &lost);
        for (first, last) in lost.difference(&acked) {
            tracing::error!(path = %segment.path.display(), first, last, "segment is damaged");
            self.gap(Gap {
                incarnation: Some(incarnation),
                seqs: Some((first, last)),
                ..Gap::new(GapCause::Damaged)
            });
        }
    }
}
