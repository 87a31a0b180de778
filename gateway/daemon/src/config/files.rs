//! All files of a configuration as one: sections merged, devices put together from templates, and for every mistake
//! the place that it comes from. What the values must be is in `check` and `points`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use common::config::{
    Entry, Mistake, Node, Place, Source, Table, Value, Wrong, did_you_mean, parse_tree, read_tree,
};

use gateway_sync::Enrolment;

use super::assemble::{self, Assembled, Origin, Piece};
use super::sections::{DeviceSection, File};
use super::table::{self, Cells, Row};
use super::template::{self, Template};
use super::{arrays, lacking, left_out};
use crate::build_info::{FEATURES, Features};

/// A device, and where it stands.
pub(super) struct Located {
    /// Number of its file.
    pub(super) source: usize,
    /// Its number there.
    pub(super) index: usize,
    /// Its keys and points; points with mistakes of shape are left out.
    pub(super) device: DeviceSection,
    /// Where each point comes from, in their order.
    origins: Vec<Origin>,
    /// Names of the points that were left out: what refers to them is not told as well.
    pub(super) broken: HashSet<String>,
    /// Whether its own keys have no mistake of shape; else what they mean is not looked at.
    pub(super) sound: bool,
}

/// A device by its place, and its name.
#[derive(Clone, Copy)]
struct Which<'w> {
    source: usize,
    index: usize,
    name: &'w str,
}

/// A file to look at.
pub(super) struct Input<'s> {
    /// Where it is.
    pub(super) path: &'s Path,
    /// What is in it.
    pub(super) content: Content<'s>,
}

/// What is in a file.
pub(super) enum Content<'s> {
    /// TOML
    Text(&'s str),
    /// a table of points, and the row of a quote that was never closed
    Table(Cells<'s>, Option<usize>),
}

impl<'s> Input<'s> {
    /// A file by its ending: a table of points if it is CSV, else TOML.
    pub(super) fn of(source: &'s Source) -> Self {
        let content = match source.path.extension() {
            Some(ending) if ending == "csv" => {
                let (cells, open) = Cells::of_csv(&source.text);
                Content::Table(cells, open)
            }
            _ => Content::Text(&source.text),
        };
        Self { path: &source.path, content }
    }
}

/// A file in the tree of all.
struct Part<'s> {
    path: &'s Path,
    base: Place,
    root: Node<'s>,
    text: &'s str,
    line_starts: OnceCell<Vec<usize>>,
    cells: Cells<'s>,
    rows: Vec<Row<'s>>,
}

/// All files, parsed, with their sections merged: a key of a later file stands above one of an earlier.
pub(super) struct Files<'s> {
    parts: Vec<Part<'s>>,
    /// Rows of tables by their device.
    rows: HashMap<String, Vec<Piece>>,
    sections: Node<'s>,
    templates: Vec<Template>,
    /// The scalar sections; where a key has a mistake of shape, its default.
    pub(super) merged: File,
    /// Devices in the order of the files.
    pub(super) devices: Vec<Located>,
    /// Mistakes of syntax and shape.
    pub(super) mistakes: Vec<Mistake>,
    /// What may be meant so, but hardly is.
    pub(super) warnings: Vec<Mistake>,
    /// How the box is enrolled, if that was looked at.
    pub(super) enrolment: Option<Option<Enrolment>>,
    /// What can be asked for.
    built: Features,
}

impl<'s> Files<'s> {
    pub(super) fn new(inputs: Vec<Input<'s>>) -> Self {
        Self::of_build(inputs, &FEATURES)
    }

    /// Files for a program with these features.
    pub(super) fn of_build(inputs: Vec<Input<'s>>, built: Features) -> Self {
        let mut files = Files {
            parts: Vec::new(),
            rows: HashMap::new(),
            sections: Node { at: 0, value: Value::Table(Table::default()) },
            templates: Vec::new(),
            merged: File::default(),
            devices: Vec::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            enrolment: None,
            built,
        };
        files.parse(inputs);
        files.merge();
        files.templates = template::all(&mut files);
        files.read_devices();
        files.strangers();
        files
    }

