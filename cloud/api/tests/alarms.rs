//! Alarms over HTTP: asked over a live session or not at all, on record, and never under another's grants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use common::alarm::{AlarmAct, AlarmState};
use common::api::Role;
use serde_json::json;
use support::{NOW_US, OVEN, Rig};

#[tokio::test(start_paused = true)]
async fn an_alarm_is_acknowledged_over_the_live_session_and_on_record() {
    let rig = Rig::new();
    let alarm = support::alarm(OVEN, "plant/coating/line1/oven");
    rig.storage.put_alarm(alarm.clone());
    let operator = rig.token("op", &[("plant/coating", Role::Operator)]);
    let path = format!("/api/v1/alarms/{}", alarm.id);
    let ask = async |what: &str, body: serde_json::Value| {
        rig.ask("POST", &format!("{path}/{what}")).bearer(&operator).json(&body).send().await
    };
    let acknowledge = json!({"raised_us": NOW_US, "comment": "on my way"});
    let view = ask("acknowledge", acknowledge.clone()).await.ok(202).json();
    assert_eq!(view["state"], "active", "the box decides");
    ask("shelve", json!({"duration_ms": 60_000})).await.ok(202);
    ask("unshelve", json!({})).await.ok(202);
    let orders: Vec<_> = rig.gateways.alarms.lock().unwrap().clone();
    let acts: Vec<_> = orders.iter().map(|o| o.act).collect();
    let (raised_us, duration_ms) = (NOW_US, 60_000);
    let wanted = [AlarmAct::Acknowledge { raised_us }, AlarmAct::Shelve { duration_ms }, AlarmAct::Unshelve];
    assert_eq!(acts, wanted);
    assert_eq!((orders[0].requester.name.as_str(), orders[0].comment.as_str()), ("op", "on my way"));
    let asked = rig.storage.entries().into_iter().filter(|e| e.action == "alarm.asked").collect::<Vec<_>>();
    assert_eq!((asked.len(), asked[0].twin, asked[0].actor.as_str()), (3, Some(OVEN), "op"));

    assert_eq!(ask("shelve", json!({"duration_ms": 0})).await.problem(400), "invalid_request");
    assert_eq!(ask("acknowledge", json!({})).await.problem(400), "invalid_request");
    let long = json!({"raised_us": 1, "comment": "x".repeat(501)});
    assert_eq!(ask("acknowledge", long).await.problem(400), "invalid_request");
    rig.gateways.old.lock().unwrap().push("gw1".into());
    assert_eq!(ask("acknowledge", acknowledge.clone()).await.problem(409), "not_supported");
    rig.gateways.sessions.lock().unwrap().clear();
    assert_eq!(ask("acknowledge", acknowledge).await.problem(409), "gateway_offline");
    assert_eq!(rig.gateways.alarms.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_list_has_what_is_open_or_all_in_pages() {
    let rig = Rig::new();
    let viewer = rig.token("v", &[("", Role::Viewer)]);
    for n in 0..5i64 {
        let mut alarm = support::alarm(OVEN, "an/old/place");
        alarm.id = common::AlarmId::derived(OVEN, "temperature", &n.to_string());
        alarm.at_us += n;
        if n == 4 {
            alarm.state = AlarmState::Normal;
        }
        rig.storage.put_alarm(alarm);
    }
    let list = async |query: &str| {
        rig.ask("GET", &format!("/api/v1/alarms{query}")).bearer(&viewer).send().await.ok(200).json()
    };
    assert_eq!(list("").await["items"].as_array().unwrap().len(), 4);
    assert_eq!(list("").await["items"][0]["asset"], "plant/coating/line1/oven", "where it stands now");
    assert_eq!(list("?all=true").await["items"].as_array().unwrap().len(), 5);
    let first = list("?limit=3").await;
    let rest = list(&format!("?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), rest.get("next_cursor")), (1, None));
}
