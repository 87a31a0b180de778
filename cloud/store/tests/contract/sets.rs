//! Histories as a whole: aligned to a grid, in pages for an export, deleted. Each against a list of samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cloud_core::align::{Column, Grid, Knot, align};
use cloud_core::history::AlignedPoint;
use cloud_core::{Storage, StoreError};
use common::api::{GapReason, HistoryGap, Interpolation, Resolution};
use common::command::{LogEntry, Severity};
use common::wire::{Body, Gap, GapCause};
use common::{PointId, Quality, Sample, TwinId, Value};

use super::Backend;
use super::fixtures::*;

const DAY: i64 = 86_400 * SECOND;

fn audit() -> LogEntry {
    LogEntry {
        detail: "from a to b".into(),
        ..entry(T0, "history.deleted", Some(twin(1)), Severity::Warning)
    }
}

/// Half a second apart, in frames of ten; some bad, some uncertain, some texts and integers beside them.
fn some_samples() -> Vec<Sample> {
    let mut all = Vec::new();
    for n in 0..240u32 {
        let t = T0 + i64::from(n) * SECOND / 2 + i64::from(n % 7) * 11_000;
        all.push(match n % 40 {
            17 | 18 => Sample::bad(PointId(0), Quality::BAD_TIMEOUT, t),
            25 => Sample { quality: Quality::UNCERTAIN_RANGE, ..sample(0, t, 900.0) },
            _ => sample(0, t, f64::from(n)),
        });
        if n % 30 == 5 {
            all.push(sample(3, t, format!("t{n}").as_str()));
            all.push(sample(1, t, i64::from(n) * 10));
        }
    }
    all
}

fn point(twin: TwinId, name: &str) -> AlignedPoint {
    AlignedPoint { twin, point: name.into(), online: true }
}

fn knots(all: &[Sample], point: u32) -> Vec<Knot> {
    let of = all.iter().filter(|s| s.point.0 == point);
    let mut knots: Vec<Knot> =
        of.map(|s| Knot { t_us: s.source_us, quality: s.quality, value: s.value.clone() }).collect();
    knots.sort_by_key(|k| k.t_us);
    knots
}

/// What storage says against what a list of all samples gives.
async fn compare(storage: &Arc<dyn Storage>, all: &[Sample], gaps: &[HistoryGap], what: &str) {
    let points: Vec<_> = ["temp", "text", "count", "nothing"].map(|p| point(twin(1), p)).into();
    for method in [Interpolation::Previous, Interpolation::Linear] {
        for (from, to, step) in [
            (T0, T0 + 120 * SECOND, SECOND),
            (T0 - 30 * SECOND, T0 + 150 * SECOND, 10 * SECOND),
            (T0 + 3 * SECOND, T0 + 90 * SECOND, 700_000),
            (T0 + 61 * SECOND, T0 + 71 * SECOND, 60 * SECOND),
            (T0 + 9 * SECOND, T0 + 11 * SECOND, 150_000),
        ] {
            let grid = Grid::within(from, to, step);
            let columns = storage.aligned(&points, grid, method, i64::MAX).await.unwrap();
            assert_eq!(columns.len(), 4);
            for (point, column) in [(0, &columns[0]), (3, &columns[1]), (1, &columns[2])] {
                // A line ends with the samples one step beyond the last row.
                let end = grid.time(grid.rows) + step;
                let known: Vec<Knot> = knots(all, point).into_iter().filter(|k| k.t_us < end).collect();
                let expected = align(&known, gaps, grid, method);
                assert_eq!(*column, expected, "{what}: point {point}, {method:?}, {from}..{to} by {step}");
            }
            let nothing =
                Column { values: vec![None; grid.rows], quality: vec![Quality::BAD_NO_DATA; grid.rows] };
            assert_eq!(columns[3], nothing);
        }
    }
}

