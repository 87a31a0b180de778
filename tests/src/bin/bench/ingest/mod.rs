//! The cloud's durable ingest: 100 gateways that send batches of one second (1,000 points, ten times a second) over MQTT to
//! the real cloud process. Decoding, twins, commits and compaction go on in it. The gateways are sockets of this process; it
//! shares the machine with the cloud.
//!
//! First they send all that is taken, until compaction has had its turns: what is acknowledged then is what it is able to do. Then
//! batches are due at a set rate, less and less, until the lag from the moment that a batch was due to its acknowledgement is within the
//! goal: that rate is the figure. At the end it is checked that the history holds each sample once.
//!
//! `--seconds` is the length of each step (30 without), `--rate` leaves out the search, `--only sqlite` or `pg` one of the databases.

mod gateway;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::TwinId;
use common::names::metric;
use tests::Cloud;
use tokio::sync::watch;

use self::gateway::{BATCH, Counts, Gateway, POINTS, Phase, Plan};
use crate::figure::{Beside, Percentiles, print, print_beside};
use crate::wire::plant::CYCLES_PER_S;

const GATEWAYS: usize = 100;
/// The lag that a sustained rate may have at p99, ms.
const LAG_MS: f64 = 5_000.0;
/// So often the longest lag is told while a step runs.
const TOLD_EVERY: Duration = Duration::from_secs(15);
/// Of what is taken when all is sent that can be, the rates that are tried.
const TRIES: [f64; 6] = [0.95, 0.85, 0.75, 0.7, 0.65, 0.5];
/// Points of each gateway whose history is counted at the end.
const COUNTED: [usize; 3] = [0, 517, POINTS - 1];

/// What may be set.
#[derive(Debug, Default)]
pub struct Options {
    pub seconds: Option<u64>,
    /// Samples a second.
    pub rate: Option<f64>,
    pub only: Option<String>,
}

/// The figures of both databases.
pub async fn ingest(options: &Options) {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|o| o == name);
    if wanted("sqlite") {
        let dir = tempfile::tempdir().expect("a folder");
        let cloud = Cloud::start(dir.path()).await;
        measure("ingest_sqlite", ">= 1500000", cloud, dir.path(), options).await;
    }
    if wanted("pg") {
        let settings = ["shared_buffers=256MB", "max_wal_size=4GB", "wal_compression=off"];
        let server = test_postgres::Server::start(&settings);
        let dir = tempfile::tempdir().expect("a folder");
        let section = format!("[store]\npostgres = {:?}\n", server.url(&server.create()));
        let cloud = Cloud::start_with(dir.path(), &section).await;
        measure("ingest_pg", ">= 500000", cloud, dir.path(), options).await;
    }
}

/// A step of the run.
struct Step {
    per_s: f64,
    bytes_per_sample: f64,
    lags: Percentiles,
    /// Processor seconds for a million samples: the cloud's, this process's.
    cpu: [f64; 2],
    compact_percent: f64,
    uncompacted: f64,
}

struct Rig<'a> {
    cloud: &'a Cloud,
    go: watch::Sender<Phase>,
    counts: Arc<Counts>,
}

impl Rig<'_> {
    async fn step(&self, phase: Phase, warm_up: Duration, length: Duration) -> Step {
        self.go.send_replace(phase);
        tokio::time::sleep(warm_up).await;
        self.counts.take();
        let cpu = || [self.cloud.process.cpu_s(), tests::process::cpu_s(std::process::id())];
        let (before, compacted, began) = (cpu(), self.compacting().await, Instant::now());
        let (mut samples, mut bytes, mut lags) = (0, 0, Vec::new());
        while let Some(left) = length.checked_sub(began.elapsed()) {
            tokio::time::sleep(left.min(TOLD_EVERY)).await;
            let (more, more_bytes, more_lags) = self.counts.take();
            (samples, bytes) = (samples + more, bytes + more_bytes);
            let worst = more_lags.iter().copied().fold(0.0, f64::max);
            let wait = self.cloud.metric(metric::CLOUD_UNCOMPACTED.0).await;
            eprintln!(
                "  after {:.0} s: lag at most {worst:.0} ms, {wait:.0} frames wait",
                began.elapsed().as_secs_f64()
            );
            lags.extend(more_lags);
        }
        let took = began.elapsed().as_secs_f64();
        let after = cpu();
        let per_million = |i: usize| (after[i] - before[i]) / (samples as f64 / 1e6);
        let step = Step {
            per_s: samples as f64 / took,
            bytes_per_sample: bytes as f64 / samples as f64,
            lags: Percentiles::of(lags),
            cpu: [per_million(0), per_million(1)],
            compact_percent: (self.compacting().await - compacted) / took * 100.0,
            uncompacted: self.cloud.metric(metric::CLOUD_UNCOMPACTED.0).await,
        };
        eprintln!(
            "{phase}: {:.0} samples/s, lag p50 {:.0} p99 {:.0} ms, cpu {:.3} and {:.3} us, compacts {:.0} %, {:.0} frames wait, {:.0} MB",
            step.per_s,
            step.lags.at(50.0),
            step.lags.at(99.0),
            step.cpu[0],
            step.cpu[1],
            step.compact_percent,
            step.uncompacted,
            self.cloud.process.rss_mb(),
        );
        step
    }

    async fn compacting(&self) -> f64 {
        self.cloud.metric(&format!("{}_sum", metric::CLOUD_COMPACT_SECONDS.0)).await
    }

    async fn paced(&self, rate: f64, warm_up: Duration, length: Duration) -> Step {
        let period = Duration::from_secs_f64((GATEWAYS * BATCH) as f64 / rate);
        self.step(Phase::Pace { begin: Instant::now(), period }, warm_up, length).await
    }
}

