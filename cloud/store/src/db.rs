//! The database file: opening it, bringing it to this program's form, read connections, and what its errors
//! mean. No table is read here.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use cloud_core::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// One entry for each version: what brings the database from the one before to it.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("alarms.sql"),
    include_str!("identity.sql"),
    include_str!("boxes.sql"),
];
const BUSY_MS: u64 = 5_000;
const STATEMENTS: usize = 128;

/// A result of this crate.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// What a statement's error means to a caller.
pub(crate) fn db(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error_code();
    if let Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) = code {
        return StoreError::Refused { what: error.to_string() };
    }
    let what = match code {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => "it is damaged or no database: ",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds it: ",
        Some(ErrorCode::DiskFull) => "the disk is full: ",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "it cannot be opened or written: "
        }
        _ => "",
    };
    StoreError::Database { detail: format!("{what}{error}") }
}

/// Something of ours that stands in the database and cannot be read.
pub(crate) fn damaged(what: impl std::fmt::Display, why: impl std::fmt::Display) -> StoreError {
    StoreError::Database { detail: format!("{what} is damaged: {why}") }
}

/// A value as the JSON text that a column holds.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::Database { detail: e.to_string() })
}

/// What `to_json` wrote.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| damaged(what, e))
}

/// SQLite's integers are signed: the same bits.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn to_sql(n: u64) -> i64 {
    n as i64
}

/// What `to_sql` gave.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn from_sql(n: i64) -> u64 {
    n as u64
}

/// Keeps other processes out while it lives: what is cached here would not see their changes.
pub(crate) struct Lock(#[allow(dead_code)] File);

/// Takes the lock beside the database.
pub(crate) fn lock(path: &Path) -> Result<Lock> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |e: std::io::Error| StoreError::Database { detail: format!("{}: {e}", name.display()) };
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Database { detail: format!("{} is in use by another process", path.display()) })
        }
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// The connection that writes, with the database in this program's form.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    let in_file = |e: rusqlite::Error| {
        let StoreError::Database { detail } = db(e) else {
            return StoreError::Database { detail: String::new() };
        };
        StoreError::Database { detail: format!("{}: {detail}", path.display()) }
    };
    let mut conn = Connection::open(path).map_err(in_file)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS)).map_err(in_file)?;
    conn.pragma_update(None, "page_size", 8192).map_err(in_file)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(in_file)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let detail = format!("{}: journal mode is {mode}, write-ahead log refused", path.display());
        return Err(StoreError::Database { detail });
    }
    conn.pragma_update(None, "synchronous", "FULL").map_err(in_file)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(in_file)?;
    // `Checkpointer` does it beside the writer; this is the net below it.
    conn.pragma_update(None, "wal_autocheckpoint", 8_000).map_err(in_file)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20).map_err(in_file)?;
    conn.pragma_update(None, "cache_size", -32_768).map_err(in_file)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    migrate(&mut conn, path).map_err(|e| match e {
        MigrateError::Sql(e) => in_file(e),
        MigrateError::Newer(found) => StoreError::Database {
            detail: format!(
                "{}: version {found} is of a newer program, this one knows {}",
                path.display(),
                MIGRATIONS.len()
            ),
        },
    })?;
    Ok(conn)
}

enum MigrateError {
    Sql(rusqlite::Error),
    Newer(i64),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sql(e)
    }
}

fn migrate(conn: &mut Connection, path: &Path) -> std::result::Result<(), MigrateError> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let Some(done) = usize::try_from(found).ok().filter(|n| *n <= MIGRATIONS.len()) else {
        return Err(MigrateError::Newer(found));
    };
    for (version, sql) in (1i64..).zip(MIGRATIONS).skip(done) {
        let tx = conn.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
        tracing::info!(path = %path.display(), version, "database brought to version");
    }
    Ok(())
}

/// Brings the write-ahead log into the file beside the writer, which would have to wait for the disk.
pub(crate) struct Checkpointer {
    conn: Option<Connection>,
}

impl Checkpointer {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(db)?;
        conn.pragma_update(None, "synchronous", "FULL").map_err(db)?;
        Ok(Self { conn: Some(conn) })
    }

    /// Brings over what is there now. The log is only begun anew when nothing came meanwhile, so the writer
    /// does the same once more: there is little left then.
    pub(crate) fn run(&self) -> Result<()> {
        self.conn.as_ref().map_or(Ok(()), checkpoint)
    }

    pub(crate) fn close(&mut self) {
        self.conn = None;
    }
}

/// Brings the write-ahead log into the file, waiting for nobody.
pub(crate) fn checkpoint(conn: &Connection) -> Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(db)
}

/// A few connections for reading.
pub(crate) struct Readers {
    free: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl Readers {
    pub(crate) fn open(path: &Path, n: usize) -> Result<Self> {
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
            conn.pragma_update(None, "cache_size", -8_192)?;
            conn.set_prepared_statement_cache_capacity(STATEMENTS);
            Ok(conn)
        };
        let free = (0..n.max(1)).map(|_| open()).collect::<rusqlite::Result<_>>().map_err(db)?;
        Ok(Self { free: Mutex::new(free), returned: Condvar::new() })
    }

    /// Closes the connections that are free.
    pub(crate) fn close(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs `read` on a free connection, waiting for one. Blocks: not for a runtime's own threads.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&mut Connection) -> Result<R>) -> Result<R> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = loop {
            match free.pop() {
                Some(conn) => break conn,
                None => free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(free);
        let mut back = GiveBack { to: self, conn: Some(conn) };
        match &mut back.conn {
            Some(conn) => read(conn),
            None => Err(StoreError::Database { detail: "no read connection".into() }),
        }
    }
}

/// Gives the connection back also when the reading panics.
struct GiveBack<'a> {
    to: &'a Readers,
    conn: Option<Connection>,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.to.free.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            self.to.returned.notify_one();
        }
    }
}
