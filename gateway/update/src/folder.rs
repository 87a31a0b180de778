//! The folder of versions: root's, and read by the gateway. Only `incoming` is the gateway's.
//!
//! ```text
//! /var/lib/twinway-update/
//!   state.json            what holds
//!   versions/<slot>/usr/  each version, as a package would lay it out
//!   versions/.new/        one that is being unpacked
//!   incoming/*.twup       bundles that somebody put there
//!   lock                  one updater at a time
//! ```

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use common::text::hex;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::manifest::PROGRAM;
use crate::state::{Installed, State};

/// How the names of bundles end in `incoming`; what is not complete yet has another name.
pub const ENDING: &str = "twup";
const NEW: &str = ".new";
/// Who waits for another process looks so often.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where it is.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// Held while something is changed.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] fs::File); // let go when it is dropped

impl Folder {
    /// It is made when something is installed.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The file of what holds.
    pub fn state_file(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Where bundles are put.
    pub fn incoming(&self) -> PathBuf {
        self.0.join("incoming")
    }

    pub(crate) fn versions(&self) -> PathBuf {
        self.0.join("versions")
    }

    pub(crate) fn version(&self, installed: &Installed) -> PathBuf {
        self.versions().join(installed.slot())
    }

    /// The program of a version.
    pub fn program(&self, installed: &Installed) -> PathBuf {
        self.version(installed).join(PROGRAM)
    }

    /// Whether the program of a version is what was installed.
    pub(crate) fn is_sound(&self, installed: &Installed) -> bool {
        is_sound(&self.program(installed), &installed.program_sha256)
    }

    pub(crate) fn new_version(&self) -> PathBuf {
        self.versions().join(NEW)
    }

    /// Keeps every other updater away.
    ///
    /// # Errors
    /// When another one is at work, or the folder cannot be written.
    pub fn lock(&self) -> Result<Lock, Error> {
        let path = self.0.join("lock");
        fs::create_dir_all(&self.0).map_err(Error::disk(&self.0))?;
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::disk(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Busy),
            Err(TryLockError::Error(e)) => Err(Error::disk(&path)(e)),
        }
    }

    /// The same for somebody who waits: the updater also runs for a moment whenever the gateway starts.
    ///
    /// # Errors
    /// When another one is at work for longer than that, or the folder cannot be written.
    pub async fn lock_within(&self, patience: Duration) -> Result<Lock, Error> {
        let until = Instant::now() + patience;
        loop {
            match self.lock() {
                Err(Error::Busy) if Instant::now() < until => sleep(LOOK_EVERY).await,
                done => return done,
            }
        }
    }

    /// Takes away what a cut left behind, and versions that nothing leads to any more.
    pub(crate) fn tidy(&self, state: &State) -> Result<(), Error> {
        let versions = self.versions();
        let entries = match fs::read_dir(&versions) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(Error::disk(&versions))?,
        };
        for entry in entries {
            let entry = entry.map_err(Error::disk(&versions))?;
            if state.kept().any(|i| entry.file_name() == *i.slot()) {
                continue;
            }
            let path = entry.path();
            let is_dir = entry.file_type().map_err(Error::disk(&path))?.is_dir();
            let gone = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.map_err(Error::disk(&path))?;
        }
        Ok(())
    }

    /// Bytes that may still be written.
    pub(crate) fn free(&self) -> Result<u64, Error> {
        let versions = self.versions();
        let disk = rustix::fs::statvfs(&versions).map_err(|e| Error::disk(&versions)(e.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// SHA-256 in hexadecimal of what is left to read, and how many bytes that is.
pub(crate) fn sum_of(from: &mut impl io::Read) -> io::Result<(String, u64)> {
    let mut sum = Sha256::new();
    let bytes = io::copy(from, &mut sum)?;
    Ok((hex(&sum.finalize()), bytes))
}

/// Whether a file still is what was installed: a card that wears out gives back other bytes, or none. True where the sum (SHA-256) is
/// not known.
pub(crate) fn is_sound(path: &Path, sha256: &str) -> bool {
    let is_same = |mut file| sum_of(&mut file).is_ok_and(|(sum, _)| sum == sha256);
    sha256.is_empty() || fs::File::open(path).is_ok_and(is_same)
}
