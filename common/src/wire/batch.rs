//! A batch: many frames of samples of one incarnation and schema as one table of columns, for the backlog. Frames on the
//! disk are small, and together they take much less. Reading it gives the same frames with the same names.
//!
//! Layout: count of frames (LEB128), schema hash 16, incarnation 16, length of the next (LEB128), columns of the headers
//! (sequence, cut UTC us, cut us since boot, clock was synchronised, samples of each frame), then the table of all samples.

use super::frame::{Body, Frame, FrameHeader, MAX_SAMPLES_PER_FRAME};
use super::message::MAX_MESSAGE_BYTES;
use crate::bytes::{DecodeError, Reader, put_varint};
use crate::columns::{
    BitReader, BitWriter, put_plain, put_series, put_table, take_plain, take_series, take_table,
};
use crate::ids::{Incarnation, SchemaHash};
use crate::sample::Sample;
use crate::value::Value;

/// The most frames in one batch.
pub const MAX_BATCH_FRAMES: usize = 1024;
/// The most samples in one batch.
pub const MAX_BATCH_ROWS: usize = 32_768;
/// The most bytes of text and of bytes in one batch, a sample's counted each time.
const MAX_BATCH_TEXT: usize = 1 << 20;
/// The same of one frame. With as many samples as a frame may have, of any numbers (they take less than 100 bytes each),
/// it is well below the longest body that a reader of the frame takes.
const MAX_FRAME_TEXT: usize = 1 << 19;

/// What a batch holds so far. Asked by those who make one and those who read one: what cannot be made cannot be read.
#[derive(Debug, Default)]
struct Load {
    frames: usize,
    rows: usize,
    text: usize,
}

impl Load {
    /// With one more frame.
    fn with(&self, rows: &[Sample]) -> Result<Self, DecodeError> {
        let bytes = |s: &Sample| match &s.value {
            Some(Value::Text(t)) => t.len(),
            Some(Value::Bytes(b)) => b.len(),
            _ => 0,
        };
        let text = rows.iter().map(bytes).sum::<usize>();
        let load = Self { frames: self.frames + 1, rows: self.rows + rows.len(), text: self.text + text };
        for (what, size, limit) in [
            ("samples of a frame", rows.len(), MAX_SAMPLES_PER_FRAME),
            ("text of a frame", text, MAX_FRAME_TEXT),
            ("frames of a batch", load.frames, MAX_BATCH_FRAMES),
            ("samples of a batch", load.rows, MAX_BATCH_ROWS),
            ("text of a batch", load.text, MAX_BATCH_TEXT),
        ] {
            if size > limit {
                return Err(DecodeError::TooLarge { what, size, limit });
            }
        }
        Ok(load)
    }
}

/// Frames that may go in one message.
#[derive(Debug, Default)]
pub struct Batch {
    headers: Vec<FrameHeader>,
    sizes: Vec<i64>,
    rows: Vec<Sample>,
    load: Load,
}

impl Batch {
    /// Adds a frame; gives it back if it is not of samples, or not like the others, or there is no room for it.
    ///
    /// # Errors
    /// The frame.
    pub fn push(&mut self, frame: Frame) -> Result<(), Box<Frame>> {
        let Body::Samples(rows) = &frame.body else { return Err(Box::new(frame)) };
        let load = self.load.with(rows);
        let is_like =
            |h: &FrameHeader| h.schema == frame.header.schema && h.incarnation == frame.header.incarnation;
        let load = load.ok().filter(|_| self.headers.last().is_none_or(is_like));
        match (frame.body, load) {
            (Body::Samples(rows), Some(load)) => {
                self.headers.push(frame.header);
                self.sizes.push(rows.len() as i64);
                self.rows.extend(rows);
                self.load = load;
                Ok(())
            }
            (body, _) => Err(Box::new(Frame { header: frame.header, body })),
        }
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The bytes; none if it is empty, or does not fit a message after all.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let first = self.headers.first()?;
        let mut out = Vec::new();
        put_varint(&mut out, self.headers.len() as u64);
        out.extend(first.schema.0);
        out.extend(first.incarnation.0.to_le_bytes());
        let mut w = BitWriter::default();
        let column = |of: fn(&FrameHeader) -> i64| self.headers.iter().map(of).collect::<Vec<_>>();
        let all = [self.headers.len()];
        put_plain(&mut w, &column(|h| h.seq as i64), 0, 1);
        put_series(&mut w, &column(|h| h.cut_us), &all, 0);
        put_series(&mut w, &column(|h| h.cut_mono_us as i64), &all, 0);
        put_plain(&mut w, &column(|h| i64::from(h.synchronised)), 0, 0);
        put_series(&mut w, &self.sizes, &all, 0);
        let headers = w.finish();
        put_varint(&mut out, headers.len() as u64);
        out.extend(headers);
        put_table(&mut out, &self.rows, first.cut_us);
        // With the message's two bytes.
        (out.len() + 2 <= MAX_MESSAGE_BYTES).then_some(out)
    }

    /// Schema and incarnation of a batch's frames, without reading these.
    ///
    /// # Errors
    /// When the bytes do not begin as a batch.
    pub fn peek(bytes: &[u8]) -> Result<(SchemaHash, Incarnation), DecodeError> {
        let mut r = Reader::new(bytes);
        r.count("frames", MAX_BATCH_FRAMES)?;
        Ok((SchemaHash(r.array()?), Incarnation(r.u128()?)))
    }

    /// The frames of a batch, in its order.
    ///
    /// # Errors
    /// When the bytes are not exactly one batch.
    pub fn decode(bytes: &[u8]) -> Result<Vec<Frame>, DecodeError> {
        let mut r = Reader::new(bytes);
        let n = r.count("frames", MAX_BATCH_FRAMES)?;
        let (schema, incarnation) = (SchemaHash(r.array()?), Incarnation(r.u128()?));
        let mut head = BitReader::new(r.sized()?);
        let seqs = take_plain(&mut head, n, 0, 1)?;
        let cuts = take_series(&mut head, &[n], 0)?;
        let monos = take_series(&mut head, &[n], 0)?;
        let synchronised = take_plain(&mut head, n, 0, 0)?;
        let sizes = take_series(&mut head, &[n], 0)?;
        head.end()?;
        let rows = take_table(&mut r, cuts.first().copied().unwrap_or(0), MAX_BATCH_ROWS)?;
        let mut rows = rows.into_iter();
        let mut out = Vec::with_capacity(n);
        let mut load = Load::default();
        for ((((seq, cut_us), mono), synchronised), size) in
            seqs.into_iter().zip(cuts).zip(monos).zip(synchronised).zip(sizes)
        {
            let size = usize::try_from(size).ok().filter(|n| *n <= rows.len());
            let size = size.ok_or(DecodeError::Invalid { what: "samples of a frame" })?;
            let header = FrameHeader {
                schema,
                incarnation,
                seq: seq as u64,
                cut_us,
                cut_mono_us: mono as u64,
                synchronised: match synchronised {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeError::Invalid { what: "flags" }),
                },
            };
            let rows: Vec<Sample> = rows.by_ref().take(size).collect();
            load = load.with(&rows)?;
            out.push(Frame { header, body: Body::Samples(rows) });
        }
        match rows.len() {
            0 => Ok(out),
            _ => Err(DecodeError::Invalid { what: "samples of a frame" }),
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
