//! An ingress with a storage that fails or waits on demand, a sink that takes notes, and a client that may
//! say anything.

#![allow(dead_code, missing_docs, unreachable_pub)]

mod client;
mod keys;
mod store;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::bytes::BytesMut;
use async_trait::async_trait;
use cloud_core::align::{Column, Grid};
use cloud_core::boxes::Boxes;
use cloud_core::configuration::ConfigurationStorage;
use cloud_core::enrol::{Certificate, CertificateStorage, KeptCode};
use cloud_core::history::{AlignedPoint, Durations, HistoryStorage, SamplePage, Spans, StoredPoint};
use cloud_core::storage::{
    Account, AccountStorage, AsideRemoved, AuditStorage, BoxStorage, CommandStorage, Created, FrameStorage,
    History, KeptAside, KnownIncarnation, Loaded, SetAside,
};
use cloud_core::update::{PART_BYTES, UpdateBox, UpdateStorage};
use cloud_core::{GatewayKey, NewFrame, StoreError, World};
use cloud_ingest::{Handle, Ingress, Metrics, Options, Parts, Sink};
use common::api::*;
use common::command::{CommandUpdate, DesiredUpdate, LogEntry, Requester, Severity};
use common::wire::*;
use common::*;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::*;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

pub use client::Client;
pub use store::Store;

pub const SECRET: &str = "a secret of this test";
const LIMIT: Duration = Duration::from_secs(10);

pub fn key(gateway: &str) -> GatewayKey {
    GatewayKey { tenant: TenantId::default(), gateway: gateway.parse().unwrap() }
}

/// Takes notes.
#[derive(Default)]
pub struct Notes {
    pub world: World,
    pub frames: Mutex<Vec<NewFrame>>,
    pub snapshots: Mutex<Vec<(GatewayKey, u64, Snapshot)>>,
    pub schemas: Mutex<Vec<(SchemaHash, u64, bool)>>,
    pub views: Mutex<Vec<GatewayView>>,
    pub started: AtomicUsize,
    pub events: Mutex<Vec<LogEntry>>,
}

impl Sink for Notes {
    fn frames(&self, frames: &[NewFrame]) {
        self.frames.lock().unwrap().extend_from_slice(frames);
    }

    fn snapshot(&self, gateway: &GatewayKey, rank: u64, _: &Schema, snapshot: &Snapshot) {
        self.snapshots.lock().unwrap().push((gateway.clone(), rank, snapshot.clone()));
    }

    fn schema(&self, _: &GatewayKey, schema: &Arc<Schema>, rank: u64, current: bool) {
        self.world.write().schemas.insert(schema.hash(), schema.clone());
        self.schemas.lock().unwrap().push((schema.hash(), rank, current));
    }

    fn gateway(&self, _: &GatewayKey, view: GatewayView) {
        self.views.lock().unwrap().push(view);
    }

    fn session_started(&self, _: &GatewayKey) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    fn event(&self, entry: &LogEntry) {
        self.events.lock().unwrap().push(entry.clone());
    }
}

