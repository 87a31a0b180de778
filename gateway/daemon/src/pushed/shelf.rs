//! The documents that the cloud gave, on the disk: two places for texts, and a note that says which of them runs and what
//! became of the last. The note is replaced as a whole, after the text that it names is on the disk, so whenever the power
//! goes there is one answer to what runs.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use common::api::{DocumentRef, DocumentState};
use common::config::Source;
use common::text::{at_most, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::reload::DETAIL_CHARS;

/// Name of a document's file, also in a copy that is kept as the last good one.
pub(crate) const FILE: &str = "cloud-configuration.toml";
/// So many starts on trial may fail; the next one is with what ran before.
const MOST_FAILED: u32 = 3;

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    A,
    B,
}

/// A document that runs or ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shelved {
    #[serde(flatten)]
    pub(crate) name: DocumentRef,
    place: Place,
}

/// What a document on trial needs beside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Starts with it since it was taken that did not end well, in this boot of the machine.
    starts: u32,
    boot: String,
    /// `settled` of what ran before.
    settled: Option<String>,
}

/// The note.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Note {
    /// The last document that came.
    pub(crate) judged: Option<DocumentRef>,
    /// What became of it.
    pub(crate) state: DocumentState,
    pub(crate) reason: String,
    pub(crate) at_us: i64,
    /// The document that runs; none: nothing beside the box's own files.
    pub(crate) running: Option<Shelved>,
    /// What ran before the one on trial.
    previous: Option<Shelved>,
    pub(crate) trial: Option<Trial>,
    /// Digest of the box's own files when `running` was taken.
    pub(crate) settled: Option<String>,
}

impl Note {
    /// A document does not run.
    pub(crate) fn refuse(&mut self, document: DocumentRef, reason: String, at_us: i64) {
        (self.judged, self.state) = (Some(document), DocumentState::Refused);
        (self.reason, self.at_us) = (at_most(reason, DETAIL_CHARS), at_us);
    }

    /// What runs on trial did not prove itself: what ran before is wanted again.
    pub(crate) fn fall_back(&mut self, reason: String, at_us: i64) {
        let Some(trial) = self.trial.take() else { return };
        self.running = self.previous.take();
        self.settled = trial.settled;
        self.state = DocumentState::Refused;
        (self.reason, self.at_us) = (at_most(reason, DETAIL_CHARS), at_us);
    }

    /// What runs on trial has proven itself.
    pub(crate) fn prove(&mut self, at_us: i64) {
        self.trial = None;
        self.previous = None;
        (self.state, self.at_us) = (DocumentState::Applied, at_us);
        self.reason.clear();
    }

    /// Counts a start; what failed too often gives way.
    fn start(&mut self, boot: &str, at_us: i64) {
        let Some(trial) = &mut self.trial else { return };
        if trial.boot != boot {
            // After a power cut nobody knows whether it failed.
            trial.starts = 0;
            boot.clone_into(&mut trial.boot);
        }
        if trial.starts >= MOST_FAILED {
            let failed = trial.starts;
            self.fall_back(format!("{failed} starts with it failed, one after the other"), at_us);
        } else {
            trial.starts += 1;
        }
    }
}

/// The folder. Clones are one: only one of them writes at a time.
#[derive(Debug, Clone)]
pub(crate) struct Shelf(PathBuf, Arc<Mutex<()>>);