    fn parse(&mut self, inputs: Vec<Input<'s>>) {
        let mut base: Place = 0;
        let mut told = Vec::new();
        for Input { path, content } in inputs {
            let empty = Node { at: base, value: Value::Table(Table::default()) };
            let mut part = Part {
                path,
                base,
                root: empty,
                text: "",
                line_starts: OnceCell::new(),
                cells: Cells::default(),
                rows: Vec::new(),
            };
            let size = match content {
                Content::Text(text) => {
                    let (root, syntax) = parse_tree(text, base);
                    (part.root, part.text) = (root, text);
                    told.extend(syntax.into_iter().map(|(at, message)| (at, String::new(), message)));
                    text.len()
                }
                Content::Table(cells, open) => {
                    part.rows = table::rows(&cells, base, &mut told);
                    if let Some(row) = open {
                        let at =
                            base.saturating_add(u32::try_from(row * cells.width.max(1)).unwrap_or(u32::MAX));
                        told.push((at, String::new(), "a quote that is opened and never closed".to_owned()));
                    }
                    let size = cells.size();
                    part.cells = cells;
                    size
                }
            };
            self.parts.push(part);
            base = base.saturating_add(u32::try_from(size).unwrap_or(u32::MAX)).saturating_add(1);
        }
        for (number, part) in self.parts.iter().enumerate() {
            for (at, row) in part.rows.iter().enumerate() {
                match self.rows.get_mut(row.device.as_ref()) {
                    Some(rows) => rows.push(Piece::Row(number, at)),
                    None => {
                        self.rows.insert(row.device.clone().into_owned(), vec![Piece::Row(number, at)]);
                    }
                }
            }
        }
        let told: Vec<_> =
            told.into_iter().map(|(at, key, message)| self.mistake_at(at, &key, message)).collect();
        self.mistakes.extend(told);
    }

    /// Rows of devices that are not there.
    fn strangers(&mut self) {
        let names = || (0..self.parts.len()).flat_map(|part| self.list(part, "device").iter());
        let names: HashSet<&str> = names().filter_map(|d| d.table()?.get("name")?.text()).collect();
        let mut told = Vec::new();
        for (device, rows) in self.rows.iter().filter(|(device, _)| !names.contains(device.as_str())) {
            let first = rows.iter().find_map(|piece| match piece {
                Piece::Row(part, row) => self.parts.get(*part)?.rows.get(*row),
                _ => None,
            });
            let meant = did_you_mean(device, names.iter().copied());
            let expected = "expected the name of a [[device]]";
            let more = match rows.len() {
                1 => String::new(),
                n => format!(" ({n} rows)"),
            };
            let message = format!("there is no device `{device}`{meant} {expected}{more}");
            told.extend(first.map(|row| self.mistake_at(row.device_at, table::DEVICE, message)));
        }
        self.mistakes.extend(told);
    }

    fn merge(&mut self) {
        let mut merged = Table::default();
        for root in self.parts.iter().map(|p| &p.root) {
            for entry in root.table().map(|t| &t.0).into_iter().flatten() {
                if !matches!(entry.key.as_ref(), "device" | "template") {
                    merge(&mut merged, entry);
                }
            }
        }
        let at = self.parts.first().map_or(0, |p| p.base);
        let left_out = left_out::sections(&mut merged, self.built);
        self.sections = Node { at, value: Value::Table(merged) };
        let mut wrong: Vec<_> = left_out
            .into_iter()
            .map(|(at, key, message)| Wrong { at, key, message, unknown: false })
            .collect();
        self.merged = read_tree(&self.sections, &mut |w| wrong.push(w)).unwrap_or_default();
        let told: Vec<_> = wrong.into_iter().map(|w| self.mistake_at(w.at, &w.key, w.message)).collect();
        self.mistakes.extend(told);
    }

    fn read_devices(&mut self) {
        for source in 0..self.parts.len() {
            for index in 0..self.list(source, "device").len() {
                if let Some(located) = self.read_device(source, index) {
                    self.devices.push(located);
                }
            }
        }
    }

