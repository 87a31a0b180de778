//! Where the database is, and who may write there: one process at a time.

use std::path::PathBuf;

use cloud_core::StoreError;
use cloud_core::storage::Room;
use common::Opening;

use crate::backup::{beside, io};
use crate::db::{Result, refused};
use crate::pg::{Pg, Server};
use crate::sql::{Conn, Dialect, params};
use crate::sqlite::{self, Checkpointer};
use crate::{restore, wal};

/// Where the database is.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one a process
pub enum Place {
    /// A file. Its folder is made if it is missing; a lock file stands beside it.
    Sqlite(PathBuf),
    /// A database of a server. It must exist, and holds nothing else.
    Postgres(Server),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(server) => server.fmt(f),
        }
    }
}

impl Place {
    /// A connection for reading.
    pub(crate) fn reader(&self) -> Result<Conn> {
        match self {
            Self::Sqlite(path) => sqlite::open_reader(path),
            Self::Postgres(server) => Pg::reader(server).map(Conn::Pg),
        }
    }

    pub(crate) fn checkpointer(&self) -> Result<Option<Checkpointer>> {
        match self {
            Self::Sqlite(path) => Checkpointer::open(path).map(Some),
            Self::Postgres(_) => Ok(None),
        }
    }
}

/// What a database takes.
pub(crate) fn room(conn: &Conn) -> Result<Room> {
    let number = |sql| conn.one(sql, params![], |r| r.get::<i64>(0)).map(i64::unsigned_abs);
    Ok(match conn.dialect() {
        Dialect::Sqlite => {
            let page = number("PRAGMA page_size")?;
            let [all, free] = [number("PRAGMA page_count")?, number("PRAGMA freelist_count")?];
            Room { bytes: all * page, free: free * page }
        }
        // What is free there the server knows and fills.
        Dialect::Postgres => Room { bytes: number("SELECT pg_database_size(current_database())")?, free: 0 },
    })
}

/// The right to write at a place, which nobody else has while this lives.
pub(crate) struct Home {
    place: Place,
    /// Names this opening: whoever finds another's name knows that his memory of the database is outdated.
    owner: String,
    /// From which frame of its log on SQLite does not read what was durable.
    pub(crate) spoilt: Option<u64>,
    _lock: Option<sqlite::Lock>,
}

impl Home {
    /// Takes the place, brings the database to this program's form, and gives the connection that writes.
    pub(crate) fn open(place: Place, opening: &Opening) -> Result<(Self, Conn)> {
        let owner = uuid::Uuid::new_v4().to_string();
        match &place {
            Place::Sqlite(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)
                        .map_err(|e| refused(format!("{}: {e}", folder.display())))?;
                }
                let lock = Some(sqlite::lock(path)?);
                restore::check(path)?;
                let log = beside(path, "-wal");
                let spoilt = wal::first_spoilt(&log).map_err(io(&log))?;
                let conn = sqlite::open_writer(path, opening)?;
                Ok((Self { place, owner, spoilt, _lock: lock }, conn))
            }
            Place::Postgres(server) => {
                let conn = Conn::Pg(Pg::writer(server, &owner)?);
                Ok((Self { place, owner, spoilt: None, _lock: None }, conn))
            }
        }
    }

    /// The connection that writes once more, after the first was lost.
    ///
    /// # Errors
    /// When the server is still away, or another process has had the database meanwhile.
    pub(crate) fn again(&self) -> Result<Conn> {
        match &self.place {
            Place::Sqlite(path) => sqlite::open_writer(path, &Opening::default()),
            Place::Postgres(server) => Pg::writer_again(server, &self.owner).map(Conn::Pg),
        }
    }

    /// How many commits the server has counted.
    pub(crate) fn commits(&self, conn: &Conn) -> Result<i64> {
        match conn {
            Conn::Pg(pg) => pg.commits(),
            Conn::Sqlite(_) => Err(StoreError::Database { detail: "SQLite answers each commit".into() }),
        }
    }
}
