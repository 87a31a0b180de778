//! An ingress with a storage that fails or waits on demand, a sink that takes notes, and a client that may
//! say anything.

#![allow(dead_code, missing_docs, unreachable_pub)]

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

pub const SECRET: &str = "a secret of this test";
const LIMIT: Duration = Duration::from_secs(10);

pub fn key(gateway: &str) -> GatewayKey {
    GatewayKey { tenant: TenantId::default(), gateway: gateway.parse().unwrap() }
}

/// Storage in memory.
pub struct Store {
    pub marks: Mutex<HashMap<Incarnation, (u64, IntervalSet)>>,
    pub schemas: Mutex<Vec<(SchemaHash, u64)>>,
    pub audit: Mutex<Vec<LogEntry>>,
    /// Commits wait while this is false.
    pub open: watch::Sender<bool>,
    /// So many commits fail first.
    pub failing: AtomicUsize,
    /// Sequences whose content is refused.
    pub refusing: Mutex<Vec<u64>>,
    pub boxes: Mutex<HashMap<GatewayKey, Boxes>>,
    pub aside: Mutex<Vec<SetAside>>,
    pub commits: AtomicUsize,
    /// Samples that it says it has to compact.
    pub waiting: AtomicUsize,
    /// The configuration document that is wanted, and what the box told.
    pub wanted: Mutex<Option<ConfigurationDocument>>,
    pub report: Mutex<Option<ConfigurationReport>>,
    /// The bundle that there is, and what the box told of updates.
    pub bundle: Mutex<Vec<u8>>,
    pub update: Mutex<Option<UpdateReport>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            marks: Mutex::default(),
            schemas: Mutex::default(),
            audit: Mutex::default(),
            open: watch::Sender::new(true),
            failing: AtomicUsize::new(0),
            refusing: Mutex::default(),
            boxes: Mutex::default(),
            aside: Mutex::default(),
            commits: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wanted: Mutex::default(),
            report: Mutex::default(),
            bundle: Mutex::default(),
            update: Mutex::default(),
        }
    }
}

fn none<T>(what: &str) -> Result<T, StoreError> {
    Err(StoreError::NotFound { what: what.into() })
}

#[async_trait]
impl FrameStorage for Store {
    fn store_id(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }

    async fn hello(&self, _: &GatewayKey, all: &[Incarnation]) -> Result<Vec<KnownIncarnation>, StoreError> {
        let mut marks = self.marks.lock().unwrap();
        let mut known = Vec::new();
        for &incarnation in all {
            let rank = marks.len() as u64 + 1;
            let (rank, seqs) = marks.entry(incarnation).or_insert((rank, IntervalSet::new())).clone();
            known.push(KnownIncarnation { incarnation, rank, seqs });
        }
        Ok(known)
    }

