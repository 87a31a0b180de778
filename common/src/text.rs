//! Words for people.

use std::borrow::Cow;
use std::fmt::Display;

/// A count with its noun: `1 device`, `2 devices`. The noun makes its plural with an s.
pub fn counted<N: Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

/// A text as a field of CSV (RFC 4180). One that a spreadsheet would run as a formula is made a text by a quote mark; so
/// numbers do not belong here.
pub fn csv_field(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !formula && !text.contains([',', '"', '\n', '\r']) {
        return Cow::Borrowed(text);
    }
    let mark = if formula { "'" } else { "" };
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{mark}{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Owned(format!("{mark}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{counted, csv_field};

    #[test]
    fn a_text_cannot_break_out_of_its_field() {
        assert_eq!(csv_field("a"), "a");
        assert_eq!(csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv_field("=1+1"), "'=1+1");
        assert_eq!(csv_field("@a,b"), "\"'@a,b\"");
        assert_eq!(csv_field("a\rb"), "\"a\rb\"");
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "point")), ["0 points", "1 point", "2 points"]);
    }
}