    fn read_device(&mut self, source: usize, index: usize) -> Option<Located> {
        let node = self.list(source, "device").get(index)?;
        let mut made = self.assemble(node);
        let mut told = Vec::new();
        let left_out = left_out::device(&mut made.table, self.built);
        let mut sound = made.wrong.is_empty() && left_out.is_none();
        let name = made.table.find("name").and_then(Node::text).unwrap_or_default().to_owned();
        let which = Which { source, index, name: &name };
        for (at, key, message) in made.wrong.iter().chain(&left_out) {
            told.push(self.of_device(which, made.template, *at, key, message.clone()));
        }
        let mut wrong = Vec::new();
        let device = read_tree::<DeviceSection>(&made.table, &mut |w| wrong.push(w));
        if device.is_none()
            && left_out.is_none()
            && let Some((key, message)) = lacking::device(&made.table)
        {
            told.push(self.of_device(which, made.template, made.table.at, key, message.to_owned()));
        }
        for w in wrong {
            sound &= w.unknown;
            told.push(self.of_device(which, made.template, w.at, &w.key, w.message));
        }
        let mut points = Vec::with_capacity(made.points.len());
        let mut origins = Vec::with_capacity(made.points.len());
        let mut broken = HashSet::new();
        for (point, origin) in &mut made.points {
            if left_out.is_some() {
                broken.extend(point.find("name").and_then(Node::text).map(str::to_owned));
                continue;
            }
            if let Some((at, key, message)) = left_out::point(point, self.built) {
                broken.extend(point.find("name").and_then(Node::text).map(str::to_owned));
                told.push(self.of_point(which, *origin, Some(at), &key, message));
                continue;
            }
            let mut wrong: Vec<Wrong> = Vec::new();
            let read = read_tree(point, &mut |w| wrong.push(w));
            match (read, wrong.is_empty()) {
                (Some(read), true) => {
                    for point in arrays::expand(read) {
                        points.push(point);
                        origins.push(*origin);
                    }
                }
                _ => {
                    broken.extend(point.find("name").and_then(Node::text).map(str::to_owned));
                    for (key, message) in lacking::point(&made.table, point) {
                        told.push(self.of_point(which, *origin, None, key, message.to_owned()));
                    }
                }
            }
            for w in wrong {
                told.push(self.of_point(which, *origin, Some(w.at), &w.key, w.message));
            }
        }
        broken.extend(made.broken);
        self.mistakes.extend(told);
        let device = DeviceSection { point: points, ..device? };
        Some(Located { source, index, device, origins, broken, sound })
    }

