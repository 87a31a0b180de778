//! The steps of the start, one group of parts each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::Clock;
use common::addresses::AddressFile;
use common::command::LogEntry;
#[cfg(feature = "opcua-client")]
use gateway_adapters::opcua;
use gateway_adapters::{Context, sparkplug};
use gateway_control::Control;
use gateway_core::{
    Block, Bus, Current, DeviceWriter, DropCounts, FrameLog, Health, Points, Policy, Pulse, RawSender, Reader,
};
use gateway_pipeline::Pipeline;
use gateway_store::{FeedOptions, Store};
use tokio::sync::{Mutex, mpsc, watch};

use crate::alarms::Desk;
use crate::broker::Handle as BrokerHandle;
use crate::config::{Config, Publish};
use crate::derived::{Derived, Notes};
use crate::drivers::{Drivers, planned};
use crate::gateway::StartError;
use crate::notes::NoteFiles;
use crate::parts::{Processing, SampleCounts, Switch, log_events};
use crate::pushed::Pushed;
use crate::recorder::Recorder;
use crate::stages::{Stage, Stages};
use crate::updates::Updater;

/// Batches that wait for the pipeline.
const RAW_QUEUE: usize = 1024;
/// Samples that wait for the buffer: it is fast, but a disk can hesitate.
const STORE_QUEUE: usize = 512 * 1024;
/// Samples that wait for the broker.
const BROKER_QUEUE: usize = 64 * 1024;
const EVENT_QUEUE: usize = 256;
/// Blocks of waveforms that wait for the buffer, and how many values they may have in all: two of the largest, or of doubles 64 MiB.
const BLOCK_QUEUE: usize = 16;
const BLOCK_VALUES: usize = 2 * common::wire::MAX_BLOCK_VALUES;

/// What all steps share.
pub(crate) struct Wiring {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) drops: DropCounts,
    pub(crate) points: Points,
    pub(crate) current: Current,
    pub(crate) health: Health,
    /// Whether the loops of the field turn.
    pub(crate) pulse: Pulse,
    pub(crate) bus: Bus,
    pub(crate) stages: Stages,
    /// Where what must outlive a restart is kept, once the buffer is open.
    pub(crate) notes: Notes,
    pub(crate) alarms: Arc<Desk>,
    /// Configuration documents of the cloud.
    pub(crate) pushed: Arc<Pushed>,
    pub(crate) updates: Arc<Updater>,
    addresses: AddressFile,
    /// Whether drivers have asked for what they want of the broker: it lets nobody in before.
    listening: watch::Sender<bool>,
}

/// What reads the field, running.
pub(crate) struct Field {
    left: FieldLeft,
    events: mpsc::Receiver<LogEntry>,
    blocks: mpsc::Receiver<Block>,
    to_store: Reader,
}

impl Wiring {
    pub(crate) fn new(config: Config) -> Self {
        let clock = Clock::system();
        let drops = DropCounts::default();
        Self {
            current: Current::new(config.registry.slots()),
            health: Health::new(clock.clone(), &config.registry),
            pulse: Pulse::new(clock.clone()),
            bus: Bus::new(drops.clone()),
            points: config.registry.clone().into(),
            stages: Stages::new(&clock),
            notes: Notes::default(),
            alarms: Desk::new(config.alarms.clone(), clock.clone(), &drops),
            pushed: Pushed::new(&config, clock.clone()),
            updates: Updater::new(&config, clock.clone()),
            addresses: AddressFile::new(&config.data_dir),
            listening: watch::Sender::new(false),
            config,
            clock,
            drops,
        }
    }

    /// Tells programs on the box where things listen, also when ports were chosen by the system.
    pub(crate) fn write_addresses(
        &self,
        api: SocketAddr,
        broker: Option<SocketAddr>,
        opcua: Option<SocketAddr>,
    ) {
        let socket = &self.config.api.socket;
        let json = serde_json::json!({ "api": api, "socket": socket, "broker": broker, "opcua": opcua });
        self.addresses.write(&json);
    }

    #[cfg(not(feature = "mqtt"))]
    #[allow(clippy::unused_self, clippy::unused_async)] // as below
    pub(crate) async fn broker(&mut self) -> Result<Option<BrokerHandle>, StartError> {
        Ok(None)
    }

