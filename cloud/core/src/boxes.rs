//! Which box speaks under a gateway's name. A name is one box's at a time: a second one is held back, whatever it says,
//! until a person lets it in or the first has been silent for long. Pure: no storage, no clock.
//!
//! What tells boxes apart: the identity that a box made at its first start, the machine, and the line of incarnations
//! that its state remembers. A copy of a state has the same identity; but the line of a copy, or of a restored backup,
//! does not know the incarnations that the other one had since.

use common::api::HeldBox;
use common::wire::{Identity, MAX_LINE};
use common::{BoxId, Incarnation};
use serde::{Deserialize, Serialize};

/// Boxes held back under one name; of more, those that were silent longest are forgotten.
const MAX_HELD: usize = 8;
/// A hello that can be of a process that has ended meanwhile is believed when it is repeated.
const BELIEVED_AFTER: u32 = 2;

/// What is remembered of the boxes of a gateway's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Boxes {
    /// The box that the name is of; none if its program does not tell.
    pub box_id: Option<BoxId>,
    /// Its machine.
    pub machine: Option<String>,
    /// Incarnations that were let in, oldest first; the last is the current one.
    pub line: Vec<Incarnation>,
    /// Those held back.
    pub held: Vec<Held>,
    /// The next box is let in, whichever it is: the name has a new credential.
    pub open: bool,
    /// Where the box of the name came from last.
    pub peer: String,
    /// Version of its program.
    pub version: String,
    /// The greatest number of a hello of the current incarnation.
    #[serde(skip)]
    pub attempt: Option<u64>,
    /// A hello that may be of a process that has ended, and how often it came.
    #[serde(skip)]
    pub doubt: Option<(Incarnation, u32)>,
}

/// A box that is held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The box; none if its program does not tell.
    pub box_id: Option<BoxId>,
    /// Its machine.
    pub machine: Option<String>,
    /// Its own incarnations, the last one last.
    pub line: Vec<Incarnation>,
    /// Where it came from.
    pub peer: String,
    /// Version of its program.
    pub version: String,
    /// Since when, UTC us.
    pub since_us: i64,
    /// When it said hello last, UTC us.
    pub last_us: i64,
    /// Why.
    pub why: Why,
    /// Both were seen alive, or a person chose the other: it stays held also while the other is away.
    pub sure: bool,
}

/// Why a box is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Another box is the gateway's.
    OtherBox,
    /// The same state runs twice: a copy, or a backup that was restored beside the original.
    Copy,
    /// The same process runs twice: a machine was copied while it ran.
    SameProcess,
    /// Another box was let in in its place.
    Replaced,
}

impl Why {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::OtherBox => "another box is this gateway",
            Self::Copy => "another box runs with a copy of the same state",
            Self::SameProcess => "the same process runs twice: its machine was copied while it ran",
            Self::Replaced => "another box was let in in its place",
        }
    }
}

impl Held {
    /// As the API shows it.
    pub fn view(&self, gateway: &str) -> HeldBox {
        HeldBox {
            box_id: self.box_id,
            incarnation: self.tip(),
            peer: self.peer.clone(),
            version: self.version.clone(),
            since_us: self.since_us,
            last_us: self.last_us,
            reason: format!("{}. {}", self.why.text(), remedy(gateway)),
        }
    }

    fn tip(&self) -> Incarnation {
        self.line.last().copied().unwrap_or(Incarnation(0))
    }
}

/// What an operator does about two boxes with one name.
fn remedy(gateway: &str) -> String {
    format!(
        "If it shall take the place of the other: `twinway gateway accept {gateway} --reason ...`. If both are wanted, give this one \
         a name and credentials of its own; if it is a copy, remove its data folder's buffer first"
    )
}

/// A hello.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Incarnation that new frames belong to.
    pub incarnation: Incarnation,
    /// Absent from older programs.
    pub identity: Option<&'a Identity>,
    /// Version of the program.
    pub version: &'a str,
    /// Where it comes from.
    pub peer: &'a str,
}

/// How the box stands that the name is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its session lives.
    pub live: bool,
    /// Last word from it, UTC us; none if it never spoke.
    pub last_us: Option<i64>,
}

/// What becomes of a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is let in; whoever has a session under the name loses it.
    Enter(Option<News>),
    /// It is held back. `new`: people are to be told.
    Hold {
        /// Why.
        why: Why,
        /// It is the first time.
        new: bool,
    },
    /// It may be a late word of a process that has ended: if not, it says it again.
    Again,
}

/// What people are told of a box that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The other one, which had the session, is a copy and is held back from now on.
    Duplicate,
    /// It has an older state: a restored backup, or a copy.
    Restored,
    /// Another box has taken the place of the one before.
    Replaced {
        /// Why it could.
        because: &'static str,
    },
}

/// When a second box is let in without a person.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The first was silent for so long, us.
    pub silent_us: i64,
}

