//! The bare client: a process that makes the same subscriptions with async-opcua's client and its own way of taking
//! notifications, counts values, and does nothing else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opcua::client::{ClientBuilder, DataChangeCallback, IdentityToken};
use opcua::types::{
    EndpointDescription, MessageSecurityMode, MonitoredItemCreateRequest, MonitoringMode,
    MonitoringParameters, ReadValueId, TimestampsToReturn,
};
use serde::{Deserialize, Serialize};
use tests::process::Process;

use super::plant::node;

/// Name of this role on the command line.
pub const ROLE: &str = "opcua-bare";

/// What is subscribed; as JSON on its command line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Work {
    pub url: String,
    pub nodes: u32,
    pub per_subscription: u32,
    pub per_call: u32,
    pub publishing_ms: u64,
    pub queue: u32,
}

/// Starts it.
pub fn start(work: &Work, log: &Path) -> Process {
    let program = std::env::current_exe().expect("this program");
    let json = serde_json::to_string(work).expect("JSON");
    Process::start(&program, &[ROLE, &json], log.to_owned())
}

/// Values that it has counted so far.
pub fn counted(process: &Process) -> u64 {
    process.log().lines().rev().find_map(|l| l.strip_prefix("values ")?.parse().ok()).unwrap_or(0)
}

/// The client itself; ends only with the process.
pub async fn run(json: &str) -> anyhow::Result<()> {
    let work: Work = serde_json::from_str(json)?;
    let mut client = ClientBuilder::new()
        .application_name("bare")
        .application_uri("urn:twinway:bench:bare")
        .create_sample_keypair(false)
        .trust_server_certs(true)
        .session_retry_limit(0)
        .max_message_size(64 << 20)
        .max_chunk_count(8192)
        .max_array_length(1 << 20)
        .client()
        .map_err(|e| anyhow::anyhow!("{e:?}"))?;
    let endpoint = EndpointDescription::from((
        work.url.as_str(),
        "http://opcfoundation.org/UA/SecurityPolicy#None",
        MessageSecurityMode::None,
    ));
    let connected = client.connect_to_matching_endpoint(endpoint, IdentityToken::Anonymous).await;
    let (session, events) = connected.map_err(|e| anyhow::anyhow!("not connected: {e}"))?;
    let running = events.spawn();
    session.wait_for_connection().await;
    let count = Arc::new(AtomicU64::new(0));
    let all: Vec<u32> = (0..work.nodes).collect();
    for part in all.chunks(work.per_subscription as usize) {
        let counter = count.clone();
        let callback = DataChangeCallback::new(move |value, _| {
            if value.value.is_some() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let publishing = Duration::from_millis(work.publishing_ms);
        let id = session.create_subscription(publishing, 1000, 6, 0, 0, true, callback).await?;
        for chunk in part.chunks(work.per_call as usize) {
            let items = chunk.iter().map(|n| item(&work, *n)).collect();
            let made = session.create_monitored_items(id, TimestampsToReturn::Both, items).await?;
            anyhow::ensure!(made.iter().all(|m| m.result.status_code.is_good()), "an item was refused");
        }
    }
    println!("subscribed");
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while !running.is_finished() {
        tick.tick().await;
        println!("values {}", count.load(Ordering::Relaxed));
    }
    anyhow::bail!("the session ended: {:?}", running.await)
}

fn item(work: &Work, n: u32) -> MonitoredItemCreateRequest {
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::from(node(n)),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: n + 1,
            sampling_interval: work.publishing_ms as f64,
            queue_size: work.queue,
            discard_oldest: true,
            ..MonitoringParameters::default()
        },
    }
}
