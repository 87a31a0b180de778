//! A plant with a box in it as the package leaves it: a gateway that runs and reads nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_modbus::Table;
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::server::{Device, serve};
use serial2_tokio::SerialPort;
use tests::process::{Process, program};
use tests::{Api, Cloud, until};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// No service of this machine: the test itself runs the gateway.
pub(crate) const NO_SERVICE: &str = "twinway-gateway-of-nobody";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the project").to_owned()
}

/// Unit 3 on a serial line: 20 holding registers; other units are silent, and what is no read is counted.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<([u16; 20], u64)>>);

impl Meter {
    pub(crate) fn set(&self, at: usize, word: u16) {
        self.0.lock().expect("no panic holds it").0[at] = word;
    }

    pub(crate) fn writes(&self) -> u64 {
        self.0.lock().expect("no panic holds it").1
    }

    /// On a pseudo terminal; gives its path.
    pub(crate) fn serve(&self) -> String {
        let before = terminals();
        let (master, slave) = SerialPort::pair().expect("a pseudo terminal");
        let path = terminals().into_iter().find(|t| !before.contains(t)).expect("its other end");
        let meter = self.clone();
        tokio::spawn(async move {
            // Without anybody at the other end it would hang up.
            let _open = slave;
            let _ = serve(master, Framing::Rtu, &meter).await;
        });
        path.to_str().expect("a UTF-8 path").to_owned()
    }
}

impl Device for Meter {
    fn answer(&self, unit: u8, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Option<Exception>> {
        let mut held = self.0.lock().expect("no panic holds it");
        if unit != 3 {
            return Err(None);
        }
        let from = usize::from(request.address());
        let Request::Read { table: Table::Holding, count, .. } = *request else {
            held.1 += u64::from(request.is_write());
            return Err(Some(Exception::ILLEGAL_FUNCTION));
        };
        let words = held.0.get(from..from + usize::from(count)).ok_or(Some(Exception::ILLEGAL_ADDRESS))?;
        data.extend(words.iter().flat_map(|w| w.to_be_bytes()));
        Ok(())
    }
}

/// A master of somebody else on a serial line, which asks unit 17 four times a second.
#[derive(Clone, Default)]
pub(crate) struct Master(Arc<Mutex<Vec<u8>>>);

impl Master {
    /// On a pseudo terminal; gives its path.
    pub(crate) fn poll(&self) -> String {
        let before = terminals();
        let (master, slave) = SerialPort::pair().expect("a pseudo terminal");
        let path = terminals().into_iter().find(|t| !before.contains(t)).expect("its other end");
        let heard = self.0.clone();
        tokio::spawn(async move {
            let _open = slave;
            let mut room = [0; 256];
            loop {
                tokio::select! {
                    read = master.read(&mut room) => {
                        let read = read.unwrap_or(0);
                        heard.lock().expect("no panic holds it").extend(&room[..read]);
                    }
                    () = tokio::time::sleep(Duration::from_millis(250)) => {
                        let asks = [0x11, 0x03, 0x00, 0x6b, 0x00, 0x03, 0x76, 0x87];
                        let _ = master.write_all(&asks).await;
                    }
                }
            }
        });
        path.to_str().expect("a UTF-8 path").to_owned()
    }

