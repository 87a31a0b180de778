//! What happens to a connection, and that values come again after it.

use std::time::Duration;

use common::{PointId, Quality, Value, ValueType};

use crate::rig::{Cable, Rig, Server};

const NODE: &str = "node = \"nsu=http://twinway.test/plant;s=Temp\"";

fn device(server: &Server, keys: &str) -> String {
    format!(
        "url = \"{}\"\nsecurity = \"none\"\npublishing_ms = 100\nsilence_ms = 2000\nreconnect_max_ms = 500\n{keys}",
        server.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_found_again_although_its_namespaces_moved() {
    let mut server = Server::start(&[]);
    let mut rig = Rig::new(&device(&server, ""), &[(ValueType::F64, NODE)]);
    rig.ends.value(0, 20.5).await;
    assert_eq!(rig.ends.event().await, "device.online");
    for shift in 1..=2 {
        let port = format!("port={}", server.port);
        server.kill();
        rig.ends.until("gone", |s| s.point == PointId(0) && s.quality == Quality::BAD_NOT_CONNECTED).await;
        assert_eq!(rig.ends.event().await, "device.offline");
        server = Server::start(&[&port, &format!("shift={shift}")]);
        let up = tokio::time::Instant::now();
        rig.ends.value(0, 20.5).await;
        assert!(up.elapsed() < Duration::from_secs(5), "{:?}", up.elapsed());
        assert_eq!(rig.ends.event().await, "device.online");
        // Not one value alone: the subscription lives.
        for n in 0..5 {
            server.say(&format!("set Temp {n}.0"));
            rig.ends.value(0, f64::from(n)).await;
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_noticed_and_taken_up_again() {
    let mut server = Server::start(&[]);
    let mut rig = Rig::new(&device(&server, "timeout_ms = 500"), &[(ValueType::F64, NODE)]);
    rig.ends.value(0, 20.5).await;
    server.begin("hang 8");
    rig.ends.until("silent", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    rig.ends.value(0, 20.5).await;
    server.say("set Temp 1.5");
    rig.ends.value(0, 1.5).await;
    rig.stop().await;
}

/// Every number of a counter is told, also those of the time in which the cable was out.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_without_a_cable_comes_from_the_servers_history() {
    missed_without_a_cable("lag 0").await;
}

/// And those that come while the history is told: the subscription is there before it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_history_is_told_is_not_missed() {
    missed_without_a_cable("lag 1").await;
}

async fn missed_without_a_cable(lag: &str) {
    let mut server = Server::start(&["history=1"]);
    let cable = Cable::new(server.port).await;
    let url = server.url().replace(&server.port.to_string(), &cable.port.to_string());
    let device = device(&server, "").replace(&server.url(), &url);
    let point = "node = \"ns=2;s=Count\", sampling_ms = 0, queue = 100, history = true";
    let mut rig = Rig::new(&device, &[(ValueType::U64, point)]);
    rig.ends.value(0, 0u64).await;
    server.say("count 50");
    rig.ends.value(0, 10u64).await;
    cable.cut();
    rig.ends.until("cut", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    let grown = async {
        while server.get("Count").parse::<u64>().unwrap() < 40 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), grown).await.unwrap();
    server.say(lag);
    cable.mend();
    let mut known = std::collections::BTreeSet::new();
    while known.last().is_none_or(|n| *n < 90) {
        if let Some(Value::U64(n)) = rig.ends.next().await.value {
            known.insert(n);
        }
    }
    let missing: Vec<u64> = (12..=90).filter(|n| !known.contains(n)).collect();
    assert_eq!(missing, [0; 0], "{known:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_later_is_found() {
    let first = Server::start(&[]);
    let (port, keys) = (format!("port={}", first.port), device(&first, ""));
    drop(first);
    let mut rig = Rig::new(&keys, &[(ValueType::F64, NODE)]);
    rig.ends.until("not there", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    let _server = Server::start(&[&port]);
    rig.ends.value(0, 20.5).await;
    rig.stop().await;
}
