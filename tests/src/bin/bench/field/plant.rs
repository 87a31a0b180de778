//! A plant of Modbus TCP units as fast as threads can be: some ports, on each as many unit ids as are asked for. All
//! registers change with every read of a unit. It notes when it answered what, for latency, jitter and periods.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const READ_HOLDING: u8 = 3;
const MAX_REGISTERS: u16 = 125;
const STACK: usize = 64 << 10;

/// One unit id behind a port.
#[derive(Default)]
pub struct Unit {
    /// Reads answered.
    reads: AtomicU64,
    /// When the last answer left, ns since the plant's start.
    answered_ns: AtomicU64,
    /// Takes requests and says nothing.
    dead: AtomicBool,
    /// When requests came, ns since the plant's start; only while asked for.
    arrivals: Mutex<Option<Vec<u64>>>,
}

/// A running plant. Its threads end with the process.
#[derive(Clone)]
pub struct Plant {
    /// Its ports.
    pub addrs: Vec<SocketAddr>,
    lines: Arc<Vec<Vec<Unit>>>,
    began: Instant,
    counts: bool,
}

impl Plant {
    /// With `ports` ports; every answer takes `device_time`.
    pub fn start(ports: usize, device_time: Duration) -> Self {
        Self::made(ports, device_time, false)
    }

    /// One whose registers all have the number of the read that gives them, from 0: what is skipped shows.
    pub fn counting(ports: usize) -> Self {
        Self::made(ports, Duration::ZERO, true)
    }

    fn made(ports: usize, device_time: Duration, counts: bool) -> Self {
        let lines: Vec<Vec<Unit>> =
            (0..ports).map(|_| std::iter::repeat_with(Unit::default).take(256).collect()).collect();
        let mut plant = Self { addrs: Vec::new(), lines: Arc::new(lines), began: Instant::now(), counts };
        for line in 0..ports {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            plant.addrs.push(listener.local_addr().expect("bound"));
            let shared = Self { addrs: Vec::new(), ..plant.clone() };
            thread("plant-accept", move || {
                for stream in listener.incoming().flatten() {
                    let plant = shared.clone();
                    thread("plant-line", move || drop(plant.serve(line, stream, device_time)));
                }
            });
        }
        plant
    }

    /// Now, ns since the plant's start.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("not so long")
    }

    /// When a unit's last answer left.
    pub fn answered_ns(&self, line: usize, unit: u8) -> u64 {
        self.lines[line][usize::from(unit)].answered_ns.load(Ordering::Acquire)
    }

    /// Reads answered by a unit.
    pub fn reads_of(&self, line: usize, unit: u8) -> u64 {
        self.lines[line][usize::from(unit)].reads.load(Ordering::Acquire)
    }

    /// Reads answered by all units.
    pub fn reads(&self) -> u64 {
        self.lines.iter().flatten().map(|u| u.reads.load(Ordering::Relaxed)).sum()
    }

    /// A unit that takes requests and says nothing.
    pub fn kill(&self, line: usize, unit: u8) {
        self.lines[line][usize::from(unit)].dead.store(true, Ordering::Relaxed);
    }

    /// Notes arrivals at a unit from now on.
    pub fn note_arrivals(&self, line: usize, unit: u8) {
        *self.lines[line][usize::from(unit)].arrivals.lock().expect("no panic holds it") = Some(Vec::new());
    }

    /// What was noted since `note_arrivals`; noting ends.
    pub fn arrivals(&self, line: usize, unit: u8) -> Vec<u64> {
        let mut held = self.lines[line][usize::from(unit)].arrivals.lock().expect("no panic holds it");
        held.take().unwrap_or_default()
    }

    fn serve(&self, line: usize, mut stream: TcpStream, device_time: Duration) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut buffer, mut have) = ([0; 4096], 0);
        let mut answer = Vec::with_capacity(300);
        loop {
            let got = stream.read(&mut buffer[have..])?;
            if got == 0 {
                return Ok(());
            }
            have += got;
            let mut at = 0;
            while let Some(head) = buffer[at..have].get(..7) {
                let size = 6 + usize::from(u16::from_be_bytes([head[4], head[5]]));
                let Some(request) = buffer[at..have].get(..size) else { break };
                at += size;
                let unit = &self.lines[line][usize::from(request[6])];
                if let Some(arrivals) = unit.arrivals.lock().expect("no panic holds it").as_mut() {
                    arrivals.push(self.now_ns());
                }
                if unit.dead.load(Ordering::Relaxed) {
                    continue;
                }
                if !device_time.is_zero() {
                    std::thread::sleep(device_time);
                }
                let read = unit.reads.load(Ordering::Relaxed);
                #[allow(clippy::cast_possible_truncation)]
                let word =
                    |address| if self.counts { read as u16 } else { word(line, request[6], read, address) };
                make_answer(request, word, &mut answer);
                unit.answered_ns.store(self.now_ns(), Ordering::Release);
                unit.reads.fetch_add(1, Ordering::Release);
                stream.write_all(&answer)?;
            }
            buffer.copy_within(at..have, 0);
            have -= at;
        }
    }
}

/// The word of a register at a unit's read number `read`: a few thousand wide, all else noise.
pub fn word(line: usize, unit: u8, read: u64, address: u16) -> u16 {
    let seed = (read << 24) ^ ((line as u64) << 56) ^ (u64::from(unit) << 48) ^ u64::from(address);
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[allow(clippy::cast_possible_truncation)]
    (20_000 + ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 53) as u16)
}

fn make_answer(request: &[u8], word: impl Fn(u16) -> u16, answer: &mut Vec<u8>) {
    answer.clear();
    answer.extend(&request[..4]);
    let field = |at: usize| Some(u16::from_be_bytes([*request.get(at)?, *request.get(at + 1)?]));
    match (request.get(7), field(8), field(10)) {
        (Some(&READ_HOLDING), Some(first), Some(count @ 1..=MAX_REGISTERS)) => {
            answer.extend((3 + 2 * count).to_be_bytes());
            answer.extend([request[6], READ_HOLDING, u8::try_from(2 * count).expect("few registers")]);
            answer.extend((0..count).flat_map(|n| word(first.wrapping_add(n)).to_be_bytes()));
        }
        (function, ..) => {
            answer.extend(3u16.to_be_bytes());
            answer.extend([request[6], function.copied().unwrap_or(0) | 0x80, 1]);
        }
    }
}

/// A thread that lives as long as the process.
pub fn thread(name: &str, run: impl FnOnce() + Send + 'static) {
    let made = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run);
    made.expect("a thread");
}
