//! Tests of merging by position, and what other tests here start from.

use common::command::{DesiredState, Origin, Requester};
use common::wire::FrameHeader;
use common::{
    Incarnation, PointId, PointKind, Quality, Sample, SchemaHash, TenantId, TwinId, Value, ValueType,
};
use proptest::prelude::*;

use super::*;
use crate::put_schema;

pub(crate) fn g(name: &str) -> GatewayId {
    name.parse().unwrap()
}

pub(crate) fn twin_id(device: &str) -> TwinId {
    TwinId::derived(&TenantId::default(), &g("any"), device)
}

/// Devices with two points each, numbered on.
pub(crate) fn schema(gateway: &str, devices: &[&str]) -> Schema {
    let point = |name: &str| {
        PointKind { unit: "Cel".into(), stale_ms: 1000, ..PointKind::new(ValueType::F64) }.named(name)
    };
    let device = |(i, name): (u32, &&str)| DeviceSchema {
        name: (*name).into(),
        twin: twin_id(name),
        asset: format!("plant/area/line/{name}"),
        description: String::new(),
        first_point: i * 2,
        points: vec![point("a"), point("b")],
    };
    Schema {
        tenant: TenantId::default(),
        gateway: g(gateway),
        devices: (0..).zip(devices).map(device).collect(),
    }
}

pub(crate) fn rows(values: &[(u32, f64)]) -> Vec<Sample> {
    let row = |(point, value): &(u32, f64)| Sample {
        point: PointId(*point),
        value: Some(Value::F64(*value)),
        quality: Quality::GOOD,
        source_us: 1,
        received_us: 2,
    };
    values.iter().map(row).collect()
}

pub(crate) fn frame(seq: u64, values: &[(u32, f64)]) -> Frame {
    let header = FrameHeader {
        schema: SchemaHash([0; 16]),
        incarnation: Incarnation(1),
        seq,
        cut_us: 0,
        cut_mono_us: 0,
        synchronised: true,
    };
    Frame { header, body: Body::Samples(rows(values)) }
}

fn start() -> (State, Schema) {
    let mut state = State::default();
    let s = schema("g1", &["oven", "press"]);
    put_schema(&mut state, &g("g1"), &s, 1);
    // As after a start of the cloud: frames of all ranks are applied.
    state.speaks.clear();
    (state, s)
}

#[test]
fn a_box_that_has_its_name_again_is_heard_and_what_a_copy_told_gives_way() {
    let (mut state, s) = start();
    let apply = |state: &mut State, rank, seq, x| {
        apply_frame(state, &s, &g("g1"), rank, &frame(seq, &[(0, x)])).applied.len()
    };
    assert_eq!(apply(&mut state, 1, 5, 1.0), 1);
    put_schema(&mut state, &g("g1"), &s, 2);
    assert_eq!(apply(&mut state, 2, 1, 2.0), 1);
    assert_eq!(apply(&mut state, 1, 6, 3.0), 0, "of before the copy");
    put_schema(&mut state, &g("g1"), &s, 1);
    assert_eq!(value(&state, "oven", "a"), Some(2.0), "until it speaks");
    assert_eq!(apply(&mut state, 1, 7, 4.0), 1);
    assert_eq!(apply(&mut state, 2, 2, 5.0), 0, "it has the name no more");
    assert_eq!(apply(&mut state, 1, 7, 4.0), 0, "twice is once");
    // Whoever comes next is later than both.
    put_schema(&mut state, &g("g1"), &s, 3);
    assert_eq!(apply(&mut state, 3, 1, 6.0), 1);
    assert_eq!(value(&state, "oven", "a"), Some(6.0));
}

fn value(state: &State, device: &str, point: &str) -> Option<f64> {
    state.twins[&twin_id(device)].point(point)?.value.as_ref()?.as_f64()
}

#[test]
fn a_snapshot_stands_after_its_frame_and_before_the_next() {
    let (mut state, s) = start();
    let snapshot =
        Snapshot { schema: s.hash(), incarnation: Incarnation(1), seq: 5, rows: rows(&[(0, 5.0)]) };
    assert_eq!(apply_snapshot(&mut state, &s, &g("g1"), 1, &snapshot).applied.len(), 1);
    let position = state.twins[&twin_id("oven")].points[0].position;
    assert_eq!(position, Position { rank: 1, seq: 5, index: u32::MAX });
    for old in 1..=5 {
        assert!(apply_frame(&mut state, &s, &g("g1"), 1, &frame(old, &[(0, 0.0)])).applied.is_empty());
    }
    assert!(apply_snapshot(&mut state, &s, &g("g1"), 1, &snapshot).applied.is_empty(), "twice is once");
    apply_frame(&mut state, &s, &g("g1"), 1, &frame(6, &[(0, 6.0)]));
    assert_eq!(value(&state, "oven", "a"), Some(6.0));
}

#[test]
fn a_stamp_from_the_future_freezes_nothing() {
    let (mut state, s) = start();
    let mut future = frame(1, &[(0, 1.0)]);
    if let Body::Samples(rows) = &mut future.body {
        rows[0].source_us = i64::MAX;
    }
    apply_frame(&mut state, &s, &g("g1"), 1, &future);
    apply_frame(&mut state, &s, &g("g1"), 1, &frame(2, &[(0, 2.0)]));
    assert_eq!(value(&state, "oven", "a"), Some(2.0));
}

