//! One session with a broker: the gateway's own, or another through rumqttc. What was taken is known by a barrier: an
//! UNSUBSCRIBE of a topic that nobody has. A broker works through a connection's packets in order, so its answer says
//! that all before it was taken, also with QoS 0, and it leaves no trace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_core::{Message, Publish};
use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing, Packet, QoS,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::options::{Error, External, Target};

const MAX_AUTHORITIES: usize = 2000;
const MAX_PACKET_BYTES: usize = 4 << 20;
/// Packets that wait for the connection.
const REQUESTS: usize = 64;
/// What comes in and waits; messages of others leave some of it for the session's own.
const INCOMING: usize = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const NETWORK_TIMEOUT_S: u64 = 5;
/// A broker that does not answer for so long is gone.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// The barrier's topic; nobody subscribes to it.
const BARRIER: &str = "twinway/barrier";

/// What comes in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The broker took the connection.
    Connected,
    /// All subscriptions stand.
    Subscribed,
    /// A message of a subscription.
    Message { topic: String, payload: Bytes, retained: bool },
    /// The oldest barrier was passed.
    Passed,
    /// The session is over.
    Down(Error),
}

enum Side {
    Own(Own),
    Other { client: AsyncClient, incoming: mpsc::Receiver<Incoming>, task: JoinHandle<()> },
}

/// A session with the gateway's own broker.
struct Own {
    publish: Arc<dyn Publish>,
    messages: mpsc::Receiver<Message>,
    ready: VecDeque<Incoming>,
    /// Whether the last that came in was a host's message.
    heard: bool,
}

impl Own {
    /// Hosts' messages and barriers in turn: neither a backlog nor a flood of commands keeps the other waiting.
    async fn next(&mut self) -> Incoming {
        let begun = matches!(self.ready.front(), None | Some(Incoming::Passed));
        if begun
            && !std::mem::take(&mut self.heard)
            && let Ok(message) = self.messages.try_recv()
        {
            self.heard = true;
            return of_host(message);
        }
        if let Some(incoming) = self.ready.pop_front() {
            return incoming;
        }
        let ended = || Incoming::Down(Error::Link { detail: "the session ended".to_owned() });
        self.messages.recv().await.map_or_else(ended, of_host)
    }
}

fn of_host(message: Message) -> Incoming {
    let Message { topic, payload, retained } = message;
    Incoming::Message { topic, payload, retained }
}

/// A session, or one on its way.
pub(crate) struct Link(Side);

/// What a connection leaves behind when it breaks: topic and payload.
pub(crate) type Will = Option<(String, Vec<u8>)>;

impl Link {
    /// Begins to connect.
    pub(crate) fn connect(target: &Target, will: Will, filters: Vec<String>) -> Result<Self, Error> {
        match target {
            Target::Embedded { publish, messages } => {
                let messages = messages.subscribe(filters);
                let ready = VecDeque::from([Incoming::Connected, Incoming::Subscribed]);
                let publish = publish.clone();
                Ok(Self(Side::Own(Own { publish, messages, ready, heard: false })))
            }
            Target::External(external) => connect(external, will, filters),
        }
    }

    /// What comes in next.
    pub(crate) async fn next(&mut self) -> Incoming {
        let ended = || Incoming::Down(Error::Link { detail: "the session ended".to_owned() });
        match &mut self.0 {
            Side::Own(own) => own.next().await,
            Side::Other { incoming, .. } => incoming.recv().await.unwrap_or_else(ended),
        }
    }

    /// Sends a message; waits while too many wait.
    pub(crate) async fn publish(
        &mut self,
        topic: String,
        payload: impl Into<Bytes>,
        qos: u8,
        retain: bool,
    ) -> Result<(), Error> {
        let payload = payload.into();
        match &mut self.0 {
            Side::Own(Own { publish, .. }) => {
                let give_up = Instant::now() + ANSWER;
                while !publish.publish(&topic, payload.clone(), retain) {
                    if Instant::now() > give_up {
                        return Err(Error::Link {
                            detail: format!("the own broker does not take `{topic}`"),
                        });
                    }
                    sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            }
            Side::Other { client, .. } => {
                let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                let sent = timeout(ANSWER, client.publish_bytes(topic, qos, retain, payload)).await;
                done(sent)
            }
        }
    }

    /// Sets a barrier behind what was sent; `Passed` comes when the broker has taken it all.
    pub(crate) async fn barrier(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Side::Own(Own { ready, .. }) => {
                ready.push_back(Incoming::Passed);
                Ok(())
            }
            Side::Other { client, .. } => done(timeout(ANSWER, client.unsubscribe(BARRIER)).await),
        }
    }

