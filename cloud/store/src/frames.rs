//! Accepting: incarnations and their ranks, frames with their marks, and what else a frame changes, all in one
//! transaction. Also reading back what is accepted and not compacted.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use cloud_core::storage::KnownIncarnation;
use cloud_core::{GatewayKey, NewFrame, Position, StoreError};
use common::api::CommandView;
use common::command::CommandUpdate;
use common::wire::{Body, Frame};
use common::{Incarnation, IntervalSet, Schema, SchemaHash};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::codec::Row;
use crate::db::{Result, damaged, db, from_sql, to_sql};
use crate::log::{self, Entry};
use crate::tail::{FrameKey, SeriesId, Tail};
use crate::writer::{Cache, KnownSchema, NO_SERIES, Rank, Writer};
use crate::{alarms, commands, desired, schemas};

/// The last word of a gateway is stored at most this often.
const LAST_WORD_EVERY_US: i64 = 1_000_000;

/// Ranks, marks, and nothing of schemas: those are read when a frame names them.
pub(crate) fn load_cache(conn: &Connection) -> Result<Cache> {
    let mut cache = Cache::default();
    for (rank, incarnation, gateway, gateway_row) in load_ranks(conn)? {
        cache.ranks.insert(rank, Rank { incarnation, gateway, gateway_row });
    }
    let mut marks = conn.prepare("SELECT rank, first, last FROM marks").map_err(db)?;
    let mut rows = marks.query([]).map_err(db)?;
    while let Some(row) = rows.next().map_err(db)? {
        let rank: i64 = row.get(0).map_err(db)?;
        let (first, last): (i64, i64) = (row.get(1).map_err(db)?, row.get(2).map_err(db)?);
        cache.marks.entry(from_sql(rank)).or_default().insert_range(from_sql(first), from_sql(last));
    }
    Ok(cache)
}

/// An incarnation: rank, itself, its gateway, that one's row.
pub(crate) type RankRow = (u64, Incarnation, Arc<GatewayKey>, i64);

/// Every incarnation by rank.
pub(crate) fn load_ranks(conn: &Connection) -> Result<Vec<RankRow>> {
    let sql = "SELECT i.rank, i.incarnation, g.id, g.tenant, g.gateway FROM incarnations i
               JOIN gateways g ON g.id = i.gateway ORDER BY i.rank";
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let mut rows = statement.query([]).map_err(db)?;
    let mut keys: HashMap<i64, Arc<GatewayKey>> = HashMap::new();
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(db)? {
        let rank: i64 = row.get(0).map_err(db)?;
        let incarnation: [u8; 16] = row.get(1).map_err(db)?;
        let id: i64 = row.get(2).map_err(db)?;
        let key = match keys.get(&id) {
            Some(key) => Arc::clone(key),
            None => {
                let key = Arc::new(gateway_key(row.get(3).map_err(db)?, row.get(4).map_err(db)?)?);
                keys.insert(id, Arc::clone(&key));
                key
            }
        };
        out.push((from_sql(rank), Incarnation(u128::from_be_bytes(incarnation)), key, id));
    }
    Ok(out)
}

pub(crate) fn gateway_key(tenant: String, gateway: String) -> Result<GatewayKey> {
    Ok(GatewayKey {
        tenant: tenant.parse().map_err(|e| damaged("a tenant's name", e))?,
        gateway: gateway.parse().map_err(|e| damaged("a gateway's name", e))?,
    })
}

/// Row of a gateway, made if it is new.
pub(crate) fn gateway_row(tx: &Transaction<'_>, key: &GatewayKey) -> Result<i64> {
    let sql = "INSERT INTO gateways (tenant, gateway) VALUES (?1, ?2)
               ON CONFLICT (tenant, gateway) DO UPDATE SET tenant = tenant RETURNING id";
    let mut statement = tx.prepare_cached(sql).map_err(db)?;
    statement.query_row(params![key.tenant.as_str(), key.gateway.as_str()], |row| row.get(0)).map_err(db)
}

