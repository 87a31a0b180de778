//! Storage: frames and marks, history in column chunks with roll-ups, twins, commands, audit, accounts; on SQLite,
//! embedded, or on a PostgreSQL server. One thread writes; a few connections read. Everything that is `Ok` is on the
//! disk. All but `sqlite` and `pg` is the same for both.
//!
//! Not here: what a frame does to the live state (`cloud-twin`), and who may ask for what (`cloud-api`).

mod accounts;
mod alarms;
mod align;
mod backup;
mod boxes;
mod bucket;
mod bucket_codec;
mod certificates;
mod clocks;
mod codec;
mod commands;
mod compact;
mod configurations;
mod damage;
mod db;
mod delete;
mod desired;
mod durations;
mod export;
mod feeds;
mod first;
mod frames;
mod gaps;
mod gather;
mod history;
mod identity;
mod load;
mod log;
mod marks;
mod merge;
mod pg;
mod pg_setup;
mod pg_tls;
mod place;
mod points;
mod restore;
mod retention;
mod revocations;
mod schemas;
mod second;
mod small;
mod sql;
mod sqlite;
mod stamps;
mod storage;
mod tail;
mod times;
mod transfer;
mod updates;
mod wal;
mod waveforms;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cloud_core::StoreError;
use common::{Clock, Opening, TwinId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use crate::backup::{Verified, backup, shrink, verify};
use crate::db::{Readers, Result, refused};
pub use crate::pg::{Server, ServerError};
pub use crate::place::Place;
pub use crate::restore::{Deleted, deleted_since, restore};
pub use crate::retention::{Class, Keep, Retention};
use crate::revocations::List;
use crate::sql::{Conn, params};
use crate::tail::Tail;
pub use crate::transfer::{Copied, copy};
use crate::writer::{Writer, WriterHandle};

/// Samples that are merged in one transaction. More would be a little less to write, and more memory at a time.
const MERGED_AT_ONCE: usize = 1 << 17;

/// How storage is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database.
    pub place: Place,
    /// How long history is kept; by default for ever.
    pub retention: Retention,
    /// File in which revocations are written down once more, for a database that is restored from a backup of before. By default
    /// none.
    pub revocations: Option<PathBuf>,
    /// Connections for reading; at least two.
    pub readers: usize,
    /// Requests that may wait for the writer.
    pub queue: usize,
    /// Samples of a point that make a chunk complete: from then on it has roll-ups.
    pub chunk_rows: usize,
    /// Small chunks of a point that are merged into one; fewer if they make a complete one.
    pub merge_chunks: usize,
    /// Told how the opening goes on.
    pub opening: Opening,
}

impl Options {
    /// The defaults for an SQLite database at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Sqlite(path.into()))
    }

    /// The defaults for a database.
    pub fn at(place: Place) -> Self {
        Self {
            place,
            retention: Retention::default(),
            revocations: None,
            readers: 4,
            queue: 64,
            chunk_rows: 4096,
            merge_chunks: 32,
            opening: Opening::default(),
        }
    }
}

/// What all sides share.
pub(crate) struct Shared {
    clock: Clock,
    tail: Arc<RwLock<Tail>>,
    /// Samples in the tail.
    waiting: Arc<std::sync::atomic::AtomicUsize>,
    readers: Readers,
    writer: WriterHandle,
    /// Held by who changes chunks.
    upkeep: Mutex<compact::Upkeep>,
    /// What cannot be read.
    damage: Arc<damage::Damage>,
    retention: Retention,
    limits: compact::Limits,
    store_id: uuid::Uuid,
    /// Told of each change that has to do with updates.
    updates: watch::Sender<()>,
}

/// Storage in one database.
pub struct Store {
    shared: Arc<Shared>,
    /// One permit for each read connection: who waits for one does not hold a thread.
    reads: Arc<Semaphore>,
    /// One fewer: history and lists leave a connection to those who only sign in or look something up.
    long_reads: Arc<Semaphore>,
}

