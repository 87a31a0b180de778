//! Keys of an MQTT device and its points. Each default stands beside its key. From both, one point's `Binding`: which
//! topics feed it, and where its value stands in a payload.

use std::collections::BTreeMap;

use common::ValueType;
use gateway_core::RawRange;
use gateway_core::messages::check_filter;
use serde::Deserialize;

use super::binary::Field;
pub use super::binary::{BinaryType, ByteOrder};
use super::pattern;

/// `[device.mqtt]`: a group of topics that counts as one device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// The device counts as offline when no message of it came for so long, ms; 0: never. Default 60000.
    #[serde(default = "default_silence_ms")]
    pub silence_ms: u64,
    /// Topic of the points that have none, with captures: `plant/{area}/{point}/value`. `{point}` is the point's
    /// `source`, `{device}` the device's name, others are `parameters`; one that is none of these stands for any
    /// level. Default: each point has its own.
    #[serde(default)]
    pub topic: Option<String>,
    /// What captures stand for in this device. Default: none.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

fn default_silence_ms() -> u64 {
    60_000
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self { silence_ms: default_silence_ms(), topic: None, parameters: BTreeMap::new() }
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
    /// nanoseconds
    Ns,
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

/// How a payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// nothing but the value, as text
    Plain,
    /// JSON
    Json,
    /// rows of columns
    Csv,
    /// numbers as bytes
    Binary,
}

/// A column of CSV, or a place in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Column {
    /// by its number, from 1
    Index(usize),
    /// by its name in the first row, or a JSON pointer
    Name(String),
}

/// `mqtt = { ... }` of a point.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PointConfig {
    /// Topic of its messages; `+` stands for one level, `#` at the end for any, and captures as in the device's
    /// `topic`. Default: the device's.
    pub topic: Option<String>,
    /// What `{point}` stands for. Default: the point's name.
    pub source: Option<String>,
    /// What captures stand for, before those of the device. Default: none.
    pub parameters: BTreeMap<String, String>,
    /// How the payload is written: `plain`, `json`, `csv` or `binary`. Default: as the other keys say, else `plain`.
    pub format: Option<Format>,
    /// JSON pointer (RFC 6901) to the value, such as `/v`.
    pub pointer: Option<String>,
    /// JSON pointer to an array of timed values; `pointer` and `timestamp` then begin at each of its items.
    pub items: Option<String>,
    /// CSV: column of the value, by its number from 1, or by its name in the first row.
    pub column: Option<Column>,
    /// CSV: what stands between columns, one character. Default `,`.
    pub separator: Option<char>,
    /// Binary: `bool u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 string bytes`.
    #[serde(rename = "type")]
    pub kind: Option<BinaryType>,
    /// Binary: order of a number's bytes, `abcd badc cdab dcba`. Default `abcd`, big endian.
    pub order: Option<ByteOrder>,
    /// Binary: place of the first byte, from 0. Default 0.
    pub offset: Option<usize>,
    /// Binary: bytes of a string or of bytes. Default: all that follow.
    pub length: Option<usize>,
    /// Binary: bit of a bool, 0 the lowest. Default: the whole byte, which is not 0.
    pub bit: Option<u8>,
    /// JSON pointer, or CSV column, of the value's time: RFC 3339 text, or a number. Default: the time of receipt.
    pub timestamp: Option<Column>,
    /// Unit of a timestamp that is a number since 1970: `s`, `ms`, `us` or `ns`. Default `ms`.
    pub timestamp_unit: TimestampUnit,
    /// The payload holds an array of values that were taken so many times a second, 0.001 to 100,000,000: a block of a
    /// waveform. Of JSON `pointer` is the array, and `timestamp` the time of its first value; of a binary payload all from
    /// `offset` on are values. The point's own value is each block's root mean square. Default: the payload holds one value.
    pub rate_hz: Option<f64>,
    /// What a payload without the value means: `bad` or `ignore`. Default `bad`.
    pub missing: Missing,
}

/// Where a value stands in a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Plain,
    Json { pointer: String, items: Option<String>, timestamp: Option<String> },
    Csv { column: Column, separator: char, timestamp: Option<Column> },
    Binary(Field),
}

