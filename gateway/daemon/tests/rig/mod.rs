//! A PLC on a real socket, a gateway in this process, and callers of its API with each role.
#![allow(dead_code, missing_docs)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod mqtt;

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Drain;
use common::api::{CommandView, ReloadReport, TwinView};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_modbus::prelude::*;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use twinway_gateway::{Config, Gateway, Handle};

/// Registers of the PLC: holding and input are one table.
pub(crate) type Registers = Arc<Mutex<[u16; 32]>>;

pub(crate) struct Plc {
    pub(crate) addr: SocketAddr,
    pub(crate) registers: Registers,
    runtime: Option<Runtime>,
}

#[derive(Clone)]
struct Answers(Registers);

impl Service for Answers {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = std::future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let mut all = self.0.lock().unwrap();
        let window = |at: u16, n: u16| {
            let (from, to) = (usize::from(at), usize::from(at) + usize::from(n));
            (to <= 32).then_some(from..to).ok_or(ExceptionCode::IllegalDataAddress)
        };
        std::future::ready(match request {
            Request::ReadHoldingRegisters(at, n) => {
                window(at, n).map(|w| Response::ReadHoldingRegisters(all[w].to_vec()))
            }
            Request::ReadInputRegisters(at, n) => {
                window(at, n).map(|w| Response::ReadInputRegisters(all[w].to_vec()))
            }
            Request::WriteSingleRegister(at, word) => window(at, 1).map(|w| {
                all[w.start] = word;
                Response::WriteSingleRegister(at, word)
            }),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

impl Plc {
    pub(crate) fn start() -> Self {
        Self::serve("127.0.0.1:0".parse().unwrap(), Registers::default())
    }

    /// In a runtime of its own, so that it can be killed with all of its connections.
    fn serve(addr: SocketAddr, registers: Registers) -> Self {
        let listener = std::net::TcpListener::bind(addr).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let answers = Answers(registers.clone());
        runtime.spawn(async move {
            let server = Server::new(TcpListener::from_std(listener).unwrap());
            let service = |stream: tokio::net::TcpStream, _: SocketAddr| {
                let answers = answers.clone();
                async move { Ok(Some((answers, stream))) }
            };
            server.serve(&service, |_| {}).await
        });
        Self { addr, registers, runtime: Some(runtime) }
    }

    pub(crate) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Where it was, with the registers it had.
    pub(crate) fn revive(&mut self) {
        let back = Self::serve(self.addr, self.registers.clone());
        self.runtime = { back }.runtime.take();
    }

    pub(crate) fn get(&self, at: usize) -> u16 {
        self.registers.lock().unwrap()[at]
    }

    pub(crate) fn set(&self, at: usize, word: u16) {
        self.registers.lock().unwrap()[at] = word;
    }
}

impl Drop for Plc {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) const ROLES: [&str; 4] = ["viewer", "operator", "engineer", "admin"];

pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) handle: Handle,
    pub(crate) drain: Drain,
    http: reqwest::Client,
    unix: reqwest::Client,
}

/// Temperature in tenths, a setpoint in tenths with an interlock, a door, and a setpoint without.
pub(crate) fn config(dir: &std::path::Path, plc: SocketAddr) -> PathBuf {
    let tokens = dir.join("tokens");
    let mut lines = String::new();
    for role in ROLES {
        let hash = Sha256::digest(format!("token-of-{role}").as_bytes());
        let hex = hash.iter().fold(String::new(), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        });
        let _ = writeln!(lines, "{role}:{role}:{hex}");
    }
    std::fs::write(&tokens, lines).unwrap();
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        r#"
[gateway]
id = "g1"
data_dir = {data:?}
[api]
listen = "127.0.0.1:0"
socket = {socket:?}
tokens_file = {tokens:?}
hosts = ["box.example"]
[broker]
listen = "127.0.0.1:0"
[[device]]
name = "plc"
asset = "plant/coating/line1/oven"
[device.modbus]
host = "127.0.0.1"
port = {port}
timeout_ms = 300
reconnect_max_ms = 300
[[device.point]]
name = "temperature"
type = "f64"
unit = "Cel"
scale = 0.1
setpoint = "setpoint"
modbus = {{ table = "input", address = 0, type = "i16", period_ms = 50 }}
[[device.point]]
name = "setpoint"
type = "f64"
unit = "Cel"
scale = 0.1
access = "read_write"
write_min = 0
write_max = 200
interlock = "door == 0 and temperature < 150"
modbus = {{ table = "holding", address = 1, period_ms = 50 }}
[[device.point]]
name = "door"
type = "u64"
stale_ms = 1000
modbus = {{ table = "input", address = 2, period_ms = 50 }}
[[device.point]]
name = "free"
type = "i64"
access = "read_write"
write_min = 0
write_max = 100
modbus = {{ table = "holding", address = 3, period_ms = 50 }}
"#,
        data = dir.join("data"),
        socket = dir.join("api.sock"),
        port = plc.port(),
    );
    let file = dir.join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    file
}

