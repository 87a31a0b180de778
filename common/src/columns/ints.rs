//! Columns of integers. A plain column is differences to the number before. A column of series (one after the
//! other, such as the values of each point) has for each the predictor that leaves least: the number before or the
//! mean of the last ones, on a line of its own slope. Arithmetic wraps, so any number at all is written.

use super::bits::{BitReader, BitWriter, length};
use super::blocks::{BLOCK, kind, put_block, put_blocks, take_block, take_blocks};
use super::runs;
use crate::bytes::{DecodeError, unzigzag, zigzag};

/// Fraction bits of a mean.
const FRACTION: u32 = 8;
/// A mean forgets: each number counts one in so many at most.
const WINDOW: usize = 16;
/// Weights of the 1st, 2nd, ... number of a mean, in 65,536ths.
const WEIGHTS: [i64; WINDOW] = weights();
/// Differences that a slope is taken from.
const SLOPES: usize = 9;
/// A series shorter than this gets no slope: it would cost more than it saves.
const SLOPE_FROM: usize = 4;

const fn weights() -> [i64; WINDOW] {
    let mut out = [0; WINDOW];
    let mut i = 0;
    while i < WINDOW {
        out[i] = 65_536 / (i as i64 + 1);
        i += 1;
    }
    out
}

/// Appends numbers as differences to the one before, less `step`; the first one to `base`.
pub fn put_plain(w: &mut BitWriter, numbers: &[i64], base: i64, step: i64) {
    let Some((first, _)) = numbers.split_first() else { return };
    w.put_number(zigzag(first.wrapping_sub(base)));
    let residual = |pair: &[i64]| zigzag(pair[1].wrapping_sub(pair[0]).wrapping_sub(step));
    let residuals: Vec<u64> = numbers.windows(2).map(residual).collect();
    put_blocks(w, &residuals);
}

/// What `put_plain` wrote.
///
/// # Errors
/// When the bits are no such column.
pub fn take_plain(r: &mut BitReader<'_>, n: usize, base: i64, step: i64) -> Result<Vec<i64>, DecodeError> {
    let mut out = Vec::with_capacity(n);
    if n == 0 {
        return Ok(out);
    }
    let mut last = base.wrapping_add(unzigzag(r.number()?));
    out.push(last);
    take_blocks(r, n - 1, |residual| {
        last = last.wrapping_add(step).wrapping_add(unzigzag(residual));
        out.push(last);
    })?;
    Ok(out)
}

/// Appends numbers that are mostly 0.
pub fn put_residuals(w: &mut BitWriter, numbers: &[i64]) {
    put_blocks(w, &numbers.iter().map(|n| zigzag(*n)).collect::<Vec<_>>());
}

/// What `put_residuals` wrote.
///
/// # Errors
/// When the bits are no such column.
pub fn take_residuals(r: &mut BitReader<'_>, n: usize) -> Result<Vec<i64>, DecodeError> {
    let mut out = Vec::with_capacity(n);
    take_blocks(r, n, |residual| out.push(unzigzag(residual)))?;
    Ok(out)
}

/// How a series is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Predictor {
    /// By the mean of the last numbers, and not by the last one.
    mean: bool,
    /// What each number is expected to be greater than the one before.
    slope: i64,
}

impl Predictor {
    fn code(self) -> i64 {
        i64::from(self.mean) | (i64::from(self.slope != 0) << 1)
    }

    /// What its own parameters take, about.
    fn bits(self) -> u64 {
        if self.slope == 0 { 0 } else { u64::from(length(zigzag(self.slope))) + 3 }
    }

    /// Gives the residuals of a series after its first number.
    #[inline]
    fn residuals(self, series: &[i64], mut each: impl FnMut(u64)) {
        let mut line = Line::new(self, series.first().copied().unwrap_or(0));
        for x in series.iter().skip(1) {
            each(line.residual(*x));
        }
    }

    /// What the residuals take, about: what is expected exactly takes nothing.
    fn cost(self, series: &[i64]) -> u64 {
        let mut sum = self.bits();
        self.residuals(series, |u| sum += if u == 0 { 0 } else { u64::from(length(u)) + 2 });
        sum
    }

    /// The one that leaves least.
    fn best(series: &[i64]) -> Self {
        let last = Self { mean: false, slope: 0 };
        if series.len() < 3 {
            return last;
        }
        let mut best = (last.cost(series), last);
        if best.0 == 0 {
            return last;
        }
        let mut try_one = |p: Self| {
            let cost = p.cost(series);
            if cost < best.0 {
                best = (cost, p);
            }
        };
        try_one(Self { mean: true, slope: 0 });
        if series.len() >= SLOPE_FROM {
            let slope = slope(series);
            if slope != 0 {
                try_one(Self { mean: false, slope });
                try_one(Self { mean: true, slope });
            }
        }
        best.1
    }
}

/// The middle one of some differences: gaps and jumps do not count.
fn slope(series: &[i64]) -> i64 {
    let mut some = [0; SLOPES];
    let n = series.len() - 1;
    let count = n.min(SLOPES);
    for (i, place) in some.iter_mut().take(count).enumerate() {
        let at = i * n / count;
        *place = series[at + 1].wrapping_sub(series[at]);
    }
    let some = &mut some[..count];
    some.sort_unstable();
    some[count / 2]
}

