//! A block of a waveform: values taken at one rate, such as those of an accelerometer or of a current. It is stored and
//! sent as it was measured, with what makes engineering values of it, so that integers of a converter stay small.
//!
//! A long block goes in parts, each a frame: parts share `t0_us` and `total`, and `first` says where they stand.
//!
//! Layout: point (LEB128), quality u8, time of the block's first value UTC us i64, received UTC us i64, picoseconds between
//! two values (LEB128), first value's place in the block and values of the block (LEB128 each), scale f64, offset f64, type u8
//! (1 i16, 2 f32, 3 f64), count of values (LEB128), then bits: `put_series` of integers, `put_floats` of floats.

use std::ops::Range;

use crate::bytes::{DecodeError, Reader, put_varint};
use crate::columns::{BitReader, BitWriter, put_floats, put_series, take_floats, take_series};
use crate::quality::Quality;
use crate::sample::PointId;

/// The most values in one frame: whatever they are, they fit a message.
pub const MAX_WAVEFORM_VALUES: usize = 25_600;
/// The most values in one block.
pub const MAX_BLOCK_VALUES: usize = 1 << 22;

const TYPE_I16: u8 = 1;
const TYPE_F32: u8 = 2;
const TYPE_F64: u8 = 3;

/// Values as they were measured. Floats are finite.
#[derive(Debug, Clone, PartialEq)]
pub enum WaveValues {
    /// of a converter of at most 16 bits
    I16(Vec<i16>),
    /// IEEE 754 single
    F32(Vec<f32>),
    /// IEEE 754 double
    F64(Vec<f64>),
}

impl WaveValues {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::I16(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As doubles, which hold all of them.
    pub fn iter(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        match self {
            Self::I16(values) => Box::new(values.iter().map(|n| f64::from(*n))),
            Self::F32(values) => Box::new(values.iter().map(|x| f64::from(*x))),
            Self::F64(values) => Box::new(values.iter().copied()),
        }
    }

    /// Its name in configuration and API.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::I16(_) => "i16",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }

    /// A copy of some.
    fn some(&self, range: Range<usize>) -> Self {
        match self {
            Self::I16(values) => Self::I16(values.get(range).unwrap_or_default().to_vec()),
            Self::F32(values) => Self::F32(values.get(range).unwrap_or_default().to_vec()),
            Self::F64(values) => Self::F64(values.get(range).unwrap_or_default().to_vec()),
        }
    }
}

/// A block of a waveform, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform {
    /// Whose.
    pub point: PointId,
    /// Quality of all values.
    pub quality: Quality,
    /// Time of the block's first value, UTC us.
    pub t0_us: i64,
    /// When the gateway received the block, UTC us.
    pub received_us: i64,
    /// Time between two values, picoseconds; at least 1.
    pub dt_ps: u64,
    /// Place in the block of the first value here.
    pub first: u32,
    /// Values of the whole block.
    pub total: u32,
    /// Engineering value = value * scale + offset.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// The values, from `first` on.
    pub values: WaveValues,
}

impl Waveform {
    /// Time of value number `n` of the block, UTC us, rounded down.
    #[must_use]
    pub fn time_us(&self, n: u32) -> i64 {
        let us = u128::from(n) * u128::from(self.dt_ps) / 1_000_000;
        self.t0_us.saturating_add(i64::try_from(us).unwrap_or(i64::MAX))
    }

    /// Times of the first and the last value here, UTC us.
    #[must_use]
    pub fn times_us(&self) -> (i64, i64) {
        let count = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        (self.time_us(self.first), self.time_us(self.first.saturating_add(count.saturating_sub(1))))
    }

    /// Whether its time is that of its receipt, by the gateway's clock, as `Sample::is_stamped_on_receipt`.
    #[must_use]
    pub fn is_stamped_on_receipt(&self) -> bool {
        self.time_us(self.total.saturating_sub(1)) == self.received_us
    }

