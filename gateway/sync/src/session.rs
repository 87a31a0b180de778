//! One session: hello, schemas, snapshot, then the live tail and the backlog beside it, until the link or
//! the cloud ends it.

mod pump;
mod renew;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::PoisonError;
use std::time::Duration;

use common::api::SwitchPosition;
use common::names::topic;
use common::supervise::PartState;
use common::wire::{
    Down, FEATURE_ALARMS, FEATURE_CERTIFICATES, FEATURE_CREDIT, FEATURE_SELDOM, FEATURE_SET_ASIDE, Heartbeat,
    Hello, HelloAck, MAX_BATCH_FRAMES, Up, split_schema,
};
use common::{Class, Drain, SchemaHash};
use gateway_core::{FrameId, LogError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::configuration::Configuring;
use crate::flow::{Flow, Lane, Samples, Want, Window};
use crate::link::{Incoming, Link};
use crate::options::Error;
use crate::outgoing::{Outgoing, Speaks};
use crate::pace::Pace;
use crate::update::Updating;
use crate::uplink::Uplink;

const HEARTBEAT: Duration = Duration::from_millis(800);
/// Over a thin link, and over a metered one to a cloud that is not told how seldom they come.
const THIN_HEARTBEAT: Duration = Duration::from_millis(3600);
/// Over a metered link.
const SELDOM_HEARTBEAT: Duration = Duration::from_secs(30);
/// Without any word for so long the link is dead, where pings are few.
const SELDOM_SILENCE: Duration = Duration::from_secs(45);
/// How often it is looked whether the certificate is to be renewed.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// When the client takes no more, it is asked again after this.
const RETRY: Duration = Duration::from_millis(2);

/// What was read: sequences, the messages of those that the cloud lacks, those of frames to be kept back, with their
/// bytes, and those that wait for the disk, with whether each tells the end of a command.
#[derive(Default)]
struct Read {
    seqs: Vec<u64>,
    messages: Vec<Outgoing>,
    kept: Vec<((u64, Class), usize)>,
    early: Vec<(Outgoing, bool)>,
}

/// A message that waits until its frame is on disk.
struct Early {
    message: Outgoing,
    /// When it goes all the same; none: never.
    anyway_at: Option<Instant>,
}

type Reading = Pin<Box<dyn Future<Output = (Want, Result<Read, LogError>)> + Send>>;

/// Runs a session to its end; `Ok` only when drained.
pub(crate) async fn run(uplink: &Uplink, drain: &Drain) -> Result<(), Error> {
    let options = &uplink.options;
    let up = topic::up(&options.tenant, &options.gateway);
    let down = topic::down(&options.tenant, &options.gateway);
    // It stays there until this session knows better: an attempt that fails has learned nothing.
    let before = uplink.pace.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let is_still = options.max_delay.is_some() || before.as_ref().is_some_and(Pace::is_thin);
    let enrolment = uplink.shown();
    let own = (options, enrolment.as_ref());
    let mut link = Link::connect(own, &uplink.clock, is_still, uplink.carried.clone(), up, down)?;
    let began = Instant::now();
    let (ack, named) = tokio::select! {
        ack = hello(uplink, &mut link) => ack?,
        () = drain.started() => return Ok(()),
    };
    let pace = Pace::new(options.window_bytes, began.elapsed(), Instant::now()).after(before);
    tracing::info!(session = ack.session, "uplink connected");
    uplink.connected();
    uplink.began().await;
    judge(uplink, &ack).await;
    if let Err(error) = uplink.log.ack(&ack.known) {
        tracing::warn!(%error, "acks not kept");
    }
    send_schemas(uplink, &link, &ack.want_schemas).await?;
    let agreed = Agreed {
        known: named.schemas,
        current: named.schema,
        waiting: VecDeque::new(),
        speaks: Speaks::of(&ack),
    };
    let mut session = Session::start(uplink, link, &ack, agreed, (pace, is_still)).await?;
    let ended = session.go_on(drain).await;
    session.leave();
    if matches!(ended, Ok(()) | Err(Error::Renewed)) {
        session.link.disconnect().await;
    }
    ended
}

/// Holds the cloud's answer against what is remembered of it, and tells what differs.
async fn judge(uplink: &Uplink, ack: &HelloAck) {
    let (book, log, answer) = (uplink.book.clone(), uplink.log.clone(), ack.clone());
    let told = tokio::task::spawn_blocking(move || book.answered(&*log, &answer)).await.unwrap_or_default();
    told.into_iter().for_each(|entry| uplink.tell(entry));
    uplink.set_aside(ack.set_aside.clone(), "the cloud's audit says why").await;
}

/// Connects, subscribes and says hello; the cloud's answer.
async fn hello(uplink: &Uplink, link: &mut Link) -> Result<(HelloAck, Hello), Error> {
    let mut said = greeting(uplink);
    let limit = uplink.options.hello_timeout;
    let silent = |what| Error::Silence { what, limit_ms: limit.as_millis() };
    let talk = async {
        loop {
            match link.next().await {
                Incoming::Connected => link.subscribe()?,
                Incoming::Subscribed => {
                    said = greeting(uplink);
                    let (book, log) = (uplink.book.clone(), uplink.log.clone());
                    let machine = uplink.options.machine.clone();
                    let who = tokio::task::spawn_blocking(move || book.identity(&*log, machine)).await;
                    said.identity = who.ok().map(Box::new);
                    if !link.publish(Up::Hello(Box::new(said.clone())).encode()) {
                        return Err(Error::Link { detail: "client takes nothing".to_owned() });
                    }
                }
                Incoming::Down(error) => return Err(error),
                Incoming::Message(bytes) => match Down::decode(&bytes) {
                    Ok(Down::HelloAck(ack)) => return Ok((ack, said.clone())),
                    Ok(Down::Refusal(r)) => return Err(Error::Refused { code: r.code, detail: r.detail }),
                    // Commands have no session to be measured by yet; the cloud gives them up by itself.
                    Ok(_) => tracing::warn!("message before hello was answered"),
                    Err(error) => tracing::warn!(%error, "message that cannot be read"),
                },
            }
        }
    };
    tokio::time::timeout(limit, talk).await.unwrap_or_else(|_| Err(silent("answer to hello")))
}

fn greeting(uplink: &Uplink) -> Hello {
    let (options, log) = (&uplink.options, &uplink.log);
    let schemas = log.schemas();
    Hello {
        tenant: options.tenant.clone(),
        gateway: options.gateway.clone(),
        version: options.version.clone(),
        incarnation: log.incarnation(),
        streams: log.ranges(),
        schema: schemas.last().copied().unwrap_or(SchemaHash([0; 16])),
        schemas,
        session_us: uplink.clock.mono_us(),
        remote: uplink.orders.switch() == SwitchPosition::Remote,
        features: uplink
            .alarms
            .iter()
            .map(|_| FEATURE_ALARMS)
            .chain([FEATURE_CREDIT, FEATURE_SET_ASIDE])
            .map(str::to_owned)
            .collect(),
        heartbeat_ms: options.max_delay.and(u32::try_from(SELDOM_HEARTBEAT.as_millis()).ok()),
        identity: None,
    }
}

async fn send_schemas(uplink: &Uplink, link: &Link, wanted: &[SchemaHash]) -> Result<(), Error> {
    for hash in wanted.iter().copied() {
        let log = uplink.log.clone();
        let json = tokio::task::spawn_blocking(move || log.schema_json(hash)).await.ok().flatten();
        let Some(json) = json else {
            tracing::warn!(%hash, "cloud wants a schema that is not there");
            continue;
        };
        for part in split_schema(hash, &json) {
            must(link.publish(Up::Schema(part).encode()))?;
        }
    }
    Ok(())
}

fn must(taken: bool) -> Result<(), Error> {
    if taken { Ok(()) } else { Err(Error::Link { detail: "client takes nothing".to_owned() }) }
}

struct Session<'a> {
    uplink: &'a Uplink,
    link: Link,
    flow: Flow,
    /// Read and not yet sent, by lane.
    ready: [VecDeque<Outgoing>; 2],
    reading: [Option<Reading>; 2],
    /// Intents and ends of commands that are not on disk yet.
    early: VecDeque<Early>,
    /// The client took nothing.
    blocked: bool,
    agreed: Agreed,
    pace: Pace,
    samples: Samples,
    /// Pings are few on this link.
    is_still: bool,
    /// The cloud knows how seldom heartbeats come.
    seldom: bool,
    beat_at: Option<Instant>,
    /// The cloud renews certificates.
    renews: bool,
    /// It says that it is time.
    due: bool,
    /// When it was last looked at.
    looked_at: Option<Instant>,
    configuring: Option<Configuring>,
    updating: Option<Updating>,
}

