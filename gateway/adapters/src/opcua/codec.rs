//! From a data value of a server to a sample, and to the part of an array or structure that a point is. Pure and total.

use common::{Quality, Sample, Value};
use gateway_opcua::{status, value};
use opcua::types::{Array, DataValue, DateTime, StatusCode, Variant};

use super::spec::Spec;
use crate::mqtt::believed;

/// Why a value is not the point's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is nothing of ours.
    #[error("{0}")]
    Value(#[from] value::Unreadable),
    /// It has no such element.
    #[error("it has no element [{index}]")]
    Element {
        /// Which.
        index: String,
    },
    /// It is no array.
    #[error("it is no array, and the point names an element")]
    NoArray,
    /// It has no such field, or the structure's type is not known.
    #[error("it has no field `{field}`")]
    Field {
        /// Which.
        field: String,
    },
}

/// A sample of a point, and why it has no value although the server says it has.
pub(super) fn sample(spec: &Spec, data: DataValue, now_us: i64) -> (Sample, Option<Unreadable>) {
    let told = data.status.unwrap_or(StatusCode::Good);
    spec.told(told);
    let micros = |t: &Option<DateTime>| t.as_ref().and_then(value::micros);
    let stamp = micros(&data.source_timestamp).or_else(|| micros(&data.server_timestamp));
    let is_stamped = stamp.is_some();
    let (source_us, clock) = match believed(stamp, now_us) {
        Some(us) => (us, Quality::GOOD),
        // A server without times is common; one with a wrong clock is worth a word.
        None if !is_stamped => (now_us, Quality::GOOD),
        None => (now_us, Quality::UNCERTAIN_TIME),
    };
    if let Some(us) = stamp.filter(|us| *us <= now_us) {
        spec.heard(us);
    }
    let mut quality = status::quality(told);
    let mut why = None;
    let mut found = None;
    if !quality.is_bad() {
        match pick(spec, data.value.as_ref().unwrap_or(&Variant::Empty)) {
            Ok(v) => {
                found = Some(v);
                if quality == Quality::GOOD {
                    quality = clock;
                }
            }
            Err(Unreadable::Value(value::Unreadable::Null)) => quality = Quality::BAD_NO_DATA,
            Err(error) => {
                quality = Quality::BAD_DECODE;
                why = Some(error);
            }
        }
    }
    (Sample { point: spec.id, value: found, quality, source_us, received_us: now_us }, why)
}

/// The point's part of what was read.
pub(super) fn pick(spec: &Spec, variant: &Variant) -> Result<Value, Unreadable> {
    let wanted = spec.value_type;
    if let Some(index) = spec.index() {
        let Variant::Array(array) = variant else {
            return Err(match variant {
                Variant::Empty => value::Unreadable::Null.into(),
                _ => Unreadable::NoArray,
            });
        };
        return Ok(value::value(element(array, index.as_slice())?, wanted)?);
    }
    if let Some(field) = spec.field() {
        return super::structure::field(variant, field, wanted);
    }
    Ok(value::value(variant, wanted)?)
}

