//! `mqtt pub` and `mqtt sub` against a real Mosquitto broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper fails its test

mod rig;

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rig::{Done, binary, end, finish};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

struct Broker {
    port: String,
    dir: tempfile::TempDir,
    _child: Child,
}

/// Mosquitto cannot tell which free port it took, so one is asked of the system first; should another
/// program take it meanwhile, the broker ends at once and the next port is tried.
async fn broker() -> Broker {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    let mut made = Command::new("mosquitto_passwd");
    made.args(["-b", "-c"]).arg(&passwords).args(["ann", "geheim"]);
    let status = made.status().await.expect("mosquitto_passwd is needed: apt-get install mosquitto");
    assert!(status.success());
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("mosquitto.conf");
        let user = if is_root() { "user root\n" } else { "" };
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {}\n{user}",
            passwords.display(),
            acl(dir.path()),
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(MOSQUITTO)
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto is needed: apt-get install mosquitto");
        let up = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = up => return Broker { port: port.to_string(), dir, _child: child },
            _ = child.wait() => {}
            () = tokio::time::sleep(Duration::from_secs(10)) => panic!("mosquitto does not listen"),
        }
    }
    panic!("mosquitto does not start");
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn acl(dir: &Path) -> String {
    let path = dir.join("acl");
    std::fs::write(&path, "user ann\ntopic readwrite plant/#\n").unwrap();
    path.display().to_string()
}

impl Broker {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary(self.dir.path());
        command.arg("mqtt").args(args).args(["--port", &self.port, "--username", "ann"]);
        command.env("TWINWAY_MQTT_PASSWORD", "geheim");
        command
    }

    async fn run(&self, args: &[&str]) -> Done {
        finish(&mut self.command(args), b"").await
    }
}

#[tokio::test]
async fn messages_go_through_a_real_broker_at_every_quality_of_service() {
    let broker = broker().await;
    for qos in ["0", "1", "2"] {
        let topic = format!("plant/t{qos}");
        broker.run(&["pub", &topic, "21.5 °C", "--qos", qos, "--retain"]).await.code(0);
        let done = broker.run(&["sub", &topic, "--count", "1", "--qos", qos]).await.code(0);
        assert_eq!(done.out, format!("{topic} 21.5 °C\n"));
    }
    let done = broker.run(&["sub", "plant/+", "--count", "3", "--output", "json"]).await.code(0);
    let mut topics: Vec<_> = done
        .out
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .map(|l| {
            assert_eq!((l["payload"].as_str(), l["retain"].as_bool()), (Some("21.5 °C"), Some(true)));
            l["topic"].as_str().unwrap().to_owned()
        })
        .collect();
    topics.sort();
    assert_eq!(topics, ["plant/t0", "plant/t1", "plant/t2"]);
}

#[tokio::test]
async fn bytes_and_control_characters_are_shown_safely() {
    let broker = broker().await;
    let raw = finish(&mut broker.command(&["pub", "plant/raw", "-", "--retain"]), b"\xff\x00").await;
    raw.code(0);
    broker.run(&["pub", "plant/esc", "a\x1b[2Jb", "--retain"]).await.code(0);
    broker.run(&["sub", "plant/raw", "--count", "1"]).await.code(0).has(&["plant/raw base64:/wA="]);
    broker.run(&["sub", "plant/esc", "--count", "1"]).await.code(0).has(&["plant/esc a\\u{1b}[2Jb"]);
    let json = broker.run(&["sub", "plant/raw", "--count", "1", "-o", "json"]).await.code(0).json();
    assert_eq!(json["payload_base64"], "/wA=");
}

#[tokio::test]
async fn our_messages_reach_the_brokers_own_client() {
    let broker = broker().await;
    let port = &broker.port;
    broker.run(&["pub", "plant/x", "hello", "--retain"]).await.code(0);
    let mut sub = Command::new("mosquitto_sub");
    sub.args(["-p", port, "-u", "ann", "-P", "geheim", "-t", "plant/x", "-C", "1"]).stdout(Stdio::piped());
    let done = end(sub.kill_on_drop(true).spawn().unwrap()).await.code(0);
    assert_eq!(done.out, "hello\n");
}

#[tokio::test]
async fn refusals_and_absent_brokers_have_their_exit_codes() {
    let broker = broker().await;
    let wrong =
        ["mqtt", "pub", "plant/a", "1", "--port", &broker.port, "--username", "ann", "--password", "no"];
    let done = finish(binary(broker.dir.path()).args(wrong), b"").await.code(4);
    assert!(done.err.contains("refuses user and password"), "{done:?}");
    broker.run(&["sub", "plant/none", "--timeout", "300ms"]).await.code(10);
    broker.run(&["pub", "a/+", "1"]).await.code(2);
    broker.run(&["sub", "a/#/b"]).await.code(2);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let done =
        finish(binary(broker.dir.path()).args(["mqtt", "pub", "a", "1", "--port", &free]), b"").await.code(5);
    assert!(done.err.contains("not reachable"), "{done:?}");
}
