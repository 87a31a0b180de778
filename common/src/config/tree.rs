//! A configuration file as a tree in which every value knows its place. It keeps what is read apart from what it
//! must be: `read` turns a tree into a type. Not a writer: comments and layout are not kept.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something stands: an offset in all sources together. Each source has a range of its own, see `base` of
/// [`parse_tree`]; so a tree may be put together from several files and still tell each value's place.
pub type Place = u32;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// Where it starts.
    pub at: Place,
    /// What it is.
    pub value: Value<'a>,
}

/// What a node may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `true` or `false`
    Bool(bool),
    /// a whole number
    Integer(i64),
    /// any other number
    Float(f64),
    /// text
    Text(Cow<'a, str>),
    /// what the cell of a table holds: text, a number or a bool, by what is expected
    Cell {
        /// as it stands there
        text: Cow<'a, str>,
        /// whether a comma may stand for the decimal point
        comma: bool,
    },
    /// what a template's text became: text, or the number or bool that it spells, by what is expected
    Formula(String),
    /// a date or time, which no key takes
    Date,
    /// stands in for a key that is missing, as whatever is expected, so that what else is missing is found; never in a
    /// tree that was read
    Absent,
    /// a list
    Array(Vec<Node<'a>>),
    /// keys and their values, in the order of the file
    Table(Table<'a>),
}

/// One key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// Its name.
    pub key: Cow<'a, str>,
    /// Where the name stands.
    pub at: Place,
    /// Its value.
    pub node: Node<'a>,
}

/// Keys and values. Tables are small: a search by name is a walk.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table<'a>(pub Vec<Entry<'a>>);

impl<'a> Table<'a> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        self.0.iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node<'a>> {
        self.0.iter_mut().find(|e| e.key == key).map(|e| &mut e.node)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Entry<'a>> {
        let at = self.0.iter().position(|e| e.key == key)?;
        Some(self.0.remove(at))
    }

    /// Puts a key in; an older value of it goes.
    pub fn put(&mut self, entry: Entry<'a>) {
        match self.0.iter_mut().find(|e| e.key == entry.key) {
            Some(old) => *old = entry,
            None => self.0.push(entry),
        }
    }
}

