//! Accepting: incarnations and their ranks, frames with their marks, and what else a frame changes, all in one
//! transaction. Also reading back what is accepted and not compacted.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use cloud_core::storage::KnownIncarnation;
use cloud_core::{GatewayKey, NewFrame, StoreError};
use common::api::{CommandView, GapReason};
use common::command::CommandUpdate;
use common::wire::{Body, Frame};
use common::{Incarnation, Opening, Sample, Schema, SchemaHash};

use crate::db::{Result, damaged, from_sql, refused, to_sql};
use crate::log::{self, Entry};
use crate::marks::Pending;
use crate::sql::{Commit, Conn, Tx, params};
use crate::tail::{FrameKey, NO_SERIES, Numbers, Tail, Waiting};
use crate::writer::{Cache, KnownSchema, Rank, Writer};
use crate::{alarms, boxes, commands, damage, desired, gaps, schemas, waveforms};

/// The last word of a gateway is stored at most this often.
const LAST_WORD_EVERY_US: i64 = 1_000_000;

/// Ranks, marks, and nothing of schemas: those are read when a frame names them.
pub(crate) fn load_cache(conn: &Conn) -> Result<Cache> {
    let mut cache = Cache::default();
    for (rank, incarnation, gateway, gateway_row) in load_ranks(conn)? {
        cache.ranks.insert(rank, Rank { incarnation, gateway, gateway_row });
    }
    conn.each("SELECT rank, first, last FROM marks", params![], |row| {
        let rank: i64 = row.get(0)?;
        let (first, last): (i64, i64) = (row.get(1)?, row.get(2)?);
        cache.marks.entry(from_sql(rank)).or_default().insert_range(from_sql(first), from_sql(last));
        Ok(())
    })?;
    Ok(cache)
}

/// An incarnation: rank, itself, its gateway, that one's row.
pub(crate) type RankRow = (u64, Incarnation, Arc<GatewayKey>, i64);

/// Every incarnation by rank.
pub(crate) fn load_ranks(conn: &Conn) -> Result<Vec<RankRow>> {
    let sql = "SELECT i.rank, i.incarnation, g.id, g.tenant, g.gateway FROM incarnations i
               JOIN gateways g ON g.id = i.gateway ORDER BY i.rank";
    let mut keys: HashMap<i64, Arc<GatewayKey>> = HashMap::new();
    let mut out = Vec::new();
    conn.each(sql, params![], |row| {
        let rank: i64 = row.get(0)?;
        let incarnation: [u8; 16] = row.get(1)?;
        let id: i64 = row.get(2)?;
        let key = match keys.get(&id) {
            Some(key) => Arc::clone(key),
            None => {
                let key = Arc::new(gateway_key(row.get(3)?, row.get(4)?)?);
                keys.insert(id, Arc::clone(&key));
                key
            }
        };
        out.push((from_sql(rank), Incarnation(u128::from_be_bytes(incarnation)), key, id));
        Ok(())
    })?;
    Ok(out)
}

pub(crate) fn gateway_key(tenant: String, gateway: String) -> Result<GatewayKey> {
    Ok(GatewayKey {
        tenant: tenant.parse().map_err(|e| damaged("a tenant's name", e))?,
        gateway: gateway.parse().map_err(|e| damaged("a gateway's name", e))?,
    })
}

