//! SQLite: opening its file, bringing it to this program's form, running statements, and what its errors mean.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use cloud_core::StoreError;
use common::Opening;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, ToSql, params_from_iter};

use crate::db::{MIGRATIONS, Result, damaged, newer};
use crate::sql::{Cell, Conn, Params, Row};

const BUSY_MS: u64 = 5_000;
const STATEMENTS: usize = 128;
/// Instructions of SQLite's machine between two words on how a migration goes on.
const INSTRUCTIONS: i32 = 1_000;

/// What a statement's error means to a caller.
pub(crate) fn db(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error_code();
    if let Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) = code {
        return StoreError::Refused { what: error.to_string() };
    }
    if let Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) = code {
        return StoreError::Damaged { what: format!("it is damaged or no database: {error}") };
    }
    // The statements are the program's own, and so are the tables once they are opened: a name that is not there was spoilt.
    if let rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg)) = &error
        && ["no such column", "no such table"].iter().any(|start| msg.starts_with(start))
    {
        return StoreError::Damaged { what: format!("its tables are not as this program made them: {msg}") };
    }
    let what = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds it: ",
        Some(ErrorCode::DiskFull) => "the disk is full: ",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "it cannot be opened or written: "
        }
        _ => "",
    };
    StoreError::Database { detail: format!("{what}{error}") }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(n) => ValueRef::Integer(*n),
            Self::Real(x) => ValueRef::Real(*x),
            Self::Text(s) => ValueRef::Text(s.as_bytes()),
            Self::Blob(b) => ValueRef::Blob(b),
        }))
    }
}

pub(crate) fn cell(value: ValueRef<'_>) -> Result<Cell<'_>> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(n) => Cell::Int(n),
        ValueRef::Real(x) => Cell::Real(x),
        ValueRef::Text(s) => Cell::Text(std::str::from_utf8(s).map_err(|e| damaged("a text", e))?),
        ValueRef::Blob(b) => Cell::Blob(b),
    })
}

pub(crate) fn execute<'a>(
    conn: &Connection,
    sql: &str,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<u64> {
    run(&mut conn.prepare_cached(sql).map_err(db)?, cells)
}

pub(crate) fn run<'a>(
    statement: &mut CachedStatement<'_>,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<u64> {
    statement.execute(params_from_iter(cells)).map(|n| n as u64).map_err(db)
}

/// Reads row by row, as long as `take` says true.
pub(crate) fn each(
    conn: &Connection,
    sql: &str,
    params: Params<'_>,
    mut take: impl FnMut(&Row<'_>) -> Result<bool>,
) -> Result<()> {
    let mut statement = conn.prepare_cached(sql).map_err(db)?;
    let mut rows = statement.query(params_from_iter(params.iter().map(|p| p.cell()))).map_err(db)?;
    while let Some(row) = rows.next().map_err(db)? {
        if !take(&Row::Sqlite(row))? {
            break;
        }
    }
    Ok(())
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

/// The connection that writes, with the database in this program's form. Bringing it there may take long: `opening` is told
/// that it goes on.
pub(crate) fn open_writer(path: &Path, opening: &Opening) -> Result<Conn> {
    let in_file = |e: rusqlite::Error| match db(e) {
        StoreError::Database { detail } => {
            StoreError::Database { detail: format!("{}: {detail}", path.display()) }
        }
        StoreError::Damaged { what } => StoreError::Damaged { what: format!("{}: {what}", path.display()) },
        other => other,
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
    let opening = opening.clone();
    let goes_on = move || {
        opening.step();
        false
    };
    conn.progress_handler(INSTRUCTIONS, Some(goes_on));
    migrate(&mut conn, path).map_err(|e| match e {
        MigrateError::Sql(e) => in_file(e),
        MigrateError::Newer(found) => newer(path.display(), found),
    })?;
    conn.progress_handler(0, None::<fn() -> bool>);
    Ok(Conn::Sqlite(conn))
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
    for (version, (sql, _)) in (1i64..).zip(MIGRATIONS).skip(done) {
        let tx = conn.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
        tracing::info!(path = %path.display(), version, "database brought to version");
    }
    Ok(())
}

/// A connection for reading.
pub(crate) fn open_reader(path: &Path) -> Result<Conn> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
        conn.pragma_update(None, "cache_size", -8_192)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Conn::Sqlite(conn))
    };
    open().map_err(db)
}

/// Brings the write-ahead log into the file beside the writer, which would have to wait for the disk.
pub(crate) struct Checkpointer(Conn);

impl Checkpointer {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(db)?;
        conn.pragma_update(None, "synchronous", "FULL").map_err(db)?;
        Ok(Self(Conn::Sqlite(conn)))
    }

    /// Brings over what is there now. The log is only begun anew when nothing came meanwhile, so the writer
    /// does the same once more: there is little left then.
    pub(crate) fn run(&self) -> Result<()> {
        checkpoint(&self.0)
    }
}

/// Brings the write-ahead log into the file, waiting for nobody.
pub(crate) fn checkpoint(conn: &Conn) -> Result<()> {
    match conn {
        Conn::Sqlite(conn) => conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(db),
        Conn::Pg(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may

    use super::*;

    #[test]
    fn a_name_that_was_spoilt_in_the_schema_is_damage() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE certificates (not_aftes_us INTEGER)").unwrap();
        for sql in ["SELECT not_after_us FROM certificates", "SELECT 1 FROM certificatez"] {
            let error = db(conn.prepare(sql).unwrap_err());
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
    }
}
