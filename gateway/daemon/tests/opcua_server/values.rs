//! Reads and subscriptions: what a client sees is what the box has, with its time and quality.

use serde_json::{Value, json};

use crate::rig::{Plc, until};
use crate::ua::{Ua, gateway, id, told};

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_client_browses_everything_and_reads_typed_points() {
    let mut plc = Plc::start();
    plc.set(0, 215);
    let rig = gateway(&plc, "", "").await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    let tree = ua.ok(json!({ "do": "tree", "node": "i=85" })).await;
    let device = "/g1/plant/coating/line1/oven";
    for (path, class) in [
        ("/g1".to_owned(), "Object"),
        ("/g1/plant/coating".to_owned(), "Object"),
        (device.to_owned(), "Object"),
        (format!("{device}/temperature"), "Variable"),
        (format!("{device}/temperature/EngineeringUnits"), "Variable"),
        (format!("{device}/setpoint/EURange"), "Variable"),
        (format!("{device}/Health/Connected"), "Variable"),
        (format!("{device}/Identification/AssetId"), "Variable"),
        (format!("{device}/Command"), "Method"),
    ] {
        assert_eq!(tree[&path]["class"], class, "{path}");
    }
    assert_eq!(tree[&format!("{device}/temperature")]["id"], id("plc/temperature"));
    // AnalogUnitRangeType, AnalogUnitType.
    assert_eq!(tree[&format!("{device}/setpoint")]["type"], "i=17570");
    assert_eq!(tree[&format!("{device}/temperature")]["type"], "i=17497");

    let read = ua.ok(json!({ "do": "read", "node": id("plc/temperature") })).await;
    assert_eq!(
        (&read["value"], &read["type"], &read["status"]),
        (&json!(21.5), &json!("Double"), &json!("Good"))
    );
    assert!(read["source"].as_f64().unwrap() > 1.6e9);
    let range = ua.ok(json!({ "do": "read", "node": id("plc/setpoint:EURange") })).await;
    assert_eq!((&range["value"]["Low"], &range["value"]["High"]), (&json!(0.0), &json!(200.0)));
    let unit = ua.ok(json!({ "do": "read", "node": id("plc/temperature:EngineeringUnits") })).await;
    assert_eq!(unit["value"]["UnitId"], 4_408_652);
    for (attribute, expected) in
        [("DataType", json!("i=11")), ("AccessLevel", json!(5)), ("ValueRank", json!(-1))]
    {
        let value =
            ua.ok(json!({ "do": "attribute", "node": id("plc/temperature"), "attribute": attribute })).await;
        assert_eq!(value["value"], expected, "{attribute}");
    }
    let connected = ua.ok(json!({ "do": "read", "node": id("plc:Health/Connected") })).await;
    assert_eq!(connected["value"], true);
    let nothing = ua.ok(json!({ "do": "read", "node": id("plc/nothing") })).await;
    assert_eq!(nothing["status"], "BadNodeIdUnknown");
    plc.kill();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_tells_every_change_with_its_time_and_what_becomes_bad() {
    let mut plc = Plc::start();
    plc.set(2, 0);
    let rig = gateway(&plc, "", "").await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    let nodes = [id("plc/door"), id("plc/temperature"), id("plc:Health/Connected")];
    let made = ua.ok(json!({ "do": "subscribe", "nodes": nodes })).await;
    assert!(made.as_array().unwrap().iter().all(Value::is_number), "{made}");
    told(&mut ua, "the first value", |t| t["node"] == "plc/door" && t["value"] == 0).await;
    let mut all = Vec::new();
    for n in 1..=20u16 {
        plc.set(2, n);
        all.extend(told(&mut ua, &format!("{n}"), |t| t["node"] == "plc/door" && t["value"] == n).await);
    }
    let counted: Vec<_> = all.iter().filter(|t| t["node"] == "plc/door").collect();
    let values: Vec<u64> = counted.iter().map(|t| t["value"].as_u64().unwrap()).collect();
    assert_eq!(values, (1..=20).collect::<Vec<_>>(), "each once, in order");
    let times: Vec<f64> = counted.iter().map(|t| t["source"].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|w| w[0] < w[1]), "{times:?}");

    plc.kill();
    let (mut is_bad, mut is_away) = (false, false);
    let both = told(&mut ua, "bad, and not connected", |t| {
        is_bad |= t["node"] == "plc/door" && t["status"].as_str() != Some("Good");
        is_away |= t["node"] == "plc:Health/Connected" && t["value"] == false;
        is_bad && is_away
    });
    let bad = both.await;
    let bad = bad.iter().rev().find(|t| t["node"] == "plc/door").unwrap();
    assert!(bad["value"].is_null() && bad["status"].as_str().unwrap().starts_with("Bad"), "{bad}");
    plc.revive();
    told(&mut ua, "good again", |t| t["node"] == "plc/door" && t["value"] == 20 && t["status"] == "Good")
        .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_read_from_the_buffer_in_pages_both_ways() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    for n in 1..=30u16 {
        plc.set(2, n);
        until("read", || async { (rig.point("door").await.0 == Some(f64::from(n))).then_some(()) }).await;
    }
    let ask = |from: Value, to: Value, count: u32| json!({ "do": "history", "node": id("plc/door"), "from": from, "to": to, "count": count });
    let now = 4_000_000_000_000_000i64;
    let values = |v: &Value| -> Vec<u64> {
        let good = v.as_array().unwrap().iter().filter(|d| d["status"] == "Good");
        let mut all: Vec<u64> = good.map(|d| d["value"].as_u64().unwrap()).collect();
        all.dedup();
        all
    };
    let mut forward = Value::Null;
    for _ in 0..500 {
        forward = ua.ok(ask(json!(1_000_000), json!(now), 0)).await;
        if values(&forward).last() == Some(&30) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let all = values(&forward);
    assert_eq!(all, (all[0]..=30).collect::<Vec<_>>());
    assert!(all[0] <= 1);
    let times: Vec<f64> = forward.as_array().unwrap().iter().map(|d| d["source"].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|w| w[0] <= w[1]));
    let newest = ua.ok(ask(json!(now), json!(1_000_000), 5)).await;
    let newest: Vec<_> = newest.as_array().unwrap().iter().map(|d| d["source"].clone()).collect();
    let good = forward.as_array().unwrap().iter().filter(|d| d["status"] == "Good");
    let mut last: Vec<_> = good.map(|d| d["source"].clone()).collect();
    last.reverse();
    // Values go on coming, so that the newest of now may be newer.
    assert_eq!(newest.len(), 5);
    assert!(newest[0].as_f64() >= last[0].as_f64());
    let refused =
        ua.ask(json!({ "do": "history", "node": id("plc:Health/Connected"), "from": 1, "to": now })).await;
    assert!(refused.get("ok").is_none() || refused["ok"] == json!([]), "{refused}");
    rig.stop().await;
}
