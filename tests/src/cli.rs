//! The command line as the cloud's administrator.

use std::process::Command;

use crate::Cloud;
use crate::process::program;

/// What it gave.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// `twinway` with these words, signed in as the cloud's client is.
pub async fn twinway(cloud: &Cloud, words: &[&str]) -> Said {
    let mut command = Command::new(program("twinway"));
    command.args(["--url", &format!("http://{}", cloud.http)]).args(words);
    command.env("TWINWAY_TOKEN", cloud.api().token().expect("signed in"));
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code().expect("an exit code"),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}
