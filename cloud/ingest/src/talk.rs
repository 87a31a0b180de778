//! What a gateway says in its session, in which order it may say it, and the answers.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloud_core::enrol::Peer;
use cloud_core::{GatewayKey, NewFrame, StoreError};
use common::names::Code;
use common::wire::{
    Batch, Down, FEATURE_BATCH, FEATURE_CERTIFICATES, FEATURE_COLUMNS, FEATURE_CONFIGURATION,
    FEATURE_GAP_CAUSES, FEATURE_SELDOM, FEATURE_SET_ASIDE, FEATURE_UPDATES, FEATURE_WAVEFORMS, Frame, Hello,
    HelloAck, Known, MAX_MESSAGE_BYTES, SchemaPart, Snapshot, Up,
};
use common::{Incarnation, Schema, SchemaHash};
use tokio::sync::mpsc;

use crate::aside::Poison;
use crate::boxes::storage_failed;
use crate::committer::{Queues, Work};
use crate::handle::Shared;
use crate::outbox::{End, Outbox};
use crate::restored;
use crate::schemas::{self, Assembly};
use crate::unpack::{self, Packed};

/// Sequences are kept as signed numbers by databases.
pub(crate) const MAX_SEQ: u64 = i64::MAX as u64;
/// Schemas that one session may name after its hello. A gateway that renews so often begins another session.
const MAX_SCHEMAS: usize = 10_000;
/// The longest pause between heartbeats that a gateway may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// What this cloud understands in every session.
const FEATURES: [&str; 7] = [
    FEATURE_COLUMNS,
    FEATURE_BATCH,
    FEATURE_GAP_CAUSES,
    FEATURE_SELDOM,
    FEATURE_WAVEFORMS,
    FEATURE_CONFIGURATION,
    FEATURE_UPDATES,
];
/// So many of its pauses without a word, and the link is lost.
const SILENT_PAUSES: u32 = 3;
/// Rank of a schema that only older frames name: below all others, so that it binds and changes nothing.
const OLDER_SCHEMA: u64 = 0;

pub(crate) struct Talk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Arc<GatewayKey>,
    outbox: Arc<Outbox>,
    peer: SocketAddr,
    queues: Queues,
    /// What the gateway signed in with, if not by a secret.
    pub(crate) certificate: Option<Peer>,
    /// How often it was renewed.
    pub(crate) renewals: u32,
    /// How often it spoke of its configuration.
    pub(crate) reports: u32,
    /// And of updates.
    pub(crate) update_reports: u32,
    /// Made for the first batch.
    unpacker: Option<mpsc::Sender<Packed>>,
    agreed: Option<Agreed>,
    assembly: Assembly,
}

/// What `Hello` and `HelloAck` settled.
struct Agreed {
    ranks: HashMap<Incarnation, u64>,
    /// Hash of the current schema, and the rank that it holds from.
    current: (SchemaHash, u64),
    /// Schemas that frames may name; none while the gateway has still to send it.
    schemas: HashMap<SchemaHash, Option<Arc<Schema>>>,
    /// Why older schemas are not taken: their frames are set aside.
    refused: HashMap<SchemaHash, String>,
    /// Without a word for so long the link is lost.
    silence: Duration,
}

/// Why a frame is not taken.
enum Misplaced {
    /// The session ends.
    End(End),
    /// It never will be.
    Poison { name: Option<(u64, Incarnation, u64)>, cause: &'static str, detail: String },
}

impl From<End> for Misplaced {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

pub(crate) fn refuse<T>(cause: &'static str, code: Code, detail: impl Into<String>) -> Result<T, End> {
    Err(End::refused(cause, code, detail))
}

impl Talk {
    pub(crate) fn new(
        shared: Arc<Shared>,
        key: Arc<GatewayKey>,
        outbox: Arc<Outbox>,
        peer: SocketAddr,
        queues: Queues,
        certificate: Option<Peer>,
    ) -> Self {
        Self {
            shared,
            key,
            outbox,
            peer,
            queues,
            certificate,
            renewals: 0,
            reports: 0,
            update_reports: 0,
            unpacker: None,
            agreed: None,
            assembly: Assembly::default(),
        }
    }

    /// For how long a gateway that was answered may say nothing: from then on it gives signs of life.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.agreed.as_ref().map(|a| a.silence)
    }

