//! The demo's folder: made, marked as the demo's own, and removed only if it bears that mark.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

const MARK: &str = ".twinway-demo";

/// The folder's files.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens the folder, after removing it if `fresh`.
    ///
    /// # Errors
    /// When it exists and is not the demo's, or cannot be made.
    pub fn open(root: &Path, fresh: bool) -> anyhow::Result<Self> {
        let there = root.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if there && !root.join(MARK).exists() {
            bail!("{} is not a folder that the demo made: choose another with --dir", root.display());
        }
        if there && fresh {
            std::fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        std::fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        let root = root.canonicalize()?;
        std::fs::write(root.join(MARK), "state of the Twinway demo; remove it with `--fresh`\n")?;
        Ok(Self { root })
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The gateway's socket: in the folder, or where paths are short if the folder's is too long for one.
    pub fn socket(&self) -> PathBuf {
        const LONGEST_SOCKET_PATH: usize = 100;
        let path = self.path("gateway.sock");
        if path.as_os_str().len() <= LONGEST_SOCKET_PATH {
            return path;
        }
        std::env::temp_dir().join(format!("twinway-demo-{}.sock", std::process::id()))
    }

    /// Writes a file that only its owner reads.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_private(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.path(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
        assert!(Folder::open(dir.path(), true).is_err());
        assert!(dir.path().join("thesis.txt").exists());
    }

    #[test]
    fn fresh_starts_over_in_its_own_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("demo");
        let folder = Folder::open(&root, false).unwrap();
        folder.write_private("x", "1").unwrap();
        assert!(Folder::open(&root, false).unwrap().path("x").exists());
        assert!(!Folder::open(&root, true).unwrap().path("x").exists());
    }
}
