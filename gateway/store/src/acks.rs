//! What the cloud has acknowledged, over the life of an incarnation's frames: taken back when the cloud lacks them again,
//! and remembered when they are gone here.

use common::wire::{Gap, GapCause, Known};
use common::{Incarnation, IntervalSet};
use gateway_core::Lacking;

use crate::inner::{Inner, Shared, lock};
use crate::recover::may_be_unread;
use crate::state::Sets;

/// Incarnations that are remembered after their frames are gone.
const MAX_PAST: usize = 64;

impl Shared {
    /// Nothing of an incarnation is left here. Its acknowledgements are kept as empty, so that the state forgets them, and
    /// remembered among those of the past.
    pub(crate) fn outlived(&mut self, incarnation: Incarnation) {
        let acked = self.acked.insert(incarnation, IntervalSet::new()).unwrap_or_default();
        self.acked_dirty = true;
        if acked.is_empty() {
            return;
        }
        self.past.retain(|(i, _)| *i != incarnation);
        self.past.push((incarnation, acked));
        let over = self.past.len().saturating_sub(MAX_PAST);
        self.past.drain(..over);
        self.past_dirty = true;
    }

    /// Takes over the acknowledgements of an earlier run.
    pub(crate) fn adopt(&mut self, acks: Sets, past: Sets) {
        self.past = past;
        for (incarnation, set) in acks {
            let is_here = self.may_hold(incarnation);
            self.acked.insert(incarnation, set);
            if !is_here {
                self.outlived(incarnation);
            }
        }
    }
}

impl Inner {
    /// See `FrameLog::lacks`.
    pub(crate) fn lacks(&self, known: &[Known]) -> Lacking {
        let mut lacking = Lacking::default();
        let mut shared = lock(&self.shared);
        for Known { incarnation, seqs } in known {
            let past = shared.past.iter_mut().find(|(i, _)| i == incarnation);
            let of_past = past.map(|(_, acked)| {
                let lost = acked.minus(seqs);
                *acked = acked.minus(&lost);
                lost
            });
            let of_past = of_past.unwrap_or_default();
            shared.past_dirty |= !of_past.is_empty();
            let acked = shared.acked.get(incarnation).cloned().unwrap_or_default();
            let lost = acked.minus(seqs);
            if !lost.is_empty() {
                shared.acked.insert(*incarnation, acked.minus(&lost));
                shared.acked_dirty = true;
            }
            let absent = lost.minus(&self.here(&shared, *incarnation));
            lacking.again += lost.len() - absent.len();
            let unread = self.unread_of(&shared, *incarnation, &absent);
            lacking.unread += unread.len();
            let mut gone = absent.minus(&unread);
            gone.extend(&of_past);
            lacking.gone += gone.len();
            for run in gone.iter() {
                shared.gap(Gap {
                    incarnation: Some(*incarnation),
                    seqs: Some(run),
                    ..Gap::new(GapCause::CloudLost)
                });
            }
        }
        drop(shared);
        self.tell_losses();
        lacking
    }

    /// What of the absent frames of an incarnation may be in files that were not read.
    fn unread_of(&self, shared: &Shared, incarnation: Incarnation, absent: &IntervalSet) -> IntervalSet {
        if incarnation == self.incarnation {
            return IntervalSet::new();
        }
        let gone = shared.gone.get(&incarnation).cloned().unwrap_or_default();
        let is_unread = |run: &(u64, u64)| may_be_unread(&shared.segments, &shared.unread, incarnation, *run);
        absent.difference(&gone).filter(is_unread).collect::<Vec<_>>().into()
    }

    /// Frames of an incarnation that can be read.
    fn here(&self, shared: &Shared, incarnation: Incarnation) -> IntervalSet {
        let mut here = IntervalSet::new();
        for segment in shared.segments.iter().filter(|s| s.incarnation == incarnation) {
            here.extend(&segment.contents.present);
        }
        if incarnation == self.incarnation {
            // Some are in memory after their segment has gone.
            let gone = shared.gone.get(&incarnation);
            let stays = |seq: &u64| gone.is_none_or(|gone| !gone.contains(*seq));
            for seq in shared.tail.after(0).map(|frame| frame.seq).filter(stays) {
                here.insert(seq);
            }
        }
        here
    }

    /// See `FrameLog::acks`.
    pub(crate) fn acks(&self) -> Vec<Known> {
        let shared = lock(&self.shared);
        let known = |(incarnation, seqs): (&Incarnation, &IntervalSet)| Known {
            incarnation: *incarnation,
            seqs: seqs.clone(),
        };
        let mut out: Vec<Known> = shared.past.iter().map(|(i, s)| known((i, s))).collect();
        // In the order of the log, the current one last.
        let place = |i: Incarnation| {
            let at = shared.segments.iter().position(|s| s.incarnation == i);
            if i == self.incarnation { usize::MAX } else { at.unwrap_or(0) }
        };
        let mut here: Vec<Known> = shared.acked.iter().map(known).filter(|k| !k.seqs.is_empty()).collect();
        here.sort_by_key(|k| place(k.incarnation));
        out.extend(here);
        out
    }
}

/// Whether nobody needs to be told of damage: the cloud has the frames.
pub(crate) fn told(gap: &Gap, shared: &Shared) -> bool {
    let (Some(incarnation), Some((first, last))) = (gap.incarnation, gap.seqs) else { return false };
    shared.acked.get(&incarnation).is_some_and(|acked| acked.contains_range(first, last))
}
