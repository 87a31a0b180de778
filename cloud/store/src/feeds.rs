//! Who feeds which series' last value.

use std::collections::{HashMap, HashSet};

use crate::db::{Result, from_sql, to_sql};
use crate::frames::load_ranks;
use crate::sql::{Conn, params};
use crate::tail::SeriesId;

/// Which ranks apply to which series' last value: those of the gateway that the twin was bound to then, but for those of another
/// box that has its name no more.
pub(crate) struct Feeds {
    /// Row of each rank's gateway.
    gateways: HashMap<u64, i64>,
    /// By gateway's row: the rank that has its name.
    speaks: HashMap<i64, u64>,
    /// By series: gateway, from, to.
    spans: HashMap<SeriesId, Vec<(i64, u64, Option<u64>)>>,
}

impl Feeds {
    /// For series from the first to the last.
    pub(crate) fn load(conn: &Conn, (first, last): (SeriesId, SeriesId)) -> Result<Self> {
        let gateways = load_ranks(conn)?.into_iter().map(|(rank, .., row)| (rank, row)).collect();
        let mut speaks = HashMap::new();
        conn.each("SELECT id, speaks FROM gateways WHERE speaks IS NOT NULL", params![], |row| {
            speaks.insert(row.get(0)?, from_sql(row.get(1)?));
            Ok(())
        })?;
        let sql = "SELECT s.id, b.gateway, b.from_rank, b.to_rank FROM series s
                   JOIN bindings b ON b.twin = s.twin AND b.tenant = s.tenant WHERE s.id >= ?1 AND s.id <= ?2";
        let mut spans: HashMap<SeriesId, Vec<_>> = HashMap::new();
        conn.each(sql, params![first, last], |row| {
            let to: Option<i64> = row.get(3)?;
            let span = (row.get(1)?, from_sql(row.get(2)?), to.map(from_sql));
            spans.entry(row.get(0)?).or_default().push(span);
            Ok(())
        })?;
        Ok(Self { gateways, speaks, spans })
    }

    pub(crate) fn applies(&self, series: SeriesId, rank: u64) -> bool {
        let Some(gateway) = self.gateways.get(&rank) else { return false };
        if self.speaks.get(gateway).is_some_and(|speaks| rank > *speaks) {
            return false;
        }
        let holds = |(of, from, to): &(i64, u64, Option<u64>)| {
            of == gateway && *from <= rank && to.is_none_or(|to| rank < to)
        };
        self.spans.get(&series).is_some_and(|spans| spans.iter().any(holds))
    }
}

/// Those of some ranks that are of a box that has its gateway's name no more.
pub(crate) fn silent(tx: &Conn, ranks: impl IntoIterator<Item = u64>) -> Result<HashSet<u64>> {
    let sql = "SELECT 1 FROM incarnations i JOIN gateways g ON g.id = i.gateway WHERE i.rank = ?1 AND g.speaks < i.rank";
    let mut silent = HashSet::new();
    for rank in ranks {
        if tx.exists(sql, params![to_sql(rank)])? {
            silent.insert(rank);
        }
    }
    Ok(silent)
}
