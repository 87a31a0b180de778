//! Events and alarms (A&C) of a server, as entries of the gateway's log. An alarm's steps are events like any other
//! here: the box's own alarms are judged on points.

use common::command::{LogEntry, Severity};
use common::names::action;
use gateway_opcua::value;
use opcua::client::services::CreateMonitoredItems;
use opcua::client::{Session, UARequest};
use opcua::types::{
    AttributeId, CallMethodRequest, Error, EventFilter, ExtensionObject, MethodId,
    MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NodeId, ObjectTypeId, QualifiedName,
    ReadValueId, SimpleAttributeOperand, StatusCode, TimestampsToReturn, Variant,
};

/// Events that the server keeps until they are sent.
const QUEUE: u32 = 1000;
/// Longest text of an event that is kept.
const LONGEST: usize = 500;

/// Fields that are asked for, with the type that declares each. A server leaves those empty that an event has not.
const FIELDS: [(ObjectTypeId, &[&str]); 8] = [
    (ObjectTypeId::BaseEventType, &["SourceName"]),
    (ObjectTypeId::BaseEventType, &["Time"]),
    (ObjectTypeId::BaseEventType, &["Severity"]),
    (ObjectTypeId::BaseEventType, &["Message"]),
    (ObjectTypeId::ConditionType, &["ConditionName"]),
    (ObjectTypeId::AlarmConditionType, &["ActiveState", "Id"]),
    (ObjectTypeId::AcknowledgeableConditionType, &["AckedState", "Id"]),
    (ObjectTypeId::ConditionType, &["Retain"]),
];

/// Asks for the events of nodes in a subscription. Returns what the server said to those that it refused.
pub(super) async fn fill(
    session: &Session,
    subscription: u32,
    nodes: &[NodeId],
) -> Result<Vec<(NodeId, StatusCode)>, Error> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let requests = nodes.iter().map(request).collect();
    let made = CreateMonitoredItems::new(subscription, session)
        .timestamps_to_return(TimestampsToReturn::Both)
        .items_to_create(requests)
        .send(session.channel())
        .await?;
    let results = made.results.iter().map(|r| r.result.status_code);
    let refused = nodes.iter().cloned().zip(results).filter(|(_, s)| s.is_bad()).collect();
    // What is active now is told anew, where the server has alarms.
    let refresh = CallMethodRequest {
        object_id: ObjectTypeId::ConditionType.into(),
        method_id: MethodId::ConditionType_ConditionRefresh.into(),
        input_arguments: Some(vec![Variant::UInt32(subscription)]),
    };
    if let Err(error) = session.call_one(refresh).await {
        tracing::debug!(%error, "no refresh of conditions");
    }
    Ok(refused)
}

fn request(node: &NodeId) -> MonitoredItemCreateRequest {
    let clause = |(declared, path): &(ObjectTypeId, &[&str])| SimpleAttributeOperand {
        type_definition_id: (*declared).into(),
        browse_path: Some(path.iter().map(|p| QualifiedName::from(*p)).collect()),
        attribute_id: AttributeId::Value as u32,
        ..SimpleAttributeOperand::default()
    };
    let filter =
        EventFilter { select_clauses: Some(FIELDS.iter().map(clause).collect()), ..EventFilter::default() };
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::new(node.clone(), AttributeId::EventNotifier),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            // No point has it: the fields say where an event comes from.
            client_handle: u32::MAX,
            sampling_interval: 0.0,
            filter: ExtensionObject::from_message(filter),
            queue_size: QUEUE,
            discard_oldest: true,
        },
    }
}

/// An event as an entry of the log. Pure.
pub(super) fn entry(device: &str, fields: &[Variant], now_us: i64) -> LogEntry {
    let text = |at: usize| match fields.get(at) {
        Some(Variant::String(s)) => s.as_ref().to_owned(),
        Some(Variant::LocalizedText(t)) => t.text.as_ref().to_owned(),
        _ => String::new(),
    };
    let truth = |at: usize| if let Some(Variant::Boolean(b)) = fields.get(at) { Some(*b) } else { None };
    let at_us = match fields.get(1) {
        Some(Variant::DateTime(t)) => crate::mqtt::believed(value::micros(t), now_us),
        _ => None,
    };
    let severity = match fields.get(2) {
        Some(Variant::UInt16(n)) => *n,
        _ => 0,
    };
    let mut detail = text(3);
    let condition = text(4);
    if !condition.is_empty() {
        let state = match (truth(5), truth(6)) {
            (Some(true), Some(true)) => "active, acknowledged",
            (Some(true), _) => "active",
            (Some(false), Some(false)) => "no longer active, not acknowledged",
            (Some(false), _) => "no longer active",
            (None, _) => "changed",
        };
        detail = format!("{condition} {state}: {detail}");
    }
    let source = text(0);
    LogEntry {
        at_us: at_us.unwrap_or(now_us),
        actor: format!("opcua:{device}"),
        action: action::OPCUA_EVENT.to_owned(),
        target: if source.is_empty() { device.to_owned() } else { format!("{device}/{source}") },
        twin: None,
        // Part 5, 6.4.2: 1 is the least urgent, 1000 the most.
        severity: match severity {
            0..=333 => Severity::Info,
            334..=666 => Severity::Warning,
            _ => Severity::Alarm,
        },
        code: None,
        detail: detail.chars().take(LONGEST).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_says_what_state_it_is_in() {
        let now_us = 1_800_000_000_000_000;
        let text = |t: &str| Variant::String(t.into());
        let time = Variant::DateTime(Box::new(value::time(now_us - 5)));
        let fields = [
            text("Oven"),
            time,
            Variant::UInt16(700),
            text("too hot"),
            text("HighTemp"),
            Variant::Boolean(true),
            Variant::Boolean(false),
            Variant::Boolean(true),
        ];
        let told = entry("press", &fields, now_us);
        assert_eq!((told.target.as_str(), told.severity), ("press/Oven", Severity::Alarm));
        assert_eq!((told.detail.as_str(), told.at_us), ("HighTemp active: too hot", now_us - 5));
        let bare = entry("press", &[], now_us);
        assert_eq!((bare.target.as_str(), bare.severity, bare.at_us), ("press", Severity::Info, now_us));
    }
}
