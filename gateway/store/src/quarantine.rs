//! Where files go that cannot be used: moved aside, never deleted at once, so that somebody can look at them; and
//! never more than a share of the disk, and nothing while the disk is full. Nothing that is here is read again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, Kind, make_dirs, read_small, unseal};

/// Most files that are kept.
const MAX_FILES: usize = 64;
/// More than any small file that is written.
const MAX_SMALL_BYTES: usize = 64 << 20;

/// The folder of what was moved aside.
#[derive(Debug)]
pub(crate) struct Quarantine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    max_bytes: u64,
    /// Since this start.
    taken: AtomicU64,
}

impl Quarantine {
    /// In `<dir>/quarantine`, with at most `max_bytes`; the folder is made when there is something for it.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, max_bytes: u64) -> Self {
        Self { disk, dir: dir.join("quarantine"), max_bytes, taken: AtomicU64::new(0) }
    }

    /// What a small sealed file says. A damaged one is moved aside and says nothing; `what` names it to people.
    pub(crate) fn read<T>(
        &self,
        path: &Path,
        what: &str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let damage = match read_small(&*self.disk, path, MAX_SMALL_BYTES) {
            Ok(bytes) => match unseal(&bytes).and_then(parse) {
                Some(said) => return Some(said),
                None => "damaged".to_owned(),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => format!("unreadable: {error}"),
        };
        self.take(path, &format!("{what}, {damage}"));
        None
    }

    /// Moves a file or folder aside; where to, if that went well.
    pub(crate) fn take(&self, path: &Path, what: &str) -> Option<PathBuf> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let moved = self.move_here(path);
        match &moved {
            Ok(to) => tracing::error!(path = %path.display(), to = %to.display(), what, "moved aside"),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, what, "cannot be moved aside and is left alone");
            }
        }
        self.bound();
        moved.ok()
    }

    fn move_here(&self, path: &Path) -> std::io::Result<PathBuf> {
        make_dirs(&*self.disk, &self.dir)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Numbered after the greatest, so that the order of numbers is that of time.
        let number = self.files().iter().map(|f| f.number).max().unwrap_or(0) + 1;
        let to = self.dir.join(format!("{name}-{number}"));
        self.disk.rename(path, &to)?;
        self.disk.sync_dir(&self.dir)?;
        if let Some(from) = path.parent() {
            self.disk.sync_dir(from)?;
        }
        Ok(to)
    }

    /// Removes the oldest beyond what is kept.
    fn bound(&self) {
        let mut files = self.files();
        files.sort_unstable_by_key(|f| f.number);
        let mut bytes: u64 = files.iter().map(|f| f.bytes).sum();
        let mut count = files.len();
        for file in files {
            if count <= MAX_FILES && bytes <= self.max_bytes {
                break;
            }
            if self.disk.remove(&file.path).is_ok() {
                tracing::warn!(path = %file.path.display(), "quarantine is full: its oldest is removed");
                bytes -= file.bytes;
                count -= 1;
            }
        }
    }

    /// Removes all files, since the disk is full: nobody can use them, and what would go instead is wanted. Whether that
    /// gave room.
    pub(crate) fn empty(&self) -> bool {
        let mut bytes = 0;
        for file in self.files().into_iter().filter(|f| f.bytes > 0) {
            if self.disk.remove(&file.path).is_ok() {
                tracing::warn!(path = %file.path.display(), bytes = file.bytes, "disk is full: removed from quarantine");
                bytes += file.bytes;
            }
        }
        bytes > 0
    }

    fn files(&self) -> Vec<Aside> {
        let paths = self.disk.list(&self.dir).unwrap_or_default();
        let aside = |path: PathBuf| {
            let number = path.file_name()?.to_str()?.rsplit_once('-')?.1.parse().ok()?;
            let Ok(Kind::File(bytes)) = self.disk.kind(&path) else {
                return Some(Aside { path, bytes: 0, number });
            };
            Some(Aside { path, bytes, number })
        };
        paths.into_iter().filter_map(aside).collect()
    }

    /// How many files and bytes are there, and how many files came since the start. Reads the folder.
    pub(crate) fn count(&self) -> (u64, u64, u64) {
        let files = self.files();
        (files.len() as u64, files.iter().map(|f| f.bytes).sum(), self.taken.load(Ordering::Relaxed))
    }
}

struct Aside {
    path: PathBuf,
    bytes: u64,
    number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn it_keeps_the_newest_within_its_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(Arc::new(SystemDisk), dir.path(), 10_000);
        for n in 0..70u8 {
            let path = dir.path().join("a.seg");
            std::fs::write(&path, vec![n; 100]).unwrap();
            quarantine.take(&path, "a test").unwrap();
            assert!(!path.exists());
        }
        let (files, bytes, taken) = quarantine.count();
        assert_eq!((files, bytes, taken), (64, 6400, 70));
        let large = dir.path().join("b.seg");
        std::fs::write(&large, vec![0xff; 9_950]).unwrap();
        let kept = quarantine.take(&large, "a test").unwrap();
        assert_eq!(std::fs::read(kept).unwrap().len(), 9_950);
        assert_eq!(quarantine.count(), (1, 9_950, 71));
        // What cannot be moved is no failure.
        assert_eq!(quarantine.take(&dir.path().join("none"), "a test"), None);
        std::fs::create_dir(&large).unwrap();
        assert!(quarantine.take(&large, "a test").is_some());
    }
}
