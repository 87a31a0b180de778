//! What the cloud refuses before a gateway is asked: the gateway checks again and has the last word, with
//! its raw units, interlocks and switch.

use common::api::Problem;
use common::names::Code;
use common::{PointSchema, Value, ValueType};

/// The value as the point's type, if the point may be written and the value lies in its limits.
pub(crate) fn check_write(point: &PointSchema, value: &Value) -> Result<Value, Problem> {
    let name = &point.name;
    if !point.access.is_writable() {
        return Err(Problem::new(Code::NotWritable, format!("the point {name} is read only")));
    }
    let converted = value.convert(point.value_type).ok_or_else(|| {
        let expected = match point.value_type {
            ValueType::Bool => "true or false",
            ValueType::I64 => "a whole number",
            ValueType::U64 => "a whole number that is not negative",
            ValueType::F64 => "a number",
            ValueType::Text => "text",
            ValueType::Bytes => "bytes",
        };
        Problem::new(Code::TypeMismatch, format!("the point {name} takes {expected}"))
    })?;
    let limits = (point.write_min, point.write_max);
    let number = match converted {
        Value::Text(_) | Value::Bytes(_) => return Ok(converted),
        Value::Bool(_) if limits == (None, None) => return Ok(converted),
        _ => converted.as_f64().unwrap_or(f64::NAN),
    };
    let (Some(min), Some(max)) = limits else {
        return Err(Problem::new(Code::NotWritable, format!("the point {name} has no limits for writing")));
    };
    if !number.is_finite() || number < min || number > max {
        let unit = if point.unit.is_empty() { String::new() } else { format!(" {}", point.unit) };
        return Err(Problem::new(
            Code::OutOfLimits,
            format!("{name} = {number}{unit} is beyond its limits {min} to {max}{unit}"),
        ));
    }
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use common::{Access, PointKind};

    use super::*;

    fn point(value_type: ValueType, access: Access, limits: Option<(f64, f64)>) -> PointSchema {
        PointKind {
            unit: "degC".into(),
            access,
            write_min: limits.map(|l| l.0),
            write_max: limits.map(|l| l.1),
            stale_ms: 1000,
            ..PointKind::new(value_type)
        }
        .named("p")
    }

    fn code(point: &PointSchema, value: impl Into<Option<Value>>) -> Option<Code> {
        check_write(point, &value.into().unwrap()).err().map(|p| p.code)
    }

    #[test]
    fn limits_hold_at_their_ends_and_nan_is_beyond_all() {
        let p = point(ValueType::F64, Access::ReadWrite, Some((10.0, 20.0)));
        for good in [10.0, 15.5, 20.0] {
            assert_eq!(code(&p, Value::F64(good)), None);
        }
        for bad in [9.999, 20.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(code(&p, Value::F64(bad)), Some(Code::OutOfLimits), "{bad}");
        }
        assert_eq!(check_write(&p, &Value::I64(12)).unwrap(), Value::F64(12.0));
        assert_eq!(code(&p, Value::Text("15".into())), Some(Code::TypeMismatch));
    }

    #[test]
    fn no_limits_means_not_writable_except_for_what_has_none() {
        assert_eq!(
            code(&point(ValueType::F64, Access::ReadWrite, None), Value::F64(1.0)),
            Some(Code::NotWritable)
        );
        assert_eq!(
            code(&point(ValueType::F64, Access::Read, Some((0.0, 9.0))), Value::F64(1.0)),
            Some(Code::NotWritable)
        );
        assert_eq!(code(&point(ValueType::Bool, Access::ReadWrite, None), Value::Bool(true)), None);
        assert_eq!(
            code(&point(ValueType::Bool, Access::ReadWrite, Some((0.0, 0.0))), Value::Bool(true)),
            Some(Code::OutOfLimits)
        );
        assert_eq!(
            code(&point(ValueType::I64, Access::Write, Some((0.0, 9.0))), Value::F64(1.5)),
            Some(Code::TypeMismatch)
        );
    }
}
