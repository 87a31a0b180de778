//! Functions: which there are, and how their arguments are read. Interlocks have the three without state.

use common::{PointId, ValueType};

use super::bind::nearest;
use super::lex::Token;
use super::memory::{Memory, Slot};
use super::node::{Math, Node, Read};
use super::parse::{Parser, Part, Type, expect};
use super::window::{LONGEST_WINDOW_US, SHORTEST_WINDOW_US};
use super::{Dialect, ParseError};

/// Every function of formulas.
pub const FUNCTIONS: &[&str] = &[
    "abs", "age", "avg", "ceil", "clamp", "count", "counter", "delta", "floor", "good", "if", "max",
    "max_over", "min", "min_over", "pow", "prev", "rate", "round", "sqrt", "sum",
];

/// What one formula may remember.
const MAX_SLOTS: usize = 16;

impl Parser<'_> {
    /// A call of `name`; its `(` is next.
    pub(super) fn call(&mut self, name: &str, at: usize) -> Result<Part, ParseError> {
        if self.dialect == Dialect::Interlock && !matches!(name, "abs" | "min" | "max") {
            return Err(ParseError::new(at, format!("`{name}` is not a function: use abs, min or max")));
        }
        if !FUNCTIONS.contains(&name) {
            let hint = match nearest(name, FUNCTIONS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of {}", FUNCTIONS.join(" ")),
            };
            return Err(ParseError::new(at, format!("`{name}` is not a function: {hint}")));
        }
        self.advance();
        match name {
            "if" => self.choice(at),
            "good" | "age" => {
                let (point, _) = self.argument_point(name)?;
                self.close()?;
                let is = if name == "good" { Type::Bool } else { Type::Number };
                self.part(if name == "good" { Node::Good(point) } else { Node::Age(point) }, is, at)
            }
            "prev" => {
                let (point, is) = self.argument_measured(name)?;
                self.close()?;
                self.remember(Slot { point, memory: Memory::Last }, Read::Previous, is, at)
            }
            "counter" | "delta" => self.counted(name, at),
            "avg" | "min_over" | "max_over" | "sum" | "count" | "rate" => self.windowed(name, at),
            _ => self.numbers(name, at),
        }
    }

    fn choice(&mut self, at: usize) -> Result<Part, ParseError> {
        let condition = self.deeper(Self::or)?;
        expect(&condition, Type::Bool)?;
        self.comma("if")?;
        let then = self.deeper(Self::or)?;
        self.comma("if")?;
        let other = self.deeper(Self::or)?;
        self.close()?;
        expect(&other, then.is)?;
        let is = then.is;
        self.part(Node::If(Box::new([condition.node, then.node, other.node])), is, at)
    }

    fn numbers(&mut self, name: &str, at: usize) -> Result<Part, ParseError> {
        let mut of = Vec::new();
        loop {
            let part = self.deeper(Self::or)?;
            expect(&part, Type::Number)?;
            of.push(part.node);
            if self.accept(&[","]).is_none() {
                break;
            }
        }
        self.close()?;
        let math = match name {
            "round" => Some((Math::Round, 1, "one argument")),
            "floor" => Some((Math::Floor, 1, "one argument")),
            "ceil" => Some((Math::Ceil, 1, "one argument")),
            "sqrt" => Some((Math::Sqrt, 1, "one argument")),
            "pow" => Some((Math::Power, 2, "two arguments")),
            "clamp" => Some((Math::Clamp, 3, "three arguments")),
            _ => None,
        };
        if let Some((_, wanted, words)) = math
            && of.len() != wanted
        {
            return Err(ParseError::new(at, format!("expected {words} of {name}, not {}", of.len())));
        }
        let node = match (name, math, of.len()) {
            (_, Some((math, ..)), _) => Node::Math(math, of),
            ("abs", _, 1) => Node::Abs(of.remove(0).into()),
            ("abs", _, n) => {
                return Err(ParseError::new(at, format!("expected one argument of abs, not {n}")));
            }
            (_, _, 1) => {
                return Err(ParseError::new(at, format!("expected two or more arguments of {name}")));
            }
            ("min", ..) => Node::Min(of),
            _ => Node::Max(of),
        };
        self.part(node, Type::Number, at)
    }

    fn counted(&mut self, name: &str, at: usize) -> Result<Part, ParseError> {
        let (_, argument_at) = self.peek();
        let (point, is) = self.argument_measured(name)?;
        if is != Type::Number {
            return Err(ParseError::new(argument_at, format!("expected a number, {name} counts no bool")));
        }
        let mut modulus = None;
        if self.accept(&[","]).is_some() {
            let (token, at) = self.peek();
            match token {
                Token::Number(x) if x > 0.0 => modulus = Some(x),
                other => {
                    let expected = "expected where the counter starts again, such as 65536";
                    return Err(ParseError::new(at, format!("{expected}, not {}", other.show())));
                }
            }
            self.advance();
        }
        self.close()?;
        let read = if name == "counter" { Read::Total } else { Read::Delta };
        self.remember(Slot { point, memory: Memory::Counter { modulus } }, read, Type::Number, at)
    }

    fn windowed(&mut self, name: &str, at: usize) -> Result<Part, ParseError> {
        let (point, _) = self.argument_measured(name)?;
        self.comma(name)?;
        let span_us = self.duration()?;
        self.close()?;
        let read = match name {
            "avg" => Read::Average,
            "min_over" => Read::Minimum,
            "max_over" => Read::Maximum,
            "sum" => Read::Sum,
            "count" => Read::Count,
            _ => Read::Rate,
        };
        self.remember(Slot { point, memory: Memory::Window { span_us } }, read, Type::Number, at)
    }

    fn remember(&mut self, slot: Slot, read: Read, is: Type, at: usize) -> Result<Part, ParseError> {
        let index = match self.slots.iter().position(|s| *s == slot) {
            Some(index) => index,
            None if self.slots.len() >= MAX_SLOTS => {
                let expected = format!("expected at most {MAX_SLOTS} windows and counters in one expression");
                return Err(ParseError::new(at, expected));
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.part(Node::Memory(index, read), is, at)
    }

    fn comma(&mut self, name: &str) -> Result<(), ParseError> {
        let (token, at) = self.peek();
        if self.accept(&[","]).is_some() {
            return Ok(());
        }
        Err(ParseError::new(at, format!("expected `,` and another argument of {name}, not {}", token.show())))
    }

    /// A point of any type.
    fn argument_point(&mut self, name: &str) -> Result<(PointId, ValueType), ParseError> {
        let (token, at) = self.peek();
        let Token::Word { device, name: point, .. } = &token else {
            let expected = format!("expected a point: {name} follows a point, not a calculation");
            return Err(ParseError::new(at, format!("{expected}; not {}", token.show())));
        };
        self.advance();
        let (id, value_type) =
            (self.resolve)(device.as_deref(), point).map_err(|e| ParseError::new(at, e))?;
        let (next, at) = self.peek();
        if !matches!(next, Token::Symbol(")" | ",")) {
            let expected =
                format!("expected `,` or `)`: {name} follows a point; make a virtual point of a calculation");
            return Err(ParseError::new(at, format!("{expected}, not {}", next.show())));
        }
        Ok((id, value_type))
    }

    /// A point that is a number or a bool.
    fn argument_measured(&mut self, name: &str) -> Result<(PointId, Type), ParseError> {
        let (_, at) = self.peek();
        let (id, value_type) = self.argument_point(name)?;
        match value_type {
            ValueType::Bool => Ok((id, Type::Bool)),
            ValueType::I64 | ValueType::U64 | ValueType::F64 => Ok((id, Type::Number)),
            ValueType::Text | ValueType::Bytes => {
                Err(ParseError::new(at, "expected a number or a bool, this point is neither".to_owned()))
            }
        }
    }

    /// `500ms`, `60s`, `10m` or `2h`, in us.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // within the limits
    fn duration(&mut self) -> Result<u64, ParseError> {
        let (token, at) = self.peek();
        let Token::Number(count) = token else { return Err(unexpected_duration(&token, at)) };
        self.advance();
        let (unit, unit_at) = self.peek();
        let factor = match &unit {
            Token::Word { device: None, name, quoted: false } => match name.as_str() {
                "ms" => 1e3,
                "s" => 1e6,
                "m" | "min" => 60e6,
                "h" => 3600e6,
                _ => return Err(unexpected_duration(&unit, unit_at)),
            },
            other => return Err(unexpected_duration(other, unit_at)),
        };
        self.advance();
        let us = count * factor;
        if us < SHORTEST_WINDOW_US as f64 || us > LONGEST_WINDOW_US as f64 {
            return Err(ParseError::new(at, "expected a window of 10ms to 24h"));
        }
        Ok(us as u64)
    }
}

fn unexpected_duration(token: &Token, at: usize) -> ParseError {
    ParseError::new(at, format!("expected a time such as 500ms, 60s, 10m or 2h, not {}", token.show()))
}
