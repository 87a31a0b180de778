//! Points that have a history, whatever the configuration says now: one that was renamed or removed keeps what it had, and is
//! read, exported and deleted under the name that it had.

use std::collections::HashSet;

use cloud_core::history::StoredPoint;
use common::api::{GapReason, HistoryGap};
use common::{PointSchema, TwinId, ValueType};

use crate::db::{Result, from_json, to_json};
use crate::sql::{Conn, Row, Tx, params};
use crate::tail::SeriesId;

/// Notes which points of a twin another schema leaves out, and which it has again.
pub(crate) fn changed(
    tx: &Tx<'_>,
    (tenant, twin): (&str, &str),
    old: &[PointSchema],
    new: &[PointSchema],
    now: i64,
) -> Result<()> {
    let names = |of: &[PointSchema]| of.iter().map(|p| p.name.clone()).collect::<HashSet<_>>();
    let (had, has) = (names(old), names(new));
    for point in old.iter().filter(|p| !has.contains(&p.name)) {
        let sql = "UPDATE series SET unit = ?4, value_type = ?5, gone_us = ?6
                   WHERE tenant = ?1 AND twin = ?2 AND point = ?3";
        let value_type = to_json(&point.value_type)?;
        tx.execute(sql, params![tenant, twin, &*point.name, &point.unit, value_type, now])?;
    }
    for point in new.iter().filter(|p| !had.contains(&p.name)) {
        let sql = "UPDATE series SET gone_us = NULL WHERE tenant = ?1 AND twin = ?2 AND point = ?3";
        tx.execute(sql, params![tenant, twin, &*point.name])?;
    }
    Ok(())
}

/// Nothing is known of a point since the configuration has it no more.
pub(crate) fn gone(conn: &Conn, series: SeriesId) -> Result<Option<HistoryGap>> {
    let sql = "SELECT gone_us FROM series WHERE id = ?1";
    let gone: Option<Option<i64>> = conn.first(sql, params![series], |r| r.get(0))?;
    Ok(gone.flatten().map(|from| HistoryGap::new(from, i64::MAX, GapReason::PointRemoved)))
}

const FIND: &str = "SELECT s.point, s.unit, s.value_type FROM series s
                    JOIN twins t ON t.twin = s.twin AND t.tenant = s.tenant";

fn read(row: &Row<'_>) -> Result<StoredPoint> {
    let value_type: Option<String> = row.get(2)?;
    let value_type = value_type.map(|json| from_json::<ValueType>("a point's type", &json)).transpose()?;
    Ok(StoredPoint {
        point: row.get(0)?,
        unit: row.get::<Option<String>>(1)?.unwrap_or_default(),
        value_type,
    })
}

/// A point that ever had a sample.
pub(crate) fn find(conn: &Conn, twin: TwinId, point: &str) -> Result<Option<StoredPoint>> {
    conn.first(&format!("{FIND} WHERE s.twin = ?1 AND s.point = ?2"), params![twin.to_string(), point], read)
}

/// Points of a twin of which anything is left in chunks, by name.
pub(crate) fn list(conn: &Conn, twin: TwinId) -> Result<Vec<StoredPoint>> {
    let sql = format!(
        "{FIND} WHERE s.twin = ?1 AND (EXISTS (SELECT 1 FROM chunks c WHERE c.series = s.id)
         OR EXISTS (SELECT 1 FROM waveforms w WHERE w.series = s.id)) ORDER BY s.point"
    );
    conn.all(&sql, params![twin.to_string()], read)
}