impl Store {
    /// Opens or makes a database, and reads back what is not compacted. Blocks while it does: not for a runtime's
    /// own threads.
    ///
    /// # Errors
    /// When the database is damaged, of a newer program, held by another process, or cannot be had or written.
    pub fn open(options: Options, clock: Clock) -> std::result::Result<Arc<Self>, StoreError> {
        let (home, conn) = place::Home::open(options.place.clone(), &options.opening)?;
        let damage = Arc::new(damage::Damage::default());
        if let Some(frame) = home.spoilt {
            damage.note_frames(identity::renew(&conn, frame, clock.now_us())?);
        }
        let store_id = identity::of(&conn)?;
        let revocations = options.revocations.map(List::new);
        if let Some(list) = &revocations {
            list.merge(&conn, clock.now_us())?;
        }
        let mut tail = Tail::default();
        let unreadable = frames::rebuild_tail(&conn, &mut tail, &options.opening)?;
        damage.note_frames(frames::put_aside(&conn, unreadable, clock.now_us())?);
        let waiting = Arc::clone(&tail.samples);
        let tail = Arc::new(RwLock::new(tail));
        let connections = options.readers.max(2);
        let place = options.place.clone();
        let readers = Readers::open(connections, move || place.reader())?;
        let checkpointer = options.place.checkpointer()?;
        let writer = Writer::new(conn, home, clock.clone(), Arc::clone(&tail), revocations)?;
        let writer = WriterHandle::start(writer, options.queue)?;
        let upkeep = Mutex::new(compact::Upkeep {
            small: Default::default(),
            maintained: None,
            checkpointed: None,
            checkpointer,
        });
        let retention = options.retention;
        let limits = compact::Limits {
            seal: options.chunk_rows.max(1),
            merge: options.merge_chunks.max(2),
            at_once: MERGED_AT_ONCE,
        };
        let updates = watch::Sender::new(());
        let shared = Shared {
            clock,
            tail,
            waiting,
            readers,
            writer,
            upkeep,
            damage,
            retention,
            limits,
            store_id,
            updates,
        };
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

    /// Their bytes, as they were received.
    pub fn uncompacted_bytes(&self) -> usize {
        self.shared.tail.read().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// Which devices a twin was bound to, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn bindings(&self, twin: TwinId) -> std::result::Result<Vec<cloud_core::Binding>, StoreError> {
        self.read(move |conn| {
            let sql = "SELECT g.tenant, g.gateway, b.device, b.from_us, b.to_us FROM bindings b
                       JOIN gateways g ON g.id = b.gateway WHERE b.twin = ?1 ORDER BY b.from_rank, b.id";
            conn.all(sql, params![twin.to_string()], |row| {
                Ok(cloud_core::Binding {
                    twin,
                    gateway: frames::gateway_key(row.get(0)?, row.get(1)?)?,
                    device: row.get(2)?,
                    from_us: row.get(3)?,
                    to_us: row.get(4)?,
                })
            })
        })
        .await
    }

    /// Reads on a free connection, on a thread that may block.
    async fn read<R: Send + 'static>(
        &self,
        read: impl FnMut(&Conn) -> Result<R> + Send + 'static,
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
        mut read: impl FnMut(&Conn) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let permit = permit(&self.long_reads).await?;
        self.read(move |conn| {
            let _permit = &permit;
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
        done.map_err(|e| refused(format!("storage task: {e}")))?
    }
}

async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let closed = |_| refused("the database is closed");
    Arc::clone(of).acquire_owned().await.map_err(closed)
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer is the last to close: it then brings the write-ahead log into the file.
        self.readers.close();
        self.upkeep.get_mut().unwrap_or_else(PoisonError::into_inner).checkpointer = None;
        self.writer.stop();
    }
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;

#[cfg(test)]
mod older_tests;
