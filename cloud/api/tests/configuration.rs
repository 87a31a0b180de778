//! Configuration documents: who puts one on top of which, and what is told of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use cloud_core::GatewayKey;
use cloud_core::configuration::ConfigurationStorage as _;
use common::TenantId;
use common::api::{
    Accepts, ConfigurationReport, ConfigurationState, ConfigurationView, DocumentRef, DocumentState, Role,
};
use serde_json::{Value as Json, json};
use support::{Answer, Rig};

const ROUTE: &str = "/api/v1/gateways/gw1/configuration";

async fn put(rig: &Rig, over: &str, body: Json) -> Answer {
    rig.ask("PUT", ROUTE).bearer(&rig.admin()).header("if-match", over).json(&body).send().await
}

fn view(answer: Answer) -> ConfigurationView {
    serde_json::from_value(answer.ok(200).json()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn documents_are_put_one_on_top_of_the_other_and_handed_to_the_gateway() {
    let rig = Rig::new();
    let none = rig.ask("GET", ROUTE).bearer(&rig.admin()).send().await.ok(200);
    assert_eq!(none.headers["etag"], "\"0\"");
    assert_eq!(view(none).state, ConfigurationState::None);

    let first = put(&rig, "\"0\"", json!({"document": "# one", "note": "first"})).await;
    assert_eq!(first.headers["etag"], "\"1\"");
    let first = view(first);
    assert_eq!(first.state, ConfigurationState::Waiting);
    let wanted = first.wanted.unwrap();
    assert_eq!((wanted.version, wanted.bytes, wanted.note.as_str()), (1, 5, "first"));
    assert_eq!(wanted.hash, "440f87a565a26f2760a3506c12b2deb62d46bf97c1c4387526cf1db6237755b1");
    // Two people read the first one: the second of them is told.
    put(&rig, "\"1\"", json!({"document": "# two"})).await.ok(200);
    assert_eq!(put(&rig, "\"1\"", json!({"document": "# three"})).await.problem(412), "precondition_failed");
    let without = rig.ask("PUT", ROUTE).bearer(&rig.admin()).json(&json!({"document": ""})).send().await;
    assert_eq!(without.problem(428), "precondition_required");

    let handed: Vec<_> = rig.gateways.wanted.lock().unwrap().iter().map(|w| w.document.clone()).collect();
    assert_eq!(handed, ["# one", "# two"]);
    let list = rig.ask("GET", &format!("{ROUTE}/documents")).bearer(&rig.admin()).send().await.ok(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let one =
        rig.ask("GET", &format!("{ROUTE}/documents/1")).bearer(&rig.admin()).send().await.ok(200).json();
    assert_eq!((&one["document"], &one["entry"]["version"]), (&json!("# one"), &json!(1)));
    let gone = rig.ask("GET", &format!("{ROUTE}/documents/3")).bearer(&rig.admin()).send().await;
    assert_eq!(gone.problem(404), "not_found");

    let audit = rig.ask("GET", "/api/v1/audit").bearer(&rig.admin()).send().await.ok(200).json();
    let puts = audit["items"].as_array().unwrap().iter().filter(|e| e["action"] == "configuration.put");
    assert_eq!(puts.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_document_rests_on_the_files_that_its_predecessor_was_taken_with() {
    let rig = Rig::new();
    let key = GatewayKey { tenant: TenantId::default(), gateway: "gw1".parse().unwrap() };
    let told = ConfigurationReport {
        accepts: Accepts::Read,
        local: "aa".into(),
        at_us: support::NOW_US,
        ..ConfigurationReport::default()
    };
    rig.storage.keep_configuration_report(&key, &told, &[]).await.unwrap();
    let first = view(put(&rig, "*", json!({"document": "# one"})).await).wanted.unwrap();
    assert_eq!((first.base.as_deref(), first.force), (None, false), "nothing runs that could be passed over");
    // It runs, and somebody changed the box's files: the next one still rests on what its author could know.
    let applied = ConfigurationReport {
        judged: Some(DocumentRef { version: 1, hash: first.hash }),
        state: DocumentState::Applied,
        settled: Some("aa".into()),
        local: "bb".into(),
        changed: true,
        ..told
    };
    rig.storage.keep_configuration_report(&key, &applied, &[]).await.unwrap();
    let now = view(rig.ask("GET", ROUTE).bearer(&rig.admin()).send().await);
    assert_eq!(now.state, ConfigurationState::Applied);
    assert!(now.report.unwrap().changed);
    let second = view(put(&rig, "\"1\"", json!({"document": "# two", "force": true})).await).wanted.unwrap();
    assert_eq!((second.base.as_deref(), second.force), (Some("aa"), true));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_document_is_refused_at_once() {
    let rig = Rig::new();
    let large = "#".repeat((1 << 20) + 1);
    assert_eq!(put(&rig, "*", json!({"document": large})).await.problem(413), "too_large");
    put(&rig, "*", json!({"document": "\"".repeat(1 << 20)})).await.ok(200);
    assert_eq!(put(&rig, "*", json!({"document": "a\u{0}b"})).await.problem(400), "invalid_request");
    let unknown = rig.ask("GET", "/api/v1/gateways/gw9/configuration").bearer(&rig.admin()).send().await;
    assert_eq!(unknown.problem(404), "not_found");
    let engineer = rig.token("e", &[("", Role::Engineer)]);
    let ask = rig.ask("PUT", ROUTE).bearer(&engineer).header("if-match", "*").json(&json!({"document": ""}));
    assert_eq!(ask.send().await.problem(403), "forbidden");
    rig.ask("GET", ROUTE).bearer(&engineer).send().await.ok(200);
}
