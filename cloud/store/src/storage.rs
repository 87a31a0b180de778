//! The traits of `cloud-core` on this storage: each method goes to a connection and to the file that knows.

use async_trait::async_trait;
use cloud_core::align::{Column, Grid};
use cloud_core::boxes::Boxes;
use cloud_core::history::{
    AlignedPoint, Durations, HistoryStorage, SamplePage, Spans, StoredPoint, WaveformEntry,
};
use cloud_core::storage::{
    Account, AccountStorage, AlarmStorage, AsideRemoved, AuditStorage, BoxStorage, CommandStorage, Created,
    FrameStorage, History, KeptAside, KnownIncarnation, Loaded, Room, SetAside,
};
use cloud_core::{GatewayKey, NewFrame, StoreError};
use common::alarm::AlarmView;
use common::api::{
    ApiKeyView, CommandView, DesiredEntry, DesiredView, GrantView, Interpolation, Page, SetAsideView,
    UserView,
};
use common::command::{CommandUpdate, DesiredUpdate, LogEntry, Requester, Severity};
use common::wire::{Known, Waveform};
use common::{AlarmId, CommandId, CommandState, Incarnation, Schema, SchemaHash, TwinId};

use crate::writer::Writer;
use crate::{
    Store, accounts, alarms, align, boxes, commands, compact, delete, desired, durations, export, frames,
    history, load, log, points, schemas, waveforms,
};

type Result<T> = std::result::Result<T, StoreError>;

#[async_trait]
impl FrameStorage for Store {
    fn store_id(&self) -> uuid::Uuid {
        self.shared.store_id
    }

    async fn hello(
        &self,
        gateway: &GatewayKey,
        incarnations: &[Incarnation],
    ) -> Result<Vec<KnownIncarnation>> {
        let (gateway, incarnations) = (gateway.clone(), incarnations.to_vec());
        self.write(move |w| frames::hello(w, &gateway, &incarnations)).await
    }

    async fn accept(&self, frames: &[NewFrame]) -> Result<Vec<bool>> {
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        let frames = frames.to_vec();
        self.blocking(move |shared| shared.writer.accept(frames)).await
    }

    async fn put_schema(&self, gateway: &GatewayKey, schema: &Schema, rank: u64, now_us: i64) -> Result<()> {
        let (gateway, schema) = (gateway.clone(), schema.clone());
        self.write(move |w| schemas::put_schema(w, &gateway, &schema, rank, now_us)).await
    }

    async fn known_schemas(&self, hashes: &[SchemaHash]) -> Result<Vec<SchemaHash>> {
        let hashes = hashes.to_vec();
        self.read(move |conn| schemas::known_schemas(conn, &hashes)).await
    }

    async fn load(&self) -> Result<Loaded> {
        self.read(load::load).await
    }

    async fn uncompacted(&self, after: Option<(u64, u64)>, limit: usize) -> Result<Vec<NewFrame>> {
        self.read(move |conn| frames::uncompacted(conn, after, limit)).await
    }

    fn waiting_samples(&self) -> usize {
        self.shared.waiting.load(std::sync::atomic::Ordering::Relaxed)
    }

    async fn unknown_samples(&self) -> Result<u64> {
        self.read(schemas::unknown_samples).await
    }

    fn damaged(&self) -> u64 {
        self.shared.damage.count()
    }

    async fn compact_frames(&self, limit: usize) -> Result<usize> {
        self.blocking(move |shared| compact::compact(shared, limit)).await
    }

    async fn room(&self) -> Result<Room> {
        self.read(crate::place::room).await
    }

    async fn upkeep(&self, time: std::time::Duration) -> Result<bool> {
        self.blocking(move |shared| compact::upkeep(shared, time)).await
    }

    async fn history(
        &self,
        twin: TwinId,
        point: &str,
        from_us: i64,
        to_us: i64,
        max_points: usize,
    ) -> Result<History> {
        let point = point.to_owned();
        let tail = std::sync::Arc::clone(&self.shared.tail);
        let range = (from_us, to_us);
        let damage = std::sync::Arc::clone(&self.shared.damage);
        self.read_long(move |conn| history::history(conn, &tail, twin, &point, range, max_points, &damage))
            .await
    }
}

