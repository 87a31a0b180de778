//! The one thread that writes. Jobs come through a bounded queue; frames and steps of commands that wait together
//! are stored in one transaction. What the writer keeps in memory (ranks, marks, schemas) is read again after a failure.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use cloud_core::{GatewayKey, NewFrame, StoreError};
use common::api::CommandView;
use common::command::CommandUpdate;
use common::{Clock, Incarnation, IntervalSet, SchemaHash};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::db::{Result, db};
use crate::frames;
use crate::tail::{SeriesId, Tail};

/// Frames in one transaction, about.
const GROUP_FRAMES: usize = 512;

/// An incarnation.
pub(crate) struct Rank {
    pub(crate) incarnation: Incarnation,
    pub(crate) gateway: Arc<GatewayKey>,
    /// Row of `gateways`.
    pub(crate) gateway_row: i64,
}

/// A schema that frames refer to.
pub(crate) struct KnownSchema {
    /// Row of `schemas`.
    pub(crate) row: i64,
    /// Series by point number; `NO_SERIES` where not yet asked for.
    pub(crate) series: Vec<SeriesId>,
}

/// Not asked for yet.
pub(crate) const NO_SERIES: SeriesId = 0;

/// What the writer knows without asking the database.
#[derive(Default)]
pub(crate) struct Cache {
    pub(crate) ranks: HashMap<u64, Rank>,
    pub(crate) marks: HashMap<u64, IntervalSet>,
    pub(crate) schemas: HashMap<SchemaHash, KnownSchema>,
    /// Last word of each row of `gateways` that is stored.
    pub(crate) last_us: HashMap<i64, i64>,
}

/// The writer's side.
pub(crate) struct Writer {
    conn: Connection,
    pub(crate) clock: Clock,
    pub(crate) tail: Arc<RwLock<Tail>>,
    cache: Cache,
    is_stale: bool,
}

impl Writer {
    pub(crate) fn new(conn: Connection, clock: Clock, tail: Arc<RwLock<Tail>>) -> Result<Self> {
        let cache = frames::load_cache(&conn)?;
        Ok(Self { conn, clock, tail, cache, is_stale: false })
    }

    /// Runs `change` in a transaction and commits. After an error nothing is changed.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&Transaction<'_>) -> Result<R>) -> Result<R> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(db)?;
        let result = change(&tx)?;
        tx.commit().map_err(db)?;
        Ok(result)
    }

    /// As `change`, for what also changes the cache.
    pub(crate) fn change_with_cache<R>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &mut Cache) -> Result<R>,
    ) -> Result<R> {
        self.refresh()?;
        // Until the commit: an error on the way leaves the cache ahead of the database.
        self.is_stale = true;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(db)?;
        let result = change(&tx, &mut self.cache)?;
        tx.commit().map_err(db)?;
        self.is_stale = false;
        Ok(result)
    }

    /// As `change`; the tail is locked over the commit and given to `then`, so that a reader sees either both
    /// or neither.
    pub(crate) fn change_with_tail<R>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<R>,
        then: impl FnOnce(&mut Tail),
    ) -> Result<R> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(db)?;
        let result = change(&tx)?;
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        tx.commit().map_err(db)?;
        then(&mut tail);
        Ok(result)
    }

    /// Brings the write-ahead log into the file.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        crate::db::checkpoint(&self.conn)
    }

    fn refresh(&mut self) -> Result<()> {
        if self.is_stale {
            self.cache = frames::load_cache(&self.conn)?;
            self.is_stale = false;
        }
        Ok(())
    }

    fn store(&mut self, waiting: Vec<Waiting>) {
        if waiting.len() > 1 {
            let items: Vec<_> = waiting.iter().map(Waiting::item).collect();
            if let Ok(results) = frames::store(self, &items) {
                for (waiting, result) in waiting.into_iter().zip(results) {
                    waiting.answer(Ok(result));
                }
                return;
            }
            // One of them may be at fault: each for itself.
        }
        for waiting in waiting {
            let result = frames::store(self, &[waiting.item()]).map(|mut r| r.pop());
            waiting.answer(result.map(|r| r.unwrap_or(frames::Stored::Frames(Vec::new()))));
        }
    }
}

/// What may share a transaction with others of its kind.
enum Waiting {
    Frames { frames: Vec<NewFrame>, reply: SyncSender<Result<Vec<bool>>> },
    Step { update: Box<CommandUpdate>, reply: SyncSender<Result<CommandView>> },
}

