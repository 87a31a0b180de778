//! Storage in memory with the semantics that the API leans on: durable is what is in the map.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use cloud_core::align::{Column, Grid, Knot, align};
use cloud_core::boxes::Boxes;
use cloud_core::configuration::ConfigurationStorage;
use cloud_core::enrol::{Certificate, CertificateStorage, KeptCode};
use cloud_core::history::{
    AlignedPoint, Durations, ExportRow, HistoryStorage, RowTimes, SamplePage, Spans, StoredPoint,
    WaveformEntry,
};
use cloud_core::storage::{
    Account, AccountStorage, AlarmStorage, AsideRemoved, AuditStorage, BoxStorage, CommandStorage, Created,
    FrameStorage, History, KeptAside, KnownIncarnation, Loaded, SetAside,
};
use cloud_core::{GatewayKey, NewFrame, StoreError};
use common::alarm::{AlarmState, AlarmView};
use common::api::{
    ApiKeyView, CommandStep, CommandView, ConfigurationDocument, ConfigurationEntry, ConfigurationReport,
    DesiredEntry, DesiredView, GrantView, HistoryPoint, HistoryTimes, Interpolation, Page, Resolution,
    SetAsideView, UserView,
};
use common::command::{CommandUpdate, DesiredState, DesiredUpdate, LogEntry, Requester, Severity};
use common::wire::{WaveValues, Waveform};
use common::{AlarmId, CommandId, CommandState, Incarnation, Quality, Schema, SchemaHash, TwinId, Value};
use sha2::{Digest, Sha256};

#[derive(Default)]
struct Tables {
    users: BTreeMap<String, Account>,
    sessions: BTreeMap<[u8; 32], (String, Option<Vec<GrantView>>, i64)>,
    keys: BTreeMap<String, (ApiKeyView, [u8; 32])>,
    gateways: BTreeMap<GatewayKey, [u8; 32]>,
    audit: Vec<LogEntry>,
    commands: BTreeMap<CommandId, CommandView>,
    by_key: BTreeMap<(String, String), (CommandId, Vec<u8>)>,
    desired: BTreeMap<TwinId, (u64, BTreeMap<String, DesiredView>)>,
    alarms: BTreeMap<AlarmId, AlarmView>,
    set_aside: Vec<SetAsideView>,
    codes: BTreeMap<String, KeptCode>,
    certificates: Vec<Certificate>,
    documents: BTreeMap<(GatewayKey, u64), ConfigurationDocument>,
    reports: BTreeMap<GatewayKey, ConfigurationReport>,
    broken: bool,
}

/// Storage in memory.
#[derive(Default)]
pub struct Memory(Mutex<Tables>, pub Mutex<super::updates::Updates>);

type Done<T> = Result<T, StoreError>;

impl Tables {
    /// Its secret and certificates.
    fn revoke(&mut self, gateway: &GatewayKey, now: i64) -> usize {
        self.gateways.remove(gateway);
        let of = |c: &&mut Certificate| c.gateway == *gateway && c.revoked_us.is_none();
        self.certificates.iter_mut().filter(of).map(|c| c.revoked_us = Some(now)).count()
    }
}

fn none<T>(what: &str) -> Done<T> {
    Err(StoreError::NotFound { what: what.into() })
}

fn paged<T: Clone>(newest_first: Vec<T>, cursor: Option<&str>, limit: usize) -> Done<Page<T>> {
    let start: usize = match cursor {
        None => 0,
        Some(c) => c.parse().map_err(|_| StoreError::NotFound { what: "cursor".into() })?,
    };
    let items: Vec<_> = newest_first.iter().skip(start).take(limit).cloned().collect();
    let end = start + items.len();
    Ok(Page { items, next_cursor: (end < newest_first.len()).then(|| end.to_string()) })
}

