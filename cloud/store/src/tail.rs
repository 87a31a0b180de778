//! The samples that are accepted and not yet in chunks, by series, in memory. It is built at accept, given up
//! when their chunks are committed, and built again from the stored frames when the database is opened.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloud_core::Position;

use crate::codec::Row;

/// Rank and sequence: a frame's key.
pub(crate) type FrameKey = (u64, u64);

/// Number of a point of a twin.
pub(crate) type SeriesId = i64;

#[derive(Debug, Default)]
struct Series {
    waiting: Vec<Row>,
    /// On their way into chunks; still read from here until these are committed.
    moving: Option<Arc<Vec<Row>>>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    series: HashMap<SeriesId, Series>,
    frames: BTreeSet<FrameKey>,
    moving: Vec<FrameKey>,
    /// Samples in it, those on their way included, for who must not wait for its lock.
    pub(crate) samples: Arc<AtomicUsize>,
    /// Of them, those on their way.
    moving_samples: usize,
}

/// What is on its way into chunks.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Frames.
    pub(crate) frames: Vec<FrameKey>,
    /// Their samples by series.
    pub(crate) rows: Vec<(SeriesId, Arc<Vec<Row>>)>,
}

impl Tail {
    /// Adds an accepted frame.
    pub(crate) fn add(&mut self, frame: FrameKey, rows: impl IntoIterator<Item = (SeriesId, Row)>) {
        self.frames.insert(frame);
        let mut samples = 0;
        for (series, row) in rows {
            self.series.entry(series).or_default().waiting.push(row);
            samples += 1;
        }
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    /// Frames that wait, those on their way included.
    pub(crate) fn len(&self) -> usize {
        self.frames.len() + self.moving.len()
    }

    /// All samples of a series that wait.
    pub(crate) fn rows(&self, series: SeriesId) -> Vec<Row> {
        let Some(s) = self.series.get(&series) else { return Vec::new() };
        s.moving.iter().flat_map(|m| m.iter()).chain(&s.waiting).cloned().collect()
    }

    /// Takes the first `limit` frames out for chunks. Every series has one batch on its way at most: the one
    /// before must have been dropped or put back.
    pub(crate) fn take(&mut self, limit: usize) -> Batch {
        let rest = match self.frames.iter().nth(limit).copied() {
            Some(key) => self.frames.split_off(&key),
            None => BTreeSet::new(),
        };
        let all = rest.is_empty();
        self.moving = std::mem::replace(&mut self.frames, rest).into_iter().collect();
        let Some(bound) = self.moving.last().copied() else {
            return Batch { frames: Vec::new(), rows: Vec::new() };
        };
        let mut rows = Vec::new();
        for (id, series) in &mut self.series {
            let taken = if all {
                std::mem::take(&mut series.waiting)
            } else {
                let is_taken = |row: &Row| frame_of(&row.at) <= bound;
                let (taken, waiting) = std::mem::take(&mut series.waiting).into_iter().partition(is_taken);
                series.waiting = waiting;
                taken
            };
            if !taken.is_empty() {
                let taken = Arc::new(taken);
                series.moving = Some(Arc::clone(&taken));
                rows.push((*id, taken));
            }
        }
        self.moving_samples = rows.iter().map(|(_, rows)| rows.len()).sum();
        // In the order in which their chunks stand in the database.
        rows.sort_unstable_by_key(|(id, _)| *id);
        Batch { frames: self.moving.clone(), rows }
    }

    /// The batch's chunks are committed: from now on it is read from there.
    pub(crate) fn drop_moving(&mut self) {
        self.moving.clear();
        self.samples.fetch_sub(std::mem::take(&mut self.moving_samples), Ordering::Relaxed);
        self.series.retain(|_, s| {
            s.moving = None;
            !s.waiting.is_empty()
        });
    }

    /// The batch could not be stored: it waits again.
    pub(crate) fn put_back(&mut self) {
        self.frames.extend(self.moving.drain(..));
        self.moving_samples = 0;
        for series in self.series.values_mut() {
            if let Some(moving) = series.moving.take() {
                series.waiting.extend(moving.iter().cloned());
            }
        }
    }
}

fn frame_of(at: &Position) -> FrameKey {
    (at.rank, at.seq)
}
