//! Tables of points: a row each, a column for each key. Rows become trees like `[[device.point]]`, so that nothing
//! else needs to know where a point was written.

mod csv;
pub(in crate::config) mod xlsx;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use common::config::{Entry, Node, Place, Table, Value, did_you_mean, keys_of, parse_tree};
use gateway_adapters::{modbus, mqtt, opcua, sparkplug};

pub(in crate::config) use csv::write_row;

use super::derived::VirtualPoint;
use super::sections::{CompressionSection, PointSection};

/// The column that names the device.
pub(in crate::config) const DEVICE: &str = "device";

/// The tables of a point, whose keys are columns such as `modbus.address`.
fn nested() -> [(&'static str, &'static [&'static str]); 6] {
    [
        ("modbus", keys_of::<modbus::PointConfig>()),
        ("mqtt", keys_of::<mqtt::PointConfig>()),
        ("opcua", keys_of::<opcua::PointConfig>()),
        ("sparkplug", keys_of::<sparkplug::PointConfig>()),
        ("virtual", keys_of::<VirtualPoint>()),
        ("compression", keys_of::<CompressionSection>()),
    ]
}

/// What stands in a table: rows with the line of each, the names of the columns first.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Cells<'s> {
    pub(in crate::config) rows: Vec<(u32, Vec<Cow<'s, str>>)>,
    /// Whether a comma may stand for the decimal point: not where it separates cells.
    pub(in crate::config) comma: bool,
    /// Most cells of a row.
    pub(in crate::config) width: usize,
    /// Whether people know its cells as `F12`.
    pub(in crate::config) named: bool,
}

impl<'s> Cells<'s> {
    /// The cells of a CSV text.
    pub(in crate::config) fn of_csv(text: &'s str) -> (Self, Option<usize>) {
        csv::read(text)
    }

    /// The same cells, lent.
    pub(in crate::config) fn lent<'c>(&'c self) -> Cells<'c> {
        let lend = |(line, row): &'c (u32, Vec<Cow<'s, str>>)| {
            (*line, row.iter().map(|c| Cow::Borrowed(c.as_ref())).collect())
        };
        Cells {
            rows: self.rows.iter().map(lend).collect(),
            comma: self.comma,
            width: self.width,
            named: self.named,
        }
    }

    pub(in crate::config) fn push(&mut self, line: u32, row: Vec<Cow<'s, str>>) {
        self.width = self.width.max(row.len());
        self.rows.push((line, row));
    }

    /// How many places its cells take.
    pub(super) fn size(&self) -> usize {
        self.rows.len() * self.width.max(1)
    }

    /// Line and column of a place, and the cell's name.
    pub(super) fn place(&self, offset: usize) -> (usize, usize, Option<String>) {
        let (row, column) = (offset / self.width.max(1), offset % self.width.max(1));
        let line = self.rows.get(row).or(self.rows.last()).map_or(1, |r| r.0) as usize;
        (line, column + 1, self.named.then(|| format!("{}{line}", letters(column))))
    }

    /// The number of a column by its name.
    pub(in crate::config) fn column(&self, name: &str) -> Option<usize> {
        self.rows.first()?.1.iter().position(|c| c.trim().eq_ignore_ascii_case(name))
    }
}

/// `A` to `Z`, `AA`, ...: how spreadsheets number columns.
fn letters(mut column: usize) -> String {
    let mut name = Vec::new();
    loop {
        name.push(char::from(b'A' + u8::try_from(column % 26).unwrap_or_default()));
        match (column / 26).checked_sub(1) {
            Some(rest) => column = rest,
            None => break,
        }
    }
    name.iter().rev().collect()
}

/// One row: a point, and the device that it belongs to.
pub(super) struct Row<'s> {
    pub(super) device: Cow<'s, str>,
    pub(super) device_at: Place,
    pub(super) node: Node<'s>,
}

