//! `sensor_to_browser`: from a sensor's publish to a WebSocket client, the whole stack on this machine, the
//! durable path on, at 5,000 samples a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Drain;
use tests::field::{SensorCounts, numbered_device, numbered_sensor};
use tests::gateway::Setup;
use tests::live::{Item, Live};
use tests::{Cloud, Gateway};

use crate::figure::{Percentiles, print};

const POINTS: u64 = 100;
const RATE: u64 = 5_000;
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(30);

/// `sensor_to_browser_p50_ms`, `_p99_ms`, `_p999_ms`.
pub async fn sensor_to_browser() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup =
        Setup { uplink: Some((cloud.ingress, secret)), devices: numbered_device(POINTS), ..Setup::default() };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let base_us = common::Clock::system().now_us() - 60_000_000;
    let drain = Drain::new();
    // The value is the time of its making, in us since `began`: what the client shows tells its own age.
    let began = Instant::now();
    let value = move |_| began.elapsed().as_secs_f64() * 1e6;
    let counts = Arc::new(SensorCounts::default());
    let sensor =
        tokio::spawn(numbered_sensor(gateway.broker, POINTS, RATE, base_us, value, counts, drain.clone()));
    let mut live = Live::connect(cloud.api(), 50.0).await;
    let mut latencies = Vec::new();
    let (cpu_gateway, cpu_cloud) = (gateway.process.cpu_s(), cloud.process.cpu_s());
    while began.elapsed() < WARM_UP + MEASURE {
        let next = tokio::time::timeout(Duration::from_secs(5), live.next()).await.expect("live values");
        let Some(Item::Frame(frame)) = next else { continue };
        let now_us = began.elapsed().as_secs_f64() * 1e6;
        if began.elapsed() > WARM_UP {
            latencies
                .extend(frame.rows.iter().filter(|r| r.quality.is_good()).map(|r| (now_us - r.value) / 1e3));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = |process: &tests::process::Process, before: f64| (process.cpu_s() - before) / seconds * 100.0;
    let (cpu_gateway, cpu_cloud) = (cpu(&gateway.process, cpu_gateway), cpu(&cloud.process, cpu_cloud));
    drain.start();
    sensor.await.expect("the sensor ends");
    let p = Percentiles::of(latencies);
    let floor = loopback_round_trip().await;
    let beside = Some(("loopback TCP round trip, p50", floor));
    print("sensor_to_browser_p50_ms", p.at(50.0), "ms", "report", beside);
    print("sensor_to_browser_p99_ms", p.at(99.0), "ms", "<= 50", beside);
    print("sensor_to_browser_p999_ms", p.at(99.9), "ms", "report", beside);
    print("sensor_to_browser_rows", p.count() as f64, "rows shown", "report", None);
    print("gateway_5k_cpu_percent", cpu_gateway, "% of a core", "report", None);
    print("cloud_5k_cpu_percent", cpu_cloud, "% of a core", "report", None);
}

async fn loopback_round_trip() -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let _ = socket.set_nodelay(true);
        let mut byte = [0; 1];
        while socket.read_exact(&mut byte).await.is_ok() && socket.write_all(&byte).await.is_ok() {}
    });
    let mut socket = tokio::net::TcpStream::connect(addr).await.expect("a server");
    socket.set_nodelay(true).expect("an option");
    let mut trips = Vec::new();
    for _ in 0..1000 {
        let began = Instant::now();
        socket.write_all(&[1]).await.expect("sent");
        socket.read_exact(&mut [0; 1]).await.expect("received");
        trips.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Percentiles::of(trips).at(50.0)
}
