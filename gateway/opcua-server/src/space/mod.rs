//! The address space of one generation of the configuration, computed from the registry: no node is stored. A point
//! costs what its look-up costs, some 16 bytes; so 100,000 points are affordable, and a reload is a new space.

mod attributes;
mod kind;
mod methods;
pub(crate) mod node;
mod nodeset;
mod references;
mod types;
mod units;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use common::alarm::{AlarmId, AlarmView};
use common::{DeviceSchema, GatewayId, PointId, PointSchema};
use gateway_core::Registry;
use opcua::types::{Identifier, NodeId};

pub(crate) use attributes::{Attributes, Live};
pub(crate) use kind::{HISTORY_READ, READ, WRITE, access_level, variant, written};
pub(crate) use methods::Method;
pub(crate) use node::{Node, Part, Property, Text};
pub use nodeset::nodeset_xml;
pub(crate) use references::{Reference, Target};
use types::DeviceType;

use crate::options::{Nameplate, Nameplates};

/// What of an alarm is a node, by path; the first is the alarm itself.
pub(crate) const ALARM_FIELDS: &[&str] = &[
    "",
    "EnabledState",
    "EnabledState/Id",
    "ActiveState",
    "ActiveState/Id",
    "AckedState",
    "AckedState/Id",
    "Severity",
    "Message",
    "Time",
    "Retain",
    "ConditionName",
    "SourceName",
    "SourceNode",
    "Comment",
    "ClientUserId",
    "EventId",
    "EventType",
    "Acknowledge",
    "Acknowledge/InputArguments",
    "AddComment",
    "AddComment/InputArguments",
    "Enable",
    "Disable",
    "SuppressedOrShelved",
    "MaxTimeShelved",
    "ShelvingState",
    "ShelvingState/CurrentState",
    "ShelvingState/CurrentState/Id",
    "ShelvingState/UnshelveTime",
    "ShelvingState/TimedShelve",
    "ShelvingState/TimedShelve/InputArguments",
    "ShelvingState/OneShotShelve",
    "ShelvingState/Unshelve",
];

/// Namespaces by the numbers that they have on this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// The gateway's own.
    pub(crate) own: u16,
    /// Of DI, part 100.
    pub(crate) di: u16,
}

/// A place in the asset tree.
#[derive(Debug, Default)]
struct Area {
    areas: Vec<String>,
    devices: Vec<usize>,
}

/// An alarm at its point.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) id: AlarmId,
    pub(crate) point: u32,
    pub(crate) name: String,
}

/// The address space.
pub(crate) struct Space {
    pub(crate) registry: Arc<Registry>,
    pub(crate) namespaces: Namespaces,
    pub(crate) uri: String,
    pub(crate) nameplates: Arc<Nameplates>,
    gateway: GatewayId,
    areas: BTreeMap<String, Area>,
    types: Vec<DeviceType>,
    /// By device.
    type_of: Vec<usize>,
    points: HashMap<u64, u32>,
    pub(crate) alarms: Vec<Alarm>,
    alarm_numbers: HashMap<AlarmId, usize>,
    /// Numbers of alarms by point, in order of the points.
    alarms_of: Vec<(u32, usize)>,
}

impl Space {
    pub(crate) fn new(
        registry: Arc<Registry>,
        gateway: GatewayId,
        namespaces: Namespaces,
        uri: &str,
        nameplates: Arc<Nameplates>,
        alarms: &[AlarmView],
    ) -> Self {
        let (types, type_of) = types::all(&registry, &nameplates);
        let mut areas: BTreeMap<String, Area> = BTreeMap::new();
        areas.entry(String::new()).or_default();
        for (index, device) in registry.devices() {
            let Some(told) = registry.told(index) else { continue };
            let parent = told.asset.rsplit_once('/').map_or("", |(parent, _)| parent);
            add_area(&mut areas, parent);
            if let Some(area) = areas.get_mut(parent) {
                area.devices.push(index);
            }
            tracing::trace!(device = device.name, parent, "device in the address space");
        }
        let mut points = HashMap::with_capacity(registry.count());
        for point in registry.points() {
            let device = registry.device(point.device).map_or("", |d| d.name.as_str());
            points.insert(key(device, &point.schema.name), point.id.0);
        }
        let alarm = |view: &AlarmView| {
            let point = registry.find_in_twin(view.twin, &view.point)?;
            Some(Alarm { id: view.id, point: point.id.0, name: view.name.clone() })
        };
        let alarms: Vec<Alarm> = alarms.iter().filter_map(alarm).collect();
        let alarm_numbers = alarms.iter().enumerate().map(|(n, a)| (a.id, n)).collect();
        let mut alarms_of: Vec<_> = alarms.iter().enumerate().map(|(n, a)| (a.point, n)).collect();
        alarms_of.sort_unstable();
        let uri = uri.to_owned();
        Self {
            registry,
            namespaces,
            uri,
            nameplates,
            gateway,
            areas,
            types,
            type_of,
            points,
            alarms,
            alarm_numbers,
            alarms_of,
        }
    }

