//! What a device or point whose own keys could not be read lacks besides them, so that one look tells all that is
//! missing. Where the keys can be read, `points` says the same.

use common::config::Node;

pub(super) const NO_PROTOCOL: &str = "has no protocol: expected [device.modbus], [device.mqtt], [device.opcua], [device.sparkplug] or [device.virtual]";
pub(super) const NO_MODBUS: &str =
    "expected `modbus = { ... }` and no other protocol: its device speaks Modbus";
pub(super) const NO_MQTT: &str = "expected `mqtt = { ... }` and no other protocol: its device speaks MQTT";
pub(super) const NO_FORMULA: &str =
    "expected `virtual = { expr = \"...\" }` and no protocol: its device is virtual";
pub(super) const NO_LIMIT: &str = "missing: a writable point needs its limits";

const PROTOCOLS: [&str; 5] = ["modbus", "mqtt", "opcua", "sparkplug", "virtual"];

/// Of a device: key and message.
pub(super) fn device(device: &Node<'_>) -> Option<(&'static str, &'static str)> {
    let named = PROTOCOLS.iter().any(|p| device.find(p).is_some());
    (device.table().is_some() && !named).then_some(("", NO_PROTOCOL))
}

/// Of a point of a device: keys and messages.
pub(super) fn point(device: &Node<'_>, point: &Node<'_>) -> Vec<(&'static str, &'static str)> {
    let mut lacks = Vec::new();
    if point.table().is_none() {
        return lacks;
    }
    for (protocol, message) in [("modbus", NO_MODBUS), ("mqtt", NO_MQTT), ("virtual", NO_FORMULA)] {
        if device.find(protocol).is_some() && point.find(protocol).is_none() {
            lacks.push(("", message));
        }
    }
    let text = |key: &str| point.find(key).and_then(Node::text);
    // Without a type it may be a bool, which needs no limits.
    let bounded = matches!(text("type"), Some("i64" | "u64" | "f64"));
    if bounded && matches!(text("access"), Some("write" | "read_write")) {
        lacks.extend(
            ["write_min", "write_max"].into_iter().filter(|k| point.find(k).is_none()).map(|k| (k, NO_LIMIT)),
        );
    }
    lacks
}
