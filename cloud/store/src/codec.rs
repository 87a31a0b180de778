//! Blobs of the database: an envelope with a checksum, and in it rows of one point by column. Pure and total: no bytes make
//! it panic. What a roll-up's bucket is, is in `bucket`, its bytes are in `bucket_codec`; blobs of older versions are read by `first` and `second`.

use cloud_core::Position;
use common::bytes::{DecodeError, Reader, put_varint};
use common::columns::{
    BitReader, BitWriter, Texts, put_plain, put_residuals, put_series, put_values, take_plain,
    take_residuals, take_series, take_values,
};
use common::{Quality, Value};

use crate::first;
use crate::stamps::{Cells, Part, Stamps};

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

    /// Bytes of its text.
    pub(crate) fn text(&self) -> usize {
        text_of(self.value.as_ref())
    }
}

/// Bytes that a value takes beside its place: a text may be thousands of times as large as a number.
pub(crate) fn text_of(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        _ => 0,
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

/// Of blobs of rows; those of buckets have had a third since.
const VERSION: u8 = 2;
/// Of rows without their stamps, and of stamps by themselves.
const SHARED: u8 = 4;
/// The latest version of a blob that is whole by itself.
const LATEST: u8 = 3;
/// Protects a reader of a damaged file.
pub(crate) const MAX_ROWS: usize = 1 << 20;
/// The most bytes of texts in a blob, unpacked.
const MAX_TEXT: usize = 1 << 28;

/// Version, CRC-32 of the rest, the rest.
pub(crate) fn seal_as(version: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    out.push(version);
    out.extend(crc32fast::hash(body).to_le_bytes());
    out.extend(body);
    out
}

/// What a blob holds.
pub(crate) enum Opened<'a> {
    /// Version and body of what `seal_as` made.
    Columns(u8, &'a [u8]),
    /// The body of a blob of the first version.
    First(Vec<u8>),
}

/// Opens a blob of any version.
pub(crate) fn open(blob: &[u8]) -> Result<Opened<'_>, BlobError> {
    let mut r = Reader::new(blob);
    match r.u8()? {
        version @ VERSION..=LATEST => Ok(Opened::Columns(version, checked(&mut r)?)),
        first::VERSION => first::open(&mut r).map(Opened::First),
        version => Err(BlobError::Version(version)),
    }
}

/// A chunk of rows.
pub(crate) fn encode_rows(rows: &[Row]) -> Vec<u8> {
    encode_columns(&Stamps::of(rows), Cells::of(rows).part(0, rows.len()))
}

/// The same of columns of one length.
pub(crate) fn encode_columns(stamps: &Stamps, cells: Part<'_>) -> Vec<u8> {
    let mut w = BitWriter::default();
    put_stamps(&mut w, stamps);
    seal_as(VERSION, &with_cells(w, stamps, cells))
}

/// A chunk of rows that refers to its stamps.
pub(crate) fn encode_cells(stamps: &Stamps, cells: Part<'_>) -> Vec<u8> {
    seal_as(SHARED, &with_cells(BitWriter::default(), stamps, cells))
}

fn with_cells(mut w: BitWriter, stamps: &Stamps, cells: Part<'_>) -> Vec<u8> {
    let mut texts = Texts::default();
    put_cells(&mut w, &mut texts, stamps, cells);
    let mut out = Vec::new();
    put_varint(&mut out, stamps.len() as u64);
    texts.put(&mut out);
    out.extend(w.finish());
    out
}

/// What several chunks refer to.
pub(crate) fn encode_stamps(stamps: &Stamps) -> Vec<u8> {
    let (mut w, mut out) = (BitWriter::default(), Vec::new());
    put_stamps(&mut w, stamps);
    put_varint(&mut out, stamps.len() as u64);
    out.extend(w.finish());
    seal_as(SHARED, &out)
}

/// What `encode_stamps` wrote.
pub(crate) fn decode_stamps(blob: &[u8]) -> Result<Stamps, BlobError> {
    let mut r = Reader::new(open_shared(blob)?);
    let n = r.count("rows", MAX_ROWS)?;
    let mut r = BitReader::new(r.rest());
    let stamps = take_stamps(&mut r, n)?;
    r.end()?;
    Ok(stamps)
}

