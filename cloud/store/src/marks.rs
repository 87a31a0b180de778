//! What a transaction adds to the tables of frames and marks. It is collected and stored at the end, in few statements:
//! each would be a way to a server and back.

use std::collections::BTreeMap;

use cloud_core::NewFrame;
use common::IntervalSet;
use common::wire::Body;

use crate::db::{Result, to_sql};
use crate::sql::{Cell, Conn, Kind, Table};

/// Frames by rank and sequence.
pub(crate) const FRAMES: Table<'static> = Table {
    name: "frames",
    columns: &[
        ("rank", Kind::Int),
        ("seq", Kind::Int),
        ("schema", Kind::Int),
        ("kind", Kind::Int),
        ("received_us", Kind::Int),
        ("bytes", Kind::Blob),
    ],
    on_conflict: "",
};
const MARKS: Table<'static> = Table {
    name: "marks",
    columns: &[("rank", Kind::Int), ("first", Kind::Int), ("last", Kind::Int)],
    on_conflict: "ON CONFLICT (rank, first) DO UPDATE SET last = excluded.last",
};

/// Frames, and runs of marks by rank and first sequence: the last sequence then, or none where the run is gone.
#[derive(Default)]
pub(crate) struct Pending<'a> {
    frames: Vec<[Cell<'a>; 6]>,
    runs: BTreeMap<(i64, i64), Option<i64>>,
}

impl<'a> Pending<'a> {
    /// Adds a sequence to the marks; false if it was there.
    pub(crate) fn mark(&mut self, seqs: &mut IntervalSet, rank: u64, seq: u64) -> bool {
        if seqs.contains(seq) {
            return false;
        }
        let left = seq.checked_sub(1).and_then(|n| seqs.run_of(n));
        let right = seq.checked_add(1).and_then(|n| seqs.run_of(n));
        let rank = to_sql(rank);
        if let Some((first, _)) = right {
            self.runs.insert((rank, to_sql(first)), None);
        }
        let first = left.map_or(seq, |(first, _)| first);
        let last = right.map_or(seq, |(_, last)| last);
        self.runs.insert((rank, to_sql(first)), Some(to_sql(last)));
        seqs.insert(seq);
        true
    }

    /// Adds a frame of a schema's row.
    pub(crate) fn add(&mut self, new: &'a NewFrame, schema_row: i64) {
        let kind = kind_of(&new.frame.body);
        let numbers = [to_sql(new.rank), to_sql(new.frame.header.seq), schema_row, kind, new.received_us];
        let [rank, seq, schema, kind, received] = numbers.map(Cell::Int);
        self.frames.push([rank, seq, schema, kind, received, Cell::Blob(&new.bytes)]);
    }

    /// Stores all of it.
    pub(crate) fn store(self, tx: &Conn) -> Result<()> {
        if self.frames.is_empty() {
            return Ok(());
        }
        tx.insert_all(&FRAMES, self.frames)?;
        let gone = |(key, last): (&(i64, i64), &Option<i64>)| last.is_none().then_some([key.0, key.1]);
        let gone: Vec<_> = self.runs.iter().filter_map(gone).collect();
        if !gone.is_empty() {
            tx.delete_all(&MARKS, gone)?;
        }
        let there = self.runs.into_iter().filter_map(|((rank, first), last)| Some([rank, first, last?]));
        tx.insert_all(&MARKS, there.map(|run| run.map(Cell::Int)))
    }
}

fn kind_of(body: &Body) -> i64 {
    match body {
        Body::Samples(_) => 1,
        Body::Event(_) | Body::Alarm(_) => 3,
        Body::Command(_) => 4,
        Body::Audit(_) => 5,
        Body::Gap(_) => 6,
        Body::Desired(_) => 7,
    }
}