#[test]
fn unknown_point_numbers_are_ignored_and_counted() {
    let (mut state, s) = start();
    let outcome =
        apply_frame(&mut state, &s, &g("g1"), 1, &frame(1, &[(99, 1.0), (3, 3.0), (u32::MAX, 0.0)]));
    assert_eq!((outcome.applied.len(), outcome.unknown), (1, 2));
    assert_eq!(value(&state, "press", "b"), Some(3.0));
    assert_eq!(outcome.applied[0].point, 1);
}

#[test]
fn a_bad_sample_replaces_a_good_one() {
    let (mut state, s) = start();
    apply_frame(&mut state, &s, &g("g1"), 1, &frame(1, &[(0, 1.0)]));
    let mut bad = frame(2, &[]);
    bad.body = Body::Samples(vec![Sample::bad(PointId(0), Quality::BAD_TIMEOUT, 7)]);
    apply_frame(&mut state, &s, &g("g1"), 1, &bad);
    let point = &state.twins[&twin_id("oven")].points[0];
    assert_eq!((&point.value, point.quality), (&None, Quality::BAD_TIMEOUT));
}

#[test]
fn a_desired_update_of_an_older_version_is_ignored() {
    let (mut state, _) = start();
    let view = DesiredView {
        value: Value::F64(1.0),
        state: DesiredState::Pending,
        version: 3,
        set_us: 0,
        expires_us: 9,
        requester: Requester { name: "a".into(), origin: Origin::Cloud },
        reason: String::new(),
        code: None,
        detail: String::new(),
    };
    state.twins.get_mut(&twin_id("oven")).unwrap().points[0].desired = Some(view);
    let mut update = DesiredUpdate {
        twin: twin_id("oven"),
        version: 2,
        point: "a".into(),
        state: DesiredState::Applied,
        code: None,
        detail: String::new(),
        at_us: 1,
    };
    assert_eq!(apply_desired(&mut state, &update), None);
    update.version = 3;
    assert_eq!(apply_desired(&mut state, &update).unwrap().state, DesiredState::Applied);
}

/// (rank, seq, rows); the value of a row tells its position, so that equal positions have equal values.
fn frames() -> impl Strategy<Value = Vec<(u64, Frame)>> {
    let one = (1..4u64, 1..6u64, prop::collection::vec(0..6u32, 0..6));
    prop::collection::vec(one, 1..24).prop_map(|all| {
        let mut seen = std::collections::BTreeMap::new();
        for (rank, seq, points) in all {
            let value = |(i, p): (usize, u32)| (p, (rank * 10_000 + seq * 100 + i as u64) as f64);
            let values: Vec<_> = points.into_iter().enumerate().map(value).collect();
            seen.entry((rank, seq)).or_insert_with(|| (rank, frame(seq, &values)));
        }
        seen.into_values().collect()
    })
}

proptest! {
    #[test]
    fn any_order_and_any_duplication_end_in_the_state_of_the_right_order(
        (ordered, shuffled) in frames().prop_flat_map(|f| {
            let doubled: Vec<_> = f.iter().chain(f.iter()).cloned().collect();
            (Just(f), Just(doubled).prop_shuffle())
        })
    ) {
        let (mut right, s) = start();
        let (mut other, _) = start();
        for (rank, frame) in &ordered {
            apply_frame(&mut right, &s, &g("g1"), *rank, frame);
        }
        let mut applied = 0;
        for (rank, frame) in &shuffled {
            applied += apply_frame(&mut other, &s, &g("g1"), *rank, frame).applied.len();
        }
        prop_assert_eq!(&right.twins, &other.twins);
        let rows: usize = ordered.iter().map(|(_, f)| f.body.sample_count()).sum();
        prop_assert!(applied <= rows, "nothing applies twice");
    }

    /// A snapshot anywhere among the frames that it sums up, and among those after it, changes no value.
    #[test]
    fn a_true_snapshot_may_come_at_any_time(frames in frames(), cut in 0..24usize, at in 0..24usize) {
        let (mut right, s) = start();
        let cut = cut.min(frames.len());
        let mut summed = start().0;
        for (rank, frame) in &frames[..cut] {
            apply_frame(&mut summed, &s, &g("g1"), *rank, frame);
        }
        let Some((rank, last)) = frames[..cut].last() else { return Ok(()) };
        let values: Vec<_> = (0..4u32)
            .filter_map(|p| {
                let (device, point) = s.point(PointId(p))?;
                Some((p, summed.twins[&device.twin].point(&point.name)?.value.as_ref()?.as_f64()?))
            })
            .collect();
        let snapshot =
            Snapshot { schema: s.hash(), incarnation: Incarnation(1), seq: last.header.seq, rows: rows(&values) };
        let mut other = start().0;
        for (i, (r, frame)) in frames.iter().enumerate() {
            if i == at.min(frames.len() - 1) {
                apply_snapshot(&mut other, &s, &g("g1"), *rank, &snapshot);
            }
            apply_frame(&mut other, &s, &g("g1"), *r, frame);
            apply_frame(&mut right, &s, &g("g1"), *r, frame);
        }
        for device in ["oven", "press"] {
            for point in ["a", "b"] {
                prop_assert_eq!(value(&right, device, point), value(&other, device, point));
            }
        }
    }
}
