//! What storage does with whole histories: several points aligned, samples in pages for an export, and deletion.

use async_trait::async_trait;
use common::TwinId;
use common::api::{HistoryTimes, Interpolation};
use common::command::LogEntry;
use common::wire::Waveform;
use common::{Quality, Value, ValueType};

use crate::align::{Column, Grid, Knot};
use crate::storage::StoreError;

/// A sample as an export gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRow {
    /// Source time, UTC us.
    pub t_us: i64,
    /// When the gateway received it, UTC us.
    pub received_us: i64,
    /// Quality.
    pub quality: Quality,
    /// Value; none when the read failed.
    pub value: Option<Value>,
}

/// A page of a point's samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SamplePage {
    /// By time.
    pub rows: Vec<ExportRow>,
    /// Where the next page begins; none at the end.
    pub next_us: Option<i64>,
}

/// A stored block of a waveform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaveformEntry {
    /// Time of its first value, UTC us.
    pub t0_us: i64,
    /// Picoseconds between two values.
    pub dt_ps: u64,
    /// Values that it has.
    pub total: u64,
    /// Of these, how many are stored: a part may be missing, or on its way.
    pub stored: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// A point that has a history, whether or not the configuration still has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPoint {
    /// Its name.
    pub point: String,
    /// Its unit when the configuration had it last, else when its first sample came; empty if none, or not known.
    pub unit: String,
    /// Type of its values then, if known.
    pub value_type: Option<ValueType>,
}

/// A point to be aligned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlignedPoint {
    /// Twin.
    pub twin: TwinId,
    /// Point's name.
    pub point: String,
    /// Whether what feeds the twin is connected: if not, its last value says nothing after its last word.
    pub online: bool,
}

/// Spans of which it is asked how their time divides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans {
    /// Start of the range, UTC us.
    pub from_us: i64,
    /// End of the range (excluded), UTC us.
    pub to_us: i64,
    /// Where rows begin, by time.
    pub starts_us: Vec<i64>,
    /// How long each row is, us; they do not overlap.
    pub width_us: i64,
    /// Now: nothing holds beyond it.
    pub now_us: i64,
    /// As in `AlignedPoint`.
    pub online: bool,
}

/// How the time of a row divides.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowTimes {
    /// Of the part of it that is in the range.
    pub times: HistoryTimes,
    /// The earliest sample in it.
    pub first: Option<Knot>,
    /// The latest.
    pub last: Option<Knot>,
}

/// How time divides.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durations {
    /// Of the whole range.
    pub total: HistoryTimes,
    /// Of each row.
    pub rows: Vec<RowTimes>,
}

/// Histories as a whole.
#[async_trait]
pub trait HistoryStorage: Send + Sync {
    /// Points aligned to a grid, in the order given. What is not known has no value and says so by its quality: before
    /// the first sample, from a gap until the next sample, while samples are bad, after now, and after the last word of
    /// what is not connected. A line needs samples on both sides, at most one step beyond the last row. Unknown twin:
    /// `NotFound`.
    async fn aligned(
        &self,
        points: &[AlignedPoint],
        grid: Grid,
        method: Interpolation,
        now_us: i64,
    ) -> Result<Vec<Column>, StoreError>;

    /// How a point's time divides by quality and state: as if all samples of the range were read, where roll-ups say so. What
    /// they do not say is found in the samples; `unsettled` where these are gone or too many. Unknown twin: `NotFound`.
    async fn durations(&self, twin: TwinId, point: &str, spans: Spans) -> Result<Durations, StoreError>;

    /// Every sample of a point in `from_us..to_us` from the earliest on, about `most` of them; ask again from `next_us`
    /// on. All samples of one time are in one page. What retention removed is not there.
    async fn samples(
        &self,
        twin: TwinId,
        point: &str,
        from_us: i64,
        to_us: i64,
        most: usize,
    ) -> Result<SamplePage, StoreError>;

    /// A point's blocks of waveforms that begin in `from_us..to_us`, the earliest first, at most `limit`. Unknown twin:
    /// `NotFound`; a point that never had one has none.
    async fn waveforms(
        &self,
        _twin: TwinId,
        _point: &str,
        _from_us: i64,
        _to_us: i64,
        _limit: usize,
    ) -> Result<Vec<WaveformEntry>, StoreError> {
        Ok(Vec::new())
    }

    /// The stored parts of the block that begins at `t0_us`, in order; none if there is no such block.
    async fn waveform(&self, _twin: TwinId, _point: &str, _t0_us: i64) -> Result<Vec<Waveform>, StoreError> {
        Ok(Vec::new())
    }

    /// A point that ever had a sample, also if the configuration has it no more; none of an unknown twin.
    async fn stored_point(&self, twin: TwinId, point: &str) -> Result<Option<StoredPoint>, StoreError>;

    /// All points of a twin of which compacted samples, roll-ups or waveforms are left, by name.
    async fn stored_points(&self, twin: TwinId) -> Result<Vec<StoredPoint>, StoreError>;

    /// Deletes a point's samples in `from_us..to_us` (and blocks of waveforms that begin there) from samples and roll-ups, with an audit entry, in one
    /// transaction; history shows a gap in their place. How many there were. What is accepted later stays. `Conflict`
    /// where retention removed samples and the range is not of whole days (UTC): only roll-ups are left of them.
    async fn delete_history(
        &self,
        twin: TwinId,
        point: &str,
        from_us: i64,
        to_us: i64,
        audit: &LogEntry,
    ) -> Result<u64, StoreError>;
}
