//! The writer thread: brings the tail to disk in groups, closes segments, keeps the quota. After any error
//! it gives the segment up and writes everything that is not known to be on disk into a new one: after a
//! failed sync the system may have dropped what it held.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use common::SchemaHash;
use common::command::Severity;
use common::supervise::panic_text;
use tokio::time::Instant;

use crate::free::{Stuck, is_full};
use crate::gone::Gone;
use crate::inner::{BATCH_BYTES, Inner, lock};
use crate::kept::KeptCommands;
use crate::order::{DropOrder, Dropping};
use crate::quarantine::Quarantine;
use crate::reserve::Reserve;
use crate::retain::SPACE_PAUSE_LEAST;
use crate::segment::{Active, Segment, file_name, write_footer};
use crate::tail::TailFrame;

/// Pause after a failed attempt.
const RETRY: Duration = Duration::from_millis(500);
/// The same while somebody waits in `durable`.
const RETRY_URGENT: Duration = Duration::from_millis(20);
/// What is collected before it is written.
pub(crate) const WRITE_BYTES: usize = 1 << 20;

/// The thread's own.
pub(crate) struct Writer {
    pub(crate) inner: Arc<Inner>,
    pub(crate) dir: PathBuf,
    pub(crate) active: Option<Active>,
    pub(crate) gone: Gone,
    pub(crate) kept: KeptCommands,
    pub(crate) reserve: Reserve,
    pub(crate) quarantine: Arc<Quarantine>,
    /// Ordinals of segments that lose something, as soon as that is noted on disk.
    pub(crate) condemned: Vec<u64>,
    /// Those of them that the disk refused to write anew.
    pub(crate) stuck: HashMap<u64, Stuck>,
    /// When a full disk is next asked for room.
    pub(crate) space_at: Option<Instant>,
    pub(crate) space_pause: Duration,
    /// An order to drop that is being carried out.
    pub(crate) dropping: Option<Dropping>,
    pub(crate) next_ordinal: u64,
    failed_at: Option<Instant>,
    /// When age is to be looked at, if nothing is written until then.
    pub(crate) look_at: Option<Instant>,
    /// Nothing was done yet.
    to_begin: bool,
    /// Segments of earlier runs that were not closed.
    to_close: bool,
}

enum Job {
    Write(Vec<TailFrame>),
    Retain,
    Drop(DropOrder),
    GoOnDropping,
    Close,
}

impl Writer {
    pub(crate) fn new(
        inner: Arc<Inner>,
        dir: PathBuf,
        (gone, kept): (Gone, KeptCommands),
        quarantine: Arc<Quarantine>,
    ) -> Self {
        let options = &inner.options;
        Self {
            reserve: Reserve::new(options.disk.clone(), &options.dir, options.reserve_bytes()),
            inner,
            dir,
            active: None,
            gone,
            kept,
            quarantine,
            condemned: Vec::new(),
            stuck: HashMap::new(),
            space_at: None,
            space_pause: SPACE_PAUSE_LEAST,
            dropping: None,
            next_ordinal: 1,
            failed_at: None,
            look_at: None,
            to_begin: true,
            to_close: true,
        }
    }

