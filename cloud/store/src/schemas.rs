//! Schemas, the twins that they speak of, who feeds which twin since when, and the series of their points.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud_core::{GatewayKey, NewFrame, StoreError};
use common::command::{LogEntry, Severity};
use common::names::action;
use common::{DeviceSchema, PointId, PointSchema, Schema, SchemaHash, TwinId};

use crate::db::{Result, damaged, from_json, from_sql, to_json, to_sql};
use crate::frames::gateway_row;
use crate::log::{self, Entry};
use crate::sql::{Cell, Conn, Kind, Table, Tx, params};
use crate::tail::{NO_SERIES, Numbers, SeriesId};
use crate::writer::{Cache, KnownSchema, Writer};
use crate::{alarms, points};

/// More points than any gateway has; protects the table of numbers.
const MAX_POINTS: usize = 1 << 20;

pub(crate) fn put_schema(
    writer: &mut Writer,
    gateway: &GatewayKey,
    schema: &Schema,
    rank: u64,
    now: i64,
) -> Result<()> {
    if schema.tenant != gateway.tenant || schema.gateway != gateway.gateway {
        let what = format!("the schema is of {}/{}, not of {gateway}", schema.tenant, schema.gateway);
        return Err(StoreError::Conflict { what });
    }
    writer.change_with_cache(|tx, cache| {
        known(tx, cache, schema.hash(), schema, now)?;
        let row = gateway_row(tx, gateway)?;
        if rank > 0 {
            alarms::give_way(tx, row, rank)?;
            speaks(tx, row, rank)?;
        }
        for device in &schema.devices {
            put_twin(tx, gateway, row, device, rank, now)?;
            if rank > 0 {
                bind(tx, gateway, row, device, rank, now)?;
            }
        }
        Ok(())
    })
}

/// Notes the incarnation that has a gateway's name. Last values of another box that had it under a later rank count as from
/// its beginning, as in `cloud_twin::put_schema`.
fn speaks(tx: &Tx<'_>, gateway_row: i64, rank: u64) -> Result<()> {
    let rank = to_sql(rank);
    let known: Option<i64> =
        tx.one("SELECT speaks FROM gateways WHERE id = ?1", params![gateway_row], |r| r.get(0))?;
    if known == Some(rank) {
        return Ok(());
    }
    tx.execute("UPDATE gateways SET speaks = ?2 WHERE id = ?1", params![gateway_row, rank])?;
    let later = "SELECT 1 FROM incarnations WHERE gateway = ?1 AND rank > ?2";
    if tx.exists(later, params![gateway_row, rank])? {
        let sql = "UPDATE last_values SET rank = ?2, seq = 0, idx = 0 WHERE rank > ?2 AND rank IN
                   (SELECT rank FROM incarnations WHERE gateway = ?1)";
        tx.execute(sql, params![gateway_row, rank])?;
    }
    Ok(())
}

/// Whether a gateway feeds a twin now.
fn is_bound(conn: &Conn, gateway_row: i64, twin: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM bindings WHERE twin = ?1 AND gateway = ?2 AND to_us IS NULL";
    conn.exists(sql, params![twin, gateway_row])
}

