//! The codec: what it says, what it refuses, and that no bytes make it panic.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;

fn one(bytes: &[u8], version: Version) -> Packet<'_> {
    let (packet, used) = decode(bytes, version, LIMIT).unwrap().unwrap();
    assert_eq!(used, bytes.len());
    packet
}

#[test]
fn connect_of_both_versions_reads() {
    let v3 = b"\x10\x23\x00\x04MQTT\x04\xf6\x00\x3c\x00\x02id\x00\x01w\x00\x04gone\x00\x04user\x00\x04pass";
    let Packet::Connect(c) = one(v3, Version::V3) else { panic!() };
    assert_eq!((c.client, c.clean, c.keep_alive, c.user), ("id", true, 60, Some("user")));
    assert_eq!(c.password, Some(&b"pass"[..]));
    let will = c.will.unwrap();
    assert_eq!((&*will.topic, &*will.payload, will.qos, will.retain), ("w", &b"gone"[..], 2, true));
    let v5 = b"\x10\x1a\x00\x04MQTT\x05\x00\x00\x0a\x0d\x11\x00\x00\x00\x3c\x21\x00\x05\x27\x00\x00\x01\x00\x00\x00";
    let Packet::Connect(c) = one(v5, Version::V3) else { panic!() };
    assert_eq!((c.version, c.session_expiry, c.receive_maximum, c.max_packet), (Version::V5, 60, 5, 256));
}

#[test]
fn messages_read_back_as_they_were_written() {
    for version in [Version::V3, Version::V5] {
        for qos in 0..3 {
            for size in [0, 1, 100, 127, 128, 20_000] {
                let payload = vec![7; size];
                let props = if version == Version::V5 { &[0x26, 0, 1, b'k', 0, 1, b'v'][..] } else { &[] };
                let message = Delivery {
                    topic: "a/b",
                    payload: &payload,
                    props,
                    expiry: (version == Version::V5).then_some(9),
                    ids: &[],
                    qos,
                    dup: qos > 0,
                    retain: true,
                    pkid: 77,
                };
                let mut out = BytesMut::new();
                publish(version, &message, &mut out);
                assert_eq!(out.len(), publish_len(version, &message));
                let Packet::Publish(p) = one(&out, version) else { panic!() };
                assert_eq!((p.topic, p.payload, p.qos, p.retain), ("a/b", &payload[..], qos, true));
                assert_eq!(p.pkid, if qos > 0 { 77 } else { 0 });
                assert_eq!(p.props.concat(), props);
                assert_eq!(p.expiry, message.expiry);
            }
        }
    }
}

