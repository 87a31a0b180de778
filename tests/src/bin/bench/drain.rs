//! `drain`: an hour of 1,000 points at 10 Hz waits in the gateway's buffer, put there by the buffer itself; gateway and
//! cloud start and it is drained, while a sensor goes on with 10,000 samples a second and a browser looks at them. Beside
//! it: what the browser sees without a backlog, and the buffer's bytes through a bare loopback connection onto the disk.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Drain;
use common::names::metric;
use common::wire::Body;
use common::{Clock, Sample, TenantId, TwinId, Value, ValueType};
use gateway_core::FrameLog;
use gateway_store::{Options, Store};
use tests::field::{SensorCounts, numbered_device, numbered_sensor};
use tests::gateway::Setup;
use tests::live::{Item, Live};
use tests::{Cloud, Gateway};

use crate::figure::{Beside, Percentiles, print, print_beside};
use crate::wire::plant::{CYCLES_PER_S, Plant, START_US, registry};

const POINTS: usize = 1000;
const SECONDS: usize = 3600;
const SAMPLES: usize = POINTS * CYCLES_PER_S * SECONDS;
const JITTER_US: u64 = 1000;
/// Of the sensor beside it.
const LIVE_POINTS: u64 = 100;
const LIVE_RATE: u64 = 10_000;
const WARM_UP: Duration = Duration::from_secs(5);
const WITHOUT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(900);

/// `drain_over_realtime`, `drain_live_p99_ratio`, and what stands beside them.
pub async fn drain() {
    let dir = tempfile::tempdir().expect("a folder");
    let (full, empty) = (dir.path().join("box"), dir.path().join("idle-box"));
    eprintln!("drain: the buffer is filled");
    let bytes = fill(&full.join("data/buffer")).await;
    let floor_s = floor(&full.join("data/buffer/log"), &dir.path().join("floor"));
    let without = {
        let cloud = Cloud::start(&dir.path().join("idle-cloud")).await;
        let rig = Rig::start(&cloud, &empty).await;
        rig.watch(&cloud, |_, began| began.elapsed() > WARM_UP + WITHOUT).await
    };
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let rig = Rig::start(&cloud, &full).await;
    let with = rig.watch(&cloud, |backlog, _| backlog == 0).await;
    let compacted = compacted(&cloud).await;
    for point in ["p0", "p999"] {
        let history = cloud.api().history("hall/line", point, "from=-3h&max_points=2000").await;
        let count: u64 = history.points.iter().map(|p| p.count).sum();
        assert_eq!(count, (CYCLES_PER_S * SECONDS) as u64, "samples of {point} in the history");
    }

    let realtime = SECONDS as f64 / with.seconds;
    let floor = Beside::floor("the buffer's bytes through loopback and fdatasync", SECONDS as f64 / floor_s);
    print_beside("drain_over_realtime", realtime, "x real time", ">= 50", &[floor]);
    print("drain_samples_per_s", SAMPLES as f64 / with.seconds, "samples/s", ">= 500000", None);
    print("drain_live_p99_ratio", with.ages.at(99.0) / without.ages.at(99.0), "x", "<= 1.5", None);
    for (name, at) in [("drain_live_p50_ms", 50.0), ("drain_live_p99_ms", 99.0), ("drain_live_p999_ms", 99.9)]
    {
        print(name, with.ages.at(at), "ms", "report", Some(("without a backlog", without.ages.at(at))));
    }
    print(
        "drain_gateway_cpu_percent",
        with.cpu[0],
        "% of a core",
        "report",
        Some(("without", without.cpu[0])),
    );
    print("drain_cloud_cpu_percent", with.cpu[1], "% of a core", "report", Some(("without", without.cpu[1])));
    print("drain_gateway_peak_mb", with.peak[0], "MB", "report", Some(("without", without.peak[0])));
    print("drain_cloud_peak_mb", with.peak[1], "MB", "report", Some(("without", without.peak[1])));
    print("drain_compacted_s", compacted, "s until history is compacted as well", "report", None);
    print("drain_buffer_b", bytes as f64 / SAMPLES as f64, "B a sample in the buffer", "report", None);
}

/// A gateway with a sensor.
struct Rig {
    gateway: Gateway,
    began: Instant,
    drain: Drain,
    sensor: tokio::task::JoinHandle<()>,
}

/// What a browser saw meanwhile.
struct Seen {
    ages: Percentiles,
    seconds: f64,
    cpu: [f64; 2],
    peak: [f64; 2],
}

impl Rig {
    async fn start(cloud: &Cloud, dir: &Path) -> Self {
        let secret = cloud.gateway_secret("box1").await;
        let devices = numbered_device(LIVE_POINTS) + &line_device();
        let setup = Setup { uplink: Some((cloud.ingress, secret)), devices, ..Setup::default() };
        let began = Instant::now();
        let gateway = Gateway::start(dir, &setup).await;
        let base_us = Clock::system().now_us() - 60_000_000;
        let drain = Drain::new();
        // As `sensor_to_browser`: the value is the time of its making.
        let value = move |_| began.elapsed().as_secs_f64() * 1e6;
        let counts = Arc::new(SensorCounts::default());
        let sensor =
            numbered_sensor(gateway.broker, LIVE_POINTS, LIVE_RATE, base_us, value, counts, drain.clone());
        Self { gateway, began, drain: drain.clone(), sensor: tokio::spawn(sensor) }
    }

