//! Columns of values of any type. Each series has a type, and the numbers that differ from it say so; integers (and
//! booleans) stand in one column, floats in another, texts and bytes once each with their places in a third.

use std::collections::HashMap;
use std::sync::Arc;

use super::bits::{BitReader, BitWriter};
use super::floats::{put_floats, take_floats};
use super::ints::{put_plain, put_series, take_plain, take_series};
use super::runs;
use crate::bytes::{DecodeError, Reader, pack, put_varint};
use crate::value::Value;

const NONE: u8 = 0;
const BOOL: u8 = 1;
const I64: u8 = 2;
const U64: u8 = 3;
const F64: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;

fn tag(value: Option<&Value>) -> u8 {
    match value {
        None => NONE,
        Some(Value::Bool(_)) => BOOL,
        Some(Value::I64(_)) => I64,
        Some(Value::U64(_)) => U64,
        Some(Value::F64(_)) => F64,
        Some(Value::Text(_)) => TEXT,
        Some(Value::Bytes(_)) => BYTES,
    }
}

/// A number's column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    None,
    Integer,
    Float,
    Text,
}

fn class(tag: u8) -> Class {
    match tag {
        BOOL | I64 | U64 => Class::Integer,
        F64 => Class::Float,
        TEXT | BYTES => Class::Text,
        _ => Class::None,
    }
}

/// Appends the values of series that stand one after the other, and to `texts` what is read before them.
pub fn put_values(w: &mut BitWriter, texts: &mut Texts, values: &[Option<&Value>], lengths: &[usize]) {
    let tags: Vec<u8> = values.iter().map(|v| tag(*v)).collect();
    let mut types = Vec::with_capacity(lengths.len());
    let mut others = false;
    let mut counts: [Vec<usize>; 3] = std::array::from_fn(|_| Vec::with_capacity(lengths.len()));
    for some in runs(&tags, lengths.iter().copied()) {
        let Some(first) = some.first() else { continue };
        let of = *some.iter().find(|t| **t != NONE).unwrap_or(first);
        types.push(i64::from(of));
        let same = some.iter().filter(|t| **t == of).count();
        others |= same < some.len();
        for (counts, of) in counts.iter_mut().zip([Class::Integer, Class::Float, Class::Text]) {
            counts.push(some.iter().filter(|t| class(**t) == of).count());
        }
    }
    put_plain(w, &types, 0, 0);
    w.put_flag(others);
    if others {
        let mut differing = Vec::with_capacity(tags.len());
        for (some, of) in runs(&tags, lengths.iter().copied().filter(|n| *n > 0)).zip(&types) {
            differing.extend(some.iter().map(|t| i64::from(*t) ^ of));
        }
        put_plain(w, &differing, 0, 0);
    }
    let (mut integers, mut floats, mut places) = (vec![], vec![], vec![]);
    for value in values.iter().flatten() {
        match value {
            Value::Bool(b) => integers.push(i64::from(*b)),
            Value::I64(n) => integers.push(*n),
            Value::U64(n) => integers.push(*n as i64),
            Value::F64(x) => floats.push(*x),
            Value::Text(_) | Value::Bytes(_) => places.push(texts.place(value)),
        }
    }
    let [of_integers, of_floats, of_texts] = counts;
    if !integers.is_empty() {
        put_series(w, &integers, &of_integers, 0);
    }
    if !floats.is_empty() {
        put_floats(w, &floats, &of_floats);
    }
    if !places.is_empty() {
        put_series(w, &places, &of_texts, 0);
    }
}