/// Schemas that the cloud was told of in this session, and what it told.
struct Agreed {
    speaks: Speaks,
    known: Vec<SchemaHash>,
    current: SchemaHash,
    /// What tells of more of them: it stands before everything else.
    waiting: VecDeque<Vec<u8>>,
}

impl Agreed {
    /// Has the cloud told that a schema is the current one from here on; and of its content, if it is new to it.
    async fn name(&mut self, uplink: &Uplink, schema: SchemaHash) {
        self.current = schema;
        self.waiting.push_back(Up::Renewed(schema).encode());
        if self.known.contains(&schema) {
            return;
        }
        self.known.push(schema);
        let log = uplink.log.clone();
        let json = tokio::task::spawn_blocking(move || log.schema_json(schema)).await.ok().flatten();
        let Some(json) = json else {
            tracing::warn!(%schema, "schema of a frame is not there");
            return;
        };
        tracing::info!(%schema, "cloud is told of a new configuration");
        self.waiting.extend(split_schema(schema, &json).into_iter().map(|part| Up::Schema(part).encode()));
    }
}

impl<'a> Session<'a> {
    /// Sends the snapshot; what comes after it is live.
    async fn start(
        uplink: &'a Uplink,
        link: Link,
        ack: &HelloAck,
        mut agreed: Agreed,
        (pace, is_still): (Pace, bool),
    ) -> Result<Self, Error> {
        let is_held = uplink.look(false).samples.is_some();
        let head = uplink.log.watermark().borrow().head;
        let parts = uplink.log.snapshot();
        // The configuration may have changed since the hello.
        if let Some(schema) = parts.first().map(|s| s.schema).filter(|s| *s != agreed.current) {
            agreed.name(uplink, schema).await;
            while let Some(message) = agreed.waiting.pop_front() {
                must(link.publish(message))?;
            }
        }
        let seq = parts.first().map_or(head, |s| s.seq);
        // Values are samples: while those are held, the cloud goes without them.
        for part in parts.into_iter().filter(|_| !is_held) {
            must(link.publish(Up::Snapshot(part).encode()))?;
        }
        let o = &uplink.options;
        // A batch counts as one there, and is acknowledged by its frames.
        let each = if agreed.speaks.batch { MAX_BATCH_FRAMES } else { 1 };
        let backlog = o.backlog_window.saturating_mul(each);
        let window = Window { live: o.live_window, backlog, bytes: o.window_bytes };
        let ranges = uplink.log.ranges();
        let flow = Flow::new(window, uplink.log.incarnation(), seq, &ack.known, ranges);
        Ok(Self {
            uplink,
            link,
            flow,
            ready: Default::default(),
            reading: [None, None],
            early: VecDeque::new(),
            blocked: false,
            agreed,
            pace,
            samples: Samples::AtOnce,
            is_still,
            seldom: ack.features.iter().any(|f| f == FEATURE_SELDOM),
            beat_at: None,
            renews: ack.features.iter().any(|f| f == FEATURE_CERTIFICATES),
            due: ack.renew,
            looked_at: None,
            configuring: Configuring::new(uplink, ack),
            updating: Updating::new(uplink, ack),
        })
    }