pub(crate) async fn cells_are_what_a_list_of_all_samples_gives(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let all = some_samples();
    for (seq, some) in (1..).zip(all.chunks(10)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
        if seq % 3 == 0 {
            storage.compact(2).await.unwrap();
        }
    }
    compare(&storage, &all, &[], "some of it compacted").await;
    compact_all(&storage).await;
    compare(&storage, &all, &[], "all of it compacted").await;
    let grid = Grid::within(T0, T0 + 1, 1);
    let unknown = storage.aligned(&[point(twin(77), "temp")], grid, Interpolation::Linear, i64::MAX).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn late_and_corrected_samples_merge_at_their_own_time(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let mut all = some_samples();
    let (late, in_time): (Vec<_>, Vec<_>) =
        all.iter().cloned().enumerate().partition(|(n, _)| (60..90).contains(n) || n % 13 == 0);
    let in_time: Vec<Sample> = in_time.into_iter().map(|(_, s)| s).collect();
    let mut late: Vec<Sample> = late.into_iter().map(|(_, s)| s).collect();
    for (seq, some) in (1..).zip(in_time.chunks(10)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
        compact_all(&storage).await;
    }
    // A correction: the same time again, later in the order of all values.
    let wrong = in_time.iter().find(|s| s.point.0 == 0 && s.source_us > T0 + 50 * SECOND).unwrap();
    let right = Sample { value: Some(Value::F64(-5.0)), ..wrong.clone() };
    late.push(right.clone());
    all.push(right);
    for (seq, some) in (100..).zip(late.chunks(7)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
    }
    // Of the frames between them nothing was heard; they were cut at one time, so that hole has no width.
    for what in ["late ones wait", "late ones compacted"] {
        compare(&storage, &all, &[], what).await;
        let h = storage.history(twin(1), "temp", T0, T0 + 200 * SECOND, 10_000).await.unwrap();
        let times: Vec<_> = h.points.iter().map(|p| p.t_us).collect();
        assert!(times.is_sorted() && times.len() == knots(&all, 0).len());
        compact_all(&storage).await;
    }
}

pub(crate) async fn no_cell_is_made_up_over_a_gap(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let lost = Gap {
        times_us: Some((T0 + 30 * SECOND, T0 + 40 * SECOND - 1)),
        samples: 5,
        ..Gap::new(GapCause::DiskFull)
    };
    let rows = vec![sample(0, T0, 1.0), sample(0, T0 + 60 * SECOND, 7.0)];
    storage.accept(&[s.samples(1, rows), s.frame(2, Body::Gap(lost))]).await.unwrap();
    let grid = Grid::within(T0, T0 + 80 * SECOND, 20 * SECOND);
    let points = [point(twin(1), "temp")];
    let ask = async |grid, method| storage.aligned(&points, grid, method, i64::MAX).await.unwrap().remove(0);
    let none = (None, Quality::BAD_NO_DATA);
    let good = |x: f64| (Some(Value::F64(x)), Quality::GOOD);
    for _ in 0..2 {
        let held = ask(grid, Interpolation::Previous).await;
        let cells: Vec<_> = held.values.into_iter().zip(held.quality).collect();
        assert_eq!(cells, [good(1.0), good(1.0), none.clone(), good(7.0)]);
        let line = ask(grid, Interpolation::Linear).await;
        let cells: Vec<_> = line.values.into_iter().zip(line.quality).collect();
        assert_eq!(cells, [good(1.0), none.clone(), none.clone(), good(7.0)]);
        // The value from before the range holds over its beginning.
        let later = Grid::within(T0 + 10 * SECOND, T0 + 25 * SECOND, 10 * SECOND);
        let held = ask(later, Interpolation::Previous).await;
        assert_eq!(held.values, [Some(Value::F64(1.0)), Some(Value::F64(1.0))]);
        compact_all(&storage).await;
    }
}

pub(crate) async fn an_export_has_every_sample_once_in_pages(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let all = some_samples();
    for (seq, some) in (1..).zip(all.chunks(10)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
        if seq % 4 != 0 {
            storage.compact(2).await.unwrap();
        }
    }
    for (from, to) in [(T0, T0 + 100 * SECOND), (i64::MIN, i64::MAX), (T0 + SECOND, T0 + SECOND)] {
        for most in [1, 30, 10_000] {
            let (mut rows, mut next, mut pages) = (Vec::new(), Some(from), 0);
            while let Some(at) = next {
                let page = storage.samples(twin(1), "temp", at, to, most).await.unwrap();
                rows.extend(page.rows);
                assert!(page.next_us.is_none_or(|n| n > at), "it goes on");
                (next, pages) = (page.next_us, pages + 1);
            }
            let found: Vec<_> =
                rows.iter().map(|r| (r.t_us, r.received_us, r.quality, r.value.clone())).collect();
            let mut expected: Vec<_> = all
                .iter()
                .filter(|s| s.point.0 == 0 && (from..to).contains(&s.source_us))
                .map(|s| (s.source_us, s.received_us, s.quality, s.value.clone()))
                .collect();
            expected.sort_by_key(|(t, ..)| *t);
            assert_eq!(found, expected);
            assert!(pages > 3 || most > 1 || from == to, "{pages} pages");
        }
    }
    let none = storage.samples(twin(1), "nothing", T0, T0 + 1, 9).await.unwrap();
    assert!(none.rows.is_empty() && none.next_us.is_none());
}

pub(crate) async fn what_is_deleted_is_in_no_sample_and_no_roll_up(backend: &impl Backend) {
    let mut storage = backend.open();
    let s = oven(&storage).await;
    // Over four days, a minute apart, in their order and some late; a few wait in the tail.
    let mut rows: Vec<Sample> =
        (0..5_000u32).map(|n| sample(0, T0 + i64::from(n) * 60 * SECOND + 7, f64::from(n % 1000))).collect();
    let late: Vec<Sample> = rows.iter().skip(1).step_by(50).cloned().collect();
    rows.retain(|r| !late.contains(r));
    for (seq, some) in (1..).zip(rows.chunks(100)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
        storage.compact(3).await.unwrap();
    }
    compact_all(&storage).await;
    storage.accept(&[s.samples(500, late.clone())]).await.unwrap();
    let mut left: Vec<(i64, f64)> = rows
        .iter()
        .chain(&late)
        .map(|s| (s.source_us, s.value.as_ref().and_then(Value::as_f64).unwrap()))
        .collect();
    left.sort_by_key(|(t, _)| *t);
    let hour = 3600 * SECOND;
    for (from, to) in [
        (T0 + 5 * hour + 17, T0 + 6 * hour),
        (T0 + DAY - hour, T0 + 2 * DAY + 3 * hour),
        (i64::MIN, T0 + hour),
    ] {
        let before = left.len();
        left.retain(|(t, _)| !(from..to).contains(t));
        let deleted = storage.delete_history(twin(1), "temp", from, to, &audit()).await.unwrap();
        assert_eq!(deleted, (before - left.len()) as u64);
        drop(storage);
        storage = backend.open();
        for max in [1, 7, 100, 900, 10_000] {
            let h = storage.history(twin(1), "temp", T0, T0 + 5 * DAY, max).await.unwrap();
            assert_eq!(h.points.iter().map(|p| p.count).sum::<u64>(), left.len() as u64, "at most {max}");
            let Resolution::Rollup { bucket_us } = h.resolution else {
                assert!(h.points.iter().map(|p| p.t_us).eq(left.iter().map(|(t, _)| *t)));
                continue;
            };
            for p in &h.points {
                let end = p.t_us.saturating_add(bucket_us);
                let of: Vec<f64> = left
                    .iter()
                    .filter(|(t, _)| (p.t_us..end).contains(t) || max == 1)
                    .map(|(_, x)| *x)
                    .collect();
                assert_eq!(p.max, of.iter().copied().reduce(f64::max), "bucket of {bucket_us} at {}", p.t_us);
                assert_eq!(p.value.as_ref().and_then(Value::as_f64), of.last().copied());
            }
            let is_told = |g: &HistoryGap| {
                g.cause == GapReason::Deleted && (g.from_us..g.to_us).contains(&from.max(T0))
            };
            assert!(h.gaps.iter().any(is_told), "{:?}", h.gaps);
        }
    }
    let page = storage.audit(Some(&[twin(1)]), Severity::Info, None, 10).await.unwrap();
    assert_eq!(page.items.iter().filter(|e| e.action == "history.deleted").count(), 3);
    assert!(
        page.items.iter().any(|e| e.detail.contains("59 samples") || e.detail.contains("60 samples")),
        "{page:?}"
    );
    // Samples that come later stay.
    storage.accept(&[s.samples(501, vec![sample(0, T0 + 6 * hour - 1, 5.0)])]).await.unwrap();
    let h = storage.history(twin(1), "temp", T0 + 5 * hour + 20, T0 + 6 * hour, 100).await.unwrap();
    assert_eq!(h.points.len(), 1);
    assert_eq!(storage.delete_history(twin(1), "nothing", T0, T0 + 1, &audit()).await.unwrap(), 0);
}

/// An integer of more values than are states: its roll-ups list none, before and after a part of them is made anew.
pub(crate) async fn a_deletion_ends_although_its_point_keeps_sending_and_takes_what_was_there_before(
    backend: &impl Backend,
) {
    /// Frames beside the deletion, for the case that it does not end.
    const MOST: u64 = 1_500;
    let storage = backend.open();
    let s = oven(&storage).await;
    let rows = |seq: u64| {
        let t = T0 + i64::try_from(seq).unwrap();
        // Of another point so many that what is compacted takes longer than what comes.
        (0..200_i64).map(|n| sample(1, t, n)).chain([sample(0, t, 1.0)]).collect::<Vec<_>>()
    };
    let before = 6;
    for seq in 1..=before {
        storage.accept(&[s.samples(seq, rows(seq))]).await.unwrap();
    }
    storage.compact(2).await.unwrap();
    // Several at a time, so that something has always come when something is compacted.
    let (begun, is_over) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
    let send = || {
        let (storage, s, begun, is_over) = (storage.clone(), s.clone(), begun.clone(), is_over.clone());
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) && begun.load(Ordering::SeqCst) < before + MOST {
                let seq = begun.fetch_add(1, Ordering::SeqCst) + 1;
                storage.accept(&[s.samples(seq, rows(seq))]).await.unwrap();
            }
        })
    };
    let sending: Vec<_> = (0..8).map(|_| send()).collect();
    while begun.load(Ordering::SeqCst) < before + 8 {
        tokio::task::yield_now().await;
    }
    let (from, to) = (T0, T0 + SECOND);
    let deleted = storage.delete_history(twin(1), "temp", from, to, &audit()).await.unwrap();
    // It goes on for a while.
    let at_end = begun.load(Ordering::SeqCst);
    while begun.load(Ordering::SeqCst) < at_end + 20 && !sending.iter().all(|s| s.is_finished()) {
        tokio::task::yield_now().await;
    }
    is_over.store(true, Ordering::SeqCst);
    for one in sending {
        one.await.unwrap();
    }
    assert!(at_end < before + MOST, "it ended only with the stream");
    let last = begun.load(Ordering::SeqCst);
    let times = async |point: &str| {
        let history = storage.history(twin(1), point, from, to, 100_000).await.unwrap();
        history.points.iter().map(|p| u64::try_from(p.t_us - T0).unwrap()).collect::<Vec<_>>()
    };
    let left = times("temp").await;
    assert_eq!(deleted + left.len() as u64, last, "each is deleted or left");
    assert!(left.iter().all(|seq| *seq > before), "what was there before is gone: {left:?}");
    assert!((at_end + 1..=last).all(|seq| left.contains(&seq)), "what came afterwards is there: {left:?}");
}

