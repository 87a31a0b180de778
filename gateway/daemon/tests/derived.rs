//! Virtual points and alarms of a whole gateway: a PLC's values in, calculated ones out as any other point's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use common::alarm::{AlarmState, AlarmView};
use common::api::{HistoryResponse, Page};
use common::names::action;
use reqwest::Method;
use rig::{Plc, Rig, until};
use serde_json::json;

const VIRTUAL: &str = r#"
[[device]]
name = "calc"
asset = "plant/coating/line1/figures"
[device.virtual]
[[device.point]]
name = "twice"
type = "f64"
virtual = { expr = "kelvin * 2 - 546.3" }
[[device.point]]
name = "kelvin"
type = "f64"
virtual = { expr = "plc/temperature + 273.15" }
[[device.point]]
name = "safe"
type = "bool"
virtual = { expr = "good(plc/temperature)", period_ms = 20 }
[[device.point]]
name = "count"
type = "f64"
virtual = { expr = "counter(plc/free, 65536)" }
"#;

async fn with(text: &str, plc: &Plc, dir: tempfile::TempDir) -> Rig {
    let folder = dir.path().join("conf.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("more.toml"), text).unwrap();
    Rig::start_in(dir, plc).await
}

async fn figure(rig: &Rig, name: &str) -> (Option<f64>, String) {
    let twin: common::api::TwinView = serde_json::from_value(rig.get("/api/v1/twins/figures").await).unwrap();
    let point = twin.points.iter().find(|p| *p.schema.name == *name).unwrap();
    (point.value.as_ref().and_then(common::Value::as_f64), point.quality.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virtual_points_follow_their_inputs_through_chains_into_history_and_counters_outlive_a_restart() {
    let mut plc = Plc::start();
    plc.set(0, 215);
    plc.set(3, 10);
    let rig = with(VIRTUAL, &plc, tempfile::tempdir().unwrap()).await;
    until("the chain", || async {
        let (value, quality) = figure(&rig, "twice").await;
        (quality == "good" && (value? - 43.0).abs() < 1e-9).then_some(())
    })
    .await;
    until("a bool", || async { (figure(&rig, "safe").await == (Some(1.0), "good".into())).then_some(()) })
        .await;
    until("a start of the count", || async { (figure(&rig, "count").await.0 == Some(0.0)).then_some(()) })
        .await;
    plc.set(3, 25);
    until("the count", || async { (figure(&rig, "count").await.0 == Some(15.0)).then_some(()) }).await;
    plc.kill();
    until("bad quality", || async {
        let (value, quality) = figure(&rig, "twice").await;
        (value.is_none() && quality.starts_with("bad")).then_some(())
    })
    .await;
    until("not safe", || async { (figure(&rig, "safe").await == (Some(0.0), "good".into())).then_some(()) })
        .await;
    until("history", || async {
        let path = "/api/v1/twins/figures/points/kelvin/history";
        let h: HistoryResponse = serde_json::from_value(rig.get(path).await).unwrap();
        h.points.iter().any(|p| p.value.as_ref().and_then(common::Value::as_f64).is_some()).then_some(())
    })
    .await;
    let dir = rig.stop().await;
    plc.set(3, 30);
    plc.revive();
    let rig = with(VIRTUAL, &plc, dir).await;
    until("the count of before and since", || async {
        (figure(&rig, "count").await.0 == Some(20.0)).then_some(())
    })
    .await;
    rig.stop().await;
}

const ALARMS: &str = r#"
[[device]]
name = "watch"
asset = "plant/coating/line1/watch"
[device.virtual]
[[device.point]]
name = "temperature"
type = "f64"
unit = "Cel"
virtual = { expr = "plc/temperature" }
[[device.point.alarm]]
kind = "hi"
limit = 90
hysteresis = 5
priority = "high"
text = "too hot"
"#;

async fn alarms(rig: &Rig, all: bool) -> Vec<AlarmView> {
    let page: Page<AlarmView> =
        serde_json::from_value(rig.get(&format!("/api/v1/alarms?all={all}")).await).unwrap();
    page.items
}

async fn post(rig: &Rig, path: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
    let answer = rig.local(Method::POST, path).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_raised_acknowledged_kept_over_a_restart_and_shelved() {
    let plc = Plc::start();
    plc.set(0, 215);
    let rig = with(ALARMS, &plc, tempfile::tempdir().unwrap()).await;
    assert_eq!(alarms(&rig, true).await[0].state, AlarmState::Normal);
    assert_eq!(alarms(&rig, false).await, []);
    plc.set(0, 950);
    let raised = until("the alarm", || async { alarms(&rig, false).await.pop() }).await;
    assert_eq!((raised.state, raised.text.as_str()), (AlarmState::Active, "too hot"));
    assert_eq!(raised.value, Some(common::Value::F64(95.0)));

    let path = format!("/api/v1/alarms/{}", raised.id);
    let older = json!({ "raised_us": 1, "comment": "" });
    let (status, view) = post(&rig, &format!("{path}/acknowledge"), older).await;
    assert_eq!((status, &view["state"]), (200, &json!("active")), "another occurrence");
    let this = json!({ "raised_us": raised.raised_us, "comment": "on my way" });
    for _ in 0..2 {
        let (status, view) = post(&rig, &format!("{path}/acknowledge"), this.clone()).await;
        assert_eq!((status, &view["state"]), (200, &json!("acknowledged")));
        assert_eq!(view["comment"], "on my way");
    }
    assert_eq!(post(&rig, &format!("{path}/shelve"), json!({ "duration_ms": 0 })).await.0, 400);
    let unknown = "/api/v1/alarms/00000000-0000-0000-0000-000000000000/unshelve";
    assert_eq!(post(&rig, unknown, json!({})).await.0, 404);

    let rig = with(ALARMS, &plc, rig.stop().await).await;
    let kept = until("the alarm as it was", || async { alarms(&rig, false).await.pop() }).await;
    assert_eq!((kept.state, kept.raised_us), (AlarmState::Acknowledged, raised.raised_us));
    let (status, view) = post(&rig, &format!("{path}/shelve"), json!({ "duration_ms": 60000 })).await;
    assert_eq!((status, view["shelved_until_us"].is_i64()), (200, true));
    plc.set(0, 215);
    until("the end of it", || async {
        alarms(&rig, true).await.pop().filter(|a| a.state == AlarmState::Normal)
    })
    .await;
    until("every change in the list", || async {
        let audit: Page<common::command::LogEntry> =
            serde_json::from_value(rig.get("/api/v1/audit?limit=1000").await).unwrap();
        let count = |a: &str| audit.items.iter().filter(|e| e.action == a).count();
        let told =
            [action::ALARM_RAISED, action::ALARM_ACKNOWLEDGED, action::ALARM_SHELVED, action::ALARM_CLEARED];
        (told.map(count) == [1, 1, 1, 1]).then_some(())
    })
    .await;
    rig.stop().await;
}
