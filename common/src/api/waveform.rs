//! Blocks of waveforms over HTTP.

use serde::{Deserialize, Serialize};

use crate::quality::Quality;

/// A stored block of a waveform, without its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaveformItem {
    /// Time of its first value, UTC us: its name among the blocks of its point.
    pub t0_us: i64,
    /// Values a second.
    pub rate_hz: f64,
    /// Values that it has.
    pub total: u64,
    /// Of these, how many are stored: fewer while a part is on its way, or was lost.
    pub stored: u64,
    /// Bytes that they take in the database.
    pub bytes: u64,
}

/// Answer of `GET .../waveforms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaveformList {
    /// Twin's name.
    pub twin: String,
    /// Point's name.
    pub point: String,
    /// Unit of the values.
    pub unit: String,
    /// Blocks by time.
    pub items: Vec<WaveformItem>,
    /// Give this as `from` for the blocks after these; none when they are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_us: Option<i64>,
}

/// Answer of `GET .../waveforms/{t0}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaveformBlock {
    /// Twin's name.
    pub twin: String,
    /// Point's name.
    pub point: String,
    /// Unit of the values.
    pub unit: String,
    /// Time of the first value, UTC us.
    pub t0_us: i64,
    /// When the gateway received the block, UTC us.
    pub received_us: i64,
    /// Values a second.
    pub rate_hz: f64,
    /// Quality of all values.
    pub quality: Quality,
    /// Type in which they were measured: `i16`, `f32` or `f64`.
    #[serde(rename = "type")]
    pub value_type: String,
    /// Values that the block has.
    pub total: u64,
    /// Of these, how many are stored.
    pub stored: u64,
    /// Values of a row: 1, or as many as it took to come below `max_points`.
    pub step: u64,
    /// With `step` 1 each value in `unit`; null where it is not stored. Else empty.
    pub values: Vec<Option<f64>>,
    /// Least value of each row, if `step` is above 1.
    pub min: Vec<Option<f64>>,
    /// Greatest value of each row.
    pub max: Vec<Option<f64>>,
}
