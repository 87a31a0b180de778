//! Lines over every transport: serial ports (pseudo terminals), serial device servers, modems that dial in, backups.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::common::{Access, Drain, PointId, Quality, Value};
use common::{Ends, LIMIT, context, registry};
use gateway_adapters::modbus::{Adapter, DeviceSpec, LineConfig, Modems, PointConfig};
use gateway_core::{Adapter as _, DeviceWriter};
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::server::{Device, serve};
use serial2_tokio::SerialPort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Units 1 to 3 with a hundred registers each; others are silent.
#[derive(Clone)]
struct Units(Arc<Mutex<[[u16; 100]; 3]>>);

impl Units {
    fn new(first: u16) -> Self {
        let mut memory = [[0; 100]; 3];
        for (unit, registers) in memory.iter_mut().enumerate() {
            registers[0] = first + unit as u16;
        }
        Self(Arc::new(Mutex::new(memory)))
    }
}

impl Device for Units {
    fn answer(&self, unit: u8, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Option<Exception>> {
        let mut memory = self.0.lock().unwrap();
        let own = unit.checked_sub(1).and_then(|u| memory.get_mut(usize::from(u))).ok_or(None)?;
        let from = usize::from(request.address());
        let own =
            own.get_mut(from..from + usize::from(request.count())).ok_or(Some(Exception::ILLEGAL_ADDRESS))?;
        match *request {
            Request::Read { .. } => data.extend(own.iter().flat_map(|r| r.to_be_bytes())),
            Request::WriteRegister { value, .. } => own[0] = value,
            Request::WriteRegisters { data, .. } => {
                for (to, pair) in own.iter_mut().zip(data.chunks(2)) {
                    *to = u16::from_be_bytes([pair[0], pair[1]]);
                }
            }
            Request::MaskWrite { and, or, .. } => own[0] = own[0] & and | or & !and,
            _ => return Err(Some(Exception::ILLEGAL_FUNCTION)),
        }
        Ok(())
    }
}

struct Rig {
    ends: Ends,
    modems: Modems,
    writers: Vec<(usize, Arc<dyn DeviceWriter>)>,
    drain: Drain,
    run: JoinHandle<()>,
}

impl Rig {
    /// A line with one device of a unit and its points.
    fn start(line: &str, device: &str, points: &[&str]) -> Self {
        Self::with(Modems::default(), line, device, points)
    }

    fn with(modems: Modems, line: &str, device: &str, points: &[&str]) -> Self {
        let points: Vec<PointConfig> =
            points.iter().map(|p| toml::from_str(&p.replace("; ", "\n")).unwrap()).collect();
        let rows: Vec<_> =
            points.iter().map(|p| (p.raw_range().value_type, p.raw_range(), Access::ReadWrite)).collect();
        let (mut context, ends) = context(registry(&rows));
        context.modems = modems.clone();
        let line: LineConfig =
            toml::from_str(&format!("name = \"l\"\nreconnect_max_ms = 200\n{line}")).unwrap();
        let config = toml::from_str(&format!("line = \"l\"\n{device}")).unwrap();
        let points = (0u32..).zip(points).map(|(n, p)| (PointId(n), p, Access::ReadWrite)).collect();
        let spec = DeviceSpec { device: 0, config, points };
        let adapter = Arc::new(Adapter::line(line, vec![spec], context).unwrap());
        let (drain, running) = (Drain::new(), adapter.clone());
        let stop = drain.clone();
        let run = tokio::spawn(async move { running.run(stop).await.unwrap() });
        Self { ends, modems, writers: adapter.writers(), drain, run }
    }

    async fn write(&self, point: u32, value: impl Into<Value>) -> Option<Value> {
        let deadline = Instant::now() + LIMIT;
        let written = self.writers[0].1.write(PointId(point), value.into(), deadline, Arc::new(|| Ok(())));
        written.await.unwrap().raw
    }