/// The element of an array: of the one that was asked for alone, or of the whole from a server that knows no ranges.
fn element<'a>(array: &'a Array, index: &[u32]) -> Result<&'a Variant, Unreadable> {
    let missing = || Unreadable::Element {
        index: index.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    if let [only] = array.values.as_slice() {
        return Ok(only);
    }
    let size = |at: usize| match &array.dimensions {
        Some(dimensions) => dimensions.get(at).copied(),
        None => u32::try_from(array.values.len()).ok().filter(|_| at == 0),
    };
    let dimensions = array.dimensions.as_ref().map_or(1, Vec::len);
    if dimensions != index.len() {
        return Err(missing());
    }
    let mut flat: usize = 0;
    for (at, n) in index.iter().enumerate() {
        let size = size(at).filter(|size| n < size).ok_or_else(missing)?;
        let (size, n) = (usize::try_from(size), usize::try_from(*n));
        let (Ok(size), Ok(n)) = (size, n) else { return Err(missing()) };
        flat = flat.checked_mul(size).and_then(|f| f.checked_add(n)).ok_or_else(missing)?;
    }
    array.values.get(flat).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use opcua::types::VariantScalarTypeId;
    use proptest::prelude::*;

    use super::super::spec::Specs;
    use super::*;

    /// What a point with these keys makes of a value.
    fn sample(keys: &str, data: DataValue) -> (Sample, Option<Unreadable>) {
        super::sample(Specs::one(keys).first(), data, NOW_US)
    }

    fn array(values: &[i32], dimensions: Option<Vec<u32>>) -> Variant {
        let values = values.iter().map(|n| Variant::Int32(*n)).collect();
        Variant::Array(Box::new(Array { value_type: VariantScalarTypeId::Int32, values, dimensions }))
    }

    const NOW_US: i64 = 1_800_000_000_000_000;

    #[test]
    fn times_and_status_are_the_servers() {
        let mut data = DataValue::value_only(7i32);
        data.source_timestamp = Some(value::time(NOW_US - 5));
        data.server_timestamp = Some(value::time(NOW_US - 1));
        let (told, why) = sample("", data.clone());
        assert_eq!(
            (told.value, told.quality, told.source_us),
            (Some(Value::I64(7)), Quality::GOOD, NOW_US - 5)
        );
        assert_eq!(why, None);
        data.source_timestamp = None;
        assert_eq!(sample("", data.clone()).0.source_us, NOW_US - 1);
        data.server_timestamp = Some(value::time(NOW_US + 86_400_000_000));
        let (told, _) = sample("", data.clone());
        assert_eq!((told.quality, told.source_us), (Quality::UNCERTAIN_TIME, NOW_US));
        data.status = Some(StatusCode::BadSensorFailure);
        let specs = Specs::one("");
        let (told, _) = super::sample(specs.first(), data, NOW_US);
        assert_eq!((told.value, told.quality), (None, Quality::BAD_SENSOR));
        assert_eq!(specs.first().status(), StatusCode::BadSensorFailure);
    }

    #[test]
    fn every_status_becomes_a_quality_of_its_class_and_is_kept() {
        for bits in [
            0,
            0x0096_0000,
            0x4090_0000,
            0x4094_0000,
            0x8031_0000,
            0x8034_0000,
            0x808d_0000,
            0x0480,
            0xc123_4567,
        ] {
            let data = DataValue { status: Some(StatusCode::from(bits)), ..DataValue::value_only(1i32) };
            let specs = Specs::one("");
            let (told, _) = super::sample(specs.first(), data, NOW_US);
            assert_eq!(told.quality, status::quality(StatusCode::from(bits)), "{bits:#x}");
            assert_eq!(told.value.is_some(), bits >> 31 == 0);
            assert_eq!(specs.first().status().bits(), bits);
        }
    }

    #[test]
    fn an_element_is_found_in_the_whole_array_and_in_the_part() {
        let index = |keys: &str, v: &Variant| pick(Specs::one(keys).first(), v);
        let whole = array(&[1, 2, 3, 4, 5, 6], None);
        assert_eq!(index("index = 3", &whole), Ok(Value::I64(4)));
        assert_eq!(index("index = 3", &array(&[4], None)), Ok(Value::I64(4)));
        let matrix = array(&[1, 2, 3, 4, 5, 6], Some(vec![2, 3]));
        assert_eq!(index("index = [1, 0]", &matrix), Ok(Value::I64(4)));
        assert!(matches!(index("index = [1, 3]", &matrix), Err(Unreadable::Element { .. })));
        assert!(matches!(index("index = 3", &matrix), Err(Unreadable::Element { .. })));
        assert!(matches!(index("index = 9", &whole), Err(Unreadable::Element { .. })));
        assert_eq!(index("index = 0", &Variant::Int32(1)), Err(Unreadable::NoArray));
        assert_eq!(index("", &whole), Err(Unreadable::Value(value::Unreadable::Array)));
    }

    #[test]
    fn nothing_is_no_value() {
        let (told, why) = sample("", DataValue::null());
        assert_eq!((told.quality, told.value, why), (Quality::BAD_NO_DATA, None, None));
    }

    proptest! {
        #[test]
        fn any_index_into_any_array_is_an_element_or_none(
            len in 0usize..20,
            dimensions in prop::option::of(prop::collection::vec(any::<u32>(), 0..4)),
            index in prop::collection::vec(any::<u32>(), 1..4),
        ) {
            let values = (0..len).map(|_| Variant::Int32(1)).collect();
            let array = Array { value_type: VariantScalarTypeId::Int32, values, dimensions };
            let _ = element(&array, &index);
        }
    }
}