    /// The broker, if the configuration wants one.
    #[cfg(feature = "mqtt")]
    pub(crate) async fn broker(&mut self) -> Result<Option<BrokerHandle>, StartError> {
        if !self.config.broker.enabled {
            return Ok(None);
        }
        let options = crate::config::broker::options(&self.config, self.clock.clone());
        let started = gateway_broker::Broker::start(options, self.drops.clone()).await;
        let (broker, handle) = started.map_err(StartError::Broker)?;
        let broker = Arc::new(broker);
        let listening = self.listening.subscribe();
        self.stages.supervisor(Stage::Doors).spawn("broker", move |drain| {
            let (broker, mut listening) = (broker.clone(), listening.clone());
            async move {
                // What it acknowledged before would be nobody's.
                let listening = async { listening.wait_for(|is_so| *is_so).await.map(|_| ()) };
                tokio::select! {
                    _ = listening => broker.run(drain).await,
                    () = drain.started() => Ok(()),
                }
            }
        });
        Ok(Some(handle))
    }

    /// Drivers and the pipeline. Samples wait for the buffer in the bus.
    pub(crate) fn field(&mut self, broker: Option<&BrokerHandle>) -> Result<Field, StartError> {
        let registry = self.config.registry.clone();
        let to_store = self.bus.subscribe("store", STORE_QUEUE, Policy::DropOldest);
        let counts = SampleCounts::new(registry.device_slots());
        let (raw, raw_queue) = RawSender::new(RAW_QUEUE, &self.drops);
        let (raw, blocks) = raw.with_blocks(BLOCK_QUEUE, BLOCK_VALUES);
        let (switch, generations) = mpsc::channel(1);
        let definitions = self.config.virtual_points.clone();
        let (alarms, clock, notes) = (self.alarms.clone(), self.clock.clone(), self.notes.clone());
        let derived = Derived::new(definitions, alarms, registry.clone(), clock, notes)?;
        let processing = Arc::new(Processing {
            raw: Mutex::new(raw_queue),
            pipeline: Mutex::new(Pipeline::new(registry.clone())),
            derived: Mutex::new(derived),
            generations: Mutex::new(generations),
            current: self.current.clone(),
            bus: self.bus.clone(),
            counts: counts.clone(),
            pulse: self.pulse.clone(),
            clock: self.clock.clone(),
        });
        let (sink, events) = mpsc::channel(EVENT_QUEUE);
        let (health, clock) = (self.health.clone(), self.clock.clone());
        let context = Context {
            registry: self.points.clone(),
            raw,
            health,
            clock,
            events: sink,
            drops: self.drops.clone(),
            notes: Some(Arc::new(NoteFiles::new(&self.config.data_dir))),
            modems: gateway_adapters::modbus::Modems::default(),
            pulse: self.pulse.clone(),
        };
        let ends = broker.cloned().map(Arc::new).map(|h| sparkplug::Ends {
            source: h.clone(),
            publish: h,
            nodes: sparkplug::Nodes::default(),
        });
        #[cfg(feature = "opcua-client")]
        let opcua = opcua_kit(&self.config, &self.clock);
        let drivers = Drivers {
            context,
            ends,
            #[cfg(feature = "opcua-client")]
            opcua,
        };
        let mut made = Vec::new();
        for planned in planned(&self.config, &registry) {
            made.push(drivers.make(&self.config, &registry, planned)?);
        }
        let field = self.stages.field();
        self.stages
            .supervisor(Stage::Process)
            .spawn_on(&field, "pipeline", move |drain| processing.clone().run(drain));
        let writers = made.iter().flat_map(|m| m.writers.clone()).collect();
        Drivers::start(made, &mut self.stages);
        self.listening.send_replace(true);
        let left = FieldLeft { counts, writers, drivers, switch };
        Ok(Field { left, events, blocks, to_store })
    }

