//! Finds what a series of floats is scaled by: the step that all its numbers, or all their differences, are
//! multiples of. Euclid's algorithm on floats, with a tolerance for their rounding. It may find nothing, or what
//! does not hold to the bit: the caller looks.

/// Numbers that are looked at.
const SOME: usize = 32;
/// Below this part of the largest number nothing is told from rounding.
const TOLERANCE: f64 = 1.0 / (1u64 << 34) as f64;
/// A step is at least so many tolerances.
const LEAST: f64 = 32.0;
/// What a multiple may be off by, in steps.
const NEAR: f64 = 0.01;
/// An offset takes as much as a few numbers: not for fewer than these.
const WITH_OFFSET: usize = 6;
/// More steps of the algorithm than two floats need.
const STEPS: usize = 64;

/// What numbers are made of: an integer times a factor, plus an offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) factor: f64,
    pub(super) offset: f64,
}

/// The step of a series, without an offset if that does.
pub(super) fn find(series: &[f64]) -> Option<Step> {
    let some = || series.iter().step_by(series.len().div_ceil(SOME).max(1)).copied();
    let tolerance = tolerance(series)?;
    if let Some(factor) = common_step(some(), tolerance).and_then(|step| exact(series, step)) {
        return Some(Step { factor, offset: 0.0 });
    }
    if some().count() < WITH_OFFSET {
        return None;
    }
    let offset = some().next()?;
    let factor = common_step(some().map(|x| x - offset), tolerance)?;
    Some(Step { factor, offset })
}

fn tolerance(numbers: &[f64]) -> Option<f64> {
    let largest = numbers.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    let is_usable = largest.is_finite() && largest > f64::MIN_POSITIVE / TOLERANCE;
    (is_usable && numbers.len() > 2).then_some(largest * TOLERANCE)
}

/// The greatest number that all are multiples of, about.
fn common_step(numbers: impl Iterator<Item = f64>, tolerance: f64) -> Option<f64> {
    let (mut step, mut largest) = (0.0f64, 0.0f64);
    for x in numbers.map(f64::abs).filter(|x| *x > tolerance) {
        let (mut a, mut b) = if x > step { (x, step) } else { (step, x) };
        for _ in 0..STEPS {
            if b <= tolerance {
                break;
            }
            let rest = (a - (a / b).round() * b).abs();
            (a, b) = (b, rest);
        }
        if b > tolerance || a < tolerance * LEAST {
            return None;
        }
        // The largest number tells the step best: rounding does not grow from one number to the next.
        largest = largest.max(x);
        step = largest / (largest / a).round();
    }
    (step > 0.0).then_some(step)
}

/// A factor near to `step` of which most numbers are a multiple to the bit; none if one is no multiple at all.
fn exact(series: &[f64], step: f64) -> Option<f64> {
    // Each number leaves the factor a range: its own rounding, over its integer.
    let (mut low, mut high) = (0.0f64, f64::INFINITY);
    for x in series {
        let x = x.abs();
        let n = (x / step).round();
        if (x / step - n).abs() > NEAR {
            return None;
        }
        if n == 0.0 {
            continue;
        }
        let half = (x.next_up() - x) / 2.0;
        low = low.max((x - half) / n);
        high = high.min((x + half) / n);
    }
    // Of an empty range too: then it is a little off.
    let middle = low + (high - low) / 2.0;
    let misses = |factor: &f64| {
        let is_off = |x: &&f64| ((**x / factor).round() * factor).to_bits() != x.to_bits();
        series.iter().filter(is_off).count()
    };
    [middle, middle.next_down(), middle.next_up()].into_iter().min_by_key(misses)
}
