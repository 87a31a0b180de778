//! SQL as this crate speaks it, to SQLite and to PostgreSQL alike: parameters are `?1`, `?2`, ...; cells are integers,
//! floats, texts and bytes. Statements are prepared once a connection. What one of the two does not understand is
//! not written; the few words that differ are in `Dialect`.
//!
//! A name that is in the table and in the new row of an upsert is written with its table (`t.seq`, `excluded.seq`).

use cloud_core::StoreError;

use crate::db::{Result, damaged};
use crate::pg::Pg;
use crate::sqlite;

/// What stands in a column, or goes to one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// What can be a parameter.
pub(crate) trait ToCell {
    fn cell(&self) -> Cell<'_>;
}

macro_rules! cells {
    ($($of:ty: |$value:ident| $cell:expr),* $(,)?) => {
        $(impl ToCell for $of {
            fn cell(&self) -> Cell<'_> {
                let $value = self;
                $cell
            }
        })*
    };
}
cells! {
    i64: |n| Cell::Int(*n),
    u32: |n| Cell::Int(i64::from(*n)),
    f64: |x| Cell::Real(*x),
    str: |s| Cell::Text(s),
    String: |s| Cell::Text(s),
    [u8]: |b| Cell::Blob(b),
    Vec<u8>: |b| Cell::Blob(b),
}

impl<const N: usize> ToCell for [u8; N] {
    fn cell(&self) -> Cell<'_> {
        Cell::Blob(self)
    }
}

impl<T: ToCell + ?Sized> ToCell for &T {
    fn cell(&self) -> Cell<'_> {
        T::cell(self)
    }
}

impl<T: ToCell> ToCell for Option<T> {
    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, ToCell::cell)
    }
}

/// Parameters of a statement: `params![a, b]`.
pub(crate) type Params<'a> = &'a [&'a dyn ToCell];

macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::sql::ToCell),*] as &[&dyn $crate::sql::ToCell]
    };
}
pub(crate) use params;

/// What a column is read as.
pub(crate) trait Column: Sized {
    /// None if the cell is of another kind.
    fn of(cell: Cell<'_>) -> Option<Self>;
}

macro_rules! columns {
    ($($of:ty: $pattern:pat => $value:expr),* $(,)?) => {
        $(impl Column for $of {
            fn of(cell: Cell<'_>) -> Option<Self> {
                match cell {
                    $pattern => $value,
                    _ => None,
                }
            }
        })*
    };
}
columns! {
    i64: Cell::Int(n) => Some(n),
    f64: Cell::Real(x) => Some(x),
    String: Cell::Text(s) => Some(s.to_owned()),
    Vec<u8>: Cell::Blob(b) => Some(b.to_vec()),
}

impl<const N: usize> Column for [u8; N] {
    fn of(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Blob(b) = cell { b.try_into().ok() } else { None }
    }
}

impl<T: Column> Column for Option<T> {
    fn of(cell: Cell<'_>) -> Option<Self> {
        if cell == Cell::Null { Some(None) } else { T::of(cell).map(Some) }
    }
}

/// A row of an answer.
pub(crate) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Pg(&'a postgres::Row),
}

impl Row<'_> {
    /// A cell, the first is 0.
    pub(crate) fn cell(&self, index: usize) -> Result<Cell<'_>> {
        match self {
            Self::Sqlite(row) => row.get_ref(index).map_err(sqlite::db).and_then(sqlite::cell),
            Self::Pg(row) => crate::pg::cell(row, index),
        }
    }

    /// A cell as a value.
    pub(crate) fn get<T: Column>(&self, index: usize) -> Result<T> {
        let cell = self.cell(index)?;
        T::of(cell).ok_or_else(|| damaged(format_args!("column {index} of a row"), "it is of another kind"))
    }
}

