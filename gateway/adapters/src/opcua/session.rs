//! One session from its first connection to its end: it is driven here, and its subscriptions are watched. A connection
//! that breaks is taken up again within the session as long as the server keeps it; the subscriptions then go on where
//! they were, and a message that was missed is asked for again. Not here: what a connection begins with (`setup`), what
//! subscriptions send (`messages`), and how they are repaired (`recover`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::Drain;
use futures_util::{FutureExt, StreamExt};
use gateway_opcua::pki::Doubt;
use opcua::client::transport::TcpConnector;
use opcua::client::{Session, SessionActivity, SessionConnectMode, SessionEventLoop, SessionPollResult};
use opcua::types::{
    ByteString, EndpointDescription, NodeId, ReadValueId, StatusCode, TimestampsToReturn, VariableId,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::adapter::Shared;
use super::connect::Opened;
use super::error::{ConnectError, is_refusal};
use super::items::Subscription;
use super::limits::Limits;
use super::publish::Publisher;
use super::spec::{Indices, Place};
use super::{poll, recover};
use crate::context::Reporter;

/// How often subscriptions are looked after.
const TICK: Duration = Duration::from_millis(250);
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
    /// Subscriptions that the server may still have, and where it had which namespace when they were made.
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) indices: Indices,
    /// Subscriptions that were begun, and of which it is not known what the server has.
    pub(super) begun: Vec<u32>,
    /// Points of subscriptions that the server refused.
    pub(super) failed: BTreeSet<Place>,
    /// Whether all points were told bad since there was a connection.
    pub(super) told: bool,
    /// Whether the last session was set up.
    pub(super) lived: bool,
    /// Fingerprint of the server's certificate that was taken last.
    pub(super) certificate: Option<String>,
}

impl Memory {
    /// A subscription by its id: any of them may be made anew meanwhile.
    pub(super) fn subscription(&mut self, id: u32) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|s| s.id == id)
    }

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
    // The loop may see the end of its own farewell first.
    if drain.is_started() { Ended::Drained } else { ended }
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
            Some(Ok(_)) => {
                // What has come is worked on before more of it is decoded: servers tell of all subscriptions at once.
                tokio::task::yield_now().await;
                continue;
            }
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
                                    poll::Polling::of(self.shared, &connected)
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
