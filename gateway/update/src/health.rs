//! What the gateway says of itself while it runs, in a file of its runtime folder, which goes when the service ends. The gateway's user
//! writes it and root reads it: so no link is followed, and little of it is believed (`watch`).

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// Of the file.
const MOST_BYTES: u64 = 4096;

/// How the gateway fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Its process.
    pub pid: u32,
    /// What runs: the name of a version's folder, or `packaged`.
    pub runs: String,
    /// The trial that it runs instead of, because its starts failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gave_way: String,
    /// What the program calls its version.
    pub version: String,
    /// Of a start that goes on: how much of the buffer it got through. 0: it is over, or has not begun.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_step: u64,
    /// Whether the service manager was told so.
    pub ready: bool,
    /// Whether a device has given a good answer since the start, or there is none.
    pub polled: bool,
    /// Whether there was a session with the cloud since the start.
    pub session: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_zero(step: &u64) -> bool {
    *step == 0
}

impl Health {
    /// What the file says; none while the gateway does not run.
    pub fn load(path: &Path) -> Option<Self> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).ok()?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes the file. Not brought to disk: it is of this run alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(&new, path)
    }
}
