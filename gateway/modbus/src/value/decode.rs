//! From the bytes of registers, as they come over the line, to a value. Made once a point, used at every poll: nothing
//! is allocated but the text of a string.

use common::Value;

use super::{Format, Order, RawType, bcd, pair, text};

/// Why bytes are no value of the point's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Flaw {
    /// There are too few of them.
    #[error("too few bytes")]
    Length,
    /// A decimal digit is above 9.
    #[error("no decimal digits")]
    Digits,
    /// The text is not of its encoding.
    #[error("no text of the encoding")]
    Text,
    /// The exponent is beyond any scale.
    #[error("the exponent is no power of ten")]
    Exponent,
    /// The device says that it has no value.
    #[error("marked as no value by the device")]
    Marked,
}

/// Reads one point's value.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    raw_type: RawType,
    order: Order,
    /// Of a bool: the bits that must not all be 0.
    mask: u16,
    invalid: Option<i64>,
    /// Of a pair: the first bytes of mantissa and exponent.
    pair: Option<(u16, u16)>,
    layout: text::Layout,
}

/// A number before it is a value: wide enough for all.
#[derive(Clone, Copy)]
enum Whole {
    Signed(i64),
    Unsigned(u64),
}

impl Format {
    /// A decoder of it.
    pub fn decoder(&self) -> Decoder {
        let pair = self.exponent.map(|at| {
            let exponent = i32::from(self.lead()).saturating_add(at);
            (self.lead().saturating_mul(2), u16::try_from(exponent.saturating_mul(2)).unwrap_or(u16::MAX))
        });
        Decoder {
            raw_type: self.raw_type,
            order: self.order,
            mask: self.bit.map_or(u16::MAX, |bit| 1u16.checked_shl(bit.into()).unwrap_or(0)),
            invalid: self.invalid,
            pair,
            layout: self.layout(),
        }
    }
}

fn first<const N: usize>(raw: &[u8]) -> Result<[u8; N], Flaw> {
    raw.first_chunk().copied().ok_or(Flaw::Length)
}

impl Decoder {
    /// The value in the bytes of the point's registers, which are as many as `Format::registers` says and as they
    /// come over the line: the high byte of each first.
    ///
    /// # Errors
    /// Why they hold none. A float that is no number is none here: it is a value that says so itself.
    #[allow(clippy::cast_possible_wrap)] // two's complement is the meaning
    pub fn decode(&self, raw: &[u8]) -> Result<Value, Flaw> {
        if let Some((mantissa, exponent)) = self.pair {
            return self.decode_pair(raw, mantissa, exponent);
        }
        match self.raw_type {
            RawType::Bool => Ok(Value::Bool(self.word(raw)? & self.mask != 0)),
            RawType::F32 => Ok(Value::F64(f32::from_bits(self.double(raw)?).into())),
            RawType::F64 => Ok(Value::F64(f64::from_bits(self.quad(raw)?))),
            RawType::String => self.layout.decode(raw).map(Value::Text),
            _ => Ok(match self.whole(raw)? {
                Whole::Signed(n) => Value::I64(n),
                Whole::Unsigned(n) => Value::U64(n),
            }),
        }
    }

    #[allow(clippy::cast_precision_loss)] // a pair is a double
    fn decode_pair(&self, raw: &[u8], mantissa: u16, exponent: u16) -> Result<Value, Flaw> {
        let part = |at: u16| raw.get(usize::from(at)..).ok_or(Flaw::Length);
        let whole = self.whole(part(mantissa)?)?;
        let exponent = self.word(part(exponent)?)?.cast_signed();
        let mantissa = match whole {
            Whole::Signed(n) => n as f64,
            Whole::Unsigned(n) => n as f64,
        };
        pair::join(mantissa, exponent).map(Value::F64).ok_or(Flaw::Exponent)
    }

    fn whole(&self, raw: &[u8]) -> Result<Whole, Flaw> {
        let whole = match self.raw_type {
            RawType::I16 => Whole::Signed(self.word(raw)?.cast_signed().into()),
            RawType::I32 => Whole::Signed(self.double(raw)?.cast_signed().into()),
            RawType::I64 => Whole::Signed(self.quad(raw)?.cast_signed()),
            RawType::U32 => Whole::Unsigned(self.double(raw)?.into()),
            RawType::U64 => Whole::Unsigned(self.quad(raw)?),
            RawType::Bcd16 => {
                Whole::Unsigned(bcd::decode(self.word(raw)?.into()).ok_or(Flaw::Digits)?.into())
            }
            RawType::Bcd32 => Whole::Unsigned(bcd::decode(self.double(raw)?).ok_or(Flaw::Digits)?.into()),
            _ => Whole::Unsigned(self.word(raw)?.into()),
        };
        let marked = match (self.invalid, whole) {
            (None, _) => false,
            (Some(mark), Whole::Signed(n)) => n == mark,
            (Some(mark), Whole::Unsigned(n)) => u64::try_from(mark) == Ok(n),
        };
        if marked { Err(Flaw::Marked) } else { Ok(whole) }
    }

    fn word(&self, raw: &[u8]) -> Result<u16, Flaw> {
        Ok(self.order.of16(u16::from_be_bytes(first(raw)?)))
    }

    fn double(&self, raw: &[u8]) -> Result<u32, Flaw> {
        Ok(self.order.of32(u32::from_be_bytes(first(raw)?)))
    }

    fn quad(&self, raw: &[u8]) -> Result<u64, Flaw> {
        Ok(self.order.of64(u64::from_be_bytes(first(raw)?)))
    }
}