impl Memory {
    fn t(&self) -> Done<std::sync::MutexGuard<'_, Tables>> {
        let tables = self.0.lock().unwrap();
        if tables.broken { Err(StoreError::Database { detail: "disk full".into() }) } else { Ok(tables) }
    }

    pub fn break_it(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }

    pub fn put_session(&self, token: &str, user: &str, grants: &[GrantView], expires_us: i64) {
        let hash = Sha256::digest(token.as_bytes()).into();
        let mut t = self.0.lock().unwrap();
        t.sessions.insert(hash, (user.into(), Some(grants.to_vec()), expires_us));
    }

    pub fn end_session(&self, token: &str) {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.0.lock().unwrap().sessions.remove(&hash);
    }

    pub fn note(&self, entry: &LogEntry) {
        self.0.lock().unwrap().audit.push(entry.clone());
    }

    pub fn actions(&self) -> Vec<String> {
        self.0.lock().unwrap().audit.iter().map(|e| e.action.clone()).collect()
    }

    pub fn entries(&self) -> Vec<LogEntry> {
        self.0.lock().unwrap().audit.clone()
    }

    pub fn put_alarm(&self, alarm: AlarmView) {
        self.0.lock().unwrap().alarms.insert(alarm.id, alarm);
    }

    pub fn secret_of(&self, key: &GatewayKey) -> Option<[u8; 32]> {
        self.0.lock().unwrap().gateways.get(key).copied()
    }

    pub fn everything(&self) -> String {
        let t = self.0.lock().unwrap();
        let users: Vec<_> = t.users.values().map(|a| &a.password_hash).collect();
        format!("{users:?} {:?} {:?} {:?}", t.audit, t.sessions, t.keys)
    }
}

#[async_trait]
impl FrameStorage for Memory {
    fn store_id(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }
    async fn hello(&self, _: &GatewayKey, _: &[Incarnation]) -> Done<Vec<KnownIncarnation>> {
        Ok(vec![])
    }
    async fn accept(&self, frames: &[NewFrame]) -> Done<Vec<bool>> {
        Ok(frames.iter().map(|_| true).collect())
    }
    async fn put_schema(&self, _: &GatewayKey, _: &Schema, _: u64, _: i64) -> Done<()> {
        Ok(())
    }
    async fn known_schemas(&self, _: &[SchemaHash]) -> Done<Vec<SchemaHash>> {
        Ok(vec![])
    }
    async fn load(&self) -> Done<Loaded> {
        Ok(Loaded::default())
    }
    async fn uncompacted(&self, _: Option<(u64, u64)>, _: usize) -> Done<Vec<NewFrame>> {
        Ok(vec![])
    }
    async fn compact_frames(&self, _: usize) -> Done<usize> {
        Ok(0)
    }

    async fn room(&self) -> Done<cloud_core::storage::Room> {
        Ok(cloud_core::storage::Room::default())
    }

    async fn upkeep(&self, _: std::time::Duration) -> Done<bool> {
        Ok(false)
    }
    async fn history(&self, _: TwinId, _: &str, from_us: i64, to_us: i64, max: usize) -> Done<History> {
        drop(self.t()?);
        let row = |i: i64| HistoryPoint::raw(from_us + i, Some(Value::F64(21.5)), Quality::GOOD);
        let n = (to_us - from_us).min(i64::try_from(max.min(3)).unwrap());
        Ok(History {
            resolution: Resolution::Raw,
            points: (0..n).map(row).collect(),
            gaps: vec![],
            heard_us: Some(from_us + 10),
        })
    }
}

#[async_trait]
impl HistoryStorage for Memory {
    async fn aligned(
        &self,
        points: &[AlignedPoint],
        grid: Grid,
        _: Interpolation,
        _: i64,
    ) -> Done<Vec<Column>> {
        drop(self.t()?);
        let knot = |p: &AlignedPoint| {
            let value =
                if p.point == "setpoint" { "x".repeat(1000).as_str().into() } else { Value::F64(21.5) };
            Knot { t_us: grid.from_us, quality: Quality::GOOD, value: Some(value) }
        };
        Ok(points.iter().map(|p| align(&[knot(p)], &[], grid, Interpolation::Previous)).collect())
    }

    /// Of the press only.
    async fn waveforms(
        &self,
        twin: TwinId,
        _: &str,
        from_us: i64,
        _: i64,
        _: usize,
    ) -> Done<Vec<WaveformEntry>> {
        let entry =
            WaveformEntry { t0_us: from_us, dt_ps: 1_000_000, total: 400_000, stored: 400_000, bytes: 1 };
        Ok(if twin == super::PRESS { vec![entry] } else { vec![] })
    }

    /// A block of 400,000 values.
    async fn waveform(&self, _: TwinId, _: &str, t0_us: i64) -> Done<Vec<Waveform>> {
        let part = |n: u32| Waveform {
            point: common::PointId(0),
            quality: Quality::GOOD,
            t0_us,
            received_us: t0_us + 1,
            dt_ps: 1_000_000,
            first: n * 25_000,
            total: 400_000,
            scale: 1.0,
            offset: 0.0,
            values: WaveValues::F64(vec![0.5; 25_000]),
        };
        Ok((0..16).map(part).collect())
    }

