//! All of one database into another, empty one, of either kind. What the tables are is asked of an empty database of this
//! program, so that none is forgotten. Until all is there and read back, the target says that it is half a copy.

use common::Opening;
use common::text::hex;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use crate::db::{MIGRATIONS, Result, refused};
use crate::place::{Home, Place};
use crate::sql::{Cell, Commit, Conn, Kind, Params, Row, Table, ToCell, params, quoted};
use crate::sqlite;

/// The table of the store's own name: a target that was opened before has one.
const IDENTITY: &str = "store";
/// Rows in one transaction, and bytes of their texts and blobs unless one row alone has more.
const BATCH: i64 = 2_000;
const BATCH_BYTES: i64 = 8 << 20;

/// A table that was copied, read back and found the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 over them, in the order of their keys.
    pub digest: String,
}

/// Copies everything. `tell` hears of each table when it is done. Both are held against other processes meanwhile; an
/// older source is brought to this program's form.
///
/// # Errors
/// When one of them cannot be had, the target is not empty, or does not hold afterwards what the source does. Nothing
/// uses the target then: it says that it is half a copy.
pub fn copy(
    from: Place,
    to: Place,
    mut tell: impl FnMut(&Copied),
) -> std::result::Result<(), cloud_core::StoreError> {
    let (_from_home, source) = Home::open(from.clone(), &Opening::default())?;
    let (_to_home, target) = Home::open(to.clone(), &Opening::default())?;
    let shapes = shapes()?;
    for shape in shapes.iter().filter(|s| s.name != IDENTITY) {
        if target.exists(&format!("SELECT 1 FROM {} LIMIT 1", shape.name), params![])? {
            return Err(refused(format!("{to} is not empty: there are rows in `{}`", shape.name)));
        }
    }
    let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    target.set_version(-version)?;
    // It goes on as the same store.
    target.execute("DELETE FROM store", params![])?;
    for shape in &shapes {
        let sent = transfer(shape, &source, &target)?;
        let there = read(shape, &target, |_| Ok(()))?;
        if sent != there {
            let (a, b) = (sent.rows, there.rows);
            return Err(refused(format!(
                "{to}: `{}` is not what it is in {from}: {b} rows of {a}",
                shape.name
            )));
        }
        set_next(shape, &target)?;
        tell(&there);
    }
    target.set_version(version)?;
    Ok(())
}

/// A table as `schema.sql` and what follows make it.
struct Shape {
    name: String,
    columns: Vec<(String, Kind)>,
    /// Places of the columns of its key; of all, if it has none.
    key: Vec<usize>,
}

impl Shape {
    /// Bytes (of a text characters) of a row's texts and blobs.
    fn sizes(&self) -> String {
        let large = self.columns.iter().filter(|(_, kind)| matches!(kind, Kind::Text | Kind::Blob));
        let sizes: Vec<_> = large.map(|(name, _)| format!("coalesce(length({}), 0)", quoted(name))).collect();
        if sizes.is_empty() {
            "CAST(0 AS BIGINT)".into()
        } else {
            format!("CAST({} AS BIGINT)", sizes.join(" + "))
        }
    }
}

