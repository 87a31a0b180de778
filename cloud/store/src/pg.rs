//! PostgreSQL: connections, statements, and what its errors mean. A connection that lost its server says so and is
//! replaced by whoever uses it.

use std::cell::{Cell as Slot, RefCell};
use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use bytes::BytesMut;
use cloud_core::StoreError;
use postgres::error::SqlState;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};

use crate::db::{Result, damaged, refused};
use crate::pg_setup;
use crate::pg_tls;
use crate::sql::{Cell, Commit, Kind, Params, Table};

type AnyError = Box<dyn std::error::Error + Sync + Send>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that does not answer for so long is taken for lost.
const SILENCE: Duration = Duration::from_secs(30);
/// Rows of one statement, and about their bytes.
const ROWS_AT_ONCE: usize = 20_000;
const BYTES_AT_ONCE: usize = 16 << 20;

/// Why a URL and what belongs to it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It cannot be read.
    #[error("{0}: expected such as `postgresql://twinway@db.example.com/twinway`")]
    Url(String),
    /// The password stands in it: files of configuration are read by many.
    #[error("a password does not belong here: set `password_file`")]
    Password,
    /// It asks for TLS, and nothing says whom to trust.
    #[error("`sslmode` asks for TLS: expected `ca_file` beside it")]
    NoAuthorities,
    /// The file of authorities cannot be read.
    #[error("{}: {why}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A database of a PostgreSQL server.
#[derive(Clone)]
pub struct Server {
    config: Config,
    tls: Option<pg_tls::Connector>,
}

