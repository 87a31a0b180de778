//! A payload that holds many values taken at one rate: a block of a waveform. Pure and total.

use common::wire::{MAX_BLOCK_VALUES, WaveValues, Waveform};
use common::{PointId, Quality, Value};
use gateway_core::Scale;
use serde_json::Value as Json;

use super::binary::{BinaryType, Field};
use super::codec::{Bad, Fault, NO_PLACE, Payload, SOURCE};
use super::config::{Binding, Missing, Source};
use super::time::{believed, of_json};

/// The block that a message received at `now_us` holds; none if it has none for this point and need not. Without a time of its
/// own its last value was taken just now.
pub(super) fn decode(
    payload: &mut Payload<'_>,
    (point, binding, scale): (PointId, &Binding, Scale),
    dt_ps: u64,
    now_us: i64,
) -> Result<Option<Waveform>, Bad> {
    let bad = |why: Fault| (Quality::BAD_DECODE, why);
    let (values, stamp) = match &binding.source {
        Source::Binary(field) => (binary(field, payload.bytes()).map_err(bad)?, None),
        Source::Json { pointer, timestamp, .. } => {
            let json = payload.parsed()?;
            let values = match json.pointer(pointer) {
                None if binding.missing == Missing::Ignore => return Ok(None),
                None => return Err(NO_PLACE),
                Some(Json::Null) => return Err(SOURCE),
                Some(found) => array(found).map_err(bad)?,
            };
            (values, timestamp.as_ref().map(|at| json.pointer(at).and_then(|t| of_json(t, binding.unit))))
        }
        _ => return Err(bad("the payload holds no array")),
    };
    if values.is_empty() {
        return Err(bad("the block is empty"));
    }
    if values.len() > MAX_BLOCK_VALUES {
        return Err(bad("the block has more than 4,194,304 values"));
    }
    let total = u32::try_from(values.len()).unwrap_or(u32::MAX);
    let mut wave = Waveform {
        point,
        quality: Quality::GOOD,
        t0_us: 0,
        received_us: now_us,
        dt_ps,
        first: 0,
        total,
        scale: scale.factor,
        offset: scale.offset,
        values,
    };
    let length_us = wave.time_us(total - 1);
    // Nor can the last value be of the future: at that time the point would stand still until then.
    let can_end = |t0: &i64| believed(Some(t0.saturating_add(length_us)), now_us).is_some();
    wave.t0_us = match stamp.map(|stamp| believed(stamp, now_us).filter(can_end)) {
        Some(Some(stamp)) => stamp,
        unknown => {
            if unknown.is_some() {
                wave.quality = Quality::UNCERTAIN_TIME;
            }
            now_us.saturating_sub(length_us)
        }
    };
    Ok(Some(wave))
}

/// Root mean square of a block, in the point's unit; none if that is no number.
pub(super) fn rms(wave: &Waveform) -> Option<f64> {
    let scale = Scale { factor: wave.scale, offset: wave.offset };
    let sum: f64 = wave.values.iter().map(|raw| scale.apply(raw).powi(2)).sum();
    #[allow(clippy::cast_precision_loss)]
    let rms = (sum / wave.values.len() as f64).sqrt();
    Some(rms).filter(|x| x.is_finite())
}

fn array(json: &Json) -> Result<WaveValues, Fault> {
    const NO_NUMBER: Fault = "what stands there is no array of numbers";
    let Json::Array(items) = json else { return Err(NO_NUMBER) };
    let small = items.iter().map(|n| n.as_i64().and_then(|n| i16::try_from(n).ok()));
    if let Some(values) = small.collect::<Option<Vec<i16>>>() {
        return Ok(WaveValues::I16(values));
    }
    let numbers = items.iter().map(|n| n.as_f64().filter(|x| x.is_finite()).ok_or(NO_NUMBER));
    numbers.collect::<Result<_, _>>().map(WaveValues::F64)
}