/// All tables, those that others refer to first: in the order in which they were made.
fn shapes() -> Result<Vec<Shape>> {
    let empty = Connection::open_in_memory().map_err(sqlite::db)?;
    for (sql, _) in MIGRATIONS {
        empty.execute_batch(sql).map_err(sqlite::db)?;
    }
    let empty = Conn::Sqlite(empty);
    let tables =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    let names: Vec<String> = empty.all(tables, params![], |r| r.get(0))?;
    let shape = |name: String| {
        let sql = "SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY cid";
        let mut key: Vec<(i64, usize)> = Vec::new();
        let mut columns = Vec::new();
        empty.each(sql, params![name], |r| {
            let (column, of, pk): (String, String, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
            let kind = match &*of {
                "INTEGER" => Kind::Int,
                "REAL" => Kind::Real,
                "TEXT" => Kind::Text,
                "BLOB" => Kind::Blob,
                _ => return Err(refused(format!("column {name}.{column} is of type {of}"))),
            };
            if pk > 0 {
                key.push((pk, columns.len()));
            }
            columns.push((column, kind));
            Ok(())
        })?;
        key.sort_unstable();
        if key.is_empty() {
            key = (0i64..).zip(0..columns.len()).collect();
        }
        Ok(Shape { name, columns, key: key.into_iter().map(|(_, place)| place).collect() })
    };
    names.into_iter().map(shape).collect()
}

/// A cell that outlives its row.
#[derive(Debug, Clone)]
enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    fn of(row: &Row<'_>, index: usize) -> Result<Self> {
        Ok(match row.cell(index)? {
            Cell::Null => Self::Null,
            Cell::Int(n) => Self::Int(n),
            Cell::Real(x) => Self::Real(x),
            Cell::Text(s) => Self::Text(s.to_owned()),
            Cell::Blob(b) => Self::Blob(b.to_vec()),
        })
    }

    /// Its kind and length before it, so that no two rows give the same bytes.
    fn hash(&self, into: &mut Sha256) {
        let mut put = |kind: u8, bytes: &[u8]| {
            into.update([kind]);
            into.update((bytes.len() as u64).to_le_bytes());
            into.update(bytes);
        };
        match self {
            Self::Null => put(0, &[]),
            Self::Int(n) => put(1, &n.to_le_bytes()),
            Self::Real(x) => put(2, &x.to_bits().to_le_bytes()),
            Self::Text(s) => put(3, s.as_bytes()),
            Self::Blob(b) => put(4, b),
        }
    }
}

impl ToCell for Value {
    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Int(n) => Cell::Int(*n),
            Self::Real(x) => Cell::Real(*x),
            Self::Text(s) => Cell::Text(s),
            Self::Blob(b) => Cell::Blob(b),
        }
    }
}

/// Copies a table in steps; what was read.
fn transfer(shape: &Shape, source: &Conn, target: &Conn) -> Result<Copied> {
    let columns: Vec<_> = shape.columns.iter().map(|(name, kind)| (&**name, *kind)).collect();
    let table = Table { name: &shape.name, columns: &columns, on_conflict: "" };
    read(shape, source, |rows| {
        let tx = target.write()?;
        tx.insert_all(&table, rows.iter().map(|row| row.iter().map(Value::cell).collect::<Vec<_>>()))?;
        match tx.commit()? {
            Commit::Done => Ok(()),
            Commit::Unknown(_) => Err(refused("the target's server went away")),
        }
    })
}

