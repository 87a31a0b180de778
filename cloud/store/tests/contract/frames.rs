//! Ranks, marks and accepting.

use std::sync::Arc;

use cloud_core::{Storage, StoreError};
use common::command::{DesiredState, DesiredUpdate, LogEntry, Severity};
use common::names::action;
use common::wire::{Body, Gap, GapCause};
use common::{Incarnation, IntervalSet, Value};

use super::Backend;
use super::fixtures::*;

pub(crate) async fn a_store_keeps_its_identity(backend: &impl Backend) {
    let storage = backend.open();
    let id = storage.store_id();
    assert!(!id.is_nil());
    drop(storage);
    assert_eq!(backend.open().store_id(), id);
}

pub(crate) async fn ranks_are_given_in_order_over_all_gateways_and_kept(backend: &impl Backend) {
    let storage = backend.open();
    let a = storage.hello(&key("a"), &[Incarnation(7), Incarnation(5)]).await.unwrap();
    let b = storage.hello(&key("b"), &[Incarnation(1)]).await.unwrap();
    assert!(a[0].rank < a[1].rank && a[1].rank < b[0].rank && a[0].rank > 0);
    drop(storage);
    let storage = backend.open();
    let again = storage.hello(&key("a"), &[Incarnation(5), Incarnation(9), Incarnation(7)]).await.unwrap();
    assert_eq!((again[0].rank, again[2].rank), (a[1].rank, a[0].rank));
    assert!(again[1].rank > b[0].rank);
    let stolen = storage.hello(&key("b"), &[Incarnation(7)]).await;
    assert!(matches!(stolen, Err(StoreError::Conflict { .. })), "{stolen:?}");
    let ranks = storage.load().await.unwrap().ranks;
    assert_eq!(ranks.len(), 4);
}

pub(crate) async fn a_frame_is_new_once_within_a_batch_over_batches_and_after_reopening(
    backend: &impl Backend,
) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let f = |seq| s.samples(seq, vec![sample(0, T0 + i64::try_from(seq).unwrap(), 1.0)]);
    let first = storage.accept(&[f(1), f(2), f(1), f(9), f(3)]).await.unwrap();
    assert_eq!(first, [true, true, false, true, true]);
    assert_eq!(storage.accept(&[f(3), f(4)]).await.unwrap(), [false, true]);
    drop(storage);
    let storage = backend.open();
    assert_eq!(storage.accept(&[f(4), f(8)]).await.unwrap(), [false, true]);
    compact_all(&storage).await;
    assert_eq!(storage.accept(&[f(9), f(7)]).await.unwrap(), [false, true]);
    let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
    assert_eq!(known[0].seqs, IntervalSet::from(vec![(1, 4), (7, 9)]));
    let h = storage.history(twin(1), "temp", T0, T0 + 100, 100).await.unwrap();
    assert_eq!(h.points.iter().map(|p| p.t_us - T0).collect::<Vec<_>>(), [1, 2, 3, 4, 7, 8, 9]);
}

pub(crate) async fn a_frame_under_a_rank_that_was_not_given_stores_nothing(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let good = s.samples(1, vec![sample(0, T0, 1.0)]);
    let mut other = s.clone();
    other.rank += 1;
    let refused = storage.accept(&[good.clone(), other.samples(1, vec![])]).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    let mut foreign = s.clone();
    foreign.incarnation = Incarnation(99);
    assert!(storage.accept(&[good.clone(), foreign.samples(1, vec![])]).await.is_err());
    assert!(storage.history(twin(1), "temp", T0, T0 + 1, 9).await.unwrap().points.is_empty());
    assert_eq!(storage.accept(&[good]).await.unwrap(), [true]);
}

