//! `tags100k`, `tags10k_100ms`, `poll_to_mqtt`: everything on, at 100,000 tags a second: all registers change, one MQTT
//! message for each unit and cycle, every sample into the buffer, the cloud's link up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tests::gateway::Setup;
use tests::{Cloud, Gateway};

use super::floor::{self, Floor, Work};
use super::listen::listen;
use super::plant::Plant;
use crate::figure::{Beside, Percentiles, print_beside};

/// How it is asked.
pub struct Load {
    /// Beginning of the figures' names.
    pub name: &'static str,
    pub lines: usize,
    pub units: u8,
    pub registers: u16,
    pub period_ms: u64,
    /// Whether it has goals; without, its figures explain others.
    pub has_goals: bool,
}

pub const TAGS_100K: Load =
    Load { name: "tags100k", lines: 10, units: 100, registers: 100, period_ms: 1000, has_goals: true };
pub const TAGS_10K: Load =
    Load { name: "tags10k_100ms", lines: 10, units: 10, registers: 100, period_ms: 100, has_goals: true };
/// What the requests of `tags100k` cost apart from their values.
pub const REQUESTS_1K: Load =
    Load { name: "requests1k", lines: 10, units: 100, registers: 1, period_ms: 1000, has_goals: false };

const WARM_UP: Duration = Duration::from_secs(8);
const MEASURE: Duration = Duration::from_secs(20);

/// What was measured of one gateway.
struct Measured {
    cpu_pct: f64,
    kernel_pct: f64,
    cloud_cpu_pct: f64,
    rss_mb: f64,
    switches: f64,
    reads: f64,
    messages: f64,
    values: f64,
    message_bytes: f64,
    frame_bytes: f64,
    dropped: f64,
    wrong: f64,
    latencies_us: Vec<f64>,
}

/// One of what was measured.
type Of = fn(&Measured) -> f64;

/// The bare loop.
struct Bare {
    cpu_pct: f64,
    kernel_pct: f64,
    latencies_us: Vec<f64>,
}

/// The figures of one load. `previous`: an older gateway to measure beside.
pub async fn tags(load: &Load, previous: Option<&Path>) {
    let plant = Plant::start(load.lines, Duration::ZERO);
    let m = measure(load, &plant, None).await;
    let Bare { cpu_pct: floor, kernel_pct: floor_kernel, latencies_us: floor_latencies } =
        floor_of(load, &plant, &m);
    let before = match previous {
        Some(program) => Some(measure(load, &plant, Some(program)).await),
        None => None,
    };
    let old = |f: Of| Beside::previous(before.as_ref().map(f));
    let name = |what: &str| format!("{}_{what}", load.name);
    let bare = Beside::floor("bare loop, % of a core", floor);
    let goal = |goal| if load.has_goals { goal } else { "report" };
    print_beside(&name("cpu_pct"), m.cpu_pct, "% of a core", goal("<= 10"), &[bare, old(|m| m.cpu_pct)]);
    print_beside(&name("cpu_over_floor"), m.cpu_pct / floor, "x", goal("<= 2"), &[bare]);
    let kernel = Beside::floor("bare loop, % of a core", floor_kernel);
    print_beside(
        &name("kernel_pct"),
        m.kernel_pct,
        "% of a core",
        "report",
        &[kernel, old(|m| m.kernel_pct)],
    );
    let own_ns: Of = |m| (m.cpu_pct - m.kernel_pct) / 100.0 * 1e9 / m.values;
    print_beside(&name("own_ns_per_value"), own_ns(&m), "ns outside of the kernel", "report", &[old(own_ns)]);
    print_beside(&name("rss_mb"), m.rss_mb, "MiB", goal("<= 60"), &[old(|m| m.rss_mb)]);
    let told: [(&str, &str, Of); 8] = [
        ("reads_per_s", "1/s", |m| m.reads),
        ("messages_per_s", "1/s", |m| m.messages),
        ("values_per_s", "1/s", |m| m.values),
        ("frame_bytes_per_s", "B/s", |m| m.frame_bytes),
        ("switches_per_s", "context switches of the gateway", |m| m.switches),
        ("cloud_cpu_pct", "% of a core", |m| m.cloud_cpu_pct),
        ("dropped", "samples, goal 0", |m| m.dropped),
        ("wrong", "messages, goal 0", |m| m.wrong),
    ];
    for (what, unit, of) in told {
        print_beside(&name(what), of(&m), unit, "report", &[old(of)]);
    }
    if load.name == TAGS_100K.name {
        let p = Percentiles::of(m.latencies_us.clone());
        let (q, bare) = (before.map(|b| Percentiles::of(b.latencies_us)), Percentiles::of(floor_latencies));
        for (what, percent, goal) in
            [("p50", 50.0, "report"), ("p99", 99.0, "<= 3"), ("p999", 99.9, "report")]
        {
            let old = Beside::previous(q.as_ref().map(|q| q.at(percent) / 1e3));
            let bare = Beside::floor("bare loop", bare.at(percent) / 1e3);
            print_beside(&format!("poll_to_mqtt_{what}_ms"), p.at(percent) / 1e3, "ms", goal, &[bare, old]);
        }
    }
}