/// What `encode_cells` wrote.
pub(crate) fn decode_cells(blob: &[u8], stamps: &Stamps) -> Result<Cells, BlobError> {
    let mut r = Reader::new(open_shared(blob)?);
    let n = r.count("rows", MAX_ROWS)?;
    if n != stamps.len() {
        return Err(BlobError::Invalid("stamps"));
    }
    let texts = take_texts(&mut r, n)?;
    let mut r = BitReader::new(r.rest());
    let cells = take_cells(&mut r, &texts, stamps)?;
    r.end()?;
    Ok(cells)
}

fn open_shared(blob: &[u8]) -> Result<&[u8], BlobError> {
    let mut r = Reader::new(blob);
    match r.u8()? {
        SHARED => checked(&mut r),
        version => Err(BlobError::Version(version)),
    }
}

fn checked<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], BlobError> {
    let crc = r.u32()?;
    let body = r.rest();
    if crc32fast::hash(body) == crc { Ok(body) } else { Err(BlobError::Checksum) }
}

/// What `encode_columns` wrote, of any version.
pub(crate) fn decode_columns(blob: &[u8]) -> Result<(Stamps, Cells), BlobError> {
    match open(blob)? {
        Opened::First(body) => {
            let mut r = Reader::new(&body);
            let rows = first::take_rows(&mut r)?;
            r.end()?;
            Ok((Stamps::of(&rows), Cells::of(&rows)))
        }
        Opened::Columns(VERSION, body) => {
            let mut r = Reader::new(body);
            let n = r.count("rows", MAX_ROWS)?;
            let texts = take_texts(&mut r, n)?;
            let mut r = BitReader::new(r.rest());
            let stamps = take_stamps(&mut r, n)?;
            let cells = take_cells(&mut r, &texts, &stamps)?;
            r.end()?;
            Ok((stamps, cells))
        }
        Opened::Columns(version, _) => Err(BlobError::Version(version)),
    }
}

/// The rows of a chunk of any version, and of what it refers to.
pub(crate) fn decode_rows(blob: &[u8], stamps: Option<&[u8]>) -> Result<Vec<Row>, BlobError> {
    let (stamps, cells) = match stamps {
        None => decode_columns(blob)?,
        Some(stamps) => {
            let stamps = decode_stamps(stamps)?;
            let cells = decode_cells(blob, &stamps)?;
            (stamps, cells)
        }
    };
    Ok(cells.into_rows(&stamps))
}

/// Texts of so many values at most.
pub(crate) fn take_texts(r: &mut Reader<'_>, values: usize) -> Result<Vec<Value>, BlobError> {
    Ok(Texts::take(r, values, MAX_TEXT)?)
}

/// Rows by column: times, received after, rank, sequence, index, quality, value. Texts stand before all columns.
pub(crate) fn put_rows(w: &mut BitWriter, texts: &mut Texts, rows: &[Row]) {
    let stamps = Stamps::of(rows);
    put_stamps(w, &stamps);
    put_cells(w, texts, &stamps, Cells::of(rows).part(0, rows.len()));
}

/// What `put_rows` wrote.
pub(crate) fn take_rows(r: &mut BitReader<'_>, texts: &[Value], n: usize) -> Result<Vec<Row>, BlobError> {
    let stamps = take_stamps(r, n)?;
    Ok(take_cells(r, texts, &stamps)?.into_rows(&stamps))
}

#[allow(clippy::cast_possible_wrap)]
fn put_stamps(w: &mut BitWriter, stamps: &Stamps) {
    let all = [stamps.len()];
    let signed = |column: &[u64]| column.iter().map(|n| *n as i64).collect::<Vec<_>>();
    put_series(w, &stamps.t, &all, 0);
    put_series(w, &stamps.delay, &all, 0);
    put_plain(w, &signed(&stamps.rank), 0, 0);
    put_sequences(w, &signed(&stamps.seq));
}

#[allow(clippy::cast_sign_loss)]
fn take_stamps(r: &mut BitReader<'_>, n: usize) -> Result<Stamps, BlobError> {
    let all = [n];
    let (t, delay) = (take_series(r, &all, 0)?, take_series(r, &all, 0)?);
    let rank = take_plain(r, n, 0, 0)?.into_iter().map(|n| n as u64).collect();
    let seq = take_sequences(r, n)?.into_iter().map(|n| n as u64).collect();
    Ok(Stamps { t, delay, rank, seq })
}