pub(crate) async fn uncompacted_frames_are_read_back_in_order_and_in_batches(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let later = Stream { rank: 0, ..s.clone() };
    let rank = storage.hello(&s.key, &[Incarnation(12)]).await.unwrap()[0].rank;
    let later = Stream { rank, incarnation: Incarnation(12), ..later };
    let a = later.samples(1, vec![sample(0, T0 + 3, 3.0)]);
    let b = s.samples(2, vec![sample(0, T0 + 2, 2.0)]);
    let c = s.frame(1, Body::Audit(entry(T0, "x", None, Severity::Info)));
    storage.accept(&[a.clone(), b.clone()]).await.unwrap();
    storage.accept(std::slice::from_ref(&c)).await.unwrap();
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let batch = storage.uncompacted(after, 2).await.unwrap();
        let Some(last) = batch.last() else { break };
        after = Some((last.rank, last.frame.header.seq));
        found.extend(batch);
    }
    let plain = |f: &cloud_core::NewFrame| {
        (f.rank, f.frame.clone(), f.bytes.clone(), f.schema.clone(), f.gateway.clone(), f.received_us)
    };
    let found: Vec<_> = found.iter().map(plain).collect();
    assert_eq!(found, [&c, &b, &a].map(plain));
    // The first by rank and sequence go first.
    assert_eq!(storage.waiting_samples(), 2);
    assert_eq!(storage.compact(2).await.unwrap(), 2);
    assert_eq!(storage.waiting_samples(), 1);
    assert_eq!(storage.uncompacted(None, 9).await.unwrap().len(), 1);
    assert_eq!(storage.compact(9).await.unwrap(), 1);
    assert_eq!(storage.waiting_samples(), 0);
    assert_eq!(storage.compact(9).await.unwrap(), 0);
    let room = storage.room().await.unwrap();
    assert!(room.bytes > 100_000 && room.free < room.bytes, "{room:?}");
    assert!(storage.uncompacted(None, 9).await.unwrap().is_empty());
}

pub(crate) async fn other_kinds_change_their_tables_once(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let who = requester("admin");
    let want = common::api::DesiredEntry { value: Value::F64(3.0), ttl_ms: 1000, reason: "r".into() };
    let patch = [("temp".to_owned(), Some(want))];
    let note = entry(T0, "desired.set", Some(twin(1)), Severity::Info);
    storage.patch_desired(twin(1), 0, &patch, &who, T0, &note).await.unwrap();
    let told = |state, detail: &str| {
        let (twin, point, detail) = (twin(1), "temp".into(), detail.to_owned());
        Body::Desired(DesiredUpdate { twin, version: 1, point, state, code: None, detail, at_us: T0 })
    };
    let gap = Gap {
        incarnation: Some(s.incarnation),
        seqs: Some((5, 9)),
        samples: 120,
        ..Gap::new(GapCause::Quota)
    };
    let frames = [
        s.frame(4, told(DesiredState::Applied, "late")),
        s.frame(3, told(DesiredState::Diverged, "early")),
        s.frame(5, Body::Gap(gap)),
        s.frame(6, Body::Event(entry(T0 + 1, "device.offline", Some(twin(1)), Severity::Warning))),
        s.frame(7, Body::Audit(entry(T0 + 2, "switch.remote", None, Severity::Info))),
    ];
    storage.accept(&frames).await.unwrap();
    storage.accept(&frames).await.unwrap();
    let log = storage.audit(None, Severity::Info, None, 100).await.unwrap().items;
    let actions: Vec<_> = log.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(actions, ["switch.remote", "device.offline", "data.gap", "desired.set"]);
    let alarms: Vec<LogEntry> = storage.audit(None, Severity::Alarm, None, 100).await.unwrap().items;
    assert_eq!(alarms.len(), 1);
    let told = &alarms[0].detail;
    assert!(
        told.contains('5') && told.contains('9') && told.contains("quota") && told.contains("120"),
        "{told}"
    );
    let twins = storage.load().await.unwrap().twins;
    let desired = twins[0].point("temp").unwrap().desired.clone().unwrap();
    assert_eq!((desired.state, desired.detail.as_str()), (DesiredState::Applied, "late"));
}

