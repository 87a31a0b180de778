//! What needs a real terminal: the live screen, and the password that is not echoed. The terminal is that of
//! `script` (util-linux).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper fails its test

mod rig;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rig::{Rig, TOKEN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    /// The binary in a terminal of 100 x 30.
    fn start(home: &Path, args: &[&str]) -> Self {
        Self::shell(home, &format!("exec {} {}", env!("CARGO_BIN_EXE_twinway"), args.join(" ")))
    }

    /// A line of shell in such a terminal.
    fn shell(home: &Path, line: &str) -> Self {
        let line = format!("stty cols 100 rows 30; {line}");
        let mut command = rig::clean(Command::new("script"), home);
        command.args(["-q", "-e", "-c", &line, "/dev/null"]).env("SHELL", "/bin/sh").env("TERM", "xterm");
        let mut child = command.stdin(Stdio::piped()).spawn().expect("script (util-linux) is needed");
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, seen: String::new() }
    }

    /// Reads until `wanted` has been shown since `from`.
    async fn until(&mut self, wanted: &str, from: usize) {
        let read = async {
            let mut bytes = vec![0; 4096];
            while !self.seen[from..].contains(wanted) {
                let n = self.screen.read(&mut bytes).await.unwrap();
                assert!(n > 0, "ended without `{wanted}`: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .unwrap_or_else(|_| panic!("no `{wanted}`: {}", self.seen));
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// Reads to the end and gives the exit code.
    async fn end(&mut self) -> i32 {
        let mut rest = Vec::new();
        let end = async {
            self.screen.read_to_end(&mut rest).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(Duration::from_secs(20), end).await.expect("it does not end");
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        status.code().unwrap_or(-1)
    }
}

#[tokio::test]
async fn the_live_screen_is_drawn_again_in_place_and_given_back() {
    let rig = Rig::cloud().await;
    let mut terminal = Terminal::start(rig.home.path(), &["--url", rig.url(), "status"]);
    terminal.until("oven door", 0).await;
    terminal.until("\x1b[J", 0).await;
    let first = terminal.seen.len();
    let asked = rig.world().seen.len();
    terminal.until("\x1b[J", first).await;
    assert!(rig.world().seen.len() > asked, "the second picture was not asked for");
    assert!(terminal.seen[first..].contains("\x1b[H"));
    assert!(terminal.seen.lines().all(|l| !l.contains("\x1b[2J\x1b[2J")));
    // The server goes away for a while: the last picture stays, with a warning.
    rig.world().auth = true;
    let second = terminal.seen.len();
    terminal.until("unauthenticated", second).await;
    rig.world().auth = false;
    let third = terminal.seen.len();
    terminal.until("TWINS", third).await;
    terminal.press("\x03").await;
    assert_eq!(terminal.end().await, 0, "{}", terminal.seen);
    assert!(terminal.seen.trim_end().ends_with("\x1b[?25h\x1b[?1049l"), "{:?}", terminal.seen);
}

#[tokio::test]
async fn user_and_password_are_asked_for_and_the_password_is_not_shown() {
    let rig = Rig::cloud().await;
    let mut terminal = Terminal::start(rig.home.path(), &["login", rig.url()]);
    terminal.until("User: ", 0).await;
    terminal.press("admin\n").await;
    terminal.until("Password: ", 0).await;
    terminal.press("correct horse\n").await;
    assert_eq!(terminal.end().await, 0, "{}", terminal.seen);
    assert!(terminal.seen.contains("as admin until"), "{}", terminal.seen);
    assert!(!terminal.seen.contains("correct horse") && !terminal.seen.contains(TOKEN), "{}", terminal.seen);
    assert!(std::fs::read_to_string(rig.credentials()).unwrap().contains(TOKEN));
}

#[tokio::test]
async fn an_interrupted_question_gives_the_terminal_back() {
    let rig = Rig::cloud().await;
    let login = format!("{} login {} --user admin", env!("CARGO_BIN_EXE_twinway"), rig.url());
    let mut terminal = Terminal::shell(rig.home.path(), &format!("{login}; echo ended $?; stty -a"));
    terminal.until("Password: ", 0).await;
    terminal.press("corr\x03").await;
    assert_eq!(terminal.end().await, 0, "{}", terminal.seen);
    assert!(
        terminal.seen.contains("no password was given") && terminal.seen.contains("ended 1"),
        "{}",
        terminal.seen
    );
    for mode in [" echo ", " icanon ", "isig "] {
        assert!(terminal.seen.contains(mode), "{mode}: {}", terminal.seen);
    }
    assert!(!terminal.seen.contains("corr"), "{}", terminal.seen);
    assert!(!rig.credentials().exists());
}
