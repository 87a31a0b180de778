//! Alarms as conditions: told, acknowledged, and shelved for a time, once, and by whom it may be done.

use serde_json::{Value, json};

use crate::rig::Plc;
use crate::ua::{Ua, hot, id};

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_a_condition_that_is_told_and_acknowledged() {
    let plc = Plc::start();
    plc.set(0, 100);
    let rig = hot(&plc).await;
    let mut ua = Ua::enter(&rig, "operator").await;
    let condition = id("plc/temperature:!hot");
    ua.ok(json!({ "do": "events", "node": "i=2253", "types": ["i=2915"] })).await;
    let inactive = ua.ok(json!({ "do": "read", "node": format!("{condition}/ActiveState/Id") })).await;
    assert_eq!(inactive["value"], false);
    plc.set(0, 1600);
    let event = ua.event("raised", |e| e["ConditionName"] == "hot").await;
    assert_eq!(event["Message"], "oven too hot", "{event}");
    assert_eq!((&event["ActiveState/Id"], &event["AckedState/Id"]), (&json!(true), &json!(false)), "{event}");
    assert_eq!((&event["Severity"], &event["Retain"]), (&json!(700), &json!(true)));
    let mut acknowledge = json!({
        "do": "call", "node": condition, "method": "i=9111",
        "arguments": [{ "type": "bytes", "value": event["EventId"]["bytes"] }, { "type": "localized", "value": "seen" }],
    });
    let mut wrong = acknowledge.clone();
    wrong["arguments"][0]["value"] = json!("00112233");
    assert_eq!(ua.status(wrong).await, "BadEventIdUnknown");
    ua.ok(acknowledge.clone()).await;
    assert_eq!(ua.status(acknowledge.take()).await, "BadConditionBranchAlreadyAcked");
    let acked = ua.ok(json!({ "do": "read", "node": format!("{condition}/AckedState/Id") })).await;
    assert_eq!(acked["value"], true);
    let alarms = rig.get("/api/v1/alarms?all=true").await;
    assert_eq!(
        (&alarms["items"][0]["actor"], &alarms["items"][0]["comment"]),
        (&json!("operator"), &json!("seen"))
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_shelved_for_a_time_or_once_and_taken_from_the_shelf() {
    let plc = Plc::start();
    plc.set(0, 100);
    let rig = hot(&plc).await;
    let mut ua = Ua::enter(&rig, "operator").await;
    let condition = id("plc/temperature:!hot");
    let shelf = format!("{condition}/ShelvingState");
    ua.ok(json!({ "do": "events", "node": "i=2253", "types": ["i=2915"] })).await;
    let call = |object: &str, method: String, arguments: Value| json!({ "do": "call", "node": object, "method": method, "arguments": arguments });
    let ms = |ms: f64| json!([{ "type": "f64", "value": ms }]);
    let timed = |time: f64| call(&shelf, format!("{shelf}/TimedShelve"), ms(time));
    let once = || call(&shelf, format!("{shelf}/OneShotShelve"), json!([]));
    let unshelve = || call(&shelf, format!("{shelf}/Unshelve"), json!([]));
    let tree = ua.ok(json!({ "do": "tree", "node": condition })).await;
    // ShelvedStateMachineType, and its parts.
    assert_eq!(tree["/ShelvingState"]["type"], "i=2929", "{tree}");
    for (path, class) in [
        ("/ShelvingState/TimedShelve", "Method"),
        ("/ShelvingState/TimedShelve/InputArguments", "Variable"),
        ("/ShelvingState/OneShotShelve", "Method"),
        ("/ShelvingState/Unshelve", "Method"),
        ("/ShelvingState/UnshelveTime", "Variable"),
        ("/SuppressedOrShelved", "Variable"),
    ] {
        assert_eq!(tree[path]["class"], class, "{path}");
    }
    let week = ua.ok(json!({ "do": "read", "node": format!("{condition}/MaxTimeShelved") })).await;
    assert_eq!(week["value"], 7.0 * 24.0 * 3_600_000.0);

    assert_eq!(ua.status(unshelve()).await, "BadConditionNotShelved");
    for wrong in [0.0, -5.0, 8.0 * 24.0 * 3_600_000.0] {
        assert_eq!(ua.status(timed(wrong)).await, "BadShelvingTimeOutOfRange", "{wrong}");
    }
    let text = json!([{ "type": "text", "value": "long" }]);
    assert_eq!(ua.status(call(&shelf, format!("{shelf}/TimedShelve"), text)).await, "BadInvalidArgument");
    assert_eq!(
        ua.status(call(&shelf, format!("{shelf}/TimedShelve"), json!([]))).await,
        "BadArgumentsMissing"
    );

    ua.ok(timed(60_000.0)).await;
    let event = ua.event("shelved", |e| e["ShelvingState/CurrentState"] == "TimedShelved").await;
    assert_eq!((&event["SuppressedOrShelved"], &event["ClientUserId"]), (&json!(true), &json!("operator")));
    // TimedShelved.
    let state = ua.ok(json!({ "do": "read", "node": format!("{shelf}/CurrentState/Id") })).await;
    assert_eq!(state["value"], "i=2932");
    let left = ua.ok(json!({ "do": "read", "node": format!("{shelf}/UnshelveTime") })).await;
    assert!((1.0..=60_000.0).contains(&left["value"].as_f64().unwrap()), "{left}");
    let alarms = rig.get("/api/v1/alarms?all=true").await;
    assert!(alarms["items"][0]["shelved_until_us"].is_i64(), "{alarms}");
    // By the type's method and on the condition itself, as part 9 has it.
    ua.ok(call(&condition, "i=9211".to_owned(), json!([]))).await;
    ua.event("unshelved", |e| e["ShelvingState/CurrentState"] == "Unshelved").await;
    let audit = rig.get("/api/v1/audit?limit=100").await.to_string();
    assert!(audit.contains("alarm.shelved") && audit.contains("alarm.unshelved"), "{audit}");

    ua.ok(once()).await;
    assert_eq!(ua.status(once()).await, "BadConditionAlreadyShelved");
    ua.event("shelved once", |e| e["ShelvingState/CurrentState"] == "OneShotShelved").await;
    plc.set(0, 1600);
    ua.event("raised on the shelf", |e| e["ActiveState/Id"] == true && e["SuppressedOrShelved"] == true)
        .await;
    plc.set(0, 100);
    ua.event("off the shelf", |e| e["ActiveState/Id"] == false && e["SuppressedOrShelved"] == false).await;

    // A shelf that ends by itself.
    ua.ok(timed(200.0)).await;
    ua.event("its time is up", |e| e["ShelvingState/CurrentState"] == "Unshelved").await;

    let mut viewer = Ua::enter(&rig, "viewer").await;
    assert_eq!(viewer.status(timed(60_000.0)).await, "BadUserAccessDenied");
    assert_eq!(viewer.status(unshelve()).await, "BadUserAccessDenied");
    rig.stop().await;
}
