//! Versions beside the package, with real processes: a small service manager starts the gateway anew whenever it ends, and the
//! program itself signs, installs, watches and goes back. Bundles hold a script, which is a version that does what the test needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rig::{Plc, config};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_twinway-gateway");

/// A version that is this very program.
fn same() -> String {
    format!("exec {PROGRAM} \"$@\"")
}

struct Box {
    dir: TempDir,
    stop: Arc<AtomicBool>,
    manager: Option<JoinHandle<()>>,
}

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["update/incoming", "keys", "run", "state"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let restart =
            "#!/bin/sh\n[ ! -e \"$1/pid\" ] || kill -TERM \"$(cat \"$1/pid\")\" 2>/dev/null || true\n";
        script(&dir.path().join("restart"), restart);
        let own = Self { dir, stop: Arc::default(), manager: None };
        own.update(&["key", &own.at("keys/builder.key")], &[]);
        own
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts the gateway, again and again, as the unit does.
    fn manage(&mut self) {
        let (dir, stop) = (self.dir.path().to_owned(), self.stop.clone());
        self.manager = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut command = Command::new(PROGRAM);
                command.args(["run", "--last-good", "--versions"]).arg(dir.join("update"));
                command.arg("--config").arg(dir.join("gateway.toml"));
                command.env("STATE_DIRECTORY", dir.join("state")).env("RUNTIME_DIRECTORY", dir.join("run"));
                let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
                let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
                fs::write(dir.join("pid"), child.id().to_string()).unwrap();
                child.wait().unwrap();
                let _ = fs::remove_file(dir.join("pid"));
                let _ = fs::remove_file(dir.join("run/health.json"));
            }
        }));
    }

    fn update(&self, arguments: &[&str], more: &[&str]) -> Output {
        Command::new(PROGRAM).arg("update").args(arguments).args(more).output().unwrap()
    }

    /// With where everything is, and little patience.
    fn with(&self, arguments: &[&str], reach_s: &str) -> Output {
        self.start(arguments, reach_s).wait_with_output().unwrap()
    }

    fn start(&self, arguments: &[&str], reach_s: &str) -> Child {
        let restart = format!("{} {}", self.at("restart"), self.at(""));
        let (folder, keys, health) = (self.at("update"), self.at("keys"), self.at("run/health.json"));
        let place = ["--folder", &folder, "--keys", &keys, "--health", &health];
        let trial = ["--reach-s", reach_s, "--stay-s", "1", "--restart", &restart];
        let mut command = Command::new(PROGRAM);
        command.arg("update").args(arguments).args(place).args(trial);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn status(&self) -> Value {
        let (folder, health) = (self.at("update"), self.at("run/health.json"));
        let output = self.update(&["status", "--json", "--folder", &folder, "--health", &health], &[]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", told(&output)))
    }

    /// A signed bundle of a version that is this script.
    fn bundle(&self, version: &str, text: &str) -> String {
        let staged = self.dir.path().join(format!("staged-{version}"));
        script(&staged.join("usr/bin/twinway-gateway"), &format!("#!/bin/sh\n{text}\n"));
        let build = Command::new(PROGRAM).args(["version", "--json"]).output().unwrap();
        let mut build: Value = serde_json::from_slice(&build.stdout).unwrap();
        build["version"] = json!(version);
        let own = staged.join("usr/lib/twinway-gateway");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("build.json"), build.to_string()).unwrap();
        let to = self.at(&format!("{version}.twup"));
        let staged = staged.to_str().unwrap();
        let output = self.update(&["sign", staged, "--key", &self.at("keys/builder.key"), "--to", &to], &[]);
        assert!(output.status.success(), "{}", told(&output));
        to
    }

    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default()
    }

    /// Waits until the gateway says this of itself.
    fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let clock = common::Clock::system();
        let limit_us = clock.mono_us() + 120_000_000;
        loop {
            let status = self.status();
            if is(&status["runs"]) {
                return status;
            }
            assert!(clock.mono_us() < limit_us, "{what}: {status}\n{}", self.log());
        }
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(manager) = self.manager.take() {
            while !manager.is_finished() {
                let _ = Command::new(self.at("restart")).arg(self.at("")).status();
            }
            let _ = manager.join();
        }
    }
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn kill(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn runs(status: &Value) -> &str {
    status["runs"]["runs"].as_str().unwrap_or_default()
}

/// A box on which the packaged version reads.
fn packaged(plc: &Plc) -> Box {
    let mut own = Box::new();
    config(own.dir.path(), plc.addr);
    own.manage();
    own.until("the packaged one reads", |h| h["runs"] == "packaged" && h["polled"] == true);
    own
}

#[test]
fn a_good_version_is_kept_and_bad_ones_give_way_by_themselves() {
    let plc = Plc::start();
    let own = packaged(&plc);

    // Good: it stays.
    let output = own.with(&["install", &own.bundle("1.0.0", &same())], "120");
    assert_eq!(output.status.code(), Some(0), "{}\n{}", told(&output), own.log());
    let status = own.until("the new one", |h| h["polled"] == true);
    assert!(runs(&status).starts_with("1.0.0_"), "{status}");
    assert_eq!(
        (&status["state"]["trial"], &status["state"]["log"][1]["what"]),
        (&Value::Null, &json!("proven"))
    );

    // It crashes: three starts, then the one before, which never stopped being there.
    let crashes = own.bundle("1.1.0", "echo crash >&2; exit 1");
    let output = own.with(&["install", &crashes], "120");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("three starts of it failed"), "{}", told(&output));
    assert_eq!(own.log().matches("crash\n").count(), 3, "{}", own.log());
    let output = own.with(&["install", &crashes], "120");
    assert_eq!(output.status.code(), Some(64), "{}", told(&output));
    assert!(told(&output).contains("gave way before: three starts"), "{}", told(&output));

    // It refuses the configuration, with the status after which it would not be started again.
    let refuses = format!("exec {PROGRAM} run --config /dev/null");
    let output = own.with(&["install", &own.bundle("1.2.0", &refuses)], "120");
    assert!(told(&output).contains("three starts of it failed"), "{}", told(&output));

    // It hangs before it is ready.
    let output = own.with(&["install", &own.bundle("1.3.0", "exec sleep 1000")], "3");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("it does not run within 3 s"), "{}", told(&output));

    // It is ready and reads nothing, which the one before does.
    own.until("the good one", |h| h["polled"] == true);
    let blind = Box::new();
    let off = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = config(blind.dir.path(), off);
    let blind_run = format!("exec {PROGRAM} run --config {}", other.display());
    let output = own.with(&["install", &own.bundle("1.4.0", &blind_run)], "20");
    assert!(told(&output).contains("no device answered it"), "{}\n{}", told(&output), own.log());

    // No program of this machine at all.
    let output = own.with(&["install", &own.bundle("1.5.0", &"\u{0}".repeat(64))], "120");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));

    let status = own.until("the good one", |h| h["polled"] == true);
    assert!(runs(&status).starts_with("1.0.0_"), "{status}");
    let output = own.with(&["rollback", "--reason", "enough"], "1");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    own.until("the packaged one", |h| h["runs"] == "packaged" && h["polled"] == true);
}

