//! Points to and from tables that people edit in a spreadsheet: `points export`, `points import` and what an import
//! would change. Files only; a running daemon learns of it by a reload.

mod difference;
mod import;

use std::collections::HashMap;
use std::path::Path;

use common::config::{Entry, Mistakes, Node, Table, Value, compute, read_tree};

pub use difference::{Change, Difference};
pub use import::{Import, Imported, import};

use super::files::{Files, Input};
use super::read_sources;
use super::sections::PointSection;
use super::table::{self, DEVICE, write_row, xlsx};
use xlsx::Out;

/// Why points cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// A file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: String,
        /// Why.
        cause: String,
    },
    /// The configuration, or the table, has mistakes.
    #[error("{0}")]
    Mistakes(Mistakes),
}

impl ExchangeError {
    fn file(path: &Path, cause: impl ToString) -> Self {
        Self::File { path: path.display().to_string(), cause: cause.to_string() }
    }
}

/// Writes the points of a configuration, or of one device, as CSV or XLSX by the ending of `to`; templates are
/// applied. With `blank` every column is there, and no point. Tells how many points were written.
///
/// # Errors
/// When a file cannot be read or written, or the configuration is not TOML.
pub fn export(config: &Path, to: &Path, device: Option<&str>, blank: bool) -> Result<usize, ExchangeError> {
    let sources = read_sources(config).map_err(ExchangeError::Mistakes)?;
    let files = Files::new(sources.iter().map(Input::of).collect());
    if !files.mistakes.is_empty() {
        return Err(ExchangeError::Mistakes(Mistakes(files.mistakes)));
    }
    let kinds = Kinds::new();
    let mut points: Vec<Vec<(String, Out)>> = Vec::new();
    for located in files.devices.iter().filter(|l| !blank && device.is_none_or(|d| d == l.device.name)) {
        for (node, _) in files.points_of(located) {
            let mut cells = vec![(DEVICE.to_owned(), Out::Text(located.device.name.clone()))];
            kinds.flatten(&node, &mut cells);
            points.push(cells);
        }
    }
    if let (Some(device), true, false) = (device, points.is_empty(), blank) {
        return Err(ExchangeError::file(config, format!("device `{device}` is not there, or has no points")));
    }
    let mut columns = table::columns();
    columns.retain(|c| blank || points.iter().any(|p| p.iter().any(|(key, _)| key == c)));
    let numbers: HashMap<_, _> = columns.iter().enumerate().map(|(at, c)| (c.as_str(), at)).collect();
    let row = |cells: &Vec<(String, Out)>| {
        let mut row = vec![Out::None; columns.len()];
        for (key, out) in cells {
            if let Some(slot) = numbers.get(key.as_str()).and_then(|at| row.get_mut(*at)) {
                *slot = out.clone();
            }
        }
        row
    };
    let rows: Vec<_> = points.iter().map(row).collect();
    let bytes = match to.extension().and_then(|e| e.to_str()) {
        Some("xlsx") => xlsx::write(&columns, &rows).map_err(|e| ExchangeError::file(to, e))?,
        Some("csv") => {
            let mut text = String::new();
            write_row(&mut text, columns.iter().map(String::as_str));
            for row in &rows {
                let cells: Vec<_> = row.iter().map(spell).collect();
                write_row(&mut text, cells.iter().map(String::as_str));
            }
            text.into_bytes()
        }
        _ => return Err(ExchangeError::file(to, "expected a name that ends in .csv or .xlsx")),
    };
    std::fs::write(to, bytes).map_err(|e| ExchangeError::file(to, e))?;
    Ok(rows.len())
}

/// A cell as text, the same for every way to write one value.
fn spell(out: &Out) -> String {
    match out {
        Out::Text(text) => text.clone(),
        Out::Number(x) => x.to_string(),
        Out::Bool(b) => b.to_string(),
        Out::None => String::new(),
    }
}

/// Which columns hold text, whatever it looks like.
struct Kinds {
    text: HashMap<String, bool>,
}

