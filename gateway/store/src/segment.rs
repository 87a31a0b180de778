//! Segment files. Layout, little-endian: header (magic 6, version u16 = 1, incarnation 16, ordinal u64,
//! first sequence u64, schema hash 16, CRC-32 u32 of all before it); a special record with the schema's
//! canonical JSON (length before compression u32, LZ4); frame records; when closed, a special record with
//! the footer (JSON) and a trailer (offset of the footer u64, magic 8). A file without a sound footer was
//! not closed and is scanned. A file whose header is unsound is read by what its frames say of themselves.

use std::io;
use std::path::{Path, PathBuf};

use common::wire::Frame;
use common::{Class, Classes, Incarnation, Schema, SchemaHash};

use crate::contents::{Contents, FrameRef, NO_CUTS};
use crate::disk::{Disk, DiskFile, read_around, write_all};
use crate::record::{self, Item, MAX_CONTENT, RecordReader, SPECIAL, put};

const MAGIC: &[u8; 6] = b"TWSEG\n";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 60;
const TRAILER_MAGIC: &[u8; 8] = b"TWFOOT\r\n";
const TRAILER_BYTES: usize = 16;
/// A schema is refused beyond this; it protects recovery from damaged lengths.
const MAX_SCHEMA_BYTES: usize = 64 << 20;

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
    /// Its header was unsound; the next footer mends it.
    pub(crate) headless: bool,
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

    /// Whether it holds no samples.
    pub(crate) fn only_records(&self) -> bool {
        self.contents.only_records()
    }

    /// Whether it holds critical samples, and besides at most records.
    pub(crate) fn only_critical(&self) -> bool {
        self.contents.only_kept() && !self.contents.only_records()
    }

    /// Whether it may hold samples that a synchronised clock cut within these times.
    pub(crate) fn may_hold_cut(&self, from_us: i64, to_us: i64) -> bool {
        let overlaps = |(least, greatest)| least <= to_us && greatest >= from_us;
        !self.only_records() && self.contents.cuts.is_none_or(overlaps)
    }

    pub(crate) fn last(&self) -> u64 {
        self.contents.present.last().unwrap_or(0)
    }

    pub(crate) fn first(&self) -> u64 {
        self.contents.present.iter().next().map_or(0, |(s, _)| s)
    }

    /// Hands over number and bytes of the frames that are present and sound, in order, until `take` says no. What is
    /// not sound is passed over: `Store::read` tells of it.
    pub(crate) fn frames(
        &self,
        disk: &dyn Disk,
        mut take: impl FnMut(u64, Vec<u8>) -> bool,
    ) -> io::Result<()> {
        let file = disk.open(&self.path, false)?;
        let mut reader = RecordReader::new(&*file, self.incarnation, self.start, self.contents.end);
        let mut last = 0;
        while let Some(item) = reader.next()? {
            let Item::Frame { seq, bytes, .. } = item else { continue };
            // A number again: only its first record counts.
            if seq > last && self.contents.present.contains(seq) {
                last = seq;
                if !take(seq, bytes) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The schema's canonical JSON, from the file.
    pub(crate) fn schema_json(&self, disk: &dyn Disk) -> io::Result<Option<Vec<u8>>> {
        let file = disk.open(&self.path, false)?;
        Ok(read_schema(&*file, self.incarnation, self.start)?.filter(|j| Schema::hash_of(j) == self.schema))
    }
}

/// Name of a segment's file in its folder.
pub(crate) fn file_name(ordinal: u64) -> String {
    format!("{ordinal:016x}.seg")
}

/// Name of a segment that is written anew: one that no file had before, so that who still reads the old one does not
/// meet another under its name.
pub(crate) fn rewritten(old: &Path, ordinal: u64) -> String {
    format!("{ordinal:016x}-{}.seg", times_rewritten(old) + 1)
}

/// How often a segment was written anew, by its file's name.
pub(crate) fn times_rewritten(path: &Path) -> u64 {
    let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    name.split_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
}

/// Ordinal in a file's name.
pub(crate) fn ordinal_of(path: &Path) -> Option<u64> {
    let name = path.file_stem()?.to_str()?;
    u64::from_str_radix(name.split_once('-').map_or(name, |(ordinal, _)| ordinal), 16).ok()
}

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) segment: Segment,
    pending: Vec<u8>,
    /// Size of the file with what is pending.
    at: u64,
}

