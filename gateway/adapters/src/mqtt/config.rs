//! Keys of an MQTT device and its points. Each default stands beside its key.

use common::ValueType;
use gateway_core::RawRange;
use gateway_core::messages::{check_filter, has_wildcard};
use serde::Deserialize;

/// `[device.mqtt]`: a group of topics that counts as one device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// The device counts as offline when no message of it came for so long, ms; 0: never. Default 60000.
    #[serde(default = "default_silence_ms")]
    pub silence_ms: u64,
}

fn default_silence_ms() -> u64 {
    60_000
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self { silence_ms: default_silence_ms() }
    }
}

/// Unit of a timestamp that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampUnit {
    /// seconds, also with a fraction
    S,
    /// milliseconds
    #[default]
    Ms,
    /// microseconds
    Us,
}

/// What a message means that lacks the point's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// a sample of bad quality
    #[default]
    Bad,
    /// nothing: another message of the topic brings it
    Ignore,
}

/// `mqtt = { ... }` of a point.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointConfig {
    /// Topic of its messages; `+` stands for one level, `#` at the end for any.
    pub topic: String,
    /// JSON pointer (RFC 6901) to the value, such as `/v`. Default: the whole payload as plain text.
    #[serde(default)]
    pub pointer: Option<String>,
    /// JSON pointer to the time of the value: RFC 3339 text, or a number. Default: the time of receipt.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// Unit of a timestamp that is a number since 1970: `s`, `ms` or `us`. Default `ms`.
    #[serde(default)]
    pub timestamp_unit: TimestampUnit,
    /// What a JSON payload without the value means: `bad` or `ignore`. Default `bad`.
    #[serde(default)]
    pub missing: Missing,
}

impl PointConfig {
    /// What the source can hold. MQTT points are not written, so this only names the type.
    pub fn raw_range(&self, value_type: ValueType) -> RawRange {
        RawRange { value_type, min: f64::MIN, max: f64::MAX }
    }

    /// Whether the point could be written: never.
    pub fn is_writable(&self) -> bool {
        false
    }

    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        check_filter(&self.topic).map_err(|e| ("topic", e.to_string()))?;
        if self.topic.starts_with('$') {
            return Err(("topic", "topics that begin with `$` belong to the broker".to_owned()));
        }
        for (key, pointer) in [("pointer", &self.pointer), ("timestamp", &self.timestamp)] {
            if pointer.as_ref().is_some_and(|p| !p.is_empty() && !p.starts_with('/')) {
                return Err((key, "a JSON pointer begins with `/`, such as `/value`".to_owned()));
            }
        }
        if self.timestamp.is_some() && self.pointer.is_none() {
            return Err(("timestamp", "a timestamp needs a `pointer`: a plain value has none".to_owned()));
        }
        Ok(())
    }

    /// Whether more than one topic feeds the point.
    pub fn has_wildcard(&self) -> bool {
        has_wildcard(&self.topic)
    }
}

impl DeviceConfig {
    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_refused_by_name() {
        for (text, key) in [
            ("topic = \"a/#/b\"", "topic"),
            ("topic = \"\"", "topic"),
            ("topic = \"$SYS/x\"", "topic"),
            ("topic = \"a\"\npointer = \"v\"", "pointer"),
            ("topic = \"a\"\ntimestamp = \"/ts\"", "timestamp"),
        ] {
            assert_eq!(toml::from_str::<PointConfig>(text).unwrap().check().unwrap_err().0, key, "{text}");
        }
        assert!(toml::from_str::<PointConfig>("topc = \"a\"").is_err());
    }

    #[test]
    fn the_sample_fits_the_keys() {
        let file: toml::Table = toml::from_str(include_str!("sample.toml")).unwrap();
        let device = file["device"].as_array().unwrap()[0].as_table().unwrap();
        let d: DeviceConfig = device["mqtt"].clone().try_into().unwrap();
        assert_eq!(d, DeviceConfig::default());
        for point in device["point"].as_array().unwrap() {
            let p: PointConfig = point["mqtt"].clone().try_into().unwrap();
            assert_eq!(p.check(), Ok(()));
        }
    }
}