    /// All of it good, and nothing where the twin is away.
    async fn durations(&self, _: TwinId, _: &str, spans: Spans) -> Done<Durations> {
        drop(self.t()?);
        let us = spans.to_us.min(spans.now_us) - spans.from_us;
        let times = HistoryTimes {
            good_us: if spans.online { us } else { 0 },
            nothing_us: if spans.online { 0 } else { us },
            ..HistoryTimes::default()
        };
        let row = |_: &i64| RowTimes { times: times.clone(), first: None, last: None };
        Ok(Durations { rows: spans.starts_us.iter().map(row).collect(), total: times })
    }

    /// Three samples, one a page; the storage fails after them for the point `mode`.
    async fn samples(&self, _: TwinId, point: &str, from_us: i64, to_us: i64, _: usize) -> Done<SamplePage> {
        drop(self.t()?);
        let n = u32::try_from((to_us - from_us).min(3)).unwrap();
        if n < 3 && point == "mode" {
            return Err(StoreError::Database { detail: "disk gone".into() });
        }
        let value = Some(Value::F64(f64::from(n)));
        let row = ExportRow { t_us: from_us, received_us: from_us + 1, quality: Quality::GOOD, value };
        Ok(SamplePage { rows: vec![row], next_us: (n > 1).then(|| to_us - i64::from(n) + 1) })
    }

    /// The oven had the point `temp`, and has `temperature` still.
    async fn stored_point(&self, twin: TwinId, point: &str) -> Done<Option<StoredPoint>> {
        Ok(self.stored_points(twin).await?.into_iter().find(|s| s.point == point))
    }
    async fn stored_points(&self, twin: TwinId) -> Done<Vec<StoredPoint>> {
        drop(self.t()?);
        let of = |point: &str| StoredPoint {
            point: point.into(),
            unit: "Cel".into(),
            value_type: Some(common::ValueType::F64),
        };
        Ok(if twin == super::OVEN { vec![of("temp"), of("temperature")] } else { vec![] })
    }

    async fn delete_history(&self, _: TwinId, _: &str, _: i64, _: i64, audit: &LogEntry) -> Done<u64> {
        self.t()?.audit.push(audit.clone());
        Ok(3)
    }
}

