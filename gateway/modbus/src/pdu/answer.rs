//! Answers, both ways, and whether one fits a request.

use super::{DecodeError, EncodeError, Exception, MAX_PDU, REFUSED, Request, word};
use crate::Table;

/// An answer. Data is borrowed as it is on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// 01, 02, 03 and 04
    Read {
        /// Which table.
        table: Table,
        /// Registers big-endian, or bits packed, the lowest first.
        data: &'a [u8],
    },
    /// 05
    WriteCoil {
        /// Which.
        address: u16,
        /// What.
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
    },
    /// 10
    WriteRegisters {
        /// First address.
        address: u16,
        /// How many.
        count: u16,
    },
    /// 16
    MaskWrite {
        /// Which.
        address: u16,
        /// Bits that stay.
        and: u16,
        /// What the others become.
        or: u16,
    },
    /// The device refuses.
    Refused {
        /// Function of the request.
        function: u8,
        /// Why.
        exception: Exception,
    },
}

/// How an answer does not fit its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It answers another function.
    #[error("answer to function {got:02x}, asked was {asked:02x}")]
    Function {
        /// Of the request.
        asked: u8,
        /// Of the answer.
        got: u8,
    },
    /// More or fewer bytes than asked for.
    #[error("{got} bytes of data, asked were {asked}")]
    Bytes {
        /// Asked for.
        asked: usize,
        /// Got.
        got: usize,
    },
    /// The echo of a write names another address, quantity or value.
    #[error("the echo of function {function:02x} is not what was written")]
    Echo {
        /// Which.
        function: u8,
    },
}

impl<'a> Answer<'a> {
    /// The function code it answers.
    pub fn function(&self) -> u8 {
        match *self {
            Self::Read { table, .. } => Request::Read { table, address: 0, count: 1 }.function(),
            Self::WriteCoil { .. } => 0x05,
            Self::WriteRegister { .. } => 0x06,
            Self::WriteCoils { .. } => 0x0f,
            Self::WriteRegisters { .. } => 0x10,
            Self::MaskWrite { .. } => 0x16,
            Self::Refused { function, .. } => function & !REFUSED,
        }
    }

    /// Appends it to `out`.
    ///
    /// # Errors
    /// When data is empty or more than an answer carries; then nothing was appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Self::Read { data, .. } = self
            && (data.is_empty() || data.len() > MAX_PDU - 2)
        {
            return Err(EncodeError::Quantity { what: "bytes", got: data.len(), most: 251 });
        }
        let refused = if matches!(self, Self::Refused { .. }) { REFUSED } else { 0 };
        out.push(self.function() | refused);
        match *self {
            Self::Read { data, .. } => {
                out.push(u8::try_from(data.len()).unwrap_or(u8::MAX));
                out.extend_from_slice(data);
            }
            Self::WriteCoil { address, value } => {
                out.extend_from_slice(&address.to_be_bytes());
                out.extend_from_slice(&[if value { 0xff } else { 0 }, 0]);
            }
            Self::WriteRegister { address, value: second }
            | Self::WriteCoils { address, count: second }
            | Self::WriteRegisters { address, count: second } => {
                out.extend_from_slice(&address.to_be_bytes());
                out.extend_from_slice(&second.to_be_bytes());
            }
            Self::MaskWrite { address, and, or } => {
                for word in [address, and, or] {
                    out.extend_from_slice(&word.to_be_bytes());
                }
            }
            Self::Refused { exception, .. } => out.push(exception.0),
        }
        Ok(())
    }

    /// Reads one; `pdu` is all of it.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(pdu: &'a [u8]) -> Result<Self, DecodeError> {
        let Some(&function) = pdu.first() else { return Err(DecodeError::Empty) };
        let length = |expected| Err(DecodeError::Length { function, got: pdu.len(), expected });
        if function & REFUSED != 0 {
            return match *pdu {
                [_, code] => Ok(Self::Refused { function: function & !REFUSED, exception: Exception(code) }),
                _ => length(2),
            };
        }
        let table = match function {
            0x01 => Some(Table::Coil),
            0x02 => Some(Table::Discrete),
            0x03 => Some(Table::Holding),
            0x04 => Some(Table::Input),
            0x05 | 0x06 | 0x0f | 0x10 | 0x16 => None,
            _ => return Err(DecodeError::Function { function }),
        };
        if let Some(table) = table {
            let Some((&declared, data)) = pdu.get(1..).and_then(<[u8]>::split_first) else {
                return length(2);
            };
            if usize::from(declared) != data.len() || data.is_empty() {
                return length(2 + usize::from(declared).max(1));
            }
            return Ok(Self::Read { table, data });
        }
        let expected = if function == 0x16 { 7 } else { 5 };
        let (Some(address), Some(second)) = (word(pdu, 1), word(pdu, 3)) else { return length(expected) };
        if pdu.len() != expected {
            return length(expected);
        }
        Ok(match function {
            0x05 => match second {
                0xff00 => Self::WriteCoil { address, value: true },
                0x0000 => Self::WriteCoil { address, value: false },
                got => return Err(DecodeError::Value { function, what: "value", got }),
            },
            0x06 => Self::WriteRegister { address, value: second },
            0x0f => Self::WriteCoils { address, count: second },
            0x10 => Self::WriteRegisters { address, count: second },
            _ => Self::MaskWrite { address, and: second, or: word(pdu, 5).unwrap_or_default() },
        })
    }

    /// Whether it can be the answer to `request`: same function, as much data as asked, the right echo. That it
    /// is the answer to this and no earlier one, only the frame can say.
    ///
    /// # Errors
    /// How it does not fit.
    pub fn fits(&self, request: &Request<'_>) -> Result<(), Misfit> {
        let function = request.function();
        if self.function() != function {
            return Err(Misfit::Function { asked: function, got: self.function() });
        }
        let echo = |fits| if fits { Ok(()) } else { Err(Misfit::Echo { function }) };
        match (*self, *request) {
            (Self::Read { data, .. }, _) => {
                let asked = request.answer_bytes();
                if data.len() == asked { Ok(()) } else { Err(Misfit::Bytes { asked, got: data.len() }) }
            }
            (Self::WriteCoil { address, value }, Request::WriteCoil { address: a, value: v }) => {
                echo((address, value) == (a, v))
            }
            (Self::WriteRegister { address, value }, Request::WriteRegister { address: a, value: v }) => {
                echo((address, value) == (a, v))
            }
            (Self::WriteCoils { address, count } | Self::WriteRegisters { address, count }, _) => {
                echo((address, count) == (request.address(), request.count()))
            }
            (Self::MaskWrite { address, and, or }, Request::MaskWrite { address: a, and: b, or: c }) => {
                echo((address, and, or) == (a, b, c))
            }
            (Self::Refused { .. }, _) => Ok(()),
            _ => echo(false),
        }
    }
}
