//! Times that a gateway's clock gave before it was synchronised. A frame's header says what that clock was against one that
//! never jumps; the first frame of the same run whose clock was synchronised says what it should have been. What comes later
//! is brought to its time before it is stored. What came earlier waits for that frame, uncompacted, for some minutes. What was
//! cut after it, while a time service began anew, is of a clock that was set, and stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use cloud_core::NewFrame;
use common::Quality;
use common::clock::NEVER_SET_BEFORE_US;
use common::wire::{Body, Frame, FrameHeader};

use crate::Shared;
use crate::db::{Result, to_sql};
use crate::sql::params;
use crate::tail::{FrameKey, Tail};
use crate::writer::Writer;

/// So long frames wait for their time: a box that finds a time service at all has found it by then.
const HOLD_US: u64 = 600_000_000;
/// And only while no more than these wait for it.
const MOST_BYTES: usize = 32 << 20;
const MOST_SAMPLES: usize = 4 << 20;
/// Frames that are brought to their time in one transaction.
const AT_ONCE: usize = 1_000;

/// What is known of the clocks of gateways.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// By rank, of those that were synchronised.
    set: BTreeMap<u64, Set>,
    /// Frames that wait for that.
    held: BTreeMap<FrameKey, Held>,
    /// Bytes and samples of these.
    bytes: usize,
    samples: usize,
    /// Ranks that waited in vain: nothing more of them waits.
    late: BTreeSet<u64>,
}

/// The first frame of a run whose clock was synchronised, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Set {
    /// UTC less the time since start.
    offset_us: i64,
    /// The time since start.
    mono_us: u64,
}

#[derive(Debug)]
struct Held {
    /// `Clock::mono_us`; none: since now.
    until: Option<u64>,
    bytes: usize,
    samples: usize,
}

impl Clocks {
    /// Whether a frame is kept from compaction.
    pub(crate) fn holds(&self, key: &FrameKey) -> bool {
        self.held.contains_key(key)
    }

    /// A frame of samples begins to wait.
    pub(crate) fn added(&mut self, key: FrameKey, bytes: &[u8], samples: usize) {
        let Ok(header) = Frame::peek(bytes) else { return };
        let is_after = self.set.get(&key.0).is_some_and(|set| header.cut_mono_us >= set.mono_us);
        if header.synchronised || is_after || self.late.contains(&key.0) {
            return;
        }
        self.left(&key);
        self.held.insert(key, Held { until: None, bytes: bytes.len(), samples });
        (self.bytes, self.samples) = (self.bytes + bytes.len(), self.samples + samples);
    }

    /// It waits no more.
    pub(crate) fn left(&mut self, key: &FrameKey) {
        if let Some(held) = self.held.remove(key) {
            (self.bytes, self.samples) = (self.bytes - held.bytes, self.samples - held.samples);
        }
    }

    fn is_news(&self, rank: u64, header: &FrameHeader) -> bool {
        let is_before = |set: &Set| header.cut_mono_us < set.mono_us;
        self.set.get(&rank).is_none_or(is_before)
    }

    fn hear(&mut self, rank: u64, header: &FrameHeader) {
        if header.synchronised && header.cut_us >= NEVER_SET_BEFORE_US && self.is_news(rank, header) {
            let mono_us = header.cut_mono_us;
            let offset_us = header.cut_us.saturating_sub_unsigned(mono_us);
            self.set.insert(rank, Set { offset_us, mono_us });
            self.late.remove(&rank);
        }
    }

    /// Lets those go that have waited long enough. The frames whose time is known now.
    fn due(&mut self, now_us: u64) -> Vec<FrameKey> {
        let is_much = self.bytes >= MOST_BYTES || self.samples >= MOST_SAMPLES;
        let (mut due, mut over) = (Vec::new(), Vec::new());
        for (key, held) in &mut self.held {
            let until = *held.until.get_or_insert(now_us.saturating_add(HOLD_US));
            if self.set.contains_key(&key.0) {
                due.push(*key);
            } else if is_much || now_us >= until {
                over.push(*key);
            }
        }
        for key in over {
            self.left(&key);
            self.late.insert(key.0);
        }
        due
    }
}

