//! Columns of floats. Most are scaled integers: a register times a factor, a decimal number, a float of 32 bits. Where
//! such a form gives back a series to the bit, its integers are written; where it misses a few numbers, or some by
//! the last bits, what is missing to their bits stands in a second column. All others are written by their bits, ordered
//! as the numbers are. After ALP (Afroozeh et al. 2023), with forms that are found and not only decimal ones.

use super::bits::{BitReader, BitWriter};
use super::ints::{put_plain, put_residuals, put_series, take_plain, take_residuals, take_series};
use super::runs;
use super::step::{self, Step};
use crate::bytes::DecodeError;

/// Powers of ten that a decimal form may have.
const DECIMALS: [f64; 13] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];
/// Integers of a form stay below this: near to where a float has no fraction, rounding hides what is no integer.
const LIMIT: f64 = (1u64 << 49) as f64;
/// Added and taken away again, it rounds what is below `LIMIT` to an integer.
const ROUND: f64 = (3u64 << 51) as f64;
/// Trailing zeros that a series by bits may leave out: none, those of short binary fractions, of 32-bit floats, of integers.
const ZEROS: [u32; 4] = [0, 16, 29, 40];
/// The most forms in one column.
const MAX_FORMS: usize = 255;
/// Forms of the column that are tried for a series.
const TRIES: usize = 4;
/// Searches for a form of its own that may fail in one column: noise has none.
const SEARCHES: u32 = 4;
/// In a series of so many numbers one is odd, unless its factor is twice as large.
const ODD: usize = 8;
/// A series shorter than this tells no step.
const OWN: usize = 4;
/// Numbers of several series that are looked at together.
const SHARED: usize = 8;
/// What the last bits of a number may be off by without its being an exception.
const ULPS: i64 = 8;

/// How the floats of a series are made of integers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// By their bits, less so many trailing zeros: an index of `ZEROS`.
    Bits(usize),
    /// The integer over a power of ten.
    Decimal(usize),
    /// The integer times a factor, plus an offset; each rounded.
    Scaled { factor: f64, offset: f64 },
}

/// A form, and whether what is missing to the bits stands in a second column.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    form: Form,
    patched: bool,
}

/// The bits of a float as an integer that grows with it.
fn ordered(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn from_ordered(n: i64) -> f64 {
    f64::from_bits((n ^ (((n >> 63) as u64) >> 1) as i64) as u64)
}

impl Form {
    /// The integer that comes nearest.
    #[inline]
    fn integer(self, x: f64) -> i64 {
        let q = match self {
            Self::Bits(zeros) => {
                let bits = x.to_bits();
                let size = ((bits << 1 >> 1) >> ZEROS.get(zeros).copied().unwrap_or(0)) as i64;
                return if bits >> 63 == 0 { size } else { !size };
            }
            Self::Decimal(digits) => x * power(digits),
            Self::Scaled { factor, offset } => (x - offset) / factor,
        };
        if q.abs() < LIMIT { ((q + ROUND) - ROUND) as i64 } else { 0 }
    }

    /// The float of an integer.
    #[inline]
    fn float(self, n: i64) -> f64 {
        match self {
            Self::Bits(zeros) => {
                let zeros = ZEROS.get(zeros).copied().unwrap_or(0);
                let (size, sign) = if n < 0 { (!n, 1u64 << 63) } else { (n, 0) };
                f64::from_bits(((size as u64) << zeros) & (u64::MAX >> 1) | sign)
            }
            Self::Decimal(digits) => n as f64 / power(digits),
            Self::Scaled { factor, offset } => n as f64 * factor + offset,
        }
    }

    #[inline]
    fn holds(self, x: f64) -> bool {
        self.float(self.integer(x)).to_bits() == x.to_bits()
    }

    /// What is missing to the bits of a number.
    #[inline]
    fn patch(self, x: f64) -> i64 {
        ordered(x).wrapping_sub(ordered(self.float(self.integer(x))))
    }

    fn put(self, w: &mut BitWriter) {
        match self {
            Self::Bits(zeros) => {
                w.put(0, 2);
                w.put(zeros as u64, 2);
            }
            Self::Decimal(digits) => {
                w.put(1, 2);
                w.put(digits as u64, 4);
            }
            Self::Scaled { factor, offset } => {
                let has_offset = offset.to_bits() != 0;
                w.put(if has_offset { 3 } else { 2 }, 2);
                w.put(factor.to_bits(), 64);
                if has_offset {
                    w.put(offset.to_bits(), 64);
                }
            }
        }
    }

    fn take(r: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.take(2) {
            0 => Self::Bits(r.take(2) as usize),
            1 => match r.take(4) as usize {
                digits if digits < DECIMALS.len() => Self::Decimal(digits),
                _ => return Err(DecodeError::Invalid { what: "digits" }),
            },
            kind => {
                let factor = f64::from_bits(r.take(64));
                let offset = if kind == 3 { f64::from_bits(r.take(64)) } else { 0.0 };
                Self::Scaled { factor, offset }
            }
        })
    }
}