#[async_trait]
impl HistoryStorage for Store {
    async fn aligned(
        &self,
        points: &[AlignedPoint],
        grid: Grid,
        method: Interpolation,
        now_us: i64,
    ) -> Result<Vec<Column>> {
        let (points, tail) = (points.to_vec(), std::sync::Arc::clone(&self.shared.tail));
        let damage = std::sync::Arc::clone(&self.shared.damage);
        self.read_long(move |conn| align::aligned(conn, &tail, &points, grid, method, now_us, &damage)).await
    }

    async fn durations(&self, twin: TwinId, point: &str, spans: Spans) -> Result<Durations> {
        let (point, tail) = (point.to_owned(), std::sync::Arc::clone(&self.shared.tail));
        let damage = std::sync::Arc::clone(&self.shared.damage);
        self.read_long(move |conn| durations::durations(conn, &tail, twin, &point, &spans, &damage)).await
    }

    async fn samples(
        &self,
        twin: TwinId,
        point: &str,
        from_us: i64,
        to_us: i64,
        most: usize,
    ) -> Result<SamplePage> {
        let point = point.to_owned();
        let tail = std::sync::Arc::clone(&self.shared.tail);
        let range = (from_us, to_us);
        let damage = std::sync::Arc::clone(&self.shared.damage);
        self.read_long(move |conn| export::samples(conn, &tail, twin, &point, range, most, &damage)).await
    }

    async fn waveforms(
        &self,
        twin: TwinId,
        point: &str,
        from_us: i64,
        to_us: i64,
        limit: usize,
    ) -> Result<Vec<WaveformEntry>> {
        let point = point.to_owned();
        self.read_long(move |conn| waveforms::list(conn, twin, &point, (from_us, to_us), limit)).await
    }

    async fn waveform(&self, twin: TwinId, point: &str, t0_us: i64) -> Result<Vec<Waveform>> {
        let point = point.to_owned();
        let damage = std::sync::Arc::clone(&self.shared.damage);
        self.read_long(move |conn| waveforms::block(conn, twin, &point, t0_us, &damage)).await
    }

    async fn stored_point(&self, twin: TwinId, point: &str) -> Result<Option<StoredPoint>> {
        let point = point.to_owned();
        self.read(move |conn| points::find(conn, twin, &point)).await
    }

    async fn stored_points(&self, twin: TwinId) -> Result<Vec<StoredPoint>> {
        self.read_long(move |conn| points::list(conn, twin)).await
    }

    async fn delete_history(
        &self,
        twin: TwinId,
        point: &str,
        from_us: i64,
        to_us: i64,
        audit: &LogEntry,
    ) -> Result<u64> {
        let (point, audit, range) = (point.to_owned(), audit.clone(), (from_us, to_us));
        self.blocking(move |shared| delete::delete(shared, twin, &point, range, audit)).await
    }
}