/// Takes note of what frames say of their gateway's clock, and brings those to their time of which it is known.
pub(crate) fn judge(frames: &mut [NewFrame], tail: &RwLock<Tail>) {
    let is_news = |tail: &Tail| frames.iter().any(|f| tail.clocks.is_news(f.rank, &f.frame.header));
    if !is_news(&tail.read().unwrap_or_else(PoisonError::into_inner)) {
        return;
    }
    let mut tail = tail.write().unwrap_or_else(PoisonError::into_inner);
    for new in frames {
        tail.clocks.hear(new.rank, &new.frame.header);
        let set = tail.clocks.set.get(&new.rank);
        if let Some(frame) = set.and_then(|set| brought(&new.frame, *set)) {
            new.bytes = frame.encode().into();
            new.frame = Arc::new(frame);
        }
    }
}

/// Brings frames that wait to their time. The caller holds `upkeep`: none is on its way into chunks.
pub(crate) fn settle(shared: &Shared) -> Result<()> {
    let due = {
        let mut tail = shared.tail.write().unwrap_or_else(PoisonError::into_inner);
        tail.clocks.due(shared.clock.mono_us())
    };
    for keys in due.chunks(AT_ONCE) {
        let frames: Arc<Vec<(FrameKey, Option<Vec<u8>>)>> = {
            let tail = shared.tail.read().unwrap_or_else(PoisonError::into_inner);
            let one = |key: &FrameKey| {
                let frame = tail.bytes_of(key).and_then(|bytes| Frame::decode(bytes).ok());
                let set = tail.clocks.set.get(&key.0).copied();
                let frame = frame.zip(set).and_then(|(frame, set)| brought(&frame, set));
                (*key, frame.map(|frame| frame.encode()))
            };
            Arc::new(keys.iter().map(one).collect())
        };
        let count = frames.len();
        shared.writer.run(move |w: &mut Writer| {
            let stored = Arc::clone(&frames);
            w.change_with_tail(
                move |tx| {
                    let sql = "UPDATE frames SET bytes = ?3 WHERE rank = ?1 AND seq = ?2";
                    for ((rank, seq), bytes) in stored.iter() {
                        if let Some(bytes) = bytes {
                            tx.execute(sql, params![to_sql(*rank), to_sql(*seq), bytes.as_slice()])?;
                        }
                    }
                    Ok(())
                },
                move |tail| frames.iter().for_each(|(key, bytes)| tail.replace(key, bytes.as_deref())),
            )
        })?;
        tracing::info!(frames = count, "samples of a clock that was not synchronised have their time now");
    }
    Ok(())
}

/// A frame of an unsynchronised clock as that clock should have given it; none if there is nothing to change. Times
/// that sources gave stay.
fn brought(frame: &Frame, set: Set) -> Option<Frame> {
    let (mut header, Body::Samples(rows)) = (frame.header, &frame.body) else { return None };
    if header.synchronised || header.cut_mono_us >= set.mono_us {
        return None;
    }
    let cut_us = set.offset_us.saturating_add_unsigned(header.cut_mono_us);
    let by = cut_us.saturating_sub(header.cut_us);
    let mut rows = rows.clone();
    for row in &mut rows {
        let on_receipt = row.is_stamped_on_receipt();
        row.received_us = row.received_us.saturating_add(by);
        if on_receipt {
            row.source_us = row.received_us;
            if row.quality == Quality::UNCERTAIN_TIME {
                row.quality = Quality::GOOD;
            }
        }
    }
    (header.cut_us, header.synchronised) = (cut_us, true);
    Some(Frame { header, body: Body::Samples(rows) })
}

#[cfg(test)]
#[path = "clocks_tests.rs"]
mod tests;
