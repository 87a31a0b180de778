//! Expressions over points: a pure language of its own. No loops; any text parses or gives an error with its
//! column, any parsed expression evaluates, and both are bounded. Two kinds share lexer, parser and words:
//! - `Expr`, an interlock: true or false, without state or time; what cannot be judged blocks.
//! - `Formula`, the value of a virtual point: a number or true or false, with functions over time. Quality comes
//!   out as the worst that went in.
//!
//! `zone1_pv < 200 and not oven/door_open and abs(a - b) <= 5`. Points are `point` of the same device or
//! `device/point` without blanks around the slash (with blanks it divides); names with `-`, or that start
//! with a digit, stand in backticks. Numbers and booleans are not mixed.

mod bind;
mod calls;
mod formula;
mod interlock;
mod lex;
mod memory;
mod node;
mod parse;
mod window;

pub use bind::{nearest, parse_formula};
pub use calls::FUNCTIONS;
pub use formula::{Formula, Input, Outcome};
pub use interlock::{Decision, Expr};
pub use memory::{Counter, Memory, Slot, State};
pub use window::{LONGEST_WINDOW_US, MAX_SEGMENTS, Stats, Window};

use common::{PointId, ValueType};

/// Finds a point by device (none: the expression's own) and name; an error says what is wrong.
pub type Resolver<'a> = &'a dyn Fn(Option<&str>, &str) -> Result<(PointId, ValueType), String>;

/// Why a text is not an expression.
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

/// Which functions a text may use, and what it must be as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Interlock,
    Formula,
}
