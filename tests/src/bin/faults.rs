//! `make faults SEEDS=100`: the fault harness over many seeds, some at a time. One line for each seed; a seed that
//! fails prints the line that repeats it and leaves its folder. Exit status 1 if any did.
//!
//! `faults [--seed N] [--seeds N] [--from N] [--jobs N]`; the programs are those built beside it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use tests::faults::{Report, run};
use tokio::task::JoinSet;

struct Options {
    from: u64,
    seeds: u64,
    jobs: usize,
}

fn options() -> Option<Options> {
    let mut options = Options { from: 1, seeds: 20, jobs: 2 };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let number: u64 = args.next()?.parse().ok()?;
        match name.as_str() {
            "--seed" => (options.from, options.seeds) = (number, 1),
            "--seeds" => options.seeds = number,
            "--from" => options.from = number,
            "--jobs" => options.jobs = usize::try_from(number).ok()?.max(1),
            _ => return None,
        }
    }
    Some(options)
}

/// A seed in a folder of its own. A panic is a failure like any other.
async fn one(seed: u64) -> Result<Report, String> {
    let dir = tempfile::Builder::new().prefix(&format!("faults-{seed}-")).tempdir().expect("a folder");
    let path = dir.path().to_owned();
    let ended = tokio::spawn(async move { run(seed, &path).await }).await;
    let failure = match &ended {
        Ok(report) => report.failure(),
        Err(error) => Some(format!("make faults SEED={seed}   # {error}")),
    };
    match (failure, ended) {
        (None, Ok(report)) => Ok(report),
        (failure, _) => {
            let kept = dir.keep();
            Err(format!("{}\n  logs and stores: {}", failure.unwrap_or_default(), kept.display()))
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(Options { from, seeds, jobs }) = options() else {
        eprintln!("usage: faults [--seed N] [--seeds N] [--from N] [--jobs N]");
        return ExitCode::from(64);
    };
    let mut waiting = from..from + seeds;
    let (mut running, mut all) = (JoinSet::new(), Summary::default());
    loop {
        while running.len() < jobs
            && let Some(seed) = waiting.next()
        {
            running.spawn(one(seed));
        }
        let Some(ended) = running.join_next().await else { break };
        match ended.expect("panics are caught within") {
            Ok(report) => {
                println!("{}", line(&report));
                all.add(report);
            }
            Err(failure) => {
                all.failed.push(failure.clone());
                println!("FAILED {failure}");
            }
        }
    }
    all.print(seeds);
    if all.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(report: &Report) -> String {
    format!(
        "seed {}: {:.1} s, {} samples, {} of {} commands written; {}",
        report.seed,
        report.took.as_secs_f64(),
        report.durable,
        report.commands.1,
        report.commands.0,
        report.done.join(", ")
    )
}

/// What many seeds came to.
#[derive(Default)]
struct Summary {
    failed: Vec<String>,
    took: Vec<Duration>,
    durable: u64,
    stored: u64,
    frames: u64,
    commands: (usize, usize),
    done: BTreeMap<String, u64>,
    shims: BTreeMap<String, u64>,
}

impl Summary {
    fn add(&mut self, report: Report) {
        self.took.push(report.took);
        self.durable += report.durable;
        self.stored += report.stored;
        self.frames += report.frames;
        self.commands.0 += report.commands.0;
        self.commands.1 += report.commands.1;
        for fault in report.done {
            *self.done.entry(fault).or_default() += 1;
        }
        for (name, count) in report.shims {
            *self.shims.entry(name).or_default() += count;
        }
    }

    /// As `docs/BENCHMARKS.md` shows it.
    fn print(&mut self, seeds: u64) {
        self.took.sort_unstable();
        let at = |part: usize| {
            self.took.get((self.took.len() * part / 100).min(self.took.len().saturating_sub(1)))
        };
        let took = |part| at(part).map_or(0.0, Duration::as_secs_f64);
        println!(
            "\n{seeds} seeds, {} failed; a seed took {:.1} s at median, {:.1} s at p95\n",
            self.failed.len(),
            took(50),
            took(95)
        );
        let rows = [
            ("samples that the gateway said were durable, each looked for in the history", self.durable),
            (
                "samples in the history, each compared with what the plant sent, for value, order and doubles",
                self.stored,
            ),
            ("frames of samples on the wire, each looked at for a second meaning of its number", self.frames),
            ("commands, each looked at for its end on both sides and in the audit", self.commands.0 as u64),
            ("writes at the plant, each looked for among the commands", self.commands.1 as u64),
        ];
        println!("| checked | |\n|---|---:|");
        rows.iter().for_each(|(what, count)| println!("| {what} | {count} |"));
        println!("\n| injected, in the seeds that passed | times |\n|---|---:|");
        self.done.iter().for_each(|(fault, times)| println!("| {fault} | {times} |"));
        println!("\n| seen and done beneath the programs | |\n|---|---:|");
        self.shims.iter().for_each(|(what, count)| println!("| {what} | {count} |"));
        println!("\nnot tried: single lost packets (TCP makes latency of them)");
        for failure in &self.failed {
            println!("FAILED {failure}");
        }
    }
}
