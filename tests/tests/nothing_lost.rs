//! Outages: the cloud is away, and the gateway dies by kill -9 in the middle. Every sample that the gateway
//! said was durable arrives exactly once; the oracle is outside both processes.

use std::sync::Arc;
use std::time::Duration;

use tests::field::numbered_device;
use tests::gateway::Setup;
use tests::load::number;
use tests::{Cloud, Gateway, Load};

const POINTS: u64 = 20;
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_durable_sample_arrives_exactly_once_through_an_outage_and_kill_9() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup =
        Setup { uplink: Some((cloud.ingress, secret)), devices: numbered_device(POINTS), ..Setup::default() };
    let mut gateway = Gateway::start(&dir.path().join("box"), &setup).await;

    let mut load = Load::start(&gateway, POINTS, 2000, number);

    load.reach(2_000).await;
    cloud.process.kill();
    load.reach(6_000).await;
    gateway.process.kill();
    gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    load.follow(&gateway).await;
    load.reach(10_000).await;
    cloud = cloud.restart().await;
    load.reach(14_000).await;
    assert!(load.end().await > 14_000);

    gateway.emptied().await;
    let verdict = load.compare(cloud.api()).await;
    assert!(verdict.is_exact(), "{verdict:?}");
    assert!(verdict.stored >= verdict.durable && verdict.durable >= 14_000, "{verdict:?}");

    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    load.ended().await;
}

/// The cloud stores in PostgreSQL, whose server is killed again and again, once together with the cloud: longer than the cloud
/// waits for it, and shorter.
#[tokio::test(flavor = "multi_thread")]
async fn every_durable_sample_arrives_exactly_once_though_the_databases_server_is_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Arc::new(test_postgres::Server::start(&[]));
    let section = format!("[store]\npostgres = {:?}\n", server.url(&server.create()));
    let mut cloud = Cloud::start_with(&dir.path().join("cloud"), &section).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup =
        Setup { uplink: Some((cloud.ingress, secret)), devices: numbered_device(POINTS), ..Setup::default() };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let mut load = Load::start(&gateway, POINTS, 1000, number);
    let away = |resume: bool| {
        let server = Arc::clone(&server);
        async move {
            let work = move || if resume { server.resume() } else { server.kill() };
            tokio::task::spawn_blocking(work).await.expect("the server");
        }
    };
    load.reach(1_000).await;
    away(false).await;
    away(true).await;
    load.reach(2_000).await;
    away(false).await;
    load.reach(10_000).await;
    away(true).await;
    load.reach(12_000).await;
    away(false).await;
    cloud.process.kill();
    away(true).await;
    cloud = cloud.restart().await;
    load.reach(14_000).await;
    load.end().await;
    gateway.emptied().await;
    let verdict = load.compare(cloud.api()).await;
    assert!(verdict.is_exact(), "{verdict:?}");
    assert!(verdict.stored >= verdict.durable && verdict.durable >= 14_000, "{verdict:?}");
}
