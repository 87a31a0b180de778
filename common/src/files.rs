//! Files that must be there as they were or as they will be, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts a file of this mode in place of the one before, on the disk when it returns. One writer at a time.
///
/// # Errors
/// When it cannot be written; the one before stays then, or the new one may not be on the disk yet.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // What a cut left there may have another mode.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_only_its_owner_reads_it_whatever_was_left_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, left) = (dir.path().join("a.key"), dir.path().join("a.key.new"));
        fs::write(&path, "old").expect("a file");
        fs::write(&left, "half of an older one").expect("a file");
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).expect("a mode");
        replace(&path, b"new", 0o600).expect("replaced");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert!(!left.exists());
        assert!(replace(&dir.path().join("none/a.key"), b"", 0o600).is_err());
    }
}
