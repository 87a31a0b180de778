//! Histories of several points at once over HTTP: aligned to a grid, and exported.

use serde::{Deserialize, Serialize};

use crate::quality::Quality;
use crate::value::{Value, ValueType};

/// A point of a twin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PointRef {
    /// Twin: id, full place, or its unambiguous end.
    pub twin: String,
    /// Point's name.
    pub point: String,
}

/// A point that has a history and that the configuration has no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PastPoint {
    /// Its name.
    pub point: String,
    /// Its unit when the configuration had it last; empty if none, or not known.
    pub unit: String,
    /// Type of its values then, if known.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub value_type: Option<ValueType>,
}

/// What a cell of a grid between two samples holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// the sample before it
    #[default]
    Previous,
    /// a line between the samples on both sides; of what is no number, the sample before it
    Linear,
}

/// Body of `POST /api/v1/history/aligned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlignedRequest {
    /// Points, 1 to 1,000.
    pub points: Vec<PointRef>,
    /// Start: RFC 3339, microseconds since 1970, `now`, or a time ago; `-1h` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// End (excluded), in the same forms; `now` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Distance of the rows, ms. Rows stand at its multiples since 1970.
    pub step_ms: u64,
    /// How cells between samples are filled.
    #[serde(default)]
    pub method: Interpolation,
}

/// A point's cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlignedColumn {
    /// Twin's name.
    pub twin: String,
    /// Point's name.
    pub point: String,
    /// Unit of the values.
    pub unit: String,
    /// A value for each row; `null` where nothing is known.
    pub values: Vec<Option<Value>>,
    /// A quality for each row; `bad_no_data` before the first sample and from a gap until the next sample.
    pub quality: Vec<Quality>,
}

/// Answer of `POST /api/v1/history/aligned`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlignedResponse {
    /// Time of the first row, UTC us.
    pub from_us: i64,
    /// Distance of the rows, us.
    pub step_us: i64,
    /// How many rows.
    pub rows: usize,
    /// In the order asked for.
    pub columns: Vec<AlignedColumn>,
}

/// Shape of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// comma-separated values with a header (RFC 4180)
    Csv,
    /// Apache Parquet, Snappy
    Parquet,
}

/// Body of `POST /api/v1/history/export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// Points, 1 to 1,000.
    pub points: Vec<PointRef>,
    /// Start: RFC 3339, microseconds since 1970, `now`, or a time ago; `-1h` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// End (excluded), in the same forms; `now` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Shape.
    pub format: ExportFormat,
    /// Instead of the samples the values of blocks of waveforms: of those that begin in the range.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waveforms: bool,
}

/// Answer of `DELETE .../history`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryDeleted {
    /// Samples that are gone.
    pub samples: u64,
}
