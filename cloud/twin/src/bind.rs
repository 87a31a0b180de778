//! Schemas and bindings: which twins there are, what points they have, and who feeds them.

use std::collections::HashMap;
use std::sync::Arc;

use cloud_core::{PointState, Position, State, TwinState};
use common::{DeviceSchema, GatewayId, Schema, TwinId};

/// Takes a gateway's current schema: makes its twins, gives them its points, and binds them to the gateway
/// from `rank` on. A twin bound from a later rank stays as it is. What another box told that had the gateway's name
/// under a later rank, and has it no more, gives way from now on. True if twins or points changed.
pub fn put_schema(state: &mut State, gateway: &GatewayId, schema: &Schema, rank: u64) -> bool {
    remember(state, schema);
    if state.speaks.insert(gateway.clone(), rank) != Some(rank) {
        give_way(state, gateway, rank);
    }
    let mut changed = false;
    for device in &schema.devices {
        match state.twins.get_mut(&device.twin) {
            None => {
                state.twins.insert(device.twin, new_twin(gateway, device, rank));
                changed = true;
            }
            Some(twin) if rank >= twin.bound_from => changed |= renew(twin, gateway, device, rank),
            Some(_) => {}
        }
        changed |= unbind_others(state, gateway, device, rank);
    }
    if changed {
        state.epoch = state.epoch.wrapping_add(1);
    }
    changed
}

/// Takes a schema that only older frames refer to: it adds twins that were never seen, without a device,
/// and changes none. True if twins were added.
pub fn add_schema(state: &mut State, schema: &Schema) -> bool {
    remember(state, schema);
    let mut changed = false;
    for device in &schema.devices {
        state.twins.entry(device.twin).or_insert_with(|| {
            changed = true;
            // The device may feed another twin by now: the current schema says so, this one cannot.
            TwinState { binding: None, ..new_twin(&schema.gateway, device, 0) }
        });
    }
    if changed {
        state.epoch = state.epoch.wrapping_add(1);
    }
    changed
}

/// Notes whether a gateway has a live session. The twins whose state that changed.
pub fn set_online(state: &mut State, gateway: &GatewayId, online: bool) -> Vec<TwinId> {
    let bound = |twin: &&mut TwinState| twin.binding.as_ref().is_some_and(|(g, _)| g == gateway);
    let mut changed = Vec::new();
    for twin in state.twins.values_mut().filter(bound).filter(|t| t.online != online) {
        twin.online = online;
        changed.push(twin.id);
    }
    changed
}

fn remember(state: &mut State, schema: &Schema) {
    state.schemas.entry(schema.hash()).or_insert_with(|| Arc::new(schema.clone()));
}

fn new_twin(gateway: &GatewayId, device: &DeviceSchema, rank: u64) -> TwinState {
    let points: Vec<_> = device.points.iter().cloned().map(PointState::new).collect();
    TwinState {
        id: device.twin,
        asset: device.asset.clone(),
        description: device.description.clone(),
        binding: Some((gateway.clone(), device.name.clone())),
        bound_from: rank,
        online: false,
        desired_version: 0,
        index: index_of(&points),
        points,
    }
}

fn index_of(points: &[PointState]) -> HashMap<Arc<str>, usize> {
    points.iter().enumerate().map(|(i, p)| (p.schema.name.clone(), i)).collect()
}

fn renew(twin: &mut TwinState, gateway: &GatewayId, device: &DeviceSchema, rank: u64) -> bool {
    let mut changed = false;
    let is_bound = twin.binding.as_ref().is_some_and(|(g, d)| g == gateway && *d == device.name);
    if !is_bound {
        twin.binding = Some((gateway.clone(), device.name.clone()));
        twin.bound_from = rank;
        twin.online = false;
        changed = true;
    }
    if twin.asset != device.asset || twin.description != device.description {
        twin.asset.clone_from(&device.asset);
        twin.description.clone_from(&device.description);
        changed = true;
    }
    let same = twin.points.len() == device.points.len()
        && twin.points.iter().zip(&device.points).all(|(old, new)| old.schema == *new);
    if !same {
        let mut old: HashMap<_, _> =
            std::mem::take(&mut twin.points).into_iter().map(|p| (p.schema.name.clone(), p)).collect();
        // A value keeps its meaning only while type and unit are the same.
        let point = |new: &common::PointSchema| match old.remove(&new.name) {
            Some(p) if p.schema.value_type == new.value_type && p.schema.unit == new.unit => {
                PointState { schema: new.clone(), ..p }
            }
            _ => PointState::new(new.clone()),
        };
        twin.points = device.points.iter().map(point).collect();
        twin.index = index_of(&twin.points);
        changed = true;
    }
    changed
}

/// Values and bindings of a gateway from after `rank` count as from its beginning.
fn give_way(state: &mut State, gateway: &GatewayId, rank: u64) {
    let first = Position { rank, ..Position::default() };
    let is_bound = |twin: &&mut TwinState| twin.binding.as_ref().is_some_and(|(g, _)| g == gateway);
    for twin in state.twins.values_mut().filter(is_bound) {
        twin.bound_from = twin.bound_from.min(rank);
        for point in twin.points.iter_mut().filter(|p| p.position.rank > rank) {
            point.position = first;
        }
    }
}

/// A device feeds one twin: another that it fed before is without a device from now on.
fn unbind_others(state: &mut State, gateway: &GatewayId, device: &DeviceSchema, rank: u64) -> bool {
    let was_bound = |twin: &&mut TwinState| {
        twin.id != device.twin
            && twin.bound_from <= rank
            && twin.binding.as_ref().is_some_and(|(g, d)| g == gateway && *d == device.name)
    };
    let mut changed = false;
    for twin in state.twins.values_mut().filter(was_bound) {
        twin.binding = None;
        twin.online = false;
        changed = true;
    }
    changed
}

#[cfg(test)]
#[path = "bind_tests.rs"]
mod tests;
