//! `points import`: a table from a spreadsheet becomes `conf.d/points.csv`, which the import owns. What people wrote
//! by hand is never touched: a row of a point that stands elsewhere must say the same, or add to a template.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::config::{Mistake, Node, Source, Value, read_tree};

use super::super::assemble::Piece;
use super::super::files::{Content, Files, Input, Located};
use super::super::sections::PointSection;
use super::super::table::{self, Cells, DEVICE, unguard, write_row, xlsx};
use super::super::{Report, read_sources};
use super::difference::Points;
use super::{Difference, ExchangeError, Kinds};

/// What to import, and where to.
#[derive(Debug, Clone)]
pub struct Import {
    /// The configuration.
    pub config: PathBuf,
    /// The table, CSV or XLSX.
    pub table: PathBuf,
    /// The file in `conf.d` that takes the points; none: `points.csv`.
    pub into: Option<PathBuf>,
    /// Device of all rows, for a table without the column.
    pub device: Option<String>,
    /// Whether to write; else only the difference is found.
    pub apply: bool,
}

/// What an import found.
#[derive(Debug)]
pub struct Imported {
    /// What changes.
    pub difference: Difference,
    /// What must be mended first: nothing was written.
    pub mistakes: Vec<Mistake>,
    /// What is odd.
    pub warnings: Vec<Mistake>,
    /// What else to know, for people.
    pub notes: Vec<String>,
    /// The file that takes the points.
    pub target: PathBuf,
    /// Whether it was written.
    pub written: bool,
}

/// Reads a table, finds what it would change, and writes it if told to and nothing is wrong.
///
/// # Errors
/// When a file cannot be read or written.
pub fn import(import: &Import) -> Result<Imported, ExchangeError> {
    let folder = import.config.parent().unwrap_or(Path::new(".")).join("conf.d");
    let target = match &import.into {
        None => folder.join("points.csv"),
        Some(path) if path.components().count() == 1 => folder.join(path),
        Some(path) => path.clone(),
    };
    if target.extension().is_none_or(|e| e != "csv") || target.parent() != Some(folder.as_path()) {
        let expected = format!("expected a file that ends in .csv in {}, where it is read", folder.display());
        return Err(ExchangeError::file(&target, expected));
    }
    let mut notes = Vec::new();
    let bytes = fs::read(&import.table).map_err(|e| ExchangeError::file(&import.table, e))?;
    let text;
    let (mut cells, open) = if import.table.extension().is_some_and(|e| e.eq_ignore_ascii_case("xlsx")) {
        (xlsx::read(&bytes).map_err(|e| ExchangeError::file(&import.table, e))?, None)
    } else {
        let (decoded, note) = decode(&bytes);
        notes.extend(note.map(str::to_owned));
        text = decoded;
        Cells::of_csv(&text)
    };
    if let Some(device) = &import.device {
        only_device(&mut cells, device);
    }
    let sources = read_sources(&import.config).map_err(ExchangeError::Mistakes)?;
    let kinds = Kinds::new();
    let present = Files::new(sources.iter().map(Input::of).collect());
    let before = Points::of(&present);
    let (own, others): (Vec<&Source>, Vec<&Source>) = sources.iter().partition(|s| s.path == target);
    let old = own.first().map(|s| Cells::of_csv(&s.text).0).unwrap_or_default();

    let mut plan = Plan { cells, mistakes: Vec::new() };
    let devices = plan.devices();
    plan.keep_columns(&old);
    let without: Vec<Source> = others.into_iter().cloned().collect();
    let standing = Files::new(without.iter().map(Input::of).collect());
    let elsewhere = plan.settle(&standing, &import.table);
    if elsewhere > 0 {
        notes.push(format!("{elsewhere} points stand elsewhere in the configuration as the table has them"));
    }
    let kept = keep_rows(old, &devices);
    let mut inputs: Vec<Input<'_>> = without.iter().map(Input::of).collect();
    inputs.push(Input { path: &target, content: Content::Table(kept.lent(), None) });
    inputs.push(Input { path: &import.table, content: Content::Table(plan.cells.lent(), open) });
    let files = Files::new(inputs);
    let difference = Difference::between(&before, &Points::of(&files), &kinds);
    let report = Report::of_files(files, true);
    let mut mistakes = std::mem::take(&mut plan.mistakes);
    mistakes.extend(report.mistakes);
    let written = import.apply && mistakes.is_empty() && !difference.is_empty();
    if written {
        let text = text_of(&[&kept, &plan.cells], &kinds);
        replace(&target, &text).map_err(|e| ExchangeError::file(&target, e))?;
    }
    Ok(Imported { difference, mistakes, warnings: report.warnings, notes, target, written })
}