    /// In parts that fit a frame each, made one at a time: a block may be large.
    pub fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        let count = self.values.len();
        (0..count).step_by(MAX_WAVEFORM_VALUES).map(move |at| {
            let values = self.values.some(at..count.min(at + MAX_WAVEFORM_VALUES));
            let first = self.first.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
            Self { first, values, ..*self }
        })
    }

    /// Appends its bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.point.0));
        out.push(self.quality.code());
        out.extend(self.t0_us.to_le_bytes());
        out.extend(self.received_us.to_le_bytes());
        put_varint(out, self.dt_ps);
        put_varint(out, u64::from(self.first));
        put_varint(out, u64::from(self.total));
        out.extend(self.scale.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        out.push(match self.values {
            WaveValues::I16(_) => TYPE_I16,
            WaveValues::F32(_) => TYPE_F32,
            WaveValues::F64(_) => TYPE_F64,
        });
        put_varint(out, self.values.len() as u64);
        let mut w = BitWriter::default();
        match &self.values {
            WaveValues::I16(values) => {
                let values: Vec<i64> = values.iter().map(|n| i64::from(*n)).collect();
                put_series(&mut w, &values, &[values.len()], 0);
            }
            WaveValues::F32(values) => {
                let values: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
                put_floats(&mut w, &values, &[values.len()]);
            }
            WaveValues::F64(values) => put_floats(&mut w, values, &[values.len()]),
        }
        out.extend(w.finish());
    }

    /// Reads what `put` wrote.
    ///
    /// # Errors
    /// When the bytes are not exactly one block or part.
    pub fn take(bytes: &[u8]) -> Result<Self, DecodeError> {
        let invalid = |what| DecodeError::Invalid { what };
        let mut r = Reader::new(bytes);
        let point = PointId(u32::try_from(r.varint()?).map_err(|_| invalid("point"))?);
        let quality = Quality::from_code(r.u8()?);
        let (t0_us, received_us) = (r.i64()?, r.i64()?);
        let dt_ps = r.varint()?;
        if dt_ps == 0 {
            return Err(invalid("time between two values"));
        }
        let mut number = |what, limit: usize| {
            let n = r.varint()?;
            u32::try_from(n).ok().filter(|n| *n as usize <= limit).ok_or(invalid(what))
        };
        let first = number("place of the first value", MAX_BLOCK_VALUES)?;
        let total = number("values of the block", MAX_BLOCK_VALUES)?;
        let (scale, offset) = (f64::from_le_bytes(r.array()?), f64::from_le_bytes(r.array()?));
        if !scale.is_finite() || scale == 0.0 || !offset.is_finite() {
            return Err(invalid("scale"));
        }
        let kind = r.u8()?;
        let count = r.count("values", MAX_WAVEFORM_VALUES)?;
        if count == 0 || first as usize + count > total as usize {
            return Err(invalid("count of values"));
        }
        let mut bits = BitReader::new(r.rest());
        let values = match kind {
            TYPE_I16 => {
                let values = take_series(&mut bits, &[count], 0)?;
                let small = |n: i64| i16::try_from(n).map_err(|_| invalid("value"));
                WaveValues::I16(values.into_iter().map(small).collect::<Result<_, _>>()?)
            }
            TYPE_F32 => {
                let values = take_floats(&mut bits, &[count])?;
                #[allow(clippy::cast_possible_truncation)] // what a single does not hold is refused
                let single = |x: f64| {
                    let single = x as f32;
                    let same = single.is_finite() && f64::from(single).to_bits() == x.to_bits();
                    if same { Ok(single) } else { Err(invalid("value")) }
                };
                WaveValues::F32(values.into_iter().map(single).collect::<Result<_, _>>()?)
            }
            TYPE_F64 => {
                let values = take_floats(&mut bits, &[count])?;
                if values.iter().any(|x| !x.is_finite()) {
                    return Err(invalid("value"));
                }
                WaveValues::F64(values)
            }
            kind => return Err(DecodeError::Kind { what: "waveform", kind }),
        };
        bits.end()?;
        if values.len() != count {
            return Err(invalid("count of values"));
        }
        Ok(Self { point, quality, t0_us, received_us, dt_ps, first, total, scale, offset, values })
    }
}

#[cfg(test)]
#[path = "waveform_tests.rs"]
mod tests;
