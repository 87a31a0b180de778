//! Blobs of the database: an envelope with a checksum, columns of samples, and the writing of integers that
//! they share. Pure and total: no bytes make it panic. What a roll-up's bucket is, is in `bucket`.

use cloud_core::Position;
use common::bytes::{DecodeError, Reader, put_varint, put_zigzag};
use common::{Quality, Value};

/// One sample of one point, with its place in the order of all values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Source time, UTC us.
    pub(crate) t: i64,
    /// When the gateway received it, UTC us.
    pub(crate) received: i64,
    /// Where it stands.
    pub(crate) at: Position,
    /// Quality.
    pub(crate) quality: Quality,
    /// Value; none when the read failed.
    pub(crate) value: Option<Value>,
}

impl Row {
    /// Order within a point's history.
    pub(crate) fn key(&self) -> (i64, Position) {
        (self.t, self.at)
    }
}

/// Why a blob could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlobError {
    /// It ends too early, or goes on after its end.
    #[error("wrong length")]
    Length,
    /// Written by a later program.
    #[error("unknown version {0}")]
    Version(u8),
    /// The checksum does not fit.
    #[error("checksum does not fit")]
    Checksum,
    /// A field holds what it must not.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Its bytes cannot be read.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
}

const VERSION: u8 = 1;
const FLAG_LZ4: u8 = 1;
const COMPRESS_FROM: usize = 96;
/// More than any blob that we write; protects a reader of a damaged file.
const MAX_BODY: usize = 1 << 28;
const MAX_ROWS: u64 = 1 << 20;

/// Version, flags, length before compression, CRC-32 of what is stored, then that.
pub(crate) fn seal(body: &[u8]) -> Vec<u8> {
    let packed = (body.len() >= COMPRESS_FROM)
        .then(|| lz4_flex::block::compress(body))
        .filter(|p| p.len() < body.len());
    let stored = packed.as_deref().unwrap_or(body);
    let mut out = Vec::with_capacity(stored.len() + 10);
    out.extend([VERSION, if packed.is_some() { FLAG_LZ4 } else { 0 }]);
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(crc32fast::hash(stored).to_le_bytes());
    out.extend(stored);
    out
}

/// The body of what `seal` made.
pub(crate) fn open(blob: &[u8]) -> Result<Vec<u8>, BlobError> {
    let mut r = Reader::new(blob);
    let version = r.u8()?;
    if version != VERSION {
        return Err(BlobError::Version(version));
    }
    let flags = r.u8()?;
    let len = u32::from_le_bytes(r.array()?) as usize;
    let crc = u32::from_le_bytes(r.array()?);
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

/// A chunk of rows.
pub(crate) fn encode_rows(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rows.len() * 20);
    put_rows(&mut out, rows);
    seal(&out)
}

/// What `encode_rows` wrote.
pub(crate) fn decode_rows(blob: &[u8]) -> Result<Vec<Row>, BlobError> {
    let body = open(blob)?;
    let mut r = Reader::new(&body);
    let rows = take_rows(&mut r)?;
    r.end()?;
    Ok(rows)
}

const TAG_NONE: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_I64: u8 = 3;
const TAG_U64: u8 = 4;
const TAG_F64: u8 = 5;
const TAG_TEXT: u8 = 6;
const TAG_BYTES: u8 = 7;

/// Columns: times, received after, rank, sequence and index (all as differences), qualities, tags, then
/// integers as differences, floats by planes of bytes, text and bytes by length.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn put_rows(out: &mut Vec<u8>, rows: &[Row]) {
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

/// Numbers as differences to the one before.
pub(crate) fn put_deltas(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut last = 0i64;
    for n in numbers {
        put_zigzag(out, n.wrapping_sub(last));
        last = n;
    }
}

/// What `put_deltas` wrote.
pub(crate) fn take_deltas(r: &mut Reader<'_>, n: usize) -> Result<Vec<i64>, BlobError> {
    let mut out = Vec::with_capacity(n);
    let mut last = 0i64;
    for _ in 0..n {
        last = last.wrapping_add(r.zigzag()?);
        out.push(last);
    }
    Ok(out)
}

/// Floats as XOR with the one before, all first bytes, then all second bytes, ...: what changes little
/// becomes runs of zeros, which LZ4 packs.
pub(crate) fn put_floats(out: &mut Vec<u8>, floats: &[f64]) {
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

/// What `put_floats` wrote.
pub(crate) fn take_floats(r: &mut Reader<'_>, n: usize) -> Result<Vec<f64>, BlobError> {
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
#[path = "codec_tests.rs"]
mod tests;
