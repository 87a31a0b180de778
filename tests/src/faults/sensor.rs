//! The sensor of the harness: it knows of each sample whether the gateway's broker acknowledged it, when, and by which
//! connection. It sends none twice, so that what comes twice was doubled further on: what was under way when a connection
//! broke is not said again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Drain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};

use super::packet;

/// Samples on their way without acknowledgement.
const IN_FLIGHT: usize = 1000;
/// How long it waits for the last acknowledgements.
const PATIENCE: Duration = Duration::from_secs(5);

/// An acknowledgement of the broker.
#[derive(Debug, Clone, Copy)]
pub struct Acked {
    /// When it came.
    pub at: Instant,
    /// Since when there was the connection by which it came.
    pub since: Instant,
}

/// What a sensor has done so far.
#[derive(Debug, Default)]
pub struct Said {
    /// Last number that was written to a connection.
    pub sent: AtomicU64,
    /// By number, what the broker acknowledged.
    acked: Mutex<BTreeMap<u64, Acked>>,
    /// How many are to be taken for acknowledged that are never sent: no broker may do so, the judge must find it.
    pub lies: AtomicU64,
}

impl Said {
    /// All that the broker acknowledged.
    ///
    /// # Panics
    /// When somebody panicked over it.
    pub fn acked(&self) -> BTreeMap<u64, Acked> {
        self.acked.lock().expect("no panic holds it").clone()
    }

    fn note(&self, number: u64, since: Instant) {
        self.acked.lock().expect("no panic holds it").insert(number, Acked { at: Instant::now(), since });
    }
}

/// How it publishes: as `field::Numbered`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sensor {
    pub(super) broker: SocketAddr,
    pub(super) points: u64,
    pub(super) rate: u64,
    pub(super) base_us: i64,
}

/// A connection, and what was written to it and not acknowledged.
struct Connection {
    stream: TcpStream,
    since: Instant,
    in_flight: HashMap<u16, u64>,
    heard: Vec<u8>,
}

impl Sensor {
    /// Publishes until drained, over lost connections. The value of number `k` is what `value(k)` gives.
    pub(super) async fn run(self, value: impl Fn(u64) -> f64, said: Arc<Said>, drain: Drain) {
        let began = Instant::now();
        let mut next = 1;
        while !drain.is_started() {
            let Ok(mut connection) = Connection::open(self.broker).await else {
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut tick = interval(Duration::from_millis(5));
            while !drain.is_started() {
                let all_is_well = tokio::select! {
                    heard = connection.hear(&said) => heard,
                    _ = tick.tick() => {
                        #[allow(clippy::cast_possible_truncation)]
                        let due = began.elapsed().as_micros() as u64 * self.rate / 1_000_000;
                        self.send(&mut connection, &mut next, due, &value, &said).await
                    }
                };
                if all_is_well.is_err() {
                    break;
                }
            }
            let settled =
                async { while !connection.in_flight.is_empty() && connection.hear(&said).await.is_ok() {} };
            let _ = timeout(PATIENCE, settled).await;
        }
    }

    async fn send(
        &self,
        connection: &mut Connection,
        next: &mut u64,
        due: u64,
        value: &impl Fn(u64) -> f64,
        said: &Said,
    ) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        while *next <= due && connection.in_flight.len() < IN_FLIGHT {
            let number = *next;
            *next += 1;
            let lie = said.lies.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if lie.is_ok() {
                said.note(number, connection.since);
                continue;
            }
            let at_us = self.base_us + number.cast_signed();
            let payload = format!("{{\"v\":{:?},\"t\":{at_us}}}", value(number));
            let id = u16::try_from(number % u64::from(u16::MAX)).expect("below it") + 1;
            bytes.extend(packet::acknowledged(
                &format!("load/{}", number % self.points),
                id,
                payload.as_bytes(),
            ));
            connection.in_flight.insert(id, number);
            said.sent.store(number, Ordering::SeqCst);
        }
        connection.stream.write_all(&bytes).await
    }
}

impl Connection {
    async fn open(broker: SocketAddr) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(broker).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&packet::connect("numbered-sensor")).await?;
        let mut answer = [0; 4];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await??;
        if answer != [0x20, 2, 0, 0] {
            return Err(std::io::Error::other(format!("the broker answers {answer:?}")));
        }
        Ok(Self { stream, since: Instant::now(), in_flight: HashMap::new(), heard: Vec::new() })
    }

    /// Takes what comes; may be given up at any moment.
    async fn hear(&mut self, said: &Said) -> std::io::Result<()> {
        if self.stream.read_buf(&mut self.heard).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        while let Some(length) = packet::length(&self.heard) {
            let packet: Vec<u8> = self.heard.drain(..length).collect();
            if let [0x40, 2, high, low] = packet[..]
                && let Some(number) = self.in_flight.remove(&u16::from_be_bytes([high, low]))
            {
                said.note(number, self.since);
            }
        }
        Ok(())
    }
}
