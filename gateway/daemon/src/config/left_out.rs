//! What a configuration asks for and this program is built without: refused where it stands, with the feature that builds it
//! in. The keys themselves are known in every build; what is refused is taken out, so that no other mistake follows from it.

use std::borrow::Cow;

use common::config::{Node, Place, Table, Value};

use crate::build_info::Features;

/// Keys of a device and of its points, and their features.
const DEVICES: [(&str, &str); 4] =
    [("modbus", "modbus"), ("mqtt", "mqtt"), ("opcua", "opcua-client"), ("sparkplug", "sparkplug")];
/// Sections, likewise.
const SECTIONS: [(&str, &str); 4] =
    [("broker", "mqtt"), ("line", "modbus"), ("opcua_server", "opcua-server"), ("publish", "publish")];

/// Place, key and message.
type Told = (Place, String, String);

fn message(feature: &str) -> String {
    format!(
        "is not built into this program: leave it out, or take one that is built with the feature `{feature}`"
    )
}

fn lacks(built: Features, feature: &str) -> bool {
    built.iter().any(|(name, there)| *name == feature && !there)
}

/// Sections of the whole configuration. A broker that is switched off needs none.
pub(super) fn sections(merged: &mut Table<'_>, built: Features) -> Vec<Told> {
    let mut told = Vec::new();
    for (key, feature) in SECTIONS.into_iter().filter(|(_, feature)| lacks(built, feature)) {
        let off = |n: &Node<'_>| {
            key == "broker" && matches!(n.find("enabled").map(|e| &e.value), Some(Value::Bool(false)))
        };
        merged.0.retain(|entry| {
            let refused = entry.key == key && !off(&entry.node);
            if refused {
                told.push((entry.at, key.to_owned(), message(feature)));
            }
            !refused
        });
    }
    told
}

/// What a device asks for with its own keys.
pub(super) fn device(device: &mut Node<'_>, built: Features) -> Option<Told> {
    let Value::Table(table) = &mut device.value else { return None };
    let mut left_out = DEVICES.into_iter().filter(|(_, feature)| lacks(built, feature));
    left_out.find_map(|(key, feature)| Some((table.remove(key)?.at, key.to_owned(), message(feature))))
}

/// The same of a point.
pub(super) fn point(point: &mut Cow<'_, Node<'_>>, built: Features) -> Option<Told> {
    let asks = |(key, feature): &(&str, &str)| lacks(built, feature) && point.find(key).is_some();
    DEVICES.iter().any(asks).then(|| device(point.to_mut(), built)).flatten()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::files::{Content, Files, Input};
    use crate::build_info::Features;

    /// Modbus, the uplink, and nothing else.
    const SMALL: Features = &[
        ("modbus", true),
        ("mqtt", false),
        ("opcua-client", false),
        ("opcua-server", false),
        ("publish", false),
        ("sparkplug", false),
    ];

    fn told(text: &str) -> Vec<String> {
        let input = Input { path: Path::new("g.toml"), content: Content::Text(text) };
        Files::of_build(vec![input], SMALL).mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_built_in_is_refused_at_its_key_and_told_once() {
        let device = |protocol: &str, point: &str| {
            format!(
                "[[device]]\nname = \"d\"\nasset = \"s/d\"\n[device.{protocol}]\nhost = \"h\"\n\
                 [[device.point]]\nname = \"a\"\ntype = \"f64\"\n{point}\n"
            )
        };
        let modbus = "modbus = { table = \"holding\", address = 1 }";
        for (text, place, feature) in [
            (device("opcua", "opcua = { node = \"i=1\" }"), "g.toml:4:9: device[0].opcua: ", "opcua-client"),
            (device("mqtt", "mqtt = { topic = \"t\" }"), "g.toml:4:9: device[0].mqtt: ", "mqtt"),
            (device("sparkplug", ""), "g.toml:4:9: device[0].sparkplug: ", "sparkplug"),
            (
                device("modbus", "opcua = { node = \"i=1\" }"),
                "g.toml:9:1: device[0].point[0].opcua: ",
                "opcua-client",
            ),
            ("[opcua_server]\n".to_owned(), "g.toml:1:2: opcua_server: ", "opcua-server"),
            ("[[publish]]\nname = \"p\"\n".to_owned(), "g.toml:1:3: publish: ", "publish"),
            ("[broker]\nsync_ms = 5\n".to_owned(), "g.toml:1:2: broker: ", "mqtt"),
        ] {
            let told = told(&text);
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert!(
                told[0].starts_with(place) && told[0].contains(&format!("feature `{feature}`")),
                "{told:?}"
            );
        }
        for fine in ["[broker]\nenabled = false\n".to_owned(), device("modbus", modbus)] {
            assert_eq!(told(&fine), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn a_template_and_a_table_of_points_are_no_way_round() {
        let text = "[[template]]\nname = \"t\"\n[template.mqtt]\n[[template.point]]\nname = \"a\"\ntype = \"f64\"\n\
                    mqtt = { topic = \"x\" }\n[[device]]\nname = \"d\"\nasset = \"s/d\"\ntemplate = \"t\"\n";
        let told = told(text);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("mqtt: is not built") && told[0].contains("feature `mqtt`"), "{told:?}");
    }

    #[test]
    fn names_of_features_are_those_of_the_build() {
        let known = crate::build_info::FEATURES;
        for (_, feature) in super::DEVICES.into_iter().chain(super::SECTIONS) {
            assert!(known.iter().any(|(name, _)| *name == feature), "{feature}");
        }
    }
}