    /// Whether it heard somebody ask for holding register 0 of unit 1.
    pub(crate) fn was_talked_over(&self) -> bool {
        let heard = self.0.lock().expect("no panic holds it");
        heard.windows(8).any(|w| w == [0x01, 0x03, 0x00, 0x00, 0x00, 0x01, 0x84, 0x0a])
    }
}

/// The pseudo terminals that this process has open.
fn terminals() -> Vec<PathBuf> {
    let fds = std::fs::read_dir("/proc/self/fd").expect("open files").flatten();
    fds.filter_map(|fd| std::fs::read_link(fd.path()).ok()).filter(|to| to.starts_with("/dev/pts")).collect()
}

/// asyncua as a server that demands security of whoever wants it.
pub(crate) struct Press {
    child: Child,
    pub(crate) url: String,
}

impl Press {
    pub(crate) fn start(folder: &Path) -> Self {
        let python = root().join("target/asyncua/bin/python");
        assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
        let mut child = Command::new(python)
            .arg(root().join("gateway/adapters/tests/opcua/server.py"))
            .args(["security=all".to_owned(), format!("folder={}", folder.display())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = lines.map_while(Result::ok).find(|l| l.starts_with("ready ")).expect("a port");
        Self { child, url: format!("opc.tcp://127.0.0.1:{}/plant", ready.trim_start_matches("ready ")) }
    }
}

impl Drop for Press {
    fn drop(&mut self) {
        if let Some(input) = &mut self.child.stdin {
            let _ = writeln!(input, "stop");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The box.
pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    pub(crate) gateway: Option<Process>,
}

impl Site {
    /// As installed, but for ports and folders: those are set beside the configuration, which init leaves alone.
    pub(crate) fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir.join("conf.d")).expect("a folder");
        let installed = std::fs::read_to_string(root().join("config/box/gateway.toml")).expect("it");
        std::fs::write(dir.join("gateway.toml"), installed).expect("a configuration");
        let rig = format!(
            "[gateway]\ndata_dir = {:?}\n[api]\nlisten = \"127.0.0.1:0\"\nsocket = {:?}\n[broker]\nlisten = \"127.0.0.1:0\"\n",
            dir.join("data"),
            dir.join("api.sock")
        );
        std::fs::write(dir.join("conf.d/rig.toml"), rig).expect("a configuration");
        Self { dir: dir.to_owned(), gateway: None }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("gateway.toml")
    }

    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("a configuration")
    }

    pub(crate) fn socket(&self) -> String {
        self.dir.join("api.sock").to_str().expect("a UTF-8 path").to_owned()
    }

    pub(crate) fn api(&self) -> Api {
        Api::of_socket(&self.dir.join("api.sock"))
    }

    /// Starts the gateway, the one before stopped, as a service manager does; it answers when this returns.
    pub(crate) async fn restart(&mut self) {
        if let Some(mut before) = self.gateway.take() {
            before.signal("TERM");
            before.wait(LIMIT).await;
        }
        let file = self.file();
        let words = ["run", "--config", file.to_str().expect("a UTF-8 path")];
        self.gateway = Some(Process::start(&program("twinway-gateway"), &words, self.dir.join("log")));
        until("the gateway", LIMIT, || async {
            let asked = self.api().request(reqwest::Method::GET, "/api/v1/gateways").send().await;
            asked.ok().filter(|a| a.status().is_success())
        })
        .await;
    }

    /// Restarts the gateway once the configuration has another name, as an installer without systemd would.
    pub(crate) async fn follow(&mut self, name: &str) {
        let line = format!("id = \"{name}\"");
        until("a new configuration", LIMIT, || async { self.text().contains(&line).then_some(()) }).await;
        self.restart().await;
    }

    /// Words of `init` that every run here has.
    pub(crate) fn init(&self) -> Vec<String> {
        let (socket, file) = (self.socket(), self.file());
        let words = ["--socket", &socket, "init", "--config", file.to_str().expect("a UTF-8 path")];
        let more = ["--service", NO_SERVICE, "--rate", "1000", "--units", "1-4"];
        words.into_iter().chain(more).map(str::to_owned).collect()
    }
}

/// The command line; what it prints is JSON.
pub(crate) async fn twinway(words: Vec<String>) -> Output {
    twinway_with(words, None).await
}

/// The same with programs of the system found elsewhere first.
pub(crate) async fn twinway_with(words: Vec<String>, path: Option<String>) -> Output {
    let mut command = Command::new(program("twinway"));
    command.args(["--output", "json"]).args(words).stdin(Stdio::null());
    command.env_remove("TWINWAY_URL").env_remove("TWINWAY_SOCKET").env_remove("TWINWAY_TOKEN");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
}

pub(crate) fn json(output: &Output) -> serde_json::Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// A code of the cloud's administrator.
pub(crate) async fn code(cloud: &Cloud, gateway: &str) -> String {
    let body = serde_json::json!({ "gateway": gateway });
    let asked =
        cloud.api().request(reqwest::Method::POST, "/api/v1/enrolment-codes").json(&body).send().await;
    let made: serde_json::Value = asked.expect("an answer").json().await.expect("JSON");
    made["code"].as_str().unwrap_or_else(|| panic!("no code: {made}")).to_owned()
}

/// What `systemctl` does for one unit, for a machine on which systemd is not the first process: it runs the box's real gateway.
pub(crate) struct Manager {
    dir: PathBuf,
}

impl Manager {
    pub(crate) fn new(site: &Site) -> Self {
        let dir = site.dir.join("manager");
        std::fs::create_dir_all(&dir).expect("a folder");
        let (at, gateway, file) = (dir.display(), program("twinway-gateway"), site.file());
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {at}/asked\ncase \"$1\" in\nshow) echo loaded ;;\nrestart)\n\
             if [ -f {at}/pid ]; then p=$(cat {at}/pid); kill $p\n\
             while [ -d /proc/$p ] && ! grep -q '^State:.Z' /proc/$p/status; do sleep 0.1; done; fi\n\
             {} run --config {} >> {at}/log 2>&1 < /dev/null &\necho $! > {at}/pid ;;\n*) exit 1 ;;\nesac\n",
            gateway.display(),
            file.display()
        );
        let path = dir.join("systemctl");
        std::fs::write(&path, script).expect("a script");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("it runs");
        Self { dir }
    }

    /// What finds it before the machine's own.
    pub(crate) fn path(&self) -> String {
        format!("{}:{}", self.dir.display(), std::env::var("PATH").unwrap_or_default())
    }

    /// What it was asked.
    pub(crate) fn asked(&self) -> String {
        std::fs::read_to_string(self.dir.join("asked")).unwrap_or_default()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.dir.join("pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
    }
}