    /// Looks on until it is over, which depends on the frames that wait and the time since the start.
    async fn watch(self, cloud: &Cloud, over: impl Fn(u64, Instant) -> bool) -> Seen {
        let mut live = Live::connect(cloud.api(), 50.0).await;
        let load = TwinId::derived(&TenantId::default(), &"box1".parse().expect("a name"), "load");
        let (mut ages, mut looked) = (Vec::new(), Instant::now());
        let mut shown = Instant::now();
        let mut backlog = u64::MAX;
        while !over(backlog, self.began) {
            assert!(self.began.elapsed() < LIMIT, "{backlog} frames still wait");
            let next = tokio::time::timeout(Duration::from_millis(200), live.next()).await;
            let now_us = self.began.elapsed().as_secs_f64() * 1e6;
            if let Ok(Some(Item::Frame(frame))) = next
                && self.began.elapsed() > WARM_UP
            {
                let is_load = |row: u32| live.point(&frame, row).is_some_and(|(twin, _)| *twin == load);
                let rows = frame.rows.iter().filter(|r| r.quality.is_good() && is_load(r.row));
                ages.extend(rows.map(|r| (now_us - r.value) / 1e3));
            }
            if looked.elapsed() > Duration::from_millis(500) {
                looked = Instant::now();
                // What live frames are on their way is no backlog.
                backlog = self.gateway.health().await.buffer.unacked_frames.saturating_sub(300);
            }
            if shown.elapsed() > Duration::from_secs(10) {
                shown = Instant::now();
                eprintln!("drain: {:.0} s, {backlog} frames wait", self.began.elapsed().as_secs_f64());
            }
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let processes = [&self.gateway.process, &cloud.process];
        let seen = Seen {
            ages: Percentiles::of(ages),
            seconds,
            cpu: processes.map(|p| p.cpu_s() / seconds * 100.0),
            peak: processes.map(tests::process::Process::peak_rss_mb),
        };
        self.drain.start();
        self.sensor.await.expect("the sensor ends");
        seen
    }
}

/// Waits until all is compacted; how long that took, s.
async fn compacted(cloud: &Cloud) -> f64 {
    let began = Instant::now();
    loop {
        let waiting = cloud.metric(metric::CLOUD_UNCOMPACTED.0).await;
        if waiting < 3000.0 {
            return began.elapsed().as_secs_f64();
        }
        assert!(began.elapsed() < LIMIT, "{waiting} frames are not compacted");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn kinds() -> Vec<ValueType> {
    let mut samples: Vec<Sample> = Plant::new(POINTS, JITTER_US, 1).cycle().concat();
    samples.sort_by_key(|s| s.point);
    let kind = |s: &Sample| match &s.value {
        Some(Value::U64(_)) => ValueType::U64,
        Some(Value::I64(_)) => ValueType::I64,
        _ => ValueType::F64,
    };
    samples.iter().map(kind).collect()
}

/// The device of the backlog as the gateway's configuration has it.
fn line_device() -> String {
    let mut text = "[[device]]\nname = \"line\"\nasset = \"plant/hall/line\"\n[device.mqtt]\n".to_owned();
    for (n, kind) in kinds().iter().enumerate() {
        let kind = match kind {
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            _ => "f64",
        };
        text += &format!(
            "[[device.point]]\nname = \"p{n}\"\ntype = \"{kind}\"\nstale_ms = 60000\nmqtt = {{ topic = \"line/{n}\" }}\n"
        );
    }
    text
}

/// Puts the hour that ends now into a buffer: a frame for each device and cycle, 100 samples. Its bytes on disk.
async fn fill(dir: &Path) -> u64 {
    let store = Store::open(Options::new(dir), Clock::system(), registry(&kinds())).expect("a buffer");
    let mut plant = Plant::new(POINTS, JITTER_US, 1);
    let shift = Clock::system().now_us() - SECONDS as i64 * 1_000_000 - START_US;
    for _ in 0..SECONDS * CYCLES_PER_S {
        for mut samples in plant.cycle() {
            for s in &mut samples {
                s.source_us += shift;
                s.received_us += shift;
            }
            let mut body = Some(Body::Samples(samples));
            while let Some(now) = body.take() {
                let mut watermark = store.watermark();
                watermark.borrow_and_update();
                if store.append(now.clone()).is_err() {
                    watermark.changed().await.expect("the log is open");
                    body = Some(now);
                }
            }
        }
    }
    store.watermark().wait_for(|w| w.durable >= w.head).await.expect("the log is open");
    let bytes = store.health().disk_bytes;
    store.close();
    bytes
}

/// The log's files over a connection and onto the disk, `fdatasync`ed by 1 MiB: seconds.
fn floor(log: &Path, to: &Path) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    let began = Instant::now();
    let log = log.to_owned();
    let sender = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(addr).expect("a server");
        for entry in fs::read_dir(log).expect("a log").flatten() {
            std::io::copy(&mut File::open(entry.path()).expect("a segment"), &mut socket).expect("sent");
        }
    });
    let (mut socket, _) = listener.accept().expect("a client");
    let mut file = File::create(to).expect("a file");
    let mut chunk = Vec::with_capacity(1 << 20);
    loop {
        chunk.clear();
        let n = (&mut socket).take(1 << 20).read_to_end(&mut chunk).expect("received");
        if n == 0 {
            break;
        }
        file.write_all(&chunk).expect("written");
        file.sync_data().expect("synced");
    }
    sender.join().expect("the sender ends");
    began.elapsed().as_secs_f64()
}
