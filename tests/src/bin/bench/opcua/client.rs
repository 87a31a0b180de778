//! `subscribe100k`, `browse100k`, `reconnect10k`: the adapter within the whole gateway, seen from its broker and its
//! command line.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use common::api::OpcuaBrowsed;
use serde_json::Value;
use tests::gateway::Setup;
use tests::process::{Process, program};
use tests::{Gateway, until};

use super::bare;
use super::plant::Plant;
use crate::field::listen::{packets, subscribe_all};
use crate::field::plant::thread;
use crate::figure::{Beside, print, print_beside};

const POINTS: u32 = 100_000;
const RECONNECTED: u32 = 10_000;
const PUBLISHING_MS: u64 = 500;
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURE: Duration = Duration::from_secs(30);
const RECONNECTS: u32 = 3;
const LONG: Duration = Duration::from_secs(180);

/// What was heard of each point, in a process with the clock of the plant.
#[derive(Default)]
struct Heard {
    /// The last value of each point.
    last: Vec<Option<f64>>,
    /// Values so far.
    values: u64,
    /// Values that the one before should have been followed by, and was not.
    skipped: u64,
    /// Values that are not what they should be: no number, or not good.
    wrong: u64,
    /// Values of at least this are counted in `fresh`, once for each point.
    at_least: f64,
    fresh: u32,
    /// When the last of them became so.
    all_fresh: Option<SystemTime>,
}

impl Heard {
    fn of(points: u32) -> Self {
        Self { last: vec![None; points as usize], at_least: f64::INFINITY, ..Self::default() }
    }

    fn message(&mut self, payload: &[u8]) {
        let Ok(Value::Object(told)) = serde_json::from_slice(payload) else {
            self.wrong += 1;
            return;
        };
        let bad = told.get("quality").and_then(Value::as_object);
        for (name, value) in told.get("values").and_then(Value::as_object).into_iter().flatten() {
            if bad.is_some_and(|b| b.contains_key(name)) {
                self.wrong += 1;
                continue;
            }
            let points = self.last.len();
            let place = name.strip_prefix('p').and_then(|n| n.parse::<usize>().ok());
            let last = place.and_then(|n| self.last.get_mut(n));
            let (Some(last), Some(value)) = (last, value.as_f64()) else {
                self.wrong += 1;
                continue;
            };
            self.values += 1;
            if let Some(before) = *last {
                self.skipped += u64::from(value != before + 1.0);
            }
            if value >= self.at_least && last.is_none_or(|before| before < self.at_least) {
                self.fresh += 1;
                if self.fresh as usize == points {
                    self.all_fresh = Some(SystemTime::now());
                }
            }
            *last = Some(value);
        }
    }
}

fn hear(broker: SocketAddr, points: u32) -> Arc<Mutex<Heard>> {
    let heard = Arc::new(Mutex::new(Heard::of(points)));
    let (stream, to) = (subscribe_all(broker), heard.clone());
    thread("subscriber", move || {
        let each = |(), _, body: &[u8]| {
            let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            let payload = body.get(topic..).unwrap_or_default();
            to.lock().expect("no panic holds it").message(payload);
        };
        packets(stream, || (), each);
    });
    heard
}

fn device(url: &str, points: u32) -> String {
    let mut text = format!(
        "[[device]]\nname = \"plant\"\nasset = \"site/hall/plant\"\n[device.opcua]\nurl = \"{url}\"\nsecurity = \"none\"\n\
         publishing_ms = {PUBLISHING_MS}\n"
    );
    for n in 0..points {
        let _ = write!(
            text,
            "[[device.point]]\nname = \"p{n}\"\ntype = \"f64\"\nopcua = {{ node = \"nsu=urn:twinway:bench;i={}\" }}\n",
            n + 1
        );
    }
    text
}

async fn gateway(dir: &std::path::Path, devices: String) -> Gateway {
    let broker = "publish = \"device\"\n".to_owned();
    Gateway::start(dir, &Setup { devices, broker, ..Setup::default() }).await
}

async fn all_heard(heard: &Mutex<Heard>, gateway: &Gateway) {
    until("every point is heard of", LONG, || {
        let missing = heard.lock().expect("no panic holds it").last.iter().filter(|l| l.is_none()).count();
        let log = (missing > 0).then(|| gateway.process.log());
        assert!(log.is_none_or(|l| !l.contains("panicked")), "{}", gateway.process.log());
        async move { (missing == 0).then_some(()) }
    })
    .await;
}

/// Processor time of a process in a span, % of a core.
async fn cpu_pct(process: &Process) -> f64 {
    let (began, cpu) = (Instant::now(), process.cpu_s());
    tokio::time::sleep(MEASURE).await;
    (process.cpu_s() - cpu) / began.elapsed().as_secs_f64() * 100.0
}

