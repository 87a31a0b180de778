//! What the uplink's tests share: a log in memory, orders that only listen, and a cloud that speaks real MQTT
//! over TCP by a script.

#![allow(dead_code)] // each test takes its part

pub(crate) mod cloud;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::api::{BufferHealth, CommandRequest, GatewayHealth, SwitchPosition};
use common::command::{CommandOrder, CommandUpdate, DesiredOrder, LogEntry, Origin, Requester, Severity};
use common::names::Code;
use common::supervise::Backoff;
use common::wire::{Body, Frame, FrameHeader, Known, Snapshot, StreamRange};
use common::{
    Clock, CommandId, CommandState, Drain, Incarnation, IntervalSet, PointId, Quality, Sample, SchemaHash,
    TwinId, Value,
};
use gateway_core::{Configurations, FrameId, FrameLog, Lacking, LogError, Orders, Updates, Watermark};
use gateway_sync::{Options, Uplink, Url};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

pub(crate) const SCHEMA_JSON: &[u8] = b"{\"schema\":1}";
pub(crate) const OLD: Incarnation = Incarnation(11);
pub(crate) const NOW: Incarnation = Incarnation(22);

/// A log in memory.
pub(crate) struct Log {
    frames: Mutex<BTreeMap<FrameId, Vec<u8>>>,
    acked: Mutex<BTreeMap<Incarnation, IntervalSet>>,
    watermark: watch::Sender<Watermark>,
    notes: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What was appended besides samples.
    pub(crate) told: Mutex<Vec<LogEntry>>,
}

pub(crate) fn frame(incarnation: Incarnation, seq: u64) -> Vec<u8> {
    let header = FrameHeader {
        schema: common::Schema::hash_of(SCHEMA_JSON),
        incarnation,
        seq,
        cut_us: 0,
        cut_mono_us: 0,
        synchronised: true,
    };
    Frame { header, body: Body::Samples(vec![sample(seq)]) }.encode()
}

fn sample(seq: u64) -> Sample {
    let (point, at) = (PointId(0), i64::try_from(seq).unwrap());
    let value = Some(Value::U64(seq));
    Sample { point, value, quality: Quality::GOOD, source_us: at, received_us: at }
}

impl Log {
    /// With `old` frames of an earlier boot.
    pub(crate) fn new(old: u64) -> Arc<Self> {
        let frames = (1..=old).map(|seq| (FrameId { incarnation: OLD, seq }, frame(OLD, seq)));
        Arc::new(Self {
            frames: Mutex::new(frames.collect()),
            acked: Mutex::default(),
            watermark: watch::Sender::new(Watermark::default()),
            notes: Mutex::default(),
            told: Mutex::default(),
        })
    }

    pub(crate) fn add(&self, n: u64) {
        for _ in 0..n {
            self.append(Body::Samples(vec![])).unwrap();
        }
    }

    /// Something that is urgent.
    pub(crate) fn event(&self) -> FrameId {
        let entry = LogEntry {
            at_us: 0,
            actor: "system".to_owned(),
            action: "device.offline".to_owned(),
            target: "plc".to_owned(),
            twin: None,
            severity: Severity::Warning,
            code: None,
            detail: String::new(),
        };
        self.append(Body::Event(entry)).unwrap()
    }

    /// A step of a command, which is not on disk yet.
    pub(crate) fn step(&self, state: CommandState) -> FrameId {
        self.append(Body::Command(CommandUpdate {
            id: CommandId(uuid::Uuid::nil()),
            twin: TwinId(uuid::Uuid::nil()),
            point: "p".to_owned(),
            value: Value::F64(1.0),
            requester: Requester { name: "a".to_owned(), origin: Origin::Cloud },
            reason: String::new(),
            state,
            code: None,
            detail: String::new(),
            read_back: None,
            at_us: 1,
        }))
        .unwrap()
    }

    /// All up to a frame is on disk.
    pub(crate) fn synced(&self, frame: FrameId) {
        self.watermark.send_modify(|w| w.durable = frame.seq);
    }

    /// Actions of the events in it.
    pub(crate) fn events(&self) -> Vec<String> {
        let frames = self.frames.lock().unwrap();
        let event = |bytes: &Vec<u8>| match Frame::decode(bytes).unwrap().body {
            Body::Event(entry) => Some(entry.action),
            _ => None,
        };
        frames.values().filter_map(event).collect()
    }

