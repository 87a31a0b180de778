//! Storage on SQLite, embedded: frames and marks, history in column chunks with roll-ups, twins, commands,
//! audit, accounts. One thread writes; a few connections read. Everything that is `Ok` is on the disk.
//!
//! Not here: what a frame does to the live state (`cloud-twin`), and who may ask for what (`cloud-api`).

mod accounts;
mod alarms;
mod boxes;
mod bucket;
mod codec;
mod commands;
mod compact;
mod db;
mod desired;
mod first;
mod frames;
mod history;
mod identity;
mod load;
mod log;
mod schemas;
mod storage;
mod tail;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cloud_core::StoreError;
use common::{Clock, TwinId};
use rusqlite::{Connection, params};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::db::{Readers, Result, db};
use crate::tail::Tail;
use crate::writer::{Writer, WriterHandle};

/// How storage is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database's file. Its folder is made if it is missing; a lock file stands beside it.
    pub path: PathBuf,
    /// Samples older than so many days are removed, their roll-ups stay. None (the default): all are kept.
    pub raw_days: Option<u32>,
    /// Connections for reading; at least two.
    pub readers: usize,
    /// Requests that may wait for the writer.
    pub queue: usize,
    /// Samples of a point that make a chunk complete: from then on it has roll-ups.
    pub chunk_rows: usize,
    /// Small chunks of a point that are merged into one.
    pub merge_chunks: usize,
}

impl Options {
    /// The defaults for a database at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), raw_days: None, readers: 4, queue: 64, chunk_rows: 4096, merge_chunks: 16 }
    }
}

/// What all sides share.
pub(crate) struct Shared {
    clock: Clock,
    tail: Arc<RwLock<Tail>>,
    readers: Readers,
    writer: WriterHandle,
    /// Held by the one compaction that runs.
    upkeep: Mutex<compact::Upkeep>,
    raw_days: Option<u32>,
    limits: compact::Limits,
    store_id: uuid::Uuid,
    _lock: db::Lock,
}

/// Storage in one SQLite database.
pub struct Sqlite {
    shared: Arc<Shared>,
    /// One permit for each read connection: who waits for one does not hold a thread.
    reads: Arc<Semaphore>,
    /// One fewer: history and lists leave a connection to those who only sign in or look something up.
    long_reads: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens or makes a database, and reads back what is not compacted. Blocks while it does.
    ///
    /// # Errors
    /// When the file is damaged, of a newer program, held by another process, or cannot be written.
    pub fn open(options: Options, clock: Clock) -> std::result::Result<Arc<Self>, StoreError> {
        if let Some(folder) = options.path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| StoreError::Database { detail: format!("{}: {e}", folder.display()) })?;
        }
        let lock = db::lock(&options.path)?;
        let conn = db::open_writer(&options.path)?;
        let store_id = identity::of(&conn)?;
        let mut tail = Tail::default();
        frames::rebuild_tail(&conn, &mut tail)?;
        let tail = Arc::new(RwLock::new(tail));
        let connections = options.readers.max(2);
        let readers = Readers::open(&options.path, connections)?;
        let writer = Writer::new(conn, clock.clone(), Arc::clone(&tail))?;
        let writer = WriterHandle::start(writer, options.queue)?;
        let checkpointer = db::Checkpointer::open(&options.path)?;
        let upkeep = Mutex::new(compact::Upkeep { maintained: None, checkpointed: None, checkpointer });
        let raw_days = options.raw_days;
        let limits = compact::Limits { seal: options.chunk_rows.max(1), merge: options.merge_chunks.max(2) };
        let shared = Shared { clock, tail, readers, writer, upkeep, raw_days, limits, store_id, _lock: lock };
        let (reads, long_reads) = (Semaphore::new(connections), Semaphore::new(connections - 1));
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            reads: Arc::new(reads),
            long_reads: Arc::new(long_reads),
        }))
    }

    /// Frames that are accepted and not compacted.
    pub fn uncompacted_frames(&self) -> usize {
        self.shared.tail.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Which devices a twin was bound to, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn bindings(&self, twin: TwinId) -> std::result::Result<Vec<cloud_core::Binding>, StoreError> {
        self.read(move |conn| {
            let sql = "SELECT g.tenant, g.gateway, b.device, b.from_us, b.to_us FROM bindings b
                       JOIN gateways g ON g.id = b.gateway WHERE b.twin = ?1 ORDER BY b.from_rank, b.id";
            let mut statement = conn.prepare_cached(sql).map_err(db)?;
            let mut rows = statement.query(params![twin.to_string()]).map_err(db)?;
            let mut out = Vec::new();
            while let Some(row) = rows.next().map_err(db)? {
                out.push(cloud_core::Binding {
                    twin,
                    gateway: frames::gateway_key(row.get(0).map_err(db)?, row.get(1).map_err(db)?)?,
                    device: row.get(2).map_err(db)?,
                    from_us: row.get(3).map_err(db)?,
                    to_us: row.get(4).map_err(db)?,
                });
            }
            Ok(out)
        })
        .await
    }

    /// Reads on a free connection, on a thread that may block.
    async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let permit = permit(&self.reads).await?;
        self.blocking(move |shared| {
            // Goes along: a read whose caller has gone still counts until it ends.
            let _permit = permit;
            shared.readers.with(read)
        })
        .await
    }

    /// As `read`, for what may take long.
    async fn read_long<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let permit = permit(&self.long_reads).await?;
        self.read(move |conn| {
            let _permit = permit;
            read(conn)
        })
        .await
    }

    /// Changes in one transaction on the writer's thread.
    async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.blocking(move |shared| shared.writer.run(job)).await
    }

    /// A thread that may block: it is not cut off when the caller stops waiting, and paused time stands
    /// still meanwhile.
    async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(|e| StoreError::Database { detail: format!("storage task: {e}") })?
    }
}

async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let closed = |_| StoreError::Database { detail: "the database is closed".into() };
    Arc::clone(of).acquire_owned().await.map_err(closed)
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer is the last to close: it then brings the write-ahead log into the file.
        self.readers.close();
        self.upkeep.get_mut().unwrap_or_else(PoisonError::into_inner).checkpointer.close();
        self.writer.stop();
    }
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
