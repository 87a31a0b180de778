//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// Why something of an update was not done. Nothing that ran before is changed by it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle, or what is asked for, is not taken. Asking again does not help.
    #[error("{0}")]
    Refused(String),
    /// Somebody else changes versions. It ends.
    #[error("another update is at work: `twinway-gateway update status` shows how it fares")]
    Busy,
    /// The gateway was not restarted: the trial goes on, for whoever watches next.
    #[error("cannot restart the gateway: {0}")]
    Restart(String),
    /// The disk, or what is on it.
    #[error("{}: {source}", at.display())]
    Disk {
        /// Which file.
        at: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn refused<T>(why: impl Into<String>) -> Result<T, Self> {
        Err(Self::Refused(why.into()))
    }

    pub(crate) fn disk(at: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Disk { at: at.to_owned(), source }
    }
}
