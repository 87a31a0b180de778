//! At rest: an hour of a fifth of the points through the cloud's real storage, frames of 10 ms, compacted every five
//! seconds as the service does; then the database's file, with roll-ups, indexes and all.

use std::sync::Arc;
use std::time::Instant;

use cloud_core::storage::FrameStorage as _;
use cloud_core::{GatewayKey, NewFrame};
use cloud_store::{Options, Store};
use common::wire::{Body, Frame, FrameHeader};
use common::{Clock, DeviceSchema, Incarnation, PointSchema, Schema, TwinId, Value, ValueType};

use super::plant::{CYCLES_PER_S, Plant, START_US};
use crate::figure::{Beside, print, print_beside};

const POINTS: usize = 200;
const SECONDS: usize = 3600;
const COMPACT_EVERY_S: usize = 5;

fn schema(plant: &mut Plant) -> Schema {
    let samples = plant.cycle().concat();
    let kind = |v: &Option<Value>| v.as_ref().map_or(ValueType::F64, Value::value_type);
    let point = |n: usize| PointSchema::new(format!("p{n}"), kind(&samples[n].value));
    let device = DeviceSchema {
        name: "d".into(),
        twin: TwinId(uuid::Uuid::from_u128(1)),
        asset: "plant/area/line/d".into(),
        description: String::new(),
        first_point: 0,
        points: (0..POINTS).map(point).collect(),
    };
    let (tenant, gateway) = (Default::default(), "box1".parse().expect("a name"));
    Schema { tenant, gateway, devices: vec![device] }
}

/// Bytes a sample, and what compaction costs. Each series keeps times of its own: jitter that the points of a request
/// share is counted once in the entropy and stored with each.
pub async fn rest(name: &str, goal: &str, jitter_us: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("rest.db");
    let storage = Store::open(Options::new(&path), Clock::system()).expect("a database");
    let mut plant = Plant::new(POINTS, jitter_us, 2);
    let bound = plant.entropy_bits() / 8.0;
    let schema = Arc::new(schema(&mut plant));
    let key = Arc::new(GatewayKey { tenant: schema.tenant.clone(), gateway: schema.gateway.clone() });
    let incarnation = Incarnation(3);
    let rank = storage.hello(&key, &[incarnation]).await.expect("a rank")[0].rank;
    storage.put_schema(&key, &schema, rank, START_US).await.expect("stored");
    let (mut seq, mut samples, mut spent) = (0, 0usize, 0.0);
    for _ in 0..SECONDS / COMPACT_EVERY_S {
        let polls = (0..COMPACT_EVERY_S * CYCLES_PER_S).flat_map(|_| plant.cycle());
        let frame = |rows: Vec<common::Sample>| {
            seq += 1;
            samples += rows.len();
            let cut_us = rows[0].received_us + 10_000;
            let header = FrameHeader {
                schema: schema.hash(),
                incarnation,
                seq,
                cut_us,
                cut_mono_us: (cut_us - START_US) as u64,
                synchronised: true,
            };
            let frame = Frame { header, body: Body::Samples(rows) };
            NewFrame {
                gateway: Arc::clone(&key),
                rank,
                bytes: frame.encode().into(),
                frame: Arc::new(frame),
                schema: Arc::clone(&schema),
                received_us: cut_us,
            }
        };
        let frames: Vec<NewFrame> = polls.map(frame).collect();
        storage.accept(&frames).await.expect("accepted");
        let began = Instant::now();
        while storage.uncompacted_frames() > 0 {
            storage.compact(usize::MAX).await.expect("compacted");
        }
        spent += began.elapsed().as_secs_f64();
    }
    drop(storage);
    let bytes = std::fs::metadata(&path).expect("a file").len() as f64;
    let per = bytes / samples as f64;
    print_beside(name, per, "B/sample", goal, &[Beside::floor("entropy of the samples", bound)]);
    print(&format!("{name}_compact_ns"), spent * 1e9 / samples as f64, "ns/sample", "report", None);
}
