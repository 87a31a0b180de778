//! Values as people type and read them.

use common::{PointSchema, Value, ValueType};

use crate::out::clean;

/// Splits `point=value`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn split(assignment: &str) -> Result<(&str, &str), String> {
    match assignment.split_once('=') {
        Some((point, value)) if !point.trim().is_empty() => Ok((point.trim(), value)),
        _ => Err(format!("`{assignment}` is not of the form POINT=VALUE")),
    }
}

/// A value for a point, from text: `true`, a number, a label of the point, or text, in quotes if it looks
/// like something else. It has the point's type, and nothing is rounded.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse(text: &str, point: &PointSchema) -> Result<Value, String> {
    let to = point.value_type;
    let expected = || {
        let kind = match to {
            ValueType::Bool => "true or false",
            ValueType::I64 => "a whole number",
            ValueType::U64 => "a whole number from 0",
            ValueType::F64 => "a finite number",
            ValueType::Text => "text",
            ValueType::Bytes => "bytes as hex:0a1b",
        };
        let labels: Vec<_> = point.labels.iter().map(|l| clean(&l.text)).collect();
        let or = if labels.is_empty() { String::new() } else { format!(" or one of: {}", labels.join(", ")) };
        format!("`{text}` does not fit `{}`: use {kind}{or}", point.name)
    };
    let quoted = match text.strip_prefix('"') {
        Some(_) => Some(
            serde_json::from_str::<String>(text)
                .map_err(|_| format!("`{text}` has a quote that is not closed"))?,
        ),
        None => None,
    };
    match to {
        ValueType::Text => return Ok(Value::Text(quoted.as_deref().unwrap_or(text).into())),
        ValueType::Bytes => return text.strip_prefix("hex:").and_then(bytes).ok_or_else(expected),
        _ => {}
    }
    // Quotes say that it is no number: it can only be a label.
    let word = quoted.as_deref().unwrap_or(text.trim());
    let plain = if quoted.is_some() { None } else { literal(word) };
    let value = plain.or_else(|| label(word, point)).ok_or_else(expected)?;
    value.convert(to).ok_or_else(expected)
}

fn literal(word: &str) -> Option<Value> {
    match word {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    if let Some(hex) = word.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Value::U64);
    }
    // Not `inf` and `NaN`, which Rust reads as floats too.
    if word.contains(|c: char| c.is_alphabetic() && !matches!(c, 'e' | 'E')) {
        return None;
    }
    let whole = word.parse::<i64>().map(Value::I64).or_else(|_| word.parse::<u64>().map(Value::U64));
    whole.ok().or_else(|| word.parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::F64))
}

fn label(word: &str, point: &PointSchema) -> Option<Value> {
    let exact = point.labels.iter().find(|l| l.text == word);
    let lower = word.to_lowercase();
    let mut close = point.labels.iter().filter(|l| l.text.to_lowercase() == lower);
    let found = exact.or_else(|| close.next().filter(|_| close.next().is_none()))?;
    Some(Value::I64(found.value))
}

fn bytes(hex: &str) -> Option<Value> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| Value::Bytes(pairs.iter().map(|[h, l]| h << 4 | l).collect()))
}

/// A value for people: numbers to 6 significant places, labels beside their number.
pub fn show(value: Option<&Value>, point: Option<&PointSchema>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let text = match value {
        Value::F64(x) => number(*x),
        Value::Text(t) => format!("\"{}\"", clean(t)),
        Value::Bytes(_) => format!("hex:{value}"),
        other => other.to_string(),
    };
    match point.and_then(|p| p.label(value)) {
        Some(label) => format!("{text} ({})", clean(label)),
        None => text,
    }
}

/// A number for people: 6 significant places, no trailing zeros, exponents only where they shorten it.
pub fn number(x: f64) -> String {
    if !x.is_finite() || x == 0.0 {
        return x.to_string();
    }
    let exponent = x.abs().log10().floor();
    if !(-5.0..15.0).contains(&exponent) {
        return format!("{x:.5e}");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 10
    let places = (5.0 - exponent).max(0.0) as usize;
    let text = format!("{x:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
