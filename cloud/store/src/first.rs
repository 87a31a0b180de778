//! Blobs of the first version, which databases of older programs hold: an envelope with LZ4, columns as
//! variable-length differences. Only read.

use cloud_core::Position;
use common::bytes::Reader;
use common::{Quality, Value};

use crate::bucket::Bucket;
use crate::codec::{BlobError, Row};

pub(crate) const VERSION: u8 = 1;
const FLAG_LZ4: u8 = 1;
/// More than any blob that was written; protects a reader of a damaged file.
const MAX_BODY: usize = 1 << 28;
const MAX_ROWS: u64 = 1 << 20;
const TAG_NONE: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_I64: u8 = 3;
const TAG_U64: u8 = 4;
const TAG_F64: u8 = 5;
const TAG_TEXT: u8 = 6;
const TAG_BYTES: u8 = 7;

/// The body of a blob: after its version stand flags, its length before compression, the CRC-32 of what is stored, and that.
pub(crate) fn open(r: &mut Reader<'_>) -> Result<Vec<u8>, BlobError> {
    let flags = r.u8()?;
    let len = r.u32()? as usize;
    let crc = r.u32()?;
    let stored = r.rest();
    if crc32fast::hash(stored) != crc {
        return Err(BlobError::Checksum);
    }
    if len > MAX_BODY {
        return Err(BlobError::Length);
    }
    let body = match flags {
        0 => stored.to_vec(),
        FLAG_LZ4 => lz4_flex::block::decompress(stored, len).map_err(|_| BlobError::Invalid("lz4"))?,
        _ => return Err(BlobError::Invalid("flags")),
    };
    if body.len() == len { Ok(body) } else { Err(BlobError::Length) }
}

#[allow(clippy::cast_sign_loss)]
pub(crate) fn take_rows(r: &mut Reader<'_>) -> Result<Vec<Row>, BlobError> {
    let n = r.varint()?;
    if n > MAX_ROWS || n > r.left() as u64 {
        return Err(BlobError::Length);
    }
    let n = usize::try_from(n).map_err(|_| BlobError::Length)?;
    let times = take_deltas(r, n)?;
    let mut rows: Vec<Row> = Vec::with_capacity(n);
    for t in times {
        let received = t.wrapping_add(r.zigzag()?);
        rows.push(Row { t, received, at: Position::default(), quality: Quality::BAD, value: None });
    }
    let mut last = 0i64;
    for row in &mut rows {
        last = last.wrapping_add(r.zigzag()?);
        row.at.rank = last as u64;
    }
    last = 0;
    for row in &mut rows {
        last = last.wrapping_add(r.zigzag()?);
        row.at.seq = last as u64;
    }
    last = 0;
    for row in &mut rows {
        last = last.wrapping_add(r.zigzag()?);
        row.at.index = u32::try_from(last).map_err(|_| BlobError::Invalid("index"))?;
    }
    for (row, code) in rows.iter_mut().zip(r.take(n)?) {
        row.quality = Quality::from_code(*code);
    }
    let tags = r.take(n)?;
    let count = |wanted: &dyn Fn(u8) -> bool| tags.iter().filter(|t| wanted(**t)).count();
    let mut integers = take_deltas(r, count(&|t| t == TAG_I64 || t == TAG_U64))?.into_iter();
    let mut floats = take_floats(r, count(&|t| t == TAG_F64))?.into_iter();
    for (row, tag) in rows.iter_mut().zip(tags) {
        row.value = match *tag {
            TAG_NONE => None,
            TAG_FALSE => Some(Value::Bool(false)),
            TAG_TRUE => Some(Value::Bool(true)),
            TAG_I64 => Some(Value::I64(integers.next().ok_or(BlobError::Length)?)),
            TAG_U64 => Some(Value::U64(integers.next().ok_or(BlobError::Length)? as u64)),
            TAG_F64 => Some(Value::F64(floats.next().ok_or(BlobError::Length)?)),
            TAG_TEXT => {
                let bytes = r.sized()?;
                let text = std::str::from_utf8(bytes).map_err(|_| BlobError::Invalid("text"))?;
                Some(Value::Text(text.into()))
            }
            TAG_BYTES => Some(Value::Bytes(r.sized()?.into())),
            _ => return Err(BlobError::Invalid("tag")),
        };
    }
    Ok(rows)
}

/// A chunk of buckets: starts, counts, extremes and sums, worst qualities, then the rows of first and last samples.
pub(crate) fn take_buckets(body: &[u8]) -> Result<Vec<Bucket>, BlobError> {
    let mut r = Reader::new(body);
    let n = usize::try_from(r.varint()?).map_err(|_| BlobError::Length)?;
    if n > r.left() {
        return Err(BlobError::Length);
    }
    let starts = take_deltas(&mut r, n)?;
    let mut counts = || (0..n).map(|_| r.varint()).collect::<Result<Vec<_>, _>>();
    let (count, good, numbers) = (counts()?, counts()?, counts()?);
    let (min, max, sum) = (take_floats(&mut r, n)?, take_floats(&mut r, n)?, take_floats(&mut r, n)?);
    let worst = r.take(n)?;
    let mut firsts = take_rows(&mut r)?.into_iter();
    let mut lasts = take_rows(&mut r)?.into_iter();
    r.end()?;
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let has = good[i] > 0;
        let mark = |rows: &mut std::vec::IntoIter<Row>| {
            if has { rows.next().ok_or(BlobError::Invalid("marks")).map(Some) } else { Ok(None) }
        };
        let bucket = Bucket {
            start: starts[i],
            count: count[i],
            good: good[i],
            numbers: numbers[i],
            min: min[i],
            max: max[i],
            sum: sum[i],
            worst: Quality::from_code(worst[i]),
            first: None,
            last: None,
            good_ends: None,
            times: None,
        };
        out.push(bucket.older(mark(&mut firsts)?.zip(mark(&mut lasts)?)));
    }
    Ok(out)
}

/// Numbers as differences to the one before.
fn take_deltas(r: &mut Reader<'_>, n: usize) -> Result<Vec<i64>, BlobError> {
    let mut out = Vec::with_capacity(n);
    let mut last = 0i64;
    for _ in 0..n {
        last = last.wrapping_add(r.zigzag()?);
        out.push(last);
    }
    Ok(out)
}

/// Floats as XOR with the one before, all first bytes, then all second bytes, ...
fn take_floats(r: &mut Reader<'_>, n: usize) -> Result<Vec<f64>, BlobError> {
    let planes = r.take(n.checked_mul(8).ok_or(BlobError::Length)?)?;
    let mut last = 0u64;
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let mut bytes = [0; 8];
        for (plane, byte) in bytes.iter_mut().enumerate() {
            *byte = planes[plane * n + i];
        }
        last ^= u64::from_le_bytes(bytes);
        out.push(f64::from_bits(last));
    }
    Ok(out)
}

#[cfg(test)]
#[path = "first_tests.rs"]
pub(crate) mod tests;
