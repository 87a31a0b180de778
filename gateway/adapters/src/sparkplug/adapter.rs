//! The driver as the daemon sees it: reads the messages of one edge node, gives the samples of one of its devices,
//! and begins the writes to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::supervise::PartError;
use common::{Access, Drain, PointId, Quality, Sample, Value};
use gateway_core::{DeviceWriter, Message};
use gateway_sparkplug::{
    Host, HostState, Kind, Payload, Step, Topic, Unreadable, rebirth_request, state_topic,
};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::config::{DeviceConfig, PointConfig};
use super::ends::Ends;
use super::write::{Job, Pendings, Surroundings, Writer};
use crate::Context;
use crate::context::Reporter;
use crate::mqtt::believed;
use crate::waiting::CAPACITY;

/// Most messages that become one batch of samples.
const BATCH: usize = 512;

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
    /// A point that is written and never read.
    #[error(
        "`{point}` is write only, but what a node did is known only from what it tells: use `read_write`"
    )]
    WriteOnly {
        /// Device and point.
        point: String,
    },
}

/// Why a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker gives no more messages")]
struct Ended;

/// The driver of a node, or of one of its devices.
pub struct Adapter {
    device: usize,
    config: DeviceConfig,
    /// By the name of the metric; two points may read one.
    points: HashMap<String, Vec<PointId>>,
    context: Context,
    ends: Ends,
    /// The way to write; none if no point is writable.
    writer: Option<Arc<Writer>>,
    /// Writes that wait; held for the whole run.
    jobs: Mutex<mpsc::Receiver<Job>>,
}