pub(crate) async fn what_a_gateway_says_is_lost_among_others_is_known_as_far_as_it_is_lost(
    backend: &impl Backend,
) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let gap = Gap {
        incarnation: Some(s.incarnation),
        seqs: Some((2, 6)),
        times_us: Some((T0 + 2, T0 + 6)),
        samples: 3,
        cause: GapCause::Quota,
        class: Some(common::Class::Trend),
        lost: Some(vec![(2, 2), (4, 4), (6, 6)].into()),
    };
    let kept = [1, 3, 7].map(|seq| s.samples(seq, vec![sample(0, T0 + seq.cast_signed(), 1.0)]));
    storage.accept(&kept).await.unwrap();
    storage.accept(&[s.frame(8, Body::Gap(gap))]).await.unwrap();
    drop(storage);
    let storage = backend.open();
    let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
    assert_eq!(known[0].seqs, vec![(1, 4), (6, 8)].into(), "5 may still come");
    // The oven's points are normal: they lack nothing, but for what is awaited.
    let gaps = storage.history(twin(1), "temp", T0, T0 + 100, 100).await.unwrap().gaps;
    assert!(gaps.iter().all(|g| g.cause != common::api::GapReason::Quota), "{gaps:?}");
}

pub(crate) async fn a_gateway_cannot_speak_of_what_is_not_its_own(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let stranger = Stream::start(&storage, schema(&key("g2"), &[("pump", twin(2))]), 21).await;
    let own = super::commands::view(twin(1), "temp", 1);
    super::commands::create(&storage, &own, "k").await;
    let update = super::commands::update(&own, common::CommandState::Succeeded);
    storage.accept(&[stranger.frame(1, Body::Command(update.clone()))]).await.unwrap();
    assert_eq!(storage.command(own.id).await.unwrap().state, common::CommandState::Accepted);
    // Also not by giving it another twin.
    let moved = common::command::CommandUpdate { twin: twin(2), ..update.clone() };
    storage.accept(&[stranger.frame(2, Body::Command(moved))]).await.unwrap();
    assert_eq!(storage.command(own.id).await.unwrap(), own);
    let lie = entry(T0, "x.lie", Some(twin(1)), Severity::Alarm);
    storage.accept(&[stranger.frame(3, Body::Event(lie))]).await.unwrap();
    let of_oven = storage.audit(Some(&[twin(1)]), Severity::Alarm, None, 10).await.unwrap();
    assert!(of_oven.items.is_empty(), "{of_oven:?}");
    let all = storage.audit(None, Severity::Warning, None, 10).await.unwrap().items;
    assert_eq!(all.iter().filter(|e| e.action == "frame.refused").count(), 2);
    storage.accept(&[s.frame(1, Body::Command(update))]).await.unwrap();
    assert_eq!(storage.command(own.id).await.unwrap().state, common::CommandState::Succeeded);
}

/// They are acknowledged, since they would come for ever, and are in no history.
pub(crate) async fn samples_of_points_that_the_schema_lacks_are_counted_and_told_once(
    backend: &impl Backend,
) {
    let mut storage = backend.open();
    let s = oven(&storage).await;
    let told = async |storage: &Arc<dyn Storage>| {
        let all = storage.audit(None, Severity::Info, None, 100).await.unwrap().items;
        all.into_iter().filter(|e| e.action == action::DATA_UNKNOWN_POINT).collect::<Vec<_>>()
    };
    storage.accept(&[s.samples(1, vec![sample(0, T0, 1.5)])]).await.unwrap();
    assert_eq!((storage.unknown_samples().await.unwrap(), told(&storage).await.len()), (0, 0));
    for seq in 2..5 {
        let rows = vec![sample(0, T0 + 1, 1.5), sample(99, T0, 1.5), sample(4, T0, 1.5)];
        assert_eq!(storage.accept(&[s.samples(seq, rows)]).await.unwrap(), [true]);
        if seq == 3 {
            compact_all(&storage).await;
            drop(storage);
            storage = backend.open();
        }
    }
    assert_eq!(storage.unknown_samples().await.unwrap(), 6);
    let entries = told(&storage).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert!(entries[0].target.contains("g1") && entries[0].detail.starts_with("frame 2 has 2 samples"));
    assert_eq!(storage.history(twin(1), "temp", T0, T0 + 9, 9).await.unwrap().points.len(), 4);
}