/// Every column that a table may have, in the order of an export.
pub(in crate::config) fn columns() -> Vec<String> {
    let mut columns = vec![DEVICE.to_owned()];
    let nested = nested();
    let plain = keys_of::<PointSection>().iter().filter(|k| !nested.iter().any(|(table, _)| table == *k));
    columns.extend(plain.map(|k| (*k).to_owned()));
    for (table, keys) in nested {
        columns.extend(keys.iter().map(|k| format!("{table}.{k}")));
    }
    columns
}

enum Target {
    Device,
    Key(&'static str),
    Nested(&'static str, &'static str),
    Labels,
    /// a comment
    None,
    Nameless,
}

type Told = Vec<(Place, String, String)>;

/// The points of a table, whose places begin at `base`.
pub(super) fn rows<'s>(cells: &Cells<'s>, base: Place, told: &mut Told) -> Vec<Row<'s>> {
    let width = cells.width.max(1);
    let place = |row: usize, column: usize| {
        base.saturating_add(u32::try_from(row * width + column).unwrap_or(u32::MAX))
    };
    let Some((_, header)) = cells.rows.first() else { return Vec::new() };
    let targets = targets(header, |column| place(0, column), told);
    let mut rows = Vec::with_capacity(cells.rows.len());
    if !targets.iter().any(|t| matches!(t, Target::Device)) {
        let message = "no column `device`: expected the names of the columns in the first row, `device` and `name` among them";
        told.push((base, String::new(), message.to_owned()));
        return rows;
    }
    for (number, (_, row)) in cells.rows.iter().enumerate().skip(1) {
        if row.iter().all(|c| c.trim().is_empty()) || row.first().is_some_and(|c| c.starts_with('#')) {
            continue;
        }
        let mut table = Table::default();
        let (mut device, mut device_at) = (Cow::Borrowed(""), place(number, 0));
        for (column, cell) in row.iter().enumerate() {
            let at = place(number, column);
            let text = unguard(cell.trim());
            if text.is_empty() {
                continue;
            }
            // Borrowed where it can be: tables are large.
            let owned = || -> Cow<'s, str> {
                match cell {
                    Cow::Borrowed(whole) => Cow::Borrowed(unguard(whole.trim())),
                    Cow::Owned(_) => Cow::Owned(text.to_owned()),
                }
            };
            let key = |k: &'static str| Entry {
                key: Cow::Borrowed(k),
                at,
                node: Node { at, value: Value::Bool(false) },
            };
            match targets.get(column) {
                Some(Target::Device) => (device, device_at) = (owned(), at),
                Some(Target::Labels) if !text.starts_with('[') => {
                    table.put(Entry { node: labels(text, at, cells.comma), ..key("labels") });
                }
                Some(Target::Labels) => table.put(Entry {
                    node: value(text, owned, at, cells.comma, "labels", told),
                    ..key("labels")
                }),
                Some(Target::Key(k)) => {
                    table.put(Entry { node: value(text, owned, at, cells.comma, k, told), ..key(k) });
                }
                Some(Target::Nested(outer, k)) => {
                    let node = value(text, owned, at, cells.comma, k, told);
                    if table.get(outer).is_none() {
                        let node = Node { at, value: Value::Table(Table::default()) };
                        table.put(Entry { node, ..key(outer) });
                    }
                    if let Some(Value::Table(inner)) = table.get_mut(outer).map(|n| &mut n.value) {
                        inner.put(Entry { node, ..key(k) });
                    }
                }
                Some(Target::None) => {}
                Some(Target::Nameless) | None => {
                    told.push((at, String::new(), format!("`{text}` stands in a column without a name")))
                }
            }
        }
        if device.is_empty() {
            told.push((device_at, DEVICE.to_owned(), "missing: expected the name of a device".to_owned()));
            continue;
        }
        rows.push(Row { device, device_at, node: Node { at: place(number, 0), value: Value::Table(table) } });
    }
    rows
}