impl Rig {
    pub(crate) async fn start(plc: &Plc) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), plc).await
    }

    pub(crate) async fn start_in(dir: tempfile::TempDir, plc: &Plc) -> Self {
        Self::start_with(dir, plc, "").await
    }

    /// With more in its configuration.
    pub(crate) async fn start_with(dir: tempfile::TempDir, plc: &Plc, more: &str) -> Self {
        let file = config(dir.path(), plc.addr);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + more).unwrap();
        Self::start_from(dir).await
    }

    /// From the files that are there.
    pub(crate) async fn start_from(dir: tempfile::TempDir) -> Self {
        let config = Config::load(&dir.path().join("gateway.toml")).unwrap();
        let drain = Drain::new();
        let handle = Gateway::start(config, drain.clone()).await.unwrap();
        let client = || reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let unix = client().unix_socket(handle.socket_path().unwrap()).build().unwrap();
        Self { dir, handle, drain, http: client().build().unwrap(), unix }
    }

    /// Adds to the configuration as `start_with` did, and has it read again.
    pub(crate) async fn reload(
        &self,
        plc: &Plc,
        more: &str,
    ) -> Result<ReloadReport, twinway_gateway::ReloadError> {
        let file = config(self.dir.path(), plc.addr);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + more).unwrap();
        self.handle.reload("test").await
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.drain.start();
        let late = tokio::time::timeout(Duration::from_secs(3), self.handle.finished()).await.unwrap();
        assert_eq!(late, [""; 0], "parts were cut off");
        self.dir
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.handle.api_addr())
    }

    /// Over the socket, as the user of this process.
    pub(crate) fn local(&self, method: Method, path: &str) -> RequestBuilder {
        self.unix.request(method, format!("http://localhost{path}"))
    }

    /// Over TCP, with the token of a role; none: without a token.
    pub(crate) fn tcp(&self, role: Option<&str>, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match role {
            Some(role) => request.bearer_auth(format!("token-of-{role}")),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.local(Method::GET, path).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn twin(&self) -> TwinView {
        serde_json::from_value(self.get("/api/v1/twins/oven").await).unwrap()
    }

    /// Value of a point if it has one, and its quality.
    pub(crate) async fn point(&self, name: &str) -> (Option<f64>, String) {
        let twin = self.twin().await;
        let point = twin.points.iter().find(|p| *p.schema.name == *name).unwrap();
        (point.value.as_ref().and_then(common::Value::as_f64), point.quality.to_string())
    }

    /// The command's final view.
    pub(crate) async fn send(&self, key: &str, point: &str, value: impl Into<Value>) -> CommandView {
        let body = json!({ "point": point, "value": value.into(), "reason": "test" });
        let request = self.local(Method::POST, "/api/v1/twins/line1%2Foven/commands");
        let answer = request.header("Idempotency-Key", key).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        serde_json::from_value(self.get(&format!("{location}?wait_ms=10000")).await).unwrap()
    }
}

/// Looks until it is so.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), found)
        .await
        .unwrap_or_else(|_| panic!("not within 15 s: {what}"))
}