/// Reads a table in steps, in the order of its key.
fn read(shape: &Shape, conn: &Conn, mut take: impl FnMut(&[Vec<Value>]) -> Result<()>) -> Result<Copied> {
    let names: Vec<_> = shape.columns.iter().map(|(name, _)| quoted(name)).collect();
    let key: Vec<_> = shape.key.iter().filter_map(|k| names.get(*k)).cloned().collect();
    let (names, key) = (names.join(", "), key.join(", "));
    let places: Vec<_> = (0..shape.key.len()).map(|i| format!("?{}", i + 2)).collect();
    let after = format!("WHERE ({key}) > ({})", places.join(", "));
    let select = |what: &str, after: &str| {
        format!("SELECT {what} FROM {} {after} ORDER BY {key} LIMIT ?1", shape.name)
    };
    let (start, next) = (select(&names, ""), select(&names, &after));
    let sizes = shape.sizes();
    let (start_sizes, next_sizes) = (select(&sizes, ""), select(&sizes, &after));
    let (mut digest, mut rows) = (Sha256::new(), 0u64);
    let mut last: Option<Vec<Value>> = None;
    loop {
        let one =
            |row: &Row<'_>| (0..shape.columns.len()).map(|i| Value::of(row, i)).collect::<Result<Vec<_>>>();
        let key_of =
            |last: &Vec<Value>| shape.key.iter().filter_map(|k| last.get(*k)).cloned().collect::<Vec<_>>();
        let key = last.as_ref().map(key_of).unwrap_or_default();
        let after =
            |limit: i64| std::iter::once(Value::Int(limit)).chain(key.iter().cloned()).collect::<Vec<_>>();
        let (rows_of, sizes_of) = if last.is_none() { (&start, &start_sizes) } else { (&next, &next_sizes) };
        // How many of the next are not too much is asked before they are read.
        let sizes: Vec<i64> = with(&after(BATCH), |values| conn.all(sizes_of, values, |r| r.get(0)))?;
        let fits = |sum: &mut i64, bytes: &i64| {
            *sum = sum.saturating_add(*bytes);
            (*sum <= BATCH_BYTES).then_some(())
        };
        let fitting = sizes.iter().scan(0, fits).count();
        let limit = i64::try_from(fitting).unwrap_or(BATCH).max(1);
        let some = with(&after(limit), |values| conn.all(rows_of, values, one))?;
        if some.is_empty() {
            break;
        }
        some.iter().flatten().for_each(|v| v.hash(&mut digest));
        rows += some.len() as u64;
        take(&some)?;
        last = some.into_iter().next_back();
    }
    let digest = hex(&digest.finalize());
    Ok(Copied { table: shape.name.clone(), rows, digest })
}

/// Values as parameters.
fn with<R>(values: &[Value], run: impl FnOnce(Params<'_>) -> R) -> R {
    let values: Vec<&dyn ToCell> = values.iter().map(|v| v as &dyn ToCell).collect();
    run(&values)
}

/// The next number that PostgreSQL gives to a row is after all that are there. SQLite sees to it itself.
fn set_next(shape: &Shape, target: &Conn) -> Result<()> {
    if !matches!(target, Conn::Pg(_)) {
        return Ok(());
    }
    for (column, _) in shape.columns.iter().filter(|(_, kind)| *kind == Kind::Int) {
        let table = &shape.name;
        let sql = "SELECT pg_get_serial_sequence(?1, ?2)";
        let sequence: Option<String> = target.one(sql, params![table, column], |r| r.get(0))?;
        if let Some(sequence) = sequence {
            let set = format!("SELECT setval('{sequence}', (SELECT max({column}) FROM {table}))");
            target.first(&set, params![], |_| Ok(()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may

    use super::*;

    #[test]
    fn no_more_is_in_memory_than_a_batch_or_one_row() {
        let conn = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|(sql, _)| conn.execute_batch(sql).unwrap());
        let conn = Conn::Sqlite(conn);
        let sizes: Vec<usize> = (0..3_000).map(|_| 10).chain([12 << 20, 1]).chain([1 << 20; 20]).collect();
        for (n, size) in (1i64..).zip(&sizes) {
            let sql = "INSERT INTO schemas (id, tenant, hash, json, stored_us) VALUES (?1, 'a', ?2, ?3, 0)";
            conn.execute(sql, params![n, n.to_le_bytes(), vec![7u8; *size]]).unwrap();
        }
        let shape = shapes().unwrap().into_iter().find(|s| s.name == "schemas").unwrap();
        let mut batches = Vec::new();
        let copied = read(&shape, &conn, |rows| {
            let size = |row: &Vec<Value>| match &row[3] {
                Value::Blob(json) => json.len(),
                other => panic!("{other:?}"),
            };
            batches.push((rows.len(), rows.iter().map(size).sum::<usize>()));
            Ok(())
        });
        assert_eq!(copied.unwrap().rows, sizes.len() as u64);
        assert_eq!(batches.iter().map(|(_, bytes)| bytes).sum::<usize>(), sizes.iter().sum::<usize>());
        assert!(batches.iter().all(|(n, bytes)| *bytes <= 8 << 20 || *n == 1), "{batches:?}");
        assert!(batches.len() < 8, "and not row by row: {batches:?}");
    }
}