fn power(digits: usize) -> f64 {
    DECIMALS.get(digits).copied().unwrap_or(1.0)
}

/// The shortest decimal form that holds all numbers.
fn decimal(series: &[f64]) -> Option<Form> {
    let mut digits = 0;
    for x in series {
        if Form::Decimal(digits).holds(*x) {
            continue;
        }
        // What has any such form has the longest one: most that have none are known by one look.
        let size = x.abs();
        let longest = (digits + 1..DECIMALS.len()).rev().find(|d| size * power(*d) < LIMIT)?;
        if !Form::Decimal(longest).holds(*x) {
            return None;
        }
        digits = (digits + 1..=longest).find(|d| Form::Decimal(*d).holds(*x))?;
    }
    // What was held with fewer digits is so with more, unless it grew too large.
    series.iter().all(|x| Form::Decimal(digits).holds(*x)).then_some(Form::Decimal(digits))
}

/// The largest power of two that all numbers are multiples of, if it is larger than a step.
fn binary(series: &[f64], larger_than: f64) -> Option<Form> {
    let mut factor = f64::INFINITY;
    for x in series.iter().filter(|x| **x != 0.0) {
        let bits = x.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i32;
        if exponent == 0 || exponent == 0x7ff {
            return None;
        }
        let last = (bits | 1 << 52).trailing_zeros() as i32 + exponent - 1075;
        factor = factor.min(2f64.powi(last));
        if factor <= larger_than {
            return None;
        }
    }
    let form = Form::Scaled { factor, offset: 0.0 };
    (factor.is_finite() && series.iter().all(|x| form.holds(*x))).then_some(form)
}

/// Finds forms, and remembers those of the series before.
#[derive(Default)]
struct Finder {
    fits: Vec<Fit>,
    last: usize,
    failed: u32,
}

impl Finder {
    /// The place of the form for a series. `from_here` is all that is left: itself, then the others.
    fn find(&mut self, series: &[f64], from_here: &[f64]) -> usize {
        let fit = self.again(series).or_else(|| self.other(series, from_here));
        let fit = fit.unwrap_or_else(|| Fit { form: by_bits(series), patched: false });
        self.last = match self.fits.iter().position(|f| *f == fit) {
            Some(at) => at,
            None if self.fits.len() < MAX_FORMS => {
                self.fits.push(fit);
                self.fits.len() - 1
            }
            None => {
                self.fits[MAX_FORMS - 1] = Fit { form: Form::Bits(0), patched: false };
                MAX_FORMS - 1
            }
        };
        self.last
    }

    /// The form of the series before, if it does for this one too.
    fn again(&self, series: &[f64]) -> Option<Fit> {
        let fit = *self.fits.get(self.last)?;
        let is_good = match fit.form {
            Form::Bits(_) => false,
            // A shorter one would do if every number ended in 0.
            Form::Decimal(digits) => {
                let holds = |x: &f64| fit.form.holds(*x);
                series.iter().all(holds)
                    && (digits == 0 || series.iter().any(|x| fit.form.integer(*x) % 10 != 0))
            }
            Form::Scaled { .. } if fit.patched => is_near(fit.form, series),
            Form::Scaled { .. } => {
                series.iter().all(|x| fit.form.holds(*x))
                    && (series.len() < ODD || series.iter().any(|x| fit.form.integer(*x) % 2 != 0))
            }
        };
        is_good.then_some(fit)
    }

    fn other(&mut self, series: &[f64], from_here: &[f64]) -> Option<Fit> {
        if let Some(form) = decimal(series) {
            // Fractions of two have many digits.
            let shorter = match form {
                Form::Decimal(digits) if digits > 0 => binary(series, 1.0 / power(digits)),
                _ => None,
            };
            return Some(Fit { form: shorter.unwrap_or(form), patched: false });
        }
        let known = |f: &&Fit| matches!(f.form, Form::Scaled { .. });
        let near = self.fits.iter().rev().filter(known).take(TRIES);
        let exact = near.clone().find(|f| !f.patched && series.iter().all(|x| f.form.holds(*x)));
        if let Some(fit) = exact {
            return Some(*fit);
        }
        if series.len() >= OWN
            && let Some(fit) = near.clone().find(|f| is_near(f.form, series))
        {
            return Some(Fit { form: fit.form, patched: true });
        }
        if let Some(form) = mostly_decimal(series) {
            return Some(Fit { form, patched: true });
        }
        if self.failed >= SEARCHES {
            return None;
        }
        // What is too short by itself may have the factor of its neighbours.
        let some = if series.len() < OWN { from_here.get(..SHARED).unwrap_or(from_here) } else { series };
        let found = step::find(some);
        let found = found.and_then(|Step { factor, offset }| {
            let form = Form::Scaled { factor, offset };
            let exact = some.iter().all(|x| form.holds(*x));
            (exact || is_near(form, some)).then_some(Fit { form, patched: !exact })
        });
        self.failed += u32::from(found.is_none());
        found
    }
}

