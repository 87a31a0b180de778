//! Read: values of points as they are now, judged by age; attributes from the space.

use opcua::server::node_manager::{ParsedReadValueId, RequestContext};
use opcua::types::{
    AttributeId, DataEncoding, DataValue, DateTime, LocalizedText, NodeClass, QualifiedName, StatusCode,
    TimestampsToReturn, Variant,
};

use super::{Shared, standard_method};
use crate::auth::Caller;
use crate::space::{Method, Node, READ, Space, access_level};
use crate::watch::data_value;

fn refused(now: DateTime, status: StatusCode) -> DataValue {
    DataValue { status: Some(status), server_timestamp: Some(now), ..DataValue::null() }
}

/// What a client gets to read.
pub(super) fn value(
    shared: &Shared,
    space: &Space,
    context: &RequestContext,
    what: &ParsedReadValueId,
    timestamps: TimestampsToReturn,
) -> DataValue {
    let now = shared.now();
    let refused = |status| refused(now, status);
    if let Some(name) = standard_method(&what.node_id) {
        return of_method(context, name, what, now);
    }
    let Some(node) = space.find(&what.node_id) else { return refused(StatusCode::BadNodeIdUnknown) };
    if what.attribute_id != AttributeId::Value {
        if what.index_range.has_range() {
            return refused(StatusCode::BadIndexRangeDataMismatch);
        }
        let may_write = Caller::of(&context.token).may_command();
        return match space.attribute(&node, what.attribute_id, may_write) {
            Some(value) => DataValue { value: Some(value), ..DataValue::null() },
            None => refused(StatusCode::BadAttributeIdInvalid),
        };
    }
    if !matches!(what.data_encoding, DataEncoding::Binary) {
        return refused(StatusCode::BadDataEncodingInvalid);
    }
    let mut data = current(shared, space, &node);
    if what.index_range.has_range()
        && let Some(whole) = data.value.take()
    {
        match whole.range_of(&what.index_range) {
            Ok(part) => data.value = Some(part),
            Err(status) => return refused(status),
        }
    }
    stamp(data, timestamps)
}

/// The value of a variable now, with both times.
pub(super) fn current(shared: &Shared, space: &Space, node: &Node) -> DataValue {
    let now = shared.now();
    match node {
        Node::Point(number) => {
            let readable = space.schema(*number).is_some_and(|s| access_level(s) & READ != 0);
            of_sample(shared.judged(space, *number).filter(|_| readable), now)
        }
        node => match space.attributes(node).and_then(|a| a.variable) {
            None => refused(now, StatusCode::BadAttributeIdInvalid),
            Some(_) => DataValue {
                value: space.value(node, &shared.live(space)),
                source_timestamp: Some(now),
                server_timestamp: Some(now),
                ..DataValue::null()
            },
        },
    }
}

/// A point's sample; none if it cannot be read.
pub(super) fn of_sample(sample: Option<common::Sample>, now: DateTime) -> DataValue {
    let Some(sample) = sample else { return refused(now, StatusCode::BadNotReadable) };
    let data = data_value(&sample, sample.value.as_ref(), false);
    DataValue { server_timestamp: data.server_timestamp.or(Some(now)), ..data }
}

fn stamp(data: DataValue, timestamps: TimestampsToReturn) -> DataValue {
    let source = matches!(timestamps, TimestampsToReturn::Source | TimestampsToReturn::Both);
    let server = matches!(timestamps, TimestampsToReturn::Server | TimestampsToReturn::Both);
    DataValue {
        source_timestamp: data.source_timestamp.filter(|_| source),
        server_timestamp: data.server_timestamp.filter(|_| server),
        ..data
    }
}

/// Attributes of the standard's methods that this manager answers for.
fn of_method(context: &RequestContext, name: &str, what: &ParsedReadValueId, now: DateTime) -> DataValue {
    let is_callable = Method::of_type(&what.node_id).is_none_or(|m| m.is_callable);
    let value = match what.attribute_id {
        AttributeId::NodeId => Variant::from(what.node_id.clone()),
        AttributeId::NodeClass => Variant::from(NodeClass::Method as i32),
        AttributeId::BrowseName => Variant::from(QualifiedName::new(0, name.to_owned())),
        AttributeId::DisplayName => Variant::from(LocalizedText::new("", name)),
        AttributeId::Description => Variant::from(LocalizedText::null()),
        AttributeId::WriteMask | AttributeId::UserWriteMask => Variant::from(0u32),
        AttributeId::Executable => Variant::from(is_callable),
        AttributeId::UserExecutable => Variant::from(is_callable && Caller::of(&context.token).may_command()),
        _ => return refused(now, StatusCode::BadAttributeIdInvalid),
    };
    DataValue { value: Some(value), ..DataValue::null() }
}
