//! Frames become messages: one for each, or one for many of the backlog, in the words that the cloud knows. Frames stand
//! in the log in the newest version; a cloud that does not know it gets the same frames in the first. Pure.

use common::wire::{
    Batch, FEATURE_BATCH, FEATURE_COLUMNS, FEATURE_GAP_CAUSES, FEATURE_WAVEFORMS, Frame, HelloAck, Up,
};
use common::{Incarnation, SchemaHash};
use gateway_core::FrameId;

/// What the cloud understands beside the first version of the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Speaks {
    pub(crate) columns: bool,
    pub(crate) batch: bool,
    pub(crate) gap_causes: bool,
    pub(crate) waveforms: bool,
}

impl Speaks {
    pub(crate) fn of(ack: &HelloAck) -> Self {
        let knows = |feature| ack.features.iter().any(|f| f == feature);
        Self {
            columns: knows(FEATURE_COLUMNS),
            batch: knows(FEATURE_BATCH),
            gap_causes: knows(FEATURE_GAP_CAUSES),
            waveforms: knows(FEATURE_WAVEFORMS),
        }
    }
}

/// A message of frames.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) frames: Vec<FrameId>,
    /// Schema of all of them; none if the first has no header that can be read.
    pub(crate) schema: Option<SchemaHash>,
    pub(crate) bytes: Vec<u8>,
    /// It goes whatever the window of the backlog is.
    pub(crate) urgent: bool,
}

impl Outgoing {
    /// What each frame counts in a window.
    pub(crate) fn bytes_each(&self) -> usize {
        self.bytes.len().div_ceil(self.frames.len().max(1))
    }

    fn single(frame: FrameId, bytes: &[u8], speaks: Speaks) -> Self {
        let first = if speaks.columns { None } else { Frame::as_first(bytes) };
        let first = first.or_else(|| if speaks.gap_causes { None } else { Frame::with_first_cause(bytes) });
        let first = first.or_else(|| if speaks.waveforms { None } else { Frame::without_waveform(bytes) });
        Self {
            frames: vec![frame],
            schema: Frame::peek(bytes).ok().map(|h| h.schema),
            bytes: Up::encode_frame(first.as_deref().unwrap_or(bytes)),
            urgent: false,
        }
    }
}

/// A message for each frame.
pub(crate) fn each(incarnation: Incarnation, frames: &[(u64, Vec<u8>)], speaks: Speaks) -> Vec<Outgoing> {
    let one =
        |(seq, bytes): &(u64, Vec<u8>)| Outgoing::single(FrameId { incarnation, seq: *seq }, bytes, speaks);
    frames.iter().map(one).collect()
}

/// As few messages as may be, if the cloud takes frames together.
pub(crate) fn together(incarnation: Incarnation, frames: &[(u64, Vec<u8>)], speaks: Speaks) -> Vec<Outgoing> {
    if !speaks.batch {
        return each(incarnation, frames, speaks);
    }
    let mut out = Vec::new();
    // The batch, and what of `frames` is in it.
    let (mut batch, mut from) = (Batch::default(), 0);
    let mut end = |batch: &mut Batch, members: &[(u64, Vec<u8>)]| {
        let encoded = if batch.len() > 1 { std::mem::take(batch).encode() } else { None };
        *batch = Batch::default();
        match (encoded, members.first()) {
            (Some(encoded), Some((_, first))) => out.push(Outgoing {
                frames: members.iter().map(|(seq, _)| FrameId { incarnation, seq: *seq }).collect(),
                schema: Frame::peek(first).ok().map(|h| h.schema),
                bytes: Up::Batch(encoded).encode(),
                urgent: false,
            }),
            _ => out.extend(each(incarnation, members, speaks)),
        }
    };
    for (at, (_, bytes)) in frames.iter().enumerate() {
        let left_over = match Frame::decode(bytes) {
            Ok(frame) => batch.push(frame).err(),
            // The cloud shall say what is wrong with it.
            Err(_) => None,
        };
        if batch.len() == at + 1 - from {
            continue;
        }
        end(&mut batch, &frames[from..at]);
        from = at;
        // It begins the next one, or goes by itself.
        if left_over.is_none_or(|frame| batch.push(*frame).is_err()) {
            end(&mut batch, &frames[at..=at]);
            from = at + 1;
        }
    }
    end(&mut batch, &frames[from..]);
    out
}

/// The messages that these frames of one incarnation make, which were read from the backlog at once, for a cloud that
/// takes all that there is. As the uplink makes them: for those who measure it.
pub fn backlog_messages(incarnation: Incarnation, frames: &[(u64, Vec<u8>)]) -> Vec<Vec<u8>> {
    let all = Speaks { columns: true, batch: true, gap_causes: true, waveforms: true };
    together(incarnation, frames, all).into_iter().map(|message| message.bytes).collect()
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
