//! Chooses at a start of the gateway what runs. The packaged program does it, as the gateway's user: choosing needs no rights, only
//! root can change what there is to choose from. A version on trial of which three starts failed gives way at once, whether an updater
//! runs or not; power cuts count as well, since a version that takes the machine down shows itself in no other way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::PACKAGED;
use crate::folder::Folder;
use crate::state::State;

/// So many starts of a version on trial may fail.
const MOST_FAILED: u32 = 3;
const STARTS: &str = "version-starts.json";

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
            programs.push(Program { path: Some(path), runs: version.slot(), on_trial, gave_way });
        }
    }
    programs.push(Program { path: None, runs: PACKAGED.to_owned(), on_trial: None, gave_way: trial });
    programs
}

/// The same for a start, which is counted in `notes` if it is one of a version on trial: such a one is left out when it may start
/// no more.
pub fn choose(folder: &Folder, packaged: &Version, notes: &Path) -> Vec<Program> {
    let mut programs = programs(folder, packaged);
    let Some(trial) = programs.first().and_then(|p| p.on_trial.clone()) else { return programs };
    let path = notes.join(STARTS);
    let before: Starts =
        fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let failed = if before.trial == trial { before.count } else { 0 };
    // What cannot be counted is not tried: it might go on for ever.
    if failed >= MOST_FAILED || count(&path, Starts { trial, count: failed + 1 }).is_err() {
        programs.remove(0);
    }
    programs
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
