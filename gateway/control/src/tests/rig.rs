//! A device that does as told, a log in memory that can be made to fail, and control between them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use common::api::{BufferHealth, CommandRequest};
use common::command::{
    CommandOrder, CommandUpdate, DesiredOrder, DesiredUpdate, LogEntry, Origin, Requester,
};
use common::names::Code;
use common::wire::{Body, Known, Snapshot, StreamRange};
use common::{
    Access, CommandId, DeviceSchema, Incarnation, IntervalSet, PointId, PointKind, Quality, Sample, Schema,
    SchemaHash, TwinId, Value, ValueType,
};
use gateway_core::{
    Device, FrameId, LogError, Orders, Permit, PointDefinition, RawRange, Reading, Scale, Watermark,
    WriteError,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::*;

pub(super) const WALL_US: i64 = 1_800_000_000_000_000;

#[derive(Default)]
pub(super) struct Log {
    pub(super) bodies: std::sync::Mutex<Vec<Body>>,
    notes: std::sync::Mutex<HashMap<String, Vec<u8>>>,
    pub(super) fail_append: AtomicBool,
    pub(super) fail_durable: AtomicBool,
    /// `durable` takes this long.
    pub(super) durable_ms: AtomicU64,
}

#[async_trait]
impl FrameLog for Log {
    fn incarnation(&self) -> Incarnation {
        Incarnation(1)
    }
    fn append(&self, body: Body) -> Result<FrameId, LogError> {
        if self.fail_append.load(Ordering::SeqCst) {
            return Err(LogError::Write { detail: "no space".into() });
        }
        let mut all = self.bodies.lock().unwrap();
        all.push(body);
        Ok(FrameId { incarnation: Incarnation(1), seq: all.len() as u64 })
    }
    async fn durable(&self, _: FrameId) -> Result<(), LogError> {
        tokio::time::sleep(Duration::from_millis(self.durable_ms.load(Ordering::SeqCst))).await;
        if self.fail_durable.load(Ordering::SeqCst) {
            return Err(LogError::Write { detail: "no disk".into() });
        }
        Ok(())
    }
    fn watermark(&self) -> watch::Receiver<Watermark> {
        watch::channel(Watermark::default()).1
    }
    fn snapshot(&self) -> Vec<Snapshot> {
        vec![]
    }
    fn ranges(&self) -> Vec<StreamRange> {
        vec![]
    }
    fn schemas(&self) -> Vec<SchemaHash> {
        vec![]
    }
    fn schema_json(&self, _: SchemaHash) -> Option<Vec<u8>> {
        None
    }
    fn read(&self, _: Incarnation, _: u64, _: usize) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        Ok(vec![])
    }
    fn ack(&self, _: &[Known]) -> Result<(), LogError> {
        Ok(())
    }
    fn acked(&self, _: Incarnation) -> IntervalSet {
        IntervalSet::default()
    }
    fn commands(&self) -> Vec<CommandUpdate> {
        let mut last: Vec<CommandUpdate> = Vec::new();
        for body in self.bodies.lock().unwrap().iter() {
            if let Body::Command(u) = body {
                last.retain(|k| k.id != u.id);
                last.push(u.clone());
            }
        }
        last
    }
    fn note(&self, key: &str) -> Option<Vec<u8>> {
        self.notes.lock().unwrap().get(key).cloned()
    }
    fn set_note(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        self.notes.lock().unwrap().insert(key.to_owned(), value.to_vec());
        Ok(())
    }
    fn health(&self) -> BufferHealth {
        BufferHealth::default()
    }
}

impl Log {
    pub(super) fn audits(&self) -> Vec<LogEntry> {
        let pick = |b: &Body| if let Body::Audit(e) = b { Some(e.clone()) } else { None };
        self.bodies.lock().unwrap().iter().filter_map(pick).collect()
    }
    pub(super) fn desired(&self) -> Vec<DesiredUpdate> {
        let pick = |b: &Body| if let Body::Desired(d) = b { Some(d.clone()) } else { None };
        self.bodies.lock().unwrap().iter().filter_map(pick).collect()
    }
    pub(super) fn states(&self, id: CommandId) -> Vec<CommandState> {
        let pick = |b: &Body| match b {
            Body::Command(u) if u.id == id => Some(u.state),
            _ => None,
        };
        self.bodies.lock().unwrap().iter().filter_map(pick).collect()
    }
}

use common::CommandState;

