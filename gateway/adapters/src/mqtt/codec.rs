//! Payloads to values and times. Pure and total: any bytes give values or a reason, never a panic.

use std::sync::Arc;

use common::{Quality, Value, ValueType};
use serde_json::Value as Json;

use super::config::{Binding, Column, Missing, Source};
use super::csv::{self, Rows};
use super::time::{believed, of_json, of_text};

/// A payload, read as JSON or CSV at most once.
pub(super) struct Payload<'a> {
    bytes: &'a [u8],
    json: Option<Option<Json>>,
    csv: Option<(char, Option<Rows>)>,
}

/// One thing that a payload says of a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    /// None if it has no value that can be used.
    pub(super) value: Option<Value>,
    pub(super) quality: Quality,
    pub(super) source_us: i64,
}

/// Why a payload has no value for a point, for people.
pub(super) type Fault = &'static str;

/// The same with the quality of the sample that tells it.
pub(super) type Bad = (Quality, Fault);

/// What one item says: a value, nothing, or why none.
type Item = Result<Option<Value>, Bad>;

const NO_JSON: Bad = (Quality::BAD_DECODE, "the payload is no JSON");
const NO_TEXT: Bad = (Quality::BAD_DECODE, "the payload is no UTF-8 text");
pub(super) const NO_PLACE: Bad = (Quality::BAD_DECODE, "the payload has nothing there");
const NO_TYPE: Bad = (Quality::BAD_DECODE, "what stands there is no value of the point's type");
pub(super) const SOURCE: Bad = (Quality::BAD_SOURCE, "the source says that it has no value");

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, json: None, csv: None }
    }

    /// Everything that a message received at `now_us` says of a point of type `value_type`, in order of its
    /// times. The first fault is the answer; each has its sample of bad quality.
    pub(super) fn decode(
        &mut self,
        point: &Binding,
        value_type: ValueType,
        now_us: i64,
        out: &mut Vec<Decoded>,
    ) -> Option<Fault> {
        let mut taker = Taker { point, now_us, first: out.len(), fault: None, out };
        match &point.source {
            Source::Plain => taker.take(plain(self.bytes, value_type), None),
            Source::Binary(field) => {
                taker.take(field.read(self.bytes).map(Some).map_err(|f| (Quality::BAD_DECODE, f)), None);
            }
            Source::Json { pointer, items, timestamp } => {
                self.json(pointer, items.as_deref(), timestamp.as_deref(), value_type, &mut taker);
            }
            Source::Csv { column, separator, timestamp } => {
                self.csv(column, *separator, timestamp.as_ref(), value_type, &mut taker);
            }
        }
        taker.end()
    }

    /// As bytes.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// As JSON.
    pub(super) fn parsed(&mut self) -> Result<&Json, Bad> {
        let bytes = self.bytes;
        self.json.get_or_insert_with(|| serde_json::from_slice(bytes).ok()).as_ref().ok_or(NO_JSON)
    }

    fn json(
        &mut self,
        pointer: &str,
        items: Option<&str>,
        timestamp: Option<&str>,
        value_type: ValueType,
        taker: &mut Taker<'_>,
    ) {
        let json = match self.parsed() {
            Ok(json) => json,
            Err(bad) => return taker.take(Err(bad), None),
        };
        let unit = taker.point.unit;
        let mut one = |json: &Json| {
            let stamp = timestamp.map(|at| json.pointer(at).and_then(|stamp| of_json(stamp, unit)));
            let item = match json.pointer(pointer) {
                None => Ok(None),
                Some(Json::Null) => Err(SOURCE),
                Some(found) => from_json(found, value_type).map(Some).ok_or(NO_TYPE),
            };
            taker.take(item, stamp);
        };
        let Some(items) = items else { return one(json) };
        match json.pointer(items) {
            Some(Json::Array(items)) => items.iter().for_each(one),
            None => taker.take(Ok(None), None),
            Some(_) => taker.take(Err((Quality::BAD_DECODE, "`items` is no array")), None),
        }
    }

    fn csv(
        &mut self,
        column: &Column,
        separator: char,
        timestamp: Option<&Column>,
        value_type: ValueType,
        taker: &mut Taker<'_>,
    ) {
        let bytes = self.bytes;
        let read = || (separator, std::str::from_utf8(bytes).ok().map(|t| csv::rows(t, separator)));
        let known = self.csv.take().filter(|(with, _)| *with == separator);
        let Some(rows) = &self.csv.insert(known.unwrap_or_else(read)).1 else {
            return taker.take(Err(NO_TEXT), None);
        };
        let named = [Some(column), timestamp].into_iter().flatten().any(|c| matches!(c, Column::Name(_)));
        let (header, rows) = match rows.split_first() {
            Some((header, rows)) if named => (header.as_slice(), rows),
            _ => (&[][..], rows.as_slice()),
        };
        let place = |column: &Column| match column {
            Column::Index(n) => n.checked_sub(1),
            Column::Name(name) => header.iter().position(|cell| cell == name),
        };
        let (at, stamp_at) = (place(column), timestamp.map(place));
        if rows.is_empty() {
            taker.take(Ok(None), None);
        }
        for row in rows {
            let cell = |at: Option<usize>| at.and_then(|at| row.get(at));
            let stamp = stamp_at.map(|at| cell(at).and_then(|text| of_text(text, taker.point.unit)));
            let item = match cell(at) {
                None => Ok(None),
                Some(text) if text.is_empty() => Err(SOURCE),
                Some(text) if value_type == ValueType::Text => Ok(Some(text.as_str().into())),
                Some(text) => scalar(text, value_type).map(Some).ok_or(NO_TYPE),
            };
            taker.take(item, stamp);
        }
    }
}

