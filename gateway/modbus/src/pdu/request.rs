//! Requests, both ways.

use super::{
    DecodeError, EncodeError, MAX_READ_BITS, MAX_READ_REGISTERS, MAX_WRITE_BITS, MAX_WRITE_REGISTERS,
    bit_bytes, word,
};
use crate::Table;

/// A request. Data is borrowed as it is on the line: registers big-endian, bits packed, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// 01, 02, 03 and 04
    Read {
        /// Which table.
        table: Table,
        /// First address.
        address: u16,
        /// How many registers or bits.
        count: u16,
    },
    /// 05
    WriteCoil {
        /// Which.
        address: u16,
        /// On or off.
        value: bool,
    },
    /// 06
    WriteRegister {
        /// Which.
        address: u16,
        /// What.
        value: u16,
    },
    /// 0F
    WriteCoils {
        /// First address.
        address: u16,
        /// How many.
        count: u16,
        /// The bits.
        bits: &'a [u8],
    },
    /// 10
    WriteRegisters {
        /// First address.
        address: u16,
        /// Two bytes a register.
        data: &'a [u8],
    },
    /// 16: register = (register and `and`) or (`or` and not `and`)
    MaskWrite {
        /// Which.
        address: u16,
        /// Bits that stay.
        and: u16,
        /// What the others become.
        or: u16,
    },
}

impl<'a> Request<'a> {
    /// Its function code.
    pub fn function(&self) -> u8 {
        match self {
            Self::Read { table: Table::Coil, .. } => 0x01,
            Self::Read { table: Table::Discrete, .. } => 0x02,
            Self::Read { table: Table::Holding, .. } => 0x03,
            Self::Read { table: Table::Input, .. } => 0x04,
            Self::WriteCoil { .. } => 0x05,
            Self::WriteRegister { .. } => 0x06,
            Self::WriteCoils { .. } => 0x0f,
            Self::WriteRegisters { .. } => 0x10,
            Self::MaskWrite { .. } => 0x16,
        }
    }

    /// The first address it touches.
    pub fn address(&self) -> u16 {
        match *self {
            Self::Read { address, .. }
            | Self::WriteCoil { address, .. }
            | Self::WriteRegister { address, .. }
            | Self::WriteCoils { address, .. }
            | Self::WriteRegisters { address, .. }
            | Self::MaskWrite { address, .. } => address,
        }
    }

    /// How many registers or bits it touches.
    pub fn count(&self) -> u16 {
        match *self {
            Self::Read { count, .. } | Self::WriteCoils { count, .. } => count,
            Self::WriteRegisters { data, .. } => u16::try_from(data.len() / 2).unwrap_or(u16::MAX),
            Self::WriteCoil { .. } | Self::WriteRegister { .. } | Self::MaskWrite { .. } => 1,
        }
    }