async fn measure(name: &str, goal: &str, cloud: Cloud, dir: &Path, options: &Options) {
    let (go, phase) = watch::channel(Phase::Wait);
    let rig = Rig { cloud: &cloud, go, counts: Arc::default() };
    let mut running = Vec::new();
    for n in 0..GATEWAYS {
        let plan = Plan::new(n);
        let secret = cloud.gateway_secret(&plan.id).await;
        let gateway = Gateway::agree(cloud.ingress, plan, &secret, n as f64 / GATEWAYS as f64).await;
        running.push(tokio::spawn(gateway.run(phase.clone(), Arc::clone(&rig.counts))));
    }
    let length = Duration::from_secs(options.seconds.unwrap_or(30));
    let warm_up = Duration::from_secs(20);
    let step = match options.rate {
        Some(rate) => rig.paced(rate, warm_up, length).await,
        None => {
            let most = rig.step(Phase::Saturate, warm_up, length).await;
            print(&format!("{name}_most_per_s"), most.per_s, "samples/s", "report", None);
            let mut step = None;
            for share in TRIES {
                // What waits of the step before is not of this one.
                rig.go.send_replace(Phase::Wait);
                tokio::time::sleep(Duration::from_secs(10)).await;
                let tried = rig.paced(most.per_s * share, Duration::from_secs(5), length).await;
                let is_met = tried.lags.at(99.0) <= LAG_MS;
                step = Some(tried);
                if is_met {
                    break;
                }
            }
            step.expect("one was tried")
        }
    };
    let rss = cloud.process.rss_mb();
    rig.go.send_replace(Phase::End);
    let mut batches = Vec::new();
    for gateway in running {
        batches.push(gateway.await.expect("a gateway"));
    }
    let ended = Instant::now();
    while cloud.metric(metric::CLOUD_UNCOMPACTED.0).await > 0.0 {
        assert!(ended.elapsed() < Duration::from_secs(300), "compaction does not end");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let caught_up = ended.elapsed().as_secs_f64();
    check(&cloud, &batches).await;
    drop(cloud);
    let beside = [Beside::floor(
        "the same bytes written and fdatasync'ed, a second of all gateways at a time",
        floor(dir, &step),
    )];
    print_beside(&format!("{name}_per_s"), step.per_s, "samples/s", goal, &beside);
    print(&format!("{name}_lag_p50_ms"), step.lags.at(50.0), "ms", "report", None);
    print(&format!("{name}_lag_p99_ms"), step.lags.at(99.0), "ms", "<= 5000", None);
    let cpu = Some(("this process, which sends", step.cpu[1]));
    print(&format!("{name}_cpu_us"), step.cpu[0], "us of processor a sample", "report", cpu);
    print(&format!("{name}_uncompacted"), step.uncompacted, "frames", "report", None);
    print(&format!("{name}_compact_percent"), step.compact_percent, "% of the time", "report", None);
    print(&format!("{name}_caught_up_s"), caught_up, "s", "report", None);
    print(&format!("{name}_rss_mb"), rss, "MB", "report", None);
}

/// Each sample that was acknowledged is in the history once, and nothing was set aside.
async fn check(cloud: &Cloud, batches: &[u64]) {
    let text = reqwest::get(format!("http://{}/metrics", cloud.http)).await.expect("metrics");
    let text = text.text().await.expect("text");
    // None of a kind that has not occurred.
    let sum = |name: &str| -> f64 {
        let of = |line: &str| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok();
        text.lines().filter_map(of).sum()
    };
    let sent = batches.iter().sum::<u64>() * BATCH as u64;
    assert_eq!(sum(metric::CLOUD_SET_ASIDE.0), 0.0, "frames were set aside");
    assert_eq!(sum(&format!("{}_total", metric::CLOUD_SAMPLES.0)), sent as f64, "samples accepted");
    for (n, batches) in batches.iter().enumerate() {
        let gateway = format!("box{n}").parse().expect("a name");
        let twin = TwinId::derived(&common::TenantId::default(), &gateway, "d").to_string();
        for point in COUNTED {
            let range = "from=2020-01-01T00:00:00Z&to=2060-01-01T00:00:00Z&max_points=50";
            let history = cloud.api().history(&twin, &format!("p{point}"), range).await;
            let count: u64 = history.points.iter().map(|p| p.count).sum();
            assert_eq!(count, batches * CYCLES_PER_S as u64, "samples of {n}/p{point}");
        }
    }
}

/// Samples a second, if nothing were done but writing what came.
fn floor(dir: &Path, step: &Step) -> f64 {
    let a_second = (step.bytes_per_sample * (GATEWAYS * BATCH) as f64) as u64;
    let block: Vec<u8> = (0..a_second).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect();
    let mut file = std::fs::File::create(dir.join("floor")).expect("a file");
    let began = Instant::now();
    for _ in 0..30 {
        file.write_all(&block).expect("room on the disk");
        file.sync_data().expect("a disk");
    }
    (30 * GATEWAYS * BATCH) as f64 / began.elapsed().as_secs_f64()
}