/// A predictor at work.
struct Line {
    predictor: Predictor,
    /// The last number, or the mean with its fraction; less what the slope has added.
    level: i64,
    /// What the slope has added.
    rise: i64,
    seen: usize,
}

impl Line {
    fn new(predictor: Predictor, first: i64) -> Self {
        let level = if predictor.mean { first.wrapping_shl(FRACTION) } else { first };
        Self { predictor, level, rise: 0, seen: 1 }
    }

    #[inline]
    fn expected(&mut self) -> i64 {
        self.rise = self.rise.wrapping_add(self.predictor.slope);
        let level = if self.predictor.mean {
            self.level.wrapping_add(1 << (FRACTION - 1)) >> FRACTION
        } else {
            self.level
        };
        level.wrapping_add(self.rise)
    }

    #[inline]
    fn saw(&mut self, x: i64) {
        let x = x.wrapping_sub(self.rise);
        if self.predictor.mean {
            let weight = WEIGHTS.get(self.seen).copied().unwrap_or(WEIGHTS[WINDOW - 1]);
            let off = x.wrapping_shl(FRACTION).wrapping_sub(self.level);
            self.level = self.level.wrapping_add(off.wrapping_mul(weight) >> 16);
            self.seen += 1;
        } else {
            self.level = x;
        }
    }

    #[inline]
    fn residual(&mut self, x: i64) -> u64 {
        let expected = self.expected();
        self.saw(x);
        zigzag(x.wrapping_sub(expected))
    }

    #[inline]
    fn number(&mut self, residual: u64) -> i64 {
        let x = self.expected().wrapping_add(unzigzag(residual));
        self.saw(x);
        x
    }
}

/// Appends series of these lengths that stand one after the other. First all first numbers, then all predictors,
/// slopes and kinds of blocks as plain columns, as neighbours are often alike; then the residuals.
pub fn put_series(w: &mut BitWriter, numbers: &[i64], lengths: &[usize], base: i64) {
    if lengths.iter().all(|n| *n <= 1) {
        // First numbers alone: there is nothing to predict.
        return put_plain(w, numbers, base, 0);
    }
    let (mut firsts, mut codes, mut slopes, mut kinds) = (vec![], vec![], vec![], vec![]);
    let mut residuals = Vec::with_capacity(numbers.len());
    for series in runs(numbers, lengths.iter().copied()) {
        let Some(first) = series.first() else { continue };
        firsts.push(*first);
        if series.len() < 2 {
            continue;
        }
        let predictor = Predictor::best(series);
        codes.push(predictor.code());
        if predictor.slope != 0 {
            slopes.push(predictor.slope);
        }
        let from = residuals.len();
        predictor.residuals(series, |u| residuals.push(u));
        kinds.extend(residuals[from..].chunks(BLOCK).map(|b| i64::from(kind(b))));
    }
    put_plain(w, &firsts, base, 0);
    put_plain(w, &codes, 0, 0);
    put_plain(w, &slopes, 0, 0);
    put_plain(w, &kinds, 0, 0);
    let mut kinds = kinds.iter();
    for series in runs(&residuals, lengths.iter().filter(|n| **n > 1).map(|n| n - 1)) {
        for (block, kind) in series.chunks(BLOCK).zip(&mut kinds) {
            put_block(w, *kind as u32, block);
        }
    }
}

/// What `put_series` wrote.
///
/// # Errors
/// When the bits are no such column.
pub fn take_series(r: &mut BitReader<'_>, lengths: &[usize], base: i64) -> Result<Vec<i64>, DecodeError> {
    if lengths.iter().all(|n| *n <= 1) {
        return take_plain(r, lengths.iter().sum(), base, 0);
    }
    let all = || lengths.iter().filter(|n| **n > 0);
    let longer = || lengths.iter().filter(|n| **n > 1);
    let firsts = take_plain(r, all().count(), base, 0)?;
    let codes = take_plain(r, longer().count(), 0, 0)?;
    if codes.iter().any(|c| !(0..4).contains(c)) {
        return Err(DecodeError::Invalid { what: "predictor" });
    }
    let slopes = take_plain(r, codes.iter().filter(|c| **c & 2 != 0).count(), 0, 0)?;
    let kinds = take_plain(r, longer().map(|n| (n - 1).div_ceil(BLOCK)).sum(), 0, 0)?;
    let (mut codes, mut slopes, mut kinds) = (codes.into_iter(), slopes.into_iter(), kinds.into_iter());
    let mut out = Vec::with_capacity(lengths.iter().sum());
    for (n, first) in all().zip(firsts) {
        out.push(first);
        if *n < 2 {
            continue;
        }
        let code = codes.next().unwrap_or(0);
        let slope = if code & 2 != 0 { slopes.next().unwrap_or(0) } else { 0 };
        let mut line = Line::new(Predictor { mean: code & 1 != 0, slope }, first);
        let mut left = n - 1;
        while left > 0 {
            let some = left.min(BLOCK);
            let kind = kinds.next().and_then(|k| u32::try_from(k).ok());
            let kind = kind.ok_or(DecodeError::Invalid { what: "kind of a block" })?;
            take_block(r, kind, some, |u| out.push(line.number(u)))?;
            left -= some;
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "ints_tests.rs"]
mod tests;
