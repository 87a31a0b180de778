//! The program itself: exit codes, signals, the first password, a new one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_twinway-cloud");

fn config(dir: &Path) -> String {
    let file = dir.join("cloud.toml");
    let text = format!(
        "[cloud]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[ingress]\nlisten = \"127.0.0.1:0\"\n",
        dir.join("data")
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[test]
fn a_bad_configuration_ends_with_64_and_says_where_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[cloud]\nfolder = \"x\"\n").unwrap();
    let file = file.to_str().unwrap();
    for command in ["check", "run"] {
        let output = run(&[command, "--config", file]);
        assert_eq!(output.status.code(), Some(64));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("bad.toml:2:1: cloud.folder") && text.contains("data_dir"), "{text}");
    }
    assert_eq!(run(&["no-such-command"]).status.code(), Some(64));
    assert_eq!(run(&["check", "--config", &config(dir.path())]).status.code(), Some(0));
    assert_eq!(run(&["version"]).stdout, format!("{}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[tokio::test]
async fn it_prints_the_first_password_once_and_ends_in_good_order_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path());
    for first in [true, false] {
        let _ = std::fs::remove_file(dir.path().join("data/addresses.json"));
        let mut child = Command::new(PROGRAM)
            .args(["run", "--config", &file])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("addresses", || dir.path().join("data/addresses.json").exists()).await;
        let began = tokio::time::Instant::now();
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        until("an end", || child.try_wait().unwrap().is_some()).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.contains("admin password: "), first, "{text}");
    }
    let output = run(&["admin-password", "--config", &file]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("admin password: "));
    assert_eq!(run(&["admin-password", "--config", &file, "--user", "nobody"]).status.code(), Some(1));
}

#[tokio::test]
async fn a_backup_is_made_while_it_runs_and_restored_when_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path());
    let run_it = || {
        let mut run = Command::new(PROGRAM);
        run.args(["run", "--config", &file]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut child = run_it();
    until("addresses", || dir.path().join("data/addresses.json").exists()).await;
    let backup = dir.path().join("backup.db");
    let backup = backup.to_str().unwrap();
    let text = |output: &Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let made = run(&["backup", "--config", &file, "--to", backup]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made));
    assert!(text(&made).contains("are whole; sha256 "));
    let verified = run(&["verify", backup]);
    assert_eq!((verified.status.code(), text(&verified)), (Some(0), text(&made)));
    let refused = run(&["restore", "--config", &file, "--from", backup, "--replace"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("in use"), "{}", text(&refused));
    let refused = run(&["shrink", "--config", &file]);
    assert!(text(&refused).contains("in use"), "{}", text(&refused));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    until("an end", || child.try_wait().unwrap().is_some()).await;
    assert_eq!(run(&["restore", "--config", &file, "--from", backup]).status.code(), Some(1));
    let restored = run(&["restore", "--config", &file, "--from", backup, "--replace"]);
    assert_eq!(restored.status.code(), Some(0), "{}", text(&restored));
    assert!(text(&restored).contains("cloud.db.before-restore"));
    let shrunk = run(&["shrink", "--config", &file]);
    assert_eq!(shrunk.status.code(), Some(0), "{}", text(&shrunk));
    assert!(text(&shrunk).contains("read back and whole"), "{}", text(&shrunk));
    std::fs::remove_file(dir.path().join("data/addresses.json")).unwrap();
    let mut child = run_it();
    until("addresses", || dir.path().join("data/addresses.json").exists()).await;
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    until("an end", || child.try_wait().unwrap().is_some()).await;
}

#[tokio::test]
async fn a_service_manager_is_told_that_it_is_ready_alive_and_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let socket = tokio::net::UnixDatagram::bind(dir.path().join("notify")).unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["run", "--config", &config(dir.path())])
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .env("WATCHDOG_USEC", "800000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let next = async || {
        let mut text = [0; 1024];
        let message = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut text));
        let length = message.await.expect("a message").unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    assert_eq!(next().await, "READY=1\n");
    for _ in 0..2 {
        assert_eq!(next().await, "WATCHDOG=1\nSTATUS=answers\n");
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    while next().await != "STOPPING=1\n" {}
    until("an end", || child.try_wait().unwrap().is_some()).await;
}
