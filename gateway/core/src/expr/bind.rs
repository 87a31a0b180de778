//! Names in a formula, looked up in a registry; and the nearest name to one that is not there.

use super::{Formula, ParseError};
use crate::Registry;

/// Reads a formula against a registry, as it stands at a point of `device`.
///
/// # Errors
/// The column and what was expected there, with the nearest name.
pub fn parse_formula(registry: &Registry, device: usize, text: &str) -> Result<Formula, ParseError> {
    let own = registry.device(device).map_or("", |d| d.name.as_str());
    Formula::parse(text, &|other, name| {
        let device = other.unwrap_or(own);
        if let Some(point) = registry.find(device, name) {
            return Ok((point.id, point.schema.value_type));
        }
        let missing = format!("expected a point, there is no `{device}/{name}`");
        let hint = match registry.device_named(device).and_then(|i| registry.device(i)) {
            Some(d) => {
                let names = registry.points_of(d).map(|p| &*p.schema.name);
                nearest(name, names).map(|n| format!("`{device}/{n}`"))
            }
            None => nearest(device, registry.devices().map(|(_, d)| d.name.as_str()))
                .map(|n| format!("device `{n}`")),
        };
        Err(hint.map_or(missing.clone(), |h| format!("{missing}: did you mean {h}?")))
    })
}

/// The name that is written almost as `name`: at most a third of its letters differ.
pub fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    among
        .map(|other| (distance(name, other, limit), other))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, n)| n)
}

/// Letters to change, add or leave out (Levenshtein); more than `limit` if it is more.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.iter().enumerate() {
            let (left, above) = (row[j], row[j + 1]);
            row[j + 1] = (diagonal + usize::from(x != y)).min(left + 1).min(above + 1);
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}
