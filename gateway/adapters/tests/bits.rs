//! Bits of registers, written to devices on a real socket with and without mask write.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::common::names::Code;
use ::common::{Access, Drain, PointId, Value};
use common::{Ends, LIMIT, context, registry};
use gateway_adapters::modbus::{Adapter, DeviceConfig, PointConfig};
use gateway_core::{Adapter as _, DeviceWriter, Permit, WriteError};
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::server::{Device, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// A device's memory and manners.
#[derive(Default)]
struct State {
    registers: Vec<u16>,
    /// Whether it knows function 16 (hex).
    mask: bool,
    /// Refuses a read of register 20 alone with this.
    unreadable: Option<Exception>,
    log: Vec<String>,
}

#[derive(Clone)]
struct Plc(Arc<Mutex<State>>);

impl Device for Plc {
    fn answer(&self, _: u8, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Option<Exception>> {
        let mut s = self.0.lock().unwrap();
        let (from, count) = (usize::from(request.address()), usize::from(request.count()));
        s.log.push(match *request {
            Request::Read { address, count, .. } => format!("read {address} {count}"),
            Request::WriteRegister { address, value } => format!("06 {address} {value:#06x}"),
            Request::WriteRegisters { address, data } => format!("10 {address} {data:02x?}"),
            Request::MaskWrite { address, and, or } => format!("16 {address} {and:#06x} {or:#06x}"),
            ref other => format!("{other:?}"),
        });
        let (mask, unreadable) = (s.mask, s.unreadable.filter(|_| (from, count) == (20, 1)));
        let own = s.registers.get_mut(from..from + count).ok_or(Some(Exception::ILLEGAL_ADDRESS))?;
        match *request {
            Request::Read { .. } if unreadable.is_some() => return Err(unreadable),
            Request::Read { .. } => data.extend(own.iter().flat_map(|r| r.to_be_bytes())),
            Request::WriteRegister { value, .. } => own[0] = value,
            Request::WriteRegisters { data, .. } => own[0] = u16::from_be_bytes([data[0], data[1]]),
            Request::MaskWrite { and, or, .. } if mask => own[0] = own[0] & and | or & !and,
            _ => return Err(Some(Exception::ILLEGAL_FUNCTION)),
        }
        Ok(())
    }
}

struct Rig {
    plc: Plc,
    ends: Ends,
    writer: Arc<dyn DeviceWriter>,
    drain: Drain,
    run: JoinHandle<()>,
}

impl Rig {
    /// Points 0 to 2 are bits 3, 5 and 15 of register 20; many others are read all the time.
    async fn start(mask: bool, device: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plc = Plc(Arc::new(Mutex::new(State { mask, registers: vec![0; 64], ..State::default() })));
        plc.0.lock().unwrap().registers[20] = 0xA0A0;
        let served = plc.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let plc = served.clone();
                tokio::spawn(async move { serve(stream, Framing::Mbap, &plc).await });
            }
        });
        let device: DeviceConfig = toml::from_str(&format!(
            "host = \"127.0.0.1\"\nport = {port}\nregister_gap = 0\nreconnect_max_ms = 200\n{device}"
        ))
        .unwrap();
        let bit = |bit: u16| format!("table = \"holding\"\naddress = 20\nbit = {bit}\nperiod_ms = 50");
        let busy = |n: u16| format!("table = \"holding\"\naddress = {}\nperiod_ms = 10", 30 + n * 2);
        let texts = [3, 5, 15].map(bit).into_iter().chain((0..15).map(busy));
        let points: Vec<PointConfig> = texts.map(|t| toml::from_str(&t).unwrap()).collect();
        let access = |n: usize| if n < 3 { Access::ReadWrite } else { Access::Read };
        let rows: Vec<_> = points
            .iter()
            .enumerate()
            .map(|(n, p)| (p.raw_range().value_type, p.raw_range(), access(n)))
            .collect();
        let (context, mut ends) = context(registry(&rows));
        let points = points.into_iter().enumerate().map(|(n, p)| (PointId(n as u32), p, access(n))).collect();
        let adapter = Arc::new(Adapter::new(0, device, points, context).unwrap());
        let (drain, writer) = (Drain::new(), adapter.writer().unwrap());
        let stop = drain.clone();
        let run = tokio::spawn(async move { adapter.run(stop).await.unwrap() });
        ends.value(0, false).await;
        Self { plc, ends, writer, drain, run }
    }

    async fn write(&self, point: u32, on: bool) -> Result<Option<Value>, WriteError> {
        self.write_if(point, on, Arc::new(|| Ok(()))).await
    }

    async fn write_if(&self, point: u32, on: bool, permit: Permit) -> Result<Option<Value>, WriteError> {
        let deadline = Instant::now() + LIMIT;
        self.writer.write(PointId(point), on.into(), deadline, permit).await.map(|r| r.raw)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.plc.0.lock().unwrap());
    }

    fn register(&self) -> u16 {
        self.plc.0.lock().unwrap().registers[20]
    }

    /// What was asked since the last time, from the first request that has to do with register 20 alone and a write
    /// on to the last.
    fn turns(&self) -> Vec<String> {
        let log = std::mem::take(&mut self.plc.0.lock().unwrap().log);
        let write = |l: &String| !l.starts_with("read");
        let (Some(first), Some(last)) = (log.iter().position(write), log.iter().rposition(write)) else {
            return Vec::new();
        };
        let first = if first > 0 && log[first - 1] == "read 20 1" { first - 1 } else { first };
        log[first..=last].to_vec()
    }

    async fn stop(self) {
        self.drain.start();
        timeout(Duration::from_secs(2), self.run).await.unwrap().unwrap();
    }
}

