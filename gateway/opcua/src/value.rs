//! Values of OPC UA and ours. What is read keeps every digit; what is written is exactly of the node's type, or is
//! refused. Pure and total.

use common::{Value, ValueType};
use opcua::types::{ByteString, DateTime, UAString, Variant, VariantScalarTypeId as Scalar};

/// Ticks of 100 ns from 1601, where times of OPC UA begin, to 1970.
const TICKS_TO_1970: i64 = 116_444_736_000_000_000;
/// Where times of OPC UA begin, and the end of the year 9999, where they end; us since 1970.
const FIRST_US: i64 = -TICKS_TO_1970 / 10;
const LAST_US: i64 = 253_402_300_799_000_000;

/// Why a variant is no value of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is no value.
    #[error("it has no value")]
    Null,
    /// An array needs an index.
    #[error("it is an array: name one of its elements")]
    Array,
    /// A structure needs a field.
    #[error("it is a structure: name one of its fields")]
    Structure,
}

/// Why a value cannot be written as a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The type cannot hold it.
    #[error("{value} does not fit {scalar}")]
    Range {
        /// What was to be written.
        value: String,
        /// The node's type.
        scalar: String,
    },
    /// Values of the type are not written.
    #[error("a node of type {0} is not written")]
    Unsupported(String),
}

/// The value of a scalar. `wanted` is the point's type: a time is text (RFC 3339) for a text point, else us since 1970.
///
/// # Errors
/// When it is no scalar, or there is none.
pub fn value(variant: &Variant, wanted: ValueType) -> Result<Value, Unreadable> {
    let text = |s: &UAString| s.value().as_deref().map(Value::from).ok_or(Unreadable::Null);
    Ok(match variant {
        Variant::Empty => return Err(Unreadable::Null),
        Variant::Boolean(b) => Value::Bool(*b),
        Variant::SByte(n) => Value::I64((*n).into()),
        Variant::Byte(n) => Value::U64((*n).into()),
        Variant::Int16(n) => Value::I64((*n).into()),
        Variant::UInt16(n) => Value::U64((*n).into()),
        Variant::Int32(n) => Value::I64((*n).into()),
        Variant::UInt32(n) => Value::U64((*n).into()),
        Variant::Int64(n) => Value::I64(*n),
        Variant::UInt64(n) => Value::U64(*n),
        Variant::Float(x) => Value::F64((*x).into()),
        Variant::Double(x) => Value::F64(*x),
        Variant::String(s) => text(s)?,
        Variant::DateTime(t) if wanted == ValueType::Text => Value::Text(t.to_string().into()),
        Variant::DateTime(t) => Value::I64(micros(t).ok_or(Unreadable::Null)?),
        Variant::Guid(g) => Value::Text(g.to_string().into()),
        Variant::StatusCode(s) if wanted == ValueType::Text => Value::Text(s.to_string().into()),
        Variant::StatusCode(s) => Value::U64(s.bits().into()),
        Variant::ByteString(b) => Value::Bytes(b.value.as_deref().ok_or(Unreadable::Null)?.into()),
        Variant::XmlElement(x) => Value::Text(x.to_string().into()),
        Variant::QualifiedName(q) => text(&q.name)?,
        Variant::LocalizedText(t) => text(&t.text)?,
        Variant::NodeId(n) => Value::Text(n.to_string().into()),
        Variant::ExpandedNodeId(n) => Value::Text(n.to_string().into()),
        Variant::ExtensionObject(_) | Variant::DiagnosticInfo(_) => return Err(Unreadable::Structure),
        // Part 6 allows no variant in a variant outside of an array.
        Variant::Variant(_) | Variant::DataValue(_) => return Err(Unreadable::Structure),
        Variant::Array(_) => return Err(Unreadable::Array),
    })
}

