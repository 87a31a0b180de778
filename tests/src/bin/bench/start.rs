//! How long until something is there: the gateway's first sample, the demo's page; and what an idle gateway
//! costs.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tests::{Api, Gateway};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::figure::{Percentiles, print};

/// `first_sample_ms`, `gateway_idle_rss_mb`.
pub async fn gateway() {
    const STARTS: usize = 7;
    let plc = ModbusDevice::start().await;
    let setup = Setup { devices: registers_device(plc.addr, 10, 1000), ..Setup::default() };
    let mut first = Vec::new();
    let mut floor = Vec::new();
    for _ in 0..STARTS {
        let dir = tempfile::tempdir().expect("a folder");
        let began = Instant::now();
        let starting = Gateway::spawn(dir.path(), &setup);
        let api = Api::of_socket(&starting.socket);
        while api.value("hall/plc", "r0").await.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.push(began.elapsed().as_secs_f64() * 1e3);
        drop(starting);
        let began = Instant::now();
        let mut version = Command::new(tests::process::program("twinway-gateway"));
        version.arg("version").stdout(Stdio::null()).status().await.expect("the program runs");
        floor.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (first, floor) = (Percentiles::of(first), Percentiles::of(floor));
    print(
        "first_sample_ms",
        first.at(50.0),
        "ms",
        "<= 200",
        Some(("the program starts and ends", floor.at(50.0))),
    );

    let dir = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(dir.path(), &setup).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let cpu = gateway.process.cpu_s();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let cpu = (gateway.process.cpu_s() - cpu) * 10.0;
    print("gateway_idle_rss_mb", gateway.process.rss_mb(), "MB", "<= 15", None);
    print("gateway_idle_cpu_percent", cpu, "% of a core", "-", None);
}

/// `cold_start_min`, `warm_start_s`: a fresh clone and the README's command, until the page is served.
pub async fn demo() {
    let dir = tempfile::tempdir().expect("a folder");
    let clone = dir.path().join("clone");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the project");
    let cloned = Command::new("git").arg("clone").arg("-q").arg(project).arg(&clone).status().await;
    assert!(cloned.expect("git runs").success());
    eprintln!("cold start: a clean build of a fresh clone");
    let cold = until_page(&clone).await;
    print("cold_start_min", cold / 60.0, "min", "<= 10", None);
    let mut warm = Vec::new();
    for _ in 0..3 {
        warm.push(until_page(&clone).await);
    }
    print("warm_start_s", Percentiles::of(warm).at(50.0), "s", "<= 5", None);
}

async fn until_page(clone: &Path) -> f64 {
    let began = Instant::now();
    let mut demo = Command::new("make")
        .args(["-s", "run", "ARGS=--json --port-base 0 --dir state"])
        .current_dir(clone)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_MANIFEST_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .expect("make runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("output").expect("a line when all is up");
    let up: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let page = reqwest::get(up["cloud"].as_str().expect("an address")).await.expect("a page");
    assert!(page.status().is_success() && page.text().await.expect("text").contains("<html"));
    let took = began.elapsed().as_secs_f64();
    let group = format!("-{}", demo.id().expect("running"));
    let _ = Command::new("kill").args(["-TERM", "--", &group]).status().await;
    let _ = demo.wait().await;
    took
}
