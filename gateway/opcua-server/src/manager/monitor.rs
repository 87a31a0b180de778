//! Monitored items: what is watched is noted, and gets its value of now at once.

use opcua::server::CreateMonitoredItem;
use opcua::server::node_manager::{MonitoredItemUpdateRef, RequestContext};
use opcua::types::{AttributeId, MonitoringMode, StatusCode, TimestampsToReturn};

use super::{Shared, read, standard_method};
use crate::auth::Caller;
use crate::space::{Node, READ, access_level};
use crate::watch::Item;

/// As good as no interval, ms: with one of its own the crate below would bend source times.
const EVERY_CHANGE_MS: f64 = 0.0001;

pub(super) fn create(shared: &Shared, context: &RequestContext, items: &mut [&mut CreateMonitoredItem]) {
    let space = shared.space();
    for item in items {
        let what = item.item_to_monitor();
        let Some(node) = space.find(&what.node_id) else {
            if standard_method(&what.node_id).is_none() {
                item.set_status(StatusCode::BadNodeIdUnknown);
            }
            continue;
        };
        match what.attribute_id {
            AttributeId::Value => {
                let readable = match &node {
                    Node::Point(n) => space.schema(*n).is_some_and(|s| access_level(s) & READ != 0),
                    other => space.attributes(other).is_some_and(|a| a.variable.is_some()),
                };
                if !readable {
                    let is_variable = matches!(node, Node::Point(_));
                    let no = if is_variable {
                        StatusCode::BadNotReadable
                    } else {
                        StatusCode::BadAttributeIdInvalid
                    };
                    item.set_status(no);
                    continue;
                }
                if shared.watches.count() >= shared.options.limits.items_total {
                    item.set_status(StatusCode::BadTooManyMonitoredItems);
                    continue;
                }
                let (id, handle) = (what.node_id.clone(), item.handle());
                // Its name is not given out; what it shows is.
                let plain = format!("{:?}", item.filter()) == "None";
                let kept = Item { plain, stamped: item.sampling_interval() >= 0.0 };
                let first = if let Node::Point(number) = node {
                    let enabled = item.monitoring_mode() != MonitoringMode::Disabled;
                    let now = || shared.judged(&space, number);
                    let first = shared.watches.add_point((number, &id), handle, kept, enabled, now);
                    read::of_sample(first, shared.now())
                } else {
                    shared.watches.add_other(&id, handle, kept);
                    read::current(shared, &space, &node)
                };
                item.revise_sampling_interval(EVERY_CHANGE_MS);
                item.set_initial_value(first);
                item.set_status(StatusCode::Good);
            }
            AttributeId::EventNotifier => {
                let tells = space.attributes(&node).is_some_and(|a| a.event_notifier != 0);
                item.set_status(if tells { StatusCode::Good } else { StatusCode::BadAttributeIdInvalid });
            }
            _ => {
                let may_write = Caller::of(&context.token).may_command();
                let status = match space.attribute(&node, what.attribute_id, may_write) {
                    Some(_) => {
                        let first = read::value(shared, &space, context, what, TimestampsToReturn::Both);
                        item.set_initial_value(first);
                        StatusCode::Good
                    }
                    None => StatusCode::BadAttributeIdInvalid,
                };
                item.set_status(status);
            }
        }
    }
}

pub(super) fn modify(shared: &Shared, items: &[&MonitoredItemUpdateRef]) {
    let space = shared.space();
    for item in items {
        // Its filter is not told. An interval that was asked for anew is the crate's own.
        let changed = Item { plain: true, stamped: item.update().revised_sampling_interval == 0.0 };
        shared.watches.change(&space, item.node_id(), item.handle(), Some(changed));
    }
}
