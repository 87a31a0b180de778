//! The table of samples of the first version of frames, and of snapshots: columns as variable-length differences, which
//! LZ4 then packs. Written for clouds that know no other.

use super::frame::{MAX_BODY_BYTES, MAX_SAMPLES_PER_FRAME, SampleRow};
use crate::bytes::{DecodeError, Reader, put_varint, put_zigzag};
use crate::quality::Quality;
use crate::sample::{PointId, Sample};
use crate::value::Value;

const TAG_NONE: u8 = 0;
const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_I64: u8 = 3;
const TAG_U64: u8 = 4;
const TAG_F64: u8 = 5;
const TAG_TEXT: u8 = 6;
const TAG_BYTES: u8 = 7;

/// Samples by column: count; point numbers as differences; source times as differences; received minus
/// source; quality bytes; value tags; values. Like beside like compresses well, and differences are short.
pub fn encode_samples(rows: &[SampleRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rows.len() * 16);
    put_varint(&mut out, rows.len() as u64);
    let mut last = 0i64;
    for row in rows {
        put_zigzag(&mut out, i64::from(row.point.0) - last);
        last = i64::from(row.point.0);
    }
    let mut last = 0i64;
    for row in rows {
        put_zigzag(&mut out, row.source_us.wrapping_sub(last));
        last = row.source_us;
    }
    for row in rows {
        put_zigzag(&mut out, row.received_us.wrapping_sub(row.source_us));
    }
    out.extend(rows.iter().map(|row| row.quality.code()));
    out.extend(rows.iter().map(|row| match &row.value {
        None => TAG_NONE,
        Some(Value::Bool(false)) => TAG_FALSE,
        Some(Value::Bool(true)) => TAG_TRUE,
        Some(Value::I64(_)) => TAG_I64,
        Some(Value::U64(_)) => TAG_U64,
        Some(Value::F64(_)) => TAG_F64,
        Some(Value::Text(_)) => TAG_TEXT,
        Some(Value::Bytes(_)) => TAG_BYTES,
    }));
    for row in rows {
        match &row.value {
            None | Some(Value::Bool(_)) => {}
            Some(Value::I64(n)) => put_zigzag(&mut out, *n),
            Some(Value::U64(n)) => put_varint(&mut out, *n),
            Some(Value::F64(x)) => out.extend(x.to_bits().to_le_bytes()),
            Some(Value::Text(t)) => {
                put_varint(&mut out, t.len() as u64);
                out.extend(t.as_bytes());
            }
            Some(Value::Bytes(b)) => {
                put_varint(&mut out, b.len() as u64);
                out.extend(b.iter());
            }
        }
    }
    out
}

/// Reads what `encode_samples` wrote.
///
/// # Errors
/// When the bytes are not exactly one such table.
pub fn decode_samples(bytes: &[u8]) -> Result<Vec<SampleRow>, DecodeError> {
    let mut r = Reader::new(bytes);
    let n = r.count("samples", MAX_SAMPLES_PER_FRAME)?;
    let mut rows = Vec::with_capacity(n);
    let mut last = 0i64;
    for _ in 0..n {
        last = last.wrapping_add(r.zigzag()?);
        let point = u32::try_from(last).map_err(|_| DecodeError::Invalid { what: "point number" })?;
        rows.push(Sample {
            point: PointId(point),
            value: None,
            quality: Quality::BAD,
            source_us: 0,
            received_us: 0,
        });
    }
    let mut last = 0i64;
    for row in &mut rows {
        last = last.wrapping_add(r.zigzag()?);
        row.source_us = last;
    }
    for row in &mut rows {
        row.received_us = row.source_us.wrapping_add(r.zigzag()?);
    }
    for (row, code) in rows.iter_mut().zip(r.take(n)?) {
        row.quality = Quality::from_code(*code);
    }
    let tags = r.take(n)?;
    for (row, tag) in rows.iter_mut().zip(tags) {
        row.value = match *tag {
            TAG_NONE => None,
            TAG_FALSE => Some(Value::Bool(false)),
            TAG_TRUE => Some(Value::Bool(true)),
            TAG_I64 => Some(Value::I64(r.zigzag()?)),
            TAG_U64 => Some(Value::U64(r.varint()?)),
            TAG_F64 => Some(Value::F64(f64::from_bits(r.u64()?))),
            TAG_TEXT => {
                let len = r.count("text", MAX_BODY_BYTES)?;
                let text =
                    std::str::from_utf8(r.take(len)?).map_err(|_| DecodeError::Invalid { what: "text" })?;
                Some(Value::Text(text.into()))
            }
            TAG_BYTES => {
                let len = r.count("bytes", MAX_BODY_BYTES)?;
                Some(Value::Bytes(r.take(len)?.into()))
            }
            kind => return Err(DecodeError::Kind { what: "value", kind }),
        };
    }
    r.end()?;
    Ok(rows)
}