/// The table on its way to the points of a configuration.
struct Plan<'s> {
    cells: Cells<'s>,
    mistakes: Vec<Mistake>,
}

impl<'s> Plan<'s> {
    fn devices(&self) -> HashSet<String> {
        let Some(column) = self.cells.column(DEVICE) else { return HashSet::new() };
        let cell = |row: &(u32, Vec<Cow<'_, str>>)| row.1.get(column).map(|c| c.trim().to_owned());
        self.cells.rows.iter().skip(1).filter_map(cell).collect()
    }

    /// Keys that the table has no column for keep the value that an earlier import gave them.
    fn keep_columns(&mut self, old: &Cells<'s>) {
        let key = |cells: &Cells<'_>, row: &[Cow<'_, str>]| {
            let cell = |name| Some(row.get(cells.column(name)?)?.trim().to_owned());
            Some((cell(DEVICE)?, cell("name")?))
        };
        let Some((_, names)) = old.rows.first() else { return };
        let missing: Vec<usize> = (0..names.len())
            .filter(|c| self.cells.column(names.get(*c).map_or("", |n| n)).is_none())
            .collect();
        if missing.is_empty() {
            return;
        }
        let earlier: HashMap<_, _> =
            old.rows.iter().skip(1).filter_map(|(_, row)| Some((key(old, row)?, row))).collect();
        let width = self.cells.width;
        let keys: Vec<_> = self.cells.rows.iter().map(|(_, row)| key(&self.cells, row)).collect();
        for (number, ((_, row), key)) in self.cells.rows.iter_mut().zip(keys).enumerate() {
            let from = if number == 0 { Some(names) } else { key.and_then(|k| earlier.get(&k).copied()) };
            let Some(from) = from else { continue };
            row.resize(width, Cow::Borrowed(""));
            row.extend(missing.iter().map(|c| from.get(*c).cloned().unwrap_or_default()));
        }
        self.cells.width += missing.len();
    }

