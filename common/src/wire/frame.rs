//! A frame: the unit of the stream (gateway, incarnation, sequence). It is encoded once, at the
//! gateway's store, and goes as it is to disk, over the wire and into the cloud's database.
//!
//! Layout, little-endian: version u8 = 1, kind u8, flags u8 (bit 0: clock was synchronised, bit 1: body
//! is LZ4), schema hash 16, incarnation 16, sequence u64, cut UTC us i64, cut us since boot u64, length
//! of the body before compression u32, body. The body of samples is a table by column (see
//! `encode_samples`); the other kinds are JSON.

use serde::{Deserialize, Serialize};

use crate::alarm::AlarmView;
use crate::bytes::{DecodeError, Reader, put_varint, put_zigzag};
use crate::command::{CommandUpdate, DesiredUpdate, LogEntry};
use crate::ids::{Incarnation, SchemaHash};
use crate::quality::Quality;
use crate::sample::{PointId, Sample};
use crate::value::Value;

const VERSION: u8 = 1;
const FLAG_SYNCHRONISED: u8 = 1;
const FLAG_LZ4: u8 = 2;
const HEADER_BYTES: usize = 63;
/// More than any frame that we cut; protects a reader from a bomb.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Bodies shorter than this are not worth compressing.
const COMPRESS_FROM: usize = 128;
/// The most samples in one frame.
pub const MAX_SAMPLES_PER_FRAME: usize = 4096;

const KIND_SAMPLES: u8 = 1;
// 2 is kept for waveforms.
const KIND_EVENT: u8 = 3;
const KIND_COMMAND: u8 = 4;
const KIND_AUDIT: u8 = 5;
const KIND_GAP: u8 = 6;
const KIND_DESIRED: u8 = 7;

/// What stands before a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Schema that the points' numbers refer to.
    pub schema: SchemaHash,
    /// With `seq`, the frame's name for ever.
    pub incarnation: Incarnation,
    /// From 1, without holes within an incarnation.
    pub seq: u64,
    /// When the frame was cut, UTC us.
    pub cut_us: i64,
    /// When the frame was cut, us since boot of the gateway's process.
    pub cut_mono_us: u64,
    /// Whether the gateway's clock was synchronised then.
    pub synchronised: bool,
}

/// Why frames are missing from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The buffer's quota was reached and the oldest were dropped.
    Quota,
    /// The disk was full or refused to write.
    DiskFull,
    /// A reader of the bus was too slow.
    Overrun,
    /// The log was damaged.
    Damaged,
    /// They were older than they were to be kept.
    Age,
    /// A person had them dropped.
    Operator,
    /// A cause that this program does not know.
    #[serde(other)]
    Other,
}

/// What is missing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Incarnation of the lost frames; none if samples were lost before they had a frame.
    pub incarnation: Option<Incarnation>,
    /// First and last sequence lost.
    pub seqs: Option<(u64, u64)>,
    /// Times of the first and last sample lost, UTC us, where known.
    pub times_us: Option<(i64, i64)>,
    /// How many samples, where known.
    pub samples: u64,
    /// Why.
    pub cause: GapCause,
}

/// One row of samples. As `Sample`; the frame's schema gives the point's number its meaning.
pub type SampleRow = Sample;

/// A frame's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// processed samples
    Samples(Vec<SampleRow>),
    /// something happened
    Event(LogEntry),
    /// An alarm changed. On the wire it is an event that carries the alarm beside the entry: clouds that do not
    /// know alarms show the event, and no kind had to be added.
    Alarm(Box<AlarmView>),
    /// a command went one step on
    Command(CommandUpdate),
    /// somebody did something
    Audit(LogEntry),
    /// something is missing
    Gap(Gap),
    /// what became of a desired value
    Desired(DesiredUpdate),
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Samples(_) => KIND_SAMPLES,
            Self::Event(_) | Self::Alarm(_) => KIND_EVENT,
            Self::Command(_) => KIND_COMMAND,
            Self::Audit(_) => KIND_AUDIT,
            Self::Gap(_) => KIND_GAP,
            Self::Desired(_) => KIND_DESIRED,
        }
    }

    /// How many samples it holds.
    pub fn sample_count(&self) -> usize {
        if let Self::Samples(rows) = self { rows.len() } else { 0 }
    }
}

/// What a frame holds, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// samples
    Samples,
    /// a step of a command
    Command,
    /// event, audit, gap, desired, or a kind that this program does not know
    Other,
}

/// A frame, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Its content.
    pub body: Body,
}

