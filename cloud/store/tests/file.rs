//! The file itself: what is wrong with it is said, and what is acknowledged survives a kill.

#![allow(clippy::unwrap_used, clippy::expect_used)] // all of it is tests

#[allow(dead_code, unused_macros)]
mod contract;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cloud_core::storage::FrameStorage;
use cloud_core::{Storage, StoreError};
use cloud_store::{Keep, Options, Retention, Store};
use common::Clock;
use common::api::{GapReason, Resolution};
use contract::fixtures::*;

fn open(path: &Path) -> Result<Arc<Store>, StoreError> {
    Store::open(Options::new(path), Clock::system())
}

fn why(result: Result<Arc<Store>, StoreError>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn a_file_that_is_no_database_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    std::fs::write(&path, vec![b'x'; 20_000]).unwrap();
    let why = why(open(&path));
    assert!(why.contains("damaged or no database") && why.contains("cloud.db"), "{why}");
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_not_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let storage: Arc<dyn Storage> = open(&path).unwrap();
    let s = oven(&storage).await;
    for seq in 1..200 {
        let rows = (0..100).map(|i| sample(0, T0 + i, f64::from(u32::try_from(i).unwrap()).sin())).collect();
        storage.accept(&[s.samples(seq, rows)]).await.unwrap();
    }
    compact_all(&storage).await;
    drop(storage);
    // All but the first page: the header says that all is well.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let why = why(open(&path));
    assert!(why.contains("damaged"), "{why}");
}

#[tokio::test]
async fn a_database_in_use_or_of_a_newer_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/cloud.db");
    let first = open(&path).unwrap();
    let told = why(open(&path));
    assert!(told.contains("in use"), "{told}");
    drop(first);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let told = why(open(&path));
    assert!(told.contains("99") && told.contains("newer"), "{told}");
}

#[tokio::test]
async fn the_log_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let storage: Arc<dyn Storage> = open(&path).unwrap();
    let note = entry(T0, "user.login", None, common::command::Severity::Info);
    storage.append_audit(&note).await.unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    for sql in ["DELETE FROM log", "UPDATE log SET severity = 0"] {
        let told = conn.execute(sql, []).unwrap_err().to_string();
        assert!(told.contains("append-only"), "{told}");
    }
}

#[tokio::test]
async fn what_has_ended_is_forgotten_but_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let hour = 3600 * SECOND;
    let at = |now| -> Arc<dyn Storage> { Store::open(Options::new(&path), Clock::simulated(now)).unwrap() };
    let storage = at(T0);
    oven(&storage).await;
    let view = common::api::UserView { name: "a".into(), grants: vec![], created_us: T0 };
    let account = cloud_core::storage::Account { view, password_hash: "$".into() };
    storage.create_user(&account).await.unwrap();
    storage.create_session(&[1; 32], "a", T0 + hour).await.unwrap();
    contract::commands::create(&storage, &contract::commands::view(twin(1), "temp", 0), "k").await;
    drop(storage);
    for (after, kept) in [(24 * hour, true), (49 * hour, false)] {
        let storage = at(T0 + after);
        storage.compact(1).await.unwrap();
        assert_eq!(storage.command_by_key("admin", "k").await.unwrap().is_some(), kept, "{after}");
        assert_eq!(storage.commands(None, None, 9).await.unwrap().items.len(), 1, "the command itself stays");
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let sessions: i64 = conn.query_row("SELECT count(*) FROM sessions", [], |r| r.get(0)).unwrap();
    assert_eq!(sessions, 0);
}

#[tokio::test]
async fn one_damaged_chunk_is_told_and_does_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let options = Options { merge_chunks: 2, ..Options::new(&path) };
    let storage: Arc<dyn Storage> = Store::open(options, Clock::system()).unwrap();
    let s = oven(&storage).await;
    let both = |t| vec![sample(0, T0 + t, 1.0), sample(1, T0 + t, 1i64)];
    storage.accept(&[s.samples(1, both(1))]).await.unwrap();
    storage.compact(10).await.unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let harm = "UPDATE chunks SET blob = zeroblob(40) WHERE series =
                (SELECT id FROM series WHERE point = 'temp')";
    assert_eq!(conn.execute(harm, []).unwrap(), 1);
    storage.accept(&[s.samples(2, both(2))]).await.unwrap();
    assert_eq!(storage.compact(10).await.unwrap(), 1);
    let harmed = storage.history(twin(1), "temp", T0, T0 + 9, 9).await.unwrap();
    assert_eq!(harmed.points.iter().map(|p| p.t_us - T0).collect::<Vec<_>>(), [2]);
    assert_eq!(
        harmed.gaps.iter().map(|g| (g.cause, g.from_us - T0)).collect::<Vec<_>>(),
        [(GapReason::CloudDamaged, 1)]
    );
    let other = storage.history(twin(1), "count", T0, T0 + 9, 9).await.unwrap();
    assert_eq!(other.points.len(), 2);
}

