//! Interlocks: an expression over points that must be true for a write. A pure language of its own: no
//! loops, no state, no time; any text parses or gives an error with its column, and any parsed expression
//! evaluates. What cannot be judged blocks.
//!
//! `zone1_pv < 200 and not oven/door_open and abs(a - b) <= 5`. Points are `point` of the same device or
//! `device/point` without blanks around the slash (with blanks it divides); names with `-`, or that start
//! with a digit, stand in backticks. Numbers and booleans are not mixed.

mod lex;
mod parse;

use common::{PointId, Quality, Sample, Value, ValueType};

/// Finds a point by device (none: the interlock's own) and name; an error says what is wrong.
pub type Resolver<'a> = &'a dyn Fn(Option<&str>, &str) -> Result<(PointId, ValueType), String>;

/// Why a text is not an interlock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {at}: {expected}")]
pub struct ParseError {
    /// Column, in characters from 1.
    pub at: usize,
    /// What was expected.
    pub expected: String,
}

impl ParseError {
    fn new(at: usize, expected: impl Into<String>) -> Self {
        Self { at, expected: expected.into() }
    }
}

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

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Number(f64),
    Bool(bool),
    Point(PointId),
    Negate(Box<Node>),
    Not(Box<Node>),
    Arith(Arith, Box<Node>, Box<Node>),
    Compare(Compare, Box<Node>, Box<Node>),
    /// Of two booleans.
    Same {
        equal: bool,
        left: Box<Node>,
        right: Box<Node>,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Abs(Box<Node>),
    Min(Vec<Node>),
    Max(Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arith {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Expr {
    /// Reads an interlock.
    ///
    /// # Errors
    /// The column and what was expected there.
    pub fn parse(text: &str, resolve: Resolver<'_>) -> Result<Self, ParseError> {
        let root = parse::parse(text, resolve)?;
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

    fn inputs(&self, into: &mut Vec<PointId>) {
        match self {
            Node::Number(_) | Node::Bool(_) => {}
            Node::Point(p) => {
                if !into.contains(p) {
                    into.push(*p);
                }
            }
            Node::Negate(a) | Node::Not(a) | Node::Abs(a) => a.inputs(into),
            Node::Arith(_, a, b)
            | Node::Compare(_, a, b)
            | Node::And(a, b)
            | Node::Or(a, b)
            | Node::Same { left: a, right: b, .. } => {
                a.inputs(into);
                b.inputs(into);
            }
            Node::Min(of) | Node::Max(of) => of.iter().for_each(|n| n.inputs(into)),
        }
    }
}

fn fold(of: &[Node], inputs: &Inputs, pick: fn(f64, f64) -> f64) -> Option<f64> {
    let mut all = of.iter();
    let first = all.next()?.number(inputs)?;
    all.try_fold(first, |best, n| Some(pick(best, n.number(inputs)?)))
}

impl Arith {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Arith::Add => a + b,
            Arith::Subtract => a - b,
            Arith::Multiply => a * b,
            Arith::Divide => a / b,
        }
    }
}

impl Compare {
    #[allow(clippy::float_cmp)] // the author of the interlock asked for exactly this
    fn of(self, a: f64, b: f64) -> bool {
        match self {
            Compare::Less => a < b,
            Compare::LessOrEqual => a <= b,
            Compare::Greater => a > b,
            Compare::GreaterOrEqual => a >= b,
            Compare::Equal => a == b,
            Compare::NotEqual => a != b,
        }
    }
}

#[cfg(test)]
#[path = "../interlock_tests.rs"]
mod tests;
