//! Where a point's history has nothing to go by, and why: holes in what its gateways sent, and what they said of their
//! losses. Pure: storage reads what is needed, this makes gaps of it. Gaps in the samples themselves are in `common::gaps`.

use std::collections::BTreeMap;

use common::api::{GapReason, HistoryGap};
use common::wire::{Gap, GapCause};
use common::{Class, IntervalSet};

/// Frames of one incarnation that follow on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Rank of the incarnation.
    pub rank: u64,
    /// First sequence.
    pub first: u64,
    /// Last sequence.
    pub last: u64,
    /// When the first was cut, UTC us; none where it was stored before that was kept.
    pub first_us: Option<i64>,
    /// When the last was cut.
    pub last_us: Option<i64>,
}

/// A loss that a gateway told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Rank of the incarnation that lost, or of the one that told it.
    pub rank: u64,
    /// Frames lost.
    pub seqs: Option<(u64, u64)>,
    /// Times of the first and last sample lost, UTC us.
    pub times_us: Option<(i64, i64)>,
    /// Samples lost; 0 where nobody knows.
    pub samples: u64,
    /// Why.
    pub cause: GapReason,
    /// When it was told, by the gateway's clock, UTC us.
    pub told_us: i64,
    /// When the frame before that one was cut: what has no other time was lost since then.
    pub since_us: Option<i64>,
    /// The most important class that lost samples; none: any did.
    pub class: Option<Class>,
    /// Which frames of those are lost, where not all are.
    pub lost: Option<IntervalSet>,
}

/// A loss as history shows it.
pub fn reason(cause: GapCause) -> GapReason {
    match cause {
        GapCause::Quota => GapReason::Quota,
        GapCause::DiskFull => GapReason::DiskFull,
        GapCause::Overrun => GapReason::Overrun,
        GapCause::Damaged => GapReason::Damaged,
        GapCause::Age => GapReason::Age,
        GapCause::Operator => GapReason::Operator,
        GapCause::CloudLost => GapReason::CloudLost,
        GapCause::Other => GapReason::Other,
    }
}

impl Told {
    /// What a gap frame says; `rank` of the incarnation that lost, `told_us` of the frame.
    pub fn new(gap: &Gap, rank: u64, told_us: i64, since_us: Option<i64>) -> Self {
        let (seqs, times_us, samples) = (gap.seqs, gap.times_us, gap.samples);
        let (cause, class, lost) = (reason(gap.cause), gap.class, gap.lost.clone());
        Self { rank, seqs, times_us, samples, cause, told_us, since_us, class, lost }
    }

    /// The frames that are lost, where it names any.
    fn frames(&self) -> Option<IntervalSet> {
        let range = || self.seqs.filter(|(first, last)| first <= last).map(|range| vec![range].into());
        self.lost.clone().or_else(range)
    }
}

fn gap(from_us: i64, to_us: i64, cause: GapReason, count: Option<u64>) -> HistoryGap {
    HistoryGap { count, ..HistoryGap::new(from_us, to_us, cause) }
}

/// Sequences by rank.
type Seqs = BTreeMap<u64, IntervalSet>;

fn by_rank(some: impl Iterator<Item = (u64, u64, u64)>) -> Seqs {
    let mut all = Seqs::new();
    let whole = some.filter(|(_, first, last)| first <= last);
    whole.for_each(|(rank, first, last)| all.entry(rank).or_default().insert_range(first, last));
    all
}

/// Whether all of some sequences are there; of none they are.
fn covers(all: &Seqs, rank: u64, first: u64, last: u64) -> bool {
    first > last || all.get(&rank).is_some_and(|seqs| seqs.contains_range(first, last))
}

/// Gaps in what gateways sent, for a point of a class. `runs` by rank and sequence, of all incarnations that feed a twin. What
/// was told as lost and came all the same is no gap, and neither is what only lesser points lost.
pub fn of_streams(runs: &[Run], told: &[Told], class: Class) -> Vec<HistoryGap> {
    // Once, and not for each hole: a box whose buffer is full for weeks has thousands of them.
    let there = by_rank(runs.iter().map(|r| (r.rank, r.first, r.last)));
    let mut explained = Seqs::new();
    for told in told {
        explained.entry(told.rank).or_default().extend(&told.frames().unwrap_or_default());
    }
    let lost = told.iter().filter(|t| t.class.is_none_or(|most| class >= most));
    let mut gaps: Vec<HistoryGap> = lost.filter_map(|t| of_told(runs, &there, t)).collect();
    for pair in runs.windows(2) {
        let [a, b] = pair else { continue };
        let (Some(from), Some(to)) = (a.last_us, b.first_us) else { continue };
        if from >= to {
            continue;
        }
        if a.rank != b.rank {
            gaps.push(gap(from, to, GapReason::GatewayDown, None));
            continue;
        }
        if !covers(&explained, a.rank, a.last.saturating_add(1), b.first.saturating_sub(1)) {
            gaps.push(gap(from, to, GapReason::Awaited, None));
        }
    }
    gaps
}

fn of_told(runs: &[Run], there: &Seqs, told: &Told) -> Option<HistoryGap> {
    let count = (told.samples > 0).then_some(told.samples);
    let has_come = |frames: IntervalSet| there.get(&told.rank).is_some_and(|there| frames.is_subset(there));
    if told.frames().is_some_and(has_come) {
        return None;
    }
    if let Some((from, to)) = told.times_us {
        return Some(gap(from, to.max(from).saturating_add(1), told.cause, count));
    }
    let Some((first, last)) = told.seqs else {
        let from = told.since_us.unwrap_or(told.told_us).min(told.told_us);
        return Some(gap(from, told.told_us.saturating_add(1), told.cause, count));
    };
    // Between the frames around them, also those of the incarnations before and after.
    let before = runs.partition_point(|r| (r.rank, r.last) < (told.rank, first));
    let after = runs.partition_point(|r| (r.rank, r.first) <= (told.rank, last));
    let from = runs.iter().take(before).rev().find_map(|r| r.last_us);
    let to = runs.get(after).and_then(|r| r.first_us);
    match (from, to) {
        (Some(from), to) => {
            let to = to.unwrap_or(told.told_us).max(from.saturating_add(1));
            Some(gap(from, to, told.cause, count))
        }
        (None, Some(to)) => Some(gap(to.saturating_sub(1), to, told.cause, count)),
        (None, None) => Some(gap(told.told_us, told.told_us.saturating_add(1), told.cause, count)),
    }
}

#[cfg(test)]
#[path = "gaps_tests.rs"]
mod tests;
