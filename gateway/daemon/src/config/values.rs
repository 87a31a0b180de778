//! `[broker] publish`: how processed values are told on the box's own broker.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// How processed values are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// not at all
    Off,
    /// each point on its own topic, retained
    Point,
    /// what was read together of a device as one message
    Device,
}

struct Key;

impl Visitor<'_> for Key {
    type Value = Publish;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`\"point\"` (or true), `\"device\"` or false")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Publish, E> {
        Ok(if on { Publish::Point } else { Publish::Off })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Publish, E> {
        match text {
            "point" => Ok(Publish::Point),
            "device" => Ok(Publish::Device),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for Publish {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_has_its_word_and_others_are_refused() {
        #[derive(Deserialize)]
        struct Section {
            publish: Publish,
        }
        let read = |text: &str| toml::from_str::<Section>(&format!("publish = {text}")).map(|s| s.publish);
        for (text, expected) in [
            ("true", Publish::Point),
            ("\"point\"", Publish::Point),
            ("\"device\"", Publish::Device),
            ("false", Publish::Off),
        ] {
            assert_eq!(read(text).unwrap(), expected);
        }
        for wrong in ["\"devices\"", "1"] {
            assert!(read(wrong).unwrap_err().to_string().contains("`\"device\"`"), "{wrong}");
        }
    }
}
