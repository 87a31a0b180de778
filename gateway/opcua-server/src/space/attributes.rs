//! What a node says of itself, and the values of those that are no points.

use common::PointId;
use common::alarm::{AlarmView, Remark};
use common::api::{DeviceHealth, SwitchPosition};
use gateway_opcua::value::time;
use opcua::types::{
    AttributeId, DataTypeId, LocalizedText, NodeClass, NodeId, QualifiedName, UAString, Variant,
};

use super::kind::{self, READ};
use super::methods::argument;
use super::{ALARM_FIELDS, Method, Node, Part, Property, Space};
use crate::events;

/// What is known only while the gateway runs.
pub(crate) trait Live {
    fn switch(&self) -> SwitchPosition;
    fn health(&self, device: usize) -> Option<DeviceHealth>;
    fn alarm(&self, number: usize) -> Option<AlarmView>;
    /// What was said of an alarm last.
    fn said(&self, number: usize) -> Option<Remark>;
    /// UTC us.
    fn now_us(&self) -> i64;
    /// The label of a point's value now.
    fn value_as_text(&self, point: u32) -> Option<String>;
}

/// Attributes of a node besides its value.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) class: NodeClass,
    pub(crate) browse_name: QualifiedName,
    pub(crate) display_name: LocalizedText,
    pub(crate) description: String,
    /// Of a variable: type and rank of its value, and access.
    pub(crate) variable: Option<(NodeId, i32, u8)>,
    pub(crate) event_notifier: u8,
}

impl Space {
    pub(crate) fn attributes(&self, node: &Node) -> Option<Attributes> {
        let own = self.namespaces.own;
        let object = |class, name: &str, description: &str| Attributes {
            class,
            browse_name: QualifiedName::new(own, name.to_owned()),
            display_name: LocalizedText::new("", name),
            description: description.to_owned(),
            variable: None,
            event_notifier: 0,
        };
        let variable = |namespace: u16, name: &str, data_type: DataTypeId, rank: i32| Attributes {
            class: NodeClass::Variable,
            browse_name: QualifiedName::new(namespace, name.to_owned()),
            display_name: LocalizedText::new("", name),
            description: String::new(),
            variable: Some((data_type.into(), rank, READ)),
            event_notifier: 0,
        };
        let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        Some(match node {
            Node::Gateway => {
                object(NodeClass::Object, self.gateway.as_str(), "the gateway and what it reads")
            }
            Node::Switch => variable(own, "Switch", DataTypeId::Boolean, -1),
            Node::Version => variable(0, "NodeVersion", DataTypeId::String, -1),
            Node::SwitchState(p) => variable(0, p.name(), DataTypeId::LocalizedText, -1),
            Node::Area(path) => object(NodeClass::Object, &last(path), ""),
            Node::Device(index) => {
                let told = self.told(*index)?;
                let made = object(NodeClass::Object, &last(&told.asset), &told.description);
                Attributes { event_notifier: 1, ..made }
            }
            Node::Part(_, part) => {
                let namespace = if part.is_of_di() { self.namespaces.di } else { own };
                match part {
                    Part::Identification | Part::Health => {
                        let made = object(NodeClass::Object, part.name(), "");
                        Attributes {
                            browse_name: QualifiedName::new(namespace, part.name().to_owned()),
                            ..made
                        }
                    }
                    Part::Command => object(
                        NodeClass::Method,
                        part.name(),
                        "writes a point through the gateway's command path, and tells what became of it",
                    ),
                    Part::CommandInputs | Part::CommandOutputs => {
                        variable(0, part.name(), DataTypeId::Argument, 1)
                    }
                    Part::ComponentName | Part::Manufacturer | Part::Model => {
                        variable(namespace, part.name(), DataTypeId::LocalizedText, -1)
                    }
                    Part::DeviceHealth => variable(namespace, part.name(), DataTypeId::Int32, -1),
                    Part::Connected => variable(namespace, part.name(), DataTypeId::Boolean, -1),
                    Part::Since => variable(namespace, part.name(), DataTypeId::UtcTime, -1),
                    Part::GoodCount | Part::BadCount => {
                        variable(namespace, part.name(), DataTypeId::UInt64, -1)
                    }
                    _ => variable(namespace, part.name(), DataTypeId::String, -1),
                }
            }
            Node::Point(number) => self.of_point(self.schema(*number)?),
            Node::Member(number, member) => {
                self.of_point(&self.types.get(*number)?.members.get(*member)?.schema)
            }
            Node::Property(_, p) | Node::MemberProperty(_, _, p) => {
                let (data_type, rank) = kind::property_type(*p);
                variable(0, p.name(), data_type, rank)
            }
            Node::Type(number) => {
                object(NodeClass::ObjectType, &self.types.get(*number)?.browse_name, "a type of devices")
            }
            Node::Alarm(number) => object(NodeClass::Object, &self.alarms.get(*number)?.name, ""),
            Node::AlarmField(_, field) => {
                let path = ALARM_FIELDS.get(*field)?;
                let name = last(path);
                let standard = |class| Attributes {
                    browse_name: QualifiedName::new(0, name.clone()),
                    ..object(class, &name, "")
                };
                match name.as_str() {
                    _ if Method::at(path).is_some() => standard(NodeClass::Method),
                    "ShelvingState" => standard(NodeClass::Object),
                    "InputArguments" => variable(0, &name, DataTypeId::Argument, 1),
                    "Id" if *path == "ShelvingState/CurrentState/Id" => {
                        variable(0, &name, DataTypeId::NodeId, -1)
                    }
                    "SuppressedOrShelved" => variable(0, &name, DataTypeId::Boolean, -1),
                    "MaxTimeShelved" | "UnshelveTime" => variable(0, &name, DataTypeId::Duration, -1),
                    "Id" | "Retain" => variable(0, &name, DataTypeId::Boolean, -1),
                    "Severity" => variable(0, &name, DataTypeId::UInt16, -1),
                    "Time" => variable(0, &name, DataTypeId::UtcTime, -1),
                    "EventId" => variable(0, &name, DataTypeId::ByteString, -1),
                    "EventType" | "SourceNode" => variable(0, &name, DataTypeId::NodeId, -1),
                    "ConditionName" | "SourceName" | "ClientUserId" => {
                        variable(0, &name, DataTypeId::String, -1)
                    }
                    _ => variable(0, &name, DataTypeId::LocalizedText, -1),
                }
            }
        })
    }

