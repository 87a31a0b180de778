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
    MonitoringParameters, NodeId, ReadValueId, StatusCode, TimestampsToReturn, UserTokenPolicy,
    UserTokenType, Variant, WriteValue,
};
use tests::Gateway;
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_modbus::prelude::*;

use crate::field::plant::Plant;
use crate::figure::{Beside, Percentiles, print, print_beside};

const CLIENTS: usize = 20;
const UNITS: u8 = 80;
const FAST: u8 = 8;
const REGISTERS: u16 = 125;
const RUN: Duration = Duration::from_secs(30);
const WRITES: usize = 500;
const SECTION: &str = "[opcua_server]\nlisten = \"127.0.0.1:0\"\nhosts = [\"127.0.0.1\"]\nanonymous = true\n";

type Heard = Arc<Mutex<HashMap<NodeId, Vec<DataValue>>>>;

fn device(unit: u8, port: u16) -> String {
    let period = if unit <= FAST { 100 } else { 600_000 };
    format!(
        "[[device]]\nname = \"u{unit}\"\nasset = \"hall/u{unit}\"\n[device.modbus]\nhost = \"127.0.0.1\"\nport = {port}\n\
         unit = {unit}\n[[device.point]]\nname = \"r\"\ntype = \"u64\"\nstale_ms = 3600000\n\
         modbus = {{ table = \"holding\", address = 0, array = {REGISTERS}, period_ms = {period} }}\n"
    )
}

/// `server_lost_notifications`, `server_cpu_over_peer`.
pub async fn subscriptions() {
    let dir = tempfile::tempdir().expect("a folder");
    let plant = Plant::counting(1);
    let devices: String = (1..=UNITS).map(|u| device(u, plant.addrs[0].port())).collect();
    let setup = Setup { extra: SECTION.to_owned(), devices, ..Setup::default() };
    let gateway = Gateway::start(dir.path(), &setup).await;
    let addr = address(dir.path()).await;
    // In turn, so that each client has as many that change.
    let points: Vec<(u8, u16)> = (0..REGISTERS).flat_map(|r| (1..=UNITS).map(move |u| (u, r))).collect();
    let nodes: Vec<NodeId> =
        points.iter().map(|(unit, register)| NodeId::new(2, format!("u{unit}/r_{register}"))).collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    // What it costs to read the field, without any client.
    let alone = cpu(gateway.process.id(), Duration::from_secs(10)).await;
    let heard = Heard::default();
    let sessions = clients(dir.path(), addr, &nodes, &heard).await;
    let (cost, told) = told_during(gateway.process.id(), &heard).await;
    let reads: Vec<u64> = (0..=FAST).map(|unit| plant.reads_of(0, unit)).collect();
    // Those that the plant had given by then come within this.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut sum = Told::default();
    {
        let heard = heard.lock().expect("no panic holds it");
        for ((unit, _), node) in points.iter().zip(&nodes).filter(|((unit, _), _)| *unit <= FAST) {
            let values = heard.get(node).map(Vec::as_slice).unwrap_or_default();
            sum.add(values, reads[usize::from(*unit)] - 1);
        }
    }
    eprintln!("opcua: {sum:?}");
    assert!(sum.told > 100_000, "too few notifications to say anything: {sum:?}");
    print("server_lost_notifications", sum.lost as f64, "notifications", "0", None);
    drop((sessions, gateway));

    let peer = Peer::start().await;
    let heard = Heard::default();
    let nodes: Vec<NodeId> = (0..nodes.len()).map(|n| NodeId::new(2, format!("p{n}"))).collect();
    let _sessions = clients(dir.path(), peer.addr, &nodes, &heard).await;
    let (their_cost, their_told) = told_during(peer.child.id().expect("it runs"), &heard).await;
    // Of each notification, since one that is at its limit tells less.
    let each = |cost: f64, told: usize| cost / told.max(1) as f64 * 1e6;
    let own = each((cost - alone * RUN.as_secs_f64()).max(0.0), told);
    let theirs = each(their_cost, their_told);
    eprintln!("opcua: in {} s ours told {told}, asyncua {their_told} notifications", RUN.as_secs());
    let beside = [
        Beside::peer("asyncua serving the same, CPU us of a notification", theirs),
        Beside::floor("ours less reading the field, CPU us of a notification", own),
    ];
    print_beside("server_cpu_over_peer", own / theirs, "x", "report", &beside);
    let beside = Some(("of it without clients, reading the field", alone));
    print("server_cpu_all", cost / RUN.as_secs_f64(), "CPU s/s", "report", beside);
}

