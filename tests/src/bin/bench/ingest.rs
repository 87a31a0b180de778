//! The cloud's durable ingest: 100 gateways that send batches of one second (1,000 points, ten times a second) over MQTT to
//! the real cloud process, each with the next as soon as it may, so that the cloud is always busy. Decoding, twins,
//! commits and compaction go on in it. A sample counts when it was acknowledged; how much waits for compaction at the end,
//! and what share of the time that took, stand beside it. The gateways are sockets of this process; it shares the machine with
//! the cloud.
//!
//! `--seconds 600` after the group's name for the long run; 30 without.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::names::metric;
use common::wire::{Body, Down, Frame, FrameHeader, Hello, Up, split_schema};
use common::{DeviceSchema, Incarnation, PointSchema, Sample, Schema, TenantId, TwinId, Value, ValueType};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use tests::Cloud;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::figure::{Beside, Percentiles, print, print_beside};
use crate::wire::plant::{CYCLES_PER_S, Plant, START_US};

const GATEWAYS: usize = 100;
const POINTS: usize = 1_000;
/// Batches that are made beforehand and sent in turn, at later times.
const TEMPLATES: usize = 4;
/// Cycles of each of a batch's frames.
const FRAMES: [usize; 3] = [4, 3, 3];
/// Frames of a gateway that may wait for their acknowledgement.
const WINDOW: u64 = 6;
const MAX_PACKET: usize = 1 << 20;
/// Places of sequence and time in a frame's bytes.
const SEQ_AT: usize = 35;
const CUT_AT: usize = 43;

/// What the gateways do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Wait,
    Send,
    End,
}

/// The figures of both databases.
pub async fn ingest(seconds: u64) {
    let length = Duration::from_secs(seconds);
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(dir.path()).await;
    measure("ingest_sqlite", ">= 1500000", cloud, dir.path(), length).await;
    let server =
        test_postgres::Server::start(&["shared_buffers=256MB", "max_wal_size=4GB", "wal_compression=off"]);
    let dir = tempfile::tempdir().expect("a folder");
    let section = format!("[store]\npostgres = {:?}\n", server.url(&server.create()));
    let cloud = Cloud::start_with(dir.path(), &section).await;
    measure("ingest_pg", ">= 500000", cloud, dir.path(), length).await;
}

async fn measure(name: &str, goal: &str, cloud: Cloud, dir: &Path, length: Duration) {
    let (go, phase) = watch::channel(Phase::Wait);
    let bytes = Arc::new(AtomicU64::new(0));
    let plans: Vec<_> = (0..GATEWAYS).map(Plan::new).collect();
    let mut running = Vec::new();
    for plan in plans {
        let secret = cloud.gateway_secret(&plan.id).await;
        let gateway = Gateway::agree(cloud.ingress, plan, &secret).await;
        running.push(tokio::spawn(gateway.run(phase.clone(), Arc::clone(&bytes))));
    }
    go.send_replace(Phase::Send);
    bytes.store(0, Ordering::Relaxed);
    let began = Instant::now();
    tokio::time::sleep(length).await;
    go.send_replace(Phase::End);
    let (mut samples, mut lags) = (0u64, Vec::new());
    for gateway in running {
        let (acked, some) = gateway.await.expect("a gateway");
        samples += acked;
        lags.extend(some);
    }
    let took = began.elapsed();
    let rss = cloud.process.rss_mb();
    let waiting = cloud.metric(metric::CLOUD_UNCOMPACTED.0).await;
    let compacting = cloud.metric(&format!("{}_sum", metric::CLOUD_COMPACT_SECONDS.0)).await;
    let bytes = bytes.load(Ordering::Relaxed);
    drop(cloud);
    let floor = floor(dir, bytes, samples);
    let lags = Percentiles::of(lags);
    let per_s = samples as f64 / took.as_secs_f64();
    let beside =
        [Beside::floor("the same bytes written and fdatasync'ed, a second of all gateways at a time", floor)];
    print_beside(&format!("{name}_per_s"), per_s, "samples/s", goal, &beside);
    print(&format!("{name}_ack_p50_ms"), lags.at(50.0), "ms", "report", None);
    print(&format!("{name}_ack_p99_ms"), lags.at(99.0), "ms", "<= 5000", None);
    print(&format!("{name}_uncompacted_at_end"), waiting, "frames", "report", None);
    let share = compacting / took.as_secs_f64() * 100.0;
    print(&format!("{name}_compact_percent"), share, "% of the time", "report", None);
    print(&format!("{name}_rss_mb"), rss, "MB", "report", None);
}

