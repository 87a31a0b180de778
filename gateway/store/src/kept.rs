//! Last updates of commands whose frames go from the log, in one small file that is on disk before they do: what the state knows
//! of them a loss of power may take, since a flush of sled is no `fsync`, and the cloud does not tell them again. Without it a box
//! would carry a command out a second time, or take a later write for its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::commands::Known;
use crate::disk::{Disk, read_small, replace, sealed, unseal};
use crate::quarantine::Quarantine;

const MAX_BYTES: usize = 64 << 20;

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
        let all = match read_small(&*disk, &path, MAX_BYTES) {
            Ok(bytes) => parse(&bytes).unwrap_or_else(|| {
                quarantine.take(&path, "list of commands, damaged");
                Vec::new()
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                quarantine.take(&path, &format!("list of commands, unreadable: {error}"));
                Vec::new()
            }
        };
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

fn parse(bytes: &[u8]) -> Option<Vec<Known>> {
    serde_json::from_slice(unseal(bytes)?).ok()
}