impl Active {
    /// Makes the file with header and schema. It must not exist.
    pub(crate) fn create(
        disk: &dyn Disk,
        path: PathBuf,
        ordinal: u64,
        incarnation: Incarnation,
        first: u64,
        schema: (SchemaHash, &[u8]),
    ) -> io::Result<Self> {
        let mut head = header(incarnation, ordinal, first, schema.0);
        let mut packed = u32::try_from(schema.1.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        packed.extend(lz4_flex::block::compress(schema.1));
        put(&mut head, SPECIAL, &packed);
        let file = disk.create(&path)?;
        let at = head.len() as u64;
        let contents = Contents { end: at, times_known: true, cuts: Some(NO_CUTS), ..Contents::default() };
        let segment = Segment {
            path,
            ordinal,
            incarnation,
            schema: schema.0,
            contents,
            start: at,
            bytes: at,
            closed: false,
            headless: false,
        };
        let mut active = Self { file, segment, pending: head, at };
        if let Err(error) = active.write() {
            // Half a header is worth nothing.
            let _ = disk.remove(&active.segment.path);
            return Err(error);
        }
        Ok(active)
    }

    /// Adds a frame with the source times of its samples; it is written by `write`.
    pub(crate) fn push(&mut self, frame: FrameRef<'_>, times: Option<(i64, i64)>) {
        let contents = &mut self.segment.contents;
        contents.add(frame, self.at);
        contents.add_times(times);
        let before = self.pending.len();
        put(&mut self.pending, 0, frame.bytes);
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
        write_all(&*self.file, &self.pending, from)?;
        self.pending.clear();
        self.pending.shrink_to(256 << 10);
        self.segment.bytes = self.at;
        Ok(())
    }

    /// Writes the footer and syncs: from here on the file does not change.
    pub(crate) fn close(mut self) -> io::Result<Segment> {
        self.write()?;
        // A footer says that all before it is sound, so it must not be on disk before that is.
        self.file.sync()?;
        write_footer(&*self.file, &mut self.segment)?;
        Ok(self.segment)
    }
}

/// Writes the footer behind the frames, cuts off what stood there, and syncs. The header is written as well if it
/// was unsound.
pub(crate) fn write_footer(file: &dyn DiskFile, segment: &mut Segment) -> io::Result<()> {
    let end = segment.contents.end;
    let mut out = Vec::new();
    put(&mut out, SPECIAL, &serde_json::to_vec(&segment.contents).map_err(io::Error::other)?);
    out.extend(end.to_le_bytes());
    out.extend(TRAILER_MAGIC);
    if std::mem::take(&mut segment.headless) {
        write_all(file, &header(segment.incarnation, segment.ordinal, segment.first(), segment.schema), 0)?;
    }
    file.set_size(end)?;
    write_all(file, &out, end)?;
    file.sync()?;
    segment.bytes = end + out.len() as u64;
    segment.closed = true;
    Ok(())
}

fn header(incarnation: Incarnation, ordinal: u64, first: u64, schema: SchemaHash) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend(incarnation.0.to_le_bytes());
    head.extend(ordinal.to_le_bytes());
    head.extend(first.to_le_bytes());
    head.extend(schema.0);
    head.extend(crc32fast::hash(&head).to_le_bytes());
    head
}

/// What opening a segment file found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) segment: Segment,
    /// The number that it was begun for.
    pub(crate) first: u64,
    /// Damage: last sound sequence before it, first sound one after it if any.
    pub(crate) damage: Vec<(u64, Option<u64>)>,
}

/// What a file that an earlier run left turned out to be.
#[derive(Debug)]
pub(crate) enum Found {
    Segment(Box<Opened>),
    /// Shorter than a header or nothing but zeros: a power cut while it was made. Nothing durable was in it.
    Nothing,
    /// Written by another version of this program.
    OtherVersion(u16),
    /// No sound header, and no sound frame in it.
    Foreign,
}

