//! Files of the authority: written whole or not at all, and for its user's eyes alone.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes a folder that is its user's alone, if it is not there.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Puts a file in place of the one before.
pub(crate) fn put(path: &Path, text: &str) -> io::Result<()> {
    common::files::replace(path, text.as_bytes(), 0o600)
}

/// A file's text; none if there is no such file.
pub(crate) fn get(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
