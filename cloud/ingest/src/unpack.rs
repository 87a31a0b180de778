//! Batches of a session are taken apart beside it, on threads that may be busy: what is live never waits for it. Packed
//! they take little memory and may wait; unpacked at a time are as many as there are processors, and what the queue holds.

use std::sync::Arc;

use cloud_core::{GatewayKey, NewFrame};
use common::Schema;
use common::wire::{Batch, DecodeError, Frame, FrameHeader};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::aside::Poison;
use crate::boxes::storage_failed;
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
    /// Of all its frames; else why they are not taken, cause and detail.
    pub(crate) schema: Result<Arc<Schema>, (&'static str, String)>,
    /// Its share of the bytes that may wait.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// Takes batches apart until their session is gone and none is left, or storage fails.
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
    let _turn = shared.unpackers.acquire().await.map_err(|_| End::Draining)?;
    let Packed { bytes, pkid, rank, schema, _room } = batch;
    let packed = bytes.len();
    let unpack = move || -> Result<Vec<(Frame, Vec<u8>)>, DecodeError> {
        let frames = Batch::decode(&bytes)?.into_iter();
        // The bytes that each has by itself.
        Ok(frames.map(|frame| (frame.encode(), frame)).map(|(bytes, frame)| (frame, bytes)).collect())
    };
    let unpacked = tokio::task::spawn_blocking(unpack).await;
    let unpacked = unpacked.map_err(|e| e.to_string()).and_then(|frames| frames.map_err(|e| e.to_string()));
    let frames = match unpacked {
        Ok(frames) => frames,
        Err(detail) => return shared.apart(key, outbox, detail, pkid),
    };
    let Some(last) = frames.len().checked_sub(1) else {
        return shared.apart(key, outbox, "a batch without frames".into(), pkid);
    };
    let each = packed.div_ceil(frames.len());
    for (at, (frame, bytes)) in frames.into_iter().enumerate() {
        let pkid = pkid.filter(|_| at == last);
        let FrameHeader { incarnation, seq, .. } = frame.header;
        let placed = match &schema {
            _ if !(1..=MAX_SEQ).contains(&seq) => Err((None, "frame", format!("sequence {seq} cannot be"))),
            Ok(schema) => Ok(schema.clone()),
            Err((cause, detail)) => Err((Some((rank, incarnation, seq)), *cause, detail.clone())),
        };
        let schema = match placed {
            Ok(schema) => schema,
            Err((name, cause, detail)) => {
                let poison = Poison { name, cause, detail, bytes: bytes.into() };
                shared.aside(key, outbox, pkid, poison).await.map_err(|e| storage_failed(key, &e))?;
                continue;
            }
        };
        let room = shared.room(&shared.backlog, &frame, bytes.len()).await?;
        let frame = NewFrame {
            gateway: key.clone(),
            rank,
            frame: Arc::new(frame),
            bytes: bytes.into(),
            schema,
            received_us: shared.parts.clock.now_us(),
        };
        let work = Work { frame, pkid, wire_bytes: each, outbox: outbox.clone(), _bytes: room };
        queues.backlog.send(work).await.map_err(|_| End::Draining)?;
    }
    Ok(())
}
