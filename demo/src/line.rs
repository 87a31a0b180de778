//! Everything of the demo, started in order: the line with its PLC and its oven, the cloud, a credential for the box,
//! the gateway, the sensors, and the switch at the box set to remote. Parts can be stopped and started again, as a
//! person or a fault would.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use common::api::{GatewayHealth, GatewayView, Page, SwitchPosition, SwitchRequest, TwinView};
use common::{Clock, Drain, Opening};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::account::{self, Admin, Token};
use crate::folder::Folder;
use crate::link::Link;
use crate::options::Options;
use crate::oven::{Certificates, Controller};
use crate::plc::{self, Line};
use crate::ports::{Ports, listen};
use crate::sensors;

/// Name of the demo's gateway.
pub const GATEWAY: &str = "line1-box";
const TEMPLATE: &str = include_str!("../gateway.toml");
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Where things are.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Page and API.
    pub cloud: SocketAddr,
    /// Where gateways connect to.
    pub uplink: SocketAddr,
    /// API of the box.
    pub gateway: SocketAddr,
    /// Socket of the box.
    pub socket: PathBuf,
    /// The box's broker.
    pub mqtt: SocketAddr,
    /// The PLC.
    pub modbus: SocketAddr,
    /// The oven's controller, an OPC UA server that lets in the box alone.
    pub oven: SocketAddr,
    /// The box's own OPC UA server.
    pub opcua: SocketAddr,
}

/// The demo, running.
pub struct Demo {
    folder: Folder,
    clock: Clock,
    line: Line,
    addresses: Addresses,
    admin: Admin,
    token: Token,
    link: Link,
    plc: Option<(Drain, JoinHandle<std::io::Result<()>>)>,
    certificates: Certificates,
    oven: Option<Controller>,
    cloud: Option<(Drain, twinway_cloud::Handle)>,
    gateway: (Drain, twinway_gateway::Handle),
    rest: Drain,
}

impl Demo {
    /// Starts everything and waits until every twin is live.
    ///
    /// # Errors
    /// When a port is taken, the folder is not the demo's, or a part does not start.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        // One TLS provider, chosen before anything could choose another; installed already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::open(&options.dir, options.fresh)?;
        let ports = Ports::from(options.port_base)?;
        let clock = Clock::system();
        let rest = Drain::new();
        // Keys take a while at the first start: beside the rest.
        let certificates = tokio::task::spawn_blocking({
            let (folder, clock) = (folder.clone(), clock.clone());
            move || Certificates::open(&folder, GATEWAY, &clock)
        });

        let line = Line::new(clock.now_us().unsigned_abs());
        tokio::spawn({
            let (line, drain) = (line.clone(), rest.clone());
            async move { line.run(drain).await }
        });
        let listener = listen(ports.modbus, "Modbus").await?;
        let modbus = listener.local_addr()?;
        let plc = start_plc(&line, listener);
        let at_oven = listen(ports.oven, "the oven's OPC UA").await?;
        let oven_addr = at_oven.local_addr()?;

        ports.check().await?;
        let cloud = start_cloud(&folder, ports.http, ports.ingress).await?;
        let (http, ingress) = (cloud.1.http_addr(), cloud.1.ingress_addr());
        let link = Link::to(ingress).await?;
        let admin = account::admin(&cloud.1, http).await?;
        let secret = admin.gateway_secret(GATEWAY).await?;
        let secret = folder.write_private("gateway.secret", &secret)?;
        let token = Token::new()?;
        let tokens = folder.write_private("gateway.tokens", &token.line())?;
        let certificates = certificates.await?.context("certificates of the oven and the gateway")?;
        let oven = Controller::start(&line, at_oven, &certificates, clock.clone()).await?;

        let socket = folder.socket();
        let config = TEMPLATE
            .replace("@DATA_DIR@", &folder.path("gateway").to_string_lossy())
            .replace("@SECRET_FILE@", &secret.to_string_lossy())
            .replace("@SOCKET@", &socket.to_string_lossy())
            .replace("@INGRESS_PORT@", &link.addr.port().to_string())
            .replace("@API_PORT@", &ports.gateway.to_string())
            .replace("@BROKER_PORT@", &ports.mqtt.to_string())
            .replace("@MODBUS_PORT@", &modbus.port().to_string())
            .replace("@TOKENS_FILE@", &tokens.to_string_lossy())
            .replace("@OPCUA_PORT@", &ports.opcua.to_string())
            .replace("@OVEN_PORT@", &oven_addr.port().to_string())
            .replace("@OVEN_FINGERPRINT@", &certificates.fingerprint);
        let file = folder.path("gateway.toml");
        std::fs::write(&file, config)?;
        let config = twinway_gateway::Config::load(&file)?;
        let drain = Drain::new();
        let handle = twinway_gateway::Gateway::start(config, drain.clone()).await.context("the gateway")?;
        let mqtt = handle.broker_addr().context("the gateway has no broker")?;
        let opcua = handle.opcua_addr().context("the gateway has no OPC UA server")?;
        let gateway_api = handle.api_addr();
        tokio::spawn(sensors::run(line.clone(), mqtt, clock.clone(), rest.clone()));

