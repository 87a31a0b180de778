//! The frames that are accepted and not yet in chunks, in memory as they were received: packed, a sample takes a few
//! bytes. They are unpacked for chunks, and for a reader of what is new. The tail is built at accept, given up when the
//! chunks are committed, and built again from the stored frames when the database is opened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloud_core::Position;
use common::Sample;
use common::wire::{Body, Frame};

use crate::clocks::Clocks;
use crate::codec::Row;
use crate::db::{Result, damaged};

/// Rank and sequence: a frame's key.
pub(crate) type FrameKey = (u64, u64);

/// Number of a point of a twin.
pub(crate) type SeriesId = i64;

/// Not asked for yet, or of a point that the schema lacks.
pub(crate) const NO_SERIES: SeriesId = 0;

/// Series by a schema's numbers of points. Frames that came after each other share one.
pub(crate) type Numbers = Arc<Vec<SeriesId>>;

/// Samples that are unpacked at once, about: so many of each point, within these bounds. More would make larger chunks,
/// and take more memory at a time and longer to store, for which live frames wait.
const OF_EACH_POINT: usize = 128;
const LEAST_AT_ONCE: usize = 1 << 17;
const MOST_AT_ONCE: usize = 1 << 20;

/// A frame that waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    /// As received; empty for one that holds no samples.
    pub(crate) bytes: Arc<[u8]>,
    /// Samples in it.
    pub(crate) samples: usize,
    /// What its numbers of points mean.
    pub(crate) series: Numbers,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    frames: BTreeMap<FrameKey, Waiting>,
    /// On their way into chunks; still read from here until these are committed.
    moving: Vec<(FrameKey, Waiting)>,
    /// The last that was taken: the next are those after it, so that every gateway has its turn.
    taken: FrameKey,
    /// Of gateways, and which frames wait for theirs.
    pub(crate) clocks: Clocks,
    bytes: usize,
    /// Samples in it, those on their way included, for who must not wait for its lock.
    pub(crate) samples: Arc<AtomicUsize>,
}

/// What is on its way into chunks.
#[derive(Debug)]
pub(crate) struct Batch(pub(crate) Vec<(FrameKey, Waiting)>);

impl Tail {
    /// Adds an accepted frame.
    pub(crate) fn add(&mut self, key: FrameKey, frame: Waiting) {
        self.bytes += frame.bytes.len();
        self.samples.fetch_add(frame.samples, Ordering::Relaxed);
        self.clocks.added(key, &frame.bytes, frame.samples);
        self.frames.insert(key, frame);
    }

    /// A frame that waits, as it was received.
    pub(crate) fn bytes_of(&self, key: &FrameKey) -> Option<&[u8]> {
        self.frames.get(key).map(|frame| &*frame.bytes)
    }

    /// A frame waits for its time no more, and has these bytes from now on, if any.
    pub(crate) fn replace(&mut self, key: &FrameKey, bytes: Option<&[u8]>) {
        self.clocks.left(key);
        if let Some((frame, bytes)) = self.frames.get_mut(key).zip(bytes) {
            self.bytes = self.bytes - frame.bytes.len() + bytes.len();
            frame.bytes = bytes.into();
        }
    }

