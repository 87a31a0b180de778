//! A plant, its gateway, the link and the cloud, taken through a plan and then looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::api::{HistoryGap, Page, SwitchPosition, TwinView};
use common::command::LogEntry;
use common::{Drain, Value};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::draw::{Fault, Plan, REGISTERS, Sizes, Step};
use super::judge::{Evidence, filled, value};
use super::link::{Link, Shape};
use super::machine;
use super::orders;
use super::processes::{Box1, cloud as suffer_cloud};
use super::second::{self, NUMBERS, Second, Seen};
use super::sensor::{Said, Sensor};
use super::shim::{Control, Shim};
use super::tasks::{Fate, Hands};
use crate::field::{ModbusDevice, numbered_device};
use crate::gateway::{Setup, registers_device};
use crate::oracle::Oracle;
use crate::{Api, Cloud, Gateway, until};

pub(super) const POINTS: u64 = 5;
/// The sensor's times lie so far back.
pub(super) const BACK_US: i64 = 60_000_000;
/// Samples a second.
pub(super) const RATE: u64 = 500;
/// How long it may take until all is well again.
pub(super) const LIMIT: Duration = Duration::from_secs(40);
/// A disk that refuses or is slow takes what came before it later by so much.
const BAD_DISK: Duration = Duration::from_secs(4);
/// Samples that must become durable after the last fault before the sensor ends.
const AFTERWARDS: u64 = 200;

/// A running site.
pub struct Site {
    /// The link between gateway and cloud.
    pub link: Link,
    plc: ModbusDevice,
    cloud: Option<(Cloud, Shim)>,
    controls: [Control; 2],
    box1: Option<Box1>,
    dir: PathBuf,
    /// As the first box is set up, without its shim.
    setup: Setup,
    second: Option<Second>,
    /// What became of a second box that was taken away.
    seen: Option<Seen>,
    oracle: Oracle,
    base_us: i64,
    /// What the sensor sent, and what the broker acknowledged.
    pub said: Arc<Said>,
    drain: Drain,
    sensor: JoinHandle<()>,
    poll: JoinHandle<()>,
    lives: Arc<AtomicU64>,
    backwards: Arc<Mutex<Vec<String>>>,
    orders: Mutex<Vec<orders::Order>>,
    /// What became of the cloud's database.
    fate: Fate,
    /// Whether a clock jumped.
    untimed: bool,
}

impl Site {
    /// Starts everything in `dir`, healthy.
    pub async fn start(dir: &Path, sizes: Sizes) -> Self {
        let plc = ModbusDevice::start().await;
        let shim = Shim::new(&dir.join("cloud/data"));
        let mut cloud = Cloud::start_as(&dir.join("cloud"), &sizes.of_cloud(), shim.env()).await;
        cloud.use_key().await;
        let link = Link::start(cloud.ingress).await;
        let secret = cloud.gateway_secret("box1").await;
        let devices = numbered_device(POINTS) + &registers_device(plc.addr, REGISTERS, 50);
        let setup = Setup {
            uplink: Some((link.addr, secret)),
            devices,
            extra: sizes.of_gateway(),
            ..Setup::default()
        };
        let base_us = common::Clock::system().now_us() - BACK_US;
        let oracle = Oracle::new(POINTS, base_us);
        let box1 = Box1::start(&dir.join("box"), setup.clone(), oracle.clone()).await;
        box1.gateway.set_switch(SwitchPosition::Remote).await;
        let (said, drain) = (Arc::new(Said::default()), Drain::new());
        let sensor = Sensor { broker: box1.gateway.broker, points: POINTS, rate: RATE, base_us };
        let sensor = tokio::spawn(sensor.run(value, said.clone(), drain.clone()));
        until("first values in the twins", LIMIT, || async {
            let plc = cloud.api().value("hall/plc", "r0").await?;
            cloud.api().value("hall/load", "p0").await.map(|_| plc)
        })
        .await;
        let (lives, backwards) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let poll = tokio::spawn(poll(cloud.api().unpooled(), base_us, lives.clone(), Arc::clone(&backwards)));
        Self {
            link,
            plc,
            controls: [box1.shim.control.clone(), shim.control.clone()],
            cloud: Some((cloud, shim)),
            box1: Some(box1),
            dir: dir.to_owned(),
            setup,
            second: None,
            seen: None,
            oracle,
            base_us,
            said,
            drain,
            sensor,
            poll,
            lives,
            backwards,
            orders: Mutex::default(),
            fate: Fate::default(),
            untimed: false,
        }
    }

