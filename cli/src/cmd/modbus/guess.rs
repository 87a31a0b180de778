//! What registers could hold: every type and order read from the same samples, and how plausible each is. Pure. A guess
//! is for people: it is shown with its values and reasons, and nothing is configured by it.

use common::Value;
use gateway_modbus::value::{Format, Order, RawType};
use serde::Serialize;

/// One way to read the registers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cmd) struct Candidate {
    /// Type.
    #[serde(rename = "type")]
    pub(in crate::cmd) raw_type: &'static str,
    /// Order of its bytes.
    pub(in crate::cmd) order: &'static str,
    /// Registers that it takes.
    pub(in crate::cmd) registers: u16,
    /// What the samples are, read so.
    pub(in crate::cmd) values: Vec<Value>,
    /// From 0 to 1.
    pub(in crate::cmd) plausibility: f64,
    /// What speaks for it and against it.
    pub(in crate::cmd) reasons: Vec<String>,
}

/// All candidates, the most plausible first. `samples` are the bytes of the same registers, read one after the other.
pub(in crate::cmd) fn candidates(samples: &[Vec<u8>], expect: Option<f64>) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = Vec::new();
    for raw_type in RawType::ALL.into_iter().filter(|t| !matches!(t, RawType::Bool)) {
        for order in Order::ALL {
            let length = samples.first().map(|s| u16::try_from(s.len()).unwrap_or(u16::MAX));
            let length = (raw_type == RawType::String).then_some(length).flatten();
            let format = Format { order, length, ..raw_type.into() };
            // Of one register the orders are two, not eight.
            let doubles = format.registers() == 1 && order.swaps_registers();
            if format.check().is_err() || doubles {
                continue;
            }
            let size = usize::from(format.registers()) * 2;
            let decode = |s: &Vec<u8>| format.decoder().decode(s.get(..size)?).ok();
            let Some(values) = samples.iter().map(decode).collect::<Option<Vec<_>>>() else { continue };
            // Two orders that read the same say the same once.
            if all.iter().any(|c| c.raw_type == raw_type.name() && c.values == values) || values.is_empty() {
                continue;
            }
            let (plausibility, reasons) = judge(raw_type, order, &values, expect);
            let registers = format.registers();
            let (raw_type, order) = (raw_type.name(), order.name());
            all.push(Candidate { raw_type, order, registers, values, plausibility, reasons });
        }
    }
    all.sort_by(|a, b| b.plausibility.total_cmp(&a.plausibility).then(a.registers.cmp(&b.registers)));
    all
}

fn judge(raw_type: RawType, order: Order, values: &[Value], expect: Option<f64>) -> (f64, Vec<String>) {
    if raw_type == RawType::String {
        return text(values);
    }
    let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    let mut reasons = Vec::new();
    let mut score = 0.5;
    let mut weigh = |factor: f64, reason: String| {
        score *= factor;
        reasons.push(reason);
    };
    if numbers.iter().any(|x| !x.is_finite()) {
        weigh(0.02, "no number".to_owned());
    }
    let largest = numbers.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let float = matches!(raw_type, RawType::F32 | RawType::F64);
    if largest == 0.0 {
        weigh(0.4, "0 is 0 in every order".to_owned());
    } else if float && (1e-3..1e7).contains(&largest) {
        weigh(1.7, "a usual magnitude for a float".to_owned());
    } else if float {
        weigh(0.05, format!("{largest:e} is an odd magnitude"));
    } else if largest > 1e9 {
        weigh(0.3, "a very large number".to_owned());
    } else if largest >= 65_536.0 {
        weigh(0.8, "larger than one register".to_owned());
    } else if matches!(raw_type, RawType::U32 | RawType::I32 | RawType::U64 | RawType::I64) {
        weigh(0.7, "one register would be enough".to_owned());
    }
    if matches!(raw_type, RawType::Bcd16 | RawType::Bcd32) {
        weigh(0.6, "all digits are decimal, which may be by chance".to_owned());
    }
    if numbers.iter().any(|x| *x < 0.0) && matches!(raw_type, RawType::I16 | RawType::I32 | RawType::I64) {
        weigh(0.9, "negative".to_owned());
    }
    let steps = numbers.windows(2).map(|w| (w[1] - w[0]).abs());
    let jump = steps.fold(0.0f64, f64::max);
    if numbers.len() > 1 && largest > 0.0 {
        match jump / largest {
            0.0 => weigh(1.0, "does not change".to_owned()),
            r if r < 0.05 => weigh(1.5, "changes smoothly".to_owned()),
            r if r > 0.5 => weigh(0.3, "jumps between samples".to_owned()),
            _ => {}
        }
    }
    if order == Order::ABCD {
        weigh(1.05, "the standard's order".to_owned());
    }
    if let Some((near, scale)) = expect.and_then(|e| nearest(&numbers, e)) {
        if near < 0.02 {
            let note =
                if (scale - 1.0).abs() < 1e-9 { String::new() } else { format!(" with scale {scale}") };
            score = 0.9 + 0.1 * score.min(1.0) - 2.0 * near - if note.is_empty() { 0.0 } else { 0.05 };
            reasons.push(format!("is what is expected{note}"));
        } else {
            score *= 0.2;
            reasons.push("is not what is expected".to_owned());
        }
    }
    (score.clamp(0.0, 1.0), reasons)
}

