//! Everything from one database to another of the other kind, and back: the same answers, and life goes on in it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // all of it is tests

#[allow(dead_code, unused_macros)]
mod contract;

use std::sync::Arc;

use cloud_core::storage::Account;
use cloud_core::{Storage, StoreError};
use cloud_store::{Copied, Place, Server, Store, copy};
use common::alarm::AlarmId;
use common::api::{ApiKeyView, DesiredEntry, DocumentState, GrantView, Role, UserView};
use common::command::Severity;
use common::wire::Body;
use common::{CommandState, Incarnation, Value};
use contract::fixtures::*;
use contract::{alarms, commands, configurations, updates};

/// Later than any clock of a test.
const END: i64 = 4_000_000_000_000_000;

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn open(place: &Place) -> Arc<dyn Storage> {
    let (options, clock) = contract::small(place.clone());
    blocking(move || Store::open(options, clock).unwrap()).await
}

async fn copied(from: &Place, to: &Place) -> Result<Vec<Copied>, StoreError> {
    let (from, to) = (from.clone(), to.clone());
    blocking(move || {
        let mut tables = Vec::new();
        copy(from, to, |table| tables.push(table.clone())).map(|()| tables)
    })
    .await
}

fn sqlite(folder: &tempfile::TempDir, name: &str) -> Place {
    Place::Sqlite(folder.path().join(name))
}

fn postgres() -> (Place, String) {
    let name = test_postgres::Server::shared().create();
    let url = test_postgres::Server::shared().url(&name);
    (Place::Postgres(Server::new(&url, None, None).unwrap()), name)
}

/// Something of everything: several gateways and incarnations, holes in their marks, chunks of every class, roll-ups,
/// frames that are not compacted, commands, desired values, alarms, audit, accounts.
async fn fill(storage: &Arc<dyn Storage>) -> (Stream, AlarmId) {
    let first = oven(storage).await;
    let other = Stream::start(storage, schema(&key("g2"), &[("pump", twin(2)), ("fan", twin(3))]), 21).await;
    for seq in 1..=60u64 {
        let t = T0 + i64::try_from(seq).unwrap() * SECOND / 4;
        let n = i64::try_from(seq).unwrap();
        let values = vec![
            sample(0, t, 0.5 + seq as f64),
            sample(1, t, -n),
            sample(2, t, seq % 3 == 0),
            sample(3, t, &*format!("text {seq} \u{e4}\u{1f980}")),
        ];
        storage.accept(&[first.samples(seq * 2, values.clone()), other.samples(seq, values)]).await.unwrap();
        if seq % 4 == 0 {
            storage.compact(6).await.unwrap();
        }
    }
    compact_all(storage).await;
    let again = Stream::start(storage, schema(&key("g1"), &[("oven", twin(1))]), 12).await;
    for seq in 1..=5 {
        storage
            .accept(&[again.samples(seq, vec![sample(0, T0 + i64::try_from(seq).unwrap(), 7.0)])])
            .await
            .unwrap();
    }
    let command = commands::view(twin(1), "temp", 0);
    commands::create(storage, &command, "k1").await;
    commands::create(storage, &commands::view(twin(2), "count", 1), "k2").await;
    storage.update_command(&commands::update(&command, CommandState::Sent)).await.unwrap();
    let wish = DesiredEntry { value: Value::F64(5.0), ttl_ms: 1000, reason: "because".into() };
    let note = entry(T0, "desired.changed", Some(twin(1)), Severity::Info);
    let patch = [("temp".to_owned(), Some(wish))];
    storage.patch_desired(twin(1), 0, &patch, &requester("admin"), T0, &note).await.unwrap();
    let alarm = alarms::active(twin(1), "hi");
    storage.accept(&[again.frame(6, Body::Alarm(Box::new(alarm.clone())))]).await.unwrap();
    let grants = vec![GrantView { path: "plant".into(), role: Role::Admin }];
    let view = UserView { name: "admin".into(), grants: grants.clone(), created_us: T0 };
    storage.create_user(&Account { view, password_hash: "$argon2id$x".into() }).await.unwrap();
    storage.create_session(&[1; 32], "admin", END).await.unwrap();
    let api_key = ApiKeyView { name: "k".into(), grants, created_us: T0, expires_us: None };
    storage.create_key(&api_key, &[2; 32]).await.unwrap();
    storage.set_gateway_secret(&key("g2"), &[3; 32], T0).await.unwrap();
    let put = entry(T0, "configuration.put", None, Severity::Warning);
    for version in 1..=2 {
        storage.put_configuration(&key("g1"), &configurations::document(version), &put).await.unwrap();
    }
    let report = configurations::report(DocumentState::Applied);
    storage.keep_configuration_report(&key("g1"), &report, &[]).await.unwrap();
    let upload = uuid::Uuid::from_u128(7);
    storage.put_upload(upload, 0, &[9; 300]).await.unwrap();
    let release = updates::release("1.1.0", "arm64");
    storage.put_release(&common::TenantId::default(), upload, &release, &put).await.unwrap();
    storage.set_group(&key("g1"), Some("canary"), &put).await.unwrap();
    storage.keep_update_report(&key("g1"), &updates::report()).await.unwrap();
    storage.put_rollout(&common::TenantId::default(), &updates::rollout(1, 1), &[]).await.unwrap();
    (again, alarm.id)
}