    /// Runs until the log closes. A panic counts as a refusal of the disk: it is told, and the writer goes on with
    /// a new segment.
    pub(crate) fn run(mut self) {
        let inner = self.inner.clone();
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            let error = io::Error::other(format!("writer panicked: {}", panic_text(panic)));
            let told = catch_unwind(AssertUnwindSafe(|| self.failed(&error)));
            // Who ordered something is told that it was not done.
            self.dropping = None;
            let mut shared = lock(&inner.shared);
            shared.dropping = shared.drop_wanted.is_some();
            if told.is_err() || shared.closing {
                tracing::error!(%error, "writer of the buffer ended");
                break;
            }
            drop(inner.work.wait_timeout_while(shared, RETRY, |s| !s.closing));
        }
        // An order that comes now, or waits, is not carried out.
        let mut shared = lock(&inner.shared);
        shared.closing = true;
        shared.drop_wanted = None;
        drop(shared);
        inner.progress.send_modify(|p| p.closed = true);
    }

    fn work(&mut self) {
        if std::mem::take(&mut self.to_begin) {
            self.reserve.take();
            self.inner.tell_losses();
            self.retain();
            // Also where nothing is measured that would have it told.
            self.inner.tell_losses();
            if lock(&self.inner.shared).tail.waiting_since().is_none() {
                self.close_earlier();
            }
        }
        loop {
            match self.wait() {
                Job::Write(frames) => self.attempt(&frames),
                Job::Retain => {
                    self.retain();
                    self.inner.tell_losses();
                }
                Job::Drop(order) => self.begin_drop(order),
                Job::GoOnDropping => self.go_on_dropping(),
                Job::Close => {
                    self.finish();
                    return;
                }
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Job {
        let mut shared = lock(&self.inner.shared);
        loop {
            if shared.closing {
                return Job::Close;
            }
            if let Some(order) = shared.drop_wanted.take() {
                return Job::Drop(order);
            }
            if shared.retain_wanted && (!self.inner.options.ring || shared.refusing) {
                shared.retain_wanted = false;
                return Job::Retain;
            }
            let now = Instant::now();
            let wait = match shared.tail.waiting_since() {
                None => {
                    shared.sync_wanted = false;
                    if self.look_at.is_some_and(|at| at <= now) {
                        return Job::Retain;
                    }
                    self.look_at.map(|at| at - now)
                }
                Some(since) => {
                    let urgent = shared.sync_wanted;
                    let soon = urgent || shared.tail.unsynced_bytes() >= BATCH_BYTES;
                    let due = if soon { now } else { since + self.inner.options.sync_interval };
                    let pause = if urgent { RETRY_URGENT } else { RETRY };
                    let due = self.failed_at.map_or(due, |at| due.max(at + pause));
                    if due <= now {
                        shared.sync_wanted = false;
                        return Job::Write(shared.tail.after(shared.tail.durable).cloned().collect());
                    }
                    Some(due - now)
                }
            };
            // What is due goes first.
            if self.dropping.is_some() {
                return Job::GoOnDropping;
            }
            shared = match wait {
                None => self.inner.work.wait(shared).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    let waited = self.inner.work.wait_timeout(shared, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Brings frames to disk, or says why not.
    pub(crate) fn attempt(&mut self, frames: &[TailFrame]) {
        let Some(last) = frames.last().map(|f| f.seq) else { return };
        match self.write(frames) {
            Ok(()) => self.succeeded(last),
            Err(error) => self.failed(&error),
        }
    }

    fn write(&mut self, frames: &[TailFrame]) -> io::Result<()> {
        for frame in frames {
            // A segment is of one schema.
            let most = self.inner.options.segment_bytes;
            let is_full = |a: &Active| a.size() >= most || a.segment.contents.is_ragged();
            if self.active.as_ref().is_some_and(|a| is_full(a) || a.segment.schema != frame.schema) {
                self.roll()?;
            }
            if self.active.is_none() {
                self.create(frame.seq, frame.schema)?;
            }
            let Some(active) = &mut self.active else { continue };
            active.push(frame.into(), frame.times);
            if active.pending() >= WRITE_BYTES {
                active.write()?;
            }
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        active.write()?;
        active.file.sync()?;
        let segment = active.segment.clone();
        self.put_in_index(segment);
        Ok(())
    }

    fn create(&mut self, first: u64, schema: SchemaHash) -> io::Result<()> {
        let inner = &self.inner;
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let json = lock(&inner.shared).schema_json(schema).unwrap_or_default();
        let schema = (schema, &json[..]);
        let path = self.dir.join(file_name(ordinal));
        let active = Active::create(&*inner.options.disk, path, ordinal, inner.incarnation, first, schema)?;
        // In the index from the start, without frames: on any error it must not be forgotten on disk.
        let mut empty = active.segment.clone();
        empty.contents.end = empty.start;
        self.active = Some(active);
        self.put_in_index(empty);
        self.inner.options.disk.sync_dir(&self.dir)
    }

    /// Closes the active segment. Its frames are in the index and on disk when this returns.
    pub(crate) fn roll(&mut self) -> io::Result<()> {
        let Some(active) = self.active.take() else { return Ok(()) };
        let ordinal = active.segment.ordinal;
        match active.close() {
            Ok(segment) => {
                let last = segment.last();
                self.put_in_index(segment);
                self.set_durable(last);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(ordinal, %error, "segment not closed");
                Err(error)
            }
        }
    }

    /// The index has it as it is on disk from here on, and the tail knows that in the same moment: who takes both finds
    /// each frame once. What was told as lost while it was written stays lost.
    fn put_in_index(&self, mut segment: Segment) {
        let mut shared = lock(&self.inner.shared);
        if segment.incarnation == self.inner.incarnation {
            let last = segment.last();
            shared.tail.set_durable(last);
            shared.told(last);
        }
        if let Some(gone) = shared.gone.get(&segment.incarnation) {
            segment.contents.present = segment.contents.present.minus(gone);
        }
        match shared.segments.iter_mut().rev().find(|s| s.ordinal == segment.ordinal) {
            Some(known) => *known = segment,
            None => shared.segments.push(segment),
        }
    }

    fn set_durable(&self, seq: u64) {
        self.inner.watermark.send_modify(|w| w.durable = w.durable.max(seq));
    }

    /// All up to `last` is on disk.
    fn reached(&mut self, last: u64) {
        // In this order: who sees the frames durable by either watch sees no fault of before.
        let mut fault = None;
        self.inner.progress.send_modify(|p| fault = p.fault.take());
        self.set_durable(last);
        self.inner.progress.send_modify(|p| p.durable = p.durable.max(last));
        self.failed_at = None;
        self.space_at = None;
        if let Some(fault) = fault {
            tracing::info!("buffer writes again");
            self.inner.event("buffer.recovered", Severity::Info, format!("after: {fault}"));
        }
    }

    fn succeeded(&mut self, last: u64) {
        self.reached(last);
        self.close_earlier();
        self.judge_suspects();
        self.retain();
        self.note_gone();
        self.reserve.take();
        self.inner.tell_losses();
    }

    pub(crate) fn failed(&mut self, error: &io::Error) {
        let first = self.failed_at.replace(Instant::now()).is_none();
        if let Some(active) = self.active.take() {
            self.give_up(&active);
        }
        let detail = error.to_string();
        let told = self.inner.progress.borrow().fault.is_some();
        self.inner.progress.send_modify(|p| {
            p.failures += 1;
            p.fault = Some(detail.clone());
        });
        if first && !told {
            tracing::error!(error = detail, "buffer cannot write");
            self.inner.event("buffer.fault", Severity::Alarm, detail);
        }
        if is_full(error) {
            self.make_space();
        }
    }

    /// Leaves a segment as far as it is known to be on disk.
    fn give_up(&self, active: &Active) {
        let mut shared = lock(&self.inner.shared);
        let Some(at) = shared.segments.iter().position(|s| s.ordinal == active.segment.ordinal) else {
            drop(shared);
            let _ = self.inner.options.disk.remove(&active.segment.path);
            return;
        };
        if shared.segments[at].contents.present.is_empty() {
            let gone = shared.segments.remove(at);
            drop(shared);
            let _ = self.inner.options.disk.remove(&gone.path);
        } else {
            let end = shared.segments[at].contents.end;
            shared.segments[at].bytes = end;
            drop(shared);
            if let Err(error) = active.file.set_size(end) {
                tracing::warn!(%error, "rest of a given-up segment stays");
            }
        }
    }

    /// Closes what earlier runs left open, once what they lost is told and on disk.
    fn close_earlier(&mut self) {
        if !std::mem::take(&mut self.to_close) {
            return;
        }
        let open: Vec<Segment> = {
            let shared = lock(&self.inner.shared);
            let earlier = |s: &&Segment| (!s.closed || s.headless) && s.incarnation != self.inner.incarnation;
            shared.segments.iter().filter(earlier).cloned().collect()
        };
        for mut segment in open {
            let file = self.inner.options.disk.open(&segment.path, true);
            match file.and_then(|f| write_footer(&*f, &mut segment)) {
                Ok(()) => self.put_in_index(segment),
                Err(error) => tracing::warn!(path = %segment.path.display(), %error, "segment not closed"),
            }
        }
    }

    /// Everything to disk, with what the buffer has to tell of that, and the end of the last segment.
    fn finish(&mut self) {
        // Each time may drop something and tell of it; a disk that refuses is not asked again.
        for _ in 0..3 {
            self.inner.tell_losses();
            let frames: Vec<TailFrame> = {
                let shared = lock(&self.inner.shared);
                shared.tail.after(shared.tail.durable).cloned().collect()
            };
            self.attempt(&frames);
            if frames.is_empty() || self.failed_at.is_some() {
                break;
            }
        }
        // Once more, if the disk refused it after the last frames: the next start would tell the same losses again.
        self.note_gone();
        if let Err(error) = self.roll() {
            tracing::warn!(%error, "last segment not closed");
        }
    }

    fn note_gone(&mut self) {
        if let Err(error) = self.keep_gone() {
            tracing::warn!(%error, "what is gone is not on disk");
        }
    }

    /// Ordinal of the segment that is being written.
    pub(crate) fn active_ordinal(&self) -> Option<u64> {
        self.active.as_ref().map(|a| a.segment.ordinal)
    }
}