/// What lasts over messages.
struct Session {
    host: Host,
    writes: Pendings,
    reporter: Reporter,
    samples: Vec<Sample>,
    /// The last value of each point that was not sent for history alone.
    live: HashMap<PointId, Sample>,
    /// Points that got history, which must not stay as their current value.
    old: HashSet<PointId>,
    /// Since when a request for births waits to be allowed.
    ask_at: Option<Instant>,
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
        ends: Ends,
    ) -> Result<Self, Error> {
        let from_key = |(key, message)| Error::Config { key, message };
        config.check().map_err(from_key)?;
        let mut by_metric: HashMap<String, Vec<PointId>> = HashMap::new();
        let mut writable = HashMap::new();
        for (id, point, access) in points {
            point.check().map_err(from_key)?;
            let own = || context.registry.point(id).map(|p| p.schema.name.to_string()).unwrap_or_default();
            let metric = point.metric.unwrap_or_else(own);
            match access {
                Access::Write => return Err(Error::WriteOnly { point: context.registry.path(id) }),
                Access::ReadWrite => _ = writable.insert(id, metric.clone()),
                Access::Read => {}
            }
            by_metric.entry(metric).or_default().push(id);
        }
        let (to, jobs) = mpsc::channel(CAPACITY);
        let answer = config.answer();
        let writer = Writer { writable, context: context.clone(), jobs: to, answer };
        let writer = (!writer.writable.is_empty()).then(|| Arc::new(writer));
        Ok(Self { device, config, points: by_metric, context, ends, writer, jobs: Mutex::new(jobs) })
    }

    fn is_own(&self, device: Option<&str>) -> bool {
        device == self.config.device.as_deref()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.context.clock.now_us() / 1000).unwrap_or(0)
    }

    /// All points bad for one reason.
    fn all_bad(&self, session: &mut Session, quality: Quality) {
        let now_us = self.context.clock.now_us();
        let mut ids: Vec<PointId> = self.points.values().flatten().copied().collect();
        ids.sort_unstable();
        session.samples.extend(ids.into_iter().map(|id| Sample::bad(id, quality, now_us)));
        session.live.clear();
        session.old.clear();
    }

    fn take(&self, message: &Message, session: &mut Session) {
        // What the broker kept is the word of a session that may be over.
        if message.retained {
            return;
        }
        let Ok(topic) = Topic::parse(&message.topic) else { return };
        if matches!(topic.kind, Kind::NCmd | Kind::DCmd) {
            return;
        }
        let steps = match Payload::decode(&message.payload) {
            Ok(payload) => session.host.receive(topic.kind, topic.device, &payload),
            Err(error) => {
                session.reporter.bad(true, &format!("a message on `{}`: {error}", message.topic));
                // What it said is lost, as if it had not come.
                let mut steps = session.host.interrupted();
                steps.push(Step::Rebirth(gateway_sparkplug::RebirthReason::NoNumber));
                steps
            }
        };
        self.follow(topic.kind, steps, session);
    }

    fn follow(&self, kind: Kind, steps: Vec<Step>, session: &mut Session) {
        let lost =
            steps.iter().find_map(|s| if let Step::Rebirth(why) = s { Some(why.clone()) } else { None });
        let mut named: Option<HashSet<Arc<str>>> = None;
        // Whether data of our own came, and all of it could be read.
        let mut sound: Option<bool> = None;
        for step in steps {
            match step {
                Step::Born { device } if self.is_own(device.as_deref()) => {
                    session.ask_at = None;
                    session.reporter.good();
                    named = Some(HashSet::new());
                }
                // The node is there: our device's birth follows it.
                Step::Born { .. } => session.ask_at = None,
                Step::Value { device, metric, value, quality, timestamp_ms, historical }
                    if self.is_own(device.as_deref()) =>
                {
                    if let Some(named) = &mut named {
                        named.insert(metric.clone());
                    }
                    let is_sound = value.is_ok() || !self.points.contains_key(&*metric);
                    sound = Some(is_sound && sound.unwrap_or(true));
                    self.value(&metric, value, quality, timestamp_ms, historical, session);
                }
                Step::Value { .. } => {}
                Step::Dead { device } if device.is_none() || self.is_own(device.as_deref()) => {
                    let (quality, why) = match (&lost, kind) {
                        (Some(why), _) => (Quality::BAD_STALE, why.to_string()),
                        (None, Kind::NBirth) => {
                            (Quality::BAD_STALE, "the node was born again, the device not yet".to_owned())
                        }
                        (None, _) => (Quality::BAD_NOT_CONNECTED, "the source said that it ends".to_owned()),
                    };
                    session.reporter.bad(false, &why);
                    self.all_bad(session, quality);
                    if quality == Quality::BAD_NOT_CONNECTED {
                        session.writes.died(&why);
                    }
                }
                Step::Dead { .. } => {}
                Step::Rebirth(why) => {
                    tracing::debug!(node = self.config.node, %why, "births are needed");
                    session.ask_at.get_or_insert_with(Instant::now);
                }
            }
        }
        match named {
            // A birth is counted when it comes.
            Some(named) => self.unnamed(&named, session),
            None if sound == Some(true) && lost.is_none() => session.reporter.good(),
            None => {}
        }
    }

    /// Points that the birth does not have.
    fn unnamed(&self, named: &HashSet<Arc<str>>, session: &mut Session) {
        let now_us = self.context.clock.now_us();
        for (metric, ids) in self.points.iter().filter(|(metric, _)| !named.contains(metric.as_str())) {
            session.reporter.bad(true, &format!("the birth has no metric `{metric}`"));
            session.samples.extend(ids.iter().map(|id| Sample::bad(*id, Quality::BAD_CONFIG, now_us)));
        }
    }

    fn value(
        &self,
        metric: &str,
        value: Result<Option<Value>, Unreadable>,
        told: Option<Quality>,
        timestamp_ms: Option<u64>,
        historical: bool,
        session: &mut Session,
    ) {
        let Some(ids) = self.points.get(metric) else { return };
        let now_us = self.context.clock.now_us();
        let stamp = timestamp_ms.and_then(|ms| i64::try_from(ms).ok()?.checked_mul(1000));
        let (source_us, clock) = match believed(stamp, now_us) {
            Some(us) => (us, Quality::GOOD),
            None => (now_us, Quality::UNCERTAIN_TIME),
        };
        let (value, quality) = match value {
            Ok(Some(value)) => (Some(value), told.filter(|q| !q.is_good()).unwrap_or(clock)),
            Ok(None) => (None, told.filter(|q| q.is_bad()).unwrap_or(Quality::BAD_SOURCE)),
            Err(why) => {
                session.reporter.bad(true, &format!("metric `{metric}`: {why}"));
                (None, Quality::BAD_DECODE)
            }
        };
        for id in ids {
            let sample = Sample { point: *id, value: value.clone(), quality, source_us, received_us: now_us };
            if historical {
                session.old.insert(*id);
            } else {
                session.old.remove(id);
                session.live.insert(*id, sample.clone());
                if let Some(value) = sample.value.as_ref().filter(|_| !quality.is_bad()) {
                    session.writes.seen(*id, self.context.registry.now().point(*id), value);
                }
            }
            session.samples.push(sample);
        }
    }

    /// Sends what was gathered. After history each point's newest value comes again: what is last is what counts
    /// as current.
    fn send(&self, session: &mut Session) {
        let mut old: Vec<PointId> = session.old.drain().collect();
        old.sort_unstable();
        let again: Vec<Sample> = old.iter().filter_map(|id| session.live.get(id)).cloned().collect();
        session.samples.extend(again);
        self.context.raw.send(std::mem::take(&mut session.samples));
    }

    /// Asks the node for births if that is wanted and it was not asked a moment ago.
    fn ask(&self, session: &mut Session) {
        let DeviceConfig { group, node, .. } = &self.config;
        match self.ends.nodes.ask(group, node) {
            Err(again) => session.ask_at = Some(again),
            Ok(()) => {
                session.ask_at = None;
                let topic = Topic { group, kind: Kind::NCmd, node, device: None }.to_string();
                let payload = rebirth_request(self.now_ms()).encode();
                self.ends.publish.publish(&topic, Bytes::from(payload), false);
                tracing::info!(group, node, "births requested");
            }
        }
    }

    /// Sends the command of a job, or asks for what it wants to read.
    fn begin(&self, job: Job, session: &mut Session) {
        let point = job.point();
        let around = Surroundings {
            config: &self.config,
            host: &session.host,
            metric: self.writer.as_ref().and_then(|w| w.writable.get(&point)).map(String::as_str),
            before: session.live.get(&point).and_then(|s| s.value.clone()),
            publish: &*self.ends.publish,
            now_ms: self.now_ms(),
        };
        if session.writes.begin(job, around) {
            session.ask_at.get_or_insert_with(Instant::now);
        }
    }

    fn tell_state(&self, online: bool) {
        let Some(host) = &self.config.host else { return };
        let state = HostState { online, timestamp_ms: self.now_ms() };
        self.ends.publish.publish(&state_topic(host), Bytes::from(state.to_json()), true);
    }
}

