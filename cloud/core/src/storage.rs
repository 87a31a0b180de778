//! What storage is to the rest of the cloud. SQLite is the embedded implementation; another passes the same
//! contract tests. Every method that returns `Ok` after a change has made it durable.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::alarm::AlarmView;
use common::api::{
    ApiKeyView, CommandView, DesiredEntry, DesiredView, GrantView, HistoryGap, HistoryPoint, Page,
    Resolution, UserView,
};
use common::command::{CommandUpdate, DesiredUpdate, LogEntry, Requester, Severity};
use common::wire::Frame;
use common::{
    AlarmId, CommandId, CommandState, GatewayId, Incarnation, IntervalSet, Schema, SchemaHash, TenantId,
    TwinId,
};
use uuid::Uuid;

pub use crate::aside::{AsideRemoved, BoxStorage, KeptAside, SetAside};
use crate::configuration::ConfigurationStorage;
use crate::enrol::CertificateStorage;
use crate::history::HistoryStorage;
use crate::state::TwinState;
use crate::update::UpdateStorage;

/// Why storage did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No such thing.
    #[error("{what} not found")]
    NotFound {
        /// What.
        what: String,
    },
    /// It exists already, or changed meanwhile.
    #[error("conflict: {what}")]
    Conflict {
        /// What.
        what: String,
    },
    /// The database refuses this very content, and would again. Nothing was changed.
    #[error("content refused: {what}")]
    Refused {
        /// What it said.
        what: String,
    },
    /// An answer would be too large, or take too long to find.
    #[error("too large: {what}")]
    TooLarge {
        /// What is, and what can be asked for instead.
        what: String,
    },
    /// A part of what is stored cannot be read any more. Nothing was changed.
    #[error("{what}")]
    Damaged {
        /// Which, and what is wrong with it.
        what: String,
    },
    /// The database refuses. Nothing was changed.
    #[error("database: {detail}")]
    Database {
        /// What it said.
        detail: String,
    },
}

/// A gateway of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayKey {
    /// Tenant.
    pub tenant: TenantId,
    /// Gateway.
    pub gateway: GatewayId,
}

impl std::fmt::Display for GatewayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.tenant, self.gateway)
    }
}

/// An incarnation as the cloud knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownIncarnation {
    /// Which.
    pub incarnation: Incarnation,
    /// Its rank: later first hellos have higher ranks, over all gateways.
    pub rank: u64,
    /// Durable sequences.
    pub seqs: IntervalSet,
}

/// A frame on its way to storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NewFrame {
    /// From whom.
    pub gateway: Arc<GatewayKey>,
    /// Rank of its incarnation.
    pub rank: u64,
    /// Decoded.
    pub frame: Arc<Frame>,
    /// As received.
    pub bytes: Arc<[u8]>,
    /// Schema that its samples refer to.
    pub schema: Arc<Schema>,
    /// When the cloud received it, UTC us.
    pub received_us: i64,
}

/// A twin's tie to a device, valid from a rank on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Twin.
    pub twin: TwinId,
    /// Gateway.
    pub gateway: GatewayKey,
    /// Device on it.
    pub device: String,
    /// Since when, UTC us.
    pub from_us: i64,
    /// Until when, UTC us; none while it holds.
    pub to_us: Option<i64>,
}

/// What became of a request to store a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// stored
    New,
    /// the same key with the same request came before: this is its command
    Same(Box<CommandView>),
    /// the key was used with another request
    Different,
}

/// What `history` found.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// What the rows are.
    pub resolution: Resolution,
    /// Rows by time.
    pub points: Vec<HistoryPoint>,
    /// Where there is nothing to go by, by time.
    pub gaps: Vec<HistoryGap>,
    /// When the last frame of the twin's gateway was cut, UTC us; none if none is stored.
    pub heard_us: Option<i64>,
}

/// What a database takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// All of it, bytes.
    pub bytes: u64,
    /// What of that new data fills, as far as it is known.
    pub free: u64,
}

/// Frames, marks, schemas, twins and history.
#[async_trait]
pub trait FrameStorage: Send + Sync {
    /// Which store this is: given when it is first opened, the same from then on, and another one after a backup of
    /// it was restored. Gateways that see another one know that what they were told is durable may be gone.
    fn store_id(&self) -> Uuid;

    /// Gives ranks to incarnations that are new, in the order given (oldest first), and tells what is durable.
    async fn hello(
        &self,
        gateway: &GatewayKey,
        incarnations: &[Incarnation],
    ) -> Result<Vec<KnownIncarnation>, StoreError>;

    /// Stores frames and their marks in one transaction. True for each frame that was new, false for one
    /// that was there. A rank that `hello` did not give to the frame's incarnation: `NotFound`, nothing stored. Command, audit, event and desired frames also update their tables in it.
    async fn accept(&self, frames: &[NewFrame]) -> Result<Vec<bool>, StoreError>;

