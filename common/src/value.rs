//! A point's value and its type. Numbers keep the type that the device gave them.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The type of a point's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// true or false
    Bool,
    /// signed 64-bit
    I64,
    /// unsigned 64-bit
    U64,
    /// IEEE 754 double
    F64,
    /// UTF-8 text
    Text,
    /// raw bytes
    Bytes,
}

/// A value. In JSON: `true`, a number, a string, or `{"bytes": "<base64>"}`; a float that is not finite
/// is the string `"NaN"`, `"Infinity"` or `"-Infinity"` in an object `{"f64": ...}`.
#[derive(Debug, Clone)]
pub enum Value {
    /// true or false
    Bool(bool),
    /// signed 64-bit
    I64(i64),
    /// unsigned 64-bit
    U64(u64),
    /// IEEE 754 double
    F64(f64),
    /// UTF-8 text
    Text(Arc<str>),
    /// raw bytes
    Bytes(Arc<[u8]>),
}

impl Value {
    /// The type of this value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Bool(_) => ValueType::Bool,
            Self::I64(_) => ValueType::I64,
            Self::U64(_) => ValueType::U64,
            Self::F64(_) => ValueType::F64,
            Self::Text(_) => ValueType::Text,
            Self::Bytes(_) => ValueType::Bytes,
        }
    }

    /// The value as a number: booleans are 0 and 1, text and bytes are none. Integers beyond 2^53 lose
    /// their last digits.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Bool(b) => Some(f64::from(u8::from(b))),
            Self::I64(n) => Some(n as f64),
            Self::U64(n) => Some(n as f64),
            Self::F64(x) => Some(x),
            Self::Text(_) | Self::Bytes(_) => None,
        }
    }

    /// The value as truth: a boolean, or a number that is not 0.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            other => other.as_f64().filter(|x| !x.is_nan()).map(|x| x != 0.0),
        }
    }

    /// The same value as another type, if nothing is lost by it: 3.0 becomes 3, 3.5 does not.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub fn convert(&self, to: ValueType) -> Option<Value> {
        // The first float at or beyond each integer range: the range itself is exact, its end is not.
        const I64_END: f64 = 9_223_372_036_854_775_808.0;
        const U64_END: f64 = 18_446_744_073_709_551_616.0;
        const EXACT: u64 = 1 << 53;
        Some(match (self, to) {
            (v, t) if v.value_type() == t => v.clone(),
            (Self::Bool(b), ValueType::I64) => Self::I64(i64::from(*b)),
            (Self::Bool(b), ValueType::U64) => Self::U64(u64::from(*b)),
            (Self::Bool(b), ValueType::F64) => Self::F64(f64::from(u8::from(*b))),
            (Self::I64(0) | Self::U64(0), ValueType::Bool) => Self::Bool(false),
            (Self::I64(1) | Self::U64(1), ValueType::Bool) => Self::Bool(true),
            (Self::I64(n), ValueType::U64) => Self::U64(u64::try_from(*n).ok()?),
            (Self::U64(n), ValueType::I64) => Self::I64(i64::try_from(*n).ok()?),
            (Self::I64(n), ValueType::F64) if n.unsigned_abs() <= EXACT => Self::F64(*n as f64),
            (Self::U64(n), ValueType::F64) if *n <= EXACT => Self::F64(*n as f64),
            (Self::F64(x), ValueType::I64) if x.fract() == 0.0 && *x >= -I64_END && *x < I64_END => {
                Self::I64(*x as i64)
            }
            (Self::F64(x), ValueType::U64) if x.fract() == 0.0 && *x >= 0.0 && *x < U64_END => {
                Self::U64(*x as u64)
            }
            (Self::F64(x), ValueType::Bool) if *x == 0.0 || *x == 1.0 => Self::Bool(*x == 1.0),
            _ => return None,
        })
    }
}