    fn of_point(&self, schema: &common::PointSchema) -> Attributes {
        Attributes {
            class: NodeClass::Variable,
            browse_name: QualifiedName::new(self.namespaces.own, &*schema.name),
            display_name: LocalizedText::new("", &schema.name),
            description: schema.description.clone(),
            variable: Some((kind::data_type(schema.value_type).into(), -1, kind::access_level(schema))),
            event_notifier: 0,
        }
    }

    /// An attribute that is not the value. `access` is what the caller may do with the variable.
    pub(crate) fn attribute(&self, node: &Node, attribute: AttributeId, may_write: bool) -> Option<Variant> {
        let of = self.attributes(node)?;
        let user = |level: u8| if may_write { level } else { level & !kind::WRITE };
        let callable = match node {
            Node::AlarmField(_, field) => {
                ALARM_FIELDS.get(*field).and_then(|path| Method::at(path)).is_none_or(|m| m.is_callable)
            }
            _ => true,
        };
        Some(match (attribute, &of.variable) {
            (AttributeId::NodeId, _) => Variant::from(self.id(node)),
            (AttributeId::NodeClass, _) => Variant::from(of.class as i32),
            (AttributeId::BrowseName, _) => Variant::from(of.browse_name),
            (AttributeId::DisplayName, _) => Variant::from(of.display_name),
            (AttributeId::Description, _) => Variant::from(LocalizedText::new("", &of.description)),
            (AttributeId::WriteMask | AttributeId::UserWriteMask, _) => Variant::from(0u32),
            (AttributeId::DataType, Some((data_type, ..))) => Variant::from(data_type.clone()),
            (AttributeId::ValueRank, Some((_, rank, _))) => Variant::from(*rank),
            (AttributeId::ArrayDimensions, Some((_, 1, _))) => Variant::from(vec![0u32]),
            (AttributeId::AccessLevel, Some((.., level))) => Variant::from(*level),
            (AttributeId::UserAccessLevel, Some((.., level))) => Variant::from(user(*level)),
            (AttributeId::AccessLevelEx, Some((.., level))) => Variant::from(u32::from(*level)),
            (AttributeId::MinimumSamplingInterval, Some(_)) => Variant::from(0f64),
            (AttributeId::Historizing, Some((.., level))) => Variant::from(level & kind::HISTORY_READ != 0),
            (AttributeId::EventNotifier, None) if of.class == NodeClass::Object => {
                Variant::from(of.event_notifier)
            }
            (AttributeId::IsAbstract, None) if of.class == NodeClass::ObjectType => Variant::from(false),
            (AttributeId::Executable, None) if of.class == NodeClass::Method => Variant::from(callable),
            (AttributeId::UserExecutable, None) if of.class == NodeClass::Method => {
                Variant::from(callable && may_write)
            }
            _ => return None,
        })
    }

