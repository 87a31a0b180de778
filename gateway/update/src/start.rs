//! Chooses at a start of the gateway what runs. The packaged program does it, as the gateway's user: choosing needs no rights, only
//! root can change what there is to choose from. A version on trial of which three starts failed gives way at once, whether an updater
//! runs or not; power cuts count as well, since a version that takes the machine down shows itself in no other way.
//!
//! A version that has proven itself is not counted: a configuration that is wrong or a device that is missing must not take the box
//! back version by version. It gives way only if its program is not what was installed any more, which is looked at from the second
//! start in one boot of the machine on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::PACKAGED;
use crate::folder::{Folder, is_sound};
use crate::state::State;

/// So many starts of a version on trial may fail.
const MOST_FAILED: u32 = 3;
const STARTS: &str = "version-starts.json";
/// What was started last, and in which boot of the machine.
const LAST: &str = "version-started";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Starts of a trial that neither proved the version nor ended well.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Starts {
    trial: String,
    count: u32,
}

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// Where it is; none: the packaged program, which asks.
    pub path: Option<PathBuf>,
    /// Its name in notes.
    pub runs: String,
    /// Name of the trial that it is on.
    pub on_trial: Option<String>,
    /// Name of the trial that it runs instead of.
    pub gave_way: Option<String>,
    /// Names of versions that it runs instead of, because the disk has spoilt their programs.
    pub spoilt: Vec<String>,
    /// SHA-256 of the file; empty where it is not known.
    pub sha256: String,
}

/// What there is to run, the best first; the last one is the packaged program. A version of which the program is gone is left out.
pub fn programs(folder: &Folder, packaged: &Version) -> Vec<Program> {
    let state = State::load(&folder.state_file()).unwrap_or_default().under(packaged);
    let trial = state.trial_name();
    let mut programs: Vec<Program> = Vec::new();
    for (n, version) in state.versions().enumerate() {
        let path = folder.program(version);
        if path.is_file() {
            let (on_trial, gave_way) = if n == 0 { (trial.clone(), None) } else { (None, trial.clone()) };
            let sha256 = version.program_sha256.clone();
            let (runs, spoilt) = (version.slot(), Vec::new());
            programs.push(Program { path: Some(path), runs, on_trial, gave_way, spoilt, sha256 });
        }
    }
    programs.push(Program { runs: PACKAGED.to_owned(), gave_way: trial, ..Program::default() });
    programs
}

/// The same for a start, which is counted in `notes` if it is one of a version on trial: such a one is left out when it may start
/// no more. Of others those are left out that were started before and are spoilt.
pub fn choose(folder: &Folder, packaged: &Version, notes: &Path) -> Vec<Program> {
    let mut programs = programs(folder, packaged);
    let Some(trial) = programs.first().and_then(|p| p.on_trial.clone()) else {
        leave_out_spoilt(&mut programs, notes);
        return programs;
    };
    let path = notes.join(STARTS);
    let before: Starts =
        fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let failed = if before.trial == trial { before.count } else { 0 };
    // What cannot be counted is not tried: it might go on for ever.
    if failed >= MOST_FAILED || count(&path, Starts { trial, count: failed + 1 }).is_err() {
        programs.remove(0);
        leave_out_spoilt(&mut programs, notes);
    }
    programs
}

/// The sum of a program takes a while on a small box, so that a first start does without. Which one that is need not be known for
/// sure: a note that is lost costs one start more.
fn leave_out_spoilt(programs: &mut Vec<Program>, notes: &Path) {
    let Some(first) = programs.first().filter(|p| p.path.is_some()) else { return };
    let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
    let (path, started) = (notes.join(LAST), format!("{} {}", boot.trim(), first.runs));
    let was_started = fs::read_to_string(&path).is_ok_and(|before| before == started);
    if !was_started && fs::write(&path, &started).is_ok() {
        return;
    }
    let is_spoilt = |p: &&mut Program| p.path.as_ref().is_some_and(|path| !is_sound(path, &p.sha256));
    let mut spoilt = Vec::new();
    while let Some(program) = programs.first_mut().filter(is_spoilt) {
        spoilt.push(std::mem::take(&mut program.runs));
        programs.remove(0);
    }
    if let Some(first) = programs.first_mut() {
        first.spoilt = spoilt;
    }
}

fn count(path: &Path, starts: Starts) -> io::Result<()> {
    common::files::replace(path, &serde_json::to_vec(&starts)?, 0o644)
}

/// Somebody ended a gateway that was ready: its starts were no failures.
///
/// # Errors
/// When the note cannot be removed.
pub fn forget(notes: &Path) -> io::Result<()> {
    match fs::remove_file(notes.join(STARTS)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
