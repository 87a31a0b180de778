//! What a transaction adds to the tables of frames and marks. It is collected and stored at the end, in few statements:
//! each would be a way to a server and back.

use std::collections::BTreeMap;

use cloud_core::NewFrame;
use common::IntervalSet;
use common::wire::Body;

use crate::db::{Result, to_sql};
use crate::gaps;
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
    columns: &[
        ("rank", Kind::Int),
        ("first", Kind::Int),
        ("last", Kind::Int),
        ("first_us", Kind::Int),
        ("last_us", Kind::Int),
    ],
    on_conflict: "ON CONFLICT (rank, first) DO UPDATE SET last = excluded.last, last_us = excluded.last_us",
};

/// A run of marks: its last sequence, and when its first and its last frame were cut. The first is only known of a run
/// that is new; the one in the table stays.
#[derive(Clone, Copy)]
struct Run {
    last: i64,
    first_us: Option<i64>,
    last_us: Option<i64>,
}

/// Frames, and runs of marks by rank and first sequence; none where the run is gone.
#[derive(Default)]
pub(crate) struct Pending<'a> {
    frames: Vec<[Cell<'a>; 6]>,
    runs: BTreeMap<(i64, i64), Option<Run>>,
}

impl<'a> Pending<'a> {
    /// Adds a sequence to the marks, and when its frame was cut; false if it was there.
    pub(crate) fn mark(
        &mut self,
        tx: &Conn,
        seqs: &mut IntervalSet,
        rank: u64,
        seq: u64,
        cut_us: i64,
    ) -> Result<bool> {
        if seqs.contains(seq) {
            return Ok(false);
        }
        let left = seq.checked_sub(1).and_then(|n| seqs.run_of(n));
        let right = seq.checked_add(1).and_then(|n| seqs.run_of(n));
        let mut last_us = Some(cut_us);
        if let Some((first, last)) = right {
            last_us = self.run_end_us(tx, seqs, rank, last)?;
            self.runs.insert((to_sql(rank), to_sql(first)), None);
        }
        let last = to_sql(right.map_or(seq, |(_, last)| last));
        let key = (to_sql(rank), to_sql(left.map_or(seq, |(first, _)| first)));
        let first_us = match left {
            Some(_) => self.runs.get(&key).copied().flatten().and_then(|run| run.first_us),
            None => Some(cut_us),
        };
        self.runs.insert(key, Some(Run { last, first_us, last_us }));
        seqs.insert(seq);
        Ok(true)
    }

    /// When the last frame of the run that ends with `seq` was cut.
    pub(crate) fn run_end_us(
        &self,
        tx: &Conn,
        seqs: &IntervalSet,
        rank: u64,
        seq: u64,
    ) -> Result<Option<i64>> {
        let Some((first, _)) = seqs.run_of(seq).filter(|(_, last)| *last == seq) else { return Ok(None) };
        match self.runs.get(&(to_sql(rank), to_sql(first))) {
            Some(run) => Ok(run.and_then(|run| run.last_us)),
            None => gaps::run_end_us(tx, rank, seq),
        }
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
        if self.frames.is_empty() && self.runs.is_empty() {
            return Ok(());
        }
        tx.insert_all(&FRAMES, self.frames)?;
        let gone = |(key, run): (&(i64, i64), &Option<Run>)| run.is_none().then_some([key.0, key.1]);
        let gone: Vec<_> = self.runs.iter().filter_map(gone).collect();
        if !gone.is_empty() {
            tx.delete_all(&MARKS, gone)?;
        }
        let time = |us: Option<i64>| us.map_or(Cell::Null, Cell::Int);
        let there = self.runs.into_iter().filter_map(|((rank, first), run)| {
            let Run { last, first_us, last_us } = run?;
            let [rank, first, last] = [rank, first, last].map(Cell::Int);
            Some([rank, first, last, time(first_us), time(last_us)])
        });
        tx.insert_all(&MARKS, there)
    }
}

fn kind_of(body: &Body) -> i64 {
    match body {
        Body::Samples(_) => 1,
        Body::Waveform(_) => 2,
        Body::Event(_) | Body::Alarm(_) => 3,
        Body::Command(_) => 4,
        Body::Audit(_) => 5,
        Body::Gap(_) => 6,
        Body::Desired(_) => 7,
    }
}
