//! Field devices of the rig: a Modbus TCP device that is a plain table of registers, and an MQTT sensor that
//! publishes numbered samples at a rate.

use std::future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Drain;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use tokio::net::TcpListener;
use tokio_modbus::prelude::*;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;

/// A device with 1,000 holding registers.
#[derive(Debug, Clone)]
pub struct ModbusDevice {
    /// Where it listens.
    pub addr: SocketAddr,
    registers: Arc<Mutex<Vec<u16>>>,
    writes: Arc<AtomicU64>,
    /// Each word that was written, with its register, in order.
    written: Arc<Mutex<Vec<(usize, u16)>>>,
    connections: Arc<AtomicU64>,
    /// A register that counts how often it is read; none at the start.
    counter: Arc<Mutex<Option<usize>>>,
    drain: Drain,
}

impl ModbusDevice {
    /// Starts one.
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// Starts one at an address.
    pub async fn at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a free port");
        let device = Self {
            addr: listener.local_addr().expect("bound"),
            registers: Arc::new(Mutex::new(vec![0; 1000])),
            writes: Arc::default(),
            written: Arc::default(),
            connections: Arc::default(),
            counter: Arc::default(),
            drain: Drain::new(),
        };
        let (service, drain) = (device.clone(), device.drain.clone());
        tokio::spawn(async move {
            let accept = |stream: tokio::net::TcpStream, _| {
                let device = service.clone();
                async move {
                    stream.set_nodelay(true)?;
                    device.connections.fetch_add(1, Ordering::SeqCst);
                    Ok(Some((device, stream)))
                }
            };
            let _ = Server::new(listener)
                .serve_until(&accept, |_| {}, async move { drain.started().await })
                .await;
        });
        device
    }

    /// Stops it: connections end, the port is free.
    pub fn stop(&self) {
        self.drain.start();
    }

    /// A register.
    pub fn get(&self, at: usize) -> u16 {
        self.registers.lock().expect("no panic holds it")[at]
    }

    /// Sets a register, as the process behind the device would.
    pub fn set(&self, at: usize, word: u16) {
        self.registers.lock().expect("no panic holds it")[at] = word;
    }

    /// From now on a register is one more at each read of it: each value is given once.
    pub fn count_reads_of(&self, at: usize) {
        *self.counter.lock().expect("no panic holds it") = Some(at);
    }

    /// How many connections it took.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Each word that was written, with its register, in order.
    pub fn written(&self) -> Vec<(usize, u16)> {
        self.written.lock().expect("no panic holds it").clone()
    }

    fn note(&self, at: usize, words: &[u16]) {
        self.written.lock().expect("no panic holds it").extend((at..).zip(words.iter().copied()));
    }

    /// How many writes it got.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }
}

