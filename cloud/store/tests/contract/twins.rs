//! Schemas, twins and who feeds them.

use cloud_core::align::Grid;
use cloud_core::history::{AlignedPoint, StoredPoint};
use cloud_core::{GatewayKey, StoreError};
use common::api::{GapReason, Interpolation};
use common::command::Severity;
use common::names::action;
use common::{Incarnation, PointKind, Quality, SchemaHash, TenantId, Value, ValueType};

use super::Backend;
use super::fixtures::*;

pub(crate) async fn schemas_are_kept(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    drop(storage);
    let storage = backend.open();
    let hash = s.schema.hash();
    assert_eq!(storage.known_schemas(&[SchemaHash([1; 16]), hash]).await.unwrap(), [hash]);
    let loaded = storage.load().await.unwrap();
    assert_eq!(loaded.schemas, [(*s.schema).clone()]);
    let t = &loaded.twins[0];
    assert_eq!((t.id, t.asset.as_str(), t.bound_from), (twin(1), "plant/coating/line1/oven", s.rank));
    assert_eq!(t.binding, Some((s.key.gateway.clone(), "oven".into())));
    assert_eq!(t.points.len(), POINTS.len());
    assert_eq!(loaded.gateways.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>(), [key("g1")]);
}

pub(crate) async fn a_replaced_box_takes_over_its_twin_and_keeps_the_history(backend: &impl Backend) {
    let storage = backend.open();
    let old = oven(&storage).await;
    storage.accept(&[old.samples(1, vec![sample(0, T0, 1.0), sample(1, T0, 7i64)])]).await.unwrap();
    let log = |s: &std::sync::Arc<dyn cloud_core::Storage>| {
        let s = std::sync::Arc::clone(s);
        async move { s.audit(Some(&[twin(1)]), Severity::Warning, None, 9).await.unwrap().items }
    };
    assert!(log(&storage).await.is_empty(), "what is new was nobody's");
    let mut claim = schema(&key("g9"), &[("oven9", twin(1))]);
    claim.devices[0].asset = "plant/coating/line2/oven".into();
    let new = Stream::start(&storage, claim, 91).await;
    storage.put_schema(&new.key, &new.schema, new.rank, T0).await.unwrap();
    let told = log(&storage).await;
    let actions: Vec<_> = told.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(actions, [action::TWIN_TAKEN_OVER, action::TWIN_MOVED], "each is on record once");
    assert!(told[0].detail.contains("gateway g1 to device oven9 of gateway g9"), "{told:?}");
    storage.accept(&[new.samples(1, vec![sample(0, T0 + 10, 2.0)])]).await.unwrap();
    // The old box speaks again, under a new incarnation and a higher rank, without giving its schema anew.
    let rank = storage.hello(&old.key, &[Incarnation(12)]).await.unwrap()[0].rank;
    let again = Stream { rank, incarnation: Incarnation(12), ..old.clone() };
    storage.accept(&[again.samples(1, vec![sample(0, T0 + 20, 3.0)])]).await.unwrap();
    compact_all(&storage).await;
    drop(storage);
    let storage = backend.open();
    let h = storage.history(twin(1), "temp", T0, T0 + 100, 100).await.unwrap();
    assert_eq!(h.points.len(), 3, "all of it is history");
    let loaded = storage.load().await.unwrap();
    let t = &loaded.twins[0];
    assert_eq!(t.binding, Some((new.key.gateway.clone(), "oven9".into())));
    assert_eq!(t.bound_from, new.rank);
    assert_eq!(t.point("temp").unwrap().value, Some(Value::F64(2.0)), "only the bound box feeds the twin");
    assert_eq!(t.point("count").unwrap().value, Some(Value::I64(7)), "the last of the old box stays");
}

pub(crate) async fn an_older_schema_adds_twins_and_changes_none(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let mut older = schema(&key("g1"), &[("oven", twin(5)), ("gone", twin(6))]);
    older.devices[0].asset = "plant/old".into();
    storage.put_schema(&s.key, &older, 0, T0).await.unwrap();
    let loaded = storage.load().await.unwrap();
    let bound: Vec<_> = loaded.twins.iter().map(|t| (t.id, t.binding.is_some())).collect();
    assert_eq!(bound, [(twin(1), true), (twin(5), false), (twin(6), false)]);
    // A schema of an earlier rank comes late.
    let earlier = schema(&key("g0"), &[("x", twin(1))]);
    let rank = storage.hello(&key("g0"), &[Incarnation(3)]).await.unwrap()[0].rank;
    storage.put_schema(&key("g0"), &earlier, rank, T0).await.unwrap();
    storage.put_schema(&s.key, &s.schema, s.rank, T0).await.unwrap();
    let t = &storage.load().await.unwrap().twins[0];
    assert_eq!(t.binding.as_ref().unwrap().1, "x", "bound from the later rank");
}

