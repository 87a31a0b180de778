//! Frames: what carries a request or answer on the line. The decoder is fed bytes as they come and gives frames or a
//! precise error; after an error nothing of it can be trusted until `reset`. Pure: silence and time are the
//! caller's.

mod ascii;
mod buffer;
mod mbap;
mod rtu;

pub use buffer::Decoder;

use crate::pdu::EncodeError;

/// How requests and answers are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Modbus TCP: a header with transaction, length and unit
    Mbap,
    /// serial, binary: unit, data, CRC, ended by silence
    Rtu,
    /// serial, text: a colon, hexadecimal digits, LRC, CR LF
    Ascii,
}

/// Which side reads: RTU's lengths are told from the data, and differ for requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reads {
    /// what the box reads
    Answers,
    /// what a device reads
    Requests,
}

/// A frame that was found. Its data is in the decoder until the next bytes are fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of Modbus TCP; 0 in the other framings.
    pub transaction: u16,
    /// The unit that is asked or answers.
    pub unit: u8,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header's protocol is not Modbus.
    #[error("protocol {got} in the header, expected 0")]
    Protocol {
        /// Which it names.
        got: u16,
    },
    /// The header's length cannot be.
    #[error("length {got} in the header, expected 2 to 254")]
    Length {
        /// Which it names.
        got: u16,
    },
    /// A function whose length nobody knows.
    #[error("function {function:02x} has no known length")]
    Function {
        /// Which.
        function: u8,
    },
    /// The check does not fit: CRC in RTU, LRC in ASCII.
    #[error("checksum {got:04x}, expected {expected:04x}")]
    Checksum {
        /// In the frame.
        got: u16,
        /// Of its bytes.
        expected: u16,
    },
    /// Not a hexadecimal digit, or a line end where none may be.
    #[error("byte {got:02x} in an ascii frame")]
    Digit {
        /// Which.
        got: u8,
    },
    /// More than a frame can be long.
    #[error("{got} bytes without the end of a frame")]
    TooLong {
        /// How many.
        got: usize,
    },
    /// Less than a frame can be long.
    #[error("a frame of {got} bytes")]
    TooShort {
        /// How many.
        got: usize,
    },
}

/// What stands at the beginning of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scan {
    /// The beginning of a frame.
    More,
    /// So many bytes that belong to no frame.
    Skip(usize),
    /// A frame of `len` bytes, its data within.
    Frame { head: Head, len: usize },
    /// No frame.
    Bad(FrameError),
}

impl Framing {
    /// Appends a frame to `out`; `pdu` appends what it carries. `transaction` counts only in Modbus TCP.
    ///
    /// # Errors
    /// Those of `pdu`; `out` is then as before.
    pub fn encode(
        self,
        out: &mut Vec<u8>,
        transaction: u16,
        unit: u8,
        pdu: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        if self == Self::Mbap {
            out.extend_from_slice(&transaction.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        let body = out.len();
        out.push(unit);
        if let Err(e) = pdu(out) {
            out.truncate(start);
            return Err(e);
        }
        match self {
            Self::Mbap => mbap::close(out, body),
            Self::Rtu => rtu::close(out, body),
            Self::Ascii => ascii::close(out, body),
        }
        Ok(())
    }

    /// Whether a frame says which request it answers.
    pub fn has_transactions(self) -> bool {
        self == Self::Mbap
    }

    fn scan(self, bytes: &mut [u8], reads: Reads) -> Scan {
        match self {
            Self::Mbap => mbap::scan(bytes),
            Self::Rtu => rtu::scan(bytes, reads),
            Self::Ascii => ascii::scan(bytes),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
