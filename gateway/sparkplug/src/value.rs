//! Metric values between Sparkplug's types and ours. Total: any raw value of any type gives a value or a reason.

use common::{Value, ValueType};

use crate::proto;

/// Sparkplug's data types, by number as in the specification (6.4.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)] // the specification's own names
pub enum DataType {
    Int8 = 1,
    Int16 = 2,
    Int32 = 3,
    Int64 = 4,
    UInt8 = 5,
    UInt16 = 6,
    UInt32 = 7,
    UInt64 = 8,
    Float = 9,
    Double = 10,
    Boolean = 11,
    String = 12,
    DateTime = 13,
    Text = 14,
    Uuid = 15,
    DataSet = 16,
    Bytes = 17,
    File = 18,
    Template = 19,
}

impl DataType {
    /// By its number; none for 0, property sets, arrays and numbers that do not exist.
    pub fn from_code(code: u32) -> Option<Self> {
        const ALL: [DataType; 19] = [
            DataType::Int8,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::UInt8,
            DataType::UInt16,
            DataType::UInt32,
            DataType::UInt64,
            DataType::Float,
            DataType::Double,
            DataType::Boolean,
            DataType::String,
            DataType::DateTime,
            DataType::Text,
            DataType::Uuid,
            DataType::DataSet,
            DataType::Bytes,
            DataType::File,
            DataType::Template,
        ];
        usize::try_from(code).ok()?.checked_sub(1).and_then(|i| ALL.get(i).copied())
    }

    /// Its number.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// What we call a value of one of our types.
    pub fn of(value_type: ValueType) -> Self {
        match value_type {
            ValueType::Bool => Self::Boolean,
            ValueType::I64 => Self::Int64,
            ValueType::U64 => Self::UInt64,
            ValueType::F64 => Self::Double,
            ValueType::Text => Self::String,
            ValueType::Bytes => Self::Bytes,
        }
    }

    /// A value of ours as this type holds it; none if it does not fit. Whole numbers go into integers exactly, numbers
    /// into `Float` rounded to it.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked, or two's complement
    pub fn hold(self, value: &Value) -> Option<Raw> {
        let signed = |bits: u32| {
            let n = i64::try_from(whole(value)?).ok()?;
            let fits = bits == 64 || (-(1i64 << (bits - 1))..1i64 << (bits - 1)).contains(&n);
            fits.then_some(Raw::Integer(n as u64))
        };
        let unsigned = |bits: u32| {
            let n = u64::try_from(whole(value)?).ok()?;
            (bits == 64 || n < 1u64 << bits).then_some(Raw::Integer(n))
        };
        match (self, value) {
            (Self::Int8, _) => signed(8),
            (Self::Int16, _) => signed(16),
            (Self::Int32, _) => signed(32),
            (Self::Int64, _) => signed(64),
            (Self::UInt8, _) => unsigned(8),
            (Self::UInt16, _) => unsigned(16),
            (Self::UInt32, _) => unsigned(32),
            (Self::UInt64 | Self::DateTime, _) => unsigned(64),
            (Self::Float | Self::Double, Value::Bool(_) | Value::Text(_) | Value::Bytes(_)) => None,
            (Self::Float, value) => {
                let single = value.as_f64()? as f32;
                single.is_finite().then_some(Raw::Float(f64::from(single)))
            }
            (Self::Double, value) => value.as_f64().filter(|x| x.is_finite()).map(Raw::Float),
            (Self::Boolean, Value::Bool(b)) => Some(Raw::Boolean(*b)),
            (Self::String | Self::Text | Self::Uuid, Value::Text(t)) => Some(Raw::Text(t.to_string())),
            (Self::Bytes | Self::File, Value::Bytes(b)) => Some(Raw::Bytes(b.to_vec())),
            _ => None,
        }
    }
}

/// A whole number: an integer, or a float that is one but for what scaling leaves in its last digits.
#[allow(clippy::cast_possible_truncation)] // within 2^63
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::I64(n) => Some(i128::from(*n)),
        Value::U64(n) => Some(i128::from(*n)),
        Value::F64(x) if x.abs() < 9e15 => {
            let near = x.round();
            ((x - near).abs() <= near.abs().max(1.0) * 1e-12).then_some(near as i128)
        }
        _ => None,
    }
}

/// A metric's value as it came, before its type is known: data messages may leave the type to the birth.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// `int_value` or `long_value`
    Integer(u64),
    /// `float_value` or `double_value`
    Float(f64),
    /// `boolean_value`
    Boolean(bool),
    /// `string_value`
    Text(String),
    /// `bytes_value`
    Bytes(Vec<u8>),
    /// `dataset_value`, not read
    DataSet,
    /// `template_value`, not read
    Template,
}

