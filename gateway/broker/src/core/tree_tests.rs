//! The tree against the matcher of the whole gateway, on generated topics and filters.

use gateway_core::messages::matches;

use super::*;

fn entry(n: usize) -> Entry {
    Entry { target: Target::Session(n), qos: 0, no_local: false, as_published: false, id: None }
}

fn found(tree: &mut Tree, topic: &str) -> Vec<usize> {
    let (mut direct, mut shared) = (Vec::new(), Vec::new());
    tree.find(topic, &mut direct, |g| shared.extend(g.members.iter().copied()));
    let number = |e: Entry| match e.target {
        Target::Session(n) | Target::Tap(n) => n,
    };
    let mut all: Vec<_> = direct.into_iter().chain(shared).map(number).collect();
    all.sort_unstable();
    all
}

#[test]
fn the_tree_finds_what_the_matcher_matches_and_forgets_what_is_removed() {
    let words = ["", "a", "b", "$c"];
    let mut topics: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    let mut filters: Vec<String> = words.iter().chain(&["+", "#"]).map(|w| (*w).to_owned()).collect();
    for _ in 0..2 {
        let more: Vec<_> =
            topics.iter().flat_map(|t| words.iter().map(move |w| format!("{t}/{w}"))).collect();
        topics.extend(more);
        let more: Vec<_> = filters
            .iter()
            .filter(|f| !f.ends_with('#'))
            .flat_map(|f| words.iter().chain(&["+", "#"]).map(move |w| format!("{f}/{w}")))
            .collect();
        filters.extend(more);
    }
    for table in [&mut topics, &mut filters] {
        table.retain(|t| !t.is_empty());
        table.sort();
        table.dedup();
    }
    let mut tree = Tree::default();
    for (n, filter) in filters.iter().enumerate() {
        let shared = format!("$share/g/{filter}");
        tree.insert(if n % 3 == 0 { &shared } else { filter }, entry(n));
    }
    for topic in &topics {
        let expected: Vec<_> = (0..filters.len()).filter(|n| matches(topic, &filters[*n])).collect();
        assert_eq!(found(&mut tree, topic), expected, "{topic}");
    }
    for (n, filter) in filters.iter().enumerate() {
        let shared = format!("$share/g/{filter}");
        tree.remove(if n % 3 == 0 { &shared } else { filter }, Target::Session(n));
    }
    assert!(tree.root.is_empty());
}

#[test]
fn a_filter_of_the_same_target_is_replaced() {
    let mut tree = Tree::default();
    tree.insert("a/+", entry(1));
    tree.insert("a/+", Entry { qos: 2, ..entry(1) });
    let mut direct = Vec::new();
    tree.find("a/b", &mut direct, |_| {});
    assert_eq!(direct, [Entry { qos: 2, ..entry(1) }]);
}
