//! Points of OPC UA servers: how they are bound, and that no two write the same node.

use std::collections::HashMap;

use common::config::Mistake;
use gateway_core::RawRange;

use super::files::Files;
use super::sections::{DeviceSection, PointSection};

/// How a point of an OPC UA server is bound: what it can hold, how long its value counts as current, and whether it
/// can be written. None if it has nothing to do with OPC UA.
#[allow(clippy::type_complexity)] // as the caller's own
pub(super) fn binding(
    d: &DeviceSection,
    p: &PointSection,
) -> Option<Result<(RawRange, u64, bool), (String, String)>> {
    let is_other = p.modbus.is_some() || p.mqtt.is_some() || p.sparkplug.is_some();
    Some(match (&d.opcua, &p.opcua) {
        (None, None) => return None,
        (Some(_), Some(o)) if !is_other => match o.check() {
            Err((key, message)) => Err((format!("opcua.{key}"), message)),
            Ok(()) if o.method.is_some() && p.access != common::Access::Write => {
                Err(("access".to_owned(), "a method is called and never read: expected `write`".to_owned()))
            }
            Ok(()) => Ok((o.raw_range(p.value_type), o.stale_ms(), o.is_writable())),
        },
        (Some(_), _) => {
            let message =
                "expected `opcua = { node = \"...\" }` and no other protocol: its device speaks OPC UA";
            Err((String::new(), message.to_owned()))
        }
        (None, Some(_)) => {
            let message = "`opcua` goes with a device of [device.opcua], and with no other protocol";
            Err(("opcua".to_owned(), message.to_owned()))
        }
    })
}

/// Two points that write the same node would each go round the other's limits, interlock and owner.
pub(super) fn overlaps(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    let mut taken: HashMap<(&str, String), String> = HashMap::new();
    for located in &files.devices {
        let d = &located.device;
        let Some(server) = &d.opcua else { continue };
        for (at, p) in d.point.iter().enumerate().filter(|(_, p)| p.access.is_writable()) {
            let Some(o) = p.opcua.as_ref().filter(|o| o.method.is_none()) else { continue };
            let index = o.index.as_ref().map(|i| format!("{:?}", i.as_slice())).unwrap_or_default();
            let place = (server.url.as_str(), format!("{}{index}", o.node));
            let own = format!("{}/{}", d.name, p.name);
            if let Some(other) = taken.insert(place, own) {
                let message = format!("`{other}` writes the same node: one of them must be `read`");
                mistakes.push(files.device_mistake(located, &format!("point[{at}].opcua.node"), message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::config::Source;

    use crate::config::Config;

    fn load(device: &str, point: &str) -> Result<Config, String> {
        let text = format!(
            "[gateway]\nid = \"g\"\n[[device]]\nname = \"d\"\nasset = \"s/d\"\n[device.opcua]\n{device}\n\
             [[device.point]]\nname = \"a\"\ntype = \"f64\"\n{point}\n"
        );
        Config::from_sources(vec![Source { path: "0.toml".into(), text }]).map_err(|e| e.to_string())
    }

    #[test]
    fn mistakes_are_told_at_their_place() {
        let url = "url = \"opc.tcp://h:4840\"";
        for (device, point, expected) in [
            ("url = \"http://h\"", "opcua = { node = \"i=1\" }", "0.toml:7:7: device[0].opcua.url: "),
            (url, "opcua = { node = \"Pump\" }", "0.toml:11:18: device[0].point[0].opcua.node: "),
            (url, "opcua = { node = \"i=1\", queue = 0 }", "device[0].point[0].opcua.queue: "),
            (url, "modbus = { table = \"coil\", address = 1 }", "its device speaks OPC UA"),
            (url, "", "its device speaks OPC UA"),
            (url, "opcua = { node = \"i=1\", method = \"i=2\" }", "device[0].point[0].access: a method"),
            (url, "opcua = { node = \"i=1\", qeue = 1 }", "queue"),
        ] {
            let told = load(device, point).unwrap_err();
            assert!(told.contains(expected), "{expected}: {told}");
        }
        let config = load(url, "opcua = { node = \"nsu=http://a;s=b\", sampling_ms = 50 }").unwrap();
        assert_eq!(config.registry.points().next().unwrap().schema.stale_ms, 86_400_000);
    }

    #[test]
    fn a_node_is_written_by_one_point() {
        let limits = "access = \"read_write\"\nwrite_min = 0\nwrite_max = 1\n";
        let second = |name: &str, node: &str| {
            format!("[[device.point]]\nname = \"{name}\"\ntype = \"f64\"\n{limits}opcua = {{ {node} }}\n")
        };
        let first = format!("{limits}opcua = {{ node = \"ns=1;s=x\" }}\n");
        let url = "url = \"opcua\"".replace("opcua", "opc.tcp://h");
        let told = load(&url, &(first.clone() + &second("b", "node = \"ns=1;s=x\""))).unwrap_err();
        assert!(told.contains("`d/a` writes the same node"), "{told}");
        assert!(load(&url, &(first + &second("b", "node = \"ns=1;s=y\""))).is_ok());
    }
}
