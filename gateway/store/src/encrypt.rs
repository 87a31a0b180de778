//! Files that nobody can read without the key: XChaCha20 over each file, by place, between the log and the file system.
//! A file has a random nonce of its own in its head, which stands twice, in two blocks, so that one spoilt block does not
//! cost the file. What was written without a key is read as it is.
//!
//! It keeps what is in the files from whoever takes the disk. It does not tell that somebody changed them (the log's sums
//! find damage, not malice), nor hide how much there is and when it was written. Places that are written again (a
//! header that is mended, an end that is cut and goes on) are so with the same stream: who has an image of before and one
//! of after sees in which bits they differ.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use common::text::hex;
use sha2::{Digest, Sha256};

use crate::disk::{Disk, DiskFile, EIO, Kind, read_around, write_all};
use crate::reserve;

const MAGIC: [u8; 8] = *b"TWCRYPT1";
/// Where the second head stands: in another block, whatever the size of a block is.
const SECOND: u64 = 4096;
/// Where what the log wrote begins.
const HEAD: u64 = 2 * SECOND;
const HEAD_LEN: usize = 44;
/// So many zeros in a row are no encrypted bytes: that comes once in 2^64.
const LEAST_HOLE: usize = 8;
const NONCE: usize = 24;

/// 32 random bytes. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of these bytes, which must come from a random source.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What tells it from others without giving it away.
    fn id(&self) -> [u8; 8] {
        let digest = Sha256::new().chain_update(b"twinway buffer key").chain_update(self.0).finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        id
    }

    fn stream(&self, nonce: [u8; NONCE]) -> Stream {
        Stream { key: self.clone(), nonce }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", hex(&self.id()))
    }
}

/// The keys that there are: the first is for what is written, the others for what was written with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl From<Vec<Key>> for Keys {
    fn from(keys: Vec<Key>) -> Self {
        Self(keys)
    }
}

impl Keys {
    fn of(&self, id: [u8; 8]) -> io::Result<&Key> {
        let unknown = || {
            let known: Vec<_> = self.0.iter().map(|k| hex(&k.id())).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("encrypted with the key {}, and the keys given are: {known}", hex(&id));
            io::Error::new(io::ErrorKind::PermissionDenied, message)
        };
        self.0.iter().find(|k| k.id() == id).ok_or_else(unknown)
    }

    /// A small value, with its nonce before it.
    pub(crate) fn seal(&self, value: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(key) = self.0.first() else { return Ok(value) };
        let nonce = nonce()?;
        let mut out = [&MAGIC[..], &key.id(), &nonce].concat();
        let head = out.len();
        out.extend(value);
        key.stream(nonce).apply(&mut out[head..], 0)?;
        Ok(out)
    }

    /// What `seal` made, or what was kept without a key.
    pub(crate) fn open(&self, value: &[u8]) -> io::Result<Vec<u8>> {
        let Some(rest) = value.strip_prefix(&MAGIC) else { return Ok(value.to_vec()) };
        let Some((id, rest)) = rest.split_first_chunk() else { return Err(damaged()) };
        let Some((nonce, rest)) = rest.split_first_chunk() else { return Err(damaged()) };
        let mut out = rest.to_vec();
        self.of(*id)?.stream(*nonce).apply(&mut out, 0)?;
        Ok(out)
    }
}

fn nonce() -> io::Result<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| io::Error::other(format!("no random source: {e}")))?;
    Ok(nonce)
}

/// What one file, or value, is encrypted with.
#[derive(Debug)]
struct Stream {
    key: Key,
    nonce: [u8; NONCE],
}

impl Stream {
    /// Both ways: what stands at a place, or what is to stand there.
    fn apply(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let mut cipher = XChaCha20::new(&self.key.0.into(), &self.nonce.into());
        let far = |_| io::Error::new(io::ErrorKind::FileTooLarge, "no file is encrypted beyond 256 GiB");
        cipher.try_seek(at).map_err(far)?;
        cipher.try_apply_keystream(bytes).map_err(far)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "head of an encrypted file is damaged")
}

/// What stands at the beginning of a file.
#[derive(Debug, Clone, Copy)]
struct Head {
    key: [u8; 8],
    nonce: [u8; NONCE],
}

