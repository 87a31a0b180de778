//! What changes between two configurations, point by point and key by key.

use std::collections::{BTreeMap, HashMap};
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

/// The points of a configuration as they are compared.
pub(super) struct Points(pub(super) BTreeMap<(usize, usize), Compared>);

pub(super) struct Compared {
    path: String,
    /// None if it has mistakes.
    typed: Option<PointSection>,
    keys: BTreeMap<String, String>,
}

impl Points {
    pub(super) fn of(files: &Files<'_>, kinds: &Kinds) -> Self {
        let mut all = BTreeMap::new();
        for (device, located) in files.devices.iter().enumerate() {
            for (at, (node, _)) in files.points_of(located).into_iter().enumerate() {
                let name = node.find("name").and_then(Node::text).unwrap_or_default();
                let mut cells = Vec::new();
                kinds.flatten(&node, &mut cells);
                let keys = cells.iter().map(|(key, out)| (key.clone(), spell(out))).collect();
                let path = format!("{}/{name}", located.device.name);
                all.insert((device, at), Compared { path, typed: read_tree(&node, &mut |_| {}), keys });
            }
        }
        Self(all)
    }
}

impl Difference {
    pub(super) fn between(old: &Points, new: &Points) -> Self {
        let by_path = |points: &Points| -> HashMap<String, (usize, usize)> {
            points.0.iter().map(|(at, p)| (p.path.clone(), *at)).collect()
        };
        let (before, after) = (by_path(old), by_path(new));
        let mut difference = Self::default();
        for point in new.0.values() {
            let Some(was) = before.get(&point.path).and_then(|at| old.0.get(at)) else {
                difference.added.push((point.path.clone(), changes(&BTreeMap::new(), &point.keys)));
                continue;
            };
            match (&was.typed, &point.typed) {
                (Some(a), Some(b)) if a == b => difference.unchanged += 1,
                _ => difference.changed.push((point.path.clone(), changes(&was.keys, &point.keys))),
            }
        }
        let gone = old.0.values().filter(|p| !after.contains_key(&p.path));
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
