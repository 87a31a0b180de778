//! Tests of generations: numbers stay, move or go as they should, whatever is changed.

use std::collections::{HashMap, HashSet};

use common::{PointKind, Schema, TenantId, TwinId, ValueType};
use proptest::prelude::*;

use super::*;
use crate::point::{PointDefinition, RawRange};

/// Devices by name with the names and units of their points.
type Plant = Vec<(String, Vec<(String, &'static str)>)>;

fn registry(plant: &Plant) -> Registry {
    let (tenant, gateway) = (TenantId::default(), "g1".parse().unwrap());
    let (mut devices, mut points, mut told) = (vec![], vec![], vec![]);
    for (index, (name, own)) in plant.iter().enumerate() {
        let first = u32::try_from(points.len()).unwrap();
        for (point, unit) in own {
            let schema =
                PointKind { unit: (*unit).to_owned(), stale_ms: 1000, ..PointKind::new(ValueType::F64) }
                    .named(point.clone());
            let raw = RawRange { value_type: ValueType::F64, min: 0.0, max: 1.0 };
            let id = PointId(u32::try_from(points.len()).unwrap());
            points.push(PointDefinition::new(schema, raw).at(id, index));
        }
        let last = u32::try_from(points.len()).unwrap();
        devices.push(Device { name: name.clone(), protocol: "modbus", points: first..last });
        told.push(DeviceSchema {
            name: name.clone(),
            twin: TwinId::derived(&tenant, &gateway, name),
            asset: format!("a/{name}"),
            description: String::new(),
            first_point: 0,
            points: vec![],
        });
    }
    Registry::new(Schema { tenant, gateway, devices: told }, devices, points).unwrap()
}

fn plant(text: &str) -> Plant {
    let point = |p: &str| match p.split_once(':') {
        Some((name, _)) => (name.to_owned(), "K"),
        None => (p.to_owned(), "Cel"),
    };
    text.split_whitespace()
        .map(|d| {
            let (name, points) = d.split_once('=').unwrap();
            (name.to_owned(), points.split(',').filter(|p| !p.is_empty()).map(point).collect())
        })
        .collect()
}

fn paths(registry: &Registry) -> HashMap<String, u32> {
    registry.points().map(|p| (registry.path(p.id), p.id.0)).collect()
}

#[test]
fn numbers_stay_where_a_devices_points_stay() {
    let first = registry(&plant("a=x,y b=x c=x,y,z"));
    let next = first.succeed(&registry(&plant("new=n c=x,y:K,z a=x,y")));
    let now = paths(&next);
    assert_eq!((now["a/x"], now["a/y"], now["c/x"], now["c/y"], now["c/z"]), (0, 1, 3, 4, 5));
    assert_eq!(now["new/n"], 6, "the number of b/x is not given out in the same reload");
    assert_eq!(
        next.changes_since(&first).reset,
        [PointId(2), PointId(4)],
        "b is gone, and c/y means another unit"
    );
    assert_eq!(next.changes_since(&first).moved, []);
    assert_eq!((next.device_named("a"), next.device_named("c")), (Some(0), Some(2)));
    assert_eq!((next.device(1), next.device_named("new")), (None, Some(3)));
    let third = next.succeed(&registry(&plant("new=n c=x,y:K,z a=x,y b=x")));
    assert_eq!(paths(&third)["b/x"], 2, "a number is free again one reload later");
    assert_eq!(third.device_named("b"), Some(1));
    assert_eq!(third.changes_since(&first).reset, [PointId(4)], "over two generations: b is back as it was");
}

#[test]
fn a_device_whose_list_changed_moves_as_a_whole_with_its_state() {
    let first = registry(&plant("a=x,y b=z"));
    let next = first.succeed(&registry(&plant("a=y,new b=z")));
    assert_eq!(paths(&next), HashMap::from([("b/z".into(), 2), ("a/y".into(), 3), ("a/new".into(), 4)]));
    let changes = next.changes_since(&first);
    assert_eq!(changes.moved, [(PointId(1), PointId(3))]);
    let mut table = vec![Some('x'), Some('y'), Some('z')];
    changes.carry(&mut table, next.slots());
    assert_eq!(table, [None, None, Some('z'), Some('y'), None]);
    let order: Vec<_> = next.schema().devices.iter().map(|d| (d.name.as_str(), d.first_point)).collect();
    assert_eq!(order, [("b", 2), ("a", 3)], "the schema is in the order of the numbers");
    assert_eq!(next.path(PointId(3)), "a/y");
    assert_eq!(next.path(PointId(0)), "point 0");
}

fn any_plant() -> impl Strategy<Value = Plant> {
    let points = prop::collection::btree_map("[p-t]", prop::sample::select(vec!["Cel", "K"]), 0..5);
    prop::collection::btree_map("[a-e]", points, 0..5).prop_shuffle_devices()
}

trait Shuffled {
    fn prop_shuffle_devices(self) -> BoxedStrategy<Plant>;
}

impl<S> Shuffled for S
where
    S: Strategy<Value = std::collections::BTreeMap<String, std::collections::BTreeMap<String, &'static str>>>
        + 'static,
{
    fn prop_shuffle_devices(self) -> BoxedStrategy<Plant> {
        let listed = |m: std::collections::BTreeMap<_, std::collections::BTreeMap<_, _>>| {
            m.into_iter().map(|(d, p)| (d, p.into_iter().collect())).collect::<Plant>()
        };
        self.prop_map(listed).prop_shuffle().boxed()
    }
}

proptest! {
    /// A history of configurations: whatever they are, the last generation is what its configuration says, and
    /// a table that followed step by step holds each point's own state and nothing else.
    #[test]
    fn state_follows_its_point(plants in prop::collection::vec(any_plant(), 1..8)) {
        let mut now = registry(&plants[0]);
        // The state of a point: its path and unit, given when it is first met.
        let mark = |r: &Registry, p: &Point| (r.path(p.id), p.schema.unit.clone());
        let mut table: Vec<Option<(String, String)>> = vec![None; now.slots()];
        let fill = |r: &Registry, table: &mut Vec<Option<(String, String)>>| {
            r.points().for_each(|p| table[p.id.index()] = Some(mark(r, p)));
        };
        fill(&now, &mut table);
        let (begin, mut jumped) = (now.clone(), table.clone());
        for plant in &plants[1..] {
            let fresh = registry(plant);
            let next = now.succeed(&fresh);
            // As configured.
            prop_assert_eq!(paths(&next).into_keys().collect::<HashSet<_>>(), paths(&fresh).into_keys().collect());
            prop_assert_eq!(next.count(), fresh.count());
            prop_assert_eq!(next.schema().point_count(), fresh.count());
            prop_assert_eq!(next.schema().hash(), next.hash());
            // The schema says of every number what the registry says, and nothing of free ones.
            for n in 0..u32::try_from(next.slots()).unwrap() + 3 {
                let told = next.schema().point(PointId(n)).map(|(d, p)| format!("{}/{}", d.name, p.name));
                prop_assert_eq!(told, next.point(PointId(n)).map(|p| next.path(p.id)));
            }
            // No number changes hands within one reload, and devices keep their indices.
            let (old, new) = (paths(&now), paths(&next));
            for (path, id) in &new {
                prop_assert!(old.iter().all(|(p, i)| p == path || i != id), "{path}");
            }
            for (index, device) in now.devices() {
                if let Some(at) = next.device_named(&device.name) {
                    prop_assert_eq!(at, index);
                }
            }
            // State: a point that is as it was keeps it, no other has any.
            let before = table.clone();
            let changes = next.changes_since(&now);
            changes.carry(&mut table, next.slots());
            for point in next.points() {
                let was = old.get(&next.path(point.id)).map(|id| before[*id as usize].clone());
                let kept = was.flatten().filter(|m| *m == mark(&next, point));
                prop_assert_eq!(&table[point.id.index()], &kept);
            }
            for (n, state) in (0..).zip(&table) {
                prop_assert!(next.point(PointId(n)).is_some() || state.is_none());
            }
            fill(&next, &mut table);
            now = next;
        }
        // A part that slept through all of it comes to no wrong state either.
        now.changes_since(&begin).carry(&mut jumped, now.slots());
        for point in now.points() {
            if let Some(state) = &jumped[point.id.index()] {
                prop_assert_eq!(state, &mark(&now, point));
            }
        }
        // Numbers are used again: however often it changes, they stay few.
        prop_assert!(now.slots() <= 16 * 5 * 2, "{} numbers", now.slots());
    }
}
