//! How long history is kept, by class of point: first samples go and their roll-ups stay, then these go as well.

use std::collections::BTreeMap;

use cloud_core::StoreError;
use common::clock::NEVER_SET_BEFORE_US;

use crate::compact::REMOVED;
use crate::db::{Result, to_json};
use crate::merge::{replace, sealed};
use crate::sql::{Conn, params};
use crate::stamps;
use crate::tail::SeriesId;
use crate::{Shared, waveforms};

const DAY_US: i64 = 86_400_000_000;
/// Series of which something is removed in one transaction.
const AT_ONCE: usize = 1_000;
/// Series that are sealed in one transaction.
const SEALED_AT_ONCE: usize = 100;

/// What is beyond a time, a parameter, by the column of its first time and that of its run. What a clock stamped that was never set
/// is as old as the run of its gateway.
pub(crate) fn is_old(t: &str, rank: &str, before: &str) -> String {
    format!(
        "({t} >= {NEVER_SET_BEFORE_US} OR {rank} NOT IN (SELECT rank FROM incarnations WHERE seen_us >= {before}))"
    )
}

/// Chunks beyond `?1`.
fn old() -> String {
    format!("t_max < ?1 AND {}", is_old("t_min", "first_rank", "?1"))
}

/// Roll-ups beyond `?1`: they do not say of which run they are.
fn old_rollups() -> String {
    format!(
        "t_max < ?1 AND (t_min >= {NEVER_SET_BEFORE_US} OR series NOT IN (
         SELECT c.series FROM chunks c JOIN incarnations i ON i.rank = c.first_rank
         WHERE c.level = 0 AND c.t_min < {NEVER_SET_BEFORE_US} AND i.seen_us >= ?1))"
    )
}

/// How long; none: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Keep {
    /// Days of samples.
    pub raw_days: Option<u32>,
    /// Days of roll-ups; at least those of samples.
    pub rollup_days: Option<u32>,
}

/// A class of points, and how long their history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Patterns of `<place of the twin>/<point>`: `*` stands for anything but `/`, `**` for anything.
    pub points: Vec<String>,
    /// How long.
    pub keep: Keep,
}

/// The classes, and what holds for points of none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// The first that fits counts.
    pub classes: Vec<Class>,
    /// For all others.
    pub others: Keep,
}

impl Retention {
    fn of(&self, asset: &str, point: &str) -> Keep {
        let name = format!("{asset}/{point}");
        let fits = |c: &&Class| c.points.iter().any(|p| matches(p.as_bytes(), name.as_bytes()));
        self.classes.iter().find(fits).map_or(self.others, |c| c.keep)
    }

    fn is_forever(&self) -> bool {
        self.classes.iter().map(|c| c.keep).chain([self.others]).all(|k| k == Keep::default())
    }
}

/// Whether a name fits a pattern.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=name.len()).any(|n| matches(rest, &name[n..])),
        [b'*', rest @ ..] => {
            let most = name.iter().position(|c| *c == b'/').unwrap_or(name.len());
            (0..=most).any(|n| matches(rest, &name[n..]))
        }
        [c, rest @ ..] => name.first() == Some(c) && matches(rest, &name[1..]),
    }
}