#[test]
fn a_version_that_the_disk_spoils_long_after_it_has_proven_itself_gives_way() {
    let plc = Plc::start();
    let own = packaged(&plc);
    let bundle = own.bundle("1.0.0", &same());
    let output = own.with(&["install", &bundle], "120");
    assert_eq!(output.status.code(), Some(0), "{}\n{}", told(&output), own.log());
    let slot = runs(&own.until("the new one", |h| h["polled"] == true)).to_owned();

    let program = PathBuf::from(own.at(&format!("update/versions/{slot}/usr/bin/twinway-gateway")));
    script(&program, "#!/bin/sh\necho rotten >&2\nkill -SEGV $$\n");
    let restart = Command::new(own.at("restart")).arg(own.at("")).status().unwrap();
    assert!(restart.success());
    own.until("the packaged one reads", |h| h["runs"] == "packaged" && h["polled"] == true);
    let log = own.log();
    assert!(log.matches("rotten\n").count() <= 2 && log.contains("not what was installed any more"), "{log}");
    // The updater, which each start of the gateway starts, makes it so. The same bundle brings it back.
    let output = own.with(&["apply"], "120");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(own.status()["state"]["installed"], Value::Null);
    let output = own.with(&["install", &bundle], "120");
    assert_eq!(output.status.code(), Some(0), "{}\n{}", told(&output), own.log());
    own.until("the new one again", |h| h["runs"] == slot && h["polled"] == true);
}

#[test]
fn a_bundle_in_the_folder_is_taken_and_a_trial_that_was_cut_goes_on() {
    let plc = Plc::start();
    let mut own = Box::new();
    config(own.dir.path(), plc.addr);
    let (bundle, incoming) = (own.bundle("1.0.0", &same()), own.at("update/incoming/a.twup"));
    let bytes = fs::read(&bundle).unwrap();
    let mut spoilt = bytes.clone();
    let last = spoilt.len() - 1;
    spoilt[last] ^= 1;
    fs::write(&incoming, spoilt).unwrap();
    let output = own.with(&["apply"], "1");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("refused: ") && !Path::new(&incoming).exists(), "{}", told(&output));

    // The gateway does not come up while the updater waits, which is cut: the trial is still one.
    fs::write(&incoming, bytes).unwrap();
    let restart = own.at("no-restart");
    script(Path::new(&restart), "#!/bin/sh\nexit 1\n");
    let place =
        ["--folder", &own.at("update"), "--keys", &own.at("keys"), "--health", &own.at("run/health.json")];
    let output = own.update(&["apply", "--restart", &restart], &place);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("cannot restart") && !Path::new(&incoming).exists(), "{}", told(&output));
    assert_eq!(own.status()["state"]["trial"]["expects"], json!({ "poll": false, "session": false }));
    own.manage();
    own.until("the version on trial", |h| h["runs"].as_str().is_some_and(|r| r.starts_with("1.0.0_")));
    let output = own.with(&["apply"], "120");
    assert!(told(&output).contains("has proven itself"), "{}", told(&output));
    // As an installed version it changes nothing, and its own start is not looked for again.
    let program = own.at(&format!("update/versions/{}/usr/bin/twinway-gateway", runs(&own.status())));
    assert!(Command::new(program).arg("version").output().unwrap().status.success());
}

