//! Columns of text, times and sizes for people. Pure.

use common::clock::format_us;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::out::clean;

/// A table that is as wide as its cells.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that starts with `>` is set to the right.
    pub fn new(columns: &[&str]) -> Self {
        let column =
            |c: &&str| c.strip_prefix('>').map_or(((*c).to_owned(), false), |c| (c.to_owned(), true));
        Self { head: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row. Cells are cleaned of control characters.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|c| clean(&c).into_owned()).collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table with its head, each line ended.
    pub fn text(&self) -> String {
        let head: Vec<_> = self.head.iter().map(|(name, _)| name.clone()).collect();
        let all = || std::iter::once(&head).chain(&self.rows);
        let width = |i: usize| all().filter_map(|r| r.get(i)).map(|c| c.width()).max().unwrap_or(0);
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        let mut text = String::new();
        for row in all() {
            let mut line = String::new();
            for ((cell, width), (_, right)) in row.iter().zip(&widths).zip(&self.head) {
                let pad = " ".repeat(width.saturating_sub(cell.width()));
                let (before, after) = if *right { (pad.as_str(), "") } else { ("", pad.as_str()) };
                line.extend([before, cell, after, "  "]);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text cut to so many columns of a terminal.
pub fn cut(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    text.chars().take_while(fits).collect()
}

/// A UTC time to the millisecond, in a form that `--from` takes; `-` if there is none.
pub fn time(us: i64) -> String {
    if us <= 0 {
        return "-".to_owned();
    }
    let text = format_us(us);
    match text.rsplit_once('.') {
        Some((seconds, micros)) if micros.len() == 7 => format!("{seconds}.{}Z", &micros[..3]),
        _ => text,
    }
}

/// How long ago, in one unit; `-` if never. The future is `0s`: clocks differ.
pub fn age(us: i64, now_us: i64) -> String {
    if us <= 0 { "-".to_owned() } else { span(u64::try_from(now_us.saturating_sub(us)).unwrap_or(0) / 1000) }
}

/// A time span in one unit.
pub fn span(ms: u64) -> String {
    const SECOND: u64 = 1000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match ms {
        0 => "0s".to_owned(),
        1..SECOND => format!("{ms}ms"),
        SECOND..MINUTE => format!("{}s", ms / SECOND),
        MINUTE..HOUR => format!("{}m", ms / MINUTE),
        HOUR..DAY => format!("{}h", ms / HOUR),
        _ => format!("{}d", ms / DAY),
    }
}

/// Bytes in a binary unit.
#[allow(clippy::cast_precision_loss)]
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut x = bytes as f64 / 1024.0;
    let mut at = 0;
    while x >= 1024.0 && at + 1 < units.len() {
        x /= 1024.0;
        at += 1;
    }
    format!("{x:.1} {}", units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_wide_characters() {
        let mut t = Table::new(&["NAME", ">N", "X"]);
        t.row(["烘箱".into(), "5".into(), "a".into()]);
        t.row(["b\n".into(), "123".into(), String::new()]);
        assert_eq!(t.text(), "NAME    N  X\n烘箱    5  a\nb\\n   123\n");
    }

    #[test]
    fn a_cut_never_splits_a_wide_character() {
        assert_eq!(cut("a烘箱", 4), "a烘");
        assert_eq!(cut("abc", 9), "abc");
    }

    #[test]
    fn times_spans_and_sizes_are_short() {
        assert_eq!(time(1_795_000_000_123_456), "2026-11-18T11:06:40.123Z");
        assert_eq!(time(0), "-");
        assert_eq!(age(1, 60_000_001), "1m");
        assert_eq!(age(9, 1), "0s");
        assert_eq!([span(0), span(999), span(59_999), span(86_400_000)], ["0s", "999ms", "59s", "1d"]);
        assert_eq!(
            [size(0), size(1536), size(64 << 20), size(5 << 40)],
            ["0 B", "1.5 KiB", "64.0 MiB", "5.0 TiB"]
        );
    }
}
