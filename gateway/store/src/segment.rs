//! Segment files. Layout, little-endian: header (magic 6, version u16 = 1, incarnation 16, ordinal u64,
//! first sequence u64, schema hash 16, CRC-32 u32 of all before it); a special record with the schema's
//! canonical JSON (length before compression u32, LZ4); frame records; when closed, a special record with
//! the footer (JSON) and a trailer (offset of the footer u64, magic 8). A file without a sound footer was
//! not closed and is scanned.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::wire::{Frame, FrameKind};
use common::{Incarnation, IntervalSet, Schema, SchemaHash};
use serde::{Deserialize, Serialize};

use crate::record::{Item, MAX_CONTENT, RecordReader, SPECIAL, put};
use crate::tail::TailFrame;

const MAGIC: &[u8; 6] = b"TWSEG\n";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 60;
const TRAILER_MAGIC: &[u8; 8] = b"TWFOOT\r\n";
const TRAILER_BYTES: usize = 16;
/// One mark for so many bytes.
const MARK_EVERY: u64 = 64 << 10;
/// A schema is refused beyond this; it protects recovery from damaged lengths.
const MAX_SCHEMA_BYTES: usize = 64 << 20;

/// Where to start reading for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    pub(crate) offset: u64,
    pub(crate) cut_us: i64,
}

/// What a segment holds; its footer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// Sequences of its frames.
    pub(crate) present: IntervalSet,
    /// Those of them that are not samples: dropped last.
    pub(crate) kept: IntervalSet,
    /// Where the frames end.
    pub(crate) end: u64,
    /// Least and greatest source time; none if unknown or if there are no samples.
    pub(crate) times: Option<(i64, i64)>,
    /// Whether `times` is known of all samples.
    pub(crate) times_known: bool,
    /// In order.
    pub(crate) marks: Vec<Mark>,
    /// Offsets of frames with commands.
    pub(crate) commands: Vec<u64>,
}

impl Contents {
    fn add(&mut self, seq: u64, offset: u64, len: usize, kind: FrameKind, cut_us: i64) {
        self.present.insert(seq);
        if kind != FrameKind::Samples {
            self.kept.insert(seq);
        }
        if kind == FrameKind::Command {
            self.commands.push(offset);
        }
        if self.marks.last().is_none_or(|m| offset - m.offset >= MARK_EVERY) {
            self.marks.push(Mark { seq, offset, cut_us });
        }
        self.end = offset + (crate::record::PREFIX + len) as u64;
    }

    fn add_times(&mut self, times: Option<(i64, i64)>) {
        self.times = match (self.times, times) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }
}

/// A segment, as the index in memory knows it.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) ordinal: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) schema: SchemaHash,
    pub(crate) contents: Contents,
    /// Where the frames begin.
    pub(crate) start: u64,
    /// Size of the file.
    pub(crate) bytes: u64,
    pub(crate) closed: bool,
}

impl Segment {
    /// Where to start reading for `seq`, and which frame stands there.
    pub(crate) fn place_of(&self, seq: u64) -> (u64, u64) {
        let after = self.contents.marks.partition_point(|m| m.seq <= seq);
        let mark = after.checked_sub(1).and_then(|at| self.contents.marks.get(at));
        mark.map_or((self.first(), self.start), |m| (m.seq, m.offset))
    }

    /// About when a frame was cut: the time of the mark before it.
    pub(crate) fn cut_us(&self, seq: u64) -> Option<i64> {
        let after = self.contents.marks.partition_point(|m| m.seq <= seq);
        Some(self.contents.marks.get(after.saturating_sub(1))?.cut_us)
    }

    pub(crate) fn last(&self) -> u64 {
        self.contents.present.last().unwrap_or(0)
    }

    pub(crate) fn first(&self) -> u64 {
        self.contents.present.iter().next().map_or(0, |(s, _)| s)
    }

