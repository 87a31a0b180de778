//! What holds: which version runs, which one is behind it, and whether the first is on trial. One file, replaced as a whole.

use std::fs;
use std::io;
use std::path::Path;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, PROGRAM};
use crate::{Error, PACKAGED};

const FORMAT: u32 = 1;
/// Why a version gave way that can be installed again.
pub(crate) const SPOILT: &str = "its program on the disk is not what was installed any more";
/// Entries of the log.
const MOST_LOG: usize = 50;
/// Of these, of bundles that were not taken.
const MOST_REFUSED: usize = 20;

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    format: u32,
    /// What runs; none: the packaged program.
    pub installed: Option<Installed>,
    /// What ran before it; none: the packaged program.
    pub previous: Option<Installed>,
    /// While `installed` has not proven itself.
    pub trial: Option<Trial>,
    /// What was done, the newest last.
    #[serde(default)]
    pub log: Vec<Log>,
}

/// A version in a folder of its own below `versions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Of the program.
    pub version: Version,
    /// SHA-256 of its manifest.
    pub digest: String,
    /// Of the sources.
    #[serde(default)]
    pub commit: String,
    /// Of the buffer.
    pub store_format: u32,
    /// Of the configuration.
    pub config_schema: u32,
    /// The packaged version that it was put over. A package that is newer than both runs instead.
    pub over: Version,
    /// SHA-256 of its program; empty where it is not known.
    #[serde(default)]
    pub program_sha256: String,
}

/// A version that has not proven itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// When it began, in microseconds since 1970 by the box's clock: starts of another trial do not count.
    pub began_us: i64,
    /// What the version before had reached, and this one must reach.
    pub expects: Expects,
    /// What was behind the version before: it comes back with it.
    pub before: Option<Installed>,
}

/// What a version must reach beside being ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expects {
    /// A good answer of a device.
    pub poll: bool,
    /// A session with the cloud.
    pub session: bool,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// When, in microseconds since 1970, by the box's clock; where that was set back, right after the entry before.
    pub at_us: i64,
    /// What.
    pub what: What,
    /// Of which version; empty where none is known.
    pub version: String,
    /// SHA-256 of its manifest; empty where none is known.
    #[serde(default)]
    pub digest: String,
    /// Why, or from where.
    pub detail: String,
}

impl Log {
    /// Name of the folder of the version, as `Installed::slot`.
    pub(crate) fn slot(&self) -> String {
        format!("{}_{}", self.version, self.digest.get(..8).unwrap_or_default())
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A bundle was not taken.
    Refused,
    /// A version was installed and is on trial.
    Installed,
    /// It has proven itself.
    Proven,
    /// It gave way to the one before.
    RolledBack,
}

impl What {
    /// As in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Installed => "installed",
            Self::Proven => "proven",
            Self::RolledBack => "rolled back",
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self { format: FORMAT, installed: None, previous: None, trial: None, log: Vec::new() }
    }
}

impl State {
    /// What the file says; without one, the packaged program runs.
    ///
    /// # Errors
    /// When it cannot be read, or is of another program.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(Error::disk(path))?,
        };
        let state: Self = serde_json::from_slice(&bytes).map_err(|e| {
            Error::Refused(format!(
                "{}: {e}: the packaged version runs; delete the file to begin anew",
                path.display()
            ))
        })?;
        if state.format != FORMAT {
            return Error::refused(format!(
                "{}: written by a newer version: the packaged version runs",
                path.display()
            ));
        }
        Ok(state)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::Refused(e.to_string()))?;
        common::files::replace(path, &text, 0o644).map_err(Error::disk(path))?;
        // The gateway's user reads it, whatever the mask of the process is.
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .map_err(Error::disk(path))
    }

    /// Each entry is newer than all before it, by which readers tell what is new to them: the clock of a box without a battery
    /// stands lower after a power cut.
    pub(crate) fn tell(&mut self, at_us: i64, what: What, of: Option<(&Version, &str)>, detail: &str) {
        let newest_us = self.log.iter().map(|l| l.at_us).max();
        let at_us = newest_us.map_or(at_us, |newest_us| at_us.max(newest_us.saturating_add(1)));
        let (version, digest) = of.map(|(v, d)| (v.to_string(), d.to_owned())).unwrap_or_default();
        self.log.push(Log { at_us, what, version, digest, detail: detail.to_owned() });
        // What was refused must not push out what gave way: it would be tried again.
        let refused = self.log.iter().filter(|l| l.what == What::Refused).count();
        let oldest = |refused: bool| self.log.iter().position(|l| !refused || l.what == What::Refused);
        let goes = if refused > MOST_REFUSED { oldest(true) } else { oldest(false) };
        if let Some(place) = goes.filter(|_| refused > MOST_REFUSED || self.log.len() > MOST_LOG) {
            self.log.remove(place);
        }
    }

    /// What runs and what is behind it, in the order in which they are tried; the packaged program comes last of all.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Installed> {
        self.installed.iter().chain(&self.previous)
    }

    /// Everything of which the folder is needed.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Installed> {
        self.versions().chain(self.trial.iter().filter_map(|t| t.before.as_ref()))
    }

    /// What the trial is called in notes.
    pub(crate) fn trial_name(&self) -> Option<String> {
        let (installed, trial) = (self.installed.as_ref()?, self.trial.as_ref()?);
        Some(format!("{} {}", installed.slot(), trial.began_us))
    }

    /// A package that somebody installed and that is newer than what was put over the one before comes first.
    pub(crate) fn under(mut self, packaged: &Version) -> Self {
        if self.installed.as_ref().is_some_and(|i| i.over != *packaged && i.version <= *packaged) {
            (self.installed, self.previous, self.trial) = (None, None, None);
        }
        self
    }

    /// Why the version of this manifest gave way, if it did and was not taken since.
    pub(crate) fn gave_way(&self, digest: &str) -> Option<&Log> {
        let last = self.log.iter().rev().find(|l| l.digest == digest && l.what != What::Refused)?;
        (last.what == What::RolledBack && last.detail != SPOILT).then_some(last)
    }

    /// What is installed gives way to what is behind it.
    pub(crate) fn roll_back(&mut self, at_us: i64, why: &str) {
        let Some(gone) = self.installed.take() else { return };
        let before = self.trial.take().and_then(|t| t.before);
        self.installed = std::mem::replace(&mut self.previous, before);
        self.tell(at_us, What::RolledBack, Some((&gone.version, &gone.digest)), why);
    }
}

impl Installed {
    pub(crate) fn of(manifest: &Manifest, digest: &str, over: &Version) -> Self {
        Self {
            version: manifest.version.clone(),
            digest: digest.to_owned(),
            commit: manifest.commit.clone(),
            store_format: manifest.store_format,
            config_schema: manifest.config_schema,
            over: over.clone(),
            program_sha256: manifest
                .files
                .iter()
                .find(|f| f.path == PROGRAM)
                .map(|f| f.sha256.clone())
                .unwrap_or_default(),
        }
    }

    /// Name of its folder, and of it in notes: two builds may have one version.
    pub fn slot(&self) -> String {
        format!("{}_{}", self.version, self.digest.get(..8).unwrap_or_default())
    }
}

/// How what runs is called in notes.
pub(crate) fn slot_of(installed: Option<&Installed>) -> String {
    installed.map_or_else(|| PACKAGED.to_owned(), Installed::slot)
}