/// What there is to ask, as text.
async fn answers(storage: &Arc<dyn Storage>, alarm: AlarmId) -> Vec<String> {
    let mut out = Vec::new();
    let mut loaded = storage.load().await.unwrap();
    loaded.twins.sort_by_key(|t| t.id);
    let twins: Vec<_> = loaded.twins.iter().map(|t| (t.view(), t.bound_from, &t.binding)).collect();
    out.push(format!("{twins:?} {:?} {:?} {:?}", loaded.schemas, loaded.ranks, loaded.gateways));
    let positions = loaded.twins.iter().flat_map(|t| &t.points).map(|p| (p.position, p.value.clone()));
    out.push(format!("{:?}", positions.collect::<Vec<_>>()));
    for frame in storage.uncompacted(None, 1000).await.unwrap() {
        out.push(format!("{} {:?} {}", frame.rank, frame.frame, frame.received_us));
    }
    for n in 1..=3 {
        for (point, _) in POINTS {
            for max in [1, 10, 1000] {
                out.push(format!("{:?}", storage.history(twin(n), point, T0, T0 + 100 * SECOND, max).await));
            }
        }
    }
    out.push(format!("{:?}", storage.commands(None, None, 10).await.unwrap()));
    out.push(format!("{:?}", storage.command_by_key("admin", "k1").await.unwrap()));
    out.push(format!("{:?}", storage.desired(twin(1), "temp").await.unwrap()));
    out.push(format!("{:?}", storage.alarm(alarm).await.unwrap()));
    out.push(format!("{:?}", storage.audit(None, Severity::Info, None, 100).await.unwrap()));
    out.push(format!("{:?} {:?}", storage.users().await.unwrap(), storage.user("admin").await.unwrap()));
    out.push(format!("{:?}", storage.authenticate(&[1; 32], T0).await.unwrap()));
    out.push(format!("{:?} {:?}", storage.keys().await.unwrap(), storage.authenticate(&[2; 32], T0).await));
    out.push(format!("{:?}", storage.gateway_secret(&key("g2")).await.unwrap()));
    for version in [None, Some(1)] {
        out.push(format!("{:?}", storage.configuration(&key("g1"), version).await.unwrap()));
    }
    out.push(format!("{:?}", storage.configuration_report(&key("g1")).await.unwrap()));
    let tenant = common::TenantId::default();
    for release in storage.releases(&tenant).await.unwrap() {
        out.push(format!(
            "{release:?} {:?}",
            storage.release_part(&tenant, &release.sha256, 0).await.unwrap()
        ));
    }
    out.push(format!("{:?} {:?}", storage.update_boxes(&tenant).await, storage.rollout(&tenant).await));
    out
}