impl Head {
    fn bytes(&self) -> [u8; HEAD_LEN] {
        let mut out = [0; HEAD_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&self.key);
        out[16..40].copy_from_slice(&self.nonce);
        let crc = crc32fast::hash(&out[..40]);
        out[40..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn parse(bytes: &[u8; HEAD_LEN]) -> Option<Self> {
        let (key, nonce) = (bytes[8..16].try_into().ok()?, bytes[16..40].try_into().ok()?);
        let head = Self { key, nonce };
        (head.bytes() == *bytes).then_some(head)
    }

    /// The head of a file; none if it was written without a key.
    fn of(file: &dyn DiskFile) -> io::Result<Option<Self>> {
        let (mut is_encrypted, mut unread) = (false, 0);
        for at in [0, SECOND] {
            let mut bytes = [0; HEAD_LEN];
            // A block that the disk cannot read is no reason to give up the other one, or a file without heads.
            let (got, is_bad) = read_around(file, &mut bytes, at)?;
            if let Some(head) = Self::parse(&bytes) {
                return Ok(Some(head));
            }
            is_encrypted |= got >= MAGIC.len() && bytes.starts_with(&MAGIC);
            unread += u8::from(is_bad);
        }
        match (is_encrypted, unread) {
            (true, _) => Err(damaged()),
            (false, 2) => Err(io::Error::from_raw_os_error(EIO)),
            _ => Ok(None),
        }
    }
}

/// Looks whether there is a key for each encrypted file of a folder; the first for which there is none.
pub(crate) fn without_key(disk: &dyn Disk, dir: &Path, keys: &Keys) -> Option<(PathBuf, String)> {
    let mut paths = disk.list(dir).unwrap_or_default();
    // The reserve is noise that nobody reads: it may outlive its key.
    paths.retain(|path| path.file_name().is_none_or(|name| name != reserve::NAME));
    paths.sort();
    paths.into_iter().find_map(|path| {
        // What cannot be read is for those who read it to tell.
        let file = disk.open(&path, false).ok()?;
        let head = Head::of(&*file).ok()??;
        keys.of(head.key).err().map(|e| (path, e.to_string()))
    })
}

/// A disk whose files are encrypted on another one.
#[derive(Debug)]
pub(crate) struct EncryptedDisk {
    beneath: Arc<dyn Disk>,
    keys: Keys,
}

impl EncryptedDisk {
    /// Without a key nothing is written encrypted, and what is encrypted is not read.
    pub(crate) fn over(beneath: Arc<dyn Disk>, keys: Keys) -> Self {
        Self { beneath, keys }
    }
}

impl Disk for EncryptedDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.beneath.make_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.beneath.list(dir)
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let kind = self.beneath.kind(path)?;
        let Kind::File(size) = kind else { return Ok(kind) };
        let head = self.beneath.open(path, false).and_then(|f| Head::of(&*f));
        Ok(if matches!(head, Ok(Some(_))) { Kind::File(size.saturating_sub(HEAD)) } else { kind })
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn DiskFile>> {
        let beneath = self.beneath.open(path, write)?;
        let Some(head) = Head::of(&*beneath)? else { return Ok(beneath) };
        let stream = self.keys.of(head.key)?.stream(head.nonce);
        Ok(Box::new(EncryptedFile { beneath, stream }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let Some(key) = self.keys.0.first() else { return self.beneath.create(path) };
        let head = Head { key: key.id(), nonce: nonce()? };
        let beneath = self.beneath.create(path)?;
        let both = write_all(&*beneath, &head.bytes(), 0);
        both.and_then(|()| write_all(&*beneath, &head.bytes(), SECOND))
            .and_then(|()| beneath.set_size(HEAD))
            .inspect_err(|_| drop(self.beneath.remove(path)))?;
        Ok(Box::new(EncryptedFile { beneath, stream: key.stream(head.nonce) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.beneath.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.beneath.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.beneath.sync_dir(dir)
    }
}

#[derive(Debug)]
struct EncryptedFile {
    beneath: Box<dyn DiskFile>,
    stream: Stream,
}

impl DiskFile for EncryptedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.beneath.size()?.saturating_sub(HEAD))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let got = self.beneath.read_at(into, offset + HEAD)?;
        let (mut left, mut at) = (&mut into[..got], offset);
        while !left.is_empty() {
            let block = usize::try_from(SECOND - at % SECOND).unwrap_or(1).min(left.len());
            let (part, rest) = left.split_at_mut(block);
            // What a power cut left of blocks that were never written: the log knows zeros, and not the noise that they would be.
            if part.len() < LEAST_HOLE || part.iter().any(|b| *b != 0) {
                self.stream.apply(part, at)?;
            }
            at += block as u64;
            left = rest;
        }
        Ok(got)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = bytes.to_vec();
        self.stream.apply(&mut bytes, offset)?;
        self.beneath.write_at(&bytes, offset + HEAD)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.beneath.set_size(size + HEAD)
    }

    fn sync(&self) -> io::Result<()> {
        self.beneath.sync()
    }
}

#[cfg(test)]
#[path = "encrypt_tests.rs"]
mod tests;
