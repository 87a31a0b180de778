//! What changes between two configurations, point by point and key by key.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use common::config::{Node, read_tree};
use serde::Serialize;

use super::super::files::Files;
use super::super::sections::PointSection;
use super::{Kinds, spell};

/// A key whose value changes; empty where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Such as `modbus.address`.
    pub key: String,
    /// What it was.
    pub from: String,
    /// What it will be.
    pub to: String,
}

/// Points that come, go and change, each as `device/point`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// New ones, with their keys.
    pub added: Vec<(String, Vec<Change>)>,
    /// Those that go.
    pub removed: Vec<String>,
    /// Those that change, with the keys that do.
    pub changed: Vec<(String, Vec<Change>)>,
    /// How many stay as they are.
    pub unchanged: usize,
}

/// The points of a configuration as they are compared, in their order.
pub(super) struct Points<'f>(Vec<Compared<'f>>);

struct Compared<'f> {
    path: String,
    node: Cow<'f, Node<'f>>,
}

impl Compared<'_> {
    /// None if it has mistakes.
    fn typed(&self) -> Option<PointSection> {
        read_tree(&self.node, &mut |_| {})
    }

    fn keys(&self, kinds: &Kinds) -> BTreeMap<String, String> {
        let mut cells = Vec::new();
        kinds.flatten(&self.node, &mut cells);
        cells.into_iter().map(|(key, out)| (key, spell(&out))).collect()
    }
}

impl<'f> Points<'f> {
    pub(super) fn of(files: &'f Files<'f>) -> Self {
        let mut all = Vec::new();
        for located in &files.devices {
            for (node, _) in files.points_of(located) {
                let name = node.find("name").and_then(Node::text).unwrap_or_default();
                all.push(Compared { path: format!("{}/{name}", located.device.name), node });
            }
        }
        Self(all)
    }
}

impl Difference {
    pub(super) fn between(old: &Points<'_>, new: &Points<'_>, kinds: &Kinds) -> Self {
        let before: HashMap<&str, &Compared<'_>> = old.0.iter().map(|p| (p.path.as_str(), p)).collect();
        let after: HashSet<&str> = new.0.iter().map(|p| p.path.as_str()).collect();
        let mut difference = Self::default();
        for point in &new.0 {
            let Some(was) = before.get(point.path.as_str()) else {
                let keys = changes(&BTreeMap::new(), &point.keys(kinds));
                difference.added.push((point.path.clone(), keys));
                continue;
            };
            match (was.typed(), point.typed()) {
                (Some(a), Some(b)) if a == b => difference.unchanged += 1,
                _ => {
                    let keys = changes(&was.keys(kinds), &point.keys(kinds));
                    difference.changed.push((point.path.clone(), keys));
                }
            }
        }
        let gone = old.0.iter().filter(|p| !after.contains(p.path.as_str()));
        difference.removed = gone.map(|p| p.path.clone()).collect();
        difference
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

fn changes(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Vec<Change> {
    let mut changes = Vec::new();
    for key in from.keys().chain(to.keys().filter(|k| !from.contains_key(*k))) {
        let get = |map: &BTreeMap<String, String>| map.get(key).cloned().unwrap_or_default();
        let change = Change { key: key.clone(), from: get(from), to: get(to) };
        if change.from != change.to && key != "name" {
            changes.push(change);
        }
    }
    changes
}

/// Points told one by one; the rest is a number.
const TOLD: usize = 200;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |f: &mut fmt::Formatter<'_>, all: usize| match all.checked_sub(TOLD) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "  ... and {more} more"),
        };
        for path in self.removed.iter().take(TOLD) {
            writeln!(f, "- {path}")?;
        }
        some(f, self.removed.len())?;
        for (path, keys) in self.added.iter().take(TOLD) {
            let keys: Vec<_> = keys.iter().map(|c| format!("{} {}", c.key, c.to)).collect();
            writeln!(f, "+ {path}: {}", keys.join(", "))?;
        }
        some(f, self.added.len())?;
        for (path, keys) in self.changed.iter().take(TOLD) {
            let none = |t: &str| if t.is_empty() { "(none)".to_owned() } else { t.to_owned() };
            let keys: Vec<_> =
                keys.iter().map(|c| format!("{} {} -> {}", c.key, none(&c.from), none(&c.to))).collect();
            writeln!(f, "~ {path}: {}", keys.join(", "))?;
        }
        some(f, self.changed.len())?;
        let (added, removed) = (self.added.len(), self.removed.len());
        write!(
            f,
            "{added} added, {removed} removed, {} changed, {} as before",
            self.changed.len(),
            self.unchanged
        )
    }
}