pub(crate) fn hello(
    writer: &mut Writer,
    gateway: &GatewayKey,
    incarnations: &[Incarnation],
) -> Result<Vec<KnownIncarnation>> {
    let now = writer.clock.now_us();
    writer.change_with_cache(|tx, cache| {
        let row = gateway_row(tx, gateway)?;
        touch(tx, cache, row, now)?;
        let key = Arc::new(gateway.clone());
        let mut known = Vec::new();
        for incarnation in incarnations {
            let id = incarnation.0.to_be_bytes();
            let find = "SELECT rank, gateway FROM incarnations WHERE incarnation = ?1";
            let mut find = tx.prepare_cached(find).map_err(db)?;
            let found: Option<(i64, i64)> =
                find.query_row([id], |r| Ok((r.get(0)?, r.get(1)?))).optional().map_err(db)?;
            let rank = match found {
                Some((rank, owner)) if owner == row => rank,
                Some(_) => {
                    let what = format!("incarnation {incarnation} is of another gateway");
                    return Err(StoreError::Conflict { what });
                }
                None => {
                    let add = "INSERT INTO incarnations (incarnation, gateway, seen_us) VALUES (?1, ?2, ?3)";
                    tx.prepare_cached(add).and_then(|mut s| s.insert(params![id, row, now])).map_err(db)?
                }
            };
            let rank = from_sql(rank);
            let as_rank = || Rank { incarnation: *incarnation, gateway: Arc::clone(&key), gateway_row: row };
            cache.ranks.entry(rank).or_insert_with(as_rank);
            let seqs = cache.marks.get(&rank).cloned().unwrap_or_default();
            known.push(KnownIncarnation { incarnation: *incarnation, rank, seqs });
        }
        Ok(known)
    })
}

fn touch(tx: &Transaction<'_>, cache: &mut Cache, gateway_row: i64, now: i64) -> Result<()> {
    let last = cache.last_us.entry(gateway_row).or_insert(i64::MIN);
    if now.saturating_sub(*last) < LAST_WORD_EVERY_US {
        return Ok(());
    }
    *last = now;
    let sql = "UPDATE gateways SET last_us = max(coalesce(last_us, ?2), ?2) WHERE id = ?1";
    tx.prepare_cached(sql).and_then(|mut s| s.execute(params![gateway_row, now])).map_err(db)?;
    Ok(())
}