    /// Number of the session.
    pub(crate) fn session(&self) -> u64 {
        self.outbox.session
    }

    /// Sends a message; false if there is no room for it.
    pub(crate) fn answer(&self, message: &Down) -> bool {
        self.outbox.message(message)
    }

    /// Takes a message. A frame's packet is acknowledged by the committer, any other here.
    pub(crate) async fn hear(&mut self, payload: &[u8], pkid: Option<u16>) -> Result<(), End> {
        let message = match Up::decode(payload) {
            Ok(message) => message,
            Err(e) => return refuse("message", Code::InvalidRequest, e.to_string()),
        };
        match message {
            Up::Frame(bytes) => return self.frame(bytes, pkid).await,
            Up::Batch(bytes) => return self.batch(bytes, pkid).await,
            Up::Hello(hello) => self.hello(*hello).await?,
            Up::Schema(part) => self.schema(part).await?,
            Up::Renewed(hash) => self.renewed(hash).await?,
            Up::Snapshot(snapshot) => self.snapshot(&snapshot)?,
            Up::Renewal(request) => self.renew(&request).await?,
            Up::Configuration(report) => self.configuration(*report).await?,
            Up::Update(report) => self.update(*report).await?,
            Up::Piece(request) => self.piece(request).await?,
            Up::Heartbeat(beat) => {
                if self.agreed.is_none() {
                    return refuse("not_ready", Code::Conflict, "a heartbeat came before the hello");
                }
                self.shared.heartbeat(&self.key, self.outbox.session, beat.session_us, beat.health);
            }
        }
        if !self.outbox.puback(pkid) {
            self.outbox.overrun();
        }
        Ok(())
    }

    async fn hello(&mut self, hello: Hello) -> Result<(), End> {
        if hello.tenant != self.key.tenant || hello.gateway != self.key.gateway {
            let detail = format!("hello of {}/{} in a session of {}", hello.tenant, hello.gateway, self.key);
            return refuse("hello", Code::Forbidden, detail);
        }
        let peer = self.peer.to_string();
        let seen = self.shared.let_in(&self.key, &self.outbox, &peer, &hello).await?;
        self.is_good().await?;
        let mut incarnations: Vec<_> = hello.streams.iter().map(|s| s.incarnation).collect();
        // Older than what the box still holds.
        let acked = restored::acked(&hello).iter().map(|k| k.incarnation);
        let gone: Vec<_> = acked.filter(|i| !incarnations.contains(i)).collect();
        incarnations.splice(0..0, gone);
        if !incarnations.contains(&hello.incarnation) {
            incarnations.push(hello.incarnation);
        }
        let known = match self.shared.parts.storage.hello(&self.key, &incarnations).await {
            Ok(known) => known,
            Err(e) => return self.storage_failed(&e),
        };
        let ranks: HashMap<_, _> = known.iter().map(|k| (k.incarnation, k.rank)).collect();
        let Some(&rank) = ranks.get(&hello.incarnation) else {
            return refuse("hello", Code::Internal, "storage gave the incarnation no rank");
        };
        let named: HashSet<_> = hello.schemas.iter().copied().chain([hello.schema]).collect();
        let mut schemas: HashMap<SchemaHash, Option<Arc<Schema>>> = HashMap::new();
        {
            let state = self.shared.parts.world.read();
            let ours = |s: &&Arc<Schema>| s.tenant == self.key.tenant && s.gateway == self.key.gateway;
            schemas
                .extend(named.into_iter().map(|hash| (hash, state.schemas.get(&hash).filter(ours).cloned())));
        }
        let mut want_schemas: Vec<_> = schemas.iter().filter(|(_, s)| s.is_none()).map(|(h, _)| *h).collect();
        // Without the current schema nothing new can be taken: it comes first.
        want_schemas.sort_by_key(|hash| (*hash != hello.schema, *hash));
        let known = known.into_iter().map(|k| Known { incarnation: k.incarnation, seqs: k.seqs }).collect();
        let features = FEATURES.into_iter().chain(self.certificate.as_ref().map(|_| FEATURE_CERTIFICATES));
        let features = features.map(str::to_owned).collect();
        let renew = self.is_due();
        let session = self.outbox.session;
        let mut ack = HelloAck { session, known, want_schemas, features, renew, ..HelloAck::default() };
        self.tell_more(&hello, seen, &incarnations, &mut ack).await?;
        let ack = fitting(ack);
        let current = schemas.get(&hello.schema).cloned().flatten();
        let pause = hello.heartbeat_ms.map_or(Duration::ZERO, |ms| Duration::from_millis(ms.into()));
        let silence = (pause.min(LONGEST_PAUSE) * SILENT_PAUSES).max(self.shared.options.silence);
        let (current_schema, refused) = ((hello.schema, rank), HashMap::new());
        self.agreed = Some(Agreed { ranks, current: current_schema, schemas, refused, silence });
        self.assembly = Assembly::default();
        tracing::info!(gateway = %self.key, session = ack.session, version = hello.version, "session agreed");
        if let Some(schema) = &current {
            self.put_schema(schema, rank, true).await?;
        }
        if !self.outbox.message(&Down::HelloAck(ack)) {
            self.outbox.overrun();
        }
        self.shared.connected(&self.key, self.outbox.session, hello.session_us, hello.features);
        if current.is_some() {
            self.shared.parts.sink.session_started(&self.key);
        }
        Ok(())
    }