    /// What was learned of the link is for the next session.
    fn leave(&mut self) {
        let now = Instant::now();
        self.pace.end(self.flow.oldest(now), now);
        *self.uplink.pace.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.pace.clone());
    }

    async fn go_on(&mut self, drain: &Drain) -> Result<(), Error> {
        let mut watermark = self.uplink.log.watermark();
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.flow.set_head(watermark.borrow_and_update().head);
        let mut stop = pin!(drain.started());
        self.choose();
        loop {
            if let Some(schema) = self.pump() {
                self.agreed.name(self.uplink, schema).await;
                continue;
            }
            let [live, backlog] = &mut self.reading;
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                _ = beat.tick() => self.beat()?,
                incoming = self.link.next() => self.incoming(incoming).await?,
                changed = watermark.changed() => {
                    if changed.is_err() {
                        return Err(Error::Link { detail: "log is closed".to_owned() });
                    }
                    self.flow.set_head(watermark.borrow_and_update().head);
                }
                (want, read) = finished(live), if live.is_some() => {
                    self.reading[Lane::Live as usize] = None;
                    self.take(want, read);
                }
                (want, read) = finished(backlog), if backlog.is_some() => {
                    self.reading[Lane::Backlog as usize] = None;
                    self.take(want, read);
                }
                () = Configuring::changed(&mut self.configuring) => self.tell(),
                () = Updating::changed(&mut self.updating) => self.tell(),
                () = tokio::time::sleep(RETRY), if self.blocked => self.blocked = false,
            }
        }
    }

    async fn incoming(&mut self, incoming: Incoming) -> Result<(), Error> {
        let bytes = match incoming {
            Incoming::Message(bytes) => bytes,
            Incoming::Down(error) => return Err(error),
            Incoming::Connected | Incoming::Subscribed => return Ok(()),
        };
        match Down::decode(&bytes) {
            Ok(Down::Ack(ack)) => {
                let now = Instant::now();
                let acked = self.flow.acked(&ack.acked, now);
                self.pace.acked(acked, now);
                if self.uplink.has_budget() {
                    self.choose();
                }
                self.uplink.count(|s| s.acked += acked.frames);
                if let Err(error) = self.uplink.log.ack(&ack.acked) {
                    tracing::warn!(%error, "acks not kept");
                }
            }
            Ok(Down::Command(order)) => self.uplink.orders.command(*order),
            Ok(Down::Desired(orders)) => self.uplink.orders.desired(orders),
            Ok(Down::Alarm(order)) => match &self.uplink.alarms {
                Some(alarms) => alarms.alarm(*order),
                None => tracing::warn!("the cloud spoke of alarms, which nobody takes here"),
            },
            Ok(Down::Certificate(enrolled)) => {
                self.due = false;
                if self.uplink.renewed(*enrolled).await {
                    return Err(Error::Renewed);
                }
            }
            Ok(Down::Configuration(part)) => match &mut self.configuring {
                Some(configuring) => configuring.take(&part),
                None => tracing::warn!("the cloud sent a configuration document, which nobody takes here"),
            },
            Ok(Down::Offer(offer)) => {
                if let Some(updating) = &mut self.updating {
                    updating.offered(offer);
                    self.tell();
                }
            }
            Ok(Down::Piece(piece)) => {
                if let Some(updating) = &self.updating {
                    updating.take(piece);
                }
            }
            Ok(Down::Credit(credit)) => self.pace.credit(credit.backlog_bytes),
            Ok(Down::SetAside(aside)) => {
                // Once: what was on its way together is asked for by the same word.
                if aside.apart && self.agreed.speaks.batch {
                    self.apart(&aside.detail);
                }
                self.uplink.set_aside(aside.frames, &aside.detail).await;
            }
            Ok(Down::Refusal(r)) => {
                tracing::warn!(code = %r.code, detail = r.detail, "cloud refused a message");
                self.uplink.refused(&r);
            }
            Ok(Down::HelloAck(_)) => tracing::warn!("hello answered twice"),
            Err(error) => tracing::warn!(%error, "message that cannot be read"),
        }
        Ok(())
    }

    fn tell(&mut self) {
        if let Some(configuring) = &mut self.configuring {
            configuring.tell(&self.link);
        }
        if let Some(updating) = &mut self.updating {
            updating.tell(&self.link, || self.uplink.look(false).samples.is_some());
        }
    }

    /// The cloud cannot read frames that go together: one by one it can tell which is at fault.
    fn apart(&mut self, detail: &str) {
        tracing::warn!(detail, "the backlog goes frame by frame in this session");
        self.agreed.speaks.batch = false;
        self.reading[Lane::Backlog as usize] = None;
        let read = std::mem::take(&mut self.ready[Lane::Backlog as usize]);
        let (together, single): (VecDeque<_>, VecDeque<_>) =
            read.into_iter().partition(|message| message.frames.len() > 1);
        self.ready[Lane::Backlog as usize] = single;
        self.flow.apart(together.into_iter().flat_map(|message| message.frames));
    }

    /// Life sign, and what time has changed.
    fn beat(&mut self) -> Result<(), Error> {
        self.choose();
        self.renew();
        self.tell();
        let metered = self.uplink.options.max_delay.is_some();
        let every = match (metered, self.seldom) {
            (true, true) => SELDOM_HEARTBEAT,
            (true, false) => THIN_HEARTBEAT,
            _ if self.pace.is_thin() => THIN_HEARTBEAT,
            _ => HEARTBEAT,
        };
        let silence = match self.is_still {
            true => self.uplink.options.silence.max(SELDOM_SILENCE),
            false => self.uplink.options.silence,
        };
        if self.link.silence() >= silence {
            return Err(Error::Silence { what: "word from the cloud", limit_ms: silence.as_millis() });
        }
        // The ticks do not come to the millisecond.
        if self.beat_at.is_none_or(|at| at.elapsed() + HEARTBEAT / 2 >= every) {
            self.beat_at = Some(Instant::now());
            let mut health = (self.uplink.health)();
            if metered {
                let all = health.devices.len() + health.parts.len();
                health.devices.retain(|d| !d.connected);
                health.parts.retain(|p| p.state != PartState::Running);
                health.left_out += (all - health.devices.len() - health.parts.len()) as u64;
            }
            let beat = Heartbeat { session_us: self.uplink.clock.mono_us(), health };
            self.link.publish_once(Up::Heartbeat(Box::new(beat)).encode());
        }
        let after = self.uplink.options.resend_after.max(self.pace.patience());
        for frame in self.flow.expire(Instant::now(), after) {
            let FrameId { incarnation, seq } = frame;
            tracing::warn!(%incarnation, seq, "cloud does not take a frame; it waits for the next session");
        }
        Ok(())
    }
}

async fn finished(reading: &mut Option<Reading>) -> (Want, Result<Read, LogError>) {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
