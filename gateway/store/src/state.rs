//! What sled keeps beside the log: acks and last updates of commands. All of it can be lost: acks are
//! told again by the cloud, commands are read from the log. sled panics on some damage, so every call
//! into it is contained; a damaged state is set aside and begun anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use common::supervise::panic_text;
use common::{CommandId, Incarnation, IntervalSet};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::commands::Known;
use crate::encrypt::Keys;

const ACKS: &str = "ack/";
const COMMANDS: &str = "cmd/";
/// Acks of incarnations that are no longer here, in one entry.
const PAST: &str = "past";

/// The state; without a database it keeps nothing, and nothing else suffers.
#[derive(Debug)]
pub(crate) struct State {
    db: Option<sled::Db>,
    keys: Keys,
    /// There while the state has failed in use: the next start sets it aside.
    suspect: PathBuf,
}

/// Has sled make what it keeps for the life of the process: 27 MB of histograms that are never filled. For a program's
/// first lines: pages that nobody used before come zeroed from the kernel, and take memory only when they are written. Made
/// among what the reading of a large configuration has freed, they are wiped, and stay.
pub fn sled_statics() {
    // Nothing else reaches them without a database; sled is built without metrics, and prints nothing.
    drop(sled::Config::new().print_profile_on_drop(true));
}

/// Interval sets by incarnation.
pub(crate) type Sets = Vec<(Incarnation, IntervalSet)>;

impl State {
    pub(crate) fn open(path: &Path, keys: Keys) -> Self {
        let suspect = path.with_extension("suspect");
        let trusted = if suspect.exists() { Err("it failed in use".to_owned()) } else { open(path) };
        let db = trusted.or_else(|error| {
            let _ = std::fs::remove_file(&suspect);
            let aside = set_aside(path);
            tracing::error!(path = %path.display(), error, aside = ?aside, "state is damaged and set aside");
            open(path)
        });
        match db {
            Ok(db) => Self { db: Some(db), keys, suspect },
            Err(error) => {
                tracing::error!(path = %path.display(), error, "state cannot be kept");
                Self { db: None, keys, suspect }
            }
        }
    }

    fn contained<T>(&mut self, what: &str, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Option<T> {
        let db = self.db.as_ref()?;
        let error = match catch_unwind(AssertUnwindSafe(|| call(db))) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => {
                let text = panic_text(panic);
                // After a panic inside it nothing it says can be trusted.
                std::mem::forget(self.db.take());
                text
            }
        };
        tracing::warn!(what, error, "state failed; the next start begins a new one");
        let _ = std::fs::File::create(&self.suspect);
        None
    }

    fn all<T: DeserializeOwned>(&mut self, prefix: &'static str) -> Vec<(String, T)> {
        let keys = self.keys.clone();
        let read = self.contained("read", |db| {
            let mut out = Vec::new();
            for item in db.scan_prefix(prefix) {
                let (key, value) = item?;
                let key = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
                // An entry that cannot be read is as good as lost.
                if let Ok(value) = keys.open(&value)
                    && let Ok(value) = serde_json::from_slice(&value)
                {
                    out.push((key, value));
                }
            }
            Ok(out)
        });
        read.unwrap_or_default()
    }

    fn sets(&mut self, prefix: &'static str) -> Sets {
        let all = self.all::<IntervalSet>(prefix);
        all.into_iter().filter_map(|(key, set)| Some((key.parse().ok()?, set))).collect()
    }

    pub(crate) fn acks(&mut self) -> Sets {
        self.sets(ACKS)
    }

    /// Acks of incarnations that were gone already, oldest first.
    pub(crate) fn past(&mut self) -> Sets {
        self.all::<Sets>(PAST).pop().map(|(_, past)| past).unwrap_or_default()
    }

    pub(crate) fn keep_past(&mut self, past: &Sets) {
        let keys = self.keys.clone();
        self.contained("write", |db| {
            let mut batch = sled::Batch::default();
            put(&mut batch, &keys, PAST.to_owned(), Some(past));
            db.apply_batch(batch)
        });
    }

    pub(crate) fn commands(&mut self) -> Vec<Known> {
        self.all::<Known>(COMMANDS).into_iter().map(|(_, known)| known).collect()
    }

    /// Keeps what changed; an empty set is forgotten.
    pub(crate) fn keep(&mut self, acks: &Sets, commands: &[(CommandId, Option<Known>)]) {
        let keys = self.keys.clone();
        self.contained("write", |db| {
            let mut batch = sled::Batch::default();
            for (incarnation, set) in acks {
                put(&mut batch, &keys, format!("{ACKS}{incarnation}"), (!set.is_empty()).then_some(set));
            }
            for (id, known) in commands {
                put(&mut batch, &keys, format!("{COMMANDS}{id}"), known.as_ref());
            }
            db.apply_batch(batch)
        });
    }

    pub(crate) fn flush(&mut self) {
        self.contained("flush", |db| db.flush().map(|_| ()));
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let db = self.db.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

fn put<T: Serialize>(batch: &mut sled::Batch, keys: &Keys, key: String, value: Option<&T>) {
    let Some(value) = value else { return batch.remove(key.as_bytes()) };
    match serde_json::to_vec(value).map_err(std::io::Error::other).and_then(|v| keys.seal(v)) {
        Ok(value) => batch.insert(key.as_bytes(), value),
        // What stands there is older, and better than nothing.
        Err(error) => tracing::warn!(key, %error, "state not kept"),
    }
}

/// Moves the state away. One is kept to be looked at: everything in it can be had again.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let aside = PathBuf::from(name);
    let _ = std::fs::remove_dir_all(&aside).or_else(|_| std::fs::remove_file(&aside));
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

fn open(path: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(1 << 20)
        .flush_every_ms(Some(1000));
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(panic_text(panic)),
    }
}
