//! One sample: what a point was, how far it can be trusted, and when.

use crate::quality::Quality;
use crate::value::Value;

/// A point's number: its place in the gateway's registry and in the schema that frames refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub u32);

impl PointId {
    /// As an index into a vector with one entry a point.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A point's value at a time. Times are UTC in microseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which point.
    pub point: PointId,
    /// The value; none when the read failed.
    pub value: Option<Value>,
    /// How far the value can be trusted, and why not.
    pub quality: Quality,
    /// When the source says that it took the value; without a source time, when it was received.
    pub source_us: i64,
    /// When the gateway received it.
    pub received_us: i64,
}

impl Sample {
    /// A sample of bad quality: a failed read, never silence.
    pub fn bad(point: PointId, quality: Quality, now_us: i64) -> Self {
        Self { point, value: None, quality, source_us: now_us, received_us: now_us }
    }

    /// Whether its time is that of its receipt, by the gateway's clock: the source told none that was believed.
    pub fn is_stamped_on_receipt(&self) -> bool {
        self.source_us == self.received_us
    }
}
