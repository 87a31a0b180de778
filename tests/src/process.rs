//! A program of ours as a child process with its log in a file; it dies with its handle.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::wait::until;

/// Where a program of ours was built: beside this test or benchmark.
pub fn program(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().expect("the path of this program");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace --bins` first", path.display());
    path
}

/// What a program writes of where it listens, and where it was before: the next start is to be there again.
#[derive(Debug)]
pub(crate) struct Listening {
    now: PathBuf,
    before: PathBuf,
    /// Which file it was before the start; that of the start is another.
    old: Option<u64>,
}

impl Listening {
    /// Of a program that keeps its data in `dir/data` and is to be started.
    pub(crate) fn new(dir: &Path) -> Self {
        let now = dir.join("data/addresses.json");
        Self { old: number(&now), now, before: dir.join("addresses.before.json") }
    }

    /// Where it was at the start before.
    pub(crate) fn before<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&std::fs::read_to_string(&self.before).ok()?).ok()
    }

    /// Where it is, once it says so.
    pub(crate) fn now<T: DeserializeOwned>(&self) -> Option<T> {
        number(&self.now).filter(|number| Some(*number) != self.old)?;
        let text = std::fs::read_to_string(&self.now).ok()?;
        let found = serde_json::from_str(&text).ok()?;
        std::fs::write(&self.before, text).expect("a file");
        Some(found)
    }
}

fn number(file: &Path) -> Option<u64> {
    Some(std::fs::metadata(file).ok()?.ino())
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `args`; what it prints goes to `log`.
    pub fn start(program: &Path, args: &[&str], log: PathBuf) -> Self {
        Self::start_with(program, args, log, &[])
    }

    /// The same with more in its environment.
    pub fn start_with(program: &Path, args: &[&str], log: PathBuf, env: &[(String, String)]) -> Self {
        let out = File::options().create(true).append(true).open(&log).expect("a log file");
        let err = out.try_clone().expect("a log file");
        let child = Command::new(program)
            .args(args)
            .env("RUST_BACKTRACE", "1")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        Self { child, log }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Whether and how it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child to ask about")
    }

    /// Waits for its end.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let child = std::sync::Mutex::new(&mut self.child);
        until("end of the process", limit, || {
            let status = child.lock().expect("no panic holds it").try_wait().expect("a child to ask about");
            async move { status }
        })
        .await
    }

    /// Resident memory, MB.
    pub fn rss_mb(&self) -> f64 {
        self.status_mb("VmRSS:")
    }

    /// What of its resident memory is its own, and not of files, MB.
    pub fn own_mb(&self) -> f64 {
        self.status_mb("RssAnon:")
    }

    /// The most memory that it had resident since its start, MB.
    pub fn peak_rss_mb(&self) -> f64 {
        self.status_mb("VmHWM:")
    }

    fn status_mb(&self, key: &str) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a living process");
        let kb = status.lines().find_map(|l| l.strip_prefix(key)).expect("its key");
        kb.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    }

    /// Context switches of all its threads so far, voluntary or not.
    pub fn switches(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a living process");
        let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status"));
        let lines = |text: String| {
            let counts =
                text.lines().filter_map(|l| l.split_once("_ctxt_switches:")?.1.trim().parse::<u64>().ok());
            counts.sum::<u64>()
        };
        tasks.flatten().filter_map(|task| status(task).ok()).map(lines).sum()
    }

    /// Processor time used so far, seconds.
    pub fn cpu_s(&self) -> f64 {
        cpu_s(self.child.id())
    }

    /// What of it was spent in the kernel, seconds.
    pub fn kernel_s(&self) -> f64 {
        times_s(self.child.id())[1]
    }
}

/// Processor time that a living process used so far, seconds.
pub fn cpu_s(id: u32) -> f64 {
    times_s(id).iter().sum()
}

/// Its own and in the kernel.
fn times_s(id: u32) -> [f64; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a living process");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().expect("a number");
    [ticks(11), ticks(12)].map(|ticks| ticks / 100.0)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
