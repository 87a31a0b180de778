//! One figure as one line, and percentiles.

use serde_json::{Value, json};

/// Prints a figure. `beside` is the floor or peer of the same run: its name and value.
pub fn print(name: &str, value: f64, unit: &str, goal: &str, beside: Option<(&str, f64)>) {
    let round = |x: f64| (x * 1000.0).round() / 1000.0;
    let mut line = json!({ "name": name, "value": round(value), "unit": unit, "goal": goal });
    if let (Some((what, value)), Value::Object(map)) = (beside, &mut line) {
        map.insert("floor".into(), json!({ "what": what, "value": round(value) }));
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
