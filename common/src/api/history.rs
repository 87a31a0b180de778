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
    /// First good value of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Value>,
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
    /// Where there is nothing to go by, by time.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required))]
    pub gaps: Vec<HistoryGap>,
}

/// Why a point has no samples in a span, or none that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// samples came and were bad; `quality` says why
    BadQuality,
    /// the source's clock was not synchronised: the values are there, their times are not to be trusted
    ClockUnsynchronised,
    /// the gateway's program did not run, or its box was off
    GatewayDown,
    /// the gateway is not connected: what it has measured since may still come
    GatewayOffline,
    /// frames are missing that the gateway has not told to be lost: they may still come
    Awaited,
    /// the gateway's buffer was full and the oldest were dropped
    Quota,
    /// they were older than the gateway was to keep them
    Age,
    /// the gateway's disk was full or refused to write
    DiskFull,
    /// the gateway's buffer was too slow for what was measured
    Overrun,
    /// the gateway's log was damaged
    Damaged,
    /// a person had them dropped at the gateway
    Operator,
    /// the cloud lost them: it was restored from a backup, and the gateway no longer had them
    CloudLost,
    /// a person had them deleted in the cloud
    Deleted,
    /// a cause that this program does not know
    #[serde(other)]
    Other,
}

impl GapReason {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadQuality => "bad_quality",
            Self::ClockUnsynchronised => "clock_unsynchronised",
            Self::GatewayDown => "gateway_down",
            Self::GatewayOffline => "gateway_offline",
            Self::Awaited => "awaited",
            Self::Quota => "quota",
            Self::Age => "age",
            Self::DiskFull => "disk_full",
            Self::Overrun => "overrun",
            Self::Damaged => "damaged",
            Self::Operator => "operator",
            Self::CloudLost => "cloud_lost",
            Self::Deleted => "deleted",
            Self::Other => "other",
        }
    }

    /// In words, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::BadQuality => "the samples are bad",
            Self::ClockUnsynchronised => "the clock was not synchronised",
            Self::GatewayDown => "the gateway did not run",
            Self::GatewayOffline => "the gateway is not connected, it may still come",
            Self::Awaited => "not delivered yet, the gateway has not said that it is lost",
            Self::Quota => "dropped by the gateway, its buffer was full",
            Self::Age => "dropped by the gateway, older than it was to keep",
            Self::DiskFull => "lost by the gateway, its disk was full",
            Self::Overrun => "lost by the gateway, its buffer was too slow",
            Self::Damaged => "lost by the gateway, its log was damaged",
            Self::Operator => "dropped by a person at the gateway",
            Self::CloudLost => {
                "lost by the cloud, which was restored from a backup, and no longer at the gateway"
            }
            Self::Deleted => "deleted by a person in the cloud",
            Self::Other => "lost by the gateway for a cause that this program does not know",
        }
    }

    /// Whether a value from before it says nothing of the time after it.
    pub fn is_unknown(self) -> bool {
        !matches!(self, Self::BadQuality | Self::ClockUnsynchronised)
    }
}

/// A span without samples, or without any that may be used. Of what a gateway lost, any of its points may be hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryGap {
    /// Start, UTC us.
    pub from_us: i64,
    /// End (excluded), UTC us.
    pub to_us: i64,
    /// Why.
    pub cause: GapReason,
    /// Quality of the samples, if it is theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Samples lost or bad, where known; of what a gateway lost, of all its points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Whether some of its time is good: a bucket of a roll-up has good and bad samples.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}
