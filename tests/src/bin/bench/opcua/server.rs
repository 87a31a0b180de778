//! The OPC UA server: what 20 clients with 500 monitored items each get of 1,000 points that change each 100 ms, and what
//! that costs beside asyncua serving the same to the same clients; and how long a write takes.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::api::SwitchPosition;
use opcua::client::{ClientBuilder, DataChangeCallback, IdentityToken, Session};
use opcua::types::{
    AttributeId, DataValue, ExtensionObject, MessageSecurityMode, MonitoredItemCreateRequest, MonitoringMode,
    MonitoringParameters, NodeId, ReadValueId, StatusCode, TimestampsToReturn, UserTokenPolicy, UserTokenType, Variant, WriteValue,
};
use tests::Gateway;
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tests::process::Process;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_modbus::prelude::*;

use crate::field::plant::{Plant, word};
use crate::figure::{Beside, Percentiles, print, print_beside};

const CLIENTS: usize = 20;
const UNITS: u8 = 80;
const FAST: u8 = 8;
const REGISTERS: u16 = 125;
const RUN: Duration = Duration::from_secs(30);
const WRITES: usize = 500;
const SECTION: &str = "[opcua_server]\nlisten = \"127.0.0.1:0\"\nhosts = [\"127.0.0.1\"]\nanonymous = true\n";

type Heard = Arc<Mutex<HashMap<NodeId, Vec<DataValue>>>>;

/// `server_lost_notifications`, `server_cpu_over_peer`, `ua_write_p99_ms`.
pub async fn server() {
    subscriptions().await;
    writes().await;
}

fn device(unit: u8, port: u16) -> String {
    let period = if unit <= FAST { 100 } else { 600_000 };
    format!(
        "[[device]]\nname = \"u{unit}\"\nasset = \"hall/u{unit}\"\n[device.modbus]\nhost = \"127.0.0.1\"\nport = {port}\n\
         unit = {unit}\n[[device.point]]\nname = \"r\"\ntype = \"u64\"\nstale_ms = 3600000\n\
         modbus = {{ table = \"holding\", address = 0, array = {REGISTERS}, period_ms = {period} }}\n"
    )
}