    /// The buffer and what feeds it; readers of the bus.
    pub(crate) fn delivery(
        &mut self,
        store: Arc<Store>,
        (events, blocks): (mpsc::Receiver<LogEntry>, mpsc::Receiver<Block>),
        to_store: Reader,
        broker: Option<&BrokerHandle>,
    ) -> Arc<Recorder> {
        let registry = self.config.registry.clone();
        let log = Recorder::new(store.clone(), registry.clone());
        let logged = store.points();
        let _ = self.notes.set(log.clone());
        let (alarms, alarm_log) = (self.alarms.clone(), log.clone());
        self.stages
            .supervisor(Stage::Deliver)
            .spawn("alarms", move |drain| alarms.clone().run(alarm_log.clone(), drain));
        let keep = self.stages.supervisor(Stage::Keep);
        keep.spawn("store", move |drain| store.clone().run(drain));
        let follow = log.clone();
        keep.spawn("watermark", move |drain| follow.clone().run(drain));
        let feed = FeedOptions {
            frame: Duration::from_millis(self.config.buffer.frame_ms),
            overruns: Some(self.drops.counter("store", "slow")),
            too_large: Some(self.drops.counter("store", "too_large")),
            ..FeedOptions::default()
        };
        let frames: Arc<dyn FrameLog> = log.clone();
        let (feed_log, mut readers) = (frames.clone(), from_bus(&self.bus, to_store, "store", STORE_QUEUE));
        self.stages.supervisor(Stage::Deliver).spawn("feeder", move |drain| {
            gateway_store::feed(readers(), feed_log.clone(), feed.clone(), drain)
        });
        let events = Arc::new(Mutex::new(events));
        self.stages
            .supervisor(Stage::Process)
            .spawn("events", move |drain| log_events(events.clone(), frames.clone(), drain));
        let blocks = Arc::new(Mutex::new(blocks));
        let to_log = log.clone();
        let gone = self.drops.counter("waveforms", "gone");
        self.stages.supervisor(Stage::Process).spawn("waveforms", move |drain| {
            gateway_store::feed_blocks(blocks.clone(), logged.clone(), to_log.clone(), gone.clone(), drain)
        });
        #[cfg(feature = "mqtt")]
        let publish = self.config.broker.publish;
        #[cfg(feature = "mqtt")]
        if let Some(handle) = broker.filter(|_| publish != Publish::Off).cloned() {
            let to_broker = self.bus.subscribe("broker", BROKER_QUEUE, Policy::DropOldest);
            let mut readers = from_bus(&self.bus, to_broker, "broker", BROKER_QUEUE);
            self.stages.supervisor(Stage::Deliver).spawn("publisher", move |drain| {
                let (reader, registry, handle) = (readers(), registry.clone(), handle.clone());
                async move {
                    match publish {
                        Publish::Device => {
                            gateway_broker::publish_devices(reader, registry, handle, drain).await
                        }
                        _ => gateway_broker::publish_points(reader, registry, handle, drain).await,
                    }
                    Ok(())
                }
            });
        }
        log
    }

    /// The command path.
    pub(crate) fn control(
        &mut self,
        writers: HashMap<usize, Arc<dyn DeviceWriter>>,
        log: Arc<dyn FrameLog>,
    ) -> Result<Arc<gateway_control::Handle>, StartError> {
        let options = gateway_control::Options {
            owner_hold: Duration::from_millis(self.config.control.owner_hold_ms),
            queue: self.config.control.queue,
            ..gateway_control::Options::default()
        };
        let registry = self.config.registry.clone();
        let made = Control::new(options, registry, writers, log, self.current.clone(), self.clock.clone());
        let (control, handle) = made.map_err(StartError::Control)?;
        let control = Arc::new(control);
        self.stages.supervisor(Stage::Field).spawn("control", move |drain| {
            let control = control.clone();
            async move { control.run(drain).await }
        });
        Ok(handle)
    }
}

impl Field {
    /// What only the buffer's side needs.
    #[allow(clippy::type_complexity)]
    pub(crate) fn split(self) -> (FieldLeft, (mpsc::Receiver<LogEntry>, mpsc::Receiver<Block>), Reader) {
        (self.left, (self.events, self.blocks), self.to_store)
    }
}

/// What is left of `Field` for control, the API and reloads.
pub(crate) struct FieldLeft {
    pub(crate) counts: Arc<SampleCounts>,
    pub(crate) writers: HashMap<usize, Arc<dyn DeviceWriter>>,
    pub(crate) drivers: Drivers,
    pub(crate) switch: mpsc::Sender<Switch>,
}

/// The gateway as a client of OPC UA servers, with the certificate and the trusted ones that it has as a server.
#[cfg(feature = "opcua-client")]
fn opcua_kit(config: &Config, clock: &Clock) -> opcua::Kit {
    let hosts = config.opcua_server.as_ref().map(|s| s.hosts.clone()).unwrap_or_default();
    let application = gateway_opcua::pki::Application::gateway(&config.tenant, &config.id, hosts);
    opcua::Kit::new(config.data_dir.join("pki"), application, clock.clone())
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
