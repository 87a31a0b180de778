//! What became of the last offer, in a file of the data folder that is replaced as a whole: the versions of the program that come
//! and go with an update tell on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::api::{UpdateOffer, UpdateState};
use gateway_update::{Log, State, What};
use serde::{Deserialize, Serialize};

const FILE: &str = "updates.json";
/// An updater that has not taken a bundle for so long is none; it may have a trial at hand meanwhile.
const UPDATER_LIMIT: Duration = Duration::from_secs(3600);

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    pub(super) offer: Option<UpdateOffer>,
    pub(super) state: UpdateState,
    pub(super) reason: String,
    /// Since when, UTC us.
    pub(super) at_us: i64,
    /// SHA-256 of the manifest of the bundle that was handed to the updater.
    digest: String,
    /// What the updater had done up to then is not of it.
    seen_us: i64,
    /// What the updater did up to then was told as events.
    told_us: i64,
}

impl Note {
    pub(super) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// Without a file: what the updater did before is told no more.
    pub(super) fn load(path: &Path, state: &State) -> io::Result<Self> {
        match std::fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Ok(Self { told_us: newest_us(state), ..Self::default() })
            }
            other => Ok(serde_json::from_slice(&other?).unwrap_or_else(|error| {
                tracing::warn!(%error, file = %path.display(), "note of updates cannot be read: it begins anew");
                Self { told_us: newest_us(state), ..Self::default() }
            })),
        }
    }

    pub(super) fn keep(&self, path: &Path) -> io::Result<()> {
        common::files::replace(path, &serde_json::to_vec(self)?, 0o600)
    }

    pub(super) fn set(&mut self, state: UpdateState, reason: impl Into<String>, now_us: i64) {
        (self.state, self.reason, self.at_us) = (state, reason.into(), now_us);
    }

    /// A bundle goes to the updater.
    pub(super) fn hand_over(&mut self, digest: String, state: &State, now_us: i64) {
        (self.digest, self.seen_us) = (digest, newest_us(state));
        self.set(UpdateState::Waiting, "", now_us);
    }

    /// It is what runs, or runs on trial, already.
    pub(super) fn runs_already(&mut self, state: &State, now_us: i64) {
        self.digest = state.installed.as_ref().map(|i| i.digest.clone()).unwrap_or_default();
        self.seen_us = 0;
        let is_trial = state.trial.is_some();
        self.set(if is_trial { UpdateState::Trial } else { UpdateState::Installed }, "", now_us);
    }

    /// What the updater did since it was looked at last.
    pub(super) fn news<'a>(&mut self, state: &'a State) -> Vec<&'a Log> {
        let told_us = self.told_us;
        self.told_us = told_us.max(newest_us(state));
        state.log.iter().filter(|log| log.at_us > told_us).collect()
    }

    /// Takes in what the updater did with the bundle that it was given. `is_there`: it has not looked at all yet.
    /// `waited`: for how long the updater could have. True if it is not waited for any longer: then the bundle must go.
    pub(super) fn look(&mut self, state: &State, is_there: bool, waited: Duration, now_us: i64) -> bool {
        if !matches!(self.state, UpdateState::Waiting | UpdateState::Trial | UpdateState::Installed) {
            return false;
        }
        // Of a bundle that it could not read at all it knows no name.
        let is_it = |log: &Log| {
            let unnamed = log.digest.is_empty() && log.what == What::Refused && !is_there;
            log.at_us > self.seen_us && (log.digest == self.digest || unnamed)
        };
        let newest = state.log.iter().rev().find(|log| is_it(log)).filter(|_| !self.digest.is_empty());
        let Some(log) = newest else {
            let is_left = self.state == UpdateState::Waiting && is_there && waited >= UPDATER_LIMIT;
            if is_left {
                let s = UPDATER_LIMIT.as_secs();
                let why = format!("no updater took it for {s} s: `systemctl status twinway-update.path`");
                self.set(UpdateState::Refused, why, now_us);
            }
            return is_left;
        };
        let (now, reason) = match log.what {
            What::Installed => (UpdateState::Trial, ""),
            What::Proven => (UpdateState::Installed, ""),
            What::RolledBack => (UpdateState::GaveWay, log.detail.as_str()),
            What::Refused if self.state == UpdateState::Waiting => {
                (UpdateState::Refused, log.detail.as_str())
            }
            What::Refused => return false,
        };
        if now != self.state {
            self.set(now, reason, now_us);
        }
        false
    }
}