/// As many clients with as many items each.
async fn clients(dir: &Path, addr: SocketAddr, nodes: &[NodeId], heard: &Heard) -> Vec<Arc<Session>> {
    let mut sessions = Vec::new();
    for own in nodes.chunks(nodes.len() / CLIENTS) {
        sessions.push(client(dir, addr, own, heard.clone()).await);
    }
    // First values have come.
    let wanted = nodes.len();
    tests::until("a value of each item", Duration::from_secs(60), || async {
        (heard.lock().expect("no panic holds it").len() == wanted).then_some(())
    })
    .await;
    sessions
}

/// Processor time that a process used during the run, and notifications that came meanwhile.
async fn told_during(process: u32, heard: &Heard) -> (f64, usize) {
    let told = || heard.lock().expect("no panic holds it").values().map(Vec::len).sum::<usize>();
    let before = told();
    let cost = cpu(process, RUN).await * RUN.as_secs_f64();
    (cost, told() - before)
}

/// What was told of points that count up.
#[derive(Debug, Default)]
struct Told {
    told: usize,
    /// Skipped, or not told at the end.
    lost: u64,
    /// Of these, at the end.
    missing: u64,
    /// Told after a later one.
    late: usize,
    /// Values before which the server says that some did not fit into the queue.
    flagged: usize,
    bad: usize,
}

impl Told {
    /// Adds what was told of one, of which `last` must have come.
    fn add(&mut self, values: &[DataValue], last: u64) {
        self.told += values.len();
        self.flagged += values.iter().filter(|v| v.status.is_some_and(|s| s.overflow())).count();
        self.bad += values.iter().filter(|v| v.status.is_some_and(|s| !s.is_good())).count();
        let numbers: Vec<u64> = values
            .iter()
            .filter_map(|v| match v.value {
                Some(Variant::UInt64(n)) => Some(n),
                _ => None,
            })
            .collect();
        let skipped = |pair: &[u64]| pair[1].saturating_sub(pair[0] + 1);
        let missing = last.saturating_sub(numbers.last().copied().unwrap_or_default());
        self.lost += numbers.windows(2).map(skipped).sum::<u64>() + missing;
        self.missing += missing;
        self.late += numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
    }
}

/// Processor time a second of a process.
async fn cpu(process: u32, over: Duration) -> f64 {
    let (before, began) = (tests::process::cpu_s(process), Instant::now());
    tokio::time::sleep(over).await;
    (tests::process::cpu_s(process) - before) / began.elapsed().as_secs_f64()
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
        item_to_monitor: ReadValueId {
            node_id: node.clone(),
            attribute_id: AttributeId::Value as u32,
            ..ReadValueId::default()
        },
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
    assert!(
        made.iter().all(|m| m.result.status_code == StatusCode::Good),
        "{:?}",
        made.first().map(|m| m.result.status_code)
    );
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
}

/// `ua_write_p99_ms`: an operator's encrypted session writes, the command path does, and the result comes back.
pub async fn writes() {
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
            // The floor, taken in turn with the writes: the one durable step, the intent, on the same disk.
            file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).expect("written");
            disk.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    let mut direct = tcp::connect(plc.addr).await.expect("the device");
    let mut device = Vec::new();
    for n in 0..WRITES {
        let began = Instant::now();
        direct
            .write_single_register(0, u16::try_from(n).expect("few"))
            .await
            .expect("sent")
            .expect("written");
        direct.read_holding_registers(0, 1).await.expect("sent").expect("read");
        device.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (took, device, disk) = (Percentiles::of(took), Percentiles::of(device), Percentiles::of(disk));
    let own = device.at(50.0);
    let beside = |p| Some(("one fdatasync of 4 KiB alone, same percentile", disk.at(p)));
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
