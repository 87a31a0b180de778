//! The slope of a series of measurements, with what may be said of it: measurements of a process hang together in
//! time, so their number says too much.

/// A slope with its 95 % interval, per hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Least squares over the means of the blocks.
    pub slope: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Autocorrelation of the residuals of neighbouring blocks, corrected for their number.
    pub correlation: f64,
    /// Mean of all.
    pub mean: f64,
}

impl Trend {
    /// Of measurements at times in seconds, in order, by the means of `blocks` equal spans. The standard error is widened
    /// as for residuals of a first-order autoregression: n (1 - r) / (1 + r) of n blocks count, with r corrected
    /// for its bias in short series, (1 + 3 r) / n (Kendall 1954).
    ///
    /// # Panics
    /// With fewer than five blocks that hold anything.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn of(series: &[(f64, f64)], blocks: usize) -> Self {
        let means = means(series, blocks);
        let n = means.len() as f64;
        assert!(means.len() >= 5, "{} blocks say nothing", means.len());
        let (mt, my) =
            (means.iter().map(|m| m.0).sum::<f64>() / n, means.iter().map(|m| m.1).sum::<f64>() / n);
        let square: f64 = means.iter().map(|(t, _)| (t - mt).powi(2)).sum();
        let slope = means.iter().map(|(t, y)| (t - mt) * (y - my)).sum::<f64>() / square;
        let residuals: Vec<f64> = means.iter().map(|(t, y)| y - my - slope * (t - mt)).collect();
        let rest: f64 = residuals.iter().map(|r| r * r).sum();
        let lagged: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let r = if rest > 0.0 { lagged / rest } else { 0.0 };
        let correlation = (r + (1.0 + 3.0 * r) / n).clamp(0.0, 0.9);
        let counting = n * (1.0 - correlation) / (1.0 + correlation);
        let freedom = (counting - 2.0).max(1.0);
        let error = (rest / freedom / square).sqrt();
        let half = student(freedom) * error;
        let mean = series.iter().map(|(_, y)| y).sum::<f64>() / series.len() as f64;
        let [slope, half] = [slope, half].map(|per_s| per_s * 3600.0);
        Self { slope, low: slope - half, high: slope + half, correlation, mean }
    }
}

/// The least measurement within each of `blocks` equal spans: what stays when what comes and goes is gone. Growth lifts it; a
/// burst does not.
#[must_use]
pub fn lows(series: &[(f64, f64)], blocks: usize) -> Vec<(f64, f64)> {
    let least = |of: Vec<(f64, f64)>| of.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
    spans(series, blocks).into_iter().filter_map(least).collect()
}

/// Means of time and value within each span.
#[allow(clippy::cast_precision_loss)]
fn means(series: &[(f64, f64)], blocks: usize) -> Vec<(f64, f64)> {
    let mean = |of: Vec<(f64, f64)>| {
        let n = of.len() as f64;
        (of.iter().map(|p| p.0).sum::<f64>() / n, of.iter().map(|p| p.1).sum::<f64>() / n)
    };
    spans(series, blocks).into_iter().map(mean).collect()
}

/// The measurements of each of `blocks` equal spans that has any.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn spans(series: &[(f64, f64)], blocks: usize) -> Vec<Vec<(f64, f64)>> {
    let (Some((from, _)), Some((to, _))) = (series.first(), series.last()) else { return Vec::new() };
    let width = (to - from) / blocks as f64;
    let mut spans = vec![Vec::new(); blocks];
    for point in series {
        spans[(((point.0 - from) / width) as usize).min(blocks - 1)].push(*point);
    }
    spans.retain(|of| !of.is_empty());
    spans
}

/// The 97.5 % quantile of Student's distribution, by Cornish and Fisher's expansion where it holds.
fn student(freedom: f64) -> f64 {
    const FEW: [f64; 4] = [12.706, 4.303, 3.182, 2.776];
    const Z: f64 = 1.959_964;
    if freedom < 5.0 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        return FEW[(freedom as usize).clamp(1, 4) - 1];
    }
    let v = freedom;
    let a = (Z.powi(3) + Z) / 4.0;
    let b = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    let c = (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0;
    Z + a / v + b / v.powi(2) + c / v.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deviations that look random and are the same each time.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(state >> 33).expect("31 bits")) / f64::from(1u32 << 31) - 0.5
        }
    }

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (freedom, quantile) in [(1.0, 12.706), (3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (28.0, 2.048)] {
            assert!((student(freedom) - quantile).abs() < 0.005, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn a_line_has_its_slope_and_no_doubt() {
        let line: Vec<_> = (0..3600).map(|s| (f64::from(s), 30.0 + f64::from(s) / 1800.0)).collect();
        let trend = Trend::of(&line, 30);
        assert!((trend.slope - 2.0).abs() < 1e-6 && trend.high - trend.low < 1e-6, "{trend:?}");
    }

    #[test]
    fn the_interval_holds_the_slope_in_nineteen_of_twenty_series_that_hang_together() {
        let held = (0..400u64).filter(|seed| {
            let (mut noise, mut level) = (noise(*seed), 0.0);
            let wander = |s: i32| {
                level = 0.98 * level + noise();
                (f64::from(s), 0.5 * f64::from(s) / 3600.0 + level)
            };
            let series: Vec<_> = (0..3600).map(wander).collect();
            let trend = Trend::of(&series, 30);
            trend.low <= 0.5 && 0.5 <= trend.high
        });
        let held = held.count();
        assert!((370..=396).contains(&held), "{held} of 400");
    }

    #[test]
    fn a_leak_beneath_bursts_is_seen_in_the_lows_alone() {
        let (mut noise, mut burst) = (noise(7), 0.0);
        let series: Vec<_> = (0..3600)
            .map(|s| {
                if s % 60 == 0 {
                    burst = (noise() + 0.5) * 80.0;
                }
                let in_use = if s % 60 < 5 { 0.0 } else { burst };
                (f64::from(s), 60.0 + f64::from(s) / 1200.0 + in_use + noise())
            })
            .collect();
        let (all, least) = (Trend::of(&series, 30), Trend::of(&lows(&series, 30), 30));
        assert!(all.high - all.low > 20.0, "{all:?}");
        assert!(least.low > 2.5 && least.high < 3.5, "{least:?}");
    }

    #[test]
    fn a_leak_beneath_a_sawtooth_is_seen() {
        let mut noise = noise(5);
        let tooth = |s: i32| (f64::from(s), f64::from(s % 60) / 30.0 + f64::from(s) / 1200.0 + noise());
        let series: Vec<_> = (0..3600).map(tooth).collect();
        let trend = Trend::of(&series, 30);
        assert!(trend.low > 2.5 && trend.high < 3.5, "{trend:?}");
    }
}
