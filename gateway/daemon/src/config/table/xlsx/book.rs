//! Reading and writing of the file itself.

use std::borrow::Cow;
use std::io::Cursor;

use calamine::{DataRef, Reader, Xlsx};
use rust_xlsxwriter::{Format, Workbook};

use super::{Cells, Out};

/// The sheet that is read if there are several, and the one that is written.
const SHEET: &str = "points";
/// Larger ones are no tables of points: a hostile file may name any cell.
const MOST_ROWS: u32 = 1_000_000;
const MOST_COLUMNS: u32 = 500;

/// The cells of the sheet `points`, or of the first one.
///
/// # Errors
/// What is wrong with the file.
pub(in crate::config) fn read(bytes: &[u8]) -> Result<Cells<'static>, String> {
    let told = |e: &dyn std::fmt::Display| format!("is not a spreadsheet (XLSX): {e}");
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(|e| told(&e))?;
    let names = book.sheet_names();
    let name = names.iter().find(|n| n.eq_ignore_ascii_case(SHEET)).or(names.first());
    let name = name.cloned().ok_or_else(|| "has no sheet".to_owned())?;
    let mut reader = book.worksheet_cells_reader(&name).map_err(|e| told(&e))?;
    let mut cells = Cells { named: true, ..Cells::default() };
    let (mut line, mut row): (u32, Vec<Cow<'static, str>>) = (0, Vec::new());
    while let Some(cell) = reader.next_cell().map_err(|e| told(&e))? {
        let (at, column) = cell.get_position();
        let Some(text) = text(cell.get_value()) else { continue };
        if at >= MOST_ROWS || column >= MOST_COLUMNS {
            return Err(format!(
                "has a cell in row {} and column {}: it is no table of points",
                at + 1,
                column + 1
            ));
        }
        if at + 1 != line {
            if !row.is_empty() {
                cells.push(line, std::mem::take(&mut row));
            }
            line = at + 1;
        }
        let column = column as usize;
        if row.len() <= column {
            row.resize(column + 1, Cow::Borrowed(""));
        }
        if let Some(slot) = row.get_mut(column) {
            *slot = Cow::Owned(text);
        }
    }
    if !row.is_empty() {
        cells.push(line, row);
    }
    Ok(cells)
}

fn text(cell: &DataRef<'_>) -> Option<String> {
    Some(match cell {
        DataRef::Empty => return None,
        DataRef::Int(n) => n.to_string(),
        DataRef::Float(x) => x.to_string(),
        DataRef::Bool(b) => b.to_string(),
        DataRef::String(s) => s.clone(),
        DataRef::SharedString(s) => (*s).to_owned(),
        DataRef::DateTime(_) | DataRef::DateTimeIso(_) | DataRef::DurationIso(_) => {
            "a date, made by the spreadsheet: format the column as text".to_owned()
        }
        DataRef::Error(e) => format!("{e}"),
    })
}

/// A spreadsheet of one sheet, `points`.
///
/// # Errors
/// When there are more rows than a sheet takes.
pub(in crate::config) fn write(columns: &[String], rows: &[Vec<Out>]) -> Result<Vec<u8>, String> {
    let told = |e: rust_xlsxwriter::XlsxError| e.to_string();
    let number = |n: usize| u32::try_from(n).map_err(|e| e.to_string());
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.set_name(SHEET).map_err(told)?;
    let bold = Format::new().set_bold();
    let mut widths: Vec<usize> = columns.iter().map(|c| c.len() + 4).collect();
    for (at, name) in columns.iter().enumerate() {
        let at = u16::try_from(at).map_err(|e| e.to_string())?;
        sheet.write_string_with_format(0, at, name.as_str(), &bold).map_err(told)?;
    }
    for (line, row) in rows.iter().enumerate() {
        let line = number(line + 1)?;
        for (at, cell) in row.iter().enumerate() {
            let column = u16::try_from(at).map_err(|e| e.to_string())?;
            match cell {
                Out::None => {}
                Out::Number(x) => {
                    sheet.write_number(line, column, *x).map_err(told)?;
                }
                Out::Bool(b) => {
                    sheet.write_boolean(line, column, *b).map_err(told)?;
                }
                Out::Text(text) => {
                    if let Some(width) = widths.get_mut(at) {
                        *width = (*width).max(text.chars().count() + 1).min(40);
                    }
                    sheet.write_string(line, column, text.as_str()).map_err(told)?;
                }
            }
        }
    }
    for (at, width) in widths.iter().enumerate() {
        let at = u16::try_from(at).map_err(|e| e.to_string())?;
        sheet.set_column_width(at, f64::from(u16::try_from(*width).unwrap_or(40))).map_err(told)?;
    }
    sheet.set_freeze_panes(1, 2).map_err(told)?;
    let last = u16::try_from(columns.len().max(1) - 1).map_err(|e| e.to_string())?;
    sheet.autofilter(0, 0, number(rows.len())?, last).map_err(told)?;
    book.save_to_buffer().map_err(told)
}
