//! `reload_50k`: a running gateway of 50,000 points takes a configuration in which one device changed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::api::ReloadReport;
use reqwest::Method;
use tests::Gateway;
use tests::gateway::Setup;

use super::plant::Plant;
use super::tags::device;
use crate::figure::{Beside, Percentiles, print_beside};

const LINES: usize = 10;
const UNITS: u8 = 10;
const REGISTERS: u16 = 500;
const RUNS: u64 = 5;
const WARM_UP: Duration = Duration::from_secs(4);

/// `reload_50k_s`, from the request to the answer, beside what the same files take to be read and checked alone.
pub async fn reload(previous: Option<&Path>) {
    let plant = Plant::start(LINES, Duration::ZERO);
    let (took, checked) = measure(&plant, None).await;
    let old = match previous {
        Some(program) => Some(measure(&plant, Some(program)).await.0),
        None => None,
    };
    let floor = Beside::floor("`check` of the same files, s", checked);
    print_beside("reload_50k_s", took, "s", "<= 2", &[floor, Beside::previous(old)]);
}

/// Seconds of a reload and of a check, each the median of some.
async fn measure(plant: &Plant, program: Option<&Path>) -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a folder");
    let setup = |n: u64| Setup {
        devices: devices(plant, 1000 + n),
        program: program.map(Path::to_owned),
        ..Setup::default()
    };
    let gateway = Gateway::start(dir.path(), &setup(0)).await;
    let api = gateway.api();
    tokio::time::sleep(WARM_UP).await;
    let (mut reloads, mut checks) = (Vec::new(), Vec::new());
    for n in 1..=RUNS {
        gateway.configure(&setup(n));
        let began = Instant::now();
        let answer = api.request(Method::POST, "/api/v1/config/reload").send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        let report: ReloadReport = answer.json().await.expect("a report");
        reloads.push(began.elapsed().as_secs_f64());
        // Its line, that is, with the other units on it.
        let restarted = (report.restarted.len(), report.restarted.iter().any(|d| d == "l0u1"));
        assert_eq!(restarted, (usize::from(UNITS), true), "{report:?}");
        assert_eq!(report.points, u64::from(REGISTERS) * 100);
        let began = Instant::now();
        let file = dir.path().join("gateway.toml");
        let check =
            Command::new(program.map_or_else(|| tests::process::program("twinway-gateway"), Path::to_owned))
                .arg("check")
                .arg(file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        assert!(check.expect("it runs").success());
        checks.push(began.elapsed().as_secs_f64());
    }
    (Percentiles::of(reloads).at(50.0), Percentiles::of(checks).at(50.0))
}

/// All devices; the first is read with another period.
fn devices(plant: &Plant, period_ms: u64) -> String {
    let mut text = String::new();
    for (line, addr) in plant.addrs.iter().enumerate() {
        for unit in 1..=UNITS {
            let period_ms = if (line, unit) == (0, 1) { period_ms } else { 1000 };
            let registers = (0..REGISTERS).map(|n| (n, period_ms));
            text += &device(&format!("l{line}u{unit}"), *addr, unit, registers);
        }
    }
    text
}
