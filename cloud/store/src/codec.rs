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

/// Of blobs of rows; those of buckets have had a third since.
const VERSION: u8 = 2;
/// The latest version of any blob.
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
        version @ VERSION..=LATEST => {
            let crc = r.u32()?;
            let body = r.rest();
            if crc32fast::hash(body) != crc {
                return Err(BlobError::Checksum);
            }
            Ok(Opened::Columns(version, body))
        }
        first::VERSION => first::open(&mut r).map(Opened::First),
        version => Err(BlobError::Version(version)),
    }
}

/// A chunk of rows.
pub(crate) fn encode_rows(rows: &[Row]) -> Vec<u8> {
    let (mut w, mut texts) = (BitWriter::default(), Texts::default());
    put_rows(&mut w, &mut texts, rows);
    let mut out = Vec::new();
    put_varint(&mut out, rows.len() as u64);
    texts.put(&mut out);
    out.extend(w.finish());
    seal_as(VERSION, &out)
}

/// What `encode_rows` wrote, of any version.
pub(crate) fn decode_rows(blob: &[u8]) -> Result<Vec<Row>, BlobError> {
    match open(blob)? {
        Opened::First(body) => {
            let mut r = Reader::new(&body);
            let rows = first::take_rows(&mut r)?;
            r.end()?;
            Ok(rows)
        }
        Opened::Columns(VERSION, body) => {
            let mut r = Reader::new(body);
            let n = r.count("rows", MAX_ROWS)?;
            let texts = take_texts(&mut r, n)?;
            let mut r = BitReader::new(r.rest());
            let rows = take_rows(&mut r, &texts, n)?;
            r.end()?;
            Ok(rows)
        }
        Opened::Columns(version, _) => Err(BlobError::Version(version)),
    }
}

/// Texts of so many values at most.
pub(crate) fn take_texts(r: &mut Reader<'_>, values: usize) -> Result<Vec<Value>, BlobError> {
    Ok(Texts::take(r, values, MAX_TEXT)?)
}

/// Rows by column: times, received after, rank, sequence, index, quality, value. Texts stand before all columns.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn put_rows(w: &mut BitWriter, texts: &mut Texts, rows: &[Row]) {
    let all = [rows.len()];
    let column = |of: fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<_>>();
    put_series(w, &column(|r| r.t), &all, 0);
    put_series(w, &column(|r| r.received.wrapping_sub(r.t)), &all, 0);
    put_plain(w, &column(|r| r.at.rank as i64), 0, 0);
    put_sequences(w, &column(|r| r.at.seq as i64));
    put_indices(w, rows);
    put_plain(w, &column(|r| i64::from(r.quality.code())), 0, 0);
    let values: Vec<_> = rows.iter().map(|r| r.value.as_ref()).collect();
    put_values(w, texts, &values, &all);
}

/// What `put_rows` wrote.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn take_rows(r: &mut BitReader<'_>, texts: &[Value], n: usize) -> Result<Vec<Row>, BlobError> {
    let all = [n];
    let times = take_series(r, &all, 0)?;
    let delays = take_series(r, &all, 0)?;
    let ranks = take_plain(r, n, 0, 0)?;
    let seqs = take_sequences(r, n)?;
    let places: Vec<(u64, u64)> =
        ranks.into_iter().zip(seqs).map(|(rank, seq)| (rank as u64, seq as u64)).collect();
    let indices = take_indices(r, &places)?;
    let qualities = take_plain(r, n, 0, 0)?;
    let values = take_values(r, texts, &all)?;
    let mut rows = Vec::with_capacity(n);
    let numbers = times.into_iter().zip(delays).zip(places).zip(indices).zip(qualities);
    for (((((t, delay), (rank, seq)), index), quality), value) in numbers.zip(values) {
        let code = u8::try_from(quality).map_err(|_| BlobError::Invalid("quality"))?;
        rows.push(Row {
            t,
            received: t.wrapping_add(delay),
            at: Position { rank, seq, index },
            quality: Quality::from_code(code),
            value,
        });
    }
    Ok(rows)
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

fn put_indices(w: &mut BitWriter, rows: &[Row]) {
    let mut indices = Indices::default();
    let residual = |row: &Row| {
        let (frame, index) = ((row.at.rank, row.at.seq), i64::from(row.at.index));
        let off = index.wrapping_sub(indices.expected(frame));
        indices.saw(frame, index);
        off
    };
    put_residuals(w, &rows.iter().map(residual).collect::<Vec<_>>());
}

fn take_indices(r: &mut BitReader<'_>, places: &[(u64, u64)]) -> Result<Vec<u32>, BlobError> {
    let mut indices = Indices::default();
    let residuals = take_residuals(r, places.len())?;
    let mut out = Vec::with_capacity(places.len());
    for (frame, off) in places.iter().zip(residuals) {
        let index = indices.expected(*frame).wrapping_add(off);
        indices.saw(*frame, index);
        out.push(u32::try_from(index).map_err(|_| BlobError::Invalid("index"))?);
    }
    Ok(out)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
pub(crate) mod tests;
