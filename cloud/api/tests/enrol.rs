//! Codes, boxes that come with them, and gateways that are locked out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod support;

use std::time::Duration;

use common::api::{Enrolled, Role};
use common::enrol::{EnrolmentCode, Way};
use serde_json::json;
use support::Rig;

async fn code(rig: &Rig, valid_h: u32) -> EnrolmentCode {
    let body = json!({"gateway": "gw9", "valid_h": valid_h});
    let made =
        rig.ask("POST", "/api/v1/enrolment-codes").bearer(&rig.admin()).json(&body).send().await.ok(201);
    made.json()["code"].as_str().unwrap().parse().unwrap()
}

async fn enrol(rig: &Rig, code: &EnrolmentCode, request: &str, proof: &str) -> support::Answer {
    let body = json!({"code": code.id(), "request": request, "proof": proof});
    rig.ask("POST", "/api/v1/enrol").json(&body).send().await
}

#[tokio::test(start_paused = true)]
async fn a_code_enrols_one_box_and_its_answer_is_proven() {
    let rig = Rig::new();
    rig.gateways.sessions.lock().unwrap().insert("gw9".into(), 1);
    let code = code(&rig, 1).await;
    let proof = code.key().prove(Way::Request, b"csr");
    let answer = enrol(&rig, &code, "csr", &proof).await.ok(200).json();
    let text = answer["enrolled"].as_str().unwrap();
    assert!(code.key().proves(Way::Answer, text.as_bytes(), answer["proof"].as_str().unwrap()));
    let enrolled: Enrolled = serde_json::from_str(text).unwrap();
    assert_eq!((enrolled.gateway.as_str(), enrolled.url.as_str()), ("gw9", "mqtts://cloud.example:8883"));
    assert!(!rig.gateways.sessions.lock().unwrap().contains_key("gw9"), "the session before ended");
    // The answer may have been lost: the same box again, and no session ends by it. Another one is not let in.
    rig.gateways.sessions.lock().unwrap().insert("gw9".into(), 2);
    enrol(&rig, &code, "csr", &proof).await.ok(200);
    assert!(rig.gateways.sessions.lock().unwrap().contains_key("gw9"), "anybody can repeat what was said");
    let other = code.key().prove(Way::Request, b"other");
    assert_eq!(enrol(&rig, &code, "other", &other).await.status, 403);
    let list =
        rig.ask("GET", "/api/v1/gateways/gw9/certificates").bearer(&rig.admin()).send().await.ok(200).json();
    let list = list["items"].as_array().unwrap();
    assert!(list.len() == 2 && list.iter().all(|c| c.get("revoked_us").is_none()), "{list:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_know_the_code_gets_nothing_and_guessing_ends_it() {
    let rig = Rig::new();
    let code = code(&rig, 1).await;
    let good = code.key().prove(Way::Request, b"csr");
    for n in 0..10 {
        let bad = enrol(&rig, &code, "another", &good).await;
        assert_eq!(bad.status, 403, "{n}");
        tokio::time::advance(Duration::from_secs(61)).await;
    }
    assert_eq!(enrol(&rig, &code, "csr", &good).await.status, 403, "void by now");
    let told = rig.ask("GET", "/api/v1/audit").bearer(&rig.admin()).send().await.ok(200).json();
    let failed =
        told["items"].as_array().unwrap().iter().filter(|e| e["action"] == "gateway.enrol_failed").count();
    assert_eq!(failed, 10);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_slowed_down() {
    let rig = Rig::new();
    let code = EnrolmentCode::random().unwrap();
    let mut last = 0;
    for _ in 0..6 {
        last = enrol(&rig, &code, "csr", "00").await.status.as_u16();
    }
    assert_eq!(last, 429);

    // Who puts up a plant full of boxes behind one address is not guessing.
    let rig = Rig::new();
    for _ in 0..12 {
        let code = self::code(&rig, 1).await;
        let proof = code.key().prove(Way::Request, b"csr");
        enrol(&rig, &code, "csr", &proof).await.ok(200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_locks_out_who_had_a_certificate_and_a_code_can_be_taken_back() {
    let rig = Rig::new();
    let made = code(&rig, 1).await;
    let proof = made.key().prove(Way::Request, b"csr");
    enrol(&rig, &made, "csr", &proof).await.ok(200);
    rig.ask("POST", "/api/v1/gateways").bearer(&rig.admin()).json(&json!({"id": "gw9"})).send().await.ok(201);
    let list =
        rig.ask("GET", "/api/v1/gateways/gw9/certificates").bearer(&rig.admin()).send().await.ok(200).json();
    assert!(list["items"][0]["revoked_us"].is_i64(), "{list}");
    assert_eq!(enrol(&rig, &made, "csr", &proof).await.status, 403);

    let rig = Rig::new();
    let made = code(&rig, 1).await;
    let body = json!({"reason": "sent to the wrong address"});
    let gone = rig.ask("POST", "/api/v1/gateways/gw9/revoke").bearer(&rig.admin()).json(&body).send().await;
    assert_eq!(gone.ok(200).json()["certificates"], 0);
    let proof = made.key().prove(Way::Request, b"csr");
    assert_eq!(enrol(&rig, &made, "csr", &proof).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_expired_is_not_good() {
    let rig = Rig::new();
    let code = code(&rig, 1).await;
    tokio::time::advance(Duration::from_secs(3601)).await;
    let proof = code.key().prove(Way::Request, b"csr");
    assert_eq!(enrol(&rig, &code, "csr", &proof).await.status, 403);
    let body = json!({"gateway": "gw9", "valid_h": 0});
    let bad = rig.ask("POST", "/api/v1/enrolment-codes").bearer(&rig.admin()).json(&body).send().await;
    assert_eq!(bad.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_locked_out_stays_out_until_it_is_enrolled_again() {
    let rig = Rig::new();
    let engineer = rig.token("e", &[("", Role::Engineer)]);
    let ask = |token: String, reason: &str| {
        rig.ask("POST", "/api/v1/gateways/gw9/revoke").bearer(&token).json(&json!({"reason": reason})).send()
    };
    assert_eq!(ask(rig.admin(), "stolen").await.status, 404);
    let (first, second) = (code(&rig, 1).await, code(&rig, 1).await);
    let proof = first.key().prove(Way::Request, b"csr");
    enrol(&rig, &first, "csr", &proof).await.ok(200);
    assert_eq!(ask(engineer, "stolen").await.status, 403);
    assert_eq!(ask(rig.admin(), " ").await.status, 400);
    assert_eq!(ask(rig.admin(), "stolen").await.ok(200).json()["certificates"], 1);
    let proof = second.key().prove(Way::Request, b"csr");
    assert_eq!(enrol(&rig, &second, "csr", &proof).await.status, 403, "its codes are gone as well");
}
