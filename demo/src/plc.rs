//! The line's PLC: the plant, without its oven, behind a real Modbus TCP server. Its register map is the one that the
//! demo's gateway configuration (`demo/gateway.toml`) reads.
//!
//! | table | address | what |
//! |---|---|---|
//! | coil | 0 | pump on |
//! | holding | 0 to 5 | setpoints, u16: agitator rpm, pump 0.1 %, line 0.01 m/min, coat gap um, press gap um, tension 0.1 N |
//! | input | 0, 2, 4 ... | measurements, f32, high word first, in the order of `measurements` |

use std::future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use common::Drain;
use tokio::net::TcpListener;
use tokio_modbus::prelude::*;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;

use crate::plant::{Plant, Setpoints};

/// Plant and setpoints, shared by the physics, the PLC, the oven's controller and the sensors.
#[derive(Debug, Clone)]
pub struct Line(Arc<Mutex<(Plant, Setpoints)>>);

impl Line {
    /// A settled line.
    pub fn new(seed: u64) -> Self {
        let set = Setpoints::default();
        Self(Arc::new(Mutex::new((Plant::settled(&set, seed), set))))
    }

    /// Looks at or changes the line.
    pub fn with<T>(&self, f: impl FnOnce(&mut Plant, &mut Setpoints) -> T) -> T {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (plant, set) = &mut *both;
        f(plant, set)
    }

    /// Lets the line run in real time until drained.
    pub async fn run(&self, drain: Drain) {
        const STEP: std::time::Duration = std::time::Duration::from_millis(50);
        let mut tick = tokio::time::interval(STEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut last = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = drain.started() => return,
                now = tick.tick() => {
                    let dt = now.saturating_duration_since(last).as_secs_f64();
                    last = now;
                    self.with(|plant, set| plant.step(set, dt));
                }
            }
        }
    }
}

/// What the input registers hold, in order, two registers each.
pub fn measurements(plant: &Plant) -> Vec<f64> {
    vec![
        plant.level_percent,
        plant.slurry_degc,
        plant.viscosity_pa_s,
        plant.agitator_rpm,
        plant.flow_l_min,
        plant.pressure_bar,
        plant.line_m_min,
        plant.wet_um,
        plant.press_kn,
        plant.density_g_cm3,
        plant.tension_n,
        plant.length_m,
        plant.diameter_mm,
    ]
}

/// One setpoint register: its place in `Setpoints`, units a count, and what the PLC accepts.
struct Register {
    get: Get,
    set: Set,
    per_count: f64,
    max: u16,
}

type Get = fn(&Setpoints) -> f64;
type Set = fn(&mut Setpoints, f64);

macro_rules! register {
    ($($field:tt)+) => {
        (|s: &Setpoints| s.$($field)+, |s: &mut Setpoints, x: f64| s.$($field)+ = x)
    };
}

fn registers() -> [Register; 6] {
    let of = |(get, set): (Get, Set), per_count, max| Register { get, set, per_count, max };
    [
        of(register!(agitator_rpm), 1.0, 400),
        of(register!(pump_percent), 0.1, 1000),
        of(register!(line_m_min), 0.01, 3000),
        of(register!(coat_gap_um), 1.0, 1000),
        of(register!(press_gap_um), 1.0, 1000),
        of(register!(tension_n), 0.1, 5000),
    ]
}

#[derive(Clone)]
struct Plc {
    line: Line,
}