#[test]
fn a_trial_of_which_the_installer_is_gone_is_taken_over() {
    let plc = Plc::start();
    let own = packaged(&plc);
    let hangs = own.bundle("1.1.0", "exec sleep 1000");
    let mut by_hand = own.start(&["install", &hangs], "600");
    own.until("the hanging one", |h| *h == Value::Null && own.status()["state"]["trial"] != Value::Null);

    // The service, which the restart has started: it is not refused, but waits, and asks to be started again if that takes too long.
    let output = own.with(&["apply", "--wait-s", "0"], "2");
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let mut service = own.start(&["apply"], "2");
    let mut said = BufReader::new(service.stderr.take().unwrap()).lines();
    let line = said.next().unwrap().unwrap();
    assert!(line.contains("waits for another update, 600 s"), "{line}");
    assert!(own.status()["state"]["trial"] != Value::Null);

    // The person's terminal goes away.
    kill(&by_hand, "HUP");
    assert!(!by_hand.wait().unwrap().success());
    let said: Vec<String> = said.map(Result::unwrap).collect();
    assert_eq!(service.wait().unwrap().code(), Some(0), "{said:?}");
    assert!(said[0].contains("gave way to the one before: it does not run within 2 s"), "{said:?}");
    let status = own.until("the one before", |h| h["runs"] == "packaged" && h["polled"] == true);
    assert_eq!((&status["next"], &status["state"]["trial"]), (&json!("packaged"), &Value::Null), "{status}");
}

#[test]
fn an_updater_that_is_killed_at_any_step_leaves_what_runs_and_is_done_again() {
    let first = Box::new();
    let bundle = first.bundle("1.0.0", "echo whole");
    let verified = first.update(&["verify", &bundle, "--json", "--keys", &first.at("keys")], &[]);
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let slot = format!("1.0.0_{}", &verified["digest"].as_str().unwrap()[..8]);
    let kill_at = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kill_at.py");
    let mut was_switched = false;
    for step in 1.. {
        let own = Box::new();
        fs::copy(first.at("keys/builder.pub"), own.at("keys/builder.pub")).unwrap();
        fs::copy(&bundle, own.at("update/incoming/a.twup")).unwrap();
        let health = json!({ "pid": 1, "runs": slot, "ready": true });
        let (folder, keys, note) = (own.at("update"), own.at("keys"), own.at("run/health.json"));
        fs::write(&note, health.to_string()).unwrap();
        let apply = ["update", "apply", "--folder", &folder, "--keys", &keys, "--health", &note];
        let patience = ["--reach-s", "60", "--stay-s", "0", "--restart", "true"];
        let mut command = Command::new("/usr/bin/python3");
        command.args([kill_at, &step.to_string(), PROGRAM]).args(apply).args(patience);
        let output = command.output().unwrap();
        let is_over = told(&output).contains("ended 0");
        assert!(is_over || told(&output).contains("killed"), "step {step}: {}", told(&output));

        // Whatever would start now is whole.
        let status = own.status();
        let next = status["next"].as_str().unwrap();
        if next == slot {
            was_switched = true;
            let program = PathBuf::from(own.at(&format!("update/versions/{slot}/usr/bin/twinway-gateway")));
            assert_eq!(Command::new(program).output().unwrap().stdout, b"whole\n", "step {step}");
        } else {
            assert_eq!(next, "packaged", "step {step}");
            assert!(!was_switched || Path::new(&own.at("update/incoming/a.twup")).exists(), "step {step}");
        }
        // The next updater brings it to its end.
        let output = Command::new(PROGRAM).args(apply).args(patience).output().unwrap();
        assert!(output.status.success(), "step {step}: {}", told(&output));
        let status = own.status();
        assert_eq!((&status["next"], &status["state"]["trial"]), (&json!(slot), &Value::Null), "step {step}");
        let folders = fs::read_dir(own.at("update/versions")).unwrap().count();
        assert_eq!(
            (folders, fs::read_dir(own.at("update/incoming")).unwrap().count()),
            (1, 0),
            "step {step}"
        );
        if is_over {
            assert!(step > 15, "only {step} steps were tried");
            return;
        }
    }
}