/// Registers by point, and what the next writes answer.
#[derive(Default)]
pub(super) struct Plc {
    pub(super) registers: std::sync::Mutex<HashMap<PointId, Value>>,
    pub(super) script: std::sync::Mutex<VecDeque<WriteError>>,
    pub(super) writes: std::sync::Mutex<Vec<(PointId, Value)>>,
    /// Reads fail while it is set.
    pub(super) dead: AtomicBool,
    /// A scripted failure still changes the register.
    pub(super) takes_anyway: AtomicBool,
    /// What the register does to a written value.
    pub(super) ignores: AtomicBool,
    pub(super) slow_ms: AtomicU64,
    /// How long it takes before a write begins.
    pub(super) busy_ms: AtomicU64,
}

#[async_trait]
impl DeviceWriter for Plc {
    async fn write(
        &self,
        point: PointId,
        raw: Value,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Reading, WriteError> {
        assert!(Instant::now() < deadline, "begun after the deadline");
        tokio::time::sleep(Duration::from_millis(self.busy_ms.load(Ordering::SeqCst))).await;
        permit().map_err(|(code, detail)| WriteError::NotSent { code, detail })?;
        self.writes.lock().unwrap().push((point, raw.clone()));
        tokio::time::sleep(Duration::from_millis(self.slow_ms.load(Ordering::SeqCst))).await;
        let scripted = self.script.lock().unwrap().pop_front();
        let takes = scripted.is_none() || self.takes_anyway.load(Ordering::SeqCst);
        if takes && !self.ignores.load(Ordering::SeqCst) {
            self.registers.lock().unwrap().insert(point, raw);
        }
        if let Some(error) = scripted {
            return Err(error);
        }
        Ok(Reading { raw: self.registers.lock().unwrap().get(&point).cloned() })
    }
    async fn read(&self, point: PointId) -> Result<Reading, WriteError> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(WriteError::NotSent { code: Code::NotConnected, detail: "down".into() });
        }
        Ok(Reading { raw: self.registers.lock().unwrap().get(&point).cloned() })
    }
}

pub(super) fn twin() -> TwinId {
    TwinId(uuid::Uuid::from_u128(7))
}

pub(crate) const SETPOINT: PointId = PointId(0);
pub(super) const PUMP: PointId = PointId(1);
pub(super) const TEMP: PointId = PointId(2);
pub(super) const DOOR: PointId = PointId(3);
pub(super) const COUNT: PointId = PointId(4);

/// `setpoint` f64 0..200 in a u16 of tenths; `pump` bool with an interlock; `temp`, `door` read only;
/// `count` i64 -5..50 in an i16 without scale.
pub(crate) fn registry() -> Arc<Registry> {
    let schema = |name: &str, value_type, limits: Option<(f64, f64)>| {
        PointKind {
            access: if limits.is_some() { Access::ReadWrite } else { Access::Read },
            write_min: limits.map(|l| l.0),
            write_max: limits.map(|l| l.1),
            ..PointKind::new(value_type)
        }
        .named(name)
    };
    let point = |id: PointId, schema, factor, raw, interlock: Option<&str>| {
        let mut made = PointDefinition::new(schema, raw);
        made.scale = Scale { factor, offset: 0.0 };
        made.interlock = interlock.map(str::to_owned);
        made.at(id, 0)
    };
    let raw = |value_type, min, max| RawRange { value_type, min, max };
    let boolean = raw(ValueType::Bool, 0.0, 1.0);
    let float = raw(ValueType::F64, -1e30, 1e30);
    let points = vec![
        point(
            SETPOINT,
            schema("setpoint", ValueType::F64, Some((0.0, 200.0))),
            0.1,
            raw(ValueType::U64, 0.0, 1500.0),
            None,
        ),
        point(
            PUMP,
            schema("pump", ValueType::Bool, Some((0.0, 1.0))),
            1.0,
            boolean,
            Some("temp < 100 and not plc/door"),
        ),
        point(TEMP, schema("temp", ValueType::F64, None), 1.0, float, None),
        point(DOOR, schema("door", ValueType::Bool, None), 1.0, boolean, None),
        point(
            COUNT,
            schema("count", ValueType::I64, Some((-5.0, 50.0))),
            1.0,
            raw(ValueType::I64, -32768.0, 32767.0),
            None,
        ),
    ];
    let device = DeviceSchema {
        name: "plc".to_owned(),
        twin: twin(),
        asset: "a/b/plc".to_owned(),
        description: String::new(),
        first_point: 0,
        points: vec![],
    };
    let schema =
        Schema { tenant: common::TenantId::default(), gateway: "g1".parse().unwrap(), devices: vec![device] };
    let devices = vec![Device { name: "plc".to_owned(), protocol: "modbus", points: 0..5 }];
    Arc::new(Registry::new(schema, devices, points).unwrap())
}