/// Opens a file that an earlier run left. `ordinal` is what its name says.
pub(crate) fn open(disk: &dyn Disk, path: &Path, ordinal: Option<u64>) -> io::Result<Found> {
    let file = disk.open(path, false)?;
    let size = file.size()?;
    let mut head = [0; HEADER_BYTES];
    if read_around(&*file, &mut head, 0)?.0 < HEADER_BYTES {
        return Ok(Found::Nothing);
    }
    let parsed = match parse_header(&head) {
        Ok(parsed) => Some(parsed),
        Err(Some(version)) => return Ok(Found::OtherVersion(version)),
        Err(None) => None,
    };
    let headless = parsed.is_none();
    let (incarnation, ordinal, first, schema) = match parsed {
        Some(parsed) => parsed,
        None => match (record::first_frame(&*file, size)?, ordinal) {
            (Some(frame), Some(ordinal)) => (frame.incarnation, ordinal, frame.seq, frame.schema),
            (None, _) if record::only_zeros(&*file, size)? => return Ok(Found::Nothing),
            _ => return Ok(Found::Foreign),
        },
    };
    let mut segment = Segment {
        path: path.to_owned(),
        ordinal,
        incarnation,
        schema,
        contents: Contents::default(),
        start: HEADER_BYTES as u64,
        bytes: size,
        closed: false,
        headless,
    };
    let mut reader = RecordReader::new(&*file, incarnation, HEADER_BYTES as u64, size);
    if let Some(Item::Special(_)) = reader.next()? {
        segment.start = reader.offset();
    }
    if let Some(contents) = read_footer(&*file, incarnation, size)? {
        segment.contents = contents;
        segment.closed = true;
        return Ok(Found::Segment(Box::new(Opened { segment, first, damage: Vec::new() })));
    }
    scan(&*file, segment, first).map(|o| Found::Segment(Box::new(o)))
}

/// Reads all records of a file that was not closed.
fn scan(file: &dyn DiskFile, mut segment: Segment, first: u64) -> io::Result<Opened> {
    let mut reader = RecordReader::new(file, segment.incarnation, segment.start, segment.bytes);
    // Only the frames of points that are not all normal are looked into.
    let json = read_schema(file, segment.incarnation, segment.start)?.unwrap_or_default();
    let classes = Classes::of_json(&json);
    let class_of = |bytes: &[u8]| match &classes {
        classes if classes.are_normal() => Class::Normal,
        classes => Frame::decode(bytes).map(|f| classes.of_body(&f.body)).unwrap_or_default(),
    };
    let contents = &mut segment.contents;
    contents.end = segment.start;
    contents.cuts = Some(NO_CUTS);
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
                contents.add(FrameRef::of(seq, &bytes, class_of(&bytes)), offset);
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
    Ok(Opened { segment, first, damage })
}

/// Incarnation, ordinal, first sequence and schema; or the version, if it is a sound header of another one.
fn parse_header(head: &[u8; HEADER_BYTES]) -> Result<(Incarnation, u64, u64, SchemaHash), Option<u16>> {
    fn part<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> Result<[u8; N], Option<u16>> {
        head.get(at..at + N).and_then(|b| b.try_into().ok()).ok_or(None)
    }
    let version = u16::from_le_bytes(part(head, 6)?);
    let sound = crc32fast::hash(&head[..56]) == u32::from_le_bytes(part(head, 56)?);
    if &head[..6] != MAGIC || !sound {
        return Err(None);
    }
    if version != VERSION {
        return Err(Some(version));
    }
    Ok((
        Incarnation(u128::from_le_bytes(part(head, 8)?)),
        u64::from_le_bytes(part(head, 24)?),
        u64::from_le_bytes(part(head, 32)?),
        SchemaHash(part(head, 40)?),
    ))
}

fn read_footer(file: &dyn DiskFile, incarnation: Incarnation, size: u64) -> io::Result<Option<Contents>> {
    let Some(at) = size.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    if read_around(file, &mut trailer, at)?.0 < TRAILER_BYTES {
        return Ok(None);
    }
    let (offset, magic) = trailer.split_at(8);
    let offset = u64::from_le_bytes(offset.try_into().unwrap_or_default());
    if magic != TRAILER_MAGIC || offset >= at || at - offset > MAX_CONTENT as u64 {
        return Ok(None);
    }
    let mut reader = RecordReader::new(file, incarnation, offset, at);
    let Some(Item::Special(json)) = reader.next()? else { return Ok(None) };
    Ok(serde_json::from_slice(&json).ok().filter(|c: &Contents| c.end == offset))
}

fn read_schema(file: &dyn DiskFile, incarnation: Incarnation, end: u64) -> io::Result<Option<Vec<u8>>> {
    let mut reader = RecordReader::new(file, incarnation, HEADER_BYTES as u64, end);
    let Some(Item::Special(content)) = reader.next()? else { return Ok(None) };
    let Some((len, packed)) = content.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > MAX_SCHEMA_BYTES {
        return Ok(None);
    }
    Ok(lz4_flex::block::decompress(packed, len).ok())
}
