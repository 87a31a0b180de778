//! Blobs of the first version are still read: written here as that version wrote them, and two kept as its program wrote them.

use common::bytes::{put_varint, put_zigzag};
use proptest::prelude::*;

use super::*;
use crate::bucket;
use crate::bucket_codec::decode;
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

pub(crate) fn put_buckets(buckets: &[Bucket]) -> Vec<u8> {
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
    let marks = |of: fn(&Bucket) -> Option<&Row>| buckets.iter().filter_map(of).cloned().collect::<Vec<_>>();
    put_rows(&mut out, &marks(Bucket::first_good));
    put_rows(&mut out, &marks(Bucket::last_good));
    seal(&out)
}

/// What is known of a bucket that an older program wrote.
pub(crate) fn as_older(bucket: Bucket) -> Bucket {
    let ends = bucket.first_good().cloned().zip(bucket.last_good().cloned());
    Bucket { first: None, last: None, good_ends: None, times: None, ..bucket }.older(ends)
}

const T0: i64 = 1_795_046_400_000_000;

/// What the program of that version (commit 4ca3121c) made of the rows of `known`, and of their buckets of a second.
const ROWS: &str = "
01012f020000a8264419c5288080b8f0b9a5b006a2c21e030017980c000f0f004a3f3c3e400300122f04000100135f14
000000020400105f000a0a0a1d0400100476001f8209000c83050505050304020709002f01060900043107030d020004
4f000f02004af30d206020406020e0c020e020c0e020604020602034000000010000000308005f0f00000040850000b4
0300ff07066cc3a47566740700606cc3a4756674";
const BUCKETS: &str = "
01016c0200006028aefacf0a8080b8f0b9a5b00680897a030005170401001303020051040303040202001f00010020f0
0520204040000000803424251f1c00363f3f384080010030c0c0c018000f02001c12600100f100a0c0e034c4c5c5c6c6
c700c7c8400301003f0003034d001cf8080000003030e0e050506090f0b054a4bfbfb6b6c774b3a8500013820200053c
01f00388897aa0cb9801dcc65bfe887afe887a88890600020c00603c3e3c3c3e40030011045d00000200241402010040
00000a091200080200c805030505060501050405073918000f020000b220a000000034010003010f3801c0066cc3a475
66740ae6c693f1d6010284000b930030e6c65baf00009400009a001f3e9a0002131e6f0023090a090051000000050797
00510306052f0d11000f0200011160d90114019300b00300ff07066cc3a4756674";

pub(crate) fn kept(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Every type of value, and reads that failed.
pub(crate) fn known() -> Vec<Row> {
    let row = |n: u32| {
        let value = match n % 9 {
            0..=3 => Some(Value::F64(20.0 + f64::from(n) * 0.125)),
            4 => Some(Value::I64(-i64::from(n))),
            5 => Some(Value::U64(u64::MAX - u64::from(n))),
            6 => Some(Value::Bool(n == 6)),
            7 if n == 7 => Some(Value::Bytes([0u8, 255, 7][..].into())),
            7 => Some(Value::Text("läuft".into())),
            _ => None,
        };
        let t = T0 + i64::from(n) * 250_000 + i64::from(n % 5);
        let quality = if value.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT };
        let at = Position { rank: 2, seq: 10 + u64::from(n / 4), index: n % 4 * 5 };
        Row { t, received: t + 30 + i64::from(n % 3), at, quality, value }
    };
    (0..40).map(row).collect()
}

#[test]
fn blobs_that_were_kept_are_read() {
    assert_eq!(decode_rows(&kept(ROWS)).unwrap(), known());
    let mut buckets = bucket::Buckets::new(1_000_000);
    known().iter().for_each(|row| buckets.add(row));
    let expected: Vec<Bucket> = buckets.into_vec().into_iter().map(as_older).collect();
    assert!(expected.iter().any(|b| b.first.is_some()) && expected.iter().any(|b| b.first.is_none()));
    assert_eq!(decode(&kept(BUCKETS)).unwrap(), expected);
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
        let expected: Vec<_> = buckets.iter().cloned().map(as_older).collect();
        prop_assert_eq!(decode(&put_buckets(&buckets)).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_rows(&seal(&bytes));
        let _ = decode(&seal(&bytes));
    }
}
