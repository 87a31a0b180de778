//! The program under a service manager: what it tells over a real notify socket, the watchdog, and the way back from a
//! configuration that does not start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gateway_update::Health;
use rig::{Plc, config, until};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixDatagram;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_twinway-gateway");
/// For what takes a debug program on a busy machine a while.
const LIMIT: Duration = Duration::from_secs(60);

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(dir: &Path) -> Self {
        let path = dir.join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    /// The next message, its lines.
    async fn next(&self) -> Vec<String> {
        let mut text = vec![0; 4096];
        let length = timeout(LIMIT, self.socket.recv(&mut text)).await.expect("a message").unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    /// Takes messages until one has a line that begins so; gives that message.
    async fn until(&self, line: &str) -> Vec<String> {
        let found = async {
            loop {
                let message = self.next().await;
                if message.iter().any(|l| l.starts_with(line)) {
                    return message;
                }
            }
        };
        timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("was not told {line}"))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("NOTIFY_SOCKET", &self.path).stderr(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// What an updater sees.
fn health(dir: &Path) -> Health {
    Health::load(&dir.join("health.json")).expect("a gateway says how it fares")
}

fn signal(id: u32, name: &str) {
    let status = std::process::Command::new("kill").args([name, &id.to_string()]).status();
    assert!(status.unwrap().success());
}

async fn ended(child: &mut Child) -> Option<i32> {
    timeout(LIMIT, child.wait()).await.expect("its end").unwrap().code()
}

#[tokio::test]
async fn it_is_ready_with_the_first_good_poll_and_tells_reload_and_end() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::new(dir.path());
    let file = config(dir.path(), plc.addr);
    let mut child = manager.command(PROGRAM).args(["run", "--config"]).arg(&file).spawn().unwrap();
    let first = manager.until("READY=1").await;
    assert_eq!(first, ["READY=1", "STATUS=1 of 1 devices online; cloud: none"]);
    signal(child.id().unwrap(), "-HUP");
    let reloading = manager.until("RELOADING=1").await;
    assert!(reloading.iter().any(|l| l.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    manager.until("READY=1").await;
    signal(child.id().unwrap(), "-TERM");
    manager.until("STOPPING=1").await;
    assert_eq!(ended(&mut child).await, Some(0));
}

#[tokio::test]
async fn a_plant_that_is_off_does_not_keep_it_from_being_ready() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::new(dir.path());
    // Nobody listens there.
    let off = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = config(dir.path(), off);
    let mut child = manager.command(PROGRAM).args(["run", "--config"]).arg(&file).spawn().unwrap();
    let told = manager.until("READY=1").await;
    assert_eq!(told, ["READY=1", "STATUS=0 of 1 devices online; cloud: none"]);
    signal(child.id().unwrap(), "-TERM");
    assert_eq!(ended(&mut child).await, Some(0));
}

/// Segments that cannot be read before somebody has written to them: who opens a pipe waits for that. So a start goes on as
/// the test does. They are two, so that the one that is opened next is never the one that is just let on, which may be open still.
fn slow_buffer(dir: &Path) -> [PathBuf; 2] {
    let log = dir.join("data/buffer/log");
    std::fs::create_dir_all(&log).unwrap();
    let paths = [1, 2].map(|n| log.join(format!("{n:020}.seg")));
    let made = std::process::Command::new("mkfifo").args(&paths).status();
    assert!(made.unwrap().success());
    paths
}

async fn let_on(segment: &Path) {
    let path = segment.to_owned();
    let opened = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(path));
    timeout(LIMIT, opened).await.expect("somebody reads").unwrap().unwrap();
}

#[tokio::test]
async fn a_long_start_asks_for_more_time_as_long_as_it_goes_on() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::new(dir.path());
    let file = config(dir.path(), plc.addr);
    let segments = slow_buffer(dir.path());
    let mut command = manager.command(PROGRAM);
    command.args(["run", "--config"]).arg(&file).env("RUNTIME_DIRECTORY", dir.path());
    let mut child = command.spawn().unwrap();
    // Whether there is a key for each is looked at first.
    for segment in &segments {
        let_on(segment).await;
    }
    let mut told = Vec::new();
    for segment in &segments {
        told.push(manager.next().await);
        // An updater that watches is told as well.
        let health = health(dir.path());
        assert_eq!((health.start_step, health.ready), (told.len() as u64 + 1, false));
        let_on(segment).await;
    }
    for (at, message) in told.iter().enumerate() {
        let step = at + 2;
        let expected = [
            "EXTEND_TIMEOUT_USEC=120000000".to_owned(),
            format!("STATUS=starts: reads the buffer, step {step}"),
        ];
        assert_eq!(*message, expected);
    }
    manager.until("READY=1").await;
    until("an updater sees that it is ready", || async { health(dir.path()).ready.then_some(()) }).await;
    assert_eq!(health(dir.path()).start_step, 0);
    signal(child.id().unwrap(), "-TERM");
    assert_eq!(ended(&mut child).await, Some(0));
}

#[tokio::test]
async fn a_start_that_somebody_ends_has_not_failed() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::new(dir.path());
    config(dir.path(), plc.addr);
    let starts = dir.path().join("data/starts.json");
    let segments = slow_buffer(dir.path());
    let mut command = manager.command(PROGRAM);
    command.args(["run", "--last-good", "--config"]).arg(dir.path().join("gateway.toml"));
    let mut child = command.spawn().unwrap();
    for segment in &segments {
        let_on(segment).await;
    }
    // It listens to signals by then, and waits for the first a second time.
    manager.until("EXTEND_TIMEOUT_USEC=").await;
    assert!(starts.exists());
    signal(child.id().unwrap(), "-TERM");
    assert_eq!(ended(&mut child).await, Some(0));
    assert!(!starts.exists());
}

