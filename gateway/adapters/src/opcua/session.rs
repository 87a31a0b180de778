//! One session from its first connection to its end: it is driven here, its subscriptions are made, watched and
//! repaired, and what they send becomes samples. A connection that breaks is taken up again within the session as long
//! as the server keeps it; the subscriptions then go on where they were, and a message that was missed is asked for
//! again.

use std::sync::Arc;
use std::time::Duration;

use common::{Drain, Sample};
use futures_util::{FutureExt, StreamExt};
use gateway_opcua::NodeRef;
use gateway_opcua::pki::Doubt;
use opcua::client::transport::TcpConnector;
use opcua::client::{Session, SessionActivity, SessionConnectMode, SessionEventLoop, SessionPollResult};
use opcua::types::{
    ByteString, EndpointDescription, Error, NodeId, ReadValueId, StatusCode, TimestampsToReturn, VariableId,
    Variant,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::adapter::{Connected, Shared};
use super::connect::Opened;
use super::error::{ConnectError, is_refusal};
use super::items::{self, Subscription};
use super::limits::{self, Limits};
use super::publish::Publisher;
use super::{history, poll, recover};
use crate::context::Reporter;

/// How often subscriptions are looked after.
const TICK: Duration = Duration::from_millis(250);
/// Points that the server refused are tried again after this.
const RETRY: Duration = Duration::from_secs(30);
/// How long the server is given to close a session at the end.
const CLOSING: Duration = Duration::from_secs(1);
/// Signs of life that may fail before the connection counts as dead.
const MOST_SILENT: u32 = 2;
/// How often a server that is not connected is asked whether it has another certificate, and for how long.
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASK_LIMIT: Duration = Duration::from_secs(1);
const SIGNALS: usize = 64;

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// the gateway stops
    Drained,
    /// it was lost, and another one is to be made
    Lost(String),
    /// the server refuses who we are
    Refused(ConnectError),
}

/// What is remembered from one session to the next.
#[derive(Default)]
pub(super) struct Memory {
    /// Subscriptions that the server may still have, and the nodes that they are of.
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) nodes: Vec<Option<NodeId>>,
    /// Whether all points were told bad since there was a connection.
    pub(super) told: bool,
    /// Whether the last session was set up.
    pub(super) lived: bool,
    /// Fingerprint of the server's certificate that was taken last.
    pub(super) certificate: Option<String>,
}

impl Memory {
    /// The error that a connection was not made for, with the certificate that was taken before.
    pub(super) fn renewed(&self, error: ConnectError) -> ConnectError {
        match error {
            ConnectError::Certificate { doubts, .. } => {
                let untrusted = doubts.iter().find_map(|d| match d {
                    Doubt::Untrusted { fingerprint, .. } => Some(fingerprint),
                    _ => None,
                });
                let before = self.certificate.clone().filter(|c| untrusted.is_some_and(|u| u != c));
                ConnectError::Certificate { doubts, before }
            }
            other => other,
        }
    }
}

/// What happens to the connection.
enum Signal {
    Connected { fresh: bool },
    Lost(StatusCode),
    Failed(StatusCode),
    Alive,
    Silent,
}

/// Drives a session until it ends.
pub(super) async fn run(
    shared: &Arc<Shared>,
    reporter: &mut Reporter,
    memory: &mut Memory,
    opened: Opened,
    drain: &Drain,
) -> Ended {
    let Opened { session, events, endpoint, .. } = opened;
    let (tell, told) = mpsc::channel(SIGNALS);
    let limits = Limits::unknown();
    let mut live = Live {
        shared,
        reporter,
        memory,
        session,
        endpoint,
        asked: Instant::now(),
        limits,
        publisher: Publisher::new(),
        failed: Vec::new(),
        retry_at: None,
        catch_up: None,
        connected: false,
        ever: false,
        since: Instant::now(),
        silent: 0,
    };
    let ended = tokio::select! {
        status = Box::pin(pump(events, tell)) => Ended::Lost(format!("the session ended: {status}")),
        ended = live.work(told, drain).boxed() => ended,
    };
    shared.set_connected(None);
    ended
}

