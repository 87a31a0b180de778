//! The two processes under faults: killed, ended, stopped, slowed, and always up again afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::api::SwitchPosition;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::damage::damage;
use super::draw::{Fault, Step};
use super::link::Link;
use super::shim::Shim;
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
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
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
}

impl Box1 {
    pub(super) async fn start(dir: &std::path::Path, mut setup: Setup, oracle: Oracle) -> Self {
        let shim = Shim::new(&dir.join("data"));
        setup.env = shim.env();
        let gateway = Gateway::start(dir, &setup).await;
        let watch = oracle.follow(&gateway);
        Self { gateway, setup, oracle, watch, shim, corrupted: false, restored: false }
    }

    /// Goes through its lane; says what was done.
    pub(super) async fn suffer(mut self, steps: &[Step], start: tokio::time::Instant) -> (Self, Vec<String>) {
        let mut done = Vec::new();
        for (at, fault) in steps {
            tokio::time::sleep_until(start + *at).await;
            match *fault {
                Fault::Kill(away) => self.kill(away).await,
                Fault::Damage(kind, away, seed) => {
                    self.gateway.process.kill();
                    self.shim.ended();
                    self.corrupted |= damage(self.gateway.dir(), kind, seed);
                    self.shim.rebase();
                    self.kill(away).await;
                }
                Fault::Power(away, seed) => {
                    self.gateway.process.kill();
                    self.shim.lose_power(seed);
                    self.kill(away).await;
                }
                Fault::KillTwice(after) => {
                    self.gateway.process.kill();
                    self.shim.ended();
                    let mut starting = Gateway::spawn(self.gateway.dir(), &self.setup);
                    sleep(after).await;
                    starting.kill();
                    self.kill(Duration::ZERO).await;
                }
                Fault::Restore(after) => {
                    self.gateway.process.kill();
                    self.shim.ended();
                    self.shim.back_up();
                    self.unwatch().await;
                    let there = self.oracle.incarnations();
                    self.kill(Duration::ZERO).await;
                    sleep(after).await;
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
                Fault::Stop(time) => stop(&self.gateway.process, time).await,
                Fault::Slow(time) => slow(&self.gateway.process, time).await,
                other => panic!("no fault of a gateway: {other:?}"),
            }
            done.push(format!("gateway {}", fault.name()));
        }
        (self, done)
    }

    /// All that a gateway that has ended said of what is durable.
    async fn unwatch(&mut self) {
        let watch = std::mem::replace(&mut self.watch, tokio::spawn(async {}));
        watch.await.expect("the watermark ends with the gateway");
    }

    /// Kills it and has it up again, with the switch on remote as somebody at the box would set it.
    pub(super) async fn kill(&mut self, away: Duration) {
        self.gateway.process.kill();
        self.shim.ended();
        self.unwatch().await;
        sleep(away).await;
        let dir = self.gateway.dir().to_owned();
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
    start: tokio::time::Instant,
    lives: Arc<AtomicU64>,
    link: &Link,
) -> ((Cloud, Shim), Vec<String>) {
    let mut done = Vec::new();
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
            }
            Fault::Stop(time) => stop(&cloud.process, time).await,
            Fault::Slow(time) => slow(&cloud.process, time).await,
            other => panic!("no fault of a cloud: {other:?}"),
        }
        done.push(format!("cloud {}", fault.name()));
    }
    ((cloud, shim), done)
}
