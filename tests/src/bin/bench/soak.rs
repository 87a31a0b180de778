//! `soak`: ten times the rate of a plant that is polled each second, over a link that breaks each minute in another way. What grows?
//! Memory and disk of both sides reach their bounds in a warm-up; then a slope is taken. The buffer's ring is
//! small enough to be full by then, and the history is kept for minutes: the sensor's clock is a day behind but for
//! `KEPT`, and the cloud keeps one day. What it holds is checked before it goes, sample by sample.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::api::Resolution;
use common::names::metric;
use common::{Drain, Value};
use reqwest::Method;
use rumqttc::QoS;
use tests::faults::draw::Way;
use tests::faults::link::{Link, Shape};
use tests::field::{Numbered, SensorCounts, numbered_device};
use tests::gateway::Setup;
use tests::live::{Item, Live};
use tests::oracle::WatermarkLine;
use tests::trend::{Trend, lows};
use tests::{Api, Cloud, Gateway};

use crate::figure::{Beside, print, print_beside};

const POINTS: u64 = 1_000;
const RATE: u64 = 10_000;
/// Source time between two samples: real time.
const STEP_US: i64 = 1_000_000 / RATE.cast_signed();
/// How long samples stay in the history, until upkeep takes them (of each series every ten minutes).
const KEPT: Duration = Duration::from_secs(480);
/// Samples are checked a window at a time, when they are so old.
const WINDOW: u64 = 60 * RATE;
const SETTLED: Duration = Duration::from_secs(120);
const DAY_US: i64 = 86_400_000_000;
const WHOLE: Duration = Duration::from_secs(35);
const BROKEN: Duration = Duration::from_secs(25);
const BLOCKS: usize = 30;
const BUFFER: &str = "[buffer]\nquota_mb = 24\nsegment_mb = 4\n";
/// Chunks of two minutes, not of seven: an hour then sees thirty times what a chunk lives through, and none of it is most of the hour.
const HISTORY: &str = "[history]\nraw_days = 1\nrollup_days = 1\nchunk_samples = 1024\n";

/// `soak_rss_slope_mb_h`, `soak_disk_slope_mb_h`, `offline_log_mb_h` and what was lost or doubled, over `minutes` after a
/// warm-up of two thirds of that: chunks of two minutes, kept for 8, go whole, those of a series every ten.
pub async fn soak(minutes: f64) {
    let (warm_up, end) = (minutes * 40.0, minutes * 100.0);
    let dir = tempfile::tempdir().expect("a folder");
    let (cloud_dir, box_dir) = (dir.path().join("cloud"), dir.path().join("box"));
    let cloud = Cloud::start_with(&cloud_dir, HISTORY).await;
    let link = Link::unnoted(cloud.ingress).await;
    let uplink = Some((link.addr, cloud.gateway_secret("box1").await));
    let setup =
        Setup { uplink, devices: numbered_device(POINTS), extra: BUFFER.to_owned(), ..Setup::default() };
    let gateway = Gateway::start(&box_dir, &setup).await;
    let kept = i64::try_from(KEPT.as_micros()).expect("fits");
    let base_us = common::Clock::system().now_us() - DAY_US + kept;
    let (counts, drain) = (Arc::new(SensorCounts::default()), Drain::new());
    let (broker, qos) = (gateway.broker, QoS::AtLeastOnce);
    let sensor = Numbered { broker, points: POINTS, rate: RATE, base_us, step_us: STEP_US, after: 0, qos };
    let sensor = tokio::spawn(sensor.run(value, counts.clone(), drain.clone()));
    let seen = Arc::new(AtomicU64::new(0));
    let page = tokio::spawn(look(cloud.api().clone(), seen.clone()));
    let check = tokio::spawn(Check::new(base_us).run(cloud.api().clone(), counts.clone(), drain.clone()));
    let mut breaks = Breaks::new(link);
    let mut grown = Series::default();
    let began = Instant::now();
    eprintln!("soak: {warm_up:.0} s to warm up, then {minutes} minutes");
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut told = 0.0;
    while began.elapsed().as_secs_f64() < end {
        tick.tick().await;
        let at_s = began.elapsed().as_secs_f64();
        grown.take(at_s, &cloud, &gateway, [&cloud_dir, &box_dir]);
        breaks.step(at_s, warm_up, &[box_dir.join("log"), cloud_dir.join("log")]);
        if at_s >= told + 60.0 {
            told = at_s;
            let (all, free) = (
                cloud.metric(metric::CLOUD_STORE_BYTES.0).await,
                cloud.metric(metric::CLOUD_STORE_FREE.0).await,
            );
            grown.used.push((at_s, (all - free) / 1e6));
            eprintln!("{}", grown.now(at_s));
        }
    }
    breaks.link.heal();
    drain.start();
    sensor.await.expect("the sensor ends");
    gateway.emptied().await;
    let sent = counts.sent.load(Ordering::SeqCst);
    let mut check = check.await.expect("the check ends");
    while check.next <= sent {
        check.window(cloud.api(), WINDOW.min(sent + 1 - check.next)).await;
    }
    let durable = durable(&gateway.api()).await;
    assert!(!page.is_finished(), "the page's channel was closed");
    page.abort();
    grown.figures(warm_up);
    breaks.figures();
    print("soak_sent", sent as f64, "samples", "report", None);
    print("soak_shown", seen.load(Ordering::SeqCst) as f64, "values shown by a page", "report", None);
    let beside = Some(("samples that the gateway said were durable", durable as f64));
    print("soak_lost", (check.lost + sent.abs_diff(durable)) as f64, "samples", "0", beside);
    print("soak_doubled", check.doubled as f64, "samples", "0", beside);
    print("soak_changed", check.changed as f64, "samples", "0", beside);
    print("soak_reconnects", breaks.count as f64, "breaks of the link", "report", None);
}

