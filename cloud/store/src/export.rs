//! A point's samples in pages: as many chunks at a time as a page takes, so that memory does not grow with the range.

use std::sync::{PoisonError, RwLock};

use cloud_core::history::{ExportRow, SamplePage};
use common::TwinId;

use crate::codec::Row;
use crate::compact::REMOVED;
use crate::damage::Damage;
use crate::db::Result;
use crate::history::{Source, find};
use crate::sql::Conn;
use crate::tail::Tail;

/// Bytes of texts from which on a page is full.
const MOST_TEXT: usize = 16 << 20;

pub(crate) fn samples(
    conn: &Conn,
    tail: &RwLock<Tail>,
    twin: TwinId,
    point: &str,
    (from, to): (i64, i64),
    most: usize,
    damage: &Damage,
) -> Result<SamplePage> {
    let guard = tail.read().unwrap_or_else(PoisonError::into_inner);
    let tx = conn.read()?;
    let series = find(&tx, twin, point)?;
    let tail = guard.of(series.as_slice());
    drop(guard);
    let Some(series) = series.filter(|_| from < to) else { return Ok(SamplePage::default()) };
    let source = Source::new(&tx, series, tail.rows()?.pop().unwrap_or_default()).leaving_out(damage);
    let mut chunks = source.chunks(from, to)?;
    chunks.retain(|c| c.class != REMOVED);
    // By their beginnings: up to the beginning of the first chunk that is left out, all is there.
    let (mut n, mut text, mut taken) = (0, 0, 0);
    let mut rows: Vec<Row> = Vec::new();
    for (i, chunk) in chunks.iter().enumerate() {
        if (n >= most as u64 || text >= MOST_TEXT) && chunk.t_min > from {
            break;
        }
        let some = source.samples(chunk)?;
        n += chunk.n;
        text += some.iter().map(Row::text).sum::<usize>();
        rows.extend(some.into_iter().filter(|r| from <= r.t && r.t < to));
        taken = i + 1;
    }
    let next_us = chunks.get(taken).map(|c| c.t_min.min(to)).filter(|t| *t < to);
    let end = next_us.unwrap_or(to);
    rows.retain(|r| r.t < end);
    rows.extend(source.tail.iter().filter(|r| from <= r.t && r.t < end).cloned());
    rows.sort_unstable_by_key(Row::key);
    let row = |r: Row| ExportRow { t_us: r.t, received_us: r.received, quality: r.quality, value: r.value };
    Ok(SamplePage { rows: rows.into_iter().map(row).collect(), next_us })
}