    /// The schema's canonical JSON, from the file.
    pub(crate) fn schema_json(&self) -> io::Result<Option<Vec<u8>>> {
        let file = File::open(&self.path)?;
        Ok(read_schema(&file, self.incarnation, self.start)?.filter(|j| Schema::hash_of(j) == self.schema))
    }
}

/// Name of a segment's file in its folder.
pub(crate) fn file_name(ordinal: u64) -> String {
    format!("{ordinal:016x}.seg")
}

/// Name of what is left of a segment whose samples were dropped. Sorts before the whole one.
pub(crate) fn kept_name(ordinal: u64) -> String {
    format!("{ordinal:016x}-kept.seg")
}

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: File,
    pub(crate) segment: Segment,
    pending: Vec<u8>,
    /// Size of the file with what is pending.
    at: u64,
}

impl Active {
    /// Makes the file with header and schema. It must not exist.
    pub(crate) fn create(
        path: PathBuf,
        ordinal: u64,
        incarnation: Incarnation,
        first: u64,
        schema: (SchemaHash, &[u8]),
    ) -> io::Result<Self> {
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend(incarnation.0.to_le_bytes());
        head.extend(ordinal.to_le_bytes());
        head.extend(first.to_le_bytes());
        head.extend(schema.0.0);
        head.extend(crc32fast::hash(&head).to_le_bytes());
        let mut packed = u32::try_from(schema.1.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        packed.extend(lz4_flex::block::compress(schema.1));
        put(&mut head, SPECIAL, &packed);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let at = head.len() as u64;
        let contents = Contents { end: at, times_known: true, ..Contents::default() };
        let segment = Segment {
            path,
            ordinal,
            incarnation,
            schema: schema.0,
            contents,
            start: at,
            bytes: at,
            closed: false,
        };
        let mut active = Self { file, segment, pending: head, at };
        if let Err(error) = active.write() {
            // Half a header is worth nothing.
            let _ = std::fs::remove_file(&active.segment.path);
            return Err(error);
        }
        Ok(active)
    }

    /// Adds a frame; it is written by `write`.
    pub(crate) fn push(&mut self, frame: &TailFrame) {
        let contents = &mut self.segment.contents;
        contents.add(frame.seq, self.at, frame.bytes.len(), frame.kind, frame.cut_us);
        contents.add_times(frame.times);
        let before = self.pending.len();
        put(&mut self.pending, 0, &frame.bytes);
        self.at += (self.pending.len() - before) as u64;
    }

    pub(crate) fn size(&self) -> u64 {
        self.at
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Writes what was added. After an error the file's end is not known: give the segment up.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let from = self.at - self.pending.len() as u64;
        self.file.write_all_at(&self.pending, from)?;
        self.pending.clear();
        self.pending.shrink_to(256 << 10);
        self.segment.bytes = self.at;
        Ok(())
    }

    /// Writes the footer and syncs: from here on the file does not change.
    pub(crate) fn close(mut self) -> io::Result<Segment> {
        self.write()?;
        write_footer(&self.file, &mut self.segment)?;
        Ok(self.segment)
    }
}

/// Writes the footer behind the frames, cuts off what stood there, and syncs.
pub(crate) fn write_footer(mut file: &File, segment: &mut Segment) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let end = segment.contents.end;
    let mut out = Vec::new();
    put(&mut out, SPECIAL, &serde_json::to_vec(&segment.contents).map_err(io::Error::other)?);
    out.extend(end.to_le_bytes());
    out.extend(TRAILER_MAGIC);
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(&out)?;
    file.sync_all()?;
    segment.bytes = end + out.len() as u64;
    segment.closed = true;
    Ok(())
}

/// What opening a segment file found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) segment: Segment,
    /// Damage: last sound sequence before it, first sound one after it if any.
    pub(crate) damage: Vec<(u64, Option<u64>)>,
}