    /// Says goodbye; the will is not sent then.
    pub(crate) async fn disconnect(mut self) {
        if let Side::Other { client, .. } = &self.0
            && client.try_disconnect().is_ok()
        {
            let gone = async { while !matches!(self.next().await, Incoming::Down(_)) {} };
            let _ = timeout(Duration::from_millis(500), gone).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Side::Other { task, .. } = &self.0 {
            task.abort();
        }
    }
}

fn done(sent: Result<Result<(), rumqttc::ClientError>, tokio::time::error::Elapsed>) -> Result<(), Error> {
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::Link { detail: error.to_string() }),
        Err(_) => Err(Error::Silence { what: "room for a message", limit_ms: ANSWER.as_millis() }),
    }
}

fn connect(external: &External, will: Will, filters: Vec<String>) -> Result<Link, Error> {
    let mut mqtt = MqttOptions::new(&external.client_id, external.url.host.clone(), external.url.port);
    mqtt.set_clean_session(true)
        .set_keep_alive(KEEP_ALIVE)
        .set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES)
        .set_inflight(100);
    if let Some((user, password)) = &external.login {
        mqtt.set_credentials(user, password);
    }
    if let Some((topic, payload)) = will {
        mqtt.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false));
    }
    if external.url.tls {
        let config = client_config(external)?;
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    let (client, mut event_loop) = AsyncClient::new(mqtt, REQUESTS);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(NETWORK_TIMEOUT_S);
    event_loop.set_network_options(network);
    let (to, incoming) = mpsc::channel(INCOMING);
    let task = tokio::spawn(poll(event_loop, client.clone(), filters, to));
    Ok(Link(Side::Other { client, incoming, task }))
}

/// Drives the connection until it breaks or nobody listens. It never waits for the session, which may wait for it.
async fn poll(
    mut event_loop: EventLoop,
    client: AsyncClient,
    filters: Vec<String>,
    to: mpsc::Sender<Incoming>,
) {
    let down = |detail: String| Incoming::Down(Error::Link { detail });
    let mut unanswered = filters.len();
    loop {
        let incoming = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let taken = filters.iter().all(|f| client.try_subscribe(f, QoS::AtLeastOnce).is_ok());
                if !taken {
                    let _ = to.try_send(down("the subscriptions were not taken".to_owned()));
                    return;
                }
                if filters.is_empty() {
                    let _ = to.try_send(Incoming::Connected);
                    Incoming::Subscribed
                } else {
                    Incoming::Connected
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    down("the broker refuses a subscription".to_owned())
                } else {
                    unanswered = unanswered.saturating_sub(1);
                    if unanswered > 0 {
                        continue;
                    }
                    Incoming::Subscribed
                }
            }
            Ok(Event::Incoming(Packet::UnsubAck(_))) => Incoming::Passed,
            // A flood of commands must not keep the session from its own.
            Ok(Event::Incoming(Packet::Publish(_))) if to.capacity() < INCOMING / 4 => {
                tracing::warn!("message of a host dropped: too many wait");
                continue;
            }
            Ok(Event::Incoming(Packet::Publish(p))) => {
                Incoming::Message { topic: p.topic, payload: p.payload, retained: p.retain }
            }
            Ok(Event::Incoming(Packet::Disconnect) | Event::Outgoing(Outgoing::Disconnect)) => {
                down("closed".to_owned())
            }
            Ok(_) => continue,
            Err(error) => down(error.to_string()),
        };
        let is_down = matches!(incoming, Incoming::Down(_));
        if to.try_send(incoming).is_err() || is_down {
            return;
        }
    }
}

/// A TLS client on ring that trusts the file's authorities.
fn client_config(external: &External) -> Result<Arc<ClientConfig>, Error> {
    let trusted = common::authorities::load(external.ca_file.as_deref());
    let trusted = trusted.map_err(|e| Error::Tls { detail: e.to_string() })?;
    let fail = |detail: String| Error::Tls { detail: format!("{}: {detail}", trusted.from.display()) };
    let mut roots = RootCertStore::empty();
    // One authority that cannot be read does not spoil the others.
    for certificate in CertificateDer::pem_slice_iter(&trusted.pem).take(MAX_AUTHORITIES).flatten() {
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(fail("holds no certificate".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| fail(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