fn put_twin(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    gateway_row: i64,
    device: &DeviceSchema,
    rank: u64,
    now: i64,
) -> Result<()> {
    let twin = device.twin.to_string();
    let points = to_json(&device.points)?;
    let find = "SELECT tenant, schema_rank, points, asset FROM twins WHERE twin = ?1";
    let found: Option<(String, i64, String, String)> =
        tx.first(find, params![&twin], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let tenant = gateway.tenant.as_str();
    let values = params![twin, tenant, device.asset, device.description, points, to_sql(rank)];
    let sql = match found {
        Some((owner, ..)) if owner != tenant => {
            return Err(StoreError::Conflict { what: format!("twin {twin} is of another tenant") });
        }
        Some(..) if rank == 0 => return Ok(()),
        // Of a later rank of the same gateway: another box, which has its name no more.
        Some((_, known_rank, ..)) if from_sql(known_rank) > rank && !is_bound(tx, gateway_row, &twin)? => {
            return Ok(());
        }
        Some((_, _, old, asset)) => {
            if asset != device.asset {
                let detail =
                    format!("from {asset} to {}, as the gateway {} says", device.asset, gateway.gateway);
                append_change(tx, gateway, gateway_row, action::TWIN_MOVED, device, detail, now)?;
            }
            if old != points {
                let old: Vec<PointSchema> = from_json("a twin's points", &old)?;
                forget_changed(tx, tenant, &twin, &old, &device.points)?;
                points::changed(tx, (tenant, &twin), &old, &device.points, now)?;
            }
            "UPDATE twins SET asset = ?3, description = ?4, points = ?5, schema_rank = ?6
             WHERE twin = ?1 AND tenant = ?2"
        }
        None => {
            "INSERT INTO twins (twin, tenant, asset, description, points, schema_rank)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        }
    };
    tx.execute(sql, values)?;
    Ok(())
}

/// What a gateway's word changed about a twin, for people: whoever has its credential may say so.
fn append_change(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    gateway_row: i64,
    action: &str,
    device: &DeviceSchema,
    detail: String,
    now: i64,
) -> Result<()> {
    let entry = LogEntry {
        at_us: now,
        actor: "system".into(),
        action: action.into(),
        target: device.asset.clone(),
        twin: Some(device.twin),
        severity: Severity::Warning,
        code: None,
        detail,
    };
    let (tenant, gateway, kind) = (gateway.tenant.as_str(), Some(gateway_row), log::AUDIT);
    log::append(tx, &Entry { tenant, gateway, kind, entry: &entry, now })
}

/// A last value keeps its meaning only while type and unit of the point are the same.
fn forget_changed(
    tx: &Tx<'_>,
    tenant: &str,
    twin: &str,
    old: &[PointSchema],
    new: &[PointSchema],
) -> Result<()> {
    let is_kept = |p: &PointSchema| {
        new.iter().any(|q| q.name == p.name && q.value_type == p.value_type && q.unit == p.unit)
    };
    for point in old.iter().filter(|p| !is_kept(p)) {
        let sql = "DELETE FROM last_values WHERE series =
                   (SELECT id FROM series WHERE tenant = ?1 AND twin = ?2 AND point = ?3)";
        tx.execute(sql, params![tenant, twin, &*point.name])?;
    }
    Ok(())
}

/// Binds a twin to a device from `rank` on, unless it is bound already, or to another gateway from a later rank. A later one
/// of the same gateway is of another box that has its name no more.
fn bind(
    tx: &Tx<'_>,
    gateway: &GatewayKey,
    gateway_row: i64,
    device: &DeviceSchema,
    rank: u64,
    now: i64,
) -> Result<()> {
    let twin = device.twin.to_string();
    let open = "SELECT b.gateway, b.device, b.from_rank, g.gateway FROM bindings b
                JOIN gateways g ON g.id = b.gateway WHERE b.twin = ?1 AND b.to_us IS NULL";
    let open: Option<(i64, String, i64, String)> =
        tx.first(open, params![&twin], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let close_device = "UPDATE bindings SET to_us = CASE WHEN from_us > ?3 THEN from_us ELSE ?3 END,
                to_rank = CASE WHEN from_rank > ?4 THEN from_rank + 1 ELSE ?4 END
         WHERE gateway = ?1 AND device = ?2 AND twin <> ?5 AND to_us IS NULL";
    let rank_sql = to_sql(rank);
    let close_others = || tx.execute(close_device, params![gateway_row, device.name, now, rank_sql, twin]);
    match open {
        Some((g, d, ..)) if g == gateway_row && d == device.name => return Ok(()),
        Some((g, _, from, _)) if from_sql(from) > rank && g != gateway_row => {
            close_others()?;
            return Ok(());
        }
        Some((_, old_device, _, old_gateway)) => {
            let detail = format!(
                "from device {old_device} of gateway {old_gateway} to device {} of gateway {}",
                device.name, gateway.gateway
            );
            append_change(tx, gateway, gateway_row, action::TWIN_TAKEN_OVER, device, detail, now)?;
            let close = "UPDATE bindings SET to_us = CASE WHEN from_us > ?2 THEN from_us ELSE ?2 END,
                        to_rank = CASE WHEN from_rank > ?3 THEN from_rank + 1 ELSE ?3 END
                 WHERE twin = ?1 AND to_us IS NULL";
            tx.execute(close, params![twin, now, rank_sql])?;
        }
        None => {}
    }
    close_others()?;
    let add = "INSERT INTO bindings (tenant, twin, gateway, device, from_us, from_rank)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![gateway.tenant.as_str(), twin, gateway_row, device.name, now, rank_sql];
    tx.execute(add, values)?;
    Ok(())
}

/// Whether a gateway feeds a twin or ever did: only then may it speak of it.
pub(crate) fn was_bound(conn: &Conn, gateway_row: i64, twin: TwinId) -> Result<bool> {
    let sql = "SELECT 1 FROM bindings WHERE twin = ?1 AND gateway = ?2";
    conn.exists(sql, params![twin.to_string(), gateway_row])
}

/// The schema that a frame names, stored if it is new.
pub(crate) fn known<'a>(
    tx: &Tx<'_>,
    cache: &'a mut Cache,
    hash: SchemaHash,
    schema: &Schema,
    now: i64,
) -> Result<&'a mut KnownSchema> {
    use std::collections::hash_map::Entry;
    match cache.schemas.entry(hash) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(place) => {
            let json = schema.to_json();
            if Schema::hash_of(&json) != hash {
                return Err(StoreError::Conflict {
                    what: format!("the frame's schema is {hash}, not the one given"),
                });
            }
            let sql = "INSERT INTO schemas (tenant, hash, json, stored_us) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (hash) DO UPDATE SET hash = excluded.hash RETURNING id";
            let row = tx.one(sql, params![schema.tenant.as_str(), hash.0, json, now], |row| row.get(0))?;
            Ok(place.insert(KnownSchema { row, series: Numbers::default() }))
        }
    }
}

