//! Whose certificates this machine believes: a file that is named, or the system's own, which distributions keep in different places.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where distributions keep the bundle of what they trust, PEM.
const BUNDLES: [&str; 5] = [
    // Debian, Ubuntu, Arch, Alpine.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, Red Hat, and what it is a link to there.
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // SUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine without the bundle, OpenWrt.
    "/etc/ssl/cert.pem",
];

/// Authorities, and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    /// PEM, as the file has it.
    pub pem: Vec<u8>,
    /// The file.
    pub from: PathBuf,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that is named.
    #[error("{}: {why}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The system has none where we know it to be.
    #[error("no trusted authorities on this machine ({looked}): install `ca-certificates`, or set `ca_file`")]
    None {
        /// Where it was looked for.
        looked: String,
    },
}

/// What is in this file; without one, in the system's.
///
/// # Errors
/// When the file cannot be read, or the system has none.
pub fn load(file: Option<&Path>) -> Result<Authorities, Error> {
    match file {
        Some(path) => match fs::read(path) {
            Ok(pem) => Ok(Authorities { pem, from: path.to_owned() }),
            Err(why) => Err(Error::File { path: path.to_owned(), why }),
        },
        None => first_of(&BUNDLES.map(Path::new)),
    }
}

/// An empty one is none: it is what stays of a package that was taken away.
fn first_of(paths: &[&Path]) -> Result<Authorities, Error> {
    let read = |path: &&Path| {
        let pem = fs::read(path).ok().filter(|pem| !pem.is_empty())?;
        Some(Authorities { pem, from: path.to_path_buf() })
    };
    paths.iter().find_map(read).ok_or_else(|| {
        let looked: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        Error::None { looked: looked.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bundle_that_is_there_is_taken() {
        let dir = tempfile::tempdir().expect("a folder");
        let [gone, empty, there, later] = ["a", "b", "c", "d"].map(|name| dir.path().join(name));
        fs::write(&empty, "").expect("a file");
        fs::write(&there, "there").expect("a file");
        fs::write(&later, "later").expect("a file");
        let found = first_of(&[&gone, &empty, &there, &later]).expect("one is there");
        assert_eq!(found, Authorities { pem: b"there".to_vec(), from: there.clone() });
        let told = first_of(&[&gone, &empty]).expect_err("none").to_string();
        assert!(told.contains(&format!("{}, {}", gone.display(), empty.display())), "{told}");
        assert!(told.contains("`ca-certificates`") && told.contains("`ca_file`"), "{told}");
    }

    #[test]
    fn a_file_that_is_named_is_taken_and_no_other_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ca.pem");
        let told = load(Some(&path)).expect_err("not there").to_string();
        assert!(told.contains("ca.pem"), "{told}");
        fs::write(&path, "own").expect("a file");
        assert_eq!(load(Some(&path)).expect("it is there").pem, b"own");
    }
}