#[tokio::test]
async fn there_and_back_all_answers_are_the_same_and_life_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let places = [sqlite(&folder, "a.db"), postgres().0, sqlite(&folder, "b.db"), postgres().0];
    let storage = open(&places[0]).await;
    let (s, alarm) = fill(&storage).await;
    let mut expected = answers(&storage, alarm).await;
    assert!(expected.iter().all(|a| !a.contains("Err(")), "{expected:?}");
    drop(storage);
    let mut seq = 10;
    for pair in places.windows(2) {
        let tables = copied(&pair[0], &pair[1]).await.unwrap();
        for (name, at_least) in [("chunks", 20), ("frames", 1), ("log", 4), ("marks", 60), ("sessions", 1)] {
            let table = tables.iter().find(|t| t.table == name).expect(name);
            assert!(table.rows >= at_least, "{table:?}");
        }
        let storage = open(&pair[1]).await;
        assert_eq!(answers(&storage, alarm).await, expected, "{} to {}", pair[0], pair[1]);
        // What was stored is known, what is new gets the next numbers, and both are compacted.
        assert_eq!(
            storage.accept(&[s.samples(5, vec![]), s.samples(seq, vec![])]).await.unwrap(),
            [false, true]
        );
        let frame = s.samples(seq + 1, vec![sample(0, T0 + SECOND + i64::try_from(seq).unwrap(), 9.0)]);
        storage.accept(&[frame]).await.unwrap();
        let ranks = storage.load().await.unwrap().ranks;
        let most = ranks.iter().map(|(_, rank)| *rank).max().unwrap();
        let new = storage.hello(&key("g3"), &[Incarnation(1000 + u128::from(seq))]).await.unwrap();
        assert!(new[0].rank > most);
        storage.append_audit(&entry(T0 + 1, "user.login", None, Severity::Info)).await.unwrap();
        compact_all(&storage).await;
        storage.accept(&[s.samples(seq + 2, vec![sample(0, T0 + 2 * SECOND, 9.5)])]).await.unwrap();
        expected = answers(&storage, alarm).await;
        seq += 10;
    }
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (target, _) = postgres();
    let source = sqlite(&folder, "a.db");
    let storage = open(&target).await;
    oven(&storage).await;
    drop(storage);
    drop(open(&source).await);
    let told = copied(&source, &target).await.unwrap_err().to_string();
    assert!(told.contains("not empty") && told.contains("gateways"), "{told}");
    assert_eq!(open(&target).await.load().await.unwrap().twins.len(), 1);
    let told = copied(&source, &source).await.unwrap_err().to_string();
    assert!(told.contains("in use"), "{told}");
}

/// A copy that was cut leaves something that nothing takes for a database.
#[tokio::test]
async fn half_a_copy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = sqlite(&folder, "a.db");
    let storage = open(&source).await;
    fill(&storage).await;
    drop(storage);
    let (target, name) = postgres();
    drop(open(&target).await);
    // Refused by the target in mid-way, as a full disk would.
    let stop =
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$;
                CREATE TRIGGER no BEFORE INSERT ON chunks FOR EACH STATEMENT EXECUTE FUNCTION no()";
    test_postgres::Server::shared().sql(&name, stop);
    let told = copied(&source, &target).await.unwrap_err().to_string();
    assert!(told.contains("no room"), "{told}");
    let (options, clock) = contract::small(target.clone());
    let told = blocking(move || Store::open(options, clock).err().unwrap().to_string()).await;
    assert!(told.contains("copy into it was cut"), "{told}");
    let told = copied(&source, &target).await.unwrap_err().to_string();
    assert!(told.contains("copy into it was cut"), "{told}");
    let tables = copied(&source, &sqlite(&folder, "b.db")).await.unwrap();
    assert!(tables.len() > 15, "the source is as it was");
}