    pub(crate) fn all(&self) -> Vec<FrameId> {
        self.frames.lock().unwrap().keys().copied().collect()
    }

    pub(crate) fn is_all_acked(&self) -> bool {
        let acked = self.acked.lock().unwrap();
        self.all().iter().all(|f| acked.get(&f.incarnation).is_some_and(|a| a.contains(f.seq)))
    }
}

#[async_trait]
impl FrameLog for Log {
    fn incarnation(&self) -> Incarnation {
        NOW
    }

    fn append(&self, body: Body) -> Result<FrameId, LogError> {
        if let Body::Event(entry) = &body {
            self.told.lock().unwrap().push(entry.clone());
        }
        let mut frames = self.frames.lock().unwrap();
        let id = FrameId { incarnation: NOW, seq: self.watermark.borrow().head + 1 };
        let samples = frame(NOW, id.seq);
        let bytes = match body {
            Body::Samples(_) => samples,
            body => Frame { header: Frame::peek(&samples).unwrap(), body }.encode(),
        };
        frames.insert(id, bytes);
        self.watermark.send_modify(|w| w.head = id.seq);
        Ok(id)
    }

    async fn durable(&self, _: FrameId) -> Result<(), LogError> {
        Ok(())
    }

    fn watermark(&self) -> watch::Receiver<Watermark> {
        self.watermark.subscribe()
    }

    fn snapshot(&self) -> Vec<Snapshot> {
        let _frames = self.frames.lock().unwrap();
        let seq = self.watermark.borrow().head;
        let schema = common::Schema::hash_of(SCHEMA_JSON);
        let rows = vec![sample(seq)];
        if seq == 0 { vec![] } else { vec![Snapshot { schema, incarnation: NOW, seq, rows }] }
    }

    fn ranges(&self) -> Vec<StreamRange> {
        let mut out: Vec<StreamRange> = Vec::new();
        for FrameId { incarnation, seq } in self.all() {
            match out.last_mut().filter(|r| r.incarnation == incarnation) {
                Some(range) => range.last = seq,
                None => out.push(StreamRange { incarnation, first: seq, last: seq }),
            }
        }
        out
    }

    fn schemas(&self) -> Vec<SchemaHash> {
        vec![common::Schema::hash_of(SCHEMA_JSON)]
    }

    fn schema_json(&self, hash: SchemaHash) -> Option<Vec<u8>> {
        (hash == common::Schema::hash_of(SCHEMA_JSON)).then(|| SCHEMA_JSON.to_vec())
    }

    fn read(&self, i: Incarnation, from: u64, max_bytes: usize) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        let frames = self.frames.lock().unwrap();
        let first = FrameId { incarnation: i, seq: from };
        let last = FrameId { incarnation: i, seq: u64::MAX };
        let mut bytes = 0;
        let fits = |(_, f): &(&FrameId, &Vec<u8>)| {
            bytes += f.len();
            bytes <= max_bytes
        };
        Ok(frames.range(first..=last).take_while(fits).map(|(id, f)| (id.seq, f.clone())).collect())
    }

    fn ack(&self, known: &[Known]) -> Result<(), LogError> {
        let mut acked = self.acked.lock().unwrap();
        known.iter().for_each(|k| acked.entry(k.incarnation).or_default().extend(&k.seqs));
        Ok(())
    }

    fn acked(&self, incarnation: Incarnation) -> IntervalSet {
        self.acked.lock().unwrap().get(&incarnation).cloned().unwrap_or_default()
    }

    fn commands(&self) -> Vec<CommandUpdate> {
        vec![]
    }

    fn note(&self, key: &str) -> Option<Vec<u8>> {
        self.notes.lock().unwrap().get(key).cloned()
    }

    fn set_note(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        self.notes.lock().unwrap().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn lacks(&self, known: &[Known]) -> Lacking {
        let mut lacking = Lacking::default();
        for Known { incarnation, seqs } in known {
            let mut acked = self.acked.lock().unwrap();
            let Some(acked) = acked.get_mut(incarnation) else { continue };
            let lost = acked.minus(seqs);
            *acked = acked.minus(&lost);
            let gone = |seq: &u64| !self.all().contains(&FrameId { incarnation: *incarnation, seq: *seq });
            let gone = lost.iter().flat_map(|(a, b)| a..=b).filter(gone).count() as u64;
            lacking.gone += gone;
            lacking.again += lost.len() - gone;
        }
        lacking
    }

    fn health(&self) -> BufferHealth {
        BufferHealth::default()
    }
}