/// A converter of 16 bits on a level that drifts: known from the number alone.
fn value(k: u64) -> f64 {
    let (point, cycle) = (k % POINTS, k / POINTS);
    let mut hash = k.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    let noise = (hash % 17) as f64 - 8.0;
    let level = 20_000.0 + point as f64 + 8_000.0 * (cycle as f64 / 3_000.0 + point as f64).sin();
    (level + noise).round() * 0.01
}

/// A page that looks at everything ten times a second.
async fn look(api: Api, seen: Arc<AtomicU64>) {
    let mut live = Live::connect(&api, 10.0).await;
    while let Some(item) = live.next().await {
        if let Item::Frame(frame) = item {
            seen.fetch_add(frame.rows.len() as u64, Ordering::SeqCst);
        }
    }
}

/// How many samples the gateway says are durable, of the sensor's first to its last without a hole.
async fn durable(api: &Api) -> u64 {
    let mut answer = api.request(Method::GET, "/api/v1/watermark").send().await.expect("a watermark");
    let mut line = Vec::new();
    while !line.contains(&b'\n') {
        line.extend_from_slice(&answer.chunk().await.expect("a line").expect("a line"));
    }
    let end = line.iter().position(|b| *b == b'\n').expect("its end");
    let line: WatermarkLine = serde_json::from_slice(&line[..end]).expect("a line of the watermark");
    line.points.values().map(|p| p.samples).sum()
}

/// What the cloud's history holds of what was sent.
struct Check {
    base_us: i64,
    /// The first number that is not checked yet.
    next: u64,
    lost: u64,
    doubled: u64,
    changed: u64,
}

impl Check {
    fn new(base_us: i64) -> Self {
        Self { base_us, next: 1, lost: 0, doubled: 0, changed: 0 }
    }

