//! The one thread that writes. Jobs come through a bounded queue; frames and steps of commands that wait together
//! are stored in one transaction. What the writer keeps in memory (ranks, marks, schemas) is read again after a failure.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::db::{Result, refused};
use crate::place::Home;
use crate::revocations::{List, Revoked};
use crate::sql::{Commit, Conn, Tx};
use crate::tail::{Numbers, Tail};
use crate::{clocks, frames};
use cloud_core::{GatewayKey, NewFrame, StoreError};
use common::api::CommandView;
use common::command::CommandUpdate;
use common::{Clock, Incarnation, IntervalSet, SchemaHash};

/// How often a request tries to find a server that is away.
const TRIES: u32 = 50;
const RECONNECT_EVERY: Duration = Duration::from_millis(100);
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
    pub(crate) series: Numbers,
}

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
    conn: Conn,
    home: Home,
    pub(crate) clock: Clock,
    pub(crate) tail: Arc<RwLock<Tail>>,
    cache: Cache,
    is_stale: bool,
    /// How often the connection was made again.
    connects: u64,
    is_stopping: Arc<AtomicBool>,
    /// Where revocations are written down once more.
    revocations: Option<List>,
}

impl Writer {
    pub(crate) fn new(
        conn: Conn,
        home: Home,
        clock: Clock,
        tail: Arc<RwLock<Tail>>,
        revocations: Option<List>,
    ) -> Result<Self> {
        let cache = frames::load_cache(&conn)?;
        let is_stopping = Arc::default();
        Ok(Self { conn, home, clock, tail, cache, is_stale: false, connects: 0, is_stopping, revocations })
    }

    /// As `change`, for what makes something worthless: it goes to the list as well, once it is so.
    pub(crate) fn revoke(&mut self, change: impl FnOnce(&Tx<'_>) -> Result<Revoked>) -> Result<Revoked> {
        let revoked = self.change(change)?;
        if let Some(list) = &self.revocations {
            list.add(&revoked);
        }
        Ok(revoked)
    }

    /// Runs `change` in a transaction and commits. After an error nothing is changed.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&Tx<'_>) -> Result<R>) -> Result<R> {
        self.change_with_tail(change, |_| ())
    }

    /// As `change`, for what also changes the cache.
    pub(crate) fn change_with_cache<R>(
        &mut self,
        change: impl FnOnce(&Tx<'_>, &mut Cache) -> Result<R>,
    ) -> Result<R> {
        self.reconnect(Some(TRIES))?;
        self.refresh()?;
        // Until the commit: an error on the way leaves the cache ahead of the database.
        self.is_stale = true;
        let tx = self.conn.write()?;
        let result = change(&tx, &mut self.cache)?;
        let commit = tx.commit()?;
        self.settle(commit)?;
        self.is_stale = false;
        Ok(result)
    }

    /// As `change`; the tail is locked over the commit and given to `then`, so that a reader sees either both
    /// or neither.
    pub(crate) fn change_with_tail<R>(
        &mut self,
        change: impl FnOnce(&Tx<'_>) -> Result<R>,
        then: impl FnOnce(&mut Tail),
    ) -> Result<R> {
        self.reconnect(Some(TRIES))?;
        let tx = self.conn.write()?;
        let result = change(&tx)?;
        let tail = Arc::clone(&self.tail);
        let mut tail = tail.write().unwrap_or_else(PoisonError::into_inner);
        let commit = tx.commit()?;
        self.settle(commit)?;
        then(&mut tail);
        Ok(result)
    }

    /// Brings the write-ahead log into the file.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        crate::sqlite::checkpoint(&self.conn)
    }

    fn refresh(&mut self) -> Result<()> {
        if self.is_stale {
            self.cache = frames::load_cache(&self.conn)?;
            self.is_stale = false;
        }
        Ok(())
    }

    /// Connects again if the server was lost; `tries` times, or until it is there.
    fn reconnect(&mut self, tries: Option<u32>) -> Result<()> {
        let mut tried = 0;
        while self.conn.is_lost() {
            let error = match self.home.again() {
                Ok(conn) => {
                    tracing::info!("the database is there again");
                    self.conn = conn;
                    self.is_stale = true;
                    self.connects += 1;
                    return Ok(());
                }
                Err(error) => error,
            };
            tried += 1;
            // Another process has it: waiting does not help.
            let is_final = matches!(error, StoreError::Conflict { .. });
            if is_final || tries.is_some_and(|n| tried >= n) || self.is_stopping.load(Ordering::Relaxed) {
                return Err(error);
            }
            if tried == 1 {
                tracing::warn!(%error, "the database is away, waiting for it");
            }
            std::thread::park_timeout(RECONNECT_EVERY);
        }
        Ok(())
    }

    /// Finds out what became of a commit that the server did not answer. However long it takes: whoever asked for
    /// the change must not be told the wrong thing, and what is in memory must be as in the database.
    fn settle(&mut self, commit: Commit) -> Result<()> {
        let Commit::Unknown(count) = commit else { return Ok(()) };
        tracing::warn!("the database went away within a commit, waiting for it to learn what became of it");
        loop {
            self.reconnect(None)?;
            match self.home.commits(&self.conn) {
                Ok(counted) if counted >= count => return Ok(()),
                Ok(_) => return Err(refused("the database went away, and nothing was stored")),
                Err(_) if self.conn.is_lost() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Stores items, once more if the server went away on the way.
    fn store_or_again(&mut self, items: &[frames::Item<'_>]) -> Result<Vec<frames::Stored>> {
        let was = self.connects;
        frames::store(self, items).or_else(|error| {
            if self.conn.is_lost() || self.connects != was { frames::store(self, items) } else { Err(error) }
        })
    }

    fn store(&mut self, mut waiting: Vec<Waiting>) {
        for waiting in &mut waiting {
            if let Waiting::Frames { frames, .. } = waiting {
                clocks::judge(frames, &self.tail);
            }
        }
        if waiting.len() > 1 {
            let items: Vec<_> = waiting.iter().map(Waiting::item).collect();
            if let Ok(results) = self.store_or_again(&items) {
                for (waiting, result) in waiting.into_iter().zip(results) {
                    waiting.answer(Ok(result));
                }
                return;
            }
            // One of them may be at fault: each for itself.
        }
        for waiting in waiting {
            let result = self.store_or_again(&[waiting.item()]).map(|mut r| r.pop());
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
    /// Ends the wait for a server that is away.
    is_stopping: Arc<AtomicBool>,
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
        let is_stopping = Arc::clone(&writer.is_stopping);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || work(writer, &rx))
            .map_err(|e| StoreError::Database { detail: format!("writer thread: {e}") })?;
        Ok(Self { jobs, thread: Mutex::new(Some(thread)), is_stopping })
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
            self.is_stopping.store(true, Ordering::Relaxed);
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