#[allow(clippy::cast_possible_truncation)] // the type has only so many bits
fn binary(field: &Field, payload: &[u8]) -> Result<WaveValues, Fault> {
    let size = field.kind.size().ok_or("the type is no number")?;
    let bytes = payload.get(field.offset..).ok_or("the payload is too short")?;
    if !bytes.len().is_multiple_of(size) {
        return Err("the payload ends within a value");
    }
    let value = |bytes: &[u8]| Field { offset: 0, ..*field }.read(bytes);
    let all = bytes.chunks_exact(size).map(value);
    let small = |v: Value| v.as_f64().unwrap_or(0.0) as i16;
    let finite = |v: Value| v.as_f64().filter(|x| x.is_finite()).ok_or("a value is not finite");
    Ok(match field.kind {
        BinaryType::I8 | BinaryType::U8 | BinaryType::I16 => {
            WaveValues::I16(all.map(|v| v.map(small)).collect::<Result<_, _>>()?)
        }
        BinaryType::F32 => {
            let single = |v: Value| finite(v).map(|x| x as f32);
            WaveValues::F32(all.map(|v| v.and_then(single)).collect::<Result<_, _>>()?)
        }
        _ => WaveValues::F64(all.map(|v| v.and_then(finite)).collect::<Result<_, _>>()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mqtt::{DeviceConfig, PointConfig};

    const NOW: i64 = 1_800_000_000_000_000;

    fn binding(point: &str) -> Binding {
        let point: PointConfig = toml::from_str(point).unwrap();
        point.bind(&DeviceConfig::default(), "d", "p").unwrap()
    }

    fn read_if_there(point: &str, payload: &[u8]) -> Result<Option<Waveform>, Bad> {
        let binding = binding(point);
        let dt_ps = binding.dt_ps.unwrap();
        let of = (PointId(3), &binding, Scale { factor: 0.5, offset: 1.0 });
        decode(&mut Payload::new(payload), of, dt_ps, NOW)
    }

    fn read(point: &str, payload: &[u8]) -> Result<Waveform, Bad> {
        read_if_there(point, payload).map(Option::unwrap)
    }

    const JSON: &str =
        "topic = 'v'\npointer = '/a'\ntimestamp = '/t'\ntimestamp_unit = 'us'\nrate_hz = 25600";

    #[test]
    fn an_array_of_small_integers_stays_one() {
        let wave = read(JSON, format!("{{\"t\":{},\"a\":[1,-2,32767]}}", NOW - 500).as_bytes()).unwrap();
        assert_eq!((wave.t0_us, wave.dt_ps, wave.total, wave.first), (NOW - 500, 39_062_500, 3, 0));
        assert_eq!(wave.values, WaveValues::I16(vec![1, -2, 32767]));
        assert_eq!((wave.scale, wave.offset, wave.quality), (0.5, 1.0, Quality::GOOD));
        assert_eq!(read(JSON, b"{\"a\":[1.5,2]}").unwrap().values, WaveValues::F64(vec![1.5, 2.0]));
        assert_eq!(read(JSON, b"{\"a\":[40000]}").unwrap().values, WaveValues::F64(vec![40_000.0]));
    }

    #[test]
    fn without_a_time_the_last_value_was_taken_now() {
        let point = "topic = 'v'\ntype = 'i16'\norder = 'dcba'\nrate_hz = 1000";
        let wave = read(point, &[1, 0, 0xff, 0xff, 0, 0x80]).unwrap();
        assert_eq!(wave.values, WaveValues::I16(vec![1, -1, i16::MIN]));
        assert_eq!((wave.t0_us, wave.quality), (NOW - 2_000, Quality::GOOD));
        // A time that cannot be read makes all times doubtful.
        let wave = read(JSON, b"{\"a\":[1]}").unwrap();
        assert_eq!((wave.t0_us, wave.quality), (NOW, Quality::UNCERTAIN_TIME));
        // So does a rate by which the last value is of tomorrow.
        let slow = JSON.replace("25600", "0.001");
        let wave = read(&slow, format!("{{\"t\":{NOW},\"a\":{:?}}}", [1; 101]).as_bytes()).unwrap();
        assert_eq!((wave.times_us().1, wave.quality), (NOW, Quality::UNCERTAIN_TIME));
    }

    #[test]
    fn a_message_without_the_array_is_bad_or_nothing_as_the_point_says() {
        let other = b"{\"b\":[1]}";
        assert_eq!(read(JSON, other), Err(NO_PLACE));
        assert_eq!(read_if_there(&format!("{JSON}\nmissing = 'ignore'"), other), Ok(None));
        assert_eq!(read(JSON, b"{\"a\":null}"), Err(SOURCE));
    }

    #[test]
    fn floats_keep_their_width() {
        let point = "topic = 'v'\ntype = 'f32'\noffset = 4\nrate_hz = 1000";
        let payload = [&[9; 4][..], &1.25f32.to_be_bytes(), &(-3.5f32).to_be_bytes()].concat();
        assert_eq!(read(point, &payload).unwrap().values, WaveValues::F32(vec![1.25, -3.5]));
        assert!(read(point, &f32::NAN.to_be_bytes()).is_err());
    }

    #[test]
    fn the_root_mean_square_is_of_engineering_values() {
        let wave = read(JSON, b"{\"a\":[4,-8]}").unwrap();
        // 3 and -3
        assert_eq!(rms(&wave), Some(3.0));
    }

    #[test]
    fn what_is_no_block_says_why() {
        for payload in ["", "{}", "{\"a\":1}", "{\"a\":[]}", "{\"a\":[1,\"x\"]}", "{\"a\":[null]}"] {
            assert!(read(JSON, payload.as_bytes()).is_err(), "{payload}");
        }
        let point = "topic = 'v'\ntype = 'i16'\nrate_hz = 1000";
        assert!(read(point, &[1, 2, 3]).is_err() && read(point, &[]).is_err());
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_if_there(JSON, &bytes);
            for kind in ["u8", "i16", "u32", "i64", "f32", "f64"] {
                let _ = read_if_there(&format!("topic = 'v'\ntype = '{kind}'\noffset = 1\nrate_hz = 0.5"), &bytes);
            }
        }
    }
}