/// Removes what is beyond its time, of series that are `due`. The caller holds `upkeep`.
pub(crate) fn apply(shared: &Shared, now: i64, due: impl Fn(SeriesId) -> bool) -> Result<()> {
    if shared.retention.is_forever() {
        return Ok(());
    }
    let mut by_keep: BTreeMap<Keep, Vec<SeriesId>> = BTreeMap::new();
    shared.readers.with(|conn| {
        by_keep.clear();
        let sql = "SELECT s.id, t.asset, s.point FROM series s
                   JOIN twins t ON t.twin = s.twin AND t.tenant = s.tenant";
        conn.each(sql, params![], |row| {
            let (series, asset, point): (SeriesId, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if due(series) {
                by_keep.entry(shared.retention.of(&asset, &point)).or_default().push(series);
            }
            Ok(())
        })
    })?;
    for (keep, series) in by_keep {
        for some in series.chunks(AT_ONCE) {
            match remove(shared, some, keep, now) {
                // One of them is at fault: the others do not wait for it.
                Err(StoreError::Damaged { .. }) => each_alone(shared, some, keep, now)?,
                done => done?,
            }
        }
    }
    Ok(())
}

fn remove(shared: &Shared, series: &[SeriesId], keep: Keep, now: i64) -> Result<()> {
    if let Some(days) = keep.raw_days {
        remove_samples(shared, series, before(now, days))?;
    }
    if let Some(days) = keep.rollup_days {
        remove_all(shared, series, before(now, days))?;
    }
    Ok(())
}

/// The same series by series: what is damaged is told and stays.
fn each_alone(shared: &Shared, series: &[SeriesId], keep: Keep, now: i64) -> Result<()> {
    for one in series {
        match remove(shared, std::slice::from_ref(one), keep, now) {
            Err(StoreError::Damaged { what }) => {
                tracing::error!(series = one, what, "what is beyond its time cannot be removed");
            }
            done => done?,
        }
    }
    Ok(())
}

fn before(now: i64, days: u32) -> i64 {
    now.saturating_sub(i64::from(days).saturating_mul(DAY_US))
}

fn remove_samples(shared: &Shared, series: &[SeriesId], before: i64) -> Result<()> {
    seal_old(shared, series, before)?;
    let ids = to_json(&series)?;
    shared.writer.run(move |w| {
        w.change(|tx| {
            let old = |ids| {
                let (old, within) = (old(), tx.dialect().integers_of(ids));
                format!("level = 0 AND class = 9 AND {old} AND series IN ({within})")
            };
            let referred =
                format!("SELECT DISTINCT stamps FROM chunks WHERE stamps IS NOT NULL AND {}", old("?2"));
            let gone = tx.all(&referred, params![before, &ids], |r| r.get::<i64>(0))?;
            let sql = format!("UPDATE chunks SET class = ?2, blob = ?3, stamps = NULL WHERE {}", old("?4"));
            tx.execute(&sql, params![before, REMOVED, [0u8; 0], &ids])?;
            stamps::collect(tx, gone)?;
            waveforms::remove_before(tx, &ids, before)
        })
    })
}

/// Seals small chunks whose samples are about to be removed, so that their roll-ups are there.
fn seal_old(shared: &Shared, series: &[SeriesId], before: i64) -> Result<()> {
    let ids = to_json(&series)?;
    let small = shared.readers.with(|conn| {
        let sql = format!(
            "SELECT DISTINCT series FROM chunks
             WHERE level = 0 AND class < 9 AND t_max < ?1 AND series IN ({})",
            conn.dialect().integers_of("?2")
        );
        conn.all(&sql, params![before, ids], |r| r.get::<SeriesId>(0))
    })?;
    for some in small.chunks(SEALED_AT_ONCE) {
        let merge = shared.readers.with(|conn| Ok(sealed(conn, some, before, shared.limits)))?;
        replace(shared, merge)?;
    }
    Ok(())
}

/// Removes roll-ups, and what is left of the chunks that they were of; from when to when is noted.
fn remove_all(shared: &Shared, series: &[SeriesId], before: i64) -> Result<()> {
    let ids = to_json(&series)?;
    shared.writer.run(move |w| {
        w.change(|tx| {
            let old = format!(
                "((level = 0 AND {}) OR (level IN (1, 2, 3, 4, 5, 6) AND {})) AND series IN ({})",
                old(),
                old_rollups(),
                tx.dialect().integers_of("?2")
            );
            let note = format!(
                "INSERT INTO expired (series, from_us, to_us)
                 SELECT series, min(t_min), max(t_max) + 1 FROM chunks WHERE {old} GROUP BY series
                 ON CONFLICT (series) DO UPDATE SET
                 from_us = CASE WHEN excluded.from_us < expired.from_us THEN excluded.from_us
                           ELSE expired.from_us END,
                 to_us = CASE WHEN excluded.to_us > expired.to_us THEN excluded.to_us ELSE expired.to_us END"
            );
            tx.execute(&note, params![before, ids])?;
            let referred = format!("SELECT DISTINCT stamps FROM chunks WHERE stamps IS NOT NULL AND {old}");
            let gone = tx.all(&referred, params![before, ids], |r| r.get::<i64>(0))?;
            tx.execute(&format!("DELETE FROM chunks WHERE {old}"), params![before, ids])?;
            stamps::collect(tx, gone)
        })
    })
}

/// From when to when nothing is left of a series.
pub(crate) fn removed(conn: &Conn, series: SeriesId) -> Result<Option<(i64, i64)>> {
    let sql = "SELECT from_us, to_us FROM expired WHERE series = ?1";
    conn.first(sql, params![series], |r| Ok((r.get(0)?, r.get(1)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_level_and_two_do_not() {
        let fits = |p: &str, n: &str| matches(p.as_bytes(), n.as_bytes());
        assert!(fits("plant/*/oven/temp", "plant/line1/oven/temp"));
        assert!(!fits("plant/*/temp", "plant/line1/oven/temp"));
        assert!(fits("plant/**/temp", "plant/line1/oven/temp") && fits("**", "plant/line1/oven/temp"));
        assert!(fits("**/vibration_*", "a/b/vibration_x") && !fits("**/vibration_*", "a/b/vibration"));
        assert!(fits("a", "a") && !fits("a", "ab") && !fits("", "a"));
    }

    #[test]
    fn the_first_class_that_fits_counts() {
        let class = |points: &str, days| Class {
            points: vec![points.into()],
            keep: Keep { raw_days: Some(days), rollup_days: None },
        };
        let others = Keep { raw_days: Some(90), rollup_days: None };
        let r = Retention { classes: vec![class("**/a*", 1), class("p/**", 2)], others };
        assert_eq!(r.of("p/oven", "a1").raw_days, Some(1));
        assert_eq!(r.of("p/oven", "b").raw_days, Some(2));
        assert_eq!(r.of("q/oven", "b").raw_days, Some(90));
        assert!(!r.is_forever() && Retention::default().is_forever());
    }
}
