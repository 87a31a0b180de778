//! Which box this is, and what it remembers of the cloud: told in the hello, and held against the answer. So a box that
//! was restored from a backup and a cloud that was are known as such, on both sides.
//!
//! It is kept as a note of the log. Without it (a lost state) the box is a new one to the cloud.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use common::command::{LogEntry, Severity};
use common::names::action;
use common::wire::{HelloAck, Identity, Known, MAX_LINE};
use common::{BoxId, Incarnation, IntervalSet, Schema};
use gateway_core::{FrameLog, Lacking};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const NOTE: &str = "uplink/identity";
/// Sets of acknowledgements that a hello tells, and their intervals: a hello has only so much room.
const MAX_ACKED: usize = 128;
const MAX_RUNS: usize = 4096;

/// Hellos of this process.
static HELLOS: AtomicU64 = AtomicU64::new(0);

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    box_id: BoxId,
    /// Incarnations that said hello, the last one last.
    line: Vec<Incarnation>,
    answered: Option<Incarnation>,
    store: Option<Uuid>,
    /// Frames that the cloud set aside and that were told here.
    set_aside: Vec<Known>,
}

/// The box's identity. Its methods read and write files.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// None before it was read.
    note: Mutex<Option<Note>>,
}

impl Book {
    fn with<T>(&self, log: &dyn FrameLog, change: impl FnOnce(&mut Note) -> T) -> T {
        let mut slot = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || log.note(NOTE).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut note = slot.take().or_else(read).unwrap_or_else(|| Note {
            box_id: BoxId::random(),
            line: Vec::new(),
            answered: None,
            store: None,
            set_aside: Vec::new(),
        });
        let before = note.clone();
        let done = change(&mut note);
        if note != before
            && let Err(error) = serde_json::to_vec(&note)
                .map_err(|e| e.to_string())
                .and_then(|bytes| log.set_note(NOTE, &bytes).map_err(|e| e.to_string()))
        {
            // Should the power go now, the cloud takes the box for one that was restored.
            tracing::warn!(error, "the box's identity is not kept");
        }
        *slot = Some(note);
        done
    }

    /// What the next hello tells. That it is said is kept before.
    pub(crate) fn identity(&self, log: &dyn FrameLog, machine: Option<String>) -> Identity {
        let current = log.incarnation();
        let note = self.with(log, |note| {
            if note.line.last() != Some(&current) {
                note.line.push(current);
                let over = note.line.len().saturating_sub(MAX_LINE);
                note.line.drain(..over);
            }
            note.clone()
        });
        let mut acked = log.acks();
        let mut runs = 0;
        // The newest are told.
        acked.reverse();
        acked.retain(|k| {
            let own = k.seqs.iter().count();
            let fits = runs + own <= MAX_RUNS;
            runs += if fits { own } else { 0 };
            fits
        });
        acked.truncate(MAX_ACKED);
        acked.reverse();
        Identity {
            box_id: note.box_id,
            machine,
            line: note.line.into_iter().filter(|i| *i != current).collect(),
            answered: note.answered,
            store: note.store,
            attempt: HELLOS.fetch_add(1, Ordering::Relaxed),
            acked,
        }
    }

    /// Holds the cloud's answer against what is remembered. Gives what people are told.
    pub(crate) fn answered(&self, log: &dyn FrameLog, ack: &HelloAck) -> Vec<LogEntry> {
        let lacking = log.lacks(&ack.known);
        let current = log.incarnation();
        self.with(log, |note| {
            let mut told = Vec::new();
            told.extend(note.restored_box(ack, current));
            told.extend(note.restored_cloud(ack, lacking));
            if ack.store.is_some() {
                note.answered = Some(current);
                note.store = ack.store;
            }
            // Of incarnations that the hello does not name nothing is told again.
            let line = &note.line;
            note.set_aside.retain(|k| {
                line.contains(&k.incarnation)
                    || ack.set_aside.iter().any(|named| named.incarnation == k.incarnation)
            });
            told
        })
    }

    /// Of frames that the cloud set aside, those that were not told here yet; from then on they are.
    pub(crate) fn set_aside(&self, log: &dyn FrameLog, frames: &[Known]) -> Vec<Known> {
        self.with(log, |note| {
            let mut new = Vec::new();
            for Known { incarnation, seqs } in frames {
                let at =
                    note.set_aside.iter().position(|k| k.incarnation == *incarnation).unwrap_or_else(|| {
                        let seqs = IntervalSet::new();
                        note.set_aside.push(Known { incarnation: *incarnation, seqs });
                        note.set_aside.len() - 1
                    });
                let told = &mut note.set_aside[at].seqs;
                let seqs = seqs.minus(told);
                told.extend(&seqs);
                if !seqs.is_empty() {
                    new.push(Known { incarnation: *incarnation, seqs });
                }
            }
            new
        })
    }
}

impl Note {
    /// The cloud had its last hello from a state that this one does not know.
    fn restored_box(&self, ack: &HelloAck, current: Incarnation) -> Option<LogEntry> {
        let seen = ack.seen.filter(|seen| *seen != current && !self.line.contains(seen))?;
        // A box that was never answered has nothing that could be older.
        self.answered?;
        let detail = format!(
            "since this box spoke to the cloud another state of it did, or another box (incarnation {seen}): this one was \
             restored from a backup, or is a copy. No command is executed again, and no older desired value is written. \
             What had been recorded since the backup and not sent is lost. See that no other box runs with this state"
        );
        Some(entry(action::GATEWAY_RESTORED, detail))
    }

    /// The cloud does not know what it had known.
    fn restored_cloud(&self, ack: &HelloAck, lacking: Lacking) -> Option<LogEntry> {
        let other = self.store.filter(|s| ack.store.is_some_and(|now| now != *s));
        let place = |i: Incarnation| self.line.iter().position(|l| *l == i);
        let is_behind = match (self.answered, ack.seen) {
            _ if ack.store.is_none() => false,
            (Some(_), None) => true,
            (Some(answered), Some(seen)) => match (place(seen), place(answered)) {
                (Some(seen), Some(answered)) => seen < answered,
                _ => false,
            },
            (None, _) => false,
        };
        if lacking == Lacking::default() && other.is_none() && !is_behind {
            return None;
        }
        let mut detail =
            "the cloud is older than what this box remembers of it: its store was restored from a backup, or it is another \
             cloud"
                .to_owned();
        if let (Some(before), Some(now)) = (other, ack.store) {
            detail += &format!(" (store {now}, before {before})");
        }
        detail += &format!(
            ". It lacks {} frames that it had acknowledged: {} are sent again, {} are no longer here and are told as gaps",
            lacking.again + lacking.gone + lacking.unread,
            lacking.again,
            lacking.gone
        );
        if lacking.unread > 0 {
            detail += &format!(", {} may be in files that cannot be read now", lacking.unread);
        }
        Some(entry(action::CLOUD_RESTORED, detail))
    }
}

/// What the cloud is told of what a machine calls itself (`/etc/machine-id`): not the name itself, which other programs
/// derive secrets from. None of an empty one.
pub fn machine_hash(id: &str) -> Option<String> {
    let id = id.trim();
    (!id.is_empty()).then(|| Schema::hash_of(format!("twinway machine {id}").as_bytes()).to_string())
}

/// An entry of the uplink; its time is set by who logs it.
pub(crate) fn entry(action: &str, detail: String) -> LogEntry {
    LogEntry {
        at_us: 0,
        actor: "system".to_owned(),
        action: action.to_owned(),
        target: "uplink".to_owned(),
        twin: None,
        severity: Severity::Alarm,
        code: None,
        detail,
    }
}
