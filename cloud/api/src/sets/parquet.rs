//! Samples as Apache Parquet: one row each, compressed with Snappy. A value stands in the column of its kind; numbers also in
//! `number`, so that most readers need only that. Row groups are filled over pages and points: a file can have no more than
//! 32,767, which so many points alone would be.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use cloud_core::history::ExportRow;
use common::Value;
use common::text::hex;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::export::Encode;

/// `number`: every number, a truth as 0 or 1; `integer`: truths and integers in full; `text`: texts, and what has no
/// other column: integers beyond 63 bits, bytes in hexadecimal.
const SCHEMA: &str = "message history {
    REQUIRED BYTE_ARRAY twin (STRING);
    REQUIRED BYTE_ARRAY point (STRING);
    REQUIRED INT64 time (TIMESTAMP(MICROS,true));
    REQUIRED INT64 received (TIMESTAMP(MICROS,true));
    REQUIRED BYTE_ARRAY quality (STRING);
    OPTIONAL DOUBLE number;
    OPTIONAL INT64 integer;
    OPTIONAL BYTE_ARRAY text (STRING);
}";

/// What was written and not yet sent.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rows from which a group is written, but for the first: who asked should see soon that something comes.
const GROUP: usize = 100_000;

pub(super) struct Parquet {
    writer: SerializedFileWriter<Written>,
    written: Written,
    /// Of the group that is being filled: asset and point of so many rows, one after the other.
    of: Vec<(ByteArray, ByteArray, usize)>,
    rows: Vec<ExportRow>,
}

impl Encode for Parquet {
    const KIND: (&'static str, &'static str) = ("application/vnd.apache.parquet", "parquet");

    fn new() -> io::Result<Self> {
        let schema = parse_message_type(SCHEMA).map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("twinway-cloud {}", env!("CARGO_PKG_VERSION")))
            .build();
        let written = Written::default();
        let writer = SerializedFileWriter::new(written.clone(), Arc::new(schema), Arc::new(properties));
        let writer = writer.map_err(io::Error::other)?;
        Ok(Self { writer, written, of: Vec::new(), rows: Vec::new() })
    }

    fn rows(&mut self, asset: &str, point: &str, rows: &[ExportRow]) -> io::Result<Vec<u8>> {
        self.of.push((text(asset), text(point), rows.len()));
        self.rows.extend_from_slice(rows);
        if self.rows.len() >= GROUP || self.writer.flushed_row_groups().is_empty() {
            self.group()?;
        }
        Ok(self.written.take())
    }

    fn end(mut self) -> io::Result<Vec<u8>> {
        if !self.rows.is_empty() {
            self.group()?;
        }
        self.writer.close().map_err(io::Error::other)?;
        Ok(self.written.take())
    }
}

impl Parquet {
    /// Writes what was gathered.
    fn group(&mut self) -> io::Result<()> {
        let (of, rows) = (std::mem::take(&mut self.of), std::mem::take(&mut self.rows));
        let rows = &rows[..];
        let mut group = self.writer.next_row_group().map_err(io::Error::other)?;
        let each = |name: fn(&(ByteArray, ByteArray, usize)) -> &ByteArray| -> Vec<ByteArray> {
            of.iter().flat_map(|run| std::iter::repeat_n(name(run).clone(), run.2)).collect()
        };
        put::<ByteArrayType>(&mut group, &each(|run| &run.0), None)?;
        put::<ByteArrayType>(&mut group, &each(|run| &run.1), None)?;
        put::<Int64Type>(&mut group, &rows.iter().map(|r| r.t_us).collect::<Vec<_>>(), None)?;
        put::<Int64Type>(&mut group, &rows.iter().map(|r| r.received_us).collect::<Vec<_>>(), None)?;
        put::<ByteArrayType>(
            &mut group,
            &rows.iter().map(|r| text(r.quality.name())).collect::<Vec<_>>(),
            None,
        )?;
        put_some::<DoubleType>(&mut group, rows, |v| v.as_f64())?;
        put_some::<Int64Type>(&mut group, rows, integer)?;
        put_some::<ByteArrayType>(&mut group, rows, |v| in_words(v).map(|t| text(&t)))?;
        group.close().map_err(io::Error::other)?;
        Ok(())
    }
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(text.as_bytes().to_vec())
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(b) => Some(i64::from(*b)),
        Value::I64(n) => Some(*n),
        Value::U64(n) => i64::try_from(*n).ok(),
        _ => None,
    }
}

fn in_words(value: &Value) -> Option<String> {
    match value {
        Value::Text(t) => Some(t.to_string()),
        Value::U64(n) if i64::try_from(*n).is_err() => Some(n.to_string()),
        Value::Bytes(bytes) => Some(hex(bytes)),
        _ => None,
    }
}

/// An optional column.
fn put_some<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Written>,
    rows: &[ExportRow],
    of: impl Fn(&Value) -> Option<T::T>,
) -> io::Result<()> {
    let all: Vec<Option<T::T>> = rows.iter().map(|r| r.value.as_ref().and_then(&of)).collect();
    let levels: Vec<i16> = all.iter().map(|v| i16::from(v.is_some())).collect();
    put::<T>(group, &all.into_iter().flatten().collect::<Vec<_>>(), Some(&levels))
}

fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Written>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> io::Result<()> {
    let column = group.next_column().map_err(io::Error::other)?;
    let mut column = column.ok_or_else(|| io::Error::other("the schema has no such column"))?;
    column.typed::<T>().write_batch(values, levels, None).map_err(io::Error::other)?;
    column.close().map_err(io::Error::other)
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