pub(crate) async fn a_device_that_gets_another_twin_leaves_the_old_one(backend: &impl Backend) {
    let storage = backend.open();
    oven(&storage).await;
    Stream::start(&storage, schema(&key("g1"), &[("oven", twin(2))]), 12).await;
    let twins = storage.load().await.unwrap().twins;
    assert_eq!(twins[0].binding, None);
    assert_eq!(twins[1].binding.as_ref().unwrap().1, "oven");
    // Two devices of one gateway change places.
    Stream::start(&storage, schema(&key("g1"), &[("oven", twin(2)), ("press", twin(1))]), 13).await;
    Stream::start(&storage, schema(&key("g1"), &[("oven", twin(1)), ("press", twin(2))]), 14).await;
    let twins = storage.load().await.unwrap().twins;
    let devices: Vec<_> = twins.iter().map(|t| t.binding.clone().unwrap().1).collect();
    assert_eq!(devices, ["oven", "press"]);
}

pub(crate) async fn a_twin_of_another_tenant_cannot_be_taken(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    let other: TenantId = "rival".parse().unwrap();
    let thief = GatewayKey { tenant: other, gateway: "g1".parse().unwrap() };
    let rank = storage.hello(&thief, &[Incarnation(66)]).await.unwrap()[0].rank;
    let wanted = schema(&thief, &[("oven", twin(1))]);
    let refused = storage.put_schema(&thief, &wanted, rank, T0).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let refused = storage.put_schema(&thief, &s.schema, rank, T0).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(storage.known_schemas(&[wanted.hash()]).await.unwrap(), []);
    assert_eq!(storage.load().await.unwrap().twins[0].bound_from, s.rank);
}

pub(crate) async fn a_value_of_another_type_is_not_the_last_one(backend: &impl Backend) {
    let storage = backend.open();
    let s = oven(&storage).await;
    storage.accept(&[s.samples(1, vec![sample(0, T0, 1.0), sample(1, T0, 7i64)])]).await.unwrap();
    compact_all(&storage).await;
    let mut changed = schema(&key("g1"), &[("oven", twin(1))]);
    changed.devices[0].points[0].value_type = ValueType::I64;
    changed.devices[0].points[0].unit = "K".into();
    Stream::start(&storage, changed, 12).await;
    let t = &storage.load().await.unwrap().twins[0];
    assert_eq!(
        (t.point("temp").unwrap().quality, &t.point("temp").unwrap().value),
        (Quality::BAD_NO_DATA, &None)
    );
    assert_eq!(t.point("count").unwrap().value, Some(Value::I64(7)));
}

/// A box of another configuration had the gateway's name for a while, under a later rank.
pub(crate) async fn a_box_that_has_its_name_again_has_its_twins_again(backend: &impl Backend) {
    let mut storage = backend.open();
    let devices = [("oven", twin(1)), ("press", twin(2))];
    let s = Stream::start(&storage, schema(&key("g1"), &devices), 11).await;
    let of = |s: &Stream, seq, x: f64| s.samples(seq, vec![sample(0, T0 + 1, x), sample(4, T0 + 1, x)]);
    storage.accept(&[of(&s, 1, 1.0)]).await.unwrap();
    compact_all(&storage).await;
    // It has fewer points of the oven, another twin at the press, and a device more.
    let mut theirs = schema(&key("g1"), &[("oven", twin(1)), ("press", twin(7)), ("more", twin(8))]);
    theirs.devices[0].points.truncate(1);
    theirs.devices[0].asset = "elsewhere/oven".into();
    let stranger = Stream::start(&storage, theirs, 12).await;
    storage.accept(&[of(&stranger, 1, 66.0)]).await.unwrap();
    compact_all(&storage).await;
    let late = of(&stranger, 2, 67.0);
    // The first box has its name again.
    storage.put_schema(&s.key, &s.schema, s.rank, T0).await.unwrap();
    storage.accept(&[of(&s, 2, 2.0), late]).await.unwrap();
    compact_all(&storage).await;
    for _ in 0..2 {
        let loaded = storage.load().await.unwrap();
        assert_eq!(loaded.speaks, [(key("g1"), s.rank)]);
        let t = &loaded.twins[0];
        assert_eq!((t.points.len(), t.asset.as_str()), (POINTS.len(), "plant/coating/line1/oven"));
        assert_eq!((t.bound_from, t.point("temp").unwrap().position.rank), (s.rank, s.rank));
        let value = |n: usize| loaded.twins[n].point("temp").unwrap().value.clone();
        let bound = |n: usize| loaded.twins[n].binding.as_ref().map(|(_, device)| device.as_str());
        assert_eq!((bound(0), value(0)), (Some("oven"), Some(Value::F64(2.0))));
        assert_eq!((bound(1), value(1)), (Some("press"), Some(Value::F64(2.0))));
        assert_eq!((bound(2), value(2)), (None, Some(Value::F64(66.0))), "it had the press");
        drop(storage);
        storage = backend.open();
    }
    // Both are history.
    let h = storage.history(twin(1), "temp", T0, T0 + 9, 9).await.unwrap();
    assert_eq!(h.points.len(), 4);
    // The next start of the box is later than both.
    let next = Stream::start(&storage, (*s.schema).clone(), 13).await;
    storage.accept(&[of(&next, 1, 3.0)]).await.unwrap();
    compact_all(&storage).await;
    let t = &storage.load().await.unwrap().twins[0];
    assert_eq!(t.point("temp").unwrap().value, Some(Value::F64(3.0)));
}

