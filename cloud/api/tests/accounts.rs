//! Signing in, accounts, keys, and what goes on record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use std::time::Duration;

use cloud_api::{Options, accounts};
use common::api::Role;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use support::{NOW_US, Rig};

async fn first_admin(rig: &Rig) -> String {
    accounts::create_first_admin(&*rig.storage, &rig.clock).await.unwrap().unwrap()
}

async fn sign_in(rig: &Rig, user: &str, password: &str) -> support::Answer {
    rig.ask("POST", "/api/v1/session").json(&json!({"user": user, "password": password})).send().await
}

#[tokio::test]
async fn the_first_admin_signs_in_and_no_secret_is_kept_in_clear() {
    let rig = Rig::new();
    let password = first_admin(&rig).await;
    assert!(accounts::create_first_admin(&*rig.storage, &rig.clock).await.unwrap().is_none());
    let answer = sign_in(&rig, "admin", &password).await.ok(200);
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert!(cookie.starts_with(&format!("twinway_session={token};")), "{cookie}");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));
    let me = rig.ask("GET", "/api/v1/session").header("cookie", &cookie).send().await.ok(200).json();
    assert_eq!(me["user"], "admin");
    let kept = rig.storage.everything();
    assert!(!kept.contains(&password) && !kept.contains(&token));
    rig.ask("DELETE", "/api/v1/session").bearer(&token).send().await.ok(204);
    rig.ask("GET", "/api/v1/session").bearer(&token).send().await.problem(401);
    assert_eq!(rig.storage.actions(), ["user.created", "user.login", "user.logout"]);
}

#[tokio::test]
async fn behind_https_the_cookie_is_secure() {
    let rig = Rig::with(Options { https: true, ..Options::default() });
    let password = first_admin(&rig).await;
    let answer = sign_in(&rig, "admin", &password).await.ok(200);
    assert!(answer.headers["set-cookie"].to_str().unwrap().contains("; Secure"));
}

#[tokio::test]
async fn an_unknown_account_and_a_wrong_password_look_the_same() {
    let rig = Rig::new();
    first_admin(&rig).await;
    let unknown = sign_in(&rig, "nobody", "wrong password").await;
    let wrong = sign_in(&rig, "admin", "wrong password").await;
    assert_eq!(unknown.problem(401), "unauthenticated");
    assert_eq!(unknown.body, wrong.body);
    let typed = sign_in(&rig, "my secret typed in the wrong field", "x").await;
    assert_eq!(typed.body, wrong.body);
    let failed: Vec<_> =
        rig.storage.entries().into_iter().filter(|e| e.action == "user.login_failed").collect();
    assert_eq!(failed.iter().map(|e| e.target.as_str()).collect::<Vec<_>>(), ["nobody", "admin", "?"]);
}

#[tokio::test]
async fn guessing_is_slowed_down_even_for_the_right_password() {
    let rig = Rig::new();
    let password = first_admin(&rig).await;
    for _ in 0..5 {
        sign_in(&rig, "admin", "wrong password").await.problem(401);
    }
    let answer = sign_in(&rig, "admin", &password).await;
    assert_eq!(answer.problem(429), "rate_limited");
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_time_is_up() {
    let rig = Rig::new();
    let grants = rig.grants(&[("", Role::Viewer)]);
    rig.storage.put_session("t", "anna", &grants, NOW_US + 10_000_000);
    rig.ask("GET", "/api/v1/session").bearer("t").send().await.ok(200);
    tokio::time::advance(Duration::from_secs(11)).await;
    rig.ask("GET", "/api/v1/session").bearer("t").send().await.problem(401);
}

#[tokio::test(start_paused = true)]
async fn a_write_by_cookie_must_come_from_our_page() {
    let rig = Rig::new();
    let token = rig.admin();
    let cookie = format!("twinway_session={token}");
    let ask = || rig.ask("POST", "/api/v1/gateways").header("cookie", &cookie).json(&json!({"id": "gw9"}));
    assert_eq!(ask().send().await.problem(403), "wrong_origin");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:9999"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(ask().header(name, value).send().await.problem(403), "wrong_origin", "{name} {value}");
    }
    ask().header("origin", "http://localhost:8080").send().await.ok(201);
    ask().header("sec-fetch-site", "same-origin").send().await.ok(201);
    // A program that shows a token is no browser: nobody else can make it send one.
    rig.ask("POST", "/api/v1/gateways").bearer(&token).json(&json!({"id": "gw9"})).send().await.ok(201);
    rig.ask("GET", "/api/v1/twins").header("cookie", &cookie).send().await.ok(200);
}

