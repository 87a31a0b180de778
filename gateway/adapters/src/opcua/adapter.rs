//! The driver as the daemon sees it: one server, its points, and a session after the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use common::command::{LogEntry, Severity};
use common::names::action;
use common::supervise::PartError;
use common::{Access, Drain, PointId, Quality, Sample, ValueType};
use futures_util::FutureExt;
use gateway_core::DeviceWriter;
use gateway_opcua::status;
use opcua::client::Session;
use opcua::types::{DataValue, NodeId, StatusCode, Variant};

use super::config::DeviceConfig;
use super::connect::{Kit, Opened};
use super::error::ConnectError;
use super::limits::Limits;
use super::point::PointConfig;
use super::session::{self, Ended, Memory};
use super::spec::{Indices, Place, Spec, Specs};
use super::types::NodeType;
use super::write::Writer;
use super::{codec, types};
use crate::Context;
use crate::context::Reporter;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Pause where a certificate is to be trusted, or the configuration is to be mended.
const FOR_A_PERSON: Duration = Duration::from_secs(5);

/// Why a driver cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Keys do not fit each other.
    #[error("`{key}`: {message}")]
    Config {
        /// Which key.
        key: &'static str,
        /// What is wrong and expected.
        message: String,
    },
}

/// The driver of one server.
pub struct Adapter(Arc<Shared>);

/// What all parts of a driver have.
pub(super) struct Shared {
    pub(super) device: usize,
    pub(super) name: String,
    pub(super) config: DeviceConfig,
    pub(super) specs: Specs,
    pub(super) context: Context,
    pub(super) kit: Kit,
    connected: RwLock<Option<Arc<Connected>>>,
    overflow: Arc<AtomicU64>,
    missed: Arc<AtomicU64>,
    events_dropped: Arc<AtomicU64>,
}

/// A session that can be used, and where its server has which namespace.
pub(super) struct Connected {
    pub(super) session: Arc<Session>,
    pub(super) limits: Limits,
    pub(super) namespaces: Vec<String>,
    pub(super) indices: Indices,
    types: tokio::sync::Mutex<HashMap<Place, NodeType>>,
}

impl Connected {
    pub(super) fn new(
        session: Arc<Session>,
        limits: Limits,
        namespaces: Vec<String>,
        indices: Indices,
    ) -> Self {
        Self { session, limits, namespaces, indices, types: tokio::sync::Mutex::default() }
    }

    /// The type of a point's node, asked once in a connection.
    pub(super) async fn node_type(&self, at: Place, node: &NodeId) -> Result<NodeType, types::Unknown> {
        let mut known = self.types.lock().await;
        if let Some(found) = known.get(&at) {
            return Ok(*found);
        }
        let found = types::of(&self.session, self.limits, node).await?;
        known.insert(at, found);
        Ok(found)
    }
}

impl Adapter {
    /// A driver of device number `device` with its points.
    ///
    /// # Errors
    /// When the configuration does not make sense; `check` of the daemon tells the same with its place.
    pub fn new(
        device: usize,
        config: DeviceConfig,
        points: Vec<(PointId, PointConfig, Access)>,
        context: Context,
        kit: Kit,
    ) -> Result<Self, Error> {
        let from_key = |(key, message)| Error::Config { key, message };
        config.check().map_err(from_key)?;
        let registry = context.registry.now();
        for (_, point, _) in &points {
            point.check().map_err(from_key)?;
        }
        let typed = points.into_iter().map(|(id, point, access)| {
            let value_type = registry.point(id).map_or(ValueType::F64, |p| p.schema.value_type);
            (id, point, access, value_type)
        });
        let specs = Specs::new(&config, typed);
        let name = registry.device(device).map(|d| d.name.clone()).unwrap_or_default();
        let (overflow, missed) =
            (context.drops.counter("opcua", "overflow"), context.drops.counter("opcua", "missed"));
        let events_dropped = context.drops.counter("opcua", "events");
        let shared = Shared {
            device,
            name,
            config,
            specs,
            context,
            kit,
            connected: RwLock::default(),
            overflow,
            missed,
            events_dropped,
        };
        let shared = Arc::new(shared);
        shared.kit.enter(&shared);
        Ok(Self(shared))
    }

    /// The last status of a point with all of its bits, as the server gave it.
    pub fn status(&self, point: PointId) -> Option<StatusCode> {
        let specs = &self.0.specs;
        Some(specs.get(specs.place(point)?)?.status())
    }
}

