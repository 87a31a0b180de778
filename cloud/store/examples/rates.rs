//! Measures this storage: `cargo run --release -p cloud-store --example rates -- [folder]`. Prints one JSON line
//! a figure.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation
)]

use std::sync::Arc;
use std::time::Duration;

use cloud_core::storage::FrameStorage;
use cloud_core::{GatewayKey, NewFrame};
use cloud_store::{Options, Store};
use common::wire::{Body, Frame, FrameHeader};
use common::{
    Clock, DeviceSchema, Incarnation, PointId, PointKind, Quality, Sample, Schema, TwinId, Value, ValueType,
};
use tokio::time::Instant;

const T0: i64 = 1_795_046_400_000_000;

fn schema(points: u32) -> Schema {
    let point = |n| {
        PointKind { unit: "C".into(), stale_ms: 1000, ..PointKind::new(ValueType::F64) }
            .named(format!("p{n}"))
    };
    let device = DeviceSchema {
        name: "d".into(),
        twin: TwinId(uuid::Uuid::from_u128(1)),
        asset: "plant/area/line/d".into(),
        description: String::new(),
        first_point: 0,
        points: (0..points).map(point).collect(),
    };
    Schema { tenant: Default::default(), gateway: "g1".parse().unwrap(), devices: vec![device] }
}

struct Feed {
    key: Arc<GatewayKey>,
    rank: u64,
    schema: Arc<Schema>,
    hash: common::SchemaHash,
    points: u32,
    seq: u64,
    noise: u64,
}

impl Feed {
    async fn start(storage: &Store, points: u32) -> Self {
        let schema = schema(points);
        let key = GatewayKey { tenant: schema.tenant.clone(), gateway: schema.gateway.clone() };
        let rank = storage.hello(&key, &[Incarnation(1)]).await.unwrap()[0].rank;
        storage.put_schema(&key, &schema, rank, T0).await.unwrap();
        let hash = schema.hash();
        Self { key: Arc::new(key), rank, schema: Arc::new(schema), hash, points, seq: 0, noise: 1 }
    }

    /// Ten frames of a hundred samples, each point at `hz`.
    fn group(&mut self, hz: i64) -> Vec<NewFrame> {
        (0..10).map(|_| self.frame(hz)).collect()
    }

    fn frame(&mut self, hz: i64) -> NewFrame {
        let first = self.seq * 100;
        self.seq += 1;
        let rows = (first..first + 100).map(|n| {
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            let t = T0 + (n / u64::from(self.points)) as i64 * 1_000_000 / hz;
            let value = 180.0 + (n as f64 / 1e4).sin() * 5.0 + (self.noise % 100) as f64 * 0.01;
            Sample {
                point: PointId((n % u64::from(self.points)) as u32),
                value: Some(Value::F64(value)),
                quality: Quality::GOOD,
                source_us: t,
                received_us: t + 300 + (self.noise % 50) as i64,
            }
        });
        let header = FrameHeader {
            schema: self.hash,
            incarnation: Incarnation(1),
            seq: self.seq,
            cut_us: T0,
            cut_mono_us: 0,
            synchronised: true,
        };
        let frame = Frame { header, body: Body::Samples(rows.collect()) };
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

fn show(name: &str, value: f64, unit: &str) {
    println!("{{\"name\":\"{name}\",\"value\":{value:.3},\"unit\":\"{unit}\"}}");
}

fn open(folder: &std::path::Path, name: &str) -> Arc<Store> {
    Store::open(Options::new(folder.join(name)), Clock::system()).unwrap()
}

/// A steady 10,000 samples/s for `seconds`, compacted every 5 s.
async fn steady(folder: &std::path::Path, points: u32, seconds: u32) {
    let storage = open(folder, &format!("steady{points}.db"));
    let mut feed = Feed::start(&storage, points).await;
    let hz = i64::from(10_000 / points).max(1);
    let groups: Vec<_> = (0..seconds * 10).map(|_| feed.group(hz)).collect();
    let compactor = {
        let storage = Arc::clone(&storage);
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                let began = Instant::now();
                storage.compact(2000).await.unwrap();
                times.push(began.elapsed().as_secs_f64());
                if times.len() * 5 >= seconds as usize {
                    return times;
                }
            }
        })
    };
    let before = cpu_s();
    let began = Instant::now();
    let mut taken = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for group in groups {
        tick.tick().await;
        let began = Instant::now();
        storage.accept(&group).await.unwrap();
        taken.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let compacts = compactor.await.unwrap();
    let wall = began.elapsed().as_secs_f64();
    taken.sort_by(f64::total_cmp);
    let name = |what: &str| format!("store_{what}_{points}_points");
    show(&name("cpu_at_10k"), (cpu_s() - before) / wall * 100.0, "% of a core");
    show(&name("accept_p50"), taken[taken.len() / 2], "ms");
    show(&name("accept_p99"), taken[taken.len() * 99 / 100], "ms");
    show(&name("compact_max"), compacts.iter().fold(0.0, |a: f64, b| a.max(*b)) * 1e3, "ms");
}

/// As fast as it goes.
async fn flood(folder: &std::path::Path) {
    let storage = open(folder, "flood.db");
    let mut feed = Feed::start(&storage, 100).await;
    let began = Instant::now();
    let mut inside = 0.0;
    let n = 2_000_000u64;
    while feed.seq * 100 < n {
        let group = feed.group(10);
        let start = Instant::now();
        storage.accept(&group).await.unwrap();
        if feed.seq % 1000 == 0 {
            storage.compact(1000).await.unwrap();
        }
        inside += start.elapsed().as_secs_f64();
    }
    show("store_flood", n as f64 / inside, "samples/s");
    let _ = began;
    drop(storage);
    let bytes = std::fs::metadata(folder.join("flood.db")).unwrap().len();
    show("store_bytes_per_sample", bytes as f64 / n as f64, "bytes");
}

/// 25 million samples of one point at 10 Hz.
async fn long(folder: &std::path::Path) {
    let storage = open(folder, "long.db");
    let mut feed = Feed::start(&storage, 1).await;
    let n = 25_000_000u64;
    let began = Instant::now();
    while feed.seq * 100 < n {
        let group: Vec<_> = (0..200).map(|_| feed.frame(10)).collect();
        storage.accept(&group).await.unwrap();
        storage.compact(1000).await.unwrap();
    }
    show("store_long_load", n as f64 / began.elapsed().as_secs_f64(), "samples/s");
    let twin = TwinId(uuid::Uuid::from_u128(1));
    let end = T0 + n as i64 * 100_000;
    let ranges = [("all", T0, end), ("day", end - 86_400_000_000, end), ("minute", end - 60_000_000, end)];
    for (what, from, to) in ranges {
        let mut taken = Vec::new();
        let mut rows = 0;
        for _ in 0..20 {
            let began = Instant::now();
            rows = storage.history(twin, "p0", from, to, 2000).await.unwrap().points.len();
            taken.push(began.elapsed().as_secs_f64() * 1e3);
        }
        taken.sort_by(f64::total_cmp);
        show(&format!("store_history_25m_{what}_p50"), taken[10], "ms");
        show(&format!("store_history_25m_{what}_rows"), rows as f64, "rows");
    }
    drop(storage);
    let began = Instant::now();
    drop(open(folder, "long.db"));
    show("store_open_25m", began.elapsed().as_secs_f64() * 1e3, "ms");
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = folder.join(format!("store-rates-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    flood(&folder).await;
    for points in [100, 1000, 10_000] {
        steady(&folder, points, 30).await;
    }
    long(&folder).await;
    std::fs::remove_dir_all(&folder).unwrap();
}
