//! A frame: the unit of the stream (gateway, incarnation, sequence). It is encoded once, at the
//! gateway's store, and goes as it is to disk, over the wire and into the cloud's database.
//!
//! Layout, little-endian: version u8, kind u8, flags u8 (bit 0: clock was synchronised, bit 1: body
//! is LZ4), schema hash 16, incarnation 16, sequence u64, cut UTC us i64, cut us since boot u64, length
//! of the body before compression u32, body. Of version 2 are samples alone: their body is a table of `columns`, and
//! never LZ4. In version 1 it is that of `encode_samples`, or that of a waveform, never LZ4; the other kinds are JSON. `docs/protocol.md` has it all.

use serde::{Deserialize, Serialize};

use super::samples::{decode_samples, encode_samples};
use super::waveform::Waveform;
use crate::alarm::AlarmView;
use crate::bytes::{DecodeError, Reader, pack};
use crate::class::Class;
use crate::columns::{Columns, put_table, take_columns, take_table};
use crate::command::{CommandUpdate, DesiredUpdate, LogEntry};
use crate::ids::{Incarnation, SchemaHash};
use crate::interval::IntervalSet;
use crate::sample::Sample;

const VERSION: u8 = 1;
/// Of samples as columns.
const VERSION_COLUMNS: u8 = 2;
const FLAG_SYNCHRONISED: u8 = 1;
const FLAG_LZ4: u8 = 2;
const HEADER_BYTES: usize = 63;
/// More than any frame that we cut; protects a reader from a bomb.
pub(super) const MAX_BODY_BYTES: usize = 1 << 20;
/// The most samples in one frame.
pub const MAX_SAMPLES_PER_FRAME: usize = 4096;

const KIND_SAMPLES: u8 = 1;
const KIND_WAVEFORM: u8 = 2;
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
    /// The cloud had acknowledged them and lacks them now, and the box has them no longer.
    CloudLost,
    /// A cause that this program does not know.
    #[serde(other)]
    Other,
}

impl GapCause {
    /// The same for a cloud that knows the first four causes and cannot read a frame with another: the nearest of them.
    #[must_use]
    pub fn as_first(self) -> Self {
        match self {
            Self::Age | Self::Operator => Self::Quota,
            Self::CloudLost | Self::Other => Self::Damaged,
            first => first,
        }
    }
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
    /// The most important class that lost samples by it: points of a more important one lost none. None: any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Which of `seqs` are lost, where not all are: frames between them hold what was not lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<IntervalSet>,
}

/// One row of samples. As `Sample`; the frame's schema gives the point's number its meaning.
pub type SampleRow = Sample;

/// A frame's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// processed samples
    Samples(Vec<SampleRow>),
    /// a block of a waveform, or a part of one
    Waveform(Box<Waveform>),
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
            Self::Waveform(_) => KIND_WAVEFORM,
            Self::Event(_) | Self::Alarm(_) => KIND_EVENT,
            Self::Command(_) => KIND_COMMAND,
            Self::Audit(_) => KIND_AUDIT,
            Self::Gap(_) => KIND_GAP,
            Self::Desired(_) => KIND_DESIRED,
        }
    }

    /// How many samples it holds; each value of a waveform is one.
    pub fn sample_count(&self) -> usize {
        match self {
            Self::Samples(rows) => rows.len(),
            Self::Waveform(wave) => wave.values.len(),
            _ => 0,
        }
    }
}

