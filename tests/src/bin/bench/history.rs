//! History: a chart of 25 million samples of one signal, and a hundred points over a day aligned to a minute. The data goes
//! the store's own way: accepted as frames, compacted. Asked of a database that was just opened, and again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cloud_core::align::Grid;
use cloud_core::history::AlignedPoint;
use cloud_core::storage::FrameStorage as _;
use cloud_core::{GatewayKey, HistoryStorage as _, NewFrame};
use cloud_store::{Options, Store};
use common::api::Interpolation;
use common::wire::{Body, Frame, FrameHeader, MAX_SAMPLES_PER_FRAME};
use common::{
    Clock, DeviceSchema, Incarnation, PointId, PointSchema, Quality, Sample, Schema, TwinId, Value, ValueType,
};

use crate::figure::{Beside, Percentiles, print, print_beside};

const START_US: i64 = 1_795_046_400_000_000;
const SECOND: i64 = 1_000_000;
const CHART_SAMPLES: usize = 25_000_000;
const CHART_STEP_US: i64 = 10_000;
const CHART_POINTS: usize = 2_000;
const POINTS: usize = 100;
const DAY_S: usize = 86_400;
const ASKED: usize = 9;
const FRAMES_AT_ONCE: usize = 100;

/// A gateway with points `p0`, `p1`, ... that sends what it is given.
struct Sender {
    storage: Arc<Store>,
    key: Arc<GatewayKey>,
    schema: Arc<Schema>,
    rank: u64,
    seq: u64,
    waiting: Vec<NewFrame>,
}

const INCARNATION: Incarnation = Incarnation(3);

fn twin() -> TwinId {
    TwinId(uuid::Uuid::from_u128(1))
}

impl Sender {
    async fn new(storage: Arc<Store>, points: usize) -> Self {
        let device = DeviceSchema {
            name: "d".into(),
            twin: twin(),
            asset: "plant/area/line/d".into(),
            description: String::new(),
            first_point: 0,
            points: (0..points).map(|n| PointSchema::new(format!("p{n}"), ValueType::F64)).collect(),
        };
        let (tenant, gateway) = (Default::default(), "box1".parse().expect("a name"));
        let schema = Arc::new(Schema { tenant, gateway, devices: vec![device] });
        let key = Arc::new(GatewayKey { tenant: schema.tenant.clone(), gateway: schema.gateway.clone() });
        let rank = storage.hello(&key, &[INCARNATION]).await.expect("a rank")[0].rank;
        storage.put_schema(&key, &schema, rank, START_US).await.expect("stored");
        Self { storage, key, schema, rank, seq: 0, waiting: Vec::new() }
    }

    async fn send(&mut self, rows: Vec<Sample>) {
        self.seq += 1;
        let cut_us = rows.last().map_or(START_US, |r| r.received_us);
        let header = FrameHeader {
            schema: self.schema.hash(),
            incarnation: INCARNATION,
            seq: self.seq,
            cut_us,
            cut_mono_us: u64::try_from(cut_us - START_US).unwrap_or(0),
            synchronised: true,
        };
        let frame = Frame { header, body: Body::Samples(rows) };
        self.waiting.push(NewFrame {
            gateway: Arc::clone(&self.key),
            rank: self.rank,
            bytes: frame.encode().into(),
            frame: Arc::new(frame),
            schema: Arc::clone(&self.schema),
            received_us: cut_us,
        });
        if self.waiting.len() == FRAMES_AT_ONCE {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        self.storage.accept(&std::mem::take(&mut self.waiting)).await.expect("accepted");
        while self.storage.uncompacted_frames() > 0 {
            self.storage.compact(usize::MAX).await.expect("compacted");
        }
    }
}

/// A level that drifts, with noise of a few steps of an ADC of 16 bits.
struct Signal(u64);

impl Signal {
    fn next(&mut self, n: usize) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let noise = (self.0 % 9) as f64 - 4.0;
        (20_000.0 + 8_000.0 * (n as f64 / 50_000.0).sin() + noise).round() * 0.005
    }
}

fn open(path: &Path) -> Arc<Store> {
    Store::open(Options::new(path), Clock::system()).expect("a database")
}

pub async fn history() {
    let dir = tempfile::tempdir().expect("a folder");
    chart(&dir.path().join("chart.db")).await;
    aligned(&dir.path().join("align.db")).await;
}

