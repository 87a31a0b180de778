//! The journal's files: `state.<n>` (a snapshot) and `log.<n>` (what changed since). Two generations are kept, so
//! that a damaged snapshot costs nothing that the one before and its logs still tell. A damaged file is set aside
//! as `<name>.damaged`, never fatal.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::image::Image;
use super::record::{Found, Record, decode, encode};

/// Records read between sweeps.
const SWEEP: u64 = 100_000;

/// What was found at the start.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) image: Image,
    /// Records that could not be read, and ends of files that were cut: each may be a lost message.
    pub(crate) damaged: u64,
    /// The next generation to write.
    pub(crate) next: u64,
    /// Held as long as the folder is used.
    pub(crate) lock: Option<File>,
}

pub(crate) fn snapshot_path(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("state.{n}"))
}

pub(crate) fn log_path(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("log.{n}"))
}

/// Generations of files named `<stem>.<n>`, oldest first.
fn generations(dir: &Path, stem: &str) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = |n: &str| n.strip_prefix(stem)?.strip_prefix('.')?.parse::<u64>().ok();
        let number = name.to_str().and_then(number);
        all.extend(number);
    }
    all.sort_unstable();
    Ok(all)
}

/// Reads what is there.
///
/// # Errors
/// Only when the folder itself cannot be made or read.
pub(crate) fn recover(dir: &Path) -> io::Result<Recovered> {
    std::fs::create_dir_all(dir)?;
    let lock = File::create(dir.join("lock"))?;
    // Two processes would take each other's files away.
    lock.try_lock().map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it"))?;
    let (states, logs) = (generations(dir, "state")?, generations(dir, "log")?);
    let next = states.iter().chain(&logs).max().map_or(1, |n| n + 1);
    let mut recovered = Recovered { next, lock: Some(lock), ..Recovered::default() };
    // The newest snapshot that is whole; one that is not says less than the one before with its logs.
    let mut base = None;
    for n in states.iter().rev() {
        let path = snapshot_path(dir, *n);
        let mut image = Image::default();
        let (whole, damaged) = read(&path, &mut image);
        if whole && damaged == 0 {
            recovered.image = image;
            base = Some(*n);
            break;
        }
        recovered.damaged += 1;
        set_aside(&path);
    }
    for n in logs.iter().filter(|n| base.is_none_or(|b| **n >= b)) {
        let path = log_path(dir, *n);
        let (_, damaged) = read(&path, &mut recovered.image);
        if damaged > 0 {
            recovered.damaged += damaged;
            set_aside(&path);
        }
    }
    recovered.image.sweep();
    Ok(recovered)
}

fn set_aside(path: &Path) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    match std::fs::rename(path, &aside) {
        Ok(()) => tracing::error!(file = %path.display(), "damaged file of the broker set aside"),
        Err(error) => tracing::error!(file = %path.display(), %error, "damaged file of the broker stays"),
    }
}

/// Applies a file's records. Whether it ends as a snapshot ends, and how many of its records are damaged.
fn read(path: &Path, image: &mut Image) -> (bool, u64) {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "cannot read a file of the broker");
            return (false, 1);
        }
    };
    let (mut rest, mut whole, mut damaged, mut count) = (&bytes[..], false, 0, 0);
    while !rest.is_empty() {
        let used = match decode(rest) {
            Found::Record(record, used) => {
                whole = record == Record::End;
                image.apply(record);
                used
            }
            Found::Damaged(used) => {
                damaged += 1;
                used
            }
            // A log that was being written when the power went ends like this, and nobody was told of its end.
            Found::Torn => {
                let zeros = rest.iter().all(|b| *b == 0);
                damaged += u64::from(!zeros && rest.len() > TORN_TAIL);
                break;
            }
        };
        rest = rest.get(used..).unwrap_or_default();
        count += 1;
        if count % SWEEP == 0 {
            image.sweep();
        }
    }
    (whole, damaged)
}

/// A torn end longer than any group that one write brings is damage.
const TORN_TAIL: usize = 16 * 1024 * 1024;

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// Bytes in it.
    pub(crate) bytes: u64,
}

impl Log {
    /// A new log of generation `n`.
    pub(crate) fn create(dir: &Path, n: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log_path(dir, n))?;
        sync_dir(dir)?;
        Ok(Self { file, bytes: 0 })
    }

    /// Writes and waits until the disk has it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Writes a snapshot of generation `n`, whole or not at all, and gives its size.
pub(crate) fn write_snapshot<'a>(
    dir: &Path,
    n: u64,
    records: impl Iterator<Item = Record<'a>>,
) -> io::Result<u64> {
    let (path, temporary) = (snapshot_path(dir, n), dir.join("state.new"));
    let mut file = File::create(&temporary)?;
    let (mut buffer, mut bytes) = (Vec::with_capacity(1 << 16), 0);
    for record in records.chain([Record::End]) {
        encode(&record, &mut buffer);
        if buffer.len() >= 1 << 16 {
            bytes += buffer.len() as u64;
            file.write_all(&buffer)?;
            buffer.clear();
        }
    }
    bytes += buffer.len() as u64;
    file.write_all(&buffer)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    sync_dir(dir)?;
    Ok(bytes)
}

/// Removes generations before `n`.
pub(crate) fn remove_before(dir: &Path, n: u64) {
    for (stem, path) in [("state", snapshot_path as fn(&Path, u64) -> PathBuf), ("log", log_path)] {
        for old in generations(dir, stem).unwrap_or_default().into_iter().filter(|g| *g < n) {
            let _ = std::fs::remove_file(path(dir, old));
        }
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