    async fn stop(self) {
        self.drain.start();
        timeout(Duration::from_secs(2), self.run).await.unwrap().unwrap();
    }
}

/// The pseudo terminals that this process has open.
fn terminals() -> Vec<PathBuf> {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    fds.filter_map(|fd| std::fs::read_link(fd.path()).ok()).filter(|to| to.starts_with("/dev/pts")).collect()
}

/// A pseudo terminal with units at its other end, reachable under `path`.
fn terminal(path: &Path, framing: Framing, units: &Units) -> JoinHandle<()> {
    let before = terminals();
    let (master, slave) = SerialPort::pair().unwrap();
    let name = terminals().into_iter().find(|t| !before.contains(t)).unwrap();
    let _ = std::fs::remove_file(path);
    std::os::unix::fs::symlink(name, path).unwrap();
    let units = units.clone();
    tokio::spawn(async move {
        let _kept_open = slave;
        let _ = serve(master, framing, &units).await;
    })
}

fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("tty")
}

const POINTS: [&str; 3] = [
    "table = \"holding\"; address = 0; period_ms = 50",
    "table = \"holding\"; address = 10; type = \"f32\"; order = \"cdab\"; period_ms = 50",
    "table = \"holding\"; address = 20; bit = 3; period_ms = 50",
];

#[tokio::test]
async fn serial_lines_read_write_and_come_back_after_the_port_was_gone() {
    for (name, framing) in [("rtu", Framing::Rtu), ("ascii", Framing::Ascii)] {
        let (dir, units) = (tempfile::tempdir().unwrap(), Units::new(40));
        let serving = terminal(&path(&dir), framing, &units);
        let line = format!(
            "transport = \"{name}\"\npath = \"{}\"\nbaud = 115200\nparity = \"none\"\ndata_bits = 8\nstop_bits = 1",
            path(&dir).display()
        );
        let mut rig = Rig::start(&line, "unit = 2\ntimeout_ms = 500", &POINTS);
        rig.ends.value(0, 41u64).await;
        assert_eq!(rig.write(1, -2.5).await, Some(Value::F64(-2.5)), "{name}");
        units.0.lock().unwrap()[1][20] = 0x0101;
        assert_eq!(rig.write(2, true).await, Some(Value::Bool(true)), "{name}");
        assert_eq!(units.0.lock().unwrap()[1][20], 0x0109, "a mask write leaves the other bits");
        // The adapter is pulled out, and comes back under another number.
        serving.abort();
        let _ = serving.await;
        rig.ends.until("bad", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
        units.0.lock().unwrap()[1][0] = 99;
        let _serving = terminal(&path(&dir), framing, &units);
        rig.ends.value(0, 99u64).await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn serial_frames_go_over_tcp() {
    for (name, framing) in [("rtu_over_tcp", Framing::Rtu), ("ascii_over_tcp", Framing::Ascii)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let units = Units::new(7);
        let (served, accepted) = (units.clone(), Arc::new(Mutex::new(0)));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let units = served.clone();
                tokio::spawn(async move { serve(stream, framing, &units).await });
            }
        });
        let line = format!("transport = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}");
        let mut rig = Rig::start(&line, "unit = 3", &POINTS);
        rig.ends.value(0, 9u64).await;
        assert_eq!(rig.write(1, 0.5).await, Some(Value::F64(0.5)), "{name}");
        for _ in 0..20 {
            assert!(rig.ends.next().await.quality.is_good());
        }
        assert_eq!(*accepted.lock().unwrap(), 1);
        rig.stop().await;
    }
}

