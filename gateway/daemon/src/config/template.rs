//! Templates: a device's keys and points written once, with parameters in braces. `{base}` in a text stands for
//! the parameter, `{base + 4}` for a sum, `{{` and `}}` for braces; where a number is expected, the text that
//! results is computed, so `address = "{base}+4"` is one as well.

use std::collections::{HashMap, HashSet};

use common::config::{Entry, Node, Place, Table, Value, compute, did_you_mean, nearest};

use super::files::Files;

/// The name of the device: a parameter that every template has.
const DEVICE: &str = "device";

/// A template; its keys and points are in the tree of its file.
pub(super) struct Template {
    pub(super) source: usize,
    pub(super) index: usize,
    pub(super) name: String,
    parameters: Vec<Parameter>,
}

struct Parameter {
    name: String,
    kind: Kind,
    default: Option<Node<'static>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Number,
    Text,
    Bool,
    Any,
}

const KINDS: [(&str, Kind); 4] =
    [("integer", Kind::Integer), ("number", Kind::Number), ("text", Kind::Text), ("bool", Kind::Bool)];

impl Kind {
    fn of(node: &Node<'_>) -> Self {
        match node.value {
            Value::Integer(_) => Self::Integer,
            Value::Float(_) => Self::Number,
            Value::Bool(_) => Self::Bool,
            Value::Text(_) => Self::Text,
            _ => Self::Any,
        }
    }

    fn takes(self, node: &Node<'_>) -> bool {
        match self {
            Self::Integer => matches!(node.value, Value::Integer(_)),
            Self::Number => matches!(node.value, Value::Integer(_) | Value::Float(_)),
            // A number may stand in a name.
            Self::Text => matches!(node.value, Value::Text(_) | Value::Integer(_)),
            Self::Bool => matches!(node.value, Value::Bool(_)),
            Self::Any => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Bool => "true or false",
            Self::Any => "any value",
        }
    }
}

/// Every template of the files. One that no device can use is told and left out.
pub(super) fn all(files: &mut Files<'_>) -> Vec<Template> {
    let mut templates: Vec<Template> = Vec::new();
    let mut wrong: Vec<(Place, String, String)> = Vec::new();
    let mut unused: Vec<(Place, String, String)> = Vec::new();
    for source in 0..files.count() {
        for (index, node) in files.list(source, "template").iter().enumerate() {
            let key = |key: &str| format!("template[{index}]{}{key}", if key.is_empty() { "" } else { "." });
            let Some(table) = node.table() else {
                wrong.push((node.at, key(""), "expected [[template]]".to_owned()));
                continue;
            };
            let Some(name) = table.get("name").and_then(Node::text) else {
                wrong.push((node.at, key("name"), "missing: a template needs a name".to_owned()));
                continue;
            };
            if templates.iter().any(|t| t.name == name) {
                let at = table.get("name").map_or(node.at, |n| n.at);
                wrong.push((at, key("name"), format!("template `{name}` stands twice")));
                continue;
            }
            let mut parameters = Vec::new();
            let used = used(node);
            for entry in table.get("parameters").and_then(Node::table).map(|t| &t.0).into_iter().flatten() {
                let key = key(&format!("parameters.{}", entry.key));
                match parameter(entry) {
                    Ok(parameter) => parameters.push(parameter),
                    Err((at, message)) => wrong.push((at, key.clone(), message)),
                }
                if !used.contains(entry.key.as_ref()) {
                    let message = format!("parameter `{}` is used nowhere in template `{name}`", entry.key);
                    unused.push((entry.at, key, message));
                }
            }
            templates.push(Template { source, index, name: name.to_owned(), parameters });
        }
    }
    let told: Vec<_> =
        wrong.into_iter().map(|(at, key, message)| files.mistake_at(at, &key, message)).collect();
    files.mistakes.extend(told);
    let told: Vec<_> =
        unused.into_iter().map(|(at, key, message)| files.mistake_at(at, &key, message)).collect();
    files.warnings.extend(told);
    templates
}

