//! What MQTT 5 has that 3.1.1 has not.

use std::time::Duration;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_meet_on_one_port_and_properties_go_through() {
    let rig = Rig::start(|_| {}).await;
    let (mut new, _) = rig.v5("new", true, &[]).await;
    let mut old = rig.v3("old", true).await;
    assert_eq!(old.subscribe3("t", 0).await, 0);
    assert_eq!(new.subscribe5("t", 0, &[0x0b, 9]).await, 0);
    // Content type, response topic, correlation data, two user properties, payload format; an expiry of 9 s.
    let mut props = vec![0x01, 1, 0x03];
    props.extend(text("text/plain"));
    props.push(0x08);
    props.extend(text("answer/here"));
    props.extend([0x09, 0, 2, 1, 2]);
    for (key, value) in [("a", "1"), ("a", "2")] {
        props.push(0x26);
        props.extend(text(key));
        props.extend(text(value));
    }
    let mut with_expiry = props.clone();
    with_expiry.extend([0x02, 0, 0, 0, 9]);
    new.send(&publish5("t", &with_expiry, b"hello", 0, 0)).await;
    let got = new.packet().await;
    let mut expected = with_expiry.clone();
    expected.extend([0x0b, 9]);
    assert_eq!(got, publish5("t", &expected, b"hello", 0, 0));
    assert_eq!(old.message3().await, ("t".to_owned(), b"hello".to_vec(), 0, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connack_tells_the_limits_the_assigned_id_and_the_keep_alive() {
    let rig = Rig::start(|o| {
        o.limits.in_flight = 20;
        o.limits.packet = 5000;
        o.limits.session_expiry_s = 100;
        o.keep_alive_max = 30;
    })
    .await;
    let (_client, ack) = rig.v5("", true, &[0x11, 0xff, 0xff, 0xff, 0xff]).await;
    let has = |bytes: &[u8]| ack.windows(bytes.len()).any(|w| w == bytes);
    assert!(
        has(&[0x21, 0, 20]) && has(&[0x27, 0, 0, 0x13, 0x88]) && has(&[0x11, 0, 0, 0, 100]),
        "{ack:02x?}"
    );
    assert!(has(&[0x13, 0, 30]) && has(b"auto-") && has(&[0x22, 0, 64]), "{ack:02x?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_refused_with_their_own_codes() {
    let rig = Rig::start(|o| {
        o.limits.filters = 1;
        o.limits.packet = 1000;
        o.limits.rate = 10;
        o.limits.retained = (1, 10_000);
        o.limits.in_flight = 3;
        o.limits.connections = 4;
    })
    .await;
    let (mut client, _) = rig.v5("c", true, &[]).await;
    assert_eq!(client.subscribe5("a", 0, &[]).await, 0);
    assert_eq!(client.subscribe5("b", 0, &[]).await, 0x97);
    assert_eq!(client.subscribe5("a/#/b", 0, &[]).await, 0x8f);
    let mut keep = publish5("k/1", &[], b"1", 1, 1);
    keep[0] |= 1;
    client.send(&keep).await;
    assert_eq!(client.packet().await, [0x40, 2, 0, 1]);
    let mut keep = publish5("k/2", &[], b"1", 1, 2);
    keep[0] |= 1;
    client.send(&keep).await;
    assert_eq!(client.packet().await, [0x40, 3, 0, 2, 0x97]);
    client.send(&publish5("a", &[], &[0; 2000], 0, 0)).await;
    assert_eq!(client.closed().await, [0xe0, 2, 0x95, 0]);

    // More messages of QoS 2 on their way than were granted.
    let (mut client, _) = rig.v5("c", true, &[]).await;
    for pkid in 1..=4 {
        client.send(&publish5("a", &[], b"1", 2, pkid)).await;
    }
    assert!(client.closed().await.ends_with(&[0xe0, 2, 0x93, 0]));
    let (mut client, _) = rig.v5("c", true, &[]).await;
    for _ in 0..30 {
        client.send(&publish5("a", &[], b"1", 0, 0)).await;
    }
    assert!(client.closed().await.ends_with(&[0xe0, 2, 0x96, 0]));
    let mut some = Vec::new();
    for n in 0..4 {
        some.push(rig.v5(&format!("c{n}"), true, &[]).await);
    }
    let mut client = rig.tcp().await;
    client.send(&connect5("more", true, &[])).await;
    assert_eq!(client.packet().await[3], 0x97);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_against_the_protocol_are_named_before_the_end() {
    let rig = Rig::start(|_| {}).await;
    let cases: &[(&[u8], u8)] = &[
        (&publish5("a/#", &[], b"", 0, 0), 0x90),
        (&publish5("", &[], b"", 0, 0), 0x90),
        (&publish5("", &[0x23, 0, 1], b"", 0, 0), 0x94),
        (&publish5("a", &[0x23, 0, 65], b"", 0, 0), 0x94),
        (&publish5("a", &[0x23, 0, 0], b"", 0, 0), 0x94),
        (&connect5("again", true, &[]), 0x82),
        (&[0xf0, 0], 0x82),
        (&[0x82, 2, 0, 1], 0x81),
        (&subscribe5("$share/g/t", 4, &[]), 0x82),
        (&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1], 0x82),
    ];
    for (n, (bad, code)) in cases.iter().enumerate() {
        let (mut client, _) = rig.v5(&format!("bad{n}"), true, &[]).await;
        client.send(bad).await;
        assert_eq!(client.closed().await, [0xe0, 2, *code, 0], "{bad:02x?}");
    }
    let (mut first, _) = rig.v5("same", true, &[]).await;
    let _second = rig.v5("same", true, &[]).await;
    assert_eq!(first.closed().await, [0xe0, 2, 0x8e, 0]);
    let mut client = rig.tcp().await;
    client.send(&connect5("auth", true, &[0x15, 0, 1, b'x'])).await;
    assert_eq!(client.packet().await[3], 0x8c);
    let (mut last, _) = rig.v5("last", true, &[]).await;
    rig.stop().await;
    assert_eq!(last.closed().await, [0xe0, 2, 0x8b, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_alias_stands_for_its_topic() {
    let rig = Rig::start(|_| {}).await;
    let (mut client, _) = rig.v5("c", true, &[]).await;
    client.subscribe5("#", 0, &[]).await;
    client.send(&publish5("a/long/topic", &[0x23, 0, 5], b"1", 0, 0)).await;
    client.send(&publish5("", &[0x23, 0, 5], b"2", 0, 0)).await;
    client.send(&publish5("another", &[0x23, 0, 5], b"3", 0, 0)).await;
    client.send(&publish5("", &[0x23, 0, 5], b"4", 0, 0)).await;
    for (topic, payload) in
        [("a/long/topic", b"1"), ("a/long/topic", b"2"), ("another", b"3"), ("another", b"4")]
    {
        assert_eq!(client.packet().await, publish5(topic, &[], payload, 0, 0));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receive_maximum_and_packet_size_of_the_client_are_kept() {
    let rig = Rig::start(|_| {}).await;
    // At most 2 on their way, at most 100 bytes.
    let (mut client, _) = rig.v5("c", true, &[0x21, 0, 2, 0x27, 0, 0, 0, 100]).await;
    client.subscribe5("t", 1, &[]).await;
    rig.handle.publish("t", vec![0; 200], false);
    for n in 0..3u8 {
        rig.handle.publish("t", vec![n], false);
    }
    assert_eq!(client.packet().await, publish5("t", &[], &[0], 1, 2));
    assert_eq!(client.packet().await, publish5("t", &[], &[1], 1, 3));
    assert_eq!(rig.lost("too_large"), 1);
    let third = tokio::time::timeout(Duration::from_millis(100), client.try_packet()).await;
    assert!(third.is_err(), "a third message before an acknowledgement: {third:?}");
    client.send(&[0x40, 2, 0, 2]).await;
    assert_eq!(client.packet().await, publish5("t", &[], &[2], 1, 4));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_as_long_as_it_was_asked_to() {
    let rig = Rig::start(|_| {}).await;
    let minute = [0x11, 0, 0, 0, 60];
    let (mut client, ack) = rig.v5("c", false, &minute).await;
    assert_eq!(ack[2], 0);
    client.subscribe5("t", 1, &[]).await;
    drop(client);
    wait_for("gone", || rig.handle.clients() == 0).await;
    rig.handle.publish("t", "waits", false);
    let (mut client, ack) = rig.v5("c", false, &minute).await;
    assert_eq!(ack[2], 1, "the session is present");
    assert!(client.packet().await.ends_with(b"waits"));
    // Goodbye with an expiry of 0 ends it.
    client.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]).await;
    client.closed().await;
    wait_for("ended", || rig.handle.status().clients.is_empty()).await;
    let (_client, ack) = rig.v5("c", false, &[]).await;
    assert_eq!(ack[2], 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscriber_that_leaves_with_messages_loses_none_of_them() {
    let rig = Rig::start(|_| {}).await;
    let mut leaver = rig.v3("leaver", false).await;
    let mut stayer = rig.v3("stayer", true).await;
    for client in [&mut leaver, &mut stayer] {
        assert_eq!(client.subscribe3("$share/g/jobs/+", 1).await, 1);
    }
    for n in 0..200 {
        rig.handle.publish(&format!("jobs/{n}"), n.to_string(), false);
    }
    // The leaver reads one and acknowledges nothing.
    leaver.message3().await;
    drop(leaver);
    let mut got = std::collections::BTreeSet::new();
    while got.len() < 200 {
        let (_, payload, _, pkid) = stayer.message3().await;
        got.insert(String::from_utf8(payload).unwrap().parse::<u32>().unwrap());
        let mut ack = vec![0x40, 2];
        ack.extend(pkid.to_be_bytes());
        stayer.send(&ack).await;
    }
    assert!(rig.drops.list().iter().all(|(_, n)| *n == 0), "{:?}", rig.drops.list());
    rig.stop().await;
}
