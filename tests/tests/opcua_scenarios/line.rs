//! The demo's whole line, its oven on OPC UA and the rest on Modbus and MQTT, in the one address space of the gateway,
//! as a client of others sees it.

use std::path::Path;
use std::time::Duration;

use common::Value as Number;
use demo::{Demo, Options};
use serde_json::{Value, json};
use tests::Api;

use crate::counterparts::{Asyncua, Cli, eventually};

const LINE: &str = "/plant/coating/line1";

fn id(text: &str) -> String {
    format!("ns=2;s={text}")
}

async fn line(dir: &Path) -> Demo {
    let options = Options {
        dir: dir.join("demo"),
        fresh: false,
        port_base: 0,
        json: true,
        fault: None,
        fault_after: Duration::ZERO,
        fault_for: Duration::ZERO,
    };
    Demo::start(&options).await.expect("the demo")
}

/// Comes in encrypted, as the operator of the box, after somebody at the box trusted the client.
async fn enter(demo: &Demo, folder: &Path) -> Asyncua {
    let mut ua = Asyncua::start();
    let login = json!({
        "do": "connect", "url": format!("opc.tcp://{}/", demo.addresses().opcua), "policy": "Basic256Sha256",
        "mode": "SignAndEncrypt", "folder": folder, "user": demo.token().user, "password": demo.token().token,
    });
    let refused = ua.ask(&login).await;
    assert!(refused.get("ok").is_none(), "an unknown certificate was let in");
    let at_box = Api::of_socket(&demo.addresses().socket);
    let rejected = eventually("the client's certificate", || async {
        let known: Value = at_box.get("/api/v1/opcua/certificates").await;
        known["items"].as_array()?.iter().find(|c| c["folder"] == "rejected").cloned()
    })
    .await;
    let cli = Cli(demo.addresses().socket.clone());
    let fingerprint = rejected["fingerprint"].as_str().expect("it");
    let (code, listed) = cli.run(&["opcua", "trust"]).await;
    assert!(code == 0 && listed.contains(&fingerprint[..16]) && listed.contains("rejected"), "{listed}");
    let (code, said) = cli.run(&["opcua", "trust", fingerprint]).await;
    assert_eq!(code, 0, "{said}");
    ua.ok(&login).await;
    ua
}