/// `name = default`, or `name = { type = "integer", default = 3, description = "..." }`.
fn parameter(entry: &Entry<'_>) -> Result<Parameter, (Place, String)> {
    let name = entry.key.to_string();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(word) || name == DEVICE {
        let message = "is not a name of a parameter: expected letters, digits and `_`, a letter first";
        let own = if name == DEVICE { ", and `device` is always the device's name" } else { "" };
        return Err((entry.at, format!("`{name}` {message}{own}")));
    }
    let Some(table) = entry.node.table() else {
        let kind = Kind::of(&entry.node);
        return Ok(Parameter { name, kind, default: Some(entry.node.clone().into_owned()) });
    };
    const KEYS: [&str; 3] = ["type", "default", "description"];
    if let Some(unknown) = table.0.iter().find(|e| !KEYS.contains(&e.key.as_ref())) {
        let meant = did_you_mean(&unknown.key, KEYS);
        let expected = "expected `type`, `default`, `description`";
        return Err((unknown.at, format!("unknown key `{}`{meant} {expected}", unknown.key)));
    }
    let default = table.get("default");
    let kind = match table.get("type") {
        None => default.map_or(Kind::Any, Kind::of),
        Some(node) => {
            let word = node.text().unwrap_or_default();
            match KINDS.iter().find(|(k, _)| *k == word) {
                Some((_, kind)) => *kind,
                None => {
                    let meant = did_you_mean(word, KINDS.iter().map(|(k, _)| *k));
                    let expected = "expected one of `integer`, `number`, `text`, `bool`";
                    return Err((node.at, format!("`{word}` is not known{meant} {expected}")));
                }
            }
        }
    };
    if let Some(default) = default.filter(|d| !kind.takes(d)) {
        return Err((
            default.at,
            format!("is {}: expected {}, as its type says", default.kind(), kind.name()),
        ));
    }
    Ok(Parameter { name, kind, default: default.cloned().map(Node::into_owned) })
}

/// The parameters of one device.
pub(super) struct Values<'v> {
    template: &'v Template,
    values: HashMap<&'v str, Node<'v>>,
}

type Mistaken = Vec<(Place, String, String)>;

impl<'v> Values<'v> {
    pub(super) fn of(template: &'v Template, own: &'v Table<'_>, wrong: &mut Mistaken) -> Self {
        let mut values = HashMap::new();
        let given = own.get("parameters").and_then(Node::table);
        for entry in given.map(|t| &t.0).into_iter().flatten() {
            if !template.parameters.iter().any(|p| p.name == entry.key) {
                let names = || template.parameters.iter().map(|p| p.name.as_str());
                let meant = did_you_mean(&entry.key, names());
                let all: Vec<_> = names().map(|n| format!("`{n}`")).collect();
                let message = format!(
                    "template `{}` has no parameter `{}`{meant} it has {}",
                    template.name,
                    entry.key,
                    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
                );
                wrong.push((entry.at, format!("parameters.{}", entry.key), message));
            }
        }
        for parameter in &template.parameters {
            let node = given.and_then(|t| t.get(&parameter.name));
            match (node, &parameter.default) {
                (Some(node), _) if !parameter.kind.takes(node) => {
                    let message = format!("is {}: expected {}", node.kind(), parameter.kind.name());
                    wrong.push((node.at, format!("parameters.{}", parameter.name), message));
                }
                (Some(node), _) => {
                    values.insert(parameter.name.as_str(), node.clone());
                }
                (None, Some(default)) => {
                    values.insert(parameter.name.as_str(), default.clone());
                }
                (None, None) => {
                    // What was given under a name that is nearly this one is told there.
                    let near = given.is_some_and(|t| {
                        let unknown = |e: &&Entry<'_>| !template.parameters.iter().any(|p| p.name == e.key);
                        nearest(&parameter.name, t.0.iter().filter(unknown).map(|e| e.key.as_ref())).is_some()
                    });
                    let at = own.get("parameters").or(own.get("template")).map_or(0, |n| n.at);
                    let message = format!(
                        "parameter `{}` is missing: template `{}` expects {}",
                        parameter.name,
                        template.name,
                        parameter.kind.name()
                    );
                    if !near {
                        wrong.push((at, "parameters".to_owned(), message));
                    }
                }
            }
        }
        if let Some(name) = own.get("name") {
            values.insert(DEVICE, name.clone());
        }
        Self { template, values }
    }

