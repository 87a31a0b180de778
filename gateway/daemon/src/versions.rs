//! Which version of the program runs: at a start the packaged one hands over to what is installed, and whatever runs says how it
//! fares, for the updater that watches it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_update::{Folder, GAVE_WAY, Health, ON_TRIAL, PACKAGED, Program, RUNS, choose, programs};
use tokio::time::{Instant, sleep};

use crate::VERSION;
use crate::gateway::Handle;
use crate::systemd::READY_LIMIT;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Where notes are if the service manager does not say.
const STATE_DIR: &str = "/var/lib/twinway";

/// What this process is.
static OWN: OnceLock<Program> = OnceLock::new();
static WAS_READY: AtomicBool = AtomicBool::new(false);

/// Goes on as the version that is installed in `folder`; comes back where this program is the one to run. `counted`: it is a start
/// of the gateway, which a version on trial has only a few of.
#[allow(clippy::print_stderr)] // logs do not run yet
pub fn hand_over(folder: &Path, counted: bool) {
    let Ok(packaged) = VERSION.parse() else { return };
    let folder = Folder::new(folder);
    let notes = systemd_folder("STATE_DIRECTORY").unwrap_or_else(|| STATE_DIR.into());
    let best = if counted { choose(&folder, &packaged, &notes) } else { programs(&folder, &packaged) };
    for program in best {
        for spoilt in &program.spoilt {
            eprintln!(
                "version {spoilt}: its program on the disk is not what was installed any more, {} runs instead: install it again, and \
                 look at the disk",
                program.runs
            );
        }
        let Some(path) = &program.path else {
            let _ = OWN.set(program);
            return;
        };
        if let Some(trial) = &program.gave_way {
            eprintln!("version {trial}: its starts failed, {} runs instead", program.runs);
        }
        let mut command = Command::new(path);
        command.args(arguments()).env(RUNS, &program.runs).env_remove(ON_TRIAL).env_remove(GAVE_WAY);
        command.envs(program.on_trial.iter().map(|trial| (ON_TRIAL, trial)));
        command.envs(program.gave_way.iter().map(|trial| (GAVE_WAY, trial)));
        let error = command.exec();
        eprintln!("{}: {error}: what is behind it runs instead", path.display());
    }
}

/// Those of this process without `--versions`: the other one shall not look again.
fn arguments() -> Vec<OsString> {
    let mut left = std::env::args_os().skip(1);
    let mut arguments = Vec::new();
    while let Some(argument) = left.next() {
        if argument == "--versions" {
            left.next();
        } else if !argument.to_string_lossy().starts_with("--versions=") {
            arguments.push(argument);
        }
    }
    arguments
}

/// The first one that the service manager names.
fn systemd_folder(variable: &str) -> Option<PathBuf> {
    let named = std::env::var(variable).ok()?;
    named.split(':').next().filter(|n| !n.is_empty()).map(PathBuf::from)
}

fn own() -> &'static Program {
    OWN.get_or_init(|| {
        let said = |variable: &str| std::env::var(variable).ok();
        Program {
            runs: said(RUNS).unwrap_or_else(|| PACKAGED.to_owned()),
            on_trial: said(ON_TRIAL),
            gave_way: said(GAVE_WAY),
            ..Program::default()
        }
    })
}

/// The version that runs, as its bundle calls it; of the packaged program its own.
pub(crate) fn version() -> &'static str {
    match own().runs.rsplit_once('_') {
        Some((version, _)) => version,
        None => VERSION,
    }
}

/// Whether this version has yet to prove itself.
pub fn is_on_trial() -> bool {
    own().on_trial.is_some()
}

/// Where the gateway says how it fares, if there is such a place.
fn health_file() -> Option<PathBuf> {
    systemd_folder("RUNTIME_DIRECTORY").map(|f| f.join("health.json"))
}

/// Of what runs here, with nothing reached.
fn started() -> Health {
    let own = own();
    Health {
        pid: std::process::id(),
        runs: own.runs.clone(),
        gave_way: own.gave_way.clone().unwrap_or_default(),
        version: VERSION.to_owned(),
        ..Health::default()
    }
}

/// True if it is written.
fn tell(health: &Health, path: &Path) -> bool {
    let saved = health.save(path);
    if let Err(error) = &saved {
        tracing::warn!(%error, file = %path.display(), "an updater cannot see how the gateway fares");
    }
    saved.is_ok()
}

/// Says that the start goes on, for an updater that waits for it.
pub(crate) fn starts_still(step: u64) {
    if let Some(path) = health_file() {
        tell(&Health { start_step: step, ..started() }, &path);
    }
}

/// Says how the gateway fares, in a file of its runtime folder, until it is dropped.
pub async fn report(handle: &Handle) {
    let Some(path) = health_file() else {
        return std::future::pending().await;
    };
    let start = Instant::now();
    let mut told = Health::default();
    loop {
        let polled = told.polled || handle.has_polled();
        let now = Health {
            ready: told.ready || polled || start.elapsed() >= READY_LIMIT,
            polled,
            session: told.session || handle.is_connected(),
            ..started()
        };
        if now != told {
            WAS_READY.store(now.ready, Ordering::Relaxed);
            if tell(&now, &path) {
                told = now;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Somebody ends a gateway that was up: its start was no failure of its version.
pub fn is_wanted_to_end() {
    if is_on_trial() && WAS_READY.load(Ordering::Relaxed) {
        let notes = systemd_folder("STATE_DIRECTORY").unwrap_or_else(|| STATE_DIR.into());
        if let Err(error) = gateway_update::forget(&notes) {
            tracing::warn!(%error, "starts of the version on trial stay counted");
        }
    }
}
