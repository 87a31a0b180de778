//! The buffer by the API of a running gateway: detail, export, check, and dropping on order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use common::api::{BufferDropped, BufferStatus, BufferVerify};
use reqwest::Method;
use rig::{Plc, Rig, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_are_counted_exported_verified_and_dropped_on_record() {
    let plc = Plc::start();
    let rig = Rig::start(&plc).await;
    let lines = async |format: &str| {
        let path = format!("/api/v1/buffer/export?from=-1h&format={format}&device=plc&point=temperature");
        rig.local(Method::GET, &path).send().await.unwrap().text().await.unwrap()
    };
    let csv =
        until("samples", || async { Some(lines("csv").await).filter(|l| l.lines().count() >= 2) }).await;
    assert!(csv.starts_with("time,received,device,point,value,unit,quality\n"));
    let row: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    assert_eq!((row[2], row[3], row.len()), ("plc", "temperature", 7), "{row:?}");
    let json_line: serde_json::Value =
        serde_json::from_str(lines("jsonl").await.lines().next().unwrap()).unwrap();
    assert_eq!(json_line["point"], "temperature");
    let status: BufferStatus = serde_json::from_value(rig.get("/api/v1/buffer").await).unwrap();
    assert_eq!(status.readers[0].name, "cloud");
    let durable = || async {
        let status: BufferStatus = serde_json::from_value(rig.get("/api/v1/buffer").await).unwrap();
        (status.samples.frames > 0).then_some(status)
    };
    until("frames on disk", durable).await;
    let report: BufferVerify = serde_json::from_value(rig.get("/api/v1/buffer/verify").await).unwrap();
    assert!(report.frames > 0 && report.damage.is_empty(), "{report:?}");

    let now_us = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    let order = json!({ "from_us": 0, "to_us": now_us, "reason": "a test" });
    let refused =
        rig.tcp(Some("engineer"), Method::POST, "/api/v1/buffer/drop").json(&order).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let empty = json!({ "from_us": 0, "to_us": now_us, "reason": " " });
    let refused =
        rig.tcp(Some("admin"), Method::POST, "/api/v1/buffer/drop").json(&empty).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let done = rig.tcp(Some("admin"), Method::POST, "/api/v1/buffer/drop").json(&order).send().await.unwrap();
    let done: BufferDropped = done.json().await.unwrap();
    assert!(done.frames > 0 && done.samples > 0, "{done:?}");
    let audit = rig.get("/api/v1/audit").await;
    let entries = audit["items"].as_array().unwrap();
    for action in ["buffer.drop_asked", "buffer.dropped"] {
        let entry = entries.iter().find(|e| e["action"] == action).unwrap();
        assert!(entry["detail"].as_str().unwrap().ends_with("a test"), "{entry}");
    }
    let lost = || async {
        let status: BufferStatus = serde_json::from_value(rig.get("/api/v1/buffer").await).unwrap();
        status.lost.get("operator").copied().filter(|l| l.samples == done.samples)
    };
    until("the loss", lost).await;
    rig.stop().await;
}