/// Counts samples of points that their schema lacks, and tells the first of each schema. They are acknowledged: the gateway
/// would send them for ever.
pub(crate) fn lacks(
    tx: &Tx<'_>,
    (new, gateway_row): (&NewFrame, i64),
    schema_row: i64,
    samples: usize,
    now: i64,
) -> Result<()> {
    if samples == 0 {
        return Ok(());
    }
    let count = "UPDATE lacking SET samples = samples + ?2 WHERE schema = ?1";
    let values = params![schema_row, to_sql(samples as u64)];
    if tx.execute(count, values)? > 0 {
        return Ok(());
    }
    tx.execute("INSERT INTO lacking (schema, samples) VALUES (?1, ?2)", values)?;
    let (gateway, seq) = (&new.gateway.gateway, new.frame.header.seq);
    let schema = new.frame.header.schema;
    tracing::warn!(%gateway, rank = new.rank, seq, samples, %schema, "samples of points that the schema lacks");
    let entry = LogEntry {
        at_us: now,
        actor: "system".into(),
        action: action::DATA_UNKNOWN_POINT.into(),
        target: gateway.to_string(),
        twin: None,
        severity: Severity::Alarm,
        code: None,
        detail: format!(
            "frame {seq} has {samples} samples of points that its schema {schema} lacks: they, and those that follow, are in no history. \
             The gateway's program is at fault: report it with its version, and give the box another one"
        ),
    };
    let tenant = new.gateway.tenant.as_str();
    log::append(tx, &Entry { tenant, gateway: Some(gateway_row), kind: log::EVENT, entry: &entry, now })
}

