//! Requests and answers without their frame (Modbus application protocol V1.1b3, clause 6), both ways: the box
//! encodes requests and decodes answers, a simulator the reverse. Total: no bytes make it panic. Not here: which
//! answer belongs to which request on the line (`client`), and frames (`frame`).

mod answer;
mod exception;
mod length;
mod request;

pub use answer::{Answer, Misfit};
pub use exception::Exception;
pub use length::{Length, answer_length, request_length};
pub use request::Request;

/// Most bytes of a request or answer: function code and data (clause 4.1).
pub const MAX_PDU: usize = 253;
/// Most registers of one read (6.3 and 6.4).
pub const MAX_READ_REGISTERS: u16 = 125;
/// Most bits of one read (6.1 and 6.2).
pub const MAX_READ_BITS: u16 = 2000;
/// Most registers of one write (6.12).
pub const MAX_WRITE_REGISTERS: u16 = 123;
/// Most bits of one write (6.11).
pub const MAX_WRITE_BITS: u16 = 1968;

/// The bit of a function code that says that the answer is an exception.
pub(crate) const REFUSED: u8 = 0x80;

/// Why bytes are no request, or no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("empty")]
    Empty,
    /// A function that is not one of 01 02 03 04 05 06 0f 10 16.
    #[error("function {function:02x} is not known")]
    Function {
        /// Which.
        function: u8,
    },
    /// Too few or too many bytes for the function.
    #[error("function {function:02x} with {got} bytes, expected {expected}")]
    Length {
        /// Which.
        function: u8,
        /// How many there are.
        got: usize,
        /// How many there should be; for an open length the fewest.
        expected: usize,
    },
    /// A quantity, a byte count or a value that the standard does not have.
    #[error("function {function:02x} with {what} {got}")]
    Value {
        /// Which.
        function: u8,
        /// What is wrong.
        what: &'static str,
        /// How it reads.
        got: u16,
    },
}

/// Why a request or an answer cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// None, or more than one request carries.
    #[error("{got} {what}, expected 1 to {most}")]
    Quantity {
        /// Registers or bits.
        what: &'static str,
        /// How many.
        got: usize,
        /// The most.
        most: u16,
    },
    /// The last address lies beyond 65535.
    #[error("{count} from {address} on go beyond 65535")]
    Beyond {
        /// The first.
        address: u16,
        /// How many.
        count: u16,
    },
    /// Bytes that are not as many as the quantity needs.
    #[error("{got} bytes of data, expected {expected}")]
    Data {
        /// How many.
        got: usize,
        /// How many there should be.
        expected: usize,
    },
}

/// How many bytes `bits` bits take.
pub(crate) fn bit_bytes(bits: u16) -> usize {
    usize::from(bits).div_ceil(8)
}

/// A big-endian register at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    match bytes.get(at..at + 2) {
        Some([high, low]) => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
