//! A formula: the value of a virtual point, calculated from others. Quality comes out as the worst of what the
//! result came from; of `if` that is the condition and the branch taken. A result that is not finite is bad.

use common::{PointId, Quality, Value, ValueType};

use super::memory::{Counter, Held, Slot, State};
use super::node::{Node, Read};
use super::parse::Type;
use super::window::Stats;
use super::{Dialect, ParseError, Resolver, parse};

/// A window that good values cover less than this says uncertain.
const ENOUGH: f64 = 0.9;

/// A formula, read and type-checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    text: String,
    root: Node,
    is: Type,
    direct: Vec<PointId>,
    inputs: Vec<PointId>,
    slots: Vec<Slot>,
}

/// What a point is now, judged for age.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its value.
    pub value: Option<Value>,
    /// Its quality.
    pub quality: Quality,
    /// How long ago it came, us; none if it never did.
    pub age_us: Option<u64>,
}

/// What a formula says.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// A double or a bool; none if the quality is bad.
    pub value: Option<Value>,
    /// The worst of what went in.
    pub quality: Quality,
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// The column and what was expected there.
    pub fn parse(text: &str, resolve: Resolver<'_>) -> Result<Self, ParseError> {
        let parsed = parse::parse(text, Dialect::Formula, resolve)?;
        let mut direct = Vec::new();
        parsed.root.inputs(&mut direct);
        let mut inputs = direct.clone();
        for slot in &parsed.slots {
            if !inputs.contains(&slot.point) {
                inputs.push(slot.point);
            }
        }
        let text = text.trim().to_owned();
        Ok(Self { text, root: parsed.root, is: parsed.is, direct, inputs, slots: parsed.slots })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of its result: `F64` or `Bool`.
    pub fn value_type(&self) -> ValueType {
        match self.is {
            Type::Number => ValueType::F64,
            Type::Bool => ValueType::Bool,
        }
    }

    /// The points that it follows, each once.
    pub fn inputs(&self) -> &[PointId] {
        &self.inputs
    }

    /// Those whose value it looks at; the others it only remembers.
    pub fn direct(&self) -> &[PointId] {
        &self.direct
    }

    /// What it remembers.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// What it says at `mono_us`. `state` is its own.
    pub fn evaluate(&self, state: &State, mono_us: u64, input: &dyn Fn(PointId) -> Input) -> Outcome {
        let got = Context { state, mono_us, input }.of(&self.root);
        if got.quality.is_bad() {
            return Outcome { value: None, quality: got.quality };
        }
        let value = match self.is {
            Type::Number => Value::F64(got.x),
            Type::Bool => Value::Bool(got.is_true()),
        };
        Outcome { value: Some(value), quality: got.quality }
    }
}

/// A number, or a bool as 0 or 1: the parser has kept them apart.
#[derive(Debug, Clone, Copy)]
struct Got {
    x: f64,
    quality: Quality,
}

impl Got {
    fn good(x: f64) -> Self {
        Self { x, quality: Quality::GOOD }
    }

    fn truth(x: bool, quality: Quality) -> Self {
        Self { x: f64::from(u8::from(x)), quality }
    }

    fn bad(quality: Quality) -> Self {
        Self { x: 0.0, quality }
    }

    fn is_true(self) -> bool {
        self.x != 0.0
    }

    /// With a number that is not finite it is bad.
    fn checked(x: f64, quality: Quality) -> Self {
        if quality.is_bad() || x.is_finite() {
            Self { x, quality }
        } else {
            Self::bad(Quality::BAD_EXPRESSION)
        }
    }
}

/// The worse of two; of two alike the first.
fn worse(a: Quality, b: Quality) -> Quality {
    if b.class() > a.class() { b } else { a }
}

struct Context<'a> {
    state: &'a State,
    mono_us: u64,
    input: &'a dyn Fn(PointId) -> Input,
}