fn write(node: &str, value: f64) -> Value {
    json!({ "do": "write", "node": id(node), "type": "f64", "value": value })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_others_browses_the_whole_line_and_commands_what_speaks_opc_ua_and_what_speaks_modbus() {
    let dir = tempfile::tempdir().expect("a folder");
    let demo = line(dir.path()).await;
    let mut ua = enter(&demo, dir.path()).await;

    // One address space, in which the protocol of a device is no more than a property.
    let root = ua.ok(&json!({ "do": "tree", "node": "i=85", "depth": 1 })).await;
    assert_eq!(root["/line1-box"]["id"], id(":gateway"), "{root}");
    let tree = ua.ok(&json!({ "do": "tree", "node": id(":gateway") })).await;
    for (device, protocol) in [
        ("mixer", "modbus"),
        ("pumps", "modbus"),
        ("coater", "modbus"),
        ("oven", "opcua"),
        ("press", "modbus"),
        ("winder", "modbus"),
        ("gauge", "mqtt"),
    ] {
        let class = format!("{LINE}/{device}/Identification/DeviceClass");
        assert_eq!(tree[format!("{LINE}/{device}")]["class"], "Object", "{device}");
        let told = ua.ok(&json!({ "do": "read", "node": tree[&class]["id"] })).await;
        assert_eq!(told["value"], protocol, "{device}");
        let connected =
            ua.ok(&json!({ "do": "read", "node": id(&format!("{device}:Health/Connected")) })).await;
        assert_eq!(connected["value"], true, "{device}");
    }
    // AnalogUnitRangeType and TwoStateDiscreteType, whoever reads them.
    for (path, kind) in [
        ("oven/zone2_temp", "i=17570"),
        ("oven/zone2_setpoint", "i=17570"),
        ("coater/line_speed", "i=17570"),
        ("coater/line_speed_setpoint", "i=17570"),
        ("oven/heater_tripped", "i=2373"),
        ("pumps/running", "i=2373"),
    ] {
        assert_eq!(tree[format!("{LINE}/{path}")]["type"], kind, "{path}");
    }
    for (node, unit) in [("oven/zone2_temp", "Cel"), ("coater/line_speed", "m/min")] {
        let told = ua.ok(&json!({ "do": "read", "node": id(&format!("{node}:EngineeringUnits")) })).await;
        assert_eq!(told["value"]["DisplayName"], unit, "{told}");
    }
    for (node, about) in [("oven/zone2_temp", 120.0), ("coater/line_speed", 12.0)] {
        let told = ua.ok(&json!({ "do": "read", "node": id(node) })).await;
        assert_eq!((&told["status"], &told["type"]), (&json!("Good"), &json!("Double")), "{told}");
        assert!((told["value"].as_f64().expect("a number") - about).abs() < 5.0, "{told}");
    }

    let setpoints = ["oven/zone2_setpoint", "coater/line_speed_setpoint"];
    let watched: Vec<_> =
        setpoints.iter().chain(&["oven/zone2_temp", "coater/line_speed"]).map(|n| id(n)).collect();
    ua.ok(&json!({ "do": "subscribe", "nodes": watched })).await;
    for (node, value) in setpoints.into_iter().zip([131.5, 11.25]) {
        ua.ok(&write(node, value)).await;
        ua.follow("told", node, |t| t["node"] == node && t["value"] == value).await;
    }
    let held = demo.line().with(|_, set| (set.zone_degc[1], set.line_m_min));
    assert!((held.0 - 131.5).abs() < 1e-9 && (held.1 - 11.25).abs() < 1e-9, "{held:?}");
    // What it does is told as well.
    ua.follow("told", "the web slows down", |t| {
        t["node"] == "coater/line_speed" && t["value"].as_f64().is_some_and(|v| v < 11.5)
    })
    .await;
    let commands: Value = Api::of_socket(&demo.addresses().socket).get("/api/v1/commands").await;
    for point in ["zone2_setpoint", "line_speed_setpoint"] {
        let all = commands["items"].as_array().expect("a list");
        let of = all.iter().find(|c| c["point"] == point).unwrap_or_else(|| panic!("{point}: {commands}"));
        assert_eq!(of["requester"], json!({ "name": "demo", "origin": "opcua" }), "{of}");
        assert_eq!(of["state"], "succeeded", "{of}");
    }
    for (node, value) in [("oven/zone2_setpoint", 221.0), ("coater/line_speed_setpoint", 25.5)] {
        assert_eq!(ua.status(&write(node, value)).await, "BadOutOfRange", "{node}");
    }
    assert_eq!(demo.line().with(|_, set| (set.zone_degc[1], set.line_m_min)), held);
    // And the twin in the cloud follows.
    let cloud =
        Api::login(&format!("http://{}", demo.addresses().cloud), &demo.admin().user, &demo.admin().password)
            .await;
    eventually("the twin shows it", || async {
        let oven = cloud.value("line1/oven", "zone2_setpoint").await? == Number::F64(131.5);
        let coater = cloud.value("line1/coater", "line_speed_setpoint").await? == Number::F64(11.25);
        (oven && coater).then_some(())
    })
    .await;
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oven_goes_and_comes_back_and_its_alarms_and_interlocks_are_told_across_protocols() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut demo = line(dir.path()).await;
    let mut ua = enter(&demo, dir.path()).await;
    ua.ok(&json!({ "do": "events", "node": "i=2253", "types": ["i=2915"] })).await;
    ua.ok(&json!({ "do": "subscribe", "nodes": [id("oven/zone2_temp"), id("coater/line_speed")] })).await;
    ua.follow("told", "the oven is read", |t| t["node"] == "oven/zone2_temp" && t["status"] == "Good").await;

    // A zone runs hot: an alarm of a device that speaks OPC UA is a condition of ours.
    let heat = |degc: f64| {
        demo.line().with(|plant, _| {
            plant.oven.zones[1].degc = degc;
            plant.oven.zones[1].shown_degc = degc;
        });
    };
    heat(200.0);
    let raised = ua.follow("told_events", "too hot", |e| e["ActiveState/Id"] == true).await;
    assert_eq!(raised["Message"], "Zone 2 scorches the web", "{raised}");
    heat(120.0);
    ua.follow("told_events", "cool again", |e| e["ActiveState/Id"] == false).await;

    // The web may run only through a hot oven: a Modbus write that hangs on values of OPC UA.
    demo.stop_oven().await;
    ua.follow("told", "the oven is away", |t| {
        t["node"] == "oven/zone2_temp" && t["status"].as_str().is_some_and(|s| s.starts_with("Bad"))
    })
    .await;
    assert_eq!(ua.status(&write("coater/line_speed_setpoint", 11.0)).await, "BadInvalidState");
    assert_eq!(ua.status(&write("oven/zone2_setpoint", 125.0)).await, "BadNotConnected");
    let door = ua.ok(&json!({ "do": "read", "node": id("coater/line_speed") })).await;
    assert_eq!(door["status"], "Good", "the others run");

    demo.start_oven().await.expect("the oven");
    ua.follow("told", "it is back", |t| t["node"] == "oven/zone2_temp" && t["status"] == "Good").await;
    ua.ok(&write("coater/line_speed_setpoint", 11.0)).await;
    ua.ok(&write("oven/zone2_setpoint", 125.0)).await;
    let held = demo.line().with(|_, set| (set.zone_degc[1], set.line_m_min));
    assert!((held.0 - 125.0).abs() < 1e-9 && (held.1 - 11.0).abs() < 1e-9, "{held:?}");
    demo.stop().await;
}
