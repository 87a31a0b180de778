//! One MQTT connection: rumqttc's client and a task that polls it. The task hands over what comes in; what
//! goes out never waits here, so that neither side can block the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::Clock;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS, TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::enrolment::Enrolment;
use crate::options::{Error, Options};
use crate::tls::client_config;

const MAX_PACKET_BYTES: usize = 300 << 10;
/// Requests that wait for the client: more than all windows together.
const REQUESTS: usize = 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Where signs of life are few. A ping that is not answered within it is the end of the link.
const SELDOM_ALIVE: Duration = Duration::from_secs(20);
/// About what MQTT adds to a message: kind, lengths, number.
const AROUND: usize = 7;
const PING_BYTES: u64 = 4;
/// Seconds to connect, and for the socket to take what is written.
const NETWORK_TIMEOUT_S: u64 = 4;

/// What comes in.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connected,
    Subscribed,
    Message(Bytes),
    Down(Error),
}

/// A connection, or one on its way.
pub(crate) struct Link {
    client: AsyncClient,
    up: String,
    down: String,
    incoming: mpsc::Receiver<Incoming>,
    began: Instant,
    /// When the last packet came, ms since `began`.
    heard_ms: Arc<AtomicU64>,
    /// Bytes that went over it, in both directions, for who takes them from here.
    carried: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to connect.
    pub(crate) fn connect(
        (options, enrolment): (&Options, Option<&Enrolment>),
        clock: &Clock,
        seldom: bool,
        carried: Arc<AtomicU64>,
        up: String,
        down: String,
    ) -> Result<Self, Error> {
        let id = format!("{}/{}", options.tenant, options.gateway);
        // rumqttc takes an IPv6 address in brackets, as it makes `host:port` of it.
        let (host, port) = match enrolment.filter(|_| options.follows) {
            Some(enrolment) => {
                let url = enrolment.url().map_err(|detail| Error::Link { detail })?;
                (url.host, url.port)
            }
            None => (options.host.clone(), options.port),
        };
        let mut mqtt = MqttOptions::new(id, host, port);
        mqtt.set_credentials(options.username.clone(), options.password.clone())
            .set_clean_session(true)
            .set_keep_alive(if seldom { SELDOM_ALIVE } else { KEEP_ALIVE })
            .set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES)
            .set_inflight(200);
        if let Some(tls) = &options.tls {
            mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(client_config(
                tls, enrolment, clock,
            )?)));
        }
        let (client, mut event_loop) = AsyncClient::new(mqtt, REQUESTS);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(NETWORK_TIMEOUT_S);
        event_loop.set_network_options(network);
        let (to, incoming) = mpsc::channel(64);
        let heard_ms = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let task = tokio::spawn(poll(event_loop, to, heard_ms.clone(), carried.clone(), began));
        Ok(Self { client, up, down, incoming, began, heard_ms, carried, task })
    }

    /// What comes in next.
    pub(crate) async fn next(&mut self) -> Incoming {
        let ended = || Incoming::Down(Error::Link { detail: "client ended".to_owned() });
        self.incoming.recv().await.unwrap_or_else(ended)
    }

    /// For how long nothing came.
    pub(crate) fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn subscribe(&self) -> Result<(), Error> {
        self.client.try_subscribe(&self.down, QoS::AtLeastOnce).map_err(broken)
    }

    /// Hands a message to the client; false if it takes none now.
    pub(crate) fn publish(&self, message: Vec<u8>) -> bool {
        self.hand_over(QoS::AtLeastOnce, message)
    }

    /// The same for what a later one replaces.
    pub(crate) fn publish_once(&self, message: Vec<u8>) -> bool {
        self.hand_over(QoS::AtMostOnce, message)
    }

    fn hand_over(&self, qos: QoS, message: Vec<u8>) -> bool {
        let bytes = message.len() + self.up.len() + AROUND;
        let taken = self.client.try_publish(&self.up, qos, false, message).is_ok();
        if taken {
            self.carried.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        taken
    }

    /// Says goodbye.
    pub(crate) async fn disconnect(mut self) {
        if self.client.try_disconnect().is_ok() {
            let gone = async { while !matches!(self.next().await, Incoming::Down(_)) {} };
            let _ = tokio::time::timeout(Duration::from_millis(300), gone).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn broken(error: rumqttc::ClientError) -> Error {
    Error::Link { detail: error.to_string() }
}

async fn poll(
    mut event_loop: EventLoop,
    to: mpsc::Sender<Incoming>,
    heard_ms: Arc<AtomicU64>,
    carried: Arc<AtomicU64>,
    began: Instant,
) {
    loop {
        let incoming = match event_loop.poll().await {
            Ok(Event::Incoming(packet)) => {
                let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                heard_ms.store(ms, Ordering::Relaxed);
                carried.fetch_add(heard_bytes(&packet), Ordering::Relaxed);
                match packet {
                    Packet::ConnAck(_) => Incoming::Connected,
                    Packet::SubAck(_) => Incoming::Subscribed,
                    Packet::Publish(publish) => Incoming::Message(publish.payload),
                    Packet::Disconnect => {
                        Incoming::Down(Error::Link { detail: "closed by the cloud".to_owned() })
                    }
                    _ => continue,
                }
            }
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => {
                Incoming::Down(Error::Link { detail: "closed".to_owned() })
            }
            Ok(Event::Outgoing(_)) => continue,
            Err(error) => {
                // What came before the end, such as the cloud's reason for it, is read and waits.
                for event in std::mem::take(&mut event_loop.state.events) {
                    if let Event::Incoming(Packet::Publish(publish)) = event
                        && to.send(Incoming::Message(publish.payload)).await.is_err()
                    {
                        return;
                    }
                }
                Incoming::Down(Error::Link { detail: error.to_string() })
            }
        };
        let down = matches!(incoming, Incoming::Down(_));
        if to.send(incoming).await.is_err() || down {
            return;
        }
    }
}

/// Bytes of a packet that came; a ping's answer stands for the ping as well.
fn heard_bytes(packet: &Packet) -> u64 {
    match packet {
        Packet::Publish(p) => (p.payload.len() + p.topic.len() + AROUND) as u64,
        _ => PING_BYTES,
    }
}
