//! The two processes under faults: killed, ended, stopped, slowed, and always up again afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::api::SwitchPosition;
use reqwest::Method;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::damage::damage;
use super::draw::{Fault, Step};
use super::link::Link;
use super::sensor::Acked;
use super::shim::Shim;
use super::tasks::{Fate, Hands};
use crate::gateway::Setup;
use crate::oracle::Oracle;
use crate::process::Process;
use crate::{Cloud, Gateway, until};

const END_LIMIT: Duration = Duration::from_secs(10);
const SLOW: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(20));

/// Stops a process for a while.
async fn stop(process: &Process, time: Duration) {
    process.signal("STOP");
    sleep(time).await;
    process.signal("CONT");
}

/// Lets a process run for a quarter of the time only.
async fn slow(process: &Process, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        stop(process, SLOW.0).await;
        sleep(SLOW.1).await;
    }
}

/// The gateway, and who follows what is durable in it.
pub(super) struct Box1 {
    pub(super) gateway: Gateway,
    setup: Setup,
    oracle: Oracle,
    watch: JoinHandle<()>,
    pub(super) shim: Shim,
    /// Whether durable frames may have been damaged on disk.
    pub(super) corrupted: bool,
    /// Whether its store is one from before.
    pub(super) restored: bool,
    /// When it was cut off, and how long before what its broker acknowledged need not be on disk.
    pub(super) ends: Vec<End>,
    /// How long a disk that refuses or a process that stands still may keep samples from the disk, in this run.
    pub(super) slack: Duration,
    /// Since when its process runs.
    began: Instant,
}

/// Where a gateway was cut off.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// When.
    pub at: Instant,
    /// Since when that process ran.
    pub since: Instant,
    /// What was acknowledged so long before may be gone.
    pub window: Duration,
    /// Only behind what is kept of the same connection.
    pub in_order: bool,
}

impl End {
    /// kill -9, with `slack` for what keeps samples from the disk besides.
    fn killed(since: Instant, slack: Duration) -> Self {
        Self { at: Instant::now(), since, window: WINDOW + slack, in_order: true }
    }

    /// Whether a sample that was acknowledged then may be gone.
    #[must_use]
    pub fn may_cost(&self, acked: &Acked) -> bool {
        (self.since..self.at).contains(&acked.since) && acked.at + self.window >= self.at
    }
}

/// What the broker acknowledged is on disk so long after, also on a machine with much to do: frames are cut within 10 ms
/// and synced within 100 ms.
pub(super) const WINDOW: Duration = Duration::from_secs(2);

impl Box1 {
    pub(super) async fn start(dir: &std::path::Path, mut setup: Setup, oracle: Oracle) -> Self {
        let shim = Shim::new(&dir.join("data"));
        setup.env = shim.env();
        let began = Instant::now();
        let gateway = Gateway::start(dir, &setup).await;
        let watch = oracle.follow(&gateway);
        let (ends, slack) = (Vec::new(), Duration::ZERO);
        Self { gateway, setup, oracle, watch, shim, corrupted: false, restored: false, ends, slack, began }
    }

    /// Goes through its lane; says what was done.
    pub(super) async fn suffer(mut self, steps: &[Step], start: Instant) -> (Self, Vec<String>) {
        let mut done = Vec::new();
        for (at, fault) in steps {
            tokio::time::sleep_until(start + *at).await;
            match *fault {
                Fault::Kill(away) => self.kill(away).await,
                Fault::Damage(kind, away, seed) => {
                    self.cut_off();
                    self.shim.ended();
                    self.corrupted |= damage(self.gateway.dir(), kind, seed);
                    self.shim.rebase();
                    self.kill(away).await;
                }
                Fault::Power(away, seed) => {
                    self.cut_off();
                    // Blocks that were not synced are there or not, each by itself.
                    self.ends.push(End { in_order: false, ..End::killed(self.began, self.slack) });
                    self.shim.lose_power(seed);
                    self.kill(away).await;
                }
                Fault::KillTwice(after) => {
                    self.cut_off();
                    self.shim.ended();
                    let began = Instant::now();
                    let mut starting = Gateway::spawn(self.gateway.dir(), &self.setup);
                    sleep(after).await;
                    self.ends.push(End::killed(began, self.slack));
                    starting.kill();
                    self.kill(Duration::ZERO).await;
                }
                Fault::Restore(after) => {
                    let backed_up = Instant::now();
                    self.cut_off();
                    self.shim.ended();
                    self.shim.back_up();
                    self.unwatch().await;
                    let there = self.oracle.incarnations();
                    self.kill(Duration::ZERO).await;
                    sleep(after).await;
                    // All since the copy is on the disk that is taken out.
                    let window = backed_up.elapsed();
                    self.ends.push(End {
                        window,
                        in_order: false,
                        ..End::killed(self.began, Duration::ZERO)
                    });
                    self.gateway.process.kill();
                    self.shim.ended();
                    self.unwatch().await;
                    // What is durable of the incarnation since the copy is on the disk that was taken out.
                    self.oracle.release_all_but(&there);
                    self.shim.restore();
                    self.restored = true;
                    self.kill(Duration::ZERO).await;
                }
                Fault::End(away) => {
                    self.gateway.process.signal("TERM");
                    self.gateway.process.wait(END_LIMIT).await;
                    self.kill(away).await;
                }
                Fault::Broker(away) => self.restart_broker(away).await,
                Fault::Stop(time) => stop(&self.gateway.process, time).await,
                Fault::Slow(time) => slow(&self.gateway.process, time).await,
                other => panic!("no fault of a gateway: {other:?}"),
            }
            done.push(format!("gateway {}", fault.name()));
        }
        (self, done)
    }

