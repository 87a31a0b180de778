//! Gateways, schemas and frames to try with.

use std::sync::Arc;

use cloud_core::{GatewayKey, NewFrame, Storage};
use common::command::{LogEntry, Origin, Requester, Severity};
use common::wire::{Body, Frame, FrameHeader};
use common::{
    DeviceSchema, Incarnation, PointId, PointKind, PointSchema, Quality, Sample, Schema, TenantId, TwinId,
    Value, ValueType,
};
use uuid::Uuid;

/// A moment at the start of an hour and of a day, UTC us.
pub(crate) const T0: i64 = 1_795_046_400_000_000;
pub(crate) const SECOND: i64 = 1_000_000;

pub(crate) fn key(gateway: &str) -> GatewayKey {
    GatewayKey { tenant: TenantId::default(), gateway: gateway.parse().unwrap() }
}

pub(crate) fn twin(n: u128) -> TwinId {
    TwinId(Uuid::from_u128(n))
}

pub(crate) fn point(name: &str, value_type: ValueType) -> PointSchema {
    PointKind { stale_ms: 1000, ..PointKind::new(value_type) }.named(name)
}

/// The points of every device here, in order.
pub(crate) const POINTS: [(&str, ValueType); 4] =
    [("temp", ValueType::F64), ("count", ValueType::I64), ("on", ValueType::Bool), ("text", ValueType::Text)];

/// A gateway with one device for each of these (name, twin).
pub(crate) fn schema(gateway: &GatewayKey, devices: &[(&str, TwinId)]) -> Schema {
    let device = |(i, (name, twin)): (u32, &(&str, TwinId))| DeviceSchema {
        name: (*name).into(),
        twin: *twin,
        asset: format!("plant/coating/line1/{name}"),
        description: String::new(),
        first_point: i * 4,
        points: POINTS.iter().map(|(name, t)| point(name, *t)).collect(),
    };
    Schema {
        tenant: gateway.tenant.clone(),
        gateway: gateway.gateway.clone(),
        devices: (0u32..).zip(devices).map(device).collect(),
    }
}

pub(crate) fn sample(point: u32, t: i64, value: impl Into<Value>) -> Sample {
    let value = Some(value.into());
    Sample { point: PointId(point), value, quality: Quality::GOOD, source_us: t, received_us: t + 5 }
}

pub(crate) fn requester(name: &str) -> Requester {
    Requester { name: name.into(), origin: Origin::Cloud }
}

pub(crate) fn entry(at_us: i64, action: &str, twin: Option<TwinId>, severity: Severity) -> LogEntry {
    LogEntry {
        at_us,
        actor: "admin".into(),
        action: action.into(),
        target: "oven".into(),
        twin,
        severity,
        code: None,
        detail: String::new(),
    }
}

/// One incarnation of a gateway, ready to send.
#[derive(Clone)]
pub(crate) struct Stream {
    pub(crate) key: Arc<GatewayKey>,
    pub(crate) incarnation: Incarnation,
    pub(crate) rank: u64,
    pub(crate) schema: Arc<Schema>,
}

impl Stream {
    /// Says hello and gives its schema.
    pub(crate) async fn start(storage: &Arc<dyn Storage>, schema: Schema, incarnation: u128) -> Self {
        let key = GatewayKey { tenant: schema.tenant.clone(), gateway: schema.gateway.clone() };
        let incarnation = Incarnation(incarnation);
        let rank = storage.hello(&key, &[incarnation]).await.unwrap()[0].rank;
        storage.put_schema(&key, &schema, rank, T0).await.unwrap();
        Self { key: Arc::new(key), incarnation, rank, schema: Arc::new(schema) }
    }

    pub(crate) fn frame(&self, seq: u64, body: Body) -> NewFrame {
        let header = FrameHeader {
            schema: self.schema.hash(),
            incarnation: self.incarnation,
            seq,
            cut_us: T0,
            cut_mono_us: seq,
            synchronised: true,
        };
        let frame = Frame { header, body };
        NewFrame {
            gateway: Arc::clone(&self.key),
            rank: self.rank,
            bytes: frame.encode().into(),
            frame: Arc::new(frame),
            schema: Arc::clone(&self.schema),
            received_us: T0 + 1,
        }
    }

    pub(crate) fn samples(&self, seq: u64, samples: Vec<Sample>) -> NewFrame {
        self.frame(seq, Body::Samples(samples))
    }
}

/// A frame that was cut at a time.
pub(crate) fn cut(s: &Stream, seq: u64, at_us: i64, body: Body) -> NewFrame {
    let mut new = s.frame(seq, body);
    let mut frame = (*new.frame).clone();
    frame.header.cut_us = at_us;
    new.bytes = frame.encode().into();
    new.frame = Arc::new(frame);
    new
}

/// A stream of gateway `g1` with the device `oven` on twin 1.
pub(crate) async fn oven(storage: &Arc<dyn Storage>) -> Stream {
    Stream::start(storage, schema(&key("g1"), &[("oven", twin(1))]), 11).await
}

/// Compacts until nothing is left.
pub(crate) async fn compact_all(storage: &Arc<dyn Storage>) {
    while storage.compact(1000).await.unwrap() > 0 {}
}
