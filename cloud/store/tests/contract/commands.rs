//! Commands, desired values, audit.

use std::sync::Arc;

use cloud_core::storage::Created;
use cloud_core::{Storage, StoreError};
use common::api::{CommandStep, CommandView, DesiredEntry};
use common::command::{CommandUpdate, DesiredState, DesiredUpdate, Severity};
use common::{CommandId, CommandState, TwinId, Value};

use super::Backend;
use super::fixtures::*;

pub(crate) fn view(twin: TwinId, point: &str, n: i64) -> CommandView {
    CommandView {
        id: CommandId::new(),
        twin,
        asset: "plant/coating/line1/oven".into(),
        point: point.into(),
        value: Value::F64(180.5),
        requester: requester("admin"),
        reason: "warm up".into(),
        state: CommandState::Accepted,
        code: None,
        detail: String::new(),
        read_back: None,
        created_us: T0 + n,
        expires_us: T0 + n + SECOND,
        steps: vec![CommandStep { state: CommandState::Accepted, at_us: T0 + n }],
    }
}

pub(crate) fn update(of: &CommandView, state: CommandState) -> CommandUpdate {
    CommandUpdate {
        id: of.id,
        twin: of.twin,
        point: of.point.clone(),
        value: of.value.clone(),
        requester: of.requester.clone(),
        reason: of.reason.clone(),
        state,
        code: None,
        detail: String::new(),
        read_back: None,
        at_us: T0 + 9,
    }
}

pub(crate) async fn create(storage: &Arc<dyn Storage>, command: &CommandView, key: &str) {
    let note = entry(command.created_us, "command.accepted", Some(command.twin), Severity::Info);
    let created = storage.create_command(command, key, b"h", &note).await.unwrap();
    assert_eq!(created, Created::New);
}

pub(crate) async fn a_key_makes_one_command_for_each_requester(backend: &impl Backend) {
    let storage = backend.open();
    oven(&storage).await;
    let first = view(twin(1), "temp", 0);
    create(&storage, &first, "k1").await;
    drop(storage);
    let storage = backend.open();
    let note = entry(T0, "command.accepted", Some(twin(1)), Severity::Info);
    let again = view(twin(1), "temp", 1);
    let same = storage.create_command(&again, "k1", b"h", &note).await.unwrap();
    assert_eq!(same, Created::Same(Box::new(first.clone())));
    assert_eq!(storage.create_command(&again, "k1", b"other", &note).await.unwrap(), Created::Different);
    assert!(matches!(storage.command(again.id).await, Err(StoreError::NotFound { .. })));
    let other = CommandView { requester: requester("olga"), ..again };
    assert_eq!(storage.create_command(&other, "k1", b"h", &note).await.unwrap(), Created::New);
    assert_eq!(storage.command_by_key("admin", "k1").await.unwrap(), Some((first, b"h".to_vec())));
    assert_eq!(storage.command_by_key("nobody", "k1").await.unwrap(), None);
    let log = storage.audit(None, Severity::Info, None, 9).await.unwrap().items;
    assert_eq!(log.len(), 2, "one entry for each command made");
    let lost = view(twin(99), "temp", 0);
    let refused = storage.create_command(&lost, "k9", b"h", &note).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
}

pub(crate) async fn a_command_goes_forwards_only_and_late_results_are_kept(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let c = view(twin(1), "temp", 0);
    create(&storage, &c, "k").await;
    let to = |state| update(&c, state);
    assert_eq!(storage.update_command(&to(CommandState::Sent)).await.unwrap().state, CommandState::Sent);
    assert_eq!(storage.open_commands(&[CommandState::Accepted]).await.unwrap().len(), 0);
    let open = storage.open_commands(&[CommandState::Accepted, CommandState::Sent]).await.unwrap();
    assert_eq!(open.iter().map(|c| c.id).collect::<Vec<_>>(), [c.id]);
    storage.update_command(&to(CommandState::Expired)).await.unwrap();
    let late = CommandUpdate { read_back: Some(Value::F64(180.5)), ..to(CommandState::Succeeded) };
    let frame = s.frame(1, common::wire::Body::Command(late));
    storage.accept(&[frame]).await.unwrap();
    let kept = storage.update_command(&to(CommandState::Failed)).await.unwrap();
    assert_eq!((kept.state, &kept.read_back), (CommandState::Succeeded, &Some(Value::F64(180.5))));
    let states: Vec<_> = kept.steps.iter().map(|s| s.state).collect();
    use CommandState::*;
    assert_eq!(states, [Accepted, Sent, Expired, Succeeded]);
    let elsewhere = CommandUpdate { point: "count".into(), ..to(CommandState::Failed) };
    assert!(matches!(storage.update_command(&elsewhere).await, Err(StoreError::Conflict { .. })));
    // Given at the box.
    let local = update(&view(twin(1), "count", 5), CommandState::Executing);
    storage.accept(&[s.frame(2, common::wire::Body::Command(local.clone()))]).await.unwrap();
    let stored = storage.command(local.id).await.unwrap();
    assert_eq!((stored.asset.as_str(), stored.state), ("plant/coating/line1/oven", Executing));
}