/// The words that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// The texts of a JSON array as rows of one column, for `x IN (...)`.
    pub(crate) fn texts_of(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT value FROM json_each({parameter})"),
            Self::Postgres => format!("SELECT json_array_elements_text(CAST({parameter} AS json))"),
        }
    }

    /// The integers of a JSON array, likewise.
    pub(crate) fn integers_of(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => self.texts_of(parameter),
            Self::Postgres => {
                format!("SELECT CAST(x AS bigint) FROM ({}) AS texts (x)", self.texts_of(parameter))
            }
        }
    }
}

/// A connection.
#[allow(clippy::large_enum_variant)] // a few a process
pub(crate) enum Conn {
    Sqlite(rusqlite::Connection),
    Pg(Pg),
}

impl Conn {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Pg(_) => Dialect::Postgres,
        }
    }

    /// Whether its server is gone: nothing more comes of it.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Pg(pg) => pg.is_lost(),
        }
    }

    /// Changes; how many rows.
    pub(crate) fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        match self {
            Self::Sqlite(conn) => sqlite::execute(conn, sql, params.iter().map(|p| p.cell())),
            Self::Pg(pg) => pg.execute(sql, params),
        }
    }

    /// Reads row by row. Of PostgreSQL all rows are in memory before the first is given out, so what may be long is
    /// read in steps (`LIMIT`).
    pub(crate) fn each(
        &self,
        sql: &str,
        params: Params<'_>,
        mut take: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Sqlite(conn) => sqlite::each(conn, sql, params, |row| take(row).map(|()| true)),
            Self::Pg(pg) => pg.query(sql, params)?.iter().try_for_each(|row| take(&Row::Pg(row))),
        }
    }

    /// All rows.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut out = Vec::new();
        self.each(sql, params, |row| {
            out.push(map(row)?);
            Ok(())
        })?;
        Ok(out)
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut map = Some(map);
        let mut out = None;
        let mut one = |row: &Row<'_>| {
            if let Some(map) = map.take() {
                out = Some(map(row)?);
            }
            Ok(false)
        };
        match self {
            Self::Sqlite(conn) => sqlite::each(conn, sql, params, one)?,
            Self::Pg(pg) => {
                if let Some(row) = pg.query(sql, params)?.first() {
                    one(&Row::Pg(row))?;
                }
            }
        }
        Ok(out)
    }

    /// The first row, which must be there.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.first(sql, params, map)?
            .ok_or_else(|| StoreError::Database { detail: "a row is missing".into() })
    }

    /// Whether there is a row.
    pub(crate) fn exists(&self, sql: &str, params: Params<'_>) -> Result<bool> {
        Ok(self.first(sql, params, |_| Ok(()))?.is_some())
    }

    /// A transaction that writes. It must be the only one: connections that write have no rivals.
    pub(crate) fn write(&self) -> Result<Tx<'_>> {
        self.begin(true)
    }

    /// A transaction that reads: all of it as of the moment of its first read.
    pub(crate) fn read(&self) -> Result<Tx<'_>> {
        self.begin(false)
    }

    fn begin(&self, writes: bool) -> Result<Tx<'_>> {
        match self {
            Self::Sqlite(conn) => {
                let sql = if writes { "BEGIN IMMEDIATE" } else { "BEGIN" };
                sqlite::execute(conn, sql, [].into_iter())?;
            }
            Self::Pg(pg) => pg.begin(writes)?,
        }
        Ok(Tx { conn: self, writes, is_open: true })
    }

    /// Inserts rows of a table, or does with those that are there what the table says.
    pub(crate) fn insert_all<'a, R: AsRef<[Cell<'a>]>>(
        &self,
        into: &Table<'_>,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        match self {
            Self::Sqlite(conn) => {
                let sql = into.insert(&into.places());
                let mut statement = conn.prepare_cached(&sql).map_err(sqlite::db)?;
                for row in rows {
                    sqlite::run(&mut statement, row.as_ref().iter().copied())?;
                }
                Ok(())
            }
            Self::Pg(pg) => pg.insert_all(into, rows),
        }
    }

    /// Deletes the rows that have one of these keys in the table's first `K` columns, which are integers; how many.
    pub(crate) fn delete_all<const K: usize>(
        &self,
        of: &Table<'_>,
        keys: impl IntoIterator<Item = [i64; K]>,
    ) -> Result<u64> {
        match self {
            Self::Sqlite(conn) => {
                let is = |(i, (name, _)): (usize, &(&str, Kind))| format!("{name} = ?{}", i + 1);
                let keyed: Vec<_> = of.columns.iter().take(K).enumerate().map(is).collect();
                let sql = format!("DELETE FROM {} WHERE {}", of.name, keyed.join(" AND "));
                let mut statement = conn.prepare_cached(&sql).map_err(sqlite::db)?;
                let mut n = 0;
                for key in keys {
                    n += sqlite::run(&mut statement, key.into_iter().map(Cell::Int))?;
                }
                Ok(n)
            }
            Self::Pg(pg) => pg.delete_all(of, keys),
        }
    }

    /// Notes the version that the tables have; below zero while they are being filled from another database.
    pub(crate) fn set_version(&self, version: i64) -> Result<()> {
        match self {
            Self::Sqlite(conn) => conn.pragma_update(None, "user_version", version).map_err(sqlite::db),
            Self::Pg(_) => self.execute("UPDATE twinway SET version = ?1", params![version]).map(|_| ()),
        }
    }
}

