//! What the log asks of a file system, and nothing else: so that a test can put one beneath it that loses what was
//! not synced, is full, or fails. One call is one system call; what it costs to make it through a table is nothing
//! beside it. sled writes its own files and does not come through here.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A socket, a device, a link that leads nowhere.
    Other,
}

/// A file system. Names that were made, moved or removed survive a power cut only after `sync_dir`.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder; no error if it is there.
    ///
    /// # Errors
    /// What the system said.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Paths of what stands in a folder, in no order.
    ///
    /// # Errors
    /// What the system said.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// What stands under a name, links followed.
    ///
    /// # Errors
    /// What the system said; `NotFound` if nothing does.
    fn kind(&self, path: &Path) -> io::Result<Kind>;

    /// Opens a file to read, and to write if asked.
    ///
    /// # Errors
    /// What the system said.
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file that must not be there, to read and write.
    ///
    /// # Errors
    /// What the system said.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Moves a name within one file system; what had the new name is replaced.
    ///
    /// # Errors
    /// What the system said.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system said.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system said.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Bytes and length survive a power cut only after `sync`.
pub trait DiskFile: Debug + Send + Sync {
    /// Its length.
    ///
    /// # Errors
    /// What the system said.
    fn size(&self) -> io::Result<u64>;

    /// Reads at a place; fewer bytes than asked for are no error, none are the end.
    ///
    /// # Errors
    /// What the system said.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at a place; fewer bytes than given are no error.
    ///
    /// # Errors
    /// What the system said.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the system said.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system said. What was written since the last success may be lost then, also if a later call succeeds.
    fn sync(&self) -> io::Result<()>;
}

/// The system's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let found = fs::metadata(path).or_else(|_| fs::symlink_metadata(path))?;
        Ok(match found.file_type() {
            t if t.is_file() => Kind::File(found.len()),
            t if t.is_dir() => Kind::Folder,
            _ => Kind::Other,
        })
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(write).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Writes all of it, however little the system takes at once.
pub(crate) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = bytes.get(n..).unwrap_or(&[]);
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads as much as there is, at most the length of `into`.
pub(crate) fn read_full(file: &dyn DiskFile, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read_at(&mut into[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// What is read at once around a place that cannot be.
const BLOCK: u64 = 4096;

/// Reads as `read_full` does, with zeros for the blocks that the disk cannot read; whether there were such. What is not
/// about blocks stays an error.
pub(crate) fn read_around(file: &dyn DiskFile, into: &mut [u8], offset: u64) -> io::Result<(usize, bool)> {
    match read_full(file, into, offset) {
        Err(e) if is_bad_block(&e) => {}
        read => return read.map(|n| (n, false)),
    }
    let left = usize::try_from(file.size()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let (len, mut at, mut bad) = (into.len().min(left), 0, false);
    while at < len {
        let place = offset + at as u64;
        let to = len.min(at + usize::try_from(BLOCK - place % BLOCK).unwrap_or(1));
        let block = &mut into[at..to];
        match read_full(file, block, place) {
            Ok(n) if n == block.len() => {}
            // It became shorter.
            Ok(n) => return Ok((at + n, bad)),
            Err(e) if is_bad_block(&e) => {
                block.fill(0);
                bad = true;
            }
            Err(e) => return Err(e),
        }
        at = to;
    }
    Ok((len, bad))
}

/// A block cannot be read.
pub(crate) const EIO: i32 = 5;

/// `EIO`, and what file systems with checksums say of a block (`EBADMSG`, `EUCLEAN`).
fn is_bad_block(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EIO | 74 | 117))
}

/// Reads a small file; an error beyond `limit` bytes.
pub(crate) fn read_small(disk: &dyn Disk, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path, false)?;
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    if size > limit {
        return Err(io::Error::other(format!("{size} bytes, at most {limit} are expected")));
    }
    let mut bytes = vec![0; size];
    let got = read_full(&*file, &mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// Makes a folder with all above it, durable.
pub(crate) fn make_dirs(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if matches!(disk.kind(path), Ok(Kind::Folder)) {
        return Ok(());
    }
    let above = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(above) = above {
        make_dirs(disk, above)?;
    }
    disk.make_dir(path)?;
    disk.sync_dir(above.unwrap_or(Path::new(".")))
}

/// Has `bytes` under a name, all or as it was: written beside, synced, renamed, folder synced.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let _ = disk.remove(&beside);
    let file = disk.create(&beside)?;
    let written = write_all(&*file, bytes, 0).and_then(|()| file.sync());
    if let Err(error) = written {
        let _ = disk.remove(&beside);
        return Err(error);
    }
    disk.rename(&beside, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// `bytes` behind their CRC-32, for a small file that must be whole.
pub(crate) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:08x}\n", crc32fast::hash(bytes)).into_bytes();
    out.extend(bytes);
    out
}

/// What `sealed` was made of, if it is whole.
pub(crate) fn unseal(sealed: &[u8]) -> Option<&[u8]> {
    let (crc, bytes) = sealed.split_at_checked(9)?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc.get(..8)?).ok()?, 16).ok()?;
    (crc32fast::hash(bytes) == crc).then_some(bytes)
}