/// Why a value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The metric has no value and is not null.
    #[error("no value")]
    Missing,
    /// A data set, template or array, or a type that does not exist.
    #[error("type {code} is not supported: data sets, templates and arrays are not read")]
    Type {
        /// The type's number.
        code: u32,
    },
    /// The value is none of its type.
    #[error("the value does not fit type {code}")]
    Fit {
        /// The type's number.
        code: u32,
    },
}

impl Raw {
    pub(crate) fn from_proto(value: proto::Value) -> Self {
        match value {
            proto::Value::Int(n) => Self::Integer(u64::from(n)),
            proto::Value::Long(n) => Self::Integer(n),
            proto::Value::Float(x) => Self::Float(f64::from(x)),
            proto::Value::Double(x) => Self::Float(x),
            proto::Value::Boolean(b) => Self::Boolean(b),
            proto::Value::Text(t) => Self::Text(t),
            proto::Value::Bytes(b) => Self::Bytes(b),
            proto::Value::DataSet(_) => Self::DataSet,
            proto::Value::Template(_) => Self::Template,
        }
    }

    /// As protobuf has it for a type; data sets and templates have none.
    #[allow(clippy::cast_possible_truncation)] // narrow types use the low bits
    pub(crate) fn to_proto(&self, datatype: Option<DataType>) -> Option<proto::Value> {
        Some(match self {
            // Two's complement in as many bits as the type has: some readers refuse a sign that is extended beyond.
            Self::Integer(n) => match datatype {
                Some(DataType::Int8) => proto::Value::Int(u32::from(*n as u8)),
                Some(DataType::Int16) => proto::Value::Int(u32::from(*n as u16)),
                Some(DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32) => {
                    proto::Value::Int(*n as u32)
                }
                _ => proto::Value::Long(*n),
            },
            Self::Float(x) if datatype == Some(DataType::Float) => proto::Value::Float(*x as f32),
            Self::Float(x) => proto::Value::Double(*x),
            Self::Boolean(b) => proto::Value::Boolean(*b),
            Self::Text(t) => proto::Value::Text(t.clone()),
            Self::Bytes(b) => proto::Value::Bytes(b.clone()),
            Self::DataSet | Self::Template => return None,
        })
    }

    /// One of our values.
    #[allow(clippy::cast_sign_loss)] // two's complement, as the specification has it
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Bool(b) => Self::Boolean(*b),
            Value::I64(n) => Self::Integer(*n as u64),
            Value::U64(n) => Self::Integer(*n),
            Value::F64(x) => Self::Float(*x),
            Value::Text(t) => Self::Text(t.to_string()),
            Value::Bytes(b) => Self::Bytes(b.to_vec()),
        }
    }

    /// The value as its type says; `code` none: as it came.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self, code: Option<u32>) -> Result<Value, Unreadable> {
        let (kind, code) = match code {
            None | Some(0) => (self.natural()?, 0),
            Some(code) => (DataType::from_code(code).ok_or(Unreadable::Type { code })?, code),
        };
        if matches!(kind, DataType::DataSet | DataType::Template) {
            return Err(Unreadable::Type { code: kind.code() });
        }
        self.read_as(kind).ok_or(Unreadable::Fit { code })
    }

    fn natural(&self) -> Result<DataType, Unreadable> {
        Ok(match self {
            Self::Integer(_) => DataType::UInt64,
            Self::Float(_) => DataType::Double,
            Self::Boolean(_) => DataType::Boolean,
            Self::Text(_) => DataType::String,
            Self::Bytes(_) => DataType::Bytes,
            Self::DataSet => return Err(Unreadable::Type { code: DataType::DataSet.code() }),
            Self::Template => return Err(Unreadable::Type { code: DataType::Template.code() }),
        })
    }

    fn read_as(&self, kind: DataType) -> Option<Value> {
        use DataType as T;
        Some(match (kind, self) {
            (T::Int8, Self::Integer(n)) => Value::I64(signed(*n, 8)?),
            (T::Int16, Self::Integer(n)) => Value::I64(signed(*n, 16)?),
            (T::Int32, Self::Integer(n)) => Value::I64(signed(*n, 32)?),
            (T::Int64, Self::Integer(n)) => Value::I64(signed(*n, 64)?),
            (T::UInt8, Self::Integer(n)) if *n <= u64::from(u8::MAX) => Value::U64(*n),
            (T::UInt16, Self::Integer(n)) if *n <= u64::from(u16::MAX) => Value::U64(*n),
            (T::UInt32, Self::Integer(n)) if *n <= u64::from(u32::MAX) => Value::U64(*n),
            (T::UInt64 | T::DateTime, Self::Integer(n)) => Value::U64(*n),
            (T::Float | T::Double, Self::Float(x)) => Value::F64(*x),
            (T::Boolean, Self::Boolean(b)) => Value::Bool(*b),
            (T::Boolean, Self::Integer(n @ (0 | 1))) => Value::Bool(*n == 1),
            (T::String | T::Text | T::Uuid, Self::Text(t)) => Value::Text(t.as_str().into()),
            (T::Bytes | T::File, Self::Bytes(b)) => Value::Bytes(b.as_slice().into()),
            _ => return None,
        })
    }
}

