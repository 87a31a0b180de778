//! An interlock: a true or false over points that must be true for a write. No state and no time in it. What
//! cannot be judged blocks.

use common::{PointId, Quality, Sample, Value};

use super::node::Node;
use super::{Dialect, ParseError, Resolver, parse};

/// An interlock, read and type-checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    text: String,
    root: Node,
    inputs: Vec<PointId>,
}

/// What an interlock says now.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The write may happen.
    Allows,
    /// The expression is false; its inputs were these.
    Forbids {
        /// Points and the values that they had.
        inputs: Vec<(PointId, Value)>,
    },
    /// An input cannot be used.
    Input {
        /// Which.
        point: PointId,
        /// Why.
        quality: Quality,
    },
    /// The arithmetic has no finite result.
    NotFinite {
        /// Points and the values that they had.
        inputs: Vec<(PointId, Value)>,
    },
}

impl Expr {
    /// Reads an interlock.
    ///
    /// # Errors
    /// The column and what was expected there.
    pub fn parse(text: &str, resolve: Resolver<'_>) -> Result<Self, ParseError> {
        let root = parse::parse(text, Dialect::Interlock, resolve)?.root;
        let mut inputs = Vec::new();
        root.inputs(&mut inputs);
        Ok(Self { text: text.trim().to_owned(), root, inputs })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The points that it looks at, each once.
    pub fn inputs(&self) -> &[PointId] {
        &self.inputs
    }

    /// Judges it on samples that are already judged for age (`Current::judged`). Every input must be of
    /// good quality, also one whose value would not matter.
    pub fn decide(&self, sample: &dyn Fn(PointId) -> Sample) -> Decision {
        let mut values = Vec::with_capacity(self.inputs.len());
        for &point in &self.inputs {
            let s = sample(point);
            match s.value {
                Some(value) if s.quality.is_good() => values.push((point, value)),
                _ => {
                    let quality = if s.quality.is_good() { Quality::BAD_NO_DATA } else { s.quality };
                    return Decision::Input { point, quality };
                }
            }
        }
        match self.root.truth(&values) {
            Some(true) => Decision::Allows,
            Some(false) => Decision::Forbids { inputs: values },
            None => Decision::NotFinite { inputs: values },
        }
    }
}

type Inputs = [(PointId, Value)];

fn input(inputs: &Inputs, point: PointId) -> Option<&Value> {
    inputs.iter().find(|(p, _)| *p == point).map(|(_, v)| v)
}

/// Evaluation has no result when a number is not finite: a comparison with NaN is false, and its `not` would
/// be true. Both sides of `and` and `or` are looked at for the same reason.
impl Node {
    fn truth(&self, inputs: &Inputs) -> Option<bool> {
        Some(match self {
            Node::Bool(b) => *b,
            Node::Point(p) => input(inputs, *p)?.as_bool()?,
            Node::Not(a) => !a.truth(inputs)?,
            Node::And(a, b) => a.truth(inputs)? & b.truth(inputs)?,
            Node::Or(a, b) => a.truth(inputs)? | b.truth(inputs)?,
            Node::Same { equal, left, right } => (left.truth(inputs)? == right.truth(inputs)?) == *equal,
            Node::Compare(op, a, b) => op.of(a.number(inputs)?, b.number(inputs)?),
            _ => return None, // a number: the parser lets none stand here
        })
    }

    fn number(&self, inputs: &Inputs) -> Option<f64> {
        let x = match self {
            Node::Number(x) => *x,
            Node::Point(p) => input(inputs, *p)?.as_f64()?,
            Node::Negate(a) => -a.number(inputs)?,
            Node::Arith(op, a, b) => op.of(a.number(inputs)?, b.number(inputs)?),
            Node::Abs(a) => a.number(inputs)?.abs(),
            Node::Min(of) => fold(of, inputs, f64::min)?,
            Node::Max(of) => fold(of, inputs, f64::max)?,
            _ => return None, // a boolean: the parser lets none stand here
        };
        x.is_finite().then_some(x)
    }
}

fn fold(of: &[Node], inputs: &Inputs, pick: fn(f64, f64) -> f64) -> Option<f64> {
    let mut all = of.iter();
    let first = all.next()?.number(inputs)?;
    all.try_fold(first, |best, n| Some(pick(best, n.number(inputs)?)))
}

#[cfg(test)]
#[path = "interlock_tests.rs"]
mod tests;
