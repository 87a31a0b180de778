//! Storage against a model that is too simple to be wrong: a list of samples. Random frames with repeats, out
//! of order, of several incarnations; compaction and reopening at random points.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cloud_core::{Position, Storage};
use common::api::Resolution;
use common::{Incarnation, IntervalSet, PointId, Quality, QualityClass, Sample, TwinId, Value};
use proptest::prelude::*;

use super::Backend;
use super::fixtures::*;

/// One step of a random life.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// stream, sequence, samples
    Accept(Vec<(usize, u64, Vec<Sample>)>),
    Compact(usize),
    /// The same without what comes after it.
    Frames(usize),
    /// A little of that, or nothing.
    Upkeep(Duration),
    Reopen,
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let t = prop_oneof![
        8 => (0..200 * SECOND).prop_map(|d| T0 + d),
        4 => (0..20i64).prop_map(|d| T0 + d * SECOND / 2),
        1 => (0..400i64).prop_map(|d| T0 + d * 3600 * SECOND),
        1 => Just(T0 + 3_000_000_000 * SECOND),
        1 => Just(-5i64),
    ];
    let quality = prop_oneof![
        6 => Just(Quality::GOOD),
        1 => Just(Quality::UNCERTAIN_TIME),
        1 => Just(Quality::UNCERTAIN_RANGE),
        1 => Just(Quality::BAD_TIMEOUT),
        1 => Just(Quality::BAD),
    ];
    (0..8u32, t, quality, -50i32..50, any::<bool>()).prop_map(|(point, t, quality, n, no_value)| {
        let value = match point % 4 {
            0 => Value::F64(f64::from(n) / 8.0),
            1 => Value::I64(n.into()),
            2 => Value::Bool(n > 0),
            _ => Value::Text(format!("t{n}").into()),
        };
        let value = (!(quality.is_bad() && no_value)).then_some(value);
        Sample { point: PointId(point), value, quality, source_us: t, received_us: t + 7 }
    })
}

