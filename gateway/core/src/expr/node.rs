//! The tree of an expression. Types are checked when it is made, by the parser.

use common::PointId;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
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
    /// Condition, then, else. Formulas only, as all below.
    If(Box<[Node; 3]>),
    Math(Math, Vec<Node>),
    Good(PointId),
    /// Seconds since the point's last sample came.
    Age(PointId),
    /// What a slot of the formula's memory says.
    Memory(usize, Read),
}

/// A function of numbers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Math {
    Round,
    Floor,
    Ceil,
    Sqrt,
    Power,
    Clamp,
}

/// What is read from a slot of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Average,
    Minimum,
    Maximum,
    Sum,
    Count,
    Rate,
    Previous,
    Delta,
    Total,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arith {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Node {
    /// The points whose value it looks at, each once; what memory follows is not among them.
    pub(super) fn inputs(&self, into: &mut Vec<PointId>) {
        match self {
            Node::Number(_) | Node::Bool(_) | Node::Memory(..) => {}
            Node::Point(p) | Node::Good(p) | Node::Age(p) => {
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
            Node::If(of) => of.iter().for_each(|n| n.inputs(into)),
            Node::Min(of) | Node::Max(of) | Node::Math(_, of) => of.iter().for_each(|n| n.inputs(into)),
        }
    }
}

impl Arith {
    pub(super) fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Arith::Add => a + b,
            Arith::Subtract => a - b,
            Arith::Multiply => a * b,
            Arith::Divide => a / b,
        }
    }
}

impl Compare {
    #[allow(clippy::float_cmp)] // the author of the expression asked for exactly this
    pub(super) fn of(self, a: f64, b: f64) -> bool {
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

impl Math {
    /// Of as many numbers as the parser counted. `clamp` with its limits the wrong way round has no result.
    pub(super) fn of(self, x: &[f64]) -> f64 {
        let at = |i: usize| x.get(i).copied().unwrap_or(f64::NAN);
        match self {
            Math::Round => at(0).round(),
            Math::Floor => at(0).floor(),
            Math::Ceil => at(0).ceil(),
            Math::Sqrt => at(0).sqrt(),
            Math::Power => at(0).powf(at(1)),
            Math::Clamp if at(1) <= at(2) => at(0).max(at(1)).min(at(2)),
            Math::Clamp => f64::NAN,
        }
    }
}