pub struct Rig {
    pub addr: SocketAddr,
    pub store: Arc<Store>,
    pub notes: Arc<Notes>,
    pub handle: Handle,
    pub metrics: Metrics,
    pub drain: Drain,
    pub running: tokio::task::JoinHandle<()>,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new("127.0.0.1:0".parse().unwrap());
        options.retry_after = Duration::from_millis(10);
        change(&mut options);
        let (store, notes, metrics) =
            (Arc::new(Store::default()), Arc::new(Notes::default()), Metrics::default());
        let parts = Parts {
            storage: store.clone(),
            world: notes.world.clone(),
            sink: notes.clone(),
            clock: Clock::system(),
            metrics: metrics.clone(),
            gateways: vec![],
            authority: None,
        };
        let (ingress, addr) = Ingress::bind(options, parts).await.unwrap();
        let (handle, drain) = (ingress.handle(), Drain::new());
        let until = drain.clone();
        let running = tokio::spawn(async move { ingress.run(until).await });
        Self { addr, store, notes, handle, metrics, drain, running }
    }

    /// Why an ingress with these options does not start.
    pub async fn refused(options: Options) -> cloud_ingest::Error {
        let notes = Arc::new(Notes::default());
        let parts = Parts {
            storage: Arc::new(Store::default()),
            world: notes.world.clone(),
            sink: notes,
            clock: Clock::system(),
            metrics: Metrics::default(),
            gateways: vec![],
            authority: None,
        };
        Ingress::bind(options, parts).await.err().expect("refused")
    }

    pub async fn sign_in(&self, gateway: &str) -> Client {
        let mut client = Client::open(self.addr).await;
        assert_eq!(client.connect(gateway, SECRET, |_| {}).await, ConnectReturnCode::Success);
        client.subscribe(&format!("twinway/v1/default/{gateway}/down")).await;
        client
    }

    /// Signed in, agreed, and with its schema known.
    pub async fn agreed(&self, gateway: &str, incarnation: u128) -> Client {
        let mut client = self.sign_in(gateway).await;
        client.agree(gateway, incarnation).await;
        client
    }
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub fn schema(gateway: &str) -> Schema {
    let point = PointKind { unit: "Cel".into(), stale_ms: 1000, ..PointKind::new(ValueType::F64) }.named("t");
    let key = key(gateway);
    let device = DeviceSchema {
        name: "oven".into(),
        twin: TwinId::derived(&key.tenant, &key.gateway, "oven"),
        asset: "plant/area/line/oven".into(),
        description: String::new(),
        first_point: 0,
        points: vec![point],
    };
    Schema { tenant: key.tenant, gateway: key.gateway, devices: vec![device] }
}

pub fn hello(gateway: &str, incarnation: u128) -> Hello {
    let hash = schema(gateway).hash();
    Hello {
        tenant: TenantId::default(),
        gateway: gateway.parse().unwrap(),
        version: "test".into(),
        incarnation: Incarnation(incarnation),
        streams: vec![],
        schema: hash,
        schemas: vec![hash],
        session_us: 5_000_000,
        remote: false,
        features: vec![],
        identity: None,
        heartbeat_ms: None,
    }
}

/// The hello of a box with an incarnation that follows those of `line`.
pub fn hello_of(gateway: &str, box_id: u128, line: &[u128], incarnation: u128, attempt: u64) -> Hello {
    let identity = Identity {
        box_id: BoxId(uuid::Uuid::from_u128(box_id)),
        machine: Some(format!("machine of {box_id}")),
        line: line.iter().map(|i| Incarnation(*i)).collect(),
        answered: None,
        store: None,
        attempt,
        acked: vec![],
    };
    let features = vec![FEATURE_SET_ASIDE.to_owned()];
    Hello { identity: Some(Box::new(identity)), features, ..hello(gateway, incarnation) }
}

pub fn row(value: f64) -> SampleRow {
    Sample {
        point: PointId(0),
        value: Some(Value::F64(value)),
        quality: Quality::GOOD,
        source_us: 1,
        received_us: 2,
    }
}

pub fn frame(gateway: &str, incarnation: u128, seq: u64) -> Vec<u8> {
    let header = FrameHeader {
        schema: schema(gateway).hash(),
        incarnation: Incarnation(incarnation),
        seq,
        cut_us: 1,
        cut_mono_us: 1,
        synchronised: true,
    };
    Frame { header, body: Body::Samples(vec![row(seq as f64)]) }.encode()
}

pub fn health() -> GatewayHealth {
    GatewayHealth {
        left_out: 0,
        uplink_error: None,
        version: "test".into(),
        uptime_ms: 1,
        clock_synchronised: true,
        switch: SwitchPosition::Local,
        uplink: true,
        link: None,
        buffer: BufferHealth::default(),
        dropped: Default::default(),
        devices: vec![],
        parts: vec![],
    }
}
