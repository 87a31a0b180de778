//! The oven's own controller: three zones of the plant behind a real OPC UA server, as an oven that was bought with its
//! control comes. It lets in the gateway and nobody else, by the gateway's certificate, and only encrypted.
//!
//! Nodes are `nsu=urn:twinway:demo:oven:nodes;s=<name>`:
//!
//! | name | type | what |
//! |---|---|---|
//! | `Zone1.Temperature` to `Zone3.Temperature` | Double | air, degC |
//! | `Zone1.Power` to `Zone3.Power` | Double | heater, % |
//! | `Zone1.Setpoint` to `Zone3.Setpoint` | Double, writable | temperature wanted, 0 to 300 degC |
//! | `Moisture` | Double | water left in the film, % |
//! | `Scorched`, `ScorchedLength` | Boolean, Double | whether the web is scorched; length so far, m |
//! | `HeaterTripped` | Boolean | whether a heater is cut off |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::{Clock, Drain, GatewayId, TenantId};
use gateway_opcua::pki::{Application, Certificate, Pki};
use gateway_opcua::value::time;
use opcua::crypto::SecurityPolicy;
use opcua::server::address_space::{AddressSpace, VariableBuilder};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua::server::{Server, ServerBuilder, ServerConfig, ServerEndpoint, ServerHandle, TcpConfig};
use opcua::types::{
    DataTypeId, DataValue, MessageSecurityMode, NodeId, ObjectId, StatusCode, VariableTypeId, Variant,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::folder::Folder;
use crate::plant::{Plant, Setpoints};
use crate::plc::Line;

const HOST: &str = "127.0.0.1";
const APPLICATION: &str = "urn:twinway:demo:oven";
const NAMESPACE: &str = "urn:twinway:demo:oven:nodes";
/// The controller's cycle.
const SCAN: Duration = Duration::from_millis(250);
const END_WITHIN: Duration = Duration::from_secs(1);
/// What the controller takes as a setpoint, degC.
const SETPOINT_MAX_DEGC: f64 = 300.0;

/// Certificates of both ends, each known to the other. They stay in the demo's folder.
#[derive(Debug, Clone)]
pub struct Certificates {
    own: Pki,
    /// Where the server looks for clients that it may let in.
    clients: PathBuf,
    /// Fingerprint of the oven's certificate.
    pub fingerprint: String,
}

impl Certificates {
    /// Those of an earlier start, or new ones: an RSA key each, which takes a while. Blocks.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn open(folder: &Folder, gateway: &str, clock: &Clock) -> anyhow::Result<Self> {
        let hosts = vec![HOST.to_owned()];
        let name = "Twinway demo oven".to_owned();
        let own = Pki::open(folder.path("oven/pki"))?;
        let oven = Application { name, uri: APPLICATION.to_owned(), hosts: hosts.clone() };
        let fingerprint = own.own(&oven, clock.now_us())?.certificate.fingerprint();
        // The gateway finds what it would otherwise make at its own start.
        let id: GatewayId = gateway.parse()?;
        let gateway = Application::gateway(&TenantId::default(), &id, hosts);
        let client = Pki::open(folder.path("gateway/pki"))?.own(&gateway, clock.now_us())?.certificate;
        let clients = folder.path("oven/clients");
        admit_only(&clients, &client).with_context(|| format!("cannot write {}", clients.display()))?;
        Ok(Self { own, clients, fingerprint })
    }
}

fn admit_only(folder: &std::path::Path, client: &Certificate) -> std::io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder.join("rejected"))?;
    std::fs::create_dir_all(folder.join("trusted"))?;
    std::fs::write(folder.join("trusted").join(client.admitted_name()), client.der())
}

/// The controller, running.
pub struct Controller {
    server: ServerHandle,
    drain: Drain,
    serving: JoinHandle<Result<(), String>>,
}

