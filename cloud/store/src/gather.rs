//! From frames to columns of series: the samples of each point of a batch of frames, points that were read together beside
//! each other. Rows are never made of them.

use std::collections::HashMap;
use std::sync::Arc;

use common::columns::Columns;
use common::wire::Frame;
use common::{Quality, Value};

use crate::codec::Row;
use crate::db::{Result, damaged};
use crate::stamps::{Cells, Stamps};
use crate::tail::{Batch, FrameKey, NO_SERIES, Numbers, SeriesId};

/// Series with the same stamps.
pub(crate) struct Group {
    pub(crate) stamps: Stamps,
    pub(crate) series: Vec<(SeriesId, Cells)>,
    /// The row of each series that stands last.
    pub(crate) last: Vec<Row>,
}

/// Gives the groups of each run of frames that have rank and schema in common.
pub(crate) fn each(batch: &Batch, mut take: impl FnMut(u64, Vec<Group>) -> Result<()>) -> Result<()> {
    let mut block: Option<(u64, &Numbers, Block)> = None;
    for (key, frame) in batch.0.iter().filter(|(_, f)| !f.bytes.is_empty()) {
        let is_same = |(rank, numbers, _): &(u64, &Numbers, Block)| {
            *rank == key.0 && Arc::ptr_eq(numbers, &frame.series)
        };
        if !block.as_ref().is_some_and(is_same)
            && let Some((rank, numbers, before)) =
                block.replace((key.0, &frame.series, Block::new(&frame.series)))
        {
            take(rank, before.groups(rank, numbers))?;
        }
        if let Some((.., block)) = &mut block {
            let columns = Frame::decode_columns(&frame.bytes);
            block.add(key.1, columns.map_err(|e| unreadable(*key, e))?);
        }
    }
    block.map_or(Ok(()), |(rank, numbers, last)| take(rank, last.groups(rank, numbers)))
}

pub(crate) fn unreadable((rank, seq): FrameKey, error: impl std::fmt::Display) -> cloud_core::StoreError {
    damaged(format_args!("frame {rank}/{seq}"), error)
}

/// Frames of one rank and schema: rows as they came, and which are of which point.
struct Block {
    t: Vec<i64>,
    delay: Vec<i64>,
    quality: Vec<Quality>,
    seq: Vec<u64>,
    index: Vec<u32>,
    /// Number of each row's stamp among those of the block.
    stamp: Vec<u32>,
    /// How many stamps there are.
    stamps: u32,
    /// The numbers of those of one frame, of which no other has any.
    of_frame: HashMap<(i64, i64), u32>,
    points: Vec<Point>,
}

#[derive(Clone, Default)]
struct Point {
    rows: Vec<u32>,
    /// The stamps of its rows: of points that were read together they are the same.
    stamps: Vec<u32>,
    values: Vec<Option<Value>>,
}

impl Block {
    fn new(numbers: &Numbers) -> Self {
        let points = vec![Point::default(); numbers.len()];
        let (stamp, of_frame) = (vec![], HashMap::new());
        let (t, delay, quality, seq, index) = (vec![], vec![], vec![], vec![], vec![]);
        Self { t, delay, quality, seq, index, stamp, stamps: 0, of_frame, points }
    }

    fn add(&mut self, seq: u64, columns: Columns) {
        let Columns { points, lengths, by_point, sources, delays, qualities, values } = columns;
        let (from, n) = (self.t.len() as u32, sources.len());
        self.of_frame.clear();
        let mut last = None;
        for (t, delay) in sources.iter().copied().zip(delays.iter().copied()) {
            let stamp = match last {
                Some((known, stamp)) if known == (t, delay) => stamp,
                _ => *self.of_frame.entry((t, delay)).or_insert_with(|| {
                    self.stamps += 1;
                    self.stamps - 1
                }),
            };
            last = Some(((t, delay), stamp));
            self.stamp.push(stamp);
        }
        self.t.extend(sources);
        self.delay.extend(delays);
        self.quality.extend(qualities.into_iter().map(|q| Quality::from_code(u8::try_from(q).unwrap_or(0))));
        self.seq.extend(std::iter::repeat_n(seq, n));
        self.index.extend((0u32..).take(n));
        let (mut rows, mut values) = (by_point.into_iter(), values.into_iter());
        for (point, n) in points.into_iter().zip(lengths) {
            let (rows, values) = (rows.by_ref().take(n), values.by_ref().take(n));
            match self.points.get_mut(point.index()) {
                Some(of) => {
                    let before = of.rows.len();
                    of.rows.extend(rows.map(|row| from + row));
                    let stamps = of.rows.iter().skip(before).map(|row| self.stamp[*row as usize]);
                    of.stamps.extend(stamps);
                    of.values.extend(values);
                }
                None => rows.zip(values).for_each(drop),
            }
        }
    }

    fn groups(mut self, rank: u64, numbers: &Numbers) -> Vec<Group> {
        // The points of each group; the first tells its stamps.
        let mut groups: Vec<Vec<(SeriesId, Point)>> = Vec::new();
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut last = None;
        let points = std::mem::take(&mut self.points);
        for (series, point) in numbers.iter().copied().zip(points) {
            if series == NO_SERIES || point.rows.is_empty() {
                continue;
            }
            // Mostly that of the point before.
            let is_it = |group: &usize| groups[*group][0].1.stamps == point.stamps;
            let found = last.filter(is_it).or_else(|| known.get(&point.stamps).copied());
            last = Some(found.unwrap_or(groups.len()));
            match found {
                Some(group) => groups[group].push((series, point)),
                None => {
                    known.insert(point.stamps.clone(), groups.len());
                    groups.push(vec![(series, point)]);
                }
            }
        }
        groups.into_iter().map(|points| self.group(rank, points)).collect()
    }

