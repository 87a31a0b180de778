//! Waveforms through the real programs: a publisher of others sends blocks, the link is cut in the middle of one, and the
//! cloud gives each value once, as it was measured.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::api::{WaveformBlock, WaveformList};
use reqwest::Method;
use tests::faults::link::{Link, Shape};
use tests::gateway::Setup;
use tests::process::program;
use tests::{Cloud, Gateway, until};

const LIMIT: Duration = Duration::from_secs(90);
const DEVICE: &str = r#"
[[device]]
name = "rig"
asset = "plant/hall/rig"
[device.mqtt]
[[device.point]]
name = "current"
type = "f64"
unit = "A"
mqtt = { topic = "rig/current", pointer = "/a", timestamp = "/t", timestamp_unit = "us", rate_hz = 1000 }
[[device.point]]
name = "vibration"
type = "f64"
unit = "m/s2"
scale = 0.25
offset = -2.0
mqtt = { topic = "rig/vibration", type = "i16", order = "dcba", rate_hz = 25600 }
"#;
/// Three frames.
const WIDE: usize = 60_000;

/// Publishes with Mosquitto's client, which has the broker's acknowledgement when it ends.
fn publish(broker: SocketAddr, topic: &str, payload: &[u8]) {
    let mut client = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-q", "1", "-t", topic, "-s"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub is installed (make setup)");
    client.stdin.take().expect("its input").write_all(payload).expect("written");
    assert!(client.wait().expect("it ends").success());
}

/// None while the cloud does not know the twin yet.
async fn list(cloud: &Cloud, point: &str) -> Option<WaveformList> {
    cloud.api().try_get(&format!("/api/v1/twins/hall%2Frig/points/{point}/waveforms?from=-2d")).await
}

/// The only block of a point, when all of it is stored.
async fn only_block(cloud: &Cloud, point: &str, query: &str) -> WaveformBlock {
    let at = until("the whole block in the cloud", LIMIT, || async {
        let list = list(cloud, point).await?;
        assert!(list.items.len() <= 1, "{list:?}");
        list.items.first().filter(|w| w.stored == w.total).map(|w| w.t0_us)
    })
    .await;
    cloud.api().get(&format!("/api/v1/twins/hall%2Frig/points/{point}/waveforms/{at}?{query}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_of_a_block_is_in_the_cloud_once_also_over_a_cut_link() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cloud = Cloud::start(&dir.path().join("cloud")).await;
    let link = Link::start(cloud.ingress).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup = Setup { uplink: Some((link.addr, secret)), devices: DEVICE.to_owned(), ..Setup::default() };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;

    let t0 = common::Clock::system().now_us() - 5_000_000;
    let current: Vec<f64> = (0..500).map(|n| (f64::from(n) * 0.1).sin() * 12.5).collect();
    publish(
        gateway.broker,
        "rig/current",
        serde_json::json!({ "t": t0, "a": current }).to_string().as_bytes(),
    );
    let block = only_block(&cloud, "current", "").await;
    assert_eq!((block.t0_us, block.rate_hz, &*block.value_type, &*block.unit), (t0, 1000.0, "f64", "A"));
    assert_eq!(block.values, current.iter().copied().map(Some).collect::<Vec<_>>());
    // The point's own value is the block's root mean square.
    let rms = (current.iter().map(|x| x * x).sum::<f64>() / 500.0).sqrt();
    let shown =
        until("the twin", LIMIT, || async { cloud.api().value("hall/rig", "current").await?.as_f64() }).await;
    assert!((shown - rms).abs() < 1e-9, "{shown} is not {rms}");

    // Offline: all of it waits in the buffer. Then a thin link that breaks on the way.
    link.shape(Shape { closed: true, ..Shape::default() });
    let raw: Vec<i16> = (0..WIDE).map(|n| ((n * n / 7) % 30_011) as i16 - 15_000).collect();
    let payload: Vec<u8> = raw.iter().flat_map(|n| n.to_le_bytes()).collect();
    publish(gateway.broker, "rig/vibration", &payload);
    until("the parts in the buffer", LIMIT, || async {
        (gateway.health().await.buffer.unacked_frames >= 3).then_some(())
    })
    .await;
    assert!(list(&cloud, "vibration").await.is_some_and(|list| list.items.is_empty()));
    link.shape(Shape { bytes_per_s: Some(100_000), ..Shape::default() });
    until("a part in the cloud", LIMIT, || async {
        list(&cloud, "vibration").await?.items.first().filter(|w| w.stored < w.total).map(drop)
    })
    .await;
    link.reset();
    link.heal();
    let block = only_block(&cloud, "vibration", "").await;
    let expected: Vec<f64> = raw.iter().map(|n| f64::from(*n) * 0.25 - 2.0).collect();
    assert_eq!((block.total, &*block.value_type), (WIDE as u64, "i16"));
    assert!(block.values.iter().zip(&expected).all(|(got, sent)| *got == Some(*sent)));
    gateway.emptied().await;

    // The same after a restart, as extremes, as bytes and through the command line.
    cloud.process.signal("TERM");
    cloud.process.wait(LIMIT).await;
    cloud = cloud.restart().await;
    let rows = only_block(&cloud, "vibration", "max_points=100").await;
    assert_eq!((rows.step, rows.values.len(), rows.min.len()), (600, 0, 100));
    for (n, row) in expected.chunks(600).enumerate() {
        assert_eq!(rows.min[n], row.iter().copied().reduce(f64::min));
        assert_eq!(rows.max[n], row.iter().copied().reduce(f64::max));
    }
    let path = format!("/api/v1/twins/hall%2Frig/points/vibration/waveforms/{}", rows.t0_us);
    let bytes =
        cloud.api().request(Method::GET, &format!("{path}?format=binary")).send().await.expect("an answer");
    let bytes = bytes.bytes().await.expect("bytes");
    let doubles: Vec<f64> =
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight"))).collect();
    assert_eq!(doubles, expected);
    let twinway = Command::new(program("twinway"))
        .args([
            "history",
            "waveform",
            "hall/rig:vibration",
            "--format",
            "csv",
            "--at",
            &rows.t0_us.to_string(),
        ])
        .env("TWINWAY_URL", cloud.api().base())
        .env("TWINWAY_TOKEN", cloud.api().token().expect("signed in"))
        .output()
        .expect("the command line runs");
    let text = String::from_utf8(twinway.stdout).expect("text");
    let told: Vec<f64> = text
        .lines()
        .skip(1)
        .map(|l| l.split_once(',').expect("two columns").1.parse().expect("a number"))
        .collect();
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&twinway.stderr));
}