/// A gateway of which the thread of the field can be stopped alone.
struct Stoppable {
    child: Child,
    gateway: u32,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Stoppable {
    async fn start(manager: &Manager, file: &Path, watchdog: Duration) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stop_thread.py");
        let mut command = manager.command("/usr/bin/python3");
        command.args([script, "field", PROGRAM, "run", "--config"]).arg(file);
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut from = BufReader::new(from).lines();
        let gateway = from.next_line().await.unwrap().unwrap().parse().unwrap();
        Self { child, gateway, to, from }
    }

    /// Stops the thread, or lets it go on.
    async fn turn(&mut self, answer: &str) {
        self.to.write_all(b"\n").await.unwrap();
        self.to.flush().await.unwrap();
        assert_eq!(timeout(LIMIT, self.from.next_line()).await.unwrap().unwrap().as_deref(), Some(answer));
    }
}

#[tokio::test]
async fn the_watchdog_is_fed_only_while_the_loops_of_the_field_turn() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::new(dir.path());
    let file = config(dir.path(), plc.addr);
    let watchdog = Duration::from_secs(1);
    let mut gateway = Stoppable::start(&manager, &file, watchdog).await;
    manager.until("READY=1").await;
    for _ in 0..3 {
        manager.until("WATCHDOG=1").await;
    }
    gateway.turn("stopped").await;
    // Timers and the API live in other threads: the daemon still speaks, and says what stands still.
    let told = manager.until("STATUS=modbus").await;
    assert!(told[0].contains("stands still"), "{told:?}");
    for _ in 0..6 {
        let told = manager.next().await;
        assert!(!told.contains(&"WATCHDOG=1".to_owned()), "fed while the loops stand still: {told:?}");
    }
    gateway.turn("goes on").await;
    manager.until("WATCHDOG=1").await;
    signal(gateway.gateway, "-TERM");
    manager.until("STOPPING=1").await;
    drop(gateway.to);
    assert_eq!(timeout(LIMIT, gateway.child.wait()).await.unwrap().unwrap().code(), Some(0));
}

