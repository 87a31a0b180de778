//! The same server to another client that we did not write (node-opcua), encrypted: what is there, what is told, what is
//! written and called, history and alarms.

use serde_json::{Value, json};

use crate::rig::{Plc, until};
use crate::ua::{LIMIT, Ua, gateway, hot, id, remote, told};

#[tokio::test(flavor = "multi_thread")]
async fn node_opcua_browses_the_line_subscribes_writes_calls_and_reads_history() {
    let plc = Plc::start();
    plc.set(0, 215);
    let rig = gateway(&plc, "", "").await;
    remote(&rig).await;
    let mut ua = Ua::node().entered(&rig, "operator").await;
    let tree = ua.ok(json!({ "do": "tree", "node": "i=85" })).await;
    let device = "/g1/plant/coating/line1/oven";
    for (path, class) in [
        (device.to_owned(), "Object"),
        (format!("{device}/temperature"), "Variable"),
        (format!("{device}/setpoint/EURange"), "Variable"),
        (format!("{device}/Health/Connected"), "Variable"),
        (format!("{device}/Command/InputArguments"), "Variable"),
        (format!("{device}/Command"), "Method"),
    ] {
        assert_eq!(tree[&path]["class"], class, "{path}");
    }
    assert_eq!(tree[&format!("{device}/temperature")]["id"], id("plc/temperature"));
    let read = ua.ok(json!({ "do": "read", "node": id("plc/temperature") })).await;
    assert_eq!((&read["value"], &read["status"]), (&json!(21.5), &json!("Good")));

    ua.ok(json!({ "do": "subscribe", "nodes": [id("plc/door"), id("plc/setpoint")] })).await;
    told(&mut ua, "the first value", |t| t["node"] == "plc/door" && t["value"] == 0).await;
    let mut all = Vec::new();
    for n in 1..=10u16 {
        plc.set(2, n);
        all.extend(told(&mut ua, &format!("{n}"), |t| t["node"] == "plc/door" && t["value"] == n).await);
    }
    let values: Vec<u64> =
        all.iter().filter(|t| t["node"] == "plc/door").map(|t| t["value"].as_u64().unwrap()).collect();
    assert_eq!(values, (1..=10).collect::<Vec<_>>(), "each once, in order");

    plc.set(2, 0);
    until("the door is shut", || async { (rig.point("door").await.0 == Some(0.0)).then_some(()) }).await;
    let write = |point: &str, kind: &str, value: Value| json!({ "do": "write", "node": id(point), "type": kind, "value": value });
    ua.ok(write("plc/setpoint", "f64", json!(80.5))).await;
    assert_eq!(plc.get(1), 805);
    told(&mut ua, "what was written", |t| t["node"] == "plc/setpoint" && t["value"] == 80.5).await;
    ua.ok(write("plc/free", "i64", json!(7))).await;
    assert_eq!(plc.get(3), 7);
    let taken = rig.get("/api/v1/commands").await;
    assert_eq!(taken["items"][0]["requester"], json!({ "name": "operator", "origin": "opcua" }));
    for (question, status) in [
        (write("plc/setpoint", "f64", json!(500.0)), "BadOutOfRange"),
        (write("plc/setpoint", "text", json!("hot")), "BadTypeMismatch"),
        (write("plc/temperature", "f64", json!(1.0)), "BadNotWritable"),
        (write("plc/nothing", "f64", json!(1.0)), "BadNodeIdUnknown"),
    ] {
        assert_eq!(ua.status(question.clone()).await, status, "{question}");
    }
    let call = json!({
        "do": "call", "node": id("plc"), "method": id("plc:Command"),
        "arguments": [{ "type": "text", "value": "free" }, { "type": "i64", "value": 9 }, { "type": "text", "value": "try" }],
    });
    let done = ua.ok(call).await;
    assert_eq!((&done[1], plc.get(3)), (&json!("succeeded"), 9), "{done}");

    let history =
        json!({ "do": "history", "node": id("plc/door"), "from": 1_000_000, "to": 4_000_000_000_000_000i64 });
    let began = tokio::time::Instant::now();
    loop {
        let values = ua.ok(history.clone()).await;
        let values: Vec<u64> =
            values.as_array().unwrap().iter().filter_map(|v| v["value"].as_u64()).collect();
        let mut rising = values.clone();
        rising.dedup();
        if rising.ends_with(&[8, 9, 10, 0]) {
            assert!(rising.starts_with(&[0, 1, 2]) || rising.starts_with(&[1, 2]), "{rising:?}");
            break;
        }
        assert!(began.elapsed() < LIMIT, "{values:?}");
    }
    ua.ok(json!({ "do": "disconnect" })).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_opcua_is_told_of_an_alarm_acknowledges_and_shelves_it() {
    let plc = Plc::start();
    plc.set(0, 100);
    let rig = hot(&plc).await;
    let mut ua = Ua::node().entered(&rig, "operator").await;
    ua.ok(json!({ "do": "events", "node": "i=2253", "types": ["i=2915"] })).await;
    plc.set(0, 1600);
    let raised = ua.event("raised", |e| e["ActiveState.Id"] == true).await;
    let condition = id("plc/temperature:!hot");
    assert_eq!((&raised["ConditionName"], &raised["ConditionId"]), (&json!("hot"), &json!(condition)));
    assert_eq!((&raised["Severity"], &raised["AckedState.Id"]), (&json!(700), &json!(false)));
    let event = &raised["EventId"]["bytes"];
    ua.ok(json!({ "do": "acknowledge", "node": condition, "event": event, "comment": "seen" })).await;
    ua.event("acknowledged", |e| e["AckedState.Id"] == true).await;
    let call = json!({
        "do": "call", "node": format!("{condition}/ShelvingState"), "method": format!("{condition}/ShelvingState/TimedShelve"),
        "arguments": [{ "type": "f64", "value": 60_000.0 }],
    });
    ua.ok(call).await;
    ua.event("shelved", |e| e["ShelvingState.CurrentState"] == "TimedShelved").await;
    let alarms = rig.get("/api/v1/alarms?all=true").await;
    let alarm = &alarms["items"][0];
    assert_eq!((&alarm["actor"], alarm["shelved_until_us"].is_i64()), (&json!("operator"), true), "{alarm}");
    ua.ok(json!({ "do": "disconnect" })).await;
    rig.stop().await;
}