fn put_cells(w: &mut BitWriter, texts: &mut Texts, stamps: &Stamps, cells: Part<'_>) {
    put_indices(w, stamps, cells.index);
    put_plain(w, &cells.quality.iter().map(|q| i64::from(q.code())).collect::<Vec<_>>(), 0, 0);
    let values: Vec<_> = cells.value.iter().map(Option::as_ref).collect();
    put_values(w, texts, &values, &[values.len()]);
}

fn take_cells(r: &mut BitReader<'_>, texts: &[Value], stamps: &Stamps) -> Result<Cells, BlobError> {
    let n = stamps.len();
    let index = take_indices(r, stamps)?;
    let of =
        |code: i64| u8::try_from(code).map(Quality::from_code).map_err(|_| BlobError::Invalid("quality"));
    let quality = take_plain(r, n, 0, 0)?.into_iter().map(of).collect::<Result<_, _>>()?;
    Ok(Cells { index, quality, value: take_values(r, texts, &[n])? })
}

/// Frames that hold as many rows as the one before, as far from it: what is expected of the next sequence.
#[derive(Default)]
struct Runs {
    last: i64,
    step: i64,
    run: usize,
    before: usize,
}

impl Runs {
    fn expected(&self) -> i64 {
        if self.run == self.before { self.last.wrapping_add(self.step) } else { self.last }
    }

    fn saw(&mut self, seq: i64) {
        if seq == self.last {
            self.run += 1;
            return;
        }
        self.step = seq.wrapping_sub(self.last);
        (self.before, self.run, self.last) = (self.run, 1, seq);
    }
}

/// Sequences: as runs, or as numbers that grow, as is shorter.
fn put_sequences(w: &mut BitWriter, seqs: &[i64]) {
    let mut runs = Runs::default();
    let residual = |seq: &i64| {
        let off = seq.wrapping_sub(runs.expected());
        runs.saw(*seq);
        off
    };
    let residuals: Vec<i64> = seqs.iter().map(residual).collect();
    let (mut as_runs, mut as_numbers) = (BitWriter::default(), BitWriter::default());
    put_residuals(&mut as_runs, &residuals);
    put_series(&mut as_numbers, seqs, &[seqs.len()], 0);
    w.put_shorter(as_numbers, as_runs);
}

fn take_sequences(r: &mut BitReader<'_>, n: usize) -> Result<Vec<i64>, BlobError> {
    if !r.flag() {
        return Ok(take_series(r, &[n], 0)?);
    }
    let mut runs = Runs::default();
    let mut out = take_residuals(r, n)?;
    for seq in &mut out {
        *seq = runs.expected().wrapping_add(*seq);
        runs.saw(*seq);
    }
    Ok(out)
}

/// What is expected of the next index: the first of a frame is where it was in the frame before, and within a frame
/// they are as far from each other as before.
#[derive(Default)]
struct Indices {
    frame: Option<(u64, u64)>,
    start: i64,
    last: i64,
    step: i64,
}

impl Indices {
    fn expected(&self, frame: (u64, u64)) -> i64 {
        if self.frame == Some(frame) { self.last.wrapping_add(self.step) } else { self.start }
    }

    fn saw(&mut self, frame: (u64, u64), index: i64) {
        if self.frame == Some(frame) {
            self.step = index.wrapping_sub(self.last);
        } else {
            self.start = index;
        }
        (self.frame, self.last) = (Some(frame), index);
    }
}

fn put_indices(w: &mut BitWriter, stamps: &Stamps, index: &[u32]) {
    let mut indices = Indices::default();
    let residual = |((rank, seq), index): ((&u64, &u64), &u32)| {
        let (frame, index) = ((*rank, *seq), i64::from(*index));
        let off = index.wrapping_sub(indices.expected(frame));
        indices.saw(frame, index);
        off
    };
    put_residuals(w, &stamps.rank.iter().zip(&stamps.seq).zip(index).map(residual).collect::<Vec<_>>());
}

fn take_indices(r: &mut BitReader<'_>, stamps: &Stamps) -> Result<Vec<u32>, BlobError> {
    let mut indices = Indices::default();
    let residuals = take_residuals(r, stamps.len())?;
    let mut out = Vec::with_capacity(stamps.len());
    for ((rank, seq), off) in stamps.rank.iter().zip(&stamps.seq).zip(residuals) {
        let frame = (*rank, *seq);
        let index = indices.expected(frame).wrapping_add(off);
        indices.saw(frame, index);
        out.push(u32::try_from(index).map_err(|_| BlobError::Invalid("index"))?);
    }
    Ok(out)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
pub(crate) mod tests;
