//! `make faults SEEDS=100`: the fault harness over many seeds, some at a time. One line for each seed; a seed that
//! fails prints the line that repeats it and leaves its folder. Exit status 1 if any did.
//!
//! `faults [--seed N] [--seeds N] [--from N] [--jobs N]`; the programs are those built beside it.

use std::collections::BTreeMap;
use std::process::ExitCode;

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
    let (mut running, mut done, mut failed) = (JoinSet::new(), BTreeMap::<String, u64>::new(), 0u64);
    let (mut durable, mut written) = (0, 0);
    loop {
        while running.len() < jobs
            && let Some(seed) = waiting.next()
        {
            running.spawn(one(seed));
        }
        let Some(ended) = running.join_next().await else { break };
        match ended.expect("panics are caught within") {
            Ok(report) => {
                let took = report.took.as_secs_f64();
                let (sent, wrote) = report.commands;
                println!(
                    "seed {}: {took:.1} s, {} samples, {wrote} of {sent} commands written; {}",
                    report.seed,
                    report.durable,
                    report.done.join(", ")
                );
                durable += report.durable;
                written += wrote;
                for fault in report.done {
                    *done.entry(fault).or_default() += 1;
                }
            }
            Err(failure) => {
                failed += 1;
                println!("FAILED {failure}");
            }
        }
    }
    println!(
        "{seeds} seeds, {failed} failed; {durable} durable samples, {written} writes; faults of the seeds that passed:"
    );
    for (fault, times) in done {
        println!("  {times:5} {fault}");
    }
    println!(
        "not tried: loss of power, a full disk, short writes, single lost packets, wrong clocks, two boxes of one name, restored backups"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