    /// A node by its id.
    pub(crate) fn find(&self, id: &NodeId) -> Option<Node> {
        let Identifier::String(text) = &id.identifier else { return None };
        if id.namespace != self.namespaces.own {
            return None;
        }
        Some(match Text::parse(text.value().as_deref()?)? {
            Text::Gateway => Node::Gateway,
            Text::Switch => Node::Switch,
            Text::SwitchState(p @ (Property::TrueState | Property::FalseState)) => Node::SwitchState(p),
            Text::SwitchState(_) => return None,
            Text::Version => Node::Version,
            Text::Area(path) => self.areas.contains_key(path).then(|| Node::Area(path.to_owned()))?,
            Text::Device(device) => Node::Device(self.registry.device_named(device)?),
            Text::Part(device, part) => {
                let device = self.registry.device_named(device)?;
                self.has_part(device, part).then_some(Node::Part(device, part))?
            }
            Text::Point(device, point) => Node::Point(self.point_number(device, point)?),
            Text::Property(device, point, p) => {
                let number = self.point_number(device, point)?;
                self.properties(number).contains(&p).then_some(Node::Property(number, p))?
            }
            Text::Type(name) => Node::Type(self.type_number(name)?),
            Text::Member(name, member) => {
                let number = self.type_number(name)?;
                Node::Member(number, self.types.get(number)?.member(member)?)
            }
            Text::MemberProperty(name, member, p) => {
                let number = self.type_number(name)?;
                let member = self.types.get(number)?.member(member)?;
                let schema = &self.types.get(number)?.members.get(member)?.schema;
                let has = kind::Kind::of(schema).properties(schema).contains(&p);
                has.then_some(Node::MemberProperty(number, member, p))?
            }
            Text::Alarm(device, point, alarm, field) => {
                let point = self.point_number(device, point)?;
                let mut own = self.alarms_at(point);
                let number = own.find(|n| self.alarms.get(*n).is_some_and(|a| a.name == alarm))?;
                match ALARM_FIELDS.iter().position(|f| *f == field)? {
                    0 => Node::Alarm(number),
                    field => Node::AlarmField(number, field),
                }
            }
        })
    }

    /// The id of a node; a null id for one that is not of this space.
    pub(crate) fn id(&self, node: &Node) -> NodeId {
        match self.text(node) {
            Some(text) => NodeId::new(self.namespaces.own, text),
            None => NodeId::null(),
        }
    }

    fn text(&self, node: &Node) -> Option<String> {
        let device = |index: usize| self.registry.device(index).map(|d| d.name.as_str());
        let point = |number: u32| {
            let point = self.registry.point(PointId(number))?;
            Some((device(point.device)?, &*point.schema.name))
        };
        let text = match node {
            Node::Gateway => Text::Gateway,
            Node::Switch => Text::Switch,
            Node::SwitchState(p) => Text::SwitchState(*p),
            Node::Version => Text::Version,
            Node::Area(path) => Text::Area(path),
            Node::Device(index) => Text::Device(device(*index)?),
            Node::Part(index, part) => Text::Part(device(*index)?, *part),
            Node::Point(number) => point(*number).map(|(d, p)| Text::Point(d, p))?,
            Node::Property(number, property) => {
                point(*number).map(|(d, p)| Text::Property(d, p, *property))?
            }
            Node::Type(number) => Text::Type(&self.types.get(*number)?.name),
            Node::Member(number, member) => {
                let of = self.types.get(*number)?;
                Text::Member(&of.name, &of.members.get(*member)?.schema.name)
            }
            Node::MemberProperty(number, member, property) => {
                let of = self.types.get(*number)?;
                Text::MemberProperty(&of.name, &of.members.get(*member)?.schema.name, *property)
            }
            Node::Alarm(number) => return self.alarm_text(*number, 0),
            Node::AlarmField(number, field) => return self.alarm_text(*number, *field),
        };
        Some(text.to_string())
    }

