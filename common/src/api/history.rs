//! A point's history over HTTP: raw samples where they fit, roll-ups where they do not.

use serde::{Deserialize, Serialize};

use crate::quality::Quality;
use crate::value::Value;

/// What the points of a history are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Resolution {
    /// every sample
    Raw,
    /// one row for each bucket that holds samples
    Rollup {
        /// width of a bucket, us
        bucket_us: i64,
    },
}

/// One row of a history. Raw: `value` and `quality`. Roll-up: `min`, `max`, `mean` over the good samples
/// of the bucket, its last value, and counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryPoint {
    /// Source time of the sample, or start of the bucket, UTC us.
    pub t_us: i64,
    /// Value; for a bucket, its last good value. None if bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Quality; for a bucket, its worst.
    pub quality: Quality,
    /// Smallest good value of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest good value of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Mean of the good values of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Samples in the bucket; 1 if raw.
    pub count: u64,
    /// Good samples among them.
    pub good: u64,
}

/// Answer of `GET .../history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryResponse {
    /// Twin's name.
    pub twin: String,
    /// Point's name.
    pub point: String,
    /// Unit of the values.
    pub unit: String,
    /// Start of the range asked for, UTC us.
    pub from_us: i64,
    /// End of the range asked for, UTC us.
    pub to_us: i64,
    /// What the rows are.
    pub resolution: Resolution,
    /// Rows by time.
    pub points: Vec<HistoryPoint>,
}
