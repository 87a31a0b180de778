//! What a segment holds, as its footer says and the index in memory knows.

use common::wire::{Frame, FrameKind};
use common::{Class, IntervalSet};
use serde::{Deserialize, Serialize};

use crate::inner::widen;
use crate::record::PREFIX;
use crate::tail::TailFrame;

/// One mark for so many bytes.
const MARK_EVERY: u64 = 64 << 10;
/// What is to go of a segment and leaves more than this part of it does not pay: all of the rest is written anew for it.
const WORTH_PART: u64 = 8;
/// More runs of numbers than this make a footer that is not read any more.
const MOST_RUNS: usize = 40_000;

/// Where to start reading for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    pub(crate) offset: u64,
    pub(crate) cut_us: i64,
}

/// What a segment holds; its footer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// Sequences of its frames.
    pub(crate) present: IntervalSet,
    /// Those of them that are not samples: dropped last.
    pub(crate) kept: IntervalSet,
    /// Frames of critical samples, and of trends; other samples are normal. Empty in a footer of before.
    #[serde(default, skip_serializing_if = "IntervalSet::is_empty")]
    pub(crate) critical: IntervalSet,
    #[serde(default, skip_serializing_if = "IntervalSet::is_empty")]
    pub(crate) trend: IntervalSet,
    /// What they take in the file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) critical_bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) trend_bytes: u64,
    /// How many frames of other samples than critical ones were written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) ordinary: u64,
    /// Where the frames end.
    pub(crate) end: u64,
    /// Least and greatest source time; none if unknown or if there are no samples.
    pub(crate) times: Option<(i64, i64)>,
    /// Whether `times` is known of all samples.
    pub(crate) times_known: bool,
    /// In order.
    pub(crate) marks: Vec<Mark>,
    /// Offsets of frames with commands.
    pub(crate) commands: Vec<u64>,
    /// When the newest frame was cut; none if any was cut by a clock that was not synchronised.
    #[serde(default)]
    pub(crate) newest_us: Option<i64>,
    /// Least and greatest cut time of what a synchronised clock cut, `NO_CUTS` if that is nothing; none if unknown, as in a
    /// footer of before.
    #[serde(default)]
    pub(crate) cuts: Option<(i64, i64)>,
}

/// No time is within it.
pub(crate) const NO_CUTS: (i64, i64) = (i64::MAX, i64::MIN);

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Kinds of frames: records, and samples by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kinds {
    pub(crate) records: bool,
    pub(crate) critical: bool,
    pub(crate) normal: bool,
    pub(crate) trend: bool,
}

impl Kinds {
    pub(crate) const RECORDS: Self = Self { records: true, ..Self::NONE };
    pub(crate) const CRITICAL: Self = Self { critical: true, ..Self::NONE };
    pub(crate) const TRENDS: Self = Self { trend: true, ..Self::NONE };
    /// All samples but critical ones.
    pub(crate) const ORDINARY: Self = Self { normal: true, ..Self::TRENDS };
    pub(crate) const SAMPLES: Self = Self { critical: true, ..Self::ORDINARY };
    pub(crate) const ALL: Self = Self { records: true, ..Self::SAMPLES };
    const NONE: Self = Self { records: false, critical: false, normal: false, trend: false };

    /// The most important class of samples among them, where not all are.
    pub(crate) fn class(self) -> Option<Class> {
        match self {
            Self { critical: true, .. } => None,
            Self { normal: true, .. } => Some(Class::Normal),
            Self { trend: true, .. } => Some(Class::Trend),
            Self { .. } => None,
        }
    }
}

/// A frame, as a segment takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameRef<'a> {
    pub(crate) seq: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) kind: FrameKind,
    /// Of its samples.
    pub(crate) class: Class,
    pub(crate) cut_us: i64,
    /// Whether the clock was synchronised then.
    pub(crate) synchronised: bool,
}

impl<'a> FrameRef<'a> {
    /// One that was read, by what it says of itself but for its class.
    pub(crate) fn of(seq: u64, bytes: &'a [u8], class: Class) -> Self {
        let kind = Frame::peek_kind(bytes).unwrap_or(FrameKind::Other);
        let (cut_us, synchronised) = Frame::peek(bytes).map_or((0, false), |h| (h.cut_us, h.synchronised));
        Self { seq, bytes, kind, class, cut_us, synchronised }
    }
}

