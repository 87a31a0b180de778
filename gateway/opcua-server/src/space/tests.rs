//! The address space: every node that is referred to exists, both ends of a reference say so, types are shared.

use std::collections::{HashMap, HashSet, VecDeque};

use common::schema::Label;
use common::{Access, TenantId, TwinId, ValueType};
use gateway_core::{Device, PointDefinition, RawRange};
use opcua::types::{AttributeId, ObjectId, ObjectTypeId, ReferenceTypeId};

use super::*;

pub(crate) fn point(name: &str, value_type: ValueType) -> PointSchema {
    PointSchema::new(name, value_type)
}

pub(crate) fn registry(devices: &[(&str, &str, Vec<PointSchema>)]) -> Arc<Registry> {
    let (mut all, mut told, mut points) = (Vec::new(), Vec::new(), Vec::new());
    let (tenant, gateway): (TenantId, GatewayId) = (TenantId::default(), "box".parse().unwrap());
    for (index, (name, asset, own)) in devices.iter().enumerate() {
        let first = u32::try_from(points.len()).unwrap();
        for schema in own {
            let id = PointId(u32::try_from(points.len()).unwrap());
            let raw = RawRange { value_type: schema.value_type, min: -1e9, max: 1e9 };
            points.push(PointDefinition::new(schema.clone(), raw).at(id, index));
        }
        let end = u32::try_from(points.len()).unwrap();
        all.push(Device { name: (*name).to_owned(), protocol: "modbus", points: first..end });
        told.push(DeviceSchema {
            name: (*name).to_owned(),
            twin: TwinId::derived(&tenant, &gateway, name),
            asset: (*asset).to_owned(),
            description: String::new(),
            first_point: first,
            points: Vec::new(),
        });
    }
    let schema = common::Schema { tenant, gateway, devices: told };
    Arc::new(Registry::new(schema, all, points).unwrap())
}

fn sample() -> Space {
    let mut analog = point("temperature", ValueType::F64);
    analog.unit = "Cel".into();
    (analog.range_min, analog.range_max) = (Some(0.0), Some(100.0));
    let mut fan = point("fan", ValueType::Bool);
    fan.labels = vec![Label { value: 0, text: "off".into() }, Label { value: 1, text: "on".into() }];
    let mut mode = point("mode", ValueType::U64);
    mode.labels = vec![Label { value: 3, text: "auto".into() }, Label { value: 9, text: "hand".into() }];
    mode.access = Access::ReadWrite;
    let pump = vec![analog.clone(), fan, mode];
    let registry = registry(&[
        ("pump1", "plant/hall/pump1", pump.clone()),
        ("pump2", "plant/hall/pump2", pump[..2].to_vec()),
        ("meter", "meter", vec![point("energy", ValueType::U64)]),
    ]);
    let mut one = Nameplate { template: Some("pump".to_owned()), ..Nameplate::default() };
    let two = one.clone();
    one.identification.manufacturer = Some("Acme".to_owned());
    let nameplates = HashMap::from([("pump1".to_owned(), one), ("pump2".to_owned(), two)]);
    let namespaces = Namespaces { own: 2, di: 3 };
    Space::new(registry, "box".parse().unwrap(), namespaces, "urn:x", Arc::new(nameplates), &[])
}

fn walk(space: &Space) -> Vec<Node> {
    let mut waiting = VecDeque::from([Node::Gateway]);
    waiting.extend((0..space.types.len()).map(Node::Type));
    let (mut seen, mut all) = (HashSet::new(), Vec::new());
    while let Some(node) = waiting.pop_front() {
        if !seen.insert(node.clone()) {
            continue;
        }
        let own = space.references(&node).into_iter().filter(|r| r.forward);
        waiting.extend(own.filter_map(|r| if let Target::Own(to) = r.to { Some(to) } else { None }));
        all.push(node);
    }
    all
}

#[test]
fn every_node_that_is_referred_to_is_found_by_its_id_and_says_what_it_is() {
    let space = sample();
    let all = walk(&space);
    assert!(all.len() > 60, "{}", all.len());
    for node in &all {
        let id = space.id(node);
        assert_eq!(space.find(&id).as_ref(), Some(node), "{id}");
        for attribute in
            [AttributeId::NodeId, AttributeId::NodeClass, AttributeId::BrowseName, AttributeId::DisplayName]
        {
            assert!(space.attribute(node, attribute, false).is_some(), "{id}: {attribute:?}");
        }
    }
}

#[test]
fn both_ends_of_every_reference_tell_it() {
    let space = sample();
    for node in walk(&space) {
        for reference in space.references(&node) {
            let Target::Own(to) = &reference.to else { continue };
            if reference.kind == ReferenceTypeId::HasTypeDefinition {
                continue;
            }
            let back = space.references(to).into_iter().any(|r| {
                r.kind == reference.kind
                    && r.forward != reference.forward
                    && r.to == Target::Own(node.clone())
            });
            assert!(back, "{} does not tell {:?} of {}", space.id(to), reference.kind, space.id(&node));
        }
    }
    let objects = space.references_from_standard(&ObjectId::ObjectsFolder.into());
    assert_eq!(objects.len(), 1);
    assert_eq!(space.references_from_standard(&ObjectTypeId::BaseObjectType.into()).len(), 2);
}

#[test]
fn devices_of_a_template_share_a_type_that_says_what_all_of_them_have() {
    let space = sample();
    let of = |device: &str| {
        let device = space.find(&NodeId::new(2, device)).unwrap();
        space.type_definition(&device)
    };
    assert_eq!(of("pump1"), of("pump2"));
    assert_ne!(of("pump1"), of("meter"));
    let pump = space.types.iter().find(|t| t.name == "pump").unwrap();
    let rules: Vec<_> = pump.members.iter().map(|m| (&*m.schema.name, m.mandatory)).collect();
    assert_eq!(rules, [("temperature", true), ("fan", true), ("mode", false)]);
}

#[test]
fn the_export_is_one_document_in_which_every_own_reference_leads_somewhere() {
    let space = sample();
    let xml = nodeset_xml(space.registry.clone(), "box".parse().unwrap(), "urn:x", space.nameplates.clone());
    let ids: HashSet<&str> =
        xml.split("NodeId=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let targets = xml.split("</Reference>").filter_map(|part| part.rsplit('>').next());
    for target in targets.filter(|t| t.starts_with("ns=1")) {
        assert!(ids.contains(target), "{target}");
    }
    assert!(ids.contains("ns=1;s=pump1/temperature"));
    assert!(ids.contains("ns=1;s=pump1:Identification/Manufacturer"));
    assert!(!ids.contains("ns=1;s=pump2:Identification/Manufacturer"), "nothing is said of it");
}