#[tokio::test]
async fn accounts_are_made_changed_and_removed() {
    let rig = Rig::new();
    let password = first_admin(&rig).await;
    let admin = sign_in(&rig, "admin", &password).await.ok(200).json()["token"].as_str().unwrap().to_owned();
    let make = async |body: Json| rig.ask("POST", "/api/v1/users").bearer(&admin).json(&body).send().await;
    let anna = json!({"name": "anna", "password": "correct horse", "grants": [{"path": "plant/coating", "role": "operator"}]});
    make(anna.clone()).await.ok(201);
    assert_eq!(make(anna).await.problem(409), "conflict");
    for (bad, why) in [
        (
            json!({"name": "b", "password": "short", "grants": [{"path": "", "role": "viewer"}]}),
            "10 characters",
        ),
        (
            json!({"name": "b/c", "password": "correct horse", "grants": [{"path": "", "role": "viewer"}]}),
            "is not a name",
        ),
        (
            json!({"name": "system", "password": "correct horse", "grants": [{"path": "", "role": "viewer"}]}),
            "another name",
        ),
        (json!({"name": "b", "password": "correct horse", "grants": []}), "grants"),
        (
            json!({"name": "b", "password": "correct horse", "grants": [{"path": "plant/coating/line1", "role": "viewer"}]}),
            "smallest grant",
        ),
        (
            json!({"name": "b", "password": "correct horse", "grants": [{"path": "", "role": "boss"}]}),
            "grants[0].role",
        ),
    ] {
        let answer = make(bad).await;
        assert_eq!(answer.problem(400), "invalid_request");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail}");
    }
    let token =
        sign_in(&rig, "anna", "correct horse").await.ok(200).json()["token"].as_str().unwrap().to_owned();
    let password = |path: &'static str, token: &str| {
        rig.ask("PUT", path).bearer(token).json(&json!({"password": "battery horse"})).send()
    };
    assert_eq!(password("/api/v1/users/admin/password", &token).await.problem(403), "forbidden");
    password("/api/v1/users/anna/password", &token).await.ok(204);
    rig.ask("GET", "/api/v1/session").bearer(&token).send().await.problem(401);
    sign_in(&rig, "anna", "battery horse").await.ok(200);
    let remove = async |path: &str| rig.ask("DELETE", path).bearer(&admin).send().await;
    assert_eq!(remove("/api/v1/users/admin").await.problem(409), "conflict");
    remove("/api/v1/users/anna").await.ok(204);
    assert_eq!(remove("/api/v1/users/anna").await.problem(404), "not_found");
    let actions = rig.storage.actions();
    for action in ["user.created", "user.password", "user.deleted"] {
        assert!(actions.iter().any(|a| a == action), "{action} in {actions:?}");
    }
}