/// Samples a second, if nothing were done but writing what came.
fn floor(dir: &Path, bytes: u64, samples: u64) -> f64 {
    let a_second = (bytes * (GATEWAYS * POINTS * CYCLES_PER_S) as u64 / samples.max(1)).max(1);
    let block: Vec<u8> = (0..a_second).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect();
    let mut file = std::fs::File::create(dir.join("floor")).expect("a file");
    let began = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let take = left.min(a_second);
        file.write_all(&block[..take as usize]).expect("room on the disk");
        file.sync_data().expect("a disk");
        left -= take;
    }
    samples as f64 / began.elapsed().as_secs_f64()
}

/// What a gateway will send.
struct Plan {
    id: String,
    schema: Schema,
    incarnation: Incarnation,
    templates: Vec<Vec<Vec<u8>>>,
}

impl Plan {
    fn new(n: usize) -> Self {
        let id = format!("box{n}");
        let mut plant = Plant::new(POINTS, 1, n as u64 + 1);
        let schema = schema(&mut plant, &id);
        let hash = schema.hash();
        let incarnation = Incarnation(n as u128 + 1);
        let mut templates = Vec::new();
        let header = |cut_us| FrameHeader {
            schema: hash,
            incarnation,
            seq: 0,
            cut_us,
            cut_mono_us: 0,
            synchronised: true,
        };
        for second in 0..TEMPLATES {
            let cut_us = START_US + (second as i64 + 1) * 1_000_000;
            let frame = |cycles: usize| {
                let rows: Vec<Sample> = (0..cycles).flat_map(|_| plant.cycle().concat()).collect();
                let frame = Frame { header: header(cut_us), body: Body::Samples(rows) };
                Up::encode_frame(&frame.encode())
            };
            templates.push(FRAMES.map(frame).into());
        }
        Self { id, schema, incarnation, templates }
    }
}

/// A gateway as the cloud sees one.
struct Gateway {
    tcp: TcpStream,
    buffer: BytesMut,
    up: String,
    templates: Vec<Vec<Vec<u8>>>,
    first_cut_us: i64,
}

impl Gateway {
    async fn agree(ingress: SocketAddr, plan: Plan, secret: &str) -> Self {
        let Plan { id, schema, incarnation, templates } = plan;
        let hash = schema.hash();
        let tcp = TcpStream::connect(ingress).await.expect("the ingress");
        tcp.set_nodelay(true).expect("a socket");
        let up = format!("twinway/v1/default/{id}/up");
        let mut gateway = Self { tcp, buffer: BytesMut::new(), up, templates, first_cut_us: START_US };
        let mut connect = Connect::new("bench");
        connect.set_login(format!("default/{id}"), secret);
        gateway.send(Packet::Connect(connect)).await;
        gateway.receive().await;
        let mut subscribe = Subscribe::new(format!("twinway/v1/default/{id}/down"), QoS::AtLeastOnce);
        subscribe.pkid = 9;
        gateway.send(Packet::Subscribe(subscribe)).await;
        let hello = Hello {
            tenant: TenantId::default(),
            gateway: id.parse().expect("a name"),
            version: "bench".into(),
            incarnation,
            streams: vec![],
            schema: hash,
            schemas: vec![hash],
            session_us: 0,
            remote: false,
            features: vec![],
            heartbeat_ms: None,
            identity: None,
        };
        gateway.say(Up::Hello(Box::new(hello)).encode()).await;
        while !matches!(gateway.down().await, Some(Down::HelloAck(_))) {}
        for part in split_schema(hash, &schema.to_json()) {
            gateway.say(Up::Schema(part).encode()).await;
            while !matches!(gateway.receive().await, Packet::PubAck(_)) {}
        }
        gateway
    }