/// A modem: says who it is, and lets units answer behind it.
async fn modem(rig: &Rig, listen: &str, registration: &[u8], units: &Units) -> JoinHandle<()> {
    let at = timeout(LIMIT, async {
        loop {
            match rig.modems.bound(listen.parse().unwrap()) {
                Some(at) => return at,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    });
    let mut stream = TcpStream::connect(at.await.unwrap()).await.unwrap();
    // In two pieces: a network may cut it.
    let (one, two) = registration.split_at(registration.len() / 2);
    stream.write_all(one).await.unwrap();
    stream.flush().await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(two).await.unwrap();
    let units = units.clone();
    tokio::spawn(async move {
        // A heartbeat between two answers must not be taken for one.
        stream.write_all(b"ping").await.unwrap();
        let _ = serve(stream, Framing::Rtu, &units).await;
    })
}

#[tokio::test]
async fn modems_dial_in_and_are_known_by_what_they_say_first() {
    let (modems, listen) = (Modems::default(), "127.0.0.1:0");
    let line = |registration: &str| {
        format!(
            "transport = \"dtu\"\nlisten = \"{listen}\"\nregistration = \"{registration}\"\nheartbeat = \"ping\"\n\
             registration_ms = 300\nconnect_timeout_ms = 100"
        )
    };
    let mut one = Rig::with(modems.clone(), &line("well-1"), "unit = 1", &POINTS);
    let mut two = Rig::with(modems.clone(), &line("hex:0102ff"), "unit = 1", &POINTS);
    // Without its modem a line is bad and not silent.
    one.ends.until("no modem yet", |s| s.quality == Quality::BAD_NOT_CONNECTED).await;
    let (first, second) = (Units::new(100), Units::new(200));
    let dialled = modem(&one, listen, b"well-1", &first).await;
    let _other = modem(&two, listen, &[1, 2, 255], &second).await;
    one.ends.value(0, 100u64).await;
    two.ends.value(0, 200u64).await;
    assert_eq!(one.write(1, 1.5).await, Some(Value::F64(1.5)));
    // It dials in again while its old connection still seems to be there.
    let third = Units::new(300);
    let _again = modem(&one, listen, b"well-1", &third).await;
    one.ends.value(0, 300u64).await;
    dialled.abort();
    // Whoever says nothing, or nothing known, is sent away.
    for said in [&b"who-9"[..], b""] {
        let mut stream = TcpStream::connect(modems.bound(listen.parse().unwrap()).unwrap()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut buf = [0; 8];
        assert!(matches!(timeout(LIMIT, stream.read(&mut buf)).await.unwrap(), Ok(0) | Err(_)));
    }
    // The line that listened ends, and the other goes on listening.
    one.stop().await;
    let fourth = Units::new(400);
    let found = timeout(LIMIT, async {
        loop {
            // The old listener's address may be told until the new one is bound.
            let at = modems.bound(listen.parse().unwrap()).unwrap();
            if let Ok(stream) = TcpStream::connect(at).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut stream = found.await.unwrap();
    stream.write_all(&[1, 2, 255]).await.unwrap();
    tokio::spawn(async move {
        let _ = serve(stream, Framing::Rtu, &fourth).await;
    });
    two.ends.value(0, 400u64).await;
    two.stop().await;
}

#[tokio::test]
async fn the_backup_is_used_while_the_first_host_is_gone() {
    let (first, backup) = (Units::new(10), Units::new(20));
    let listen = |units: Units, listener: TcpListener| {
        tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let units = units.clone();
                open.spawn(async move { serve(stream, Framing::Mbap, &units).await });
            }
        })
    };
    let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let two = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, port) = (one.local_addr().unwrap(), two.local_addr().unwrap().port());
    let (serving, _backup) = (listen(first.clone(), one), listen(backup, two));
    let line = format!(
        "transport = \"tcp\"\nhost = \"127.0.0.1\"\nport = {}\nbackup_host = \"127.0.0.1\"\nbackup_port = {port}\n\
         failback_ms = 200",
        at.port()
    );
    let mut rig = Rig::start(&line, "unit = 1", &POINTS);
    rig.ends.value(0, 10u64).await;
    serving.abort();
    let _ = serving.await;
    rig.ends.value(0, 20u64).await;
    let _serving = listen(first, TcpListener::bind(at).await.unwrap());
    rig.ends.value(0, 10u64).await;
    rig.stop().await;
}
