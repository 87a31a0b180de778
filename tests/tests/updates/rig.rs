//! A cloud's command line, and boxes as a service manager runs them: the gateway starts anew whenever it ends, and the updater takes
//! what is in its folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::api::{RolloutView, UpdateView};
use serde_json::Value;
use tests::cli::{Said, twinway};
use tests::gateway::{registers_device, write_private};
use tests::process::program;
use tests::{Cloud, until};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The command line, which must succeed.
pub(crate) async fn done(cloud: &Cloud, words: &[&str]) -> Said {
    let said = twinway(cloud, words).await;
    assert_eq!(said.code, 0, "{words:?}: {said:?}");
    said
}

pub(crate) async fn update(cloud: &Cloud, gateway: &str) -> UpdateView {
    cloud.api().get(&format!("/api/v1/gateways/{gateway}/update")).await
}

pub(crate) async fn rollout(cloud: &Cloud) -> RolloutView {
    cloud.api().get("/api/v1/rollout").await
}

/// Who signs bundles.
pub(crate) struct Signer {
    dir: PathBuf,
}

impl Signer {
    pub(crate) fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        let key = dir.join("builder.key");
        run(Command::new(program("twinway-gateway")).args(["update", "key"]).arg(key));
        Self { dir: dir.to_owned() }
    }

    /// A bundle of a version that is this script, with so many bytes beside it.
    pub(crate) fn bundle(&self, version: &str, script: &str, padding: usize) -> String {
        let staged = self.dir.join(format!("staged-{version}"));
        executable(&staged.join("usr/bin/twinway-gateway"), &format!("#!/bin/sh\n{script}\n"));
        let told = run(Command::new(program("twinway-gateway")).args(["version", "--json"]));
        let mut build: Value = serde_json::from_slice(&told.stdout).expect("JSON");
        build["version"] = version.into();
        let own = staged.join("usr/lib/twinway-gateway");
        std::fs::create_dir_all(&own).expect("a folder");
        std::fs::write(own.join("build.json"), build.to_string()).expect("a file");
        // What no compression makes smaller.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = (0..padding).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        });
        std::fs::write(own.join("noise"), noise.collect::<Vec<_>>()).expect("a file");
        let to = self.dir.join(format!("{version}.twup"));
        let mut sign = Command::new(program("twinway-gateway"));
        run(sign
            .args(["update", "sign"])
            .arg(&staged)
            .arg("--key")
            .arg(self.dir.join("builder.key"))
            .arg("--to")
            .arg(&to));
        to.to_str().expect("a UTF-8 path").to_owned()
    }

    fn public(&self) -> PathBuf {
        self.dir.join("builder.pub")
    }
}

