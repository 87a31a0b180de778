//! A bundle: one file of a head, signatures, the manifest and, compressed, its files one after the other. No archive format: what is not
//! in the manifest is not there, so links, devices, owners and other names cannot be in a bundle, and root needs no program to
//! read such things.
//!
//! ```text
//! "TWINWAY-UPDATE 1\n"
//! u8                    number of signatures, 1 to 8
//!   8 bytes, 64 bytes   name of the key, Ed25519 over "twinway update manifest\n" and the manifest
//! u32, little endian    length of the manifest
//! JSON                  the manifest: among others, length and SHA-256 of all that follows
//! gzip                  the files of the manifest in its order
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use common::text::hex;
use flate2::bufread::GzDecoder;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::keys::{KeyId, Trusted};
use crate::manifest::{File, MOST_BYTES, MOST_MANIFEST, Manifest};

pub(crate) use common::bundle::{MAGIC, MOST_SIGNATURES};
const BLOCK: usize = 64 << 10;
/// Where the payload lies while its sum is taken, in the folder that it is unpacked into.
const PAYLOAD: &str = ".payload";

/// What is signed: the manifest, under a word of its own, so that no other signature by the same key fits.
pub(crate) fn signed(manifest: &[u8]) -> Vec<u8> {
    [b"twinway update manifest\n", manifest].concat()
}

/// A bundle of which nothing is believed yet.
#[derive(Debug)]
pub struct Bundle {
    file: fs::File,
    path: PathBuf,
}

/// A bundle of which the manifest is signed by a key that is trusted.
#[derive(Debug)]
pub struct Checked {
    /// What is in it.
    pub manifest: Manifest,
    /// The key's name.
    pub signed_by: String,
    /// SHA-256 of the manifest: the bundle's name.
    pub digest: String,
    file: fs::File,
    path: PathBuf,
    payload_at: u64,
}

impl Bundle {
    /// Opens it; nothing but a file is opened, since its folder may be somebody else's.
    ///
    /// # Errors
    /// When it is no file or cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Without waiting for who writes into a pipe.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = opened.map_err(Error::disk(path))?;
        if !file.metadata().map_err(Error::disk(path))?.is_file() {
            return Error::refused(format!("{}: not a file", path.display()));
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// Reads signatures and manifest, and verifies them. The files are looked at when they are unpacked.
    ///
    /// # Errors
    /// When it is no bundle, no trusted key signed it, or its manifest cannot be.
    pub fn verify(mut self, trusted: &Trusted) -> Result<Checked, Error> {
        let path = self.path.clone();
        let torn = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::Refused(format!("{}: the bundle ends too early", path.display()))
            }
            _ => Error::disk(&path)(e),
        };
        let mut magic = [0; MAGIC.len()];
        let mut count = [0; 1];
        let no_bundle = || Error::Refused(format!("{}: not a bundle of an update", path.display()));
        self.file.read_exact(&mut magic).map_err(|_| no_bundle())?;
        if &magic != MAGIC {
            return Err(no_bundle());
        }
        self.file.read_exact(&mut count).map_err(torn)?;
        let count = usize::from(count[0]);
        if !(1..=MOST_SIGNATURES).contains(&count) {
            return Error::refused(format!(
                "{}: {count} signatures, expected 1 to {MOST_SIGNATURES}",
                path.display()
            ));
        }
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            let (mut id, mut signature) = (KeyId::default(), [0; 64]);
            self.file.read_exact(&mut id).map_err(torn)?;
            self.file.read_exact(&mut signature).map_err(torn)?;
            signatures.push((id, signature));
        }
        let mut length = [0; 4];
        self.file.read_exact(&mut length).map_err(torn)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MOST_MANIFEST {
            return Error::refused(format!(
                "{}: a manifest of {length} bytes, at most {MOST_MANIFEST}",
                path.display()
            ));
        }
        let mut manifest = vec![0; length];
        self.file.read_exact(&mut manifest).map_err(torn)?;
        let at = |e: Error| match e {
            Error::Refused(why) => Error::Refused(format!("{}: {why}", path.display())),
            other => other,
        };
        let signed_by = trusted.verify(&signed(&manifest), &signatures).map_err(at)?;
        let payload_at = self.file.stream_position().map_err(Error::disk(&path))?;
        Ok(Checked {
            signed_by,
            digest: hex(&Sha256::digest(&manifest)),
            manifest: Manifest::parse(&manifest).map_err(at)?,
            file: self.file,
            path: path.clone(),
            payload_at,
        })
    }
}

