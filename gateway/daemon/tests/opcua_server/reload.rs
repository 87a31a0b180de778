//! `[opcua_server]` read again while the gateway runs: its server alone is started anew, and only if its section changed.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Plc, Rig};
use crate::ua::{SERVER, Ua, gateway, id, remote, told, trust_all, url};

async fn addresses(rig: &Rig) -> Value {
    serde_json::from_str(&std::fs::read_to_string(rig.dir.path().join("data/addresses.json")).unwrap())
        .unwrap()
}

fn listening(at: &str, more: &str) -> String {
    format!("[opcua_server]\nlisten = \"{at}\"\nhosts = [\"127.0.0.1\"]\n{more}")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_an_unchanged_section_notice_nothing_and_users_change_at_once() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let file = crate::ua::passwords(dir.path(), &["ann"]);
    let users = format!("passwords_file = {file:?}\n");
    let rig = gateway(&plc, &users, "").await;
    remote(&rig).await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    ua.ok(json!({ "do": "subscribe", "nodes": [id("plc/door")] })).await;
    told(&mut ua, "the first value", |t| t["value"] == 0).await;
    let report = rig.reload(&plc, &format!("{SERVER}{users}operators = [\"ann\"]\n")).await.unwrap();
    assert_eq!(
        (&report.settings[..], &report.restart_needed[..]),
        (&["opcua_server.operators".to_owned()][..], &[][..])
    );
    plc.set(2, 5);
    told(&mut ua, "the subscription goes on", |t| t["value"] == 5).await;
    let mut ann = Ua::start();
    let mut question = ann.login(&rig, "ann", "Basic256Sha256");
    question["password"] = json!("secret of ann");
    assert!(ann.ask(question.clone()).await.get("ok").is_none());
    trust_all(&rig).await;
    ann.ok(question).await;
    ann.ok(json!({ "do": "write", "node": id("plc/free"), "type": "i64", "value": 5 })).await;
    assert_eq!(plc.get(3), 5);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_section_starts_the_server_anew_and_nothing_else() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    let first = rig.handle.opcua_addr().unwrap();
    let mut ua = Ua::enter(&rig, "viewer").await;
    ua.ok(json!({ "do": "read", "node": id("plc/door") })).await;

    // Limits: at the same address.
    let report = rig.reload(&plc, &format!("{SERVER}max_sessions = 1\n")).await.unwrap();
    assert_eq!(
        (&report.settings[..], &report.restart_needed[..]),
        (&["opcua_server".to_owned()][..], &[][..])
    );
    assert!(report.restarted.is_empty(), "{report:?}");
    assert_eq!(rig.handle.opcua_addr(), Some(first));
    let mut one = Ua::enter(&rig, "viewer").await;
    let mut two = Ua::start();
    let _ = two.ask(two.login(&rig, "viewer", "Basic256Sha256")).await;
    trust_all(&rig).await;
    assert_eq!(two.status(two.login(&rig, "viewer", "Basic256Sha256")).await, "BadTooManySessions");
    one.ok(json!({ "do": "read", "node": id("plc/door") })).await;

    // Anonymous readers, who are turned away again.
    rig.reload(&plc, &format!("{SERVER}anonymous = true\n")).await.unwrap();
    let mut anybody = Ua::start();
    anybody.ok(json!({ "do": "connect", "url": url(&rig) })).await;
    rig.reload(&plc, SERVER).await.unwrap();
    assert!(
        anybody.ask(json!({ "do": "connect", "url": url(&rig), "timeout": 5 })).await.get("ok").is_none()
    );

    // Another name in the endpoints.
    rig.reload(&plc, &SERVER.replace("hosts = [\"127.0.0.1\"]", "hosts = [\"localhost\"]")).await.unwrap();
    let offered = anybody.ok(json!({ "do": "endpoints", "url": url(&rig) })).await;
    assert_eq!(offered[0]["url"], format!("opc.tcp://localhost:{}/", first.port()));

    // Off, and on again.
    rig.reload(&plc, "").await.unwrap();
    assert_eq!((rig.handle.opcua_addr(), &addresses(&rig).await["opcua"]), (None, &Value::Null));
    assert!(TcpStream::connect(first).await.is_err());
    rig.reload(&plc, SERVER).await.unwrap();
    let mut again = Ua::enter(&rig, "viewer").await;
    assert_eq!(again.ok(json!({ "do": "read", "node": id("plc/door") })).await["status"], "Good");
    let parts = rig.get("/api/v1/gateways").await;
    assert!(parts.to_string().contains("\"opcua\""), "{parts}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_moves_to_another_address_and_a_taken_one_refuses_the_reload() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    let first = rig.handle.opcua_addr().unwrap();
    let mut ua = Ua::enter(&rig, "viewer").await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let refused = rig.reload(&plc, &listening(&at, "")).await.unwrap_err().to_string();
    assert!(refused.contains(&at), "{refused}");
    // The one before goes on, with its sessions.
    ua.ok(json!({ "do": "read", "node": id("plc/door") })).await;

    rig.reload(&plc, &listening("127.0.0.2:0", "")).await.unwrap();
    let second = rig.handle.opcua_addr().unwrap();
    assert_eq!(
        (second.ip().to_string(), addresses(&rig).await["opcua"].clone()),
        ("127.0.0.2".to_owned(), json!(second))
    );
    assert!(TcpStream::connect(first).await.is_err());
    let mut ua = Ua::enter(&rig, "viewer").await;
    assert_eq!(ua.ok(json!({ "do": "read", "node": id("plc/door") })).await["status"], "Good");

    // From one address of a port to all of it: the old one must be left before.
    drop(taken);
    rig.reload(&plc, &listening(&at, "")).await.unwrap();
    let port = rig.handle.opcua_addr().unwrap().port();
    rig.reload(&plc, &listening(&format!("0.0.0.0:{port}"), "")).await.unwrap();
    let wide: SocketAddr = format!("127.0.0.3:{port}").parse().unwrap();
    let mut ua = Ua::start();
    let offered = ua.ok(json!({ "do": "endpoints", "url": format!("opc.tcp://{wide}/") })).await;
    assert_eq!(offered.as_array().unwrap().len(), 6);
    rig.stop().await;
}
