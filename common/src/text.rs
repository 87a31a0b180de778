//! Words for people, and bytes as digits.

use std::fmt::Display;

use crate::value::Value;

/// A count with its noun: `1 device`, `2 devices`. The noun makes its plural with an s.
pub fn counted<N: Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

/// Characters of `at_most` that tell what is left out.
const LEFT_OUT: usize = 40;

/// A text of at most so many characters (more than 40), with what is left out told in it.
pub fn at_most(mut text: String, characters: usize) -> String {
    let is_longer = text.char_indices().nth(characters).is_some();
    if let Some((at, _)) = text.char_indices().nth(characters.saturating_sub(LEFT_OUT)).filter(|_| is_longer)
    {
        let left_out = text.len() - at;
        text.truncate(at);
        text += &format!(" ... ({left_out} bytes more)");
    }
    text
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| DIGITS.get(usize::from(digit))).collect()
}

/// What `hex` wrote; none if it is no such text.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |p: &[u8]| match p {
        [a, b] => Some(digit(*a)? << 4 | digit(*b)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// A text as a field of comma-separated values (RFC 4180). One that a spreadsheet would run as a formula is made a text
/// by a quote mark.
pub fn csv_field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A value as a field of comma-separated values, every digit kept; nothing if there is none.
pub fn csv_value(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => csv_field(text),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{at_most, counted, csv_field, csv_value, hex};
    use crate::Value;

    #[test]
    fn a_long_text_is_cut_between_two_characters_and_what_was_cut_stays_as_it_is() {
        let text = "\u{e4}".repeat(100);
        assert_eq!(at_most(text.clone(), 100), text);
        let cut = at_most(text, 99);
        assert_eq!(cut, "\u{e4}".repeat(59) + " ... (82 bytes more)");
        assert_eq!(at_most(cut.clone(), 99), cut);
        assert!(at_most("x".repeat(100_000), 60).len() <= 60);
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(&[0x00, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn a_text_cannot_break_out_of_its_field() {
        assert_eq!(csv_field("a"), "a");
        assert_eq!(csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv_field("=1+1"), "'=1+1");
        assert_eq!(csv_value(Some(&Value::Text("=1,5".into()))), "\"'=1,5\"");
        assert_eq!(csv_value(Some(&Value::F64(-0.1))), "-0.1");
        assert_eq!(csv_value(None), "");
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "point")), ["0 points", "1 point", "2 points"]);
    }
}