impl Waiting {
    fn weight(&self) -> usize {
        match self {
            Self::Frames { frames, .. } => frames.len(),
            Self::Step { .. } => 1,
        }
    }

    fn item(&self) -> frames::Item<'_> {
        match self {
            Self::Frames { frames, .. } => frames::Item::Frames(frames),
            Self::Step { update, .. } => frames::Item::Step(update),
        }
    }

    fn answer(self, result: Result<frames::Stored>) {
        match (self, result) {
            (Self::Frames { reply, .. }, Ok(frames::Stored::Frames(new))) => drop(reply.send(Ok(new))),
            (Self::Step { reply, .. }, Ok(frames::Stored::Step(view))) => drop(reply.send(Ok(*view))),
            (Self::Frames { reply, .. }, result) => drop(reply.send(Err(misfit(result)))),
            (Self::Step { reply, .. }, result) => drop(reply.send(Err(misfit(result)))),
        }
    }
}

fn misfit(result: Result<frames::Stored>) -> StoreError {
    let odd = || StoreError::Database { detail: "the writer mixed up its answers".into() };
    result.err().unwrap_or_else(odd)
}

enum Job {
    Store(Waiting),
    Run(Box<dyn FnOnce(&mut Writer) + Send>),
    Stop,
}

/// The callers' side.
pub(crate) struct WriterHandle {
    jobs: SyncSender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn stopped<T>(_: T) -> StoreError {
    StoreError::Database { detail: "the writer has stopped, or the request made it fail".into() }
}

fn failed_on_it() -> StoreError {
    StoreError::Refused { what: "the writer failed on it: see the cloud's log".into() }
}

impl WriterHandle {
    pub(crate) fn start(writer: Writer, queue: usize) -> Result<Self> {
        let (jobs, rx) = sync_channel(queue.max(1));
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || work(writer, &rx))
            .map_err(|e| StoreError::Database { detail: format!("writer thread: {e}") })?;
        Ok(Self { jobs, thread: Mutex::new(Some(thread)) })
    }

    /// Runs a job and waits for it. Blocks: not for a runtime's own threads.
    pub(crate) fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (reply, answer) = sync_channel(1);
        let job = move |writer: &mut Writer| {
            let _ = reply.send(job(writer));
        };
        self.jobs.send(Job::Run(Box::new(job))).map_err(stopped)?;
        answer.recv().map_err(stopped)?
    }

    /// Accepts frames, together with others that wait. Blocks as `run` does.
    pub(crate) fn accept(&self, frames: Vec<NewFrame>) -> Result<Vec<bool>> {
        let (reply, answer) = sync_channel(1);
        self.jobs.send(Job::Store(Waiting::Frames { frames, reply })).map_err(stopped)?;
        // Without an answer and with a writer that goes on, these very frames made it fail.
        let failed = |e| if self.goes_on() { failed_on_it() } else { stopped(e) };
        answer.recv().map_err(failed)?
    }

    fn goes_on(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Puts a command one step on, together with frames that wait. Blocks as `run` does.
    pub(crate) fn step(&self, update: CommandUpdate) -> Result<CommandView> {
        let (reply, answer) = sync_channel(1);
        self.jobs.send(Job::Store(Waiting::Step { update: Box::new(update), reply })).map_err(stopped)?;
        answer.recv().map_err(stopped)?
    }

    /// Ends the thread when what is queued is done, and waits for it.
    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = self.jobs.send(Job::Stop);
            let _ = thread.join();
        }
    }
}

fn work(mut writer: Writer, jobs: &Receiver<Job>) {
    let mut next = None;
    loop {
        let job = match next.take() {
            Some(job) => job,
            None => match jobs.recv() {
                Ok(job) => job,
                Err(_) => return,
            },
        };
        let guarded = |writer: &mut Writer, work: Box<dyn FnOnce(&mut Writer) + '_>| {
            if catch_unwind(AssertUnwindSafe(|| work(writer))).is_err() {
                tracing::error!("a storage job panicked; nothing of it was stored");
                writer.is_stale = true;
            }
        };
        match job {
            Job::Stop => return,
            Job::Run(job) => guarded(&mut writer, job),
            Job::Store(first) => {
                let mut weight = first.weight();
                let mut waiting = vec![first];
                while weight < GROUP_FRAMES {
                    match jobs.try_recv() {
                        Ok(Job::Store(more)) => {
                            weight += more.weight();
                            waiting.push(more);
                        }
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                    }
                }
                guarded(&mut writer, Box::new(|w| w.store(waiting)));
            }
        }
    }
}
