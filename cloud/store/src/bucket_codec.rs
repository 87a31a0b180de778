//! Chunks of buckets as bytes, third version, and which older one a blob is of. Pure and total, as `codec`.

use common::Quality;
use common::Value;
use common::bytes::{Reader, put_varint};
use common::columns::{
    BitReader, BitWriter, Texts, put_floats, put_plain, put_residuals, put_series, put_values, take_floats,
    take_plain, take_residuals, take_series, take_values,
};

use crate::bucket::Bucket;
use crate::codec::{self, BlobError, MAX_ROWS, Opened, Row, put_rows, seal_as, take_rows, take_texts};
use crate::times::{MOST_STATES, Times, state_of};
use crate::{first, second};

/// Of blobs of buckets.
const VERSION: u8 = 3;

/// Bits of a bucket's kind.
const NO_ENDS: i64 = 1;
const GOOD_ENDS: i64 = 2;

/// How a bucket's time divides by state: all of it in the state of its first usable end, in none, unknown, or as listed: from
/// `LISTED` on, twice the number of states, and 1 if others come beside them.
const ONE_STATE: i64 = 0;
const NO_STATE: i64 = 1;
const UNKNOWN: i64 = 2;
const LISTED: i64 = 3;
const MOST_LISTED: i64 = LISTED + 2 * MOST_STATES as i64 + 1;

/// A chunk of buckets by column. What a roll-up of a counter or of a state repeats is not written twice: its least is
/// its first and its greatest its last; what is not good and what changes is written where it is.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn encode(buckets: &[Bucket]) -> Vec<u8> {
    let (mut w, mut texts) = (BitWriter::default(), Texts::default());
    let all = [buckets.len()];
    let column = |of: fn(&Bucket) -> i64| buckets.iter().map(of).collect::<Vec<_>>();
    put_series(&mut w, &column(|b| b.start), &all, 0);
    put_series(&mut w, &column(|b| b.count as i64), &all, 0);
    put_series(&mut w, &column(|b| b.count.wrapping_sub(b.good) as i64), &all, 0);
    put_series(&mut w, &column(|b| b.good.wrapping_sub(b.numbers) as i64), &all, 0);
    put_plain(&mut w, &column(|b| i64::from(b.worst.code())), 0, 0);
    put_plain(&mut w, &column(kind), 0, 0);
    let ends =
        |of: fn(&Bucket) -> Option<&Row>| -> Vec<Row> { buckets.iter().filter_map(of).cloned().collect() };
    put_rows(&mut w, &mut texts, &ends(|b| b.first.as_ref()));
    put_rows(&mut w, &mut texts, &ends(|b| b.last.as_ref()));
    if buckets.iter().any(|b| b.good_ends.is_some()) {
        put_rows(&mut w, &mut texts, &ends(|b| b.good_ends.as_ref().map(|ends| &ends.0)));
        put_rows(&mut w, &mut texts, &ends(|b| b.good_ends.as_ref().map(|ends| &ends.1)));
    }
    put_numbers(&mut w, buckets);
    put_times(&mut w, &mut texts, buckets);
    let mut out = Vec::new();
    put_varint(&mut out, buckets.len() as u64);
    texts.put(&mut out);
    out.extend(w.finish());
    seal_as(VERSION, &out)
}

fn kind(b: &Bucket) -> i64 {
    let no_ends = if b.first.is_none() { NO_ENDS } else { 0 };
    no_ends | if b.good_ends.is_some() { GOOD_ENDS } else { 0 }
}

type Extreme = (fn(&Bucket) -> f64, fn(&Bucket) -> Option<&Row>);
/// The extremes, and the samples that they may be of.
const EXTREMES: [Extreme; 2] = [(|b| b.min, Bucket::first_good), (|b| b.max, Bucket::last_good)];

/// The number of a sample; 0 if it has none.
fn marked(row: Option<&Row>) -> f64 {
    row.and_then(|r| r.value.as_ref()).and_then(Value::as_f64).unwrap_or(0.0)
}

/// Extremes and sums.
fn put_numbers(w: &mut BitWriter, buckets: &[Bucket]) {
    let mut floats = Vec::with_capacity(buckets.len() * 3);
    let mut lengths = Vec::with_capacity(3);
    for (of, mark) in EXTREMES {
        let is_marked = buckets.iter().all(|b| of(b).to_bits() == marked(mark(b)).to_bits());
        w.put_flag(is_marked);
        if !is_marked {
            floats.extend(buckets.iter().map(of));
            lengths.push(buckets.len());
        }
    }
    floats.extend(buckets.iter().map(|b| b.sum));
    lengths.push(buckets.len());
    put_floats(w, &floats, &lengths);
}