/// A point's keys, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Filter of its topics.
    pub filter: String,
    pub(super) source: Source,
    pub(super) unit: TimestampUnit,
    /// Of a waveform: picoseconds between two values.
    pub(super) dt_ps: Option<u64>,
    pub(super) missing: Missing,
}

/// Key, and what is wrong and expected.
pub(super) type Wrong = (&'static str, String);

impl PointConfig {
    /// What the source can hold. MQTT points are not written, so this only names the type.
    pub fn raw_range(&self, value_type: ValueType) -> RawRange {
        RawRange { value_type, min: f64::MIN, max: f64::MAX }
    }

    /// Whether the point could be written: never.
    pub fn is_writable(&self) -> bool {
        false
    }

    /// The binding of a point of this name in a device of that name.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn bind(&self, device: &DeviceConfig, device_name: &str, name: &str) -> Result<Binding, Wrong> {
        let pattern = self.topic.as_ref().or(device.topic.as_ref()).ok_or_else(|| {
            ("topic", "missing: expected a topic here, or one for all points in [device.mqtt]".to_owned())
        })?;
        let value = |capture: &str| match capture {
            "point" => Some(self.source.as_deref().unwrap_or(name).to_owned()),
            "device" => Some(device_name.to_owned()),
            other => self.parameters.get(other).or_else(|| device.parameters.get(other)).cloned(),
        };
        let filter = pattern::filter(pattern, value).map_err(|message| ("topic", message))?;
        check_filter(&filter).map_err(|e| ("topic", e.to_string()))?;
        if filter.starts_with('$') {
            return Err(("topic", "topics that begin with `$` belong to the broker".to_owned()));
        }
        let source = self.source()?;
        let dt_ps = self.rate_hz.map(|hz| self.step(hz, &source)).transpose()?;
        Ok(Binding { filter, source, unit: self.timestamp_unit, dt_ps, missing: self.missing })
    }

    /// Picoseconds between two values of a waveform.
    fn step(&self, hz: f64, source: &Source) -> Result<u64, Wrong> {
        let wrong = |message: &str| Err(("rate_hz", message.to_owned()));
        if !(0.001..=100e6).contains(&hz) {
            return wrong("expected 0.001 to 100,000,000 values a second");
        }
        let is_array = match source {
            Source::Json { items, .. } => items.is_none(),
            Source::Binary(field) => field.kind.size().is_some() && field.kind != BinaryType::Bool,
            Source::Plain | Source::Csv { .. } => false,
        };
        if !is_array {
            return wrong("a waveform is an array in JSON (`pointer`) or binary numbers (`type`)");
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within these bounds
        let dt_ps = (1e12 / hz).round() as u64;
        Ok(dt_ps)
    }

    fn source(&self) -> Result<Source, Wrong> {
        let format = self.format.unwrap_or(match self {
            Self { pointer: Some(_), .. } | Self { items: Some(_), .. } => Format::Json,
            Self { column: Some(_), .. } => Format::Csv,
            Self { kind: Some(_), .. } => Format::Binary,
            _ => Format::Plain,
        });
        self.no_other(format)?;
        match format {
            Format::Plain if self.timestamp.is_some() => Err((
                "timestamp",
                "a timestamp needs a `pointer` or `column`: a plain value has none".to_owned(),
            )),
            Format::Plain => Ok(Source::Plain),
            Format::Json => self.json(),
            Format::Csv => self.csv(),
            Format::Binary => self.binary(),
        }
    }

    /// A key of another format would mean nothing.
    fn no_other(&self, format: Format) -> Result<(), Wrong> {
        for (key, there, own) in [
            ("pointer", self.pointer.is_some(), Format::Json),
            ("items", self.items.is_some(), Format::Json),
            ("column", self.column.is_some(), Format::Csv),
            ("separator", self.separator.is_some(), Format::Csv),
            ("type", self.kind.is_some(), Format::Binary),
            ("order", self.order.is_some(), Format::Binary),
            ("offset", self.offset.is_some(), Format::Binary),
            ("length", self.length.is_some(), Format::Binary),
            ("bit", self.bit.is_some(), Format::Binary),
        ] {
            if there && own != format {
                let (own, format) = (format!("{own:?}"), format!("{format:?}"));
                let (own, format) = (own.to_lowercase(), format.to_lowercase());
                return Err((key, format!("belongs to format `{own}`, and this point is `{format}`")));
            }
        }
        Ok(())
    }

    fn json(&self) -> Result<Source, Wrong> {
        let pointer = self.pointer.clone().ok_or_else(|| {
            (
                "pointer",
                "missing: expected a JSON pointer, such as `/value`, or \"\" for the whole".to_owned(),
            )
        })?;
        let timestamp = match &self.timestamp {
            None => None,
            Some(Column::Name(at)) => Some(at.clone()),
            Some(Column::Index(_)) => {
                return Err(("timestamp", "expected a JSON pointer, such as `/ts`".to_owned()));
            }
        };
        for (key, at) in
            [("pointer", Some(&pointer)), ("items", self.items.as_ref()), ("timestamp", timestamp.as_ref())]
        {
            if at.is_some_and(|p| !p.is_empty() && !p.starts_with('/')) {
                return Err((key, "a JSON pointer begins with `/`, such as `/value`".to_owned()));
            }
        }
        if self.items.is_some() && timestamp.is_none() {
            return Err(("items", "an array of values needs the `timestamp` of each".to_owned()));
        }
        Ok(Source::Json { pointer, items: self.items.clone(), timestamp })
    }

    fn csv(&self) -> Result<Source, Wrong> {
        let column = self.column.clone().ok_or_else(|| {
            ("column", "missing: expected the number of a column, from 1, or its name".to_owned())
        })?;
        for (key, column) in [("column", Some(&column)), ("timestamp", self.timestamp.as_ref())] {
            if column == Some(&Column::Index(0)) {
                return Err((key, "0 is no column: they are counted from 1".to_owned()));
            }
        }
        let separator = self.separator.unwrap_or(',');
        if separator == '"' || separator == '\n' || separator == '\r' {
            return Err(("separator", "quotes and line ends cannot separate columns".to_owned()));
        }
        Ok(Source::Csv { column, separator, timestamp: self.timestamp.clone() })
    }

    fn binary(&self) -> Result<Source, Wrong> {
        const MAX_BYTES: usize = 1 << 24;
        let kind = self.kind.ok_or_else(|| {
            ("type", "missing: expected `u8` to `f64`, `bool`, `string` or `bytes`".to_owned())
        })?;
        if self.timestamp.is_some() {
            return Err(("timestamp", "binary payloads have no timestamps".to_owned()));
        }
        if self.length.is_some() && kind.size().is_some() {
            return Err(("length", "only `string` and `bytes` have a length".to_owned()));
        }
        if self.length == Some(0) {
            return Err(("length", "0 bytes are no value".to_owned()));
        }
        if self.bit.is_some() && kind != BinaryType::Bool || self.bit.is_some_and(|bit| bit > 7) {
            return Err(("bit", "expected 0 to 7, of a `bool`".to_owned()));
        }
        let (offset, length) = (self.offset.unwrap_or(0), self.length.unwrap_or(0));
        for (key, bytes) in [("offset", offset), ("length", length)] {
            if bytes > MAX_BYTES {
                return Err((key, format!("{bytes} is beyond any payload: expected at most {MAX_BYTES}")));
            }
        }
        Ok(Source::Binary(Field {
            kind,
            order: self.order.unwrap_or_default(),
            offset,
            length,
            bit: self.bit,
        }))
    }
}

impl DeviceConfig {
    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), Wrong> {
        let own = ["point", "device"];
        if let Some(name) = self.parameters.keys().find(|n| own.contains(&n.as_str())) {
            return Err((
                "parameters",
                format!("`{name}` has its own meaning in topics: expected another name"),
            ));
        }
        let Some(topic) = &self.topic else { return Ok(()) };
        pattern::filter(topic, |_| Some("x".to_owned())).map(drop).map_err(|message| ("topic", message))
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