impl Boxes {
    /// The incarnation that was let in last.
    pub fn current(&self) -> Option<Incarnation> {
        self.line.last().copied()
    }

    /// Whether it differs from `before` in what must outlive a restart.
    pub fn differs(&self, before: &Self) -> bool {
        let kept = |boxes: &Self| {
            let mut boxes = Self { attempt: None, doubt: None, peer: String::new(), ..boxes.clone() };
            boxes.held.iter_mut().for_each(|h| (h.last_us, h.peer) = (0, String::new()));
            boxes
        };
        kept(self) != kept(before)
    }

    /// Judges a hello, and remembers it.
    pub fn judge(&mut self, said: Said<'_>, other: Standing, policy: Policy, now_us: i64) -> Verdict {
        let silent = other.last_us.is_none_or(|at| now_us.saturating_sub(at) >= policy.silent_us);
        let given_up = !other.live && silent;
        if let Some(at) = self.held_at(&said) {
            let held = &mut self.held[at];
            // One that was replaced speaks for the first time since.
            let new = held.why == Why::Replaced && held.last_us == held.since_us;
            if held.line.last() != Some(&said.incarnation) {
                push(&mut held.line, said.incarnation);
            }
            // The other one has spoken since: both live.
            held.sure |=
                held.why == Why::Copy && other.live && other.last_us.is_some_and(|us| us > held.last_us);
            (held.last_us, held.peer, held.version) = (now_us, said.peer.into(), said.version.into());
            let why = held.why;
            if self.open || given_up {
                self.let_in(at, now_us);
                return Verdict::Enter(Some(News::Replaced { because: self.because(given_up) }));
            }
            if self.held[at].sure {
                return Verdict::Hold { why, new };
            }
            // Nothing shows yet that both live: what is known now decides anew.
            let held = self.held.remove(at);
            let verdict = self.judge_new(said, other, given_up, now_us);
            if verdict == Verdict::Again {
                // It says hello once more, and is the same box then.
                self.held.insert(at.min(self.held.len()), held);
                return verdict;
            }
            if let (Verdict::Hold { why, .. }, Some(again)) = (&verdict, self.held.last_mut()) {
                (again.since_us, again.line) = (held.since_us, held.line);
                return Verdict::Hold { why: *why, new: false };
            }
            return verdict;
        }
        self.judge_new(said, other, given_up, now_us)
    }

