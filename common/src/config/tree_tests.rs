//! Trees keep every value's place, also over syntax errors and over several files.

use proptest::prelude::*;

use super::*;

#[test]
fn every_value_knows_its_place_from_the_base_on() {
    let text = "a = 1\n[[d]]\nx = \"t\"\nm = { b = true }\n";
    let (tree, wrong) = parse_tree(text, 1000);
    assert_eq!(wrong, []);
    let at = |key: &str| (tree.find(key).unwrap().at - 1000) as usize;
    assert!(text[at("a")..].starts_with("1\n"));
    assert!(text[at("d[0].x")..].starts_with("\"t\""));
    assert!(text[at("d[0].m.b")..].starts_with("true"));
    assert!(text[at("d[0]")..].starts_with("[[d]]"));
    assert_eq!(tree.find("d[1]"), None);
    assert_eq!(tree.nearest("d[0].m.none.deeper").at, tree.find("d[0].m").unwrap().at);
    let entry = &tree.table().unwrap().0[0];
    assert_eq!((entry.key.as_ref(), entry.at), ("a", 1000));
}

#[test]
fn what_follows_a_syntax_error_is_still_read() {
    let (tree, wrong) = parse_tree("a = \nb = 2\n[c\n[d]\ne = 3\n", 0);
    assert!(wrong.len() >= 2, "{wrong:?}");
    assert_eq!(tree.find("b").map(|n| &n.value), Some(&Value::Integer(2)));
    assert_eq!(tree.find("d.e").map(|n| &n.value), Some(&Value::Integer(3)));
    let (_, wrong) = parse_tree("a = 99999999999999999999\n", 0);
    assert!(wrong[0].1.contains("64 bits"), "{wrong:?}");
}

#[test]
fn tables_keep_the_order_of_the_file() {
    let (tree, _) = parse_tree("z = 1\na = 2\nm = 3\n", 0);
    let keys: Vec<_> = tree.table().unwrap().0.iter().map(|e| e.key.as_ref()).collect();
    assert_eq!(keys, ["z", "a", "m"]);
}

proptest! {
    #[test]
    fn any_text_gives_a_tree(text in "\\PC{0,80}") {
        let _ = parse_tree(&text, 7);
    }
}