impl Controller {
    /// Serves the line's oven on `listener`.
    ///
    /// # Errors
    /// When the server cannot be made.
    pub async fn start(
        line: &Line,
        listener: TcpListener,
        certificates: &Certificates,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let config = config(listener.local_addr()?.port(), certificates);
        // The standard's own nodes are some thousands.
        let built = tokio::task::spawn_blocking(move || build(config)).await?;
        let (server, handle) = built.map_err(anyhow::Error::msg).context("the oven's OPC UA server")?;
        let manager = handle.node_managers().get_of_type::<SimpleNodeManager>();
        let manager = manager.context("the oven's OPC UA server has no node manager")?;
        let index = handle.get_namespace_index(NAMESPACE).context("the oven's namespace")?;
        let nodes: Vec<_> = Datum::all().map(|datum| (NodeId::new(index, datum.name()), datum)).collect();
        fill(&mut manager.address_space().write(), &NodeId::new(index, "Oven"), &nodes);
        for (id, datum) in &nodes {
            if let Datum::Setpoint(zone) = *datum {
                let taker = line.clone();
                manager.inner().add_write_callback(id.clone(), move |value, _| set(&taker, zone, &value));
                // Else a read shows what the last cycle did.
                let (line, clock, datum) = (line.clone(), clock.clone(), *datum);
                let shown = move || DataValue::new_at(datum.now(&line), time(clock.now_us()));
                manager.inner().add_read_callback(id.clone(), move |_, _, _| Ok(shown()));
            }
        }
        let drain = Drain::new();
        tokio::spawn(scan(line.clone(), manager, nodes, handle.clone(), clock, drain.clone()));
        Ok(Self { server: handle, drain, serving: tokio::spawn(server.run_with(listener)) })
    }

    /// Stops it: its port is closed.
    pub async fn stop(mut self) {
        self.drain.start();
        self.server.cancel();
        if timeout(END_WITHIN, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}

fn config(port: u16, certificates: &Certificates) -> ServerConfig {
    let policy = SecurityPolicy::Basic256Sha256;
    let anybody = ["ANONYMOUS".to_owned()];
    let endpoint = ServerEndpoint::new("/", policy, MessageSecurityMode::SignAndEncrypt, &anybody);
    let mut config = ServerConfig {
        application_name: "Twinway demo oven".to_owned(),
        application_uri: APPLICATION.to_owned(),
        product_uri: "urn:twinway:demo".to_owned(),
        create_sample_keypair: false,
        certificate_path: Some(certificates.own.own_certificate_path()),
        private_key_path: Some(certificates.own.own_key_path()),
        pki_dir: certificates.clients.clone(),
        tcp_config: TcpConfig { hello_timeout: 10, host: HOST.to_owned(), port },
        discovery_urls: vec![format!("opc.tcp://{HOST}:{port}/")],
        endpoints: BTreeMap::from([("oven".to_owned(), endpoint)]),
        ..ServerConfig::default()
    };
    config.certificate_validation.trust_client_certs = false;
    config.limits.subscriptions.min_sampling_interval_ms = 0.0;
    config
}

fn build(config: ServerConfig) -> Result<(Server, ServerHandle), String> {
    let namespace = NamespaceMetadata { namespace_uri: NAMESPACE.to_owned(), ..NamespaceMetadata::default() };
    ServerBuilder::from_config(config).with_node_manager(simple_node_manager(namespace, "oven")).build()
}

fn fill(space: &mut AddressSpace, oven: &NodeId, nodes: &[(NodeId, Datum)]) {
    space.add_folder(oven, "Oven", "Oven", &ObjectId::ObjectsFolder.into());
    for (id, datum) in nodes {
        let (name, kind) = (datum.name(), datum.data_type());
        let variable = VariableBuilder::new(id, &*name, &*name)
            .description(datum.description())
            .data_type(kind)
            .has_type_definition(VariableTypeId::BaseDataVariableType)
            .component_of(oven.clone());
        let variable = match datum {
            Datum::Setpoint(_) => variable.writable(),
            _ => variable,
        };
        variable.insert(space);
    }
}

/// Takes a setpoint as the controller does: as it is, or not at all.
fn set(line: &Line, zone: usize, value: &DataValue) -> StatusCode {
    let Some(Variant::Double(degc)) = value.value else { return StatusCode::BadTypeMismatch };
    if !(0.0..=SETPOINT_MAX_DEGC).contains(&degc) {
        return StatusCode::BadOutOfRange;
    }
    line.with(|_, set| match set.zone_degc.get_mut(zone) {
        Some(setpoint) => {
            *setpoint = degc;
            StatusCode::Good
        }
        None => StatusCode::BadNodeIdUnknown,
    })
}

/// The controller's cycle, until drained.
async fn scan(
    line: Line,
    manager: Arc<SimpleNodeManager>,
    nodes: Vec<(NodeId, Datum)>,
    server: ServerHandle,
    clock: Clock,
    drain: Drain,
) {
    let mut tick = interval(SCAN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = drain.started() => return,
            _ = tick.tick() => {}
        }
        let now = time(clock.now_us());
        // A write tells subscribers once what its node showed before it (async-opcua 0.19 keeps no value of a write that it
        // hands on); what it set follows with the next sample or cycle.
        let values = nodes.iter().map(|(id, datum)| (id, None, DataValue::new_at(datum.now(&line), now)));
        if let Err(status) = manager.set_values(server.subscriptions(), values) {
            tracing::warn!(%status, "the oven's nodes are not updated");
        }
    }
}

/// One node. Zones count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Datum {
    Temperature(usize),
    Power(usize),
    Setpoint(usize),
    Moisture,
    Scorched,
    ScorchedLength,
    HeaterTripped,
}