impl Context<'_> {
    fn of(&self, node: &Node) -> Got {
        match node {
            Node::Number(x) => Got::good(*x),
            Node::Bool(b) => Got::truth(*b, Quality::GOOD),
            Node::Point(p) => self.point(*p),
            Node::Negate(a) => self.one(a, |x| -x),
            Node::Abs(a) => self.one(a, f64::abs),
            Node::Not(a) => {
                let a = self.of(a);
                Got::truth(!a.is_true(), a.quality)
            }
            Node::Arith(op, a, b) => self.two(a, b, |a, b| op.of(a, b)),
            Node::Compare(op, a, b) => self.two(a, b, |a, b| f64::from(u8::from(op.of(a, b)))),
            Node::Same { equal, left, right } => {
                self.two(left, right, |a, b| f64::from(u8::from(((a != 0.0) == (b != 0.0)) == *equal)))
            }
            Node::And(a, b) => self.two(a, b, |a, b| f64::from(u8::from(a != 0.0 && b != 0.0))),
            Node::Or(a, b) => self.two(a, b, |a, b| f64::from(u8::from(a != 0.0 || b != 0.0))),
            Node::Min(of) => self.many(of, |x| x.iter().copied().fold(f64::INFINITY, f64::min)),
            Node::Max(of) => self.many(of, |x| x.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            Node::Math(math, of) => self.many(of, |x| math.of(x)),
            Node::If(of) => {
                let [condition, then, other] = &**of;
                let condition = self.of(condition);
                if condition.quality.is_bad() {
                    return condition;
                }
                let taken = self.of(if condition.is_true() { then } else { other });
                Got { x: taken.x, quality: worse(taken.quality, condition.quality) }
            }
            Node::Good(p) => Got::truth((self.input)(*p).quality.is_good(), Quality::GOOD),
            Node::Age(p) => match (self.input)(*p).age_us {
                Some(us) => Got::good(seconds(us)),
                None => Got::bad(Quality::BAD_NO_DATA),
            },
            Node::Memory(slot, read) => self.memory(*slot, *read),
        }
    }

    fn point(&self, point: PointId) -> Got {
        let input = (self.input)(point);
        match input.value.as_ref().and_then(Value::as_f64) {
            Some(x) if !input.quality.is_bad() => Got::checked(x, input.quality),
            _ if input.quality.is_bad() => Got::bad(input.quality),
            _ => Got::bad(Quality::BAD_NO_DATA),
        }
    }

    fn one(&self, a: &Node, f: impl Fn(f64) -> f64) -> Got {
        let a = self.of(a);
        Got::checked(f(a.x), a.quality)
    }

    fn two(&self, a: &Node, b: &Node, f: impl Fn(f64, f64) -> f64) -> Got {
        let (a, b) = (self.of(a), self.of(b));
        Got::checked(f(a.x, b.x), worse(a.quality, b.quality))
    }

    fn many(&self, of: &[Node], f: impl Fn(&[f64]) -> f64) -> Got {
        let mut quality = Quality::GOOD;
        let values: Vec<f64> = of
            .iter()
            .map(|n| {
                let got = self.of(n);
                quality = worse(quality, got.quality);
                got.x
            })
            .collect();
        Got::checked(f(&values), quality)
    }

    fn memory(&self, slot: usize, read: Read) -> Got {
        match (self.state.held(slot), read) {
            (Some(Held::Last(Some(before), _)), Read::Previous) => Got::good(*before),
            (Some(Held::Counter(c)), Read::Total) if c.last.is_some() => {
                Got::checked(c.total, if c.reset { Quality::UNCERTAIN } else { Quality::GOOD })
            }
            (Some(Held::Counter(Counter { delta: Some(x), reset, .. })), Read::Delta) => {
                Got::checked(*x, if *reset { Quality::UNCERTAIN } else { Quality::GOOD })
            }
            (Some(Held::Window(_)), read) => match self.state.stats(slot, self.mono_us) {
                Some(stats) => windowed(&stats, read),
                None => Got::bad(Quality::BAD_NO_DATA),
            },
            _ => Got::bad(Quality::BAD_NO_DATA),
        }
    }
}

fn windowed(stats: &Stats, read: Read) -> Got {
    let x = match read {
        Read::Average => stats.average,
        Read::Minimum => stats.min,
        Read::Maximum => stats.max,
        Read::Sum => stats.sum,
        #[allow(clippy::cast_precision_loss)] // fewer than 2^53 samples
        Read::Count => stats.count as f64,
        Read::Rate => match stats.rate {
            Some(rate) => rate,
            None => return Got::bad(Quality::BAD_NO_DATA),
        },
        Read::Previous | Read::Delta | Read::Total => return Got::bad(Quality::BAD_NO_DATA),
    };
    let quality = if stats.covered < ENOUGH { Quality::UNCERTAIN_WINDOW } else { Quality::GOOD };
    Got::checked(x, quality)
}

#[allow(clippy::cast_precision_loss)] // to the microsecond for 285 years
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
#[path = "formula_tests.rs"]
mod tests;
