//! How a point is typed: which variable type, which data type, which properties.

use common::{Access, PointSchema, Value, ValueType};
use opcua::types::{DataTypeId, EnumValueType, LocalizedText, NodeId, Range, VariableTypeId, Variant};

use super::node::Property;
use super::units;

/// What kind of variable a point is (part 8, 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A number with a range, and perhaps a unit.
    Analog,
    /// A number with a unit and no range.
    Unit,
    TwoState,
    /// Labels from 0 on without gaps.
    MultiState,
    /// Any labels.
    MultiStateValue,
    Plain,
}

impl Kind {
    pub(crate) fn of(point: &PointSchema) -> Self {
        let is_whole = matches!(point.value_type, ValueType::I64 | ValueType::U64);
        let is_number = is_whole || point.value_type == ValueType::F64;
        if point.value_type == ValueType::Bool && label(point, 0).is_some() && label(point, 1).is_some() {
            Self::TwoState
        } else if is_whole && !point.labels.is_empty() {
            if (0..).zip(&point.labels).all(|(n, l)| l.value == n) {
                Self::MultiState
            } else {
                Self::MultiStateValue
            }
        } else if is_number && range(point).is_some() {
            Self::Analog
        } else if is_number && !point.unit.is_empty() {
            Self::Unit
        } else {
            Self::Plain
        }
    }

    pub(crate) fn type_definition(self, point: &PointSchema) -> NodeId {
        match self {
            Self::Analog if point.unit.is_empty() => VariableTypeId::AnalogItemType,
            Self::Analog => VariableTypeId::AnalogUnitRangeType,
            Self::Unit => VariableTypeId::AnalogUnitType,
            Self::TwoState => VariableTypeId::TwoStateDiscreteType,
            Self::MultiState => VariableTypeId::MultiStateDiscreteType,
            Self::MultiStateValue => VariableTypeId::MultiStateValueDiscreteType,
            Self::Plain => VariableTypeId::BaseDataVariableType,
        }
        .into()
    }

    pub(crate) fn properties(self, point: &PointSchema) -> &'static [Property] {
        use Property::{
            EngineeringUnits, EnumStrings, EnumValues, EuRange, FalseState, TrueState, ValueAsText,
        };
        match self {
            Self::Analog if point.unit.is_empty() => &[EuRange],
            Self::Analog => &[EuRange, EngineeringUnits],
            Self::Unit => &[EngineeringUnits],
            Self::TwoState => &[TrueState, FalseState],
            Self::MultiState => &[EnumStrings],
            Self::MultiStateValue => &[EnumValues, ValueAsText],
            Self::Plain => &[],
        }
    }
}

/// The engineering range; of a point that has none but limits, the limits.
pub(crate) fn range(point: &PointSchema) -> Option<(f64, f64)> {
    let pair = |low: Option<f64>, high: Option<f64>| low.zip(high).filter(|(low, high)| low < high);
    pair(point.range_min, point.range_max).or_else(|| pair(point.write_min, point.write_max))
}

fn label(point: &PointSchema, value: i64) -> Option<&str> {
    point.labels.iter().find(|l| l.value == value).map(|l| l.text.as_str())
}

pub(crate) fn data_type(value_type: ValueType) -> DataTypeId {
    match value_type {
        ValueType::Bool => DataTypeId::Boolean,
        ValueType::I64 => DataTypeId::Int64,
        ValueType::U64 => DataTypeId::UInt64,
        ValueType::F64 => DataTypeId::Double,
        ValueType::Text => DataTypeId::String,
        ValueType::Bytes => DataTypeId::ByteString,
    }
}

/// Access level bits (part 3, 8.57).
pub(crate) const READ: u8 = 1;
pub(crate) const WRITE: u8 = 2;
pub(crate) const HISTORY_READ: u8 = 4;

/// What the point allows, whoever asks.
pub(crate) fn access_level(point: &PointSchema) -> u8 {
    match point.access {
        Access::Read => READ | HISTORY_READ,
        Access::ReadWrite => READ | WRITE | HISTORY_READ,
        Access::Write => WRITE,
    }
}

/// A value as it goes out: of exactly the point's type.
pub(crate) fn variant(value: &Value) -> Variant {
    match value {
        Value::Bool(b) => Variant::Boolean(*b),
        Value::I64(n) => Variant::Int64(*n),
        Value::U64(n) => Variant::UInt64(*n),
        Value::F64(x) => Variant::Double(*x),
        Value::Text(t) => Variant::String((&**t).into()),
        Value::Bytes(b) => Variant::ByteString(b.to_vec().into()),
    }
}

/// A written value; none if it is not of exactly the point's type (part 4, 5.11.4).
pub(crate) fn written(variant: &Variant, wanted: ValueType) -> Option<Value> {
    Some(match (variant, wanted) {
        (Variant::Boolean(b), ValueType::Bool) => Value::Bool(*b),
        (Variant::Int64(n), ValueType::I64) => Value::I64(*n),
        (Variant::UInt64(n), ValueType::U64) => Value::U64(*n),
        (Variant::Double(x), ValueType::F64) => Value::F64(*x),
        (Variant::String(s), ValueType::Text) => Value::Text(s.value().as_deref()?.into()),
        (Variant::ByteString(b), ValueType::Bytes) => Value::Bytes(b.value.as_deref()?.into()),
        _ => return None,
    })
}

/// What a property says; `ValueAsText` says nothing here.
pub(crate) fn property(point: &PointSchema, property: Property, own_namespace: &str) -> Option<Variant> {
    let text = |t: &str| LocalizedText::new("", t);
    Some(match property {
        Property::EuRange => {
            let (low, high) = range(point)?;
            Variant::from(Range { low, high })
        }
        Property::EngineeringUnits => Variant::from(units::information(&point.unit, own_namespace)),
        Property::TrueState => Variant::from(text(label(point, 1)?)),
        Property::FalseState => Variant::from(text(label(point, 0)?)),
        Property::EnumStrings => {
            Variant::from(point.labels.iter().map(|l| text(&l.text)).collect::<Vec<_>>())
        }
        Property::EnumValues => {
            let one = |l: &common::schema::Label| EnumValueType {
                value: l.value,
                display_name: text(&l.text),
                description: text(&l.text),
            };
            Variant::from(point.labels.iter().map(one).collect::<Vec<_>>())
        }
        Property::ValueAsText => return None,
    })
}

/// Data type and value rank of a property.
pub(crate) fn property_type(property: Property) -> (DataTypeId, i32) {
    match property {
        Property::EuRange => (DataTypeId::Range, -1),
        Property::EngineeringUnits => (DataTypeId::EUInformation, -1),
        Property::TrueState | Property::FalseState | Property::ValueAsText => (DataTypeId::LocalizedText, -1),
        Property::EnumStrings => (DataTypeId::LocalizedText, 1),
        Property::EnumValues => (DataTypeId::EnumValueType, 1),
    }
}