/// What a frame holds, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// samples, or values of a waveform
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
    /// The frame's bytes: samples in version 2, the rest in version 1.
    pub fn encode(&self) -> Vec<u8> {
        match &self.body {
            Body::Samples(rows) => {
                let mut body = Vec::new();
                put_table(&mut body, rows, self.header.cut_us);
                self.with_body(VERSION_COLUMNS, &body, body.len(), false)
            }
            Body::Waveform(wave) => {
                let mut body = Vec::new();
                wave.put(&mut body);
                self.with_body(VERSION, &body, body.len(), false)
            }
            _ => self.encode_first(),
        }
    }

    /// The frame's bytes in version 1, for a cloud that knows no other.
    pub fn encode_first(&self) -> Vec<u8> {
        let body = match &self.body {
            Body::Samples(rows) => encode_samples(rows),
            Body::Waveform(_) => return self.encode(),
            Body::Event(e) | Body::Audit(e) => json(e),
            Body::Alarm(alarm) => json(&EventJson { entry: alarm.entry(), alarm: Some(Box::clone(alarm)) }),
            Body::Command(c) => json(c),
            Body::Gap(g) => json(g),
            Body::Desired(d) => json(d),
        };
        let packed = pack(&body);
        let stored = packed.as_ref().unwrap_or(&body);
        self.with_body(VERSION, stored, body.len(), packed.is_some())
    }

    fn with_body(&self, version: u8, stored: &[u8], length: usize, is_packed: bool) -> Vec<u8> {
        let h = &self.header;
        let flags = if h.synchronised { FLAG_SYNCHRONISED } else { 0 } | if is_packed { FLAG_LZ4 } else { 0 };
        let mut out = Vec::with_capacity(HEADER_BYTES + stored.len());
        out.extend([version, self.body.kind(), flags]);
        out.extend(h.schema.0);
        out.extend(h.incarnation.0.to_le_bytes());
        out.extend(h.seq.to_le_bytes());
        out.extend(h.cut_us.to_le_bytes());
        out.extend(h.cut_mono_us.to_le_bytes());
        out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(stored);
        out
    }

    /// A frame's bytes for a cloud that knows version 1 only: the same frame by the same name. None if they are of
    /// that version already, or no frame.
    pub fn as_first(bytes: &[u8]) -> Option<Vec<u8>> {
        (bytes.first() == Some(&VERSION_COLUMNS))
            .then(|| Self::decode(bytes).ok().map(|f| f.encode_first()))?
    }

    /// A gap's bytes for a cloud that knows the first causes only: the same frame by the same name. None if it is no gap,
    /// or has one of these.
    pub fn with_first_cause(bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.get(1) != Some(&KIND_GAP) {
            return None;
        }
        let Ok(Self { header, body: Body::Gap(gap) }) = Self::decode(bytes) else { return None };
        let cause = gap.cause.as_first();
        (cause != gap.cause).then(|| Self { header, body: Body::Gap(Gap { cause, ..gap }) }.encode_first())
    }

    /// A waveform's bytes for a cloud that does not know them: a gap by the same name, which says how many values it
    /// does not get. None if it is no waveform.
    pub fn without_waveform(bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.get(1) != Some(&KIND_WAVEFORM) {
            return None;
        }
        let Ok(Self { header, body: Body::Waveform(wave) }) = Self::decode(bytes) else { return None };
        let samples = wave.values.len() as u64;
        let times_us = Some(wave.times_us());
        // Of the first causes, so that every cloud reads it.
        let gap = Gap { times_us, samples, ..Gap::new(GapCause::Other.as_first()) };
        Some(Self { header, body: Body::Gap(gap) }.encode_first())
    }

    /// Reads the header alone.
    ///
    /// # Errors
    /// When the bytes are no frame of a known version.
    pub fn peek(bytes: &[u8]) -> Result<FrameHeader, DecodeError> {
        read_header(&mut Reader::new(bytes)).map(|head| head.header)
    }

    /// Reads what the frame holds without reading its body.
    ///
    /// # Errors
    /// When the bytes are no frame of a known version.
    pub fn peek_kind(bytes: &[u8]) -> Result<FrameKind, DecodeError> {
        read_header(&mut Reader::new(bytes)).map(|head| match head.kind {
            KIND_SAMPLES | KIND_WAVEFORM => FrameKind::Samples,
            KIND_COMMAND => FrameKind::Command,
            _ => FrameKind::Other,
        })
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are not exactly one frame of a known version and kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut unpacked = Vec::new();
        let (Head { version, header, kind, flags, .. }, body) = open(bytes, &mut unpacked)?;
        if version == VERSION_COLUMNS {
            let rows = take_table(&mut Reader::new(body), header.cut_us, MAX_SAMPLES_PER_FRAME)?;
            return Ok(Self { header, body: Body::Samples(rows) });
        }
        let body = match kind {
            KIND_SAMPLES => Body::Samples(decode_samples(body)?),
            KIND_WAVEFORM if flags & FLAG_LZ4 != 0 => return Err(DecodeError::Invalid { what: "flags" }),
            KIND_WAVEFORM => Body::Waveform(Box::new(Waveform::take(body)?)),
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

    /// Reads a frame's samples by column; none of a frame that holds something else.
    ///
    /// # Errors
    /// As of `decode`.
    pub fn decode_columns(bytes: &[u8]) -> Result<Columns, DecodeError> {
        let mut unpacked = Vec::new();
        let (head, body) = open(bytes, &mut unpacked)?;
        if head.version == VERSION_COLUMNS {
            return take_columns(&mut Reader::new(body), head.header.cut_us, MAX_SAMPLES_PER_FRAME);
        }
        match Self::decode(bytes)?.body {
            Body::Samples(rows) => Ok(Columns::of(&rows)),
            _ => Ok(Columns::default()),
        }
    }
}

/// A frame's head and its body, which is in `unpacked` if it was compressed.
fn open<'a>(bytes: &'a [u8], unpacked: &'a mut Vec<u8>) -> Result<(Head, &'a [u8]), DecodeError> {
    let mut r = Reader::new(bytes);
    let head = read_header(&mut r)?;
    let (len, stored) = (head.len, r.rest());
    if len > MAX_BODY_BYTES {
        return Err(DecodeError::TooLarge { what: "body", size: len, limit: MAX_BODY_BYTES });
    }
    let body = if head.flags & FLAG_LZ4 != 0 {
        *unpacked = lz4_flex::block::decompress(stored, len)
            .map_err(|_| DecodeError::Invalid { what: "lz4 body" })?;
        &unpacked[..]
    } else {
        stored
    };
    if body.len() == len { Ok((head, body)) } else { Err(DecodeError::Invalid { what: "body length" }) }
}

/// An event on the wire.
#[derive(Serialize, Deserialize)]
struct EventJson {
    #[serde(flatten)]
    entry: LogEntry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarm: Option<Box<AlarmView>>,
}

/// What stands before a body.
struct Head {
    version: u8,
    header: FrameHeader,
    kind: u8,
    flags: u8,
    len: usize,
}

fn read_header(r: &mut Reader<'_>) -> Result<Head, DecodeError> {
    let version = r.u8()?;
    if version != VERSION && version != VERSION_COLUMNS {
        return Err(DecodeError::Version { version });
    }
    let kind = r.u8()?;
    if version == VERSION_COLUMNS && kind != KIND_SAMPLES {
        return Err(DecodeError::Kind { what: "frame", kind });
    }
    let flags = r.u8()?;
    let known = if version == VERSION { FLAG_SYNCHRONISED | FLAG_LZ4 } else { FLAG_SYNCHRONISED };
    if flags & !known != 0 {
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
    Ok(Head { version, header, kind, flags, len: r.u32()? as usize })
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Structs of ours with string keys: this cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn from_json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|e| DecodeError::Json(e.to_string()))
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
