//! Tests of schemas and bindings.

use common::{Access, PointSchema, Value, ValueType};
use proptest::prelude::*;

use super::*;
use crate::merge::tests::{frame, g, schema, twin_id};
use crate::{apply_frame, apply_snapshot};

#[test]
fn a_schema_makes_twins_once() {
    let mut state = State::default();
    let s = schema("g1", &["oven", "press"]);
    assert!(put_schema(&mut state, &g("g1"), &s, 1));
    assert_eq!((state.twins.len(), state.epoch), (2, 1));
    assert!(!put_schema(&mut state, &g("g1"), &s, 2));
    assert_eq!(state.epoch, 1);
    assert!(state.schemas.contains_key(&s.hash()));
    assert_eq!(state.twins[&twin_id("oven")].bound_from, 1, "the same binding goes on");
}

#[test]
fn a_replaced_box_takes_the_twin_over_and_the_old_one_changes_nothing() {
    let mut state = State::default();
    let (old, new) = (schema("g1", &["oven"]), schema("g2", &["oven"]));
    put_schema(&mut state, &g("g1"), &old, 1);
    apply_frame(&mut state, &old, &g("g1"), 1, &frame(1, &[(0, 1.0)]));
    assert!(put_schema(&mut state, &g("g2"), &new, 2));
    assert_eq!(state.twins[&twin_id("oven")].points[0].value, Some(Value::F64(1.0)), "history goes on");
    let outcome = apply_frame(&mut state, &old, &g("g1"), 1, &frame(9, &[(0, 9.0)]));
    assert!(outcome.applied.is_empty() && outcome.unknown == 0);
    assert!(!put_schema(&mut state, &g("g1"), &old, 1), "an earlier rank does not take it back");
    assert_eq!(apply_frame(&mut state, &new, &g("g2"), 2, &frame(1, &[(0, 2.0)])).applied.len(), 1);
    assert!(apply_frame(&mut state, &new, &g("g2"), 1, &frame(7, &[(0, 3.0)])).applied.is_empty());
}

#[test]
fn a_device_given_to_another_twin_leaves_the_first_without_a_device() {
    let mut state = State::default();
    let first = schema("g1", &["oven"]);
    let mut second = first.clone();
    second.devices[0].twin = twin_id("other");
    put_schema(&mut state, &g("g1"), &first, 1);
    assert!(put_schema(&mut state, &g("g1"), &second, 2));
    assert_eq!(state.twins[&twin_id("oven")].binding, None);
    assert_eq!(state.twins[&twin_id("other")].binding, Some((g("g1"), "oven".into())));
}

#[test]
fn a_changed_unit_forgets_the_value_and_refuses_old_frames_and_others_keep_theirs() {
    let mut state = State::default();
    let old = schema("g1", &["oven"]);
    put_schema(&mut state, &g("g1"), &old, 1);
    apply_frame(&mut state, &old, &g("g1"), 1, &frame(1, &[(0, 20.0), (1, 5.0)]));
    let mut new = old.clone();
    new.devices[0].points[0].unit = "[degF]".into();
    assert!(put_schema(&mut state, &g("g1"), &new, 2));
    let twin = &state.twins[&twin_id("oven")];
    assert_eq!((&twin.points[0].value, &twin.points[1].value), (&None, &Some(Value::F64(5.0))));
    let outcome = apply_frame(&mut state, &old, &g("g1"), 1, &frame(2, &[(0, 21.0)]));
    assert_eq!((outcome.applied.len(), outcome.unknown), (0, 1));
}

#[test]
fn an_old_schema_adds_what_is_missing_and_changes_nothing() {
    let mut state = State::default();
    let mut old = schema("g1", &["oven", "gone"]);
    old.devices[0].points.pop();
    put_schema(&mut state, &g("g1"), &schema("g1", &["oven"]), 2);
    let before = state.twins[&twin_id("oven")].clone();
    assert!(add_schema(&mut state, &old));
    assert_eq!(state.twins[&twin_id("oven")], before);
    assert_eq!(state.twins[&twin_id("gone")].binding, None);
    assert!(!add_schema(&mut state, &old));
}

#[test]
fn online_follows_the_gateway_of_the_binding() {
    let mut state = State::default();
    put_schema(&mut state, &g("g1"), &schema("g1", &["oven"]), 1);
    put_schema(&mut state, &g("g2"), &schema("g2", &["press"]), 2);
    assert_eq!(set_online(&mut state, &g("g1"), true), [twin_id("oven")]);
    assert!(set_online(&mut state, &g("g1"), true).is_empty());
    assert!(!state.twins[&twin_id("press")].online);
}

proptest! {
    /// Whatever schemas come, the index fits the points and every schema is kept.
    #[test]
    fn the_index_always_fits_the_points(puts in prop::collection::vec((0..3usize, 0..3usize, 1..5u64), 1..12)) {
        let mut state = State::default();
        for (gateway, points, rank) in puts {
            let gateway = ["g1", "g2", "g3"][gateway];
            let mut s = schema(gateway, &["oven"]);
            s.devices[0].points.truncate(points);
            let template = schema("g", &["x"]).devices[0].points[0].clone();
            let mut extra = PointSchema { name: format!("extra{points}").into(), ..template };
            (extra.access, extra.value_type) = (Access::Read, ValueType::Bool);
            s.devices[0].points.push(extra);
            put_schema(&mut state, &g(gateway), &s, rank);
            prop_assert!(state.schemas.contains_key(&s.hash()));
            let twin = &state.twins[&twin_id("oven")];
            prop_assert_eq!(twin.index.len(), twin.points.len());
            for (name, i) in &twin.index {
                prop_assert_eq!(&twin.points[*i].schema.name, name);
            }
        }
    }
}

#[test]
fn a_snapshot_of_a_gateway_that_is_not_bound_changes_nothing() {
    let mut state = State::default();
    let s = schema("g1", &["oven"]);
    put_schema(&mut state, &g("g1"), &s, 1);
    let snapshot = common::wire::Snapshot {
        schema: s.hash(),
        incarnation: common::Incarnation(1),
        seq: 1,
        rows: crate::merge::tests::rows(&[(0, 1.0)]),
    };
    assert!(apply_snapshot(&mut state, &s, &g("g2"), 5, &snapshot).applied.is_empty());
}