fn yes() -> Result<Option<Value>, WriteError> {
    Ok(Some(true.into()))
}

#[tokio::test]
async fn a_device_with_mask_write_gets_one_whatever_else_is_allowed() {
    for setting in ["", "bit_write = \"mask\"", "bit_write = \"auto\""] {
        let rig = Rig::start(true, setting).await;
        rig.turns();
        assert_eq!(rig.write(0, true).await, yes(), "{setting}");
        assert_eq!(rig.turns(), ["16 20 0xfff7 0x0008"], "{setting}");
        assert_eq!(rig.register(), 0xA0A8);
        rig.stop().await;
    }
}

#[tokio::test]
async fn without_the_setting_a_register_is_never_written_for_its_bit() {
    let rig = Rig::start(false, "").await;
    rig.turns();
    let refused = rig.write(0, true).await.unwrap_err();
    assert!(matches!(refused, WriteError::Refused { .. }), "{refused}");
    assert_eq!(rig.turns(), ["16 20 0xfff7 0x0008"]);
    assert_eq!(rig.register(), 0xA0A0);
    rig.stop().await;
}

#[tokio::test]
async fn auto_asks_for_the_mask_once_and_then_changes_the_register_in_one_turn() {
    let mut rig = Rig::start(false, "bit_write = \"auto\"").await;
    rig.turns();
    assert_eq!(rig.write(0, true).await, yes());
    // Fifteen other registers are read every 10 ms, and none of it came between.
    assert_eq!(rig.turns(), ["16 20 0xfff7 0x0008", "read 20 1", "06 20 0xa0a8"]);
    for (point, on, stands) in [(1, false, 0xA088), (2, false, 0x2088), (1, true, 0x20A8), (0, false, 0x20A0)]
    {
        assert_eq!(rig.write(point, on).await, Ok(Some(on.into())));
        assert_eq!(rig.turns(), ["read 20 1".to_owned(), format!("06 20 {stands:#06x}")]);
    }
    // What the device did between two of our writes stays.
    rig.set(|s| s.registers[20] |= 0x0001);
    assert_eq!(rig.write(2, true).await, yes());
    assert_eq!(rig.register(), 0xA0A1);
    rig.ends.value(2, true).await;
    // A refusal that means something else is none of a missing function.
    rig.set(|s| s.unreadable = Some(Exception::BUSY));
    let refused = rig.write(2, false).await.unwrap_err();
    assert!(matches!(refused, WriteError::Refused { .. }), "{refused}");
    assert_eq!(rig.register(), 0xA0A1);
    rig.stop().await;
}

#[tokio::test]
async fn bits_that_wait_together_are_one_read_and_one_write() {
    let rig = Rig::start(false, "bit_write = \"read_modify_write\"\nsingle_writes = false").await;
    rig.turns();
    let all = tokio::join!(rig.write(0, true), rig.write(1, false), rig.write(2, false));
    assert_eq!(all, (yes(), Ok(Some(false.into())), Ok(Some(false.into()))));
    assert_eq!(rig.turns(), ["read 20 1", "10 20 [20, 88]"]);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_longer_allowed_after_the_read_is_not_written_and_the_others_are() {
    let rig = Rig::start(false, "bit_write = \"read_modify_write\"").await;
    rig.turns();
    let asked = AtomicU32::new(0);
    let once: Permit = Arc::new(move || match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err((Code::LocalMode, "hands on".to_owned())),
    });
    let (withdrawn, other) = tokio::join!(rig.write_if(0, true, once.clone()), rig.write(2, false));
    assert!(matches!(withdrawn, Err(WriteError::NotSent { code: Code::LocalMode, .. })), "{withdrawn:?}");
    assert_eq!(other, Ok(Some(false.into())));
    assert_eq!(rig.turns(), ["read 20 1", "06 20 0x20a0"]);
    let withdrawn = rig.write_if(0, true, once).await;
    assert!(matches!(withdrawn, Err(WriteError::NotSent { code: Code::LocalMode, .. })), "{withdrawn:?}");
    assert_eq!(rig.turns(), [""; 0]);
    // A register that cannot be read is not written.
    rig.set(|s| s.unreadable = Some(Exception::ILLEGAL_ADDRESS));
    let refused = rig.write(0, true).await.unwrap_err();
    assert!(
        matches!(&refused, WriteError::Refused { detail } if detail.contains("read before")),
        "{refused}"
    );
    assert_eq!((rig.turns(), rig.register()), (vec![], 0x20A0));
    rig.stop().await;
}
