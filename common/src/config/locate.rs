//! Finds where a key stands in a TOML text.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::{Step, steps};

/// Byte at which the value of `key` starts, such as `device[2].point[0].address`. If the key is not there,
/// where the nearest table above it starts; none if the text is not TOML.
pub fn locate(text: &str, key: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut found = root.span().start;
    let mut here: Option<&Spanned<DeValue<'_>>> = None;
    for step in steps(key) {
        let next = match (here.map(Spanned::get_ref), step) {
            (None, Step::Key(k)) => root.get_ref().get(k),
            (Some(DeValue::Table(t)), Step::Key(k)) => t.get(k),
            (Some(DeValue::Array(a)), Step::Index(i)) => a.get(i),
            _ => None,
        };
        let Some(next) = next else { break };
        found = next.span().start;
        here = Some(next);
    }
    Some(found)
}
