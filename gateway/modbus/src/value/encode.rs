//! From a value to registers. What would be read back as another value is refused, not written.

use common::{Value, ValueType};

use super::{Format, RawType, bcd, pair};

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It is of another type, and something would be lost.
    #[error("`{value}` is no {raw_type} value")]
    Type {
        /// The value.
        value: String,
        /// Type of the registers.
        raw_type: &'static str,
    },
    /// It is outside of what the registers hold.
    #[error("`{value}` does not fit {raw_type}")]
    Range {
        /// The value.
        value: String,
        /// Type of the registers.
        raw_type: &'static str,
    },
    /// It is the number with which the device says that it has no value.
    #[error("`{value}` means no value to the device")]
    Marked {
        /// The value.
        value: String,
    },
    /// The text has more bytes than there is room for.
    #[error("{bytes} bytes of text, and room for {room}")]
    TooLong {
        /// Of the text.
        bytes: usize,
        /// In the registers.
        room: u16,
    },
    /// The encoding has no such character.
    #[error("the encoding has no character `{character}`")]
    Character {
        /// Which.
        character: char,
    },
    /// Its end would be trimmed when it is read back.
    #[error("the end of the text would be trimmed when it is read back")]
    Trimmed,
    /// Mantissa and exponent stand apart: one request cannot write both, and half a value is none.
    #[error("mantissa and exponent stand apart and cannot be written in one request")]
    Apart,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// these registers, from the point's first on
    Registers(Vec<u16>),
    /// one bit of the point's register, with a mask write: what stands there `and` this, `or` that
    Mask {
        /// Bits that stay.
        and: u16,
        /// Bits that are set.
        or: u16,
    },
}

impl Words {
    /// What a register holds after a mask write, as the device works it out (V1.1b3, 6.16).
    pub fn masked(current: u16, and: u16, or: u16) -> u16 {
        current & and | or & !and
    }
}

impl Format {
    /// The registers that hold a value.
    ///
    /// # Errors
    /// Why there are none.
    pub fn encode(&self, value: &Value) -> Result<Words, Misfit> {
        if self.exponent.is_some() {
            return self.encode_pair(value);
        }
        let raw_type = self.raw_type.name();
        let misfit = || Misfit::Type { value: value.to_string(), raw_type };
        let value = &value.convert(self.range().value_type).ok_or_else(misfit)?;
        let registers = match (self.raw_type, value) {
            (RawType::Bool, Value::Bool(on)) => match self.bit {
                Some(bit) => {
                    let bit = self.order.of16(1u16.checked_shl(bit.into()).unwrap_or(0));
                    return Ok(Words::Mask { and: !bit, or: if *on { bit } else { 0 } });
                }
                None => vec![self.order.of16(u16::from(*on))],
            },
            (RawType::F32, Value::F64(x)) => {
                #[allow(clippy::cast_possible_truncation)] // the nearest one is what the registers hold
                let single = *x as f32;
                if !single.is_finite() {
                    return Err(self.out_of_range(value));
                }
                self.double(single.to_bits())
            }
            (RawType::F64, Value::F64(x)) if x.is_finite() => self.quad(x.to_bits()),
            (RawType::F64, _) => return Err(self.out_of_range(value)),
            (RawType::String, Value::Text(text)) => self.layout().encode(text)?,
            (_, Value::I64(n)) => self.whole((*n).into(), value)?,
            (_, Value::U64(n)) => self.whole((*n).into(), value)?,
            _ => return Err(misfit()),
        };
        Ok(Words::Registers(registers))
    }

    fn encode_pair(&self, value: &Value) -> Result<Words, Misfit> {
        if !self.is_writable() {
            return Err(Misfit::Apart);
        }
        let misfit = || Misfit::Type { value: value.to_string(), raw_type: self.raw_type.name() };
        let number = value.convert(ValueType::F64).as_ref().and_then(Value::as_f64).ok_or_else(misfit)?;
        let (min, max) = self.whole_range();
        let (mantissa, exponent) = pair::split(number, min, max).ok_or_else(|| self.out_of_range(value))?;
        let mut registers = self.whole(mantissa, value)?;
        let exponent = self.order.of16(exponent.cast_unsigned());
        if self.lead() > 0 {
            registers.insert(0, exponent);
        } else {
            registers.push(exponent);
        }
        Ok(Words::Registers(registers))
    }

    fn out_of_range(&self, value: &Value) -> Misfit {
        Misfit::Range { value: value.to_string(), raw_type: self.raw_type.name() }
    }

    fn whole_range(&self) -> (i128, i128) {
        match self.raw_type {
            RawType::I16 => (i16::MIN.into(), i16::MAX.into()),
            RawType::U32 => (0, u32::MAX.into()),
            RawType::I32 => (i32::MIN.into(), i32::MAX.into()),
            RawType::U64 => (0, u64::MAX.into()),
            RawType::I64 => (i64::MIN.into(), i64::MAX.into()),
            RawType::Bcd16 => (0, 9_999),
            RawType::Bcd32 => (0, 99_999_999),
            _ => (0, u16::MAX.into()),
        }
    }

    /// A whole number, which `value` shows to people.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the range: only sign bits go
    fn whole(&self, number: i128, value: &Value) -> Result<Vec<u16>, Misfit> {
        let (min, max) = self.whole_range();
        if !(min..=max).contains(&number) {
            return Err(self.out_of_range(value));
        }
        if self.invalid.map(i128::from) == Some(number) {
            return Err(Misfit::Marked { value: value.to_string() });
        }
        Ok(match self.raw_type {
            RawType::Bcd16 => vec![self.order.of16(bcd::encode(number as u32) as u16)],
            RawType::Bcd32 => self.double(bcd::encode(number as u32)),
            t => match t.registers() {
                1 => vec![self.order.of16(number as u16)],
                2 => self.double(number as u32),
                _ => self.quad(number as u64),
            },
        })
    }

    fn double(&self, bits: u32) -> Vec<u16> {
        words(&self.order.of32(bits).to_be_bytes())
    }

    fn quad(&self, bits: u64) -> Vec<u16> {
        words(&self.order.of64(bits).to_be_bytes())
    }
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}