impl Service for ModbusDevice {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let mut registers = self.registers.lock().expect("no panic holds it");
        let at = |at: u16, n: usize| {
            let start = usize::from(at);
            (start + n <= 1000).then_some(start..start + n).ok_or(ExceptionCode::IllegalDataAddress)
        };
        future::ready(match request {
            Request::ReadHoldingRegisters(a, n) => at(a, n.into()).map(|r| {
                let counter = *self.counter.lock().expect("no panic holds it");
                if let Some(counter) = counter.filter(|c| r.contains(c)) {
                    registers[counter] = registers[counter].wrapping_add(1);
                }
                Response::ReadHoldingRegisters(registers[r].to_vec())
            }),
            Request::WriteSingleRegister(a, word) => at(a, 1).map(|r| {
                registers[r.start] = word;
                self.note(r.start, &[word]);
                self.writes.fetch_add(1, Ordering::SeqCst);
                Response::WriteSingleRegister(a, word)
            }),
            Request::WriteMultipleRegisters(a, words) => at(a, words.len()).map(|r| {
                self.note(r.start, &words);
                registers[r].copy_from_slice(&words);
                self.writes.fetch_add(1, Ordering::SeqCst);
                Response::WriteMultipleRegisters(a, u16::try_from(words.len()).unwrap_or(u16::MAX))
            }),
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// What a numbered sensor has done so far.
#[derive(Debug, Default)]
pub struct SensorCounts {
    /// Last number handed to the client.
    pub sent: AtomicU64,
    /// How many the broker has acknowledged, whoever holds them now; at most once: how many were written to it.
    pub acknowledged: AtomicU64,
}

/// How a numbered sensor publishes: to `load/<n>` for `n` below `points`, in turn. Sample `k` (from 1) goes to
/// point `k % points` with a source time that is its own number: `base_us + k * step_us`.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    /// The gateway's broker.
    pub broker: SocketAddr,
    /// How many points.
    pub points: u64,
    /// Samples a second in all.
    pub rate: u64,
    /// Source time of number 0, UTC us.
    pub base_us: i64,
    /// From one number's source time to the next one's, us.
    pub step_us: i64,
    /// The number before the first.
    pub after: u64,
    /// At most once: none is ever sent again, so what comes twice was doubled further on. At least once: what the
    /// broker did not acknowledge is sent again.
    pub qos: QoS,
}

/// A numbered sensor with quality of service 1 until drained. The value of number `k` is what `value(k)` gives.
pub async fn numbered_sensor(
    broker: SocketAddr,
    points: u64,
    rate: u64,
    base_us: i64,
    value: impl Fn(u64) -> f64,
    counts: Arc<SensorCounts>,
    drain: Drain,
) {
    Numbered { broker, points, rate, base_us, step_us: 1, after: 0, qos: QoS::AtLeastOnce }
        .run(value, counts, drain)
        .await;
}

impl Numbered {
    /// Publishes until drained. The value of number `k` is what `value(k)` gives.
    pub async fn run(self, value: impl Fn(u64) -> f64, counts: Arc<SensorCounts>, drain: Drain) {
        let Self { broker, points, rate, base_us, step_us, after, qos } = self;
        let mut options = MqttOptions::new("numbered-sensor", broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(10)).set_inflight(1000).set_clean_session(true);
        let (client, events) = AsyncClient::new(options, 4000);
        let publisher = {
            let (counts, drain) = (counts.clone(), drain.clone());
            async move {
                let mut tick = tokio::time::interval(Duration::from_millis(5));
                let began = tokio::time::Instant::now();
                let mut k = after;
                while !drain.is_started() {
                    tick.tick().await;
                    #[allow(clippy::cast_possible_truncation)]
                    let due = after + began.elapsed().as_micros() as u64 * rate / 1_000_000;
                    while k < due && !drain.is_started() {
                        k += 1;
                        let at_us = base_us + k.cast_signed() * step_us;
                        let payload = format!("{{\"v\":{:?},\"t\":{at_us}}}", value(k));
                        let topic = format!("load/{}", k % points);
                        if client.publish(topic, qos, false, payload).await.is_err() {
                            return;
                        }
                        counts.sent.store(k, Ordering::SeqCst);
                    }
                }
            }
        };
        let mut pump = Pump { events, qos, counts: counts.clone() };
        tokio::select! {
            () = publisher => {}
            () = pump.run(|| drain.is_started()) => {}
        }
        // What is still queued leaves before the connection does.
        let all = || after + counts.acknowledged.load(Ordering::SeqCst) >= counts.sent.load(Ordering::SeqCst);
        let settle = async {
            while !all() {
                // What was under way when a connection broke is never written at most once: silence is the end.
                let idle = if qos == QoS::AtMostOnce { 800 } else { 5000 };
                match tokio::time::timeout(Duration::from_millis(idle), pump.next()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), settle).await;
    }
}

/// The connection of a numbered sensor.
struct Pump {
    events: EventLoop,
    qos: QoS,
    counts: Arc<SensorCounts>,
}

impl Pump {
    /// Goes on, over lost connections, until one is lost that is `over`.
    async fn run(&mut self, over: impl Fn() -> bool) {
        loop {
            match self.next().await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(_) => {}
                Err(_) if over() => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The next event, counted if it ends a sample's way.
    async fn next(&mut self) -> Result<Event, ConnectionError> {
        let event = self.events.poll().await?;
        let done = match &event {
            Event::Incoming(Packet::PubAck(_)) => self.qos != QoS::AtMostOnce,
            Event::Outgoing(Outgoing::Publish(_)) => self.qos == QoS::AtMostOnce,
            _ => false,
        };
        self.counts.acknowledged.fetch_add(u64::from(done), Ordering::SeqCst);
        Ok(event)
    }
}

/// Gateway configuration of a device fed by `numbered_sensor`.
pub fn numbered_device(points: u64) -> String {
    classed_device(points, |_| "normal")
}

/// The same, of points of these classes.
pub fn classed_device(points: u64, class: fn(u64) -> &'static str) -> String {
    let mut text = "[[device]]\nname = \"load\"\nasset = \"plant/hall/load\"\n[device.mqtt]\n".to_owned();
    for n in 0..points {
        text += &format!(
            "[[device.point]]\nname = \"p{n}\"\ntype = \"f64\"\nstale_ms = 60000\nclass = \"{}\"\n\
             mqtt = {{ topic = \"load/{n}\", pointer = \"/v\", timestamp = \"/t\", timestamp_unit = \"us\" }}\n",
            class(n)
        );
    }
    text
}
