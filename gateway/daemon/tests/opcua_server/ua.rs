//! The client as a process, and a gateway with the server on.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::rig::{Plc, Rig, until};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/opcua_server");
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Ua {
    _child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    folder: tempfile::TempDir,
}

impl Ua {
    /// asyncua.
    pub(crate) fn start() -> Self {
        let python = format!("{ROOT}/target/asyncua/bin/python");
        let mut command = Command::new(python);
        command.arg(format!("{HERE}/client.py"));
        Self::started(command)
    }

    /// node-opcua, which answers a part of the questions.
    pub(crate) fn node() -> Self {
        let mut command = Command::new("node");
        command.arg(format!("{HERE}/client.cjs"));
        command.env("NODE_PATH", format!("{ROOT}/target/node-opcua/node_modules"));
        Self::started(command)
    }

    fn started(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}: tests/setup.sh installs it"));
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, to, from, folder: tempfile::tempdir().unwrap() }
    }

    /// The whole answer: `ok`, `status` or `error`.
    pub(crate) async fn ask(&mut self, question: Value) -> Value {
        self.to.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let line =
            timeout(LIMIT, self.from.next_line()).await.unwrap_or_else(|_| panic!("no answer to {question}"));
        serde_json::from_str(&line.unwrap().unwrap_or_else(|| panic!("client ended at {question}"))).unwrap()
    }

    pub(crate) async fn ok(&mut self, question: Value) -> Value {
        let mut answer = self.ask(question.clone()).await;
        assert!(answer.get("ok").is_some(), "{question}: {answer}");
        answer["ok"].take()
    }

    /// The name of the status that it failed with.
    pub(crate) async fn status(&mut self, question: Value) -> String {
        let answer = self.ask(question.clone()).await;
        answer["status"].as_str().unwrap_or_else(|| panic!("{question}: {answer}")).to_owned()
    }

    pub(crate) fn login(&self, rig: &Rig, role: &str, policy: &str) -> Value {
        json!({
            "do": "connect", "url": url(rig), "policy": policy, "folder": self.folder.path(),
            "user": role, "password": format!("token-of-{role}"),
        })
    }

    /// Looks at events until one is as wanted.
    pub(crate) async fn event(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let began = tokio::time::Instant::now();
        let mut seen = Vec::new();
        loop {
            let some = self.ok(json!({ "do": "told_events" })).await;
            for event in some.as_array().unwrap() {
                if wanted(event) {
                    return event.clone();
                }
                seen.push(event.clone());
            }
            assert!(began.elapsed() < LIMIT, "{what}: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An encrypted session of a user whose certificate is trusted.
    pub(crate) async fn enter(rig: &Rig, role: &str) -> Self {
        Self::start().entered(rig, role).await
    }

    pub(crate) async fn entered(mut self, rig: &Rig, role: &str) -> Self {
        let refused = self.ask(self.login(rig, role, "Basic256Sha256")).await;
        assert!(refused.get("ok").is_none(), "an unknown certificate was let in");
        trust_all(rig).await;
        self.ok(self.login(rig, role, "Basic256Sha256")).await;
        self
    }
}

pub(crate) fn url(rig: &Rig) -> String {
    format!("opc.tcp://{}/", rig.handle.opcua_addr().unwrap())
}

/// Trusts what was refused, as an admin does.
pub(crate) async fn trust_all(rig: &Rig) {
    let found = rig.get("/api/v1/opcua/certificates").await;
    for item in found["items"].as_array().unwrap().iter().filter(|c| c["folder"] == "rejected") {
        let path = format!("/api/v1/opcua/certificates/{}/trust", item["fingerprint"].as_str().unwrap());
        let answer = rig.local(reqwest::Method::POST, &path).send().await.unwrap();
        assert!(answer.status().is_success());
    }
}

pub(crate) const SERVER: &str = "[opcua_server]\nlisten = \"127.0.0.1:0\"\nhosts = [\"127.0.0.1\"]\n";

/// A gateway with the server on, and `more` in its configuration.
pub(crate) async fn gateway(plc: &Plc, section: &str, more: &str) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(dir, plc, &format!("{more}\n{SERVER}{section}")).await;
    until("the server listens", || async {
        let parts = rig.get("/api/v1/gateways").await.to_string();
        (parts.contains("\"opcua\"") && rig.point("temperature").await.0.is_some()).then_some(())
    })
    .await;
    rig
}

/// A gateway whose temperature has the alarm `hot`, above 150.
pub(crate) async fn hot(plc: &Plc) -> Rig {
    let alarm = "\n[[device.point.alarm]]\nname = \"hot\"\nkind = \"hi\"\nlimit = 150\npriority = \"high\"\ntext = \"oven too hot\"\n";
    let dir = tempfile::tempdir().unwrap();
    // The sample's first point gets it.
    let file = crate::rig::config(dir.path(), plc.addr);
    let text = std::fs::read_to_string(&file).unwrap();
    let at = text.find("[[device.point]]\nname = \"setpoint\"").unwrap();
    let text = format!("{}{alarm}{}{SERVER}", &text[..at], &text[at..]);
    std::fs::write(&file, text).unwrap();
    Rig::start_from(dir).await
}

/// The address of a node of ours.
pub(crate) fn id(text: &str) -> String {
    format!("ns=2;s={text}")
}

/// Sets the switch to remote, which a box never does by itself.
pub(crate) async fn remote(rig: &Rig) {
    let body = json!({ "position": "remote", "reason": "test" });
    let answer = rig.local(reqwest::Method::PUT, "/api/v1/switch").json(&body).send().await.unwrap();
    assert!(answer.status().is_success());
}

/// Looks at what was told until it holds.
pub(crate) async fn told(ua: &mut Ua, what: &str, mut found: impl FnMut(&Value) -> bool) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let began = tokio::time::Instant::now();
    loop {
        let some = ua.ok(json!({ "do": "told" })).await;
        all.extend(some.as_array().unwrap().iter().cloned());
        if all.iter().any(&mut found) {
            return all;
        }
        assert!(began.elapsed() < LIMIT, "{what}: {all:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A passwords file with one user each.
pub(crate) fn passwords(dir: &std::path::Path, users: &[&str]) -> std::path::PathBuf {
    let path = dir.join("opcua.passwords");
    let lines: String = users
        .iter()
        .map(|u| gateway_broker::Users::line(u, format!("secret of {u}").as_bytes()).unwrap() + "\n")
        .collect();
    std::fs::write(&path, lines).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}
