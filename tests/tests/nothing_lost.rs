//! Outages: the cloud is away, and the gateway dies by kill -9 in the middle. Every sample that the gateway
//! said was durable arrives exactly once; the oracle is outside both processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Drain;
use tests::field::{SensorCounts, numbered_device, numbered_sensor};
use tests::gateway::Setup;
use tests::oracle::Oracle;
use tests::{Cloud, Gateway, until};

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

    let base_us = common::Clock::system().now_us() - 60_000_000;
    let oracle = Oracle::new(POINTS, base_us);
    let counts = Arc::new(SensorCounts::default());
    let drain = Drain::new();
    #[allow(clippy::cast_precision_loss)]
    let value = |k: u64| k as f64;
    let sensor = tokio::spawn(numbered_sensor(
        gateway.broker,
        POINTS,
        2000,
        base_us,
        value,
        counts.clone(),
        drain.clone(),
    ));
    let mut watch = tokio::spawn({
        let (oracle, api) = (oracle.clone(), gateway.api());
        async move { oracle.watch(api).await }
    });
    let reach = |n: u64| {
        let oracle = oracle.clone();
        async move { until("durable samples", LIMIT, || async { (oracle.durable() >= n).then_some(()) }).await }
    };

    reach(2_000).await;
    cloud.process.kill();
    reach(6_000).await;
    gateway.process.kill();
    watch.await.expect("the watermark ended with the gateway");
    gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    watch = tokio::spawn({
        let (oracle, api) = (oracle.clone(), gateway.api());
        async move { oracle.watch(api).await }
    });
    reach(10_000).await;
    cloud = cloud.restart().await;
    reach(14_000).await;
    drain.start();
    sensor.await.expect("the sensor ends");
    assert!(counts.sent.load(Ordering::SeqCst) > 14_000);

    until("an empty buffer", LIMIT, || async {
        let buffer = gateway.health().await.buffer;
        (buffer.unacked_frames == 0 && buffer.durable_seq == buffer.last_seq).then_some(())
    })
    .await;
    let verdict = oracle.compare(cloud.api(), "hall/load", value).await;
    assert_eq!(
        (verdict.lost, verdict.doubled, verdict.changed, verdict.dropped),
        (0, 0, 0, 0),
        "{verdict:?}"
    );
    assert!(verdict.stored >= verdict.durable && verdict.durable >= 14_000, "{verdict:?}");

    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    watch.await.expect("the watermark ended with the gateway");
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
    let base_us = common::Clock::system().now_us() - 60_000_000;
    let oracle = Oracle::new(POINTS, base_us);
    let counts = Arc::new(SensorCounts::default());
    let drain = Drain::new();
    #[allow(clippy::cast_precision_loss)]
    let value = |k: u64| k as f64;
    let sensor = tokio::spawn(numbered_sensor(
        gateway.broker,
        POINTS,
        1000,
        base_us,
        value,
        counts.clone(),
        drain.clone(),
    ));
    let watch = tokio::spawn({
        let (oracle, api) = (oracle.clone(), gateway.api());
        async move { oracle.watch(api).await }
    });
    let reach = |n: u64| {
        let oracle = oracle.clone();
        async move { until("durable samples", LIMIT, || async { (oracle.durable() >= n).then_some(()) }).await }
    };
    let away = |resume: bool| {
        let server = Arc::clone(&server);
        async move {
            let work = move || if resume { server.resume() } else { server.kill() };
            tokio::task::spawn_blocking(work).await.expect("the server");
        }
    };
    reach(1_000).await;
    away(false).await;
    away(true).await;
    reach(2_000).await;
    away(false).await;
    reach(10_000).await;
    away(true).await;
    reach(12_000).await;
    away(false).await;
    cloud.process.kill();
    away(true).await;
    cloud = cloud.restart().await;
    reach(14_000).await;
    drain.start();
    sensor.await.expect("the sensor ends");
    until("an empty buffer", LIMIT, || async {
        let buffer = gateway.health().await.buffer;
        (buffer.unacked_frames == 0 && buffer.durable_seq == buffer.last_seq).then_some(())
    })
    .await;
    let verdict = oracle.compare(cloud.api(), "hall/load", value).await;
    assert_eq!(
        (verdict.lost, verdict.doubled, verdict.changed, verdict.dropped),
        (0, 0, 0, 0),
        "{verdict:?}"
    );
    assert!(verdict.stored >= verdict.durable && verdict.durable >= 14_000, "{verdict:?}");
    gateway.process.signal("TERM");
    watch.abort();
}
