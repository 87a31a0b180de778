//! The part that the supervisor runs: one session after the other. A session connects, follows the buffer by the
//! cursor, and moves the cursor when the broker has taken what was sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use common::command::{LogEntry, Severity};
use common::names::action;
use common::supervise::PartError;
use common::wire::{Body, Frame};
use common::{Clock, Drain, Incarnation};
use gateway_core::{Current, DropCounts, FrameId, FrameLog, LogError, Orders, Points, Watermark};
use gateway_sparkplug::HostState;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::cursor::{Cursor, Run};
use crate::edge::{Node, Out};
use crate::json;
use crate::link::{ANSWER, Incoming, Link};
use crate::names::Names;
use crate::options::{Error, Format, Options, Sparkplug};

/// Bytes of frames read and sent before a barrier.
const BATCH_BYTES: usize = 64 << 10;
/// Barriers that may stand unanswered.
const WINDOW: usize = 4;
/// How long answers are waited for at a good end.
const LAST_ANSWERS: Duration = Duration::from_millis(300);
/// How often the cursor is kept.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// Writes of hosts that control works on at a time.
const WRITES: usize = 16;

/// What a publisher works with.
#[derive(Clone)]
pub struct Parts {
    /// The buffer.
    pub log: Arc<dyn FrameLog>,
    /// All points.
    pub points: Points,
    /// The current values.
    pub current: Current,
    /// Where writes of hosts go.
    pub orders: Arc<dyn Orders>,
    /// What is dropped.
    pub drops: DropCounts,
    /// The clock.
    pub clock: Clock,
}

/// How a publisher fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it publishes now.
    pub online: bool,
    /// Frames that the broker has taken, since the start of the program.
    pub frames: u64,
    /// Why the last session ended or could not begin.
    pub last_error: Option<String>,
}

/// A publisher.
pub struct Publisher {
    pub(crate) options: Options,
    pub(crate) parts: Parts,
    status: watch::Sender<Status>,
    pub(crate) writes: Arc<Semaphore>,
}

/// What lasts for one session.
pub(crate) struct Session<'a> {
    link: Link,
    cursor: &'a mut Cursor,
    names: Names,
    /// Runs that are sent, each before its barrier.
    waiting: VecDeque<Run>,
    /// The node, for Sparkplug.
    pub(crate) node: Option<Node<'a>>,
    /// Frames after this go live; older ones are history. 0: everything in its order.
    live_after: u64,
    waiting_since: Option<Instant>,
}

impl Publisher {
    /// A publisher.
    pub fn new(options: Options, parts: Parts) -> Self {
        // Nothing that it may want is freed before it has read its note.
        let all = FrameId { incarnation: Incarnation(0), seq: 0 };
        parts.log.hold(&crate::cursor::key(&options.name), all, options.lag_bytes);
        Self {
            options,
            parts,
            status: watch::Sender::new(Status::default()),
            writes: Arc::new(Semaphore::new(WRITES)),
        }
    }