    /// Whether it changes the device.
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }

    /// How many bytes of data an answer to a read has.
    pub(crate) fn answer_bytes(&self) -> usize {
        match self {
            Self::Read { table, count, .. } if table.is_bits() => bit_bytes(*count),
            Self::Read { count, .. } => usize::from(*count) * 2,
            _ => 0,
        }
    }

    /// Whether the standard has such a request.
    ///
    /// # Errors
    /// What is out of bounds.
    pub fn check(&self) -> Result<(), EncodeError> {
        let (what, most) = match self {
            Self::Read { table, .. } if table.is_bits() => ("bits", MAX_READ_BITS),
            Self::Read { .. } => ("registers", MAX_READ_REGISTERS),
            Self::WriteCoils { .. } => ("bits", MAX_WRITE_BITS),
            _ => ("registers", MAX_WRITE_REGISTERS),
        };
        let (address, count) = (self.address(), self.count());
        if !(1..=most).contains(&count) {
            return Err(EncodeError::Quantity { what, got: count.into(), most });
        }
        if u32::from(address) + u32::from(count) > 65_536 {
            return Err(EncodeError::Beyond { address, count });
        }
        let (got, expected) = match self {
            Self::WriteCoils { count, bits, .. } => (bits.len(), bit_bytes(*count)),
            Self::WriteRegisters { data, .. } => (data.len(), usize::from(count) * 2),
            _ => (0, 0),
        };
        if got == expected { Ok(()) } else { Err(EncodeError::Data { got, expected }) }
    }

    /// Appends it to `out`.
    ///
    /// # Errors
    /// As `check`; then nothing was appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.check()?;
        out.push(self.function());
        out.extend_from_slice(&self.address().to_be_bytes());
        match *self {
            Self::Read { count, .. } => out.extend_from_slice(&count.to_be_bytes()),
            Self::WriteCoil { value, .. } => out.extend_from_slice(&[if value { 0xff } else { 0 }, 0]),
            Self::WriteRegister { value, .. } => out.extend_from_slice(&value.to_be_bytes()),
            Self::WriteCoils { bits: data, .. } | Self::WriteRegisters { data, .. } => {
                out.extend_from_slice(&self.count().to_be_bytes());
                out.push(u8::try_from(data.len()).unwrap_or(u8::MAX));
                out.extend_from_slice(data);
            }
            Self::MaskWrite { and, or, .. } => {
                out.extend_from_slice(&and.to_be_bytes());
                out.extend_from_slice(&or.to_be_bytes());
            }
        }
        Ok(())
    }

    /// Reads one; `pdu` is all of it. A range beyond 65535 is left to the device to refuse.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(pdu: &'a [u8]) -> Result<Self, DecodeError> {
        let Some(&function) = pdu.first() else { return Err(DecodeError::Empty) };
        let length = |expected| Err(DecodeError::Length { function, got: pdu.len(), expected });
        let value = |what, got| Err(DecodeError::Value { function, what, got });
        let (Some(address), Some(second)) = (word(pdu, 1), word(pdu, 3)) else {
            return if super::request_length(pdu).is_known() { length(5) } else { unknown(function) };
        };
        let table = match function {
            0x01 => Some(Table::Coil),
            0x02 => Some(Table::Discrete),
            0x03 => Some(Table::Holding),
            0x04 => Some(Table::Input),
            _ => None,
        };
        match (function, table) {
            (0x01..=0x06, _) if pdu.len() != 5 => length(5),
            (_, Some(table)) => {
                let most = if table.is_bits() { MAX_READ_BITS } else { MAX_READ_REGISTERS };
                if !(1..=most).contains(&second) {
                    return value("quantity", second);
                }
                Ok(Self::Read { table, address, count: second })
            }
            (0x05, _) => match second {
                0xff00 => Ok(Self::WriteCoil { address, value: true }),
                0x0000 => Ok(Self::WriteCoil { address, value: false }),
                other => value("value", other),
            },
            (0x06, _) => Ok(Self::WriteRegister { address, value: second }),
            (0x0f | 0x10, _) => {
                let bits = function == 0x0f;
                let (most, bytes) = if bits {
                    (MAX_WRITE_BITS, bit_bytes(second))
                } else {
                    (MAX_WRITE_REGISTERS, usize::from(second) * 2)
                };
                if !(1..=most).contains(&second) {
                    return value("quantity", second);
                }
                let Some((&declared, data)) = pdu.get(5..).and_then(<[u8]>::split_first) else {
                    return length(6 + bytes);
                };
                if usize::from(declared) != bytes {
                    return value("byte count", declared.into());
                }
                if data.len() != bytes {
                    return length(6 + bytes);
                }
                Ok(if bits {
                    Self::WriteCoils { address, count: second, bits: data }
                } else {
                    Self::WriteRegisters { address, data }
                })
            }
            (0x16, _) => match word(pdu, 5) {
                Some(or) if pdu.len() == 7 => Ok(Self::MaskWrite { address, and: second, or }),
                _ => length(7),
            },
            _ => unknown(function),
        }
    }
}

fn unknown<T>(function: u8) -> Result<T, DecodeError> {
    Err(DecodeError::Function { function })
}
