//! The Modbus driver against a server on a real socket that can be told to misbehave.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::common::names::Code;
use ::common::{Access, Drain, PointId, Quality, Value};
use common::{Ends, LIMIT, context, registry};
use gateway_adapters::modbus::{Adapter, DeviceConfig, PointConfig};
use gateway_core::{Adapter as _, DeviceWriter, WriteError};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// A device's memory and manners.
#[derive(Default)]
struct State {
    registers: Vec<u16>,
    bits: Vec<bool>,
    /// Addresses that it does not have.
    missing: HashSet<u16>,
    /// Refuses writes with this.
    refuses: Option<ExceptionCode>,
    /// Answers reads and writes so much later.
    read_delay: Duration,
    write_delay: Duration,
    /// A write is done and never answered.
    swallows_writes: bool,
    log: Vec<String>,
    connections: usize,
}

#[derive(Clone)]
struct Plc(Arc<Mutex<State>>);

impl Plc {
    fn new() -> Self {
        let state = State { registers: vec![0; 65_536], bits: vec![false; 65_536], ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    fn get<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.lock().unwrap())
    }

    async fn serve(&self, listener: TcpListener) -> JoinHandle<()> {
        let plc = self.clone();
        tokio::spawn(async move {
            let server = Server::new(listener);
            let connected = |stream: TcpStream, _: SocketAddr| {
                let plc = plc.clone();
                async move {
                    plc.set(|s| s.connections += 1);
                    stream.set_nodelay(true)?;
                    Ok(Some((plc, stream)))
                }
            };
            server.serve(&connected, |_| {}).await.unwrap();
        })
    }
}

impl Service for Plc {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Response, ExceptionCode>> + Send>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let plc = self.clone();
        Box::pin(async move {
            let (answer, delay) = plc.answer(&request.request);
            sleep(delay).await;
            answer
        })
    }
}

impl Plc {
    fn answer(&self, request: &Request<'_>) -> (Result<Response, ExceptionCode>, Duration) {
        let mut s = self.0.lock().unwrap();
        s.log.push(format!("{request:?}"));
        let read = |s: &State, at: u16, n: u16| {
            let range = at..at.checked_add(n).ok_or(ExceptionCode::IllegalDataAddress)?;
            if range.clone().any(|a| s.missing.contains(&a)) {
                return Err(ExceptionCode::IllegalDataAddress);
            }
            Ok(usize::from(range.start)..usize::from(range.end))
        };
        let words = |r: std::ops::Range<usize>| s.registers[r].to_vec();
        let bits = |r: std::ops::Range<usize>| s.bits[r].to_vec();
        match *request {
            Request::ReadHoldingRegisters(a, n) => {
                (read(&s, a, n).map(words).map(Response::ReadHoldingRegisters), s.read_delay)
            }
            Request::ReadInputRegisters(a, n) => {
                (read(&s, a, n).map(words).map(Response::ReadInputRegisters), s.read_delay)
            }
            Request::ReadCoils(a, n) => (read(&s, a, n).map(bits).map(Response::ReadCoils), s.read_delay),
            Request::ReadDiscreteInputs(a, n) => {
                (read(&s, a, n).map(bits).map(Response::ReadDiscreteInputs), s.read_delay)
            }
            ref write => {
                if let Some(code) = s.refuses {
                    return (Err(code), Duration::ZERO);
                }
                let answer = match write {
                    Request::WriteSingleCoil(a, bit) => {
                        s.bits[usize::from(*a)] = *bit;
                        Response::WriteSingleCoil(*a, *bit)
                    }
                    Request::WriteMultipleCoils(a, bits) => {
                        s.bits[usize::from(*a)..][..bits.len()].copy_from_slice(bits);
                        Response::WriteMultipleCoils(*a, bits.len() as u16)
                    }
                    Request::WriteSingleRegister(a, word) => {
                        s.registers[usize::from(*a)] = *word;
                        Response::WriteSingleRegister(*a, *word)
                    }
                    Request::WriteMultipleRegisters(a, words) => {
                        s.registers[usize::from(*a)..][..words.len()].copy_from_slice(words);
                        Response::WriteMultipleRegisters(*a, words.len() as u16)
                    }
                    _ => return (Err(ExceptionCode::IllegalFunction), Duration::ZERO),
                };
                let delay = if s.swallows_writes { Duration::from_secs(3600) } else { s.write_delay };
                (Ok(answer), delay)
            }
        }
    }
}