/// Orders that are only listened to.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) commands: Mutex<Vec<CommandOrder>>,
    pub(crate) desired: Mutex<Vec<DesiredOrder>>,
}

#[async_trait]
impl Orders for Heard {
    fn command(&self, order: CommandOrder) {
        self.commands.lock().unwrap().push(order);
    }

    fn desired(&self, orders: Vec<DesiredOrder>) {
        self.desired.lock().unwrap().extend(orders);
    }

    async fn submit(
        &self,
        _: TwinId,
        _: CommandRequest,
        _: Requester,
        _: String,
    ) -> Result<CommandUpdate, (Code, String)> {
        Err((Code::Unavailable, String::new()))
    }

    fn get(&self, _: CommandId) -> Option<CommandUpdate> {
        None
    }

    fn recent(&self, _: usize) -> Vec<CommandUpdate> {
        vec![]
    }

    fn updates(&self) -> broadcast::Receiver<CommandUpdate> {
        broadcast::channel(1).1
    }

    fn switch(&self) -> SwitchPosition {
        SwitchPosition::Remote
    }

    async fn set_switch(&self, _: SwitchPosition, _: &str, _: &str) -> Result<(), (Code, String)> {
        Ok(())
    }
}

pub(crate) fn health() -> GatewayHealth {
    GatewayHealth {
        left_out: 0,
        uplink_error: None,
        version: "1".to_owned(),
        uptime_ms: 0,
        clock_synchronised: true,
        switch: SwitchPosition::Remote,
        uplink: true,
        link: None,
        buffer: BufferHealth::default(),
        dropped: BTreeMap::new(),
        devices: vec![],
        parts: vec![],
    }
}

pub(crate) fn options(port: u16) -> Options {
    let url: Url = format!("mqtt://127.0.0.1:{port}").parse().unwrap();
    let mut o = Options::new(url, common::TenantId::default(), "g1".parse().unwrap());
    o.password = "secret".to_owned();
    o.backoff = Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(20), ..o.backoff };
    o
}

/// A running uplink.
pub(crate) struct Running {
    pub(crate) uplink: Arc<Uplink>,
    pub(crate) heard: Arc<Heard>,
    drain: Drain,
    task: JoinHandle<()>,
}

pub(crate) fn run(options: Options, log: &Arc<Log>) -> Running {
    run_with(options, log, None)
}

/// The same of a box that takes configuration documents.
pub(crate) fn run_with(
    options: Options,
    log: &Arc<Log>,
    configurations: Option<Arc<dyn Configurations>>,
) -> Running {
    run_as(options, log, |uplink| match configurations {
        Some(configurations) => uplink.with_configurations(configurations),
        None => uplink,
    })
}

/// The same of a box that takes bundles of updates.
pub(crate) fn run_updates(options: Options, log: &Arc<Log>, updates: Arc<dyn Updates>) -> Running {
    run_as(options, log, |uplink| uplink.with_updates(updates))
}

fn run_as(options: Options, log: &Arc<Log>, with: impl FnOnce(Uplink) -> Uplink) -> Running {
    let heard = Arc::new(Heard::default());
    let uplink = Uplink::new(options, log.clone(), heard.clone(), Clock::system(), Arc::new(health));
    let uplink = Arc::new(with(uplink));
    let drain = Drain::new();
    let (part, until) = (uplink.clone(), drain.clone());
    let task = tokio::spawn(async move { part.run(until).await.unwrap() });
    Running { uplink, heard, drain, task }
}

impl Running {
    /// Ends it; it must take less than two seconds.
    pub(crate) async fn end(self) {
        self.drain.start();
        tokio::time::timeout(Duration::from_secs(2), self.task).await.expect("drained in 2 s").unwrap();
    }
}

/// Waits on a condition, at most 20 s.
pub(crate) async fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    let wait = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}