pub(crate) async fn roll_ups_that_were_made_again_list_the_states_that_they_listed(backend: &impl Backend) {
    let storage = backend.open_with(|place| {
        let (options, clock) = super::small(place);
        (cloud_store::Options { chunk_rows: 100, ..options }, clock)
    });
    let s = oven(&storage).await;
    // Mostly 0; in each hundred twenty other values.
    let value = |n: i64| if n % 5 == 4 { n % 100 } else { 0 };
    let rows: Vec<Sample> = (0..1440).map(|n| sample(1, T0 + n * 60 * SECOND, value(n))).collect();
    for (seq, some) in (1..).zip(rows.chunks(60)) {
        storage.accept(&[s.samples(seq, some.to_vec())]).await.unwrap();
        compact_all(&storage).await;
    }
    let states = async || {
        let (from_us, to_us) = (T0, T0 + DAY);
        let spans = cloud_core::history::Spans {
            from_us,
            to_us,
            starts_us: vec![],
            width_us: 1,
            now_us: i64::MAX,
            online: true,
        };
        let total = storage.durations(twin(1), "count", spans).await.unwrap().total;
        (total.states.len(), total.unsettled_us)
    };
    assert_eq!(states().await, (0, 0));
    storage.delete_history(twin(1), "count", T0 + 60 * SECOND, T0 + 90 * SECOND, &audit()).await.unwrap();
    assert_eq!(states().await, (0, 0), "of what nobody deleted");
    storage.delete_history(twin(1), "count", T0 + 600 * SECOND, T0 + 700 * SECOND, &audit()).await.unwrap();
    assert_eq!(states().await, (0, 0));
}