/// Polls the crate's loop, without which nothing is sent or received, and tells what matters.
async fn pump(events: SessionEventLoop<TcpConnector>, tell: mpsc::Sender<Signal>) -> StatusCode {
    let mut events = Box::pin(events.enter());
    loop {
        let signal = match events.next().await {
            None => return StatusCode::BadConnectionClosed,
            Some(Err(status)) => return status,
            Some(Ok(SessionPollResult::Reconnected(mode))) => {
                Signal::Connected { fresh: matches!(mode, SessionConnectMode::NewSession(_)) }
            }
            Some(Ok(SessionPollResult::ConnectionLost(status))) => Signal::Lost(status),
            Some(Ok(SessionPollResult::ReconnectFailed(status))) => Signal::Failed(status),
            Some(Ok(SessionPollResult::SessionActivity(SessionActivity::KeepAliveSucceeded))) => {
                Signal::Alive
            }
            Some(Ok(SessionPollResult::SessionActivity(SessionActivity::KeepAliveFailed(status)))) => {
                // A server that says that it does not run has answered.
                if matches!(status, StatusCode::BadServerHalted | StatusCode::BadUnknownResponse) {
                    Signal::Alive
                } else {
                    Signal::Silent
                }
            }
            Some(Ok(_)) => continue,
        };
        if tell.send(signal).await.is_err() {
            return StatusCode::BadConnectionClosed;
        }
    }
}

/// A session at work.
pub(super) struct Live<'l> {
    pub(super) shared: &'l Arc<Shared>,
    pub(super) reporter: &'l mut Reporter,
    pub(super) memory: &'l mut Memory,
    pub(super) session: Arc<Session>,
    endpoint: EndpointDescription,
    /// When the server was asked last for its certificate, while there is no connection.
    asked: Instant,
    pub(super) limits: Limits,
    pub(super) publisher: Publisher,
    /// Points that the server refused.
    pub(super) failed: Vec<usize>,
    pub(super) retry_at: Option<Instant>,
    /// When all values are read once, because they were told bad while the server kept its subscriptions.
    pub(super) catch_up: Option<Instant>,
    pub(super) connected: bool,
    /// Whether it was connected before.
    ever: bool,
    /// Since when it is connected or not.
    since: Instant,
    silent: u32,
}

/// What one step of the work leads to: on, or the end.
pub(super) type Step = Result<(), Ended>;