impl Server {
    /// A database by its URL, which must not hold the password. With `ca_file` it is spoken to over TLS only, and its
    /// name must be in its certificate.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(
        url: &str,
        password: Option<&str>,
        ca_file: Option<&std::path::Path>,
    ) -> std::result::Result<Self, ServerError> {
        let cause = |e: postgres::Error| e.source().map_or_else(|| e.to_string(), ToString::to_string);
        let mut config = Config::from_str(url).map_err(|e| ServerError::Url(cause(e)))?;
        if config.get_hosts().is_empty() {
            return Err(ServerError::Url("it names no host".into()));
        }
        if config.get_user().is_none() {
            return Err(ServerError::Url("it names no user".into()));
        }
        if config.get_password().is_some() {
            return Err(ServerError::Password);
        }
        if let Some(password) = password {
            config.password(password);
        }
        let tls = match ca_file {
            Some(path) => {
                config.ssl_mode(postgres::config::SslMode::Require);
                let why = |why| ServerError::Authorities { path: path.to_owned(), why };
                Some(pg_tls::Connector::new(path).map_err(why)?)
            }
            None if config.get_ssl_mode() == postgres::config::SslMode::Require => {
                return Err(ServerError::NoAuthorities);
            }
            None => None,
        };
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE / 3).keepalives_interval(SILENCE / 6).keepalives_retries(4);
        config.application_name("twinway-cloud");
        Ok(Self { config, tls })
    }

    fn connect(&self) -> Result<Client> {
        let mut client = match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        }
        .map_err(|e| refused(format!("{self}: {}", told(&e))))?;
        // What is acknowledged is on the disk, whatever the server's default is.
        let set = "SET synchronous_commit = on; SET TIME ZONE 'UTC'; SET client_min_messages = warning";
        client.batch_execute(set).map_err(|e| refused(format!("{self}: {}", told(&e))))?;
        Ok(client)
    }

    /// The server and database, without any secret.
    fn name(&self) -> String {
        use postgres::config::Host;
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<_> = self.config.get_hosts().iter().map(host).collect();
        let user = self.config.get_user().unwrap_or_default();
        format!("postgresql://{user}@{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or(user))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A connection.
pub(crate) struct Pg {
    /// None only while it is dropped.
    client: RefCell<Option<Client>>,
    statements: RefCell<HashMap<String, Statement>>,
    is_lost: Slot<bool>,
    /// Commits that the server has counted.
    commits: Slot<i64>,
}

impl Pg {
    pub(crate) fn reader(server: &Server) -> Result<Self> {
        server.connect().map(Self::new)
    }

    /// The connection that writes: alone, with the database in this program's form.
    pub(crate) fn writer(server: &Server, owner: &str) -> Result<Self> {
        let mut pg = Self::new(server.connect()?);
        let client = pg.client.get_mut().as_mut().ok_or_else(closed)?;
        let place = |e: StoreError| match e {
            StoreError::Database { detail } | StoreError::Damaged { what: detail } => {
                refused(format!("{server}: {detail}"))
            }
            other => other,
        };
        pg_setup::check(client, server)?;
        pg_setup::lock(client, server)?;
        pg_setup::migrate(client, server).map_err(place)?;
        let commits = pg_setup::own(client, owner).map_err(place)?;
        pg.commits.set(commits);
        Ok(pg)
    }

    /// As `writer`, for the one who was it last.
    pub(crate) fn writer_again(server: &Server, owner: &str) -> Result<Self> {
        let mut pg = Self::new(server.connect()?);
        let client = pg.client.get_mut().as_mut().ok_or_else(closed)?;
        pg_setup::lock(client, server)?;
        let commits = pg_setup::still_own(client, owner)?;
        pg.commits.set(commits);
        Ok(pg)
    }

    fn new(client: Client) -> Self {
        Self {
            client: RefCell::new(Some(client)),
            statements: RefCell::default(),
            is_lost: Slot::new(false),
            commits: Slot::new(0),
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.get() || self.client.borrow().as_ref().is_none_or(Client::is_closed)
    }

    /// Runs something on the client, and notes if the server went away meanwhile.
    fn with<R>(&self, run: impl FnOnce(&mut Client) -> std::result::Result<R, postgres::Error>) -> Result<R> {
        let mut client = self.client.borrow_mut();
        let client = client.as_mut().ok_or_else(closed)?;
        run(client).map_err(|e| {
            if is_loss(&e) || client.is_closed() {
                self.is_lost.set(true);
            }
            meaning(&e)
        })
    }

    fn statement(&self, sql: &str) -> Result<Statement> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let statement = self.with(|c| c.prepare(&translated(sql)))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(crate) fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let statement = self.statement(sql)?;
        let cells: Vec<_> = params.iter().map(|p| p.cell()).collect();
        let values: Vec<_> = cells.iter().map(|c| c as &(dyn ToSql + Sync)).collect();
        self.with(|c| c.execute(&statement, &values))
    }

    pub(crate) fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<postgres::Row>> {
        let statement = self.statement(sql)?;
        let cells: Vec<_> = params.iter().map(|p| p.cell()).collect();
        let values: Vec<_> = cells.iter().map(|c| c as &(dyn ToSql + Sync)).collect();
        self.with(|c| c.query(&statement, &values))
    }

    pub(crate) fn begin(&self, writes: bool) -> Result<()> {
        let sql = if writes { "BEGIN" } else { "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" };
        self.with(|c| c.batch_execute(sql))
    }

    /// Commits. One that writes is counted in it, so that whoever hears no answer can find out.
    pub(crate) fn commit(&self, writes: bool) -> Result<Commit> {
        if !writes {
            return self.with(|c| c.batch_execute("COMMIT")).map(|()| Commit::Done);
        }
        let count = self.commits.get() + 1;
        let sql = format!("UPDATE twinway SET commits = {count}; COMMIT");
        match self.with(|c| c.batch_execute(&sql)) {
            Ok(()) => {
                self.commits.set(count);
                Ok(Commit::Done)
            }
            Err(_) if self.is_lost() => Ok(Commit::Unknown(count)),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn rollback(&self) -> Result<()> {
        if self.is_lost() {
            return Ok(()); // the server does it
        }
        self.with(|c| c.batch_execute("ROLLBACK"))
    }

    pub(crate) fn commits(&self) -> Result<i64> {
        let row = self.with(|c| c.query_one("SELECT commits FROM twinway", &[]))?;
        row.try_get(0).map_err(|e| refused(told(&e)))
    }

    pub(crate) fn insert_all<'a, R: AsRef<[Cell<'a>]>>(
        &self,
        into: &Table<'_>,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        let sql = into.insert(&format!("SELECT * FROM unnest({})", arrays(into.columns)));
        let mut columns: Vec<Vec<Cell<'a>>> = vec![Vec::new(); into.columns.len()];
        let (mut n, mut bytes) = (0, 0);
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            for (column, cell) in columns.iter_mut().zip(row.as_ref()) {
                column.push(*cell);
                bytes += size(cell);
            }
            n += 1;
            if rows.peek().is_none() || n >= ROWS_AT_ONCE || bytes >= BYTES_AT_ONCE {
                self.unnest(&sql, &columns)?;
                columns.iter_mut().for_each(Vec::clear);
                (n, bytes) = (0, 0);
            }
        }
        Ok(())
    }

    pub(crate) fn delete_all<const K: usize>(
        &self,
        of: &Table<'_>,
        keys: impl IntoIterator<Item = [i64; K]>,
    ) -> Result<u64> {
        let keyed = of.columns.get(..K).unwrap_or(of.columns);
        let is = |name: &str| format!("t.{name} = k.{name}");
        let sql = format!(
            "DELETE FROM {} t USING unnest({}) AS k ({}) WHERE {}",
            of.name,
            arrays(keyed),
            keyed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            keyed.iter().map(|(name, _)| is(name)).collect::<Vec<_>>().join(" AND ")
        );
        let keys: Vec<_> = keys.into_iter().collect();
        let some = |some: &[[i64; K]]| {
            let columns: Vec<Vec<_>> =
                (0..K).map(|i| some.iter().map(|k| Cell::Int(k[i])).collect()).collect();
            self.unnest(&sql, &columns)
        };
        keys.chunks(ROWS_AT_ONCE).map(some).sum()
    }

    /// Runs a statement whose parameters are columns of rows.
    fn unnest(&self, sql: &str, columns: &[Vec<Cell<'_>>]) -> Result<u64> {
        let statement = self.statement(sql)?;
        let values: Vec<_> = columns.iter().map(|c| c as &(dyn ToSql + Sync)).collect();
        self.with(|c| c.execute(&statement, &values))
    }
}

impl Drop for Pg {
    fn drop(&mut self) {
        // It ends its connection by blocking, which a runtime's own thread must not.
        if let Some(client) = self.client.get_mut().take() {
            let _ = std::thread::spawn(move || drop(client)).join();
        }
    }
}

fn closed() -> StoreError {
    refused("the connection is closed")
}

/// `$1::bigint[], $2::text[], ...`
fn arrays(columns: &[(&str, Kind)]) -> String {
    let array = |(i, (_, kind)): (usize, &(&str, Kind))| {
        let of = match kind {
            Kind::Int => "bigint",
            Kind::Real => "double precision",
            Kind::Text => "text",
            Kind::Blob => "bytea",
        };
        format!("${}::{of}[]", i + 1)
    };
    columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ")
}

/// `?1` is `$1` here. No text of ours has a `?` that is none.
fn translated(sql: &str) -> String {
    sql.replace('?', "$")
}

fn size(cell: &Cell<'_>) -> usize {
    match cell {
        Cell::Text(s) => s.len() + 8,
        Cell::Blob(b) => b.len() + 8,
        _ => 12,
    }
}

fn is_loss(error: &postgres::Error) -> bool {
    match error.as_db_error() {
        Some(e) => {
            let code = e.code();
            let ends = [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::DATABASE_DROPPED,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ];
            ends.contains(code) || matches!(e.severity(), "FATAL" | "PANIC")
        }
        None => error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()),
    }
}

/// What a statement's error means to a caller. Of what is stored are data exceptions, violations of constraints and
/// limits of the program: classes 22, 23 and 54.
fn meaning(error: &postgres::Error) -> StoreError {
    let of_content = |code: &SqlState| ["22", "23", "54"].iter().any(|class| code.code().starts_with(class));
    match error.code() {
        Some(code) if of_content(code) => StoreError::Refused { what: told(error) },
        Some(code) if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code) => {
            StoreError::Damaged { what: told(error) }
        }
        _ => refused(told(error)),
    }
}

/// What the server or the connection says, in one line.
pub(crate) fn told(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(e), _) => {
            let more = e.detail().map(|d| format!(" ({d})")).unwrap_or_default();
            format!("{}{more}", e.message())
        }
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

pub(crate) fn cell(row: &postgres::Row, index: usize) -> Result<Cell<'_>> {
    row.try_get(index).map_err(|e| damaged(format_args!("column {index} of a row"), told(&e)))
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, AnyError> {
        match *self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(n) => match *ty {
                Type::INT4 => i32::try_from(n)?.to_sql(ty, out),
                Type::INT8 => n.to_sql(ty, out),
                _ => Err(format!("an integer is no {ty}").into()),
            },
            Self::Real(x) => f64::to_sql(&x, ty, out),
            Self::Text(s) => s.to_sql(ty, out),
            Self::Blob(b) => b.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true // `to_sql` looks at it
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> std::result::Result<Self, AnyError> {
        Ok(match *ty {
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(ty, raw)?),
            Type::BYTEA => Self::Blob(raw),
            Type::TEXT | Type::VARCHAR | Type::NAME => Self::Text(<&str>::from_sql(ty, raw)?),
            _ => return Err(format!("a column of type {ty}").into()),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, AnyError> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true // `from_sql` looks at it
    }
}
