//! Which numbers are missing from the log on purpose, told as lost or freed because the cloud has them, and which gaps
//! are not told yet. Durable, and written before the frames go: so every other hole that a start finds is damage, unless a
//! file that it could not read may fill it, and is told; a gap is told whenever the power goes; and what was told as lost does not come back. One small file,
//! replaced as a whole: on a full disk it needs next to nothing, and sled would forget it with the power.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::wire::Gap;
use common::{Incarnation, IntervalSet};
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, replace, sealed};
use crate::quarantine::Quarantine;

/// Sets by incarnation.
pub(crate) type Sets = HashMap<Incarnation, IntervalSet>;

/// What the file says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Said {
    gone: HashMap<String, IntervalSet>,
    untold: Vec<Gap>,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Gone {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Gone {
    /// The file and what it says; a damaged one is moved aside and says nothing, so that holes are told again.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, quarantine: &Quarantine) -> (Self, Sets, Vec<Gap>) {
        let path = dir.join("gone.json");
        let (sets, untold) = quarantine.read(&path, "list of what is gone", parse).unwrap_or_default();
        (Self { disk, path }, sets, untold)
    }

    /// Keeps all sets, and the gaps that are not told.
    pub(crate) fn keep(&self, sets: &Sets, untold: Vec<Gap>) -> io::Result<()> {
        let gone = sets.iter().map(|(i, s)| (i.to_string(), s.clone())).collect();
        let json = serde_json::to_vec(&Said { gone, untold }).map_err(io::Error::other)?;
        replace(&*self.disk, &self.path, &sealed(&json))
    }
}

fn parse(json: &[u8]) -> Option<(Sets, Vec<Gap>)> {
    let said: Said = serde_json::from_slice(json).ok()?;
    let sets = said.gone.into_iter().map(|(i, set)| Some((i.parse().ok()?, set)));
    Some((sets.collect::<Option<Sets>>()?, said.untold))
}
