//! Tests of the blobs: what is written is read back, and no bytes panic.

use proptest::prelude::*;

use super::*;
use crate::bucket::{self, Bucket, Buckets};
use crate::bucket_codec::{decode, encode};
use crate::times::MOST_STATES;

fn any_value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        any::<bool>().prop_map(|b| Some(Value::Bool(b))),
        any::<i64>().prop_map(|n| Some(Value::I64(n))),
        any::<u64>().prop_map(|n| Some(Value::U64(n))),
        any::<u64>().prop_map(|b| Some(Value::F64(f64::from_bits(b)))),
        ".{0,12}".prop_map(|s| Some(Value::Text(s.into()))),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(|b| Some(Value::Bytes(b.into()))),
    ]
}

/// Few values of each type.
fn any_state() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        8 => (0i64..3).prop_map(|n| Some(Value::I64(n))),
        1 => Just(None),
        1 => (0i64..12).prop_map(|n| Some(Value::I64(n))),
        2 => any::<bool>().prop_map(|b| Some(Value::Bool(b))),
        2 => "[a-c]".prop_map(|s| Some(Value::Text(s.into()))),
        1 => any::<u8>().prop_map(|n| Some(Value::F64(n.into()))),
    ]
}

pub(crate) fn any_row() -> impl Strategy<Value = Row> {
    (any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u8>(), any_value()).prop_map(
        |(t, received, rank, seq, index, quality, value)| Row {
            t,
            received,
            at: Position { rank, seq, index },
            quality: Quality::from_code(quality),
            value,
        },
    )
}

proptest! {
    #[test]
    fn rows_are_read_back(rows in prop::collection::vec(any_row(), 0..60)) {
        prop_assert_eq!(decode_rows(&encode_rows(&rows)).unwrap(), rows);
    }

    #[test]
    fn buckets_are_read_back(rows in prop::collection::vec(any_row(), 0..60), width in 1i64..1_000_000) {
        let mut buckets: Vec<Bucket> = Vec::new();
        for row in &rows {
            buckets.push(Bucket::of(bucket::start(row.t, width), row));
        }
        prop_assert_eq!(decode(&encode(&buckets)).unwrap(), buckets);
    }

    #[test]
    fn roll_ups_of_any_states_are_read_back(
        rows in prop::collection::vec((0i64..40_000_000, 0u8..5, any_state()), 1..200),
        most in prop_oneof![Just(0usize), Just(MOST_STATES)],
        parts in 1usize..4,
    ) {
        let mut rows: Vec<Row> = (0u64..).zip(rows).map(|(seq, (t, quality, value))| Row {
            t,
            received: t + 5,
            at: Position { rank: 1, seq, index: 0 },
            quality: [Quality::GOOD, Quality::GOOD, Quality::GOOD, Quality::UNCERTAIN, Quality::BAD_TIMEOUT]
                [usize::from(quality)],
            value,
        }).collect();
        let mut all = Vec::new();
        for part in rows.chunks_mut(200 / parts) {
            part.sort_by_key(Row::key);
            let like = Buckets::new(1_000_000).listing(most);
            let fine = like.of_rows(part);
            let mut one_by_one = Buckets::new(1_000_000).listing(most);
            part.iter().for_each(|row| one_by_one.add(row));
            prop_assert_eq!(&one_by_one.into_vec(), &fine);
            prop_assert_eq!(&decode(&encode(&fine)).unwrap(), &fine);
            all.extend(fine);
        }
        let all = Buckets::new(10_000_000).listing(most).of_all(all);
        prop_assert_eq!(decode(&encode(&all)).unwrap(), all);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_rows(&bytes);
        let _ = decode_rows(&seal_as(VERSION, &bytes));
        let _ = decode(&bytes);
        let _ = decode(&seal_as(2, &bytes));
        let _ = decode(&seal_as(3, &bytes));
    }

    #[test]
    fn a_flipped_bit_is_noticed(rows in prop::collection::vec(any_row(), 1..20), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut blob = encode_rows(&rows);
        let at = at.index(blob.len());
        blob[at] ^= 1 << bit;
        prop_assert_ne!(decode_rows(&blob).ok(), Some(rows));
    }
}

#[test]
fn texts_that_no_value_can_have_are_refused() {
    // One row or bucket, thirteen empty texts.
    let blob = |version| seal_as(version, &[1, 13, 13, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let too_many = |limit| BlobError::Bytes(DecodeError::TooLarge { what: "texts", size: 13, limit });
    assert_eq!(decode_rows(&blob(VERSION)).unwrap_err(), too_many(1));
    assert_eq!(decode(&blob(2)).unwrap_err(), too_many(2));
    assert_eq!(decode(&blob(3)).unwrap_err(), too_many(12));
    assert_eq!(decode_rows(&blob(3)).unwrap_err(), BlobError::Version(3));
}

#[test]
fn slow_signals_take_few_bytes() {
    let row = |i: u64| Row {
        t: i64::try_from(i).unwrap() * 100_000,
        received: i64::try_from(i).unwrap() * 100_000 + 30,
        at: Position { rank: 3, seq: i, index: 7 },
        quality: Quality::GOOD,
        value: Some(Value::F64(f64::from(u32::try_from(i / 10).unwrap()) * 0.5)),
    };
    let rows: Vec<_> = (0..4096).map(row).collect();
    let size = encode_rows(&rows).len();
    assert!(size < 4096 * 3, "{size}");
}
