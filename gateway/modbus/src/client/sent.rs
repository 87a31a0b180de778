//! Which requests were sent of late, and which of them were answered.

use std::time::Duration;

use tokio::time::Instant;

/// So many requests back, a late answer is known as one.
const MEMORY: u16 = 64;

/// Whose an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// the request's that waits
    Current,
    /// an earlier one's that was given up
    Unanswered,
    /// an earlier one's that has its answer
    Answered,
    /// nobody's
    Foreign,
}

/// The last requests by their transaction, which count up.
#[derive(Debug)]
pub(super) struct Sent {
    next: u16,
    /// How many of the places are in use.
    known: u16,
    /// A bit for each request, the latest lowest: 1 while it has no answer.
    open: u64,
    requests: Box<[(u8, Instant)]>,
    lateness: Option<(u8, Duration)>,
}

impl Sent {
    pub(super) fn new(first: u16) -> Self {
        let requests = vec![(0, Instant::now()); MEMORY.into()].into();
        Self { next: first, known: 0, open: 0, requests, lateness: None }
    }

    pub(super) fn next(&self) -> u16 {
        self.next
    }

    pub(super) fn push(&mut self, unit: u8, now: Instant) {
        if let Some(place) = self.requests.get_mut(usize::from(self.next % MEMORY)) {
            *place = (unit, now);
        }
        self.next = self.next.wrapping_add(1);
        self.known = (self.known + 1).min(MEMORY);
        self.open = self.open << 1 | 1;
    }

    /// The current request has its answer.
    pub(super) fn answered(&mut self) {
        self.open &= !1;
    }

    pub(super) fn find(&mut self, transaction: u16, now: Instant) -> Found {
        let back = self.next.wrapping_sub(1).wrapping_sub(transaction);
        if back >= self.known {
            return Found::Foreign;
        }
        let bit = 1 << back;
        match (back, self.open & bit != 0) {
            (0, true) => Found::Current,
            (_, false) => Found::Answered,
            (_, true) => {
                self.open &= !bit;
                let sent = self.requests.get(usize::from(transaction % MEMORY));
                self.lateness = sent.map(|(unit, at)| (*unit, now.saturating_duration_since(*at)));
                Found::Unanswered
            }
        }
    }

    pub(super) fn lateness(&self) -> Option<(u8, Duration)> {
        self.lateness
    }
}
