//! A gateway as the cloud's ingress sees one: it signs in, sends a schema and then batches that were made beforehand, at
//! later times, either as fast as they are taken or as they are due.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::wire::{Body, Down, Frame, FrameHeader, Hello, Up, split_schema};
use common::{DeviceSchema, Incarnation, PointSchema, Sample, Schema, TenantId, TwinId, Value, ValueType};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::wire::plant::{CYCLES_PER_S, Plant, START_US};

pub const POINTS: usize = 1_000;
/// Samples of a batch: a second of a gateway's.
pub const BATCH: usize = POINTS * CYCLES_PER_S;
/// Batches that are made beforehand and sent in turn, at later times.
const TEMPLATES: usize = 4;
/// Cycles of each of a batch's frames.
const FRAMES: [usize; 3] = [4, 3, 3];
/// Frames of a gateway that may wait for their acknowledgement when it sends all that is taken.
const WINDOW: u64 = 6;
const MAX_PACKET: usize = 1 << 20;
/// Places of sequence and time in a frame's bytes.
const SEQ_AT: usize = 35;
const CUT_AT: usize = 43;

/// What the gateways do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// One batch a second, for all others sign in and a session that says nothing is ended.
    Wait,
    /// The next batch as soon as few enough wait.
    Saturate,
    /// A batch every `period`, each gateway at its own time of it.
    Pace { begin: Instant, period: Duration },
    /// No more; what was sent is acknowledged.
    End,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => f.write_str("one batch a second"),
            Self::Saturate => f.write_str("as much as is taken"),
            Self::Pace { period, .. } => write!(f, "a batch every {:.3} s", period.as_secs_f64()),
            Self::End => f.write_str("no more"),
        }
    }
}

/// What all gateways add to.
#[derive(Debug, Default)]
pub struct Counts {
    pub samples: AtomicU64,
    pub bytes: AtomicU64,
    /// From the moment a batch was due to the acknowledgement, of each frame, ms.
    pub lags: Mutex<Vec<f64>>,
}

impl Counts {
    fn acked(&self, frame: &Sent) {
        self.samples.fetch_add(frame.samples, Ordering::Relaxed);
        self.bytes.fetch_add(frame.bytes, Ordering::Relaxed);
        let lag = frame.due.elapsed().as_secs_f64() * 1e3;
        self.lags.lock().expect("no panic holds it").push(lag);
    }

    /// Samples, bytes and lags since the last time.
    pub fn take(&self) -> (u64, u64, Vec<f64>) {
        let lags = std::mem::take(&mut *self.lags.lock().expect("no panic holds it"));
        (self.samples.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed), lags)
    }
}

struct Sent {
    due: Instant,
    samples: u64,
    bytes: u64,
}

/// What a gateway will send.
pub struct Plan {
    pub id: String,
    schema: Schema,
    incarnation: Incarnation,
    templates: Vec<Vec<Vec<u8>>>,
}

impl Plan {
    pub fn new(n: usize) -> Self {
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

/// A gateway with its session.
pub struct Gateway {
    tcp: TcpStream,
    buffer: BytesMut,
    up: String,
    templates: Vec<Vec<Vec<u8>>>,
    /// Its place among the others, 0 to 1.
    place: f64,
    /// Frames and batches sent so far, and frames acknowledged.
    seq: u64,
    batches: u64,
    acked: u64,
    sent: Vec<Sent>,
}

impl Gateway {
    pub async fn agree(ingress: SocketAddr, plan: Plan, secret: &str, place: f64) -> Self {
        let Plan { id, schema, incarnation, templates } = plan;
        let hash = schema.hash();
        let tcp = TcpStream::connect(ingress).await.expect("the ingress");
        tcp.set_nodelay(true).expect("a socket");
        let up = format!("twinway/v1/default/{id}/up");
        let (buffer, sent) = (BytesMut::new(), Vec::new());
        let mut gateway = Self { tcp, buffer, up, templates, place, seq: 0, batches: 0, acked: 0, sent };
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

    /// Does as it is told until the end; how many batches it sent in all, each of which is acknowledged then.
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>, counts: Arc<Counts>) -> u64 {
        let mut paced = None;
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Wait if self.seq == self.acked => {
                    self.batch(Instant::now()).await;
                    let _ = tokio::time::timeout(Duration::from_secs(1), phase.changed()).await;
                }
                Phase::Saturate => {
                    while self.seq - self.acked < WINDOW {
                        self.batch(Instant::now()).await;
                    }
                }
                Phase::Pace { begin, period } => {
                    let (of, mut next) = paced.take().unwrap_or((begin, begin));
                    if of != begin || next == begin {
                        next = begin + period.mul_f64(self.place);
                    }
                    while next <= Instant::now() {
                        self.batch(next).await;
                        next += period;
                    }
                    paced = Some((begin, next));
                    tokio::select! {
                        () = tokio::time::sleep_until(next.into()) => {}
                        down = self.down() => self.hear(down, &counts),
                        _ = phase.changed() => {}
                    }
                    continue;
                }
                Phase::End if self.seq == self.acked => return self.batches,
                Phase::Wait | Phase::End => {}
            }
            if self.seq > self.acked {
                let down = self.down().await;
                self.hear(down, &counts);
            }
        }
    }

    fn hear(&mut self, down: Option<Down>, counts: &Counts) {
        let Some(Down::Ack(ack)) = down else { return };
        let last = ack.acked.iter().filter_map(|k| k.seqs.last()).max().unwrap_or(0);
        for n in self.acked..last.max(self.acked) {
            counts.acked(&self.sent[n as usize]);
        }
        self.acked = last.max(self.acked);
    }

    /// Sends a batch that was due then.
    async fn batch(&mut self, due: Instant) {
        let mut templates = std::mem::take(&mut self.templates);
        let cut_us = START_US + (self.batches as i64 + 1) * 1_000_000;
        let at = (self.batches % TEMPLATES as u64) as usize;
        for (frame, cycles) in templates[at].iter_mut().zip(FRAMES) {
            self.seq += 1;
            // Before the frame stand two bytes of the message.
            frame[2 + SEQ_AT..2 + SEQ_AT + 8].copy_from_slice(&self.seq.to_le_bytes());
            frame[2 + CUT_AT..2 + CUT_AT + 8].copy_from_slice(&cut_us.to_le_bytes());
            let bytes = frame.len() as u64 - 2;
            self.sent.push(Sent { due, samples: (cycles * POINTS) as u64, bytes });
            self.publish(frame, (self.seq % 60_000) as u16 + 1).await;
        }
        self.batches += 1;
        self.templates = templates;
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