/// Whether a form misses few numbers by more than their last bits.
fn is_near(form: Form, series: &[f64]) -> bool {
    let limit = series.len() / 8;
    let mut off = 0;
    series.iter().all(|x| {
        off += usize::from(!(-ULPS..=ULPS).contains(&form.patch(*x)));
        off <= limit
    })
}

/// A decimal form that a few numbers do not have, such as one that is not finite.
fn mostly_decimal(series: &[f64]) -> Option<Form> {
    if series.len() < 16 {
        return None;
    }
    let digits = |x: &f64| (0..DECIMALS.len()).find(|d| Form::Decimal(*d).holds(*x));
    let most = series.iter().step_by(series.len() / 16).filter_map(digits).max()?;
    let form = Form::Decimal(most);
    let off = series.iter().filter(|x| !form.holds(**x)).count();
    (off <= series.len() / 16).then_some(form)
}

/// By bits, less the zeros that all have at their end.
fn by_bits(series: &[f64]) -> Form {
    let all = series.iter().fold(0, |all, x| all | x.to_bits());
    Form::Bits(ZEROS.iter().rposition(|z| *z <= all.trailing_zeros()).unwrap_or(0))
}

/// Appends series of floats that stand one after the other.
pub fn put_floats(w: &mut BitWriter, numbers: &[f64], lengths: &[usize]) {
    let mut finder = Finder::default();
    let mut chosen = Vec::with_capacity(lengths.len());
    let mut from_here = numbers;
    let mut series = Vec::with_capacity(lengths.len());
    for some in runs(numbers, lengths.iter().copied()).filter(|s| !s.is_empty()) {
        chosen.push(finder.find(some, from_here) as i64);
        series.push(some);
        from_here = from_here.get(some.len()..).unwrap_or_default();
    }
    let (mut integers, mut patches) = (Vec::with_capacity(numbers.len()), Vec::new());
    for (some, at) in series.iter().zip(&chosen) {
        let fit = finder.fits[*at as usize];
        let mut last = 0;
        integers.extend(some.iter().map(|x| {
            // What has no integer is written as the one before, so that it costs nothing twice.
            if fit.patched && (!x.is_finite() || fit.form.patch(*x).unsigned_abs() > 1 << 20) {
                return last;
            }
            last = fit.form.integer(*x);
            last
        }));
        if fit.patched {
            let own = &integers[integers.len() - some.len()..];
            let patch = |(x, n): (&f64, &i64)| ordered(*x).wrapping_sub(ordered(fit.form.float(*n)));
            patches.extend(some.iter().zip(own).map(patch));
        }
    }
    w.put(finder.fits.len() as u64, 8);
    for fit in &finder.fits {
        w.put_flag(fit.patched);
        fit.form.put(w);
    }
    put_plain(w, &chosen, 0, 0);
    put_series(w, &integers, lengths, 0);
    put_residuals(w, &patches);
}

/// What `put_floats` wrote.
///
/// # Errors
/// When the bits are no such column.
pub fn take_floats(r: &mut BitReader<'_>, lengths: &[usize]) -> Result<Vec<f64>, DecodeError> {
    let forms = r.take(8) as usize;
    let mut fits = Vec::with_capacity(forms);
    for _ in 0..forms {
        let patched = r.flag();
        fits.push(Fit { form: Form::take(r)?, patched });
    }
    let filled = || lengths.iter().filter(|n| **n > 0);
    let chosen = take_plain(r, filled().count(), 0, 0)?;
    let fit = |at: i64| usize::try_from(at).ok().and_then(|at| fits.get(at));
    let chosen: Option<Vec<Fit>> = chosen.into_iter().map(|at| fit(at).copied()).collect();
    let chosen = chosen.ok_or(DecodeError::Invalid { what: "form" })?;
    let integers = take_series(r, lengths, 0)?;
    let mut out = Vec::with_capacity(integers.len());
    for (some, fit) in runs(&integers, filled().copied()).zip(&chosen) {
        out.extend(some.iter().map(|n| fit.form.float(*n)));
    }
    let patched = || filled().zip(&chosen).filter(|(_, fit)| fit.patched);
    let mut patches = take_residuals(r, patched().map(|(n, _)| n).sum())?.into_iter();
    let mut at = 0;
    for (n, fit) in filled().zip(&chosen) {
        if fit.patched {
            let own = out.get_mut(at..at + n).unwrap_or_default();
            for (x, patch) in own.iter_mut().zip(&mut patches) {
                *x = from_ordered(ordered(*x).wrapping_add(patch));
            }
        }
        at += n;
    }
    Ok(out)
}

#[cfg(test)]
#[path = "floats_tests.rs"]
mod tests;