pub(crate) fn any_life() -> impl Strategy<Value = Vec<Step>> {
    let frame = (0..3usize, 1..30u64, prop::collection::vec(any_sample(), 0..12));
    let step = prop_oneof![
        10 => prop::collection::vec(frame, 1..6).prop_map(Step::Accept),
        3 => (1..8usize).prop_map(Step::Compact),
        3 => (1..8usize).prop_map(Step::Frames),
        2 => (0..3u64).prop_map(|ms| Step::Upkeep(Duration::from_millis(ms))),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

type Row = (i64, Position, Sample);

/// What is expected.
#[derive(Default)]
struct Model {
    marks: [BTreeSet<u64>; 3],
    rows: BTreeMap<(TwinId, &'static str), Vec<Row>>,
}

fn place(stream: usize, point: u32) -> (TwinId, &'static str) {
    // Streams 0 and 1 are incarnations of one gateway, 2 is of another.
    let device = u128::from(point / 4);
    let twin = if stream < 2 { twin(1 + device) } else { twin(11 + device) };
    (twin, POINTS[(point % 4) as usize].0)
}

/// Lives it through and compares at every reopening and at the end.
pub(crate) async fn live(backend: &impl Backend, steps: Vec<Step>) {
    let mut storage = backend.open();
    let a = schema(&key("g1"), &[("d0", twin(1)), ("d1", twin(2))]);
    let b = schema(&key("g2"), &[("d0", twin(11)), ("d1", twin(12))]);
    let streams = [
        Stream::start(&storage, a.clone(), 101).await,
        Stream::start(&storage, a, 102).await,
        Stream::start(&storage, b, 201).await,
    ];
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Accept(frames) => {
                let mut batch = Vec::new();
                let mut expected = Vec::new();
                for (stream, seq, samples) in frames {
                    let s = &streams[stream];
                    let is_new = model.marks[stream].insert(seq);
                    expected.push(is_new);
                    for (index, sample) in (0u32..).zip(samples.iter().filter(|_| is_new)) {
                        let at = Position { rank: s.rank, seq, index };
                        let rows = model.rows.entry(place(stream, sample.point.0)).or_default();
                        rows.push((sample.source_us, at, sample.clone()));
                    }
                    batch.push(s.samples(seq, samples));
                }
                assert_eq!(storage.accept(&batch).await.unwrap(), expected);
            }
            Step::Compact(limit) => {
                storage.compact(limit).await.unwrap();
            }
            Step::Frames(limit) => {
                storage.compact_frames(limit).await.unwrap();
            }
            Step::Upkeep(time) => {
                storage.upkeep(time).await.unwrap();
            }
            Step::Reopen => {
                drop(storage);
                storage = backend.open();
                check(&storage, &mut model, &streams).await;
            }
        }
    }
    check(&storage, &mut model, &streams).await;
    compact_all(&storage).await;
    check(&storage, &mut model, &streams).await;
}

async fn check(storage: &Arc<dyn Storage>, model: &mut Model, streams: &[Stream; 3]) {
    for (stream, marks) in streams.iter().zip(&model.marks) {
        let known = storage.hello(&stream.key, &[stream.incarnation]).await.unwrap();
        let mut seqs = IntervalSet::new();
        marks.iter().for_each(|n| seqs.insert_range(*n, *n));
        assert_eq!((known[0].rank, &known[0].seqs), (stream.rank, &seqs));
    }
    let _: Incarnation = streams[0].incarnation;
    for ((twin, point), rows) in &mut model.rows {
        rows.sort_by_key(|(t, at, _)| (*t, *at));
        let ranges = [
            (i64::MIN, i64::MAX),
            (T0, T0 + 200 * SECOND),
            (T0 + SECOND / 3, T0 + 7 * SECOND),
            (T0 - 1, T0 + 1),
        ];
        for (from, to) in ranges {
            for max in [1, 3, 20, 10_000] {
                compare(storage, *twin, point, rows, (from, to), max).await;
            }
        }
    }
    last_values(storage, model).await;
}

async fn compare(
    storage: &Arc<dyn Storage>,
    twin: TwinId,
    point: &str,
    rows: &[Row],
    (from, to): (i64, i64),
    max: usize,
) {
    let within: Vec<&Row> = rows.iter().filter(|(t, ..)| (from..to).contains(t)).collect();
    let h = storage.history(twin, point, from, to, max).await.unwrap();
    assert!(h.points.len() <= max, "{} rows of {max}", h.points.len());
    let Resolution::Rollup { bucket_us } = h.resolution else {
        let found: Vec<_> = h.points.iter().map(|p| (p.t_us, p.quality, p.value.clone())).collect();
        let expected: Vec<_> = within.iter().map(|(t, _, s)| (*t, s.quality, s.value.clone())).collect();
        assert_eq!(found, expected, "raw {point} {from}..{to}");
        return;
    };
    assert!(within.len() > max, "{} samples fit into {max} rows", within.len());
    assert!(h.points.windows(2).all(|w| w[0].t_us < w[1].t_us));
    let mut covered = 0;
    for p in &h.points {
        let end = p.t_us.saturating_add(bucket_us);
        let is_one = h.points.len() == 1;
        let of: Vec<&Row> = if is_one && max == 1 {
            // The only row may be wider than aligned buckets are.
            let some: Vec<_> = rows.iter().filter(|(t, ..)| (p.t_us..end).contains(t)).collect();
            if some.len() as u64 == p.count { some } else { within.clone() }
        } else {
            rows.iter().filter(|(t, ..)| (p.t_us..end).contains(t)).collect()
        };
        covered += of.iter().filter(|(t, ..)| (from..to).contains(t)).count();
        assert_eq!(p.count, of.len() as u64, "{point} bucket {} of {bucket_us} in {from}..{to}", p.t_us);
        let good: Vec<_> = of.iter().filter(|(.., s)| s.quality.has_good_value()).collect();
        assert_eq!(p.good, good.len() as u64);
        let badness = |q: Quality| -> (QualityClass, u8) { (q.class(), q.code()) };
        assert_eq!(Some(p.quality), of.iter().map(|(.., s)| s.quality).max_by_key(|q| badness(*q)));
        assert_eq!(p.value, good.last().and_then(|(.., s)| s.value.clone()), "last good value");
        let numbers: Vec<f64> =
            good.iter().filter_map(|(.., s)| s.value.as_ref().and_then(Value::as_f64)).collect();
        assert_eq!(p.min, numbers.iter().copied().reduce(f64::min));
        assert_eq!(p.max, numbers.iter().copied().reduce(f64::max));
        #[allow(clippy::cast_precision_loss)]
        let mean = (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64);
        assert!(
            p.mean.zip(mean).is_none_or(|(a, b)| (a - b).abs() < 1e-9) && p.mean.is_some() == mean.is_some()
        );
    }
    assert_eq!(covered, within.len(), "every sample of the range is in a bucket");
}

/// Loaded values and the frames that are not compacted give the latest by position.
async fn last_values(storage: &Arc<dyn Storage>, model: &Model) {
    let loaded = storage.load().await.unwrap();
    let mut last: BTreeMap<(TwinId, String), (Position, Option<Value>)> = BTreeMap::new();
    for t in &loaded.twins {
        for p in t.points.iter().filter(|p| p.position != Position::default()) {
            last.insert((t.id, p.schema.name.to_string()), (p.position, p.value.clone()));
        }
    }
    let mut after = None;
    loop {
        let batch = storage.uncompacted(after, 3).await.unwrap();
        let Some(end) = batch.last() else { break };
        after = Some((end.rank, end.frame.header.seq));
        for new in &batch {
            let common::wire::Body::Samples(samples) = &new.frame.body else { continue };
            for (index, sample) in (0u32..).zip(samples) {
                let (device, point) = new.schema.point(sample.point).unwrap();
                let at = Position { rank: new.rank, seq: new.frame.header.seq, index };
                let slot = last.entry((device.twin, point.name.to_string())).or_default();
                if at > slot.0 {
                    *slot = (at, sample.value.clone());
                }
            }
        }
    }
    let expected: BTreeMap<_, _> = model
        .rows
        .iter()
        .filter_map(|((twin, point), rows)| {
            let (_, at, sample) = rows.iter().max_by_key(|(_, at, _)| *at)?;
            Some(((*twin, (*point).to_owned()), (*at, sample.value.clone())))
        })
        .collect();
    assert_eq!(last, expected);
}
