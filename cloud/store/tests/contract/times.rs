//! How time divides, against a list of all samples: by quality and by state, over gaps, with late and corrected samples, and
//! while a gateway is away.

use std::sync::Arc;

use cloud_core::Storage;
use cloud_core::history::{AlignedPoint, Durations, Spans};
use common::api::{HistoryTimes, Interpolation, Resolution, StateTime};
use common::wire::{Body, Gap, GapCause};
use common::{Quality, QualityClass, Sample, Value};

use super::Backend;
use super::fixtures::*;

/// About half a second apart, of all four points: floats, integers of few values, booleans and texts; some bad, some
/// uncertain.
fn some_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    for n in 0..320u32 {
        let t = T0 + i64::from(n) * SECOND / 2 + i64::from(n * 7 % 13) * 31_000;
        let mut add = |s: Sample| {
            let quality = match n % 37 {
                5 | 6 => Quality::BAD_TIMEOUT,
                20 => Quality::UNCERTAIN_RANGE,
                21 => Quality::UNCERTAIN_TIME,
                _ => Quality::GOOD,
            };
            let value = s.value.filter(|_| !quality.is_bad());
            all.push(Sample { quality, value, ..s });
        };
        add(sample(0, t, f64::from(n) / 3.0));
        add(sample(1, t, i64::from(n / 9 % 5)));
        if n % 3 == 0 {
            add(sample(2, t + 1, n / 21 % 2 == 0));
        }
        if n % 11 == 4 {
            add(sample(3, t, ["run", "idle", "fault"][n as usize / 50 % 3]));
        }
    }
    all
}

/// Of a point, by time; of several at one time the last one counts.
fn of_point(all: &[Sample], point: u32) -> Vec<Sample> {
    let mut of: Vec<Sample> = all.iter().filter(|s| s.point.0 == point).cloned().collect();
    of.sort_by_key(|s| s.source_us);
    of
}

/// What a list of all samples says of a span.
fn expected(of: &[Sample], gaps: &[(i64, i64)], (from, to): (i64, i64)) -> HistoryTimes {
    let mut times = HistoryTimes::default();
    for (n, s) in of.iter().enumerate() {
        let next = of.get(n + 1).map_or(i64::MAX, |s| s.source_us);
        let gap = gaps.iter().filter(|g| g.1 > s.source_us).map(|g| g.0).min().unwrap_or(i64::MAX);
        let us = (next.min(gap).min(to) - s.source_us.max(from)).max(0);
        match s.quality {
            q if q.class() == QualityClass::Good || q == Quality::UNCERTAIN_TIME => times.good_us += us,
            q if q.class() == QualityClass::Uncertain => times.uncertain_us += us,
            _ => times.bad_us += us,
        }
        if let Some(value) = s.value.as_ref().filter(|v| us > 0 && !matches!(v, Value::F64(_))) {
            match times.states.iter_mut().find(|s| s.value == *value) {
                Some(state) => state.us += us,
                None => times.states.push(StateTime { value: value.clone(), us }),
            }
        }
    }
    times.nothing_us = (to - from) - times.good_us - times.uncertain_us - times.bad_us;
    times
}

fn in_order(mut times: HistoryTimes) -> HistoryTimes {
    times.states.sort_by_key(|s| (-s.us, s.value.to_string()));
    times
}

async fn ask(storage: &Arc<dyn Storage>, point: u32, spans: Spans) -> Durations {
    storage.durations(twin(1), POINTS[point as usize].0, spans).await.unwrap()
}

async fn compare(storage: &Arc<dyn Storage>, all: &[Sample], gaps: &[(i64, i64)], what: &str) {
    for point in 0..4 {
        let of = of_point(all, point);
        for (from, to) in [
            (T0, T0 + 170 * SECOND),
            (T0 - 90 * SECOND, T0 + 400 * SECOND),
            (T0 + 33_333_333, T0 + 77_777_777),
            (T0 + 61 * SECOND, T0 + 62 * SECOND),
            (T0 + 200 * SECOND, T0 + 300 * SECOND),
        ] {
            for max in [1, 40, 5_000] {
                let name = POINTS[point as usize].0;
                let what = format!("{what}: {name}, {from}..{to}, at most {max}");
                let h = storage.history(twin(1), name, from, to, max).await.unwrap();
                let (starts_us, width_us) = match h.resolution {
                    Resolution::Raw => (vec![], 1),
                    Resolution::Rollup { bucket_us } => {
                        (h.points.iter().map(|p| p.t_us).collect(), bucket_us)
                    }
                };
                let starts = starts_us.clone();
                let spans =
                    Spans { from_us: from, to_us: to, starts_us, width_us, now_us: i64::MAX, online: true };
                let found = ask(storage, point, spans).await;
                assert_eq!(in_order(found.total), in_order(expected(&of, gaps, (from, to))), "{what}");
                assert_eq!(found.rows.len(), starts.len());
                for (start, row) in starts.into_iter().zip(found.rows) {
                    let span = (start.max(from), (start + width_us).min(to));
                    assert_eq!(
                        in_order(row.times),
                        in_order(expected(&of, gaps, span)),
                        "{what}, row {start}"
                    );
                    let inside = |s: &&Sample| (span.0..span.1).contains(&s.source_us);
                    let at = |k: Option<cloud_core::align::Knot>| k.map(|k| (k.t_us, k.quality, k.value));
                    let last = of.iter().rfind(inside).map(|s| (s.source_us, s.quality, s.value.clone()));
                    assert_eq!(at(row.last), last, "{what}, row {start}");
                    let first = of.iter().find(inside).map(|s| s.source_us);
                    let first = of.iter().rfind(|s| Some(s.source_us) == first);
                    let first = first.map(|s| (s.source_us, s.quality, s.value.clone()));
                    assert_eq!(at(row.first), first, "{what}, row {start}");
                }
            }
        }
    }
}