/// Runs it as the service does.
fn start(dir: &Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--last-good", "--config"]).arg(dir.join("gateway.toml"));
    command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

async fn is_up(dir: &Path, child: &mut Child) {
    until("its addresses", || {
        assert_eq!(child.try_wait().unwrap().and_then(|s| s.code()), None, "it ended");
        let there = dir.join("data/addresses.json").exists();
        async move { there.then_some(()) }
    })
    .await;
}

#[tokio::test]
async fn a_configuration_that_fails_to_start_three_times_gives_way_to_the_last_good_one() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), plc.addr);
    let good =
        std::fs::read_to_string(&file).unwrap().replace("[gateway]\n", "[gateway]\nproven_after_s = 0\n");
    std::fs::write(&file, &good).unwrap();
    let mut child = start(dir.path());
    is_up(dir.path(), &mut child).await;
    let kept = dir.path().join("data/last-good/gateway.toml");
    until("a copy of the good one", || {
        let there = kept.exists() && !dir.path().join("data/starts.json").exists();
        async move { there.then_some(()) }
    })
    .await;
    signal(child.id().unwrap(), "-TERM");
    assert_eq!(ended(&mut child).await, Some(0));
    std::fs::remove_file(dir.path().join("data/addresses.json")).unwrap();

    // No mistake that `check` could see: another program has the address.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("[api]\nlisten = \"{}\"", taken.local_addr().unwrap());
    std::fs::write(&file, good.replace("[api]\nlisten = \"127.0.0.1:0\"", &api)).unwrap();
    for start_of in 1..=3 {
        let output = timeout(LIMIT, start(dir.path()).wait_with_output()).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "start {start_of}: {told}");
        assert!(told.contains("api cannot listen"), "{told}");
    }
    let mut child = start(dir.path());
    is_up(dir.path(), &mut child).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let client = client.unix_socket(dir.path().join("api.sock")).build().unwrap();
    let get = async |path: &str| {
        let answer = client.get(format!("http://localhost/api/v1/{path}")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let shown: serde_json::Value = serde_json::from_str(&get("config").await).unwrap();
    assert_eq!(shown["is_last_good"], true, "{shown}");
    let why = shown["last_reload"]["mistakes"][0].as_str().unwrap();
    assert!(why.contains("gateway.toml") && why.contains("3 starts with it failed"), "{why}");
    let events = get("audit").await;
    assert!(events.contains("config.last_good") && events.contains("3 starts with it failed"), "{events}");

    // It goes on so, now and at later starts: nobody takes by a reload what fails at each start.
    for _ in 0..2 {
        for _ in 0..30 {
            let shown: serde_json::Value = serde_json::from_str(&get("config").await).unwrap();
            assert_eq!(shown["is_last_good"], true, "{shown}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), good, "the copy is the good one");
        // Ended by nobody.
        signal(child.id().unwrap(), "-KILL");
        assert_eq!(ended(&mut child).await, None);
        std::fs::remove_file(dir.path().join("data/addresses.json")).unwrap();
        child = start(dir.path());
        is_up(dir.path(), &mut child).await;
    }

    // The mistake is mended: the next start is with the files again.
    signal(child.id().unwrap(), "-TERM");
    let told = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("the last good one runs instead"));
    std::fs::remove_file(dir.path().join("data/addresses.json")).unwrap();
    std::fs::write(&file, format!("{good}# mended\n")).unwrap();
    let mut child = start(dir.path());
    is_up(dir.path(), &mut child).await;
    let shown: serde_json::Value = serde_json::from_str(&get("config").await).unwrap();
    assert!(!shown["is_last_good"].as_bool().unwrap_or_default(), "{shown}");
    signal(child.id().unwrap(), "-TERM");
    assert_eq!(ended(&mut child).await, Some(0));
}