/// Kind of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Real,
    Text,
    Blob,
}

/// A table for many rows at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) name: &'a str,
    /// The columns that are given, those of a key first.
    pub(crate) columns: &'a [(&'a str, Kind)],
    /// What is done with a row that is there: `ON CONFLICT ...`, or nothing: then it is an error.
    pub(crate) on_conflict: &'a str,
}

impl Table<'_> {
    /// The columns' names, quoted where one of them is a word of the language.
    pub(crate) fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| quoted(name)).collect::<Vec<_>>().join(", ")
    }

    /// `VALUES (?1, ?2, ...)`
    fn places(&self) -> String {
        let places: Vec<_> = (1..=self.columns.len()).map(|i| format!("?{i}")).collect();
        format!("VALUES ({})", places.join(", "))
    }

    pub(crate) fn insert(&self, source: &str) -> String {
        format!("INSERT INTO {} ({}) {source} {}", self.name, self.names(), self.on_conflict)
    }
}

/// A column's name: `user` is a word of the language.
pub(crate) fn quoted(name: &str) -> String {
    if name == "user" { format!("\"{name}\"") } else { name.to_owned() }
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Commit {
    Done,
    /// The server went away before it answered. It was done if the server counts so many.
    Unknown(i64),
}

/// A transaction; dropped without `commit`, nothing of it is done.
pub(crate) struct Tx<'a> {
    conn: &'a Conn,
    writes: bool,
    is_open: bool,
}

impl Tx<'_> {
    pub(crate) fn commit(mut self) -> Result<Commit> {
        let done = match self.conn {
            Conn::Sqlite(conn) => {
                sqlite::execute(conn, "COMMIT", [].into_iter())?;
                Commit::Done
            }
            Conn::Pg(pg) => pg.commit(self.writes)?,
        };
        self.is_open = false;
        Ok(done)
    }
}

impl std::ops::Deref for Tx<'_> {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let undone = match self.conn {
            Conn::Sqlite(conn) if conn.is_autocommit() => Ok(()), // SQLite has rolled back itself
            Conn::Sqlite(conn) => sqlite::execute(conn, "ROLLBACK", [].into_iter()).map(|_| ()),
            Conn::Pg(pg) => pg.rollback(),
        };
        if let Err(error) = undone {
            tracing::error!(%error, "a transaction could not be undone");
        }
    }
}