    fn because(&mut self, given_up: bool) -> &'static str {
        if std::mem::take(&mut self.open) {
            "the gateway was given a new credential"
        } else if given_up {
            "the box before it was silent for long"
        } else {
            "it is the same machine, which lost its state"
        }
    }

    fn judge_new(&mut self, said: Said<'_>, other: Standing, given_up: bool, now_us: i64) -> Verdict {
        let (incarnation, id) = (said.incarnation, said.identity);
        if self.current() == Some(incarnation) {
            return self.same_process(&said, other, now_us);
        }
        if let Some(at) = self.line.iter().position(|i| *i == incarnation) {
            // One that was followed by another: if it speaks again, both live.
            if !self.is_believed(incarnation) {
                return Verdict::Again;
            }
            let line = self.line.split_off(at + 1);
            let (peer, version) = (self.peer.clone(), self.version.clone());
            self.hold(Held { line, peer, version, ..held(&said, Why::Copy, true, now_us) });
            self.enter(&said);
            return Verdict::Enter(Some(News::Duplicate));
        }
        let differs = |a: Option<BoxId>| id.is_some_and(|id| a.is_some_and(|a| a != id.box_id));
        if differs(self.box_id) {
            let same_machine = id.is_some_and(|id| id.machine.is_some() && id.machine == self.machine);
            if !(self.open || given_up || (same_machine && !other.live)) {
                return self.hold_back(&said, Why::OtherBox, now_us);
            }
            let because = self.because(given_up);
            if !same_machine || given_up {
                self.retire(now_us);
            }
            self.line.clear();
            self.enter(&said);
            return Verdict::Enter(Some(News::Replaced { because }));
        }
        let knows = id.is_none_or(|id| self.current().is_none_or(|tip| id.line.contains(&tip)));
        // An older program before it told nothing of itself.
        let knows = knows || self.box_id.is_none();
        if !knows && other.live {
            return self.hold_back(&said, Why::Copy, now_us);
        }
        self.open = false;
        self.enter(&said);
        Verdict::Enter((!knows).then_some(News::Restored))
    }

    /// A hello of the incarnation that is let in: its process numbers them, so a number that came already is a late
    /// one, or of a second process.
    fn same_process(&mut self, said: &Said<'_>, other: Standing, now_us: i64) -> Verdict {
        let Some(id) = said.identity else { return Verdict::Enter(None) };
        let known = self.held.iter_mut().find(|h| h.why == Why::SameProcess && h.tip() == said.incarnation);
        if other.live
            && let Some(held) = known
        {
            (held.last_us, held.peer) = (now_us, said.peer.to_owned());
            return Verdict::Hold { why: Why::SameProcess, new: false };
        }
        if other.live && self.attempt.is_some_and(|last| id.attempt <= last) {
            if !self.is_believed(said.incarnation) {
                return Verdict::Again;
            }
            return self.hold_back(said, Why::SameProcess, now_us);
        }
        self.enter(said);
        Verdict::Enter(None)
    }

    /// Whether a hello that need not be true is: from the second time on.
    fn is_believed(&mut self, incarnation: Incarnation) -> bool {
        let times = match self.doubt {
            Some((of, times)) if of == incarnation => times + 1,
            _ => 1,
        };
        self.doubt = Some((incarnation, times));
        times >= BELIEVED_AFTER
    }

    fn enter(&mut self, said: &Said<'_>) {
        if self.current() != Some(said.incarnation) {
            push(&mut self.line, said.incarnation);
            self.doubt = None;
        }
        (self.peer, self.version) = (said.peer.to_owned(), said.version.to_owned());
        if let Some(id) = said.identity {
            self.box_id = Some(id.box_id);
            self.machine.clone_from(&id.machine);
            self.attempt = Some(id.attempt);
        }
    }

    fn hold_back(&mut self, said: &Said<'_>, why: Why, now_us: i64) -> Verdict {
        self.hold(held(said, why, false, now_us));
        Verdict::Hold { why, new: true }
    }

    fn hold(&mut self, held: Held) {
        if self.held.len() >= MAX_HELD
            && let Some(at) = (0..self.held.len()).min_by_key(|at| self.held[*at].last_us)
        {
            self.held.remove(at);
        }
        self.held.push(held);
    }

    /// The box that the name was of is held if it comes back.
    fn retire(&mut self, now_us: i64) {
        if self.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        let (box_id, machine) = (self.box_id, self.machine.clone());
        let (peer, version) = (self.peer.clone(), self.version.clone());
        let why = Why::Replaced;
        self.hold(Held {
            box_id,
            machine,
            line,
            peer,
            version,
            since_us: now_us,
            last_us: now_us,
            why,
            sure: true,
        });
    }

    fn let_in(&mut self, at: usize, now_us: i64) {
        let held = self.held.remove(at);
        // What both have in their line, a copy has from the original.
        self.line.retain(|i| !held.line.contains(i));
        self.retire(now_us);
        (self.box_id, self.machine, self.line) = (held.box_id, held.machine, held.line);
        (self.attempt, self.doubt) = (None, None);
    }

    /// Lets a box in that is held (the only one, if none is named); the one before is held from then on. None if there
    /// is no such box, or more than one.
    pub fn accept(&mut self, incarnation: Option<Incarnation>, now_us: i64) -> Option<Held> {
        let fits = |h: &Held| incarnation.is_none_or(|i| h.line.contains(&i));
        let mut found = (0..self.held.len()).filter(|at| fits(&self.held[*at]));
        let at = found.next().filter(|_| found.next().is_none())?;
        let held = self.held[at].clone();
        self.let_in(at, now_us);
        Some(held)
    }

    /// Place among the held of the box that says this. Of a copy and its original both lines hold what they had in
    /// common: the last incarnation that anybody knows tells whose it is.
    fn held_at(&self, said: &Said<'_>) -> Option<usize> {
        let known = said.identity.map(|id| id.line.as_slice()).unwrap_or_default();
        // A second run of one process is told from the first by its hellos alone.
        let is_apart = |h: &Held| h.why != Why::SameProcess;
        for incarnation in [said.incarnation].iter().chain(known.iter().rev()) {
            if let Some(at) = self.held.iter().position(|h| is_apart(h) && h.line.contains(incarnation)) {
                return Some(at);
            }
            if self.line.contains(incarnation) {
                return None;
            }
        }
        let id = said.identity?.box_id;
        let is_it = |h: &Held| is_apart(h) && h.box_id == Some(id);
        self.held.iter().position(is_it).filter(|_| self.box_id != Some(id))
    }
}

fn held(said: &Said<'_>, why: Why, sure: bool, now_us: i64) -> Held {
    Held {
        box_id: said.identity.map(|id| id.box_id),
        machine: said.identity.and_then(|id| id.machine.clone()),
        line: vec![said.incarnation],
        peer: said.peer.to_owned(),
        version: said.version.to_owned(),
        since_us: now_us,
        last_us: now_us,
        why,
        sure,
    }
}

fn push(line: &mut Vec<Incarnation>, incarnation: Incarnation) {
    line.push(incarnation);
    let over = line.len().saturating_sub(MAX_LINE);
    line.drain(..over);
}

#[cfg(test)]
#[path = "boxes_tests.rs"]
mod tests;
