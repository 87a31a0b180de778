//! How histories are found: a plan that reads rows where the index would do costs several times as much, and nothing else tells.
#![allow(clippy::unwrap_used)] // tests may

use rusqlite::Connection;

use super::*;
use crate::db::MIGRATIONS;

/// The steps of a statement's plan.
fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = vec![rusqlite::types::Value::from(1i64); statement.parameter_count()];
    let steps = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap();
    steps.map(|step| step.unwrap()).collect()
}

#[test]
fn chunks_are_found_in_the_index_alone_and_nothing_is_scanned() {
    let conn = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().for_each(|(sql, _)| conn.execute_batch(sql).unwrap());
    for sql in [CHUNKS, NEWEST, OTHERS] {
        let plan = plan(&conn, sql);
        assert!(
            matches!(&plan[..], [one] if one.starts_with("SEARCH chunks USING COVERING INDEX chunks_by_time")),
            "{plan:?}: {sql}"
        );
    }
    for which in [BUCKETS, BUCKETS_IN, BUCKETS_CUT] {
        let sql = format!("SELECT id, t_min, t_max, blob FROM chunks WHERE {which}");
        let plan = plan(&conn, &sql);
        assert!(
            matches!(&plan[..], [one] if one.starts_with("SEARCH chunks USING") && one.contains("INDEX chunks_by_time")),
            "{plan:?}: {sql}"
        );
    }
    let of = plan(&conn, SAMPLES);
    let by_number = |step: &String| step.contains("USING INTEGER PRIMARY KEY");
    assert!(of.len() == 2 && of.iter().all(by_number), "{of:?}");
}