/// Row of a gateway, made if it is new.
pub(crate) fn gateway_row(tx: &Tx<'_>, key: &GatewayKey) -> Result<i64> {
    let sql = "INSERT INTO gateways (tenant, gateway) VALUES (?1, ?2)
               ON CONFLICT (tenant, gateway) DO UPDATE SET tenant = excluded.tenant RETURNING id";
    tx.one(sql, params![key.tenant.as_str(), key.gateway.as_str()], |row| row.get(0))
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
            let found: Option<(i64, i64)> = tx.first(find, params![id], |r| Ok((r.get(0)?, r.get(1)?)))?;
            let rank = match found {
                Some((rank, owner)) if owner == row => rank,
                Some(_) => {
                    let what = format!("incarnation {incarnation} is of another gateway");
                    return Err(StoreError::Conflict { what });
                }
                None => {
                    let add = "INSERT INTO incarnations (incarnation, gateway, seen_us) VALUES (?1, ?2, ?3)
                               RETURNING rank";
                    tx.one(add, params![id, row, now], |r| r.get(0))?
                }
            };
            let rank = from_sql(rank);
            let as_rank = || Rank { incarnation: *incarnation, gateway: Arc::clone(&key), gateway_row: row };
            cache.ranks.entry(rank).or_insert_with(as_rank);
            // What comes no more would make a hole for each frame, for ever.
            let seqs = cache.marks.get(&rank).cloned().unwrap_or_default().union(gaps::lost_of(tx, rank)?);
            known.push(KnownIncarnation { incarnation: *incarnation, rank, seqs });
        }
        Ok(known)
    })
}

fn touch(tx: &Tx<'_>, cache: &mut Cache, gateway_row: i64, now: i64) -> Result<()> {
    let last = cache.last_us.entry(gateway_row).or_insert(i64::MIN);
    if now.saturating_sub(*last) < LAST_WORD_EVERY_US {
        return Ok(());
    }
    *last = now;
    let sql = "UPDATE gateways SET last_us = CASE WHEN last_us > ?2 THEN last_us ELSE ?2 END WHERE id = ?1";
    tx.execute(sql, params![gateway_row, now])?;
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
    let mut tail: Vec<(FrameKey, Waiting)> = Vec::new();
    let results = writer.change_with_cache(|tx, cache| {
        let mut results = Vec::with_capacity(items.len());
        let mut pending = Pending::default();
        for item in items {
            results.push(match item {
                Item::Frames(frames) => {
                    let one = |frame| accept_one(tx, cache, frame, now, &mut pending, &mut tail);
                    Stored::Frames(frames.iter().map(one).collect::<Result<_>>()?)
                }
                Item::Step(update) => Stored::Step(Box::new(commands::update(tx, update, now)?)),
            });
        }
        pending.store(tx)?;
        Ok(results)
    })?;
    let mut shared = writer.tail.write().unwrap_or_else(PoisonError::into_inner);
    for (key, frame) in tail {
        shared.add(key, frame);
    }
    Ok(results)
}

fn accept_one<'a>(
    tx: &Tx<'_>,
    cache: &mut Cache,
    new: &'a NewFrame,
    now: i64,
    pending: &mut Pending<'a>,
    tail: &mut Vec<(FrameKey, Waiting)>,
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
    let cut_us = gaps::cut_us(header, new.received_us);
    let seqs = cache.marks.entry(new.rank).or_default();
    let before_us = match &new.frame.body {
        Body::Gap(_) => pending.run_end_us(tx, seqs, new.rank, header.seq.saturating_sub(1))?,
        _ => None,
    };
    if !pending.mark(tx, seqs, new.rank, header.seq, cut_us)? {
        return Ok(false);
    }
    touch(tx, cache, gateway_row, new.received_us)?;
    let schema_row = schemas::known(tx, cache, header.schema, &new.schema, now)?.row;
    pending.add(new, schema_row);
    let waiting = match &new.frame.body {
        Body::Samples(samples) => {
            let schema = schemas::known(tx, cache, header.schema, &new.schema, now)?;
            let (waiting, unknown) = waiting(tx, schema, new, samples)?;
            schemas::lacks(tx, (new, gateway_row), schema_row, unknown, now)?;
            waiting
        }
        Body::Waveform(wave) => {
            let schema = schemas::known(tx, cache, header.schema, &new.schema, now)?;
            let unknown = if waveforms::put(tx, schema, new, wave)? { 0 } else { wave.values.len() };
            schemas::lacks(tx, (new, gateway_row), schema_row, unknown, now)?;
            Waiting { bytes: Arc::from([]), samples: 0, series: Numbers::default() }
        }
        body => {
            if let Body::Gap(gap) = body {
                gaps::put(tx, cache, new, gateway_row, gap, before_us)?;
            }
            apply(tx, new, gateway_row, body, now)?;
            Waiting { bytes: Arc::from([]), samples: 0, series: Numbers::default() }
        }
    };
    tail.push(((new.rank, header.seq), waiting));
    Ok(true)
}

