//! Alarms as conditions: told, acknowledged, commented, shelved for a time or once, and by whom it may be done.

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

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_told_and_kept_with_who_said_it_and_no_client_switches_an_alarm_off() {
    let plc = Plc::start();
    plc.set(0, 100);
    let rig = hot(&plc).await;
    let mut ua = Ua::enter(&rig, "operator").await;
    let condition = id("plc/temperature:!hot");
    ua.ok(json!({ "do": "events", "node": "i=2253", "types": ["i=2915"] })).await;
    plc.set(0, 1600);
    let raised = ua.event("raised", |e| e["ActiveState/Id"] == true).await;
    let call = |method: &str, arguments: Value| json!({ "do": "call", "node": condition, "method": method, "arguments": arguments });
    let say = |event: &Value, kind: &str, text: Value| json!([{ "type": "bytes", "value": event["EventId"]["bytes"] }, { "type": kind, "value": text }]);
    let own = format!("{condition}/AddComment");
    let arguments = ua.ok(json!({ "do": "read", "node": format!("{own}/InputArguments") })).await;
    let names: Vec<_> = arguments["value"].as_array().unwrap().iter().map(|a| &a["Name"]).collect();
    assert_eq!(names, ["EventId", "Comment"]);

    // By the type's method (i=9029), as clients do that find no instance, and by the condition's own.
    for (method, text) in [("i=9029", "the fan is off"), (own.as_str(), "the fan is on again")] {
        ua.ok(call(method, say(&raised, "localized", json!(text)))).await;
        let told = ua.event(text, |e| e["Comment"] == text).await;
        assert_eq!(
            (&told["ClientUserId"], &told["ConditionName"]),
            (&json!("operator"), &json!("hot")),
            "{told}"
        );
        assert_eq!(
            (&told["ActiveState/Id"], &told["AckedState/Id"]),
            (&json!(true), &json!(false)),
            "{told}"
        );
        let now = ua.ok(json!({ "do": "read", "node": format!("{condition}/Comment") })).await;
        assert_eq!(now["value"], text);
        let told = rig.get("/api/v1/audit?limit=100").await;
        let told = told["items"].as_array().unwrap();
        let is_it =
            |e: &&Value| e["action"] == "alarm.commented" && e["detail"].as_str().unwrap().contains(text);
        assert_eq!(
            told.iter().find(is_it).unwrap_or_else(|| panic!("{text}: {told:?}"))["actor"],
            "operator"
        );
    }
    // Nothing said leaves what was said before.
    ua.ok(call("i=9029", say(&raised, "localized", json!("")))).await;
    let now = ua.ok(json!({ "do": "read", "node": format!("{condition}/Comment") })).await;
    assert_eq!(now["value"], "the fan is on again");
    let mut other = raised.clone();
    other["EventId"]["bytes"] = json!("00112233");
    for (arguments, status) in [
        (say(&other, "localized", json!("what?")), "BadEventIdUnknown"),
        (say(&raised, "localized", json!("a\u{7}b")), "BadInvalidArgument"),
        (say(&raised, "localized", json!("x".repeat(501))), "BadInvalidArgument"),
        (say(&raised, "f64", json!(1.5)), "BadInvalidArgument"),
        (json!([]), "BadArgumentsMissing"),
    ] {
        assert_eq!(ua.status(call("i=9029", arguments)).await, status);
    }
    // An occurrence that was commented is acknowledged by the event that raised it. Nothing is said of that, and what was
    // said stays, also when the alarm clears by itself.
    let keeps = |e: &Value| {
        assert_eq!(
            (&e["Comment"], &e["ClientUserId"]),
            (&json!("the fan is on again"), &json!("operator")),
            "{e}"
        );
    };
    ua.ok(call("i=9111", say(&raised, "localized", json!("")))).await;
    keeps(&ua.event("acknowledged", |e| e["AckedState/Id"] == true).await);
    plc.set(0, 100);
    keeps(&ua.event("cleared", |e| e["ActiveState/Id"] == false).await);
    let now = ua.ok(json!({ "do": "read", "node": format!("{condition}/Comment") })).await;
    assert_eq!(now["value"], "the fan is on again");

    // Every condition has these two; here they are of the configuration.
    for (name, of_type) in [("Enable", "i=9027"), ("Disable", "i=9028")] {
        let own = format!("{condition}/{name}");
        for method in [own.as_str(), of_type] {
            assert_eq!(ua.status(call(method, json!([]))).await, "BadNotExecutable", "{method}");
            for attribute in ["Executable", "UserExecutable"] {
                let read = ua.ok(json!({ "do": "attribute", "node": method, "attribute": attribute })).await;
                assert_eq!(read["value"], false, "{method} {attribute}");
            }
        }
    }
    let enabled = ua.ok(json!({ "do": "read", "node": format!("{condition}/EnabledState/Id") })).await;
    assert_eq!(enabled["value"], true);

    let mut viewer = Ua::enter(&rig, "viewer").await;
    let arguments = say(&raised, "localized", json!("me too"));
    assert_eq!(viewer.status(call("i=9029", arguments.clone())).await, "BadUserAccessDenied");

    let file = rig.dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("name = \"hot\"\n", "name = \"hot\"\nenabled = false\n")).unwrap();
    rig.handle.reload("test").await.unwrap();
    let off = ua.event("out of service", |e| e["EnabledState/Id"] == false).await;
    assert_eq!(off["Retain"], false, "{off}");
    let shelve = format!("{condition}/ShelvingState/OneShotShelve");
    for (method, arguments) in [("i=9029", arguments.clone()), ("i=9111", arguments), (&*shelve, json!([]))] {
        assert_eq!(ua.status(call(method, arguments)).await, "BadConditionDisabled", "{method}");
    }
    rig.stop().await;
}
