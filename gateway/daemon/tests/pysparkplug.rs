//! Sparkplug B with pysparkplug, which we did not write, on both sides: its node under our host, its host over our node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use rig::{Plc, Rig, until};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

struct Python {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Python {
    async fn start(role: &str, broker: SocketAddr) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = here.join("../../target/python-sparkplug/bin/python");
        let mut child = Command::new(python)
            .arg(here.join("tests/sparkplug.py"))
            .args([role, &broker.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("pysparkplug; see tests/setup.sh");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut python = Self { stdin, lines: BufReader::new(stdout).lines(), child };
        python.says("ready").await;
        python
    }

    async fn tell(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits for a line; those before it are passed over.
    async fn says(&mut self, wanted: &str) {
        let mut heard = Vec::new();
        let found = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the script goes on");
                if line == wanted {
                    return;
                }
                heard.push(line);
            }
        };
        let found = timeout(LIMIT, found).await;
        assert!(found.is_ok(), "no `{wanted}` among {heard:?}");
    }
}

const PRESS: &str = r#"
[[device]]
name = "press"
asset = "plant/forming/line2/press"
[device.sparkplug]
group = "plant"
node = "line2"
device = "press"
[[device.point]]
name = "force"
type = "f64"
sparkplug = {}
[[device.point]]
name = "setpoint"
type = "i64"
access = "read_write"
write_min = -100
write_max = 100
sparkplug = {}
"#;

async fn shows(rig: &Rig, name: &str, value: Option<f64>, quality: &str) {
    let what = format!("{name} is {value:?} {quality}");
    until(&what, || async {
        let twin = rig.get("/api/v1/twins/press").await;
        let points = twin["points"].as_array().unwrap();
        let point = points.iter().find(|p| p["name"] == name || p["schema"]["name"] == name).unwrap();
        let fits = value.is_none() || point["value"].as_f64() == value;
        (fits && point["quality"] == quality).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_node_is_read_commanded_and_known_dead() {
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &Plc::start(), PRESS).await;
    let mut node = Python::start("node", rig.handle.broker_addr().unwrap()).await;
    shows(&rig, "force", Some(1.5), "good").await;
    shows(&rig, "setpoint", Some(-5.0), "good").await;
    node.tell("force 2.25").await;
    shows(&rig, "force", Some(2.25), "good").await;

    for value in [-42, 42] {
        let body = json!({ "point": "setpoint", "value": value, "reason": "test" });
        let request = rig.local(Method::POST, "/api/v1/twins/press/commands");
        let answer = request.header("Idempotency-Key", format!("k{value}")).json(&body).send().await.unwrap();
        let place = answer.headers()["location"].to_str().unwrap().to_owned();
        node.says(&format!("command None 77 INT16 {value}")).await;
        let view = rig.get(&format!("{place}?wait_ms=10000")).await;
        assert_eq!((&view["state"], &view["read_back"]), (&json!("succeeded"), &json!(value)), "{view}");
    }

    node.tell("gone").await;
    shows(&rig, "force", None, "bad_not_connected").await;
    node.tell("back").await;
    shows(&rig, "setpoint", None, "good").await;
    node.child.start_kill().unwrap();
    shows(&rig, "setpoint", None, "bad_not_connected").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_host_reads_and_commands_our_node_and_hears_it_die() {
    let plc = Plc::start();
    plc.set(0, 200);
    let publish =
        "[[publish]]\nname = \"scada\"\nformat = \"sparkplug\"\ngroup = \"plant\"\ncommands = true\n";
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, publish).await;
    until("a value", || async { (rig.point("temperature").await.0 == Some(20.0)).then_some(()) }).await;
    let mut host = Python::start("host", rig.handle.broker_addr().unwrap()).await;
    host.tell("rebirth").await;
    host.says("NBIRTH").await;
    host.says("DBIRTH temperature DOUBLE 20.0").await;
    plc.set(0, 215);
    // Types and names of data are those of the birth, by alias.
    host.says("DDATA temperature DOUBLE 21.5").await;
    let body = json!({ "position": "remote", "reason": "test" });
    assert!(rig.local(Method::PUT, "/api/v1/switch").json(&body).send().await.unwrap().status().is_success());
    host.tell("write free INT64 42").await;
    until("written", || async { (plc.get(3) == 42).then_some(()) }).await;
    host.says("DDATA free INT64 42").await;
    rig.stop().await;
}