    /// What a gateway that tells which box it is hears beside the rest; and people, if the cloud lacks what it had.
    async fn tell_more(
        &self,
        hello: &Hello,
        seen: Option<Incarnation>,
        incarnations: &[Incarnation],
        ack: &mut HelloAck,
    ) -> Result<(), End> {
        let parts = &self.shared.parts;
        if hello.identity.is_some() {
            (ack.store, ack.seen) = (Some(parts.storage.store_id()), seen);
        }
        if let Some(entry) = restored::entry(
            &self.key,
            hello,
            &ack.known,
            seen,
            parts.storage.store_id(),
            parts.clock.now_us(),
        ) {
            parts.storage.append_audit(&entry).await.map_err(|e| storage_failed(&self.key, &e))?;
            tracing::error!(gateway = %self.key, detail = entry.detail, "the store is older than the gateway");
            parts.sink.event(&entry);
        }
        if hello.features.iter().any(|f| f == FEATURE_SET_ASIDE) {
            let names = parts.storage.set_aside_names(&self.key).await;
            ack.set_aside = names.map_err(|e| storage_failed(&self.key, &e))?;
            ack.set_aside.retain(|k| incarnations.contains(&k.incarnation));
        }
        Ok(())
    }

    /// The gateway took a new configuration. A schema that is known holds at once; the parts of another follow.
    async fn renewed(&mut self, hash: SchemaHash) -> Result<(), End> {
        let Some(agreed) = &mut self.agreed else {
            return refuse("not_ready", Code::Conflict, "a new schema came before the hello");
        };
        if agreed.schemas.len() >= MAX_SCHEMAS && !agreed.schemas.contains_key(&hash) {
            return refuse("schema", Code::TooLarge, "more schemas than a session may name: begin another");
        }
        agreed.current.0 = hash;
        let rank = agreed.current.1;
        let known = agreed.schemas.entry(hash).or_insert_with(|| {
            let state = self.shared.parts.world.read();
            let ours = |s: &&Arc<Schema>| s.tenant == self.key.tenant && s.gateway == self.key.gateway;
            state.schemas.get(&hash).filter(ours).cloned()
        });
        if let Some(schema) = known.clone() {
            self.put_schema(&schema, rank, true).await?;
            self.began_again();
        }
        Ok(())
    }

    /// The twins of the current schema are there: they are online, and take orders.
    fn began_again(&self) {
        self.shared.tell(&self.key);
        self.shared.parts.sink.session_started(&self.key);
    }