    /// Checks window after window until drained.
    async fn run(mut self, cloud: Api, counts: Arc<SensorCounts>, drain: Drain) -> Self {
        while !drain.is_started() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let settled = counts.sent.load(Ordering::SeqCst).saturating_sub(SETTLED.as_secs() * RATE);
            if self.next + WINDOW <= settled {
                self.window(&cloud, WINDOW).await;
                let Self { next, lost, doubled, changed, .. } = &self;
                eprintln!("checked up to {next}: lost {lost}, doubled {doubled}, changed {changed}");
            }
        }
        self
    }

    /// Reads the next `length` numbers from the history. Each must be there once, as it was.
    async fn window(&mut self, cloud: &Api, length: u64) {
        let (from, to) = (self.next, self.next + length);
        self.next = to;
        let us = |number: u64| self.base_us + number.cast_signed() * STEP_US;
        for point in 0..POINTS {
            let query = format!("from={}&to={}&max_points=10000", us(from), us(to));
            let page = cloud.history("hall/load", &format!("p{point}"), &query).await;
            assert_eq!(page.resolution, Resolution::Raw, "{query} gave {} rows", page.points.len());
            let mut found: BTreeMap<u64, u64> = BTreeMap::new();
            for row in page.points {
                let number = u64::try_from((row.t_us - self.base_us) / STEP_US).unwrap_or(u64::MAX);
                *found.entry(number).or_default() += 1;
                let own = number % POINTS == point && row.t_us == us(number);
                let same = row.value.as_ref().and_then(Value::as_f64) == Some(value(number));
                self.changed += u64::from(!own || !same);
            }
            let first = from + (point + POINTS - from % POINTS) % POINTS;
            for number in (first..to).step_by(usize::try_from(POINTS).expect("fits")) {
                match found.get(&number) {
                    None => self.lost += 1,
                    Some(times) => self.doubled += times - 1,
                }
            }
        }
    }
}

/// The link breaks at the end of each minute, in turn in each way.
struct Breaks {
    link: Link,
    /// How it is broken now, if it is, and what was logged until then.
    broken: Option<(bool, [u64; 2], f64)>,
    /// When that changes next.
    next_s: f64,
    count: usize,
    logs: [u64; 2],
    /// Logged while nothing passes, and how long that was.
    offline: [u64; 2],
    offline_s: f64,
    /// At the end of the warm-up.
    since: Option<([u64; 2], f64)>,
    now_s: f64,
}

impl Breaks {
    fn new(link: Link) -> Self {
        let next_s = WHOLE.as_secs_f64();
        let none = [0, 0];
        Self {
            link,
            broken: None,
            next_s,
            count: 0,
            logs: none,
            offline: none,
            offline_s: 0.0,
            since: None,
            now_s: 0.0,
        }
    }

    /// Once a second.
    fn step(&mut self, at_s: f64, warm_up: f64, logs: &[std::path::PathBuf; 2]) {
        let length = |path: &std::path::PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
        self.logs = [length(&logs[0]), length(&logs[1])];
        self.now_s = at_s;
        if at_s >= warm_up && self.since.is_none() {
            self.since = Some((self.logs, at_s));
        }
        if at_s < self.next_s {
            return;
        }
        match self.broken.take() {
            Some((off, before, from_s)) => {
                self.link.heal();
                if off && from_s >= warm_up {
                    for (all, (now, before)) in self.offline.iter_mut().zip(self.logs.iter().zip(before)) {
                        *all += now - before;
                    }
                    self.offline_s += at_s - from_s;
                }
                self.next_s += WHOLE.as_secs_f64();
            }
            None => {
                let off = self.break_it();
                self.broken = Some((off, self.logs, at_s));
                self.next_s += BROKEN.as_secs_f64();
            }
        }
    }

    /// Whether nothing passes from now on.
    fn break_it(&mut self) -> bool {
        self.count += 1;
        let thin = Shape { delay: Duration::from_millis(150), bytes_per_s: Some(5_000), ..Shape::default() };
        match self.count % 6 {
            0 => self.link.shape(thin),
            1 => self.link.shape(Shape { closed: true, ..Shape::default() }),
            2 => self.link.shape(Shape { silent: true, ..Shape::default() }),
            3 => self.link.half_open(Way::Up),
            4 => self.link.half_open(Way::Down),
            _ => self.link.reset(),
        }
        matches!(self.count % 6, 1 | 2)
    }

    fn figures(&self) {
        let per_h = |bytes: u64, seconds: f64| bytes as f64 / 1e6 / seconds * 3600.0;
        let (before, from_s) = self.since.expect("warm");
        let all = [0, 1].map(|side| per_h(self.logs[side] - before[side], self.now_s - from_s));
        if self.offline_s > 0.0 {
            let [gateway, cloud] = self.offline.map(|bytes| per_h(bytes, self.offline_s));
            print(
                "offline_log_mb_h",
                gateway,
                "MB/h, gateway, while nothing passes",
                "<= 1",
                Some(("the whole hour", all[0])),
            );
            print("offline_log_cloud_mb_h", cloud, "MB/h, cloud", "<= 1", Some(("the whole hour", all[1])));
        }
    }
}