/// How near the last value comes to what is expected, as a part of it, and with which usual scale.
fn nearest(numbers: &[f64], expect: f64) -> Option<(f64, f64)> {
    let last = *numbers.last()?;
    let distance = |scale: f64| ((last * scale - expect).abs() / expect.abs().max(1e-9), scale);
    [1.0, 0.1, 0.01, 0.001, 10.0, 100.0].map(distance).into_iter().min_by(|a, b| a.0.total_cmp(&b.0))
}

fn text(values: &[Value]) -> (f64, Vec<String>) {
    let Some(Value::Text(text)) = values.last() else { return (0.0, Vec::new()) };
    let letters = text.chars().filter(|c| c.is_alphanumeric() || " -_./".contains(*c)).count();
    if text.chars().count() < 2 || text.chars().any(char::is_control) {
        return (0.01, vec!["no readable text".to_owned()]);
    }
    #[allow(clippy::cast_precision_loss)] // of a few characters
    let part = letters as f64 / text.chars().count() as f64;
    (0.95 * part * part, vec!["readable text".to_owned()])
}

#[cfg(test)]
mod tests {
    use gateway_modbus::value::Words;

    use super::*;

    fn samples(raw_type: RawType, order: Order, values: &[f64]) -> Vec<Vec<u8>> {
        let format = Format { order, ..raw_type.into() };
        let one = |x: &f64| {
            let Words::Registers(mut words) = format.encode(&Value::F64(*x)).unwrap() else { panic!() };
            words.resize(4, 0x1234);
            words.iter().flat_map(|w| w.to_be_bytes()).collect()
        };
        values.iter().map(one).collect()
    }

    #[test]
    fn a_float_that_moves_is_found_in_every_order() {
        for order in [Order::ABCD, Order::CDAB, Order::BADC, Order::DCBA] {
            let found = candidates(&samples(RawType::F32, order, &[72.4, 72.5, 72.7, 72.6]), None);
            assert_eq!((found[0].raw_type, found[0].order), ("f32", order.name()), "{:#?}", &found[..3]);
        }
    }

    #[test]
    fn what_the_display_shows_comes_first_also_scaled() {
        let found = candidates(&samples(RawType::I16, Order::ABCD, &[724.0, 725.0]), Some(72.5));
        assert!(["i16", "u16"].contains(&found[0].raw_type), "{:#?}", &found[..3]);
        assert!(found[0].reasons.iter().any(|r| r.contains("scale 0.1")));
        let found = candidates(&samples(RawType::U32, Order::CDAB, &[1_234_567.0]), Some(1_234_567.0));
        assert!(
            found[0].order == "cdab" && ["u32", "i32"].contains(&found[0].raw_type),
            "{:#?}",
            &found[..3]
        );
    }

    #[test]
    fn text_is_told_as_text_and_nothing_panics() {
        let found = candidates(&[b"LFP-280B".to_vec()], None);
        assert_eq!((found[0].raw_type, found[0].values[0].clone()), ("string", Value::from("LFP-280B")));
        assert!(candidates(&[], None).is_empty());
        for n in 0..9 {
            let _ = candidates(&[vec![0xff; n], vec![0; n]], Some(0.0));
        }
    }
}