    /// Frames that wait, those on their way included.
    pub(crate) fn len(&self) -> usize {
        self.frames.len() + self.moving.len()
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What waits of some series. It is unpacked later, when the tail is not locked.
    pub(crate) fn of(&self, series: &[SeriesId]) -> Snapshot {
        let mut wanted: HashMap<SeriesId, Vec<usize>> = HashMap::new();
        for (place, id) in series.iter().enumerate() {
            wanted.entry(*id).or_default().push(place);
        }
        let points = |numbers: &Numbers| -> Points {
            let places = |(point, id): (u32, &SeriesId)| {
                wanted.get(id).into_iter().flatten().map(move |place| (point, *place))
            };
            (0u32..).zip(numbers.iter()).flat_map(places).collect()
        };
        let mut last: Option<(&Numbers, Points)> = None;
        let mut frames = Vec::new();
        for (key, frame) in self.moving.iter().map(|(k, f)| (k, f)).chain(&self.frames) {
            let points = match &last {
                Some((numbers, points)) if Arc::ptr_eq(numbers, &frame.series) => Arc::clone(points),
                _ => {
                    let points = points(&frame.series);
                    last = Some((&frame.series, Arc::clone(&points)));
                    points
                }
            };
            if !points.is_empty() && !frame.bytes.is_empty() {
                frames.push((*key, Arc::clone(&frame.bytes), points));
            }
        }
        Snapshot { series: series.len(), frames }
    }

    /// Takes at most `limit` frames out for chunks, of one gateway after the other. What was taken before and not
    /// dropped waits again.
    pub(crate) fn take(&mut self, limit: usize) -> Batch {
        // After a panic amid the batch before, its frames are still on their way, and wait again.
        self.put_back();
        // Once round: a gateway that always has something new is not all that has its turn.
        let after = (Bound::Excluded(self.taken), Bound::Unbounded);
        let round = self.frames.range(after).chain(self.frames.range(..=self.taken));
        let keys = some(round.filter(|(key, _)| !self.clocks.holds(key)), limit);
        self.taken = keys.last().copied().unwrap_or(self.taken);
        self.move_out(keys)
    }

    /// Takes those of some frames that wait, as many as may be unpacked at once. Whose turn it is stays.
    pub(crate) fn take_of(&mut self, keys: &BTreeSet<FrameKey>) -> Batch {
        self.put_back();
        let keys = some(keys.iter().filter_map(|key| self.frames.get_key_value(key)), usize::MAX);
        self.move_out(keys)
    }

    fn move_out(&mut self, keys: Vec<FrameKey>) -> Batch {
        keys.iter().for_each(|key| self.clocks.left(key));
        self.moving = keys.into_iter().filter_map(|key| Some((key, self.frames.remove(&key)?))).collect();
        Batch(self.moving.clone())
    }

    /// The batch's chunks are committed: from now on it is read from there.
    pub(crate) fn drop_moving(&mut self) {
        for (_, frame) in self.moving.drain(..) {
            self.bytes -= frame.bytes.len();
            self.samples.fetch_sub(frame.samples, Ordering::Relaxed);
        }
    }

    /// The batch could not be stored: it waits again.
    pub(crate) fn put_back(&mut self) {
        self.frames.extend(self.moving.drain(..));
    }
}

/// The first frames, as many as may be unpacked at once.
fn some<'a>(frames: impl Iterator<Item = (&'a FrameKey, &'a Waiting)>, limit: usize) -> Vec<FrameKey> {
    let (mut samples, mut points) = (0, 0);
    let mut before: Option<&Numbers> = None;
    let fits = |(_, frame): &(&'a FrameKey, &'a Waiting)| {
        let is_first = samples == 0;
        samples += frame.samples;
        if !before.is_some_and(|b| Arc::ptr_eq(b, &frame.series)) {
            before = Some(&frame.series);
            points += frame.series.len();
        }
        let most = points.saturating_mul(OF_EACH_POINT).clamp(LEAST_AT_ONCE, MOST_AT_ONCE);
        is_first || samples <= most
    };
    frames.take(limit).take_while(fits).map(|(key, _)| *key).collect()
}

impl Batch {
    /// The first and the last series that it may have samples of.
    pub(crate) fn series(&self) -> (SeriesId, SeriesId) {
        let mut before: Option<&Numbers> = None;
        let mut out = (SeriesId::MAX, SeriesId::MIN);
        for (_, frame) in &self.0 {
            if !before.is_some_and(|b| Arc::ptr_eq(b, &frame.series)) {
                let ids = frame.series.iter().filter(|id| **id != NO_SERIES);
                out = ids.fold(out, |(first, last), id| (first.min(*id), last.max(*id)));
                before = Some(&frame.series);
            }
        }
        out
    }
}

/// Which points of a frame are wanted, ascending, and at which place.
type Points = Arc<[(u32, usize)]>;

/// What waited of some series at a moment.
pub(crate) struct Snapshot {
    series: usize,
    frames: Vec<(FrameKey, Arc<[u8]>, Points)>,
}

