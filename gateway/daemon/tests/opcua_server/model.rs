//! The model: labels, shared types, alarms as conditions, a reload that clients live through, and the export.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::rig::Plc;
use crate::ua::{LIMIT, SERVER, Ua, gateway, id, told};

const PUMPS: &str = r#"
[[template]]
name = "pump"
parameters = { base = 0 }
identification = { manufacturer = "Acme", model = "P-100" }
[[template.point]]
name = "speed"
type = "f64"
unit = "1/min"
range_min = 0
range_max = 3000
modbus = { table = "input", address = "{base}", period_ms = 50 }
[[template.point]]
name = "running"
type = "bool"
labels = [{ value = 0, text = "stopped" }, { value = 1, text = "running" }]
modbus = { table = "input", address = "{base}+1", bit = 0, period_ms = 50 }
[[template.point]]
name = "mode"
type = "u64"
labels = [{ value = 3, text = "auto" }, { value = 9, text = "hand" }]
modbus = { table = "input", address = "{base}+2", period_ms = 50 }
[[template.point]]
name = "step"
type = "u64"
labels = [{ value = 0, text = "idle" }, { value = 1, text = "filling" }, { value = 2, text = "running" }]
modbus = { table = "input", address = "{base}+3", period_ms = 50 }
"#;

