//! How often a configuration that has not proven itself was started in a row. What `check` cannot see (an address that is
//! taken, a driver that hangs, a crash) shows only then, and on a box that nobody attends it would go on for ever.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::config::{Mistake, Mistakes};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::last_good;

/// So many starts with one configuration may fail; the next one is with the last good one.
const MOST_FAILED: u32 = 3;
/// Tells one start of the machine from another: after a power cut nobody knows whether the gateway failed.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What was started and has neither proven itself nor ended well.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Starts {
    /// Of the configuration's files.
    digest: String,
    boot: String,
    count: u32,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("starts.json")
}

/// What to run of a configuration that was read without a mistake: itself, and its start is counted; or the last good
/// one, where the starts before failed.
pub fn start_or_last_good(config: Config) -> Config {
    counted(config, &boot_id())
}

/// Which start of the machine this is; empty if it does not say.
pub(crate) fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

#[allow(clippy::print_stderr)] // logs do not run yet
fn counted(config: Config, boot: &str) -> Config {
    if last_good::is_kept_now(&config) {
        return config;
    }
    let before: Starts = fs::read(path(&config.data_dir))
        .ok()
        .and_then(|b| serde_json::from_slice(&b).ok())
        .unwrap_or_default();
    let failed = if before.digest == config.digest && before.boot == boot { before.count } else { 0 };
    if failed >= MOST_FAILED {
        let message = format!("{failed} starts with it failed, one after the other: see the log of each");
        let told = Mistake::new(&config.file, None, "", message);
        if let Some(kept) = last_good::load_last_good(&config.file, &Mistakes(vec![told])) {
            return kept;
        }
    }
    let starts =
        Starts { digest: config.digest.clone(), boot: boot.to_owned(), count: failed.saturating_add(1) };
    if let Err(error) = write(&config.data_dir, &starts) {
        eprintln!("starts of a new configuration are not counted: {error}");
    }
    config
}

/// The configuration has proven itself, or was ended by somebody: its starts were no failures.
pub(crate) fn forget(data_dir: &Path) {
    if let Err(error) = fs::remove_file(path(data_dir))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "starts of the configuration stay counted");
    }
}

fn write(data_dir: &Path, starts: &Starts) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    common::files::replace(&path(data_dir), &serde_json::to_vec(starts)?, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path, port: u16) -> Config {
        let path = dir.join("gateway.toml");
        let data = dir.join("data");
        fs::write(
            &path,
            format!("[gateway]\nid = \"g1\"\ndata_dir = {data:?}\n[api]\nlisten = \"127.0.0.1:{port}\"\n"),
        )
        .unwrap();
        Config::load(&path).unwrap()
    }

    fn runs(config: &Config) -> u16 {
        config.api.listen.port()
    }

    fn prove(config: &Config) {
        fs::create_dir_all(&config.data_dir).unwrap();
        assert!(last_good::stage(&config.data_dir, &config.sources).unwrap());
        last_good::keep(&config.data_dir).unwrap();
        forget(&config.data_dir);
    }

    #[test]
    fn after_three_starts_that_failed_the_last_good_one_runs_until_the_files_change() {
        let dir = tempfile::tempdir().unwrap();
        let good = config(dir.path(), 8401);
        prove(&good);
        for start in 0..MOST_FAILED {
            assert_eq!(runs(&counted(config(dir.path(), 8402), "b")), 8402, "start {start}");
        }
        for _ in 0..2 {
            let kept = counted(config(dir.path(), 8402), "b");
            assert_eq!((runs(&kept), kept.instead_of.len()), (8401, 1));
            assert!(kept.instead_of[0].contains("3 starts with it failed"), "{:?}", kept.instead_of);
        }
        assert_eq!(runs(&counted(config(dir.path(), 8403), "b")), 8403, "another one has its own starts");
        assert_eq!(runs(&counted(config(dir.path(), 8401), "b")), 8401, "the good one itself is not counted");
    }

    #[test]
    fn starts_of_another_boot_and_those_that_ended_well_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        prove(&config(dir.path(), 8401));
        for boot in ["a", "a", "b", "a", "a"] {
            assert_eq!(runs(&counted(config(dir.path(), 8402), boot)), 8402);
        }
        forget(&dir.path().join("data"));
        for _ in 0..MOST_FAILED {
            assert_eq!(runs(&counted(config(dir.path(), 8402), "a")), 8402);
        }
        assert_eq!(runs(&counted(config(dir.path(), 8402), "a")), 8401);
    }

    #[test]
    fn without_a_last_good_one_the_files_are_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..=MOST_FAILED {
            assert_eq!(runs(&counted(config(dir.path(), 8402), "b")), 8402);
        }
        // A note that cannot be read is none.
        fs::write(path(&dir.path().join("data")), "{").unwrap();
        assert_eq!(runs(&counted(config(dir.path(), 8402), "b")), 8402);
    }
}