/// What `put_numbers` wrote, of buckets that have their ends.
pub(crate) fn take_numbers(r: &mut BitReader<'_>, buckets: &mut [Bucket]) -> Result<(), BlobError> {
    let n = buckets.len();
    let (least, greatest) = (r.flag(), r.flag());
    let floats = take_floats(r, &vec![n; 3 - usize::from(least) - usize::from(greatest)])?;
    let mut floats = floats.into_iter();
    let mut next = || floats.next().unwrap_or(0.0);
    buckets.iter_mut().for_each(|b| b.min = if least { marked(b.first_good()) } else { next() });
    buckets.iter_mut().for_each(|b| b.max = if greatest { marked(b.last_good()) } else { next() });
    buckets.iter_mut().for_each(|b| b.sum = next());
    Ok(())
}

/// From the first to the last sample.
fn span(b: &Bucket) -> i64 {
    b.first.as_ref().zip(b.last.as_ref()).map_or(0, |(first, last)| last.t.saturating_sub(first.t))
}

/// The state that all of the time is in, if it is in one.
fn one_state(b: &Bucket) -> Option<&Value> {
    let end = |row: &'_ Option<Row>| row.as_ref().and_then(state_of).is_some();
    let row = if end(&b.first) { &b.first } else { &b.last };
    row.as_ref().and_then(state_of)
}

/// What is written of a bucket's times; none where it is not known, or cannot be told from the ends.
fn known(b: &Bucket) -> Option<&Times> {
    let fits = |t: &&Times| {
        t.good == span(b).saturating_sub(t.uncertain).saturating_sub(t.bad)
            && t.others() >= 0
            && t.states.len() <= MOST_STATES
            && (b.good < b.count || (t.uncertain, t.bad) == (0, 0))
    };
    b.times.as_ref().filter(fits)
}

#[allow(clippy::cast_possible_wrap)]
fn code(b: &Bucket) -> i64 {
    let Some(times) = known(b) else { return UNKNOWN };
    match &times.states[..] {
        [] => NO_STATE,
        [(value, us)] if *us == times.usable() && one_state(b) == Some(value) => ONE_STATE,
        states => LISTED + 2 * states.len() as i64 + i64::from(times.others() > 0),
    }
}

fn put_times(w: &mut BitWriter, texts: &mut Texts, buckets: &[Bucket]) {
    put_plain(w, &buckets.iter().map(code).collect::<Vec<_>>(), 0, 0);
    let times = || buckets.iter().filter_map(|b| known(b).map(|t| (b, t)));
    let odd = || times().filter(|(b, _)| b.good < b.count).map(|(_, t)| t);
    put_residuals(w, &odd().map(|t| t.uncertain).collect::<Vec<_>>());
    put_residuals(w, &odd().map(|t| t.bad).collect::<Vec<_>>());
    let (mut values, mut spans) = (Vec::new(), Vec::new());
    for (_, t) in times().filter(|(b, _)| code(b) >= LISTED) {
        values.extend(t.states.iter().map(|(value, _)| Some(value)));
        // Without others the last one has what is left.
        let written = t.states.len() - usize::from(t.others() == 0);
        spans.extend(t.states.iter().take(written).map(|(_, us)| *us));
    }
    put_values(w, texts, &values, &[values.len()]);
    put_residuals(w, &spans);
}

