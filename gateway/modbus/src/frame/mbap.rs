//! Modbus TCP (messaging on TCP/IP implementation guide V1.0b, 3.1.3): transaction, protocol, length, unit.

use super::{FrameError, Head, Scan};
use crate::pdu::{MAX_PDU, word};

/// Transaction, protocol and length; the unit counts as data here.
const BEFORE: usize = 6;

/// Puts the length in, now that it is known; `body` is where the unit stands.
pub(super) fn close(out: &mut [u8], body: usize) {
    let length = u16::try_from(out.len() - body).unwrap_or(u16::MAX);
    if let Some(place) = body.checked_sub(2).and_then(|at| out.get_mut(at..body)) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

pub(super) fn scan(bytes: &[u8]) -> Scan {
    // Each field is judged as soon as it is there: what cannot be a frame is not waited for.
    if let Some(got) = word(bytes, 2).filter(|p| *p != 0) {
        return Scan::Bad(FrameError::Protocol { got });
    }
    let (Some(transaction), Some(length)) = (word(bytes, 0), word(bytes, 4)) else { return Scan::More };
    let len = usize::from(length);
    if !(2..=MAX_PDU + 1).contains(&len) {
        return Scan::Bad(FrameError::Length { got: length });
    }
    match bytes.get(BEFORE) {
        Some(&unit) if bytes.len() >= BEFORE + len => {
            let head = Head { transaction, unit, from: BEFORE + 1, to: BEFORE + len };
            Scan::Frame { head, len: BEFORE + len }
        }
        _ => Scan::More,
    }
}
