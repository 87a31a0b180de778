//! Keys of a point of an OPC UA server: a variable, a part of one, or a method. Each default stands beside its key.

use common::ValueType;
use gateway_core::RawRange;
use gateway_opcua::NodeRef;
use serde::Deserialize;

use super::config::{DAY_MS, DeviceConfig, Wrong};

/// Most values that a server is asked to keep for one point.
const MOST_QUEUED: u64 = 10_000;

/// What makes a server send a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// its status changes
    Status,
    /// its status or value changes
    #[default]
    StatusValue,
    /// its status, value or source time changes
    StatusValueTimestamp,
}

/// An argument of a method: the value that is written, or a constant.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    /// true or false
    Bool(bool),
    /// whole number
    Int(i64),
    /// number
    Float(f64),
    /// text; `$value` stands for what is written
    Text(String),
}

/// `opcua = { ... }` of a point: a variable, a part of it, or a method.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointConfig {
    /// The variable, or the object that `method` is called on: `ns=2;s=Pump.Speed` or `nsu=<uri>;s=Pump.Speed`. No
    /// default.
    pub node: NodeRef,
    /// Method that a write calls. Default: none, the node is a variable.
    #[serde(default)]
    pub method: Option<NodeRef>,
    /// Arguments of the method; `$value` stands for what is written. Default: the value alone, if it takes one.
    #[serde(default)]
    pub arguments: Option<Vec<Argument>>,
    /// Element of an array, from 0; of a matrix one number for each dimension. Default: the value is no array.
    #[serde(default)]
    pub index: Option<Index>,
    /// Field of a structure, `a.b` for one in a structure in it. Default: the value is no structure.
    #[serde(default)]
    pub field: Option<String>,
    /// How often the server looks at it, ms; 0: as fast as it can. Default: the device's.
    #[serde(default)]
    pub sampling_ms: Option<u64>,
    /// Values that the server keeps until they are sent. Default: twice what comes in `publishing_ms`.
    #[serde(default)]
    pub queue: Option<u32>,
    /// Change below which the server sends nothing, in raw units. Default: every change. A server that has no
    /// deadband sends all; one of ours is `deadband` of the point.
    #[serde(default)]
    pub deadband: Option<f64>,
    /// The same in percent of the node's EURange.
    #[serde(default)]
    pub deadband_percent: Option<f64>,
    /// `status`, `status_value` or `status_value_timestamp`. Default `status_value`.
    #[serde(default)]
    pub trigger: Trigger,
    /// The point is read so often instead of being subscribed, ms. Default: subscribed.
    #[serde(default)]
    pub poll_ms: Option<u64>,
    /// Whether values of the time without connection are fetched from the server's history. Default `false`.
    #[serde(default)]
    pub history: bool,
}

/// One index, or one for each dimension.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Index {
    /// of an array
    One(u32),
    /// of a matrix
    Many(Vec<u32>),
}

impl Index {
    /// All of them.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(n) => std::slice::from_ref(n),
            Self::Many(all) => all,
        }
    }
}

impl PointConfig {
    /// A variable, everything else at its default.
    pub fn new(node: NodeRef) -> Self {
        Self {
            node,
            method: None,
            arguments: None,
            index: None,
            field: None,
            sampling_ms: None,
            queue: None,
            deadband: None,
            deadband_percent: None,
            trigger: Trigger::default(),
            poll_ms: None,
            history: false,
        }
    }

    /// What the node can hold, as far as it is known before the server was asked: control judges limits by it, and the
    /// node's own type before a write.
    pub fn raw_range(&self, value_type: ValueType) -> RawRange {
        #[allow(clippy::cast_precision_loss)] // the ends of the ranges, as the nearest double
        let (min, max) = match value_type {
            ValueType::Bool => (0.0, 1.0),
            ValueType::I64 => (i64::MIN as f64, i64::MAX as f64),
            ValueType::U64 => (0.0, u64::MAX as f64),
            _ => (f64::MIN, f64::MAX),
        };
        RawRange { value_type, min, max }
    }

    /// Whether the point could be written.
    pub fn is_writable(&self) -> bool {
        self.field.is_none()
    }

    /// How long a value is current by default, ms: a subscription says when it ends, a poll has its period.
    pub fn stale_ms(&self) -> u64 {
        self.poll_ms.map_or(86_400_000, |p| p.saturating_mul(3).max(5_000))
    }

    /// How many values the server keeps until they are sent.
    pub(super) fn queue_of(&self, device: &DeviceConfig) -> u32 {
        let sampling = self.sampling_of(device).max(1);
        let twice = device.publishing_ms.saturating_mul(2).div_ceil(sampling).clamp(2, MOST_QUEUED);
        self.queue.unwrap_or_else(|| u32::try_from(twice).unwrap_or(u32::MAX))
    }