struct Rig {
    ends: Ends,
    adapter: Arc<Adapter>,
    writer: Option<Arc<dyn DeviceWriter>>,
    drain: Drain,
    run: JoinHandle<()>,
}

impl Rig {
    fn start(addr: SocketAddr, device: &str, points: &[(&str, Access)]) -> Self {
        let device =
            format!("host = \"127.0.0.1\"\nport = {}\nreconnect_max_ms = 200\n{device}", addr.port());
        let device: DeviceConfig = toml::from_str(&device).unwrap();
        let points: Vec<(PointConfig, Access)> =
            points.iter().map(|(text, access)| (point(text), *access)).collect();
        let rows: Vec<_> =
            points.iter().map(|(p, a)| (p.raw_range().value_type, p.raw_range(), *a)).collect();
        let (context, ends) = context(registry(&rows));
        let points = points.into_iter().enumerate().map(|(i, (p, a))| (PointId(i as u32), p, a)).collect();
        let adapter = Arc::new(Adapter::new(0, device, points, context).unwrap());
        let (drain, running) = (Drain::new(), adapter.clone());
        let stop = drain.clone();
        let run = tokio::spawn(async move { running.run(stop).await.unwrap() });
        Self { ends, writer: adapter.writer(), adapter, drain, run }
    }

    async fn write(&self, point: u32, value: impl Into<Value>) -> Result<Option<Value>, WriteError> {
        let deadline = Instant::now() + LIMIT;
        let writer = self.writer.as_ref().unwrap();
        writer.write(PointId(point), value.into(), deadline, allowed()).await.map(|r| r.raw)
    }

    async fn stop(self) {
        self.drain.start();
        timeout(Duration::from_secs(2), self.run).await.unwrap().unwrap();
    }
}

/// `holding 4 f32 cdab 50` and the like.
fn allowed() -> gateway_core::Permit {
    Arc::new(|| Ok(()))
}

fn point(text: &str) -> PointConfig {
    let mut words = text.split(' ');
    let mut next = || words.next();
    let (table, address) = (next().unwrap(), next().unwrap());
    let mut toml = format!("table = \"{table}\"\naddress = {address}\n");
    if let Some(t) = next() {
        toml += &format!("type = \"{t}\"\n");
    }
    if let Some(order) = next() {
        toml += &format!("order = \"{order}\"\n");
    }
    toml += &format!("period_ms = {}\n", next().unwrap_or("50"));
    if let Some(length) = next() {
        toml += &format!("length = {length}\n");
    }
    toml::from_str(&toml).unwrap()
}

async fn plc() -> (Plc, SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let plc = Plc::new();
    let serving = plc.serve(listener).await;
    (plc, addr, serving)
}

use Access::{Read, ReadWrite, Write};

#[tokio::test]
async fn neighbours_are_read_with_one_request_and_each_table_with_its_own() {
    let (plc, addr, _serving) = plc().await;
    plc.set(|s| {
        s.registers[..4].copy_from_slice(&[7, 0x4291, 0, 0xffff]);
        s.bits[1] = true;
    });
    let mut rig = Rig::start(
        addr,
        "register_gap = 4",
        &[
            ("holding 0", Read),
            ("holding 1 f32", Read),
            ("holding 3 i16", Read),
            ("input 3 u16", Read),
            ("coil 0", Read),
            ("coil 1", Read),
            ("discrete 1", Read),
            ("holding 9 u16", Read),
        ],
    );
    rig.ends.value(0, 7u64).await;
    rig.ends.value(1, 72.5).await;
    rig.ends.value(2, -1i64).await;
    assert_eq!(rig.ends.event().await, "device.online");
    for _ in 0..20 {
        let sample = rig.ends.next().await;
        assert_eq!(sample.quality, Quality::GOOD);
    }
    let requests: HashSet<String> = plc.get(|s| s.log.iter().cloned().collect());
    let expected = [
        "ReadHoldingRegisters(0, 4)",
        "ReadHoldingRegisters(9, 1)",
        "ReadInputRegisters(3, 1)",
        "ReadCoils(0, 2)",
        "ReadDiscreteInputs(1, 1)",
    ];
    assert_eq!(requests, expected.map(str::to_owned).into());
    assert!(rig.writer.is_none());
    rig.stop().await;
}