impl<'a> From<&'a TailFrame> for FrameRef<'a> {
    fn from(frame: &'a TailFrame) -> Self {
        let TailFrame { seq, bytes, kind, class, cut_us, synchronised, .. } = frame;
        let (kind, class, cut_us, synchronised) = (*kind, *class, *cut_us, *synchronised);
        Self { seq: *seq, bytes, kind, class, cut_us, synchronised }
    }
}

impl Contents {
    /// Takes in a frame whose record begins at `offset`.
    pub(crate) fn add(&mut self, frame: FrameRef<'_>, offset: u64) {
        let FrameRef { seq, bytes, kind, class, cut_us, synchronised } = frame;
        let size = (PREFIX + bytes.len()) as u64;
        self.newest_us = match self.newest_us {
            _ if !synchronised => None,
            Some(newest) => Some(newest.max(cut_us)),
            // Of none before, or of one that has no age.
            None => self.present.is_empty().then_some(cut_us),
        };
        if let Some((least, greatest)) = self.cuts.as_mut().filter(|_| synchronised) {
            *least = cut_us.min(*least);
            *greatest = cut_us.max(*greatest);
        }
        self.present.insert(seq);
        match (kind, class) {
            (FrameKind::Samples, Class::Normal) => self.ordinary += 1,
            (FrameKind::Samples, Class::Critical) => {
                self.critical.insert(seq);
                self.critical_bytes += size;
            }
            (FrameKind::Samples, Class::Trend) => {
                self.ordinary += 1;
                self.trend.insert(seq);
                self.trend_bytes += size;
            }
            _ => _ = self.kept.insert(seq),
        }
        if kind == FrameKind::Command {
            self.commands.push(offset);
        }
        if self.marks.last().is_none_or(|m| offset - m.offset >= MARK_EVERY) {
            self.marks.push(Mark { seq, offset, cut_us });
        }
        self.end = offset + size;
    }

    /// Frames that are there, of some kinds.
    pub(crate) fn of_kinds(&self, kinds: Kinds) -> IntervalSet {
        let named =
            [(kinds.records, &self.kept), (kinds.critical, &self.critical), (kinds.trend, &self.trend)];
        let mut set = IntervalSet::new();
        // Normal is what is nothing else: then those that are not wanted are taken away.
        named.iter().filter(|(wanted, _)| *wanted != kinds.normal).for_each(|(_, of)| set.extend(of));
        if kinds.normal { self.present.minus(&set) } else { self.present.intersection(&set) }
    }

    /// Whether its numbers are in so many runs that there should be no more of them.
    pub(crate) fn is_ragged(&self) -> bool {
        let sets = [&self.present, &self.kept, &self.critical, &self.trend];
        sets.iter().map(|set| set.runs()).sum::<usize>() > MOST_RUNS
    }

    /// Whether samples of no other class ever were there.
    pub(crate) fn are_normal(&self) -> bool {
        self.critical.is_empty() && self.trend.is_empty()
    }

    /// Of the samples of a frame that is there.
    pub(crate) fn class_of(&self, seq: u64) -> Class {
        match seq {
            _ if self.critical.contains(seq) => Class::Critical,
            _ if self.trend.contains(seq) => Class::Trend,
            _ => Class::Normal,
        }
    }

    /// Whether only records are there.
    pub(crate) fn only_records(&self) -> bool {
        self.present.is_subset(&self.kept)
    }

    /// Whether nothing is there but records and critical samples, as far as is known without a look at each: what has lost all others
    /// is written anew.
    pub(crate) fn only_kept(&self) -> bool {
        if self.critical.is_empty() { self.only_records() } else { self.ordinary == 0 }
    }

    /// What trends take, if there are any left.
    pub(crate) fn trends(&self) -> u64 {
        if self.trend.is_empty() || self.present.is_disjoint(&self.trend) { 0 } else { self.trend_bytes }
    }

    /// Whether trends are enough to be worth dropping by themselves.
    pub(crate) fn is_worth_its_trends(&self) -> bool {
        self.trends() > self.end / WORTH_PART
    }

    /// Whether what is left without critical samples is worth dropping.
    pub(crate) fn is_worth_its_ordinary(&self) -> bool {
        !self.only_kept()
            && (self.critical.is_empty()
                || self.end - self.critical_bytes.min(self.end) > self.end / WORTH_PART)
    }

    pub(crate) fn add_times(&mut self, times: Option<(i64, i64)>) {
        self.times = widen(self.times, times);
    }
}