#[tokio::test]
async fn a_lost_password_is_reset_on_the_machine() {
    let rig = Rig::new();
    let old = first_admin(&rig).await;
    let new = accounts::reset_password(&*rig.storage, &rig.clock, "admin").await.unwrap();
    sign_in(&rig, "admin", &old).await.problem(401);
    sign_in(&rig, "admin", &new).await.ok(200);
    assert!(accounts::reset_password(&*rig.storage, &rig.clock, "nobody").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_shown_once_and_does_no_more_than_its_maker() {
    let rig = Rig::new();
    let engineer = rig.token("eng", &[("plant", Role::Engineer)]);
    let make = async |name: &str, path: &str, role: &str, expires: Option<i64>| {
        let body = json!({"name": name, "grants": [{"path": path, "role": role}], "expires_us": expires});
        rig.ask("POST", "/api/v1/keys").bearer(&engineer).json(&body).send().await
    };
    for (path, role) in [("", "viewer"), ("plant", "admin"), ("other", "viewer")] {
        assert_eq!(make("k", path, role, None).await.problem(403), "forbidden", "{path} {role}");
    }
    assert_eq!(make("k", "plant", "viewer", Some(NOW_US - 1)).await.problem(400), "invalid_request");
    let made = make("k", "plant/coating", "operator", Some(NOW_US + 60_000_000)).await.ok(201).json();
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("twk_"));
    assert!(!rig.storage.everything().contains(&key));
    assert_eq!(make("k", "plant", "viewer", None).await.problem(409), "conflict");
    let me = rig.ask("GET", "/api/v1/session").bearer(&key).send().await.ok(200).json();
    assert_eq!(me["user"], "key:k");
    assert_eq!(rig.ask("GET", "/api/v1/keys").bearer(&key).send().await.problem(403), "forbidden");
    assert_eq!(rig.ask("DELETE", "/api/v1/session").bearer(&key).send().await.problem(409), "conflict");
    // A key that ends makes none that goes on.
    let end = NOW_US + 60_000_000;
    let parent = make("parent", "plant", "engineer", Some(end)).await.ok(201).json();
    let parent = parent["key"].as_str().unwrap();
    for (expires, status) in [(None, 403), (Some(end + 1), 403), (Some(end), 201)] {
        let body =
            json!({"name": "child", "grants": [{"path": "plant", "role": "viewer"}], "expires_us": expires});
        let answer = rig.ask("POST", "/api/v1/keys").bearer(parent).json(&body).send().await;
        assert_eq!(answer.status.as_u16(), status, "{expires:?}");
    }
    // Who is no engineer where a key reaches neither sees nor removes it.
    let other = rig.token("other", &[("plant/winding", Role::Engineer)]);
    let listed = rig.ask("GET", "/api/v1/keys").bearer(&other).send().await.ok(200).json();
    assert_eq!(listed["items"], json!([]));
    rig.ask("DELETE", "/api/v1/keys/k").bearer(&other).send().await.problem(404);
    let listed = rig.ask("GET", "/api/v1/keys").bearer(&engineer).send().await.ok(200);
    assert!(!String::from_utf8_lossy(&listed.body).contains(&key));
    tokio::time::advance(Duration::from_secs(61)).await;
    rig.ask("GET", "/api/v1/session").bearer(&key).send().await.problem(401);
    rig.ask("DELETE", "/api/v1/keys/k").bearer(&engineer).send().await.ok(204);
}

#[tokio::test(start_paused = true)]
async fn a_gateways_secret_is_new_each_time_and_stored_hashed() {
    let rig = Rig::new();
    let admin = rig.admin();
    let enrol = async || {
        let answer =
            rig.ask("POST", "/api/v1/gateways").bearer(&admin).json(&json!({"id": "gw7"})).send().await;
        answer.ok(201).json()["secret"].as_str().unwrap().to_owned()
    };
    let first = enrol().await;
    rig.gateways.sessions.lock().unwrap().insert("gw7".into(), 1);
    let second = enrol().await;
    assert!(!rig.gateways.sessions.lock().unwrap().contains_key("gw7"), "the old secret's session ended");
    assert_ne!(first, second);
    let key = cloud_core::GatewayKey { tenant: common::TenantId::default(), gateway: "gw7".parse().unwrap() };
    let hash: [u8; 32] = Sha256::digest(second.as_bytes()).into();
    assert_eq!(rig.storage.secret_of(&key), Some(hash));
    assert_eq!(rig.storage.actions(), ["gateway.credential", "gateway.credential"]);
    let bad = rig.ask("POST", "/api/v1/gateways").bearer(&admin).json(&json!({"id": "a/b"})).send().await;
    assert_eq!(bad.problem(400), "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn the_audit_of_accounts_is_for_admins_of_all() {
    let rig = Rig::new();
    let admin = rig.admin();
    rig.ask("POST", "/api/v1/gateways").bearer(&admin).json(&json!({"id": "gw7"})).send().await.ok(201);
    let count = async |token: &str| {
        let list = rig.ask("GET", "/api/v1/audit").bearer(token).send().await.ok(200).json();
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(count(&admin).await, 1);
    assert_eq!(count(&rig.token("e", &[("", Role::Engineer)])).await, 0);
    assert_eq!(count(&rig.token("p", &[("plant", Role::Admin)])).await, 0);
    let query = "/api/v1/audit?min_severity=alarm";
    let list = rig.ask("GET", query).bearer(&admin).send().await.ok(200).json();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_box_that_is_held_back_is_seen_and_let_in_by_an_admin() {
    let rig = Rig::new();
    let held = |n: u128, peer: &str| common::api::HeldBox {
        box_id: None,
        incarnation: common::Incarnation(n),
        peer: peer.into(),
        version: "1".into(),
        since_us: 1,
        last_us: 2,
        reason: "another box is this gateway".into(),
    };
    *rig.gateways.held.lock().unwrap() = vec![held(1, "10.0.0.1:5"), held(2, "10.0.0.2:5")];
    let (admin, engineer) = (rig.admin(), rig.token("e", &[("", Role::Engineer)]));
    let list = rig.ask("GET", "/api/v1/gateways").bearer(&admin).send().await.ok(200).json();
    assert_eq!(list["items"][0]["held"][1]["peer"], "10.0.0.2:5");
    let accept = async |token: &str, body| {
        rig.ask("POST", "/api/v1/gateways/gw1/accept").bearer(token).json(&body).send().await
    };
    assert_eq!(accept(&engineer, json!({"reason": "new box"})).await.problem(403), "forbidden");
    assert_eq!(accept(&admin, json!({"reason": ""})).await.problem(400), "invalid_request");
    let both = accept(&admin, json!({"reason": "new box"})).await;
    assert_eq!(both.problem(409), "conflict");
    let one = json!({"reason": "new box", "incarnation": format!("{:032x}", 2)});
    assert_eq!(accept(&admin, one).await.ok(200).json()["peer"], "10.0.0.2:5");
    let accepted = rig.gateways.accepted.lock().unwrap().clone();
    assert_eq!((accepted[0].action.as_str(), accepted[0].detail.as_str()), ("gateway.accepted", "new box"));
    let path = "/api/v1/gateways/none/accept";
    rig.ask("POST", path).bearer(&admin).json(&json!({"reason": "x"})).send().await.problem(404);
    let aside = async |id: &str| {
        rig.ask("GET", &format!("/api/v1/gateways/{id}/set-aside")).bearer(&engineer).send().await
    };
    assert_eq!(aside("gw1").await.ok(200).json()["items"], json!([]));
    aside("none").await.problem(404);
}
