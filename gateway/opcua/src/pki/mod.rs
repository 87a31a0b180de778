//! Certificates as files, for both roles: `own`, `trusted`, `rejected` and `issuers` under one folder.
//!
//! A certificate in `trusted` is trusted, and so is what a CA in `trusted` has signed; a CA in `issuers` only closes
//! gaps in such a chain. Lists of revoked certificates (`*.crl`, DER) lie beside the CA. What was refused is kept in
//! `rejected`, the newest only, so that a person can look at it and trust it. Files may be put there by hand under
//! any name that ends in `.der`, `.crt` or `.pem`.
//!
//! Certificates of users have the same folders under `users`: who trusts an application trusts no user by it.

mod certificate;
mod judge;
mod own;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use certificate::{Certificate, MOST_BYTES};
pub use judge::{Doubt, Expected};
pub use own::{Application, Own};

/// Refused certificates that are kept; of more, the oldest go.
pub const MOST_REJECTED: usize = 100;
const FEWEST_DIGITS: usize = 8;
const ENDINGS: &[&str] = &["der", "crt", "cer", "pem"];

/// What went wrong with certificates or their files.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A folder or file cannot be read, or holds something else.
    #[error("{}: {detail}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are no certificate, or it cannot be made.
    #[error("certificate {detail}")]
    Invalid {
        /// Why.
        detail: String,
    },
    /// Key without certificate, or the other way round.
    #[error("{} is there without {}: put it back, or remove both to have new ones made", .has.display(), .lacks.display())]
    HalfOwn {
        /// What is there.
        has: PathBuf,
        /// What is not.
        lacks: PathBuf,
    },
    /// No certificate, or more than one, has the fingerprint.
    #[error("{found} certificates have a fingerprint that begins with `{fingerprint}`")]
    NotOne {
        /// What was asked for.
        fingerprint: String,
        /// How many.
        found: usize,
    },
    /// Too few digits to mean one certificate.
    #[error("`{fingerprint}` is no fingerprint: expected 8 to 64 hex digits of SHA-256, or 40 of SHA-1")]
    Fingerprint {
        /// What was asked for.
        fingerprint: String,
    },
}

/// Where a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// taken, and what it signed as well
    Trusted,
    /// refused, kept for a look
    Rejected,
    /// closes gaps in chains
    Issuers,
}

impl Folder {
    /// Name of the folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Rejected => "rejected",
            Self::Issuers => "issuers",
        }
    }
}

/// A certificate of one of the folders.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which folder.
    pub folder: Folder,
    /// Its file.
    pub path: PathBuf,
    /// The certificate.
    pub certificate: Certificate,
}

/// The folders. Cheap to clone; files are the state.
#[derive(Debug, Clone)]
pub struct Pki {
    root: PathBuf,
}

