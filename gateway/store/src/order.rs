//! A person's order to drop samples that were cut within a time. It is carried out segment by segment, and what is to be
//! written goes between: a log of a gigabyte takes a slow disk a minute to read.

use std::collections::VecDeque;
use std::io;

use common::wire::GapCause;
use tokio::sync::oneshot;

use crate::inner::lock;
use crate::retain::Which;
use crate::store::Store;
use crate::writer::Writer;

/// What an order to drop did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Frames that the cloud lacked, told as a gap.
    pub frames: u64,
    /// Their samples.
    pub samples: u64,
    /// Frames that the cloud has.
    pub acked_frames: u64,
}

/// Why an order to drop was not carried out, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// One at a time.
    #[error("another order to drop is being carried out; wait for its end")]
    Busy,
    /// The buffer closed before the end.
    #[error("the buffer closed before all was dropped")]
    Closed,
    /// What the disk refused.
    #[error("{detail}")]
    Disk {
        /// How far it went, and what the system said.
        detail: String,
    },
}

/// Samples of frames cut in `from_us..=to_us`, by a clock that was synchronised.
#[derive(Debug)]
pub(crate) struct DropOrder {
    from_us: i64,
    to_us: i64,
    done: oneshot::Sender<Result<Dropped, DropError>>,
}

/// One that is being carried out.
#[derive(Debug)]
pub(crate) struct Dropping {
    order: DropOrder,
    /// Ordinals of the segments that were not looked at yet.
    left: VecDeque<u64>,
    /// Of those that lose something.
    lose: Vec<u64>,
    all: Dropped,
    error: Option<io::Error>,
}

impl Store {
    /// Drops the samples of frames that were cut in `from_us..=to_us`, whether the cloud has them or not. What it lacks is
    /// told as a gap. Records stay, and so do frames that were cut while the clock was not synchronised: nobody knows when.
    ///
    /// # Errors
    /// When the disk refuses, another order is being carried out, or the buffer closes.
    pub async fn drop_cut(&self, from_us: i64, to_us: i64) -> Result<Dropped, DropError> {
        let (done, told) = oneshot::channel();
        {
            let mut shared = lock(&self.inner.shared);
            if shared.closing {
                return Err(DropError::Closed);
            }
            if shared.dropping {
                return Err(DropError::Busy);
            }
            shared.dropping = true;
            shared.drop_wanted = Some(DropOrder { from_us, to_us, done });
        }
        self.inner.work.notify_all();
        told.await.unwrap_or(Err(DropError::Closed))
    }
}

impl Writer {
    /// Begins to carry out an order: with what is on disk, once what waits is there as well.
    pub(crate) fn begin_drop(&mut self, order: DropOrder) {
        let frames: Vec<_> = {
            let shared = lock(&self.inner.shared);
            shared.tail.after(shared.tail.durable).cloned().collect()
        };
        self.attempt(&frames);
        if let Err(error) = self.roll() {
            self.failed(&error);
            lock(&self.inner.shared).dropping = false;
            let _ = order.done.send(Err(DropError::Disk { detail: error.to_string() }));
            return;
        }
        let left = lock(&self.inner.shared).segments.iter().map(|s| s.ordinal).collect();
        let (lose, all, error) = (Vec::new(), Dropped::default(), None);
        self.dropping = Some(Dropping { order, left, lose, all, error });
    }

    /// Goes on with it: one segment that may hold such frames.
    pub(crate) fn go_on_dropping(&mut self) {
        let Some(mut dropping) = self.dropping.take() else { return };
        let (from_us, to_us) = (dropping.order.from_us, dropping.order.to_us);
        let next = {
            let shared = lock(&self.inner.shared);
            let known = |ordinal| shared.segments.iter().find(|s| s.ordinal == ordinal);
            let mut left = std::iter::from_fn(|| dropping.left.pop_front());
            left.find_map(|o| known(o).filter(|s| s.may_hold_cut(from_us, to_us)).cloned())
        };
        let Some(segment) = next else {
            self.end_dropping(dropping);
            return;
        };
        let done = self.condemn(&segment, Which::Cut(from_us, to_us), GapCause::Operator);
        let all = &mut dropping.all;
        all.frames += done.frames;
        all.samples += done.samples;
        all.acked_frames += done.acked_frames;
        if done.frames + done.acked_frames > 0 {
            dropping.lose.push(segment.ordinal);
            if let Err(error) = self.commit() {
                dropping.error = Some(error);
            }
            // Told before it is answered: who asked finds it in the log.
            self.inner.tell_losses();
        }
        self.dropping = Some(dropping);
    }

    fn end_dropping(&mut self, dropping: Dropping) {
        let Dropping { order, lose, all, error, .. } = dropping;
        let waits = lose.iter().filter(|o| self.condemned.contains(o)).count();
        let result = match error.filter(|_| waits > 0) {
            None => Ok(all),
            Some(error) => {
                let Dropped { frames, acked_frames, .. } = all;
                let detail = format!(
                    "{} frames are dropped, but {waits} files still hold some, since the disk refuses; they are written anew as soon as it does not: {error}",
                    frames + acked_frames
                );
                Err(DropError::Disk { detail })
            }
        };
        lock(&self.inner.shared).dropping = false;
        let _ = order.done.send(result);
    }
}