/// Samples so far of points that their schema lacks.
pub(crate) fn unknown_samples(conn: &Conn) -> Result<u64> {
    let sql = "SELECT CAST(coalesce(sum(samples), 0) AS BIGINT) FROM lacking";
    conn.one(sql, params![], |r| r.get(0)).map(from_sql)
}

/// Reads a stored schema.
pub(crate) fn read(conn: &Conn, row: i64) -> Result<Schema> {
    let sql = "SELECT json FROM schemas WHERE id = ?1";
    let json: Vec<u8> = conn.one(sql, params![row], |r| r.get(0))?;
    serde_json::from_slice(&json).map_err(|e| damaged(format_args!("schema {row}"), e))
}

const SERIES: Table<'static> = Table {
    name: "series",
    columns: &[
        ("tenant", Kind::Text),
        ("twin", Kind::Text),
        ("point", Kind::Text),
        ("unit", Kind::Text),
        ("value_type", Kind::Text),
    ],
    on_conflict: "ON CONFLICT DO NOTHING",
};

/// Asks for the series of these points, and makes those that are new. A number that the schema lacks has none.
pub(crate) fn add_series(
    conn: &Conn,
    known: &mut KnownSchema,
    schema: &Schema,
    points: impl IntoIterator<Item = PointId>,
) -> Result<()> {
    let mut by_twin: BTreeMap<TwinId, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for point in points {
        if let Some((device, named)) = schema.point(point).filter(|_| point.index() < MAX_POINTS) {
            let of_twin = by_twin.entry(device.twin).or_default();
            of_twin.entry(&named.name).or_default().push(point.index());
        }
    }
    for (twin, mut wanted) in by_twin {
        let (tenant, twin) = (schema.tenant.as_str(), twin.to_string());
        take_series(conn, known, (tenant, &twin), &mut wanted)?;
        if !wanted.is_empty() {
            let kinds = wanted.iter().map(|(name, numbers)| kind_of(schema, name, numbers));
            let kinds = kinds.collect::<Result<Vec<_>>>()?;
            let rows =
                kinds.iter().map(|(name, unit, kind)| [tenant, &twin, name, unit, kind].map(Cell::Text));
            conn.insert_all(&SERIES, rows)?;
            take_series(conn, known, (tenant, &twin), &mut wanted)?;
        }
    }
    Ok(())
}

/// Name, unit and type of a new series, by one of its point's numbers.
fn kind_of<'a>(schema: &'a Schema, name: &'a str, numbers: &[usize]) -> Result<(&'a str, &'a str, String)> {
    let number = numbers.first().and_then(|n| u32::try_from(*n).ok());
    let point = number.and_then(|n| schema.point(PointId(n))).map(|(_, point)| point);
    let point =
        point.ok_or_else(|| damaged(format_args!("the schema's point {name}"), "it has no number"))?;
    Ok((name, &point.unit, to_json(&point.value_type)?))
}

/// Notes the series that are there, and takes their points out of `wanted`.
fn take_series(
    conn: &Conn,
    known: &mut KnownSchema,
    (tenant, twin): (&str, &str),
    wanted: &mut BTreeMap<&str, Vec<usize>>,
) -> Result<()> {
    let sql = "SELECT point, id FROM series WHERE tenant = ?1 AND twin = ?2";
    conn.each(sql, params![tenant, twin], |row| {
        let (point, id): (String, SeriesId) = (row.get(0)?, row.get(1)?);
        for index in wanted.remove(&*point).unwrap_or_default() {
            let series = Arc::make_mut(&mut known.series);
            if series.len() <= index {
                series.resize(index + 1, NO_SERIES);
            }
            series[index] = id;
        }
        Ok(())
    })
}

pub(crate) fn known_schemas(conn: &Conn, hashes: &[SchemaHash]) -> Result<Vec<SchemaHash>> {
    let mut out = Vec::new();
    for hash in hashes {
        if conn.exists("SELECT 1 FROM schemas WHERE hash = ?1", params![hash.0])? {
            out.push(*hash);
        }
    }
    Ok(out)
}
