//! What belongs to what.

use gateway_core::registry::Device;
use opcua::types::{NodeId, ObjectId, ObjectTypeId, ReferenceTypeId, VariableTypeId};

use super::kind::Kind;
use super::{ALARM_FIELDS, Method, Node, Part, Property, Space};

/// The other end of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Own(Node),
    /// A node of the standard's own namespace.
    Standard(NodeId),
}

/// A reference from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) kind: ReferenceTypeId,
    pub(crate) forward: bool,
    pub(crate) to: Target,
}

fn to(kind: ReferenceTypeId, node: Node) -> Reference {
    Reference { kind, forward: true, to: Target::Own(node) }
}

fn from(kind: ReferenceTypeId, node: Node) -> Reference {
    Reference { kind, forward: false, to: Target::Own(node) }
}

fn standard(kind: ReferenceTypeId, id: impl Into<NodeId>) -> Reference {
    Reference { kind, forward: true, to: Target::Standard(id.into()) }
}

impl Space {
    /// References from nodes of the standard's namespace to ours.
    pub(crate) fn references_from_standard(&self, id: &NodeId) -> Vec<Reference> {
        if *id == ObjectId::ObjectsFolder {
            vec![to(ReferenceTypeId::Organizes, Node::Gateway)]
        } else if *id == ObjectTypeId::BaseObjectType {
            (0..self.types.len()).map(|n| to(ReferenceTypeId::HasSubtype, Node::Type(n))).collect()
        } else if *id == ObjectId::Server {
            let with_alarms = self.registry.devices().map(|(index, _)| index).filter(|d| self.has_alarms(*d));
            with_alarms.map(|d| to(ReferenceTypeId::HasEventSource, Node::Device(d))).collect()
        } else {
            Vec::new()
        }
    }

