//! `outage`: the cloud is killed for 60 s at 10,000 samples a second. The oracle, outside both processes, compares
//! what the gateway said was durable with what the cloud holds afterwards.

use std::time::{Duration, Instant};

use tests::field::numbered_device;
use tests::gateway::Setup;
use tests::load::number;
use tests::{Cloud, Gateway, Load, until};

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
    let mut load = Load::start(&gateway, POINTS, RATE, number);
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
    let at_reconnect = load.sent() - RATE / 10;
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
    let sent = load.end().await as f64;
    gateway.emptied().await;
    let verdict = load.compare(cloud.api()).await;
    assert_eq!(verdict.changed, 0, "{verdict:?}");
    let beside = Some(("samples that the gateway said were durable", verdict.durable as f64));
    print("outage_lost", verdict.lost as f64, "samples", "0", beside);
    print("outage_dropped", verdict.dropped as f64, "samples between durable ones", "0", beside);
    print("outage_doubled", verdict.doubled as f64, "samples", "0", beside);
    print("outage_sent", sent, "samples", "report", None);
    print("reconnect_current_s", current - connected, "s", "<= 1", None);
    print("return_current_s", current, "s after the cloud is back", "report", None);
    print("outage_backlog_s", drained, "s", "report", None);
}
