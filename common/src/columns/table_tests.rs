//! Property tests of the table: any rows come back to the bit and in their order, and no bytes make it panic.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::value::Value;

fn any_value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        any::<bool>().prop_map(|b| Some(Value::Bool(b))),
        any::<i64>().prop_map(|n| Some(Value::I64(n))),
        any::<u64>().prop_map(|n| Some(Value::U64(n))),
        any::<u64>().prop_map(|b| Some(Value::F64(f64::from_bits(b)))),
        (-9000i32..9000).prop_map(|n| Some(Value::F64(f64::from(n) * 0.05))),
        ".{0,20}".prop_map(|s| Some(Value::Text(s.into()))),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|b| Some(Value::Bytes(b.into()))),
    ]
}

/// Rows as wild as they may be.
fn wild() -> impl Strategy<Value = Vec<Sample>> {
    let point = prop_oneof![0u32..6, any::<u32>()];
    let row = (point, any_value(), any::<u8>(), any::<i64>(), any::<i64>()).prop_map(
        |(p, value, q, source_us, received_us)| Sample {
            point: PointId(p),
            value,
            quality: Quality::from_code(q),
            source_us,
            received_us,
        },
    );
    prop::collection::vec(row, 0..120)
}

/// Rows as a plant has them: points in turns, a few out of turn, noise, failed reads.
fn tame() -> impl Strategy<Value = Vec<Sample>> {
    (1u32..40, 0usize..400, any::<u32>(), 0i64..1000, any::<u64>()).prop_map(
        |(points, n, first, jitter, seed)| {
            let mut seed = seed | 1;
            let mut next = move || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed
            };
            let text: Arc<str> = "running".into();
            let row = |i: usize| {
                let p = if next().is_multiple_of(50) { 3 } else { i as u32 % points };
                let t = 1_795_046_400_000_000
                    + i as i64 / i64::from(points) * 100_000
                    + next() as i64 % (jitter + 1);
                let value = match p % 4 {
                    0 => Value::F64((20_000 + next() % 16) as f64 * 0.01),
                    1 => Value::U64(i as u64 * 3),
                    2 => Value::Bool(i % 90 > 40),
                    _ => Value::Text(text.clone()),
                };
                let failed = next().is_multiple_of(40);
                Sample {
                    point: PointId(first.wrapping_add(p)),
                    value: (!failed).then_some(value),
                    quality: if failed { Quality::BAD_TIMEOUT } else { Quality::GOOD },
                    source_us: t,
                    received_us: t + 40,
                }
            };
            (0..n).map(row).collect()
        },
    )
}

fn put(rows: &[Sample], base: i64) -> Vec<u8> {
    let mut out = Vec::new();
    put_table(&mut out, rows, base);
    out
}

proptest! {
    #[test]
    fn rows_are_read_back(rows in prop_oneof![wild(), tame()], base in any::<i64>()) {
        let bytes = put(&rows, base);
        prop_assert_eq!(take_table(&mut Reader::new(&bytes), base, 4096).unwrap(), rows);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = take_table(&mut Reader::new(&bytes), 0, 4096);
        let _ = Texts::take(&mut Reader::new(&bytes), 4096, 1 << 20);
    }

    #[test]
    fn a_damaged_table_is_an_error_or_a_table_and_a_short_one_is_an_error(
        rows in prop_oneof![wild(), tame()],
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = put(&rows, 0);
        let mut damaged = bytes.clone();
        for (at, bit) in flips {
            damaged[at.index(bytes.len())] ^= 1 << bit;
        }
        if let Ok(read) = take_table(&mut Reader::new(&damaged), 0, 4096) {
            prop_assert!(read.len() <= 4096);
        }
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert!(take_table(&mut Reader::new(short), 0, 4096).is_err());
    }

    #[test]
    fn the_same_rows_are_the_same_bytes(rows in tame()) {
        prop_assert_eq!(put(&rows, 5), put(&rows.clone(), 5));
    }
}

#[test]
fn a_claimed_size_never_makes_a_large_allocation() {
    let mut bytes = vec![];
    put_varint(&mut bytes, 1 << 63);
    assert!(matches!(take_table(&mut Reader::new(&bytes), 0, 4096), Err(DecodeError::TooLarge { .. })));
    // A row, and two million empty texts that pack to little.
    let zeros = vec![0u8; MAX_TEXT];
    let packed = lz4_flex::block::compress(&zeros);
    let mut bytes = vec![1];
    for n in [zeros.len(), zeros.len(), packed.len()] {
        put_varint(&mut bytes, n as u64);
    }
    bytes.extend(packed);
    assert!(bytes.len() < 10_000);
    let told = take_table(&mut Reader::new(&bytes), 0, 4096).unwrap_err();
    assert_eq!(told, DecodeError::TooLarge { what: "texts", size: MAX_TEXT, limit: 1 });
}

#[test]
fn points_that_share_one_place_under_a_known_factor_do_not_here() {
    // 2^32 over the golden ratio, which a reader of this code might guess.
    let known = |point: u32| point.wrapping_mul(2_654_435_769) >> 20;
    let points: Vec<u32> = (0..2000u32).map(|k| k.wrapping_mul(340_573_321)).collect();
    assert!(points.iter().all(|p| known(*p) == 0));
    let seen = Seen::new(points.len());
    let homes: std::collections::HashSet<_> = points.iter().map(|p| seen.home(*p)).collect();
    assert!(homes.len() > 1, "{homes:?}");
}

#[test]
fn order_and_times_of_a_regular_plant_cost_nearly_nothing() {
    let row = |i: u32| Sample {
        point: PointId(i * 7 % 1000),
        value: Some(Value::Bool(true)),
        quality: Quality::GOOD,
        source_us: 1_795_046_400_000_000 + i64::from(i / 100) * 9_731,
        received_us: 1_795_046_400_000_050 + i64::from(i / 100) * 9_731,
    };
    let rows: Vec<_> = (0..4000).map(row).collect();
    let size = put(&rows, 0).len();
    assert!(size < 1600, "{size}");
    // Twice as many rows: the order of points is known by then.
    let rows: Vec<_> = (0..8000).map(row).collect();
    assert!(put(&rows, 0).len() < size + 400);
}

#[test]
fn a_table_in_which_a_point_stands_twice_is_refused() {
    let row = |point: u32| Sample {
        point: PointId(point),
        value: Some(Value::U64(u64::from(point))),
        quality: Quality::GOOD,
        source_us: 9,
        received_us: 9,
    };
    let rows = [row(5), row(6), row(5), row(6)];
    let take = |points: [i64; 2]| {
        let (mut w, mut texts, mut out) = (BitWriter::default(), Texts::default(), vec![4]);
        let order = Order { points: points.to_vec(), ..Order::of(&rows) };
        order.put(&mut w);
        for column in [[9; 4], [0; 4], [i64::from(Quality::GOOD.code()); 4]] {
            order.put_column(&mut w, &column, 0);
        }
        let values: Vec<_> = order.by_point.iter().map(|i| rows[*i as usize].value.as_ref()).collect();
        put_values(&mut w, &mut texts, &values, &order.lengths);
        texts.put(&mut out);
        out.extend(w.finish());
        take_columns(&mut Reader::new(&out), 0, 4096).map(|columns| columns.points)
    };
    assert_eq!(take([5, 6]).unwrap(), [PointId(5), PointId(6)]);
    assert_eq!(take([7, 6]).unwrap(), [PointId(7), PointId(6)]);
    // Its rows would be in two orders.
    assert_eq!(take([5, 5]).unwrap_err(), DecodeError::Invalid { what: "order of points" });
}