pub(crate) async fn a_point_that_was_renamed_keeps_its_history_under_its_name(backend: &impl Backend) {
    let mut storage = backend.open();
    let mut old = schema(&key("g1"), &[("oven", twin(1))]);
    old.devices[0].points[0] =
        PointKind { unit: "Cel".into(), ..PointKind::new(ValueType::F64) }.named("temp");
    let s = Stream::start(&storage, old.clone(), 11).await;
    storage.accept(&[s.samples(1, vec![sample(0, T0, 1.0), sample(1, T0, 7i64)])]).await.unwrap();
    compact_all(&storage).await;
    let temp = StoredPoint { point: "temp".into(), unit: "Cel".into(), value_type: Some(ValueType::F64) };
    assert_eq!(storage.stored_point(twin(1), "temp").await.unwrap(), Some(temp.clone()));
    assert_eq!(storage.stored_point(twin(1), "on").await.unwrap(), None, "it never had a sample");
    let mut renamed = old.clone();
    renamed.devices[0].points[0] =
        PointKind { unit: "[degF]".into(), ..PointKind::new(ValueType::F64) }.named("temp1");
    let gone = T0 + 60 * SECOND;
    storage.put_schema(&s.key, &renamed, s.rank, gone).await.unwrap();
    let now = Stream { schema: std::sync::Arc::new(renamed), ..s.clone() };
    storage.accept(&[now.samples(2, vec![sample(0, gone, 34.0)])]).await.unwrap();
    compact_all(&storage).await;
    for _ in 0..2 {
        let names = storage.stored_points(twin(1)).await.unwrap();
        assert_eq!(names.iter().map(|p| &p.point[..]).collect::<Vec<_>>(), ["count", "temp", "temp1"]);
        assert_eq!(names[1], temp);
        let h = storage.history(twin(1), "temp", T0, gone + 60 * SECOND, 9).await.unwrap();
        assert_eq!((h.points.len(), h.points[0].value.clone()), (1, Some(Value::F64(1.0))));
        let of = |g: &&common::api::HistoryGap| g.cause == GapReason::PointRemoved;
        assert_eq!(h.gaps.iter().find(of).map(|g| g.from_us), Some(gone));
        drop(storage);
        storage = backend.open();
    }
    // Its last value holds until it was removed, and not beyond.
    let grid = Grid::within(T0, gone + 60 * SECOND, 30 * SECOND);
    let point = AlignedPoint { twin: twin(1), point: "temp".into(), online: true };
    let cells = storage.aligned(&[point], grid, Interpolation::Previous, gone + 90 * SECOND).await.unwrap();
    let one = Some(Value::F64(1.0));
    assert_eq!(cells[0].values, [one.clone(), one, None, None]);
    assert_eq!(storage.samples(twin(1), "temp", T0, gone, 9).await.unwrap().rows.len(), 1);
    // It comes back: nothing is said of it any more.
    storage.put_schema(&s.key, &old, s.rank, gone + 9).await.unwrap();
    let h = storage.history(twin(1), "temp", T0, gone + 60 * SECOND, 9).await.unwrap();
    assert!(h.gaps.iter().all(|g| g.cause != GapReason::PointRemoved), "{:?}", h.gaps);
    // And what was deleted on request is gone, of the list as well.
    let audit = entry(T0, "history.deleted", Some(twin(1)), Severity::Warning);
    assert_eq!(storage.delete_history(twin(1), "temp1", T0, gone + 1, &audit).await.unwrap(), 1);
    let names = storage.stored_points(twin(1)).await.unwrap();
    assert_eq!(names.iter().map(|p| &p.point[..]).collect::<Vec<_>>(), ["count", "temp"]);
}
