//! What may be written to a point, and whether what was read back is what was written. Pure.

use common::names::Code;
use common::{Value, ValueType};
use gateway_core::Point;

/// A refusal: stable code, and a sentence with values and limits.
pub(crate) type Refused = (Code, String);

/// The value in the point's type, and raw.
pub(crate) fn check(point: &Point, value: &Value) -> Result<(Value, Value), Refused> {
    let schema = &point.schema;
    if !schema.access.is_writable() {
        return Err((Code::NotWritable, "the point is read only".to_owned()));
    }
    let (Some(min), Some(max)) = (schema.write_min, schema.write_max) else {
        return Err((Code::NotWritable, "the point has no limits for writing".to_owned()));
    };
    let Some(value) = value.convert(schema.value_type) else {
        return Err((
            Code::TypeMismatch,
            format!("{value} does not fit type {}", type_name(schema.value_type)),
        ));
    };
    let Some(x) = value.as_f64() else {
        return Err((Code::TypeMismatch, "text and bytes have no limits and are not written".to_owned()));
    };
    if !x.is_finite() {
        return Err((Code::OutOfLimits, format!("{value} is not a finite number")));
    }
    if !within(&value, min, max) {
        return Err((
            Code::OutOfLimits,
            format!("{value} is not within {min} to {max} {}", schema.unit).trim_end().to_owned(),
        ));
    }
    let Some(raw) = point.to_raw(&value) else {
        return Err((
            Code::OutOfRawLimits,
            format!("the register holds {} to {}, {value} does not fit", point.raw.min, point.raw.max),
        ));
    };
    // Rounding to the register's type may step over a limit that the asked value keeps.
    let (a, b) = (point.scale.invert(min), point.scale.invert(max));
    let (low, high) = (a.min(b), a.max(b));
    let slack = |limit: f64| limit.abs().max(1.0) * 1e-9;
    match raw.as_f64() {
        Some(r) if r >= low - slack(low) && r <= high + slack(high) => Ok((value, raw)),
        _ => Err((Code::OutOfRawLimits, format!("raw {raw} is not within {low} to {high}"))),
    }
}

/// Exact for integers, which a float may round onto the limit.
#[allow(clippy::cast_possible_truncation)] // saturates, which is right for a limit
fn within(value: &Value, min: f64, max: f64) -> bool {
    let whole = |n: i128| n >= min.ceil() as i128 && n <= max.floor() as i128;
    match *value {
        Value::I64(n) => whole(i128::from(n)),
        Value::U64(n) => whole(i128::from(n)),
        _ => value.as_f64().is_some_and(|x| x >= min && x <= max),
    }
}

fn type_name(t: ValueType) -> &'static str {
    match t {
        ValueType::Bool => "bool",
        ValueType::I64 => "i64",
        ValueType::U64 => "u64",
        ValueType::F64 => "f64",
        ValueType::Text => "text",
        ValueType::Bytes => "bytes",
    }
}

/// What a device that did as asked shows: the engineering value of the raw one that was written.
pub(crate) fn expected(point: &Point, raw: &Value, asked: &Value) -> Value {
    point.to_engineering(raw).unwrap_or_else(|| asked.clone())
}

/// Whether two engineering values of a point are the same within its tolerance. A float register may be of
/// 32 bits: the last digits of what stands there, before it is scaled, do not count.
pub(crate) fn same(point: &Point, a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return false };
    let float = point.raw.value_type == ValueType::F64;
    let raw = |x: f64| point.scale.invert(x).abs();
    let slack =
        if float { raw(a).max(raw(b)) * point.scale.factor.abs() * f64::from(f32::EPSILON) } else { 0.0 };
    (a - b).abs() <= point.read_back_tolerance + slack
}

#[cfg(test)]
mod tests {
    use gateway_core::{PointDefinition, RawRange, Scale};

    use super::*;
    use crate::tests::rig::{SETPOINT, registry};

    fn point(factor: f64, offset: f64) -> Point {
        let registry = registry();
        let setpoint = registry.point(SETPOINT).unwrap();
        let mut told = setpoint.schema.clone();
        (told.write_min, told.write_max) = (Some(-200.0), Some(200.0));
        let raw = RawRange { value_type: ValueType::F64, min: -1e30, max: 1e30 };
        let mut made = PointDefinition::new(told, raw);
        made.scale = Scale { factor, offset };
        made.at(SETPOINT, 0)
    }

    #[test]
    fn a_float_of_32_bits_is_read_back_as_written_at_tolerance_0_whatever_the_scale() {
        for (factor, offset) in [(1.0, 0.0), (1.0, -273.15), (0.01, 0.0), (-2.5, 1000.0), (1000.0, 0.0)] {
            let point = point(factor, offset);
            for tenths in -2000..=2000 {
                let asked = Value::F64(f64::from(tenths) / 10.0);
                let (value, raw) = check(&point, &asked).unwrap();
                #[allow(clippy::cast_possible_truncation)] // what the register does
                let single = f64::from(raw.as_f64().unwrap() as f32);
                let read = point.to_engineering(&Value::F64(single)).unwrap();
                let wanted = expected(&point, &raw, &value);
                assert!(
                    same(&point, &wanted, &read),
                    "{wanted} was written, {read} read at {factor} {offset}"
                );
                let other = Value::F64(wanted.as_f64().unwrap() + 0.05);
                assert!(!same(&point, &wanted, &other), "{wanted} is not {other}");
            }
        }
    }
}
