//! Programs of others, a process each: asked by lines on standard input, answering by lines on standard output. And our
//! own command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tests::process::program;
use tests::until;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the project").to_owned()
}

struct Talk {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = child.kill_on_drop(true).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}: tests/setup.sh installs it"));
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, to, from }
    }

    async fn say(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.expect("it listens");
    }

    async fn line(&mut self, of: &str) -> String {
        let line = timeout(LIMIT, self.from.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no answer to {of}")).expect("its output");
        line.unwrap_or_else(|| panic!("it ended at {of}"))
    }
}

/// asyncua as a client: one question of JSON, one answer.
pub(crate) struct Asyncua(Talk);

impl Asyncua {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(root().join("target/asyncua/bin/python"));
        command.arg(root().join("gateway/daemon/tests/opcua_server/client.py"));
        Self(Talk::start(command))
    }

    /// The whole answer: `ok`, `status` or `error`.
    pub(crate) async fn ask(&mut self, question: &Value) -> Value {
        let line = question.to_string();
        self.0.say(&line).await;
        serde_json::from_str(&self.0.line(&line).await).expect("JSON")
    }

    pub(crate) async fn ok(&mut self, question: &Value) -> Value {
        let mut answer = self.ask(question).await;
        assert!(answer.get("ok").is_some(), "{question}: {answer}");
        answer["ok"].take()
    }

    /// The name of the status that it failed with.
    pub(crate) async fn status(&mut self, question: &Value) -> String {
        let answer = self.ask(question).await;
        answer["status"].as_str().unwrap_or_else(|| panic!("{question}: {answer}")).to_owned()
    }

    /// Looks at what subscriptions (`told`) or events (`told_events`) bring until one is as wanted.
    pub(crate) async fn follow(&mut self, from: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let began = tokio::time::Instant::now();
        loop {
            let some = self.ok(&json!({ "do": from })).await;
            for told in some.as_array().expect("a list") {
                if wanted(told) {
                    return told.clone();
                }
                seen.push(told.clone());
            }
            assert!(began.elapsed() < LIMIT, "{what}: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// node-opcua as a server, with its certificates in a folder.
pub(crate) struct NodeServer {
    talk: Talk,
    pub(crate) port: u16,
}

impl NodeServer {
    /// At a port; 0: anywhere.
    pub(crate) async fn start(folder: &Path, port: u16) -> Self {
        let mut command = Command::new("node");
        command.env("NODE_PATH", root().join("target/node-opcua/node_modules"));
        command.arg(root().join("gateway/adapters/tests/opcua/server.cjs"));
        command.args([format!("folder={}", folder.display()), format!("port={port}")]);
        let mut talk = Talk::start(command);
        let ready = loop {
            let line = talk.line("its start").await;
            if let Some(port) = line.strip_prefix("ready ") {
                break port.trim().parse().expect("a port");
            }
        };
        Self { talk, port: ready }
    }

    /// Has it do something; gives the value that it tells, if it tells one.
    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.talk.say(line).await;
        let mut value = String::new();
        loop {
            let told = self.talk.line(line).await;
            assert!(!told.starts_with("failed"), "{told}");
            if let Some(told) = told.strip_prefix("value ") {
                told.clone_into(&mut value);
            }
            if told.starts_with("done") {
                return value;
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}", self.port)
    }

    /// As if the power went.
    pub(crate) async fn kill(mut self) -> u16 {
        self.talk.child.kill().await.expect("it is ours");
        self.port
    }
}

/// The command line at the box: its exit status, and what it printed.
pub(crate) struct Cli(pub(crate) PathBuf);

impl Cli {
    pub(crate) async fn run(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(program("twinway"));
        command.arg("--socket").arg(&self.0).args(args).env_remove("TWINWAY_URL");
        let done = command.kill_on_drop(true).output().await.expect("the command line");
        let text = [done.stdout, done.stderr].map(|o| String::from_utf8_lossy(&o).into_owned()).concat();
        (done.status.code().expect("an exit status"), text)
    }

    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, args: &[&str]) -> T {
        let mut command = Command::new(program("twinway"));
        command.arg("--socket").arg(&self.0).args(args).args(["--output", "json"]);
        let done = command.kill_on_drop(true).output().await.expect("the command line");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("JSON")
    }
}

/// Waits for what an API shows.
pub(crate) async fn eventually<T, F, Fut>(what: &str, probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    until(what, LIMIT, probe).await
}
