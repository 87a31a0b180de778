//! Times that a gateway's clock gave before it was synchronised. A frame's header says what that clock was against one that
//! never jumps; the first frame of the same run whose clock was synchronised says what it should have been. What comes later
//! is brought to its time before it is stored. What came earlier waits for that frame, uncompacted, for some minutes.

use std::collections::BTreeMap;
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
/// And only while so many bytes of all frames wait.
const MOST_BYTES: usize = 32 << 20;
/// Frames that are brought to their time in one transaction.
const AT_ONCE: usize = 1_000;

/// What is known of the clocks of gateways.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// UTC less the time since start, by rank, of those that were synchronised.
    offsets: BTreeMap<u64, i64>,
    /// Frames that wait for theirs, and until when (`Clock::mono_us`); none: since now.
    held: BTreeMap<FrameKey, Option<u64>>,
}

impl Clocks {
    /// Whether a frame is kept from compaction.
    pub(crate) fn holds(&self, key: &FrameKey) -> bool {
        self.held.contains_key(key)
    }

    /// A frame of samples begins to wait.
    pub(crate) fn added(&mut self, key: FrameKey, bytes: &[u8]) {
        if Frame::peek(bytes).is_ok_and(|header| !header.synchronised) {
            self.held.insert(key, None);
        }
    }

    /// It waits no more.
    pub(crate) fn left(&mut self, key: &FrameKey) {
        self.held.remove(key);
    }

    fn is_news(&self, rank: u64, header: &FrameHeader) -> bool {
        !header.synchronised || !self.offsets.contains_key(&rank)
    }

    fn hear(&mut self, rank: u64, header: &FrameHeader) {
        if header.synchronised && header.cut_us >= NEVER_SET_BEFORE_US {
            let offset_us = header.cut_us.saturating_sub_unsigned(header.cut_mono_us);
            self.offsets.entry(rank).or_insert(offset_us);
        }
    }

    /// Lets those go that have waited long enough. The frames whose time is known now.
    fn due(&mut self, now_us: u64, is_much: bool) -> Vec<FrameKey> {
        let Self { offsets, held } = self;
        held.retain(|(rank, _), until| {
            let until = *until.get_or_insert(now_us.saturating_add(HOLD_US));
            offsets.contains_key(rank) || (!is_much && now_us < until)
        });
        held.keys().filter(|(rank, _)| offsets.contains_key(rank)).copied().collect()
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
        let offset_us = tail.clocks.offsets.get(&new.rank);
        if let Some(frame) = offset_us.and_then(|offset_us| brought(&new.frame, *offset_us)) {
            new.bytes = frame.encode().into();
            new.frame = Arc::new(frame);
        }
    }
}

/// Brings frames that wait to their time. The caller holds `upkeep`: none is on its way into chunks.
pub(crate) fn settle(shared: &Shared) -> Result<()> {
    let due = {
        let mut tail = shared.tail.write().unwrap_or_else(PoisonError::into_inner);
        let is_much = tail.bytes() >= MOST_BYTES;
        tail.clocks.due(shared.clock.mono_us(), is_much)
    };
    for keys in due.chunks(AT_ONCE) {
        let frames: Arc<Vec<(FrameKey, Option<Vec<u8>>)>> = {
            let tail = shared.tail.read().unwrap_or_else(PoisonError::into_inner);
            let one = |key: &FrameKey| {
                let frame = tail.bytes_of(key).and_then(|bytes| Frame::decode(bytes).ok());
                let offset_us = tail.clocks.offsets.get(&key.0).copied();
                let frame = frame.zip(offset_us).and_then(|(frame, us)| brought(&frame, us));
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
fn brought(frame: &Frame, offset_us: i64) -> Option<Frame> {
    let (mut header, Body::Samples(rows)) = (frame.header, &frame.body) else { return None };
    if header.synchronised {
        return None;
    }
    let cut_us = offset_us.saturating_add_unsigned(header.cut_mono_us);
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
