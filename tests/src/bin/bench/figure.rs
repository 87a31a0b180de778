//! One figure as one line, and percentiles.

use serde_json::{Value, json};

/// Prints a figure. `beside` is the floor or peer of the same run: its name and value.
pub fn print(name: &str, value: f64, unit: &str, goal: &str, beside: Option<(&str, f64)>) {
    let beside = beside.map(|(what, value)| Beside::floor(what, value));
    print_beside(name, value, unit, goal, beside.as_slice());
}

/// What stands beside a figure, of the same run.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    key: &'a str,
    what: &'a str,
    value: Option<f64>,
}

impl<'a> Beside<'a> {
    /// The least that it could be, and what that is.
    pub fn floor(what: &'a str, value: f64) -> Self {
        Self { key: "floor", what, value: Some(value) }
    }

    /// Somebody else's program doing the same.
    pub fn peer(what: &'a str, value: f64) -> Self {
        Self { key: "peer", what, value: Some(value) }
    }

    /// An end of the 95 % interval, or the mean, of what has a slope.
    pub fn end(key: &'a str, value: f64) -> Self {
        Self { key, what: "of the same series", value: Some(value) }
    }

    /// The gateway as it was before, if it was measured.
    pub fn previous(value: Option<f64>) -> Self {
        Self { key: "previous", what: "previous main", value }
    }
}

/// Prints a figure with all that stands beside it.
pub fn print_beside(name: &str, value: f64, unit: &str, goal: &str, beside: &[Beside<'_>]) {
    let round = |x: f64| (x * 1000.0).round() / 1000.0;
    let mut line = json!({ "name": name, "value": round(value), "unit": unit, "goal": goal });
    if let Value::Object(map) = &mut line {
        for Beside { key, what, value } in beside {
            if let Some(value) = value {
                map.insert((*key).to_owned(), json!({ "what": what, "value": round(*value) }));
            }
        }
    }
    println!("{line}");
}

/// Percentiles of some values.
pub struct Percentiles(Vec<f64>);

impl Percentiles {
    /// Of these values; at least one.
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value that `percent` of all do not exceed.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn at(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