impl Checked {
    /// Looks whether all files are what the manifest says, and writes nothing.
    ///
    /// # Errors
    /// When they are not, or the bundle cannot be read.
    pub fn check(&mut self) -> Result<(), Error> {
        self.sum(&mut io::sink())?;
        self.file.seek(SeekFrom::Start(self.payload_at)).map_err(Error::disk(&self.path))?;
        let (file, manifest) = (&self.file, &self.manifest);
        extract(file, manifest, &self.path, |_| Ok(Output { to: Box::new(io::sink()), at: PathBuf::new() }))
    }

    /// Puts all files below a folder, which is there and empty; on the disk when it returns. The bundle's own file may be
    /// changed meanwhile by whoever owns it: what is unpacked is a copy of which the sum was taken.
    ///
    /// # Errors
    /// When a file is not what the manifest says, or the disk refuses; what is there then is of no use.
    pub(crate) fn unpack(&mut self, folder: &Path) -> Result<(), Error> {
        let copy_path = folder.join(PAYLOAD);
        let mut copy =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&copy_path);
        let copy = copy.as_mut().map_err(|e| Error::disk(&copy_path)(io::Error::from(e.kind())))?;
        self.sum(copy)?;
        copy.rewind().map_err(Error::disk(&copy_path))?;
        extract(copy, &self.manifest, &self.path, |file| create(folder, file))?;
        fs::remove_file(&copy_path).map_err(Error::disk(&copy_path))?;
        sync_folders(folder).map_err(Error::disk(folder))
    }

    /// Passes the payload on, and looks whether it is the one that is signed.
    fn sum(&mut self, to: &mut dyn Write) -> Result<(), Error> {
        let path = &self.path;
        self.file.seek(SeekFrom::Start(self.payload_at)).map_err(Error::disk(path))?;
        let (mut sum, mut bytes) = (Sha256::new(), 0_u64);
        let mut block = vec![0; BLOCK];
        // One byte more than it may have: what is too long is noticed.
        let mut from = (&self.file).take(self.manifest.payload_bytes.saturating_add(1));
        loop {
            let n = from.read(&mut block).map_err(Error::disk(path))?;
            let Some(part) = block.get(..n).filter(|p| !p.is_empty()) else { break };
            sum.update(part);
            bytes += n as u64;
            to.write_all(part).map_err(|e| Error::Disk { at: path.clone(), source: e })?;
        }
        if bytes != self.manifest.payload_bytes || hex(&sum.finalize()) != self.manifest.payload_sha256 {
            return Error::refused(format!(
                "{}: its files are not those that were signed: the bundle was changed, or cut when it was copied",
                path.display()
            ));
        }
        Ok(())
    }
}

/// Where a file of the bundle goes.
struct Output {
    to: Box<dyn Write>,
    at: PathBuf,
}

fn extract(
    from: impl Read,
    manifest: &Manifest,
    path: &Path,
    mut create: impl FnMut(&File) -> Result<Output, Error>,
) -> Result<(), Error> {
    let other =
        |file: &str| Error::Refused(format!("{}: {file} is not as the manifest says", path.display()));
    let mut from = GzDecoder::new(BufReader::with_capacity(BLOCK, from.take(MOST_BYTES)));
    let mut block = vec![0; BLOCK];
    for file in &manifest.files {
        let mut output = create(file)?;
        let (mut sum, mut left) = (Sha256::new(), file.size);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            let room = block.get_mut(..most).unwrap_or_default();
            let n = from.read(room).map_err(|_| other(&file.path))?;
            let part = room.get(..n).filter(|p| !p.is_empty()).ok_or_else(|| other(&file.path))?;
            sum.update(part);
            left -= n as u64;
            output.to.write_all(part).map_err(Error::disk(&output.at))?;
        }
        output.to.flush().map_err(Error::disk(&output.at))?;
        if hex(&sum.finalize()) != file.sha256 {
            return Err(other(&file.path));
        }
    }
    match from.read(&mut [0; 1]) {
        Ok(0) => Ok(()),
        _ => Err(other("what follows the last file")),
    }
}

/// A file that is on the disk once it was flushed.
struct Synced(fs::File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn create(folder: &Path, file: &File) -> Result<Output, Error> {
    let at = folder.join(&file.path);
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent).map_err(Error::disk(parent))?;
    }
    let mode = if file.executable { 0o755 } else { 0o644 };
    let to =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&at).map_err(Error::disk(&at))?;
    // Whatever the mask of the process is: the gateway's user must be able to read it.
    to.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(Error::disk(&at))?;
    Ok(Output { to: Box::new(Synced(to)), at })
}

/// Names and modes of a folder and all below it are on the disk.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::File::open(folder)?.sync_all()
}