    /// Takes out what stands elsewhere as it is, leaves of a template's point what differs, and tells what would
    /// contradict a file written by hand. How many points stand elsewhere.
    fn settle(&mut self, standing: &Files<'_>, path: &Path) -> usize {
        let has_points = |l: &Located| !l.device.point.is_empty() || !l.broken.is_empty();
        if !standing.devices.iter().any(has_points) {
            return 0;
        }
        let rows: Vec<(usize, String, Node<'static>)> = table::rows(&self.cells, 0, &mut Vec::new())
            .into_iter()
            .map(|r| {
                (r.node.at as usize / self.cells.width.max(1), r.device.into_owned(), r.node.into_owned())
            })
            .collect();
        let mut by_device: HashMap<&str, HashMap<&str, (usize, &Node<'static>)>> = HashMap::new();
        for (number, device, node) in &rows {
            let name = node.find("name").and_then(Node::text).unwrap_or_default();
            by_device.entry(device).or_default().insert(name, (*number, node));
        }
        let mut found = 0;
        for located in &standing.devices {
            let Some(wanted) = by_device.get(located.device.name.as_str()) else { continue };
            for (at, (node, origin)) in standing.points_of(located).into_iter().enumerate() {
                let name = node.find("name").and_then(Node::text).unwrap_or_default().to_owned();
                let Some((number, row)) = wanted.get(name.as_str()) else { continue };
                found += 1;
                let was = read_tree::<PointSection>(&node, &mut |_| {});
                let same = |with: &Node<'_>| {
                    let now = read_tree::<PointSection>(with, &mut |_| {});
                    now == was && was.is_some()
                };
                let mut all = node.clone().into_owned().into_owned();
                lay_over(&mut all, row, None);
                if same(&all) {
                    self.clear(*number, &[]);
                    continue;
                }
                let columns: Vec<usize> = (0..self.cells.width)
                    .filter(|c| {
                        let Some(key) = self.cells.rows.first().and_then(|(_, h)| h.get(*c)) else {
                            return false;
                        };
                        let mut one = node.clone().into_owned().into_owned();
                        lay_over(&mut one, row, Some(key.trim()));
                        row.find(key.trim()).is_some() && !same(&one)
                    })
                    .collect();
                if matches!(origin.base, Piece::Template(..)) && origin.over.is_none() {
                    found -= 1;
                    self.clear(*number, &columns);
                    continue;
                }
                let column = columns.first().copied().unwrap_or_default();
                let key = self.cells.rows.first().and_then(|(_, h)| h.get(column)).map_or("", |k| k.trim());
                let stands = standing.device_mistake(located, &format!("point[{at}]"), "");
                let place = stands.at.map_or_else(String::new, |(line, _)| format!(":{line}"));
                let message = format!(
                    "`{}/{name}` stands in {}{place} and says otherwise: change it there, or take it out there",
                    located.device.name,
                    stands.file.display(),
                );
                let line = self.cells.rows.get(*number).map_or(0, |r| r.0) as usize;
                self.mistakes.push(Mistake::new(path, Some((line, column + 1)), key, message));
                self.clear(*number, &[]);
            }
        }
        found
    }

    /// Leaves only some cells of a row, its device and its name; with none of them, nothing.
    fn clear(&mut self, number: usize, columns: &[usize]) {
        let named = [self.cells.column(DEVICE), self.cells.column("name")];
        if let Some((_, row)) = self.cells.rows.get_mut(number) {
            for (at, cell) in row.iter_mut().enumerate() {
                let stays = columns.contains(&at) || (!columns.is_empty() && named.contains(&Some(at)));
                if !stays {
                    *cell = Cow::Borrowed("");
                }
            }
        }
    }
}

/// The keys of `row` above those of `node`: all of them, or the one that a column names.
fn lay_over(node: &mut Node<'static>, row: &Node<'static>, only: Option<&str>) {
    let (Value::Table(into), Value::Table(from)) = (&mut node.value, &row.value) else { return };
    for entry in &from.0 {
        match (&entry.node.value, only.map(|o| o.split_once('.').unwrap_or((o, "")))) {
            (_, Some((outer, _))) if outer != entry.key => {}
            (Value::Table(inner), key) => {
                if into.get(&entry.key).is_none() {
                    let mut empty = entry.clone();
                    empty.node.value = Value::Table(common::config::Table::default());
                    into.put(empty);
                }
                if let Some(Value::Table(old)) = into.get_mut(&entry.key).map(|n| &mut n.value) {
                    let wanted = |e: &&common::config::Entry<'static>| key.is_none_or(|(_, k)| e.key == k);
                    inner.0.iter().filter(wanted).for_each(|e| old.put(e.clone()));
                }
            }
            _ => into.put(entry.clone()),
        }
    }
}

/// All rows are of this device, which the table need not say.
fn only_device(cells: &mut Cells<'_>, device: &str) {
    match cells.column(DEVICE) {
        Some(column) => cells.rows.retain_mut(|(line, row)| {
            let there = row.get(column).is_some_and(|c| c.trim() == device || *line == 1);
            there || row.get(column).is_some_and(|c| c.trim().eq_ignore_ascii_case(DEVICE))
        }),
        None => {
            let width = cells.width;
            for (number, (_, row)) in cells.rows.iter_mut().enumerate() {
                if row.iter().all(|c| c.trim().is_empty()) {
                    continue;
                }
                row.resize(width, Cow::Borrowed(""));
                row.push(Cow::Owned(if number == 0 { DEVICE.to_owned() } else { device.to_owned() }));
            }
            cells.width += 1;
        }
    }
}

/// The rows of other devices.
fn keep_rows<'s>(mut old: Cells<'s>, devices: &HashSet<String>) -> Cells<'s> {
    let column = old.column(DEVICE);
    let mut number = 0;
    old.rows.retain(|(_, row)| {
        number += 1;
        number == 1 || column.and_then(|c| row.get(c)).is_some_and(|c| !devices.contains(c.trim()))
    });
    old
}

