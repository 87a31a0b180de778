//! The configuration that makes points of nodes. Pure but for the file.

use std::collections::HashSet;
use std::path::Path;

use common::api::OpcuaNode;
use common::{Label, ValueType};

use crate::error::{Error, Result};
use crate::exit::Exit;

/// Longest name of a point.
const LONGEST: usize = 63;

/// A file that is there is somebody's work.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let told = |e: std::io::Error| Error::new(Exit::Failed, format!("{}: {e}", path.display()));
    let mut file = std::fs::File::create_new(path).map_err(told)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(told)
}

/// Whether a path fits a pattern, in which `*` stands for any text.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A text as TOML writes it: JSON's escapes are TOML's as well.
pub(in crate::cmd) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A device with a point for every variable that can be one. What is writable is read only here: its limits are for a
/// person to say. Methods are remarks for the same reason.
pub(in crate::cmd) fn device(
    name: &str,
    asset: &str,
    server: &str,
    insecure: bool,
    nodes: &[OpcuaNode],
) -> String {
    let mut text =
        format!("[[device]]\nname = {}\nasset = {}\n\n[device.opcua]\n", quoted(name), quoted(asset));
    if server.contains("://") {
        text += &format!("url = {}\n", quoted(server));
        if insecure {
            text += "security = \"none\"\n";
        }
    } else {
        text += &format!("# the server of device {server}\nurl = \"\"\n");
    }
    let mut names = HashSet::new();
    let mut left_out = 0;
    for node in nodes {
        match (node.class.as_str(), node.value_type) {
            ("Variable", Some(value_type)) if node.readable => {
                variable(&mut text, &mut names, node, value_type);
            }
            ("Method", _) => method(&mut text, &mut names, node),
            ("Variable", _) => left_out += 1,
            _ => {}
        }
    }
    if left_out > 0 {
        text +=
            &format!("\n# {left_out} variables are structures, cannot be read, or have no type of a point\n");
    }
    text
}

fn variable(text: &mut String, names: &mut HashSet<String>, node: &OpcuaNode, value_type: ValueType) {
    let name = unique(names, &node.path);
    *text += &format!("\n[[device.point]]\nname = {}\ntype = \"{}\"\n", quoted(&name), type_name(value_type));
    *text += &format!("description = {}\n", quoted(&node.path));
    if has_labels(value_type) && !node.labels.is_empty() {
        let one = |l: &Label| format!("{{ value = {}, text = {} }}", l.value, quoted(&l.text));
        let all: Vec<String> = node.labels.iter().map(one).collect();
        *text += &format!("labels = [{}]\n", all.join(", "));
    }
    let index = if node.array.is_some() { ", index = 0" } else { "" };
    *text += &format!("opcua = {{ node = {}{index} }}\n", quoted(&node.node));
    if node.writable && node.array.is_none() {
        *text += "# it may be written: access = \"read_write\" with write_min and write_max\n";
    }
}

fn method(text: &mut String, names: &mut HashSet<String>, node: &OpcuaNode) {
    let Some(object) = &node.object else { return };
    let name = unique(names, &node.path);
    *text += &format!(
        "\n# a method:\n# [[device.point]]\n# name = {}\n# type = \"bool\"\n# access = \"write\"\n",
        quoted(&name)
    );
    *text += &format!("# opcua = {{ node = {}, method = {} }}\n", quoted(object), quoted(&node.node));
}

/// A name of a point from the end of a path: letters, digits, `_`, `-` and `.`; longer where shorter ones are taken.
fn unique(names: &mut HashSet<String>, path: &str) -> String {
    let usual = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    let parts: Vec<String> = path.split('/').map(|p| p.chars().map(usual).collect::<String>()).collect();
    for take in 1..=parts.len() {
        let name = parts.get(parts.len() - take..).unwrap_or_default().join(".");
        let name: String = name.chars().take(LONGEST).collect();
        let starts = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if starts && names.insert(name.clone()) {
            return name;
        }
    }
    let base: String = parts.last().map(|p| p.chars().take(LONGEST - 8).collect()).unwrap_or_default();
    let mut n = 2u32;
    loop {
        let name = format!("p{base}_{n}");
        if names.insert(name.clone()) {
            return name;
        }
        n += 1;
    }
}

fn has_labels(value_type: ValueType) -> bool {
    matches!(value_type, ValueType::Bool | ValueType::I64 | ValueType::U64)
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Bool => "bool",
        ValueType::I64 => "i64",
        ValueType::U64 => "u64",
        ValueType::F64 => "f64",
        ValueType::Text => "text",
        ValueType::Bytes => "bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, class: &str) -> OpcuaNode {
        OpcuaNode {
            node: format!("nsu=http://a;s={path}"),
            path: path.to_owned(),
            class: class.to_owned(),
            data_type: Some("Double".to_owned()),
            value_type: Some(ValueType::F64),
            array: None,
            labels: Vec::new(),
            object: Some("i=85".to_owned()),
            readable: true,
            writable: true,
        }
    }

    #[test]
    fn patterns_fit_whole_paths() {
        for (pattern, path, expected) in [
            ("*", "a/b", true),
            ("a/b", "a/b", true),
            ("a", "a/b", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/cd", false),
            ("*Temp", "Plant/Temp", true),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn an_enumeration_gets_the_labels_of_the_server() {
        let label = |value, text: &str| Label { value, text: text.to_owned() };
        let mut mode = node("Plant/Mode", "Variable");
        mode.value_type = Some(ValueType::I64);
        mode.labels = vec![label(0, "Off"), label(2, "with \"quotes\"")];
        let text = device("press", "plant/press", "opc.tcp://h:4840", false, &[mode]);
        let read: toml::Table = toml::from_str(&text).unwrap();
        let labels = read["device"][0]["point"][0]["labels"].as_array().unwrap();
        assert_eq!(labels[1]["value"].as_integer(), Some(2));
        assert_eq!(labels[1]["text"].as_str(), Some("with \"quotes\""));
    }

    #[test]
    fn what_is_made_is_a_device_with_points_of_different_names() {
        let nodes = [
            node("Plant/A/Temp", "Variable"),
            node("Plant/B/Temp", "Variable"),
            node("Plant/Start", "Method"),
        ];
        let text = device("press", "plant/press", "opc.tcp://h:4840", true, &nodes);
        let read: toml::Table = toml::from_str(&text).unwrap();
        let device = &read["device"][0];
        assert_eq!(device["opcua"]["security"].as_str(), Some("none"));
        let names: Vec<_> = device["point"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["Temp", "B.Temp"]);
        assert!(
            text.contains("# opcua = { node = \"i=85\", method = \"nsu=http://a;s=Plant/Start\" }"),
            "{text}"
        );
    }
}