/// Opens a file that an earlier run left; none if it has no sound header.
pub(crate) fn open(path: &Path) -> io::Result<Option<Opened>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = [0; HEADER_BYTES];
    if size < HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, 0)?;
    let Some((incarnation, ordinal, first, schema)) = parse_header(&head) else { return Ok(None) };
    let mut segment = Segment {
        path: path.to_owned(),
        ordinal,
        incarnation,
        schema,
        contents: Contents::default(),
        start: HEADER_BYTES as u64,
        bytes: size,
        closed: false,
    };
    let mut reader = RecordReader::new(&file, incarnation, HEADER_BYTES as u64, size);
    if let Some(Item::Special(_)) = reader.next()? {
        segment.start = reader.offset();
    }
    if let Some(contents) = read_footer(&file, incarnation, size)? {
        segment.contents = contents;
        segment.closed = true;
        return Ok(Some(Opened { segment, damage: Vec::new() }));
    }
    scan(&file, segment, first).map(Some)
}

/// Reads all records of a file that was not closed.
fn scan(file: &File, mut segment: Segment, first: u64) -> io::Result<Opened> {
    let mut reader = RecordReader::new(file, segment.incarnation, segment.start, segment.bytes);
    let contents = &mut segment.contents;
    contents.end = segment.start;
    let mut damage = Vec::new();
    let mut last = first.saturating_sub(1);
    let mut broken = false;
    while let Some(item) = reader.next()? {
        match item {
            Item::Frame { seq, offset, bytes } if seq > last => {
                if std::mem::take(&mut broken) && seq > last + 1 {
                    damage.push((last, Some(seq)));
                }
                last = seq;
                let kind = Frame::peek_kind(&bytes).unwrap_or(FrameKind::Other);
                let cut_us = Frame::peek(&bytes).map_or(0, |h| h.cut_us);
                contents.add(seq, offset, bytes.len(), kind, cut_us);
            }
            // A number again: only its first record counts.
            Item::Frame { .. } => {}
            Item::Special(_) => break,
            Item::Damage { .. } => broken = true,
        }
    }
    if broken {
        damage.push((last, None));
    }
    Ok(Opened { segment, damage })
}

fn parse_header(head: &[u8; HEADER_BYTES]) -> Option<(Incarnation, u64, u64, SchemaHash)> {
    let crc = u32::from_le_bytes(head[56..60].try_into().ok()?);
    let version = u16::from_le_bytes(head[6..8].try_into().ok()?);
    if &head[..6] != MAGIC || version != VERSION || crc32fast::hash(&head[..56]) != crc {
        return None;
    }
    Some((
        Incarnation(u128::from_le_bytes(head[8..24].try_into().ok()?)),
        u64::from_le_bytes(head[24..32].try_into().ok()?),
        u64::from_le_bytes(head[32..40].try_into().ok()?),
        SchemaHash(head[40..56].try_into().ok()?),
    ))
}

fn read_footer(file: &File, incarnation: Incarnation, size: u64) -> io::Result<Option<Contents>> {
    let Some(at) = size.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, at)?;
    let (offset, magic) = trailer.split_at(8);
    let offset = u64::from_le_bytes(offset.try_into().unwrap_or_default());
    if magic != TRAILER_MAGIC || offset >= at || at - offset > MAX_CONTENT as u64 {
        return Ok(None);
    }
    let mut reader = RecordReader::new(file, incarnation, offset, at);
    let Some(Item::Special(json)) = reader.next()? else { return Ok(None) };
    Ok(serde_json::from_slice(&json).ok().filter(|c: &Contents| c.end == offset))
}

fn read_schema(file: &File, incarnation: Incarnation, end: u64) -> io::Result<Option<Vec<u8>>> {
    let mut reader = RecordReader::new(file, incarnation, HEADER_BYTES as u64, end);
    let Some(Item::Special(content)) = reader.next()? else { return Ok(None) };
    let Some((len, packed)) = content.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > MAX_SCHEMA_BYTES {
        return Ok(None);
    }
    Ok(lz4_flex::block::decompress(packed, len).ok())
}