#[tokio::test]
async fn frames_that_cannot_be_read_do_not_keep_the_rest_from_being_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let storage: Arc<dyn Storage> = open(&path).unwrap();
    let s = oven(&storage).await;
    let frames: Vec<_> = (1..=6i32)
        .map(|seq| s.samples(seq.unsigned_abs().into(), vec![sample(0, T0 + i64::from(seq), f64::from(seq))]))
        .collect();
    storage.accept(&frames).await.unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let harm = "UPDATE frames SET bytes = zeroblob(38 + seq) WHERE seq IN (2, 3, 4)";
    assert_eq!(conn.execute(harm, []).unwrap(), 3);
    let seqs = |found: &[cloud_core::NewFrame]| found.iter().map(|f| f.frame.header.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&storage.uncompacted(None, 9).await.unwrap()), [1, 5, 6]);
    // A whole batch of them is not the end.
    assert_eq!(seqs(&storage.uncompacted(Some((s.rank, 1)), 2).await.unwrap()), [5]);
    drop(storage);
    let storage: Arc<dyn Storage> = open(&path).unwrap();
    assert_eq!(storage.compact(9).await.unwrap(), 3);
    let points = storage.history(twin(1), "temp", T0, T0 + 9, 9).await.unwrap().points;
    assert_eq!(points.iter().map(|p| p.t_us - T0).collect::<Vec<_>>(), [1, 5, 6]);
    // They stay for whoever wants to know what they were.
    let left: i64 = conn.query_row("SELECT count(*) FROM frames", [], |r| r.get(0)).unwrap();
    let aside = storage.set_aside_page(&s.key, None, 9).await.unwrap().items;
    assert_eq!((left, aside.iter().map(|a| a.bytes).collect::<Vec<_>>()), (0, vec![42, 41, 40]));
}

/// Of years there are so many roll-ups that they do not fit into memory.
#[tokio::test]
async fn a_deletion_reads_no_roll_ups_but_those_at_its_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let options = Options { chunk_rows: 24, ..Options::new(&path) };
    let storage: Arc<dyn Storage> = Store::open(options, Clock::system()).unwrap();
    let s = oven(&storage).await;
    // Four days of a sample a minute, the roll-ups of which are in chunks of a few hours.
    for seq in 0..96u32 {
        let at = |minute| T0 + (i64::from(seq) * 60 + minute) * 60 * SECOND;
        let rows = (0..60i64).map(|minute| sample(0, at(minute), f64::from(seq))).collect();
        storage.accept(&[s.samples(u64::from(seq) + 1, rows)]).await.unwrap();
        compact_all(&storage).await;
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let (day, to) = (86_400 * SECOND, T0 + 3 * 86_400 * SECOND + 7);
    let harm = "UPDATE chunks SET blob = zeroblob(40) WHERE level > 0 AND t_min >= ?1 AND t_max < ?2";
    assert!(conn.execute(harm, [T0 + day, T0 + 2 * day]).unwrap() > 3);
    let note = entry(T0, "history.deleted", Some(twin(1)), common::command::Severity::Info);
    assert_eq!(storage.delete_history(twin(1), "temp", T0 + 7, to, &note).await.unwrap(), 3 * 24 * 60);
    let h = storage.history(twin(1), "temp", T0, T0 + 4 * day, 100).await.unwrap();
    assert!(matches!(h.resolution, Resolution::Rollup { .. }));
    assert_eq!(h.points.iter().map(|p| p.count).sum::<u64>(), 24 * 60);
}

#[tokio::test]
async fn a_point_never_has_many_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let storage = Store::open(Options { chunk_rows: 512, ..Options::new(&path) }, Clock::system()).unwrap();
    let as_storage: Arc<dyn Storage> = Arc::clone(&storage) as _;
    let s = oven(&as_storage).await;
    for seq in 0..600i64 {
        let rows = (0..4).map(|i| sample(0, T0 + (seq * 4 + i) * 100_000, 1.0)).collect();
        storage.accept(&[s.samples(seq.unsigned_abs() + 1, rows)]).await.unwrap();
        storage.compact(10).await.unwrap();
    }
    assert_eq!(storage.uncompacted_frames(), 0);
    let conn = rusqlite::Connection::open(&path).unwrap();
    let count = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert!(count("SELECT count(*) FROM chunks WHERE level = 0 AND class < 9") < 32);
    let sealed = count("SELECT count(*) FROM chunks WHERE level = 0 AND class = 9");
    assert!((2..=2400 / 512).contains(&sealed), "{sealed}");
    assert_eq!(count("SELECT sum(n) FROM chunks WHERE level = 0"), 2400);
}