    /// The disk and the clock of the gateway.
    pub fn of_gateway(&self) -> &Control {
        &self.controls[0]
    }

    /// The disk and the clock of the cloud.
    pub fn of_cloud(&self) -> &Control {
        &self.controls[1]
    }

    /// Goes through a plan; says what was done. All is healthy afterwards.
    pub async fn suffer(&mut self, plan: &Plan) -> Vec<String> {
        let start = Instant::now();
        let (cloud, mut box1) = (self.cloud.take().expect("a cloud"), self.box1.take().expect("a gateway"));
        box1.slack = if plan.gateway_disk.is_empty() { Duration::ZERO } else { BAD_DISK };
        let sending = tokio::spawn(orders::send(cloud.0.api().unpooled(), plan.commands.clone(), start));
        let [of_box, of_cloud] = &self.controls;
        let place = second::Place {
            dir: &self.dir,
            setup: self.setup.clone(),
            link: &self.link,
            ingress: cloud.0.ingress,
            cloud: cloud.0.api().unpooled(),
            first: of_box,
            base_us: self.base_us,
        };
        let ((box1, mut done), (mut cloud, mut fate, cloud_done), machines_done, second) = tokio::join!(
            box1.suffer(&plan.gateway, start),
            suffer_cloud(cloud, &plan.cloud, start, self.lives.clone(), (&self.link, self.base_us)),
            join_all([
                suffer_link(&self.link, &plan.link, start).boxed(),
                machine::suffer("gateway", of_box, &plan.gateway_disk, start).boxed(),
                machine::suffer("cloud", of_cloud, &plan.cloud_disk, start).boxed(),
                machine::suffer("gateway", of_box, &plan.gateway_clock, start).boxed(),
                machine::suffer("cloud", of_cloud, &plan.cloud_clock, start).boxed(),
            ]),
            second::suffer(place, &plan.second, start),
        );
        let (second, seen, second_done) = second;
        (self.second, self.seen) = (second, seen);
        self.untimed |= !plan.gateway_clock.is_empty() || !plan.cloud_clock.is_empty();
        self.link.heal();
        self.controls.iter().for_each(Control::heal);
        let (running, shim) = (&mut cloud.0, &mut cloud.1);
        let (link, lives, base_us) = (&self.link, &*self.lives, self.base_us);
        Hands { cloud: running, shim, link, lives, base_us }.see(&mut fate).await;
        self.untimed |= fate.untimed;
        self.fate = fate;
        let sent = timeout(LIMIT, sending).await.expect("the cloud answers again").expect("no panic");
        *self.orders.lock().expect("no panic holds it") = sent;
        (self.cloud, self.box1) = (Some(cloud), Some(box1));
        done.extend(cloud_done);
        done.extend(machines_done.into_iter().flatten());
        done.extend(second_done);
        done
    }

