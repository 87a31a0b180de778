//! Records: back and forth, and total on any bytes.

use proptest::prelude::*;

use super::*;

fn records() -> Vec<Record<'static>> {
    let message = || Body {
        topic: "a/b",
        payload: b"payload",
        props: &[0x26, 0, 1, b'k', 0, 1, b'v'],
        qos: 1,
        retain: true,
        expires: 7,
    };
    vec![
        Record::Session { sid: 1, client: "c", user: Some("u"), v5: true, expiry: 9 },
        Record::Session { sid: 1, client: "c", user: None, v5: false, expiry: u32::MAX },
        Record::SessionEnd { sid: 2 },
        Record::Subscribed { sid: 1, filter: "a/#", options: 5, id: 3 },
        Record::Unsubscribed { sid: 1, filter: "a/#" },
        Record::Message { mid: 4, message: message() },
        Record::Queued { sid: 1, mid: 4, qos: 2, retain: true, shared: Some("$share/g/a"), ids: vec![1, 9] },
        Record::Done { sid: 1, mid: 4, qos: 1 },
        Record::Sent { sid: 1, mid: 4, pkid: 5 },
        Record::Released { sid: 1, pkid: 5, mid: 4 },
        Record::Completed { sid: 1, pkid: 5 },
        Record::Received { sid: 1, pkid: 6 },
        Record::ReceivedEnd { sid: 1, pkid: 6 },
        Record::Retained { message: message() },
        Record::RetainedEnd { topic: "a/b" },
        Record::End,
    ]
}

#[test]
fn every_record_reads_back_and_any_cut_of_it_is_torn() {
    for record in records() {
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        assert_eq!(decode(&bytes), Found::Record(record, bytes.len()));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Found::Torn);
        }
        for at in HEAD..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), Found::Damaged(bytes.len()));
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(20_000))]

    #[test]
    fn any_body_is_a_record_or_damaged(body in proptest::collection::vec(any::<u8>(), 1..80)) {
        let mut bytes = Vec::new();
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(&body).to_le_bytes());
        bytes.extend(&body);
        match decode(&bytes) {
            Found::Torn => prop_assert!(false, "a whole record is not torn"),
            Found::Record(_, used) | Found::Damaged(used) => prop_assert_eq!(used, bytes.len()),
        }
    }
}