pub(crate) async fn time_divides_as_a_list_of_all_samples_says(backend: &impl Backend) {
    let mut storage = backend.open();
    let s = oven(&storage).await;
    let mut all = some_samples();
    let is_late = |n: usize| (200..260).contains(&n) || n.is_multiple_of(17);
    let (late, in_time): (Vec<_>, Vec<_>) = all.iter().cloned().enumerate().partition(|(n, _)| is_late(*n));
    let in_time: Vec<Sample> = in_time.into_iter().map(|(_, s)| s).collect();
    let mut late: Vec<Sample> = late.into_iter().map(|(_, s)| s).collect();
    for (seq, some) in (1..).zip(in_time.chunks(12)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
        if seq % 3 == 0 {
            storage.compact(2).await.unwrap();
        }
    }
    compare(&storage, &in_time, &[], "in order, some compacted").await;
    compact_all(&storage).await;
    compare(&storage, &in_time, &[], "in order, all compacted").await;
    // A correction: the same time again, later in the order of all values.
    for point in 0..3 {
        let wrong = in_time.iter().find(|s| s.point.0 == point && s.source_us > T0 + 50 * SECOND).unwrap();
        let value = [Value::F64(4.0), Value::I64(4), Value::Bool(false)][point as usize].clone();
        let right = Sample { value: Some(value), quality: Quality::GOOD, ..wrong.clone() };
        late.push(right.clone());
        all.push(right);
    }
    for (seq, some) in (100..).zip(late.chunks(9)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
    }
    compare(&storage, &all, &[], "late ones wait").await;
    compact_all(&storage).await;
    drop(storage);
    storage = backend.open();
    compare(&storage, &all, &[], "late ones compacted").await;
    // What was lost in the middle of buckets and between them.
    let lost = [(40_300_000, 41_100_000), (90_000_000, 100_000_000), (159_900_000, 240_000_000)];
    let gaps: Vec<(i64, i64)> = lost.iter().map(|(from, to)| (T0 + from, T0 + to)).collect();
    for (seq, (from, to)) in (900..).zip(&gaps) {
        let gap = Gap { times_us: Some((*from, *to - 1)), samples: 9, ..Gap::new(GapCause::DiskFull) };
        storage.accept(&[s.frame(seq, Body::Gap(gap))]).await.unwrap();
    }
    compare(&storage, &all, &gaps, "with gaps").await;
    compact_all(&storage).await;
    compare(&storage, &all, &gaps, "with gaps, compacted").await;
}

pub(crate) async fn nothing_holds_beyond_the_last_word_and_beyond_now(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let at = |seq, second: i64, value: bool| {
        let t = T0 + second * SECOND;
        cut(&s, seq, t + 2 * SECOND, Body::Samples(vec![sample(2, t, value)]))
    };
    storage.accept(&[at(1, 0, true), at(2, 10, false)]).await.unwrap();
    let spans = |online, now: i64| Spans {
        from_us: T0,
        to_us: T0 + 60 * SECOND,
        starts_us: vec![],
        width_us: 1,
        now_us: T0 + now * SECOND,
        online,
    };
    for _ in 0..2 {
        for (online, now, good, nothing) in [(true, 40, 40, 0), (false, 40, 12, 28), (true, 90, 60, 0)] {
            let found = ask(&storage, 2, spans(online, now)).await.total;
            let seconds = |us: i64| us / SECOND;
            assert_eq!(
                (seconds(found.good_us), seconds(found.nothing_us)),
                (good, nothing),
                "{online} {now}"
            );
            let held = found.states.iter().find(|s| s.value == Value::Bool(true)).unwrap();
            assert_eq!(held.us, 10 * SECOND);
        }
        let point = |online| [AlignedPoint { twin: twin(1), point: "on".into(), online }];
        let grid = cloud_core::align::Grid::within(T0, T0 + 30 * SECOND, 5 * SECOND);
        let cells = async |online, now: i64| {
            let method = Interpolation::Previous;
            let found =
                storage.aligned(&point(online), grid, method, T0 + now * SECOND).await.unwrap().remove(0);
            found.values.into_iter().map(|v| v.map(|v| v.to_string())).collect::<Vec<_>>()
        };
        let texts = |all: &[&str]| -> Vec<Option<String>> {
            all.iter().map(|t| (!t.is_empty()).then(|| (*t).to_owned())).collect()
        };
        assert_eq!(cells(true, 60).await, texts(&["true", "true", "false", "false", "false", "false"]));
        assert_eq!(cells(false, 60).await, texts(&["true", "true", "false", "", "", ""]), "away since 12 s");
        assert_eq!(
            cells(true, 20).await,
            texts(&["true", "true", "false", "false", "false", ""]),
            "25 s is to come"
        );
        compact_all(&storage).await;
    }
    let nothing = storage.durations(twin(1), "nothing", spans(true, 90)).await.unwrap().total;
    assert_eq!(nothing, HistoryTimes { nothing_us: 60 * SECOND, ..HistoryTimes::default() });
    let unknown = storage.durations(twin(77), "on", spans(true, 90)).await;
    assert!(matches!(unknown, Err(cloud_core::StoreError::NotFound { .. })));
}
