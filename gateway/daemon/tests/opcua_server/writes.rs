//! Writes go through the command path: limits, interlocks, the switch, the audit; a refusal says why.

use serde_json::{Value, json};

use crate::rig::{Plc, Rig, until};
use crate::ua::{Ua, gateway, id, remote};

fn write(point: &str, kind: &str, value: impl Into<Value>) -> Value {
    json!({ "do": "write", "node": id(point), "type": kind, "value": value.into() })
}

async fn audit(rig: &Rig, code: &str) -> Vec<Value> {
    let found = rig.get("/api/v1/audit?limit=100").await;
    found["items"].as_array().unwrap().iter().filter(|e| e["code"] == code).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_reaches_the_device_and_each_refusal_has_its_status_and_is_on_record() {
    let mut plc = Plc::start();
    plc.set(0, 200);
    let rig = gateway(&plc, "", "").await;
    let mut ua = Ua::enter(&rig, "operator").await;
    // A box stands on local until somebody at it says otherwise.
    assert_eq!(ua.status(write("plc/setpoint", "f64", 80.0)).await, "BadInvalidState");
    remote(&rig).await;
    ua.ok(write("plc/setpoint", "f64", 80.5)).await;
    assert_eq!(plc.get(1), 805);
    let taken = rig.get("/api/v1/commands").await;
    let command = &taken["items"][0];
    assert_eq!((&command["state"], &command["requester"]["name"]), (&json!("succeeded"), &json!("operator")));
    assert_eq!(command["requester"]["origin"], "opcua");

    for (question, status, code) in [
        (write("plc/setpoint", "f64", 500.0), "BadOutOfRange", "out_of_limits"),
        (write("plc/temperature", "f64", 1.0), "BadNotWritable", ""),
        (write("plc/setpoint", "i32", 5), "BadTypeMismatch", ""),
        (write("plc/setpoint", "text", "hot"), "BadTypeMismatch", ""),
        (write("plc/nothing", "f64", 1.0), "BadNodeIdUnknown", ""),
        (write("plc:Health/Connected", "bool", false), "BadNotWritable", ""),
    ] {
        assert_eq!(ua.status(question.clone()).await, status, "{question}");
        if !code.is_empty() {
            let told = audit(&rig, code).await;
            assert!(told.iter().any(|e| e["actor"] == "operator"), "{code}: {told:?}");
        }
    }
    assert_eq!(plc.get(1), 805, "nothing else was written");

    plc.set(2, 1);
    until("the door is seen open", || async { (rig.point("door").await.0 == Some(1.0)).then_some(()) }).await;
    assert_eq!(ua.status(write("plc/setpoint", "f64", 90.0)).await, "BadInvalidState");
    assert_eq!(audit(&rig, "interlocked").await.len(), 1);
    // Who asks for diagnostics is told why, in words.
    for (value, status, reason) in [(90.0, "BadInvalidState", "door"), (500.0, "BadOutOfRange", "500")] {
        let mut question = write("plc/setpoint", "f64", value);
        question["do"] = json!("write_reason");
        let told = ua.ok(question).await;
        assert_eq!(told["status"], status, "{told}");
        assert!(told["reason"].as_str().unwrap().contains(reason), "{told}");
    }
    // A command tells the reason in words.
    let call = json!({
        "do": "call", "node": id("plc"), "method": id("plc:Command"),
        "arguments": [{ "type": "text", "value": "setpoint" }, { "type": "f64", "value": 90.0 }, { "type": "text", "value": "try" }],
    });
    let told = ua.ok(call).await;
    assert_eq!((&told[1], &told[2]), (&json!("rejected"), &json!("interlocked")), "{told}");
    assert!(told[3].as_str().unwrap().contains("door"), "{told}");

    plc.kill();
    until("gone", || async { (rig.point("door").await.0.is_none()).then_some(()) }).await;
    let gone = ua.status(write("plc/free", "i64", 5)).await;
    assert!(
        ["BadNotConnected", "BadTimeout", "BadDeviceFailure", "BadCommunicationError"]
            .contains(&gone.as_str()),
        "{gone}"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_reads_writes_nothing_and_sees_that_it_may_not() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    remote(&rig).await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    assert_eq!(ua.status(write("plc/free", "i64", 5)).await, "BadUserAccessDenied");
    let user =
        ua.ok(json!({ "do": "attribute", "node": id("plc/free"), "attribute": "UserAccessLevel" })).await;
    assert_eq!(user["value"], 5, "read and history, no write");
    let call = json!({
        "do": "call", "node": id("plc"), "method": id("plc:Command"),
        "arguments": [{ "type": "text", "value": "free" }, { "type": "i64", "value": 9 }, { "type": "text", "value": "" }],
    });
    assert_eq!(ua.status(call).await, "BadUserAccessDenied");
    assert_eq!(plc.get(3), 0);
    rig.stop().await;
}