impl Shared {
    pub(super) fn connected(&self) -> Option<Arc<Connected>> {
        self.connected.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_connected(&self, connected: Option<Arc<Connected>>) {
        *self.connected.write().unwrap_or_else(PoisonError::into_inner) = connected;
    }

    /// A sample of what the server says of a point.
    pub(super) fn sample(
        &self,
        spec: &Spec,
        value: DataValue,
        now_us: i64,
        reporter: &mut Reporter,
    ) -> Sample {
        if value.status.is_some_and(status::is_overflow) {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
        let (sample, why) = codec::sample(spec, value, now_us);
        if let Some(why) = why {
            reporter.bad(true, &format!("{}: {why}", self.specs.node_ref(spec)));
        }
        sample
    }

    pub(super) fn count_missed(&self, messages: u32) {
        self.missed.fetch_add(messages.into(), Ordering::Relaxed);
    }

    /// Points bad for what the server says of each.
    pub(super) fn bad(&self, told: impl IntoIterator<Item = (Place, StatusCode)>) {
        let now_us = self.context.clock.now_us();
        let sample = |(at, status)| {
            let spec = self.specs.get(at).filter(|s| s.is_read())?;
            spec.told(status);
            let quality = status::quality(status);
            Some(Sample::bad(spec.id, if quality.is_bad() { quality } else { Quality::BAD }, now_us))
        };
        self.context.raw.send(told.into_iter().filter_map(sample).collect());
    }

    /// All points bad, once until there is a connection again.
    pub(super) fn all_bad(&self, memory: &mut Memory, status: StatusCode) {
        if std::mem::replace(&mut memory.told, true) {
            return;
        }
        let now_us = self.context.clock.now_us();
        let read = self.specs.iter().map(|(_, s)| s).filter(|s| s.is_read());
        let bad = read.map(|s| {
            s.told(status);
            Sample::bad(s.id, status::quality(status), now_us)
        });
        self.context.raw.send(bad.collect());
    }

    /// An event of the server goes to the log.
    pub(super) fn event(&self, fields: &[Variant], now_us: i64) {
        let registry = self.context.registry.now();
        let twin = registry.told(self.device).map(|d| d.twin);
        let entry = LogEntry { twin, ..super::events::entry(&self.name, fields, now_us) };
        if self.context.events.try_send(entry).is_err() {
            self.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts on record what the configuration accepts of a server, and that it shows another certificate than before.
    fn record(&self, memory: &mut Memory, opened: &Opened) {
        for detail in &opened.accepted {
            self.entry(action::OPCUA_ACCEPTED, detail.clone());
        }
        let Some(now) = &opened.certificate else { return };
        if let Some(before) = memory.certificate.replace(now.clone()).filter(|before| before != now) {
            let short = |f: &str| f.chars().take(16).collect::<String>();
            let detail = format!("certificate {} instead of {}", short(now), short(&before));
            self.entry(action::OPCUA_RENEWED, detail);
        }
    }

    fn entry(&self, action: &str, detail: String) {
        tracing::warn!(device = self.name, action, detail, "of the server's security");
        let entry = LogEntry {
            at_us: self.context.clock.now_us(),
            actor: "system".to_owned(),
            action: action.to_owned(),
            target: self.name.clone(),
            twin: self.context.registry.now().told(self.device).map(|d| d.twin),
            severity: Severity::Warning,
            code: None,
            detail,
        };
        if self.context.events.try_send(entry).is_err() {
            tracing::warn!(device = self.name, "event dropped: the queue of events is full");
        }
    }

    async fn once(
        self: &Arc<Self>,
        reporter: &mut Reporter,
        memory: &mut Memory,
        drain: &Drain,
    ) -> Result<Ended, ConnectError> {
        let opened = tokio::select! {
            () = drain.started() => return Ok(Ended::Drained),
            opened = self.kit.open(&self.config, &self.name).boxed() => opened.map_err(|e| memory.renewed(e))?,
        };
        let endpoint = super::connect::describe(&opened.endpoint);
        tracing::debug!(device = self.name, endpoint, "connecting");
        self.record(memory, &opened);
        Ok(session::run(self, reporter, memory, opened, drain).boxed().await)
    }
}

#[async_trait]
impl gateway_core::Adapter for Adapter {
    async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let shared = &self.0;
        let mut reporter = Reporter::new(shared.context.clone(), shared.device);
        let mut memory = Memory::default();
        let longest = Duration::from_millis(shared.config.reconnect_max_ms);
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = shared.once(&mut reporter, &mut memory, &drain).boxed().await;
            // A session that lived begins the pauses anew.
            if std::mem::take(&mut memory.lived) {
                pause = FIRST_PAUSE;
            }
            let refused = Duration::from_millis(shared.config.refused_pause_ms);
            let (why, wait) = match ended {
                Ok(Ended::Drained) => return Ok(()),
                Ok(Ended::Lost(why)) => (why, pause),
                Ok(Ended::Refused(error)) | Err(error) if error.is_refusal() => (error.to_string(), refused),
                // What a person mends at the box is seen soon.
                Err(error) if error.is_ours() => (error.to_string(), refused.min(FOR_A_PERSON)),
                Ok(Ended::Refused(error)) | Err(error) => (error.to_string(), pause),
            };
            reporter.bad(false, &why);
            shared.all_bad(&mut memory, StatusCode::BadNotConnected);
            pause = (pause * 2).min(longest);
            tokio::select! {
                () = drain.started() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn writer(&self) -> Option<Arc<dyn DeviceWriter>> {
        Some(Arc::new(Writer(self.0.clone())))
    }
}