/// `subscribe100k_...`: 100,000 values a second from a server to a subscriber of the gateway's broker, beside the bare
/// client with the same subscriptions and without the broker.
pub async fn subscribe() {
    let dir = tempfile::tempdir().expect("a folder");
    let plant = Plant { port: 0, nodes: POINTS, first: 0, changes: true };
    let server = plant.start(&dir.path().join("server.log")).await;
    let (cpu, rss, values, skipped, wrong) = {
        let gateway = gateway(&dir.path().join("box"), device(&server.url(), POINTS)).await;
        let heard = hear(gateway.broker, POINTS);
        all_heard(&heard, &gateway).await;
        tokio::time::sleep(WARM_UP).await;
        let count = || {
            let heard = heard.lock().expect("no panic holds it");
            (heard.values, heard.skipped, heard.wrong)
        };
        let before = count();
        let began = Instant::now();
        let cpu = cpu_pct(&gateway.process).await;
        let after = count();
        let rate = (after.0 - before.0) as f64 / began.elapsed().as_secs_f64();
        let health = gateway.health().await;
        eprintln!("subscribe100k: dropped {:?}", health.dropped);
        let dropped = health.dropped.values().sum::<u64>();
        (cpu, gateway.process.rss_mb(), rate, after.1 - before.1, after.2 - before.2 + dropped)
    };
    let work = bare::Work {
        url: server.url(),
        nodes: POINTS,
        per_subscription: 10_000,
        per_call: 1000,
        publishing_ms: PUBLISHING_MS,
        queue: 2,
    };
    let bare = bare::start(&work, &dir.path().join("bare.log"));
    until("the bare client has subscribed", LONG, || {
        let is = bare.log().contains("subscribed");
        async move { is.then_some(()) }
    })
    .await;
    tokio::time::sleep(WARM_UP).await;
    let (began, before) = (Instant::now(), bare::counted(&bare));
    let bare_cpu = cpu_pct(&bare).await;
    let bare_rate = (bare::counted(&bare) - before) as f64 / began.elapsed().as_secs_f64();
    let bare_rss = bare.rss_mb();
    let least = f64::from(POINTS) * 0.98;
    assert!(bare_rate > least, "the bare client took {bare_rate} values a second\n{}", tail(&bare));
    let floor = Beside::floor("bare client, no broker, % of a core", bare_cpu);
    print_beside("subscribe100k_cpu_over_bare", cpu / bare_cpu, "x", "<= 1.5", &[floor]);
    print_beside("subscribe100k_cpu_pct", cpu, "% of a core", "report", &[floor]);
    print("subscribe100k_rss_mb", rss, "MiB", "report", Some(("bare client, MiB", bare_rss)));
    print("subscribe100k_rss_over_bare", rss / bare_rss, "x", "<= 1.5", Some(("bare client, MiB", bare_rss)));
    print("subscribe100k_values_per_s", values, "1/s", ">= 98000", Some(("bare client", bare_rate)));
    print("subscribe100k_skipped", skipped as f64, "values", "0", None);
    print("subscribe100k_wrong", wrong as f64, "values not good or dropped", "0", None);
}

fn tail(process: &Process) -> String {
    let log = process.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// `browse100k_...`: `twinway opcua browse` of 100,000 variables in folders, and what the gateway needs for it.
pub async fn browse() {
    let dir = tempfile::tempdir().expect("a folder");
    let plant = Plant { port: 0, nodes: POINTS, first: 0, changes: false };
    let server = plant.start(&dir.path().join("server.log")).await;
    let gateway = gateway(&dir.path().join("box"), String::new()).await;
    let before = gateway.process.rss_mb();
    let socket = gateway.dir().join("api.sock");
    let (began, url) = (Instant::now(), server.url());
    let arguments = ["opcua", "browse", &url, "--insecure", "--max", "200000", "--time", "100s"];
    let done = tokio::process::Command::new(program("twinway"))
        .args(["--output", "json", "--socket"])
        .arg(&socket)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("the command line runs");
    let took = began.elapsed().as_secs_f64();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let found: OpcuaBrowsed = serde_json::from_slice(&done.stdout).expect("its answer");
    assert_eq!(found.cut, None, "all of it was browsed");
    let is_number = |n: &&common::api::OpcuaNode| {
        n.class == "Variable" && n.path.starts_with("unit") && n.data_type.as_deref() == Some("Double")
    };
    let numbers = found.items.iter().filter(is_number).count();
    assert_eq!(numbers, POINTS as usize, "every variable has its type");
    print("browse100k_s", took, "s", "<= 20", None);
    let idle = Some(("before, MiB", before));
    print("browse100k_peak_rss_mb", gateway.process.peak_rss_mb(), "MiB", "report", idle);
}

/// `reconnect10k_s`: a server with 10,000 items is killed and comes again: from its listening until every item has a
/// new good value at the gateway's broker. The slowest of three times.
pub async fn reconnect() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("server.log");
    let mut plant = Plant { port: 0, nodes: RECONNECTED, first: 0, changes: false };
    let mut server = plant.start(&log).await;
    plant.port = server.addr.port();
    let gateway = gateway(&dir.path().join("box"), device(&server.url(), RECONNECTED)).await;
    let heard = hear(gateway.broker, RECONNECTED);
    all_heard(&heard, &gateway).await;
    let mut worst: f64 = 0.0;
    for time in 1..=RECONNECTS {
        server.process.kill();
        plant.first = time * 1000;
        {
            let mut heard = heard.lock().expect("no panic holds it");
            (heard.at_least, heard.fresh, heard.all_fresh) = (f64::from(plant.first), 0, None);
        }
        server = plant.start(&log).await;
        let at = until("every point has a new value", LONG, || {
            let at = heard.lock().expect("no panic holds it").all_fresh;
            async move { at }
        })
        .await;
        let took = at.duration_since(server.since).unwrap_or_default().as_secs_f64();
        eprintln!("reconnect10k: {took:.3} s");
        worst = worst.max(took);
    }
    print("reconnect10k_s", worst, "s, the slowest of three", "<= 5", None);
}
