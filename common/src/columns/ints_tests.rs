//! Tests of the columns of integers: what is written is read back, no bytes panic, and what is regular is short.

use proptest::prelude::*;

use super::*;

fn any_series() -> impl Strategy<Value = Vec<Vec<i64>>> {
    let noise = (any::<i32>(), prop::collection::vec(-9i64..9, 0..200))
        .prop_map(|(at, noise)| noise.into_iter().map(|n| i64::from(at) + n).collect());
    let line = (any::<i64>(), any::<i64>(), 0usize..200).prop_map(|(at, slope, n)| {
        (0..n as i64).map(|i| at.wrapping_add(slope.wrapping_mul(i))).collect::<Vec<_>>()
    });
    let any = prop::collection::vec(any::<i64>(), 0..20);
    let edge = prop::collection::vec(prop::sample::select(vec![i64::MIN, i64::MAX, 0, -1]), 0..40);
    prop::collection::vec(prop_oneof![noise, line, any, edge], 0..8)
}

fn size(series: &[Vec<i64>]) -> usize {
    let mut w = BitWriter::default();
    let lengths: Vec<_> = series.iter().map(Vec::len).collect();
    put_series(&mut w, &series.concat(), &lengths, 0);
    w.len()
}

proptest! {
    #[test]
    fn series_are_read_back(series in any_series(), base in any::<i64>(), step in any::<i64>()) {
        let mut w = BitWriter::default();
        let lengths: Vec<_> = series.iter().map(Vec::len).collect();
        let numbers = series.concat();
        put_series(&mut w, &numbers, &lengths, base);
        put_plain(&mut w, &numbers, base, step);
        let bytes = w.finish();
        let mut r = BitReader::new(&bytes);
        prop_assert_eq!(&take_series(&mut r, &lengths, base).unwrap(), &numbers);
        prop_assert_eq!(&take_plain(&mut r, numbers.len(), base, step).unwrap(), &numbers);
        r.end().unwrap();
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        lengths in prop::collection::vec(0usize..200, 0..6),
    ) {
        let _ = take_series(&mut BitReader::new(&bytes), &lengths, 0);
        let _ = take_plain(&mut BitReader::new(&bytes), lengths.len(), 0, 1);
    }
}

/// White noise of a deviation of 4, the sum of 12 even ones.
fn noise(seed: &mut u64) -> i64 {
    let mut sum = -6.0;
    for _ in 0..12 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        sum += (*seed >> 11) as f64 / (1u64 << 53) as f64;
    }
    (sum * 4.0).round() as i64
}

#[test]
fn white_noise_takes_a_little_more_than_its_entropy() {
    let mut seed = 7;
    let level = |i: i64| 30_000 + i / 50;
    let series: Vec<i64> = (0..40_960).map(|i| level(i) + noise(&mut seed)).collect();
    let bits = size(&[series]) as f64 / 40_960.0;
    let entropy = (4.0 * (2.0 * std::f64::consts::PI * std::f64::consts::E).sqrt()).log2();
    assert!(bits < entropy * 1.07, "{bits} {entropy}");
}

#[test]
fn what_is_regular_takes_nearly_nothing() {
    let clock: Vec<i64> = (0..4096).map(|i| 1_795_046_400_000_000 + i * 100_000).collect();
    assert!(size(std::slice::from_ref(&clock)) < 120);
    let jitter: Vec<i64> =
        clock.iter().zip(0u64..).map(|(t, i)| t + (i * 2_654_435_761 % 50) as i64).collect();
    // Six bits are in the jitter itself.
    assert!(size(&[jitter]) < 4096 * 7);
    let constant = vec![vec![5; 10]; 400];
    assert!(size(&constant) < 400);
}
