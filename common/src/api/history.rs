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
    /// How the bucket's time within the range asked for divides; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<HistoryTimes>,
    /// Earliest sample of the bucket within the range asked for, of any quality; with `times`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sample: Option<HistorySample>,
    /// Latest sample of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sample: Option<HistorySample>,
}

impl HistoryPoint {
    /// A row that is a sample.
    pub fn raw(t_us: i64, value: Option<Value>, quality: Quality) -> Self {
        Self {
            t_us,
            value,
            quality,
            first: None,
            min: None,
            max: None,
            mean: None,
            count: 1,
            good: u64::from(quality.has_good_value()),
            times: None,
            first_sample: None,
            last_sample: None,
        }
    }
}

/// One sample of a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistorySample {
    /// Source time, UTC us.
    pub t_us: i64,
    /// Value; none if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Quality.
    pub quality: Quality,
}

/// How a span of time divides, us. A sample holds until the next one; not over a gap, not beyond now, and not beyond the last
/// word of a gateway that is not connected. Good, uncertain, bad, nothing and unsettled add up to the span; `states` and
/// `other_us` add up to good and uncertain.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryTimes {
    /// A good value held.
    pub good_us: i64,
    /// An uncertain value held.
    pub uncertain_us: i64,
    /// It was bad.
    pub bad_us: i64,
    /// Nothing held: before the first sample, and in gaps.
    pub nothing_us: i64,
    /// There were samples, and how their time divides is not known any more, or would take too long to find out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsettled_us: i64,
    /// Of booleans, texts and integers of few values: the time in each, the longest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub states: Vec<StateTime>,
    /// Time in states that are not listed, or were not in roll-ups that list eight; 0 where there are no states.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_us: i64,
}

/// Time in one state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateTime {
    /// The state.
    pub value: Value,
    /// Time in it, us.
    pub us: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for it
fn is_zero(n: &i64) -> bool {
    *n == 0
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
    /// How the time of the range asked for divides; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<HistoryTimes>,
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
    /// the cloud could not take their frame: it is set aside there, as it was received
    SetAside,
    /// the cloud stored them and cannot read them any more: its database is damaged
    CloudDamaged,
    /// a person had them deleted in the cloud
    Deleted,
    /// they were older than the cloud was to keep them
    Retention,
    /// the configuration has the point no more: it was removed or renamed
    PointRemoved,
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
            Self::SetAside => "set_aside",
            Self::CloudDamaged => "cloud_damaged",
            Self::Deleted => "deleted",
            Self::Retention => "retention",
            Self::PointRemoved => "point_removed",
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
            Self::SetAside => "in a frame that the cloud could not take and has set aside",
            Self::CloudDamaged => "lost by the cloud, its database is damaged",
            Self::Deleted => "deleted by a person in the cloud",
            Self::Retention => "removed by the cloud, older than it was to keep",
            Self::PointRemoved => "the point was removed from the configuration, or renamed",
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

impl HistoryGap {
    /// A gap of which nothing but its cause is known.
    pub fn new(from_us: i64, to_us: i64, cause: GapReason) -> Self {
        Self { from_us, to_us, cause, quality: None, count: None, partial: false }
    }
}