impl Kinds {
    /// Asks the point itself: a key that refuses a number because it wants a string holds text.
    fn new() -> Self {
        let entry =
            |key: &str, value| Entry { key: key.to_owned().into(), at: 0, node: Node { at: 0, value } };
        let wants_text = |column: &String| {
            let one = Value::Integer(1);
            let table = match column.split_once('.') {
                Some((outer, inner)) => {
                    Table(vec![entry(outer, Value::Table(Table(vec![entry(inner, one)])))])
                }
                None => Table(vec![entry(column, one)]),
            };
            let mut text = column == DEVICE;
            let _ = read_tree::<PointSection>(&Node { at: 0, value: Value::Table(table) }, &mut |w| {
                text |= w.key == *column && w.message.contains("expected a string");
            });
            (column.clone(), text)
        };
        Self { text: table::columns().iter().map(wants_text).collect() }
    }

    fn is_text(&self, column: &str) -> bool {
        self.text.get(column).copied().unwrap_or(true)
    }

    /// The keys of a point as columns and cells.
    fn flatten(&self, node: &Node<'_>, into: &mut Vec<(String, Out)>) {
        for entry in node.table().map(|t| &t.0).into_iter().flatten() {
            match (&entry.node.value, entry.key.as_ref()) {
                (Value::Table(Table(inner)), outer) => {
                    for e in inner {
                        let column = format!("{outer}.{}", e.key);
                        let out = self.out(&column, &e.node);
                        into.push((column, out));
                    }
                }
                (_, key) => into.push((key.to_owned(), self.out(key, &entry.node))),
            }
        }
    }

    fn out(&self, column: &str, node: &Node<'_>) -> Out {
        let word = |text: &str, number: Option<f64>| match (number, text) {
            (Some(x), _) => Out::Number(x),
            (None, "true") => Out::Bool(true),
            (None, "false") => Out::Bool(false),
            (None, text) => Out::Text(text.to_owned()),
        };
        match &node.value {
            Value::Bool(b) => Out::Bool(*b),
            #[allow(clippy::cast_precision_loss)] // as a spreadsheet has it
            Value::Integer(n) => Out::Number(*n as f64),
            Value::Float(x) => Out::Number(*x),
            Value::Text(text) => Out::Text(text.to_string()),
            Value::Formula(text) | Value::Cell { text: std::borrow::Cow::Owned(text), .. }
                if self.is_text(column) =>
            {
                Out::Text(text.clone())
            }
            Value::Cell { text, .. } if self.is_text(column) => Out::Text(text.to_string()),
            Value::Formula(text) => word(text, compute(text)),
            Value::Cell { text, comma } => {
                let plain = if *comma { text.replace(',', ".") } else { text.to_string() };
                match plain.trim().parse::<f64>() {
                    Ok(x) if x.is_finite() => Out::Number(x),
                    _ => word(&text.trim().to_ascii_lowercase(), None).or_text(text),
                }
            }
            Value::Date | Value::Absent => Out::None,
            Value::Array(nodes) if column == "labels" => Out::Text(labels(nodes)),
            value => Out::Text(inline(value)),
        }
    }
}

impl Out {
    /// Text as it was written, if it is none of the words.
    fn or_text(self, text: &str) -> Self {
        if let Self::Text(_) = self { Self::Text(text.to_owned()) } else { self }
    }
}

/// `0=off; 1=on`
fn labels(nodes: &[Node<'_>]) -> String {
    let label = |n: &Node<'_>| {
        let get = |key| n.table().and_then(|t| t.get(key)).map(|n| plain(&n.value)).unwrap_or_default();
        format!("{}={}", get("value"), get("text"))
    };
    nodes.iter().map(label).collect::<Vec<_>>().join("; ")
}

fn plain(value: &Value<'_>) -> String {
    match value {
        Value::Text(t) => t.to_string(),
        Value::Cell { text, .. } => text.to_string(),
        Value::Formula(t) => t.clone(),
        other => inline(other),
    }
}

/// A value as TOML writes it in a line.
fn inline(value: &Value<'_>) -> String {
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Text(_) | Value::Cell { .. } | Value::Formula(_) => {
            toml::Value::String(plain(value)).to_string()
        }
        Value::Date | Value::Absent => String::new(),
        Value::Array(nodes) => {
            let all: Vec<_> = nodes.iter().map(|n| inline(&n.value)).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Table(Table(entries)) => {
            let all: Vec<_> =
                entries.iter().map(|e| format!("{} = {}", e.key, inline(&e.node.value))).collect();
            format!("{{ {} }}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
