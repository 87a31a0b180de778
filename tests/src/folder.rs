//! Folders as a whole.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Copies a folder with all that is in it, as a backup does. SQLite's `-shm` is memory; what vanishes meanwhile is not
/// there.
///
/// # Panics
/// When something cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    fs::set_permissions(to, fs::metadata(from).expect("a folder").permissions()).expect("its mode");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else if path.is_file() && !path.to_string_lossy().ends_with("-shm") {
            match fs::copy(&path, to) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => _ = copied.unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            }
        }
    }
}
