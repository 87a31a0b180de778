//! An OPC UA server in a process of its own: async-opcua's, without security, with as many numbers as are asked for. All
//! of them change each second, a tenth every 100 ms, each to the number after the one before; or none does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opcua::server::address_space::{AddressSpace, Variable};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua::server::{ServerBuilder, ServerHandle};
use opcua::types::{DataValue, DateTime, NodeId, ObjectId};
use serde::{Deserialize, Serialize};
use tests::process::Process;
use tests::until;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

/// Name of this role on the command line.
pub const ROLE: &str = "opcua-plant";

const NAMESPACE: &str = "urn:twinway:bench";
/// Index of the namespace: after the standard's and the server's own.
const INDEX: u16 = 2;
const PER_FOLDER: u32 = 1000;
const SLICES: u32 = 10;
const FOLDERS: u32 = 10_000_000;

/// What the server is to be; as JSON on its command line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Plant {
    /// Where it listens; 0: anywhere.
    pub port: u16,
    /// How many numbers.
    pub nodes: u32,
    /// What they begin with.
    pub first: u32,
    /// Whether they change.
    pub changes: bool,
}

/// One that listens.
pub struct Running {
    pub process: Process,
    pub addr: SocketAddr,
    /// When it began to listen.
    pub since: SystemTime,
}

impl Running {
    /// Where it is called.
    pub fn url(&self) -> String {
        format!("opc.tcp://{}/", self.addr)
    }
}

/// Id of number `n` of the server.
pub fn node(n: u32) -> NodeId {
    NodeId::new(INDEX, n + 1)
}

impl Plant {
    /// Starts it and waits until it listens.
    pub async fn start(self, log: &Path) -> Running {
        let program = std::env::current_exe().expect("this program");
        let json = serde_json::to_string(&self).expect("JSON");
        let _ = std::fs::remove_file(log);
        let mut process = Process::start(&program, &[ROLE, &json], log.to_owned());
        let (addr, us) = until("the server listens", Duration::from_secs(120), || {
            assert!(process.ended().is_none(), "the server ended:\n{}", process.log());
            let log = process.log();
            let ready = log.lines().find_map(|l| l.strip_prefix("ready ")?.split_once(' '));
            let ready = ready.and_then(|(a, us)| Some((a.parse().ok()?, us.trim().parse::<u64>().ok()?)));
            async move { ready }
        })
        .await;
        Running { process, addr, since: UNIX_EPOCH + Duration::from_micros(us) }
    }
}

/// The server itself; ends only with the process.
pub async fn run(json: &str) -> anyhow::Result<()> {
    let plant: Plant = serde_json::from_str(json)?;
    let namespace = NamespaceMetadata { namespace_uri: NAMESPACE.to_owned(), ..NamespaceMetadata::default() };
    let mut builder = ServerBuilder::new_anonymous("twinway bench")
        .application_uri("urn:twinway:bench:server")
        .create_sample_keypair(false)
        .host("127.0.0.1")
        .port(plant.port)
        .diagnostics_enabled(false)
        .max_message_size(64 << 20)
        .max_chunk_count(8192)
        .max_array_length(1 << 20)
        .with_node_manager(simple_node_manager(namespace, "bench"));
    let limits = builder.limits_mut();
    limits.subscriptions.max_subscriptions_per_session = 100;
    limits.subscriptions.max_monitored_items_per_sub = 10_000;
    limits.subscriptions.max_pending_publish_requests = 100;
    limits.subscriptions.max_queued_notifications = 100;
    let (server, handle) = builder.build().map_err(anyhow::Error::msg)?;
    let manager = handle.node_managers().get_of_type::<SimpleNodeManager>();
    let manager = manager.ok_or_else(|| anyhow::anyhow!("no node manager"))?;
    let index = handle.get_namespace_index(NAMESPACE);
    anyhow::ensure!(index == Some(INDEX), "the namespace has index {index:?}");
    fill(&mut manager.address_space().write(), plant);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, plant.port)).await?;
    let us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    println!("ready {} {us}", listener.local_addr()?);
    if plant.changes {
        tokio::spawn(change(plant, manager, handle));
    }
    server.run_with(listener).await.map_err(anyhow::Error::msg)
}

fn fill(space: &mut AddressSpace, plant: Plant) {
    let objects: NodeId = ObjectId::ObjectsFolder.into();
    for first in (0..plant.nodes).step_by(PER_FOLDER as usize) {
        let (id, name) = (NodeId::new(INDEX, FOLDERS + first), format!("unit{}", first / PER_FOLDER));
        space.add_folder(&id, &*name, &*name, &objects);
        let numbers = first..plant.nodes.min(first + PER_FOLDER);
        let variable = |n: u32| {
            let name = format!("p{n}");
            Variable::new(&node(n), &*name, &*name, f64::from(plant.first))
        };
        space.add_variables(numbers.map(variable).collect(), &id);
    }
}

/// Every value is one more each second; a late slice is not left out.
#[allow(clippy::disallowed_methods)] // the server of somebody else, with a clock of its own
async fn change(plant: Plant, manager: Arc<SimpleNodeManager>, handle: ServerHandle) {
    let nodes: Vec<NodeId> = (0..plant.nodes).map(node).collect();
    let mut tick = interval(Duration::from_secs(1) / SLICES);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for round in 0u32.. {
        tick.tick().await;
        let value = f64::from(plant.first + 1 + round / SLICES);
        let now = DateTime::now();
        let slice = nodes.iter().skip((round % SLICES) as usize).step_by(SLICES as usize);
        let values = slice.map(|id| (id, None, DataValue::new_at(value, now)));
        if let Err(status) = manager.set_values(handle.subscriptions(), values) {
            eprintln!("not set: {status}");
            return;
        }
    }
}
