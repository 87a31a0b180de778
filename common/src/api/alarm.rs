//! Bodies of requests about alarms.

use serde::{Deserialize, Serialize};

/// `POST /api/v1/alarms/{id}/acknowledge`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// The occurrence that was seen, as the alarm's `raised_us`: a later one stays unacknowledged.
    pub raised_us: i64,
    /// What is said to it, for the record.
    #[serde(default)]
    pub comment: String,
}

/// `POST /api/v1/alarms/{id}/shelve`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ShelveRequest {
    /// For how long, from now; at most a week.
    pub duration_ms: u64,
    /// Why, for the record.
    #[serde(default)]
    pub comment: String,
}

/// `POST /api/v1/alarms/{id}/unshelve`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UnshelveRequest {
    /// Why, for the record.
    #[serde(default)]
    pub comment: String,
}