impl Datum {
    fn all() -> impl Iterator<Item = Self> {
        let zones =
            (0..3).flat_map(|zone| [Self::Temperature(zone), Self::Power(zone), Self::Setpoint(zone)]);
        zones.chain([Self::Moisture, Self::Scorched, Self::ScorchedLength, Self::HeaterTripped])
    }

    fn name(self) -> String {
        match self {
            Self::Temperature(zone) => format!("Zone{}.Temperature", zone + 1),
            Self::Power(zone) => format!("Zone{}.Power", zone + 1),
            Self::Setpoint(zone) => format!("Zone{}.Setpoint", zone + 1),
            Self::Moisture => "Moisture".to_owned(),
            Self::Scorched => "Scorched".to_owned(),
            Self::ScorchedLength => "ScorchedLength".to_owned(),
            Self::HeaterTripped => "HeaterTripped".to_owned(),
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Temperature(_) => "Air temperature of the zone, degC",
            Self::Power(_) => "Heater of the zone, %",
            Self::Setpoint(_) => "Temperature wanted in the zone, 0 to 300 degC",
            Self::Moisture => "Water left in the film, %",
            Self::Scorched => "Whether the web at the exit is scorched",
            Self::ScorchedLength => "Foil scorched so far, m",
            Self::HeaterTripped => "Whether a heater is cut off",
        }
    }

    fn data_type(self) -> DataTypeId {
        match self {
            Self::Scorched | Self::HeaterTripped => DataTypeId::Boolean,
            _ => DataTypeId::Double,
        }
    }

    fn now(self, line: &Line) -> Variant {
        line.with(|plant, set| self.value(plant, set))
    }

    fn value(self, plant: &Plant, set: &Setpoints) -> Variant {
        let zone = |at: usize| plant.oven.zones.get(at);
        let number = match self {
            Self::Temperature(at) => zone(at).map(|z| z.shown_degc),
            Self::Power(at) => zone(at).map(|z| z.power * 100.0),
            Self::Setpoint(at) => set.zone_degc.get(at).copied(),
            Self::Moisture => Some(plant.oven.moisture * 100.0),
            Self::ScorchedLength => Some(plant.oven.scorched_m),
            Self::Scorched => return Variant::Boolean(plant.oven.scorched),
            Self::HeaterTripped => return Variant::Boolean(plant.oven.zones.iter().any(|z| z.tripped)),
        };
        number.map_or(Variant::Empty, Variant::Double)
    }
}

#[cfg(test)]
mod tests {
    use gateway_adapters::opcua::{DeviceConfig, Kit, Tool};

