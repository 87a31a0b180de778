//! Tests of the framings, on any bytes.

use proptest::prelude::*;

use super::*;
use crate::Table;
use crate::pdu::{MAX_PDU, Request};

const FRAMINGS: [Framing; 3] = [Framing::Mbap, Framing::Rtu, Framing::Ascii];

fn read(table: Table, address: u16, count: u16) -> Request<'static> {
    Request::Read { table, address, count }
}

fn framed(framing: Framing, transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    framing
        .encode(&mut out, transaction, unit, |out| {
            out.extend_from_slice(pdu);
            Ok(())
        })
        .unwrap();
    out
}

#[test]
fn known_frames() {
    let mut out = Vec::new();
    let request = read(Table::Holding, 0x6b, 3);
    Framing::Mbap.encode(&mut out, 0x1501, 0x11, |o| request.encode(o)).unwrap();
    assert_eq!(out, [0x15, 0x01, 0, 0, 0, 6, 0x11, 3, 0, 0x6b, 0, 3]);
    // CRC as printed in countless manuals for this request.
    assert_eq!(framed(Framing::Rtu, 0, 0x11, &[3, 0, 0x6b, 0, 3]), [0x11, 3, 0, 0x6b, 0, 3, 0x76, 0x87]);
    assert_eq!(framed(Framing::Rtu, 0, 1, &[4, 2, 0xff, 0xff]), [1, 4, 2, 0xff, 0xff, 0xb8, 0x80]);
    assert_eq!(framed(Framing::Ascii, 0, 0x11, &[3, 0, 0x6b, 0, 3]), b":1103006B00037E\r\n");
    assert_eq!(framed(Framing::Ascii, 0, 0xf7, &[3, 0x13, 0x89, 0, 0x0a]), b":F7031389000A60\r\n");
}

#[test]
fn a_request_that_does_not_exist_leaves_the_buffer_as_it_was() {
    for framing in FRAMINGS {
        let mut out = vec![9];
        assert!(framing.encode(&mut out, 1, 1, |o| read(Table::Coil, 0, 0).encode(o)).is_err());
        assert_eq!(out, [9]);
    }
}

#[test]
fn what_cannot_be_a_frame_is_told_at_once() {
    let bad = |framing, bytes: &[u8]| {
        let mut decoder = Decoder::new(framing, Reads::Answers);
        decoder.feed(bytes);
        decoder.next()
    };
    assert_eq!(bad(Framing::Mbap, &[0, 1, 0, 7]), Err(FrameError::Protocol { got: 7 }));
    assert_eq!(bad(Framing::Mbap, &[0, 1, 0, 0, 0, 1]), Err(FrameError::Length { got: 1 }));
    assert_eq!(bad(Framing::Mbap, &[0, 1, 0, 0, 1, 0]), Err(FrameError::Length { got: 256 }));
    assert_eq!(bad(Framing::Rtu, &[1, 0x2b]), Err(FrameError::Function { function: 0x2b }));
    assert_eq!(bad(Framing::Rtu, &[1, 3, 255]), Err(FrameError::TooLong { got: 260 }));
    let crc = FrameError::Checksum { got: 0x80b9, expected: 0x80b8 };
    assert_eq!(bad(Framing::Rtu, &[1, 4, 2, 0xff, 0xff, 0xb9, 0x80]), Err(crc));
    let lrc = FrameError::Checksum { got: 0x7f, expected: 0x7e };
    assert_eq!(bad(Framing::Ascii, b":1103006B00037F\r\n"), Err(lrc));
    assert_eq!(bad(Framing::Ascii, b":11g"), Err(FrameError::Digit { got: b'g' }));
    assert_eq!(bad(Framing::Ascii, b":1103\rX"), Err(FrameError::Digit { got: b'X' }));
    assert_eq!(bad(Framing::Ascii, b":110\r\n"), Err(FrameError::TooShort { got: 3 }));
    assert_eq!(bad(Framing::Ascii, b"::"), Ok(None));
    let long = [b":".as_slice(), &[b'0'; 600]].concat();
    assert_eq!(bad(Framing::Ascii, &long), Err(FrameError::TooLong { got: 601 }));
}

#[test]
fn ascii_begins_anew_at_every_colon_and_passes_over_noise() {
    let mut decoder = Decoder::new(Framing::Ascii, Reads::Requests);
    decoder.feed(b"noise\r\n:1103:1103006b00037e\r\n");
    let head = decoder.next().unwrap().unwrap();
    assert_eq!((head.unit, decoder.pdu(head)), (0x11, &[3u8, 0, 0x6b, 0, 3][..]));
    assert_eq!((decoder.next(), decoder.skipped()), (Ok(None), 12));
}