async fn subscriptions() {
    let dir = tempfile::tempdir().expect("a folder");
    let plant = Plant::start(1, Duration::ZERO);
    let devices: String = (1..=UNITS).map(|u| device(u, plant.addrs[0].port())).collect();
    let setup = Setup { extra: SECTION.to_owned(), devices, ..Setup::default() };
    let gateway = Gateway::start(dir.path(), &setup).await;
    let addr = address(dir.path()).await;
    let nodes: Vec<(u8, u16)> = (0..REGISTERS).flat_map(|r| (1..=UNITS).map(move |u| (u, r))).collect();
    let node = |(unit, register): (u8, u16)| NodeId::new(2, format!("u{unit}/r_{register}"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    // What it costs to read the field, without any client.
    let alone = cpu(&gateway.process, Duration::from_secs(10)).await;
    let heard = Heard::default();
    let mut sessions = Vec::new();
    for n in 0..CLIENTS {
        let own: Vec<NodeId> = nodes.iter().skip(n).step_by(CLIENTS).map(|at| node(*at)).collect();
        sessions.push(client(dir.path(), addr, &own, heard.clone()).await);
    }
    let all = cpu(&gateway.process, RUN).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reads = plant.reads_of(0, 1);
    let (mut lost, mut got, mut bad) = (0, 0, 0);
    {
        let heard = heard.lock().expect("no panic holds it");
        for unit in 1..=FAST {
            for register in 0..REGISTERS {
                let values = heard.get(&node((unit, register))).map(Vec::as_slice).unwrap_or_default();
                bad += values.iter().filter(|v| v.status.is_some_and(|s| s != StatusCode::Good)).count();
                got += values.len();
                lost += lost_of(unit, register, values, reads + 50);
            }
        }
    }
    eprintln!("opcua: {got} notifications of {} points, {bad} not good", u32::from(FAST) * u32::from(REGISTERS));
    assert!(got > 100_000, "too few notifications to say anything: {got}");
    print("server_lost_notifications", lost as f64, "notifications", "0", None);
    drop((sessions, gateway));

    let peer = Peer::start().await;
    let heard = Heard::default();
    let mut sessions = Vec::new();
    for n in 0..CLIENTS {
        let own: Vec<NodeId> = (0..nodes.len()).skip(n).step_by(CLIENTS).map(|at| NodeId::new(2, format!("p{at}"))).collect();
        sessions.push(client(dir.path(), peer.addr, &own, heard.clone()).await);
    }
    let theirs = peer.cpu(RUN).await;
    let their_got: usize = heard.lock().expect("no panic holds it").values().map(Vec::len).sum();
    eprintln!("opcua: asyncua told {their_got} notifications");
    let own = (all - alone).max(0.0);
    let beside = [Beside::peer("asyncua serving the same, CPU s/s", theirs), Beside::floor("ours, CPU s/s", own)];
    print_beside("server_cpu_over_peer", own / theirs, "x", "report", &beside);
    let beside = Some(("of it without clients, reading the field", alone));
    print("server_cpu_all", all, "CPU s/s", "report", beside);
}

/// How many changes of a register are missing between the first and the last that were told. The plant's values are
/// known for every read; so the told ones are found among them.
fn lost_of(unit: u8, register: u16, values: &[DataValue], reads: u64) -> u64 {
    let told: Vec<u64> = values
        .iter()
        .filter_map(|v| match v.value {
            Some(Variant::UInt64(n)) => Some(n),
            _ => None,
        })
        .collect();
    let all: Vec<u64> = (0..reads).map(|read| u64::from(word(0, unit, read, register))).collect();
    let mut changes = all.clone();
    changes.dedup();
    let missing = |start: usize| -> Option<u64> {
        let (mut at, mut lost) = (start, 0);
        for value in told.iter().skip(1) {
            let step = changes.get(at + 1..)?.iter().position(|v| v == value)?;
            lost += step as u64;
            at += step + 1;
        }
        Some(lost)
    };
    let Some(first) = told.first() else { return reads };
    let starts = changes.iter().enumerate().filter(|(_, v)| *v == first).map(|(at, _)| at);
    starts.filter_map(missing).min().unwrap_or(reads)
}

/// Processor time a second.
async fn cpu(process: &Process, over: Duration) -> f64 {
    let (before, began) = (process.cpu_s(), Instant::now());
    tokio::time::sleep(over).await;
    (process.cpu_s() - before) / began.elapsed().as_secs_f64()
}

async fn address(dir: &Path) -> SocketAddr {
    let path = dir.join("data/addresses.json");
    tests::until("the server's address", Duration::from_secs(20), || async {
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()?;
        json["opcua"].as_str()?.parse().ok()
    })
    .await
}

async fn session(dir: &Path, addr: SocketAddr) -> Arc<Session> {
    let url = format!("opc.tcp://{addr}/");
    let mut client = ClientBuilder::new()
        .application_name("bench")
        .application_uri("urn:twinway:bench")
        .pki_dir(dir.join("client-pki"))
        .create_sample_keypair(false)
        .trust_server_certs(true)
        .session_retry_limit(20)
        .max_array_length(100_000)
        .max_message_size(16 << 20)
        .max_chunk_count(4096)
        .client()
        .expect("a client");
    let endpoint = (url.as_str(), "None", MessageSecurityMode::None, UserTokenPolicy::anonymous());
    let connected = client.connect_to_matching_endpoint(endpoint, IdentityToken::Anonymous).await;
    let (session, events) = connected.expect("a session");
    events.spawn();
    assert!(session.wait_for_connection().await, "no session");
    session
}

async fn client(dir: &Path, addr: SocketAddr, nodes: &[NodeId], heard: Heard) -> Arc<Session> {
    let session = session(dir, addr).await;
    let told = DataChangeCallback::new(move |value, item| {
        let mut heard = heard.lock().expect("no panic holds it");
        heard.entry(item.item_to_monitor().node_id.clone()).or_default().push(value);
    });
    let made = session.create_subscription(Duration::from_millis(100), 600, 20, 0, 0, true, told).await;
    let subscription = made.expect("a subscription");
    let item = |(n, node): (usize, &NodeId)| MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId { node_id: node.clone(), attribute_id: AttributeId::Value as u32, ..ReadValueId::default() },
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: u32::try_from(n).expect("few"),
            sampling_interval: 0.0,
            filter: ExtensionObject::null(),
            queue_size: 50,
            discard_oldest: true,
        },
    };
    let items = nodes.iter().enumerate().map(item).collect();
    let made = session.create_monitored_items(subscription, TimestampsToReturn::Both, items).await;
    let made = made.expect("monitored items");
    assert!(made.iter().all(|m| m.result.status_code == StatusCode::Good), "{:?}", made.first().map(|m| m.result.status_code));
    session
}

/// asyncua serving as many variables, of which as many change.
struct Peer {
    addr: SocketAddr,
    child: Child,
}