    /// What a node refers to, and what refers to it.
    pub(crate) fn references(&self, node: &Node) -> Vec<Reference> {
        use ReferenceTypeId::{
            HasComponent, HasModellingRule, HasProperty, HasSubtype, HasTypeDefinition, Organizes,
        };
        let mut all = Vec::new();
        if let Some(of) = self.type_definition(node) {
            all.push(Reference { kind: HasTypeDefinition, forward: true, to: of });
        }
        match node {
            Node::Gateway => {
                let objects = Target::Standard(ObjectId::ObjectsFolder.into());
                all.push(Reference { kind: Organizes, forward: false, to: objects });
                all.push(to(HasComponent, Node::Switch));
                all.push(to(HasProperty, Node::Version));
                self.contents("", &mut all);
            }
            Node::Switch => {
                all.push(from(HasComponent, Node::Gateway));
                let states = [Property::TrueState, Property::FalseState];
                all.extend(states.map(|p| to(HasProperty, Node::SwitchState(p))));
            }
            Node::SwitchState(_) => all.push(from(HasProperty, Node::Switch)),
            Node::Version => all.push(from(HasProperty, Node::Gateway)),
            Node::Area(path) => {
                all.push(from(Organizes, self.place_of(path)));
                self.contents(path, &mut all);
            }
            Node::Device(index) => self.of_device(*index, &mut all),
            Node::Part(index, part) => {
                let parent = match part {
                    Part::Identification | Part::Health | Part::Command => Node::Device(*index),
                    Part::CommandInputs | Part::CommandOutputs => Node::Part(*index, Part::Command),
                    p if Part::HEALTH.contains(p) => Node::Part(*index, Part::Health),
                    _ => Node::Part(*index, Part::Identification),
                };
                let is_top = matches!(parent, Node::Device(_));
                all.push(from(if is_top { HasComponent } else { HasProperty }, parent));
                let (children, said): (&[Part], &[Part]) = match part {
                    Part::Identification => (&Part::IDENTIFICATION, &Part::NAMEPLATE),
                    Part::Health => (&Part::HEALTH, &[]),
                    Part::Command => (&[Part::CommandInputs, Part::CommandOutputs], &[]),
                    _ => (&[], &[]),
                };
                let said = said.iter().filter(|p| self.has_part(*index, **p));
                all.extend(children.iter().chain(said).map(|p| to(HasProperty, Node::Part(*index, *p))));
            }
            Node::Point(number) => {
                if let Some(point) = self.registry.point(common::PointId(*number)) {
                    all.push(from(HasComponent, Node::Device(point.device)));
                }
                all.extend(
                    self.properties(*number).iter().map(|p| to(HasProperty, Node::Property(*number, *p))),
                );
                all.extend(
                    self.alarms_at(*number).map(|a| to(ReferenceTypeId::HasCondition, Node::Alarm(a))),
                );
            }
            Node::Property(number, _) => all.push(from(HasProperty, Node::Point(*number))),
            Node::Type(number) => {
                let base = Target::Standard(ObjectTypeId::BaseObjectType.into());
                all.push(Reference { kind: HasSubtype, forward: false, to: base });
                let members = self.types.get(*number).map_or(0, |t| t.members.len());
                all.extend((0..members).map(|m| to(HasComponent, Node::Member(*number, m))));
            }
            Node::Member(number, member) => {
                all.push(from(HasComponent, Node::Type(*number)));
                if let Some(found) = self.types.get(*number).and_then(|t| t.members.get(*member)) {
                    let rule = if found.mandatory {
                        ObjectId::ModellingRule_Mandatory
                    } else {
                        ObjectId::ModellingRule_Optional
                    };
                    all.push(standard(HasModellingRule, rule));
                    let own = Kind::of(&found.schema).properties(&found.schema).iter();
                    all.extend(own.map(|p| to(HasProperty, Node::MemberProperty(*number, *member, *p))));
                }
            }
            Node::MemberProperty(number, member, _) => {
                all.push(from(HasProperty, Node::Member(*number, *member)));
                all.push(standard(HasModellingRule, ObjectId::ModellingRule_Mandatory));
            }
            Node::Alarm(number) => {
                if let Some(alarm) = self.alarms.get(*number) {
                    all.push(from(ReferenceTypeId::HasCondition, Node::Point(alarm.point)));
                    if let Some(point) = self.registry.point(common::PointId(alarm.point)) {
                        all.push(from(HasComponent, Node::Device(point.device)));
                    }
                }
                all.extend(self.alarm_children(*number, ""));
            }
            Node::AlarmField(number, field) => {
                let path = ALARM_FIELDS.get(*field).copied().unwrap_or_default();
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let at = ALARM_FIELDS.iter().position(|f| *f == parent).unwrap_or(0);
                let parent = if at == 0 { Node::Alarm(*number) } else { Node::AlarmField(*number, at) };
                all.push(from(field_reference(path), parent));
                all.extend(self.alarm_children(*number, path));
            }
        }
        all
    }

    fn alarm_children(&self, number: usize, path: &str) -> impl Iterator<Item = Reference> {
        let is_child = move |f: &str| match f.strip_prefix(path) {
            Some(rest) if path.is_empty() => !rest.is_empty() && !rest.contains('/'),
            Some(rest) => rest.strip_prefix('/').is_some_and(|name| !name.contains('/')),
            None => false,
        };
        let path = path.to_owned();
        let children = ALARM_FIELDS.iter().enumerate().filter(move |(_, f)| is_child(f));
        let made: Vec<_> =
            children.map(|(at, f)| to(field_reference(f), Node::AlarmField(number, at))).collect();
        drop(path);
        made.into_iter()
    }

    fn of_device(&self, index: usize, all: &mut Vec<Reference>) {
        use ReferenceTypeId::{HasComponent, Organizes};
        let asset = self.told(index).map_or("", |d| d.asset.as_str());
        all.push(from(Organizes, self.place_of(asset)));
        for part in [Part::Identification, Part::Health, Part::Command] {
            if self.has_part(index, part) {
                all.push(to(HasComponent, Node::Part(index, part)));
            }
        }
        if let Some(device) = self.registry.device(index) {
            let points = self.registry.points_of(device);
            all.extend(points.map(|p| to(HasComponent, Node::Point(p.id.0))));
            all.extend(self.alarms_in(device).iter().map(|(_, n)| to(HasComponent, Node::Alarm(*n))));
        }
        if self.has_alarms(index) {
            let server = Target::Standard(ObjectId::Server.into());
            all.push(Reference { kind: ReferenceTypeId::HasEventSource, forward: false, to: server });
        }
    }

