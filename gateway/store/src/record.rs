//! Records: how frames lie in a segment file, and a reader that gets through any bytes. A record is
//! length u32, CRC-32 u32 over length and content, content; the highest bit of the length marks content
//! that is not a frame (the schema at the start, the footer at the end).
//!
//! After damage the reader looks for the next place where a sound record of the same incarnation starts:
//! every frame carries the 16 random bytes of its incarnation, which is what is searched for. Blocks that the disk
//! cannot read are damage as well.

use std::io;

use common::Incarnation;
use common::wire::{Frame, FrameHeader};

use crate::disk::{DiskFile, read_around, read_full};

/// Marks a record that is not a frame.
pub(crate) const SPECIAL: u32 = 1 << 31;
/// Length and CRC.
pub(crate) const PREFIX: usize = 8;
/// More than any content that is ever written.
pub(crate) const MAX_CONTENT: usize = 4 << 20;
/// Where a frame's incarnation stands within the frame.
const INCARNATION_AT: usize = 19;
/// More than a frame's header takes.
const FRAME_HEADER: usize = 128;
const CHUNK: usize = 128 << 10;

/// Appends a record to `out`.
pub(crate) fn put(out: &mut Vec<u8>, flag: u32, content: &[u8]) {
    // Contents are far below 2^31: frames are limited by their codec.
    let len = (u32::try_from(content.len()).unwrap_or(u32::MAX >> 1) | flag).to_le_bytes();
    out.extend(len);
    out.extend(checksum(len, content).to_le_bytes());
    out.extend(content);
}

fn checksum(len: [u8; 4], content: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&len);
    crc.update(content);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

/// What the reader met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A sound frame.
    Frame {
        /// Its sequence.
        seq: u64,
        /// Where its record starts.
        offset: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A sound record of another kind: the end of the frames.
    Special(Vec<u8>),
    /// Bytes that are no record, from here to the next item or to the end.
    Damage {
        /// Where they start.
        offset: u64,
    },
}

/// Reads records from `offset` to `end` of a file.
pub(crate) struct RecordReader<'a> {
    file: &'a dyn DiskFile,
    incarnation: Incarnation,
    /// File offset of `buffer[0]`.
    base: u64,
    end: u64,
    /// Least that is read at once.
    chunk: usize,
    buffer: Vec<u8>,
    /// Next byte to look at within `buffer`.
    at: usize,
    /// Met blocks that the disk cannot read.
    unreadable: bool,
}

