//! Bundles of updates, groups, reports and rollouts.

use cloud_core::StoreError;
use cloud_core::update::UpdateBox;
use common::TenantId;
use common::api::{Release, Rollout, RolloutState, UpdateReport, UpdateState};
use common::command::Severity;
use common::names::action;
use uuid::Uuid;

use super::Backend;
use super::fixtures::*;

pub(crate) fn release(version: &str, arch: &str) -> Release {
    Release {
        version: version.into(),
        arch: arch.into(),
        sha256: format!("{version:0>32}{arch:0>32}"),
        bytes: 300_000,
        digest: "cd".repeat(32),
        commit: "abc".into(),
        min_from: None,
        signed_by: vec!["0707070707070707".into()],
        author: "anna".into(),
        at_us: T0,
    }
}

pub(crate) fn rollout(id: u64, revision: u64) -> Rollout {
    Rollout {
        id,
        revision,
        version: "1.1.0".into(),
        groups: vec!["canary".into(), "rest".into()],
        stage: 0,
        state: RolloutState::Running,
        reason: String::new(),
        stay_s: 60,
        well_since_us: Some(T0),
        passed_over: vec!["g1".parse().unwrap()],
        author: "anna".into(),
        note: String::new(),
        began_us: T0,
        changed_us: T0,
    }
}

pub(crate) fn report() -> UpdateReport {
    UpdateReport {
        accepts: true,
        version: "1.0.0".into(),
        arch: "arm64".into(),
        state: UpdateState::Receiving,
        received: 7,
        at_us: T0,
        ..UpdateReport::default()
    }
}

pub(crate) async fn a_bundle_is_there_whole_or_not_at_all(backend: &impl Backend) {
    let (tenant, other) = (TenantId::default(), "other".parse().unwrap());
    let storage = backend.open();
    let told = entry(T0, action::RELEASE_ADDED, None, Severity::Warning);
    let (cut, whole, again) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    storage.put_upload(cut, 0, &[1; 10]).await.unwrap();
    storage.put_upload(whole, 0, &[2; 10]).await.unwrap();
    storage.put_upload(whole, 1, &[3; 4]).await.unwrap();
    let first = release("1.1.0", "arm64");
    assert_eq!(storage.release_part(&tenant, &first.sha256, 0).await.unwrap(), None);
    storage.put_release(&tenant, whole, &first, &told).await.unwrap();
    let taken = storage.put_release(&tenant, again, &first, &told).await;
    assert!(matches!(taken, Err(StoreError::Conflict { .. })), "{taken:?}");
    let second = release("1.1.0", "amd64");
    storage.put_release(&tenant, cut, &second, &told).await.unwrap();
    storage.put_upload(again, 0, &[4; 4]).await.unwrap();
    storage.drop_uploads().await.unwrap();
    drop(storage);

    let storage = backend.open();
    assert_eq!(storage.releases(&tenant).await.unwrap(), [second.clone(), first.clone()]);
    assert!(storage.releases(&other).await.unwrap().is_empty());
    let part = |n| storage.release_part(&tenant, &first.sha256, n);
    assert_eq!(part(0).await.unwrap(), Some(vec![2; 10]));
    assert_eq!(part(1).await.unwrap(), Some(vec![3; 4]));
    assert_eq!(part(2).await.unwrap(), None);
    assert_eq!(storage.release_part(&other, &first.sha256, 0).await.unwrap(), None);
    // What was no bundle is gone: its place can be taken.
    storage.put_upload(again, 0, &[5; 4]).await.unwrap();
    let gone = entry(T0, action::RELEASE_REMOVED, None, Severity::Warning);
    assert_eq!(storage.remove_release(&tenant, "1.1.0", &gone).await.unwrap(), 2);
    assert_eq!(storage.remove_release(&tenant, "1.1.0", &gone).await.unwrap(), 0);
    assert_eq!(part(0).await.unwrap(), None);
    storage.put_release(&tenant, again, &first, &told).await.unwrap();
    assert_eq!(part(0).await.unwrap(), Some(vec![5; 4]));
    let told = storage.audit(None, Severity::Info, None, 10).await.unwrap().items;
    assert_eq!(told.len(), 4, "three were added, and one removal took two");
}

