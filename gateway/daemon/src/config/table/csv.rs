//! CSV as spreadsheets write it (RFC 4180 and its liberties): byte order mark, `sep=`, comma, semicolon or tab,
//! quotes with anything in them, any end of line. Total: every text gives cells.

use std::borrow::Cow;

use super::Cells;

/// The cells of a text, and where a quote was opened and never closed (the number of its row from 0).
pub(super) fn read(text: &str) -> (Cells<'_>, Option<usize>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (text, separator, first_line) = separator(text);
    let mut cells = Cells { comma: separator != b',', ..Cells::default() };
    let mut at = 0;
    let mut line = first_line;
    let mut open = None;
    while at < text.len() {
        let mut row = Vec::new();
        let start = line;
        loop {
            let (cell, next, closed) = cell(text, at, separator);
            line += count_lines(text.get(at..next).unwrap_or_default());
            at = next;
            if !closed {
                open.get_or_insert(cells.rows.len());
            }
            row.push(cell);
            match text.as_bytes().get(at) {
                Some(b) if *b == separator => at += 1,
                Some(b'\r') if text.as_bytes().get(at + 1) == Some(&b'\n') => {
                    at += 2;
                    break;
                }
                Some(_) => {
                    at += 1;
                    break;
                }
                None => break,
            }
        }
        line += 1;
        cells.push(start, row);
    }
    (cells, open)
}

/// The separator, the text after a line that only names it, and the number of the first line.
fn separator(text: &str) -> (&str, u8, u32) {
    if let Some((first, rest)) = text.split_once('\n')
        && let Some(named) = first.trim_end().to_ascii_lowercase().strip_prefix("sep=")
        && let [one @ (b',' | b';' | b'\t')] = named.as_bytes()
    {
        return (rest, *one, 2);
    }
    let (mut quoted, mut counts) = (false, [(b',', 0), (b';', 0), (b'\t', 0)]);
    for b in text.bytes().take_while(|b| !matches!(b, b'\n' | b'\r')) {
        quoted ^= b == b'"';
        for (separator, count) in &mut counts {
            *count += usize::from(!quoted && b == *separator);
        }
    }
    let best = counts.iter().rev().max_by_key(|(_, n)| *n).map_or(b',', |(s, _)| *s);
    (text, if counts.iter().all(|(_, n)| *n == 0) { b',' } else { best }, 1)
}

/// A cell from `at` on, where it ends, and whether its quote was closed.
fn cell(text: &str, at: usize, separator: u8) -> (Cow<'_, str>, usize, bool) {
    let bytes = text.as_bytes();
    let end = |from: usize| {
        let ends = |b: &u8| *b == separator || matches!(*b, b'\n' | b'\r');
        bytes.get(from..).and_then(|rest| rest.iter().position(ends)).map_or(text.len(), |n| from + n)
    };
    let slice = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    if bytes.get(at) != Some(&b'"') {
        let end = end(at);
        return (Cow::Borrowed(slice(at, end).trim()), end, true);
    }
    let (start, mut from, mut doubled) = (at + 1, at + 1, false);
    loop {
        let Some(quote) = bytes.get(from..).and_then(|rest| rest.iter().position(|b| *b == b'"')) else {
            return (Cow::Borrowed(slice(start, text.len())), text.len(), false);
        };
        let quote = from + quote;
        if bytes.get(quote + 1) == Some(&b'"') {
            (from, doubled) = (quote + 2, true);
            continue;
        }
        let inner = slice(start, quote);
        let inner = if doubled { Cow::Owned(inner.replace("\"\"", "\"")) } else { Cow::Borrowed(inner) };
        // What stands between the quote and the separator belongs to nothing; spreadsheets drop blanks there.
        let end = end(quote + 1);
        let rest = slice(quote + 1, end).trim();
        return (if rest.is_empty() { inner } else { Cow::Owned(format!("{inner}{rest}")) }, end, true);
    }
}

fn count_lines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX)
}

/// A row, with quotes where they are needed; text that a spreadsheet would take for a formula is guarded by `'`.
pub(in crate::config) fn write_row<'c>(into: &mut String, cells: impl IntoIterator<Item = &'c str>) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            into.push(',');
        }
        let formula = cell.starts_with(['=', '+', '-', '@', '\'']) && cell.parse::<f64>().is_err();
        let guard = if formula { "'" } else { "" };
        if cell.contains([',', ';', '"', '\n', '\r', '\t']) || cell.trim() != cell {
            into.push('"');
            into.push_str(guard);
            into.push_str(&cell.replace('"', "\"\""));
            into.push('"');
        } else {
            into.push_str(guard);
            into.push_str(cell);
        }
    }
    into.push('\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        read(text).0.rows.iter().map(|r| r.1.iter().map(|c| c.to_string()).collect()).collect()
    }

    #[test]
    fn every_liberty_of_spreadsheets_gives_the_same_cells() {
        let expected = [["a", "b"], ["1", "x, \"y\"\nz"]];
        for text in [
            "a,b\n1,\"x, \"\"y\"\"\nz\"\n",
            "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n",
            "a;b\n1;\"x, \"\"y\"\"\nz\"",
            "sep=;\na;b\n1;\"x, \"\"y\"\"\nz\" \n",
            "a\tb\r 1 \t\"x, \"\"y\"\"\nz\"\r",
        ] {
            assert_eq!(rows(text), expected, "{text:?}");
        }
        assert_eq!(rows(""), Vec::<Vec<String>>::new());
        assert_eq!(rows("a,,\n\n"), vec![vec!["a", "", ""], vec![""]]);
    }

    #[test]
    fn rows_know_their_lines_and_an_open_quote_is_told() {
        let (cells, open) = read("a,b\n\"1\n\n2\",x\ny,\"z\nw\n");
        let lines: Vec<_> = cells.rows.iter().map(|r| r.0).collect();
        assert_eq!((lines, open), (vec![1, 2, 5], Some(2)));
        assert!(read("a;b\n1;2\n").0.comma && !read("a,b\n").0.comma);
    }

    proptest! {
        #[test]
        fn any_text_gives_cells(text in "[ -~\\n\\r\\t\"äé;,]{0,60}") {
            let _ = read(&text);
        }

        #[test]
        fn what_is_written_is_read_again(cells in proptest::collection::vec("[a-z0-9 ,;\"\\n=+.-]{0,8}", 2..5)) {
            prop_assume!(cells.iter().any(|c| !c.is_empty()));
            let mut text = "sep=,\n".to_owned();
            write_row(&mut text, cells.iter().map(String::as_str));
            let unguarded = |c: &Cow<'_, str>| super::super::unguard(c).to_owned();
            let read = read(&text).0.rows.remove(0).1.iter().map(unguarded).collect::<Vec<_>>();
            prop_assert_eq!(read, cells);
        }
    }
}
