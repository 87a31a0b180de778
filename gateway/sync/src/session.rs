//! One session: hello, schemas, snapshot, then the live tail and the backlog beside it, until the link or
//! the cloud ends it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use common::api::SwitchPosition;
use common::names::topic;
use common::wire::{
    Down, FEATURE_ALARMS, FEATURE_SET_ASIDE, Heartbeat, Hello, HelloAck, MAX_BATCH_FRAMES, Up, split_schema,
};
use common::{Drain, SchemaHash};
use gateway_core::{FrameId, LogError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::flow::{Flow, Lane, Want, Window};
use crate::link::{Incoming, Link};
use crate::options::Error;
use crate::outgoing::{Outgoing, Speaks, each, together};
use crate::uplink::Uplink;

const HEARTBEAT: Duration = Duration::from_millis(800);
/// When the client takes no more, it is asked again after this.
const RETRY: Duration = Duration::from_millis(2);
/// Read from the log at once.
const READ_BYTES: usize = 128 << 10;
/// So many live frames are in the log's memory for sure.
const NEAR: u64 = 8;

/// What was read: sequences, and the messages of those that the cloud lacks.
type Read = (Vec<u64>, Vec<Outgoing>);
type Reading = Pin<Box<dyn Future<Output = (Want, Result<Read, LogError>)> + Send>>;

/// Runs a session to its end; `Ok` only when drained.
pub(crate) async fn run(uplink: &Uplink, drain: &Drain) -> Result<(), Error> {
    let options = &uplink.options;
    let up = topic::up(&options.tenant, &options.gateway);
    let down = topic::down(&options.tenant, &options.gateway);
    let mut link = Link::connect(options, up, down)?;
    let (ack, named) = tokio::select! {
        ack = hello(uplink, &mut link) => ack?,
        () = drain.started() => return Ok(()),
    };
    tracing::info!(session = ack.session, "uplink connected");
    uplink.connected();
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
    let mut session = Session::start(uplink, link, &ack, agreed).await?;
    let ended = session.go_on(drain).await;
    if ended.is_ok() {
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
            .chain([FEATURE_SET_ASIDE])
            .map(str::to_owned)
            .collect(),
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
    /// The client took nothing.
    blocked: bool,
    agreed: Agreed,
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
    ) -> Result<Self, Error> {
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
        for part in parts {
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
            blocked: false,
            agreed,
        })
    }

    async fn go_on(&mut self, drain: &Drain) -> Result<(), Error> {
        let mut watermark = self.uplink.log.watermark();
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.flow.set_head(watermark.borrow_and_update().head);
        let mut stop = pin!(drain.started());
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
                let acked = self.flow.acked(&ack.acked);
                self.uplink.count(|s| s.acked += acked);
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

    /// The cloud cannot read frames that go together: one by one it can tell which is at fault.
    fn apart(&mut self, detail: &str) {
        tracing::warn!(detail, "the backlog goes frame by frame in this session");
        self.agreed.speaks.batch = false;
        self.reading[Lane::Backlog as usize] = None;
        let read = std::mem::take(&mut self.ready[Lane::Backlog as usize]);
        self.flow.apart(read.into_iter().flat_map(|message| message.frames));
    }

    /// Life sign, and what time has changed.
    fn beat(&mut self) -> Result<(), Error> {
        let silence = self.uplink.options.silence;
        if self.link.silence() >= silence {
            return Err(Error::Silence { what: "word from the cloud", limit_ms: silence.as_millis() });
        }
        let health = (self.uplink.health)();
        let beat = Heartbeat { session_us: self.uplink.clock.mono_us(), health };
        self.link.publish_once(Up::Heartbeat(Box::new(beat)).encode());
        for frame in self.flow.expire(Instant::now(), self.uplink.options.resend_after) {
            let FrameId { incarnation, seq } = frame;
            tracing::warn!(%incarnation, seq, "cloud does not take a frame; it waits for the next session");
        }
        Ok(())
    }

    /// Sends and reads as far as windows and client allow. Gives the schema of the next live frame if the cloud does
    /// not take it for the current one: it must be told first.
    fn pump(&mut self) -> Option<SchemaHash> {
        self.send_waiting();
        self.pump_lane(Lane::Live);
        if let Some(message) = self.ready[Lane::Live as usize].front().filter(|_| !self.blocked)
            && let Some(schema) = self.unnamed(message)
        {
            return Some(schema);
        }
        // Live before backlog: nothing that is ready or wanted may wait for it.
        if self.ready[Lane::Live as usize].is_empty() && self.reading[Lane::Live as usize].is_none() {
            self.pump_lane(Lane::Backlog);
        }
        None
    }

    fn unnamed(&self, message: &Outgoing) -> Option<SchemaHash> {
        message.schema.filter(|schema| *schema != self.agreed.current)
    }

    fn send_waiting(&mut self) {
        while !self.blocked
            && let Some(message) = self.agreed.waiting.front()
        {
            if !self.link.publish(message.clone()) {
                self.blocked = true;
                return;
            }
            self.agreed.waiting.pop_front();
        }
    }

    fn pump_lane(&mut self, lane: Lane) {
        loop {
            self.send_ready(lane);
            if self.blocked || !self.ready[lane as usize].is_empty() || self.reading[lane as usize].is_some()
            {
                return;
            }
            let want = match lane {
                Lane::Live => self.flow.want_live(),
                Lane::Backlog => self.flow.want_backlog(),
            };
            let Some(want) = want else { return };
            let log = self.uplink.log.clone();
            let (speaks, known) = (self.agreed.speaks, self.flow.known(want.incarnation));
            let read = move || {
                let mut frames = log.read(want.incarnation, want.from, READ_BYTES)?;
                let seqs = frames.iter().map(|(seq, _)| *seq).collect();
                frames.retain(|(seq, _)| *seq <= want.last && !known.contains(*seq));
                let messages = match lane {
                    Lane::Live => each(want.incarnation, &frames, speaks),
                    Lane::Backlog => together(want.incarnation, &frames, speaks),
                };
                Ok((seqs, messages))
            };
            if lane == Lane::Live && self.flow.lag() <= NEAR {
                self.take(want, read());
                continue;
            }
            self.reading[lane as usize] = Some(Box::pin(async move {
                let read = tokio::task::spawn_blocking(read).await;
                (want, read.unwrap_or(Err(LogError::Closed)))
            }));
            return;
        }
    }

    fn take(&mut self, want: Want, read: Result<Read, LogError>) {
        let (seqs, messages) = read.unwrap_or_else(|error| {
            tracing::warn!(incarnation = %want.incarnation, from = want.from, %error, "frames not read");
            (Vec::new(), Vec::new())
        });
        self.flow.read(want, &seqs);
        self.ready[want.lane as usize].extend(messages);
    }

    fn send_ready(&mut self, lane: Lane) {
        let mut sent = 0;
        while !self.blocked && self.flow.has_room(lane) {
            let Some(message) = self.ready[lane as usize].front() else { break };
            if lane == Lane::Live && self.unnamed(message).is_some() {
                break;
            }
            if message.frames.iter().any(|f| self.flow.is_needed(*f)) {
                if !self.link.publish(message.bytes.clone()) {
                    self.blocked = true;
                    break;
                }
                let (now, each) = (Instant::now(), message.bytes_each());
                for frame in
                    message.frames.iter().filter(|f| self.flow.is_needed(**f)).copied().collect::<Vec<_>>()
                {
                    self.flow.sent(frame, lane, each, now);
                    sent += 1;
                }
            }
            self.ready[lane as usize].pop_front();
        }
        if sent > 0 {
            self.uplink.count(|s| match lane {
                Lane::Live => s.sent_live += sent,
                Lane::Backlog => s.sent_backlog += sent,
            });
        }
    }
}

async fn finished(reading: &mut Option<Reading>) -> (Want, Result<Read, LogError>) {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