#[async_trait]
impl CommandStorage for Store {
    async fn create_command(
        &self,
        command: &CommandView,
        idempotency_key: &str,
        request_hash: &[u8],
        audit: &LogEntry,
    ) -> Result<Created> {
        let (command, key) = (command.clone(), idempotency_key.to_owned());
        let (hash, audit) = (request_hash.to_vec(), audit.clone());
        self.write(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| commands::create(tx, &command, &key, &hash, &audit, now))
        })
        .await
    }

    async fn command_by_key(
        &self,
        requester: &str,
        idempotency_key: &str,
    ) -> Result<Option<(CommandView, Vec<u8>)>> {
        let (requester, key) = (requester.to_owned(), idempotency_key.to_owned());
        self.read(move |conn| commands::by_key(conn, &requester, &key)).await
    }

    async fn update_command(&self, update: &CommandUpdate) -> Result<CommandView> {
        let update = update.clone();
        self.blocking(move |shared| shared.writer.step(update)).await
    }

    async fn command(&self, id: CommandId) -> Result<CommandView> {
        let found = self.read(move |conn| commands::find(conn, id)).await?;
        found.ok_or_else(|| StoreError::NotFound { what: format!("command {id}") })
    }

    async fn commands(
        &self,
        twins: Option<&[TwinId]>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CommandView>> {
        let (twins, cursor) = (twins.map(<[_]>::to_vec), cursor.map(str::to_owned));
        self.read_long(move |conn| commands::page(conn, twins.as_deref(), cursor.as_deref(), limit)).await
    }

    async fn open_commands(&self, states: &[CommandState]) -> Result<Vec<CommandView>> {
        let states = states.to_vec();
        self.read(move |conn| commands::in_states(conn, &states)).await
    }

    async fn patch_desired(
        &self,
        twin: TwinId,
        if_version: u64,
        patch: &[(String, Option<DesiredEntry>)],
        requester: &Requester,
        now_us: i64,
        audit: &LogEntry,
    ) -> Result<(u64, Vec<(String, Option<DesiredView>)>)> {
        let (patch, requester, audit) = (patch.to_vec(), requester.clone(), audit.clone());
        self.write(move |w| {
            w.change(|tx| desired::patch(tx, twin, if_version, &patch, &requester, now_us, &audit))
        })
        .await
    }

    async fn desired(&self, twin: TwinId, point: &str) -> Result<Option<DesiredView>> {
        let point = point.to_owned();
        self.read(move |conn| desired::find(conn, twin, &point)).await
    }

    async fn update_desired(&self, update: &DesiredUpdate) -> Result<Option<DesiredView>> {
        let update = update.clone();
        self.write(move |w| w.change(|tx| desired::update(tx, &update, None))).await
    }
}

#[async_trait]
impl AlarmStorage for Store {
    async fn alarm(&self, id: AlarmId) -> Result<AlarmView> {
        let found = self.read(move |conn| alarms::find(conn, id)).await?;
        found.ok_or_else(|| StoreError::NotFound { what: format!("alarm {id}") })
    }

    async fn alarms(
        &self,
        twins: Option<&[TwinId]>,
        open: bool,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<AlarmView>> {
        let (twins, cursor) = (twins.map(<[_]>::to_vec), cursor.map(str::to_owned));
        self.read_long(move |conn| alarms::page(conn, twins.as_deref(), open, cursor.as_deref(), limit)).await
    }
}

#[async_trait]
impl AuditStorage for Store {
    async fn append_audit(&self, entry: &LogEntry) -> Result<()> {
        let entry = entry.clone();
        self.write(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| log::append_own(tx, &entry, now))
        })
        .await
    }

    async fn audit(
        &self,
        twins: Option<&[TwinId]>,
        min_severity: Severity,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<LogEntry>> {
        let (twins, cursor) = (twins.map(<[_]>::to_vec), cursor.map(str::to_owned));
        self.read_long(move |conn| log::page(conn, twins.as_deref(), min_severity, cursor.as_deref(), limit))
            .await
    }
}

#[async_trait]
impl BoxStorage for Store {
    async fn boxes(&self, gateway: &GatewayKey) -> Result<Boxes> {
        let gateway = gateway.clone();
        self.read(move |conn| boxes::boxes(conn, &gateway)).await
    }

