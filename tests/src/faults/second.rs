//! A second box under the gateway's name: one with a state of its own, or one with a copy of the first one's disk. It
//! comes up beside the first, people are told, and an operator lets it in or takes it away. In the end the name is the first
//! one's again, and of both the cloud has all that was durable while they had it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Drain;
use common::api::{AcceptRequest, CommandView, Page, SwitchPosition};
use common::command::LogEntry;
use common::names::action;
use reqwest::Method;
use rumqttc::QoS;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::draw::{Fault, Other, Step};
use super::judge::value;
use super::link::Link;
use super::orders::Order;
use super::shim::{Control, Number};
use super::site::{LIMIT, POINTS, RATE, emptied};
use crate::field::{Numbered, SensorCounts};
use crate::gateway::Setup;
use crate::oracle::Oracle;
use crate::{Api, Gateway, folder, until};

/// Numbers of its sensor come after this one: those of the first one's are fewer.
pub const NUMBERS: u64 = 40_000;

/// What a second box needs of the site.
pub(super) struct Place<'a> {
    /// Where the first box's folder is, and that of the second will be.
    pub(super) dir: &'a Path,
    pub(super) setup: Setup,
    pub(super) link: &'a Link,
    pub(super) ingress: SocketAddr,
    pub(super) cloud: Api,
    /// Beneath the first box.
    pub(super) first: &'a Control,
    pub(super) base_us: i64,
}

/// The second box.
pub(super) struct Second {
    gateway: Gateway,
    setup: Setup,
    oracle: Oracle,
    watch: JoinHandle<()>,
    counts: Arc<SensorCounts>,
    drain: Drain,
    sensor: JoinHandle<()>,
}

/// What it came to.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What was durable in it when it had the name for the last time; none if it was never let in.
    pub oracle: Option<Oracle>,
    /// Number of the last sample that its sensor sent.
    pub last: u64,
}

/// Goes through its lane; says what was done. What is left is let in and lives, or was taken away.
pub(super) async fn suffer(
    place: Place<'_>,
    steps: &[Step],
    start: Instant,
) -> (Option<Second>, Option<Seen>, Vec<String>) {
    let Some((at, fault @ Fault::Second(other, let_in, then))) = steps.first().copied() else {
        return (None, None, Vec::new());
    };
    sleep_until(start + at).await;
    let mut second = Second::start(&place, other).await;
    // Whether people were told is for the judge.
    let _ = timeout(LIMIT, async {
        while !is_told(&place.cloud).await {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    sleep(then).await;
    let done = vec![fault.name().to_owned()];
    if !let_in {
        return (None, Some(second.take_away().await), done);
    }
    second.let_in(&place.cloud).await;
    (Some(second), None, done)
}

/// Whether an alarm says that there are two.
async fn is_told(cloud: &Api) -> bool {
    let page: Option<Page<LogEntry>> = cloud.try_get("/api/v1/audit?limit=1000").await;
    page.is_some_and(|page| page.items.iter().any(|e| e.action == action::GATEWAY_DUPLICATE))
}

/// Lets a box in that says that it is held back, as an operator does; whether it had to be.
pub(super) async fn accept(cloud: &Api, gateway: &Gateway) -> bool {
    until("the box has the name, or is held back and let in", LIMIT, || async {
        let health = gateway.health().await;
        if health.uplink {
            return Some(false);
        }
        health.uplink_error.filter(|why| why.contains("held back"))?;
        let incarnation = health.buffer.incarnation.parse().expect("an incarnation");
        let request = AcceptRequest { incarnation: Some(incarnation), reason: "drawn".into() };
        let accept = cloud.request(Method::POST, "/api/v1/gateways/box1/accept").json(&request);
        accept.send().await.ok()?.status().is_success().then_some(true)
    })
    .await
}

impl Second {
    async fn start(place: &Place<'_>, other: Other) -> Self {
        let dir = place.dir.join("second");
        std::fs::create_dir_all(&dir).expect("a folder");
        let secret = place.setup.uplink.clone().expect("an uplink").1;
        let link = place.link.beside(place.ingress).await;
        let mut setup = Setup { uplink: Some((link.addr, secret)), ..place.setup.clone() };
        match other {
            Other::Stranger => {
                let machine = dir.join("machine-id");
                std::fs::write(&machine, "another machine").expect("a file");
                setup.extra = format!("machine_id_file = {machine:?}\n");
            }
            Other::Copy => {
                // At one moment, as a machine is copied while it runs.
                let pid = place.first.get(Number::Pid).to_string();
                let signal = |name: &str| drop(Command::new("kill").args([name, &pid]).status());
                signal("-STOP");
                folder::copy(&place.dir.join("box/data"), &dir.join("data"));
                signal("-CONT");
            }
        }
        let gateway = Gateway::start(&dir, &setup).await;
        let oracle = Oracle::new(POINTS, place.base_us);
        let watch = oracle.follow(&gateway);
        let (counts, drain) = (Arc::new(SensorCounts::default()), Drain::new());
        let sensor = Numbered {
            broker: gateway.broker,
            points: POINTS,
            rate: RATE,
            base_us: place.base_us,
            step_us: 1,
            after: NUMBERS,
            qos: QoS::AtMostOnce,
        };
        let sensor = tokio::spawn(sensor.run(value, counts.clone(), drain.clone()));
        Self { gateway, setup, oracle, watch, counts, drain, sensor }
    }

    /// From now on it has the name, and does what it is told.
    async fn let_in(&mut self, cloud: &Api) {
        accept(cloud, &self.gateway).await;
        self.start_again().await;
    }

    /// It would ask again after some time whether it is let in; one that is started asks at once.
    async fn start_again(&mut self) {
        self.gateway.process.kill();
        let ended = std::mem::replace(&mut self.watch, tokio::spawn(async {}));
        ended.await.expect("the watermark ends with the box");
        let dir = self.gateway.dir().to_owned();
        self.gateway = Gateway::start(&dir, &self.setup).await;
        self.watch = self.oracle.follow(&self.gateway);
        until("the switch of the second box on remote", LIMIT, || async {
            self.gateway.try_set_switch(SwitchPosition::Remote).await.ok()
        })
        .await;
    }

    /// Before the first one has the name again: all that it was ordered has an end, and all that it has is in the cloud.
    pub(super) async fn end(mut self, cloud: &Api, orders: &[Order]) -> Seen {
        // A copy that had the name while the first one was down, and so had not to be let in, lost it when that came back.
        if accept(cloud, &self.gateway).await {
            self.start_again().await;
        }
        let at_box = self.gateway.api();
        let ended = async {
            for id in orders.iter().filter_map(|order| order.id) {
                let path = format!("/api/v1/commands/{id}");
                while at_box.try_get::<CommandView>(&path).await.is_some_and(|view| !view.state.is_final()) {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        // What does not end is for the judge.
        let _ = timeout(Duration::from_secs(10), ended).await;
        self.end_sensor().await;
        emptied(&self.gateway).await;
        let oracle = Some(self.oracle.clone());
        Seen { oracle, ..self.take_away().await }
    }

    async fn end_sensor(&mut self) {
        self.drain.start();
        let sensor = std::mem::replace(&mut self.sensor, tokio::spawn(async {}));
        sensor.await.expect("the sensor ends");
    }

    async fn take_away(mut self) -> Seen {
        self.gateway.process.kill();
        self.end_sensor().await;
        Seen { oracle: None, last: self.counts.sent.load(Ordering::SeqCst) }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.watch.abort();
        self.drain.start();
    }
}