    /// The value of a variable that is no point. None: it has none now.
    pub(crate) fn value(&self, node: &Node, live: &dyn Live) -> Option<Variant> {
        let text = |t: &str| Variant::from(LocalizedText::new("", t));
        let string = |s: &str| Variant::String(UAString::from(s));
        Some(match node {
            Node::Switch => Variant::Boolean(live.switch() == SwitchPosition::Remote),
            Node::SwitchState(Property::TrueState) => text("remote"),
            Node::SwitchState(_) => text("local"),
            Node::Version => string(&self.registry.generation().to_string()),
            Node::Property(number, Property::ValueAsText) => text(&live.value_as_text(*number)?),
            Node::Property(number, p) => kind::property(self.schema(*number)?, *p, &self.uri)?,
            Node::MemberProperty(number, member, p) => {
                let schema = &self.types.get(*number)?.members.get(*member)?.schema;
                match p {
                    Property::ValueAsText => text(""),
                    p => kind::property(schema, *p, &self.uri)?,
                }
            }
            Node::Part(index, part) => self.part_value(*index, *part, live)?,
            Node::AlarmField(number, field) => {
                let path = *ALARM_FIELDS.get(*field)?;
                if let Some(inputs) = Method::inputs_at(path) {
                    return Some(Variant::from(inputs));
                }
                let alarm = self.alarms.get(*number)?;
                let source = self.id(&Node::Point(alarm.point));
                let (view, said) = (live.alarm(*number)?, live.said(*number)?);
                let fields = events::alarm(&view, &said, NodeId::null(), source, live.now_us());
                match fields.field(path) {
                    Variant::Empty => return None,
                    value => value,
                }
            }
            _ => return None,
        })
    }

    /// What identifies a device, which is the same as long as its configuration is.
    pub(super) fn identification(&self, index: usize, part: Part) -> Option<Variant> {
        let string = |s: &str| Variant::String(UAString::from(s));
        let text = |s: &str| Variant::from(LocalizedText::new("", s));
        let told = self.told(index)?;
        Some(match part {
            Part::AssetId => string(&told.asset),
            Part::ComponentName => text(&told.name),
            Part::DeviceClass => string(self.registry.device(index)?.protocol),
            Part::Twin => string(&told.twin.to_string()),
            Part::Manufacturer | Part::Model => text(self.nameplate(index, part)?),
            part => string(self.nameplate(index, part)?),
        })
    }

    fn part_value(&self, index: usize, part: Part, live: &dyn Live) -> Option<Variant> {
        let string = |s: &str| Variant::String(UAString::from(s));
        Some(match part {
            Part::DeviceHealth => Variant::Int32(i32::from(!live.health(index)?.connected)),
            Part::Connected => Variant::Boolean(live.health(index)?.connected),
            Part::Since => Variant::from(time(live.health(index)?.since_us)),
            Part::LastError => string(&live.health(index)?.last_error.unwrap_or_default()),
            Part::GoodCount => Variant::UInt64(live.health(index)?.good),
            Part::BadCount => Variant::UInt64(live.health(index)?.bad),
            Part::CommandInputs => Variant::from(vec![
                argument("Point", DataTypeId::String, "name of the device's point"),
                argument("Value", DataTypeId::BaseDataType, "of the point's type"),
                argument("Reason", DataTypeId::String, "for the audit"),
            ]),
            Part::CommandOutputs => Variant::from(vec![
                argument("Command", DataTypeId::String, "its identity in the audit"),
                argument("State", DataTypeId::String, "succeeded, rejected, failed, expired or unknown"),
                argument("Code", DataTypeId::String, "why it did not succeed, stable"),
                argument("Detail", DataTypeId::String, "the same for people"),
            ]),
            part => return self.identification(index, part),
        })
    }

    /// Where an alarm's event comes from: the device, and the point.
    pub(crate) fn source_of(&self, alarm: usize) -> Option<(NodeId, NodeId)> {
        let found = self.alarms.get(alarm)?;
        let point = self.registry.point(PointId(found.point))?;
        Some((self.id(&Node::Device(point.device)), self.id(&Node::Point(found.point))))
    }
}