impl Frame {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let body = match &self.body {
            Body::Samples(rows) => encode_samples(rows),
            Body::Event(e) | Body::Audit(e) => json(e),
            Body::Alarm(alarm) => json(&EventJson { entry: alarm.entry(), alarm: Some(Box::clone(alarm)) }),
            Body::Command(c) => json(c),
            Body::Gap(g) => json(g),
            Body::Desired(d) => json(d),
        };
        let packed = (body.len() >= COMPRESS_FROM)
            .then(|| lz4_flex::block::compress(&body))
            .filter(|p| p.len() < body.len());
        let h = &self.header;
        let flags =
            if h.synchronised { FLAG_SYNCHRONISED } else { 0 } | if packed.is_some() { FLAG_LZ4 } else { 0 };
        let mut out = Vec::with_capacity(HEADER_BYTES + packed.as_ref().unwrap_or(&body).len());
        out.extend([VERSION, self.body.kind(), flags]);
        out.extend(h.schema.0);
        out.extend(h.incarnation.0.to_le_bytes());
        out.extend(h.seq.to_le_bytes());
        out.extend(h.cut_us.to_le_bytes());
        out.extend(h.cut_mono_us.to_le_bytes());
        out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(packed.as_ref().unwrap_or(&body));
        out
    }

    /// Reads the header alone.
    ///
    /// # Errors
    /// When the bytes are no frame of a known version.
    pub fn peek(bytes: &[u8]) -> Result<FrameHeader, DecodeError> {
        read_header(&mut Reader::new(bytes)).map(|(header, ..)| header)
    }

    /// Reads what the frame holds without reading its body.
    ///
    /// # Errors
    /// When the bytes are no frame of a known version.
    pub fn peek_kind(bytes: &[u8]) -> Result<FrameKind, DecodeError> {
        read_header(&mut Reader::new(bytes)).map(|(_, kind, ..)| match kind {
            KIND_SAMPLES => FrameKind::Samples,
            KIND_COMMAND => FrameKind::Command,
            _ => FrameKind::Other,
        })
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are not exactly one frame of a known version and kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let (header, kind, flags, len) = read_header(&mut r)?;
        if len > MAX_BODY_BYTES {
            return Err(DecodeError::TooLarge { what: "body", size: len, limit: MAX_BODY_BYTES });
        }
        let stored = r.rest();
        let unpacked;
        let body = if flags & FLAG_LZ4 != 0 {
            unpacked = lz4_flex::block::decompress(stored, len)
                .map_err(|_| DecodeError::Invalid { what: "lz4 body" })?;
            &unpacked[..]
        } else {
            stored
        };
        if body.len() != len {
            return Err(DecodeError::Invalid { what: "body length" });
        }
        let body = match kind {
            KIND_SAMPLES => Body::Samples(decode_samples(body)?),
            KIND_EVENT => match from_json(body)? {
                EventJson { alarm: Some(alarm), .. } => Body::Alarm(alarm),
                EventJson { entry, alarm: None } => Body::Event(entry),
            },
            KIND_COMMAND => Body::Command(from_json(body)?),
            KIND_AUDIT => Body::Audit(from_json(body)?),
            KIND_GAP => Body::Gap(from_json(body)?),
            KIND_DESIRED => Body::Desired(from_json(body)?),
            kind => return Err(DecodeError::Kind { what: "frame", kind }),
        };
        Ok(Self { header, body })
    }
}

/// An event on the wire.
#[derive(Serialize, Deserialize)]
struct EventJson {
    #[serde(flatten)]
    entry: LogEntry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarm: Option<Box<AlarmView>>,
}

fn read_header(r: &mut Reader<'_>) -> Result<(FrameHeader, u8, u8, usize), DecodeError> {
    let version = r.u8()?;
    if version != VERSION {
        return Err(DecodeError::Version { version });
    }
    let kind = r.u8()?;
    let flags = r.u8()?;
    if flags & !(FLAG_SYNCHRONISED | FLAG_LZ4) != 0 {
        return Err(DecodeError::Invalid { what: "flags" });
    }
    let header = FrameHeader {
        schema: SchemaHash(r.array()?),
        incarnation: Incarnation(r.u128()?),
        seq: r.u64()?,
        cut_us: r.i64()?,
        cut_mono_us: r.u64()?,
        synchronised: flags & FLAG_SYNCHRONISED != 0,
    };
    Ok((header, kind, flags, r.u32()? as usize))
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Structs of ours with string keys: this cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn from_json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|e| DecodeError::Json(e.to_string()))
}

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

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
