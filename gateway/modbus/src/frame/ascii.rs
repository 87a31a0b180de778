//! ASCII (Modbus over serial line V1.02, 2.5.2): a colon, each byte as two hexadecimal digits, LRC, CR LF.

use super::{FrameError, Head, Scan};
use crate::pdu::MAX_PDU;

/// Colon, unit, data and LRC as digits, CR, LF.
const LONGEST: usize = 1 + 2 * (1 + MAX_PDU + 1) + 2;
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Appends the LRC and turns all from `body` on into text.
pub(super) fn close(out: &mut Vec<u8>, body: usize) {
    let lrc = lrc(out.get(body..).unwrap_or_default());
    out.push(lrc);
    let bytes = out.len() - body;
    out.resize(body + 1 + 2 * bytes, 0);
    // From behind, so that no byte is overwritten before it was read.
    for n in (0..bytes).rev() {
        let byte = out.get(body + n).copied().unwrap_or(0);
        let to = body + 1 + 2 * n;
        if let Some(place) = out.get_mut(to..to + 2) {
            place.copy_from_slice(&[digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }
    if let Some(colon) = out.get_mut(body) {
        *colon = b':';
    }
    out.extend_from_slice(b"\r\n");
}

fn digit(nibble: u8) -> u8 {
    DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0')
}

/// The bytes of a frame replace its digits, so it is scanned once it is whole and not again.
pub(super) fn scan(bytes: &mut [u8]) -> Scan {
    match bytes.first() {
        None => return Scan::More,
        Some(b':') => {}
        // Noise between frames, and the rest of one whose beginning was lost.
        Some(_) => return Scan::Skip(bytes.iter().position(|b| *b == b':').unwrap_or(bytes.len())),
    }
    let rest = bytes.get(1..).unwrap_or_default();
    let end = rest.iter().position(|b| !b.is_ascii_hexdigit());
    let digits = end.unwrap_or(rest.len());
    if digits + 3 > LONGEST {
        return Scan::Bad(FrameError::TooLong { got: digits + 1 });
    }
    match end.map(|at| (rest.get(at).copied().unwrap_or(0), rest.get(at + 1).copied())) {
        None | Some((b'\r', None)) => Scan::More,
        // A colon begins a frame wherever it stands (2.5.2.1).
        Some((b':', _)) => Scan::Skip(digits + 1),
        Some((b'\r', Some(b'\n'))) => frame(bytes, digits),
        Some((b'\r', Some(got)) | (got, _)) => Scan::Bad(FrameError::Digit { got }),
    }
}

fn frame(bytes: &mut [u8], digits: usize) -> Scan {
    let count = digits / 2;
    if !digits.is_multiple_of(2) || count < 3 {
        return Scan::Bad(FrameError::TooShort { got: digits });
    }
    // First the check, then the change: what is refused stays as it came.
    let byte = |n: usize, bytes: &[u8]| match bytes.get(1 + 2 * n..3 + 2 * n) {
        Some([high, low]) => nibble(*high) << 4 | nibble(*low),
        _ => 0,
    };
    let sum = (0..count - 1).fold(0u8, |sum, n| sum.wrapping_add(byte(n, bytes)));
    let (got, expected) = (byte(count - 1, bytes), sum.wrapping_neg());
    if got != expected {
        return Scan::Bad(FrameError::Checksum { got: got.into(), expected: expected.into() });
    }
    for n in 0..count {
        let value = byte(n, bytes);
        if let Some(place) = bytes.get_mut(n) {
            *place = value;
        }
    }
    let unit = bytes.first().copied().unwrap_or(0);
    Scan::Frame { head: Head { transaction: 0, unit, from: 1, to: count - 1 }, len: digits + 3 }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// The two's complement of the sum.
fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)).wrapping_neg()
}
