//! Batches of a session are taken apart beside it, on threads that may be busy: what is live never waits for it. Packed
//! they take little memory and may wait; unpacked at a time are as many as there are processors, and what the queue holds.

use std::sync::Arc;

use cloud_core::{GatewayKey, NewFrame};
use common::Schema;
use common::names::Code;
use common::wire::{Batch, DecodeError, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::committer::{Queues, Work};
use crate::handle::Shared;
use crate::outbox::{End, Outbox};
use crate::talk::MAX_SEQ;

/// Batches of one session that may wait; their bytes have a limit of their own, over all sessions.
const QUEUE: usize = 64;

/// A batch on its way.
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pkid: Option<u16>,
    pub(crate) rank: u64,
    pub(crate) schema: Arc<Schema>,
    /// Its share of the bytes that may wait.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// Takes batches apart until their session is gone and none is left, or one of them does not do.
pub(crate) fn start(
    shared: Arc<Shared>,
    key: Arc<GatewayKey>,
    outbox: Arc<Outbox>,
    queues: Queues,
) -> mpsc::Sender<Packed> {
    let (to, mut packed) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(batch) = packed.recv().await {
            if let Err(end) = one(&shared, &key, &outbox, &queues, batch).await {
                return outbox.end(end);
            }
        }
    });
    to
}

/// Frames that came together are stored and acknowledged each by its name. The packet is with the last of them:
/// commits keep their order.
async fn one(
    shared: &Arc<Shared>,
    key: &Arc<GatewayKey>,
    outbox: &Arc<Outbox>,
    queues: &Queues,
    batch: Packed,
) -> Result<(), End> {
    let refuse = |detail: String| End::refused("frame", Code::InvalidRequest, detail);
    let _turn = shared.unpackers.acquire().await.map_err(|_| End::Draining)?;
    let Packed { bytes, pkid, rank, schema, _room } = batch;
    let packed = bytes.len();
    let unpack = move || -> Result<Vec<(Frame, Vec<u8>)>, DecodeError> {
        let frames = Batch::decode(&bytes)?.into_iter();
        // The bytes that each has by itself.
        Ok(frames.map(|frame| (frame.encode(), frame)).map(|(bytes, frame)| (frame, bytes)).collect())
    };
    let frames = tokio::task::spawn_blocking(unpack)
        .await
        .map_err(|_| refuse("a batch that cannot be read".into()))?;
    let frames = frames.map_err(|e| refuse(e.to_string()))?;
    let Some(last) = frames.len().checked_sub(1) else {
        return Err(refuse("a batch without frames".into()));
    };
    let each = packed.div_ceil(frames.len());
    for (at, (frame, bytes)) in frames.into_iter().enumerate() {
        if !(1..=MAX_SEQ).contains(&frame.header.seq) {
            return Err(refuse(format!("sequence {} cannot be", frame.header.seq)));
        }
        let room = shared.room(&shared.backlog, &frame, bytes.len()).await?;
        let frame = NewFrame {
            gateway: key.clone(),
            rank,
            frame: Arc::new(frame),
            bytes: bytes.into(),
            schema: schema.clone(),
            received_us: shared.parts.clock.now_us(),
        };
        let pkid = pkid.filter(|_| at == last);
        let work = Work { frame, pkid, wire_bytes: each, outbox: outbox.clone(), _bytes: room };
        queues.backlog.send(work).await.map_err(|_| End::Draining)?;
    }
    Ok(())
}
