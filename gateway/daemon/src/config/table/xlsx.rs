//! Spreadsheets (XLSX): read as cells with what formulas last gave, and written with types, so that a spreadsheet
//! makes no date of a name. Nothing here knows what a point is.

use super::Cells;

#[cfg(feature = "spreadsheet")]
mod book;

#[cfg(feature = "spreadsheet")]
pub(in crate::config) use book::{read, write};

/// One cell to write.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum Out {
    /// text, whatever it looks like
    Text(String),
    /// a number
    Number(f64),
    /// a bool
    Bool(bool),
    /// nothing
    None,
}

/// Of a program that is built without them.
#[cfg(not(feature = "spreadsheet"))]
const LEFT_OUT: &str = "spreadsheets (XLSX) are not built into this program: save it as CSV, or take one that is built with the feature `spreadsheet`";

#[cfg(not(feature = "spreadsheet"))]
pub(in crate::config) fn read(_: &[u8]) -> Result<Cells<'static>, String> {
    Err(LEFT_OUT.to_owned())
}

#[cfg(not(feature = "spreadsheet"))]
pub(in crate::config) fn write(_: &[String], _: &[Vec<Out>]) -> Result<Vec<u8>, String> {
    Err(LEFT_OUT.to_owned())
}