    async fn schema(&mut self, part: SchemaPart) -> Result<(), End> {
        let hash = part.hash;
        let Some(agreed) = &self.agreed else {
            return refuse("not_ready", Code::Conflict, "a schema came before the hello");
        };
        let is_current = agreed.current.0 == hash;
        let rank = if is_current { agreed.current.1 } else { OLDER_SCHEMA };
        match agreed.schemas.get(&hash) {
            None => {
                return refuse("schema", Code::InvalidRequest, format!("schema {hash} was not announced"));
            }
            Some(Some(_)) => return Ok(()),
            Some(None) => {}
        }
        let invalid = |e: schemas::SchemaError| End::refused("schema", Code::InvalidRequest, e.to_string());
        let Some(json) = self.assembly.put(part).map_err(invalid)? else { return Ok(()) };
        let read = schemas::read(&json, hash, &self.key).map(Arc::new).map_err(invalid);
        let taken = match read {
            Ok(schema) => self.put_schema(&schema, rank, is_current).await.map(|()| schema),
            Err(end) => Err(end),
        };
        let schema = match taken {
            Ok(schema) => schema,
            // What only older frames refer to must not keep out what is new.
            Err(End::Refused { cause: "schema" | "conflict", detail, .. }) if !is_current => {
                tracing::error!(gateway = %self.key, %hash, detail, "an older schema is not taken");
                if let Some(agreed) = &mut self.agreed {
                    agreed.refused.insert(hash, detail);
                }
                return Ok(());
            }
            Err(end) => return Err(end),
        };
        let Some(agreed) = &mut self.agreed else { return Ok(()) };
        agreed.schemas.insert(hash, Some(schema));
        if is_current {
            self.began_again();
        }
        Ok(())
    }

    async fn put_schema(&self, schema: &Arc<Schema>, rank: u64, current: bool) -> Result<(), End> {
        let parts = &self.shared.parts;
        if let Err(e) = parts.storage.put_schema(&self.key, schema, rank, parts.clock.now_us()).await {
            return self.storage_failed(&e);
        }
        parts.sink.schema(&self.key, schema, rank, current);
        Ok(())
    }

    fn snapshot(&self, snapshot: &Snapshot) -> Result<(), End> {
        let place = self.place(snapshot.incarnation, snapshot.schema, snapshot.seq, 0);
        let (rank, schema) = place.map_err(|e| match e {
            Misplaced::End(end) => end,
            Misplaced::Poison { cause, detail, .. } => End::refused(cause, Code::InvalidRequest, detail),
        })?;
        self.shared.parts.sink.snapshot(&self.key, rank, &schema, snapshot);
        Ok(())
    }

    async fn frame(&self, bytes: Vec<u8>, pkid: Option<u16>) -> Result<(), End> {
        let frame = match Frame::decode(&bytes) {
            Ok(frame) => frame,
            Err(e) => {
                let Some(agreed) = &self.agreed else {
                    return refuse("not_ready", Code::Conflict, "samples came before the hello");
                };
                let header = Frame::peek(&bytes).ok().filter(|h| (1..=MAX_SEQ).contains(&h.seq));
                let name =
                    header.and_then(|h| Some((*agreed.ranks.get(&h.incarnation)?, h.incarnation, h.seq)));
                return self.aside(name, "frame", e.to_string(), bytes, pkid).await;
            }
        };
        let header = &frame.header;
        let (rank, schema) = match self.place(header.incarnation, header.schema, header.seq, 1) {
            Ok(place) => place,
            Err(Misplaced::End(end)) => return Err(end),
            Err(Misplaced::Poison { name, cause, detail }) => {
                return self.aside(name, cause, detail, bytes, pkid).await;
            }
        };
        // Where storage is slower than the gateway, the gateway waits here.
        let room = self.shared.room(&self.shared.budget, &frame, bytes.len()).await?;
        let wire_bytes = bytes.len();
        let frame = NewFrame {
            gateway: self.key.clone(),
            rank,
            frame: Arc::new(frame),
            bytes: bytes.into(),
            schema,
            received_us: self.shared.parts.clock.now_us(),
        };
        let work = Work { frame, pkid, wire_bytes, outbox: self.outbox.clone(), _bytes: room };
        self.queues.live.send(work).await.map_err(|_| End::Draining)
    }

    /// Sets a frame aside, which no later session could take either.
    async fn aside(
        &self,
        name: Option<(u64, Incarnation, u64)>,
        cause: &'static str,
        detail: String,
        bytes: Vec<u8>,
        pkid: Option<u16>,
    ) -> Result<(), End> {
        let poison = Poison { name, cause, detail, bytes: bytes.into() };
        let set = self.shared.aside(&self.key, &self.outbox, pkid, poison).await;
        set.map_err(|e| storage_failed(&self.key, &e))
    }