#[tokio::test]
async fn every_type_and_order_is_written_and_read_back() {
    let (plc, addr, _serving) = plc().await;
    let mut points = Vec::new();
    for (n, order) in ["abcd", "cdab", "badc", "dcba"].into_iter().enumerate() {
        for (m, t) in ["u16", "i16", "u32", "i32", "f32", "u64", "i64", "f64", "bool"].into_iter().enumerate()
        {
            points.push(format!("holding {} {t} {order} 1000", n * 100 + m * 4));
        }
    }
    points.push("holding 900 string abcd 1000 9".to_owned());
    points.push("holding 910 string badc 1000 9".to_owned());
    points.push("coil 3 bool abcd 1000".to_owned());
    let points: Vec<_> = points.iter().map(|p| (p.as_str(), ReadWrite)).collect();
    let mut rig = Rig::start(addr, "", &points);
    rig.ends.next().await;
    for n in 0..4 {
        let values: [Value; 9] = [
            65_000u64.into(),
            (-3i64).into(),
            0x0102_0304u64.into(),
            (-0x0102_0304i64).into(),
            (-72.5).into(),
            0x0102_0304_0506_0708u64.into(),
            i64::MIN.into(),
            std::f64::consts::PI.into(),
            true.into(),
        ];
        for (m, v) in (0..).zip(values) {
            assert_eq!(rig.write(n * 9 + m, v.clone()).await, Ok(Some(v)), "{n} {m}");
        }
    }
    assert_eq!(plc.get(|s| s.registers[108..110].to_vec()), [0x0304, 0x0102]);
    assert_eq!(plc.get(|s| s.registers[208..210].to_vec()), [0x0201, 0x0403]);
    assert_eq!(plc.get(|s| s.registers[320..324].to_vec()), [0x0807, 0x0605, 0x0403, 0x0201]);
    assert_eq!(rig.write(36, "recipe 7").await, Ok(Some("recipe 7".into())));
    assert_eq!(rig.write(37, "涂布").await, Ok(Some("涂布".into())));
    assert_eq!(rig.write(38, true).await, Ok(Some(true.into())));
    assert_eq!(plc.get(|s| s.registers[900]), u16::from_be_bytes(*b"re"));
    assert_eq!(plc.get(|s| s.registers[910]), u16::from_le_bytes(["涂".as_bytes()[0], "涂".as_bytes()[1]]));
    let functions: HashSet<_> = plc.get(|s| {
        s.log
            .iter()
            .filter(|l| l.starts_with("Write"))
            .map(|l| l.split('(').next().unwrap().to_owned())
            .collect()
    });
    let expected = ["WriteSingleRegister", "WriteMultipleRegisters", "WriteSingleCoil"];
    assert_eq!(functions, expected.map(str::to_owned).into());
    for (point, value) in
        [(0, Value::U64(65_536)), (0, Value::I64(-1)), (36, "too long for it".into()), (38, 1u64.into())]
    {
        let refused = rig.write(point, value).await.unwrap_err();
        assert!(matches!(refused, WriteError::NotSent { .. }), "{refused}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_device_without_single_writes_gets_the_plural_ones() {
    let (plc, addr, _serving) = plc().await;
    let mut rig = Rig::start(addr, "single_writes = false", &[("holding 0", ReadWrite), ("coil 0", Write)]);
    rig.ends.next().await;
    assert_eq!(rig.write(0, 5u64).await, Ok(Some(5u64.into())));
    assert_eq!(rig.write(1, true).await, Ok(None));
    let writes: Vec<_> = plc.get(|s| s.log.iter().filter(|l| l.starts_with("Write")).cloned().collect());
    assert_eq!(writes, ["WriteMultipleRegisters(0, [5])", "WriteMultipleCoils(0, [true])"]);
    assert!(!plc.get(|s| s.log.iter().any(|l| l.starts_with("ReadCoils"))), "a write-only point is not read");
    rig.stop().await;
}

#[tokio::test]
async fn one_bad_address_does_not_spoil_its_neighbours() {
    let (plc, addr, serving) = plc().await;
    plc.set(|s| {
        s.registers[..5].copy_from_slice(&[10, 11, 12, 13, 14]);
        s.missing.insert(2);
    });
    let points = ["holding 0", "holding 1", "holding 2", "holding 3", "holding 4"].map(|p| (p, Read));
    let mut rig = Rig::start(addr, "", &points);
    let bad = rig.ends.until("bad", |s| s.point.0 == 2).await;
    assert_eq!((bad.quality, bad.value), (Quality::BAD_DEVICE, None));
    for n in [0u32, 1, 3, 4] {
        rig.ends.value(n, u64::from(n) + 10).await;
    }
    plc.set(|s| s.log.clear());
    rig.ends.value(4, 14u64).await;
    rig.ends.value(4, 14u64).await;
    let requests: HashSet<String> = plc.get(|s| s.log.iter().cloned().collect());
    let expected = ["ReadHoldingRegisters(0, 2)", "ReadHoldingRegisters(3, 2)"];
    assert_eq!(requests, expected.map(str::to_owned).into());
    assert!(rig.ends.health.list()[0].connected);
    // The hole stays bad without being asked for; after the device was gone it is looked at again.
    let bad = rig.ends.until("still bad", |s| s.point.0 == 2).await;
    assert_eq!(bad.quality, Quality::BAD_DEVICE);
    plc.set(|s| s.missing.clear());
    serving.abort();
    let _ = serving.await;
    rig.ends.until("not connected", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    let _serving = plc.serve(TcpListener::bind(addr).await.unwrap()).await;
    rig.ends.value(2, 12u64).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_another() {
    let (plc, addr, _serving) = plc().await;
    plc.set(|s| s.registers[0] = 1);
    let mut rig = Rig::start(addr, "timeout_ms = 100", &[("holding 0", Read), ("holding 50", Read)]);
    rig.ends.value(0, 1u64).await;
    let before = plc.get(|s| s.connections);
    // The answer with the old value comes 50 ms after everyone has stopped waiting for it.
    plc.set(|s| s.read_delay = Duration::from_millis(150));
    let bad = rig.ends.until("a timeout", |s| s.quality == Quality::BAD_TIMEOUT).await;
    assert_eq!(bad.value, None);
    plc.set(|s| {
        s.read_delay = Duration::ZERO;
        s.registers[0] = 2;
    });
    let first = rig.ends.until("a good sample", |s| s.point.0 == 0 && s.quality.is_good()).await;
    assert_eq!(first.value, Some(Value::U64(2)));
    for _ in 0..20 {
        let s = rig.ends.next().await;
        assert!(s.quality.is_good());
        assert_eq!(s.value, Some(Value::U64(if s.point.0 == 0 { 2 } else { 0 })));
    }
    assert!(plc.get(|s| s.connections) > before, "the connection must not be used again");
    rig.stop().await;
}

#[tokio::test]
async fn a_device_that_restarts_is_found_again_and_told() {
    let (plc, addr, serving) = plc().await;
    plc.set(|s| s.registers[0] = 1);
    let mut rig = Rig::start(addr, "", &[("holding 0", ReadWrite)]);
    rig.ends.value(0, 1u64).await;
    assert_eq!(rig.ends.event().await, "device.online");
    serving.abort();
    let _ = serving.await;
    rig.ends.until("not connected", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    assert_eq!(rig.ends.event().await, "device.offline");
    let health = rig.ends.health.list().remove(0);
    assert!(!health.connected && health.last_error.is_some(), "{health:?}");
    let refused = rig.write(0, 5u64).await.unwrap_err();
    assert!(matches!(refused, WriteError::NotSent { code: Code::NotConnected, .. }), "{refused}");
    let _serving = plc.serve(TcpListener::bind(addr).await.unwrap()).await;
    rig.ends.value(0, 1u64).await;
    assert_eq!(rig.ends.event().await, "device.online");
    assert_eq!(rig.write(0, 5u64).await, Ok(Some(5u64.into())));
    rig.stop().await;
}

#[tokio::test]
async fn a_device_that_was_never_there_gives_bad_samples_and_one_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let mut rig = Rig::start(addr, "", &[("holding 0", Read)]);
    for _ in 0..5 {
        assert_eq!(rig.ends.next().await.quality, Quality::BAD_NOT_CONNECTED);
    }
    assert_eq!(rig.ends.event().await, "device.offline");
    assert!(rig.ends.events.try_recv().is_err());
    rig.stop().await;
}

#[tokio::test]
async fn what_a_failed_write_did_is_told_as_it_is_known() {
    let (plc, addr, _serving) = plc().await;
    let mut rig = Rig::start(addr, "timeout_ms = 150", &[("holding 0", ReadWrite), ("input 0", Read)]);
    rig.ends.next().await;
    plc.set(|s| s.refuses = Some(ExceptionCode::ServerDeviceBusy));
    assert!(matches!(rig.write(0, 1u64).await, Err(WriteError::Refused { .. })));
    plc.set(|s| s.refuses = Some(ExceptionCode::Acknowledge));
    assert!(matches!(rig.write(0, 1u64).await, Err(WriteError::Unsure { .. })));
    plc.set(|s| (s.refuses, s.swallows_writes) = (None, true));
    assert!(matches!(rig.write(0, 2u64).await, Err(WriteError::Unsure { .. })));
    assert_eq!(plc.get(|s| s.registers[0]), 2, "it did happen");
    plc.set(|s| s.swallows_writes = false);
    rig.ends.value(0, 2u64).await;
    let read = rig.writer.as_ref().unwrap().read(PointId(0)).await.unwrap();
    assert_eq!(read.raw, Some(Value::U64(2)));
    let refused = rig.write(1, 2u64).await.unwrap_err();
    assert!(matches!(refused, WriteError::NotSent { code: Code::NotWritable, .. }), "{refused}");
    let refused = rig.write(9, 2u64).await.unwrap_err();
    assert!(matches!(refused, WriteError::NotSent { code: Code::UnknownPoint, .. }), "{refused}");
    rig.stop().await;
}

#[tokio::test]
async fn a_write_goes_before_reads_that_wait() {
    let (plc, addr, _serving) = plc().await;
    // Forty blocks, each 10 ms: the device is busy all the time.
    plc.set(|s| s.read_delay = Duration::from_millis(10));
    let points: Vec<_> = (0..40).map(|n| format!("holding {} u16 abcd 10", n * 2)).collect();
    let points: Vec<_> = points.iter().map(|p| (p.as_str(), ReadWrite)).collect();
    let mut rig = Rig::start(addr, "", &points);
    rig.ends.next().await;
    for n in 0..5u64 {
        let before = plc.get(|s| s.log.len());
        assert_eq!(rig.write(3, n).await, Ok(Some(n.into())));
        let log = plc.get(|s| s.log[before..].to_vec());
        let at = log.iter().position(|l| l.starts_with("Write")).unwrap();
        assert!(at <= 2, "reads went before the write: {log:?}");
        assert_eq!(log[at + 1], "ReadHoldingRegisters(6, 1)");
    }
    // Reads that cannot keep up are skipped and counted, and every point still has its turn.
    assert!(rig.adapter.overruns() > 0);
    for n in 0..40 {
        rig.ends.until("its turn", |s| s.point.0 == n).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_write_that_cannot_begin_before_its_deadline_is_not_begun() {
    let (plc, addr, _serving) = plc().await;
    let mut rig = Rig::start(addr, "timeout_ms = 5000", &[("holding 0", ReadWrite)]);
    rig.ends.next().await;
    plc.set(|s| s.read_delay = Duration::from_millis(500));
    let reads = plc.get(|s| s.log.len());
    timeout(LIMIT, async {
        while plc.get(|s| s.log.len()) == reads {
            sleep(Duration::from_millis(1)).await
        }
    })
    .await
    .unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let writer = rig.writer.clone().unwrap();
    let refused = writer.write(PointId(0), 9u64.into(), deadline, allowed()).await.unwrap_err();
    assert!(matches!(refused, WriteError::NotSent { code: Code::Expired, .. }), "{refused}");
    rig.ends.until("the read", |s| s.quality.is_good()).await;
    rig.ends.until("one more", |s| s.quality.is_good()).await;
    assert!(!plc.get(|s| s.log.iter().any(|l| l.starts_with("Write"))));
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_longer_allowed_or_waited_for_when_the_device_is_free_is_not_written() {
    let (plc, addr, _serving) = plc().await;
    let mut rig = Rig::start(addr, "timeout_ms = 5000", &[("holding 0 u16 abcd 20", ReadWrite)]);
    rig.ends.next().await;
    plc.set(|s| s.read_delay = Duration::from_millis(100));
    let writer = rig.writer.clone().unwrap();
    let permit: gateway_core::Permit = Arc::new(|| Err((Code::LocalMode, "hands on".to_owned())));
    let refused = writer.write(PointId(0), 9u64.into(), Instant::now() + LIMIT, permit).await.unwrap_err();
    assert!(matches!(refused, WriteError::NotSent { code: Code::LocalMode, .. }), "{refused}");
    // A caller that goes away while its write waits behind a read.
    let reads = plc.get(|s| s.log.len());
    timeout(LIMIT, async {
        while plc.get(|s| s.log.len()) == reads {
            sleep(Duration::from_millis(1)).await
        }
    })
    .await
    .unwrap();
    let waits = writer.write(PointId(0), 9u64.into(), Instant::now() + LIMIT, allowed());
    assert!(timeout(Duration::from_millis(10), waits).await.is_err());
    for _ in 0..3 {
        rig.ends.until("more reads", |s| s.quality.is_good()).await;
    }
    assert!(!plc.get(|s| s.log.iter().any(|l| l.starts_with("Write"))));
    rig.stop().await;
}

#[tokio::test]
async fn a_device_that_does_not_answer_does_not_hold_up_the_end_and_later_writes_are_refused() {
    let (plc, addr, _serving) = plc().await;
    let mut rig = Rig::start(addr, "timeout_ms = 60000", &[("holding 0 u16 abcd 20", ReadWrite)]);
    rig.ends.next().await;
    let reads = plc.get(|s| s.log.len());
    plc.set(|s| s.read_delay = Duration::from_secs(60));
    timeout(LIMIT, async {
        while plc.get(|s| s.log.len()) == reads {
            sleep(Duration::from_millis(1)).await
        }
    })
    .await
    .unwrap();
    let writer = rig.writer.clone().unwrap();
    timeout(LIMIT, rig.stop()).await.expect("an end");
    let refused = writer.write(PointId(0), 9u64.into(), Instant::now() + LIMIT * 2, allowed());
    let refused = timeout(LIMIT, refused).await.expect("an answer").unwrap_err();
    assert!(matches!(refused, WriteError::NotSent { code: Code::NotConnected, .. }), "{refused}");
}

#[tokio::test]
async fn periods_do_not_drift() {
    let (plc, addr, _serving) = plc().await;
    plc.set(|s| s.read_delay = Duration::from_millis(5));
    let mut rig = Rig::start(addr, "", &[("holding 0 u16 abcd 20", Read)]);
    let first = rig.ends.next().await;
    let mut last = first.clone();
    for _ in 0..50 {
        last = rig.ends.next().await;
    }
    let polls = 50 + i64::try_from(rig.adapter.overruns()).unwrap();
    let off_us = (last.source_us - first.source_us - polls * 20_000).abs();
    assert!(off_us < 20_000, "{off_us} us off after {polls} periods");
    rig.stop().await;
}
