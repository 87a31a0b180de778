//! A real gateway process in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::api::{GatewayHealth, GatewayView, Page, SwitchPosition, SwitchRequest};
use reqwest::Method;
use serde::Deserialize;

use crate::process::{Listening, Process, program};
use crate::{Api, until};

/// How a gateway is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where the cloud's ingress is, and the secret for it; none: no cloud.
    pub uplink: Option<(SocketAddr, String)>,
    /// `[[device]]` sections.
    pub devices: String,
    /// More sections, such as `[buffer]`.
    pub extra: String,
    /// More keys of `[broker]`.
    pub broker: String,
    /// Another program than the one built here.
    pub program: Option<PathBuf>,
    /// More in its environment.
    pub env: Vec<(String, String)>,
}

/// A running gateway named `box1`.
#[derive(Debug)]
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// Its broker.
    pub broker: SocketAddr,
    dir: PathBuf,
    socket: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Addresses {
    broker: SocketAddr,
}

impl Gateway {
    /// Starts one in `dir`. The folder keeps its state for the next start.
    pub async fn start(dir: &Path, setup: &Setup) -> Self {
        Self::spawn(dir, setup).ready().await
    }

    /// Starts one as a service manager would: again, while it says that it cannot and ends.
    ///
    /// # Panics
    /// When it is not up in time, or panics.
    pub async fn start_on_failure(dir: &Path, setup: &Setup) -> Self {
        crate::wait::up(|| Self::spawn(dir, setup).ready_or_ended()).await
    }

    /// Starts one and does not wait for it.
    pub fn spawn(dir: &Path, setup: &Setup) -> Starting {
        std::fs::create_dir_all(dir).expect("a folder");
        let socket = dir.join("api.sock");
        let file = configure(dir, setup);
        let listening = Listening::new(dir);
        let file = file.to_str().expect("a UTF-8 path");
        let program = setup.program.clone().unwrap_or_else(|| program("twinway-gateway"));
        let process = Process::start_with(&program, &["run", "--config", file], dir.join("log"), &setup.env);
        Starting { process, dir: dir.to_owned(), socket, listening }
    }

    /// Writes another configuration where it reads it; it is not told.
    pub fn configure(&self, setup: &Setup) {
        configure(&self.dir, setup);
    }

    /// Its API by the socket, as the user who started it.
    pub fn api(&self) -> Api {
        Api::of_socket(&self.socket)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets the switch.
    pub async fn set_switch(&self, position: SwitchPosition) {
        self.try_set_switch(position).await.unwrap_or_else(|why| panic!("{why}"));
    }

    /// Sets the switch, unless the gateway refuses.
    ///
    /// # Errors
    /// What it answers then.
    pub async fn try_set_switch(&self, position: SwitchPosition) -> Result<(), String> {
        let body = SwitchRequest { position, reason: "test".into() };
        let answer =
            self.api().request(Method::PUT, "/api/v1/switch").json(&body).send().await.expect("an answer");
        if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
    }

    /// Waits until the cloud has all that it holds.
    pub async fn emptied(&self) {
        crate::until("an empty buffer", Duration::from_secs(90), || async {
            let buffer = self.health().await.buffer;
            (buffer.unacked_frames == 0 && buffer.durable_seq == buffer.last_seq).then_some(())
        })
        .await;
    }

    /// How it fares.
    pub async fn health(&self) -> GatewayHealth {
        let page: Page<GatewayView> = self.api().get("/api/v1/gateways").await;
        page.items.into_iter().next().expect("itself").health.expect("its health")
    }
}

/// Writes the configuration of a gateway in `dir`.
fn configure(dir: &Path, setup: &Setup) -> PathBuf {
    let mut config = format!(
        "[gateway]\nid = \"box1\"\ndata_dir = {:?}\nproven_after_s = 1\n[api]\nlisten = \"127.0.0.1:0\"\nsocket = {:?}\n",
        dir.join("data"),
        dir.join("api.sock"),
    );
    // The sensors of a restarted gateway find its broker where it was.
    let port = Listening::new(dir).before().map_or(0, |a: Addresses| a.broker.port());
    config += &format!("[broker]\nlisten = \"127.0.0.1:{port}\"\n{}", setup.broker);
    if let Some((addr, secret)) = &setup.uplink {
        write_private(&dir.join("secret"), secret);
        config += &format!("[uplink]\nurl = \"mqtt://{addr}\"\npassword_file = {:?}\n", dir.join("secret"));
    }
    config += &setup.extra;
    config += "\n";
    config += &setup.devices;
    let file = dir.join("gateway.toml");
    std::fs::write(&file, config).expect("a configuration");
    file
}

/// A gateway that may not be up yet.
#[derive(Debug)]
pub struct Starting {
    process: Process,
    dir: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    listening: Listening,
}

impl Starting {
    /// kill -9, wherever it is by now.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits until it serves.
    pub async fn ready(self) -> Gateway {
        self.ready_or_ended().await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Waits until it serves, or says why it ended.
    async fn ready_or_ended(mut self) -> Result<Gateway, String> {
        let found = until("addresses of the gateway", Duration::from_secs(20), || {
            let found = match self.process.ended() {
                Some(status) => Some(Err(format!("gateway ended with {status}:\n{}", self.process.log()))),
                None => self.listening.now().map(Ok),
            };
            async move { found }
        });
        let Addresses { broker } = found.await?;
        Ok(Gateway { process: self.process, broker, dir: self.dir, socket: self.socket })
    }
}

/// Writes a file that only its owner reads.
pub fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// Configuration of a Modbus device with `points` writable u16 registers from address 0, `r0`, `r1` ...
pub fn registers_device(addr: SocketAddr, points: usize, period_ms: u64) -> String {
    let mut text = format!(
        "[[device]]\nname = \"plc\"\nasset = \"plant/hall/plc\"\n[device.modbus]\nhost = \"{}\"\nport = {}\ntimeout_ms = 500\n",
        addr.ip(),
        addr.port()
    );
    for n in 0..points {
        text += &format!(
            "[[device.point]]\nname = \"r{n}\"\ntype = \"f64\"\nunit = \"rpm\"\naccess = \"read_write\"\nwrite_min = 0\nwrite_max = 1000\n\
             scale = 0.1\nread_back_tolerance = 0.05\n\
             modbus = {{ table = \"holding\", address = {n}, type = \"u16\", period_ms = {period_ms} }}\n"
        );
    }
    text
}
