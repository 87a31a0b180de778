//! Gaps in the rows of a history: where samples are bad, and until when. Pure. What a gateway lost is not seen here.

use crate::api::{GapReason, HistoryGap, HistoryPoint, Resolution};
use crate::quality::Quality;

/// What a quality says is missing: none if the value may be used.
pub fn of_quality(quality: Quality) -> Option<GapReason> {
    match quality {
        Quality::UNCERTAIN_TIME => Some(GapReason::ClockUnsynchronised),
        q if q.is_bad() => Some(GapReason::BadQuality),
        _ => None,
    }
}

/// Gaps in the rows of a history: what is bad is so until the next sample. `before`: the quality that held at `from`.
/// `last`: the quality of the last sample of a row of a roll-up, which holds until the next row; none where it is not known.
pub fn of_rows(
    points: &[HistoryPoint],
    last: &[Option<Quality>],
    resolution: Resolution,
    before: Option<Quality>,
    (from, to): (i64, i64),
) -> Vec<HistoryGap> {
    let mut gaps: Vec<HistoryGap> = Vec::new();
    let mut open: Option<HistoryGap> = before.and_then(|q| begin(from, q, 0));
    let mut close = |open: &mut Option<HistoryGap>, at: i64| {
        if let Some(mut gap) = open.take() {
            gap.to_us = at;
            gaps.extend((gap.from_us < gap.to_us).then_some(gap));
        }
    };
    for (i, p) in points.iter().enumerate() {
        let width = match resolution {
            Resolution::Raw => {
                match &mut open {
                    Some(gap) if gap.quality == Some(p.quality) => {
                        gap.count = gap.count.map(|n| n + 1);
                        continue;
                    }
                    _ => close(&mut open, p.t_us),
                }
                open = begin(p.t_us, p.quality, 1);
                continue;
            }
            Resolution::Rollup { bucket_us } => bucket_us,
        };
        let held = last.get(i).copied().flatten();
        // Nothing good, and nothing better at its end: so until the next bucket that holds samples.
        let is_whole = p.good == 0 && held.is_none_or(|q| q == p.quality);
        if is_whole && open.as_ref().is_some_and(|gap| gap.quality == Some(p.quality)) {
            continue;
        }
        close(&mut open, p.t_us);
        let Some(mut gap) = begin(p.t_us, p.quality, 0) else { continue };
        if is_whole {
            open = Some(gap);
        } else {
            gap.partial = true;
            let (mut partial, end) = (Some(gap), p.t_us.saturating_add(width));
            close(&mut partial, end);
            open = held.and_then(|q| begin(end, q, 0));
        }
    }
    close(&mut open, to);
    gaps
}

fn begin(from_us: i64, quality: Quality, samples: u64) -> Option<HistoryGap> {
    let cause = of_quality(quality)?;
    let (quality, count) = (Some(quality), (samples > 0).then_some(samples));
    Some(HistoryGap { quality, count, ..HistoryGap::new(from_us, from_us, cause) })
}

/// Gaps within a range, by time; those of one cause that are closer than `within_us` are one.
pub fn merge(gaps: Vec<HistoryGap>, from_us: i64, to_us: i64, within_us: i64) -> Vec<HistoryGap> {
    let mut gaps: Vec<HistoryGap> = gaps
        .into_iter()
        .filter(|g| g.from_us < to_us && g.to_us > from_us)
        .map(|g| HistoryGap { from_us: g.from_us.max(from_us), to_us: g.to_us.min(to_us), ..g })
        .collect();
    let kind = |g: &HistoryGap| (g.cause, g.quality.map(Quality::code), g.partial);
    gaps.sort_by_key(|g| (kind(g), g.from_us, g.to_us));
    let mut out: Vec<HistoryGap> = Vec::with_capacity(gaps.len());
    for g in gaps {
        match out.last_mut() {
            Some(last) if kind(last) == kind(&g) && g.from_us < last.to_us.saturating_add(within_us) => {
                last.to_us = last.to_us.max(g.to_us);
                last.count = last.count.zip(g.count).map(|(a, b)| a.saturating_add(b));
            }
            _ => out.push(g),
        }
    }
    out.sort_by_key(|g| (g.from_us, g.to_us));
    out
}

#[cfg(test)]
#[path = "gaps_tests.rs"]
mod tests;
