//! The program itself: exit codes, and what signals do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rig::{Plc, config, until};
use tokio::process::Child;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_twinway-gateway"))
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_wrong_configuration_ends_with_64_and_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, "[gateway]\nid = \"g1\"\n[buffer]\nsync_ms = 500\n[api]\nlisten = \"0.0.0.0:1\"\n")
        .unwrap();
    for arguments in [vec!["check"], vec!["run", "--config"]] {
        let (code, _, told) = text(&program().args(arguments).arg(&file).output().unwrap());
        assert_eq!(code, Some(64), "{told}");
        assert!(told.contains("gateway.toml:4:11: buffer.sync_ms: 500 is not within 1 to 100"), "{told}");
        assert!(told.contains("gateway.toml:6:10: api.listen"), "{told}");
    }
    let (code, _, told) = text(&program().args(["check", "/no/such/file"]).output().unwrap());
    assert_eq!(code, Some(64));
    assert!(told.contains("cannot read"), "{told}");
}

#[test]
fn a_good_configuration_and_the_version_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "127.0.0.1:5020".parse().unwrap());
    let (code, told, _) = text(&program().arg("check").arg(&file).output().unwrap());
    assert_eq!(code, Some(0));
    assert!(told.ends_with("ok, 1 device, 4 points\n"), "{told}");
    let (code, told, _) = text(&program().arg("version").output().unwrap());
    assert_eq!(code, Some(0));
    assert_eq!(told.lines().next(), Some(concat!("twinway-gateway ", env!("CARGO_PKG_VERSION"))));
    assert!(told.contains("\nmachine   ") && told.contains(" linux gnu\n"), "{told}");
    let (code, _, told) = text(&program().args(["run", "--no-such"]).output().unwrap());
    assert_eq!(code, Some(64), "a service with wrong arguments is not started again: {told}");
}

#[cfg(feature = "cli")]
#[test]
fn called_twinway_it_is_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("twinway");
    std::os::unix::fs::symlink(program().get_program(), &link).unwrap();
    let (code, told, _) = text(&std::process::Command::new(&link).arg("--version").output().unwrap());
    assert_eq!((code, told.as_str()), (Some(0), concat!("twinway ", env!("CARGO_PKG_VERSION"), "\n")));
    let (code, _, told) = text(&std::process::Command::new(&link).arg("run").output().unwrap());
    assert_ne!(code, Some(0), "a verb of the service is none of the command line: {told}");
}

async fn start(dir: &std::path::Path, plc: &Plc) -> Child {
    let file = config(dir, plc.addr);
    let mut command = tokio::process::Command::from(program());
    command.arg("run").arg("--config").arg(file).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    until("its addresses", || {
        assert_eq!(child.try_wait().unwrap().and_then(|s| s.code()), None, "it ended");
        let there = dir.join("data/addresses.json").exists();
        async move { there.then_some(()) }
    })
    .await;
    child
}

/// What a client of the distribution prints, with the broker's port of this start.
async fn mosquitto(dir: &std::path::Path, program: &str, arguments: &[&str]) -> String {
    let addresses = std::fs::read_to_string(dir.join("data/addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&addresses).unwrap();
    let port = addresses["broker"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let mut command = tokio::process::Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_broker_acknowledged_survives_kill_minus_nine() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path(), &plc).await;
    let at = dir.path();
    mosquitto(at, "mosquitto_sub", &["-c", "-i", "keeper", "-q", "1", "-t", "k/#", "-E"]).await;
    for n in 0..20 {
        let (topic, payload) = (format!("k/{n}"), n.to_string());
        mosquitto(at, "mosquitto_pub", &["-q", "1", "-r", "-t", &topic, "-m", &payload]).await;
    }
    signal(&child, "-KILL");
    child.wait().await.unwrap();
    std::fs::remove_file(at.join("data/addresses.json")).unwrap();
    child = start(at, &plc).await;
    let expected: Vec<String> = (0..20).map(|n| format!("k/{n} {n}")).collect();
    // The messages that waited for the session; and the retained ones, for anyone.
    let waited = ["-c", "-i", "keeper", "-q", "1", "-t", "k/#", "-C", "20", "-F", "%t %p"];
    let got = mosquitto(at, "mosquitto_sub", &waited).await;
    assert_eq!(got.lines().collect::<Vec<_>>(), expected);
    let got = mosquitto(at, "mosquitto_sub", &["-t", "k/#", "-C", "20", "-F", "%r %t %p"]).await;
    let mut got: Vec<_> = got.lines().map(str::to_owned).collect();
    got.sort_by_key(|l| l.rsplit(' ').next().and_then(|n| n.parse::<u32>().ok()));
    assert_eq!(got, expected.iter().map(|l| format!("1 {l}")).collect::<Vec<_>>());
    signal(&child, "-TERM");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_it_within_two_seconds_and_a_second_process_cannot_take_its_buffer() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path(), &plc).await;
    // The same folder, another socket: refused, with the exit code of a failed start.
    let file = config(dir.path(), plc.addr);
    let other = std::fs::read_to_string(&file).unwrap().replace("api.sock", "other.sock");
    let second = dir.path().join("second.toml");
    std::fs::write(&second, other).unwrap();
    let (code, _, told) = text(&program().args(["run", "--config"]).arg(&second).output().unwrap());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("in use by another process"), "{told}");
    for name in ["-TERM", "-INT"] {
        signal(&child, name);
        let status =
            tokio::time::timeout(Duration::from_secs(2), child.wait()).await.expect("within 2 s").unwrap();
        assert_eq!(status.code(), Some(0), "{name}");
        std::fs::remove_file(dir.path().join("data/addresses.json")).unwrap();
        child = start(dir.path(), &plc).await;
    }
    signal(&child, "-KILL");
    child.wait().await.unwrap();
    // What a killed one left does not hold up the next.
    std::fs::remove_file(dir.path().join("data/addresses.json")).unwrap();
    let mut child = start(dir.path(), &plc).await;
    signal(&child, "-TERM");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