/// What a frame changes beside the history.
fn apply(tx: &Tx<'_>, new: &NewFrame, gateway_row: i64, body: &Body, now: i64) -> Result<()> {
    let tenant = new.gateway.tenant.as_str();
    let is_ours = |twin| schemas::was_bound(tx, gateway_row, twin);
    match body {
        Body::Samples(_) | Body::Waveform(_) => Ok(()),
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

/// A frame of samples, with what its numbers of points mean, and how many samples are of numbers that the schema lacks.
fn waiting(
    conn: &Conn,
    known: &mut KnownSchema,
    new: &NewFrame,
    samples: &[Sample],
) -> Result<(Waiting, usize)> {
    let mut unknown = 0;
    let lacks = |known: &KnownSchema, s: &&Sample| {
        known.series.get(s.point.index()).is_none_or(|id| *id == NO_SERIES)
    };
    let missing: Vec<_> = samples.iter().filter(|s| lacks(known, s)).map(|s| s.point).collect();
    if !missing.is_empty() {
        schemas::add_series(conn, known, &new.schema, missing)?;
        unknown = samples.iter().filter(|s| lacks(known, s)).count();
    }
    let (bytes, series) = (Arc::clone(&new.bytes), Arc::clone(&known.series));
    Ok((Waiting { bytes, samples: samples.len(), series }, unknown))
}

/// The tail as the stored frames say, when the database is opened.
/// Which of them cannot be read.
pub(crate) fn rebuild_tail(conn: &Conn, tail: &mut Tail, opening: &Opening) -> Result<Vec<Unreadable>> {
    let mut unreadable = Vec::new();
    let mut known: HashMap<SchemaHash, KnownSchema> = HashMap::new();
    let mut after = None;
    loop {
        let batch = readable(conn, after, 256, &mut unreadable)?;
        let Some(last) = batch.last() else { return Ok(unreadable) };
        opening.step();
        after = Some((last.rank, last.frame.header.seq));
        for new in batch {
            let hash = new.frame.header.schema;
            let schema =
                known.entry(hash).or_insert_with(|| KnownSchema { row: 0, series: Numbers::default() });
            let frame = match &new.frame.body {
                Body::Samples(samples) => waiting(conn, schema, &new, samples)?.0,
                _ => Waiting { bytes: Arc::from([]), samples: 0, series: Numbers::default() },
            };
            tail.add((new.rank, new.frame.header.seq), frame);
        }
    }
}

/// A stored frame that cannot be read.
pub(crate) struct Unreadable {
    gateway: i64,
    key: FrameKey,
    received_us: i64,
    bytes: Vec<u8>,
    why: String,
}

/// Sets stored frames aside that cannot be read, with a gap in their place: one must not keep away all others, nor be found
/// anew with each start. How many.
pub(crate) fn put_aside(conn: &Conn, frames: Vec<Unreadable>, now: i64) -> Result<usize> {
    let Some(first) = frames.first() else { return Ok(0) };
    let detail = format!(
        "{} stored frames cannot be read any more and were set aside, with gaps in their place; the first is {} of rank {}: {}. See \
         to the disk; a backup from before has them",
        frames.len(),
        first.key.1,
        first.key.0,
        first.why
    );
    let tx = conn.write()?;
    for Unreadable { gateway, key: (rank, seq), received_us, bytes, why } in &frames {
        let before = "SELECT bytes FROM frames WHERE rank = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1";
        let before: Option<Vec<u8>> = tx.first(before, params![to_sql(*rank), to_sql(*seq)], |r| r.get(0))?;
        // Damaged bytes may say anything, and a clock may be a little ahead.
        let latest = received_us.saturating_add(gaps::LONG_AFTER_US);
        let cut_us =
            |bytes: &[u8]| Frame::peek(bytes).ok().map(|h| gaps::cut_us(&h, *received_us).min(latest));
        let since = before.as_deref().and_then(cut_us);
        let cut_us = cut_us(bytes).unwrap_or(*received_us);
        boxes::keep_aside(&tx, *gateway, Some((*rank, *seq)), now, ("damaged", why), bytes)?;
        gaps::put_unreadable(&tx, *gateway, (*rank, *seq), (since, cut_us), GapReason::CloudDamaged)?;
        tx.execute("DELETE FROM frames WHERE rank = ?1 AND seq = ?2", params![to_sql(*rank), to_sql(*seq)])?;
    }
    log::append_own(&tx, &damage::entry(detail, now), now)?;
    match tx.commit()? {
        Commit::Done => Ok(frames.len()),
        Commit::Unknown(_) => Err(refused("the database went away while it was opened")),
    }
}

/// Those that can be read.
pub(crate) fn uncompacted(conn: &Conn, after: Option<FrameKey>, limit: usize) -> Result<Vec<NewFrame>> {
    readable(conn, after, limit, &mut Vec::new())
}

fn readable(
    conn: &Conn,
    mut after: Option<FrameKey>,
    limit: usize,
    unreadable: &mut Vec<Unreadable>,
) -> Result<Vec<NewFrame>> {
    loop {
        let (frames, last) = uncompacted_page(conn, after, limit, unreadable)?;
        // None at all is the end.
        if !frames.is_empty() || last.is_none() {
            return Ok(frames);
        }
        after = last;
    }
}

/// Those of the next `limit` that can be read, and the key of the last one.
fn uncompacted_page(
    conn: &Conn,
    after: Option<FrameKey>,
    limit: usize,
    unreadable: &mut Vec<Unreadable>,
) -> Result<(Vec<NewFrame>, Option<FrameKey>)> {
    let sql =
        "SELECT f.rank, f.seq, f.received_us, f.bytes, f.schema, g.tenant, g.gateway, g.id FROM frames f
               JOIN incarnations i ON i.rank = f.rank JOIN gateways g ON g.id = i.gateway
               WHERE (f.rank, f.seq) > (?1, ?2) ORDER BY f.rank, f.seq LIMIT ?3";
    // Ranks start at 1.
    let (rank, seq) = after.map_or((0, i64::MAX), |(rank, seq)| (to_sql(rank), to_sql(seq)));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut schemas: HashMap<i64, Arc<Schema>> = HashMap::new();
    let mut gateways: HashMap<u64, Arc<GatewayKey>> = HashMap::new();
    let (mut out, mut last) = (Vec::new(), None);
    conn.each(sql, params![rank, seq, limit], |row| {
        let rank = from_sql(row.get(0)?);
        let seq = from_sql(row.get(1)?);
        let bytes: Vec<u8> = row.get(3)?;
        last = Some((rank, seq));
        let frame = match Frame::decode(&bytes) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(rank, seq, %error, "a stored frame cannot be read: its samples are missing");
                let (key, received_us, why) = ((rank, seq), row.get(2)?, error.to_string());
                unreadable.push(Unreadable { gateway: row.get(7)?, key, received_us, bytes, why });
                return Ok(());
            }
        };
        let schema_row: i64 = row.get(4)?;
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
                let key = Arc::new(gateway_key(row.get(5)?, row.get(6)?)?);
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
            received_us: row.get(2)?,
        });
        Ok(())
    })?;
    Ok((out, last))
}
