//! Keys of a Sparkplug B device and its points. Each default stands beside its key.

use std::time::Duration;

use common::ValueType;
use gateway_core::RawRange;
use gateway_sparkplug::check_id;
use serde::Deserialize;

/// `[device.sparkplug]`: an edge node, or one of its devices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Group of the edge node. No default.
    pub group: String,
    /// The edge node. No default.
    pub node: String,
    /// Device of the node. Default: none, the points are metrics of the node itself.
    #[serde(default)]
    pub device: Option<String>,
    /// Host application that this box is: its STATE is published, for nodes that wait for their primary host.
    /// Default: none.
    #[serde(default)]
    pub host: Option<String>,
    /// How long a written metric's new value may take to come back, ms; then the outcome of the write is not known.
    /// Default 5000.
    #[serde(default = "answer_ms")]
    pub answer_ms: u64,
}

fn answer_ms() -> u64 {
    5000
}

/// `sparkplug = { ... }` of a point.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PointConfig {
    /// Name of the metric, as the birth has it. Default: the point's name.
    pub metric: Option<String>,
}

impl DeviceConfig {
    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let own = [("group", Some(&self.group)), ("node", Some(&self.node))];
        let more = [("device", self.device.as_ref()), ("host", self.host.as_ref())];
        for (key, id) in own.into_iter().chain(more) {
            let Some(id) = id else { continue };
            check_id(id).map_err(|expected| (key, format!("`{id}`: {expected}")))?;
        }
        if !(100..=15_000).contains(&self.answer_ms) {
            return Err(("answer_ms", format!("{} is not within 100 to 15000", self.answer_ms)));
        }
        Ok(())
    }

    /// How long a device may take to answer a write.
    pub(super) fn answer(&self) -> Duration {
        Duration::from_millis(self.answer_ms)
    }

    /// Filters of all messages of the node and its devices: their numbers run through all of them.
    pub fn filters(&self) -> Vec<String> {
        let node = format!("{}/{}/+/{}", gateway_sparkplug::NAMESPACE, self.group, self.node);
        vec![format!("{node}/+"), node]
    }
}

impl PointConfig {
    /// What a write may hold: the metric's own type is known when it is born, and looked at then.
    pub fn raw_range(&self, value_type: ValueType) -> RawRange {
        RawRange { value_type, min: f64::MIN, max: f64::MAX }
    }

    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match &self.metric {
            Some(metric) if metric.is_empty() => Err((
                "metric",
                "expected the name of a metric, or leave it out for the point's name".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_refused_by_name() {
        for (text, key) in [
            ("group = \"\"\nnode = \"n\"", "group"),
            ("group = \"g\"\nnode = \"a/b\"", "node"),
            ("group = \"g\"\nnode = \"n\"\ndevice = \"+\"", "device"),
            ("group = \"g\"\nnode = \"n\"\nhost = \"#\"", "host"),
            ("group = \"g\"\nnode = \"n\"\nanswer_ms = 20000", "answer_ms"),
        ] {
            assert_eq!(toml::from_str::<DeviceConfig>(text).unwrap().check().unwrap_err().0, key, "{text}");
        }
        let point: PointConfig = toml::from_str("metric = \"\"").unwrap();
        assert_eq!(point.check().unwrap_err().0, "metric");
    }

    #[test]
    fn the_sample_fits_the_keys() {
        let file: toml::Table = toml::from_str(include_str!("sample.toml")).unwrap();
        for device in file["device"].as_array().unwrap() {
            let d: DeviceConfig = device["sparkplug"].clone().try_into().unwrap();
            assert_eq!(d.check(), Ok(()));
            for point in device["point"].as_array().unwrap() {
                let p: PointConfig = point["sparkplug"].clone().try_into().unwrap();
                assert_eq!(p.check(), Ok(()));
            }
        }
    }
}
