//! Blocks of waveforms: stored with their frame's mark, in its transaction, and kept as they came. Nothing is compacted:
//! a block is one already.

use cloud_core::NewFrame;
use cloud_core::history::WaveformEntry;
use common::TwinId;
use common::wire::Waveform;

use crate::damage::{Damage, Found};
use crate::db::{Result, from_sql, to_sql};
use crate::history::find;
use crate::retention::is_old;
use crate::schemas;
use crate::sql::{Cell, Conn, Kind, Table, Tx, params};
use crate::tail::{NO_SERIES, SeriesId};
use crate::writer::KnownSchema;

const WAVEFORMS: Table<'static> = Table {
    name: "waveforms",
    columns: &[
        ("series", Kind::Int),
        ("t0_us", Kind::Int),
        ("first", Kind::Int),
        ("n", Kind::Int),
        ("total", Kind::Int),
        ("dt_ps", Kind::Int),
        ("rank", Kind::Int),
        ("seq", Kind::Int),
        ("received_us", Kind::Int),
        ("blob", Kind::Blob),
    ],
    on_conflict: "ON CONFLICT (series, t0_us, first) DO UPDATE
                  SET n = excluded.n, total = excluded.total, dt_ps = excluded.dt_ps,
                      rank = excluded.rank, seq = excluded.seq, received_us = excluded.received_us, blob = excluded.blob
                  WHERE (excluded.rank, excluded.seq) > (waveforms.rank, waveforms.seq)",
};

/// Stores a block, or a part of one, that came in a frame; false if it is of a point that the schema lacks. A part with the time
/// of a block of another length or rate, or that the gateway received at another time, is of another block: of the two the
/// later one stays.
pub(crate) fn put(tx: &Tx<'_>, known: &mut KnownSchema, new: &NewFrame, wave: &Waveform) -> Result<bool> {
    let series = |known: &KnownSchema| known.series.get(wave.point.index()).copied().unwrap_or(NO_SERIES);
    if series(known) == NO_SERIES {
        schemas::add_series(tx, known, &new.schema, [wave.point])?;
    }
    let (series, seq) = (series(known), new.frame.header.seq);
    if series == NO_SERIES {
        return Ok(false);
    }
    let (t0_us, received_us, n) = (wave.t0_us, wave.received_us, wave.values.len() as u64);
    let [first, n, total, dt_ps, rank, seq] =
        [u64::from(wave.first), n, u64::from(wave.total), wave.dt_ps, new.rank, seq].map(to_sql);
    let other = "FROM waveforms WHERE series = ?1 AND t0_us = ?2 AND
                 (total <> ?3 OR dt_ps <> ?4 OR (received_us IS NOT NULL AND received_us <> ?5))";
    let later = format!("SELECT 1 {other} AND (rank, seq) > (?6, ?7) LIMIT 1");
    if tx.exists(&later, params![series, t0_us, total, dt_ps, received_us, rank, seq])? {
        return Ok(true);
    }
    tx.execute(&format!("DELETE {other}"), params![series, t0_us, total, dt_ps, received_us])?;
    let mut blob = Vec::new();
    wave.put(&mut blob);
    let [a, b, c, d, e, f, g, h, i] =
        [series, t0_us, first, n, total, dt_ps, rank, seq, received_us].map(Cell::Int);
    let row = [a, b, c, d, e, f, g, h, i, Cell::Blob(&blob)];
    tx.insert_all(&WAVEFORMS, [row])?;
    Ok(true)
}

/// Blocks that begin in a range, the earliest first.
pub(crate) fn list(
    conn: &Conn,
    twin: TwinId,
    point: &str,
    (from, to): (i64, i64),
    limit: usize,
) -> Result<Vec<WaveformEntry>> {
    let Some(series) = find(conn, twin, point)? else { return Ok(Vec::new()) };
    let sql = "SELECT t0_us, max(dt_ps), max(total), CAST(sum(n) AS BIGINT), CAST(sum(length(blob)) AS BIGINT) FROM waveforms
               WHERE series = ?1 AND t0_us >= ?2 AND t0_us < ?3 GROUP BY t0_us ORDER BY t0_us LIMIT ?4";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.all(sql, params![series, from, to, limit], |row| {
        Ok(WaveformEntry {
            t0_us: row.get(0)?,
            dt_ps: from_sql(row.get(1)?),
            total: from_sql(row.get(2)?),
            stored: from_sql(row.get(3)?),
            bytes: from_sql(row.get(4)?),
        })
    })
}

/// The parts of the block that begins then, in order; one that cannot be read is left out.
pub(crate) fn block(
    conn: &Conn,
    twin: TwinId,
    point: &str,
    t0_us: i64,
    damage: &Damage,
) -> Result<Vec<Waveform>> {
    let Some(series) = find(conn, twin, point)? else { return Ok(Vec::new()) };
    let sql = "SELECT blob FROM waveforms WHERE series = ?1 AND t0_us = ?2 ORDER BY first";
    let blobs: Vec<Vec<u8>> = conn.all(sql, params![series, t0_us], |row| row.get(0))?;
    let read = |blob: &Vec<u8>| match Waveform::take(blob) {
        Ok(part) => Some(part),
        Err(error) => {
            let why = format!("a block of a waveform is damaged: {error}");
            damage.note(Found { chunk: -series, series: Some(series), span: (t0_us, t0_us), why });
            None
        }
    };
    Ok(blobs.iter().filter_map(read).collect())
}

/// Removes blocks of some series (a JSON list) that began before a time; one of a clock that was never set is as old as the run
/// of its gateway.
pub(crate) fn remove_before(tx: &Tx<'_>, series: &str, before: i64) -> Result<()> {
    let all = tx.dialect().integers_of("?1");
    let sql = format!(
        "DELETE FROM waveforms WHERE t0_us < ?2 AND series IN ({all}) AND {}",
        is_old("t0_us", "rank", "?2")
    );
    tx.execute(&sql, params![series, before])?;
    Ok(())
}

/// Removes blocks that begin in a range; how many values they had.
pub(crate) fn remove(tx: &Tx<'_>, series: SeriesId, (from, to): (i64, i64)) -> Result<u64> {
    let sql = "SELECT n FROM waveforms WHERE series = ?1 AND t0_us >= ?2 AND t0_us < ?3";
    let counts: Vec<i64> = tx.all(sql, params![series, from, to], |row| row.get(0))?;
    let sql = "DELETE FROM waveforms WHERE series = ?1 AND t0_us >= ?2 AND t0_us < ?3";
    tx.execute(sql, params![series, from, to])?;
    Ok(counts.into_iter().map(from_sql).sum())
}