    async fn accept(&self, frames: &[NewFrame]) -> Result<Vec<bool>, StoreError> {
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let fails =
            self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails {
            return Err(StoreError::Database { detail: "on purpose".into() });
        }
        if frames.iter().any(|f| self.refusing.lock().unwrap().contains(&f.frame.header.seq)) {
            return Err(StoreError::Refused { what: "not this one".into() });
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut marks = self.marks.lock().unwrap();
        let mut new = |f: &NewFrame| {
            let header = &f.frame.header;
            marks.get_mut(&header.incarnation).expect("hello came first").1.insert(header.seq)
        };
        Ok(frames.iter().map(&mut new).collect())
    }

    async fn put_schema(&self, _: &GatewayKey, schema: &Schema, rank: u64, _: i64) -> Result<(), StoreError> {
        self.schemas.lock().unwrap().push((schema.hash(), rank));
        Ok(())
    }

    async fn known_schemas(&self, _: &[SchemaHash]) -> Result<Vec<SchemaHash>, StoreError> {
        Ok(vec![])
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn waiting_samples(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    async fn uncompacted(&self, _: Option<(u64, u64)>, _: usize) -> Result<Vec<NewFrame>, StoreError> {
        Ok(vec![])
    }

    async fn compact_frames(&self, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn room(&self) -> Result<cloud_core::storage::Room, StoreError> {
        none("room")
    }

    async fn upkeep(&self, _: Duration) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn history(&self, _: TwinId, _: &str, _: i64, _: i64, _: usize) -> Result<History, StoreError> {
        none("history")
    }
}

#[async_trait]
impl HistoryStorage for Store {
    async fn aligned(
        &self,
        _: &[AlignedPoint],
        _: Grid,
        _: Interpolation,
        _: i64,
    ) -> Result<Vec<Column>, StoreError> {
        none("history")
    }

    async fn durations(&self, _: TwinId, _: &str, _: Spans) -> Result<Durations, StoreError> {
        none("history")
    }

    async fn samples(&self, _: TwinId, _: &str, _: i64, _: i64, _: usize) -> Result<SamplePage, StoreError> {
        none("history")
    }

    async fn stored_point(&self, _: TwinId, _: &str) -> Result<Option<StoredPoint>, StoreError> {
        none("history")
    }

    async fn stored_points(&self, _: TwinId) -> Result<Vec<StoredPoint>, StoreError> {
        none("history")
    }

    async fn delete_history(
        &self,
        _: TwinId,
        _: &str,
        _: i64,
        _: i64,
        _: &LogEntry,
    ) -> Result<u64, StoreError> {
        none("history")
    }
}

#[async_trait]
impl CommandStorage for Store {
    async fn create_command(
        &self,
        _: &CommandView,
        _: &str,
        _: &[u8],
        _: &LogEntry,
    ) -> Result<Created, StoreError> {
        none("command")
    }

    async fn command_by_key(&self, _: &str, _: &str) -> Result<Option<(CommandView, Vec<u8>)>, StoreError> {
        Ok(None)
    }

    async fn update_command(&self, _: &CommandUpdate) -> Result<CommandView, StoreError> {
        none("command")
    }

    async fn command(&self, _: CommandId) -> Result<CommandView, StoreError> {
        none("command")
    }

    async fn commands(
        &self,
        _: Option<&[TwinId]>,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<CommandView>, StoreError> {
        none("commands")
    }

    async fn open_commands(&self, _: &[CommandState]) -> Result<Vec<CommandView>, StoreError> {
        Ok(vec![])
    }

    async fn patch_desired(
        &self,
        _: TwinId,
        _: u64,
        _: &[(String, Option<DesiredEntry>)],
        _: &Requester,
        _: i64,
        _: &LogEntry,
    ) -> Result<(u64, Vec<(String, Option<DesiredView>)>), StoreError> {
        none("twin")
    }

    async fn desired(&self, _: TwinId, _: &str) -> Result<Option<DesiredView>, StoreError> {
        Ok(None)
    }

    async fn update_desired(&self, _: &DesiredUpdate) -> Result<Option<DesiredView>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl cloud_core::storage::AlarmStorage for Store {
    async fn alarm(&self, _: common::AlarmId) -> Result<common::AlarmView, StoreError> {
        none("alarm")
    }
    async fn alarms(
        &self,
        _: Option<&[TwinId]>,
        _: bool,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<common::AlarmView>, StoreError> {
        none("alarm")
    }
}

#[async_trait]
impl AuditStorage for Store {
    async fn append_audit(&self, entry: &LogEntry) -> Result<(), StoreError> {
        self.audit.lock().unwrap().push(entry.clone());
        Ok(())
    }

    async fn audit(
        &self,
        _: Option<&[TwinId]>,
        _: Severity,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<LogEntry>, StoreError> {
        none("audit")
    }
}

#[async_trait]
impl BoxStorage for Store {
    async fn boxes(&self, gateway: &GatewayKey) -> Result<Boxes, StoreError> {
        Ok(self.boxes.lock().unwrap().get(gateway).cloned().unwrap_or_default())
    }

    async fn keep_boxes(
        &self,
        gateway: &GatewayKey,
        boxes: &Boxes,
        audit: &[LogEntry],
    ) -> Result<(), StoreError> {
        self.boxes.lock().unwrap().insert(gateway.clone(), boxes.clone());
        self.audit.lock().unwrap().extend_from_slice(audit);
        Ok(())
    }

    async fn set_aside(&self, frames: &[SetAside], audit: &[LogEntry]) -> Result<KeptAside, StoreError> {
        let mut marks = self.marks.lock().unwrap();
        let mut aside = self.aside.lock().unwrap();
        let mut new = Vec::new();
        for frame in frames {
            let known = frame.name.and_then(|(rank, seq)| {
                marks.values_mut().find(|(r, _)| *r == rank).map(|(_, seqs)| !seqs.insert(seq))
            });
            let known = known.unwrap_or_else(|| aside.iter().any(|a| a.bytes == frame.bytes));
            new.push(!known);
            if !known {
                aside.push(frame.clone());
            }
        }
        self.audit.lock().unwrap().extend_from_slice(audit);
        // As if one were kept: of each that is new another has to go, if there was one.
        let removed = if new == [true] && aside.len() > 1 { 1 } else { 0 };
        Ok(KeptAside { new, removed: AsideRemoved { frames: removed, bytes: removed * 9 } })
    }

    async fn set_aside_removed(&self, _: &GatewayKey) -> Result<AsideRemoved, StoreError> {
        none("removed")
    }

    async fn set_aside_bytes(&self, _: &GatewayKey, _: i64) -> Result<Option<Vec<u8>>, StoreError> {
        none("bytes")
    }

    async fn set_aside_page(
        &self,
        _: &GatewayKey,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<SetAsideView>, StoreError> {
        none("page")
    }

    async fn set_aside_names(&self, _: &GatewayKey) -> Result<Vec<Known>, StoreError> {
        let (marks, aside) = (self.marks.lock().unwrap(), self.aside.lock().unwrap());
        let mut names = Vec::new();
        for (rank, seq) in aside.iter().filter_map(|a| a.name) {
            let incarnation = *marks.iter().find(|(_, (r, _))| *r == rank).expect("a rank").0;
            names.push(Known { incarnation, seqs: vec![(seq, seq)].into() });
        }
        Ok(names)
    }
}

#[async_trait]
impl AccountStorage for Store {
    async fn users(&self) -> Result<Vec<UserView>, StoreError> {
        none("users")
    }

    async fn user(&self, _: &str) -> Result<Account, StoreError> {
        none("user")
    }

    async fn create_user(&self, _: &Account) -> Result<(), StoreError> {
        none("user")
    }

    async fn delete_user(&self, _: &str) -> Result<(), StoreError> {
        none("user")
    }

    async fn set_password(&self, _: &str, _: &str) -> Result<(), StoreError> {
        none("user")
    }

    async fn create_session(&self, _: &[u8; 32], _: &str, _: i64) -> Result<(), StoreError> {
        none("session")
    }

    async fn authenticate(
        &self,
        _: &[u8; 32],
        _: i64,
    ) -> Result<Option<(String, Vec<GrantView>)>, StoreError> {
        none("session")
    }

    async fn delete_session(&self, _: &[u8; 32]) -> Result<(), StoreError> {
        none("session")
    }

    async fn keys(&self) -> Result<Vec<ApiKeyView>, StoreError> {
        none("keys")
    }

    async fn create_key(&self, _: &ApiKeyView, _: &[u8; 32]) -> Result<(), StoreError> {
        none("key")
    }

    async fn delete_key(&self, _: &str) -> Result<(), StoreError> {
        none("key")
    }

    async fn set_gateway_secret(&self, _: &GatewayKey, _: &[u8; 32], _: i64) -> Result<(), StoreError> {
        none("gateway")
    }

    async fn gateway_secret(&self, gateway: &GatewayKey) -> Result<Option<[u8; 32]>, StoreError> {
        let name = gateway.gateway.as_str();
        let known = ["g1", "g2"].contains(&name) || name.starts_with("many");
        Ok(known.then(|| Sha256::digest(SECRET.as_bytes()).into()))
    }
}

#[async_trait]
impl CertificateStorage for Store {
    async fn create_code(&self, _: &KeptCode, _: i64, _: &LogEntry) -> Result<(), StoreError> {
        none("code")
    }

    async fn code(&self, _: &str) -> Result<Option<KeptCode>, StoreError> {
        none("code")
    }

    async fn code_failed(&self, _: &str) -> Result<(), StoreError> {
        none("code")
    }

    async fn enrol(&self, _: &str, _: &Certificate, _: &LogEntry) -> Result<(), StoreError> {
        none("code")
    }

    async fn renew(&self, _: &Certificate, _: &LogEntry) -> Result<(), StoreError> {
        none("certificate")
    }

    async fn certificates(&self, _: &GatewayKey) -> Result<Vec<Certificate>, StoreError> {
        none("certificate")
    }

    async fn revoke(&self, _: &GatewayKey, _: i64, _: &LogEntry) -> Result<usize, StoreError> {
        none("gateway")
    }
}

#[async_trait]
impl ConfigurationStorage for Store {
    async fn put_configuration(
        &self,
        _: &GatewayKey,
        document: &ConfigurationDocument,
        _: &LogEntry,
    ) -> Result<(), StoreError> {
        *self.wanted.lock().unwrap() = Some(document.clone());
        Ok(())
    }

    async fn configurations(
        &self,
        _: &GatewayKey,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<ConfigurationEntry>, StoreError> {
        none("document")
    }

    async fn configuration(
        &self,
        _: &GatewayKey,
        _: Option<u64>,
    ) -> Result<Option<ConfigurationDocument>, StoreError> {
        Ok(self.wanted.lock().unwrap().clone())
    }

    async fn configuration_report(&self, _: &GatewayKey) -> Result<Option<ConfigurationReport>, StoreError> {
        Ok(self.report.lock().unwrap().clone())
    }

    async fn keep_configuration_report(
        &self,
        _: &GatewayKey,
        report: &ConfigurationReport,
        audit: &[LogEntry],
    ) -> Result<(), StoreError> {
        *self.report.lock().unwrap() = Some(report.clone());
        self.audit.lock().unwrap().extend_from_slice(audit);
        Ok(())
    }
}

#[async_trait]
impl UpdateStorage for Store {
    async fn drop_uploads(&self) -> Result<(), StoreError> {
        none("upload")
    }

    fn updates_changed(&self) -> tokio::sync::watch::Receiver<()> {
        tokio::sync::watch::channel(()).1
    }

    async fn put_upload(&self, _: uuid::Uuid, _: u32, _: &[u8]) -> Result<(), StoreError> {
        none("upload")
    }

    async fn put_release(
        &self,
        _: &TenantId,
        _: uuid::Uuid,
        _: &Release,
        _: &LogEntry,
    ) -> Result<(), StoreError> {
        none("release")
    }

    async fn releases(&self, _: &TenantId) -> Result<Vec<Release>, StoreError> {
        none("release")
    }

    async fn release_part(&self, _: &TenantId, _: &str, part: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.bundle.lock().unwrap().chunks(PART_BYTES).nth(part as usize).map(<[u8]>::to_vec))
    }

    async fn remove_release(&self, _: &TenantId, _: &str, _: &LogEntry) -> Result<usize, StoreError> {
        none("release")
    }

    async fn set_group(&self, _: &GatewayKey, _: Option<&str>, _: &LogEntry) -> Result<(), StoreError> {
        none("group")
    }

    async fn update_boxes(&self, _: &TenantId) -> Result<Vec<UpdateBox>, StoreError> {
        none("group")
    }

    async fn keep_update_report(&self, _: &GatewayKey, report: &UpdateReport) -> Result<(), StoreError> {
        *self.update.lock().unwrap() = Some(report.clone());
        Ok(())
    }

    async fn rollout(&self, _: &TenantId) -> Result<Option<Rollout>, StoreError> {
        none("rollout")
    }

    async fn put_rollout(&self, _: &TenantId, _: &Rollout, _: &[LogEntry]) -> Result<(), StoreError> {
        none("rollout")
    }
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

/// A client that sends what it is told to.
pub struct Client {
    tcp: TcpStream,
    buffer: BytesMut,
    pkid: u16,
    up: String,
}

impl Client {
    pub async fn open(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect(addr).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { tcp, buffer: BytesMut::new(), pkid: 0, up: String::new() }
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        // The other side may have closed already: that is seen when reading.
        let _ = self.tcp.write_all(bytes).await;
    }

    pub async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, 1 << 20).unwrap();
        self.bytes(&out).await;
    }

    /// The next packet; none when the connection is closed.
    pub async fn recv(&mut self) -> Option<Packet> {
        let read = async {
            loop {
                match Packet::read(&mut self.buffer, 1 << 20) {
                    Ok(packet) => return Some(packet),
                    Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                    Err(e) => panic!("the ingress sent {e}"),
                }
                if self.tcp.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(LIMIT, read).await.expect("an answer or an end in time")
    }

    pub async fn connect(
        &mut self,
        gateway: &str,
        secret: &str,
        change: impl FnOnce(&mut Connect),
    ) -> ConnectReturnCode {
        let mut connect = Connect::new("client");
        connect.set_login(format!("default/{gateway}"), secret);
        change(&mut connect);
        self.up = format!("twinway/v1/default/{gateway}/up");
        self.send(Packet::Connect(connect)).await;
        match self.recv().await {
            Some(Packet::ConnAck(ack)) => ack.code,
            other => panic!("{other:?}"),
        }
    }

    pub async fn subscribe(&mut self, filter: &str) -> SubscribeReasonCode {
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = 9;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.recv().await {
            Some(Packet::SubAck(ack)) => ack.return_codes[0],
            other => panic!("{other:?}"),
        }
    }

    /// Publishes at least once, without waiting. The packet's number.
    pub async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> u16 {
        self.pkid += 1;
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = self.pkid;
        self.send(Packet::Publish(publish)).await;
        self.pkid
    }

    pub async fn say(&mut self, message: &Up) -> u16 {
        let up = self.up.clone();
        self.publish(&up, message.encode()).await
    }

    pub async fn down(&mut self) -> Down {
        loop {
            match self.recv().await {
                Some(Packet::Publish(publish)) => return Down::decode(&publish.payload).unwrap(),
                Some(Packet::PubAck(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads until the end; the refusal on the way, if there was one.
    pub async fn end(&mut self) -> Option<common::names::Code> {
        let mut code = None;
        while let Some(packet) = self.recv().await {
            if let Packet::Publish(publish) = packet
                && let Ok(Down::Refusal(refusal)) = Down::decode(&publish.payload)
            {
                code = Some(refusal.code);
            }
        }
        code
    }

    pub async fn agree(&mut self, gateway: &str, incarnation: u128) -> HelloAck {
        self.agree_on(hello(gateway, incarnation)).await
    }

    pub async fn agree_on(&mut self, hello: Hello) -> HelloAck {
        let gateway = hello.gateway.to_string();
        self.say(&Up::Hello(Box::new(hello))).await;
        let Down::HelloAck(ack) = self.down().await else { panic!("no hello ack") };
        for hash in &ack.want_schemas {
            let schema = schema(&gateway);
            assert_eq!(*hash, schema.hash());
            for part in split_schema(*hash, &schema.to_json()) {
                let pkid = self.say(&Up::Schema(part)).await;
                assert_eq!(self.puback().await, pkid);
            }
        }
        ack
    }

    pub async fn puback(&mut self) -> u16 {
        loop {
            match self.recv().await {
                Some(Packet::PubAck(ack)) if ack.pkid == self.pkid => return ack.pkid,
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    }
}
