//! A sample's quality: its class and reason in one byte. The two highest bits are the class, as in the
//! status codes of OPC UA (part 4, 7.39): 00 good, 01 uncertain, 10 bad.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The class of a quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum QualityClass {
    /// may be used
    Good,
    /// may be used with care
    Uncertain,
    /// must not be used
    Bad,
}

/// Class and reason. An unknown reason keeps its class.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quality(u8);

macro_rules! reasons {
    ($($(#[$doc:meta])* $konst:ident = $code:literal, $name:literal;)*) => {
        impl Quality {
            $($(#[$doc])* pub const $konst: Quality = Quality($code);)*

            /// Every named quality.
            pub const ALL: &'static [(Quality, &'static str)] = &[$((Quality($code), $name)),*];
        }
    };
}

reasons! {
    /// The value may be used.
    GOOD = 0x00, "good";
    /// The value may be used; earlier ones were lost in the queue of its source.
    GOOD_OVERFLOW = 0x01, "good_overflow";
    /// The value was put in by hand at the source.
    GOOD_OVERRIDE = 0x02, "good_override";
    /// Uncertain for a reason not named here.
    UNCERTAIN = 0x40, "uncertain";
    /// The last usable value; the source no longer updates it.
    UNCERTAIN_LAST_USABLE = 0x41, "uncertain_last_usable";
    /// Outside the engineering range of the point.
    UNCERTAIN_RANGE = 0x42, "uncertain_range";
    /// The source time came from a clock that was not yet synchronised.
    UNCERTAIN_TIME = 0x43, "uncertain_time";
    /// The source itself marks the value as uncertain.
    UNCERTAIN_SOURCE = 0x44, "uncertain_source";
    /// A window of an expression is not covered by enough good samples.
    UNCERTAIN_WINDOW = 0x45, "uncertain_window";
    /// The source has put another value in the place of the measured one.
    UNCERTAIN_SUBSTITUTE = 0x46, "uncertain_substitute";
    /// The source has had no value yet and tells its initial one.
    UNCERTAIN_INITIAL = 0x47, "uncertain_initial";
    /// The sensor is less accurate than it should be.
    UNCERTAIN_SENSOR = 0x48, "uncertain_sensor";
    /// Bad for a reason not named here.
    BAD = 0x80, "bad";
    /// No connection to the device.
    BAD_NOT_CONNECTED = 0x81, "bad_not_connected";
    /// The device did not answer in time.
    BAD_TIMEOUT = 0x82, "bad_timeout";
    /// The device answered with a refusal, such as a Modbus exception.
    BAD_DEVICE = 0x83, "bad_device";
    /// The point's configuration does not fit the device.
    BAD_CONFIG = 0x84, "bad_config";
    /// The bytes could not be read as the point's type.
    BAD_DECODE = 0x85, "bad_decode";
    /// The value cannot be represented after scaling.
    BAD_RANGE = 0x86, "bad_range";
    /// No value has come for longer than the point allows.
    BAD_STALE = 0x87, "bad_stale";
    /// No value has come yet.
    BAD_NO_DATA = 0x88, "bad_no_data";
    /// The device or point is switched off in the configuration.
    BAD_DISABLED = 0x89, "bad_disabled";
    /// The source itself marks the value as bad.
    BAD_SOURCE = 0x8a, "bad_source";
    /// An expression has no finite result, such as after a division by zero.
    BAD_EXPRESSION = 0x8b, "bad_expression";
    /// The source does not let the gateway read it.
    BAD_ACCESS = 0x8c, "bad_access";
    /// The source has no such variable.
    BAD_UNKNOWN = 0x8d, "bad_unknown";
    /// The sensor behind the source has failed.
    BAD_SENSOR = 0x8e, "bad_sensor";
}

impl Quality {
    /// From its byte. A byte of the reserved class 11 is bad.
    pub fn from_code(code: u8) -> Self {
        if code & 0xc0 == 0xc0 { Self::BAD } else { Self(code) }
    }

    /// Its byte.
    pub fn code(self) -> u8 {
        self.0
    }

    /// Its class.
    pub fn class(self) -> QualityClass {
        match self.0 & 0xc0 {
            0x00 => QualityClass::Good,
            0x40 => QualityClass::Uncertain,
            _ => QualityClass::Bad,
        }
    }

    /// Whether the value may be used without care.
    pub fn is_good(self) -> bool {
        self.class() == QualityClass::Good
    }

    /// Whether the value is good, whatever is to be said of its time: it counts for means, extremes and times.
    pub fn has_good_value(self) -> bool {
        self.is_good() || self == Self::UNCERTAIN_TIME
    }

    /// Whether the value must not be used.
    pub fn is_bad(self) -> bool {
        self.class() == QualityClass::Bad
    }

    /// Its name, such as `bad_timeout`; an unknown reason has the name of its class.
    pub fn name(self) -> &'static str {
        let named = |q: Quality| Self::ALL.iter().find(|(k, _)| *k == q).map(|(_, name)| *name);
        named(self).or_else(|| named(Self(self.0 & 0xc0))).unwrap_or("bad")
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(q, _)| *q)
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Quality {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Quality {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        Self::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format_args!("`{name}` is not a quality")))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Quality {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .enum_values(Some(Self::ALL.iter().map(|(_, name)| *name)))
            .description(Some("class and reason of a sample's quality"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Quality {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_class_and_a_name_of_that_class() {
        for code in 0..=255 {
            let q = Quality::from_code(code);
            let class = serde_json::to_value(q.class()).unwrap();
            assert!(q.name().starts_with(class.as_str().unwrap()), "{code:#x} {q}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for (q, name) in Quality::ALL {
            assert_eq!(Quality::from_name(name), Some(*q));
            assert_eq!(q.name(), *name);
        }
    }
}