impl Live<'_> {
    async fn work(&mut self, mut told: mpsc::Receiver<Signal>, drain: &Drain) -> Ended {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polling = poll::Polling::none();
        loop {
            let step = tokio::select! {
                biased;
                () = drain.started() => {
                    let _ = timeout(CLOSING, Box::pin(self.session.disconnect())).await;
                    return Ended::Drained;
                }
                signal = told.recv() => match signal {
                    None => Err(Ended::Lost("the session ended".to_owned())),
                    Some(signal) => {
                        let is_change = matches!(signal, Signal::Connected { .. } | Signal::Lost(_));
                        let step = self.signal(signal).boxed().await;
                        if is_change {
                            polling = match (&step, self.shared.connected()) {
                                (Ok(()), Some(connected)) => {
                                    poll::Polling::of(self.shared, connected, self.limits)
                                }
                                _ => poll::Polling::none(),
                            };
                        }
                        step
                    }
                },
                Some(answer) = self.publisher.waiting.next(), if !self.publisher.waiting.is_empty() => {
                    self.published(answer).boxed().await
                }
                _ = tick.tick() => self.look().boxed().await,
                result = polling.next() => {
                    self.polled(result);
                    Ok(())
                }
            };
            if let Err(ended) = step {
                return ended;
            }
            if self.connected {
                self.publisher.fill(&self.session);
            }
        }
    }

    async fn signal(&mut self, signal: Signal) -> Step {
        match signal {
            Signal::Alive => self.silent = 0,
            Signal::Silent => {
                self.silent += 1;
                if self.silent >= MOST_SILENT {
                    return Err(Ended::Lost("the server does not answer".to_owned()));
                }
            }
            Signal::Lost(status) => self.lost(&format!("connection lost: {status}")),
            Signal::Failed(status) => {
                let told = ConnectError::Refused { status };
                if is_refusal(status) {
                    // One that took us before may have another certificate now: it is asked anew, once.
                    return Err(if self.ever { Ended::Lost(told.to_string()) } else { Ended::Refused(told) });
                }
                let given_up = self.since.elapsed() > Duration::from_millis(self.shared.config.session_ms);
                if !self.ever || given_up {
                    return Err(Ended::Lost(format!("cannot connect: {status}")));
                }
                self.reporter.bad(false, &format!("cannot connect: {status}"));
            }
            Signal::Connected { fresh } => {
                (self.connected, self.since, self.silent) = (true, Instant::now(), 0);
                let made = self.connected(fresh || !self.ever).boxed().await;
                self.ever = true;
                if let Err(error) = made {
                    if is_refusal(error.status()) {
                        return Err(Ended::Refused(ConnectError::Refused { status: error.status() }));
                    }
                    return Err(Ended::Lost(format!("not set up: {error}")));
                }
                (self.memory.told, self.memory.lived) = (false, true);
                self.reporter.good();
            }
        }
        Ok(())
    }

    fn lost(&mut self, why: &str) {
        (self.connected, self.since) = (false, Instant::now());
        self.publisher.clear();
        self.shared.set_connected(None);
        self.reporter.bad(false, why);
        self.shared.all_bad(self.memory, StatusCode::BadNotConnected);
    }

    /// Names, limits and subscriptions of a connection.
    async fn connected(&mut self, fresh: bool) -> Result<(), Error> {
        self.publisher.clear();
        let namespaces = namespaces(&self.session).await?;
        self.limits = limits::ask(&self.session, &self.shared.config).await;
        if fresh {
            self.types().await;
        }
        let find = |node: &NodeRef| node.resolve(&namespaces);
        let nodes: Vec<Option<NodeId>> = self.shared.specs.iter().map(|s| find(&s.config.node)).collect();
        let methods = self.shared.specs.iter().map(|s| s.config.method.as_ref().and_then(find)).collect();
        let notifiers: Vec<NodeId> = self.shared.config.events.iter().filter_map(find).collect();
        self.unresolved(&nodes);
        let is_same = !self.memory.nodes.is_empty() && self.memory.nodes == nodes;
        self.memory.nodes.clone_from(&nodes);
        let connected = Connected::new(self.session.clone(), self.limits, nodes, methods);
        if !is_same || self.memory.subscriptions.is_empty() {
            let old = std::mem::take(&mut self.memory.subscriptions).into_iter().map(|s| s.id).collect();
            if !fresh {
                items::delete(&self.session, old).await;
            }
            self.backfill().await?;
            self.subscribe(self.subscribed(), notifiers).await?;
        } else if fresh {
            recover::transfer(self).await?;
        } else {
            // The server kept all but what its queues did not hold; what was missed shows by its number.
            self.backfill().await?;
            let now = Instant::now();
            self.memory.subscriptions.iter_mut().for_each(|s| s.heard = now);
            self.catch_up_soon();
        }
        self.set_publisher();
        self.shared.set_connected(Some(Arc::new(connected)));
        Ok(())
    }

    /// Definitions of the server's own structures, if a point is a field of one.
    async fn types(&mut self) {
        if self.shared.specs.iter().all(|s| s.config.field.is_none()) {
            return;
        }
        match Box::pin(super::structure::loader(&self.session)).await {
            Ok(loader) => self.session.add_type_loader(loader),
            Err(error) => {
                tracing::warn!(device = self.shared.name, %error, "the server's types are not known")
            }
        }
    }

    /// Points whose namespace the server does not have.
    fn unresolved(&mut self, nodes: &[Option<NodeId>]) {
        let missing: Vec<usize> =
            nodes.iter().enumerate().filter(|(_, n)| n.is_none()).map(|(at, _)| at).collect();
        for at in missing {
            let Some(spec) = self.shared.specs.get(at) else { continue };
            self.reporter.bad(true, &format!("{}: the server has no such namespace", spec.config.node));
            self.shared.bad(at, StatusCode::BadNodeIdUnknown);
        }
    }

    /// Points that are subscribed, with their nodes.
    fn subscribed(&self) -> Vec<items::Resolved> {
        let nodes = self.memory.nodes.iter().enumerate();
        let specs = &self.shared.specs;
        let wanted = nodes.filter(|(at, _)| specs.get(*at).is_some_and(|s| s.is_subscribed()));
        wanted.filter_map(|(at, node)| Some((at, node.clone()?))).collect()
    }

    /// Subscribes points, over as many subscriptions as the server's limits need.
    pub(super) async fn subscribe(
        &mut self,
        points: Vec<items::Resolved>,
        notifiers: Vec<NodeId>,
    ) -> Result<(), Error> {
        let size = self.limits.per_subscription;
        let (mut points, mut notifiers) = (points, notifiers);
        while !points.is_empty() || !notifiers.is_empty() {
            let rest = points.split_off(points.len().min(size));
            let chunk = std::mem::replace(&mut points, rest);
            let (config, specs) = (&self.shared.config, &self.shared.specs);
            let events = std::mem::take(&mut notifiers);
            let made = items::create(&self.session, config, self.limits, specs, chunk, events).await?;
            let (subscription, refused) = made;
            self.memory.subscriptions.push(subscription);
            self.refused(refused);
        }
        Ok(())
    }

    /// Values of the time without connection, before the subscriptions tell what is now.
    pub(super) async fn backfill(&mut self) -> Result<(), Error> {
        let now_us = self.shared.context.clock.now_us();
        let specs = self.shared.specs.iter().enumerate();
        let wanted = specs.filter(|(_, s)| s.config.history && s.is_read());
        let wanted: Vec<history::Wanted> = wanted
            .filter_map(|(at, s)| Some((at, self.memory.nodes.get(at)?.clone()?, s.newest_us()?)))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = match history::fetch(&self.session, self.limits, wanted, now_us).await {
            Err(error) if history::is_none(error.status()) => {
                tracing::info!(device = self.shared.name, %error, "the server has no history");
                return Ok(());
            }
            other => other?,
        };
        for part in found {
            let Some(spec) = self.shared.specs.get(part.at) else { continue };
            if !part.whole {
                self.reporter.bad(true, &format!("{}: its history was fetched in part", spec.config.node));
            }
            let newest = part.values.last().and_then(history::stamp);
            let values = part.values.into_iter();
            let samples: Vec<Sample> =
                values.map(|v| self.shared.sample(spec, v, now_us, self.reporter)).collect();
            spec.filled(newest.filter(|_| part.whole));
            tracing::info!(node = %spec.config.node, values = samples.len(), "fetched from the server's history");
            self.shared.context.raw.send(samples);
        }
        Ok(())
    }

    /// Points that the server does not take disable themselves; the others run.
    pub(super) fn refused(&mut self, refused: items::Refused) {
        for (at, status) in refused {
            let Some(spec) = self.shared.specs.get(at) else { continue };
            self.reporter.bad(true, &format!("{} refused: {status}", spec.config.node));
            self.shared.bad(at, status);
            self.failed.push(at);
        }
        if !self.failed.is_empty() {
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    pub(super) fn set_publisher(&mut self) {
        let silence = self.memory.subscriptions.iter().map(|s| s.silence).max().unwrap_or_default();
        self.publisher.set(self.memory.subscriptions.len(), silence);
    }

    pub(super) fn catch_up_soon(&mut self) {
        let longest = self.memory.subscriptions.iter().map(|s| s.publishing).max().unwrap_or_default();
        self.catch_up = Some(Instant::now() + longest * 2);
    }

    /// Looks after subscriptions: those that are silent, points that were refused, values that were told bad.
    async fn look(&mut self) -> Step {
        let config = &self.shared.config;
        if !self.connected {
            let longest = config.timeout() * 3 + Duration::from_millis(config.reconnect_max_ms);
            let hangs = self.since.elapsed() > longest.max(Duration::from_millis(config.session_ms));
            if self.ever && self.asked.elapsed() > ASK_AGAIN {
                self.asked = Instant::now();
                let asked = is_renewed(self.shared.clone(), self.endpoint.server_certificate.clone());
                if timeout(ASK_LIMIT, asked.boxed()).await == Ok(true) {
                    return Err(Ended::Lost("the server shows another certificate".to_owned()));
                }
            }
            let never = !self.ever && self.since.elapsed() > config.timeout() * 3;
            return if hangs || never { Err(Ended::Lost("no answer in time".to_owned())) } else { Ok(()) };
        }
        let now = Instant::now();
        let silent = self.memory.subscriptions.iter().find(|s| now.duration_since(s.heard) > s.silence);
        if let Some(id) = silent.map(|s| s.id) {
            self.alive().await?;
            tracing::warn!(device = self.shared.name, "a subscription is silent: it is made anew");
            self.reporter.bad(true, "a subscription was silent and is made anew");
            return recover::renew(self, id).await;
        }
        if self.catch_up.is_some_and(|at| now >= at) {
            self.catch_up = None;
            return recover::read_all(self).await;
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            return recover::retry(self).await;
        }
        Ok(())
    }

    /// Whether the server answers at all.
    async fn alive(&mut self) -> Step {
        let asked = [ReadValueId::from(NodeId::from(VariableId::Server_ServerStatus_State))];
        let read = self.session.read(&asked, TimestampsToReturn::Neither, 0.0);
        match timeout(self.shared.config.timeout(), Box::pin(read)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Ended::Lost(format!("the server does not answer: {error}"))),
            Err(_) => Err(Ended::Lost("the server does not answer".to_owned())),
        }
    }
}

/// Whether the server has another certificate than the one that the session would go on with, which a server may answer
/// with anything, or nothing.
async fn is_renewed(shared: Arc<Shared>, own: ByteString) -> bool {
    let offered = shared.kit.endpoints(&shared.config.url, shared.config.timeout()).await;
    !own.is_null_or_empty()
        && offered.is_ok_and(|all| !all.is_empty() && all.iter().all(|e| e.server_certificate != own))
}

/// The namespaces of a server, in its order.
pub(super) async fn namespaces(session: &Session) -> Result<Vec<String>, Error> {
    let asked = [ReadValueId::from(NodeId::from(VariableId::Server_NamespaceArray))];
    let read = session.read(&asked, TimestampsToReturn::Neither, 0.0).await?;
    let value = read.into_iter().next().and_then(|v| v.value);
    let Some(Variant::Array(array)) = value else {
        return Err(Error::new(StatusCode::BadNoValue, "the server tells no namespaces"));
    };
    let text = |v: &Variant| if let Variant::String(s) = v { s.as_ref().to_owned() } else { String::new() };
    Ok(array.values.iter().map(text).collect())
}