    /// Sends a second of samples each second until all others have signed in, since a session that says nothing is ended; then as
    /// much as it may, until told to end. Gives what was sent and acknowledged in that time: samples, and times to the
    /// acknowledgement, ms.
    async fn run(mut self, mut phase: watch::Receiver<Phase>, bytes: Arc<AtomicU64>) -> (u64, Vec<f64>) {
        let (mut seq, mut acked, mut samples, mut second) = (0u64, 0u64, 0u64, 0usize);
        let mut sent: Vec<Instant> = Vec::new();
        let mut lags = Vec::new();
        let mut sends = false;
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Send && !sends {
                (sends, samples) = (true, 0);
                lags.clear();
            }
            if now == Phase::Wait && seq == acked && seq > 0 {
                let _ = tokio::time::timeout(Duration::from_secs(1), phase.changed()).await;
            }
            let window = if now == Phase::Wait { 1 } else { WINDOW };
            while seq - acked < window && now != Phase::End {
                let mut templates = std::mem::take(&mut self.templates);
                let cut_us = self.first_cut_us + (second as i64 + 1) * 1_000_000;
                for (frame, cycles) in templates[second % TEMPLATES].iter_mut().zip(FRAMES) {
                    seq += 1;
                    // Before the frame stand two bytes of the message.
                    frame[2 + SEQ_AT..2 + SEQ_AT + 8].copy_from_slice(&seq.to_le_bytes());
                    frame[2 + CUT_AT..2 + CUT_AT + 8].copy_from_slice(&cut_us.to_le_bytes());
                    bytes.fetch_add(frame.len() as u64 - 2, Ordering::Relaxed);
                    samples += (cycles * POINTS) as u64;
                    sent.push(Instant::now());
                    self.publish(frame, (seq % 60_000) as u16 + 1).await;
                }
                second += 1;
                self.templates = templates;
            }
            if acked == seq {
                return (samples, lags);
            }
            if let Some(Down::Ack(ack)) = self.down().await {
                let last = ack.acked.iter().filter_map(|k| k.seqs.last()).max().unwrap_or(0);
                for n in acked..last.max(acked) {
                    lags.push(sent[n as usize].elapsed().as_secs_f64() * 1e3);
                }
                acked = last.max(acked);
            }
        }
    }

    async fn say(&mut self, message: Vec<u8>) {
        self.publish(&message, 1).await;
    }

    async fn publish(&mut self, message: &[u8], pkid: u16) {
        let mut publish = Publish::new(self.up.clone(), QoS::AtLeastOnce, message);
        publish.pkid = pkid;
        self.send(Packet::Publish(publish)).await;
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, MAX_PACKET).expect("a packet");
        self.tcp.write_all(&out).await.expect("the ingress takes it");
    }

    async fn receive(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.buffer, MAX_PACKET) {
                Ok(packet) => return packet,
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(e) => panic!("the ingress sent {e}"),
            }
            let n = self.tcp.read_buf(&mut self.buffer).await.expect("the ingress talks");
            assert!(n > 0, "the ingress closed the session");
        }
    }

    /// The next packet, if it is a message.
    async fn down(&mut self) -> Option<Down> {
        match self.receive().await {
            Packet::Publish(publish) => match Down::decode(&publish.payload).expect("a message") {
                Down::Refusal(refusal) => panic!("refused: {}", refusal.detail),
                down => Some(down),
            },
            _ => None,
        }
    }
}

fn schema(plant: &mut Plant, id: &str) -> Schema {
    let samples = plant.cycle().concat();
    let kind = |v: &Option<Value>| v.as_ref().map_or(ValueType::F64, Value::value_type);
    let point = |n: usize| PointSchema::new(format!("p{n}"), kind(&samples[n].value));
    let (tenant, gateway) = (TenantId::default(), id.parse().expect("a name"));
    let device = DeviceSchema {
        name: "d".into(),
        twin: TwinId::derived(&tenant, &gateway, "d"),
        asset: format!("plant/area/line/{id}"),
        description: String::new(),
        first_point: 0,
        points: (0..POINTS).map(point).collect(),
    };
    Schema { tenant, gateway, devices: vec![device] }
}