#[test]
fn what_the_standards_forbid_is_refused() {
    let v3: &[&[u8]] = &[
        b"\x00\x00",                                          // no such packet
        b"\xf0\x00",                                          // AUTH
        b"\x20\x02\x00\x00",                                  // CONNACK from a client
        b"\x36\x05\x00\x01a\x00\x01",                         // QoS 3
        b"\x38\x03\x00\x01a",                                 // a duplicate of QoS 0
        b"\x32\x05\x00\x01a\x00\x00",                         // identifier 0
        b"\x30\x01\x00",                                      // no topic
        b"\x30\x05\x00\x03a\x00b",                            // U+0000
        b"\x30\x04\x00\x02\xc3\x28",                          // not UTF-8
        b"\x30\xff\xff\xff\xff\x01",                          // a length of five bytes
        b"\x80\x06\x00\x01\x00\x01a\x00",                     // SUBSCRIBE without its flags
        b"\x82\x02\x00\x01",                                  // no filter
        b"\x82\x06\x00\x01\x00\x01a\x03",                     // QoS 3
        b"\x82\x06\x00\x01\x00\x01a\x04",                     // an option of MQTT 5
        b"\xa2\x02\x00\x01",                                  // no filter
        b"\x62\x02\x00\x00",                                  // identifier 0
        b"\x60\x02\x00\x01",                                  // PUBREL without its flags
        b"\xc0\x01\x00",                                      // PINGREQ with a body
        b"\x40\x03\x00\x01\x00",                              // PUBACK with more
        b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01x",     // reserved flag
        b"\x10\x0d\x00\x04MQTT\x04\x42\x00\x3c\x00\x01x",     // password without user
        b"\x10\x0d\x00\x04MQTT\x04\x0a\x00\x3c\x00\x01x",     // QoS of no will
        b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x\x00", // goes on after its end
        b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01x",   // MQTT 3.1
        b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x01x",     // MQTT 6
    ];
    let v5: &[&[u8]] = &[
        b"\x30\x08\x00\x01a\x09\x23\x00\x01\x23", // properties longer than the packet says
        b"\x30\x0a\x00\x01a\x06\x23\x00\x01\x23\x00\x01", // an alias twice
        b"\x30\x06\x00\x01a\x02\x0b\x01",         // a subscription identifier from a client
        b"\x30\x06\x00\x01a\x02\x01\x02",         // payload format 2
        b"\x30\x08\x00\x01a\x04\x08\x00\x01#",    // wildcard in the response topic
        b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", // subscription identifier 0
        b"\x82\x07\x00\x01\x00\x00\x01a\x30",     // retain handling 3
        b"\x82\x07\x00\x01\x00\x00\x01a\x80",     // reserved option
        b"\xe0\x07\x00\x05\x21\x00\x00\x00\x01",  // a property that DISCONNECT does not have
    ];
    for (version, all) in [(Version::V3, v3), (Version::V5, v5)] {
        for bad in all {
            let decoded = decode(bad, version, LIMIT);
            assert!(decoded.is_err(), "{bad:02x?} gave {decoded:?}");
        }
    }
}

#[test]
fn a_packet_beyond_the_limit_is_refused_before_it_is_there() {
    assert_eq!(
        decode(b"\x30\x80\x80\x01", Version::V3, 1000),
        Err(Fault::TooLarge { bytes: 16_388, limit: 1000 })
    );
}

/// Packets that are right, to be bent by the fuzzer.
fn samples() -> Vec<Vec<u8>> {
    vec![
        b"\x10\x23\x00\x04MQTT\x04\xf6\x00\x3c\x00\x02id\x00\x01w\x00\x04gone\x00\x04user\x00\x04pass".to_vec(),
        b"\x10\x1a\x00\x04MQTT\x05\x00\x00\x0a\x0d\x11\x00\x00\x00\x3c\x21\x00\x05\x27\x00\x00\x01\x00\x00\x00"
            .to_vec(),
        b"\x32\x13\x00\x03a/b\x00\x01\x07\x26\x00\x01k\x00\x01v123".to_vec(),
        b"\x3d\x09\x00\x03a/b\x00\x0112".to_vec(),
        b"\x82\x0c\x00\x01\x02\x0b\x05\x00\x03a/#\x2d\x00".to_vec(),
        b"\x82\x08\x00\x01\x00\x03a/#\x01".to_vec(),
        b"\xa2\x07\x00\x02\x00\x03a/#".to_vec(),
        b"\x40\x04\x00\x01\x10\x00".to_vec(),
        b"\x62\x02\x00\x01".to_vec(),
        b"\xe0\x07\x04\x05\x11\x00\x00\x00\x01".to_vec(),
    ]
}

proptest! {
    #![proptest_config(crate::cases(20_000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for version in [Version::V3, Version::V5] {
            if let Ok(Some((_, used))) = decode(&bytes, version, LIMIT) {
                prop_assert!(used <= bytes.len());
            }
        }
    }

    #[test]
    fn no_bent_packet_makes_it_panic(
        which in 0..10usize,
        bends in proptest::collection::vec((any::<u16>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let mut bytes = samples().swap_remove(which);
        for (at, byte, how) in bends {
            let at = usize::from(at) % bytes.len().max(1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at.min(bytes.len()), byte),
                2 if at < bytes.len() => _ = bytes.remove(at),
                _ => bytes.truncate(at.max(1)),
            }
        }
        for version in [Version::V3, Version::V5] {
            if let Ok(Some((_, used))) = decode(&bytes, version, LIMIT) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
