//! Bytes that are packets, that are not yet, and that never will be.

use super::*;

fn one(bytes: &[u8]) -> Result<Option<Said>, Fault> {
    decode(&mut BytesMut::from(bytes), 1000)
}

#[test]
fn a_message_is_read_in_any_pieces() {
    let bytes = [0x33, 9, 0, 3, b'a', b'/', b'b', 0, 7, b'h', b'i'];
    let expected = Inbound { topic: "a/b".into(), payload: "hi".into(), qos: 1, pkid: 7, retain: true };
    assert_eq!(one(&bytes), Ok(Some(Said::Publish(expected))));
    for cut in 0..bytes.len() {
        assert_eq!(one(&bytes[..cut]), Ok(None), "{cut}");
    }
}

#[test]
fn malformed_packets_are_refused_and_nothing_panics() {
    for bad in [
        &[0x30, 0xff, 0xff, 0xff, 0xff, 1][..],
        &[0x30, 1, 0],
        &[0x30, 4, 0, 9, b'a', b'b'],
        &[0x36, 5, 0, 1, b'a', 0, 1],
        &[0x32, 3, 0, 1, b'a'],
        &[0x32, 5, 0, 1, b'a', 0, 0],
        &[0x82, 2, 0, 1],
        &[0x00, 2, 0, 1],
        &[0xf0, 2, 0, 1],
        &[0xa2, 3, 0, 1, 0],
    ] {
        assert!(matches!(one(bad), Err(Fault::Malformed { .. })), "{bad:?} {:?}", one(bad));
    }
    assert_eq!(one(&[0x30, 0xe9, 0x07]), Err(Fault::TooLarge { bytes: 1001, limit: 1000 }));
    // Every start of every kind of packet.
    for first in 0..=255u8 {
        for length in 0..12u8 {
            for fill in [0, 1, 0x7f, 0xff] {
                let mut bytes = vec![first, length];
                bytes.resize(usize::from(length) + 2, fill);
                let _ = one(&bytes);
            }
        }
    }
}

#[test]
fn a_retained_message_is_read_back_and_keeps_its_identifier() {
    for (payload, qos, pkid) in [(vec![], 0, 0), (vec![7; 100], 1, 1000), (vec![7; 300], 2, 65_535)] {
        let mut out = BytesMut::new();
        encode_retained("a/b", &payload, qos, pkid, &mut out);
        assert_eq!(identifier(&out), (qos > 0).then_some(pkid));
        let expected = Inbound { topic: "a/b".into(), payload: payload.into(), qos, pkid, retain: true };
        assert_eq!(decode(&mut out, 1000), Ok(Some(Said::Publish(expected))));
        assert!(out.is_empty());
    }
}

#[test]
fn topics_and_filters_of_clients_are_checked() {
    for bad in ["", "a/+", "a\0", "$SYS/x", "#"] {
        assert!(topic_of(&Bytes::copy_from_slice(bad.as_bytes())).is_err(), "{bad}");
    }
    assert!(topic_of(&Bytes::from_static(&[0xff])).is_err());
    assert_eq!(topic_of(&Bytes::from_static(b"a/b")), Ok("a/b"));
    assert!(may_subscribe("a/+/#"));
    for bad in ["$share/g/a", "$SYS/#", "a#", ""] {
        assert!(!may_subscribe(bad), "{bad}");
    }
}
