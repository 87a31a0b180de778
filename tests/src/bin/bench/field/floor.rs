//! The floor: a bare loop in a process of its own. One thread sends the same requests over as many connections at the
//! same pace, reads the answers, publishes as many bytes for each to a reader, and appends and syncs as many bytes as
//! the gateway's frames take. It decodes, judges and formats nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tests::process::Process;

use super::plant::{Plant, thread};

/// What the loop is to do; as JSON on its command line.
#[derive(Serialize, Deserialize)]
pub struct Work {
    pub lines: Vec<SocketAddr>,
    pub units: u8,
    pub registers: u16,
    pub period_ms: u64,
    /// Bytes of one message, packet and all.
    pub message_bytes: usize,
    /// Bytes of frames a second.
    pub frame_bytes: u64,
    pub sync_ms: u64,
    pub file: PathBuf,
    /// Where messages go.
    pub reader: SocketAddr,
}

/// The running loop.
pub struct Floor {
    pub process: Process,
    /// From the answer's leaving the plant to the message at its reader, us.
    pub latencies_us: Arc<Mutex<Vec<f64>>>,
}

/// Starts the loop as a process, with a reader for its messages.
pub fn start(mut work: Work, plant: &Plant) -> Floor {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    work.reader = listener.local_addr().expect("bound");
    let latencies_us = Arc::<Mutex<Vec<f64>>>::default();
    let (to, plant, size) = (latencies_us.clone(), plant.clone(), work.message_bytes);
    thread("sink", move || {
        let Ok((stream, _)) = listener.accept() else { return };
        // What breaks off is the loop's end.
        drop(receive(stream, &plant, size, &to));
    });
    let program = std::env::current_exe().expect("this program");
    let json = serde_json::to_string(&work).expect("JSON");
    let process = Process::start(&program, &["floor-loop", &json], work.file.with_extension("log"));
    Floor { process, latencies_us }
}

/// Messages of one size that begin with their line and unit.
fn receive(mut stream: TcpStream, plant: &Plant, size: usize, to: &Mutex<Vec<f64>>) -> std::io::Result<()> {
    let (mut buffer, mut have) = (vec![0; 1 << 20], 0);
    loop {
        let got = stream.read(&mut buffer[have..])?;
        if got == 0 {
            return Ok(());
        }
        let now_ns = plant.now_ns();
        have += got;
        for message in buffer[..have].chunks_exact(size) {
            let age_ns = now_ns.saturating_sub(plant.answered_ns(message[0].into(), message[1]));
            to.lock().expect("no panic holds it").push(age_ns as f64 / 1e3);
        }
        let rest = have - have % size;
        buffer.copy_within(rest..have, 0);
        have -= rest;
    }
}

/// The loop itself; ends only with the process.
pub fn run(json: &str) -> std::io::Result<()> {
    let work: Work = serde_json::from_str(json)?;
    let connect = |addr: &SocketAddr| {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let mut lines = work.lines.iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    let mut publish = connect(&work.reader)?;
    let mut file = File::create(&work.file)?;
    let slot = Duration::from_millis(work.period_ms) / u32::from(work.units);
    let mut message = vec![b'1'; work.message_bytes];
    let frame =
        vec![b'f'; usize::try_from(work.frame_bytes * slot.as_micros() as u64 / 1_000_000).unwrap_or(0)];
    let mut answer = vec![0; 9 + 2 * usize::from(work.registers)];
    let (mut due, mut synced) = (Instant::now(), Instant::now());
    let mut request = [0, 0, 0, 0, 0, 6, 0, 3, 0, 0, 0, 0];
    request[10..].copy_from_slice(&work.registers.to_be_bytes());
    loop {
        for unit in 1..=work.units {
            request[6] = unit;
            for line in &mut lines {
                line.write_all(&request)?;
            }
            for (number, line) in (0..).zip(&mut lines) {
                line.read_exact(&mut answer)?;
                message[..2].copy_from_slice(&[number, unit]);
                publish.write_all(&message)?;
            }
            file.write_all(&frame)?;
            if synced.elapsed() >= Duration::from_millis(work.sync_ms) {
                synced = Instant::now();
                file.sync_data()?;
            }
            due += slot;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}