async fn measure(load: &Load, plant: &Plant, program: Option<&Path>) -> Measured {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let setup = Setup {
        uplink: Some((cloud.ingress, secret)),
        devices: devices(load, &plant.addrs),
        program: program.map(Path::to_owned),
        broker: "publish = \"device\"\n".to_owned(),
        ..Setup::default()
    };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    let heard = listen(gateway.broker, plant.clone());
    tokio::time::sleep(WARM_UP).await;
    let health = gateway.health().await;
    let (dropped, disk) = (health.dropped.values().sum::<u64>(), health.buffer.disk_bytes);
    let count = || {
        [plant.reads(), heard.messages.load(Ordering::Relaxed), heard.values.load(Ordering::Relaxed)]
            .map(|n| n as f64)
    };
    let (counts, bytes) = (count(), heard.bytes.load(Ordering::Relaxed));
    let switches = gateway.process.switches();
    heard.noting.store(true, Ordering::Relaxed);
    let (began, cpu, cloud_cpu) = (Instant::now(), gateway.process.cpu_s(), cloud.process.cpu_s());
    let kernel = gateway.process.kernel_s();
    tokio::time::sleep(MEASURE).await;
    let s = began.elapsed().as_secs_f64();
    let (cpu, cloud_cpu) = (gateway.process.cpu_s() - cpu, cloud.process.cpu_s() - cloud_cpu);
    let kernel_pct = (gateway.process.kernel_s() - kernel) / s * 100.0;
    heard.noting.store(false, Ordering::Relaxed);
    let switches = (gateway.process.switches() - switches) as f64 / s;
    let after = count();
    let bytes = (heard.bytes.load(Ordering::Relaxed) - bytes) as f64;
    let rss_mb = gateway.process.rss_mb();
    let health = gateway.health().await;
    let rate = |at: usize| (after[at] - counts[at]) / s;
    eprintln!(
        "{}: {:?}, uplink {}, {} frames unacked",
        load.name, health.dropped, health.uplink, health.buffer.unacked_frames
    );
    Measured {
        cpu_pct: cpu / s * 100.0,
        kernel_pct,
        cloud_cpu_pct: cloud_cpu / s * 100.0,
        rss_mb,
        switches,
        reads: rate(0),
        messages: rate(1),
        values: rate(2),
        message_bytes: bytes / (after[1] - counts[1]).max(1.0),
        frame_bytes: health.buffer.disk_bytes.saturating_sub(disk) as f64 / s,
        dropped: (health.dropped.values().sum::<u64>() - dropped) as f64,
        wrong: heard.wrong.load(Ordering::Relaxed) as f64,
        latencies_us: std::mem::take(&mut heard.latencies_us.lock().expect("no panic holds it")),
    }
}

/// The bare loop that does the same.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn floor_of(load: &Load, plant: &Plant, m: &Measured) -> Bare {
    let dir = tempfile::tempdir().expect("a folder");
    let work = Work {
        lines: plant.addrs.clone(),
        units: load.units,
        registers: load.registers,
        period_ms: load.period_ms,
        message_bytes: m.message_bytes as usize,
        frame_bytes: m.frame_bytes as u64,
        sync_ms: 100,
        file: PathBuf::from(dir.path()).join("frames"),
        reader: "127.0.0.1:0".parse().expect("an address"),
    };
    let Floor { process, latencies_us } = floor::start(work, plant);
    std::thread::sleep(Duration::from_secs(2));
    latencies_us.lock().expect("no panic holds it").clear();
    let (began, cpu, reads) = (Instant::now(), process.cpu_s(), plant.reads());
    let kernel = process.kernel_s();
    std::thread::sleep(MEASURE);
    let s = began.elapsed().as_secs_f64();
    let reads = (plant.reads() - reads) as f64 / s;
    assert!(reads > 0.9 * m.reads, "the bare loop did not keep pace: {reads} reads/s\n{}", process.log());
    Bare {
        cpu_pct: (process.cpu_s() - cpu) / s * 100.0,
        kernel_pct: (process.kernel_s() - kernel) / s * 100.0,
        latencies_us: std::mem::take(&mut latencies_us.lock().expect("no panic holds it")),
    }
}

fn devices(load: &Load, addrs: &[SocketAddr]) -> String {
    let mut text = String::new();
    for (line, addr) in addrs.iter().enumerate() {
        for unit in 1..=load.units {
            text += &device(
                &format!("l{line}u{unit}"),
                *addr,
                unit,
                (0..load.registers).map(|n| (n, load.period_ms)),
            );
        }
    }
    text
}

/// A device of registers with their addresses and periods; register `n` is the point `r<n>`.
pub fn device(name: &str, addr: SocketAddr, unit: u8, registers: impl Iterator<Item = (u16, u64)>) -> String {
    let mut text = format!(
        "[[device]]\nname = \"{name}\"\nasset = \"plant/hall/{name}\"\n[device.modbus]\nhost = \"{}\"\nport = {}\nunit = {unit}\n",
        addr.ip(),
        addr.port()
    );
    for (address, period_ms) in registers {
        text += &format!(
            "[[device.point]]\nname = \"r{address}\"\ntype = \"u64\"\n\
             modbus = {{ table = \"holding\", address = {address}, period_ms = {period_ms} }}\n"
        );
    }
    text
}