impl Peer {
    async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
        let mut child = Command::new(root.join("target/asyncua/bin/python"))
            .arg(root.join("tests/src/bin/bench/opcua/peer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("asyncua: tests/setup.sh installs it");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.next_line().await.expect("a line").expect("its port");
        Self { addr: format!("127.0.0.1:{line}").parse().expect("a port"), child }
    }

    async fn cpu(&self, over: Duration) -> f64 {
        let id = self.child.id().expect("it runs");
        let used = || {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a living process");
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |i: usize| fields[i].parse::<f64>().expect("a number");
            (ticks(11) + ticks(12)) / 100.0
        };
        let (before, began) = (used(), Instant::now());
        tokio::time::sleep(over).await;
        (used() - before) / began.elapsed().as_secs_f64()
    }
}

/// An operator's encrypted session writes, the command path does, and the result comes back.
async fn writes() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let passwords = dir.path().join("passwords");
    password_line(&passwords);
    let extra = format!("{SECTION}passwords_file = {passwords:?}\noperators = [\"bench\"]\n");
    let setup = Setup { extra, devices: registers_device(plc.addr, 4, 100), ..Setup::default() };
    let gateway = Gateway::start(dir.path(), &setup).await;
    let addr = address(dir.path()).await;
    gateway.set_switch(SwitchPosition::Remote).await;
    let session = operator(dir.path(), addr).await;
    let node = NodeId::new(2, "plc/r0");
    let (mut took, mut disk) = (Vec::new(), Vec::new());
    let mut file = std::fs::File::create(dir.path().join("floor")).expect("a file");
    for n in 0..WRITES + 20 {
        let write = WriteValue {
            node_id: node.clone(),
            attribute_id: AttributeId::Value as u32,
            value: DataValue { value: Some(Variant::Double(n as f64)), ..DataValue::null() },
            ..WriteValue::default()
        };
        let began = Instant::now();
        let done = session.write(&[write]).await.expect("an answer");
        assert_eq!(done, [StatusCode::Good]);
        if n >= 20 {
            took.push(began.elapsed().as_secs_f64() * 1e3);
            let began = Instant::now();
            for _ in 0..2 {
                file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).expect("written");
            }
            disk.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    let mut direct = tcp::connect(plc.addr).await.expect("the device");
    let mut device = Vec::new();
    for n in 0..WRITES {
        let began = Instant::now();
        direct.write_single_register(0, u16::try_from(n).expect("few")).await.expect("sent").expect("written");
        direct.read_holding_registers(0, 1).await.expect("sent").expect("read");
        device.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (took, device, disk) = (Percentiles::of(took), Percentiles::of(device), Percentiles::of(disk));
    let own = device.at(50.0);
    let beside = |p| Some(("two fdatasyncs of 4 KiB alone, same percentile", disk.at(p)));
    print("ua_write_p50_ms", took.at(50.0) - own, "ms", "report", beside(50.0));
    print("ua_write_p99_ms", took.at(99.0) - own, "ms", "<= 10", beside(99.0));
}

/// The user `bench`, as the gateway's own program writes it.
fn password_line(path: &Path) {
    let mut made = std::process::Command::new(tests::process::program("twinway-gateway"))
        .args(["broker", "passwd", "bench"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the gateway's program");
    made.stdin.take().expect("piped").write_all(b"bench\n").expect("a password");
    let line = made.wait_with_output().expect("a line").stdout;
    std::fs::write(path, line).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

async fn operator(dir: &Path, addr: SocketAddr) -> Arc<Session> {
    let pki = dir.join("operator-pki");
    let mut client = ClientBuilder::new()
        .application_name("bench")
        .application_uri("urn:twinway:bench")
        .pki_dir(&pki)
        .certificate_path("own/cert.der")
        .private_key_path("private/private.pem")
        .create_sample_keypair(true)
        .trust_server_certs(true)
        .verify_server_certs(false)
        .session_retry_limit(20)
        .client()
        .expect("a client");
    std::fs::copy(pki.join("own/cert.der"), dir.join("data/pki/trusted/bench.der")).expect("trusted");
    let url = format!("opc.tcp://{addr}/");
    let user = UserTokenPolicy { token_type: UserTokenType::UserName, ..UserTokenPolicy::anonymous() };
    let endpoint = (url.as_str(), "Basic256Sha256", MessageSecurityMode::SignAndEncrypt, user);
    let login = IdentityToken::new_user_name("bench", "bench");
    let (session, events) = client.connect_to_matching_endpoint(endpoint, login).await.expect("a session");
    events.spawn();
    assert!(session.wait_for_connection().await, "no session");
    session
}
