//! A plot of a history in braille characters: 2 x 4 dots a cell. The line is the value, for roll-ups the
//! mean; the band between smallest and largest is a pattern of every other dot. Pure.

use std::fmt::Write;

use common::Value;
use common::api::{HistoryPoint, HistoryResponse};
use unicode_width::UnicodeWidthStr;

use crate::out::clean;
use crate::table::time;
use crate::value::number;

/// Size of a plot with its frame, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Dots across and down, lit ones by bit of their cell.
struct Canvas {
    cells_across: usize,
    cells: Vec<u8>,
    across: usize,
    down: usize,
}

impl Canvas {
    fn new(cells_across: usize, cells_down: usize) -> Self {
        let cells = vec![0; cells_across * cells_down];
        Self { cells_across, cells, across: cells_across * 2, down: cells_down * 4 }
    }

    /// Lights a dot; outside it does nothing. `y` grows downwards.
    fn dot(&mut self, x: usize, y: usize) {
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        if x < self.across
            && let Some(cell) = self.cells.get_mut(y / 4 * self.cells_across + x / 2)
        {
            *cell |= BITS[y % 4][x % 2];
        }
    }

    /// A line between two dots: every column it passes is joined to the next.
    fn line(&mut self, (x0, y0): (usize, usize), (x1, y1): (usize, usize)) {
        let (dx, dy) = (x1.abs_diff(x0), y1.abs_diff(y0));
        let steps = dx.max(dy).max(1);
        let between = |a: usize, b: usize, i: usize| {
            let way = (a.abs_diff(b) * i + steps / 2) / steps;
            if b >= a { a + way } else { a - way }
        };
        for i in 0..=steps {
            self.dot(between(x0, x1, i), between(y0, y1, i));
        }
    }

    fn row(&self, y: usize) -> String {
        let cells = self.cells.iter().skip(y * self.cells_across).take(self.cells_across);
        cells.map(|bits| char::from_u32(0x2800 + u32::from(*bits)).unwrap_or(' ')).collect()
    }
}

/// Where a history's times and values fall on the canvas.
struct Scale {
    from: i64,
    to: i64,
    low: f64,
    high: f64,
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
impl Scale {
    fn new(history: &HistoryResponse) -> Option<Self> {
        let values = || {
            history
                .points
                .iter()
                .flat_map(|p| [p.min, p.max, line_value(p)])
                .flatten()
                .filter(|x| x.is_finite())
        };
        let (mut low, mut high) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
        if low == high {
            // A constant lies in the middle.
            let half = if low == 0.0 { 1.0 } else { low.abs() * 0.01 };
            (low, high) = (low - half, high + half);
        }
        let to = history.to_us.max(history.from_us.saturating_add(1));
        Some(Self { from: history.from_us, to, low, high })
    }

    fn x(&self, t_us: i64, canvas: &Canvas) -> usize {
        let part = t_us.saturating_sub(self.from) as f64 / self.to.saturating_sub(self.from) as f64;
        (part.clamp(0.0, 1.0) * (canvas.across - 1) as f64).round() as usize
    }

    fn y(&self, value: f64, canvas: &Canvas) -> usize {
        // Halves first: the ends may be as far apart as floats go.
        let part = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        ((1.0 - part.clamp(0.0, 1.0)) * (canvas.down - 1) as f64).round() as usize
    }
}

fn line_value(p: &HistoryPoint) -> Option<f64> {
    p.mean.or_else(|| p.value.as_ref().and_then(Value::as_f64)).filter(|x| x.is_finite())
}

/// The plot, each line ended; none if there is no number to plot.
pub fn plot(history: &HistoryResponse, size: Size) -> Option<String> {
    let scale = Scale::new(history)?;
    // Odd, so that the label in the middle stands at the middle.
    let rows = (usize::from(size.rows).saturating_sub(4).clamp(3, 40) - 1) | 1;
    let label = |row: usize| match row {
        0 => number(scale.high),
        r if r + 1 == rows => number(scale.low),
        r if r == rows / 2 => number(scale.low / 2.0 + scale.high / 2.0),
        _ => String::new(),
    };
    let labels: Vec<_> = (0..rows).map(label).collect();
    let margin = labels.iter().map(|l| l.width()).max().unwrap_or(0);
    let across = usize::from(size.columns).saturating_sub(margin + 2).max(10);

    let mut canvas = Canvas::new(across, rows);
    let mut bad = vec![false; across];
    let mut last = None;
    for p in &history.points {
        let x = scale.x(p.t_us, &canvas);
        if let (Some(min), Some(max)) = (p.min, p.max) {
            let (top, bottom) = (scale.y(max, &canvas), scale.y(min, &canvas));
            (top..=bottom).filter(|y| (x + y) % 2 == 0).for_each(|y| canvas.dot(x, y));
        }
        let here = line_value(p).map(|v| (x, scale.y(v, &canvas)));
        if let Some(here) = here {
            canvas.line(last.unwrap_or(here), here);
        }
        if p.quality.is_bad() || p.good < p.count {
            bad[x / 2] = true;
        }
        last = here;
    }

    let unit = if history.unit.is_empty() { String::new() } else { format!(" [{}]", clean(&history.unit)) };
    let mut text = format!("{} {}{unit}\n", clean(&history.twin), clean(&history.point));
    for (row, label) in labels.iter().enumerate() {
        let _ = writeln!(text, "{label:>margin$} ┤{}", canvas.row(row).trim_end_matches('\u{2800}'));
    }
    if bad.contains(&true) {
        let marks: String = bad.iter().map(|b| if *b { '×' } else { ' ' }).collect();
        let _ = writeln!(text, "{:>margin$} │{}", "bad", marks.trim_end());
    }
    let (from, to) = (time(history.from_us), time(history.to_us));
    let gap = across.saturating_sub(from.width() + to.width()).max(1);
    let _ = writeln!(text, "{:margin$} └{}", "", "─".repeat(across));
    let _ = writeln!(text, "{:margin$}  {from}{}{to}", "", " ".repeat(gap));
    Some(text)
}

#[cfg(test)]
#[path = "plot_tests.rs"]
mod tests;
