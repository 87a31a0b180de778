//! Events: changes of alarms as conditions (part 9), and changes of the model (part 5, 9.33). An event is its fields by
//! their path; what a client selects is looked up there, whatever type it names.

use std::collections::BTreeMap;

use common::alarm::{AlarmState, AlarmView, LONGEST_SHELF_MS, Priority, Remark};
use gateway_opcua::value::time;
use opcua::nodes::{Event, EventField};
use opcua::types::{
    AttributeId, ByteString, DateTime, LocalizedText, ModelChangeStructureDataType, NodeId, NumericRange,
    ObjectId, ObjectTypeId, QualifiedName, StatusCode, UAString, Variant,
};

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    event_type: NodeId,
    time: DateTime,
    /// The condition's own id; null if it is none.
    condition: NodeId,
    fields: BTreeMap<&'static str, Variant>,
}

impl Told {
    pub(crate) fn field(&self, path: &str) -> Variant {
        self.fields.get(path).cloned().unwrap_or_default()
    }
}

impl EventField for Told {
    fn get_value(&self, attribute: AttributeId, _: &NumericRange, path: &[QualifiedName]) -> Variant {
        match (attribute, path) {
            (AttributeId::NodeId, []) if !self.condition.is_null() => Variant::from(self.condition.clone()),
            (AttributeId::Value, [name]) if name.namespace_index == 0 => self.field(name.name.as_ref()),
            (AttributeId::Value, path) => {
                let names: Vec<&str> = path.iter().map(|n| n.name.as_ref()).collect();
                self.field(&names.join("/"))
            }
            _ => Variant::Empty,
        }
    }
}

impl Event for Told {
    fn get_field(
        &self,
        _: &NodeId,
        attribute: AttributeId,
        range: &NumericRange,
        path: &[QualifiedName],
    ) -> Variant {
        self.get_value(attribute, range, path)
    }

    fn time(&self) -> &DateTime {
        &self.time
    }

    fn event_type_id(&self) -> &NodeId {
        &self.event_type
    }
}

/// The id of an alarm's occurrence as it is told: what acknowledges it must name it.
pub(crate) fn event_id(view: &AlarmView) -> ByteString {
    let mut id = view.id.0.as_bytes().to_vec();
    id.extend(view.raised_us.unwrap_or_default().to_be_bytes());
    id.extend(view.at_us.to_be_bytes());
    ByteString::from(id)
}

/// Alarm and occurrence of an event id; none if it is none of ours.
pub(crate) fn occurrence(id: &ByteString) -> Option<(common::AlarmId, i64)> {
    let bytes = id.value.as_deref()?;
    let uuid: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
    let raised: [u8; 8] = bytes.get(16..24)?.try_into().ok()?;
    if bytes.len() != 32 {
        return None;
    }
    Some((common::AlarmId(uuid::Uuid::from_bytes(uuid)), i64::from_be_bytes(raised)))
}