    async fn keep_boxes(&self, gateway: &GatewayKey, boxes: &Boxes, audit: &[LogEntry]) -> Result<()> {
        let (gateway, kept, audit) = (gateway.clone(), boxes.clone(), audit.to_vec());
        self.write(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| boxes::keep(tx, &gateway, &kept, &audit, now))
        })
        .await
    }

    async fn set_aside(&self, frames: &[SetAside], audit: &[LogEntry]) -> Result<KeptAside> {
        let (frames, audit) = (frames.to_vec(), audit.to_vec());
        self.write(move |w| boxes::set_aside(w, &frames, &audit)).await
    }

    async fn set_aside_page(
        &self,
        gateway: &GatewayKey,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<SetAsideView>> {
        let (gateway, cursor) = (gateway.clone(), cursor.map(str::to_owned));
        self.read_long(move |conn| boxes::set_aside_page(conn, &gateway, cursor.as_deref(), limit)).await
    }

    async fn set_aside_removed(&self, gateway: &GatewayKey) -> Result<AsideRemoved> {
        let gateway = gateway.clone();
        self.read(move |conn| boxes::aside_removed(conn, &gateway)).await
    }

    async fn set_aside_bytes(&self, gateway: &GatewayKey, id: i64) -> Result<Option<Vec<u8>>> {
        let gateway = gateway.clone();
        self.read(move |conn| boxes::aside_bytes(conn, &gateway, id)).await
    }

    async fn set_aside_names(&self, gateway: &GatewayKey) -> Result<Vec<Known>> {
        let gateway = gateway.clone();
        self.read(move |conn| boxes::set_aside_names(conn, &gateway)).await
    }
}

#[async_trait]
impl AccountStorage for Store {
    async fn users(&self) -> Result<Vec<UserView>> {
        self.read(accounts::users).await
    }

    async fn user(&self, name: &str) -> Result<Account> {
        let name = name.to_owned();
        self.read(move |conn| accounts::user(conn, &name)).await
    }

    async fn create_user(&self, account: &Account) -> Result<()> {
        let account = account.clone();
        self.write(move |w| w.change(|tx| accounts::create_user(tx, &account))).await
    }

    async fn delete_user(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.write(move |w| w.change(|tx| accounts::delete_user(tx, &name))).await
    }

    async fn set_password(&self, name: &str, password_hash: &str) -> Result<()> {
        let (name, hash) = (name.to_owned(), password_hash.to_owned());
        self.write(move |w| w.change(|tx| accounts::set_password(tx, &name, &hash))).await
    }

    async fn create_session(&self, token_hash: &[u8; 32], user: &str, expires_us: i64) -> Result<()> {
        let (token, user) = (*token_hash, user.to_owned());
        self.write(move |w| {
            let now = w.clock.now_us();
            w.change(|tx| accounts::create_session(tx, &token, &user, expires_us, now))
        })
        .await
    }

    async fn authenticate(
        &self,
        token_hash: &[u8; 32],
        now_us: i64,
    ) -> Result<Option<(String, Vec<GrantView>)>> {
        let token = *token_hash;
        self.read(move |conn| accounts::authenticate(conn, &token, now_us)).await
    }

    async fn delete_session(&self, token_hash: &[u8; 32]) -> Result<()> {
        let token = *token_hash;
        self.write(move |w| w.change(|tx| accounts::delete_session(tx, &token))).await
    }

    async fn keys(&self) -> Result<Vec<ApiKeyView>> {
        self.read(accounts::keys).await
    }

    async fn create_key(&self, key: &ApiKeyView, token_hash: &[u8; 32]) -> Result<()> {
        let (key, token) = (key.clone(), *token_hash);
        self.write(move |w| w.change(|tx| accounts::create_key(tx, &key, &token))).await
    }

    async fn delete_key(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.write(move |w| w.change(|tx| accounts::delete_key(tx, &name))).await
    }

    async fn set_gateway_secret(
        &self,
        gateway: &GatewayKey,
        secret_hash: &[u8; 32],
        now_us: i64,
    ) -> Result<()> {
        let (gateway, secret) = (gateway.clone(), *secret_hash);
        let set = move |w: &mut Writer| {
            w.revoke(|tx| accounts::set_gateway_secret(tx, &gateway, &secret, now_us)).map(drop)
        };
        self.write(set).await
    }

    async fn gateway_secret(&self, gateway: &GatewayKey) -> Result<Option<[u8; 32]>> {
        let gateway = gateway.clone();
        self.read(move |conn| accounts::gateway_secret(conn, &gateway)).await
    }
}