    pub(super) fn sampling_of(&self, device: &DeviceConfig) -> u64 {
        self.sampling_ms.or(device.sampling_ms).unwrap_or(device.publishing_ms)
    }

    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.method.is_some() {
            return self.check_method();
        }
        if self.arguments.is_some() {
            return Err(("arguments", "only a `method` has arguments".to_owned()));
        }
        match (self.deadband, self.deadband_percent) {
            (Some(_), Some(_)) => {
                return Err(("deadband_percent", "`deadband` stands here as well: one of them".to_owned()));
            }
            (Some(x), None) if !x.is_finite() || x < 0.0 => {
                return Err(("deadband", format!("{x} is not a width: expected 0 or more")));
            }
            (None, Some(x)) if !(0.0..=100.0).contains(&x) => {
                return Err(("deadband_percent", format!("{x} is not within 0 to 100")));
            }
            _ => {}
        }
        if let Some(Index::Many(many)) = &self.index
            && !(1..=8).contains(&many.len())
        {
            return Err(("index", "expected one number for each dimension, 1 to 8".to_owned()));
        }
        if self.field.as_ref().is_some_and(|f| f.split('.').any(str::is_empty)) {
            return Err(("field", "expected the name of a field, such as `a` or `a.b`".to_owned()));
        }
        if self.index.is_some() && self.field.is_some() {
            return Err(("field", "`index` stands here as well: one of them".to_owned()));
        }
        if let Some(poll) = self.poll_ms {
            if !(10..=DAY_MS).contains(&poll) {
                return Err(("poll_ms", format!("{poll} is not a period: expected 10 to {DAY_MS}")));
            }
            for (key, there) in [
                ("sampling_ms", self.sampling_ms.is_some()),
                ("queue", self.queue.is_some()),
                ("deadband", self.deadband.is_some()),
                ("deadband_percent", self.deadband_percent.is_some()),
            ] {
                if there {
                    return Err((key, "`poll_ms` reads and subscribes nothing: leave it out".to_owned()));
                }
            }
        }
        if self.sampling_ms.is_some_and(|s| s > DAY_MS) {
            return Err(("sampling_ms", format!("expected at most {DAY_MS}")));
        }
        match self.queue {
            Some(n) if n == 0 || u64::from(n) > MOST_QUEUED => {
                Err(("queue", format!("{n} is not within 1 to {MOST_QUEUED}")))
            }
            _ => Ok(()),
        }
    }

    fn check_method(&self) -> Result<(), Wrong> {
        for (key, there) in [
            ("index", self.index.is_some()),
            ("field", self.field.is_some()),
            ("sampling_ms", self.sampling_ms.is_some()),
            ("queue", self.queue.is_some()),
            ("deadband", self.deadband.is_some()),
            ("deadband_percent", self.deadband_percent.is_some()),
            ("poll_ms", self.poll_ms.is_some()),
            ("history", self.history),
        ] {
            if there {
                return Err((key, "a `method` is called, not read: leave it out".to_owned()));
            }
        }
        let values =
            self.arguments.iter().flatten().filter(|a| matches!(a, Argument::Text(t) if t == "$value"));
        if values.count() > 1 {
            return Err(("arguments", "`$value` stands twice".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(keys: &str) -> Result<(), &'static str> {
        toml::from_str::<PointConfig>(&format!("node = \"ns=1;i=1\"\n{keys}"))
            .unwrap()
            .check()
            .map_err(|(key, _)| key)
    }

    #[test]
    fn wrong_keys_of_a_point_are_refused_by_name() {
        for (keys, key) in [
            ("arguments = [1]", "arguments"),
            ("deadband = 1\ndeadband_percent = 1", "deadband_percent"),
            ("deadband = -1", "deadband"),
            ("deadband_percent = 101", "deadband_percent"),
            ("index = []", "index"),
            ("field = \"a..b\"", "field"),
            ("index = 1\nfield = \"a\"", "field"),
            ("poll_ms = 1", "poll_ms"),
            ("poll_ms = 100\nqueue = 1", "queue"),
            ("queue = 0", "queue"),
            ("method = \"i=1\"\nindex = 1", "index"),
            ("method = \"i=1\"\narguments = [\"$value\", \"$value\"]", "arguments"),
        ] {
            assert_eq!(point(keys), Err(key), "{keys}");
        }
        assert_eq!(point("method = \"i=1\"\narguments = [\"$value\", 1, 2.5, true]"), Ok(()));
        assert!(toml::from_str::<PointConfig>("node = \"Pump\"").is_err());
    }

    #[test]
    fn a_queue_holds_twice_what_comes_between_two_sendings() {
        let device: DeviceConfig = toml::from_str("url = \"opc.tcp://h:1\"\npublishing_ms = 500").unwrap();
        let point = |keys: &str| toml::from_str::<PointConfig>(&format!("node = \"i=1\"\n{keys}")).unwrap();
        assert_eq!(point("").queue_of(&device), 2);
        assert_eq!(point("sampling_ms = 50").queue_of(&device), 20);
        assert_eq!(point("queue = 7").queue_of(&device), 7);
        assert_eq!(device.keep_alive_count(), 6);
    }

    #[test]
    fn the_sample_fits_the_keys() {
        let file: toml::Table = toml::from_str(include_str!("sample.toml")).unwrap();
        for device in file["device"].as_array().unwrap() {
            let d: DeviceConfig = device["opcua"].clone().try_into().unwrap();
            assert_eq!(d.check(), Ok(()));
            for point in device["point"].as_array().unwrap() {
                let p: PointConfig = point["opcua"].clone().try_into().unwrap();
                assert_eq!(p.check(), Ok(()));
            }
        }
    }
}
