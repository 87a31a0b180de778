//! What the rest of the crate shares about the database: results, JSON and integers in columns, connections for
//! reading, and the versions of the tables.

use std::sync::{Condvar, Mutex, PoisonError};

use cloud_core::StoreError;

use crate::sql::Conn;

/// One entry for each version: what brings the database from the one before to it. Written for SQLite; `pg` says how
/// PostgreSQL reads it, and adds what stands in the second text.
pub(crate) const MIGRATIONS: &[(&str, &str)] = &[
    (include_str!("schema.sql"), include_str!("schema_pg.sql")),
    (include_str!("alarms.sql"), ""),
    (include_str!("identity.sql"), ""),
    (include_str!("gaps.sql"), ""),
    (include_str!("deletions.sql"), ""),
    (include_str!("boxes.sql"), ""),
    (include_str!("history.sql"), ""),
    (include_str!("certificates.sql"), ""),
    (include_str!("stamps.sql"), "ALTER TABLE stamps ALTER COLUMN blob SET STORAGE EXTERNAL;"),
    (include_str!("waveforms.sql"), "ALTER TABLE waveforms ALTER COLUMN blob SET STORAGE EXTERNAL;"),
    (include_str!("speaks.sql"), ""),
    (include_str!("configurations.sql"), ""),
    (include_str!("updates.sql"), "ALTER TABLE release_parts ALTER COLUMN bytes SET STORAGE EXTERNAL;"),
    (include_str!("points.sql"), ""),
    (include_str!("aside.sql"), ""),
    (include_str!("damaged.sql"), ""),
    (include_str!("lacking.sql"), ""),
    (include_str!("classes.sql"), ""),
];

/// The version since which chunks may refer to stamps.
pub(crate) const STAMPS_SINCE: usize = 9;

/// A result of this crate.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// An error of the database.
pub(crate) fn refused(detail: impl Into<String>) -> StoreError {
    StoreError::Database { detail: detail.into() }
}

/// Something of ours that stands in the database and cannot be read.
pub(crate) fn damaged(what: impl std::fmt::Display, why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged { what: format!("{what} is damaged: {why}") }
}

/// The database was made by a newer program, or is half a copy (see `Conn::set_version`).
pub(crate) fn newer(place: impl std::fmt::Display, found: i64) -> StoreError {
    if found < 0 {
        return refused(format!("{place}: a copy into it was cut; remove the database and copy again"));
    }
    refused(format!("{place}: version {found} is of a newer program, this one knows {}", MIGRATIONS.len()))
}

/// A value as the JSON text that a column holds.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| refused(e.to_string()))
}

/// What `to_json` wrote.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| damaged(what, e))
}

/// A database's integers are signed: the same bits.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn to_sql(n: u64) -> i64 {
    n as i64
}

/// What `to_sql` gave.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn from_sql(n: i64) -> u64 {
    n as u64
}

/// A few connections for reading.
pub(crate) struct Readers {
    free: Mutex<Vec<Conn>>,
    returned: Condvar,
    open: Box<dyn Fn() -> Result<Conn> + Send + Sync>,
}

impl Readers {
    pub(crate) fn open(n: usize, open: impl Fn() -> Result<Conn> + Send + Sync + 'static) -> Result<Self> {
        let free = (0..n.max(1)).map(|_| open()).collect::<Result<_>>()?;
        Ok(Self { free: Mutex::new(free), returned: Condvar::new(), open: Box::new(open) })
    }

    /// Closes the connections that are free.
    pub(crate) fn close(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs `read` on a free connection, waiting for one; once more on a new one if it was lost. Blocks: not for a
    /// runtime's own threads.
    pub(crate) fn with<R>(&self, mut read: impl FnMut(&Conn) -> Result<R>) -> Result<R> {
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
            Some(conn) => {
                if conn.is_lost() {
                    *conn = (self.open)()?;
                }
                let result = read(conn);
                if result.is_err() && conn.is_lost() {
                    *conn = (self.open)()?;
                    return read(conn);
                }
                result
            }
            None => Err(refused("no read connection")),
        }
    }
}

/// Gives the connection back also when the reading panics.
struct GiveBack<'a> {
    to: &'a Readers,
    conn: Option<Conn>,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.to.free.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            self.to.returned.notify_one();
        }
    }
}