pub(crate) async fn groups_and_the_last_word_of_a_box_are_kept(backend: &impl Backend) {
    let tenant = TenantId::default();
    let storage = backend.open();
    let told = entry(T0, action::GATEWAY_GROUP, None, Severity::Warning);
    assert!(storage.update_boxes(&tenant).await.unwrap().is_empty());
    storage.set_group(&key("b"), Some("canary"), &told).await.unwrap();
    storage.set_group(&key("b"), Some("rest"), &told).await.unwrap();
    storage.set_group(&key("c"), Some("rest"), &told).await.unwrap();
    storage.set_group(&key("c"), None, &told).await.unwrap();
    storage.keep_update_report(&key("a"), &UpdateReport::default()).await.unwrap();
    storage.keep_update_report(&key("a"), &report()).await.unwrap();
    drop(storage);
    let storage = backend.open();
    let expected = [
        UpdateBox { key: key("a"), group: None, report: Some(report()) },
        UpdateBox { key: key("b"), group: Some("rest".into()), report: None },
    ];
    assert_eq!(storage.update_boxes(&tenant).await.unwrap(), expected);
    assert_eq!(storage.audit(None, Severity::Info, None, 10).await.unwrap().items.len(), 4);
}

pub(crate) async fn who_waits_for_a_change_of_updates_is_told_of_each(backend: &impl Backend) {
    let tenant = TenantId::default();
    let storage = backend.open();
    let audit = entry(T0, action::GATEWAY_GROUP, None, Severity::Warning);
    let mut changes = storage.updates_changed();
    let upload = Uuid::from_u128(1);
    storage.put_upload(upload, 0, &[1; 10]).await.unwrap();
    storage.releases(&tenant).await.unwrap();
    assert!(!changes.has_changed().unwrap(), "nothing is there yet");
    let mut is_told = |what: &str| {
        assert!(changes.has_changed().unwrap(), "{what}");
        changes.mark_unchanged();
    };
    storage.put_release(&tenant, upload, &release("1.1.0", "arm64"), &audit).await.unwrap();
    is_told("a bundle");
    storage.set_group(&key("a"), Some("canary"), &audit).await.unwrap();
    is_told("a group");
    storage.keep_update_report(&key("a"), &report()).await.unwrap();
    is_told("a report");
    storage.put_rollout(&tenant, &rollout(1, 1), &[]).await.unwrap();
    is_told("a rollout");
    storage.remove_release(&tenant, "1.1.0", &audit).await.unwrap();
    is_told("a bundle gone");
    storage.put_rollout(&tenant, &rollout(1, 1), &[]).await.unwrap_err();
    assert!(!changes.has_changed().unwrap(), "what is refused changes nothing");
}

pub(crate) async fn a_rollout_is_changed_by_who_read_it_last(backend: &impl Backend) {
    let tenant = TenantId::default();
    let storage = backend.open();
    let told = [entry(T0, action::ROLLOUT_STARTED, None, Severity::Warning)];
    assert_eq!(storage.rollout(&tenant).await.unwrap(), None);
    for wrong in [rollout(0, 1), rollout(1, 2), rollout(2, 1)] {
        let refused = storage.put_rollout(&tenant, &wrong, &told).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{wrong:?}");
    }
    storage.put_rollout(&tenant, &rollout(1, 1), &told).await.unwrap();
    let halted = Rollout { state: RolloutState::Halted, reason: "so".into(), ..rollout(1, 2) };
    storage.put_rollout(&tenant, &halted, &[]).await.unwrap();
    let late = storage.put_rollout(&tenant, &rollout(1, 2), &told).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    drop(storage);
    let storage = backend.open();
    assert_eq!(storage.rollout(&tenant).await.unwrap(), Some(halted));
    storage.put_rollout(&tenant, &rollout(2, 1), &told).await.unwrap();
    assert_eq!(storage.rollout(&tenant).await.unwrap(), Some(rollout(2, 1)));
    let old = storage.put_rollout(&tenant, &rollout(1, 3), &told).await;
    assert!(matches!(old, Err(StoreError::Conflict { .. })), "{old:?}");
    assert_eq!(storage.audit(None, Severity::Info, None, 10).await.unwrap().items.len(), 2);
}