fn targets(header: &[Cow<'_, str>], place: impl Fn(usize) -> Place, told: &mut Told) -> Vec<Target> {
    let known = columns();
    let by_name: HashMap<_, _> = known.iter().map(|k| (k.to_ascii_lowercase(), k)).collect();
    let (nested, plain) = (nested(), keys_of::<PointSection>());
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for (column, name) in header.iter().enumerate() {
        let (at, name) = (place(column), name.trim());
        if name.is_empty() {
            targets.push(Target::Nameless);
            continue;
        }
        if name.starts_with('#') {
            targets.push(Target::None);
            continue;
        }
        let Some(key) = by_name.get(&name.to_ascii_lowercase().replace(' ', "_")) else {
            let meant = did_you_mean(name, known.iter().map(String::as_str));
            let message = format!(
                "unknown column `{name}`{meant} expected keys of a point such as `name`, `modbus.address`; `#` before it makes it a comment"
            );
            told.push((at, name.to_owned(), message));
            targets.push(Target::None);
            continue;
        };
        if !seen.insert(key.as_str()) {
            told.push((at, name.to_owned(), format!("column `{key}` stands twice")));
            targets.push(Target::None);
            continue;
        }
        targets.push(match (key.as_str(), key.split_once('.')) {
            (DEVICE, _) => Target::Device,
            ("labels", _) => Target::Labels,
            (_, Some((outer, inner))) => {
                let table = nested.iter().find(|n| n.0 == outer);
                let key =
                    table.and_then(|(outer, keys)| Some((*outer, *keys.iter().find(|k| **k == inner)?)));
                key.map_or(Target::None, |(outer, key)| Target::Nested(outer, key))
            }
            (key, None) => plain.iter().find(|k| **k == key).map_or(Target::None, |k| Target::Key(k)),
        });
    }
    targets
}

/// What an export put before a text that a spreadsheet would take for a formula.
pub(in crate::config) fn unguard(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@', '\'']) => rest,
        _ => text,
    }
}

/// A cell as a value: `="007"` as the text in it, `[...]` and `{...}` as TOML has them, else by what is expected.
fn value<'s>(
    text: &str,
    owned: impl Fn() -> Cow<'s, str>,
    at: Place,
    comma: bool,
    key: &str,
    told: &mut Told,
) -> Node<'s> {
    let inline =
        (text.starts_with('[') && text.ends_with(']')) || (text.starts_with('{') && text.ends_with('}'));
    if inline && text != "[]" {
        let line = format!("x = {text}");
        let (tree, wrong) = parse_tree(&line, 0);
        if let (Some(node), true) = (tree.find("x"), wrong.is_empty()) {
            let mut node = node.clone().into_owned();
            node.move_to(at);
            return node;
        }
        if text.starts_with('[') {
            let why = wrong.first().map_or_else(String::new, |(_, m)| format!(": {m}"));
            told.push((at, key.to_owned(), format!("`{text}` is not a list as TOML has it{why}")));
        }
    }
    let quoted = text.strip_prefix("=\"").and_then(|t| t.strip_suffix('"'));
    let text = quoted.map_or_else(owned, |t| Cow::Owned(t.replace("\"\"", "\"")));
    Node { at, value: Value::Cell { text, comma } }
}

/// `0=off; 1=running`
fn labels<'s>(text: &str, at: Place, comma: bool) -> Node<'s> {
    let cell =
        |text: &str| Node { at, value: Value::Cell { text: Cow::Owned(text.trim().to_owned()), comma } };
    let entry = |key: &'static str, node| Entry { key: Cow::Borrowed(key), at, node };
    let label = |pair: &str| {
        let (value, text) = pair.split_once('=').unwrap_or((pair, ""));
        Node { at, value: Value::Table(Table(vec![entry("value", cell(value)), entry("text", cell(text))])) }
    };
    let pairs = text.split([';', '|']).filter(|p| !p.trim().is_empty());
    Node { at, value: Value::Array(pairs.map(label).collect()) }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