impl Pki {
    /// The folders under `root`, made where they are not there.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, PkiError> {
        Self::made(
            root.into(),
            &[("own", 0o700), ("trusted", 0o755), ("rejected", 0o755), ("issuers", 0o755)],
        )
    }

    /// The folders of users' certificates, made where they are not there; there is no `own` among them.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn users(&self) -> Result<Self, PkiError> {
        Self::made(self.root.join("users"), &[("trusted", 0o755), ("rejected", 0o755), ("issuers", 0o755)])
    }

    fn made(root: PathBuf, folders: &[(&str, u32)]) -> Result<Self, PkiError> {
        for (name, mode) in folders {
            let path = root.join(name);
            if !path.is_dir() {
                let made = fs::create_dir_all(&path)
                    .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(*mode)));
                made.map_err(|source| PkiError::Write { path, source })?;
            }
        }
        Ok(Self { root })
    }

    /// The folder above all.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the application's own certificate is (DER).
    pub fn own_certificate_path(&self) -> PathBuf {
        self.root.join("own/cert.der")
    }

    /// Where its private key is (PEM).
    pub fn own_key_path(&self) -> PathBuf {
        self.root.join("own/key.pem")
    }

    /// Every certificate of a folder that can be read.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self, folder: Folder) -> Result<Vec<Listed>, PkiError> {
        let mut listed = Vec::new();
        for path in self.files(folder, ENDINGS)? {
            let read = fs::read(&path).map_err(|e| e.to_string());
            match read.and_then(|b| Certificate::from_file_bytes(&b).map_err(|e| e.to_string())) {
                Ok(certificate) => listed.push(Listed { folder, path, certificate }),
                Err(error) => tracing::warn!(path = %path.display(), error, "is no certificate"),
            }
        }
        Ok(listed)
    }

    fn certificates(&self, folder: Folder) -> Result<Vec<Certificate>, PkiError> {
        Ok(self.list(folder)?.into_iter().map(|l| l.certificate).collect())
    }

    fn files(&self, folder: Folder, endings: &[&str]) -> Result<Vec<PathBuf>, PkiError> {
        let path = self.root.join(folder.name());
        let told = |e: std::io::Error| PkiError::Read { path: path.clone(), detail: e.to_string() };
        let mut files = Vec::new();
        for entry in fs::read_dir(&path).map_err(told)? {
            let file = entry.map_err(told)?.path();
            let ending = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if endings.iter().any(|e| ending.eq_ignore_ascii_case(e)) {
                files.push(file);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Puts a certificate into a folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(&self, folder: Folder, certificate: &Certificate) -> Result<Listed, PkiError> {
        let path = self.root.join(folder.name()).join(certificate.file_name());
        write_file(&path, certificate.der(), 0o644)?;
        if folder == Folder::Rejected {
            self.bound_rejected()?;
        }
        Ok(Listed { folder, path, certificate: certificate.clone() })
    }

    /// Notes a certificate as refused, unless it is trusted: its time or name may be what was wrong.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn reject(&self, certificate: &Certificate) -> Result<(), PkiError> {
        if !self.certificates(Folder::Trusted)?.contains(certificate) {
            self.put(Folder::Rejected, certificate)?;
        }
        Ok(())
    }

    /// Trusts a certificate that was refused, by its fingerprint (SHA-256, at least 8 digits) or thumbprint (SHA-1).
    ///
    /// # Errors
    /// When there is not exactly one, or files cannot be moved.
    pub fn trust(&self, fingerprint: &str) -> Result<Listed, PkiError> {
        self.carry(fingerprint, Folder::Rejected, Folder::Trusted)
    }

    /// Trusts a certificate no longer.
    ///
    /// # Errors
    /// As `trust`.
    pub fn distrust(&self, fingerprint: &str) -> Result<Listed, PkiError> {
        self.carry(fingerprint, Folder::Trusted, Folder::Rejected)
    }

    fn carry(&self, fingerprint: &str, from: Folder, to: Folder) -> Result<Listed, PkiError> {
        let wanted: String = fingerprint.chars().filter(|c| !":- ".contains(*c)).collect();
        let wanted = wanted.to_ascii_lowercase();
        if wanted.len() < FEWEST_DIGITS || wanted.len() > 64 || !wanted.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(PkiError::Fingerprint { fingerprint: fingerprint.to_owned() });
        }
        let is_wanted = |l: &Listed| {
            l.certificate.fingerprint().starts_with(&wanted) || l.certificate.thumbprint() == wanted
        };
        let mut found = self.list(from)?;
        found.retain(is_wanted);
        let Some(first) = found.first().cloned() else {
            return Err(PkiError::NotOne { fingerprint: wanted, found: 0 });
        };
        let others = found.iter().filter(|l| l.certificate != first.certificate).count();
        if others > 0 {
            return Err(PkiError::NotOne { fingerprint: wanted, found: others + 1 });
        }
        let put = self.put(to, &first.certificate)?;
        for old in found {
            fs::remove_file(&old.path).map_err(|source| PkiError::Write { path: old.path, source })?;
        }
        Ok(put)
    }

    /// Whoever asks can make one more, so the oldest go.
    fn bound_rejected(&self) -> Result<(), PkiError> {
        let files = self.files(Folder::Rejected, ENDINGS)?;
        let extra = files.len().saturating_sub(MOST_REJECTED);
        if extra == 0 {
            return Ok(());
        }
        let age = |p: &PathBuf| fs::metadata(p).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut by_age: Vec<_> = files.into_iter().map(|p| (age(&p), p)).collect();
        by_age.sort();
        for (_, path) in by_age.into_iter().take(extra) {
            fs::remove_file(&path).map_err(|source| PkiError::Write { path, source })?;
        }
        Ok(())
    }
}

/// The whole file or none of it.
fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let told = |source| PkiError::Write { path: path.to_owned(), source };
    common::files::replace(path, bytes, mode).map_err(told)
}

#[cfg(test)]
mod tests;