    fn group(&self, rank: u64, points: Vec<(SeriesId, Point)>) -> Group {
        let rows = points.first().map_or(&[][..], |(_, p)| &p.rows);
        let of = |column: &[i64]| rows.iter().map(|row| column[*row as usize]).collect();
        let mut stamps = Stamps {
            t: of(&self.t),
            delay: of(&self.delay),
            rank: vec![rank; rows.len()],
            seq: rows.iter().map(|row| self.seq[*row as usize]).collect(),
        };
        // Frames come in their order but where a turn begins anew.
        let newest = (0..rows.len()).max_by_key(|i| stamps.seq[*i]);
        let arrived = stamps.clone();
        let order = stamps.sort();
        let (mut series, mut last) = (Vec::with_capacity(points.len()), Vec::with_capacity(points.len()));
        for (id, Point { rows, values, .. }) in points {
            let mut cells = Cells {
                index: rows.iter().map(|row| self.index[*row as usize]).collect(),
                quality: rows.iter().map(|row| self.quality[*row as usize]).collect(),
                value: values,
            };
            last.extend(newest.map(|i| cells.row(&arrived, i)));
            if let Some(order) = &order {
                cells.sort(order);
            }
            series.push((id, cells));
        }
        Group { stamps, series, last }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may

    use common::wire::{Body, FrameHeader};
    use common::{Incarnation, PointId, Sample, SchemaHash};
    use proptest::prelude::*;

    use super::*;
    use crate::tail::Waiting;

    const POINTS: u32 = 5;

    fn frame(seq: u64, rows: Vec<Sample>, numbers: &Numbers) -> (FrameKey, Waiting) {
        let header = FrameHeader {
            schema: SchemaHash([0; 16]),
            incarnation: Incarnation(1),
            seq,
            cut_us: 0,
            cut_mono_us: 0,
            synchronised: true,
        };
        let samples = rows.len();
        let bytes = Frame { header, body: Body::Samples(rows) }.encode();
        ((seq % 2 + 1, seq), Waiting { bytes: bytes.into(), samples, series: Arc::clone(numbers) })
    }

    /// Points mostly together, at times of few kinds, so that some have the same and others nearly.
    fn any_rows() -> impl Strategy<Value = Vec<Sample>> {
        let poll = (0i64..4, 0i64..2, prop::collection::vec(0..POINTS + 1, 0..8), any::<u8>());
        prop::collection::vec(poll, 0..4).prop_map(|polls| {
            let one = |(t, delay, points, quality): (i64, i64, Vec<u32>, u8)| {
                points.into_iter().map(move |point| Sample {
                    point: PointId(point),
                    value: Some(Value::U64(u64::from(point) * 1000 + u64::from(quality))),
                    quality: Quality::from_code(quality),
                    source_us: t,
                    received_us: t + delay,
                })
            };
            polls.into_iter().flat_map(one).collect()
        })
    }

    proptest! {
        #[test]
        fn each_sample_is_in_the_history_of_its_point_once_and_in_its_order(
            frames in prop::collection::vec(any_rows(), 0..7)
        ) {
            // The last number is of no point, the first of none that is known.
            let numbers: Numbers = Arc::new((0..POINTS).map(i64::from).collect());
            let frames: Vec<_> = (1..).zip(frames).map(|(seq, rows)| frame(seq, rows, &numbers)).collect();
            let mut expected: std::collections::BTreeMap<(SeriesId, u64), Vec<Row>> = Default::default();
            for ((rank, seq), waiting) in &frames {
                let Body::Samples(rows) = Frame::decode(&waiting.bytes).unwrap().body else { continue };
                for (index, s) in (0u32..).zip(rows).filter(|(_, s)| (1..POINTS).contains(&s.point.0)) {
                    expected.entry((i64::from(s.point.0), *rank)).or_default().push(Row {
                        t: s.source_us,
                        received: s.received_us,
                        at: cloud_core::Position { rank: *rank, seq: *seq, index },
                        quality: s.quality,
                        value: s.value,
                    });
                }
            }
            let mut frames = frames;
            frames.sort_by_key(|(key, _)| *key);
            let mut found: std::collections::BTreeMap<(SeriesId, u64), Vec<Row>> = Default::default();
            each(&Batch(frames), |rank, groups| {
                for Group { stamps, series, last } in groups {
                    for ((id, cells), last) in series.into_iter().zip(last) {
                        let rows = cells.into_rows(&stamps);
                        assert_eq!(rows.iter().max_by_key(|r| r.at), Some(&last));
                        assert!(found.insert((id, rank), rows).is_none(), "in two groups");
                    }
                }
                Ok(())
            })
            .unwrap();
            expected.values_mut().for_each(|rows| rows.sort_by_key(Row::key));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn points_of_one_request_share_their_stamps_and_others_do_not() {
        let row = |point: u32, t: i64| Sample {
            point: PointId(point),
            value: Some(Value::U64(1)),
            quality: Quality::GOOD,
            source_us: t,
            received_us: t,
        };
        let numbers: Numbers = Arc::new((10..15).collect());
        let rows = |t: i64| vec![row(0, t), row(1, t), row(2, t + 1), row(3, t + 1), row(4, 0)];
        let batch = Batch((1..4).map(|n| frame(n * 2, rows(n as i64 * 100), &numbers)).collect());
        let mut found = Vec::new();
        each(&batch, |_, groups| {
            found.extend(groups.into_iter().map(|g| g.series.iter().map(|(id, _)| *id).collect::<Vec<_>>()));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [vec![10, 11], vec![12, 13], vec![14]]);
    }
}
