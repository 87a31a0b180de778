//! `outage`: the cloud is killed for 60 s at 10,000 samples a second. The oracle, outside both processes, compares
//! what the gateway said was durable with what the cloud holds afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::Drain;
use tests::field::{SensorCounts, numbered_device, numbered_sensor};
use tests::gateway::Setup;
use tests::oracle::Oracle;
use tests::{Cloud, Gateway, until};

use crate::figure::print;

const POINTS: u64 = 100;
const RATE: u64 = 10_000;
const OUTAGE: Duration = Duration::from_secs(60);

/// `outage_lost`, `outage_doubled`, `reconnect_current_s`, and how long the backlog took.
pub async fn outage() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup =
        Setup { uplink: Some((cloud.ingress, secret)), devices: numbered_device(POINTS), ..Setup::default() };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let base_us = common::Clock::system().now_us() - 60_000_000;
    let oracle = Oracle::new(POINTS, base_us);
    let (counts, drain) = (Arc::new(SensorCounts::default()), Drain::new());
    let value = |k: u64| k as f64;
    let sensor = tokio::spawn(numbered_sensor(
        gateway.broker,
        POINTS,
        RATE,
        base_us,
        value,
        counts.clone(),
        drain.clone(),
    ));
    let watch = tokio::spawn({
        let (oracle, api) = (oracle.clone(), gateway.api());
        async move { oracle.watch(api).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    cloud.process.kill();
    eprintln!("outage: the cloud is down for {OUTAGE:?}");
    tokio::time::sleep(OUTAGE).await;
    cloud = cloud.restart().await;
    let back = Instant::now();
    until("a session", Duration::from_secs(60), || async { gateway.health().await.uplink.then_some(()) })
        .await;
    let connected = back.elapsed().as_secs_f64();
    // Current: the twin shows a number that was sent at most 100 ms before the reconnect.
    let at_reconnect = counts.sent.load(Ordering::SeqCst) - RATE / 10;
    until("a current twin", Duration::from_secs(60), || async {
        let shown = cloud.api().value("hall/load", "p0").await?.as_f64()?;
        (shown >= at_reconnect as f64).then_some(())
    })
    .await;
    let current = back.elapsed().as_secs_f64();
    until("an empty backlog", Duration::from_secs(300), || async {
        (gateway.health().await.buffer.unacked_frames < 200).then_some(())
    })
    .await;
    let drained = back.elapsed().as_secs_f64();
    drain.start();
    sensor.await.expect("the sensor ends");
    until("an empty buffer", Duration::from_secs(60), || async {
        let buffer = gateway.health().await.buffer;
        (buffer.unacked_frames == 0 && buffer.durable_seq == buffer.last_seq).then_some(())
    })
    .await;
    let verdict = oracle.compare(cloud.api(), "hall/load", value).await;
    watch.abort();
    assert_eq!(verdict.changed, 0, "{verdict:?}");
    let sent = counts.sent.load(Ordering::SeqCst) as f64;
    let beside = Some(("samples that the gateway said were durable", verdict.durable as f64));
    print("outage_lost", verdict.lost as f64, "samples", "0", beside);
    print("outage_dropped", verdict.dropped as f64, "samples between durable ones", "0", beside);
    print("outage_doubled", verdict.doubled as f64, "samples", "0", beside);
    print("outage_sent", sent, "samples", "report", None);
    print("reconnect_current_s", current - connected, "s", "<= 1", None);
    print("return_current_s", current, "s after the cloud is back", "report", None);
    print("outage_backlog_s", drained, "s", "report", None);
}