    use super::*;

    #[test]
    fn a_setpoint_is_taken_as_it_is_or_not_at_all() {
        let line = Line::new(1);
        let of = |line: &Line| line.with(|plant, set| Datum::Setpoint(1).value(plant, set));
        assert_eq!(set(&line, 1, &DataValue::new_now(135.5f64)), StatusCode::Good);
        assert_eq!(of(&line), Variant::Double(135.5));
        for (value, status) in [
            (Variant::Double(300.5), StatusCode::BadOutOfRange),
            (Variant::Double(-1.0), StatusCode::BadOutOfRange),
            (Variant::Double(f64::NAN), StatusCode::BadOutOfRange),
            (Variant::Float(120.0), StatusCode::BadTypeMismatch),
            (Variant::Empty, StatusCode::BadTypeMismatch),
        ] {
            assert_eq!(set(&line, 1, &DataValue::new_now(value)), status);
        }
        assert_eq!(of(&line), Variant::Double(135.5));
    }

    #[test]
    fn every_node_has_a_value_of_its_type_and_a_name_of_its_own() {
        let line = Line::new(1);
        let mut names = std::collections::BTreeSet::new();
        for datum in Datum::all() {
            let value = line.with(|plant, set| datum.value(plant, set));
            assert_eq!(value.data_type().map(|t| t.node_id), Some(datum.data_type().into()), "{datum:?}");
            assert!(names.insert(datum.name()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn certificates_stay_and_the_gateway_alone_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("demo"), false).unwrap();
        let first = Certificates::open(&folder, "box", &Clock::system()).unwrap();
        let again = Certificates::open(&folder, "box", &Clock::system()).unwrap();
        assert_eq!(first.fingerprint, again.fingerprint);
        let (line, listener) = (Line::new(1), TcpListener::bind((HOST, 0)).await.unwrap());
        let mut device = DeviceConfig::new(format!("opc.tcp://{}", listener.local_addr().unwrap()));
        device.certificate = Some(first.fingerprint.clone());
        let oven = Controller::start(&line, listener, &again, Clock::system()).await.unwrap();

        let hosts = vec![HOST.to_owned()];
        let foreign = Application { name: "x".into(), uri: "urn:twinway:test:foreign".into(), hosts };
        let kit = Kit::new(dir.path().join("foreign"), foreign.clone(), Clock::system());
        assert!(kit.tool(&device).await.is_err(), "a foreign certificate was let in");
        let rejected = first.clients.join("rejected").read_dir().unwrap().map(|f| f.unwrap().path());
        let refused: Vec<_> = rejected.map(|path| std::fs::read(path).unwrap()).collect();
        let now_us = Clock::system().now_us();
        let shown = Pki::open(dir.path().join("foreign")).unwrap().own(&foreign, now_us).unwrap().certificate;
        assert_eq!(refused, [shown.der()]);

        let (tool, node) = gateways(&folder, &device).await;
        // A setpoint is read as it was set, not as the last cycle showed it.
        for n in 0..10 {
            let degc = 100.5 + f64::from(n);
            assert_eq!(set(&line, 1, &DataValue::new_now(degc)), StatusCode::Good);
            let read = tool.read(std::slice::from_ref(&node)).await.unwrap();
            assert_eq!(read[0].text, degc.to_string());
        }
        tool.close().await;
        oven.stop().await;
    }

    /// A session as the gateway has it, and its node of the second zone's setpoint.
    async fn gateways(folder: &Folder, device: &DeviceConfig) -> (Tool, NodeId) {
        let hosts = vec![HOST.to_owned()];
        let gateway = Application::gateway(&TenantId::default(), &"box".parse().unwrap(), hosts);
        let kit = Kit::new(folder.path("gateway/pki"), gateway, Clock::system());
        let tool = kit.tool(device).await.unwrap();
        let node = tool.node(&format!("nsu={NAMESPACE};s=Zone2.Setpoint").parse().unwrap()).unwrap();
        (tool, node)
    }
}
