//! When rows were taken and where they stand, apart from their values: points that are read by one request have the same
//! of it, so that it is stored once for all of them. A chunk refers to it; it goes with the last chunk that does.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloud_core::Position;
use common::{Quality, Value};

use crate::codec::Row;
use crate::db::{Result, damaged};
use crate::sql::{Conn, Kind, Table, params};

/// Times and places of a chunk's rows, in their order; all of one length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamps {
    /// Source times, UTC us.
    pub(crate) t: Vec<i64>,
    /// How much later each was received, us.
    pub(crate) delay: Vec<i64>,
    /// Rank of each row's incarnation.
    pub(crate) rank: Vec<u64>,
    /// Sequence of its frame.
    pub(crate) seq: Vec<u64>,
}

impl Stamps {
    pub(crate) fn of(rows: &[Row]) -> Self {
        Self {
            t: rows.iter().map(|r| r.t).collect(),
            delay: rows.iter().map(|r| r.received.wrapping_sub(r.t)).collect(),
            rank: rows.iter().map(|r| r.at.rank).collect(),
            seq: rows.iter().map(|r| r.at.seq).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.t.len()
    }

    /// The least place: what a chunk is first found by.
    pub(crate) fn first(&self) -> Position {
        let (rank, seq) = self.rank.iter().copied().zip(self.seq.iter().copied()).min().unwrap_or_default();
        Position { rank, seq, index: 0 }
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.t.extend(&other.t);
        self.delay.extend(&other.delay);
        self.rank.extend(&other.rank);
        self.seq.extend(&other.seq);
    }

    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        Self {
            t: self.t[from..to].to_vec(),
            delay: self.delay[from..to].to_vec(),
            rank: self.rank[from..to].to_vec(),
            seq: self.seq[from..to].to_vec(),
        }
    }

    /// Puts them in the order of a history; which one comes where, unless they stand so already. Rows of one time and
    /// frame keep their order, which is that of their indices.
    pub(crate) fn sort(&mut self) -> Option<Vec<u32>> {
        let key = |i: usize| (self.t[i], self.rank[i], self.seq[i]);
        if (1..self.len()).all(|i| key(i - 1) <= key(i)) {
            return None;
        }
        let mut order: Vec<u32> = (0u32..).take(self.len()).collect();
        order.sort_by_key(|i| key(*i as usize));
        *self = Self {
            t: pick(&self.t, &order),
            delay: pick(&self.delay, &order),
            rank: pick(&self.rank, &order),
            seq: pick(&self.seq, &order),
        };
        Some(order)
    }
}

fn pick<T: Clone>(from: &[T], order: &[u32]) -> Vec<T> {
    order.iter().map(|i| from[*i as usize].clone()).collect()
}

/// What is of each point by itself; all of one length.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cells {
    /// Index of each row in its frame.
    pub(crate) index: Vec<u32>,
    pub(crate) quality: Vec<Quality>,
    pub(crate) value: Vec<Option<Value>>,
}

impl Cells {
    pub(crate) fn of(rows: &[Row]) -> Self {
        Self {
            index: rows.iter().map(|r| r.at.index).collect(),
            quality: rows.iter().map(|r| r.quality).collect(),
            value: rows.iter().map(|r| r.value.clone()).collect(),
        }
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.index.append(&mut other.index);
        self.quality.append(&mut other.quality);
        self.value.append(&mut other.value);
    }

    /// Puts them in this order.
    pub(crate) fn sort(&mut self, order: &[u32]) {
        self.index = pick(&self.index, order);
        self.quality = pick(&self.quality, order);
        self.value = pick(&self.value, order);
    }

    pub(crate) fn part(&self, from: usize, to: usize) -> Part<'_> {
        Part { index: &self.index[from..to], quality: &self.quality[from..to], value: &self.value[from..to] }
    }

    pub(crate) fn into_rows(self, stamps: &Stamps) -> Vec<Row> {
        let times = stamps.t.iter().zip(&stamps.delay);
        let places = stamps.rank.iter().zip(&stamps.seq).zip(self.index);
        let cells = self.quality.into_iter().zip(self.value);
        let mut rows = Vec::with_capacity(stamps.len());
        for (((t, delay), ((rank, seq), index)), (quality, value)) in times.zip(places).zip(cells) {
            let at = Position { rank: *rank, seq: *seq, index };
            rows.push(Row { t: *t, received: t.wrapping_add(*delay), at, quality, value });
        }
        rows
    }

    pub(crate) fn row(&self, stamps: &Stamps, i: usize) -> Row {
        Row {
            t: stamps.t[i],
            received: stamps.t[i].wrapping_add(stamps.delay[i]),
            at: Position { rank: stamps.rank[i], seq: stamps.seq[i], index: self.index[i] },
            quality: self.quality[i],
            value: self.value[i].clone(),
        }
    }
}

/// Some of them, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) index: &'a [u32],
    pub(crate) quality: &'a [Quality],
    pub(crate) value: &'a [Option<Value>],
}

impl Part<'_> {
    pub(crate) fn rows(self, stamps: &Stamps) -> Vec<Row> {
        let of =
            Cells { index: self.index.to_vec(), quality: self.quality.to_vec(), value: self.value.to_vec() };
        of.into_rows(stamps)
    }
}

/// Their table, by number.
pub(crate) const STAMPS: Table<'static> =
    Table { name: "stamps", columns: &[("id", Kind::Int), ("blob", Kind::Blob)], on_conflict: "" };

/// The number that the next ones get. There is one writer.
pub(crate) fn next(tx: &Conn) -> Result<i64> {
    tx.one("SELECT coalesce(max(id), 0) + 1 FROM stamps", params![], |r| r.get(0))
}

pub(crate) fn read(conn: &Conn, id: i64) -> Result<Arc<Stamps>> {
    let blob: Option<Vec<u8>> =
        conn.first("SELECT blob FROM stamps WHERE id = ?1", params![id], |r| r.get(0))?;
    let blob = blob.ok_or_else(|| damaged(format_args!("stamps {id}"), "they are gone"))?;
    let stamps = crate::codec::decode_stamps(&blob);
    stamps.map(Arc::new).map_err(|e| damaged(format_args!("stamps {id}"), e))
}

/// Removes those of these that no chunk refers to any more.
pub(crate) fn collect(tx: &Conn, ids: impl IntoIterator<Item = i64>) -> Result<()> {
    for id in ids.into_iter().collect::<BTreeSet<_>>() {
        let sql = "DELETE FROM stamps WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM chunks WHERE stamps = ?1)";
        tx.execute(sql, params![id])?;
    }
    Ok(())
}
