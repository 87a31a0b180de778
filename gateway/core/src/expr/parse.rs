//! Reads an expression: precedence climbing over the tokens, with types checked as it goes.

use common::ValueType;

use super::lex::{Token, lex};
use super::memory::Slot;
use super::node::{Arith, Compare, Node};
use super::{Dialect, ParseError, Resolver};

/// Parentheses, functions and signs inside one another.
const MAX_DEPTH: usize = 32;
/// Numbers, points and operators in all; bounds the recursion of the evaluation as well.
const MAX_NODES: usize = 256;
const MAX_TEXT_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Number,
    Bool,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Type::Number => "a number",
            Type::Bool => "true or false",
        }
    }
}

/// A part of the expression, its type and where it starts.
pub(super) struct Part {
    pub(super) node: Node,
    pub(super) is: Type,
    pub(super) at: usize,
}

pub(super) struct Parser<'a> {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
    nodes: usize,
    pub(super) resolve: Resolver<'a>,
    pub(super) dialect: Dialect,
    pub(super) slots: Vec<Slot>,
}

/// What a text says.
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) is: Type,
    pub(super) slots: Vec<Slot>,
}

/// Reads a text. An interlock is true or false as a whole.
pub(super) fn parse(text: &str, dialect: Dialect, resolve: Resolver<'_>) -> Result<Parsed, ParseError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ParseError::new(
            1,
            format!("expected at most {MAX_TEXT_BYTES} bytes, not {}", text.len()),
        ));
    }
    let mut p =
        Parser { tokens: lex(text)?, next: 0, depth: 0, nodes: 0, resolve, dialect, slots: Vec::new() };
    let whole = p.or()?;
    let (token, at) = p.peek();
    if token != Token::End {
        let next = if dialect == Dialect::Interlock { "`and`, `or`" } else { "an operator" };
        return Err(ParseError::new(at, format!("expected {next} or the end, not {}", token.show())));
    }
    if dialect == Dialect::Interlock {
        expect(&whole, Type::Bool)?;
    }
    Ok(Parsed { root: whole.node, is: whole.is, slots: p.slots })
}