    /// Stores a schema and binds its twins from now on (closing older bindings of the same twin, or of
    /// the same device), unless they are bound from a later rank. Known already: only the bindings are checked.
    /// Rank 0, for a schema that only older frames refer to: its twins are made if they are new, and nothing
    /// is bound. `Conflict` if a twin is of another tenant, or the schema of another gateway.
    async fn put_schema(
        &self,
        gateway: &GatewayKey,
        schema: &Schema,
        rank: u64,
        now_us: i64,
    ) -> Result<(), StoreError>;

    /// Which of these schemas are stored.
    async fn known_schemas(&self, hashes: &[SchemaHash]) -> Result<Vec<SchemaHash>, StoreError>;

    /// Everything the live state starts from: schemas, ranks, twins with their last compacted values and
    /// desired values, gateways.
    async fn load(&self) -> Result<Loaded, StoreError>;

    /// The accepted frames that are not compacted yet, in order of rank and sequence, in batches after
    /// `after`; empty at the end. Their samples are not in `Loaded`.
    async fn uncompacted(&self, after: Option<(u64, u64)>, limit: usize)
    -> Result<Vec<NewFrame>, StoreError>;

    /// Accepted samples that are not compacted yet and take memory until they are. Does not block.
    fn waiting_samples(&self) -> usize {
        0
    }

    /// Samples that were accepted and are of points that their schema lacks, since the database was made: they are in no history. The
    /// first of each schema are told in the audit.
    async fn unknown_samples(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Parts of what is stored (chunks of history, frames) that were found damaged since it was opened. They are left out, and told in
    /// the audit.
    fn damaged(&self) -> u64 {
        0
    }

    /// Turns accepted frames into column chunks, roll-ups and last values, in one transaction, at most
    /// `limit` frames. Returns how many.
    async fn compact_frames(&self, limit: usize) -> Result<usize, StoreError>;

    /// Looks after what it is time for (retention, what has ended), and merges the small chunks that have become many for about
    /// so long. Whether more are left to merge.
    async fn upkeep(&self, time: Duration) -> Result<bool, StoreError>;

    /// What the database takes.
    async fn room(&self) -> Result<Room, StoreError>;

    /// `compact_frames`, and all `upkeep` that there is then.
    async fn compact(&self, limit: usize) -> Result<usize, StoreError> {
        let n = self.compact_frames(limit).await?;
        while self.upkeep(Duration::from_secs(1)).await? {}
        Ok(n)
    }

    /// A point's history in `from_us..to_us` (end excluded) with at most `max_points` rows. Everything accepted
    /// is in it, compacted or not; each sample exactly once. Roll-ups have whole buckets, aligned to their width:
    /// the first and the last may begin before and end after the range. Samples of one time come in the order of
    /// their positions. `gaps` tells where samples are missing or bad, and why: what gateways told of their losses is
    /// stored with the frame that told it. Unknown twin: `NotFound`; a point that never had a sample has no rows.
    async fn history(
        &self,
        twin: TwinId,
        point: &str,
        from_us: i64,
        to_us: i64,
        max_points: usize,
    ) -> Result<History, StoreError>;
}

/// What the live state starts from.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Schemas.
    pub schemas: Vec<Schema>,
    /// Incarnations and their ranks.
    pub ranks: Vec<(Incarnation, u64)>,
    /// Twins.
    pub twins: Vec<TwinState>,
    /// Gateways ever seen, with the time of the last word.
    pub gateways: Vec<(GatewayKey, i64)>,
    /// Rank of the incarnation that has each gateway's name; see `State::speaks`.
    pub speaks: Vec<(GatewayKey, u64)>,
}

/// Commands and desired values.
#[async_trait]
pub trait CommandStorage: Send + Sync {
    /// Stores a command in state accepted under its requester's idempotency key, with an audit entry.
    /// `request_hash` tells the same request from another.
    async fn create_command(
        &self,
        command: &CommandView,
        idempotency_key: &str,
        request_hash: &[u8],
        audit: &LogEntry,
    ) -> Result<Created, StoreError>;

    /// The command that a requester (by name) stored under an idempotency key, with the hash of its request.
    async fn command_by_key(
        &self,
        requester: &str,
        idempotency_key: &str,
    ) -> Result<Option<(CommandView, Vec<u8>)>, StoreError>;

    /// Puts a command one step on, if `CommandState::may_become` allows it; returns it as it is then. A
    /// command that was given at a gateway is stored new.
    async fn update_command(&self, update: &CommandUpdate) -> Result<CommandView, StoreError>;

    /// A command.
    async fn command(&self, id: CommandId) -> Result<CommandView, StoreError>;