    fn assemble<'n>(&'n self, node: &'n Node<'s>) -> Assembled<'n, 's> {
        let name = node.table().and_then(|t| t.get("name")?.text()).unwrap_or_default();
        let rows = self.rows.get(name).map(Vec::as_slice).unwrap_or_default();
        let row = |piece| match piece {
            Piece::Row(part, row) => self.parts.get(part)?.rows.get(row).map(|r| &r.node),
            _ => None,
        };
        let rows: Vec<_> = rows.iter().filter_map(|piece| Some((*piece, row(*piece)?))).collect();
        assemble::device(node, &rows, &self.templates, |t| self.template_node(t))
    }

    /// The points of a device as trees, put together from all that says something about them.
    pub(super) fn points_of(&self, located: &Located) -> Vec<(Cow<'_, Node<'s>>, Origin)> {
        let node = self.list(located.source, "device").get(located.index);
        node.map(|n| self.assemble(n).points).unwrap_or_default()
    }

    /// The tables `[[name]]` of a file.
    pub(super) fn list(&self, source: usize, name: &str) -> &[Node<'s>] {
        self.parts.get(source).and_then(|p| p.root.table()?.get(name)?.array()).unwrap_or_default()
    }

    /// How many files there are.
    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// Every template.
    pub(super) fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// That no device is made from a template.
    pub(super) fn template_doubt(&self, template: &Template) -> Option<Mistake> {
        let node = self.list(template.source, "template").get(template.index)?;
        let message =
            format!("template `{}`: no device is made from it, so that it was not checked", template.name);
        Some(self.mistake_at(node.at, &format!("template[{}]", template.index), message))
    }

    fn template_node(&self, number: usize) -> Option<&Node<'s>> {
        let template = self.templates.get(number)?;
        self.list(template.source, "template").get(template.index)
    }

    /// Where a piece of a point stands, and what it is called.
    fn piece(&self, of: Which<'_>, piece: Piece) -> Option<(&Node<'s>, String, bool)> {
        Some(match piece {
            Piece::Own(at) => {
                let device = self.list(of.source, "device").get(of.index)?;
                (device.find(&format!("point[{at}]"))?, format!("device[{}].point[{at}]", of.index), false)
            }
            Piece::Row(part, row) => (&self.parts.get(part)?.rows.get(row)?.node, String::new(), false),
            Piece::Template(number, at) => {
                let node = self.template_node(number)?.find(&format!("point[{at}]"))?;
                let index = self.templates.get(number)?.index;
                (node, format!("template[{index}].point[{at}]"), true)
            }
        })
    }

    fn of_point(
        &self,
        device: Which<'_>,
        origin: Origin,
        at: Option<Place>,
        key: &str,
        message: String,
    ) -> Mistake {
        let over = origin.over.and_then(|p| self.piece(device, p));
        let base = self.piece(device, origin.base);
        let given = |p: &(&Node<'s>, String, bool)| !key.is_empty() && p.0.find(key).is_some();
        let Some((node, name, of_template)) = over.filter(given).or(base) else {
            return self.mistake_at(at.unwrap_or_default(), key, message);
        };
        let dot = if key.is_empty() || name.is_empty() || key.starts_with('[') { "" } else { "." };
        let place = at.unwrap_or_else(|| node.nearest(key).at);
        let mut mistake = self.mistake_at(place, &format!("{name}{dot}{key}"), message);
        if of_template {
            mistake.devices.push(device.name.to_owned());
        }
        mistake
    }

    fn of_device(
        &self,
        device: Which<'_>,
        template: Option<usize>,
        at: Place,
        key: &str,
        message: String,
    ) -> Mistake {
        let own = self.list(device.source, "device").get(device.index);
        let dot = if key.is_empty() { "" } else { "." };
        let from = template.filter(|_| !key.is_empty() && own.is_none_or(|n| n.find(key).is_none()));
        let given = from.filter(|t| self.template_node(*t).is_some_and(|n| n.find(key).is_some()));
        let Some(template) = given.and_then(|t| self.templates.get(t)) else {
            return self.mistake_at(at, &format!("device[{}]{dot}{key}", device.index), message);
        };
        let mut mistake = self.mistake_at(at, &format!("template[{}]{dot}{key}", template.index), message);
        mistake.devices.push(device.name.to_owned());
        mistake
    }

    /// A mistake at a place.
    pub(super) fn mistake_at(&self, at: Place, key: &str, message: impl Into<String>) -> Mistake {
        let number = self.parts.partition_point(|p| p.base <= at).saturating_sub(1);
        let Some(part) = self.parts.get(number) else {
            return Mistake::new(Path::new(""), None, key, message);
        };
        let offset = (at - part.base) as usize;
        if !part.cells.rows.is_empty() {
            let (line, column, name) = part.cells.place(offset);
            let key = match name {
                Some(name) if key.is_empty() => name,
                Some(name) => format!("{key} ({name})"),
                None => key.to_owned(),
            };
            return Mistake::new(part.path, Some((line, column)), &key, message);
        }
        let starts = part.line_starts.get_or_init(|| {
            let ends = part.text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        });
        let line = starts.partition_point(|s| *s <= offset);
        let start = starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = part.text.get(start..offset).unwrap_or_default().chars().count() + 1;
        Mistake::new(part.path, Some((line, column)), key, message)
    }

    /// A mistake at `section.key`: in the last file that has the key, else the last that has the section, else
    /// the main file.
    pub(super) fn mistake(&self, section: &str, key: &str, message: impl Into<String>) -> Mistake {
        let name = if key.is_empty() { section.to_owned() } else { format!("{section}.{key}") };
        self.mistake_at(self.sections.nearest(&name).at, &name, message)
    }

    /// A mistake at a key of a device, or of one of its points as `point[number].key`.
    pub(super) fn device_mistake(&self, located: &Located, key: &str, message: impl Into<String>) -> Mistake {
        let (source, index) = (located.source, located.index);
        let which = Which { source, index, name: &located.device.name };
        let point = key.strip_prefix("point[").and_then(|k| k.split_once(']'));
        let point = point.and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest)));
        if let Some((number, rest)) = point
            && let Some(origin) = located.origins.get(number)
        {
            let rest = rest.trim_start_matches('.');
            return self.of_point(which, *origin, None, rest, message.into());
        }
        let own = self.list(source, "device").get(index);
        let template = located.device.template.as_deref();
        let template = template.and_then(|t| self.templates.iter().position(|x| x.name == t));
        let given = own.and_then(|n| n.find(key));
        let inherited = template.and_then(|t| self.template_node(t)?.find(key));
        let at = given.or(inherited).or(own.map(|n| n.nearest(key))).map_or(0, |n| n.at);
        self.of_device(which, template, at, key, message.into())
    }
}

/// Sections are merged key by key, lists of tables one after the other; anything else is replaced.
fn merge<'s>(into: &mut Table<'s>, entry: &Entry<'s>) {
    let Some(old) = into.get_mut(&entry.key) else {
        into.0.push(entry.clone());
        return;
    };
    match (&mut old.value, &entry.node.value) {
        (Value::Table(old_table), Value::Table(new)) => {
            for key in &new.0 {
                old_table.put(key.clone());
            }
            old.at = entry.node.at;
        }
        (Value::Array(old), Value::Array(new)) => old.extend(new.iter().cloned()),
        _ => *old = entry.node.clone(),
    }
}
