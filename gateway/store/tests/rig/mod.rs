//! What the store's tests share: a registry, bodies, and waiting on conditions.
#![allow(dead_code)] // each test binary uses its own part

pub(crate) mod disk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::command::{CommandUpdate, LogEntry, Origin, Requester, Severity};
use common::wire::{Body, Frame, Gap, MAX_MESSAGE_BYTES};
use common::{
    Class, Clock, CommandId, CommandState, DeviceSchema, Incarnation, PointId, PointKind, Quality, Sample,
    Schema, TenantId, TwinId, Value, ValueType,
};
use gateway_core::{Device, FrameLog, PointDefinition, RawRange, Registry};
use gateway_store::{Key, Keys, Options, Store};

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn registry(points: u32, unit: &str) -> Arc<Registry> {
    registry_of(points, unit, |_| Class::Normal)
}

pub(crate) fn registry_of(points: u32, unit: &str, class: impl Fn(u32) -> Class) -> Arc<Registry> {
    let (tenant, gateway) = (TenantId::default(), "g1".parse().unwrap());
    let point = |n: u32| {
        let kind = PointKind {
            unit: unit.to_owned(),
            stale_ms: 1000,
            class: class(n),
            ..PointKind::new(ValueType::F64)
        };
        let schema = kind.named(format!("p{n}"));
        let raw = RawRange { value_type: ValueType::F64, min: f64::MIN, max: f64::MAX };
        PointDefinition::new(schema, raw).at(PointId(n), 0)
    };
    let twin = TwinId::derived(&tenant, &gateway, "oven");
    let told = DeviceSchema {
        name: "oven".to_owned(),
        twin,
        asset: "a/b".to_owned(),
        description: String::new(),
        first_point: 0,
        points: vec![],
    };
    let schema = Schema { tenant, gateway, devices: vec![told] };
    let device = Device { name: "oven".to_owned(), protocol: "modbus", points: 0..points };
    Arc::new(Registry::new(schema, vec![device], (0..points).map(point).collect()).unwrap())
}

/// Points 0 to 9 are critical, from 20 on they are trends.
pub(crate) fn class(point: u32) -> Class {
    match point {
        0..=9 => Class::Critical,
        20.. => Class::Trend,
        _ => Class::Normal,
    }
}

pub(crate) fn classed() -> Arc<Registry> {
    registry_of(50, "Cel", class)
}

/// A folder in memory where there is one: for tests that have a disk of their own, and sled on this one.
pub(crate) fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn open(options: Options) -> Arc<Store> {
    Store::open(options, Clock::system(), registry(50, "Cel")).unwrap()
}

pub(crate) fn options(dir: &Path) -> Options {
    Options::new(dir)
}

/// A key to write with, or none.
pub(crate) fn keys(encrypted: bool) -> Keys {
    let key = Key::new(std::array::from_fn(|n| u8::try_from(n).unwrap()));
    Keys::from(if encrypted { vec![key] } else { vec![] })
}

pub(crate) fn sample(point: u32, x: f64, at_us: i64) -> Sample {
    Sample {
        point: PointId(point),
        value: Some(Value::F64(x)),
        quality: Quality::GOOD,
        source_us: at_us,
        received_us: at_us,
    }
}

/// A frame of `n` samples whose values do not compress well.
pub(crate) fn samples(n: u32, seed: u64) -> Body {
    samples_of(n, seed, |i| i % 50)
}

pub(crate) fn samples_of(n: u32, seed: u64, point: impl Fn(u32) -> u32) -> Body {
    let noise = |i: u32| {
        // SplitMix64's last steps: what multiples of a number would be, no column of differences can pack.
        let x = (seed << 20 | u64::from(i)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from_bits(x >> 12 | 0x3ff0_0000_0000_0000)
    };
    let at = |i: u32| i64::try_from(seed).unwrap() * 1_000_000 + i64::from(i);
    Body::Samples((0..n).map(|i| sample(point(i), noise(i), at(i))).collect())
}

pub(crate) fn audit(text: &str) -> Body {
    Body::Audit(LogEntry {
        at_us: 1,
        actor: "a".to_owned(),
        action: "switch.remote".to_owned(),
        target: text.to_owned(),
        twin: None,
        severity: Severity::Info,
        code: None,
        detail: String::new(),
    })
}

/// A step of a command.
pub(crate) fn update(id: CommandId, state: CommandState) -> Body {
    Body::Command(CommandUpdate {
        id,
        twin: TwinId(uuid::Uuid::nil()),
        point: "p1".to_owned(),
        value: Value::F64(1.0),
        requester: Requester { name: "a".to_owned(), origin: Origin::Local },
        reason: String::new(),
        state,
        code: None,
        detail: String::new(),
        read_back: None,
        at_us: 1,
    })
}

/// Everything that the log holds of an incarnation.
pub(crate) fn read_all(store: &Store, incarnation: Incarnation) -> Vec<(u64, Vec<u8>)> {
    let mut out: Vec<(u64, Vec<u8>)> = Vec::new();
    loop {
        let from = out.last().map_or(1, |(seq, _)| seq + 1);
        let more = store.read(incarnation, from, 64 << 10).unwrap();
        if more.is_empty() {
            return out;
        }
        assert!(more.iter().all(|(_, b)| b.len() < MAX_MESSAGE_BYTES));
        out.extend(more);
    }
}

/// Gaps in the log of this boot.
pub(crate) fn gaps(store: &Store) -> Vec<Gap> {
    gap_frames(store).into_iter().map(|(_, gap)| gap).collect()
}

/// Gaps in the log of this boot, each with the number of its frame.
pub(crate) fn gap_frames(store: &Store) -> Vec<(u64, Gap)> {
    let frames = read_all(store, store.incarnation());
    let gap = |(seq, bytes): &(u64, Vec<u8>)| match Frame::decode(bytes).unwrap().body {
        Body::Gap(gap) => Some((*seq, gap)),
        _ => None,
    };
    frames.iter().filter_map(gap).collect()
}

/// Waits until all that was appended is on disk.
pub(crate) async fn synced(store: &Store) {
    let mut watermark = store.watermark();
    let all = watermark.wait_for(|w| w.durable >= w.head);
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("not durable in 20 s").unwrap();
}

/// Waits on a condition, at most 20 s.
pub(crate) async fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    let wait = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}
