//! Trees are read as types: all mistakes at once, each at its place, and text by what is expected.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::config::tree::{Table, parse_tree};

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Coil,
    Holding,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Address {
    Number(u16),
    Text(String),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    kind: Kind,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    at: Option<Address>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    name: String,
    #[serde(default)]
    count: u16,
    #[serde(default)]
    scale: Option<f64>,
    #[serde(default)]
    inner: Vec<Inner>,
    #[serde(default)]
    map: BTreeMap<String, u8>,
}

fn read(text: &str) -> (Option<Outer>, Vec<String>) {
    let (tree, wrong) = parse_tree(text, 0);
    assert_eq!(wrong, []);
    let mut told = Vec::new();
    let value = read_tree(&tree, &mut |w: Wrong| {
        let line = text[..w.at as usize].matches('\n').count() + 1;
        told.push(format!("{line} {}: {}", w.key, w.message));
    });
    (value, told)
}

#[test]
fn a_good_tree_is_read() {
    let (value, told) = read(
        "name = \"n\"\ncount = 3\nscale = 2\nmap = { a = 1 }\n[[inner]]\nkind = \"coil\"\non = true\nat = \"4x1\"\n[[inner]]\nkind = \"holding\"\nat = 7\n",
    );
    assert_eq!(told, [""; 0]);
    let value = value.unwrap();
    assert_eq!((value.name.as_str(), value.count, value.scale, value.map["a"]), ("n", 3, Some(2.0), 1));
    assert_eq!(value.inner[0], Inner { kind: Kind::Coil, on: true, at: Some(Address::Text("4x1".into())) });
    assert_eq!(value.inner[1].at, Some(Address::Number(7)));
}

#[test]
fn every_mistake_is_told_at_once_at_its_place() {
    let (value, told) = read(
        "cuont = 3\ncount = 70000\nscale = \"x\"\nname = \"n\"\n[[inner]]\nknid = \"coil\"\nkind = \"hodling\"\non = 1\n[[inner]]\n",
    );
    assert_eq!(value.map(|v| v.name), Some("n".to_owned()), "the rest is read");
    let expected = [
        "1 cuont: unknown key `cuont`: did you mean `count`? expected one of `name`, `count`",
        "2 count: invalid value: integer `70000`, expected u16",
        "3 scale: invalid type: string \"x\", expected f64",
        "6 inner[0].knid: unknown key `knid`: did you mean `kind`? expected one of",
        "7 inner[0].kind: `hodling` is not known: did you mean `holding`? expected one of `coil`, `holding`",
        "8 inner[0].on: invalid type: integer `1`, expected a boolean",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
    // The first of the list misses its key because it was wrong: that is not told twice. The second never had one.
    assert_eq!(told[6..], ["9 inner[1]: missing key `kind`"], "{told:#?}");
    let (value, told) = read("name = \"n\"\n[[inner]]\n[[inner]]\nkind = 1\n[[inner]]\nkind = \"coil\"\n");
    assert_eq!(value.map(|v| v.inner.len()), Some(1));
    assert!(
        told[0].starts_with("2 inner[0]: missing key") && told[1].starts_with("4 inner[1].kind"),
        "{told:#?}"
    );
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    name: String,
    kind: Kind,
    count: u16,
    on: bool,
    parts: Vec<u8>,
    map: BTreeMap<String, u8>,
    inner: Inner,
    any: Address,
    #[serde(default)]
    note: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Fulls {
    #[serde(default)]
    title: String,
    #[serde(default)]
    full: Vec<Full>,
}

#[test]
fn every_missing_key_is_told_at_once_with_what_is_wrong_beside_it() {
    let text = "title = \"t\"\n[[full]]\nnote = \"x\"\n[[full]]\nname = \"b\"\ncount = \"many\"\nniote = 1\n\
                inner = { on = true }\n[[full]]\nname = \"c\"\nkind = \"coil\"\ncount = 1\non = true\nparts = []\n\
                map = {}\ninner = { kind = \"coil\" }\nany = 1\n";
    let (tree, _) = parse_tree(text, 0);
    let mut told = Vec::new();
    let value = read_tree::<Fulls>(&tree, &mut |w: Wrong| {
        let line = text[..w.at as usize].matches('\n').count() + 1;
        told.push((line, w.key, w.message.split(':').next().unwrap_or_default().to_owned()));
    });
    let told: Vec<_> = told.iter().map(|(l, k, m)| (*l, k.as_str(), m.as_str())).collect();
    let mut expected: Vec<_> = [
        (2, "full[0]", "missing key `name`"),
        (2, "full[0]", "missing key `kind`"),
        (2, "full[0]", "missing key `count`"),
        (2, "full[0]", "missing key `on`"),
        (2, "full[0]", "missing key `parts`"),
        (2, "full[0]", "missing key `map`"),
        (2, "full[0]", "missing key `inner`"),
        (2, "full[0]", "missing key `any`"),
        (4, "full[1]", "missing key `kind`"),
        (4, "full[1]", "missing key `on`"),
        (4, "full[1]", "missing key `parts`"),
        (4, "full[1]", "missing key `map`"),
        (4, "full[1]", "missing key `any`"),
        (6, "full[1].count", "invalid type"),
        (7, "full[1].niote", "unknown key `niote`"),
        (8, "full[1].inner", "missing key `kind`"),
    ]
    .into();
    let mut sorted = told.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected, "{told:#?}");
    // The whole one is read, and nothing is made up for the others.
    let value = value.unwrap();
    assert_eq!((value.title.as_str(), value.full.len(), value.full[0].name.as_str()), ("t", 1, "c"));
    let mut told = 0;
    assert_eq!(read_tree::<Full>(&parse_tree("note = \"n\"", 0).0, &mut |_| told += 1), None);
    assert_eq!(told, 8);
}

fn cell(text: &str, comma: bool) -> Node<'_> {
    Node { at: 0, value: Value::Cell { text: Cow::Borrowed(text), comma } }
}

