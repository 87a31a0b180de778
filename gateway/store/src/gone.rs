//! Which numbers are missing from the log on purpose: told as lost, or freed because the cloud has them. Durable,
//! and written before the frames go: so every other hole that a start finds is damage, and is told; and what was told
//! as lost does not come back. One small file, replaced as a whole; sled would forget it with the power.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Incarnation, IntervalSet};

use crate::disk::{Disk, read_small, replace, sealed, unseal};
use crate::quarantine::Quarantine;

const MAX_BYTES: usize = 64 << 20;

/// Sets by incarnation.
pub(crate) type Sets = HashMap<Incarnation, IntervalSet>;

/// The file.
#[derive(Debug)]
pub(crate) struct Gone {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Gone {
    /// The file and what it says; a damaged one is moved aside and says nothing, so that holes are told again.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, quarantine: &Quarantine) -> (Self, Sets) {
        let path = dir.join("gone.json");
        let sets = match read_small(&*disk, &path, MAX_BYTES) {
            Ok(bytes) => parse(&bytes).unwrap_or_else(|| {
                quarantine.take(&path, "list of what is gone, damaged");
                Sets::new()
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Sets::new(),
            Err(error) => {
                quarantine.take(&path, &format!("list of what is gone, unreadable: {error}"));
                Sets::new()
            }
        };
        (Self { disk, path }, sets)
    }

    /// Keeps all sets.
    pub(crate) fn keep(&self, sets: &Sets) -> io::Result<()> {
        let named: HashMap<String, &IntervalSet> = sets.iter().map(|(i, s)| (i.to_string(), s)).collect();
        let json = serde_json::to_vec(&named).map_err(io::Error::other)?;
        replace(&*self.disk, &self.path, &sealed(&json))
    }
}

fn parse(bytes: &[u8]) -> Option<Sets> {
    let named: HashMap<String, IntervalSet> = serde_json::from_slice(unseal(bytes)?).ok()?;
    named.into_iter().map(|(i, set)| Some((i.parse().ok()?, set))).collect()
}
