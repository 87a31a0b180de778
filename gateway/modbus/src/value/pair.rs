//! Scaled pairs: a whole mantissa, and a register that holds the power of ten.

/// Larger exponents, either way, are no scale but a broken or absent register.
pub(super) const MAX_EXPONENT: i32 = 30;

/// A double has at most 17 digits, so that nothing is left without one more.
const MOST_DIGITS: u32 = 18;
/// What rounding may take off a number: a thousandth.
const NEAR: i128 = 1000;

/// 10 to the power of `exponent`, which is at most `MAX_EXPONENT`.
pub(super) fn power(exponent: i32) -> f64 {
    // Powers up to 22 are exact doubles; beyond, the last digit may be off.
    10f64.powi(exponent)
}

/// The number; none if the exponent is beyond sense.
pub(super) fn join(mantissa: f64, exponent: i16) -> Option<f64> {
    let exponent = i32::from(exponent);
    match exponent {
        0..=MAX_EXPONENT => Some(mantissa * power(exponent)),
        // A division by an exact power rounds once: 725 and -1 are 72.5 to the bit.
        _ if (-MAX_EXPONENT..0).contains(&exponent) => Some(mantissa / power(-exponent)),
        _ => None,
    }
}

/// The shortest mantissa within `min..=max` and its exponent that are the number, rounded to what fits.
pub(super) fn split(x: f64, min: i128, max: i128) -> Option<(i128, i16)> {
    if !x.is_finite() {
        return None;
    }
    if x == 0.0 {
        return Some((0, 0));
    }
    // The shortest digits that are this double and no other: d.ddd and a power of ten.
    let text = format!("{x:e}");
    let (digits, power) = text.split_once('e')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let shortest: i128 = format!("{whole}{fraction}").parse().ok()?;
    let lowest: i32 = power.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
    if shortest < 0 && min >= 0 {
        return None;
    }
    // All digits that must go, go at once: rounded one after the other, 12345.45 would become 12346.
    for dropped in 0..=MOST_DIGITS {
        let unit = 10i128.pow(dropped);
        let mantissa = (shortest.abs() + unit / 2) / unit * shortest.signum();
        let exponent = lowest + i32::try_from(dropped).ok()?;
        if mantissa == 0 {
            return None;
        }
        if exponent < -MAX_EXPONENT || !(min..=max).contains(&mantissa) {
            continue;
        }
        // At the smallest exponent, few digits may be left: another number is none.
        let near = (mantissa * unit - shortest).abs() * NEAR <= shortest.abs();
        return (near && exponent <= MAX_EXPONENT)
            .then(|| Some((mantissa, i16::try_from(exponent).ok()?)))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_split_into_the_shortest_pair_that_fits() {
        let i16s = |x| split(x, i16::MIN.into(), i16::MAX.into());
        assert_eq!(i16s(72.5), Some((725, -1)));
        assert_eq!(i16s(-0.001), Some((-1, -3)));
        assert_eq!(i16s(4000.0), Some((4, 3)));
        assert_eq!(i16s(0.0), Some((0, 0)));
        assert_eq!(i16s(123_456.0), Some((12_346, 1)), "what does not fit is rounded");
        assert_eq!(i16s(12_345.45), Some((12_345, 0)), "rounded once");
        assert_eq!(i16s(-12_345.45), Some((-12_345, 0)));
        assert_eq!(i16s(4.444_444_444_444_445e-31), None, "1e-30 is another number");
        assert_eq!(i16s(1.2e-29), Some((12, -30)));
        assert_eq!(i16s(1e300), None);
        assert_eq!(i16s(f64::NAN), None);
        assert_eq!(split(-1.0, 0, 65_535), None, "no sign");
        assert_eq!(i16s(1e-300), None, "it would be 0");
        assert_eq!(join(725.0, -1), Some(72.5));
        assert_eq!(join(725.0, i16::MIN), None, "the way devices say that there is no scale");
    }
}
