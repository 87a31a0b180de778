//! Tests of the columns of floats: to the bit, whatever they are, and short where they are scaled integers.

use proptest::prelude::*;

use super::*;

fn any_series() -> impl Strategy<Value = Vec<Vec<f64>>> {
    let bits = prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..40);
    let odd = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324];
    let odd = prop::collection::vec(prop::sample::select(odd.to_vec()), 0..40);
    let scaled = (
        prop::collection::vec(any::<u16>(), 0..60),
        1e-6f64..1e3,
        prop::sample::select(vec![0.0, -40.0, 4.3]),
    );
    let scaled =
        scaled.prop_map(|(n, s, o)| n.into_iter().map(|n| f64::from(n).mul_add(s, o)).collect::<Vec<_>>());
    let decimal = (prop::collection::vec(any::<i32>(), 0..60), 0usize..10);
    let decimal =
        decimal.prop_map(|(n, d)| n.into_iter().map(|n| f64::from(n) / power(d)).collect::<Vec<_>>());
    let holed =
        (decimal.clone(), any::<prop::sample::Index>(), any::<u64>()).prop_map(|(mut all, at, bits)| {
            if !all.is_empty() {
                let at = at.index(all.len());
                all[at] = f64::from_bits(bits);
            }
            all
        });
    let single = prop::collection::vec(any::<f32>().prop_map(f64::from), 0..40);
    prop::collection::vec(prop_oneof![bits, odd, scaled, decimal, holed, single], 0..8)
}

fn put(series: &[Vec<f64>]) -> Vec<u8> {
    let mut w = BitWriter::default();
    let lengths: Vec<_> = series.iter().map(Vec::len).collect();
    put_floats(&mut w, &series.concat(), &lengths);
    w.finish()
}

proptest! {
    #[test]
    fn floats_are_read_back_to_the_bit(series in any_series()) {
        let bytes = put(&series);
        let mut r = BitReader::new(&bytes);
        let lengths: Vec<_> = series.iter().map(Vec::len).collect();
        let back = take_floats(&mut r, &lengths).unwrap();
        r.end().unwrap();
        let bits = |all: &[f64]| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&back), bits(&series.concat()));
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        lengths in prop::collection::vec(0usize..200, 0..6),
    ) {
        let _ = take_floats(&mut BitReader::new(&bytes), &lengths);
    }

    #[test]
    fn order_is_kept(a in any::<f64>(), b in any::<f64>()) {
        prop_assert_eq!(from_ordered(ordered(a)).to_bits(), a.to_bits());
        prop_assert_eq!(ordered(a).cmp(&ordered(b)), a.total_cmp(&b));
    }
}

/// Bits a number of 4,000 registers around 20,000 in steps of at most 20, scaled.
fn bits(scale: impl Fn(f64) -> f64) -> f64 {
    let mut seed = 1u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        20_000.0 + ((seed >> 33) % 20) as f64
    };
    let series: Vec<f64> = (0..4000).map(|_| scale(next())).collect();
    put(&[series]).len() as f64 * 8.0 / 4000.0
}

#[test]
fn scaled_integers_take_what_their_integers_do() {
    let plain = bits(|n| n);
    assert!(plain < 5.0, "{plain}");
    for (what, bits) in [
        ("decimal", bits(|n| n / 100.0)),
        ("factor", bits(|n| n * 0.1)),
        ("odd factor", bits(|n| n * (100.0 / 27_648.0))),
        ("power of two", bits(|n| n / 4096.0)),
    ] {
        assert!(bits < plain + 0.1, "{what}: {bits} bits, {plain} without a scale");
    }
    let offset = bits(|n| n.mul_add(0.0125, -40.0));
    assert!(offset < plain + 3.0, "{offset}");
}

#[test]
fn a_number_that_is_none_does_not_spoil_its_series() {
    let mut series: Vec<f64> = (0..400).map(|i| f64::from(20_000 + i % 7) / 100.0).collect();
    let before = put(&[series.clone()]).len();
    series[100] = f64::NAN;
    series[300] = -0.0;
    let after = put(&[series]).len();
    assert!(after < before + 60, "{before} {after}");
}
