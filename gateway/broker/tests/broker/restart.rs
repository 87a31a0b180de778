//! What survives a restart: sessions, what waits for them, QoS 2 half done, retained messages. `kill` stops the broker
//! as `kill -9` does: nothing is written that was not.

use std::path::Path;

use crate::rig::*;

async fn start(dir: &Path) -> Rig {
    let dir = dir.to_owned();
    Rig::start(|o| o.dir = Some(dir)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path()).await;
    let mut keeper = rig.v3("keeper", false).await;
    assert_eq!(keeper.subscribe3("t/#", 1).await, 1);
    drop(keeper);
    wait_for("gone", || rig.handle.clients() == 0).await;
    let mut publisher = rig.v3("publisher", true).await;
    for n in 1..=500u16 {
        publisher.send(&publish3("t/x", n.to_string().as_bytes(), 1, n, n % 100 == 0)).await;
    }
    publisher.send(&publish3("kept", b"retained", 1, 501, true)).await;
    for n in 1..=501u16 {
        assert_eq!(publisher.packet().await[2..4], n.to_be_bytes());
    }
    // From inside: retained, but not for the next start.
    rig.handle.publish("own", "1", true);
    rig.kill().await;

    let rig = start(dir.path()).await;
    let mut keeper = rig.tcp().await;
    keeper.send(&connect3("keeper", false, None)).await;
    assert_eq!(keeper.packet().await, [0x20, 2, 1, 0], "the session is present");
    for n in 1..=500u16 {
        let (topic, payload, qos, pkid) = keeper.message3().await;
        assert_eq!((&*topic, payload, qos), ("t/x", n.to_string().into_bytes(), 1));
        let mut ack = vec![0x40, 2];
        ack.extend(pkid.to_be_bytes());
        keeper.send(&ack).await;
    }
    // The subscription is there as well, and so are the retained messages.
    rig.handle.publish("t/y", "new", false);
    assert_eq!(keeper.message3().await.1, b"new");
    let mut other = rig.v3("other", true).await;
    assert_eq!(other.subscribe3("#", 1).await, 1);
    let mut kept = [other.message3().await, other.message3().await];
    kept.sort();
    assert_eq!(kept[0].0, "kept");
    assert_eq!((&*kept[1].0, &kept[1].1[..]), ("t/x", &b"500"[..]));
    assert_eq!(rig.lost("damaged"), 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_2_is_exactly_once_over_a_kill_on_either_side_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path()).await;
    let mut keeper = rig.v3("keeper", false).await;
    assert_eq!(keeper.subscribe3("t", 2).await, 2);
    let mut publisher = rig.v3("publisher", false).await;
    publisher.send(&publish3("t", b"1", 2, 7, false)).await;
    assert_eq!(publisher.packet().await, [0x50, 2, 0, 7]);
    let (.., pkid) = keeper.message3().await;
    // PUBREC is sent, and on disk once PUBREL has come and something after it was acknowledged.
    let id = pkid.to_be_bytes();
    keeper.send(&[0x50, 2, id[0], id[1]]).await;
    assert_eq!(keeper.packet().await, [0x62, 2, id[0], id[1]]);
    assert_eq!(keeper.subscribe3("other", 0).await, 0);
    rig.kill().await;

    let rig = start(dir.path()).await;
    let mut publisher = rig.tcp().await;
    publisher.send(&connect3("publisher", false, None)).await;
    assert_eq!(publisher.packet().await, [0x20, 2, 1, 0]);
    // It does not know whether PUBREC was the broker's last word, and sends again.
    let mut again = publish3("t", b"1", 2, 7, false);
    again[0] |= 8;
    publisher.send(&again).await;
    assert_eq!(publisher.packet().await, [0x50, 2, 0, 7]);
    publisher.send(&[0x62, 2, 0, 7]).await;
    assert_eq!(publisher.packet().await, [0x70, 2, 0, 7]);
    let mut keeper = rig.tcp().await;
    keeper.send(&connect3("keeper", false, None)).await;
    assert_eq!(keeper.packet().await, [0x20, 2, 1, 0]);
    // PUBREL comes again, the message does not.
    assert_eq!(keeper.packet().await, [0x62, 2, id[0], id[1]]);
    keeper.send(&[0x70, 2, id[0], id[1]]).await;
    rig.handle.publish("t", "2", false);
    assert_eq!(keeper.message3().await.1, b"2");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_retained_message_and_an_ended_session_stay_away() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u16 {
        let rig = start(dir.path()).await;
        let mut client = rig.v3("c", round == 2).await;
        client.subscribe3("$share/g/t", 1).await;
        client.send(&publish3("r", if round == 1 { b"" } else { b"x" }, 1, 1, true)).await;
        while client.packet().await[0] != 0x40 {}
        if round == 2 {
            let status = rig.handle.status();
            assert_eq!((status.retained, status.clients.len()), (1, 1));
        } else {
            assert_eq!(rig.handle.status().retained, usize::from(round == 0));
        }
        rig.kill().await;
    }
    let rig = start(dir.path()).await;
    // The last session was clean: nothing of it is left.
    assert!(rig.handle.status().clients.is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_set_aside_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path()).await;
    let mut client = rig.v3("c", true).await;
    for n in 1..=100u16 {
        client.send(&publish3(&format!("r/{n}"), &[7; 100], 1, n, true)).await;
        client.packet().await;
    }
    rig.kill().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 1000 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let rig = start(dir.path()).await;
    assert_eq!(rig.lost("damaged"), 1);
    assert_eq!(rig.handle.status().retained, 99);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_stops_nobody_is_counted_and_is_used_again_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    // Where a file has to be made there is a folder.
    let obstacle = dir.path().join("state.new");
    std::fs::create_dir(&obstacle).unwrap();
    let rig = start(dir.path()).await;
    let mut client = rig.v3("c", true).await;
    client.send(&publish3("r/1", b"x", 1, 1, true)).await;
    assert_eq!(client.packet().await, [0x40, 2, 0, 1], "acknowledged all the same");
    assert!(rig.lost("not_durable") > 0, "and counted");
    std::fs::remove_dir(&obstacle).unwrap();
    client.send(&publish3("r/2", b"x", 1, 2, true)).await;
    assert_eq!(client.packet().await, [0x40, 2, 0, 2]);
    let snapshot = || {
        std::fs::read_dir(dir.path()).unwrap().any(|e| {
            e.unwrap().file_name().to_str().is_some_and(|n| n.starts_with("state.") && n != "state.new")
        })
    };
    wait_for("a snapshot", snapshot).await;
    rig.kill().await;
    let rig = start(dir.path()).await;
    assert_eq!(rig.handle.status().retained, 2);
    rig.stop().await;
}
