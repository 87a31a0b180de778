//! What happens to a connection, and that values come again after it.

use std::time::{Duration, Instant};

use common::{PointId, Quality, ValueType};

use crate::rig::{Rig, Server};

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
        let up = Instant::now();
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