pub(crate) async fn pages_are_stable_under_inserts(backend: &impl Backend) {
    let storage = backend.open();
    Stream::start(&storage, schema(&key("g1"), &[("oven", twin(1)), ("press", twin(2))]), 11).await;
    // Pairs of the same time, so that the order needs more than time.
    let mut all = Vec::new();
    for n in 0..10i64 {
        let c = view(twin(if n % 2 == 0 { 1 } else { 2 }), "temp", n / 2);
        create(&storage, &c, &format!("k{n}")).await;
        all.push(c);
    }
    all.sort_by_key(|c| std::cmp::Reverse((c.created_us, c.id)));
    let mut found = Vec::new();
    let mut cursor = None;
    for page in 0.. {
        let p = storage.commands(None, cursor.as_deref(), 3).await.unwrap();
        found.extend(p.items);
        let newer = view(twin(1), "temp", 100 + page);
        create(&storage, &newer, &format!("newer{page}")).await;
        match p.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(found, all);
    let of_press = storage.commands(Some(&[twin(2)]), None, 100).await.unwrap();
    assert_eq!((of_press.items.len(), of_press.next_cursor), (5, None));
    assert!(storage.commands(Some(&[]), None, 100).await.unwrap().items.is_empty());
    assert!(matches!(storage.commands(None, Some("x"), 3).await, Err(StoreError::NotFound { .. })));

    let mut cursor = None;
    let mut entries = Vec::new();
    let before = storage.audit(None, Severity::Info, None, 1000).await.unwrap().items;
    loop {
        let p = storage.audit(None, Severity::Info, cursor.as_deref(), 4).await.unwrap();
        entries.extend(p.items);
        storage.append_audit(&entry(T0 + SECOND, "user.login", None, Severity::Info)).await.unwrap();
        match p.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(entries, before);
}

pub(crate) async fn audit_is_filtered_by_twin_and_severity_and_the_future_does_not_stay_on_top(
    backend: &impl Backend,
) {
    let storage = backend.open();
    Stream::start(&storage, schema(&key("g1"), &[("oven", twin(1)), ("press", twin(2))]), 11).await;
    let future = i64::MAX;
    storage.append_audit(&entry(future, "from.future", Some(twin(1)), Severity::Alarm)).await.unwrap();
    storage.append_audit(&entry(T0, "b", Some(twin(2)), Severity::Warning)).await.unwrap();
    storage.append_audit(&entry(T0, "c", None, Severity::Info)).await.unwrap();
    let actions = |twins: Option<Vec<TwinId>>, severity| {
        let storage = Arc::clone(&storage);
        async move {
            let page = storage.audit(twins.as_deref(), severity, None, 10).await.unwrap();
            page.items.into_iter().map(|e| e.action).collect::<Vec<_>>()
        }
    };
    assert_eq!(actions(Some(vec![twin(2)]), Severity::Info).await, ["b"]);
    assert_eq!(actions(Some(vec![twin(1), twin(2)]), Severity::Alarm).await, ["from.future"]);
    assert_eq!(actions(None, Severity::Info).await.len(), 3);
}

pub(crate) async fn a_desired_document_changes_under_its_version(backend: &impl Backend) {
    let storage = backend.open();
    oven(&storage).await;
    let who = requester("admin");
    let note = entry(T0, "desired.set", Some(twin(1)), Severity::Info);
    let want = |x: f64| Some(DesiredEntry { value: Value::F64(x), ttl_ms: 5, reason: "why".into() });
    let patch = |storage: &Arc<dyn Storage>, version, patch: Vec<(&str, Option<DesiredEntry>)>| {
        let storage = Arc::clone(storage);
        let (who, note) = (who.clone(), note.clone());
        let patch: Vec<_> = patch.into_iter().map(|(p, e)| (p.to_owned(), e)).collect();
        async move { storage.patch_desired(twin(1), version, &patch, &who, T0, &note).await }
    };
    let (version, views) = patch(&storage, 0, vec![("temp", want(1.0)), ("count", want(2.0))]).await.unwrap();
    assert_eq!((version, views.len()), (1, 2));
    let set = views[0].1.clone().unwrap();
    assert_eq!(
        (set.version, set.set_us, set.expires_us, set.state),
        (1, T0, T0 + 5000, DesiredState::Pending)
    );
    let refused = patch(&storage, 0, vec![("temp", want(9.0))]).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let (version, views) =
        patch(&storage, 1, vec![("temp", want(3.0)), ("count", None), ("on", None)]).await.unwrap();
    assert_eq!(version, 2);
    assert_eq!(
        views.iter().map(|(p, v)| (p.as_str(), v.is_some())).collect::<Vec<_>>(),
        [("temp", true), ("count", false)]
    );
    let told = |version, state| DesiredUpdate {
        twin: twin(1),
        version,
        point: "temp".into(),
        state,
        code: None,
        detail: "d".into(),
        at_us: T0,
    };
    let old = storage.update_desired(&told(1, DesiredState::Applied)).await.unwrap().unwrap();
    assert_eq!((old.version, old.state), (2, DesiredState::Pending), "an older version's fate is ignored");
    let now = storage.update_desired(&told(2, DesiredState::Diverged)).await.unwrap().unwrap();
    assert_eq!((now.state, now.detail.as_str()), (DesiredState::Diverged, "d"));
    let late = storage.update_desired(&told(2, DesiredState::Expired)).await.unwrap().unwrap();
    assert_eq!(late, now, "the cloud's own word counts only while nothing else was told");
    assert_eq!(storage.desired(twin(1), "temp").await.unwrap(), Some(now.clone()));
    assert_eq!(storage.desired(twin(1), "count").await.unwrap(), None);
    let gone = DesiredUpdate { point: "count".into(), ..told(1, DesiredState::Applied) };
    assert_eq!(storage.update_desired(&gone).await.unwrap(), None);
    drop(storage);
    let storage = backend.open();
    let t = &storage.load().await.unwrap().twins[0];
    assert_eq!(t.desired_version, 2);
    assert_eq!(t.point("temp").unwrap().desired, Some(now));
    assert_eq!(t.point("count").unwrap().desired, None);
}