#[async_trait]
impl gateway_core::Adapter for Adapter {
    async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let mut session = Session {
            host: Host::new(),
            writes: Pendings::default(),
            reporter: Reporter::new(self.context.clone(), self.device),
            samples: Vec::new(),
            live: HashMap::new(),
            old: HashSet::new(),
            // What was said before this moment is not kept anywhere.
            ask_at: Some(Instant::now()),
        };
        let mut jobs = self.jobs.lock().await;
        let mut messages = self.ends.source.subscribe(self.config.filters());
        self.tell_state(true);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let count = tokio::select! {
                () = drain.started() => {
                    self.tell_state(false);
                    return Ok(());
                }
                count = messages.recv_many(&mut batch, BATCH) => count,
                Some(job) = jobs.recv() => {
                    self.begin(job, &mut session);
                    continue;
                }
                () = at(session.writes.next()) => {
                    session.writes.expire(Instant::now());
                    continue;
                }
                () = at(session.ask_at) => {
                    self.ask(&mut session);
                    continue;
                }
            };
            if count == 0 {
                return Err(Ended.into());
            }
            for message in batch.drain(..) {
                self.take(&message, &mut session);
            }
            self.send(&mut session);
        }
    }

    fn writer(&self) -> Option<Arc<dyn DeviceWriter>> {
        let writer = self.writer.clone()?;
        Some(writer)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