        let demo = Self {
            folder,
            clock,
            line,
            addresses: Addresses {
                cloud: http,
                uplink: ingress,
                gateway: gateway_api,
                socket,
                mqtt,
                modbus,
                oven: oven_addr,
                opcua,
            },
            admin,
            token,
            link,
            plc: Some(plc),
            certificates,
            oven: Some(oven),
            cloud: Some(cloud),
            gateway: (drain, handle),
            rest,
        };
        demo.set_switch(SwitchPosition::Remote).await?;
        demo.all_live().await?;
        Ok(demo)
    }

    /// Where things are.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Account and one-time password.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Who may write at the box over its OPC UA server and its API.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The simulated line.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// How the box fares, as it says at its socket.
    ///
    /// # Errors
    /// When the box does not answer.
    pub async fn health(&self) -> anyhow::Result<GatewayHealth> {
        let client = reqwest::Client::builder().unix_socket(self.addresses.socket.as_path()).build()?;
        let page: Page<GatewayView> =
            client.get("http://localhost/api/v1/gateways").send().await?.json().await?;
        page.items.into_iter().next().and_then(|g| g.health).context("the box does not tell its health")
    }

    /// Stops the PLC: its port is closed.
    pub async fn stop_plc(&mut self) {
        if let Some((drain, task)) = self.plc.take() {
            drain.start();
            let _ = tokio::time::timeout(STOP_LIMIT, task).await;
        }
    }

    /// Starts the PLC again where it was.
    ///
    /// # Errors
    /// When its port is taken meanwhile.
    pub async fn start_plc(&mut self) -> anyhow::Result<()> {
        if self.plc.is_none() {
            let listener = listen(self.addresses.modbus.port(), "Modbus").await?;
            self.plc = Some(start_plc(&self.line, listener));
        }
        Ok(())
    }

    /// Stops the oven's controller: its port is closed. What heats goes on heating.
    pub async fn stop_oven(&mut self) {
        if let Some(oven) = self.oven.take() {
            oven.stop().await;
        }
    }

    /// Starts the oven's controller again where it was.
    ///
    /// # Errors
    /// When its port is taken meanwhile, or it does not start.
    pub async fn start_oven(&mut self) -> anyhow::Result<()> {
        if self.oven.is_none() {
            let listener = listen(self.addresses.oven.port(), "the oven's OPC UA").await?;
            self.oven =
                Some(Controller::start(&self.line, listener, &self.certificates, self.clock.clone()).await?);
        }
        Ok(())
    }

    /// Cuts the link between gateway and cloud.
    pub fn cut_link(&self) {
        self.link.cut();
    }

    /// Mends it.
    pub fn mend_link(&self) {
        self.link.mend();
    }

    /// Stops the cloud.
    pub async fn stop_cloud(&mut self) {
        if let Some((drain, handle)) = self.cloud.take() {
            drain.start();
            handle.finished().await;
        }
    }

    /// Starts the cloud again where it was, with the state it had.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_cloud(&mut self) -> anyhow::Result<()> {
        if self.cloud.is_none() {
            let cloud =
                start_cloud(&self.folder, self.addresses.cloud.port(), self.addresses.uplink.port()).await?;
            self.cloud = Some(cloud);
        }
        Ok(())
    }

    /// Stops everything, each part flushed.
    pub async fn stop(mut self) {
        self.rest.start();
        self.gateway.0.start();
        self.gateway.1.finished().await;
        self.stop_cloud().await;
        self.stop_plc().await;
        self.stop_oven().await;
    }

    /// The time the demo goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What a person at the box does: only there can the switch be set.
    async fn set_switch(&self, position: SwitchPosition) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().unix_socket(self.addresses.socket.as_path()).build()?;
        let body = SwitchRequest { position, reason: "the demo hands the line to the control room".into() };
        let answer = client.put("http://localhost/api/v1/switch").json(&body).send().await?;
        ensure!(answer.status().is_success(), "the switch at the box: {}", answer.text().await?);
        Ok(())
    }

    async fn all_live(&self) -> anyhow::Result<()> {
        let end = Instant::now() + START_LIMIT;
        loop {
            let twins = self.admin.get::<Page<TwinView>>("/api/v1/twins?limit=1000").await.map(|p| p.items);
            // Twins of other boxes, enrolled by whoever tries the demo, may be away.
            let ours = |t: &&TwinView| t.gateway.as_ref().is_some_and(|g| g.as_str() == GATEWAY);
            let live = |t: &TwinView| t.online && t.points.iter().all(|p| p.value.is_some());
            if twins.as_ref().is_ok_and(|t| t.iter().any(|t| ours(&t)) && t.iter().filter(ours).all(live)) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("not every twin is live after {START_LIMIT:?}: {}", missing(twins));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn missing(twins: anyhow::Result<Vec<TwinView>>) -> String {
    match twins {
        Err(error) => format!("{error:#}"),
        Ok(twins) if twins.is_empty() => "there is none".to_owned(),
        Ok(twins) => {
            let points = twins.iter().flat_map(|t| {
                t.points
                    .iter()
                    .filter(|p| p.value.is_none())
                    .map(|p| format!("{}/{} ({})", t.name, p.schema.name, p.quality))
            });
            points.take(5).collect::<Vec<_>>().join(", ")
        }
    }
}

fn start_plc(line: &Line, listener: TcpListener) -> (Drain, JoinHandle<std::io::Result<()>>) {
    let drain = Drain::new();
    (drain.clone(), tokio::spawn(plc::serve(line.clone(), listener, drain)))
}

async fn start_cloud(
    folder: &Folder,
    http: u16,
    ingress: u16,
) -> anyhow::Result<(Drain, twinway_cloud::Handle)> {
    let config = format!(
        "# The cloud of the demo.\n[cloud]\ndata_dir = {:?}\n\n[http]\nlisten = \"127.0.0.1:{http}\"\n\n[ingress]\nlisten = \"127.0.0.1:{ingress}\"\n",
        folder.path("cloud")
    );
    let file = folder.path("cloud.toml");
    std::fs::write(&file, config)?;
    let config = twinway_cloud::Config::load(&file)?;
    let drain = Drain::new();
    let handle =
        twinway_cloud::Cloud::start(config, drain.clone(), &Opening::default()).await.context("the cloud")?;
    Ok((drain, handle))
}
