//! From a tree to a type, with every mistake at its place: what is wrong is taken out, and the rest read again.

use std::fmt;

use serde::Deserializer;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::formula::compute;
use super::nearest::did_you_mean;
use super::tree::{Entry, Node, Place, Value};

/// What a missing text is read as, to find what else is missing.
const STAND_IN: &str = "x";
/// More mistakes than this in one value are not looked for.
const MOST_MISTAKES: usize = 100;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where.
    pub at: Place,
    /// Key below the value that was read, such as `modbus.address`; empty if it is the value itself.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
    /// Whether it is only a key that nobody knows: the value without it is whole.
    pub unknown: bool,
}

/// Reads a tree as `T`, which should refuse unknown keys. Each mistake is told, and the value is that of the rest, if
/// there is one without what is wrong.
pub fn read_tree<T: DeserializeOwned>(node: &Node<'_>, wrong: &mut dyn FnMut(Wrong)) -> Option<T> {
    let mut error = match T::deserialize(Reader { node }) {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let mut rest = node.clone();
    let mut gone: Vec<String> = Vec::new();
    let (mut stand_ins, mut all_told) = (0, false);
    loop {
        let part = error.path();
        let key = node.key_of_part(&rest, &part);
        // Where no stand-in does, what else is wrong there stays untold.
        let of_stand_in = rest.find(&part).is_some_and(|n| n.value == Value::Absent);
        // A key that is missing because it was wrong, and was told, is not told again.
        let follows = |g: &String| {
            let (above, name) = g.rsplit_once('.').unwrap_or(("", g));
            above == key
                && error.message.starts_with("missing")
                && error.message.contains(&format!("`{name}`"))
        };
        if !all_told && !of_stand_in && !gone.iter().any(follows) {
            let at = error.at.unwrap_or(node.at);
            wrong(Wrong { at, key: key.clone(), message: error.message, unknown: error.unknown });
        }
        if gone.len() + stand_ins >= MOST_MISTAKES {
            return None;
        }
        let wrong_part =
            if of_stand_in { part.rsplit_once('.').map_or("", |(above, _)| above) } else { &part };
        if error.missing.is_some_and(|key| !all_told && rest.stand_in(&part, key)) {
            stand_ins += 1;
        } else if rest.remove(wrong_part) {
            gone.push(key);
        } else {
            return None;
        }
        error = match T::deserialize(Reader { node: &rest }) {
            Ok(value) if all_told || stand_ins == 0 => return Some(value),
            // All is told; what is missing cannot be made up.
            Ok(_) if !rest.without_stand_ins() => return None,
            Ok(_) => {
                all_told = true;
                match T::deserialize(Reader { node: &rest }) {
                    Ok(value) => return Some(value),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
    }
}

/// The keys that a struct takes, in its order.
pub fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    let _ = T::deserialize(Keys(&mut keys));
    keys
}

#[derive(Debug)]
struct Error {
    at: Option<Place>,
    /// Keys from the inside out.
    steps: Vec<String>,
    message: String,
    unknown: bool,
    /// The key that is missing.
    missing: Option<&'static str>,
}

impl Error {
    fn new(message: String) -> Self {
        Self { at: None, steps: Vec::new(), message, unknown: false, missing: None }
    }

    /// In a value at `at`, below `step`.
    fn within(mut self, at: Place, step: impl Into<String>) -> Self {
        self.at.get_or_insert(at);
        self.steps.push(step.into());
        self
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

fn list(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string().replace('\n', ", "))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let meant = did_you_mean(field, expected.iter().copied());
        let of = if expected.len() > 1 { "one of " } else { "" };
        let message = format!("unknown key `{field}`{meant} expected {of}{}", list(expected));
        Self { unknown: true, ..Self::new(message) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let meant = did_you_mean(variant, expected.iter().copied());
        Self::new(format!("`{variant}` is not known{meant} expected one of {}", list(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("missing key `{field}`")) }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` stands twice"))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("invalid type: {unexpected}, expected {expected}"))
    }
}

#[derive(Clone, Copy)]
struct Reader<'de> {
    node: &'de Node<'de>,
}

impl<'de> Reader<'de> {
    fn text<V: Visitor<'de>>(text: &'de str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(text)
    }

    /// A number that text spells, as the visitor wants it; what spells none is left to its refusal.
    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Cell { text, comma } => match cell_number(text, *comma) {
                Some(number) => number.visit(visitor),
                None => Self::text(text, visitor),
            },
            Value::Formula(text) => match compute(text) {
                Some(x) => whole(x).visit(visitor),
                None => Self::text(text, visitor),
            },
            Value::Absent => visitor.visit_i64(1),
            _ => self.any(visitor),
        }
    }

    fn any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Integer(n) => visitor.visit_i64(*n),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Text(text) => Self::text(text, visitor),
            Value::Cell { text, comma } => match (cell_number(text, *comma), cell_bool(text)) {
                (Some(number), _) => number.visit(visitor),
                // Only words: 0 and 1 are numbers where a number would do.
                (None, Some(b)) => visitor.visit_bool(b),
                (None, None) => Self::text(text, visitor),
            },
            Value::Formula(text) => match (compute(text), text.as_str()) {
                (Some(x), _) => whole(x).visit(visitor),
                (None, "true") => visitor.visit_bool(true),
                (None, "false") => visitor.visit_bool(false),
                (None, text) => Self::text(text, visitor),
            },
            Value::Absent => Self::text(STAND_IN, visitor),
            Value::Date => Err(de::Error::invalid_type(Unexpected::Other("a date"), &visitor)),
            Value::Array(nodes) => visitor.visit_seq(Elements { nodes, next: 0 }),
            Value::Table(table) => visitor.visit_map(Entries { entries: &table.0, next: 0 }),
        }
    }

    fn placed<T>(self, done: Result<T, Error>) -> Result<T, Error> {
        done.map_err(|mut e| {
            e.at.get_or_insert(self.node.at);
            e
        })
    }
}

enum Number {
    Whole(i64),
    Broken(f64),
}

impl Number {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Whole(n) => visitor.visit_i64(n),
            Self::Broken(x) => visitor.visit_f64(x),
        }
    }
}

/// Numbers up to here are exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[allow(clippy::cast_possible_truncation)] // whole and small enough
fn whole(x: f64) -> Number {
    if x.fract() == 0.0 && x.abs() <= EXACT { Number::Whole(x as i64) } else { Number::Broken(x) }
}

/// A number as spreadsheets write it: also `100.0`, `1E+05` and, where a comma is the decimal point, `4,5`.
fn cell_number(text: &str, comma: bool) -> Option<Number> {
    let text = text.trim();
    if let Ok(n) = text.parse() {
        return Some(Number::Whole(n));
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ',')) {
        return None;
    }
    let x: f64 = match text.parse() {
        Ok(x) => x,
        Err(_) if comma && text.matches(',').count() == 1 && !text.contains('.') => {
            text.replace(',', ".").parse().ok()?
        }
        Err(_) => return None,
    };
    x.is_finite().then(|| whole(x))
}

/// A bool as spreadsheets and people write it.
fn cell_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

macro_rules! numbers {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.placed(self.number(visitor))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(self.any(visitor))
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = match &self.node.value {
            Value::Cell { text, .. } => text.trim(),
            Value::Formula(text) => text.as_str(),
            Value::Absent => "false",
            _ => return self.placed(self.any(visitor)),
        };
        self.placed(match (text, cell_bool(text)) {
            (_, Some(b)) => visitor.visit_bool(b),
            ("1", _) => visitor.visit_bool(true),
            ("0", _) => visitor.visit_bool(false),
            _ => Self::text(text, visitor),
        })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(match self.node.text() {
            Some(text) => Self::text(text, visitor),
            None => self.any(visitor),
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(if self.node.value == Value::Absent {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(match self.node.value {
            Value::Absent => visitor.visit_seq(Elements { nodes: &[], next: 0 }),
            _ => self.any(visitor),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(match self.node.value {
            Value::Absent => visitor.visit_map(Entries { entries: &[], next: 0 }),
            _ => self.any(visitor),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.placed(match self.node.value {
            Value::Absent => visitor.visit_map(StandIns { node: self.node, keys: keys.iter() }),
            _ => self.any(visitor),
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.placed(match (&self.node.value, self.node.text()) {
            (Value::Absent, _) => {
                visitor.visit_enum(StrDeserializer::new(variants.first().copied().unwrap_or_default()))
            }
            (_, Some(text)) => visitor.visit_enum(StrDeserializer::new(text)),
            (Value::Table(t), _) => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries { entries: &t.0, next: 0 }))
            }
            _ => self.any(visitor),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Elements<'de> {
    nodes: &'de [Node<'de>],
    next: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.nodes.get(self.next) else { return Ok(None) };
        let at = self.next;
        self.next += 1;
        seed.deserialize(Reader { node }).map(Some).map_err(|e| e.within(node.at, format!("[{at}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len() - self.next)
    }
}

struct Entries<'de> {
    entries: &'de [Entry<'de>],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        let key = seed.deserialize(BorrowedStrDeserializer::<Error>::new(&entry.key));
        key.map(Some).map_err(|e| e.within(entry.at, entry.key.as_ref()))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.entries.get(self.next) else {
            return Err(de::Error::custom("a value without a key"));
        };
        self.next += 1;
        seed.deserialize(Reader { node: &entry.node })
            .map_err(|e| e.within(entry.node.at, entry.key.as_ref()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len() - self.next)
    }
}

/// A stand-in for every key of a struct that is itself one.
struct StandIns<'de> {
    node: &'de Node<'de>,
    keys: std::slice::Iter<'static, &'static str>,
}

impl<'de> MapAccess<'de> for StandIns<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.keys.next().map(|key| seed.deserialize(BorrowedStrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Reader { node: self.node })
    }
}

/// Asks a type for its keys and gives it nothing.
struct Keys<'k>(&'k mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("it has no keys"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(de::Error::custom("only its keys are wanted"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