    /// Commands of some twins (all if none), newest first.
    async fn commands(
        &self,
        twins: Option<&[TwinId]>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CommandView>, StoreError>;

    /// Commands of a gateway's twins that are not final.
    async fn open_commands(&self, states: &[CommandState]) -> Result<Vec<CommandView>, StoreError>;

    /// Changes a twin's desired document if its version is still `if_version`, with an audit entry. Returns
    /// the new version and the views of the entries changed (none: withdrawn).
    #[allow(clippy::too_many_arguments)]
    async fn patch_desired(
        &self,
        twin: TwinId,
        if_version: u64,
        patch: &[(String, Option<DesiredEntry>)],
        requester: &Requester,
        now_us: i64,
        audit: &LogEntry,
    ) -> Result<(u64, Vec<(String, Option<DesiredView>)>), StoreError>;

    /// What is wanted of a point now, and what became of it.
    async fn desired(&self, twin: TwinId, point: &str) -> Result<Option<DesiredView>, StoreError>;

    /// The cloud's own word on a desired value that is still pending; ignored if a gateway has told what became
    /// of it (that comes with `accept`), or a newer version was set since. The view then.
    async fn update_desired(&self, update: &DesiredUpdate) -> Result<Option<DesiredView>, StoreError>;
}

/// Alarms as gateways told them; their frames change them, in `accept`.
#[async_trait]
pub trait AlarmStorage: Send + Sync {
    /// An alarm, or `NotFound`.
    async fn alarm(&self, id: AlarmId) -> Result<AlarmView, StoreError>;

    /// Alarms of some twins (all if none), the last changed first. `open`: only those that are not normal, or on
    /// the shelf.
    async fn alarms(
        &self,
        twins: Option<&[TwinId]>,
        open: bool,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<AlarmView>, StoreError>;
}

/// Audit and events.
#[async_trait]
pub trait AuditStorage: Send + Sync {
    /// Appends an entry.
    async fn append_audit(&self, entry: &LogEntry) -> Result<(), StoreError>;

    /// Entries, newest first. `twins`: only entries about these (none: all entries).
    async fn audit(
        &self,
        twins: Option<&[TwinId]>,
        min_severity: Severity,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<LogEntry>, StoreError>;
}

/// An account with its password's hash.
#[derive(Debug, Clone)]
pub struct Account {
    /// As shown.
    pub view: UserView,
    /// argon2 hash (PHC text).
    pub password_hash: String,
}

/// Accounts, sessions, keys, gateway credentials. Secrets come in as hashes only.
#[async_trait]
pub trait AccountStorage: Send + Sync {
    /// All accounts.
    async fn users(&self) -> Result<Vec<UserView>, StoreError>;

    /// An account.
    async fn user(&self, name: &str) -> Result<Account, StoreError>;

    /// Makes an account, or `Conflict`.
    async fn create_user(&self, account: &Account) -> Result<(), StoreError>;

    /// Removes an account with its sessions.
    async fn delete_user(&self, name: &str) -> Result<(), StoreError>;

    /// Changes a password and ends the account's sessions.
    async fn set_password(&self, name: &str, password_hash: &str) -> Result<(), StoreError>;

    /// Stores a session under the hash of its token.
    async fn create_session(
        &self,
        token_hash: &[u8; 32],
        user: &str,
        expires_us: i64,
    ) -> Result<(), StoreError>;

    /// Account and grants of a live session or key with this token hash.
    async fn authenticate(
        &self,
        token_hash: &[u8; 32],
        now_us: i64,
    ) -> Result<Option<(String, Vec<GrantView>)>, StoreError>;

    /// Ends a session.
    async fn delete_session(&self, token_hash: &[u8; 32]) -> Result<(), StoreError>;

    /// All keys.
    async fn keys(&self) -> Result<Vec<ApiKeyView>, StoreError>;

    /// Stores a key, or `Conflict`.
    async fn create_key(&self, key: &ApiKeyView, token_hash: &[u8; 32]) -> Result<(), StoreError>;

    /// Removes a key.
    async fn delete_key(&self, name: &str) -> Result<(), StoreError>;

    /// Stores a gateway's credential, the SHA-256 of its random secret, in place of the one before and of its
    /// certificates, which are revoked.
    async fn set_gateway_secret(
        &self,
        gateway: &GatewayKey,
        secret_hash: &[u8; 32],
        now_us: i64,
    ) -> Result<(), StoreError>;

    /// A gateway's credential.
    async fn gateway_secret(&self, gateway: &GatewayKey) -> Result<Option<[u8; 32]>, StoreError>;
}

/// All of storage.
pub trait Storage:
    FrameStorage
    + HistoryStorage
    + CommandStorage
    + AlarmStorage
    + AuditStorage
    + AccountStorage
    + BoxStorage
    + CertificateStorage
    + ConfigurationStorage
    + UpdateStorage
{
}

impl<T> Storage for T where
    T: FrameStorage
        + HistoryStorage
        + CommandStorage
        + AlarmStorage
        + AuditStorage
        + AccountStorage
        + BoxStorage
        + CertificateStorage
        + ConfigurationStorage
        + UpdateStorage
{
}
