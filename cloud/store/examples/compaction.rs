//! What compaction costs: `cargo run --release -p cloud-store --example compaction -- [folder] [rows] [rounds]`. Gateways of 1,000
//! points that are read together, `rows` samples of each point in a round; until the chunks have been merged and sealed.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap
)]

use std::sync::Arc;

use cloud_core::storage::FrameStorage;
use cloud_core::{GatewayKey, NewFrame};
use cloud_store::{Options, Store};
use common::wire::{Body, Frame, FrameHeader};
use common::{Clock, DeviceSchema, Incarnation, PointId, PointSchema, Quality, Sample, Schema, TwinId, Value, ValueType};
use tokio::time::Instant;

const T0: i64 = 1_795_046_400_000_000;
const POINTS: usize = 1_000;
const GATEWAYS: usize = 10;
const CYCLES: usize = 4;

struct Feed {
    key: Arc<GatewayKey>,
    rank: u64,
    schema: Arc<Schema>,
    seq: u64,
    noise: u64,
    levels: Vec<f64>,
}

impl Feed {
    async fn start(storage: &Store, n: usize) -> Self {
        let kind = |p: usize| if p % 20 < 14 { ValueType::F64 } else { ValueType::U64 };
        let device = DeviceSchema {
            name: "d".into(),
            twin: TwinId(uuid::Uuid::from_u128(n as u128 + 1)),
            asset: format!("plant/area/line/d{n}"),
            description: String::new(),
            first_point: 0,
            points: (0..POINTS).map(|p| PointSchema::new(format!("p{p}"), kind(p))).collect(),
        };
        let gateway = format!("g{n}").parse().unwrap();
        let schema = Schema { tenant: Default::default(), gateway, devices: vec![device] };
        let key = GatewayKey { tenant: schema.tenant.clone(), gateway: schema.gateway.clone() };
        let rank = storage.hello(&key, &[Incarnation(n as u128 + 1)]).await.unwrap()[0].rank;
        storage.put_schema(&key, &schema, rank, T0).await.unwrap();
        let levels = (0..POINTS).map(|p| 8_000.0 + p as f64 * 37.0).collect();
        Self { key: Arc::new(key), rank, schema: Arc::new(schema), seq: 0, noise: n as u64 + 1, levels }
    }

    fn next(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise
    }

    fn frame(&mut self) -> NewFrame {
        self.seq += 1;
        let mut rows = Vec::with_capacity(CYCLES * POINTS);
        for cycle in 0..CYCLES {
            let n = (self.seq as usize - 1) * CYCLES + cycle;
            let t = T0 + n as i64 * 100_000;
            for p in 0..POINTS {
                // About a normal distribution of 4 steps.
                let noise = (0..4).map(|_| (self.next() % 1000) as f64 / 1000.0 - 0.5).sum::<f64>() * 7.0;
                self.levels[p] += noise * 0.02;
                let raw = (self.levels[p] + noise).round();
                let value = match p % 20 {
                    at if at < 14 => {
                        let (factor, offset) = [(0.01, 0.0), (100.0 / 27_648.0, 0.0), (0.0125, -40.0)][p / 100 % 3];
                        Value::F64(raw.mul_add(factor, offset))
                    }
                    at if at < 17 => Value::U64(n as u64 * 7 + self.next() % 2),
                    _ => Value::U64(n as u64 / 100 % 4),
                };
                rows.push(Sample {
                    point: PointId(p as u32),
                    value: Some(value),
                    quality: Quality::GOOD,
                    source_us: t,
                    received_us: t,
                });
            }
        }
        let header = FrameHeader {
            schema: self.schema.hash(),
            incarnation: Incarnation(u128::from(self.rank)),
            seq: self.seq,
            cut_us: rows[0].source_us,
            cut_mono_us: 0,
            synchronised: true,
        };
        let frame = Frame { header, body: Body::Samples(rows) };
        NewFrame {
            gateway: Arc::clone(&self.key),
            rank: self.rank,
            bytes: frame.encode().into(),
            frame: Arc::new(frame),
            schema: Arc::clone(&self.schema),
            received_us: T0,
        }
    }
}

/// CPU time of this process, in seconds.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(std::env::temp_dir, Into::into);
    let rows: usize = args.next().map_or(160, |n| n.parse().unwrap());
    let rounds: usize = args.next().map_or(32, |n| n.parse().unwrap());
    let path = folder.join("compaction.db");
    let _ = std::fs::remove_file(&path);
    let storage = Store::open(Options::new(&path), Clock::system()).unwrap();
    let mut feeds = Vec::new();
    for n in 0..GATEWAYS {
        feeds.push(Feed::start(&storage, n).await);
    }
    let (mut took, mut cpu, mut accepting) = (0.0, 0.0, 0.0);
    let of_a_round = (GATEWAYS * POINTS * rows) as f64;
    for round in 0..rounds {
        let frames: Vec<_> = feeds.iter_mut().flat_map(|f| (0..rows / CYCLES).map(|_| f.frame()).collect::<Vec<_>>()).collect();
        let began = Instant::now();
        for some in frames.chunks(64) {
            storage.accept(some).await.unwrap();
        }
        accepting += began.elapsed().as_secs_f64();
        let (before, began) = (cpu_s(), Instant::now());
        while storage.compact(2000).await.unwrap() > 0 {}
        let (one, used) = (began.elapsed().as_secs_f64(), cpu_s() - before);
        took += one;
        cpu += used;
        eprintln!("round {round}: {:.0} ns a sample, processor {:.0} ns", one * 1e9 / of_a_round, used * 1e9 / of_a_round);
    }
    let all = of_a_round * rounds as f64;
    drop(storage);
    let bytes = std::fs::metadata(&path).unwrap().len() as f64;
    println!("accept {:.0} ns, compact {:.0} ns, processor {:.0} ns, {:.2} B a sample", accepting * 1e9 / all, took * 1e9 / all, cpu * 1e9 / all, bytes / all);
}
