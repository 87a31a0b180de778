//! A bundle on its way into `incoming`, as the gateway's user: what came so far lies beside under a name that no updater looks at,
//! and has the right one only once it is whole, verified and on the disk. One at a time.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use common::text::hex;
use rustix::fs::{Access, OFlags};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::bundle::Bundle;
use crate::folder::{ENDING, Folder};
use crate::keys::Trusted;
use crate::manifest::{MOST_BYTES, Manifest};

const PART: &str = "part";
/// What stays free beside it: the buffer goes on meanwhile.
const LEAVE_FREE: u64 = 32 << 20;
const BLOCK: usize = 64 << 10;

/// What came of a bundle so far.
#[derive(Debug)]
pub struct Transfer {
    file: fs::File,
    path: PathBuf,
    sha256: String,
    size: u64,
    received: u64,
}

/// Whether bundles can be put there.
///
/// # Errors
/// Why not, with what to do.
pub fn can_receive(folder: &Folder) -> Result<(), Error> {
    let incoming = folder.incoming();
    if !incoming.is_dir() {
        return Error::refused(format!(
            "{}: not there: the package makes it, for twinway-update.service, which installs what is put there",
            incoming.display()
        ));
    }
    let access = rustix::fs::access(&incoming, Access::WRITE_OK | Access::EXEC_OK);
    access.map_err(|e| Error::disk(&incoming)(e.into()))
}

/// Takes away what came of bundles that nobody waits for any more.
///
/// # Errors
/// When the disk refuses.
pub fn clear(folder: &Folder) -> Result<(), Error> {
    clear_but(folder, None)
}

fn clear_but(folder: &Folder, kept: Option<&Path>) -> Result<(), Error> {
    let incoming = folder.incoming();
    let entries = match fs::read_dir(&incoming) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::disk(&incoming))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::disk(&incoming))?.path();
        if path.extension().is_some_and(|e| e == PART) && Some(path.as_path()) != kept {
            fs::remove_file(&path).map_err(Error::disk(&path))?;
        }
    }
    Ok(())
}

/// Whether a bundle is there that the updater has yet to look at.
pub fn is_waiting(folder: &Folder) -> bool {
    let entries = fs::read_dir(folder.incoming()).into_iter().flatten().flatten();
    entries.into_iter().any(|e| e.path().extension().is_some_and(|e| e == ENDING))
}

/// Whether something of this bundle came and has not got its name yet.
pub fn is_begun(folder: &Folder, sha256: &str) -> bool {
    part(folder, sha256).exists()
}

fn part(folder: &Folder, sha256: &str) -> PathBuf {
    folder.incoming().join(sha256).with_extension(PART)
}

/// Takes away the bundles that the updater has yet to look at.
///
/// # Errors
/// When the disk refuses.
pub fn take_back(folder: &Folder) -> Result<(), Error> {
    let entries = fs::read_dir(folder.incoming()).into_iter().flatten().flatten();
    for path in entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == ENDING)) {
        fs::remove_file(&path).map_err(Error::disk(&path))?;
    }
    Ok(())
}

impl Transfer {
    /// Goes on with what came of this bundle before, or begins; what came of others goes.
    ///
    /// # Errors
    /// When there is no room for it, or the disk refuses.
    pub fn begin(folder: &Folder, sha256: &str, size: u64) -> Result<Self, Error> {
        if !common::bundle::is_sha256(sha256) || !(1..=MOST_BYTES).contains(&size) {
            return Error::refused(format!(
                "a bundle of {size} bytes, at most {MOST_BYTES}, or its sum is none"
            ));
        }
        can_receive(folder)?;
        let incoming = folder.incoming();
        let path = part(folder, sha256);
        clear_but(folder, Some(&path))?;
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let mut file = options.open(&path).map_err(Error::disk(&path))?;
        let mut received = file.metadata().map_err(Error::disk(&path))?.len();
        if received > size {
            file.set_len(0).map_err(Error::disk(&path))?;
            received = 0;
        }
        file.seek(io::SeekFrom::Start(received)).map_err(Error::disk(&path))?;
        let disk = rustix::fs::statvfs(&incoming).map_err(|e| Error::disk(&incoming)(e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = (size - received).saturating_add(LEAVE_FREE);
        if free < needed {
            let (free, needed) = (free >> 20, (needed >> 20) + 1);
            return Error::refused(format!(
                "{}: {free} MiB free, {needed} are needed: make room",
                incoming.display()
            ));
        }
        Ok(Self { file, path, sha256: sha256.to_owned(), size, received })
    }

    /// Bytes that are there; the next one is asked for from here on.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether all bytes are there.
    pub fn is_complete(&self) -> bool {
        self.received == self.size
    }

    /// Takes the bytes that follow what is there.
    ///
    /// # Errors
    /// When they are others, or the disk refuses.
    pub fn append(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != self.received || end > self.size {
            return Error::refused(format!("bytes from {offset} on, {} was expected", self.received));
        }
        self.file.write_all(bytes).map_err(Error::disk(&self.path))?;
        self.received = end;
        Ok(())
    }

    /// Whether what came is what was offered; brings it to the disk. If not, nothing of it is of use.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn is_whole(&mut self) -> Result<bool, Error> {
        let failed = Error::disk(&self.path);
        let sum = |file: &mut fs::File| -> io::Result<String> {
            file.sync_all()?;
            file.rewind()?;
            let (mut sum, mut block) = (Sha256::new(), vec![0; BLOCK]);
            loop {
                match file.read(&mut block)? {
                    0 => return Ok(hex(&sum.finalize())),
                    n => sum.update(block.get(..n).unwrap_or_default()),
                }
            }
        };
        Ok(sum(&mut self.file).map_err(failed)? == self.sha256)
    }

    /// Looks whether a trusted key signed it and all its files are what was signed.
    ///
    /// # Errors
    /// When not, or the disk refuses.
    pub fn verify(&self, keys: &Path) -> Result<(Manifest, String), Error> {
        let mut checked = Bundle::open(&self.path)?.verify(&Trusted::load(keys)?)?;
        checked.check()?;
        Ok((checked.manifest, checked.digest))
    }

    /// Gives it the name by which the updater finds it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn place(self, version: &str) -> Result<(), Error> {
        let short = self.sha256.get(..8).unwrap_or_default();
        let to = self.path.with_file_name(format!("{version}-{short}.{ENDING}"));
        fs::rename(&self.path, &to).map_err(Error::disk(&to))?;
        let parent = to.parent().unwrap_or(Path::new("."));
        fs::File::open(parent).and_then(|f| f.sync_all()).map_err(Error::disk(parent))
    }

    /// Takes it away.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn discard(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(Error::disk(&self.path))
    }
}