impl Shelf {
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("pushed"), Arc::default())
    }

    fn note_path(&self) -> PathBuf {
        self.0.join("state.json")
    }

    fn path(&self, place: Place) -> PathBuf {
        self.0.join(if place == Place::A { "a" } else { "b" }).join(FILE)
    }

    /// The note; the default if there is none. One that is spoilt is none: the cloud gives its document again.
    pub(crate) fn note(&self) -> io::Result<Note> {
        match fs::read(self.note_path()) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Note::default()),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn keep(&self, note: &Note) -> io::Result<()> {
        let _one = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(note)
    }

    fn put(&self, note: &Note) -> io::Result<()> {
        self.make(&self.0)?;
        common::files::replace(&self.note_path(), &serde_json::to_vec(note)?, 0o600)
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        File::open(folder.parent().unwrap_or(folder))?.sync_all()
    }

    /// The text of what runs; none if nothing does, or somebody took it away.
    pub(crate) fn running(&self, note: &Note) -> io::Result<Option<Source>> {
        let Some(running) = &note.running else { return Ok(None) };
        let path = self.path(running.place);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Source { path, text })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether somebody changed the text of what runs.
    pub(crate) fn is_changed(&self, note: &Note) -> bool {
        let hash = |s: Source| hex(&Sha256::digest(s.text.as_bytes()));
        note.running.as_ref().is_some_and(|running| {
            self.running(note).ok().flatten().map(hash).as_ref() != Some(&running.name.hash)
        })
    }

    /// Puts a text beside what runs, and makes it what runs on trial; `settled` is the digest of the box's own files.
    pub(crate) fn try_out(
        &self,
        note: &mut Note,
        (document, text): (DocumentRef, &str),
        settled: String,
        at_us: i64,
    ) -> io::Result<()> {
        let other = note.running.as_ref().map_or(Place::A, |r| match r.place {
            Place::A => Place::B,
            Place::B => Place::A,
        });
        let path = self.path(other);
        self.make(&self.0)?;
        self.make(path.parent().unwrap_or(&self.0))?;
        common::files::replace(&path, text.as_bytes(), 0o600)?;
        let mut next = Note {
            judged: Some(document.clone()),
            state: DocumentState::Trial,
            reason: String::new(),
            at_us,
            running: Some(Shelved { name: document, place: other }),
            previous: note.running.clone(),
            trial: Some(Trial { settled: note.settled.clone(), ..Trial::default() }),
            settled: Some(settled),
        };
        self.keep(&next)?;
        std::mem::swap(note, &mut next);
        Ok(())
    }

    /// Counts a start of the program with a document on trial; after three that failed, what ran before is wanted again.
    pub(crate) fn count_start(&self, boot: &str, at_us: i64) -> io::Result<()> {
        let mut note = self.note()?;
        if note.trial.is_none() {
            return Ok(());
        }
        note.start(boot, at_us);
        self.keep(&note)
    }

    /// Somebody ended the program: its starts were no failures.
    pub(crate) fn forget_starts(&self) -> io::Result<()> {
        let _one = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let mut note = self.note()?;
        match &mut note.trial {
            Some(trial) if trial.starts > 0 => trial.starts = 0,
            _ => return Ok(()),
        }
        self.put(&note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(version: u64, text: &str) -> DocumentRef {
        DocumentRef { version, hash: hex(&Sha256::digest(text.as_bytes())) }
    }

    fn text(shelf: &Shelf) -> Option<String> {
        shelf.running(&shelf.note().unwrap()).unwrap().map(|s| s.text)
    }

    fn tried(shelf: &Shelf, version: u64, text: &str) -> Note {
        let mut note = shelf.note().unwrap();
        shelf.try_out(&mut note, (document(version, text), text), format!("local {version}"), 7).unwrap();
        note
    }

    #[test]
    fn what_does_not_prove_itself_gives_way_to_what_ran_before() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        assert_eq!(text(&shelf), None);
        let mut note = tried(&shelf, 1, "one");
        note.prove(8);
        shelf.keep(&note).unwrap();
        let mut note = tried(&shelf, 2, "two");
        assert_eq!(text(&shelf).as_deref(), Some("two"));
        note.fall_back("no session".into(), 9);
        shelf.keep(&note).unwrap();
        assert_eq!(text(&shelf).as_deref(), Some("one"));
        let note = shelf.note().unwrap();
        assert_eq!((note.state, note.settled.as_deref()), (DocumentState::Refused, Some("local 1")));
        assert_eq!(note.judged.unwrap().version, 2);
        // The first of all: nothing ran before.
        let other = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(other.path());
        let mut note = tried(&shelf, 1, "one");
        note.fall_back("no session".into(), 9);
        shelf.keep(&note).unwrap();
        assert_eq!((text(&shelf), shelf.note().unwrap().settled), (None, None));
    }

    #[test]
    fn after_three_starts_that_failed_what_ran_before_runs() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        let mut note = tried(&shelf, 1, "one");
        note.prove(8);
        shelf.keep(&note).unwrap();
        tried(&shelf, 2, "two");
        // Those of another boot, and before somebody ended it, do not count.
        for boot in ["a", "a", "b", "b"] {
            shelf.count_start(boot, 9).unwrap();
        }
        shelf.forget_starts().unwrap();
        for _ in 0..MOST_FAILED {
            shelf.count_start("b", 9).unwrap();
            assert_eq!(text(&shelf).as_deref(), Some("two"));
        }
        shelf.count_start("b", 9).unwrap();
        assert_eq!(text(&shelf).as_deref(), Some("one"));
        let note = shelf.note().unwrap();
        assert!(note.state == DocumentState::Refused && note.reason.contains("3 starts"), "{note:?}");
        shelf.count_start("b", 9).unwrap();
        assert_eq!(text(&shelf).as_deref(), Some("one"), "what has proven itself is not counted");
    }

    #[test]
    fn a_text_that_somebody_changed_or_took_away_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        assert!(!shelf.is_changed(&shelf.note().unwrap()));
        let note = tried(&shelf, 1, "one");
        assert!(!shelf.is_changed(&note));
        let path = shelf.running(&note).unwrap().unwrap().path;
        fs::write(&path, "by hand").unwrap();
        assert!(shelf.is_changed(&note));
        fs::remove_file(&path).unwrap();
        assert!(shelf.is_changed(&note));
        assert_eq!(text(&shelf), None);
        fs::write(shelf.note_path(), "{").unwrap();
        assert_eq!(shelf.note().unwrap(), Note::default());
    }
}
