//! What cannot be read any more: it is left out, shown as a gap, counted and told once, and holds nothing else up.

#![allow(clippy::unwrap_used, clippy::expect_used)] // all of it is tests

#[allow(dead_code, unused_macros)]
mod contract;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloud_core::align::Grid;
use cloud_core::history::{AlignedPoint, Spans};
use cloud_core::{Storage, StoreError};
use cloud_store::{Place, Store, verify};
use common::api::{GapReason, HistoryGap, Interpolation, Resolution};
use common::command::{LogEntry, Severity};
use common::names::action;
use contract::fixtures::*;

fn open(path: &Path) -> Arc<dyn Storage> {
    let (options, clock) = contract::small(Place::Sqlite(path.to_owned()));
    Store::open(options, clock).unwrap()
}

fn change(path: &Path, sql: &str) -> usize {
    rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap()
}

async fn told(storage: &Arc<dyn Storage>) -> Vec<LogEntry> {
    storage.upkeep(Duration::from_secs(1)).await.unwrap();
    let all = storage.audit(None, Severity::Info, None, 100).await.unwrap().items;
    all.into_iter().filter(|e| e.action == action::DATA_DAMAGED).collect()
}

fn damaged(gaps: &[HistoryGap]) -> Vec<(i64, i64)> {
    gaps.iter().filter(|g| g.cause == GapReason::CloudDamaged).map(|g| (g.from_us, g.to_us)).collect()
}

/// Four sealed chunks of a sample a second, the second of which is damaged.
#[tokio::test]
async fn a_damaged_chunk_is_left_out_with_a_gap_and_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let second = |n: i64| T0 + n * SECOND;
    let mut storage = open(&path);
    let s = oven(&storage).await;
    for seq in 0..4 {
        let rows = (0..20).map(|n| sample(0, second(seq * 20 + n), 1.5)).collect();
        let new = cut(&s, seq.unsigned_abs() + 1, second(seq * 20 + 20), common::wire::Body::Samples(rows));
        storage.accept(&[new]).await.unwrap();
        compact_all(&storage).await;
    }
    drop(storage);
    let of = format!("level = 0 AND t_min = {}", second(20));
    assert_eq!(change(&path, &format!("UPDATE chunks SET blob = x'00' WHERE {of}")), 1);
    storage = open(&path);
    assert_eq!((storage.damaged(), told(&storage).await.len()), (0, 0), "nobody has met it");
    let range = (second(0), second(80));
    let gap = (second(20), second(39) + 1);
    let h = storage.history(twin(1), "temp", range.0, range.1, 100).await.unwrap();
    assert_eq!((h.resolution, h.points.len()), (Resolution::Raw, 60));
    assert_eq!(damaged(&h.gaps), [gap]);
    // Roll-ups of it are there.
    let rolled = storage.history(twin(1), "temp", range.0, range.1, 10).await.unwrap();
    assert_eq!(rolled.points.iter().map(|p| p.count).sum::<u64>(), 80);
    assert!(damaged(&rolled.gaps).is_empty(), "{:?}", rolled.gaps);
    let mut rows = 0;
    let mut next = Some(range.0);
    while let Some(from) = next {
        let page = storage.samples(twin(1), "temp", from, range.1, 30).await.unwrap();
        (rows, next) = (rows + page.rows.len(), page.next_us);
    }
    assert_eq!(rows, 60, "an export goes on");
    let point = AlignedPoint { twin: twin(1), point: "temp".into(), online: true };
    let grid = Grid::within(range.0, range.1, SECOND / 2);
    let cells = storage.aligned(&[point], grid, Interpolation::Previous, second(99)).await.unwrap();
    let known: Vec<bool> = cells[0].values.iter().map(Option::is_some).collect();
    assert!(known[..40].iter().all(|k| *k) && !known[40..78].iter().any(|k| *k), "{known:?}");
    let spans = Spans {
        from_us: range.0,
        to_us: range.1,
        starts_us: (0..160).map(|n| T0 + n * SECOND / 2).collect(),
        width_us: SECOND / 2,
        now_us: second(99),
        online: true,
    };
    let times = storage.durations(twin(1), "temp", spans).await.unwrap().total;
    assert_eq!(times.good_us + times.nothing_us + times.unsettled_us, 80 * SECOND);
    assert!(times.nothing_us >= 19 * SECOND && times.good_us <= 61 * SECOND, "{times:?}");
    for _ in 0..2 {
        let entries = told(&storage).await;
        assert_eq!(entries.len(), 1, "once, also over a start");
        let detail = &entries[0].detail;
        assert!(detail.contains("line1/oven/temp") && detail.contains("is damaged"), "{detail}");
        assert_eq!(storage.damaged(), 1);
        drop(storage);
        storage = open(&path);
        storage.history(twin(1), "temp", range.0, range.1, 100).await.unwrap();
    }
    // A part of it cannot be deleted, which is said with what can; all of it can.
    let audit = entry(T0, "history.deleted", Some(twin(1)), Severity::Warning);
    let part = storage.delete_history(twin(1), "temp", second(30), second(50), &audit).await;
    let Err(StoreError::Conflict { what }) = part else { panic!("{part:?}") };
    assert!(what.contains("delete all from") && what.contains("00:00:20"), "{what}");
    storage.delete_history(twin(1), "temp", second(20), second(60), &audit).await.unwrap();
    let h = storage.history(twin(1), "temp", range.0, range.1, 100).await.unwrap();
    assert_eq!((h.points.len(), damaged(&h.gaps).len()), (40, 0));
}