/// What `put_times` wrote, into buckets that have their ends and counts.
fn take_times(r: &mut BitReader<'_>, texts: &[Value], buckets: &mut [Bucket]) -> Result<(), BlobError> {
    let codes = take_plain(r, buckets.len(), 0, 0)?;
    if codes.iter().any(|c| !(0..=MOST_LISTED).contains(c)) {
        return Err(BlobError::Invalid("states of a bucket"));
    }
    let is_odd = |(b, c): &(&Bucket, &i64)| **c != UNKNOWN && b.good < b.count;
    let odd = buckets.iter().zip(&codes).filter(|pair| is_odd(&(pair.0, pair.1))).count();
    let mut uncertain = take_residuals(r, odd)?.into_iter();
    let mut bad = take_residuals(r, odd)?.into_iter();
    let listed = |c: &i64| usize::try_from((*c - LISTED) / 2).unwrap_or(0);
    let has_rest = |c: i64| (c - LISTED) % 2 == 1;
    let explicit = || codes.iter().filter(|c| **c >= LISTED);
    let total: usize = explicit().map(listed).sum();
    let mut values = take_values(r, texts, &[total])?.into_iter();
    let written = total - explicit().filter(|c| !has_rest(**c) && listed(c) > 0).count();
    let mut spans = take_residuals(r, written)?.into_iter();
    for (b, code) in buckets.iter_mut().zip(&codes) {
        if *code == UNKNOWN {
            b.times = None;
            continue;
        }
        let mut times = Times::default();
        if b.good < b.count {
            (times.uncertain, times.bad) = (uncertain.next().unwrap_or(0), bad.next().unwrap_or(0));
        }
        times.good = span(b).saturating_sub(times.uncertain).saturating_sub(times.bad);
        if *code == ONE_STATE {
            let value = one_state(b).cloned().ok_or(BlobError::Invalid("state of a bucket"))?;
            times.states.push((value, times.usable()));
        }
        let n = if *code >= LISTED { listed(code) } else { 0 };
        for i in 0..n {
            let value = values.next().flatten().ok_or(BlobError::Invalid("value of a state"))?;
            let is_rest = i + 1 == n && !has_rest(*code);
            let us = if is_rest { times.others() } else { spans.next().unwrap_or(0) };
            times.states.push((value, us));
        }
        b.times = Some(times);
    }
    Ok(())
}

/// Starts, counts and worst qualities: of the second version too.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn take_counts(r: &mut BitReader<'_>, n: usize) -> Result<Vec<Bucket>, BlobError> {
    let all = [n];
    let starts = take_series(r, &all, 0)?;
    let counts = take_series(r, &all, 0)?;
    let others = take_series(r, &all, 0)?;
    let words = take_series(r, &all, 0)?;
    let worst = take_plain(r, n, 0, 0)?;
    let mut out = Vec::with_capacity(n);
    for ((((start, count), others), words), worst) in
        starts.into_iter().zip(counts).zip(others).zip(words).zip(worst)
    {
        let good = (count as u64).wrapping_sub(others as u64);
        let code = u8::try_from(worst).map_err(|_| BlobError::Invalid("quality"))?;
        out.push(Bucket {
            start,
            count: count as u64,
            good,
            numbers: good.wrapping_sub(words as u64),
            min: 0.0,
            max: 0.0,
            sum: 0.0,
            worst: Quality::from_code(code),
            first: None,
            last: None,
            good_ends: None,
            times: None,
        });
    }
    Ok(out)
}

/// What `encode` wrote, of any version.
pub(crate) fn decode(blob: &[u8]) -> Result<Vec<Bucket>, BlobError> {
    let body = match codec::open(blob)? {
        Opened::Columns(VERSION, body) => body,
        Opened::Columns(_, body) => return second::take_buckets(body),
        Opened::First(body) => return first::take_buckets(&body),
    };
    let mut r = Reader::new(body);
    let n = r.count("buckets", MAX_ROWS)?;
    // Four ends each, and states.
    let texts = take_texts(&mut r, n * (4 + MOST_STATES))?;
    let mut r = BitReader::new(r.rest());
    let mut out = take_counts(&mut r, n)?;
    let kinds = take_plain(&mut r, n, 0, 0)?;
    if kinds.iter().any(|kind| kind & !(NO_ENDS | GOOD_ENDS) != 0) {
        return Err(BlobError::Invalid("kind of a bucket"));
    }
    let with = |bit: i64| kinds.iter().map(move |kind| kind & bit != 0);
    let ends = with(NO_ENDS).filter(|none| !none).count();
    let (firsts, lasts) = (take_rows(&mut r, &texts, ends)?, take_rows(&mut r, &texts, ends)?);
    let mut ends = firsts.into_iter().zip(lasts);
    for (b, _) in out.iter_mut().zip(with(NO_ENDS)).filter(|(_, none)| !none) {
        (b.first, b.last) = ends.next().unzip();
    }
    let good = with(GOOD_ENDS).filter(|has| *has).count();
    if good > 0 {
        let (firsts, lasts) = (take_rows(&mut r, &texts, good)?, take_rows(&mut r, &texts, good)?);
        let mut ends = firsts.into_iter().zip(lasts);
        for (b, _) in out.iter_mut().zip(with(GOOD_ENDS)).filter(|(_, has)| *has) {
            b.good_ends = ends.next().map(Box::new);
        }
    }
    take_numbers(&mut r, &mut out)?;
    take_times(&mut r, &texts, &mut out)?;
    r.end()?;
    Ok(out)
}
