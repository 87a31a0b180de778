//! Types of devices: one for each template, shared by all devices made from it; those without a template share one for
//! each protocol, which says nothing about their points.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use common::PointSchema;
use gateway_core::Registry;

use super::kind::Kind;
use crate::options::Nameplates;

/// A type of devices.
#[derive(Debug)]
pub(super) struct DeviceType {
    /// Unique; types are in order of it.
    pub(super) name: String,
    pub(super) browse_name: String,
    pub(super) members: Vec<Member>,
}

/// A point that devices of a type have.
#[derive(Debug)]
pub(super) struct Member {
    /// As the first device has it.
    pub(super) schema: PointSchema,
    /// Whether all have it.
    pub(super) mandatory: bool,
}

impl DeviceType {
    pub(super) fn member(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|m| *m.schema.name == *name)
    }
}

/// All types, and the type of each device by its index.
pub(super) fn all(registry: &Registry, nameplates: &Nameplates) -> (Vec<DeviceType>, Vec<usize>) {
    let mut groups: BTreeMap<String, (String, Vec<usize>, bool)> = BTreeMap::new();
    for (index, device) in registry.devices() {
        let (name, browse_name, of_template) =
            match nameplates.get(&device.name).and_then(|n| n.template.as_ref()) {
                Some(template) => {
                    let name = template.replace(['/', ':'], "_");
                    (name.clone(), format!("{name}Type"), true)
                }
                None => (format!("protocol.{}", device.protocol), protocol_type(device.protocol), false),
            };
        groups.entry(name).or_insert_with(|| (browse_name, Vec::new(), of_template)).1.push(index);
    }
    let mut type_of = vec![0; registry.device_slots()];
    let mut types = Vec::with_capacity(groups.len());
    for (number, (name, (browse_name, devices, of_template))) in groups.into_iter().enumerate() {
        for device in &devices {
            if let Some(slot) = type_of.get_mut(*device) {
                *slot = number;
            }
        }
        let members = if of_template { members(registry, &devices) } else { Vec::new() };
        types.push(DeviceType { name, browse_name, members });
    }
    (types, type_of)
}

/// What devices have in common: a point that two have in different ways is none of the type.
fn members(registry: &Registry, devices: &[usize]) -> Vec<Member> {
    let mut found: Vec<(PointSchema, usize, bool)> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    for device in devices.iter().filter_map(|d| registry.device(*d)) {
        for point in registry.points_of(device) {
            let schema = &point.schema;
            match places.get(&schema.name).and_then(|at| found.get_mut(*at)) {
                Some((first, count, same)) => {
                    *count += 1;
                    *same &= is_alike(first, schema);
                }
                None => {
                    places.insert(schema.name.clone(), found.len());
                    found.push((schema.clone(), 1, true));
                }
            }
        }
    }
    let shared = found.into_iter().filter(|(_, _, same)| *same);
    shared.map(|(schema, count, _)| Member { schema, mandatory: count == devices.len() }).collect()
}

fn is_alike(a: &PointSchema, b: &PointSchema) -> bool {
    a.value_type == b.value_type && Kind::of(a) == Kind::of(b) && a.access == b.access
}

/// `ModbusDeviceType` of `modbus`.
fn protocol_type(protocol: &str) -> String {
    let mut letters = protocol.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    format!("{}{}DeviceType", first.map(String::from).unwrap_or_default(), letters.as_str())
}