    /// Ends the sensor once all is well, waits until everything has arrived, and gathers what there is to judge.
    pub async fn settle(self) -> Evidence {
        let fate = self.fate;
        let ((mut running, mut shim), mut box1) =
            (self.cloud.expect("a cloud"), self.box1.expect("a gateway"));
        let (cloud, at_box) = (running.api().unpooled(), box1.gateway.api());
        let orders = self.orders.into_inner().expect("no panic holds it");
        let second = match self.second {
            Some(second) => Some(second.end(&cloud, &orders).await),
            None => self.seen,
        };
        if second.is_some() && second::accept(&cloud, &box1.gateway).await {
            // One that is started asks at once whether it is let in.
            box1.kill(Duration::ZERO).await;
        }
        let goal = self.oracle.durable() + AFTERWARDS;
        until("durable samples after the faults", LIMIT, || async {
            (self.oracle.durable() >= goal).then_some(())
        })
        .await;
        self.drain.start();
        self.sensor.await.expect("the sensor ends");
        let sent = self.said.sent.load(Ordering::SeqCst);
        let last: BTreeMap<u64, u64> =
            (sent.saturating_sub(POINTS - 1)..=sent).map(|k| (k % POINTS, k)).collect();
        until("the last samples at the box", LIMIT, || async {
            (numbers(&at_box, self.base_us).await? == last).then_some(())
        })
        .await;
        // What does not settle in time is for the judge.
        let settled = async {
            while !orders::are_settled(&orders::look(&orders, &cloud, &at_box, self.untimed).await) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(Duration::from_secs(15), settled).await;
        emptied(&box1.gateway).await;
        let arrived = async {
            while numbers(&cloud, self.base_us).await.as_ref() != Some(&last) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(Duration::from_secs(10), arrived).await;
        // The age that the buffer tells is that of frames whose time it knows: a backlog may still be on its way.
        let arrived = async {
            let is_told =
                |_, number| fate.deleted.iter().chain(&fate.expired).any(|deleted| deleted.has(number));
            loop {
                let stored = self.oracle.history(&cloud, "hall/load").await;
                if self.oracle.judge(&filled(stored, sent, is_told), value).lost == 0 {
                    break;
                }
                sleep(Duration::from_millis(300)).await;
            }
        };
        let _ = timeout(Duration::from_secs(8), arrived).await;
        if fate.restored {
            // What the box sent again may have it.
            let (link, lives, base_us) = (&self.link, &*self.lives, self.base_us);
            Hands { cloud: &mut running, shim: &mut shim, link, lives, base_us }.delete_again(&fate).await;
        }
        self.poll.abort();
        let twin = cloud.twin("hall/load").await.expect("the twin");
        let backwards = self.backwards.lock().expect("no panic holds it").clone();
        Evidence {
            base_us: self.base_us,
            points: POINTS,
            stored: self.oracle.history(&cloud, "hall/load").await,
            wire: self.link.wire(),
            last,
            twin: states(&twin, self.base_us),
            backwards,
            commands: orders::look(&orders, &cloud, &at_box, self.untimed).await,
            written: self.plc.written(),
            audit: audit(&cloud).await,
            acked: self.said.acked(),
            ends: std::mem::take(&mut box1.ends),
            dropped: box1.gateway.health().await.dropped,
            corrupted: box1.corrupted,
            restored: fate.restored || fate.spoilt.is_some() || box1.restored,
            gaps: if fate.spoilt.is_some() { gaps(&cloud, self.base_us).await } else { BTreeMap::new() },
            deleted: fate.deleted.clone(),
            expired: fate.expired.clone(),
            panics: [running.process.log(), box1.gateway.process.log()]
                .iter()
                .flat_map(|log| panics(log))
                .collect(),
            shims: counts(&self.controls),
            second,
            oracle: self.oracle,
        }
    }
}

/// By point, what the cloud says that it lacks and why: by the times of samples, and by those at which frames were cut.
async fn gaps(cloud: &Api, base_us: i64) -> BTreeMap<u64, Vec<HistoryGap>> {
    let mut all = BTreeMap::new();
    for point in 0..POINTS {
        let gaps: &mut Vec<_> = all.entry(point).or_default();
        for (from, to) in [(0, 40_000), (50_000_000, 150_000_000)] {
            let query = format!("from={}&to={}&max_points=10000", base_us + from, base_us + to);
            gaps.extend(cloud.history("hall/load", &format!("p{point}"), &query).await.gaps);
        }
    }
    all
}

/// Waits until all that a box holds now is durable at both sides. What comes meanwhile need not be.
pub(super) async fn emptied(gateway: &Gateway) {
    let (began, head) = (Instant::now(), gateway.health().await.buffer.last_seq);
    loop {
        let (asked, buffer) = (Instant::now(), gateway.health().await.buffer);
        let is_newer = Duration::from_millis(buffer.oldest_unacked_ms) < asked - began;
        if buffer.durable_seq >= head && (buffer.unacked_frames == 0 || is_newer) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "the buffer is not empty within {LIMIT:?}: {buffer:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Parts that panicked and were started again, as a program tells it; those of sled are got over within it.
fn panics(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| line.contains("part failed") && line.contains("panicked: "))
        .map(str::to_owned)
        .collect()
}

/// What was seen and done beneath both programs.
fn counts(controls: &[Control]) -> BTreeMap<String, u64> {
    let of = |(of, control): (&str, &Control)| {
        control.counts().map(|(name, count)| (format!("{of}: {name}"), count))
    };
    ["gateway", "cloud"].into_iter().zip(controls).flat_map(of).collect()
}

/// Number and value of the twin's points that the sensor feeds.
fn states(twin: &TwinView, base_us: i64) -> BTreeMap<u64, (u64, Option<f64>)> {
    let state = |p: &common::api::PointView| {
        let point = p.schema.name.strip_prefix('p')?.parse().ok()?;
        let number = u64::try_from(p.source_us - base_us).ok()?;
        Some((point, (number, p.value.as_ref().and_then(Value::as_f64))))
    };
    twin.points.iter().filter_map(state).collect()
}

async fn numbers(api: &Api, base_us: i64) -> Option<BTreeMap<u64, u64>> {
    let twin = api.twin("hall/load").await?;
    Some(states(&twin, base_us).into_iter().map(|(point, (number, _))| (point, number)).collect())
}

/// The whole audit and event list.
async fn audit(api: &Api) -> Vec<LogEntry> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Page<LogEntry> = api.get(&format!("/api/v1/audit?limit=1000{cursor}")).await;
        all.extend(page.items);
        let Some(next) = page.next_cursor else { return all };
        cursor = format!("&cursor={next}");
    }
}

async fn suffer_link(link: &Link, steps: &[Step], start: Instant) -> Vec<String> {
    let mut done = Vec::new();
    for (at, fault) in steps {
        sleep_until(start + *at).await;
        let (shape, time) = match *fault {
            Fault::Cut(time) => (Shape { closed: true, ..Shape::default() }, time),
            Fault::Blackhole(time) => (Shape { silent: true, ..Shape::default() }, time),
            Fault::Delay(time, delay) => (Shape { delay, ..Shape::default() }, time),
            Fault::Thin(rate, time) => (Shape { bytes_per_s: Some(rate), ..Shape::default() }, time),
            _ => (Shape::default(), Duration::ZERO),
        };
        link.shape(shape);
        match *fault {
            Fault::Reset => link.reset(),
            Fault::HalfOpen(way, time) => {
                link.half_open(way);
                sleep(time).await;
                link.heal();
            }
            Fault::Tear(way) => link.tear(way),
            Fault::Repeat(way, times) => link.repeat(way, times),
            _ => {}
        }
        sleep(time).await;
        link.shape(Shape::default());
        done.push(format!("link {}", fault.name()));
    }
    done
}

/// Watches the twin: while the cloud lives, no point of it may go back.
async fn poll(api: Api, base_us: i64, lives: Arc<AtomicU64>, backwards: Arc<Mutex<Vec<String>>>) {
    let (mut seen, mut life) = (BTreeMap::new(), 0);
    loop {
        sleep(Duration::from_millis(60)).await;
        let before = lives.load(Ordering::SeqCst);
        let Ok(Some(now)) = timeout(Duration::from_secs(1), numbers(&api, base_us)).await else { continue };
        if lives.load(Ordering::SeqCst) != before || before % 2 == 1 {
            continue;
        }
        if life == before {
            // Each box has numbers of its own, and either may have the name.
            let is_back = |s: &u64, n: &u64| *s > *n && (*s > NUMBERS) == (*n > NUMBERS);
            let back =
                now.iter().filter_map(|(p, n)| seen.get(p).filter(|s| is_back(s, n)).map(|s| (p, s, n)));
            let told = back.map(|(p, s, n)| format!("p{p} of the twin went from {s} back to {n}"));
            backwards.lock().expect("no panic holds it").extend(told);
        }
        (seen, life) = (now, before);
    }
}