/// Equality to the bit: NaN equals the same NaN, 0.0 is not -0.0. For dedup and tests, not for control.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::U64(a), Self::U64(b)) => a == b,
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => b.fmt(f),
            Self::I64(n) => n.fmt(f),
            Self::U64(n) => n.fmt(f),
            Self::F64(x) => x.fmt(f),
            Self::Text(t) => f.write_str(t),
            Self::Bytes(b) => b.iter().try_for_each(|b| write!(f, "{b:02x}")),
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::F64(x)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::I64(n)
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::U64(n)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::Text(s.into())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let tagged = |s: S, key: &str, text: &str| {
            let mut map = s.serialize_map(Some(1))?;
            map.serialize_entry(key, text)?;
            map.end()
        };
        match self {
            Self::Bool(b) => s.serialize_bool(*b),
            Self::I64(n) => s.serialize_i64(*n),
            Self::U64(n) => s.serialize_u64(*n),
            Self::F64(x) if x.is_nan() => tagged(s, "f64", "NaN"),
            Self::F64(x) if x.is_infinite() => {
                tagged(s, "f64", if *x > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Self::F64(x) => s.serialize_f64(*x),
            Self::Text(t) => s.serialize_str(t),
            Self::Bytes(b) => tagged(s, "bytes", &BASE64.encode(b)),
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, a number, a string, or {\"bytes\": \"<base64>\"}")
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::I64(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(i64::try_from(n).map_or(Value::U64(n), Value::I64))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Value, E> {
        Ok(Value::F64(x))
    }

    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::Text(s.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Some((key, text)) = map.next_entry::<String, String>()? else {
            return Err(de::Error::invalid_length(0, &self));
        };
        let value = match (key.as_str(), text.as_str()) {
            ("bytes", b64) => Value::Bytes(BASE64.decode(b64).map_err(de::Error::custom)?.into()),
            ("f64", "NaN") => Value::F64(f64::NAN),
            ("f64", "Infinity") => Value::F64(f64::INFINITY),
            ("f64", "-Infinity") => Value::F64(f64::NEG_INFINITY),
            _ => return Err(de::Error::custom(format_args!("`{key}: {text}` is not a value"))),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::invalid_length(2, &self));
        }
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ValueVisitor)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Value {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaType, Type};
        let plain = |t: Type| ObjectBuilder::new().schema_type(SchemaType::Type(t));
        OneOfBuilder::new()
            .item(plain(Type::Boolean))
            .item(plain(Type::Number))
            .item(plain(Type::String))
            .item(plain(Type::Object).property("bytes", plain(Type::String)).required("bytes"))
            .item(plain(Type::Object).property("f64", plain(Type::String)).required("f64"))
            .description(Some("a point's value; bytes as base64, a float that is not finite by name"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Value {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any value at all.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(Value::U64),
            any::<u64>().prop_map(|b| Value::F64(f64::from_bits(b))),
            ".{0,12}".prop_map(|s| Value::Text(s.into())),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(|b| Value::Bytes(b.into())),
        ]
    }

    proptest! {
        #[test]
        fn json_round_trip_keeps_the_number(v in any_value()) {
            let json = serde_json::to_string(&v).unwrap();
            let back: Value = serde_json::from_str(&json).unwrap();
            match (&v, &back) {
                (Value::U64(a), Value::I64(b)) => prop_assert_eq!(i128::from(*a), i128::from(*b)),
                (Value::F64(a), Value::F64(b)) if a.is_nan() => prop_assert!(b.is_nan()),
                _ => prop_assert_eq!(&v, &back),
            }
        }

        #[test]
        fn conversion_there_and_back_changes_nothing(v in any_value()) {
            for t in [ValueType::Bool, ValueType::I64, ValueType::U64, ValueType::F64] {
                if let Some(back) = v.convert(t).and_then(|w| w.convert(v.value_type())) {
                    // -0.0 becomes 0 and stays 0: the same number, another bit pattern.
                    prop_assert!(v.as_f64() == back.as_f64() || v == back, "{v:?} {t:?} {back:?}");
                }
            }
        }
    }

    #[test]
    fn a_fraction_or_an_overflow_is_never_converted() {
        assert_eq!(Value::F64(3.5).convert(ValueType::I64), None);
        assert_eq!(Value::F64(f64::NAN).convert(ValueType::I64), None);
        assert_eq!(Value::F64(1e300).convert(ValueType::U64), None);
        assert_eq!(Value::I64(-1).convert(ValueType::U64), None);
        assert_eq!(Value::F64(9_223_372_036_854_775_808.0).convert(ValueType::I64), None);
        assert_eq!(Value::I64(2).convert(ValueType::Bool), None);
    }
}