impl<'a> Node<'a> {
    /// The table, if it is one.
    pub fn table(&self) -> Option<&Table<'a>> {
        if let Value::Table(t) = &self.value { Some(t) } else { None }
    }

    /// The list, if it is one.
    pub fn array(&self) -> Option<&[Node<'a>]> {
        if let Value::Array(a) = &self.value { Some(a) } else { None }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Cell { text, .. } => Some(text),
            Value::Formula(t) => Some(t),
            _ => None,
        }
    }

    /// The node that a key such as `point[3].modbus.address` names, or the nearest one above it that is there.
    pub fn nearest(&self, key: &str) -> &Self {
        let mut here = self;
        for step in steps(key) {
            let next = match (&here.value, step) {
                (Value::Table(t), Step::Key(k)) => t.get(k),
                (Value::Array(a), Step::Index(i)) => a.get(i),
                _ => None,
            };
            let Some(next) = next else { break };
            here = next;
        }
        here
    }

    /// The node that a key names.
    pub fn find(&self, key: &str) -> Option<&Self> {
        steps(key).try_fold(self, |here, step| match (&here.value, step) {
            (Value::Table(t), Step::Key(k)) => t.get(k),
            (Value::Array(a), Step::Index(i)) => a.get(i),
            _ => None,
        })
    }

    /// Takes out what a key names; whether it was there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let steps: Vec<_> = steps(key).collect();
        let Some((last, above)) = steps.split_last() else { return false };
        let Some(here) = self.walk(above) else { return false };
        match (&mut here.value, last) {
            (Value::Table(t), Step::Key(k)) => t.remove(k).is_some(),
            (Value::Array(a), Step::Index(i)) if *i < a.len() => {
                a.remove(*i);
                true
            }
            _ => false,
        }
    }

    fn walk(&mut self, steps: &[Step<'_>]) -> Option<&mut Self> {
        steps.iter().try_fold(self, |here, step| match (&mut here.value, step) {
            (Value::Table(t), Step::Key(k)) => t.get_mut(k),
            (Value::Array(a), Step::Index(i)) => a.get_mut(*i),
            _ => None,
        })
    }

    /// Puts a stand-in for a missing key into the table that `key` names; whether there is such a table.
    pub(super) fn stand_in(&mut self, key: &str, missing: &'static str) -> bool {
        let steps: Vec<_> = steps(key).collect();
        let Some(Self { at, value: Value::Table(table) }) = self.walk(&steps) else { return false };
        let node = Node { at: *at, value: Value::Absent };
        table.put(Entry { key: Cow::Borrowed(missing), at: *at, node });
        true
    }

    /// Takes out every table with a stand-in; false if this one is such a table.
    pub(super) fn without_stand_ins(&mut self) -> bool {
        match &mut self.value {
            Value::Absent => return false,
            Value::Array(nodes) => nodes.retain_mut(Self::without_stand_ins),
            Value::Table(Table(entries)) => {
                if entries.iter().any(|e| e.node.value == Value::Absent) {
                    return false;
                }
                entries.retain_mut(|e| e.node.without_stand_ins());
            }
            _ => {}
        }
        true
    }

    /// What `key` of `part`, which is this tree with some values taken out, is called in this tree: elements of lists
    /// are found by their place.
    pub(super) fn key_of_part(&self, part: &Node<'_>, key: &str) -> String {
        let (mut whole, mut part) = (Some(self), Some(part));
        let mut path = String::new();
        for step in steps(key) {
            match step {
                Step::Key(k) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(k);
                    whole = whole.and_then(|n| n.table()?.get(k));
                    part = part.and_then(|n| n.table()?.get(k));
                }
                Step::Index(i) => {
                    part = part.and_then(|n| n.array()?.get(i));
                    let list = whole.and_then(Node::array).unwrap_or_default();
                    let at = list.iter().position(|n| part.is_some_and(|p| p.at == n.at)).unwrap_or(i);
                    path.push_str(&format!("[{at}]"));
                    whole = list.get(at);
                }
            }
        }
        path
    }

    /// The same, with nothing borrowed.
    pub fn into_owned(self) -> Node<'static> {
        let value = match self.value {
            Value::Bool(b) => Value::Bool(b),
            Value::Integer(n) => Value::Integer(n),
            Value::Float(x) => Value::Float(x),
            Value::Text(t) => Value::Text(Cow::Owned(t.into_owned())),
            Value::Cell { text, comma } => Value::Cell { text: Cow::Owned(text.into_owned()), comma },
            Value::Formula(t) => Value::Formula(t),
            Value::Date => Value::Date,
            Value::Absent => Value::Absent,
            Value::Array(a) => Value::Array(a.into_iter().map(Node::into_owned).collect()),
            Value::Table(Table(entries)) => Value::Table(Table(
                entries
                    .into_iter()
                    .map(|e| Entry {
                        key: Cow::Owned(e.key.into_owned()),
                        at: e.at,
                        node: e.node.into_owned(),
                    })
                    .collect(),
            )),
        };
        Node { at: self.at, value }
    }

    /// Gives it and all in it one place.
    pub fn move_to(&mut self, at: Place) {
        self.at = at;
        match &mut self.value {
            Value::Array(nodes) => nodes.iter_mut().for_each(|n| n.move_to(at)),
            Value::Table(Table(entries)) => {
                for entry in entries {
                    entry.at = at;
                    entry.node.move_to(at);
                }
            }
            _ => {}
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Bool(_) => "a bool",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) | Value::Cell { .. } | Value::Formula(_) => "text",
            Value::Date => "a date",
            Value::Absent => "nothing",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A part of a key such as `device[2].name`.
pub(super) enum Step<'k> {
    Key(&'k str),
    Index(usize),
}

pub(super) fn steps(key: &str) -> impl Iterator<Item = Step<'_>> {
    key.split(['.', '[']).filter(|s| !s.is_empty()).map(|part| {
        match part.strip_suffix(']').and_then(|n| n.parse().ok()) {
            Some(i) => Step::Index(i),
            None => Step::Key(part),
        }
    })
}

/// Reads a TOML text whose places begin at `base`. What cannot be read is left out and told with its place, so
/// that the rest can be looked at as well.
pub fn parse_tree(text: &str, base: Place) -> (Node<'_>, Vec<(Place, String)>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let place = |at: usize| base.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
    let mut wrong: Vec<_> = errors
        .iter()
        .map(|e| (place(e.span().map_or(0, |s| s.start)), e.message().replace('\n', ", ")))
        .collect();
    let node = Node { at: base, value: Value::Table(table(root.into_inner(), &place, &mut wrong)) };
    (node, wrong)
}

type Wrong = Vec<(Place, String)>;

fn table<'a>(from: DeTable<'a>, place: &dyn Fn(usize) -> Place, wrong: &mut Wrong) -> Table<'a> {
    let mut entries: Vec<_> = from
        .into_iter()
        .map(|(key, value)| Entry {
            at: place(key.span().start),
            key: key.into_inner(),
            node: node(value, place, wrong),
        })
        .collect();
    entries.sort_by_key(|e| e.at);
    Table(entries)
}

fn node<'a>(from: Spanned<DeValue<'a>>, place: &dyn Fn(usize) -> Place, wrong: &mut Wrong) -> Node<'a> {
    let at = place(from.span().start);
    let value = match from.into_inner() {
        DeValue::String(text) => Value::Text(text),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Value::Integer(n),
            Err(_) => {
                wrong.push((at, format!("{n} is not a whole number of 64 bits")));
                Value::Integer(0)
            }
        },
        DeValue::Float(x) => Value::Float(x.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(a) => Value::Array(a.into_iter().map(|n| node(n, place, wrong)).collect()),
        DeValue::Table(t) => Value::Table(table(t, place, wrong)),
    };
    Node { at, value }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