    /// Goes on its way to be taken apart. All of its frames are of one schema and incarnation.
    async fn batch(&mut self, bytes: Vec<u8>, pkid: Option<u16>) -> Result<(), End> {
        let (schema, incarnation) = match Batch::peek(&bytes) {
            Ok(peeked) => peeked,
            Err(e) => return self.shared.apart(&self.key, &self.outbox, e.to_string(), pkid),
        };
        let (rank, schema) = match self.place(incarnation, schema, 1, 1) {
            Ok((rank, schema)) => (rank, Ok(schema)),
            Err(Misplaced::Poison { name: Some((rank, ..)), cause, detail }) => (rank, Err((cause, detail))),
            Err(Misplaced::Poison { detail, .. }) => {
                return self.shared.apart(&self.key, &self.outbox, detail, pkid);
            }
            Err(Misplaced::End(end)) => return Err(end),
        };
        let size = u32::try_from(bytes.len().min(self.shared.options.waiting_bytes)).unwrap_or(u32::MAX);
        let room = self.shared.packed.clone().acquire_many_owned(size).await.map_err(|_| End::Draining)?;
        self.shared.has_backlog(&self.key, self.outbox.session);
        let unpacker = self.unpacker.get_or_insert_with(|| {
            unpack::start(self.shared.clone(), self.key.clone(), self.outbox.clone(), self.queues.clone())
        });
        // Its worker ends with the reason in the outbox.
        let gone = |_| self.outbox.why();
        unpacker.send(Packed { bytes, pkid, rank, schema, _room: room }).await.map_err(gone)
    }

    /// Rank and schema of samples; none if the session has not agreed on them.
    fn place(
        &self,
        incarnation: Incarnation,
        schema: SchemaHash,
        seq: u64,
        first: u64,
    ) -> Result<(u64, Arc<Schema>), Misplaced> {
        let Some(agreed) = &self.agreed else {
            return Err(End::refused("not_ready", Code::Conflict, "samples came before the hello").into());
        };
        let Some(&rank) = agreed.ranks.get(&incarnation) else {
            let detail = format!("incarnation {incarnation} was not announced");
            return Err(End::refused("incarnation", Code::InvalidRequest, detail).into());
        };
        if !(first..=MAX_SEQ).contains(&seq) {
            let detail = format!("sequence {seq} cannot be");
            return Err(Misplaced::Poison { name: None, cause: "frame", detail });
        }
        if let Some(schema) = agreed.schemas.get(&schema).cloned().flatten() {
            return Ok((rank, schema));
        }
        let is_older = schema != agreed.current.0 && agreed.schemas.contains_key(&schema);
        let why = agreed.refused.get(&schema).cloned();
        let detail = why.unwrap_or_else(|| format!("schema {schema} is not known"));
        if is_older {
            let name = Some((rank, incarnation, seq));
            return Err(Misplaced::Poison { name, cause: "schema", detail });
        }
        Err(End::refused("schema", Code::InvalidRequest, detail).into())
    }

    fn storage_failed<T>(&self, error: &StoreError) -> Result<T, End> {
        Err(storage_failed(&self.key, error))
    }
}

/// Leaves out what is known of the oldest incarnations, and of the one with most runs the shortest of these, until the message
/// has a size that may be sent: the gateway then sends again what is known, which changes nothing.
fn fitting(mut ack: HelloAck) -> HelloAck {
    /// As many incarnations go whole before runs of one do.
    const FEW: usize = 64;
    let size = |ack: &HelloAck| Down::HelloAck(ack.clone()).encode().len();
    while !ack.known.is_empty() && size(&ack) > MAX_MESSAGE_BYTES {
        let most = ack.known.iter_mut().max_by_key(|k| k.seqs.runs()).filter(|k| k.seqs.runs() > FEW);
        match most {
            Some(known) => {
                let mut runs: Vec<(u64, u64)> = known.seqs.iter().collect();
                runs.sort_unstable_by_key(|(first, last)| std::cmp::Reverse(last - first));
                runs.truncate(runs.len().div_ceil(2));
                known.seqs = runs.into();
            }
            None => drop(ack.known.drain(..ack.known.len().div_ceil(2))),
        }
    }
    ack
}

#[cfg(test)]
#[path = "talk_tests.rs"]
mod tests;