fn pump(name: &str, base: u16, port: u16) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nasset = \"plant/coating/line1/{name}\"\ntemplate = \"pump\"\n\
         parameters = {{ base = {base} }}\nidentification = {{ serial_number = \"{name}-{base}\" }}\n[device.modbus]\nhost = \"127.0.0.1\"\nport = {port}\n\
         timeout_ms = 300\nreconnect_max_ms = 300\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_template_share_a_type_and_discrete_points_have_their_labels() {
    let plc = Plc::start();
    plc.set(10, 1200);
    plc.set(11, 1);
    plc.set(12, 9);
    let port = plc.addr.port();
    let more = format!("{PUMPS}{}{}", pump("p1", 10, port), pump("p2", 20, port));
    let rig = gateway(&plc, "", &more).await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    let tree = ua.ok(json!({ "do": "tree", "node": id(":gateway") })).await;
    let line = "/plant/coating/line1";
    assert_eq!(tree[&format!("{line}/p1")]["type"], tree[&format!("{line}/p2")]["type"]);
    assert_eq!(tree[&format!("{line}/p1")]["type"], id(":type/pump"));
    let types = ua.ok(json!({ "do": "tree", "node": id(":type/pump") })).await;
    for name in ["/speed", "/running", "/mode", "/step"] {
        assert_eq!(types[name]["type"], tree[&format!("{line}/p1{name}")]["type"], "{name}");
    }
    let base = ua.ok(json!({ "do": "tree", "node": "i=58", "depth": 1 })).await;
    assert_eq!(base["/pumpType"]["class"], "ObjectType");
    // TwoStateDiscreteType, MultiStateDiscreteType, MultiStateValueDiscreteType.
    assert_eq!(tree[&format!("{line}/p1/running")]["type"], "i=2373");
    assert_eq!(tree[&format!("{line}/p1/step")]["type"], "i=2376");
    assert_eq!(tree[&format!("{line}/p1/mode")]["type"], "i=11238");
    for (node, expected) in [
        ("p1/running:TrueState", json!("running")),
        ("p1/running", json!(true)),
        ("p1/mode", json!(9)),
        ("p1/step:EnumStrings", json!(["idle", "filling", "running"])),
        ("p1/speed", json!(1200.0)),
    ] {
        let mut read = Value::Null;
        for _ in 0..300 {
            read = ua.ok(json!({ "do": "read", "node": id(node) })).await;
            if read["value"] == expected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(read["value"], expected, "{node}");
    }
    // What the template says of all, and each device of itself.
    for (node, expected) in [
        ("p1:Identification/Manufacturer", "Acme"),
        ("p2:Identification/Model", "P-100"),
        ("p1:Identification/SerialNumber", "p1-10"),
        ("p2:Identification/SerialNumber", "p2-20"),
        ("p1:Identification/ComponentName", "p1"),
    ] {
        assert_eq!(ua.ok(json!({ "do": "read", "node": id(node) })).await["value"], expected, "{node}");
    }
    // DI's namespace.
    assert_eq!(tree[&format!("{line}/p1/Identification/Manufacturer")]["ns"], 3);
    for node in ["p1:Identification/DeviceManual", "plc:Identification/Manufacturer"] {
        let nothing = ua.ok(json!({ "do": "read", "node": id(node) })).await;
        assert_eq!(nothing["status"], "BadNodeIdUnknown", "{node}");
    }
    let labels = ua.ok(json!({ "do": "read", "node": id("p1/mode:EnumValues") })).await;
    assert_eq!(labels["value"][1]["DisplayName"], "hand", "{labels}");
    let text = ua.ok(json!({ "do": "read", "node": id("p1/mode:ValueAsText") })).await;
    assert_eq!(text["value"], "hand");

    let xml =
        rig.local(reqwest::Method::GET, "/api/v1/opcua/nodeset").send().await.unwrap().text().await.unwrap();
    assert!(
        xml.contains("pumpType") && xml.contains("p1/speed") && xml.contains("<uax:UnitId>5394509<"),
        "{xml}"
    );
    let taken = json!({
        "do": "nodeset", "xml": xml, "uri": "urn:twinway:default:g1:devices",
        "nodes": ["p1/speed:EURange", "p1/mode:EnumValues", "p1/step:EnumStrings",
            "p2:Identification/Manufacturer", "p2:Identification/SerialNumber"],
    });
    let taken = ua.ok(taken).await;
    assert!(taken["count"].as_u64().unwrap() > 50, "{taken}");
    let values = &taken["values"];
    assert_eq!(values["p1/speed:EURange"]["High"], 3000.0, "{taken}");
    assert_eq!(values["p1/mode:EnumValues"][1]["DisplayName"], "hand", "{taken}");
    assert_eq!(values["p1/step:EnumStrings"][2], "running", "{taken}");
    let said = [&values["p2:Identification/Manufacturer"], &values["p2:Identification/SerialNumber"]];
    assert_eq!(said, ["Acme", "p2-20"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_and_removes_nodes_tells_it_and_keeps_subscriptions() {
    let plc = Plc::start();
    plc.set(10, 100);
    let port = plc.addr.port();
    let more = format!("{PUMPS}{}", pump("p1", 10, port));
    let rig = gateway(&plc, "", &more).await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    ua.ok(json!({ "do": "events", "node": "i=2253", "types": ["i=2133"] })).await;
    ua.ok(json!({ "do": "subscribe", "nodes": [id("plc/door"), id("p1/speed")] })).await;
    told(&mut ua, "both", |t| t["node"] == "p1/speed" && t["value"] == 100.0).await;

    let file = rig.dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let cut = text.find("[[template]]").unwrap();
    let second = format!("{}{PUMPS}{}{SERVER}", &text[..cut], pump("p2", 20, port));
    std::fs::write(&file, &second).unwrap();
    rig.handle.reload("test").await.unwrap();
    told(&mut ua, "p1 is gone", |t| t["node"] == "p1/speed" && t["status"] == "BadNodeIdUnknown").await;
    let read = ua.ok(json!({ "do": "read", "node": id("p2/speed") })).await;
    assert_ne!(read["status"], "BadNodeIdUnknown");
    plc.set(2, 7);
    told(&mut ua, "what stayed goes on", |t| t["node"] == "plc/door" && t["value"] == 7).await;
    let began = tokio::time::Instant::now();
    let mut changes = String::new();
    while !(changes.contains("p1") && changes.contains("p2")) {
        assert!(began.elapsed() < LIMIT, "{changes}");
        let _ = write!(changes, "{}", ua.ok(json!({ "do": "told_events" })).await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(changes.contains("Verb"), "{changes}");

    std::fs::write(&file, &text).unwrap();
    rig.handle.reload("test").await.unwrap();
    plc.set(10, 300);
    told(&mut ua, "p1 is back", |t| t["node"] == "p1/speed" && t["value"] == 300.0).await;

    // Another nameplate and nothing else: no line stops for it.
    ua.event("p1 came", |e| e.to_string().contains("p1")).await;
    std::fs::write(&file, text.replace("p1-10", "p1-11")).unwrap();
    let report = rig.handle.reload("test").await.unwrap();
    assert!(report.restarted.is_empty(), "{report:?}");
    ua.event("its nameplate", |e| e.to_string().contains("p1")).await;
    let serial = ua.ok(json!({ "do": "read", "node": id("p1:Identification/SerialNumber") })).await;
    assert_eq!(serial["value"], "p1-11");
    plc.set(10, 301);
    told(&mut ua, "it is read on", |t| t["node"] == "p1/speed" && t["value"] == 301.0).await;
    rig.stop().await;
}