fn newest_us(state: &State) -> i64 {
    state.log.iter().map(|log| log.at_us).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(at_us: i64, what: What, digest: &str) -> Log {
        Log { at_us, what, version: "1.1.0".into(), digest: digest.into(), detail: format!("why {at_us}") }
    }

    #[test]
    fn what_the_updater_did_before_is_not_of_this_bundle() {
        let mut state = State::default();
        state.log.push(log(5, What::RolledBack, "d"));
        let mut note = Note::default();
        note.hand_over("d".into(), &state, 7);
        note.look(&state, true, Duration::ZERO, 8);
        assert_eq!((note.state, note.at_us), (UpdateState::Waiting, 7));
        state.log.push(log(9, What::Refused, "d"));
        note.look(&state, false, Duration::ZERO, 10);
        assert_eq!((note.state, note.reason.as_str()), (UpdateState::Refused, "why 9"));
        note.look(&state, false, Duration::ZERO, 11);
        assert_eq!(note.at_us, 10);
    }

    #[test]
    fn a_bundle_goes_from_trial_to_installed_and_may_yet_give_way() {
        let (mut state, mut note) = (State::default(), Note::default());
        note.hand_over("d".into(), &state, 1);
        for (at, what, expected) in [
            (2, What::Installed, UpdateState::Trial),
            (3, What::Proven, UpdateState::Installed),
            (4, What::RolledBack, UpdateState::GaveWay),
        ] {
            state.log.push(log(at, what, "d"));
            state.log.push(log(at, What::Refused, "other"));
            note.look(&state, false, Duration::ZERO, at);
            assert_eq!(note.state, expected);
        }
        // One that was spoilt in the folder has no name.
        let mut note = Note::default();
        note.hand_over("e".into(), &state, 5);
        state.log.push(log(6, What::Refused, ""));
        note.look(&state, true, Duration::ZERO, 7);
        assert_eq!(note.state, UpdateState::Waiting);
        note.look(&state, false, Duration::ZERO, 8);
        assert_eq!(note.state, UpdateState::Refused);
    }

    #[test]
    fn a_bundle_that_no_updater_takes_is_refused_in_the_end() {
        let (state, mut note) = (State::default(), Note::default());
        note.hand_over("d".into(), &state, 1);
        assert!(!note.look(&state, true, UPDATER_LIMIT - Duration::from_secs(1), 2));
        assert!(!note.look(&state, false, UPDATER_LIMIT, 3), "it is being looked at");
        assert_eq!(note.state, UpdateState::Waiting);
        assert!(note.look(&state, true, UPDATER_LIMIT, 4));
        assert_eq!(note.state, UpdateState::Refused);
        assert!(note.reason.contains("no updater took it"), "{}", note.reason);
    }

    #[test]
    fn each_deed_of_the_updater_is_told_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = Note::path(dir.path());
        let mut state = State::default();
        state.log.push(log(5, What::Proven, "d"));
        let mut note = Note::load(&path, &state).expect("a note");
        assert!(note.news(&state).is_empty(), "from before there was a note");
        state.log.push(log(6, What::RolledBack, "d"));
        assert_eq!(note.news(&state).len(), 1);
        note.keep(&path).expect("kept");
        let mut again = Note::load(&path, &state).expect("a note");
        assert_eq!(again, note);
        assert!(again.news(&state).is_empty());
    }
}