#[tokio::test]
async fn small_chunks_are_merged_without_one_that_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let storage = open(&path);
    let s = oven(&storage).await;
    let one = |seq: u64| s.samples(seq, vec![sample(0, T0 + i64::try_from(seq).unwrap() * SECOND, 1.5)]);
    for seq in 1..=2 {
        storage.accept(&[one(seq)]).await.unwrap();
        storage.compact_frames(9).await.unwrap();
    }
    drop(storage);
    assert_eq!(change(&path, &format!("UPDATE chunks SET blob = x'00' WHERE t_min = {}", T0 + SECOND)), 1);
    let storage = open(&path);
    for seq in 3..=30 {
        storage.accept(&[one(seq)]).await.unwrap();
        storage.compact(9).await.unwrap();
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let chunks: i64 =
        conn.query_row("SELECT count(*) FROM chunks WHERE level = 0", [], |r| r.get(0)).unwrap();
    assert!(chunks <= 8, "{chunks} chunks of 30 samples");
    let h = storage.history(twin(1), "temp", T0, T0 + 60 * SECOND, 100).await.unwrap();
    assert_eq!(h.points.len(), 29);
    assert_eq!(damaged(&h.gaps), [(T0 + SECOND, T0 + SECOND + 1)]);
    assert_eq!(told(&storage).await.len(), 1);
}

/// A frame that is stored and not yet in chunks.
#[tokio::test]
async fn a_stored_frame_that_cannot_be_read_is_set_aside_with_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let storage = open(&path);
    let s = oven(&storage).await;
    let at = |seq: u64, second: i64| {
        let t = T0 + second * SECOND;
        cut(&s, seq, t, common::wire::Body::Samples(vec![sample(0, t, 1.5)]))
    };
    storage.accept(&[at(1, 10), at(2, 20), at(3, 30)]).await.unwrap();
    drop(storage);
    assert_eq!(change(&path, "UPDATE frames SET bytes = substr(bytes, 1, 70) WHERE seq = 2"), 1);
    for _ in 0..2 {
        let storage = open(&path);
        let h = storage.history(twin(1), "temp", T0, T0 + 60 * SECOND, 100).await.unwrap();
        assert_eq!(h.points.len(), 2);
        assert_eq!(damaged(&h.gaps), [(T0 + 10 * SECOND, T0 + 20 * SECOND + 1)]);
        let aside = storage.set_aside_page(&s.key, None, 9).await.unwrap().items;
        let found: Vec<_> = aside.iter().map(|a| (&*a.cause, a.seq, a.bytes)).collect();
        assert_eq!(found, [("damaged", Some(2), 70)]);
        assert_eq!(told(&storage).await.len(), 1, "once, also over a start");
        let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
        assert_eq!(known[0].seqs.iter().collect::<Vec<_>>(), [(1, 3)]);
    }
    let backup = dir.path().join("backup.db");
    cloud_store::backup(&path, &backup).unwrap();
    verify(&backup).unwrap();
}
