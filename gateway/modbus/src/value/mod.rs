//! What registers hold: types, orders, strings, and numbers that lie in more than one place, to values and back. Pure
//! and total: any bytes and any value give a result or say why not, never a panic. Single bits of coils and discrete
//! inputs need none of it.

mod bcd;
mod decode;
mod encode;
mod order;
mod pair;
mod text;

use common::ValueType;
use serde::Deserialize;

pub use decode::{Decoder, Flaw};
pub use encode::{Misfit, Words};
pub use order::{Order, OrderError};
pub use text::{Chars, Encoding, MAX_STRING_BYTES, Trim};

/// Most registers that a point may span: what one read carries (Modbus application protocol V1.1b3, 6.3).
const MAX_SPAN: u16 = 125;

/// The type of what registers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawType {
    /// one register or bit; not 0 is true, true is written as 1; or one `bit` of a register
    Bool,
    /// one register
    U16,
    /// one register, two's complement
    I16,
    /// two registers
    U32,
    /// two registers, two's complement
    I32,
    /// four registers
    U64,
    /// four registers, two's complement
    I64,
    /// two registers, IEEE 754
    F32,
    /// four registers, IEEE 754
    F64,
    /// one register of four decimal digits
    Bcd16,
    /// two registers of eight decimal digits
    Bcd32,
    /// `length` bytes of text
    String,
}

impl RawType {
    /// Every type.
    pub const ALL: [Self; 12] = [
        Self::Bool,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::F32,
        Self::F64,
        Self::Bcd16,
        Self::Bcd32,
        Self::String,
    ];

    /// As it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bcd16 => "bcd16",
            Self::Bcd32 => "bcd32",
            Self::String => "string",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::U16 | Self::I16 | Self::U32 | Self::I32 | Self::U64 | Self::I64)
    }

    /// Registers of a number; a string's depend on its length.
    fn registers(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 | Self::Bcd16 | Self::String => 1,
            Self::U32 | Self::I32 | Self::F32 | Self::Bcd32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

/// What the registers of a point can hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Type of the decoded value.
    pub value_type: ValueType,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// How a point's value lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// Type.
    pub raw_type: RawType,
    /// Order of its bytes.
    pub order: Order,
    /// Bit of the register, 0 the lowest, for `bool`.
    pub bit: Option<u8>,
    /// Bytes of a string.
    pub length: Option<u16>,
    /// What is cut off a string's end.
    pub trim: Trim,
    /// Encoding of a string.
    pub encoding: Encoding,
    /// Which bytes of its registers a string uses.
    pub chars: Chars,
    /// Where the exponent (i16, of 10) of a scaled pair stands, in registers from the mantissa's first.
    pub exponent: Option<i32>,
    /// The whole number with which the device says that it has no value.
    pub invalid: Option<i64>,
}

impl From<RawType> for Format {
    fn from(raw_type: RawType) -> Self {
        Self {
            raw_type,
            order: Order::default(),
            bit: None,
            length: None,
            trim: Trim::default(),
            encoding: Encoding::default(),
            chars: Chars::default(),
            exponent: None,
            invalid: None,
        }
    }
}

impl Format {
    fn layout(&self) -> text::Layout {
        text::Layout::new(self.length.unwrap_or(1), self.order, self.trim, self.encoding, self.chars)
    }

    /// Registers of the value itself, without its exponent.
    fn own(&self) -> u16 {
        if self.raw_type == RawType::String { self.layout().registers() } else { self.raw_type.registers() }
    }

    /// How many registers it spans, from the first that it needs to the last.
    pub fn registers(&self) -> u16 {
        let own = i32::from(self.own());
        let exponent = self.exponent.unwrap_or_default();
        let end = if self.exponent.is_some() { own.max(exponent.saturating_add(1)) } else { own };
        u16::try_from(end.saturating_add(i32::from(self.lead()))).unwrap_or(u16::MAX)
    }

    /// How many registers it begins before the value's own first one, because its exponent stands there.
    pub fn lead(&self) -> u16 {
        u16::try_from(self.exponent.unwrap_or_default().min(0).unsigned_abs()).unwrap_or(u16::MAX)
    }