/// The variant of exactly this type. A float is rounded to 32 bits where the node has no more.
///
/// # Errors
/// When the type cannot hold the value, or is not written.
#[allow(clippy::cast_possible_truncation)] // what is beyond a float's range was refused
pub fn variant(value: &Value, scalar: Scalar) -> Result<Variant, Unfit> {
    let unfit = || Unfit::Range { value: value.to_string(), scalar: scalar.to_string() };
    let signed = || match value.convert(ValueType::I64) {
        Some(Value::I64(n)) => Ok(n),
        _ => Err(unfit()),
    };
    let unsigned = || match value.convert(ValueType::U64) {
        Some(Value::U64(n)) => Ok(n),
        _ => Err(unfit()),
    };
    let float = || match value.convert(ValueType::F64) {
        Some(Value::F64(x)) => Ok(x),
        _ => Err(unfit()),
    };
    let text = || if let Value::Text(t) = value { Ok(UAString::from(&**t)) } else { Err(unfit()) };
    Ok(match scalar {
        Scalar::Boolean => match value.convert(ValueType::Bool) {
            Some(Value::Bool(b)) => Variant::Boolean(b),
            _ => return Err(unfit()),
        },
        Scalar::SByte => Variant::SByte(signed()?.try_into().map_err(|_| unfit())?),
        Scalar::Int16 => Variant::Int16(signed()?.try_into().map_err(|_| unfit())?),
        Scalar::Int32 => Variant::Int32(signed()?.try_into().map_err(|_| unfit())?),
        Scalar::Int64 => Variant::Int64(signed()?),
        Scalar::Byte => Variant::Byte(unsigned()?.try_into().map_err(|_| unfit())?),
        Scalar::UInt16 => Variant::UInt16(unsigned()?.try_into().map_err(|_| unfit())?),
        Scalar::UInt32 => Variant::UInt32(unsigned()?.try_into().map_err(|_| unfit())?),
        Scalar::UInt64 => Variant::UInt64(unsigned()?),
        Scalar::Float => {
            let x = float()?;
            if x.is_finite() && !(x as f32).is_finite() {
                return Err(unfit());
            }
            Variant::Float(x as f32)
        }
        Scalar::Double => Variant::Double(float()?),
        Scalar::String => Variant::String(text()?),
        Scalar::LocalizedText => Variant::LocalizedText(Box::new((&*text()?.to_string()).into())),
        Scalar::ByteString => match value {
            Value::Bytes(b) => Variant::ByteString(ByteString::from(b.to_vec())),
            _ => return Err(unfit()),
        },
        Scalar::DateTime => match value {
            Value::Text(t) => {
                let time = DateTime::parse_from_rfc3339(t).map_err(|_| unfit())?;
                Variant::DateTime(Box::new(time))
            }
            _ => Variant::DateTime(Box::new(time(signed()?))),
        },
        other => return Err(Unfit::Unsupported(other.to_string())),
    })
}

/// The type of ours that values of a type come as; none for what is no scalar of ours.
pub fn value_type(scalar: Scalar) -> Option<ValueType> {
    Some(match scalar {
        Scalar::Boolean => ValueType::Bool,
        Scalar::SByte | Scalar::Int16 | Scalar::Int32 | Scalar::Int64 => ValueType::I64,
        Scalar::Byte | Scalar::UInt16 | Scalar::UInt32 | Scalar::UInt64 | Scalar::StatusCode => {
            ValueType::U64
        }
        Scalar::Float | Scalar::Double => ValueType::F64,
        Scalar::ByteString => ValueType::Bytes,
        Scalar::String
        | Scalar::DateTime
        | Scalar::Guid
        | Scalar::XmlElement
        | Scalar::QualifiedName
        | Scalar::LocalizedText
        | Scalar::NodeId
        | Scalar::ExpandedNodeId => ValueType::Text,
        _ => return None,
    })
}

/// A time as us since 1970; none if it says that there is none.
pub fn micros(time: &DateTime) -> Option<i64> {
    // Not by its ticks, for which the crate computes with calendars several times over.
    let us = time.as_chrono().timestamp_micros();
    // 0 and the largest number mean "none" and "for ever" (part 6, 5.2.2.5).
    (FIRST_US < us && us < LAST_US).then_some(us)
}

/// A time from us since 1970. What OPC UA cannot say is the nearest that it can.
pub fn time(us: i64) -> DateTime {
    DateTime::from(us.saturating_mul(10).saturating_add(TICKS_TO_1970).clamp(0, DateTime::endtimes_ticks()))
}

