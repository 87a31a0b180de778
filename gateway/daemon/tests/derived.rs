//! Virtual points and alarms of a whole gateway: a PLC's values in, calculated ones out as any other point's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use common::api::HistoryResponse;
use rig::{Plc, Rig, until};

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
    let point = twin.points.iter().find(|p| p.schema.name == name).unwrap();
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