    fn alarm_text(&self, number: usize, field: usize) -> Option<String> {
        let alarm = self.alarms.get(number)?;
        let path = self.registry.path(PointId(alarm.point));
        let (device, point) = path.split_once('/')?;
        Some(Text::Alarm(device, point, &alarm.name, ALARM_FIELDS.get(field)?).to_string())
    }

    fn point_number(&self, device: &str, point: &str) -> Option<u32> {
        let number = *self.points.get(&key(device, point))?;
        let is = |number: u32| {
            let found = self.registry.point(PointId(number))?;
            let own = self.registry.device(found.device)?;
            (*found.schema.name == *point && own.name == device).then_some(number)
        };
        // Two names with one hash: looked for among all of the device.
        is(number).or_else(|| self.registry.find(device, point).map(|p| p.id.0))
    }

    fn type_number(&self, name: &str) -> Option<usize> {
        self.types.binary_search_by(|t| t.name.as_str().cmp(name)).ok()
    }

    pub(crate) fn schema(&self, number: u32) -> Option<&PointSchema> {
        self.registry.point(PointId(number)).map(|p| &p.schema)
    }

    /// What the cloud is told of a device.
    pub(crate) fn told(&self, device: usize) -> Option<&DeviceSchema> {
        self.registry.told(device)
    }

    fn properties(&self, number: u32) -> &'static [Property] {
        self.schema(number).map_or(&[], |s| kind::Kind::of(s).properties(s))
    }

    /// Whether a device has the part: a command needs something that can be written.
    fn has_part(&self, device: usize, part: Part) -> bool {
        match part {
            Part::Command | Part::CommandInputs | Part::CommandOutputs => {
                let own = self.registry.device(device).map(|d| self.registry.points_of(d));
                own.into_iter().flatten().any(|p| p.schema.access.is_writable())
            }
            part if Part::NAMEPLATE.contains(&part) => self.nameplate(device, part).is_some(),
            _ => true,
        }
    }

    /// What the configuration says of a device besides its points.
    pub(crate) fn plate(&self, device: usize) -> Option<&Nameplate> {
        self.nameplates.get(&self.registry.device(device)?.name)
    }

    /// What a device's nameplate says.
    fn nameplate(&self, device: usize, part: Part) -> Option<&str> {
        let of = &self.plate(device)?.identification;
        let said = match part {
            Part::Manufacturer => &of.manufacturer,
            Part::Model => &of.model,
            Part::ProductCode => &of.product_code,
            Part::HardwareRevision => &of.hardware_revision,
            Part::SoftwareRevision => &of.software_revision,
            Part::SerialNumber => &of.serial_number,
            Part::DeviceManual => &of.device_manual,
            _ => return None,
        };
        said.as_deref()
    }

    pub(crate) fn alarm_number(&self, id: AlarmId) -> Option<usize> {
        self.alarm_numbers.get(&id).copied()
    }

    fn alarms_at(&self, point: u32) -> impl Iterator<Item = usize> {
        let start = self.alarms_of.partition_point(|(p, _)| *p < point);
        let own = self.alarms_of.get(start..).unwrap_or_default();
        own.iter().take_while(move |(p, _)| *p == point).map(|(_, n)| *n)
    }

    /// Ids of all types of devices.
    pub(crate) fn type_ids(&self) -> impl Iterator<Item = NodeId> {
        (0..self.types.len()).map(|n| self.id(&Node::Type(n)))
    }
}

fn add_area(areas: &mut BTreeMap<String, Area>, path: &str) {
    if areas.contains_key(path) {
        return;
    }
    areas.insert(path.to_owned(), Area::default());
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    add_area(areas, parent);
    if let Some(area) = areas.get_mut(parent) {
        area.areas.push(path.to_owned());
    }
}

fn key(device: &str, point: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (device, point).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