/// Not a test of its own: what `what_is_acknowledged_survives_a_kill` starts and kills.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(path) = std::env::var_os("STORE_CHILD_DB") else { return };
    let storage: Arc<dyn Storage> =
        Store::open(Options { chunk_rows: 40, merge_chunks: 3, ..Options::new(path) }, Clock::system())
            .unwrap();
    let s = oven(&storage).await;
    let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
    let first = known[0].seqs.last().unwrap_or(0) + 1;
    for seq in first.. {
        let t = T0 + i64::try_from(seq).unwrap();
        storage.accept(&[s.samples(seq, vec![sample(0, t, 1.0)])]).await.unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "acked {seq}").unwrap();
        out.flush().unwrap();
        if seq % 5 == 0 {
            storage.compact(7).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let mut acked = 0u64;
    for round in 1..=4u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_is_killed", "--exact", "--nocapture"])
            .env("STORE_CHILD_DB", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = acked + 37 * round + 3;
        while acked < until {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some((_, seq)) = line.split_once("acked ") {
                acked = seq.trim().parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before the kill counts as well.
        for line in lines.map_while(Result::ok) {
            acked = line.split_once("acked ").and_then(|(_, n)| n.trim().parse().ok()).unwrap_or(acked);
        }
        let storage: Arc<dyn Storage> = open(&path).unwrap();
        let s = oven(&storage).await;
        let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
        let last = known[0].seqs.last().unwrap();
        assert!(last >= acked && known[0].seqs.contains_range(1, last), "{:?}, acked {acked}", known[0].seqs);
        let h = storage.history(twin(1), "temp", T0, T0 + 1_000_000, 1_000_000).await.unwrap();
        let times: Vec<_> = h.points.iter().map(|p| (p.t_us - T0).unsigned_abs()).collect();
        assert_eq!(times, (1..=last).collect::<Vec<_>>(), "each exactly once");
        acked = last;
    }
}

/// Breaks the chain of pages of what is too large for one, of a table: reading it is an error of SQLite's.
fn break_overflow(path: &Path, table: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    let size: u64 = conn.query_row("PRAGMA page_size", [], |r| r.get(0)).unwrap();
    let mut statement =
        conn.prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'overflow'").unwrap();
    let pages: Vec<u64> = statement.query_map([table], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(!pages.is_empty());
    drop(statement);
    drop(conn);
    let mut bytes = std::fs::read(path).unwrap();
    for page in pages {
        let at = usize::try_from((page - 1) * size).unwrap();
        bytes[at..at + 4].fill(0xff);
    }
    std::fs::write(path, bytes).unwrap();
}

/// A text that fills some pages, however well it is packed.
fn long_text() -> String {
    let mut n = 1u64;
    let mut next = || {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{n:016x}")
    };
    (0..3_000).map(|_| next()).collect()
}

#[tokio::test]
async fn a_damaged_page_keeps_no_other_point_from_its_retention() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let day = 86_400 * SECOND;
    let at = |now, raw_days| -> Arc<dyn Storage> {
        let others = Keep { raw_days, rollup_days: None };
        let retention = Retention { others, ..Retention::default() };
        Store::open(Options { retention, ..Options::new(&path) }, Clock::simulated(now)).unwrap()
    };
    let storage = at(T0, None);
    let s = oven(&storage).await;
    storage
        .accept(&[s.samples(1, vec![sample(0, T0, 1.5), sample(3, T0 + 1, &*long_text())])])
        .await
        .unwrap();
    storage.compact_frames(10).await.unwrap();
    drop(storage);
    break_overflow(&path, "chunks");
    let storage = at(T0 + 10 * day, Some(3));
    for _ in 0..2 {
        storage.upkeep(std::time::Duration::from_secs(1)).await.unwrap();
    }
    let conn = rusqlite::Connection::open(&path).unwrap();
    let sql =
        "SELECT s.point, c.class FROM chunks c JOIN series s ON s.id = c.series WHERE c.level = 0 ORDER BY 1";
    let mut statement = conn.prepare(sql).unwrap();
    let found: Vec<(String, i64)> =
        statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
    // That of the one is removed, the other one stays as it is.
    assert_eq!(found, [("temp".to_owned(), 10), ("text".to_owned(), 0)]);
    // Who asks for it is told where it is missing.
    let h = storage.history(twin(1), "text", T0, T0 + 9, 9).await.unwrap();
    assert!(h.points.is_empty());
    assert_eq!(h.gaps.iter().map(|g| g.cause).collect::<Vec<_>>(), [GapReason::CloudDamaged]);
    assert_eq!(storage.damaged(), 1);
}