    /// What the registers can hold.
    pub fn range(&self) -> Range {
        #[allow(clippy::cast_precision_loss)] // the ends of 64 bits as doubles
        let (value_type, min, max) = match self.raw_type {
            RawType::Bool => (ValueType::Bool, 0.0, 1.0),
            RawType::U16 => (ValueType::U64, 0.0, f64::from(u16::MAX)),
            RawType::I16 => (ValueType::I64, f64::from(i16::MIN), f64::from(i16::MAX)),
            RawType::U32 => (ValueType::U64, 0.0, f64::from(u32::MAX)),
            RawType::I32 => (ValueType::I64, f64::from(i32::MIN), f64::from(i32::MAX)),
            RawType::U64 => (ValueType::U64, 0.0, u64::MAX as f64),
            RawType::I64 => (ValueType::I64, i64::MIN as f64, i64::MAX as f64),
            RawType::F32 => (ValueType::F64, f64::from(f32::MIN), f64::from(f32::MAX)),
            RawType::F64 => (ValueType::F64, f64::MIN, f64::MAX),
            RawType::Bcd16 => (ValueType::U64, 0.0, 9_999.0),
            RawType::Bcd32 => (ValueType::U64, 0.0, 99_999_999.0),
            RawType::String => (ValueType::Text, 0.0, 0.0),
        };
        if self.exponent.is_some() {
            let factor = pair::power(pair::MAX_EXPONENT);
            return Range { value_type: ValueType::F64, min: min * factor, max: max * factor };
        }
        Range { value_type, min, max }
    }

    /// Whether it can be written in one request: not so a pair whose registers stand apart.
    pub fn is_writable(&self) -> bool {
        self.exponent.is_none() || self.registers() == self.own() + 1
    }

    /// Looks for what only the parts together show.
    ///
    /// # Errors
    /// Which part, by the name of its key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let t = self.raw_type;
        let refuse = |key, message: &str| Err((key, message.to_owned()));
        match (t, self.length) {
            (RawType::String, None) => return refuse("length", "a string needs its length in bytes"),
            (RawType::String, Some(n)) => {
                let one_each = self.chars != Chars::Both;
                let most = if one_each { MAX_STRING_BYTES / 2 } else { MAX_STRING_BYTES };
                if n == 0 || n > most {
                    return Err(("length", format!("{n} is not a length: expected 1 to {most} bytes")));
                }
                if self.order.swaps_registers() {
                    return refuse("order", "a string is `abcd`, or `badc` with its bytes swapped");
                }
            }
            (_, Some(_)) => return refuse("length", "only a string has a length"),
            (_, None) => {}
        }
        let text_keys = [
            ("trim", self.trim != Trim::default()),
            ("encoding", self.encoding != Encoding::default()),
            ("chars", self.chars != Chars::default()),
        ];
        if t != RawType::String
            && let Some((key, _)) = text_keys.into_iter().find(|(_, given)| *given)
        {
            return refuse(key, "only a string has it");
        }
        if self.order.is_of_64_bits() && t.registers() != 4 {
            let message = format!("`{}` is an order of 64 bits, and {} has fewer", self.order, t.name());
            return Err(("order", message));
        }
        match self.bit {
            Some(_) if t != RawType::Bool => return refuse("bit", "only a bool is one bit of a register"),
            Some(n) if n > 15 => return Err(("bit", format!("{n} is not a bit: expected 0 to 15"))),
            _ => {}
        }
        if self.invalid.is_some() && !t.is_whole() && !matches!(t, RawType::Bcd16 | RawType::Bcd32) {
            return refuse("invalid", "only whole numbers have one: a float says NaN by itself");
        }
        self.check_pair()
    }

    fn check_pair(&self) -> Result<(), (&'static str, String)> {
        let Some(at) = self.exponent else { return Ok(()) };
        if !self.raw_type.is_whole() {
            return Err(("exponent", "only whole numbers (i16 to u64) have an exponent".to_owned()));
        }
        if at >= 0 && at < i32::from(self.own()) {
            return Err(("exponent", "stands within the value itself".to_owned()));
        }
        if self.registers() > MAX_SPAN {
            let message = format!(
                "is {} registers away: one read carries {MAX_SPAN} from first to last",
                at.unsigned_abs()
            );
            return Err(("exponent", message));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
