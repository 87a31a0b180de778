//! Last updates of commands whose frames go from the log, in one small file that is on disk before they do: what the state knows
//! of them a loss of power may take, since a flush of sled is no `fsync`, and the cloud does not tell them again. Without it a box
//! would carry a command out a second time, or take a later write for its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::commands::Known;
use crate::disk::{Disk, replace, sealed};
use crate::quarantine::Quarantine;

/// The file.
#[derive(Debug)]
pub(crate) struct KeptCommands {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// How far `Commands` was when it was written.
    version: Option<u64>,
}

impl KeptCommands {
    /// The file and what it says; a damaged one is moved aside and says nothing.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, quarantine: &Quarantine) -> (Self, Vec<Known>) {
        let path = dir.join("commands.json");
        let parse = |json: &[u8]| serde_json::from_slice(json).ok();
        let all = quarantine.read(&path, "list of commands", parse).unwrap_or_default();
        (Self { disk, path, version: None }, all)
    }

    /// Whether it has all up to a version.
    pub(crate) fn has(&self, version: u64) -> bool {
        self.version == Some(version)
    }

    /// Keeps all of a version.
    pub(crate) fn keep(&mut self, all: &[Known], version: u64) -> io::Result<()> {
        let json = serde_json::to_vec(all).map_err(io::Error::other)?;
        replace(&*self.disk, &self.path, &sealed(&json))?;
        self.version = Some(version);
        Ok(())
    }
}
