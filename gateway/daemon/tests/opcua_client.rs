//! An OPC UA server that we did not write behind the whole gateway: its certificate is refused, trusted over the API by
//! an admin alone, its values come, it is written through the command path, browsed and read; all of it is on record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::api::{OpcuaBrowsed, OpcuaCertificate, OpcuaEndpoint, OpcuaPoint, OpcuaValue, Page};
use common::command::LogEntry;
use reqwest::Method;
use rig::{Plc, Rig, until};
use serde_json::json;

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join("target/asyncua/bin/python");
        assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
        let mut child = Command::new(python)
            .arg(root.join("gateway/adapters/tests/opcua/server.py"))
            .args(["security=all".to_owned(), format!("folder={}", folder.display())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).find(|l| l.starts_with("ready ")).unwrap();
        Self { child, port: ready.trim_start_matches("ready ").parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(input) = &mut self.child.stdin {
            let _ = writeln!(input, "stop");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn page<T: serde::de::DeserializeOwned>(request: reqwest::RequestBuilder) -> Vec<T> {
    let response = request.send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    response.json::<Page<T>>().await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_read_written_browsed_and_all_of_it_is_on_record() {
    let keys = tempfile::tempdir().unwrap();
    let server = Server::start(keys.path());
    let url = format!("opc.tcp://127.0.0.1:{}/plant", server.port);
    let more = format!(
        r#"
[[device]]
name = "press"
asset = "plant/forming/press"
[device.opcua]
url = "{url}"
publishing_ms = 100
refused_pause_ms = 1000
[[device.point]]
name = "temp"
type = "f64"
opcua = {{ node = "nsu=http://twinway.test/plant;s=Temp" }}
[[device.point]]
name = "speed"
type = "i64"
access = "read_write"
write_min = 0
write_max = 50
opcua = {{ node = "nsu=http://twinway.test/plant;s=Speed" }}
"#
    );
    let plc = Plc::start();
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), &plc, &more).await;

    let ask = json!({ "url": url });
    let offered = rig.local(Method::POST, "/api/v1/opcua/endpoints").json(&ask);
    let offered: Vec<OpcuaEndpoint> = page(offered).await;
    let secure = offered.iter().find(|e| e.policy == "Aes256_Sha256_RsaPss").unwrap();
    assert!(secure.doubts.iter().any(|d| d.contains("not trusted")), "{secure:?}");

    let certificates = || page::<OpcuaCertificate>(rig.local(Method::GET, "/api/v1/opcua/certificates"));
    let is_refused = || async { certificates().await.iter().any(|c| c.folder == "rejected").then_some(()) };
    until("the certificate is refused", is_refused).await;
    let trust = format!("/api/v1/opcua/certificates/{}/trust", secure.fingerprint);
    let refused = rig.tcp(Some("engineer"), Method::POST, &trust).json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 403, "an admin alone says whom to trust");
    let trusted = rig.local(Method::POST, &trust).json(&json!({})).send().await.unwrap();
    assert!(trusted.status().is_success(), "{}", trusted.text().await.unwrap());

    let points = || page::<OpcuaPoint>(rig.local(Method::GET, "/api/v1/opcua/points"));
    let are_good = || async { points().await.iter().all(|p| p.status == "Good").then_some(()) };
    until("both points are good", are_good).await;

    let command = |value: i64| {
        let body = json!({ "point": "speed", "value": value, "ttl_ms": 5000, "reason": "test" });
        rig.local(Method::POST, "/api/v1/twins/press/commands")
            .header("idempotency-key", format!("k{value}"))
            .json(&body)
    };
    for (value, state) in [(42, "succeeded"), (60, "rejected")] {
        let taken: serde_json::Value = command(value).send().await.unwrap().json().await.unwrap();
        let id = taken["id"].as_str().unwrap().to_owned();
        let one = rig.local(Method::GET, &format!("/api/v1/commands/{id}?wait_ms=10000"));
        let ended: serde_json::Value = one.send().await.unwrap().json().await.unwrap();
        assert_eq!(ended["state"], state, "{ended}");
    }

    let body = json!({ "server": { "device": "press" }, "depth": 3, "nodes": 1000, "time_ms": 20000 });
    let browsed = rig.local(Method::POST, "/api/v1/opcua/browse").json(&body).send().await.unwrap();
    let browsed: OpcuaBrowsed = browsed.json().await.unwrap();
    let speed = browsed.items.iter().find(|n| n.path == "Plant/Speed").unwrap();
    assert_eq!((speed.data_type.as_deref(), speed.writable), (Some("Int16"), true));
    let body = json!({ "server": { "device": "press" }, "nodes": [speed.node] });
    let read: Vec<OpcuaValue> = page(rig.local(Method::POST, "/api/v1/opcua/read").json(&body)).await;
    assert_eq!((read[0].text.as_str(), read[0].status.as_str()), ("42", "Good"));

    let audit: Vec<LogEntry> = page(rig.local(Method::GET, "/api/v1/audit?limit=1000")).await;
    for action in ["certificate.trusted", "device.online", "command.succeeded", "command.rejected"] {
        assert!(audit.iter().any(|e| e.action == action), "{action}: {audit:#?}");
    }
    rig.stop().await;
}
