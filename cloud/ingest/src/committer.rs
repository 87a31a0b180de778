//! Groups the frames of all sessions into commits: whatever waits goes in one, without any delay. Live frames go first,
//! and as much backlog with them as takes little time, so that they never wait long for it. Only after a commit the twins
//! get its samples and its gateways their acknowledgements.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud_core::{NewFrame, StoreError};
use common::names::Code;
use common::wire::{Ack, Down, Known};
use common::{Drain, Incarnation, IntervalSet};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Duration, Instant};

use crate::aside::Poison;
use crate::handle::Shared;
use crate::outbox::{End, Outbox};

/// Frames that may wait for a commit in each queue; their bytes have a limit of their own.
const QUEUE: usize = 1024;
/// Samples of backlog in one commit: at the start, least and most.
const FIRST: usize = 8_192;
const LEAST: usize = 2_048;
const MOST: usize = 65_536;
/// Time that a commit with backlog should take at most: live frames wait for it.
const COMMIT: Duration = Duration::from_millis(3);
/// How often it is looked whether storage has caught up.
const LOOK: Duration = Duration::from_millis(20);

/// A frame on its way to storage.
pub(crate) struct Work {
    pub(crate) frame: NewFrame,
    /// Packet to acknowledge; none if it was sent at most once.
    pub(crate) pkid: Option<u16>,
    /// Its bytes as they came.
    pub(crate) wire_bytes: usize,
    pub(crate) outbox: Arc<Outbox>,
    /// Its share of the bytes that may wait.
    pub(crate) _bytes: OwnedSemaphorePermit,
}

/// The ways to the committer.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) live: mpsc::Sender<Work>,
    pub(crate) backlog: mpsc::Sender<Work>,
}

/// The committer's ends of them.
pub(crate) struct Works {
    live: mpsc::Receiver<Work>,
    backlog: mpsc::Receiver<Work>,
}

pub(crate) fn queues() -> (Queues, Works) {
    let ((live, from_live), (backlog, from_backlog)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
    (Queues { live, backlog }, Works { live: from_live, backlog: from_backlog })
}

/// Commits until no session is left that could send more.
pub(crate) async fn run(shared: &Shared, mut works: Works, drain: &Drain) {
    let mut share = FIRST;
    let mut first: Option<Work> = None;
    let (mut has_live, mut has_backlog) = (true, true);
    let mut batch = Vec::new();
    while has_live || has_backlog || first.is_some() {
        // At the end nothing catches up any more, and little is left.
        let is_full = !drain.is_started() && shared.is_full(1);
        if is_full && shared.is_full(2) {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let takes_backlog = first.is_none() && has_backlog && !is_full;
        if first.is_none() || is_full {
            tokio::select! {
                biased;
                n = works.live.recv_many(&mut batch, shared.options.commit_frames), if has_live => has_live = n > 0,
                work = works.backlog.recv(), if takes_backlog => match work {
                    Some(work) => first = Some(work),
                    None => has_backlog = false,
                },
                () = tokio::time::sleep(LOOK), if is_full => continue,
                else => break,
            }
        }
        while batch.len() < shared.options.commit_frames
            && let Ok(work) = works.live.try_recv()
        {
            batch.push(work);
        }
        let live = batch.len();
        let mut samples = 0;
        while !is_full
            && samples < share
            && let Some(work) = first.take().or_else(|| works.backlog.try_recv().ok())
        {
            samples += work.frame.frame.body.sample_count();
            batch.push(work);
        }
        if batch.is_empty() {
            continue;
        }
        let began = Instant::now();
        if let Err(error) = commit(shared, &batch).await {
            tracing::warn!(%error, frames = batch.len(), "commit failed, trying once more by session");
            tokio::time::sleep(shared.options.retry_after).await;
            by_session(shared, std::mem::take(&mut batch)).await;
        }
        if samples >= share {
            share = if began.elapsed() > COMMIT { share / 4 * 3 } else { share / 8 * 9 }.clamp(LEAST, MOST);
        }
        shared.credit.stored(batch.iter().skip(live).map(|w| w.wire_bytes).sum());
        batch.clear();
    }
}

/// One session's frames must not keep those of others from storage.
async fn by_session(shared: &Shared, batch: Vec<Work>) {
    let mut groups: BTreeMap<u64, Vec<Work>> = BTreeMap::new();
    for work in batch {
        groups.entry(work.outbox.session).or_default().push(work);
    }
    for group in groups.values() {
        let stored = match commit(shared, group).await {
            Err(error) if is_of_content(&error) => one_by_one(shared, group).await,
            stored => stored,
        };
        if let Err(error) = stored
            && let Some(work) = group.first()
        {
            tracing::error!(%error, gateway = %work.frame.gateway, frames = group.len(), "frames not stored");
            work.outbox.end(End::refused("storage", Code::Unavailable, "frames cannot be stored now"));
        }
    }
}

/// One frame's content must not keep those after it from storage: what can never be stored is set aside.
async fn one_by_one(shared: &Shared, group: &[Work]) -> Result<(), StoreError> {
    for work in group {
        let detail = match commit(shared, std::slice::from_ref(work)).await {
            Ok(()) => continue,
            Err(StoreError::Conflict { what } | StoreError::Refused { what }) => what,
            Err(error) => return Err(error),
        };
        let frame = &work.frame;
        let (incarnation, seq) = (frame.frame.header.incarnation, frame.frame.header.seq);
        let name = Some((frame.rank, incarnation, seq));
        let poison = Poison { name, cause: "storage", detail, bytes: frame.bytes.clone() };
        shared.aside(&frame.gateway, &work.outbox, work.pkid, poison).await?;
    }
    Ok(())
}

fn is_of_content(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict { .. } | StoreError::Refused { .. })
}

async fn commit(shared: &Shared, batch: &[Work]) -> Result<(), StoreError> {
    let began = Instant::now();
    let frames: Vec<_> = batch.iter().map(|w| w.frame.clone()).collect();
    let is_new = shared.parts.storage.accept(&frames).await?;
    let received = frames.len() as u64;
    let new: Vec<_> = frames.into_iter().zip(is_new).filter(|(_, new)| *new).map(|(f, _)| f).collect();
    let (accepted, samples) =
        (new.len() as u64, new.iter().map(|f| f.frame.body.sample_count() as u64).sum());
    let seconds = began.elapsed().as_secs_f64();
    shared.parts.metrics.committed(accepted, received - accepted, samples, seconds);
    if !new.is_empty() {
        shared.parts.sink.frames(&new);
    }
    acknowledge(batch);
    Ok(())
}

fn acknowledge(batch: &[Work]) {
    let mut by_session: BTreeMap<u64, (&Outbox, BTreeMap<Incarnation, IntervalSet>)> = BTreeMap::new();
    for work in batch {
        let (outbox, acked) =
            by_session.entry(work.outbox.session).or_insert_with(|| (&work.outbox, BTreeMap::new()));
        let header = &work.frame.frame.header;
        acked.entry(header.incarnation).or_default().insert(header.seq);
        if !outbox.puback(work.pkid) {
            outbox.overrun();
        }
    }
    for (outbox, acked) in by_session.into_values() {
        let known = |(incarnation, seqs)| Known { incarnation, seqs };
        if !outbox.message(&Down::Ack(Ack { acked: acked.into_iter().map(known).collect() })) {
            outbox.overrun();
        }
    }
}
