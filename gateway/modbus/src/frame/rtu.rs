//! RTU (Modbus over serial line V1.02, 2.5.1): unit, data, CRC. The length is told from the function, so that a
//! frame is known to be whole without waiting for silence, which no operating system measures well.

use super::{FrameError, Head, Reads, Scan};
use crate::pdu::{Length, MAX_PDU, answer_length, request_length};

/// Unit, one byte of data, CRC.
const SHORTEST: usize = 4;
/// Unit, data, CRC.
const LONGEST: usize = 1 + MAX_PDU + 2;

/// Appends the CRC; `body` is where the unit stands.
pub(super) fn close(out: &mut Vec<u8>, body: usize) {
    let crc = crc(out.get(body..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

pub(super) fn scan(bytes: &[u8], reads: Reads) -> Scan {
    let Some((_, pdu)) = bytes.split_first() else { return Scan::More };
    let length = match reads {
        Reads::Answers => answer_length(pdu),
        Reads::Requests => request_length(pdu),
    };
    let len = match length {
        Length::More => return Scan::More,
        Length::Known(n) => n + 3,
        Length::Unknown => {
            return Scan::Bad(FrameError::Function { function: pdu.first().copied().unwrap_or(0) });
        }
    };
    if len > LONGEST {
        return Scan::Bad(FrameError::TooLong { got: len });
    }
    match bytes.get(..len) {
        None => Scan::More,
        Some(frame) => match check(frame) {
            Ok(head) => Scan::Frame { head, len },
            Err(e) => Scan::Bad(e),
        },
    }
}

/// All of `bytes` as one frame, whatever its function.
pub(super) fn whole(bytes: &[u8]) -> Option<Head> {
    if (SHORTEST..=LONGEST).contains(&bytes.len()) { check(bytes).ok() } else { None }
}

fn check(frame: &[u8]) -> Result<Head, FrameError> {
    let too_short = FrameError::TooShort { got: frame.len() };
    let Some((body, [low, high])) = frame.split_last_chunk::<2>() else { return Err(too_short) };
    let Some(&unit) = body.first() else { return Err(too_short) };
    let (got, expected) = (u16::from_le_bytes([*low, *high]), crc(body));
    if got != expected {
        return Err(FrameError::Checksum { got, expected });
    }
    Ok(Head { transaction: 0, unit, from: 1, to: body.len() })
}

/// CRC-16/MODBUS: polynomial A001 reflected, all ones at the start.
pub(crate) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        let at = usize::from((crc ^ u16::from(*byte)) & 0xff);
        (crc >> 8) ^ TABLE.get(at).copied().unwrap_or(0)
    })
}

const TABLE: [u16; 256] = table();

#[allow(clippy::cast_possible_truncation)] // 0 to 255
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}