impl<'a> RecordReader<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, incarnation: Incarnation, offset: u64, end: u64) -> Self {
        Self {
            file,
            incarnation,
            base: offset,
            end,
            chunk: CHUNK,
            buffer: Vec::new(),
            at: 0,
            unreadable: false,
        }
    }

    /// For one record here and there: reads little at once.
    pub(crate) fn small(mut self) -> Self {
        self.chunk = 1 << 10;
        self
    }

    /// Whether the disk could not read some block on the way: the damage may be the disk's and pass.
    pub(crate) fn met_unreadable(&self) -> bool {
        self.unreadable
    }

    /// File offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Brings up to `n` bytes from the current place into the buffer; fewer at the end of the file.
    fn fill(&mut self, n: usize) -> io::Result<()> {
        if self.buffer.len() - self.at >= n {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let have = self.buffer.len();
        let from = self.base + have as u64;
        let left = usize::try_from(self.end.saturating_sub(from)).unwrap_or(usize::MAX);
        let want = n.max(self.chunk).saturating_sub(have).min(left);
        self.buffer.resize(have + want, 0);
        let read = read_around(self.file, &mut self.buffer[have..], from);
        self.buffer.truncate(have + read.as_ref().map_or(0, |(n, _)| *n));
        self.unreadable |= read?.1;
        Ok(())
    }

    /// The content of a sound record at the current place.
    fn sound(&mut self) -> io::Result<Option<(bool, usize)>> {
        self.fill(PREFIX)?;
        let (Some(len), Some(crc)) = (u32_at(&self.buffer, self.at), u32_at(&self.buffer, self.at + 4))
        else {
            return Ok(None);
        };
        let special = u32::from_le_bytes(len) & SPECIAL != 0;
        let size = (u32::from_le_bytes(len) & !SPECIAL) as usize;
        if size > MAX_CONTENT || size as u64 > self.end.saturating_sub(self.offset()) {
            return Ok(None);
        }
        self.fill(PREFIX + size)?;
        let content = self.buffer.get(self.at + PREFIX..self.at + PREFIX + size);
        let sound = content.is_some_and(|c| {
            checksum(len, c) == u32::from_le_bytes(crc)
                && (special || Frame::peek(c).is_ok_and(|h| h.incarnation == self.incarnation))
        });
        Ok(sound.then_some((special, size)))
    }

    /// Moves to the next place where a sound record starts, or to the end.
    fn resync(&mut self) -> io::Result<()> {
        let needle = self.incarnation.0.to_le_bytes();
        self.at += 1;
        loop {
            self.fill(PREFIX + INCARNATION_AT + 16)?;
            let window = self.buffer.get(self.at..).unwrap_or(&[]);
            if window.len() < PREFIX + INCARNATION_AT + 16 {
                self.at = self.buffer.len();
                return Ok(());
            }
            let search = &window[PREFIX + INCARNATION_AT..];
            match search.windows(16).position(|w| w == needle) {
                Some(skip) => {
                    self.at += skip;
                    if self.sound()?.is_some() {
                        return Ok(());
                    }
                    self.at += 1;
                }
                None => self.at += search.len() - 15,
            }
        }
    }

    /// The next item; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read there.
    pub(crate) fn next(&mut self) -> io::Result<Option<Item>> {
        let offset = self.offset();
        if offset >= self.end {
            return Ok(None);
        }
        if let Some((special, size)) = self.sound()? {
            let content = self.buffer[self.at + PREFIX..self.at + PREFIX + size].to_vec();
            self.at += PREFIX + size;
            if special {
                return Ok(Some(Item::Special(content)));
            }
            let seq = Frame::peek(&content).map_or(0, |h| h.seq);
            return Ok(Some(Item::Frame { seq, offset, bytes: content }));
        }
        if self.buffer.len() == self.at {
            // The file is shorter than we were told.
            self.end = offset;
            return Ok(None);
        }
        self.resync()?;
        Ok(Some(Item::Damage { offset }))
    }
}

/// The header of the first sound frame of any incarnation, for a file that does not say which one it is of.
///
/// # Errors
/// When the file cannot be read, but for single blocks.
pub(crate) fn first_frame(file: &dyn DiskFile, end: u64) -> io::Result<Option<FrameHeader>> {
    let mut window = vec![0; CHUNK];
    let mut base = 0;
    while base < end {
        let (got, _) = read_around(file, &mut window, base)?;
        for at in 0..got.saturating_sub(PREFIX) {
            let Some(head) = window.get(at + PREFIX..got).and_then(|c| Frame::peek(c).ok()) else { continue };
            let offset = base + at as u64;
            let mut reader = RecordReader::new(file, head.incarnation, offset, end).small();
            if let Some((false, _)) = reader.sound()? {
                return Ok(Some(head));
            }
        }
        // What a record's beginning needs may lie across two windows.
        let step = got.saturating_sub(PREFIX + FRAME_HEADER).max(1);
        base += step as u64;
        if got < window.len() {
            break;
        }
    }
    Ok(None)
}

/// Whether there is nothing in it.
///
/// # Errors
/// When any of it cannot be read.
pub(crate) fn only_zeros(file: &dyn DiskFile, end: u64) -> io::Result<bool> {
    let mut window = vec![0; CHUNK];
    let mut base = 0;
    while base < end {
        let got = read_full(file, &mut window, base)?;
        if got == 0 {
            break;
        }
        if window[..got].iter().any(|b| *b != 0) {
            return Ok(false);
        }
        base += got as u64;
    }
    Ok(true)
}