/// The tables as one CSV, with the columns that are used, in the order of an export.
fn text_of(tables: &[&Cells<'_>], kinds: &Kinds) -> String {
    let known = table::columns();
    let used = |column: &&String| {
        let there = |cells: &&Cells<'_>| {
            let at = cells.column(column);
            let cell = |(_, row): &(u32, Vec<Cow<'_, str>>)| {
                at.and_then(|at| row.get(at)).is_some_and(|c| !c.trim().is_empty())
            };
            cells.rows.iter().skip(1).any(cell)
        };
        matches!(column.as_str(), DEVICE | "name") || tables.iter().any(there)
    };
    let columns: Vec<&String> = known.iter().filter(used).collect();
    let mut text = String::new();
    write_row(&mut text, columns.iter().map(|c| c.as_str()));
    for cells in tables {
        let places: Vec<Option<usize>> = columns.iter().map(|c| cells.column(c)).collect();
        for (_, row) in cells.rows.iter().skip(1) {
            if row.iter().all(|c| c.trim().is_empty()) || row.first().is_some_and(|c| c.starts_with('#')) {
                continue;
            }
            let cell = |(column, at): (&&String, &Option<usize>)| {
                let text = unguard(at.and_then(|at| row.get(at)).map_or("", |c| c.trim()));
                let number = cells.comma && !kinds.is_text(column) && text.matches(',').count() == 1;
                let point = if number { text.replace(',', ".") } else { text.to_owned() };
                if point.parse::<f64>().is_ok() { point } else { text.to_owned() }
            };
            let row: Vec<String> = columns.iter().zip(&places).map(cell).collect();
            write_row(&mut text, row.iter().map(String::as_str));
        }
    }
    text
}

/// Writes a file so that it is there as it was or as it will be, whatever happens; the former one stays as `.before`.
fn replace(target: &Path, text: &str) -> std::io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let (new, before) = (target.with_extension("csv.new"), target.with_extension("csv.before"));
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if target.exists() {
        fs::copy(target, &before)?;
    }
    fs::rename(&new, target)?;
    fs::File::open(folder)?.sync_all()
}

/// A text as spreadsheets save it: UTF-8, UTF-16 with its mark, else the Windows code page of western Europe.
fn decode(bytes: &[u8]) -> (String, Option<&'static str>) {
    if let [0xff, 0xfe, rest @ ..] = bytes {
        let units: Vec<u16> = rest.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        return (String::from_utf16_lossy(&units), Some("the table is UTF-16, and is read as such"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let text = bytes.iter().map(|b| western(*b)).collect();
            (
                text,
                Some("the table is not UTF-8: it is read as Windows-1252; look at letters such as ° and µ"),
            )
        }
    }
}

/// A byte of Windows-1252; most are those of Latin-1.
fn western(byte: u8) -> char {
    const ABOVE: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => ABOVE.get(usize::from(byte - 0x80)).copied().unwrap_or('\u{fffd}'),
        _ => char::from(byte),
    }
}