pub(super) fn expect(part: &Part, is: Type) -> Result<(), ParseError> {
    if part.is == is {
        return Ok(());
    }
    Err(ParseError::new(part.at, format!("expected {}, this is {}", is.name(), part.is.name())))
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> (Token, usize) {
        // `End` is always there and never passed.
        self.tokens.get(self.next).cloned().unwrap_or((Token::End, 1))
    }

    pub(super) fn advance(&mut self) {
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
    }

    /// Takes one of these symbols or words, if it is next.
    pub(super) fn accept(&mut self, of: &[&'static str]) -> Option<&'static str> {
        let (token, _) = self.peek();
        let found = of.iter().find(|s| token == Token::Symbol(s) || token.is_word(s)).copied()?;
        self.advance();
        Some(found)
    }

    pub(super) fn part(&mut self, node: Node, is: Type, at: usize) -> Result<Part, ParseError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ParseError::new(at, format!("expected at most {MAX_NODES} parts")));
        }
        Ok(Part { node, is, at })
    }

    pub(super) fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return Err(ParseError::new(self.peek().1, format!("expected at most {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    pub(super) fn or(&mut self) -> Result<Part, ParseError> {
        let mut left = self.and()?;
        while self.accept(&["or", "||"]).is_some() {
            let right = self.and()?;
            expect(&left, Type::Bool)?;
            expect(&right, Type::Bool)?;
            let at = left.at;
            left = self.part(Node::Or(left.node.into(), right.node.into()), Type::Bool, at)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Part, ParseError> {
        let mut left = self.not()?;
        while self.accept(&["and", "&&"]).is_some() {
            let right = self.not()?;
            expect(&left, Type::Bool)?;
            expect(&right, Type::Bool)?;
            let at = left.at;
            left = self.part(Node::And(left.node.into(), right.node.into()), Type::Bool, at)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Part, ParseError> {
        let (_, at) = self.peek();
        if self.accept(&["not", "!"]).is_none() {
            return self.comparison();
        }
        let inner = self.deeper(Self::not)?;
        expect(&inner, Type::Bool)?;
        self.part(Node::Not(inner.node.into()), Type::Bool, at)
    }

    fn comparison(&mut self) -> Result<Part, ParseError> {
        let left = self.sum()?;
        let Some(symbol) = self.accept(&["<=", ">=", "==", "!=", "<", ">"]) else { return Ok(left) };
        let right = self.sum()?;
        let op = match symbol {
            "<=" => Compare::LessOrEqual,
            ">=" => Compare::GreaterOrEqual,
            "==" => Compare::Equal,
            "!=" => Compare::NotEqual,
            "<" => Compare::Less,
            _ => Compare::Greater,
        };
        match op {
            Compare::Equal | Compare::NotEqual => expect(&right, left.is)?,
            _ => {
                expect(&left, Type::Number)?;
                expect(&right, Type::Number)?;
            }
        }
        let (l, r) = (left.node.into(), right.node.into());
        let node = if left.is == Type::Bool {
            Node::Same { equal: op == Compare::Equal, left: l, right: r }
        } else {
            Node::Compare(op, l, r)
        };
        self.part(node, Type::Bool, left.at)
    }

    fn sum(&mut self) -> Result<Part, ParseError> {
        let mut left = self.product()?;
        while let Some(symbol) = self.accept(&["+", "-"]) {
            let right = self.product()?;
            left = self.arithmetic(if symbol == "+" { Arith::Add } else { Arith::Subtract }, left, right)?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Part, ParseError> {
        let mut left = self.signed()?;
        while let Some(symbol) = self.accept(&["*", "/"]) {
            let right = self.signed()?;
            left =
                self.arithmetic(if symbol == "*" { Arith::Multiply } else { Arith::Divide }, left, right)?;
        }
        Ok(left)
    }

    fn arithmetic(&mut self, op: Arith, left: Part, right: Part) -> Result<Part, ParseError> {
        expect(&left, Type::Number)?;
        expect(&right, Type::Number)?;
        self.part(Node::Arith(op, left.node.into(), right.node.into()), Type::Number, left.at)
    }

    fn signed(&mut self) -> Result<Part, ParseError> {
        let (_, at) = self.peek();
        if self.accept(&["-"]).is_none() {
            return self.primary();
        }
        let inner = self.deeper(Self::signed)?;
        expect(&inner, Type::Number)?;
        self.part(Node::Negate(inner.node.into()), Type::Number, at)
    }

    fn primary(&mut self) -> Result<Part, ParseError> {
        let (token, at) = self.peek();
        self.advance();
        match token {
            Token::Number(x) => self.part(Node::Number(x), Type::Number, at),
            Token::Symbol("(") => {
                let inner = self.deeper(Self::or)?;
                self.close()?;
                Ok(Part { at, ..inner })
            }
            ref t @ Token::Word { ref device, ref name, quoted } => {
                let plain = !quoted && device.is_none();
                match name.as_str() {
                    "true" | "false" if plain => self.part(Node::Bool(name == "true"), Type::Bool, at),
                    "and" | "or" | "not" if plain => Err(unexpected(t, at)),
                    _ if plain && self.peek().0 == Token::Symbol("(") => self.call(name, at),
                    _ => self.point(device.as_deref(), name, at),
                }
            }
            other => Err(unexpected(&other, at)),
        }
    }

    pub(super) fn close(&mut self) -> Result<(), ParseError> {
        let (token, at) = self.peek();
        if self.accept(&[")"]).is_some() {
            return Ok(());
        }
        Err(ParseError::new(at, format!("expected `)`, not {}", token.show())))
    }

    fn point(&mut self, device: Option<&str>, name: &str, at: usize) -> Result<Part, ParseError> {
        let (id, value_type) = (self.resolve)(device, name).map_err(|e| ParseError::new(at, e))?;
        match value_type {
            ValueType::Bool => self.part(Node::Point(id), Type::Bool, at),
            ValueType::I64 | ValueType::U64 | ValueType::F64 => self.part(Node::Point(id), Type::Number, at),
            ValueType::Text | ValueType::Bytes => {
                Err(ParseError::new(at, format!("expected a number or a bool, `{name}` is neither")))
            }
        }
    }
}

pub(super) fn unexpected(token: &Token, at: usize) -> ParseError {
    ParseError::new(at, format!("expected a point, a number or `(`, not {}", token.show()))
}