    /// Its broker goes elsewhere, and every sensor's connection with it, and comes back; the gateway goes on.
    async fn restart_broker(&self, away: Duration) {
        let file = self.gateway.dir().join("gateway.toml");
        let there = std::fs::read_to_string(&file).expect("a configuration");
        let of = |listen: &str| format!("[broker]\nlisten = \"{listen}\"");
        // At its first start it was told to choose a port.
        let here = of(&self.gateway.broker.to_string());
        let there = there.replace(&of("127.0.0.1:0"), &here);
        let elsewhere = there.replace(&here, &of("127.0.0.2:0"));
        assert_ne!(there, elsewhere, "{here}");
        for text in [elsewhere, there] {
            std::fs::write(&file, text).expect("a configuration");
            // The port may not be free at once.
            until("a reload", END_LIMIT, || async {
                let reload = self.gateway.api().request(Method::POST, "/api/v1/config/reload").send().await;
                reload.ok()?.status().is_success().then_some(())
            })
            .await;
            sleep(away).await;
        }
    }

    /// All that a gateway that has ended said of what is durable.
    async fn unwatch(&mut self) {
        let watch = std::mem::replace(&mut self.watch, tokio::spawn(async {}));
        watch.await.expect("the watermark ends with the gateway");
    }

    /// kill -9, if it has not ended.
    fn cut_off(&mut self) {
        if self.gateway.process.ended().is_none() {
            self.ends.push(End::killed(self.began, self.slack));
        }
        self.gateway.process.kill();
    }

    /// Kills it and has it up again, with the switch on remote as somebody at the box would set it.
    pub(super) async fn kill(&mut self, away: Duration) {
        self.cut_off();
        self.shim.ended();
        self.unwatch().await;
        sleep(away).await;
        let dir = self.gateway.dir().to_owned();
        self.began = Instant::now();
        self.gateway = Gateway::start_on_failure(&dir, &self.setup).await;
        self.watch = self.oracle.follow(&self.gateway);
        // While the disk takes no record of it, the box refuses.
        until("the switch on remote", END_LIMIT, || async {
            self.gateway.try_set_switch(SwitchPosition::Remote).await.ok()
        })
        .await;
    }
}

impl Drop for Box1 {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Takes the cloud through its lane; `lives` is odd while it is down and even while it is up.
pub(super) async fn cloud(
    (mut cloud, mut shim): (Cloud, Shim),
    steps: &[Step],
    start: Instant,
    lives: Arc<AtomicU64>,
    (link, base_us): (&Link, i64),
) -> ((Cloud, Shim), Fate, Vec<String>) {
    let (mut fate, mut done) = (Fate::default(), Vec::new());
    for (at, fault) in steps {
        tokio::time::sleep_until(start + *at).await;
        match *fault {
            Fault::Kill(away) | Fault::End(away) | Fault::Power(away, _) => {
                lives.fetch_add(1, Ordering::SeqCst);
                if matches!(fault, Fault::End(_)) {
                    cloud.process.signal("TERM");
                    cloud.process.wait(END_LIMIT).await;
                }
                cloud.process.kill();
                match *fault {
                    Fault::Power(_, seed) => shim.lose_power(seed),
                    _ => shim.ended(),
                }
                sleep(away).await;
                cloud = cloud.restart_on_failure().await;
                lives.fetch_add(1, Ordering::SeqCst);
            }
            Fault::Restore(after) => {
                for is_second in [false, true] {
                    lives.fetch_add(1, Ordering::SeqCst);
                    cloud.process.kill();
                    shim.ended();
                    if is_second {
                        shim.restore();
                        link.cloud_restored();
                    } else {
                        shim.back_up();
                    }
                    cloud = cloud.restart_on_failure().await;
                    lives.fetch_add(1, Ordering::SeqCst);
                    sleep(if is_second { Duration::ZERO } else { after }).await;
                }
                fate.restored = true;
            }
            Fault::Spoil(what, after, seed) => {
                let mut hands = Hands { cloud: &mut cloud, shim: &mut shim, link, lives: &lives, base_us };
                hands.spoil(what, after, seed, &mut fate).await;
            }
            Fault::CutTask(task, after) => {
                let mut hands = Hands { cloud: &mut cloud, shim: &mut shim, link, lives: &lives, base_us };
                hands.cut_task(task, after, &mut fate).await;
            }
            Fault::Stop(time) => stop(&cloud.process, time).await,
            Fault::Slow(time) => slow(&cloud.process, time).await,
            other => panic!("no fault of a cloud: {other:?}"),
        }
        done.push(format!("cloud {}", fault.name()));
    }
    ((cloud, shim), fate, done)
}
