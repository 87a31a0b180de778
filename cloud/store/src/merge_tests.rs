//! How much is merged at once.
#![allow(clippy::unwrap_used)] // tests may

use common::Quality;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::codec::Row;
use crate::db::MIGRATIONS;

fn empty() -> Conn {
    let conn = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().for_each(|(sql, _)| conn.execute_batch(sql).unwrap());
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    Conn::Sqlite(conn)
}

fn row(n: usize, value: common::Value) -> Row {
    let t = n as i64;
    let at = cloud_core::Position { rank: 1, seq: n as u64, index: 0 };
    Row { t, received: t, at, quality: Quality::GOOD, value: Some(value) }
}

fn put(conn: &Conn, series: SeriesId, rows: &[Row]) {
    let sql =
        "INSERT INTO chunks (series, level, class, t_min, t_max, n, rolled, first_rank, first_seq, blob)
               VALUES (?1, 0, 0, 0, 9, ?2, 0, 1, 1, ?3)";
    conn.execute(sql, params![series, rows.len() as i64, codec::encode_rows(rows)]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// However large series are, no more than the limit and one series is in memory; and each is merged once.
    #[test]
    fn memory_is_bounded_by_samples(sizes in prop::collection::vec(1usize..300, 1..20), at_once in 1usize..500) {
        let conn = empty();
        for (series, n) in (1..).zip(&sizes) {
            let rows: Vec<Row> = (0..*n).map(|n| row(n, (n as f64).into())).collect();
            put(&conn, series, &rows);
        }
        let limits = Limits { seal: 4096, merge: 2, at_once };
        let groups: Vec<Group> = (1..).zip(&sizes).map(|(series, _)| (series, 0, 0, 0)).collect();
        let (mut left, mut done, mut unreadable) = (&groups[..], 0, HashSet::new());
        while !left.is_empty() {
            let (taken, merge) = some_of(&conn, limits, left, &mut unreadable);
            prop_assert!(taken > 0);
            let of: usize = sizes[done..done + taken].iter().sum();
            prop_assert!(of < at_once + sizes[done + taken - 1], "{of}");
            prop_assert_eq!(merge.ids.len(), taken);
            (left, done) = (&left[taken..], done + taken);
        }
        prop_assert_eq!((done, unreadable.len()), (sizes.len(), 0));
    }
}

#[test]
fn large_texts_count_as_many_samples() {
    let conn = empty();
    let rows: Vec<Row> = (0..4).map(|n| row(n, "x".repeat(64_000).as_str().into())).collect();
    (1..=3).for_each(|series| put(&conn, series, &rows));
    let limits = Limits { seal: 4096, merge: 2, at_once: 5_000 };
    let groups: Vec<Group> = (1..=3).map(|series| (series, 0, 0, 0)).collect();
    assert_eq!(some_of(&conn, limits, &groups, &mut HashSet::new()).0, 2);
}
