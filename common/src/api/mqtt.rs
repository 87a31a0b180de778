//! Topics on a box's broker that no point takes.

use serde::{Deserialize, Serialize};

use crate::value::ValueType;

/// Answer of `GET /api/v1/mqtt/unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownTopics {
    /// By topic.
    pub items: Vec<UnknownTopic>,
    /// Messages of further topics, for which there was no room.
    pub beyond: u64,
}

/// A topic that no point takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownTopic {
    /// The topic.
    pub topic: String,
    /// Messages since the start of the program.
    pub count: u64,
    /// When the first came, UTC us.
    pub first_us: i64,
    /// When the last came, UTC us.
    pub last_us: i64,
    /// Whether the first was one that the broker had kept.
    pub retained: bool,
    /// Bytes of a late payload.
    pub bytes: u64,
    /// Its begin: text, or bytes as hex.
    pub excerpt: String,
    /// What it looks like: `plain`, `json`, `csv`, `binary` or `sparkplug`.
    pub format: String,
    /// What separates its columns, of `csv`.
    #[serde(default)]
    pub separator: Option<char>,
    /// The values in it that a point could take.
    pub values: Vec<UnknownValue>,
}

/// A value in a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownValue {
    /// JSON pointer, column, or metric; empty for the whole payload.
    pub place: String,
    /// Type that a point of it could have.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// A late value.
    pub example: String,
}