/// A signed number of `bits` from its two's complement, which senders extend to 32 or 64 bits, or not at all.
#[allow(clippy::cast_possible_wrap)]
fn signed(n: u64, bits: u32) -> Option<i64> {
    if bits == 64 {
        return Some(n as i64);
    }
    let mask = (1u64 << bits) - 1;
    let low = n & mask;
    let negative = low >> (bits - 1) == 1;
    let extended = if negative { (low | !mask) as i64 } else { low as i64 };
    let high = n & !mask;
    let plain = high == 0;
    let to_32 = negative && n == u64::from(u32::MAX) & (low | !mask);
    let to_64 = negative && high == !mask;
    (plain || to_32 || to_64).then_some(extended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_however_their_sign_was_extended() {
        for (n, code, expected) in [
            (0xff, 1, Some(-1)),
            (0xffff_ffff, 1, Some(-1)),
            (u64::MAX, 1, Some(-1)),
            (0x80, 1, Some(-128)),
            (127, 1, Some(127)),
            (300, 1, None),
            (0x8000, 2, Some(-32768)),
            (0xffff_8000, 2, Some(-32768)),
            (0x1_0000, 2, None),
            (0x8000_0000, 3, Some(i64::from(i32::MIN))),
            (u64::MAX, 3, Some(-1)),
            (u64::MAX, 4, Some(-1)),
        ] {
            let read = Raw::Integer(n).read(Some(code)).ok();
            assert_eq!(read, expected.map(Value::I64), "{n:#x} as {code}");
        }
        assert_eq!(Raw::Integer(256).read(Some(5)), Err(Unreadable::Fit { code: 5 }));
        assert_eq!(Raw::Integer(255).read(Some(5)), Ok(Value::U64(255)));
        assert_eq!(Raw::Integer(7).read(None), Ok(Value::U64(7)));
        assert_eq!(Raw::Integer(1).read(Some(11)), Ok(Value::Bool(true)));
        assert_eq!(Raw::DataSet.read(Some(16)), Err(Unreadable::Type { code: 16 }));
        assert_eq!(Raw::Template.read(None), Err(Unreadable::Type { code: 19 }));
        assert_eq!(Raw::Bytes(vec![1]).read(Some(25)), Err(Unreadable::Type { code: 25 }));
    }

    #[test]
    fn a_type_holds_what_fits_it_exactly_and_nothing_else() {
        use DataType as T;
        for (kind, value, expected) in [
            (T::Int8, Value::I64(-128), Some(Value::I64(-128))),
            (T::Int8, Value::I64(128), None),
            (T::Int16, Value::F64(-5.0), Some(Value::I64(-5))),
            // 21.5 / 0.1
            (T::UInt16, Value::F64(214.999_999_999_999_97), Some(Value::U64(215))),
            (T::UInt16, Value::F64(21.5), None),
            (T::UInt16, Value::I64(-1), None),
            (T::UInt32, Value::U64(1 << 32), None),
            (T::Int64, Value::I64(i64::MIN), Some(Value::I64(i64::MIN))),
            (T::Int64, Value::U64(u64::MAX), None),
            (T::UInt64, Value::U64(u64::MAX), Some(Value::U64(u64::MAX))),
            (T::UInt64, Value::F64(1e300), None),
            (T::Int32, Value::F64(f64::NAN), None),
            (T::Float, Value::F64(0.1), Some(Value::F64(f64::from(0.1f32)))),
            (T::Float, Value::F64(1e300), None),
            (T::Double, Value::F64(0.1), Some(Value::F64(0.1))),
            (T::Double, Value::I64(7), Some(Value::F64(7.0))),
            (T::Double, Value::Bool(true), None),
            (T::Boolean, Value::Bool(true), Some(Value::Bool(true))),
            (T::Boolean, Value::I64(1), None),
            (T::Int8, Value::Bool(true), None),
            (T::DataSet, Value::I64(1), None),
        ] {
            let held = kind.hold(&value).map(|raw| {
                let wire = raw.to_proto(Some(kind)).unwrap();
                Raw::from_proto(wire).read(Some(kind.code())).unwrap()
            });
            assert_eq!(held, expected, "{value:?} as {kind:?}");
        }
    }

    #[test]
    fn our_values_go_out_and_come_back() {
        for value in [
            Value::Bool(true),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::F64(-0.5),
            Value::from("é"),
            Value::Bytes([0, 255].as_slice().into()),
        ] {
            let kind = DataType::of(value.value_type());
            let wire = Raw::of(&value).to_proto(Some(kind)).unwrap();
            assert_eq!(Raw::from_proto(wire).read(Some(kind.code())), Ok(value));
        }
    }
}