impl Snapshot {
    /// The samples of each series.
    pub(crate) fn rows(self) -> Result<Vec<Vec<Row>>> {
        let mut out = vec![Vec::new(); self.series];
        for (key, bytes, points) in self.frames {
            for (index, sample) in (0u32..).zip(unpack(key, &bytes)?) {
                let from = points.partition_point(|(point, _)| *point < sample.point.0);
                let of = points.iter().skip(from).take_while(|(point, _)| *point == sample.point.0);
                for (_, place) in of {
                    out[*place].push(row(key, index, sample.clone()));
                }
            }
        }
        Ok(out)
    }
}

fn unpack(key: FrameKey, bytes: &[u8]) -> Result<Vec<Sample>> {
    let frame = Frame::decode(bytes).map_err(|e| damaged(format_args!("frame {}/{}", key.0, key.1), e))?;
    match frame.body {
        Body::Samples(samples) => Ok(samples),
        _ => Ok(Vec::new()),
    }
}

fn row((rank, seq): FrameKey, index: u32, sample: Sample) -> Row {
    Row {
        t: sample.source_us,
        received: sample.received_us,
        at: Position { rank, seq, index },
        quality: sample.quality,
        value: sample.value,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may

    use super::*;

    fn waiting() -> Waiting {
        Waiting { series: Arc::default(), bytes: Arc::from([]), samples: 1 }
    }

    #[test]
    fn every_gateway_has_its_turn_though_one_always_has_something_new() {
        let mut tail = Tail::default();
        (1..=4).for_each(|seq| tail.add((1, seq), waiting()));
        tail.add((2, 1), waiting());
        tail.take(4);
        tail.drop_moving();
        let mut taken = Vec::new();
        for seq in 2..5 {
            tail.add((2, seq), waiting());
            taken.extend(tail.take(2).0.into_iter().map(|(key, _)| key));
            tail.drop_moving();
        }
        assert_eq!(taken, [(2, 1), (2, 2), (2, 3), (2, 4)]);
        (5..=8).for_each(|seq| tail.add((1, seq), waiting()));
        tail.add((2, 5), waiting());
        let keys = |batch: Batch| batch.0.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(tail.take(3)), [(2, 5), (1, 5), (1, 6)]);
        // What was not stored waits again, and comes in its turn.
        tail.add((2, 6), waiting());
        assert_eq!(keys(tail.take(9)).len(), 6);
    }

    #[test]
    fn frames_that_are_asked_for_are_taken_alone_and_no_more_at_once_than_can_be_unpacked() {
        let mut tail = Tail::default();
        (1..=6).for_each(|seq| tail.add((1, seq), waiting()));
        let keys = |batch: Batch| batch.0.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let wanted = [(1, 2), (1, 5), (1, 9)].into();
        // Not stored: they wait again.
        assert_eq!(keys(tail.take_of(&wanted)), [(1, 2), (1, 5)]);
        assert_eq!(keys(tail.take_of(&wanted)), [(1, 2), (1, 5)]);
        tail.drop_moving();
        assert!(keys(tail.take_of(&wanted)).is_empty());
        assert_eq!(keys(tail.take(9)), [(1, 1), (1, 3), (1, 4), (1, 6)]);
        tail.drop_moving();
        let large = || Waiting { samples: LEAST_AT_ONCE / 2 + 1, ..waiting() };
        (7..=9).for_each(|seq| tail.add((1, seq), large()));
        let wanted = [(1, 7), (1, 8), (1, 9)].into();
        for seq in 7..=9 {
            assert_eq!(keys(tail.take_of(&wanted)), [(1, seq)]);
            tail.drop_moving();
        }
        // Of many points more, whose chunks would be small otherwise.
        let series: Numbers = Arc::new(vec![NO_SERIES; 2 * LEAST_AT_ONCE / OF_EACH_POINT]);
        (1..=5).for_each(|seq| tail.add((3, seq), Waiting { series: Arc::clone(&series), ..large() }));
        assert_eq!(keys(tail.take(9)), [(3, 1), (3, 2), (3, 3)]);
    }
}