/// What is stored in one transaction with others.
pub(crate) enum Item<'a> {
    Frames(&'a [NewFrame]),
    /// A step of a command that the cloud takes.
    Step(&'a CommandUpdate),
}

/// What became of an item.
pub(crate) enum Stored {
    /// For each frame, whether it was new.
    Frames(Vec<bool>),
    /// The command as it is then.
    Step(Box<CommandView>),
}

/// Stores items in one transaction.
pub(crate) fn store(writer: &mut Writer, items: &[Item<'_>]) -> Result<Vec<Stored>> {
    let now = writer.clock.now_us();
    let mut tail: Vec<(FrameKey, Vec<(SeriesId, Row)>)> = Vec::new();
    let results = writer.change_with_cache(|tx, cache| {
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            results.push(match item {
                Item::Frames(frames) => {
                    let one = |frame| accept_one(tx, cache, frame, now, &mut tail);
                    Stored::Frames(frames.iter().map(one).collect::<Result<_>>()?)
                }
                Item::Step(update) => Stored::Step(Box::new(commands::update(tx, update, now)?)),
            });
        }
        Ok(results)
    })?;
    let mut shared = writer.tail.write().unwrap_or_else(PoisonError::into_inner);
    for (key, rows) in tail {
        shared.add(key, rows);
    }
    Ok(results)
}

fn accept_one(
    tx: &Transaction<'_>,
    cache: &mut Cache,
    new: &NewFrame,
    now: i64,
    tail: &mut Vec<(FrameKey, Vec<(SeriesId, Row)>)>,
) -> Result<bool> {
    let header = &new.frame.header;
    let not_said = || StoreError::NotFound {
        what: format!("rank {} of incarnation {} of {}", new.rank, header.incarnation, new.gateway),
    };
    let rank = cache.ranks.get(&new.rank).ok_or_else(not_said)?;
    if rank.incarnation != header.incarnation || *rank.gateway != *new.gateway {
        return Err(not_said());
    }
    let gateway_row = rank.gateway_row;
    if !mark(tx, cache.marks.entry(new.rank).or_default(), new.rank, header.seq)? {
        return Ok(false);
    }
    touch(tx, cache, gateway_row, new.received_us)?;
    let schema_row = schemas::known(tx, cache, header.schema, &new.schema, now)?.row;
    let sql =
        "INSERT INTO frames (rank, seq, schema, kind, received_us, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let kind = kind_of(&new.frame.body);
    tx.prepare_cached(sql)
        .and_then(|mut s| {
            let bytes = &new.bytes[..];
            s.execute(params![to_sql(new.rank), to_sql(header.seq), schema_row, kind, new.received_us, bytes])
        })
        .map_err(db)?;
    let rows = match &new.frame.body {
        Body::Samples(_) => {
            let schema = schemas::known(tx, cache, header.schema, &new.schema, now)?;
            tail_rows(tx, schema, &new.schema, new.rank, &new.frame)?
        }
        body => {
            apply(tx, new, gateway_row, body, now)?;
            Vec::new()
        }
    };
    tail.push(((new.rank, header.seq), rows));
    Ok(true)
}

/// What a frame changes beside the history.
fn apply(tx: &Transaction<'_>, new: &NewFrame, gateway_row: i64, body: &Body, now: i64) -> Result<()> {
    let tenant = new.gateway.tenant.as_str();
    let is_ours = |twin| schemas::was_bound(tx, gateway_row, twin);
    match body {
        Body::Samples(_) => Ok(()),
        Body::Command(update) if is_ours(update.twin)? => match commands::update(tx, update, now) {
            // One gateway's wrong word must not keep out the frames of others.
            Err(StoreError::Conflict { what } | StoreError::NotFound { what }) => {
                tracing::warn!(gateway = %new.gateway, what, "a command's step does not fit");
                log::append_refused(tx, &new.gateway, gateway_row, update.twin, now)
            }
            result => result.map(|_| ()),
        },
        Body::Desired(update) if is_ours(update.twin)? => {
            desired::update(tx, update, Some((new.rank, new.frame.header.seq)))?;
            Ok(())
        }
        // Its identity is made of what it belongs to, so that nobody speaks under another's.
        Body::Alarm(alarm)
            if is_ours(alarm.twin)?
                && alarm.id == common::AlarmId::derived(alarm.twin, &alarm.point, &alarm.name) =>
        {
            alarms::put(tx, tenant, alarm, (new.rank, new.frame.header.seq), now)?;
            let kind = if alarm.actor == "system" { log::EVENT } else { log::AUDIT };
            log::append(tx, &Entry { tenant, gateway: Some(gateway_row), kind, entry: &alarm.entry(), now })
        }
        Body::Alarm(alarm) => {
            tracing::warn!(gateway = %new.gateway, twin = %alarm.twin, "a gateway spoke of an alarm not its own");
            log::append_refused(tx, &new.gateway, gateway_row, alarm.twin, now)
        }
        Body::Command(common::command::CommandUpdate { twin, .. })
        | Body::Desired(common::command::DesiredUpdate { twin, .. }) => {
            tracing::warn!(gateway = %new.gateway, %twin, "a gateway spoke of a twin that it never fed");
            log::append_refused(tx, &new.gateway, gateway_row, *twin, now)
        }
        Body::Event(entry) | Body::Audit(entry) => {
            let mut entry = entry.clone();
            if let Some(twin) = entry.twin
                && !is_ours(twin)?
            {
                entry.twin = None;
            }
            if entry.twin.is_none() {
                // What a box calls `gateway` or `switch` says nothing beside other boxes.
                entry.target = format!("{}/{}", new.gateway.gateway, entry.target);
            }
            let kind = if matches!(body, Body::Audit(_)) { log::AUDIT } else { log::EVENT };
            log::append(tx, &Entry { tenant, gateway: Some(gateway_row), kind, entry: &entry, now })
        }
        Body::Gap(gap) => {
            let entry = gap.entry(&new.gateway.gateway, new.frame.header.cut_us);
            let kind = log::EVENT;
            log::append(tx, &Entry { tenant, gateway: Some(gateway_row), kind, entry: &entry, now })
        }
    }
}

fn kind_of(body: &Body) -> i64 {
    match body {
        Body::Samples(_) => 1,
        Body::Event(_) | Body::Alarm(_) => 3,
        Body::Command(_) => 4,
        Body::Audit(_) => 5,
        Body::Gap(_) => 6,
        Body::Desired(_) => 7,
    }
}

/// Adds a sequence to the marks, here and in the table; false if it was there.
pub(crate) fn mark(tx: &Transaction<'_>, seqs: &mut IntervalSet, rank: u64, seq: u64) -> Result<bool> {
    if seqs.contains(seq) {
        return Ok(false);
    }
    let left = seq.checked_sub(1).and_then(|n| seqs.run_of(n));
    let right = seq.checked_add(1).and_then(|n| seqs.run_of(n));
    let run = |sql: &str, values: &[i64]| {
        tx.prepare_cached(sql).and_then(|mut s| s.execute(rusqlite::params_from_iter(values))).map_err(db)
    };
    let rank = to_sql(rank);
    let extend = "UPDATE marks SET last = ?3 WHERE rank = ?1 AND first = ?2";
    let remove = "DELETE FROM marks WHERE rank = ?1 AND first = ?2";
    let add = "INSERT INTO marks (rank, first, last) VALUES (?1, ?2, ?3)";
    if let Some((first, _)) = right {
        run(remove, &[rank, to_sql(first)])?;
    }
    let last = to_sql(right.map_or(seq, |(_, last)| last));
    match left {
        Some((first, _)) => run(extend, &[rank, to_sql(first), last])?,
        None => run(add, &[rank, to_sql(seq), last])?,
    };
    seqs.insert(seq);
    Ok(true)
}

/// The samples of a frame under their series. A number that the schema lacks has none.
fn tail_rows(
    tx: &Connection,
    known: &mut KnownSchema,
    schema: &Schema,
    rank: u64,
    frame: &Frame,
) -> Result<Vec<(SeriesId, Row)>> {
    let Body::Samples(samples) = &frame.body else { return Ok(Vec::new()) };
    let mut rows = Vec::with_capacity(samples.len());
    let mut unknown = 0usize;
    for (index, sample) in (0u32..).zip(samples) {
        let series = match known.series.get(sample.point.index()) {
            Some(&NO_SERIES) | None => match schemas::series(tx, known, schema, sample.point)? {
                Some(series) => series,
                None => {
                    unknown += 1;
                    continue;
                }
            },
            Some(&series) => series,
        };
        let row = Row {
            t: sample.source_us,
            received: sample.received_us,
            at: Position { rank, seq: frame.header.seq, index },
            quality: sample.quality,
            value: sample.value.clone(),
        };
        rows.push((series, row));
    }
    if unknown > 0 {
        tracing::warn!(rank, seq = frame.header.seq, unknown, "samples of points that the schema lacks");
    }
    Ok(rows)
}

/// The tail as the stored frames say, when the database is opened.
pub(crate) fn rebuild_tail(conn: &Connection, tail: &mut Tail) -> Result<()> {
    let mut known: HashMap<SchemaHash, KnownSchema> = HashMap::new();
    let mut after = None;
    loop {
        let batch = uncompacted(conn, after, 256)?;
        let Some(last) = batch.last() else { return Ok(()) };
        after = Some((last.rank, last.frame.header.seq));
        for new in batch {
            let hash = new.frame.header.schema;
            let schema = known.entry(hash).or_insert_with(|| KnownSchema { row: 0, series: Vec::new() });
            let rows = tail_rows(conn, schema, &new.schema, new.rank, &new.frame)?;
            tail.add((new.rank, new.frame.header.seq), rows);
        }
    }
}

pub(crate) fn uncompacted(
    conn: &Connection,
    after: Option<(u64, u64)>,
    limit: usize,
) -> Result<Vec<NewFrame>> {
    let sql = "SELECT f.rank, f.seq, f.received_us, f.bytes, f.schema, g.tenant, g.gateway FROM frames f
               JOIN incarnations i ON i.rank = f.rank JOIN gateways g ON g.id = i.gateway
               WHERE (f.rank, f.seq) > (?1, ?2) ORDER BY f.rank, f.seq LIMIT ?3";
    // Ranks start at 1.
    let (rank, seq) = after.map_or((0, i64::MAX), |(rank, seq)| (to_sql(rank), to_sql(seq)));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let mut rows = statement.query(params![rank, seq, limit]).map_err(db)?;
    let mut schemas: HashMap<i64, Arc<Schema>> = HashMap::new();
    let mut gateways: HashMap<u64, Arc<GatewayKey>> = HashMap::new();
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(db)? {
        let rank = from_sql(row.get(0).map_err(db)?);
        let seq: i64 = row.get(1).map_err(db)?;
        let bytes: Vec<u8> = row.get(3).map_err(db)?;
        let frame = Frame::decode(&bytes).map_err(|e| damaged(format_args!("frame {rank}/{seq}"), e))?;
        let schema_row: i64 = row.get(4).map_err(db)?;
        let schema = match schemas.get(&schema_row) {
            Some(schema) => Arc::clone(schema),
            None => {
                let schema = Arc::new(schemas::read(conn, schema_row)?);
                schemas.insert(schema_row, Arc::clone(&schema));
                schema
            }
        };
        let gateway = match gateways.get(&rank) {
            Some(gateway) => Arc::clone(gateway),
            None => {
                let key = Arc::new(gateway_key(row.get(5).map_err(db)?, row.get(6).map_err(db)?)?);
                gateways.insert(rank, Arc::clone(&key));
                key
            }
        };
        out.push(NewFrame {
            gateway,
            rank,
            frame: Arc::new(frame),
            bytes: bytes.into(),
            schema,
            received_us: row.get(2).map_err(db)?,
        });
    }
    Ok(out)
}