    /// How it fares.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Publishes until drained.
    ///
    /// # Errors
    /// None so far: a session that ends is followed by the next.
    pub async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let mut cursor = Cursor::load(&self.options.name, &*self.parts.log);
        self.keep(&mut cursor).await;
        let mut attempt = 0;
        while !drain.is_started() {
            cursor.restart();
            let began = Instant::now();
            let ended = self.session(&mut cursor, &drain).await;
            self.keep(&mut cursor).await;
            let error = ended.err().map(|e| e.to_string());
            self.status.send_modify(|s| {
                s.online = false;
                s.last_error.clone_from(&error);
            });
            if drain.is_started() {
                break;
            }
            if began.elapsed() >= self.options.backoff.healthy_after {
                attempt = 0;
            }
            let pause = self.options.backoff.pause(attempt);
            attempt = attempt.saturating_add(1);
            let (publisher, error) = (&self.options.name, error.unwrap_or_default());
            if attempt <= 1 {
                tracing::warn!(publisher, error, "publishing interrupted");
            } else {
                tracing::debug!(publisher, error, "publishing not possible");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = drain.started() => {}
            }
        }
        Ok(())
    }

    async fn keep(&self, cursor: &mut Cursor) {
        let Some(note) = cursor.keep(&*self.parts.log, self.options.lag_bytes) else { return };
        if let Err(error) = self.set_note(cursor.key().to_owned(), note).await {
            tracing::warn!(publisher = self.options.name, %error, "the cursor cannot be kept");
            cursor.not_kept();
        }
    }

    /// Keeps a note, which waits for the disk, off the runtime.
    async fn set_note(&self, key: String, note: Vec<u8>) -> Result<(), LogError> {
        let log = self.parts.log.clone();
        let kept = tokio::task::spawn_blocking(move || log.set_note(&key, &note)).await;
        kept.unwrap_or(Err(LogError::Closed))
    }

    /// Frames of a run. What was appended last is in memory; the rest is read off the runtime.
    async fn read(&self, run: Run, live: bool) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        let log = self.parts.log.clone();
        let read = move || log.read(run.incarnation, run.first, BATCH_BYTES);
        let mut frames = if live {
            read()?
        } else {
            tokio::task::spawn_blocking(read).await.unwrap_or(Err(LogError::Closed))?
        };
        frames.retain(|(seq, _)| *seq <= run.last);
        Ok(frames)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.parts.clock.now_us() / 1000).unwrap_or(0)
    }

    async fn session(&self, cursor: &mut Cursor, drain: &Drain) -> Result<(), Error> {
        let sparkplug = match &self.options.format {
            Format::Sparkplug(sparkplug) => Some(sparkplug),
            Format::Json(_) => None,
        };
        let node = match sparkplug {
            Some(sparkplug) => Some(Node::new(&self.options, sparkplug, self.next_bd_seq().await?)),
            None => None,
        };
        let will = node.as_ref().map(|n| n.death(self.now_ms()));
        let filters = node.as_ref().map(Node::filters).unwrap_or_default();
        let link = Link::connect(&self.options.target, will, filters)?;
        let mut session = Session {
            link,
            cursor,
            names: Names::default(),
            waiting: VecDeque::new(),
            node,
            live_after: 0,
            waiting_since: None,
        };
        let host = tokio::select! {
            ready = self.ready(&mut session, sparkplug) => ready?,
            () = drain.started() => return Ok(()),
        };
        tracing::info!(publisher = self.options.name, "publishing");
        self.status.send_modify(|s| (s.online, s.last_error) = (true, None));
        let ended = self.follow(&mut session, sparkplug, host, drain).await;
        if ended.is_ok() {
            self.last_answers(&mut session).await;
        }
        // A will is sent for a break only: a good end says it itself.
        if let Some(node) = &session.node
            && !matches!(ended, Err(Error::Link { .. } | Error::Silence { .. }))
        {
            let (topic, payload) = node.death(self.now_ms());
            session.link.publish(topic, payload, 1, false).await?;
        }
        session.link.disconnect().await;
        ended
    }

    /// Before a good end: what the broker has taken of what was sent is not sent again by the next session.
    async fn last_answers(&self, session: &mut Session<'_>) {
        let limit = Instant::now() + LAST_ANSWERS;
        while !session.waiting.is_empty() {
            match timeout_at(limit, session.link.next()).await {
                Ok(Incoming::Passed) => self.passed(session),
                Ok(Incoming::Down(_)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// The number of the next connection, kept over restarts: a death belongs to one birth only.
    async fn next_bd_seq(&self) -> Result<u8, Error> {
        let key = format!("publish/{}/bd_seq", self.options.name);
        let last = self.parts.log.note(&key).and_then(|n| n.first().copied());
        let next = last.map_or(0, |n| n.wrapping_add(1));
        self.set_note(key, vec![next]).await?;
        Ok(next)
    }

    /// Waits for the connection, the subscriptions and the primary host; then births. What the host said last.
    async fn ready(
        &self,
        session: &mut Session<'_>,
        sparkplug: Option<&Sparkplug>,
    ) -> Result<Option<HostState>, Error> {
        let limit = Instant::now() + ANSWER;
        let mut host = None;
        loop {
            let next = timeout_at(limit, session.link.next()).await;
            let silence = || Error::Silence { what: "answer of the broker", limit_ms: ANSWER.as_millis() };
            match next.map_err(|_| silence())? {
                Incoming::Subscribed => break,
                Incoming::Down(error) => return Err(error),
                Incoming::Message { topic, payload, .. } => note_host(sparkplug, &topic, &payload, &mut host),
                Incoming::Connected | Incoming::Passed => {}
            }
        }
        let Some(sparkplug) = sparkplug else { return Ok(None) };
        while sparkplug.primary_host.is_some() && !host.is_some_and(|h: HostState| h.online) {
            match session.link.next().await {
                Incoming::Down(error) => return Err(error),
                Incoming::Message { topic, payload, .. } => {
                    note_host(Some(sparkplug), &topic, &payload, &mut host);
                }
                Incoming::Subscribed | Incoming::Connected | Incoming::Passed => {}
            }
        }
        self.births(session).await?;
        Ok(host)
    }

    pub(crate) async fn births(&self, session: &mut Session<'_>) -> Result<(), Error> {
        let Some(node) = &mut session.node else { return Ok(()) };
        // Read first: what comes after it is sent as well, so that nothing falls between birth and data.
        if session.live_after == 0 {
            session.live_after = self.parts.log.watermark().borrow().head;
        }
        let registry = self.parts.points.now();
        let out = node.births(registry.schema(), &self.parts.current, self.now_ms());
        send(&mut session.link, out, 0).await
    }

    async fn follow(
        &self,
        session: &mut Session<'_>,
        sparkplug: Option<&Sparkplug>,
        mut host: Option<HostState>,
        drain: &Drain,
    ) -> Result<(), Error> {
        let mut watermark = self.parts.log.watermark();
        let mut tick = interval(KEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let head = *watermark.borrow_and_update();
            let mut more = true;
            while more && session.waiting.len() < WINDOW {
                more = self.send_next(session, head).await?;
            }
            let stuck = session.waiting_since.map(|since| since + ANSWER);
            tokio::select! {
                () = drain.started() => return Ok(()),
                incoming = session.link.next() => match incoming {
                    Incoming::Down(error) => return Err(error),
                    Incoming::Passed => self.passed(session),
                    Incoming::Message { topic, payload, retained } => {
                        note_host(sparkplug, &topic, &payload, &mut host);
                        if let (Some(state), Some(sparkplug)) = (host, sparkplug) && !state.online {
                            let host = sparkplug.primary_host.clone().unwrap_or_default();
                            return Err(Error::HostOffline { host });
                        }
                        // A command that a broker kept is nobody's wish of now.
                        if !retained {
                            self.command(session, &topic, &payload).await?;
                        }
                    }
                    Incoming::Connected | Incoming::Subscribed => {}
                },
                changed = watermark.changed(), if !more => {
                    if changed.is_err() {
                        return Err(Error::Log(LogError::Closed));
                    }
                }
                () = at(stuck) => {
                    return Err(Error::Silence { what: "answer of the broker", limit_ms: ANSWER.as_millis() });
                }
                _ = tick.tick() => self.keep(session.cursor).await,
            }
        }
    }

    fn passed(&self, session: &mut Session<'_>) {
        if let Some(run) = session.waiting.pop_front() {
            session.cursor.taken(run);
            self.status.send_modify(|s| s.frames += run.last - run.first + 1);
        }
        session.waiting_since = (!session.waiting.is_empty()).then(Instant::now);
    }

    /// Sends the next frames and a barrier; false if there are none.
    async fn send_next(&self, session: &mut Session<'_>, head: Watermark) -> Result<bool, Error> {
        let incarnation = self.parts.log.incarnation();
        // Live first, then what is left from before.
        let live = session.cursor.missing(incarnation, session.live_after + 1, head.head);
        let Some(wanted) = live.or_else(|| self.backlog(session, head)) else { return Ok(false) };
        let historical = session.node.is_some()
            && (wanted.incarnation != incarnation || wanted.first <= session.live_after);
        let frames = self.read(wanted, live.is_some()).await?;
        let gone = wanted.without(frames.iter().map(|(seq, _)| *seq));
        gone.iter().for_each(|gone| session.cursor.taken(*gone));
        self.tell_gap(&gone);
        let [(first, _), ..] = frames[..] else { return Ok(true) };
        let run = Run { first, last: frames.last().map_or(first, |(seq, _)| *seq), ..wanted };
        for (_, bytes) in &frames {
            self.send_frame(session, bytes, historical).await?;
        }
        session.cursor.sent(run);
        session.link.barrier().await?;
        session.waiting.push_back(run);
        session.waiting_since.get_or_insert_with(Instant::now);
        Ok(true)
    }

    fn backlog(&self, session: &Session<'_>, head: Watermark) -> Option<Run> {
        let end = match session.node {
            Some(_) => session.live_after,
            None => head.head,
        };
        let end = FrameId { incarnation: self.parts.log.incarnation(), seq: end };
        session.cursor.next(&self.parts.log.ranges(), end)
    }

    async fn send_frame(
        &self,
        session: &mut Session<'_>,
        bytes: &[u8],
        historical: bool,
    ) -> Result<(), Error> {
        let Ok(Frame { header, body: Body::Samples(samples) }) = Frame::decode(bytes) else { return Ok(()) };
        let live_of_another =
            !historical && session.node.as_ref().is_some_and(|n| n.born() != Some(header.schema));
        if live_of_another && self.parts.points.now().hash() == header.schema {
            self.births(session).await?;
        }
        let Some(schema) = session.names.schema(&*self.parts.log, header.schema) else {
            self.drop_unknown(samples.len() as u64);
            return Ok(());
        };
        match (&mut session.node, &self.options.format) {
            (Some(node), _) => {
                let (out, unknown) = node.data(&schema, &samples, historical, self.now_ms());
                self.drop_unknown(unknown);
                send(&mut session.link, out, 0).await
            }
            (None, Format::Json(options)) => {
                for message in json::messages(&self.options, options, &schema, &samples) {
                    session.link.publish(message.topic, message.payload, options.qos, options.retain).await?;
                }
                Ok(())
            }
            (None, Format::Sparkplug(_)) => Ok(()),
        }
    }

    /// Samples of points that the configuration no longer has.
    fn drop_unknown(&self, samples: u64) {
        if samples > 0 {
            let queue = format!("publish.{}", self.options.name);
            let counter = self.parts.drops.counter(&queue, "unknown_point");
            counter.fetch_add(samples, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Frames went before this publisher had sent them.
    fn tell_gap(&self, gone: &[Run]) {
        let (Some(Run { incarnation, first, .. }), Some(Run { last, .. })) = (gone.first(), gone.last())
        else {
            return;
        };
        let frames: u64 = gone.iter().map(|g| g.last - g.first + 1).sum();
        let queue = format!("publish.{}", self.options.name);
        self.parts.drops.counter(&queue, "lagged").fetch_add(frames, std::sync::atomic::Ordering::Relaxed);
        let publisher = &self.options.name;
        tracing::warn!(publisher, %incarnation, first, last, frames, "frames went unpublished");
        let detail = format!(
            "{frames} of the frames {first} to {last} of {incarnation} went before they were published"
        );
        self.tell(action::PUBLISH_GAP, Severity::Warning, detail);
    }

    fn tell(&self, action: &str, severity: Severity, detail: String) {
        let entry = LogEntry {
            at_us: self.parts.clock.now_us(),
            actor: "system".to_owned(),
            action: action.to_owned(),
            target: format!("publish/{}", self.options.name),
            twin: None,
            severity,
            code: None,
            detail,
        };
        if let Err(error) = self.parts.log.append(Body::Event(entry)) {
            tracing::warn!(action, %error, "event of a publisher is lost");
        }
    }
}

async fn send(link: &mut Link, out: Vec<Out>, qos: u8) -> Result<(), Error> {
    for (topic, payload) in out {
        link.publish(topic, payload, qos, false).await?;
    }
    Ok(())
}

/// Takes note of the primary host's state. An older word than the last says nothing.
fn note_host(sparkplug: Option<&Sparkplug>, topic: &str, payload: &[u8], known: &mut Option<HostState>) {
    let Some(host) = sparkplug.and_then(|s| s.primary_host.as_deref()) else { return };
    if topic != gateway_sparkplug::state_topic(host) {
        return;
    }
    if let Some(state) = HostState::parse(payload)
        && known.is_none_or(|k| state.timestamp_ms >= k.timestamp_ms)
    {
        *known = Some(state);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
