//! A renewed identity is on trial until the cloud has answered it. What the cloud told with it (its address, whom to
//! believe) may be wrong, so the one that is proven stays beside it and has its turn when the new one does not come
//! through. Pure but for the monotonic time.

use std::time::Duration;

use tokio::time::Instant;

use crate::enrolment::Enrolment;
use crate::options::Error;

/// Attempts in a row that one of the two has, before it is the other's turn.
pub(crate) const TRIES: u32 = 3;
/// A new certificate is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// The same after one that was of no use: somebody has to change something at the cloud first.
const ASK_AFTER_REFUTED: Duration = Duration::from_secs(6 * 3600);

/// The identities of a box: one that is proven, and perhaps a renewed one.
pub(crate) struct Identities {
    proven: Enrolment,
    renewed: Option<Enrolment>,
    /// Attempts that failed since the last session.
    failed: u32,
    /// Of those, what says nothing about the renewed one: the proven one failed as well, or the cloud itself refused.
    is_vague: bool,
    /// Why the renewed one failed last.
    why: String,
    ask_from: Option<Instant>,
}

/// What a session that began says of the identity on trial.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// nothing
    None,
    /// it is good
    Proven(Enrolment),
    /// it is of no use, and why
    Refuted(Enrolment, String),
}

impl Identities {
    pub(crate) fn new(proven: Enrolment, renewed: Option<Enrolment>) -> Self {
        Self { proven, renewed, failed: 0, is_vague: false, why: String::new(), ask_from: None }
    }

    /// The one that the next attempt shows.
    pub(crate) fn shown(&self) -> &Enrolment {
        match &self.renewed {
            Some(renewed) if self.is_trial() => renewed,
            _ => &self.proven,
        }
    }

    /// One to go on trial with the next session.
    pub(crate) fn renew(&mut self, renewed: Enrolment) {
        self.renewed = Some(renewed);
        (self.failed, self.is_vague) = (0, false);
    }

    /// An attempt ended before the cloud had answered. Whether it is the other one's turn from here on.
    pub(crate) fn failed(&mut self, error: &Error) -> bool {
        if self.renewed.is_none() {
            return false;
        }
        let is_trial = self.is_trial();
        if is_trial {
            self.why = error.to_string();
        }
        self.is_vague |= !is_trial || matches!(error, Error::Refused { .. });
        self.failed = self.failed.saturating_add(1);
        self.is_trial() != is_trial
    }

    /// The cloud has answered the one that is shown.
    pub(crate) fn began(&mut self) -> Verdict {
        let (is_trial, is_vague) = (self.is_trial(), self.is_vague);
        (self.failed, self.is_vague) = (0, false);
        match self.renewed.take() {
            None => Verdict::None,
            Some(renewed) if is_trial => {
                self.proven = renewed.clone();
                Verdict::Proven(renewed)
            }
            // The cloud was away for both, or spoke to both: the next session tells more.
            Some(renewed) if is_vague => {
                self.renewed = Some(renewed);
                Verdict::None
            }
            Some(renewed) => {
                self.ask_from = Some(Instant::now() + ASK_AFTER_REFUTED);
                Verdict::Refuted(renewed, std::mem::take(&mut self.why))
            }
        }
    }

    /// Whether the renewed one has its turn.
    pub(crate) fn is_trial(&self) -> bool {
        self.renewed.is_some() && (self.failed / TRIES).is_multiple_of(2)
    }

    /// Whether a new certificate may be asked for by now.
    pub(crate) fn may_ask(&self) -> bool {
        self.ask_from.is_none_or(|from| from <= Instant::now())
    }

    /// The one that needs another, if it is time: by the box's clock, or by the word of the cloud, which knows of the one
    /// that is shown.
    pub(crate) fn due(&self, is_told: bool, now_us: i64) -> Option<&Enrolment> {
        let newest = self.renewed.as_ref().unwrap_or(&self.proven);
        let is_told = is_told && self.renewed.is_none();
        (is_told || newest.is_due(now_us)).then_some(newest)
    }

    /// A new certificate was asked for.
    pub(crate) fn asked(&mut self) {
        self.ask_from = Some(Instant::now() + ASK_AGAIN);
    }
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
