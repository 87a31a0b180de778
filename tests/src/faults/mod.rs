//! The fault harness: real gateway, cloud and plant, faults drawn from a seed, and a judge outside of all of them.
//! `make faults SEEDS=100` runs many, `make faults SEED=1234` one again.
//!
//! `draw` says what a seed means, `site` does it, `link` is the network in between, `wire` remembers what passed,
//! `judge` compares with what the cloud holds in the end. `shim` stands between both programs and their disks and
//! clocks: it makes the disk full, slow or broken and the time wrong, and sees each write, so that `unsynced` knows what a
//! loss of power may leave.

pub mod damage;
pub mod draw;
pub mod fault;
pub mod judge;
pub mod link;
mod machine;
mod orders;
pub mod packet;
pub mod processes;
pub mod second;
pub mod sensor;
pub mod shim;
mod site;
pub mod tasks;
mod unsynced;
pub mod wire;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use draw::{Plan, Sizes};
use futures_util::FutureExt as _;
use judge::{Kind, Violation};
pub use site::Site;

/// How a seed went.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was done, in order of its end: `gateway kill -9` ...
    pub done: Vec<String>,
    /// What was drawn.
    pub planned: Vec<String>,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Samples that were durable at the gateway.
    pub durable: u64,
    /// Samples in the cloud's history, each compared with the plant's.
    pub stored: u64,
    /// Frames of samples that passed the link.
    pub frames: u64,
    /// Commands sent, and how many of them were written.
    pub commands: (usize, usize),
    /// What the shims beneath the gateway and the cloud have seen and done, by name.
    pub shims: BTreeMap<String, u64>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// One line that repeats the seed, and what was broken.
    pub fn failure(&self) -> Option<String> {
        if self.violations.is_empty() {
            return None;
        }
        let told: Vec<String> = self.violations.iter().take(5).map(ToString::to_string).collect();
        let more = self.violations.len().saturating_sub(told.len());
        Some(format!(
            "make faults SEED={}   # {}{} (drawn: {})",
            self.seed,
            told.join("; "),
            if more > 0 { format!("; {more} more") } else { String::new() },
            self.planned.join(", ")
        ))
    }
}

/// Runs a seed in a folder, which holds both logs and stores afterwards.
pub async fn run(seed: u64, dir: &Path) -> Report {
    let began = tokio::time::Instant::now();
    let mut report = Report { seed, ..Report::default() };
    let plan = Plan::of(seed);
    report.planned = plan.steps().map(|(at, fault)| format!("{at:?} {fault:?}")).collect();
    // What does not come up or settle again is found like all else.
    let broken = |panic: Box<dyn std::any::Any + Send>| {
        let text = common::supervise::panic_text(panic);
        Violation { kind: Kind::Unsettled, detail: text.lines().take(40).collect::<Vec<_>>().join(" | ") }
    };
    let mut site = Site::start(dir, Sizes::of(seed)).await;
    let suffered = AssertUnwindSafe(site.suffer(&plan)).catch_unwind().await;
    report.done = match suffered {
        Ok(done) => done,
        Err(panic) => {
            report.violations.push(broken(panic));
            return report;
        }
    };
    match AssertUnwindSafe(site.settle()).catch_unwind().await {
        Ok(evidence) => {
            report.violations = judge::judge(&evidence);
            report.commands = (evidence.commands.len(), evidence.written.len());
            report.durable = evidence.oracle.durable();
            report.stored = evidence.stored.values().map(|all| all.len() as u64).sum();
            report.frames = evidence.wire.samples.len() as u64;
            report.shims = evidence.shims;
            report
                .shims
                .insert("gateway: segments of the log".into(), damage::segment_count(&dir.join("box")));
        }
        Err(panic) => report.violations.push(broken(panic)),
    }
    report.took = began.elapsed();
    report
}