    /// The same tree with the parameters in place; `key` is its name in the template.
    pub(super) fn fill<'s>(&self, node: &Node<'s>, key: &str, wrong: &mut Mistaken) -> Node<'s> {
        let value = match &node.value {
            Value::Text(text) if text.contains(['{', '}']) => self.text(text, node.at, key, wrong),
            Value::Array(nodes) => {
                let each = |(at, n): (usize, &Node<'s>)| self.fill(n, &format!("{key}[{at}]"), wrong);
                Value::Array(nodes.iter().enumerate().map(each).collect())
            }
            Value::Table(Table(entries)) => {
                let each = |e: &Entry<'s>| {
                    let node = match &e.node.value {
                        // Only texts and what holds them can have parameters.
                        Value::Text(_) | Value::Array(_) | Value::Table(_) => {
                            self.fill(&e.node, &format!("{key}.{}", e.key), wrong)
                        }
                        _ => e.node.clone(),
                    };
                    Entry { key: e.key.clone(), at: e.at, node }
                };
                Value::Table(Table(entries.iter().map(each).collect()))
            }
            value => value.clone(),
        };
        Node { at: node.at, value }
    }

    fn text<'s>(&self, text: &str, at: Place, key: &str, wrong: &mut Mistaken) -> Value<'s> {
        let mut filled = String::with_capacity(text.len() + 8);
        for part in parts(text) {
            match part {
                Part::Text(t) => filled.push_str(t),
                Part::Braces(inner) => match self.value(inner) {
                    Ok(Value::Text(t)) => filled.push_str(&t),
                    // A list or a table goes in as it is, if it is all there is.
                    Ok(value) if text.trim() == format!("{{{inner}}}") => return value,
                    Ok(_) => {
                        let message = format!(
                            "`{{{}}}` is a list or a table: expected nothing beside it",
                            inner.trim()
                        );
                        wrong.push((at, key.to_owned(), message));
                    }
                    Err(message) => wrong.push((at, key.to_owned(), message)),
                },
                Part::Open => {
                    let message = "a brace that is not closed: write `{{` or `}}` for a brace in the text";
                    wrong.push((at, key.to_owned(), message.to_owned()));
                }
            }
        }
        Value::Formula(filled)
    }

    fn value<'s>(&self, inner: &str) -> Result<Value<'s>, String> {
        let inner = inner.trim();
        if let Some(node) = self.values.get(inner) {
            return Ok(match &node.value {
                Value::Array(_) | Value::Table(_) => node.clone().into_owned().value,
                _ => Value::Text(spell(node).into()),
            });
        }
        let mut sum = String::new();
        for word in words(inner) {
            match (self.values.get(word), name_first(word)) {
                (Some(node), _) => sum.push_str(&spell(node)),
                // What is wrong with its value was told at the device.
                (None, true) if self.template.parameters.iter().any(|p| p.name == word) => {
                    return Ok(Value::Text("0".into()));
                }
                (None, true) => {
                    let names = self.template.parameters.iter().map(|p| p.name.as_str());
                    let meant = did_you_mean(word, names.chain([DEVICE]));
                    let braces = "a brace that belongs to the text is written twice";
                    return Err(format!("there is no parameter `{word}`{meant} ({braces})"));
                }
                (None, false) => sum.push_str(word),
            }
        }
        match compute(&sum) {
            Some(x) => Ok(Value::Text(x.to_string().into())),
            None => Err(format!("`{{{inner}}}` became `{sum}`: expected a parameter, or a sum of numbers")),
        }
    }
}

fn spell(node: &Node<'_>) -> String {
    match &node.value {
        Value::Bool(b) => b.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        _ => node.text().unwrap_or_default().to_owned(),
    }
}

fn name_first(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Words and what stands between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let end = rest.find(|c| word(c) != word(first)).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(end);
        rest = tail;
        Some(head)
    })
}

enum Part<'t> {
    Text(&'t str),
    Braces(&'t str),
    Open,
}

/// A text cut at its braces.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        parts.push(Part::Text(before));
        if brace.starts_with("{{") || brace.starts_with("}}") {
            let (one, after) = (brace.get(..1).unwrap_or_default(), brace.get(2..).unwrap_or_default());
            parts.push(Part::Text(one));
            rest = after;
            continue;
        }
        let inner = brace.strip_prefix('{').and_then(|b| b.split_once('}'));
        let Some((inner, after)) = inner else {
            parts.push(Part::Open);
            return parts;
        };
        parts.push(Part::Braces(inner));
        rest = after;
    }
    parts.push(Part::Text(rest));
    parts
}

/// Every word that stands in braces somewhere in a tree.
fn used(node: &Node<'_>) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut left = vec![node];
    while let Some(node) = left.pop() {
        match &node.value {
            Value::Text(text) => {
                for part in parts(text) {
                    if let Part::Braces(inner) = part {
                        found.extend(words(inner).filter(|w| name_first(w)).map(str::to_owned));
                    }
                }
            }
            Value::Array(nodes) => left.extend(nodes),
            Value::Table(table) => left.extend(table.0.iter().map(|e| &e.node)),
            _ => {}
        }
    }
    found
}
