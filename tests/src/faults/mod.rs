//! The fault harness: real gateway, cloud and plant, faults drawn from a seed, and a judge outside of all of them.
//! `make faults SEEDS=100` runs many, `make faults SEED=1234` one again.
//!
//! `draw` says what a seed means, `site` does it, `link` is the network in between, `wire` remembers what passed,
//! `judge` compares with what the cloud holds in the end. Power loss is not here: kill -9 leaves what the kernel has,
//! and `damage` adds to the files or spoils them, but takes no unsynced write back.

pub mod damage;
pub mod draw;
pub mod judge;
pub mod link;
mod orders;
pub mod packet;
mod processes;
mod site;
pub mod wire;

use std::path::Path;
use std::time::Duration;

use draw::Plan;
use judge::Violation;
pub use site::Site;

/// How a seed went.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was done, in order of its end: `gateway kill -9` ...
    pub done: Vec<String>,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// Samples that were durable at the gateway.
    pub durable: u64,
    /// Commands sent, and how many of them were written.
    pub commands: (usize, usize),
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
            "make faults SEED={}   # {}{} (after: {})",
            self.seed,
            told.join("; "),
            if more > 0 { format!("; {more} more") } else { String::new() },
            self.done.join(", ")
        ))
    }
}

/// Runs a seed in a folder, which holds both logs and stores afterwards.
pub async fn run(seed: u64, dir: &Path) -> Report {
    let began = tokio::time::Instant::now();
    let mut site = Site::start(dir).await;
    let done = site.suffer(&Plan::of(seed)).await;
    let evidence = site.settle().await;
    let violations = judge::judge(&evidence);
    let commands = (evidence.commands.len(), evidence.written.len());
    Report { seed, done, violations, durable: evidence.oracle.durable(), commands, took: began.elapsed() }
}
