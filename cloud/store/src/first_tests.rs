//! Blobs of the first version are still read: written here as that version wrote them, and one kept as it was.

use common::bytes::{put_varint, put_zigzag};
use proptest::prelude::*;

use super::*;
use crate::bucket;
use crate::codec::decode_rows;
use crate::codec::tests::any_row;

fn seal(body: &[u8]) -> Vec<u8> {
    let packed = (body.len() >= 96).then(|| lz4_flex::block::compress(body)).filter(|p| p.len() < body.len());
    let stored = packed.as_deref().unwrap_or(body);
    let mut out = vec![VERSION, if packed.is_some() { FLAG_LZ4 } else { 0 }];
    out.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    out.extend(crc32fast::hash(stored).to_le_bytes());
    out.extend(stored);
    out
}

/// Columns: times, received after, rank, sequence and index (all as differences), qualities, tags, then
/// integers as differences, floats by planes of bytes, text and bytes by length.
#[allow(clippy::cast_possible_wrap)]
fn put_rows(out: &mut Vec<u8>, rows: &[Row]) {
    put_varint(out, rows.len() as u64);
    put_deltas(out, rows.iter().map(|r| r.t));
    for row in rows {
        put_zigzag(out, row.received.wrapping_sub(row.t));
    }
    put_deltas(out, rows.iter().map(|r| r.at.rank as i64));
    put_deltas(out, rows.iter().map(|r| r.at.seq as i64));
    put_deltas(out, rows.iter().map(|r| i64::from(r.at.index)));
    out.extend(rows.iter().map(|r| r.quality.code()));
    out.extend(rows.iter().map(|r| match &r.value {
        None => TAG_NONE,
        Some(Value::Bool(false)) => TAG_FALSE,
        Some(Value::Bool(true)) => TAG_TRUE,
        Some(Value::I64(_)) => TAG_I64,
        Some(Value::U64(_)) => TAG_U64,
        Some(Value::F64(_)) => TAG_F64,
        Some(Value::Text(_)) => TAG_TEXT,
        Some(Value::Bytes(_)) => TAG_BYTES,
    }));
    let integer = |r: &Row| match r.value {
        Some(Value::I64(n)) => Some(n),
        Some(Value::U64(n)) => Some(n as i64),
        _ => None,
    };
    put_deltas(out, rows.iter().filter_map(integer));
    let floats: Vec<f64> =
        rows.iter().filter_map(|r| if let Some(Value::F64(x)) = r.value { Some(x) } else { None }).collect();
    put_floats(out, &floats);
    for row in rows {
        let bytes = match &row.value {
            Some(Value::Text(t)) => t.as_bytes(),
            Some(Value::Bytes(b)) => b,
            _ => continue,
        };
        put_varint(out, bytes.len() as u64);
        out.extend(bytes);
    }
}

/// Numbers as differences to the one before.
fn put_deltas(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut last = 0i64;
    for n in numbers {
        put_zigzag(out, n.wrapping_sub(last));
        last = n;
    }
}

/// Floats as XOR with the one before, all first bytes, then all second bytes, ...: what changes little
/// becomes runs of zeros, which LZ4 packs.
fn put_floats(out: &mut Vec<u8>, floats: &[f64]) {
    let mut last = 0u64;
    let start = out.len();
    let n = floats.len();
    out.resize(start + n * 8, 0);
    for (i, x) in floats.iter().enumerate() {
        let bits = x.to_bits();
        for (plane, byte) in (bits ^ last).to_le_bytes().into_iter().enumerate() {
            out[start + plane * n + i] = byte;
        }
        last = bits;
    }
}

fn put_buckets(buckets: &[Bucket]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + buckets.len() * 48);
    put_varint(&mut out, buckets.len() as u64);
    put_deltas(&mut out, buckets.iter().map(|b| b.start));
    buckets.iter().for_each(|b| put_varint(&mut out, b.count));
    buckets.iter().for_each(|b| put_varint(&mut out, b.good));
    buckets.iter().for_each(|b| put_varint(&mut out, b.numbers));
    for column in [|b: &Bucket| b.min, |b: &Bucket| b.max, |b: &Bucket| b.sum] {
        put_floats(&mut out, &buckets.iter().map(column).collect::<Vec<_>>());
    }
    out.extend(buckets.iter().map(|b| b.worst.code()));
    let marks =
        |of: fn(&Bucket) -> &Option<Row>| buckets.iter().filter_map(|b| of(b).clone()).collect::<Vec<_>>();
    put_rows(&mut out, &marks(|b| &b.first));
    put_rows(&mut out, &marks(|b| &b.last));
    seal(&out)
}

proptest! {
    #[test]
    fn rows_are_read(rows in prop::collection::vec(any_row(), 0..60)) {
        let mut body = Vec::new();
        put_rows(&mut body, &rows);
        prop_assert_eq!(decode_rows(&seal(&body)).unwrap(), rows);
    }

    #[test]
    fn buckets_are_read(rows in prop::collection::vec(any_row(), 0..60), width in 1i64..1_000_000) {
        let buckets: Vec<_> = rows.iter().map(|row| Bucket::of(bucket::start(row.t, width), row)).collect();
        prop_assert_eq!(bucket::decode(&put_buckets(&buckets)).unwrap(), buckets);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_rows(&seal(&bytes));
        let _ = bucket::decode(&seal(&bytes));
    }
}
