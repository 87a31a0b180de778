//! A device put together: what its template says with the device's parameters, then what the device says itself,
//! key by key, and its points in the same way. Pure: trees in, a tree out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use common::config::{Entry, Node, Place, Table, Value, did_you_mean};

use super::template::{Template, Values};

/// What a point is made of: numbers of the template and of its point, of the device's own point, or of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Template(usize, usize),
    Own(usize),
    /// Numbers of the file and of the row in it.
    Row(usize, usize),
}

/// Where a point comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) base: Piece,
    /// What stands above single keys of it.
    pub(super) over: Option<Piece>,
}

/// A device with its template applied.
pub(super) struct Assembled<'n, 's> {
    /// Its keys without its points.
    pub(super) table: Node<'s>,
    pub(super) points: Vec<(Cow<'n, Node<'s>>, Origin)>,
    pub(super) template: Option<usize>,
    /// Place, key and message.
    pub(super) wrong: Vec<(Place, String, String)>,
    /// Names of points that could not be put together.
    pub(super) broken: Vec<String>,
}

pub(super) fn device<'n, 's>(
    node: &'n Node<'s>,
    rows: &[(Piece, &'n Node<'s>)],
    templates: &[Template],
    template_node: impl Fn(usize) -> Option<&'n Node<'s>>,
) -> Assembled<'n, 's> {
    let mut made = Assembled {
        table: Node { at: node.at, value: Value::Table(Table::default()) },
        points: Vec::new(),
        template: None,
        wrong: Vec::new(),
        broken: Vec::new(),
    };
    let Some(own) = node.table() else {
        made.wrong.push((node.at, String::new(), format!("is {}: expected [[device]]", node.kind())));
        return made;
    };
    let mut table = Table::default();
    if let Some(wanted) = own.get("template") {
        let name = wanted.text().unwrap_or_default();
        made.template = templates.iter().position(|t| t.name == name);
        match made.template.and_then(|t| Some((t, templates.get(t)?, template_node(t)?.table()?))) {
            Some((number, template, from)) => {
                let omitted = omit(own, from, &mut made.wrong);
                apply(template, number, from, own, &mut table, &mut made, &omitted);
            }
            None => {
                let meant = did_you_mean(name, templates.iter().map(|t| t.name.as_str()));
                let message = match (meant.is_empty(), templates.is_empty()) {
                    (false, _) => format!("there is no template `{name}`{meant}"),
                    (_, true) => format!(
                        "there is no template `{name}`: expected one of [[template]], of which there is none"
                    ),
                    _ => {
                        let names: Vec<_> = templates.iter().map(|t| format!("`{}`", t.name)).collect();
                        format!("there is no template `{name}`: expected one of {}", names.join(", "))
                    }
                };
                made.wrong.push((wanted.at, "template".to_owned(), message));
            }
        }
    }
    for entry in own.0.iter().filter(|e| e.key != "point") {
        lay_over(&mut table, entry);
    }
    own_points(own, rows, &mut made);
    made.table.value = Value::Table(table);
    made
}

/// The names in `omit`: points of the template that this device has not.
fn omit(own: &Table<'_>, template: &Table<'_>, wrong: &mut Vec<(Place, String, String)>) -> HashSet<String> {
    let mut names = HashSet::new();
    let known: Vec<_> = template
        .get("point")
        .and_then(Node::array)
        .into_iter()
        .flatten()
        .filter_map(|p| p.table()?.get("name")?.text())
        .collect();
    for (at, node) in own.get("omit").and_then(Node::array).into_iter().flatten().enumerate() {
        let Some(name) = node.text() else { continue };
        if !known.contains(&name) {
            let meant = did_you_mean(name, known.iter().copied());
            wrong.push((
                node.at,
                format!("omit[{at}]"),
                format!("the template has no point `{name}`{meant}"),
            ));
        }
        names.insert(name.to_owned());
    }
    names
}

fn apply<'s>(
    template: &Template,
    number: usize,
    from: &Table<'s>,
    own: &Table<'s>,
    table: &mut Table<'s>,
    made: &mut Assembled<'_, 's>,
    omitted: &HashSet<String>,
) {
    let values = Values::of(template, own, &mut made.wrong);
    for entry in &from.0 {
        match entry.key.as_ref() {
            "name" | "parameters" => {}
            "point" => {
                for (at, point) in entry.node.array().into_iter().flatten().enumerate() {
                    let name = point.table().and_then(|t| t.get("name")?.text());
                    if name.is_some_and(|n| omitted.contains(n)) {
                        continue;
                    }
                    let before = made.wrong.len();
                    let key = format!("point[{at}]");
                    let filled = values.fill(point, &key, &mut made.wrong);
                    if made.wrong.len() > before {
                        made.broken.extend(filled.find("name").and_then(Node::text).map(str::to_owned));
                        continue;
                    }
                    let origin = Origin { base: Piece::Template(number, at), over: None };
                    made.points.push((Cow::Owned(filled), origin));
                }
            }
            key => {
                let node = values.fill(&entry.node, key, &mut made.wrong);
                table.put(Entry { key: entry.key.clone(), at: entry.at, node });
            }
        }
    }
}

/// The device's own points, in its table and in tables of points: one that is named like one of the template's
/// stands above its single keys.
fn own_points<'n, 's>(own: &'n Table<'s>, rows: &[(Piece, &'n Node<'s>)], made: &mut Assembled<'n, 's>) {
    let list = own.get("point");
    if let Some(list) = list.filter(|l| l.array().is_none()) {
        let message = format!("is {}: expected [[device.point]]", list.kind());
        made.wrong.push((list.at, "point".to_owned(), message));
    }
    let points = list.and_then(Node::array).into_iter().flatten().enumerate();
    let points = points.map(|(at, point)| (Piece::Own(at), point));
    let name = |n: &Node<'_>| n.table().and_then(|t| t.get("name")?.text()).map(str::to_owned);
    let mut of_template: HashMap<String, usize> =
        made.points.iter().enumerate().filter_map(|(at, (n, _))| Some((name(n)?, at))).collect();
    for (piece, point) in points.chain(rows.iter().copied()) {
        // Taken out: a second one of the same name is a new point, and so told as a mistake.
        let base =
            if of_template.is_empty() { None } else { name(point).and_then(|n| of_template.remove(&n)) };
        match base.and_then(|b| made.points.get_mut(b)) {
            Some((base, origin)) => {
                origin.over = Some(piece);
                let table = point.table().map(|t| &t.0).into_iter().flatten();
                if let Value::Table(into) = &mut base.to_mut().value {
                    table.for_each(|entry| lay_over(into, entry));
                }
            }
            None => made.points.push((Cow::Borrowed(point), Origin { base: piece, over: None })),
        }
    }
}

/// A key above what is there: a table's keys one by one, anything else as a whole.
fn lay_over<'s>(into: &mut Table<'s>, entry: &Entry<'s>) {
    match (into.get_mut(&entry.key).map(|n| &mut n.value), &entry.node.value) {
        (Some(Value::Table(old)), Value::Table(new)) => new.0.iter().for_each(|e| lay_over(old, e)),
        _ => into.put(entry.clone()),
    }
}
