//! Samples of one point aligned to a grid. Pure. Nothing is made up: not over a gap, not from a bad sample, not beyond the
//! last one for a line.

use common::api::{HistoryGap, Interpolation};
use common::{Quality, QualityClass, Value};

/// Times of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Time of the first row, UTC us: a multiple of the step.
    pub from_us: i64,
    /// Distance of the rows, us; at least 1.
    pub step_us: i64,
    /// How many rows.
    pub rows: usize,
}

impl Grid {
    /// The rows within `from..to`.
    pub fn within(from_us: i64, to_us: i64, step_us: i64) -> Self {
        let step_us = step_us.max(1);
        let above = i128::from(from_us) + i128::from(step_us) - 1;
        let first = above.div_euclid(i128::from(step_us)) * i128::from(step_us);
        let span = (i128::from(to_us) - first).max(0);
        let rows =
            usize::try_from((span + i128::from(step_us) - 1) / i128::from(step_us)).unwrap_or(usize::MAX);
        Self { from_us: i64::try_from(first).unwrap_or(i64::MAX), step_us, rows }
    }

    /// Time of a row.
    pub fn time(&self, row: usize) -> i64 {
        let row = i64::try_from(row).unwrap_or(i64::MAX);
        self.from_us.saturating_add(self.step_us.saturating_mul(row))
    }
}

/// What is known of a point at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Knot {
    /// When, UTC us.
    pub t_us: i64,
    /// Quality.
    pub quality: Quality,
    /// Value.
    pub value: Option<Value>,
}

/// A point's cells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Column {
    /// A value for each row; none where nothing is known.
    pub values: Vec<Option<Value>>,
    /// A quality for each row.
    pub quality: Vec<Quality>,
}

impl Column {
    fn push(&mut self, value: Option<Value>, quality: Quality) {
        self.values.push(value);
        self.quality.push(quality);
    }
}

/// Fills the rows of a grid. `knots` by time, the last of one time counts; `gaps` by time.
pub fn align(knots: &[Knot], gaps: &[HistoryGap], grid: Grid, method: Interpolation) -> Column {
    let rows = grid.rows;
    let mut column = Column { values: Vec::with_capacity(rows), quality: Vec::with_capacity(rows) };
    let unknown: Vec<(i64, i64)> =
        gaps.iter().filter(|g| g.cause.is_unknown()).map(|g| (g.from_us, g.to_us)).collect();
    let mut covers = Covers { gaps: &unknown, at: 0, until: i64::MIN };
    let mut next = 0;
    for row in 0..rows {
        let t = grid.time(row);
        while knots.get(next).is_some_and(|k| k.t_us <= t) {
            next += 1;
        }
        let Some(prev) = next.checked_sub(1).and_then(|i| knots.get(i)) else {
            column.push(None, Quality::BAD_NO_DATA);
            continue;
        };
        if prev.quality.is_bad() || prev.value.is_none() {
            let quality = if prev.quality.is_bad() { prev.quality } else { Quality::BAD_NO_DATA };
            column.push(None, quality);
        } else if prev.t_us == t {
            column.push(prev.value.clone(), prev.quality);
        } else if covers.any(prev.t_us, t) {
            column.push(None, Quality::BAD_NO_DATA);
        } else {
            match (method, prev.value.as_ref().and_then(Value::as_f64)) {
                (Interpolation::Linear, Some(a)) if !matches!(prev.value, Some(Value::Bool(_))) => {
                    let after =
                        that_counts(knots, next).filter(|b| !covers.any(prev.t_us, b.t_us.saturating_sub(1)));
                    let line = line((prev, a), after, t);
                    column.push(
                        line.map(|(x, _)| Value::F64(x)),
                        line.map_or(Quality::BAD_NO_DATA, |(_, q)| q),
                    );
                }
                _ => column.push(prev.value.clone(), prev.quality),
            }
        }
    }
    column
}

/// The knot at a place, or the last one of its time.
fn that_counts(knots: &[Knot], at: usize) -> Option<&Knot> {
    let first = knots.get(at)?;
    knots.iter().skip(at).take_while(|k| k.t_us == first.t_us).last()
}

/// Where a line between two samples is at `t`, and how far it can be trusted.
#[allow(clippy::cast_precision_loss)] // parts of a span
fn line((a, x): (&Knot, f64), b: Option<&Knot>, t: i64) -> Option<(f64, Quality)> {
    let b = b.filter(|b| !b.quality.is_bad())?;
    let y = b.value.as_ref()?.as_f64()?;
    let part = (t - a.t_us) as f64 / (b.t_us - a.t_us) as f64;
    let worse = if b.quality.class() > a.quality.class() { b.quality } else { a.quality };
    let quality = if worse.class() == QualityClass::Good { Quality::GOOD } else { worse };
    // Of two infinite or far values a difference would overflow; a weighted sum does not.
    Some((x * (1.0 - part) + y * part, quality))
}

/// Whether a gap lies between a sample and a later time, asked with times that grow.
struct Covers<'a> {
    gaps: &'a [(i64, i64)],
    at: usize,
    /// The latest end of the gaps that have begun.
    until: i64,
}

impl Covers<'_> {
    fn any(&mut self, sample_us: i64, t_us: i64) -> bool {
        while let Some((from, to)) = self.gaps.get(self.at).filter(|(from, _)| *from <= t_us) {
            debug_assert!(from <= to);
            self.until = self.until.max(*to);
            self.at += 1;
        }
        self.until > sample_us
    }
}

#[cfg(test)]
#[path = "align_tests.rs"]
mod tests;
