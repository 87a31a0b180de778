//! `twinway-gateway simulate`: the Modbus devices of a configuration, for commissioning without hardware. Each answers
//! under its unit id, has exactly the addresses of its points, moves within their ranges and takes writes. It is not a
//! copy of a process: what belongs together does not move together, but for a point that follows its setpoint.

mod memory;
mod motion;
mod places;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Drain, Value};
use gateway_core::Point;
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::server::{self, Device};
use gateway_modbus::value::{Format, Words};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Config;
use memory::Memory;
use motion::Motion;
pub use places::Place;

/// How the simulation is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the first line listens; each further line on the port after it, or on any if this is 0.
    pub listen: SocketAddr,
    /// Serial port that the first serial line is served on; the others are served over TCP.
    pub serial: Option<String>,
    /// Whether addresses between the points of a device read as 0 instead of being refused.
    pub fill_gaps: bool,
}

/// Why it cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// Nothing in the configuration speaks Modbus.
    #[error("the configuration has no modbus device")]
    Nothing,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A serial port cannot be opened, or there is no line for it.
    #[error("{0}")]
    Serial(String),
}

/// How often values move.
const TICK: Duration = Duration::from_millis(200);

/// One point and how it moves.
struct Moving {
    point: Point,
    place: gateway_adapters::modbus::PointConfig,
    motion: Motion,
    before: Option<(f64, Instant)>,
}

/// The units of one line.
#[derive(Default)]
struct Line {
    units: BTreeMap<u8, Arc<Memory>>,
}

impl Device for Line {
    fn answer(&self, unit: u8, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Option<Exception>> {
        let memory = self.units.get(&unit).ok_or(None)?;
        memory.answer(request, data).map_err(Some)
    }
}

/// Everything that is simulated, bound and ready.
pub struct Simulator {
    places: Vec<Place>,
    served: Vec<Served>,
    devices: Vec<(Arc<Memory>, Vec<Moving>)>,
}

struct Served {
    line: Arc<Line>,
    framing: Framing,
    over: Over,
}

enum Over {
    Tcp(TcpListener),
    Serial(Box<dyn places::Port>),
}

impl Simulator {
    /// Makes the devices of a configuration and binds where they are served.
    ///
    /// # Errors
    /// When there is nothing to simulate, or nowhere to serve it.
    pub async fn bind(config: &Config, options: &Options) -> Result<Self, SimulateError> {
        let mut simulator = Self { places: Vec::new(), served: Vec::new(), devices: Vec::new() };
        let mut serial = options.serial.clone();
        let mut port = options.listen.port();
        for wanted in places::lines(config) {
            let mut line = Line::default();
            for (unit, index) in &wanted.units {
                let memory =
                    line.units.entry(*unit).or_insert_with(|| Arc::new(Memory::new(options.fill_gaps)));
                simulator.devices.push((memory.clone(), moving(config, *index, memory)));
            }
            let (over, framing, place) = match serial.take_if(|_| wanted.settings.is_serial()) {
                Some(path) => {
                    let opened = places::serial(&wanted.settings, &path).map_err(SimulateError::Serial)?;
                    (Over::Serial(opened), wanted.settings.framing(), path)
                }
                None => {
                    let address = SocketAddr::new(options.listen.ip(), port);
                    let told = |source| SimulateError::Listen { address, source };
                    let listener = TcpListener::bind(address).await.map_err(told)?;
                    let bound = listener.local_addr().map_err(told)?;
                    port = if port == 0 { 0 } else { port.saturating_add(1) };
                    (Over::Tcp(listener), wanted.framing_over_tcp(), bound.to_string())
                }
            };
            let units = wanted.named_units(config);
            simulator.places.push(Place { line: wanted.settings.name.clone(), at: place, framing, units });
            simulator.served.push(Served { line: Arc::new(line), framing, over });
        }
        if serial.is_some() {
            let message = "the configuration has no serial line for the serial port".to_owned();
            return Err(SimulateError::Serial(message));
        }
        if simulator.served.is_empty() { Err(SimulateError::Nothing) } else { Ok(simulator) }
    }

    /// Where it is served.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Serves until drained.
    pub async fn run(mut self, drain: Drain) {
        let begun = Instant::now();
        self.step(begun, begun);
        let mut tasks = JoinSet::new();
        for served in self.served.drain(..) {
            tasks.spawn(served.run(drain.clone()));
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = drain.started() => break,
                now = tick.tick() => self.step(begun, now),
            }
        }
        tasks.shutdown().await;
    }

