//! Our command line at a terminal that somebody types at: that of `script` (util-linux).

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::process::program;

/// Longest wait for what is to be shown.
const LIMIT: Duration = Duration::from_secs(90);

/// A terminal with `twinway` in it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    /// Starts it.
    pub fn twinway(words: &[&str]) -> Self {
        let line =
            format!("stty cols 200 rows 50; exec {} {}", program("twinway").display(), words.join(" "));
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("SHELL", "/bin/sh").env("TERM", "xterm");
        for name in ["TWINWAY_URL", "TWINWAY_SOCKET", "TWINWAY_TOKEN"] {
            command.env_remove(name);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.expect("script (util-linux) is needed");
        let (keys, screen) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, keys, screen, seen: String::new() }
    }

    /// What was shown so far.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Waits until something is shown, and forgets what came before it.
    pub async fn until(&mut self, wanted: &str) -> String {
        let read = async {
            let mut bytes = vec![0; 4096];
            while !self.seen.contains(wanted) {
                let count = self.screen.read(&mut bytes).await.expect("a screen");
                assert!(count > 0, "ended without `{wanted}`: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        if timeout(LIMIT, read).await.is_err() {
            panic!("no `{wanted}`: {}", self.seen);
        }
        let at = self.seen.find(wanted).map_or(0, |at| at + wanted.len());
        let rest = self.seen.split_off(at);
        std::mem::replace(&mut self.seen, rest)
    }

    /// Types.
    pub async fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.expect("a keyboard");
        self.keys.flush().await.expect("a keyboard");
    }

    /// Waits for a question, and answers with a line.
    pub async fn answer(&mut self, question: &str, line: &str) -> String {
        let before = self.until(question).await;
        self.types(&format!("{line}\n")).await;
        before
    }

    /// Waits for the end, and gives the exit status.
    pub async fn end(&mut self) -> i32 {
        let mut rest = Vec::new();
        let end = async {
            self.screen.read_to_end(&mut rest).await.expect("a screen");
            self.child.wait().await.expect("an end")
        };
        let status = timeout(LIMIT, end).await.expect("it does not end");
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        status.code().unwrap_or(-1)
    }
}
