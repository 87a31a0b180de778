//! The asset tree (enterprise/site/area/line/cell, ISA-95) as paths: `site/area/line/cell...`, the
//! enterprise being the empty path.

use std::collections::BTreeMap;

use common::TwinId;
use common::api::{AssetKind, AssetNode};

/// Whether `path` is `node` or lies below it. Everything lies below the enterprise.
pub fn is_under(path: &str, node: &str) -> bool {
    node.is_empty() || path.strip_prefix(node).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The area of a path: its first two parts, or all of a shorter one.
pub fn area_of(path: &str) -> &str {
    path.match_indices('/').nth(1).map_or(path, |(at, _)| &path[..at])
}

/// The last part of a path.
pub fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `name` means the twin at `path`: the whole path or a trailing part of it.
pub fn is_named(path: &str, name: &str) -> bool {
    path == name || path.strip_suffix(name).is_some_and(|front| front.ends_with('/'))
}

/// The tree above some twins, by path.
pub fn tree<'a>(twins: impl IntoIterator<Item = (TwinId, &'a str)>) -> Vec<AssetNode> {
    let mut nodes: BTreeMap<&str, Vec<TwinId>> = BTreeMap::from([("", vec![])]);
    for (id, path) in twins {
        for (at, _) in path.match_indices('/') {
            nodes.entry(&path[..at]).or_default();
        }
        nodes.entry(path).or_default().push(id);
    }
    let kind = |path: &str| match path.split('/').filter(|p| !p.is_empty()).count() {
        0 => AssetKind::Enterprise,
        1 => AssetKind::Site,
        2 => AssetKind::Area,
        3 => AssetKind::Line,
        _ => AssetKind::Cell,
    };
    nodes
        .into_iter()
        .map(|(path, twins)| AssetNode {
            path: path.into(),
            name: name_of(path).into(),
            kind: kind(path),
            twins,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_whole_parts() {
        assert!(is_under("a/b/c", "a/b") && is_under("a/b", "a/b") && is_under("x", ""));
        assert!(!is_under("a/bc", "a/b") && !is_under("a", "a/b"));
        assert_eq!(area_of("p/coating/line1/oven"), "p/coating");
        assert_eq!(area_of("p/coating"), "p/coating");
        assert_eq!(area_of("p"), "p");
        assert!(is_named("p/c/line1/oven", "line1/oven") && is_named("p/c", "p/c"));
        assert!(!is_named("p/c/line1/oven", "1/oven"));
    }

    #[test]
    fn the_tree_has_every_node_above_a_twin_once() {
        let id = TwinId(uuid::Uuid::nil());
        let nodes = tree([(id, "p/c/l/oven"), (id, "p/c/l/press")]);
        let paths: Vec<_> = nodes.iter().map(|n| n.path.as_str()).collect();
        assert_eq!(paths, ["", "p", "p/c", "p/c/l", "p/c/l/oven", "p/c/l/press"]);
        assert_eq!(nodes[2].kind, AssetKind::Area);
    }
}