/// An alarm's change, or the alarm as it is. What was said of it last stays where the change has no words of its own.
pub(crate) fn alarm(view: &AlarmView, said: &Remark, condition: NodeId, source: NodeId, now_us: i64) -> Told {
    let is_of_before = view.comment.is_empty() && !said.actor.is_empty();
    let (comment, commenter) =
        if is_of_before { (&said.text, &said.actor) } else { (&view.comment, &view.actor) };
    let event_type: NodeId = ObjectTypeId::AlarmConditionType.into();
    let text = |t: &str| Variant::from(LocalizedText::new("", t));
    let string = |s: &str| Variant::String(UAString::from(s));
    let two_states = |on: bool, yes: &str, no: &str| text(if on { yes } else { no });
    let (active, unacknowledged) = (view.state.is_active(), view.state.is_unacknowledged());
    let enabled = view.state != AlarmState::OutOfService;
    let shelved = view.shelved_until_us.is_some();
    let (shelf, shelf_id) = match (shelved, view.shelved_once) {
        (false, _) => ("Unshelved", ObjectId::ShelvedStateMachineType_Unshelved),
        (true, false) => ("TimedShelved", ObjectId::ShelvedStateMachineType_TimedShelved),
        (true, true) => ("OneShotShelved", ObjectId::ShelvedStateMachineType_OneShotShelved),
    };
    let left_ms = view.shelved_until_us.map_or(0.0, |until| (until - now_us).max(0) as f64 / 1000.0);
    let message = if view.text.is_empty() { &view.name } else { &view.text };
    let at = time(view.at_us);
    let severity: u16 = match view.priority {
        Priority::Low => 200,
        Priority::Medium => 500,
        Priority::High => 700,
        Priority::Urgent => 900,
    };
    let fields = BTreeMap::from([
        ("EventId", Variant::ByteString(event_id(view))),
        ("EventType", Variant::from(event_type.clone())),
        ("SourceNode", Variant::from(source.clone())),
        ("SourceName", string(&format!("{}/{}", view.asset, view.point))),
        ("Time", Variant::from(at)),
        ("ReceiveTime", Variant::from(at)),
        ("Message", text(message)),
        ("Severity", Variant::UInt16(severity)),
        ("LastSeverity", Variant::UInt16(severity)),
        ("ConditionClassId", Variant::from(NodeId::from(ObjectTypeId::ProcessConditionClassType))),
        ("ConditionClassName", text("ProcessConditionClassType")),
        ("ConditionName", string(&view.name)),
        ("BranchId", Variant::from(NodeId::null())),
        ("Retain", Variant::Boolean(enabled && (active || unacknowledged))),
        ("EnabledState", two_states(enabled, "Enabled", "Disabled")),
        ("EnabledState/Id", Variant::Boolean(enabled)),
        ("ActiveState", two_states(active, "Active", "Inactive")),
        ("ActiveState/Id", Variant::Boolean(active)),
        ("AckedState", two_states(!unacknowledged, "Acknowledged", "Unacknowledged")),
        ("AckedState/Id", Variant::Boolean(!unacknowledged)),
        ("SuppressedOrShelved", Variant::Boolean(shelved)),
        ("MaxTimeShelved", Variant::Double(LONGEST_SHELF_MS as f64)),
        ("ShelvingState/CurrentState", text(shelf)),
        ("ShelvingState/CurrentState/Id", Variant::from(NodeId::from(shelf_id))),
        ("ShelvingState/UnshelveTime", Variant::Double(left_ms)),
        ("Quality", Variant::StatusCode(gateway_opcua::status::status(view.quality))),
        ("Comment", text(comment)),
        // Of the comment (part 9, 5.5.2), if there is one.
        ("ClientUserId", string(commenter)),
        ("InputNode", Variant::from(source)),
    ]);
    Told { event_type, time: at, condition, fields }
}

/// Start and end of a refresh, which carry nothing of their own.
pub(crate) fn refresh(starts: bool, id: ByteString, server: NodeId, now: DateTime) -> Told {
    let event_type: NodeId =
        if starts { ObjectTypeId::RefreshStartEventType } else { ObjectTypeId::RefreshEndEventType }.into();
    plain(event_type, id, server, if starts { "refresh starts" } else { "refresh ends" }, now, None)
}

/// The model has changed. Verbs (part 5, 9.33.7): 1 a node came, 2 one went, 16 a data type changed.
pub(crate) fn model_change(
    id: ByteString,
    changes: Vec<ModelChangeStructureDataType>,
    server: NodeId,
    now: DateTime,
) -> Told {
    let changes = ("Changes", Variant::from(changes));
    plain(
        ObjectTypeId::GeneralModelChangeEventType.into(),
        id,
        server,
        "the configuration changed",
        now,
        Some(changes),
    )
}

fn plain(
    event_type: NodeId,
    id: ByteString,
    source: NodeId,
    message: &str,
    now: DateTime,
    more: Option<(&'static str, Variant)>,
) -> Told {
    let mut fields = BTreeMap::from([
        ("EventId", Variant::ByteString(id)),
        ("EventType", Variant::from(event_type.clone())),
        ("SourceNode", Variant::from(source)),
        ("SourceName", Variant::String(UAString::from("Server"))),
        ("Time", Variant::from(now)),
        ("ReceiveTime", Variant::from(now)),
        ("Message", Variant::from(LocalizedText::new("", message))),
        ("Severity", Variant::UInt16(100)),
        ("Status", Variant::StatusCode(StatusCode::Good)),
    ]);
    fields.extend(more);
    Told { event_type, time: now, condition: NodeId::null(), fields }
}
