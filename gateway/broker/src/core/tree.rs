//! Who wants what: subscriptions in a tree of topic levels. A message visits only the nodes that match it.

use std::collections::HashMap;
use std::sync::Arc;

/// Deepest filter. Deeper ones have no use in a plant, and the tree is walked by recursion.
pub(crate) const MAX_LEVELS: usize = 100;

/// Who subscribed: a session, or a reader inside of the gateway, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    Session(usize),
    Tap(usize),
}

/// One subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) as_published: bool,
    pub(crate) id: Option<u32>,
}

/// Members that share a subscription: each message goes to one of them.
#[derive(Debug)]
pub(crate) struct Group {
    name: Box<str>,
    /// `$share/<name>/<filter>`
    pub(crate) filter: Arc<str>,
    pub(crate) members: Vec<Entry>,
    pub(crate) next: usize,
}

#[derive(Debug, Default)]
struct Leaf {
    direct: Vec<Entry>,
    groups: Vec<Group>,
}

impl Leaf {
    fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups.is_empty()
    }
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    plus: Option<Box<Node>>,
    here: Leaf,
    rest: Leaf,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.rest.is_empty()
    }
}

/// A filter taken apart: `$share/<group>/<filter>` or a plain one.
pub(crate) fn parts(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, rest)) => (Some(group), rest),
        None => (None, filter),
    }
}

/// The tree.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: Node,
}

impl Tree {
    /// Puts a subscription, or replaces that of the same target and filter.
    pub(crate) fn insert(&mut self, filter: &str, entry: Entry) {
        let (group, path) = parts(filter);
        let leaf = self.leaf(path);
        let list = match group {
            None => &mut leaf.direct,
            Some(name) => {
                let at = leaf.groups.iter().position(|g| &*g.name == name).unwrap_or_else(|| {
                    let (name, filter) = (name.into(), filter.into());
                    leaf.groups.push(Group { name, filter, members: Vec::new(), next: 0 });
                    leaf.groups.len() - 1
                });
                match leaf.groups.get_mut(at) {
                    Some(group) => &mut group.members,
                    None => return,
                }
            }
        };
        match list.iter_mut().find(|e| e.target == entry.target) {
            Some(old) => *old = entry,
            None => list.push(entry),
        }
    }

    fn leaf(&mut self, path: &str) -> &mut Leaf {
        let mut node = &mut self.root;
        for level in path.split('/') {
            match level {
                "#" => return &mut node.rest,
                "+" => node = node.plus.get_or_insert_default(),
                name => node = node.children.entry(name.into()).or_default(),
            }
        }
        &mut node.here
    }

    /// Takes a subscription away, and every node that nothing needs any more.
    pub(crate) fn remove(&mut self, filter: &str, target: Target) {
        let (group, path) = parts(filter);
        let levels: Vec<&str> = path.split('/').collect();
        prune(&mut self.root, &levels, group, target);
    }

    /// Every subscription that a topic matches, and every group that shares one.
    pub(crate) fn find(&mut self, topic: &str, direct: &mut Vec<Entry>, mut group: impl FnMut(&mut Group)) {
        // Topics that begin with `$` match no wildcard at their first level.
        let first = !topic.starts_with('$');
        walk(&mut self.root, Some(topic), first, direct, &mut group);
    }

    /// The members of a shared subscription.
    pub(crate) fn group(&mut self, filter: &str) -> Option<&mut Group> {
        let (Some(name), path) = parts(filter) else { return None };
        let mut node = &mut self.root;
        for level in path.split('/') {
            match level {
                "#" => return node.rest.groups.iter_mut().find(|g| &*g.name == name),
                "+" => node = node.plus.as_mut()?,
                level => node = node.children.get_mut(level)?,
            }
        }
        node.here.groups.iter_mut().find(|g| &*g.name == name)
    }
}

fn walk(
    node: &mut Node,
    topic: Option<&str>,
    wild: bool,
    direct: &mut Vec<Entry>,
    group: &mut impl FnMut(&mut Group),
) {
    if wild {
        direct.extend(&node.rest.direct);
        node.rest.groups.iter_mut().for_each(&mut *group);
    }
    let Some(topic) = topic else {
        direct.extend(&node.here.direct);
        node.here.groups.iter_mut().for_each(group);
        return;
    };
    let (level, rest) = match topic.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (topic, None),
    };
    if let Some(child) = node.children.get_mut(level) {
        walk(child, rest, true, direct, group);
    }
    if wild && let Some(plus) = &mut node.plus {
        walk(plus, rest, true, direct, group);
    }
}

fn prune(node: &mut Node, levels: &[&str], group: Option<&str>, target: Target) {
    let Some((level, rest)) = levels.split_first() else {
        return drop_from(&mut node.here, group, target);
    };
    match *level {
        "#" => drop_from(&mut node.rest, group, target),
        "+" => {
            if let Some(plus) = &mut node.plus {
                prune(plus, rest, group, target);
                if plus.is_empty() {
                    node.plus = None;
                }
            }
        }
        name => {
            if let Some(child) = node.children.get_mut(name) {
                prune(child, rest, group, target);
                if child.is_empty() {
                    node.children.remove(name);
                }
            }
        }
    }
}

fn drop_from(leaf: &mut Leaf, group: Option<&str>, target: Target) {
    match group {
        None => leaf.direct.retain(|e| e.target != target),
        Some(name) => {
            for group in leaf.groups.iter_mut().filter(|g| &*g.name == name) {
                group.members.retain(|e| e.target != target);
            }
            leaf.groups.retain(|g| !g.members.is_empty());
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