/// Megabytes (of 1,000,000) by second, of cloud and gateway.
#[derive(Default)]
struct Series {
    rss: [Vec<(f64, f64)>; 2],
    /// What of that is their own: not pages of programs and mapped files.
    own: [Vec<(f64, f64)>; 2],
    disk: [Vec<(f64, f64)>; 2],
    /// What of the cloud's database is not free.
    used: Vec<(f64, f64)>,
}

const SIDES: [&str; 2] = ["cloud", "gateway"];

impl Series {
    fn take(&mut self, at_s: f64, cloud: &Cloud, gateway: &Gateway, dirs: [&Path; 2]) {
        for (side, process) in [&cloud.process, &gateway.process].into_iter().enumerate() {
            self.rss[side].push((at_s, process.rss_mb() * 1.048_576));
            self.own[side].push((at_s, process.own_mb() * 1.048_576));
            self.disk[side].push((at_s, disk_mb(&dirs[side].join("data"))));
        }
    }

    fn now(&self, at_s: f64) -> String {
        let last = |of: &[Vec<(f64, f64)>; 2]| of.each_ref().map(|s| s.last().map_or(0.0, |s| s.1));
        let ([cloud, gateway], [cloud_disk, gateway_disk]) = (last(&self.rss), last(&self.disk));
        let [cloud_own, gateway_own] = last(&self.own);
        let used = self.used.last().map_or(0.0, |u| u.1);
        format!(
            "{at_s:.0} s: cloud {cloud:.2} MB ({cloud_own:.2} its own), disk {cloud_disk:.2}, {used:.2} used; \
             gateway {gateway:.2} MB ({gateway_own:.2}), disk {gateway_disk:.2}"
        )
    }

    /// Of each side, and the worse of both by the upper end of the interval; memory as it is, the least of each block, and what is their own.
    fn figures(&self, warm_up: f64) {
        let warm = |of: &Vec<(f64, f64)>| -> Vec<_> {
            of.iter().filter(|(at_s, _)| *at_s >= warm_up).copied().collect()
        };
        let (rss, disk) = (self.rss.each_ref().map(warm), self.disk.each_ref().map(warm));
        let own = self.own.each_ref().map(warm);
        // What each compaction takes and gives back within a minute hides what stays.
        let least = rss.each_ref().map(|of| lows(of, BLOCKS));
        for (what, series) in [("rss", &rss), ("rss_floor", &least), ("own", &own), ("disk", &disk)] {
            let trends = series.each_ref().map(|of| Trend::of(of, BLOCKS));
            let worst = if trends[0].high >= trends[1].high { 0 } else { 1 };
            let show = |name: String, side: usize| {
                let t = trends[side];
                let beside =
                    [Beside::end("low", t.low), Beside::end("high", t.high), Beside::end("mean", t.mean)];
                let unit = format!("MB/h, {}", SIDES[side]);
                print_beside(&name, t.slope, &unit, "interval includes 0, < 1", &beside);
            };
            show(format!("soak_{what}_slope_mb_h"), worst);
            show(format!("soak_{what}_slope_mb_h_{}", SIDES[1 - worst]), 1 - worst);
        }
        // The file keeps its largest size; what is in it may grow or not.
        let used = warm(&self.used);
        if used.len() >= 10 {
            let t = Trend::of(&used, BLOCKS.min(used.len()));
            let beside =
                [Beside::end("low", t.low), Beside::end("high", t.high), Beside::end("mean", t.mean)];
            print_beside("soak_store_used_slope_mb_h", t.slope, "MB/h", "report", &beside);
        }
    }
}

/// What the file system has for a folder, MB.
fn disk_mb(dir: &Path) -> f64 {
    let blocks = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(of) if of.is_dir() => disk_mb(&entry.path()),
        Ok(of) => of.blocks() as f64 * 512.0 / 1e6,
        // It went meanwhile.
        Err(_) => 0.0,
    };
    std::fs::read_dir(dir).map_or(0.0, |entries| entries.flatten().map(blocks).sum())
}
