//! The last sample of every point as of the head of the log. Kept under the lock that gives out sequence
//! numbers, so that a snapshot and its number belong together.

use common::wire::{MAX_SAMPLES_PER_FRAME, Snapshot};
use common::{Incarnation, Sample, SchemaHash, Value};
use gateway_core::Changes;

/// Most bytes of the rows of one message; the wire allows 256 KiB.
pub(crate) const MAX_ROWS_BYTES: usize = 200 << 10;

/// Last samples by point.
#[derive(Debug)]
pub(crate) struct Table(Vec<Option<Sample>>);

impl Table {
    pub(crate) fn new(points: usize) -> Self {
        Self(vec![None; points])
    }

    pub(crate) fn renew(&mut self, changes: &Changes, slots: usize) {
        changes.carry(&mut self.0, slots);
        for (_, to) in &changes.moved {
            if let Some(Some(sample)) = self.0.get_mut(to.index()) {
                sample.point = *to;
            }
        }
    }

    pub(crate) fn update(&mut self, samples: &[Sample]) {
        for sample in samples {
            if let Some(slot) = self.0.get_mut(sample.point.index()) {
                *slot = Some(sample.clone());
            }
        }
    }

    pub(crate) fn snapshot(&self, schema: SchemaHash, incarnation: Incarnation, seq: u64) -> Vec<Snapshot> {
        let mut out = Vec::new();
        let mut rows = Vec::new();
        let mut bytes = 0;
        for sample in self.0.iter().flatten() {
            let size = encoded_bytes(sample);
            if size > MAX_ROWS_BYTES {
                continue;
            }
            if bytes + size > MAX_ROWS_BYTES || rows.len() == MAX_SAMPLES_PER_FRAME {
                out.push(Snapshot { schema, incarnation, seq, rows: std::mem::take(&mut rows) });
                bytes = 0;
            }
            bytes += size;
            rows.push(sample.clone());
        }
        if !rows.is_empty() {
            out.push(Snapshot { schema, incarnation, seq, rows });
        }
        out
    }
}

/// At most so many bytes does a sample take in a frame: point 5, two times 10 each, quality, tag, and a
/// value of at most 10 bytes, or a length and its content.
pub(crate) fn encoded_bytes(sample: &Sample) -> usize {
    37 + match &sample.value {
        Some(Value::Text(t)) => t.len(),
        Some(Value::Bytes(b)) => b.len(),
        _ => 0,
    }
}