fn formula(text: &str) -> Node<'_> {
    Node { at: 0, value: Value::Formula(text.to_owned()) }
}

fn value<T: DeserializeOwned>(node: &Node<'_>) -> Result<T, String> {
    let mut told = None;
    read_tree(node, &mut |w: Wrong| told = Some(w.message)).ok_or_else(|| told.unwrap_or_default())
}

#[test]
fn a_cell_is_what_is_expected() {
    assert_eq!(value::<u16>(&cell(" 100.0 ", false)), Ok(100));
    assert_eq!(value::<u16>(&cell("1E+02", false)), Ok(100));
    assert_eq!(value::<f64>(&cell("4,5", true)), Ok(4.5));
    assert!(value::<f64>(&cell("1,000", false)).is_err(), "it may mean a thousand");
    assert!(value::<f64>(&cell("1,000,000", true)).is_err());
    assert!(value::<f64>(&cell("nan", false)).is_err());
    assert!(value::<u16>(&cell("4.5", false)).is_err());
    assert_eq!(value::<String>(&cell("007", false)), Ok("007".to_owned()));
    assert_eq!(value::<bool>(&cell("TRUE", false)), Ok(true));
    assert_eq!(value::<bool>(&cell("0", false)), Ok(false));
    assert!(value::<bool>(&cell("maybe", false)).is_err());
    assert_eq!(value::<Kind>(&cell("coil", false)), Ok(Kind::Coil));
    assert_eq!(value::<Address>(&cell("40001", false)), Ok(Address::Number(40_001)));
    assert_eq!(value::<Address>(&cell("4x1", false)), Ok(Address::Text("4x1".into())));
    assert_eq!(value::<Option<f64>>(&cell("-2", false)), Ok(Some(-2.0)));
}

#[test]
fn a_formula_is_computed_where_a_number_is_expected_and_text_elsewhere() {
    assert_eq!(value::<u16>(&formula("100+4")), Ok(104));
    assert_eq!(value::<f64>(&formula("1/4")), Ok(0.25));
    assert_eq!(value::<String>(&formula("1/4")), Ok("1/4".to_owned()));
    assert_eq!(value::<Address>(&formula("100+4")), Ok(Address::Number(104)));
    assert_eq!(value::<bool>(&formula("true")), Ok(true));
    assert_eq!(value::<Kind>(&formula("holding")), Ok(Kind::Holding));
    assert!(value::<u16>(&formula("7/2")).is_err());
    assert!(value::<u16>(&formula("x+1")).is_err());
}

#[test]
fn a_struct_tells_its_keys() {
    assert_eq!(keys_of::<Outer>(), ["name", "count", "scale", "inner", "map"]);
    assert_eq!(keys_of::<Option<Inner>>(), ["kind", "on", "at"]);
    assert_eq!(keys_of::<String>(), [""; 0]);
    assert!(Table::default().get("x").is_none());
}