/// Makes samples of items.
struct Taker<'a> {
    point: &'a Binding,
    now_us: i64,
    first: usize,
    fault: Option<Fault>,
    out: &'a mut Vec<Decoded>,
}

impl Taker<'_> {
    /// Takes an item. `stamp`: none if the point has no timestamp, none inside if it cannot be read.
    fn take(&mut self, item: Item, stamp: Option<Option<i64>>) {
        let (quality, source_us) = match stamp {
            None => (Quality::GOOD, self.now_us),
            Some(stamp) => believed(stamp, self.now_us)
                .map_or((Quality::UNCERTAIN_TIME, self.now_us), |us| (Quality::GOOD, us)),
        };
        let (value, quality) = match item {
            Ok(Some(value)) => (Some(value), quality),
            Ok(None) if self.point.missing == Missing::Ignore => return,
            other => {
                let (quality, fault) = other.err().unwrap_or(NO_PLACE);
                self.fault.get_or_insert(fault);
                (None, quality)
            }
        };
        self.out.push(Decoded { value, quality, source_us });
    }

    fn end(self) -> Option<Fault> {
        // The newest last, so that it is the one that stays as the current value.
        if let Some(own) = self.out.get_mut(self.first..) {
            own.sort_by_key(|d| d.source_us);
        }
        self.fault
    }
}

/// A payload that is nothing but the value.
fn plain(bytes: &[u8], value_type: ValueType) -> Item {
    if value_type == ValueType::Bytes {
        return Ok(Some(Value::Bytes(bytes.into())));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NO_TEXT)?;
    if value_type == ValueType::Text {
        return Ok(Some(text.into()));
    }
    scalar(text.trim(), value_type).map(Some).ok_or(NO_TYPE)
}

/// A number or truth from text.
fn scalar(text: &str, value_type: ValueType) -> Option<Value> {
    if value_type == ValueType::Bool {
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => return Some(Value::Bool(true)),
            "false" | "off" | "0" => return Some(Value::Bool(false)),
            _ => {}
        }
    }
    if let Ok(n) = text.parse::<i64>() {
        return Some(Value::I64(n));
    }
    if let Ok(n) = text.parse::<u64>() {
        return Some(Value::U64(n));
    }
    text.parse::<f64>().ok().map(Value::F64)
}

fn from_json(json: &Json, value_type: ValueType) -> Option<Value> {
    match json {
        Json::Bool(b) => Some(Value::Bool(*b)),
        Json::Number(n) => n
            .as_i64()
            .map(Value::I64)
            .or_else(|| n.as_u64().map(Value::U64))
            .or_else(|| n.as_f64().map(Value::F64)),
        Json::String(s) if value_type == ValueType::Text => Some(Value::Text(Arc::from(s.as_str()))),
        Json::String(s) if value_type == ValueType::Bytes => Some(Value::Bytes(s.as_bytes().into())),
        // Many sensors send numbers as text.
        Json::String(s) => scalar(s.trim(), value_type),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