    /// Points and numbers of a device's alarms.
    fn alarms_in(&self, device: &Device) -> &[(u32, usize)] {
        let start = self.alarms_of.partition_point(|(point, _)| *point < device.points.start);
        let end = self.alarms_of.partition_point(|(point, _)| *point < device.points.end);
        self.alarms_of.get(start..end).unwrap_or_default()
    }

    fn has_alarms(&self, index: usize) -> bool {
        self.registry.device(index).is_some_and(|d| !self.alarms_in(d).is_empty())
    }

    /// The node that holds a place: the one above its last part.
    fn place_of(&self, path: &str) -> Node {
        match path.rsplit_once('/') {
            Some((parent, _)) => Node::Area(parent.to_owned()),
            None => Node::Gateway,
        }
    }

    fn contents(&self, path: &str, all: &mut Vec<Reference>) {
        let Some(area) = self.areas.get(path) else { return };
        let organizes = |node| to(ReferenceTypeId::Organizes, node);
        all.extend(area.areas.iter().map(|a| organizes(Node::Area(a.clone()))));
        all.extend(area.devices.iter().map(|d| organizes(Node::Device(*d))));
    }

    /// The type of an object or variable.
    pub(crate) fn type_definition(&self, node: &Node) -> Option<Target> {
        let property = || Target::Standard(VariableTypeId::PropertyType.into());
        Some(match node {
            Node::Gateway | Node::Area(_) | Node::Part(_, Part::Identification | Part::Health) => {
                Target::Standard(ObjectTypeId::FolderType.into())
            }
            Node::Part(_, Part::Command) | Node::Type(_) => return None,
            Node::Switch => Target::Standard(VariableTypeId::TwoStateDiscreteType.into()),
            Node::Device(index) => Target::Own(Node::Type(*self.type_of.get(*index)?)),
            Node::Point(number) => {
                let schema = self.schema(*number)?;
                Target::Standard(Kind::of(schema).type_definition(schema))
            }
            Node::Member(number, member) => {
                let schema = &self.types.get(*number)?.members.get(*member)?.schema;
                Target::Standard(Kind::of(schema).type_definition(schema))
            }
            Node::Alarm(_) => Target::Standard(ObjectTypeId::AlarmConditionType.into()),
            Node::AlarmField(_, field) => match *ALARM_FIELDS.get(*field)? {
                "ShelvingState" => Target::Standard(ObjectTypeId::ShelvedStateMachineType.into()),
                "ShelvingState/CurrentState" => {
                    Target::Standard(VariableTypeId::FiniteStateVariableType.into())
                }
                path if Method::at(path).is_some() => return None,
                "EnabledState" | "ActiveState" | "AckedState" => {
                    Target::Standard(VariableTypeId::TwoStateVariableType.into())
                }
                "Comment" => Target::Standard(VariableTypeId::ConditionVariableType.into()),
                _ => property(),
            },
            Node::SwitchState(_)
            | Node::Version
            | Node::Part(..)
            | Node::Property(..)
            | Node::MemberProperty(..) => property(),
        })
    }
}

/// States, the comment and methods are components of a condition; the rest are properties.
fn field_reference(path: &str) -> ReferenceTypeId {
    match path {
        "EnabledState"
        | "ActiveState"
        | "AckedState"
        | "Comment"
        | "ShelvingState"
        | "ShelvingState/CurrentState" => ReferenceTypeId::HasComponent,
        path if Method::at(path).is_some() => ReferenceTypeId::HasComponent,
        _ => ReferenceTypeId::HasProperty,
    }
}
