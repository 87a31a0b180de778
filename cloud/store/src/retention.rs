//! How long history is kept, by class of point: first samples go and their roll-ups stay, then these go as well.

use std::collections::BTreeMap;

use crate::Shared;
use crate::bucket::LEVELS;
use crate::compact::REMOVED;
use crate::db::Result;
use crate::merge::{read_chunks, replace, sealed};
use crate::sql::params;
use crate::stamps;
use crate::tail::SeriesId;

const DAY_US: i64 = 86_400_000_000;
/// Series of which something is removed in one transaction.
const AT_ONCE: usize = 200;

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

/// Removes what is beyond its time. The caller holds `upkeep`.
pub(crate) fn apply(shared: &Shared, now: i64) -> Result<()> {
    if shared.retention.is_forever() {
        return Ok(());
    }
    let mut by_keep: BTreeMap<Keep, Vec<SeriesId>> = BTreeMap::new();
    shared.readers.with(|conn| {
        let sql = "SELECT s.id, t.asset, s.point FROM series s
                   JOIN twins t ON t.twin = s.twin AND t.tenant = s.tenant";
        conn.each(sql, params![], |row| {
            let (asset, point): (String, String) = (row.get(1)?, row.get(2)?);
            by_keep.entry(shared.retention.of(&asset, &point)).or_default().push(row.get(0)?);
            Ok(())
        })?;
        Ok(())
    })?;
    for (keep, series) in by_keep {
        for some in series.chunks(AT_ONCE) {
            if let Some(days) = keep.raw_days {
                remove_samples(shared, some, before(now, days))?;
            }
            if let Some(days) = keep.rollup_days {
                remove_all(shared, some, before(now, days))?;
            }
        }
    }
    Ok(())
}

fn before(now: i64, days: u32) -> i64 {
    now.saturating_sub(i64::from(days).saturating_mul(DAY_US))
}

fn remove_samples(shared: &Shared, series: &[SeriesId], before: i64) -> Result<()> {
    for series in series {
        seal_old(shared, *series, before)?;
    }
    let series = series.to_vec();
    shared.writer.run(move |w| {
        w.change(|tx| {
            let referred = "SELECT stamps FROM chunks WHERE series = ?1 AND level = 0 AND class = 9
                            AND t_min < ?2 AND t_max < ?2 AND stamps IS NOT NULL";
            let sql = "UPDATE chunks SET class = ?3, blob = ?4, stamps = NULL
                       WHERE series = ?1 AND level = 0 AND class = 9 AND t_min < ?2 AND t_max < ?2";
            let mut gone = Vec::new();
            for series in series {
                gone.extend(tx.all(referred, params![series, before], |r| r.get::<i64>(0))?);
                tx.execute(sql, params![series, before, REMOVED, [0u8; 0]])?;
            }
            stamps::collect(tx, gone)
        })
    })
}

/// Seals small chunks whose samples are about to be removed, so that their roll-ups are there.
fn seal_old(shared: &Shared, series: SeriesId, before: i64) -> Result<()> {
    let merge = shared.readers.with(|conn| {
        let some =
            "SELECT 1 FROM chunks WHERE series = ?1 AND level = 0 AND class < 9 AND t_max < ?2 LIMIT 1";
        let found = conn.first(some, params![series, before], |_| Ok(()))?;
        if found.is_none() {
            return Ok(None);
        }
        let sql = "SELECT id, stamps, blob FROM chunks
                   WHERE series = ?1 AND level = ?2 AND class < 9 AND t_max < ?3";
        let chunks = read_chunks(conn, sql, params![series, 0i64, before])?;
        let merge = sealed(conn, series, chunks, shared.limits);
        // Upkeep goes on: what cannot be sealed is not removed.
        Ok(merge
            .inspect_err(
                |error| tracing::error!(series, %error, "chunks cannot be sealed: their samples stay"),
            )
            .ok())
    })?;
    merge.map_or(Ok(()), |merge| replace(shared, merge))
}

/// Removes roll-ups, and what is left of the chunks that they were of.
fn remove_all(shared: &Shared, series: &[SeriesId], before: i64) -> Result<()> {
    let series = series.to_vec();
    shared.writer.run(move |w| {
        w.change(|tx| {
            let referred = "SELECT stamps FROM chunks WHERE series = ?1 AND level = 0
                            AND t_min < ?2 AND t_max < ?2 AND stamps IS NOT NULL";
            let sql = "DELETE FROM chunks WHERE series = ?1 AND level = ?2 AND t_min < ?3 AND t_max < ?3";
            let mut gone = Vec::new();
            for series in series {
                gone.extend(tx.all(referred, params![series, before], |r| r.get::<i64>(0))?);
                for level in 0..=LEVELS.len() {
                    let level = i64::try_from(level).unwrap_or(0);
                    tx.execute(sql, params![series, level, before])?;
                }
            }
            stamps::collect(tx, gone)
        })
    })
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