#[cfg(test)]
mod tests {
    use opcua::types::Array;
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(Value::U64),
            any::<f64>().prop_map(Value::F64),
            ".{0,20}".prop_map(|t| Value::Text(t.into())),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|b| Value::Bytes(b.into())),
        ]
    }

    const SCALARS: [Scalar; 15] = [
        Scalar::Boolean,
        Scalar::SByte,
        Scalar::Byte,
        Scalar::Int16,
        Scalar::UInt16,
        Scalar::Int32,
        Scalar::UInt32,
        Scalar::Int64,
        Scalar::UInt64,
        Scalar::Float,
        Scalar::Double,
        Scalar::String,
        Scalar::LocalizedText,
        Scalar::ByteString,
        Scalar::DateTime,
    ];

    #[test]
    fn what_is_no_scalar_says_what_is_missing() {
        assert_eq!(value(&Variant::Empty, ValueType::F64), Err(Unreadable::Null));
        let array = Array::new(Scalar::Int32, vec![Variant::Int32(1)]).unwrap();
        assert_eq!(value(&Variant::Array(Box::new(array)), ValueType::I64), Err(Unreadable::Array));
        assert_eq!(value(&Variant::String(UAString::null()), ValueType::Text), Err(Unreadable::Null));
    }

    #[test]
    fn a_time_is_text_or_a_number_as_the_point_wants() {
        let at = Variant::DateTime(Box::new(time(1_000_001)));
        assert_eq!(value(&at, ValueType::I64), Ok(Value::I64(1_000_001)));
        let text = value(&at, ValueType::Text).unwrap().to_string();
        assert_eq!(text, "1970-01-01T00:00:01.000001+00:00");
        assert_eq!(variant(&Value::Text(text.as_str().into()), Scalar::DateTime), Ok(at));
        for none in [0, i64::MAX] {
            let none = Variant::DateTime(Box::new(DateTime::from(none)));
            assert_eq!(value(&none, ValueType::I64), Err(Unreadable::Null));
        }
    }

    #[test]
    fn nothing_is_bent_to_fit() {
        for (v, scalar) in [
            (Value::I64(128), Scalar::SByte),
            (Value::I64(-1), Scalar::Byte),
            (Value::F64(1.5), Scalar::Int32),
            (Value::F64(1e39), Scalar::Float),
            (Value::Bool(true), Scalar::String),
            (Value::Text("1".into()), Scalar::Double),
            (Value::I64(2), Scalar::Boolean),
        ] {
            assert!(matches!(variant(&v, scalar), Err(Unfit::Range { .. })), "{v:?} as {scalar}");
        }
        assert!(matches!(variant(&Value::I64(1), Scalar::ExtensionObject), Err(Unfit::Unsupported(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_as_what_it_was(v in values(), at in 0..SCALARS.len()) {
            let scalar = SCALARS[at];
            let Ok(written) = variant(&v, scalar) else { return Ok(()) };
            prop_assert_eq!(written.scalar_type_id(), Some(scalar));
            let wanted = if scalar == Scalar::DateTime { v.value_type() } else { value_type(scalar).unwrap() };
            match (value(&written, wanted), &v) {
                (Ok(Value::F64(read)), Value::F64(x)) if scalar == Scalar::Float => {
                    prop_assert!(x.is_nan() && read.is_nan() || (read - x).abs() <= x.abs() * f64::from(f32::EPSILON) + 1e-45);
                }
                (Ok(Value::F64(read)), _) => prop_assert_eq!(Some(read.to_bits()), v.as_f64().map(f64::to_bits)),
                // Times beyond what OPC UA knows are its ends.
                (_, _) if scalar == Scalar::DateTime => {}
                (Ok(read), v) => prop_assert_eq!(Some(read), v.convert(wanted)),
                (Err(why), _) => prop_assert!(false, "{}", why),
            }
        }

        #[test]
        fn times_come_back_to_the_microsecond(us in 0..253_402_300_799_000_000i64) {
            prop_assert_eq!(micros(&time(us)), Some(us));
        }

        #[test]
        fn any_time_is_one(us in any::<i64>()) {
            let _ = micros(&time(us));
        }

        #[test]
        fn any_ticks_are_a_time_or_none(ticks in prop_oneof![any::<i64>(), 0..=DateTime::endtimes_ticks()]) {
            let us = micros(&DateTime::from(ticks));
            let exact = (i128::from(ticks) - i128::from(TICKS_TO_1970)).div_euclid(10);
            let is_time = (i128::from(FIRST_US) + 2..i128::from(LAST_US) - 1).contains(&exact);
            prop_assert!(us.is_some() || !is_time, "{ticks}");
            prop_assert!(us.is_none_or(|us| (i128::from(us) - exact).abs() <= 1), "{us:?}");
        }
    }
}