    /// Everything moves to where it is at a time.
    fn step(&mut self, begun: Instant, now: Instant) {
        let at_s = now.duration_since(begun).as_secs_f64();
        for (memory, points) in &mut self.devices {
            for at in 0..points.len() {
                let setpoint = setpoint(memory, points, at);
                let Some(moving) = points.get_mut(at) else { continue };
                // What stands is put there once; from then on whoever writes it says what it is.
                if matches!(moving.motion, Motion::Still(_)) && moving.before.is_some() {
                    continue;
                }
                moving.step(memory, at_s, now, setpoint);
            }
        }
    }
}

/// Where the setpoint of a point stands now, in engineering units.
fn setpoint(memory: &Memory, points: &[Moving], at: usize) -> Option<f64> {
    let Motion::Follow { setpoint, .. } = &points.get(at)?.motion else { return None };
    let target = points.iter().find(|m| *m.point.schema.name == **setpoint)?;
    let place = &target.place;
    let raw = place.format.decoder().decode(&memory.bytes(place.table, place.address, place.count())).ok()?;
    target.point.to_engineering(&raw)?.as_f64()
}

impl Moving {
    fn step(&mut self, memory: &Memory, at_s: f64, now: Instant, setpoint: Option<f64>) {
        let before = self.before.map(|(was, when)| (was, now.duration_since(when).as_secs_f64()));
        let value = self.motion.value(self.point.schema.value_type, at_s, before, setpoint);
        self.before = Some((value.as_f64().unwrap_or_default(), now));
        // A value that its registers cannot hold is not put there: the last one stays.
        let Some(raw) = self.point.to_raw(&value) else { return };
        if self.place.table.is_bits() {
            let on = raw == Value::Bool(true);
            memory.put(self.place.table, self.place.address, &Words::Registers(vec![u16::from(on)]));
        } else if self.place.format.is_writable() {
            if let Ok(words) = self.place.format.encode(&raw) {
                memory.put(self.place.table, self.place.address, &words);
            }
        } else {
            self.put_apart(memory, &raw);
        }
    }

    /// A pair whose parts stand apart: encoded as if they were neighbours, and put where each belongs.
    fn put_apart(&self, memory: &Memory, raw: &Value) {
        let (place, format) = (&self.place, self.place.format);
        let own = Format { exponent: None, ..format }.registers();
        let Ok(Words::Registers(mut words)) = (Format { exponent: Some(own.into()), ..format }).encode(raw)
        else {
            return;
        };
        let exponent: Vec<u16> = words.pop().into_iter().collect();
        let mantissa = place.address.saturating_add(format.lead());
        let at = i32::from(mantissa) + format.exponent.unwrap_or_default();
        memory.put(place.table, mantissa, &Words::Registers(words));
        memory.put(place.table, u16::try_from(at).unwrap_or_default(), &Words::Registers(exponent));
    }
}

/// The points of a device, with their addresses made to exist.
fn moving(config: &Config, index: usize, memory: &Memory) -> Vec<Moving> {
    let (Some(device), Some(section)) = (config.registry.device(index), config.devices.get(index)) else {
        return Vec::new();
    };
    let points = config.registry.points_of(device).zip(&section.point);
    let offsets = section.modbus.as_ref().map(|m| (m.register_offset, m.bit_offset));
    let (register_offset, bit_offset) = offsets.unwrap_or_default();
    points
        .filter_map(|(point, section)| {
            let mut place = section.modbus.clone()?;
            let offset = if place.table.is_bits() { bit_offset } else { register_offset };
            place.address = u16::try_from(i64::from(place.address) + i64::from(offset)).ok()?;
            let writable = point.schema.access.is_writable();
            memory.define(place.table, place.address, place.count(), writable);
            Some(Moving { motion: Motion::of(point), point: point.clone(), place, before: None })
        })
        .collect()
}

impl Served {
    async fn run(self, drain: Drain) {
        match self.over {
            Over::Serial(port) => {
                tokio::select! {
                    ended = server::serve(port, self.framing, &*self.line) => {
                        if let Err(error) = ended {
                            tracing::warn!(%error, "serial port lost");
                        }
                    }
                    () = drain.started() => {}
                }
            }
            Over::Tcp(listener) => {
                let mut connections = JoinSet::new();
                loop {
                    tokio::select! {
                        () = drain.started() => break,
                        accepted = listener.accept() => match accepted {
                            Ok((stream, _)) => {
                                let (line, framing) = (self.line.clone(), self.framing);
                                connections.spawn(async move {
                                    // Without it each answer waits for the acknowledgement of the one before.
                                    let _ = stream.set_nodelay(true);
                                    let _ = server::serve(stream, framing, &*line).await;
                                });
                            }
                            Err(error) => {
                                tracing::warn!(%error, "cannot accept");
                                tokio::time::sleep(TICK).await;
                            }
                        },
                        Some(_) = connections.join_next() => {}
                    }
                }
                connections.shutdown().await;
            }
        }
    }
}
