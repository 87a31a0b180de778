//! A real gateway at a cloud that offers nothing beyond the first version: what goes up is what such a cloud's decoder
//! takes, and all of it is in the history.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::api::{BufferDropRequest, BufferDropped, GapReason};
use common::wire::{Body, Down, Frame, GapCause, HelloAck, Up};
use tests::faults::packet;
use tests::field::numbered_device;
use tests::gateway::Setup;
use tests::load::number;
use tests::relay::{self, Direction};
use tests::{Cloud, Gateway, Load, until};
use tokio::sync::watch;

const POINTS: u64 = 10;
const LIMIT: Duration = Duration::from_secs(60);
const WAVEFORM: &str = "[[device.point]]\nname = \"wave\"\ntype = \"f64\"\n\
    mqtt = { topic = \"load/wave\", pointer = \"/a\", timestamp = \"/t\", timestamp_unit = \"us\", rate_hz = 1000 }\n";

/// Between them: of the cloud's answer to a hello only what the first version had comes through.
struct First {
    open: watch::Sender<bool>,
    seen: Mutex<Seen>,
}

/// What went up.
#[derive(Debug, Default)]
struct Seen {
    hellos: u64,
    frames: u64,
    samples: u64,
    gaps: Vec<(GapCause, u64)>,
}

impl First {
    async fn start(self: &Arc<Self>, to: SocketAddr) -> SocketAddr {
        let link = self.clone();
        relay::listen(to, move |up, down| {
            let link = link.clone();
            async move { link.carry(up, down).await }
        })
        .await
    }

    /// Ends with either side, or when it is closed.
    async fn carry(&self, up: Direction, down: Direction) {
        let mut open = self.open.subscribe();
        tokio::select! {
            biased;
            _ = open.wait_for(|open| !open) => {}
            () = relay::packets(up, |packet| self.up(packet)) => {}
            () = relay::packets(down, older) => {}
        }
    }

    /// As a decoder of the first version reads it.
    fn up(&self, packet: Vec<u8>) -> Vec<u8> {
        let Some((_, payload)) = packet::publish(&packet) else { return packet };
        let kind = payload.get(1).copied();
        assert!(payload[0] == 1 && matches!(kind, Some(1..=6)), "a message of kind {kind:?}");
        let mut seen = self.seen.lock().expect("no panic holds it");
        seen.hellos += u64::from(kind == Some(1));
        if let Ok(Up::Frame(bytes)) = Up::decode(payload) {
            let (version, kind, flags) = (bytes[0], bytes[1], bytes[2]);
            assert!(version == 1 && matches!(kind, 1 | 3..=7) && flags & !3 == 0, "{version} {kind} {flags}");
            let frame = Frame::decode(&bytes).expect("a frame");
            seen.frames += 1;
            seen.samples += frame.body.sample_count() as u64;
            if let Body::Gap(gap) = frame.body {
                let known = [GapCause::Quota, GapCause::DiskFull, GapCause::Overrun, GapCause::Damaged];
                assert!(known.contains(&gap.cause), "{gap:?}");
                seen.gaps.push((gap.cause, gap.samples));
            }
        }
        drop(seen);
        packet
    }
}

/// The cloud's answer to a hello, as the first version gave it.
fn older(packet: Vec<u8>) -> Vec<u8> {
    let Some((_, payload)) = packet::publish(&packet) else { return packet };
    let Ok(Down::HelloAck(ack)) = Down::decode(payload) else { return packet };
    let HelloAck { session, known, want_schemas, .. } = ack;
    let ack = HelloAck { session, known, want_schemas, ..HelloAck::default() };
    packet::replaced(&packet, &Down::HelloAck(ack).encode())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_of_the_first_version_gets_all_in_that() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let link = Arc::new(First { open: watch::Sender::new(false), seen: Mutex::default() });
    let through = link.start(cloud.ingress).await;
    let devices = numbered_device(POINTS) + WAVEFORM;
    let setup = Setup { uplink: Some((through, secret)), devices, ..Setup::default() };
    let mut gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let mut load = Load::start(&gateway, POINTS, 1000, number);

    // In the buffer: samples, a gap of a cause that the first version did not have, a block of a waveform, more samples.
    load.reach(500).await;
    let (from_us, reason) = (0, "test".to_owned());
    let request = BufferDropRequest { from_us, to_us: common::Clock::system().now_us(), reason };
    let answer = gateway.api().request(reqwest::Method::POST, "/api/v1/buffer/drop").json(&request);
    let answer = answer.send().await.expect("an answer").error_for_status().expect("dropped");
    let dropped: BufferDropped = answer.json().await.expect("what was dropped");
    assert!(dropped.samples >= 500, "{dropped:?}");
    let block = serde_json::json!({ "t": request.to_us, "a": vec![1.5; 200] }).to_string();
    let publish = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &gateway.broker.port().to_string()])
        .args(["-q", "1", "-t", "load/wave", "-m", &block])
        .status();
    assert!(publish.expect("mosquitto_pub is installed (make setup)").success());
    load.more(2_000).await;
    link.open.send_replace(true);
    until("an empty buffer", LIMIT, || async {
        let health = gateway.health().await;
        (health.uplink && health.buffer.unacked_frames < 10).then_some(())
    })
    .await;
    // Live frames, another cut, and what came meanwhile.
    load.more(2_000).await;
    link.open.send_replace(false);
    load.more(1_000).await;
    link.open.send_replace(true);
    load.more(1_000).await;
    load.end().await;
    gateway.emptied().await;

    let verdict = load.compare(cloud.api()).await;
    assert_eq!((verdict.lost, verdict.doubled, verdict.changed), (dropped.samples, 0, 0), "{verdict:?}");
    let seen = std::mem::take(&mut *link.seen.lock().expect("no panic holds it"));
    assert!(seen.hellos >= 2 && seen.samples >= verdict.stored, "{seen:?}");
    let told = |cause| seen.gaps.iter().filter(|g| g.0 == cause).map(|g| g.1).sum::<u64>();
    assert_eq!((told(GapCause::Quota), told(GapCause::Damaged)), (dropped.samples, 200), "{seen:?}");
    let history = cloud.api().history("hall/load", "p0", "from=-10m&max_points=10").await;
    assert!(history.gaps.iter().any(|g| g.cause == GapReason::Quota), "{:?}", history.gaps);
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    load.ended().await;
}
