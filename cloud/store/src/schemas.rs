//! Schemas, the twins that they speak of, who feeds which twin since when, and the series of their points.

use cloud_core::{GatewayKey, StoreError};
use common::command::{LogEntry, Severity};
use common::names::action;
use common::{DeviceSchema, PointId, PointSchema, Schema, SchemaHash, TwinId};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::db::{Result, damaged, db, from_json, from_sql, to_json, to_sql};
use crate::frames::gateway_row;
use crate::log::{self, Entry};
use crate::tail::SeriesId;
use crate::writer::{Cache, KnownSchema, NO_SERIES, Writer};

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
        for device in &schema.devices {
            put_twin(tx, gateway, row, device, rank, now)?;
            if rank > 0 {
                bind(tx, gateway, row, device, rank, now)?;
            }
        }
        Ok(())
    })
}

fn put_twin(
    tx: &Transaction<'_>,
    gateway: &GatewayKey,
    gateway_row: i64,
    device: &DeviceSchema,
    rank: u64,
    now: i64,
) -> Result<()> {
    let twin = device.twin.to_string();
    let points = to_json(&device.points)?;
    let find = "SELECT tenant, schema_rank, points, asset FROM twins WHERE twin = ?1";
    let found: Option<(String, i64, String, String)> = tx
        .prepare_cached(find)
        .and_then(|mut s| {
            s.query_row([&twin], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).optional()
        })
        .map_err(db)?;
    let tenant = gateway.tenant.as_str();
    let values = params![twin, tenant, device.asset, device.description, points, to_sql(rank)];
    let sql = match found {
        Some((owner, ..)) if owner != tenant => {
            return Err(StoreError::Conflict { what: format!("twin {twin} is of another tenant") });
        }
        Some((_, known_rank, ..)) if rank == 0 || from_sql(known_rank) > rank => return Ok(()),
        Some((_, _, old, asset)) => {
            if asset != device.asset {
                let detail =
                    format!("from {asset} to {}, as the gateway {} says", device.asset, gateway.gateway);
                append_change(tx, gateway, gateway_row, action::TWIN_MOVED, device, detail, now)?;
            }
            if old != points {
                let old: Vec<PointSchema> = from_json("a twin's points", &old)?;
                forget_changed(tx, tenant, &twin, &old, &device.points)?;
            }
            "UPDATE twins SET asset = ?3, description = ?4, points = ?5, schema_rank = ?6
             WHERE twin = ?1 AND tenant = ?2"
        }
        None => {
            "INSERT INTO twins (twin, tenant, asset, description, points, schema_rank)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        }
    };
    tx.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(db)?;
    Ok(())
}

/// What a gateway's word changed about a twin, for people: whoever has its credential may say so.
fn append_change(
    tx: &Transaction<'_>,
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
    tx: &Transaction<'_>,
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
        tx.prepare_cached(sql).and_then(|mut s| s.execute(params![tenant, twin, point.name])).map_err(db)?;
    }
    Ok(())
}