#[test]
fn silence_ends_an_rtu_frame_of_an_unknown_function() {
    let mut decoder = Decoder::new(Framing::Rtu, Reads::Requests);
    decoder.feed(&framed(Framing::Rtu, 0, 5, &[0x2b, 0x0e, 1, 0]));
    assert_eq!(decoder.next(), Err(FrameError::Function { function: 0x2b }));
    let head = decoder.silence().unwrap().unwrap();
    assert_eq!((head.unit, decoder.pdu(head)), (5, &[0x2bu8, 0x0e, 1, 0][..]));
    assert!(decoder.is_empty());
    decoder.feed(&[5, 3, 0]);
    assert_eq!(decoder.silence(), Err(FrameError::TooShort { got: 3 }));
    assert_eq!(decoder.silence(), Ok(None));
}

/// What a request's bytes may be, and an answer's.
fn pdus() -> impl Strategy<Value = (Reads, Vec<u8>)> {
    let request = (0usize..4, any::<u16>(), 1u16..125).prop_map(|(t, a, n)| {
        let mut out = Vec::new();
        let _ = read(Table::ALL[t], a.min(65_000), n).encode(&mut out);
        (Reads::Requests, out)
    });
    let answer = prop::collection::vec(any::<u8>(), 1..=250).prop_map(|data| {
        let length = u8::try_from(data.len()).unwrap();
        (Reads::Answers, [vec![3, length], data].concat())
    });
    prop_oneof![request, answer, Just((Reads::Answers, vec![0x83, 2]))]
}

proptest! {
    #![proptest_config(crate::cases(256))]

    /// However the bytes are cut, the same frames come out.
    #[test]
    fn frames_survive_any_cut(
        framing in 0usize..3, transaction in any::<u16>(), unit in any::<u8>(), (reads, pdu) in pdus(),
        cuts in prop::collection::vec(1usize..40, 1..40),
    ) {
        let framing = FRAMINGS[framing];
        prop_assume!(pdu.len() <= MAX_PDU);
        let bytes = framed(framing, transaction, unit, &pdu).repeat(3);
        let mut decoder = Decoder::new(framing, reads);
        let (mut at, mut found, mut cuts) = (0, 0, cuts.into_iter().cycle());
        while at < bytes.len() {
            let end = bytes.len().min(at + cuts.next().unwrap());
            at += decoder.feed(&bytes[at..end]);
            while let Some(head) = decoder.next().unwrap() {
                let expected = if framing == Framing::Mbap { transaction } else { 0 };
                prop_assert_eq!((head.transaction, head.unit), (expected, unit));
                prop_assert_eq!(decoder.pdu(head), &pdu[..]);
                found += 1;
            }
        }
        prop_assert_eq!((found, decoder.is_empty()), (3, true));
    }

    /// A changed byte is found, or at least never read as another frame of the same length: CRC and LRC see every
    /// single byte. (A Modbus TCP frame has no check; TCP has.)
    #[test]
    fn a_changed_byte_is_never_a_frame(
        ascii in any::<bool>(), at in any::<prop::sample::Index>(), flip in 1u8.., (reads, pdu) in pdus(),
    ) {
        let framing = if ascii { Framing::Ascii } else { Framing::Rtu };
        let mut bytes = framed(framing, 0, 7, &pdu);
        let at = at.index(bytes.len());
        let (old, new) = (bytes[at], bytes[at] ^ flip);
        // The same digit in the other case is the same.
        prop_assume!(!old.eq_ignore_ascii_case(&new));
        bytes[at] = new;
        let mut decoder = Decoder::new(framing, reads);
        decoder.feed(&bytes);
        if let Ok(Some(head)) = decoder.next() {
            prop_assert!(decoder.pdu(head) != pdu.as_slice() || head.unit != 7, "taken for the same");
            // A shortened RTU frame could pass only by a collision of 16 bits.
            prop_assert!(framing == Framing::Rtu && decoder.pdu(head).len() != pdu.len());
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic_or_stand_still(
        framing in 0usize..3, answers in any::<bool>(),
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b':'), Just(b'\r'), Just(b'\n'), b'0'..=b'9', 0u8..8], 0..3000,
        ),
        cut in 1usize..1200,
    ) {
        let reads = if answers { Reads::Answers } else { Reads::Requests };
        let mut decoder = Decoder::new(FRAMINGS[framing], reads);
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + cut);
            let taken = decoder.feed(&bytes[at..end]);
            at += taken;
            let mut frames = 0;
            loop {
                match decoder.next() {
                    Ok(Some(head)) => {
                        prop_assert!(decoder.pdu(head).len() <= MAX_PDU && !decoder.pdu(head).is_empty());
                        frames += 1;
                        prop_assert!(frames < 1000);
                    }
                    Ok(None) => break,
                    Err(_) => {
                        let _ = decoder.silence();
                        decoder.reset();
                        break;
                    }
                }
            }
            prop_assert!(taken > 0 || frames > 0 || decoder.is_empty(), "nothing taken, nothing found");
        }
    }
}
