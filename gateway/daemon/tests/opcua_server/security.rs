//! Who is let in: certificates, users, policies.

use serde_json::{Value, json};

use crate::rig::Plc;
use crate::ua::{Ua, gateway, id, passwords, trust_all, url};

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_and_mode_works_for_a_trusted_certificate_and_a_right_password_only() {
    let plc = Plc::start();
    let dir = tempfile::tempdir().unwrap();
    let file = passwords(dir.path(), &["ann", "bob"]);
    let rig = gateway(&plc, &format!("passwords_file = {file:?}\noperators = [\"ann\"]\n"), "").await;
    let mut ua = Ua::start();
    let offered = ua.ok(json!({ "do": "endpoints", "url": url(&rig) })).await;
    let offered = offered.as_array().unwrap();
    assert_eq!(offered.len(), 6, "{offered:?}");
    assert!(
        offered.iter().all(|e| e["policy"] != "None" && e["tokens"] == json!(["UserName"])),
        "{offered:?}"
    );
    assert!(offered.iter().all(|e| e["url"] == url(&rig)), "{offered:?}");
    let _ = ua.ask(ua.login(&rig, "viewer", "Basic256Sha256")).await;
    let seen = rig.get("/api/v1/opcua/certificates").await;
    let rejected = seen["items"].as_array().unwrap().iter().find(|c| c["folder"] == "rejected").unwrap();
    assert_eq!(rejected["application"], "urn:test:client");
    trust_all(&rig).await;
    for policy in ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"] {
        for mode in ["Sign", "SignAndEncrypt"] {
            let mut question = ua.login(&rig, "viewer", policy);
            question["mode"] = json!(mode);
            let answer = ua.ask(question).await;
            assert!(answer.get("ok").is_some(), "{policy} {mode}: {answer}");
            assert_eq!(ua.ok(json!({ "do": "read", "node": id("plc/door") })).await["status"], "Good");
            ua.ok(json!({ "do": "disconnect" })).await;
        }
    }
    let with = |ua: &Ua, user: &str, password: &str| {
        let mut question = ua.login(&rig, user, "Basic256Sha256");
        question["password"] = json!(password);
        question
    };
    ua.ok(with(&ua, "ann", "secret of ann")).await;
    ua.ok(json!({ "do": "disconnect" })).await;
    assert_eq!(ua.status(with(&ua, "ann", "secret of bob")).await, "BadUserAccessDenied");
    assert_eq!(ua.status(with(&ua, "nobody", "x")).await, "BadUserAccessDenied");
    let audit = rig.get("/api/v1/audit?limit=200").await.to_string();
    assert!(audit.contains("user.login_failed") && audit.contains("certificate.trusted"), "{audit}");
    assert!(!audit.contains("secret of"), "a password is on record");
    // Without encryption there is no session at all.
    let plain = ua.ask(json!({ "do": "connect", "url": url(&rig), "timeout": 5 })).await;
    assert!(plain.get("ok").is_none(), "{plain}");

    // Trust that is taken back holds for the next session.
    let refused = seen["items"].as_array().unwrap().iter().find(|c| c["folder"] == "rejected").unwrap();
    let fingerprint = refused["fingerprint"].as_str().unwrap();
    let path = format!("/api/v1/opcua/certificates/{fingerprint}/distrust");
    assert!(rig.local(reqwest::Method::POST, &path).send().await.unwrap().status().is_success());
    assert!(ua.ask(ua.login(&rig, "viewer", "Basic256Sha256")).await.get("ok").is_none());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_though_it_is_trusted() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    let mut ua = Ua::start();
    let mut question = ua.login(&rig, "viewer", "Basic256Sha256");
    question["days"] = json!(-1);
    question["name"] = json!("old");
    assert!(ua.ask(question.clone()).await.get("ok").is_none());
    trust_all(&rig).await;
    assert!(ua.ask(question).await.get("ok").is_none());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_clients_read_where_it_is_configured_and_never_write() {
    let plc = Plc::start();
    let rig = gateway(&plc, "anonymous = true\n", "").await;
    crate::ua::remote(&rig).await;
    let mut ua = Ua::start();
    ua.ok(json!({ "do": "connect", "url": url(&rig) })).await;
    let read: Value = ua.ok(json!({ "do": "read", "node": id("plc/door") })).await;
    assert_eq!(read["status"], "Good");
    let write = json!({ "do": "write", "node": id("plc/free"), "type": "i64", "value": 5 });
    assert_eq!(ua.status(write).await, "BadUserAccessDenied");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_box_is_the_same_after_a_restart() {
    let plc = Plc::start();
    let rig = gateway(&plc, "", "").await;
    let own = |dir: &std::path::Path| std::fs::read(dir.join("data/pki/own/cert.der")).unwrap();
    let path = rig.dir.path().join("data/pki/own/cert.der");
    crate::rig::until("the certificate is made", || async { path.exists().then_some(()) }).await;
    let first = own(rig.dir.path());
    let certificate = gateway_opcua::pki::Certificate::from_der(&first).unwrap();
    let hosts = certificate.hosts();
    assert!(hosts.iter().any(|h| h == "127.0.0.1") && hosts.iter().any(|h| h == "localhost"), "{hosts:?}");
    assert_eq!(certificate.application_uri().as_deref(), Some("urn:twinway:default:g1"));
    let namespaces = {
        let mut ua = Ua::enter(&rig, "viewer").await;
        ua.ok(json!({ "do": "read", "node": "i=2255" })).await["value"].clone()
    };
    assert_eq!(namespaces[2], "urn:twinway:default:g1:devices");
    let dir = rig.stop().await;
    let rig = crate::rig::Rig::start_with(dir, &plc, crate::ua::SERVER).await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    assert_eq!(ua.ok(json!({ "do": "read", "node": id("plc/door") })).await["status"], "Good");
    assert_eq!(own(rig.dir.path()), first);
    assert_eq!(ua.ok(json!({ "do": "read", "node": "i=2255" })).await["value"], namespaces);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_with_a_certificate_that_is_trusted_for_users() {
    let plc = Plc::start();
    let rig = gateway(&plc, "user_certificates = true\noperators = [\"ann\"]\n", "").await;
    crate::ua::remote(&rig).await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    ua.ok(json!({ "do": "disconnect" })).await;
    let offered = ua.ok(json!({ "do": "endpoints", "url": url(&rig) })).await;
    assert!(
        offered.as_array().unwrap().iter().all(|e| e["tokens"] == json!(["UserName", "Certificate"])),
        "{offered}"
    );
    let by = |ua: &Ua, name: &str, more: Value| {
        let mut question = ua.login(&rig, "nobody", "Basic256Sha256");
        question["user_certificate"] = json!(name);
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        question
    };
    assert_eq!(ua.status(by(&ua, "ann", json!({}))).await, "BadIdentityTokenRejected");
    let listed = rig.get("/api/v1/opcua/certificates").await;
    let ann =
        listed["items"].as_array().unwrap().iter().find(|c| c["folder"] == "users/rejected").unwrap().clone();
    assert_eq!(ann["subject"], "CN=ann");
    let post = |path: String| {
        let request = rig.local(reqwest::Method::POST, &path);
        async move { request.send().await.unwrap() }
    };
    let fingerprint = ann["fingerprint"].as_str().unwrap();
    // Trusting applications is another matter.
    let other = post(format!("/api/v1/opcua/certificates/{fingerprint}/trust")).await;
    assert_eq!(other.status(), 404);
    let trusted = post(format!("/api/v1/opcua/users/{fingerprint}/trust")).await;
    assert_eq!(trusted.json::<Value>().await.unwrap()["folder"], "users/trusted");
    for policy in ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"] {
        let mut question = by(&ua, "ann", json!({}));
        question["policy"] = json!(policy);
        ua.ok(question).await;
        ua.ok(json!({ "do": "disconnect" })).await;
    }
    ua.ok(by(&ua, "ann", json!({}))).await;
    let write = json!({ "do": "write", "node": id("plc/free"), "type": "i64", "value": 5 });
    ua.ok(write.clone()).await;
    let taken = rig.get("/api/v1/commands").await;
    assert_eq!(taken["items"][0]["requester"], json!({ "name": "ann", "origin": "opcua" }));
    ua.ok(json!({ "do": "disconnect" })).await;
    // Her certificate with another key.
    let stolen = ua.ask(by(&ua, "ann", json!({ "user_key": "thief" }))).await;
    assert!(stolen.get("ok").is_none(), "{stolen}");

    // One who is no operator reads, one whose time is over does not come in.
    for (name, days) in [("bob", 365), ("old", -1)] {
        let question = by(&ua, name, json!({ "user_days": days }));
        assert_eq!(ua.status(question.clone()).await, "BadIdentityTokenRejected");
        let listed = rig.get("/api/v1/opcua/certificates").await;
        let found = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["subject"] == format!("CN={name}"))
            .unwrap()
            .clone();
        post(format!("/api/v1/opcua/users/{}/trust", found["fingerprint"].as_str().unwrap())).await;
        if days < 0 {
            assert_eq!(ua.status(question).await, "BadIdentityTokenRejected");
        } else {
            ua.ok(question).await;
            assert_eq!(ua.ok(json!({ "do": "read", "node": id("plc/door") })).await["status"], "Good");
            assert_eq!(ua.status(write.clone()).await, "BadUserAccessDenied");
            ua.ok(json!({ "do": "disconnect" })).await;
        }
    }
    let back = post(format!("/api/v1/opcua/users/{fingerprint}/distrust")).await;
    assert_eq!(back.json::<Value>().await.unwrap()["folder"], "users/rejected");
    assert_eq!(ua.status(by(&ua, "ann", json!({}))).await, "BadIdentityTokenRejected");
    let audit = rig.get("/api/v1/audit?limit=200").await;
    let told = |action: &str, actor: &str, part: &str| {
        let items = audit["items"].as_array().unwrap();
        items.iter().any(|e| e["action"] == action && e["actor"] == actor && e.to_string().contains(part))
    };
    assert!(
        told("user.login", "ann", fingerprint) && told("user.login_failed", "ann", "not trusted"),
        "{audit}"
    );
    assert!(told("user.login_failed", "old", "expired"), "{audit}");
    assert!(audit.to_string().contains(&format!("opcua/user/{fingerprint}")), "{audit}");
    rig.stop().await;
}