/// Binds a twin to a device from `rank` on, unless it is bound already or from a later rank.
fn bind(
    tx: &Transaction<'_>,
    gateway: &GatewayKey,
    gateway_row: i64,
    device: &DeviceSchema,
    rank: u64,
    now: i64,
) -> Result<()> {
    let twin = device.twin.to_string();
    let open = "SELECT b.gateway, b.device, b.from_rank, g.gateway FROM bindings b
                JOIN gateways g ON g.id = b.gateway WHERE b.twin = ?1 AND b.to_us IS NULL";
    let open: Option<(i64, String, i64, String)> = tx
        .prepare_cached(open)
        .and_then(|mut s| {
            s.query_row([&twin], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).optional()
        })
        .map_err(db)?;
    let close_device = "UPDATE bindings SET to_us = max(?3, from_us), to_rank = ?4
        WHERE gateway = ?1 AND device = ?2 AND twin <> ?5 AND to_us IS NULL AND from_rank <= ?4";
    let rank_sql = to_sql(rank);
    let close_others = || {
        tx.prepare_cached(close_device)
            .and_then(|mut s| s.execute(params![gateway_row, device.name, now, rank_sql, twin]))
            .map_err(db)
    };
    match open {
        Some((g, d, ..)) if g == gateway_row && d == device.name => return Ok(()),
        Some((_, _, from, _)) if from_sql(from) > rank => {
            close_others()?;
            return Ok(());
        }
        Some((_, old_device, _, old_gateway)) => {
            let detail = format!(
                "from device {old_device} of gateway {old_gateway} to device {} of gateway {}",
                device.name, gateway.gateway
            );
            append_change(tx, gateway, gateway_row, action::TWIN_TAKEN_OVER, device, detail, now)?;
            let close = "UPDATE bindings SET to_us = max(?2, from_us), to_rank = ?3
                         WHERE twin = ?1 AND to_us IS NULL";
            tx.prepare_cached(close).and_then(|mut s| s.execute(params![twin, now, rank_sql])).map_err(db)?;
        }
        None => {}
    }
    close_others()?;
    let still = "SELECT 1 FROM bindings WHERE gateway = ?1 AND device = ?2 AND to_us IS NULL";
    let is_taken =
        tx.prepare_cached(still).and_then(|mut s| s.exists(params![gateway_row, device.name])).map_err(db)?;
    if is_taken {
        return Ok(()); // the device feeds another twin since a later rank
    }
    let add = "INSERT INTO bindings (tenant, twin, gateway, device, from_us, from_rank)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![gateway.tenant.as_str(), twin, gateway_row, device.name, now, rank_sql];
    tx.prepare_cached(add).and_then(|mut s| s.execute(values)).map_err(db)?;
    Ok(())
}

/// Whether a gateway feeds a twin or ever did: only then may it speak of it.
pub(crate) fn was_bound(conn: &Connection, gateway_row: i64, twin: TwinId) -> Result<bool> {
    let sql = "SELECT 1 FROM bindings WHERE twin = ?1 AND gateway = ?2";
    conn.prepare_cached(sql).and_then(|mut s| s.exists(params![twin.to_string(), gateway_row])).map_err(db)
}

/// The schema that a frame names, stored if it is new.
pub(crate) fn known<'a>(
    tx: &Transaction<'_>,
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
                       ON CONFLICT (hash) DO UPDATE SET hash = hash RETURNING id";
            let row = tx
                .prepare_cached(sql)
                .and_then(|mut s| {
                    s.query_row(params![schema.tenant.as_str(), hash.0, json, now], |row| row.get(0))
                })
                .map_err(db)?;
            Ok(place.insert(KnownSchema { row, series: Vec::new() }))
        }
    }
}

/// Reads a stored schema.
pub(crate) fn read(conn: &Connection, row: i64) -> Result<Schema> {
    let sql = "SELECT json FROM schemas WHERE id = ?1";
    let json: Vec<u8> =
        conn.prepare_cached(sql).and_then(|mut s| s.query_row([row], |r| r.get(0))).map_err(db)?;
    serde_json::from_slice(&json).map_err(|e| damaged(format_args!("schema {row}"), e))
}

/// The series of a point, made if it is new; none for a number that the schema lacks.
pub(crate) fn series(
    conn: &Connection,
    known: &mut KnownSchema,
    schema: &Schema,
    point: PointId,
) -> Result<Option<SeriesId>> {
    let Some((device, named)) = schema.point(point).filter(|_| point.index() < MAX_POINTS) else {
        return Ok(None);
    };
    let key = params![schema.tenant.as_str(), device.twin.to_string(), named.name];
    let find = "SELECT id FROM series WHERE tenant = ?1 AND twin = ?2 AND point = ?3";
    let found = conn.prepare_cached(find).and_then(|mut s| s.query_row(key, |r| r.get(0)).optional());
    let id = match found.map_err(db)? {
        Some(id) => id,
        None => {
            let add = "INSERT INTO series (tenant, twin, point) VALUES (?1, ?2, ?3)";
            conn.prepare_cached(add).and_then(|mut s| s.insert(key)).map_err(db)?
        }
    };
    if known.series.len() <= point.index() {
        known.series.resize(point.index() + 1, NO_SERIES);
    }
    known.series[point.index()] = id;
    Ok(Some(id))
}

pub(crate) fn known_schemas(conn: &Connection, hashes: &[SchemaHash]) -> Result<Vec<SchemaHash>> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM schemas WHERE hash = ?1").map_err(db)?;
    let mut out = Vec::new();
    for hash in hashes {
        if statement.exists([hash.0]).map_err(db)? {
            out.push(*hash);
        }
    }
    Ok(out)
}