pub(super) struct Rig {
    pub(super) log: Arc<Log>,
    pub(super) plc: Arc<Plc>,
    pub(super) current: Current,
    pub(super) clock: Clock,
    pub(super) handle: Arc<Handle>,
    pub(super) drain: Drain,
    task: tokio::task::JoinHandle<Result<(), String>>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::on(Arc::default(), Arc::default(), Options::default())
    }

    pub(super) fn on(log: Arc<Log>, plc: Arc<Plc>, options: Options) -> Self {
        let clock = Clock::simulated(WALL_US);
        let registry = registry();
        let current = Current::new(registry.slots());
        let writers = HashMap::from([(0, plc.clone() as Arc<dyn DeviceWriter>)]);
        let (control, handle) =
            Control::new(options, registry, writers, log.clone(), current.clone(), clock.clone()).unwrap();
        let drain = Drain::new();
        let child = drain.clone();
        let task = tokio::spawn(async move { control.run(child).await.map_err(|e| e.to_string()) });
        let rig = Self { log, plc, current, clock, handle, drain, task };
        rig.show(TEMP, 20.0);
        rig.show(DOOR, false);
        rig
    }

    /// A process that ends at once, leaving the log as it is.
    pub(super) async fn kill(self) -> (Arc<Log>, Arc<Plc>) {
        self.task.abort();
        let _ = self.task.await;
        (self.log, self.plc)
    }

    pub(super) async fn stop(self) {
        self.drain.start();
        self.task.await.unwrap().unwrap();
    }

    pub(super) async fn remote(&self) {
        self.handle.set_switch(common::api::SwitchPosition::Remote, "test", "test").await.unwrap();
    }

    pub(super) fn show(&self, point: PointId, value: impl Into<Value>) {
        self.show_as(point, value, Quality::GOOD);
    }

    pub(super) fn show_as(&self, point: PointId, value: impl Into<Value>, quality: Quality) {
        let now = self.clock.now_us();
        let value = Some(value.into());
        self.current.update(&[Sample { point, value, quality, source_us: now, received_us: now }]);
    }

    pub(super) fn order(&self, point: &str, value: impl Into<Value>) -> CommandOrder {
        CommandOrder {
            id: CommandId::new(),
            twin: twin(),
            point: point.to_owned(),
            value: value.into(),
            // A far side may claim any door: it is not believed.
            requester: Requester { name: "admin".to_owned(), origin: Origin::Local },
            reason: "test".to_owned(),
            deadline_session_us: self.clock.mono_us() + 10_000_000,
        }
    }

    pub(super) async fn cloud(&self, point: &str, value: impl Into<Value>) -> CommandUpdate {
        let order = self.order(point, value);
        let id = order.id;
        self.handle.command(order);
        self.end(id).await
    }

    pub(super) async fn local(
        &self,
        key: &str,
        point: &str,
        value: impl Into<Value>,
    ) -> Result<CommandUpdate, Code> {
        let request = CommandRequest {
            point: point.to_owned(),
            value: value.into(),
            ttl_ms: 10_000,
            reason: String::new(),
        };
        let requester = Requester { name: "uid:0".to_owned(), origin: Origin::Local };
        let u = self.handle.submit(twin(), request, requester, key.to_owned()).await.map_err(|e| e.0)?;
        Ok(self.end(u.id).await)
    }

    /// The command's final state.
    pub(super) async fn end(&self, id: CommandId) -> CommandUpdate {
        self.until(|| self.handle.get(id).filter(|u| u.state.is_final())).await
    }

    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..60_000 {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("did not happen within two minutes of paused time");
    }

    pub(super) fn wish(&self, version: u64, point: &str, value: impl Into<Value>) -> DesiredOrder {
        DesiredOrder {
            twin: twin(),
            version,
            point: point.to_owned(),
            value: Some(value.into()),
            requester: Requester { name: "admin".to_owned(), origin: Origin::Cloud },
            reason: "wish".to_owned(),
            set_us: self.clock.now_us(),
            deadline_session_us: self.clock.mono_us() + 60_000_000,
        }
    }

    /// Gives the wish and waits for what is told of it.
    pub(super) async fn want(&self, order: DesiredOrder) -> DesiredUpdate {
        let before = self.log.desired().len();
        self.handle.desired(vec![order]);
        self.until(|| self.log.desired().get(before).cloned()).await
    }

    pub(super) fn writes(&self) -> usize {
        self.plc.writes.lock().unwrap().len()
    }
}