#[async_trait]
impl CommandStorage for Memory {
    async fn create_command(
        &self,
        c: &CommandView,
        key: &str,
        hash: &[u8],
        audit: &LogEntry,
    ) -> Done<Created> {
        let mut t = self.t()?;
        let key = (c.requester.name.clone(), key.to_owned());
        if let Some((id, stored)) = t.by_key.get(&key) {
            let same = stored == hash;
            return Ok(if same {
                Created::Same(Box::new(t.commands[id].clone()))
            } else {
                Created::Different
            });
        }
        t.by_key.insert(key, (c.id, hash.to_vec()));
        t.commands.insert(c.id, c.clone());
        t.audit.push(audit.clone());
        Ok(Created::New)
    }
    async fn command_by_key(&self, requester: &str, key: &str) -> Done<Option<(CommandView, Vec<u8>)>> {
        let t = self.t()?;
        let found = t.by_key.get(&(requester.to_owned(), key.to_owned()));
        Ok(found.map(|(id, hash)| (t.commands[id].clone(), hash.clone())))
    }
    async fn update_command(&self, u: &CommandUpdate) -> Done<CommandView> {
        let mut t = self.t()?;
        let Some(c) = t.commands.get_mut(&u.id) else { return none("command") };
        if c.state.may_become(u.state) {
            c.state = u.state;
            c.code = u.code;
            c.detail.clone_from(&u.detail);
            c.read_back.clone_from(&u.read_back);
            c.steps.push(CommandStep { state: u.state, at_us: u.at_us });
        }
        Ok(c.clone())
    }
    async fn command(&self, id: CommandId) -> Done<CommandView> {
        self.t()?.commands.get(&id).cloned().map_or_else(|| none("command"), Ok)
    }
    async fn commands(
        &self,
        twins: Option<&[TwinId]>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Done<Page<CommandView>> {
        let t = self.t()?;
        let seen = t.commands.values().rev().filter(|c| twins.is_none_or(|ts| ts.contains(&c.twin)));
        paged(seen.cloned().collect(), cursor, limit)
    }
    async fn open_commands(&self, states: &[CommandState]) -> Done<Vec<CommandView>> {
        Ok(self.t()?.commands.values().filter(|c| states.contains(&c.state)).cloned().collect())
    }
    async fn patch_desired(
        &self,
        twin: TwinId,
        if_version: u64,
        patch: &[(String, Option<DesiredEntry>)],
        requester: &Requester,
        now_us: i64,
        audit: &LogEntry,
    ) -> Done<(u64, Vec<(String, Option<DesiredView>)>)> {
        let mut t = self.t()?;
        let (version, views) = t.desired.entry(twin).or_default();
        if *version != if_version {
            return Err(StoreError::Conflict { what: "desired".into() });
        }
        *version += 1;
        let mut out = vec![];
        for (name, entry) in patch {
            let view = entry.as_ref().map(|e| DesiredView {
                value: e.value.clone(),
                state: DesiredState::Pending,
                version: *version,
                set_us: now_us,
                expires_us: now_us.saturating_add_unsigned(e.ttl_ms * 1000),
                requester: requester.clone(),
                reason: e.reason.clone(),
                code: None,
                detail: String::new(),
            });
            match &view {
                Some(v) => views.insert(name.clone(), v.clone()),
                None => views.remove(name),
            };
            out.push((name.clone(), view));
        }
        let version = *version;
        t.audit.push(audit.clone());
        Ok((version, out))
    }
    async fn desired(&self, twin: TwinId, point: &str) -> Done<Option<DesiredView>> {
        Ok(self.t()?.desired.get(&twin).and_then(|(_, views)| views.get(point).cloned()))
    }
    async fn update_desired(&self, u: &DesiredUpdate) -> Done<Option<DesiredView>> {
        let mut t = self.t()?;
        let Some(view) = t.desired.entry(u.twin).or_default().1.get_mut(&u.point) else { return Ok(None) };
        if view.version == u.version && view.state == DesiredState::Pending {
            view.state = u.state;
            view.code = u.code;
            view.detail.clone_from(&u.detail);
        }
        Ok(Some(view.clone()))
    }
}

#[async_trait]
impl AlarmStorage for Memory {
    async fn alarm(&self, id: AlarmId) -> Done<AlarmView> {
        self.t()?.alarms.get(&id).cloned().map_or_else(|| none("alarm"), Ok)
    }
    async fn alarms(
        &self,
        twins: Option<&[TwinId]>,
        open: bool,
        cursor: Option<&str>,
        limit: usize,
    ) -> Done<Page<AlarmView>> {
        let t = self.t()?;
        let fits = |a: &&AlarmView| {
            twins.is_none_or(|ts| ts.contains(&a.twin))
                && (!open || a.state != AlarmState::Normal || a.shelved_until_us.is_some())
        };
        let mut found: Vec<_> = t.alarms.values().filter(fits).cloned().collect();
        found.sort_by_key(|a| std::cmp::Reverse((a.at_us, a.id)));
        paged(found, cursor, limit)
    }
}

#[async_trait]
impl BoxStorage for Memory {
    async fn boxes(&self, _: &GatewayKey) -> Done<Boxes> {
        Ok(Boxes::default())
    }
    async fn keep_boxes(&self, _: &GatewayKey, _: &Boxes, audit: &[LogEntry]) -> Done<()> {
        self.t()?.audit.extend_from_slice(audit);
        Ok(())
    }
    async fn set_aside(&self, frames: &[SetAside], _: &[LogEntry]) -> Done<KeptAside> {
        let view = |f: &SetAside| SetAsideView {
            id: "7".into(),
            incarnation: None,
            seq: f.name.map(|n| n.1),
            at_us: f.at_us,
            cause: f.cause.into(),
            detail: f.detail.clone(),
            bytes: f.bytes.len() as u64,
        };
        self.t()?.set_aside.extend(frames.iter().map(view));
        Ok(KeptAside { new: frames.iter().map(|_| true).collect(), ..KeptAside::default() })
    }
    async fn set_aside_removed(&self, _: &GatewayKey) -> Done<AsideRemoved> {
        Ok(AsideRemoved { frames: 3, bytes: 99 })
    }
    async fn set_aside_bytes(&self, _: &GatewayKey, id: i64) -> Done<Option<Vec<u8>>> {
        Ok((id == 7).then(|| b"bad".to_vec()))
    }
    async fn set_aside_page(
        &self,
        _: &GatewayKey,
        cursor: Option<&str>,
        limit: usize,
    ) -> Done<Page<SetAsideView>> {
        paged(self.t()?.set_aside.iter().rev().cloned().collect(), cursor, limit)
    }
    async fn set_aside_names(&self, _: &GatewayKey) -> Done<Vec<common::wire::Known>> {
        Ok(vec![])
    }
}

#[async_trait]
impl CertificateStorage for Memory {
    async fn create_code(&self, code: &KeptCode, _: i64, audit: &LogEntry) -> Done<()> {
        let mut t = self.t()?;
        t.codes.insert(code.id.clone(), code.clone());
        t.audit.push(audit.clone());
        Ok(())
    }
    async fn code(&self, id: &str) -> Done<Option<KeptCode>> {
        Ok(self.t()?.codes.get(id).cloned())
    }
    async fn code_failed(&self, id: &str) -> Done<()> {
        self.t()?.codes.get_mut(id).map_or_else(
            || none("code"),
            |c| {
                c.failures += 1;
                Ok(())
            },
        )
    }
    async fn enrol(&self, code: &str, certificate: &Certificate, audit: &LogEntry) -> Done<()> {
        let mut t = self.t()?;
        let Some(kept) = t.codes.get_mut(code) else { return none("code") };
        let before = kept.used_by;
        kept.used_by = before.or(Some(certificate.key));
        if let Some(key) = before {
            let is_good = |c: &Certificate| c.gateway == certificate.gateway && c.revoked_us.is_none();
            if key != certificate.key || !t.certificates.iter().any(|c| c.key == key && is_good(c)) {
                return Err(StoreError::Conflict { what: "used".into() });
            }
        } else {
            t.revoke(&certificate.gateway, certificate.issued_us);
        }
        t.certificates.push(certificate.clone());
        t.audit.push(audit.clone());
        Ok(())
    }
    async fn renew(&self, certificate: &Certificate, _: &LogEntry) -> Done<()> {
        self.t()?.certificates.push(certificate.clone());
        Ok(())
    }
    async fn certificates(&self, gateway: &GatewayKey) -> Done<Vec<Certificate>> {
        Ok(self.t()?.certificates.iter().filter(|c| c.gateway == *gateway).cloned().collect())
    }
    async fn revoke(&self, gateway: &GatewayKey, now: i64, audit: &LogEntry) -> Done<usize> {
        let mut t = self.t()?;
        let is_known = t.gateways.contains_key(gateway)
            || t.codes.values().any(|c| c.gateway == *gateway)
            || t.certificates.iter().any(|c| c.gateway == *gateway);
        if !is_known {
            return none("gateway");
        }
        t.codes.retain(|_, c| c.gateway != *gateway);
        let revoked = t.revoke(gateway, now);
        t.audit.push(audit.clone());
        Ok(revoked)
    }
}

#[async_trait]
impl ConfigurationStorage for Memory {
    async fn put_configuration(
        &self,
        gateway: &GatewayKey,
        document: &ConfigurationDocument,
        audit: &LogEntry,
    ) -> Done<()> {
        let mut t = self.t()?;
        let version = document.entry.version;
        let newest = t.documents.keys().filter(|(g, _)| g == gateway).map(|(_, v)| *v).max();
        if newest.unwrap_or(0) + 1 != version {
            return Err(StoreError::Conflict { what: "version".into() });
        }
        t.documents.insert((gateway.clone(), version), document.clone());
        t.audit.push(audit.clone());
        Ok(())
    }
    async fn configurations(
        &self,
        gateway: &GatewayKey,
        _: Option<&str>,
        limit: usize,
    ) -> Done<Page<ConfigurationEntry>> {
        let t = self.t()?;
        let own = t.documents.iter().rev().filter(|((g, _), _)| g == gateway);
        let items = own.map(|(_, d)| d.entry.clone()).take(limit).collect();
        Ok(Page { items, next_cursor: None })
    }
    async fn configuration(
        &self,
        gateway: &GatewayKey,
        version: Option<u64>,
    ) -> Done<Option<ConfigurationDocument>> {
        let t = self.t()?;
        let fits = |v: u64| version.is_none_or(|version| v == version);
        Ok(t.documents.iter().rev().find(|((g, v), _)| g == gateway && fits(*v)).map(|(_, d)| d.clone()))
    }
    async fn configuration_report(&self, gateway: &GatewayKey) -> Done<Option<ConfigurationReport>> {
        Ok(self.t()?.reports.get(gateway).cloned())
    }
    async fn keep_configuration_report(
        &self,
        gateway: &GatewayKey,
        report: &ConfigurationReport,
        audit: &[LogEntry],
    ) -> Done<()> {
        let mut t = self.t()?;
        t.reports.insert(gateway.clone(), report.clone());
        t.audit.extend_from_slice(audit);
        Ok(())
    }
}

#[async_trait]
impl AuditStorage for Memory {
    async fn append_audit(&self, entry: &LogEntry) -> Done<()> {
        self.t()?.audit.push(entry.clone());
        Ok(())
    }
    async fn audit(
        &self,
        twins: Option<&[TwinId]>,
        min: Severity,
        cursor: Option<&str>,
        limit: usize,
    ) -> Done<Page<LogEntry>> {
        let t = self.t()?;
        let about = |e: &&LogEntry| twins.is_none_or(|ts| e.twin.is_some_and(|id| ts.contains(&id)));
        let seen = t.audit.iter().rev().filter(|e| e.severity >= min).filter(about);
        paged(seen.cloned().collect(), cursor, limit)
    }
}

#[async_trait]
impl AccountStorage for Memory {
    async fn users(&self) -> Done<Vec<UserView>> {
        Ok(self.t()?.users.values().map(|a| a.view.clone()).collect())
    }
    async fn user(&self, name: &str) -> Done<Account> {
        self.t()?.users.get(name).cloned().map_or_else(|| none("account"), Ok)
    }
    async fn create_user(&self, account: &Account) -> Done<()> {
        let mut t = self.t()?;
        if t.users.contains_key(&account.view.name) {
            return Err(StoreError::Conflict { what: "account".into() });
        }
        t.users.insert(account.view.name.clone(), account.clone());
        Ok(())
    }
    async fn delete_user(&self, name: &str) -> Done<()> {
        let mut t = self.t()?;
        t.sessions.retain(|_, (user, ..)| user != name);
        t.users.remove(name).map_or_else(|| none("account"), |_| Ok(()))
    }
    async fn set_password(&self, name: &str, hash: &str) -> Done<()> {
        let mut t = self.t()?;
        t.sessions.retain(|_, (user, ..)| user != name);
        let Some(account) = t.users.get_mut(name) else { return none("account") };
        account.password_hash = hash.into();
        Ok(())
    }
    async fn create_session(&self, hash: &[u8; 32], user: &str, expires_us: i64) -> Done<()> {
        self.t()?.sessions.insert(*hash, (user.into(), None, expires_us));
        Ok(())
    }
    async fn authenticate(&self, hash: &[u8; 32], now_us: i64) -> Done<Option<(String, Vec<GrantView>)>> {
        let t = self.t()?;
        if let Some((user, grants, end)) = t.sessions.get(hash) {
            let grants = grants.clone().or_else(|| t.users.get(user).map(|a| a.view.grants.clone()));
            return Ok((*end > now_us).then_some(grants).flatten().map(|g| (user.clone(), g)));
        }
        let key = t.keys.values().find(|(_, h)| h == hash).map(|(view, _)| view);
        let live = key.filter(|k| k.expires_us.is_none_or(|end| end > now_us));
        Ok(live.map(|k| (format!("key:{}", k.name), k.grants.clone())))
    }
    async fn delete_session(&self, hash: &[u8; 32]) -> Done<()> {
        self.t()?.sessions.remove(hash);
        Ok(())
    }
    async fn keys(&self) -> Done<Vec<ApiKeyView>> {
        Ok(self.t()?.keys.values().map(|(view, _)| view.clone()).collect())
    }
    async fn create_key(&self, key: &ApiKeyView, hash: &[u8; 32]) -> Done<()> {
        self.t()?.keys.insert(key.name.clone(), (key.clone(), *hash));
        Ok(())
    }
    async fn delete_key(&self, name: &str) -> Done<()> {
        self.t()?.keys.remove(name).map_or_else(|| none("key"), |_| Ok(()))
    }
    async fn set_gateway_secret(&self, gateway: &GatewayKey, hash: &[u8; 32], now: i64) -> Done<()> {
        let mut t = self.t()?;
        t.revoke(gateway, now);
        t.gateways.insert(gateway.clone(), *hash);
        Ok(())
    }
    async fn gateway_secret(&self, gateway: &GatewayKey) -> Done<Option<[u8; 32]>> {
        Ok(self.t()?.gateways.get(gateway).copied())
    }
}