async fn chart(path: &Path) {
    eprintln!("history: storing {CHART_SAMPLES} samples of one point");
    let began = Instant::now();
    let mut sender = Sender::new(open(path), 1).await;
    let mut signal = Signal(7);
    let mut sent = 0;
    while sent < CHART_SAMPLES {
        let n = MAX_SAMPLES_PER_FRAME.min(CHART_SAMPLES - sent);
        let sample = |i: usize| {
            let t = START_US + (sent + i) as i64 * CHART_STEP_US;
            let value = Some(Value::F64(signal.next(sent + i)));
            Sample { point: PointId(0), value, quality: Quality::GOOD, source_us: t, received_us: t + 500 }
        };
        sender.send((0..n).map(sample).collect()).await;
        sent += n;
    }
    sender.flush().await;
    drop(sender);
    eprintln!("history: stored in {:.1} s", began.elapsed().as_secs_f64());
    let end = START_US + CHART_SAMPLES as i64 * CHART_STEP_US;
    let mut ask = Vec::new();
    let storage = open(path);
    for _ in 0..ASKED {
        let began = Instant::now();
        let chart = storage.history(twin(), "p0", START_US, end, CHART_POINTS).await.expect("a history");
        ask.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(
            chart.points.iter().map(|p| p.count).sum::<u64>(),
            CHART_SAMPLES as u64,
            "each sample once"
        );
    }
    let first = ask[0];
    let floor = read_ms(path);
    let beside = [Beside::floor("the database's file read from the page cache", floor)];
    print_beside("chart25m_ms", Percentiles::of(ask).at(50.0), "ms", "<= 200", &beside);
    print("chart25m_first_ms", first, "ms", "report", None);
}

async fn aligned(path: &Path) {
    eprintln!("history: storing a day of {POINTS} points");
    let began = Instant::now();
    let mut sender = Sender::new(open(path), POINTS).await;
    let mut signals: Vec<Signal> = (0..POINTS).map(|n| Signal(n as u64 + 11)).collect();
    for ten in 0..DAY_S / 10 {
        let mut rows = Vec::with_capacity(POINTS * 10);
        for second in ten * 10..ten * 10 + 10 {
            for (n, signal) in (0u32..).zip(&mut signals) {
                let t = START_US + second as i64 * SECOND + i64::from(n) * 1_000;
                let value = Some(Value::F64(signal.next(second)));
                let good = Sample {
                    point: PointId(n),
                    value,
                    quality: Quality::GOOD,
                    source_us: t,
                    received_us: t + 500,
                };
                // Every three hours each point fails once: those steps are not all good.
                let fails = (second + n as usize * 97).is_multiple_of(10_800);
                rows.push(if fails { Sample::bad(PointId(n), Quality::BAD_TIMEOUT, t) } else { good });
            }
        }
        sender.send(rows).await;
    }
    sender.flush().await;
    drop(sender);
    eprintln!("history: stored in {:.1} s", began.elapsed().as_secs_f64());
    let point = |n| AlignedPoint { twin: twin(), point: format!("p{n}"), online: true };
    let points: Vec<_> = (0..POINTS).map(point).collect();
    let grid = Grid::within(START_US, START_US + DAY_S as i64 * SECOND, 60 * SECOND);
    let storage = open(path);
    let floor = read_ms(path);
    for (name, method, goal) in [
        ("align_ms", Interpolation::Previous, "<= 200"),
        ("align_linear_ms", Interpolation::Linear, "report"),
    ] {
        let mut ask = Vec::new();
        for _ in 0..ASKED {
            let began = Instant::now();
            let columns = storage.aligned(&points, grid, method, i64::MAX).await.expect("columns");
            ask.push(began.elapsed().as_secs_f64() * 1e3);
            let has = |c: &cloud_core::align::Column| c.values.iter().filter(|v| v.is_some()).count();
            let known: usize = columns.iter().map(has).sum();
            assert!(known > POINTS * grid.rows * 9 / 10, "{known} cells have values");
        }
        let beside = [Beside::floor("the database's file read from the page cache", floor)];
        print_beside(name, Percentiles::of(ask).at(50.0), "ms", goal, &beside);
    }
}

/// How long the file takes to be read, the median of some.
fn read_ms(path: &Path) -> f64 {
    let read = |_| {
        let began = Instant::now();
        let bytes = std::fs::read(path).expect("a file");
        std::hint::black_box(&bytes);
        began.elapsed().as_secs_f64() * 1e3
    };
    Percentiles::of((0..ASKED).map(read).collect()).at(50.0)
}
