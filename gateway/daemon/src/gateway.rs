//! Wires the parts: what is started in which order, and what is drained in which. Nothing here decides anything
//! about samples or commands.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::api::GatewayHealth;
use common::command::{LogEntry, Severity};
use common::names::action;
use common::supervise::{Backoff, Parts, Supervisor};
use common::wire::Body;
use common::{Clock, Drain};
use gateway_adapters::{Context, modbus, mqtt};
use gateway_control::Control;
use gateway_core::{
    Adapter, Bus, Current, DropCounts, FrameLog, Health, Messages, Orders, Policy, RawSender, Reader,
};
use gateway_pipeline::Pipeline;
use gateway_store::{FeedOptions, Store};
use gateway_sync::Uplink;
use tokio::sync::{Mutex, mpsc, watch};

use crate::api::{self, Api};
use crate::config::Config;
use crate::parts::{Processing, SampleCounts, log_events};
use crate::recorder::Recorder;

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Batches that wait for the pipeline.
const RAW_QUEUE: usize = 1024;
/// Batches that wait for the buffer: it is fast, but a disk can hesitate.
const STORE_QUEUE: usize = 16 * 1024;
const BROKER_QUEUE: usize = 1024;
const EVENT_QUEUE: usize = 256;
/// How long each group of parts may take to end.
const STAGES: [Duration; 4] = [
    Duration::from_millis(1000),
    Duration::from_millis(200),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker's address.
    #[error("broker")]
    Broker(#[source] gateway_broker::Error),
    /// The API's address or socket.
    #[error("api cannot listen on {at}")]
    Api {
        /// Address or path.
        at: String,
        /// Why.
        source: std::io::Error,
    },
    /// The buffer.
    #[error("buffer")]
    Buffer(#[source] gateway_store::OpenError),
    /// A device's driver.
    #[error("device `{device}`: {detail}")]
    Device {
        /// Which.
        device: String,
        /// Why.
        detail: String,
    },
    /// The command path.
    #[error("control")]
    Control(#[source] gateway_control::Error),
    /// The program itself.
    #[error("start was interrupted: {detail}")]
    Interrupted {
        /// Why.
        detail: String,
    },
}

/// The gateway.
pub struct Gateway;

/// A running gateway. It ends when the drain that it was started with starts.
#[derive(Debug)]
pub struct Handle {
    api_addr: SocketAddr,
    socket_path: Option<PathBuf>,
    broker_addr: Option<SocketAddr>,
    finished: watch::Receiver<Option<Vec<String>>>,
}

impl Handle {
    /// Where the API listens.
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Its Unix socket, if any.
    pub fn socket_path(&self) -> Option<&Path> {
        self.socket_path.as_deref()
    }

    /// Where the embedded broker listens, if it runs.
    pub fn broker_addr(&self) -> Option<SocketAddr> {
        self.broker_addr
    }

    /// Waits until everything has ended and is on disk; gives the names of parts that had to be cut off.
    pub async fn finished(&self) -> Vec<String> {
        let mut finished = self.finished.clone();
        match finished.wait_for(Option::is_some).await {
            Ok(late) => late.clone().unwrap_or_default(),
            Err(_) => vec!["gateway".to_owned()],
        }
    }
}

/// What the API and heartbeats tell from.
pub(crate) struct Vitals {
    pub(crate) clock: Clock,
    pub(crate) log: Arc<Recorder>,
    pub(crate) control: Arc<gateway_control::Handle>,
    /// Set once the uplink is made; never without a cloud.
    pub(crate) uplink: OnceLock<watch::Receiver<gateway_sync::UplinkStatus>>,
    pub(crate) drops: DropCounts,
    pub(crate) health: Health,
    pub(crate) parts: Vec<Parts>,
}

impl Vitals {
    pub(crate) fn health(&self) -> GatewayHealth {
        GatewayHealth {
            version: VERSION.to_owned(),
            uptime_ms: self.clock.mono_us() / 1000,
            clock_synchronised: self.clock.is_synchronised(),
            switch: self.control.switch(),
            uplink: self.uplink.get().is_some_and(|u| u.borrow().connected),
            buffer: self.log.health(),
            dropped: self.drops.list().into_iter().collect(),
            devices: self.health.list(),
            parts: self.parts.iter().flat_map(Parts::list).collect(),
        }
    }
}

/// The four groups of parts in the order in which they are drained.
struct Stages {
    supervisors: [Supervisor; 4],
    drains: [Drain; 4],
}

impl Stages {
    fn new(clock: &Clock) -> Self {
        let drains: [Drain; 4] = std::array::from_fn(|_| Drain::new());
        let supervisor = |d: &Drain| Supervisor::new(clock.clone(), d.clone(), Backoff::default());
        Self { supervisors: drains.each_ref().map(supervisor), drains }
    }

    fn parts(&self) -> Vec<Parts> {
        self.supervisors.iter().map(Supervisor::parts).collect()
    }

    /// Drains one after the other; the names of those that had to be cut off.
    async fn finish(self) -> Vec<String> {
        let mut late = Vec::new();
        for ((supervisor, drain), limit) in self.supervisors.into_iter().zip(self.drains).zip(STAGES) {
            drain.start();
            late.extend(supervisor.finish(limit).await);
        }
        late
    }
}

const FIELD: usize = 0;
const PROCESS: usize = 1;
const DELIVER: usize = 2;
const KEEP: usize = 3;

impl Gateway {
    /// Starts everything. The field is read before the buffer is open, so that the first value is there at once;
    /// its samples wait in their queue.
    ///
    /// # Errors
    /// When an address is taken, the buffer cannot be opened, or a device's configuration does not fit.
    pub async fn start(config: Config, drain: Drain) -> Result<Handle, StartError> {
        // Another part of the process may have done it: one provider is as good as the other.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::system();
        let registry = config.registry.clone();
        let drops = DropCounts::default();
        let mut stages = Stages::new(&clock);

        let listeners = api::bind(&config.api).await?;
        let mut broker = None;
        if config.broker.enabled {
            let mut options = gateway_broker::Options::new(config.broker.listen);
            options.max_payload = config.broker.max_packet_bytes;
            let started = gateway_broker::Broker::start(options, drops.clone()).await;
            broker = Some(started.map_err(StartError::Broker)?);
        }
        let opening = tokio::task::spawn_blocking({
            let (options, clock, registry) = (store_options(&config), clock.clone(), registry.clone());
            move || Store::open(options, clock, registry)
        });

        let current = Current::new(registry.points().len());
        let bus = Bus::new(drops.clone());
        let counts = SampleCounts::new(registry.devices().len());
        let (raw, raw_queue) = RawSender::new(RAW_QUEUE, &drops);
        let processing = Arc::new(Processing {
            raw: Mutex::new(raw_queue),
            pipeline: Mutex::new(Pipeline::new(registry.clone())),
            registry: registry.clone(),
            current: current.clone(),
            bus: bus.clone(),
            counts: counts.clone(),
        });
        let to_store = bus.subscribe("store", STORE_QUEUE, Policy::DropOldest);
        let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
        let devices = registry.devices().iter().map(|d| (d.name.clone(), d.protocol.to_owned()));
        let health = Health::new(clock.clone(), devices);
        let context =
            Context { registry: registry.clone(), raw, health: health.clone(), clock: clock.clone(), events };
        let mut broker_handle = None;
        if let Some((broker, handle)) = broker {
            broker_handle = Some(handle);
            let broker = Arc::new(broker);
            stages.supervisors[FIELD].spawn("broker", move |drain| {
                let broker = broker.clone();
                async move { broker.run(drain).await }
            });
        }
        let messages = broker_handle.clone().map(|h| Arc::new(h) as Arc<dyn Messages>);
        let adapters = adapters(&config, &context, messages.as_ref())?;
        drop(context);
        stages.supervisors[PROCESS].spawn("pipeline", move |drain| processing.clone().run(drain));
        let mut writers = HashMap::new();
        for (index, adapter) in adapters.into_iter().enumerate() {
            let device = &registry.devices()[index];
            if let Some(writer) = adapter.writer() {
                writers.insert(index, writer);
            }
            stages.supervisors[FIELD].spawn(format!("{}:{}", device.protocol, device.name), move |drain| {
                let adapter = adapter.clone();
                async move { adapter.run(drain).await }
            });
        }

        let opened = opening.await.map_err(|e| StartError::Interrupted { detail: e.to_string() });
        let store = match opened.and_then(|r| r.map_err(StartError::Buffer)) {
            Ok(store) => store,
            Err(error) => {
                stages.finish().await;
                return Err(error);
            }
        };
        let log = Recorder::new(store.clone(), registry.points().len());
        stages.supervisors[KEEP].spawn("store", move |drain| store.clone().run(drain));
        let follow = log.clone();
        stages.supervisors[KEEP].spawn("watermark", move |drain| follow.clone().run(drain));
        let frames: Arc<dyn FrameLog> = log.clone();
        let feed = FeedOptions {
            frame: Duration::from_millis(config.buffer.frame_ms),
            overruns: Some(drops.counter("store", "slow")),
            too_large: Some(drops.counter("store", "too_large")),
            ..FeedOptions::default()
        };
        let (feed_log, mut readers) = (frames.clone(), from_bus(&bus, to_store, "store", STORE_QUEUE));
        stages.supervisors[DELIVER].spawn("feeder", move |drain| {
            gateway_store::feed(readers(), feed_log.clone(), feed.clone(), drain)
        });
        let event_queue = Arc::new(Mutex::new(event_queue));
        let event_log = frames.clone();
        stages.supervisors[PROCESS]
            .spawn("events", move |drain| log_events(event_queue.clone(), event_log.clone(), drain));
        if let Some(handle) = broker_handle.clone().filter(|_| config.broker.publish) {
            let registry = registry.clone();
            let to_broker = bus.subscribe("broker", BROKER_QUEUE, Policy::DropOldest);
            let mut readers = from_bus(&bus, to_broker, "broker", BROKER_QUEUE);
            stages.supervisors[DELIVER].spawn("publisher", move |drain| {
                let publish =
                    gateway_broker::publish_points(readers(), registry.clone(), handle.clone(), drain);
                async move {
                    publish.await;
                    Ok(())
                }
            });
        }

        let options = gateway_control::Options {
            owner_hold: Duration::from_millis(config.control.owner_hold_ms),
            queue: config.control.queue,
            ..gateway_control::Options::default()
        };
        let made =
            Control::new(options, registry.clone(), writers, frames.clone(), current.clone(), clock.clone());
        let (control, orders) = match made {
            Ok(made) => made,
            Err(error) => {
                stages.finish().await;
                return Err(StartError::Control(error));
            }
        };
        let control = Arc::new(control);
        stages.supervisors[FIELD].spawn("control", move |drain| {
            let control = control.clone();
            async move { control.run(drain).await }
        });

        let parts = stages.parts();
        let vitals = Arc::new(Vitals {
            clock: clock.clone(),
            log: log.clone(),
            control: orders.clone(),
            uplink: OnceLock::new(),
            drops,
            health,
            parts,
        });
        if let Some(options) = uplink_options(&config) {
            let source = vitals.clone();
            let uplink = Arc::new(Uplink::new(
                options,
                frames.clone(),
                orders.clone(),
                clock.clone(),
                Arc::new(move || source.health()),
            ));
            let _ = vitals.uplink.set(uplink.status());
            stages.supervisors[FIELD].spawn("uplink", move |drain| {
                let uplink = uplink.clone();
                async move { uplink.run(drain).await }
            });
        }

        let (api_addr, socket_path) = (listeners.addr(), config.api.socket.clone());
        let broker_addr = broker_handle.as_ref().map(gateway_broker::Handle::local_addr);
        let api = Api::new(&config, vitals, current, counts, broker_handle, stages.drains[FIELD].clone());
        api::serve(listeners, api, &mut stages.supervisors[FIELD]);

        let told = tell(&frames, &clock, action::GATEWAY_STARTED);
        let old = log.clone();
        tokio::task::spawn_blocking(move || old.load_old_entries());
        write_addresses(&config, api_addr, broker_addr);
        tracing::info!(gateway = %config.id, api = %api_addr, logged = told, "gateway started");

        let (done, finished) = watch::channel(None);
        tokio::spawn(async move {
            drain.started().await;
            tell(&frames, &clock, action::GATEWAY_STOPPED);
            let late = stages.finish().await;
            drop(bus);
            let close = tokio::task::spawn_blocking(move || log.store().close());
            if close.await.is_err() {
                tracing::error!("buffer was not closed");
            }
            if !late.is_empty() {
                tracing::warn!(parts = ?late, "parts were cut off");
            }
            tracing::info!("gateway stopped");
            done.send_replace(Some(late));
        });
        Ok(Handle { api_addr, socket_path, broker_addr, finished })
    }
}

fn store_options(config: &Config) -> gateway_store::Options {
    gateway_store::Options {
        quota_bytes: config.buffer.quota_mb << 20,
        sync_interval: Duration::from_millis(config.buffer.sync_ms),
        segment_bytes: config.buffer.segment_mb << 20,
        ring: config.buffer.keep_acked,
        ..gateway_store::Options::new(config.data_dir.join("buffer"))
    }
}

fn uplink_options(config: &Config) -> Option<gateway_sync::Options> {
    let uplink = config.uplink.as_ref()?;
    let url = uplink.url.clone();
    let tls = url.tls.then(|| gateway_sync::Tls { ca_file: uplink.ca_file.clone() });
    Some(gateway_sync::Options {
        tls,
        username: uplink.username.clone(),
        password: uplink.password.clone(),
        version: VERSION.to_owned(),
        window_bytes: uplink.window_bytes,
        ..gateway_sync::Options::new(url, config.tenant.clone(), config.id.clone())
    })
}

/// One driver for each device, in the order of the registry.
fn adapters(
    config: &Config,
    context: &Context,
    messages: Option<&Arc<dyn Messages>>,
) -> Result<Vec<Arc<dyn Adapter>>, StartError> {
    let mut adapters: Vec<Arc<dyn Adapter>> = Vec::new();
    for (index, section) in config.devices.iter().enumerate() {
        let told = |detail: String| StartError::Device { device: section.name.clone(), detail };
        let device = config.registry.devices().get(index);
        let ids = device.map_or(0..0, |d| d.points.clone()).map(common::PointId);
        let points = ids.zip(&section.point);
        if let Some(device) = &section.modbus {
            let points = points.filter_map(|(id, p)| Some((id, p.modbus.clone()?, p.access))).collect();
            let made = modbus::Adapter::new(index, device.clone(), points, context.clone());
            adapters.push(Arc::new(made.map_err(|e| told(e.to_string()))?));
        } else if let Some(device) = &section.mqtt {
            let points = points.filter_map(|(id, p)| Some((id, p.mqtt.clone()?, p.access))).collect();
            let source = messages.cloned().ok_or_else(|| told("needs the embedded broker".to_owned()))?;
            let made = mqtt::Adapter::new(index, device.clone(), points, context.clone(), source);
            adapters.push(Arc::new(made.map_err(|e| told(e.to_string()))?));
        } else {
            return Err(told("has no protocol".to_owned()));
        }
    }
    Ok(adapters)
}

/// The reader made at the start, and a new one for each start of its part after that.
fn from_bus(
    bus: &Bus,
    first: Reader,
    name: &'static str,
    capacity: usize,
) -> impl FnMut() -> Reader + Send + use<> {
    let (bus, mut first) = (bus.clone(), Some(first));
    move || first.take().unwrap_or_else(|| bus.subscribe(name, capacity, Policy::DropOldest))
}

fn tell(log: &Arc<dyn FrameLog>, clock: &Clock, action: &str) -> bool {
    let entry = LogEntry {
        at_us: clock.now_us(),
        actor: "system".to_owned(),
        action: action.to_owned(),
        target: "gateway".to_owned(),
        twin: None,
        severity: Severity::Info,
        code: None,
        detail: VERSION.to_owned(),
    };
    log.append(Body::Event(entry)).inspect_err(|error| tracing::warn!(%error, "cannot log an event")).is_ok()
}

/// Tells programs on the box where things listen, also when ports were chosen by the system.
fn write_addresses(config: &Config, api: SocketAddr, broker: Option<SocketAddr>) {
    let json = serde_json::json!({ "api": api, "socket": config.api.socket, "broker": broker });
    let path = config.data_dir.join("addresses.json");
    let new = config.data_dir.join("addresses.json.new");
    let written = std::fs::write(&new, json.to_string()).and_then(|()| std::fs::rename(&new, &path));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "cannot write the addresses");
    }
}
