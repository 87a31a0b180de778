//! What the live state starts from: twins with their last compacted and their desired values.

use std::collections::HashMap;

use cloud_core::storage::Loaded;
use cloud_core::{PointState, Position, TwinState};
use common::api::DesiredView;
use common::{PointSchema, TwinId};

use crate::codec;
use crate::db::{Result, damaged, from_json, from_sql};
use crate::frames::{gateway_key, load_ranks};
use crate::sql::{Conn, params};

pub(crate) fn load(conn: &Conn) -> Result<Loaded> {
    // One transaction: all of it as of one moment.
    let tx = conn.read()?;
    let mut loaded = Loaded::default();
    tx.each("SELECT id, json FROM schemas ORDER BY id", params![], |row| {
        let id: i64 = row.get(0)?;
        let json: Vec<u8> = row.get(1)?;
        loaded
            .schemas
            .push(serde_json::from_slice(&json).map_err(|e| damaged(format_args!("schema {id}"), e))?);
        Ok(())
    })?;
    loaded.ranks = load_ranks(&tx)?.into_iter().map(|(rank, i, ..)| (i, rank)).collect();
    let sql = "SELECT tenant, gateway, last_us FROM gateways WHERE last_us IS NOT NULL ORDER BY id";
    tx.each(sql, params![], |row| {
        let key = gateway_key(row.get(0)?, row.get(1)?)?;
        loaded.gateways.push((key, row.get(2)?));
        Ok(())
    })?;
    let sql = "SELECT tenant, gateway, speaks FROM gateways WHERE speaks IS NOT NULL ORDER BY id";
    tx.each(sql, params![], |row| {
        loaded.speaks.push((gateway_key(row.get(0)?, row.get(1)?)?, from_sql(row.get(2)?)));
        Ok(())
    })?;
    loaded.twins = twins(&tx)?;
    add_last_values(&tx, &mut loaded.twins)?;
    add_desired(&tx, &mut loaded.twins)?;
    Ok(loaded)
}

fn twins(conn: &Conn) -> Result<Vec<TwinState>> {
    let sql = "SELECT t.twin, t.asset, t.description, t.points, t.desired_version,
                      g.gateway, b.device,
                      coalesce(b.from_rank, (SELECT max(from_rank) FROM bindings o WHERE o.twin = t.twin))
               FROM twins t
               LEFT JOIN bindings b ON b.twin = t.twin AND b.to_us IS NULL
               LEFT JOIN gateways g ON g.id = b.gateway ORDER BY t.twin";
    let mut out = Vec::new();
    conn.each(sql, params![], |row| {
        let id: String = row.get(0)?;
        let points: String = row.get(3)?;
        let points: Vec<PointSchema> = from_json("a twin's points", &points)?;
        let points: Vec<_> = points.into_iter().map(PointState::new).collect();
        let gateway: Option<String> = row.get(5)?;
        let device: Option<String> = row.get(6)?;
        let from_rank: Option<i64> = row.get(7)?;
        let binding = match gateway.zip(device) {
            Some((g, d)) => Some((g.parse().map_err(|e| damaged("a gateway's name", e))?, d)),
            None => None,
        };
        out.push(TwinState {
            id: twin_id(&id)?,
            asset: row.get(1)?,
            description: row.get(2)?,
            binding,
            bound_from: from_sql(from_rank.unwrap_or(0)),
            online: false,
            desired_version: from_sql(row.get(4)?),
            index: points.iter().enumerate().map(|(i, p)| (p.schema.name.clone(), i)).collect(),
            points,
        });
        Ok(())
    })?;
    Ok(out)
}

fn twin_id(text: &str) -> Result<TwinId> {
    text.parse().map_err(|e| damaged("a twin's id", e))
}

fn add_last_values(conn: &Conn, twins: &mut [TwinState]) -> Result<()> {
    let index: HashMap<TwinId, usize> = twins.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
    let sql = "SELECT s.twin, s.point, l.blob, l.rank, l.seq, l.idx FROM last_values l
               JOIN series s ON s.id = l.series JOIN twins t ON t.twin = s.twin AND t.tenant = s.tenant";
    conn.each(sql, params![], |row| {
        let twin: String = row.get(0)?;
        let point: String = row.get(1)?;
        let blob: Vec<u8> = row.get(2)?;
        let Some(target) =
            index.get(&twin_id(&twin)?).and_then(|i| twins.get_mut(*i)).and_then(|t| t.point_mut(&point))
        else {
            return Ok(()); // the twin has the point no longer
        };
        let what = || format!("the last value of {twin}/{point}");
        let last = codec::decode_rows(&blob, None).map_err(|e| damaged(what(), e))?.pop();
        let last = last.ok_or_else(|| damaged(what(), "empty"))?;
        if last.value.as_ref().is_some_and(|v| v.value_type() != target.schema.value_type) {
            return Ok(()); // of an older schema
        }
        let (rank, seq, index): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let index = u32::try_from(index).map_err(|e| damaged(what(), e))?;
        // Not that of the row: another box's gave way.
        target.position = Position { rank: from_sql(rank), seq: from_sql(seq), index };
        target.value = last.value;
        target.quality = last.quality;
        target.source_us = last.t;
        target.received_us = last.received;
        Ok(())
    })?;
    Ok(())
}

fn add_desired(conn: &Conn, twins: &mut [TwinState]) -> Result<()> {
    let index: HashMap<TwinId, usize> = twins.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
    conn.each("SELECT twin, point, view FROM desired", params![], |row| {
        let twin: String = row.get(0)?;
        let point: String = row.get(1)?;
        let view: String = row.get(2)?;
        let view: DesiredView = from_json("a desired value", &view)?;
        if let Some(target) =
            index.get(&twin_id(&twin)?).and_then(|i| twins.get_mut(*i)).and_then(|t| t.point_mut(&point))
        {
            target.desired = Some(view);
        }
        Ok(())
    })?;
    Ok(())
}