impl Plc {
    fn answer(&self, request: Request<'_>) -> Result<Response, ExceptionCode> {
        let window = |at: u16, n: u16, len: usize| {
            let range = usize::from(at)..usize::from(at) + usize::from(n);
            (range.end <= len).then_some(range).ok_or(ExceptionCode::IllegalDataAddress)
        };
        self.line.with(|plant, set| match request {
            Request::ReadCoils(at, n) => Ok(Response::ReadCoils([set.pump_on][window(at, n, 1)?].to_vec())),
            Request::ReadInputRegisters(at, n) => {
                let words: Vec<u16> = measurements(plant).into_iter().flat_map(f32_words).collect();
                Ok(Response::ReadInputRegisters(words[window(at, n, words.len())?].to_vec()))
            }
            Request::ReadHoldingRegisters(at, n) => {
                let words = registers().map(|r| counts((r.get)(set), r.per_count));
                Ok(Response::ReadHoldingRegisters(words[window(at, n, words.len())?].to_vec()))
            }
            Request::WriteSingleCoil(0, on) => {
                set.pump_on = on;
                Ok(Response::WriteSingleCoil(0, on))
            }
            Request::WriteMultipleCoils(0, on) if on.len() == 1 => {
                set.pump_on = on[0];
                Ok(Response::WriteMultipleCoils(0, 1))
            }
            Request::WriteSingleRegister(at, word) => {
                write(set, at, &[word])?;
                Ok(Response::WriteSingleRegister(at, word))
            }
            Request::WriteMultipleRegisters(at, words) => {
                write(set, at, &words)?;
                #[allow(clippy::cast_possible_truncation)] // at most 123 by the protocol
                Ok(Response::WriteMultipleRegisters(at, words.len() as u16))
            }
            Request::WriteSingleCoil(..) | Request::WriteMultipleCoils(..) => {
                Err(ExceptionCode::IllegalDataAddress)
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

/// All or nothing: a block with one bad register writes none.
fn write(set: &mut Setpoints, at: u16, words: &[u16]) -> Result<(), ExceptionCode> {
    let all = registers();
    let start = usize::from(at);
    let target = all.get(start..start + words.len()).ok_or(ExceptionCode::IllegalDataAddress)?;
    if target.iter().zip(words).any(|(r, w)| *w > r.max) {
        return Err(ExceptionCode::IllegalDataValue);
    }
    for (register, word) in target.iter().zip(words) {
        (register.set)(set, f64::from(*word) * register.per_count);
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
fn counts(x: f64, per_count: f64) -> u16 {
    (x / per_count).round().clamp(0.0, 65535.0) as u16
}

#[allow(clippy::cast_possible_truncation)]
fn f32_words(x: f64) -> [u16; 2] {
    let bits = (x as f32).to_bits();
    [(bits >> 16) as u16, bits as u16]
}

impl Service for Plc {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = future::Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        future::ready(self.answer(request))
    }
}

/// Serves the line on `listener` until drained.
///
/// # Errors
/// When the listener fails.
pub async fn serve(line: Line, listener: TcpListener, drain: Drain) -> std::io::Result<()> {
    let server = Server::new(listener);
    let service = |stream: tokio::net::TcpStream, _peer: SocketAddr| {
        let plc = Plc { line: line.clone() };
        async move {
            stream.set_nodelay(true)?;
            Ok(Some((plc, stream)))
        }
    };
    let failed = |error: std::io::Error| tracing::debug!(%error, "modbus client left");
    server.serve_until(&service, failed, async move { drain.started().await }).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_reads_measurements_and_changes_the_line() {
        let line = Line::new(1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let drain = Drain::new();
        let server = tokio::spawn(serve(line.clone(), listener, drain.clone()));
        let mut client = tcp::connect(addr).await.unwrap();
        let words = client.read_input_registers(2 * 6, 2).await.unwrap().unwrap();
        let speed = f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1]));
        assert!((speed - 12.0).abs() < 0.5, "{speed}");
        client.write_single_register(2, 1350).await.unwrap().unwrap();
        assert_eq!(client.read_holding_registers(2, 1).await.unwrap().unwrap(), [1350]);
        assert!((line.with(|_, s| s.line_m_min) - 13.5).abs() < 1e-9);
        let refused = client.write_multiple_registers(2, &[1000, 9999]).await.unwrap();
        assert_eq!(refused, Err(ExceptionCode::IllegalDataValue));
        assert!((line.with(|_, s| s.line_m_min) - 13.5).abs() < 1e-9, "half a block was written");
        assert_eq!(
            client.read_holding_registers(5, 2).await.unwrap(),
            Err(ExceptionCode::IllegalDataAddress)
        );
        drop(client);
        drain.start();
        server.await.unwrap().unwrap();
    }
}