/// A version that is the program built here.
pub(crate) fn same() -> String {
    format!("exec {} \"$@\"", program("twinway-gateway").display())
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// A box with its service manager, while that runs.
pub(crate) struct Managed {
    pub(crate) dir: PathBuf,
    stop: Arc<AtomicBool>,
    manager: Option<JoinHandle<()>>,
    updater: Option<tokio::task::JoinHandle<()>>,
}

impl Managed {
    /// One of this name that trusts the signer, if there is one, with more keys of `[uplink]`. It does not run yet.
    pub(crate) async fn new(
        dir: &Path,
        (cloud, ingress): (&Cloud, SocketAddr),
        (name, plc): (&str, SocketAddr),
        (trusted, keys): (Option<&Signer>, &str),
    ) -> Self {
        let dir = dir.join(name);
        for folder in ["update/incoming", "keys", "run", "state"] {
            std::fs::create_dir_all(dir.join(folder)).expect("a folder");
        }
        if let Some(signer) = trusted {
            std::fs::copy(signer.public(), dir.join("keys/builder.pub")).expect("a copy");
        }
        write_private(&dir.join("secret"), &cloud.gateway_secret(name).await);
        let config = format!(
            "[gateway]\nid = \"{name}\"\ndata_dir = {:?}\nproven_after_s = 1\n[api]\nlisten = \"127.0.0.1:0\"\n\
             [broker]\nlisten = \"127.0.0.1:0\"\n[uplink]\nurl = \"mqtt://{ingress}\"\npassword_file = {:?}\n\
             update_folder = {:?}\nupdate_trust = {:?}\n{keys}\n{}",
            dir.join("data"),
            dir.join("secret"),
            dir.join("update"),
            dir.join("keys"),
            registers_device(plc, 1, 50).replace("plant/hall/plc", &format!("plant/{name}/plc")),
        );
        std::fs::write(dir.join("gateway.toml"), config).expect("a configuration");
        let restart =
            "#!/bin/sh\n[ ! -e \"$1/pid\" ] || kill -TERM \"$(cat \"$1/pid\")\" 2>/dev/null || true\n";
        executable(&dir.join("restart"), restart);
        Self { dir, stop: Arc::default(), manager: None, updater: None }
    }

    /// Starts the gateway, again and again, as the unit does.
    pub(crate) fn start(&mut self) {
        self.stop = Arc::default();
        let (dir, stop) = (self.dir.clone(), self.stop.clone());
        self.manager = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut command = Command::new(program("twinway-gateway"));
                command.args(["run", "--last-good", "--versions"]).arg(dir.join("update"));
                command.arg("--config").arg(dir.join("gateway.toml"));
                command.env("STATE_DIRECTORY", dir.join("state")).env("RUNTIME_DIRECTORY", dir.join("run"));
                let log = std::fs::File::options().create(true).append(true).open(dir.join("log"));
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
                let mut child = command.spawn().expect("it starts");
                std::fs::write(dir.join("pid"), child.id().to_string()).expect("a file");
                child.wait().expect("it ends");
                let _ = std::fs::remove_file(dir.join("pid"));
                let _ = std::fs::remove_file(dir.join("run/health.json"));
            }
        }));
    }

    /// Runs the updater whenever there is a bundle, as its unit does.
    pub(crate) fn with_updater(&mut self) {
        let dir = self.dir.clone();
        self.updater = Some(tokio::spawn(async move {
            loop {
                until("a bundle", Duration::from_secs(3600), || async {
                    (!bundles(&dir).is_empty()).then_some(())
                })
                .await;
                let at = |name: &str| dir.join(name).to_str().expect("a UTF-8 path").to_owned();
                let restart = format!("{} {}", at("restart"), at(""));
                let mut apply = Command::new(program("twinway-gateway"));
                apply.args(["update", "apply", "--folder", &at("update"), "--keys", &at("keys")]);
                apply.args(["--health", &at("run/health.json"), "--restart", &restart]);
                apply.args(["--reach-s", "60", "--stay-s", "1"]);
                tokio::task::spawn_blocking(move || apply.output().expect("it runs")).await.expect("it ends");
            }
        }));
    }

    /// Ends the gateway and does not start it again.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(manager) = self.manager.take() {
            while !manager.is_finished() {
                let _ = Command::new(self.dir.join("restart")).arg(&self.dir).status();
            }
            let _ = manager.join();
        }
    }

    /// kill -9, if it runs; its service manager starts it again.
    pub(crate) fn kill(&self) -> bool {
        let Ok(pid) = std::fs::read_to_string(self.dir.join("pid")) else { return false };
        Command::new("kill").args(["-KILL", &pid]).status().is_ok_and(|s| s.success())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// What lies in the updater's folder.
    pub(crate) fn incoming(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.join("update/incoming")).expect("a folder").flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn bundles(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("update/incoming")).expect("a folder").flatten();
    entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "twup")).collect()
}

impl Drop for Managed {
    fn drop(&mut self) {
        if let Some(updater) = self.updater.take() {
            updater.abort();
        }
        self.stop();
    }
}