/// What `put_values` wrote.
///
/// # Errors
/// When the bits are no such column.
pub fn take_values(
    r: &mut BitReader<'_>,
    texts: &[Value],
    lengths: &[usize],
) -> Result<Vec<Option<Value>>, DecodeError> {
    let filled = || lengths.iter().filter(|n| **n > 0);
    let types = take_plain(r, filled().count(), 0, 0)?;
    let total: usize = lengths.iter().sum();
    let differing = if r.flag() { take_plain(r, total, 0, 0)? } else { Vec::new() };
    // Types as runs: those that differ are seldom.
    let mut tags: Vec<(u8, usize)> = Vec::with_capacity(types.len());
    let mut counts: [Vec<usize>; 3] = Default::default();
    let mut from = 0;
    for (n, of) in filled().zip(&types) {
        let mut own = [0; 3];
        let mut add = |code: i64, n: usize| {
            let tag = u8::try_from(code).ok().filter(|t| *t <= BYTES);
            let tag = tag.ok_or(DecodeError::Invalid { what: "type of a value" })?;
            match class(tag) {
                Class::Integer => own[0] += n,
                Class::Float => own[1] += n,
                Class::Text => own[2] += n,
                Class::None => {}
            }
            tags.push((tag, n));
            Ok(())
        };
        match differing.get(from..from + n) {
            Some(some) => some.iter().try_for_each(|off| add(off ^ of, 1))?,
            None => add(*of, *n)?,
        }
        from += n;
        counts.iter_mut().zip(own).for_each(|(counts, n)| counts.push(n));
    }
    let [of_integers, of_floats, of_texts] = counts;
    let has = |counts: &[usize]| counts.iter().any(|n| *n > 0);
    let integers = if has(&of_integers) { take_series(r, &of_integers, 0)? } else { Vec::new() };
    let floats = if has(&of_floats) { take_floats(r, &of_floats)? } else { Vec::new() };
    let places = if has(&of_texts) { take_series(r, &of_texts, 0)? } else { Vec::new() };
    let (mut integers, mut floats, mut places) = (&integers[..], &floats[..], &places[..]);
    let mut out = Vec::with_capacity(total);
    for (tag, n) in tags {
        match tag {
            BOOL => {
                for integer in next(&mut integers, n)? {
                    out.push(Some(Value::Bool(match integer {
                        0 => false,
                        1 => true,
                        _ => return Err(DecodeError::Invalid { what: "boolean" }),
                    })));
                }
            }
            I64 => out.extend(next(&mut integers, n)?.iter().map(|n| Some(Value::I64(*n)))),
            U64 => out.extend(next(&mut integers, n)?.iter().map(|n| Some(Value::U64(*n as u64)))),
            F64 => out.extend(next(&mut floats, n)?.iter().map(|x| Some(Value::F64(*x)))),
            TEXT | BYTES => {
                for place in next(&mut places, n)? {
                    let value = usize::try_from(*place).ok().and_then(|p| texts.get(p));
                    let value = value.filter(|v| self::tag(Some(v)) == tag).cloned();
                    out.push(Some(value.ok_or(DecodeError::Invalid { what: "place of a text" })?));
                }
            }
            _ => out.extend(std::iter::repeat_n(None, n)),
        }
    }
    Ok(out)
}

/// The next `n` of a column.
fn next<'a, T>(column: &mut &'a [T], n: usize) -> Result<&'a [T], DecodeError> {
    let (some, rest) = column.split_at_checked(n).ok_or(DecodeError::Invalid { what: "count of values" })?;
    *column = rest;
    Ok(some)
}

/// Every text and every string of bytes of a column, once.
#[derive(Debug, Default)]
pub struct Texts {
    places: HashMap<(bool, Vec<u8>), i64>,
    bytes: Vec<u8>,
}

impl Texts {
    fn place(&mut self, value: &Value) -> i64 {
        let (is_text, bytes) = match value {
            Value::Text(t) => (true, t.as_bytes()),
            Value::Bytes(b) => (false, &b[..]),
            _ => return 0,
        };
        let next = self.places.len() as i64;
        *self.places.entry((is_text, bytes.to_vec())).or_insert_with(|| {
            put_varint(&mut self.bytes, (bytes.len() as u64) << 1 | u64::from(!is_text));
            self.bytes.extend(bytes);
            next
        })
    }

    /// Appends them: how many, their length, that in which they are stored, and they.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.places.len() as u64);
        if self.places.is_empty() {
            return;
        }
        let packed = pack(&self.bytes);
        let stored = packed.as_ref().unwrap_or(&self.bytes);
        put_varint(out, self.bytes.len() as u64);
        put_varint(out, stored.len() as u64);
        out.extend(stored);
    }

    /// What `put` wrote for at most `values` values, of at most `limit` bytes before compression.
    ///
    /// # Errors
    /// When the bytes are no such thing.
    pub fn take(r: &mut Reader<'_>, values: usize, limit: usize) -> Result<Vec<Value>, DecodeError> {
        let n = r.count("texts", values)?;
        if n == 0 {
            return Ok(Vec::new());
        }
        let length = r.count("bytes of texts", limit)?;
        let stored = r.sized()?;
        let unpacked;
        let bytes = if stored.len() == length {
            stored
        } else {
            // It packs no more than 255 to one.
            if length / 255 > stored.len() {
                return Err(DecodeError::Invalid { what: "lz4 texts" });
            }
            unpacked = lz4_flex::block::decompress(stored, length)
                .map_err(|_| DecodeError::Invalid { what: "lz4 texts" })?;
            &unpacked[..]
        };
        let mut r = Reader::new(bytes);
        let mut out = Vec::new();
        for _ in 0..n {
            let head = r.varint()?;
            let bytes = r.take(usize::try_from(head >> 1).unwrap_or(usize::MAX))?;
            out.push(if head & 1 == 0 {
                let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid { what: "text" })?;
                Value::Text(Arc::from(text))
            } else {
                Value::Bytes(bytes.into())
            });
        }
        r.end()?;
        Ok(out)
    }
}
